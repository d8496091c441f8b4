"""What the Meta family's payloads have in common: ids, times, addresses, and their bounds; pure.

Source: developers.facebook.com, "Webhooks: Getting Started", "Graph API: Webhooks reference". Ids
come as strings or as numbers, times as seconds, milliseconds, digits in a string, or as
`2018-02-22T10:00:29+0000`.
"""

import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TypeVar

import msgspec

from klingel.domain.identity import DELETED_WITHOUT_REVISION
from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bounds import READ_ERRORS, check_text, refusal

Id = str | int
Time = int | float | str

ID_MAX = 300
"""Characters of a native id; the longest seen is a message id of 220."""
ADDRESS_MAX = 4096
_NAME_MAX = 640
_HANDLE_MAX = 256
_MEDIUM_MAX = 512
_ID_BYTES_MAX = 400
_SECONDS_BELOW = 100_000_000_000
"""A time below is in seconds (until the year 5138), one at or above in milliseconds."""
_SECOND_MS = 1000
_DIGITS_MAX = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_GRAPH_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?[+-]\d{2}:?\d{2}", re.ASCII
)
_WEB = re.compile(r"https?://[^\x00-\x20\x7f]+", re.IGNORECASE)

R = TypeVar("R")


ABSENT = msgspec.Raw()
"""Default of a part that is looked at later."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """Base of what is decoded from a payload: unknown fields are left in the original."""


def is_given(raw: msgspec.Raw) -> bool:
    """Whether a part is there at all, and not null."""
    return bytes(raw) not in {b"", b"null"}


def decode(decoder: msgspec.json.Decoder[R], native: bytes | msgspec.Raw, path: str = "") -> R:
    """Decode foreign JSON; raises InvalidMessage with one sentence that names `path`."""
    try:
        return decoder.decode(native)
    except READ_ERRORS as error:
        raise refusal(error, path) from None


def native_id(value: Id | None, path: str) -> str:
    """Return an id as text; raises InvalidMessage when it is missing, too long or unprintable."""
    # Almost every id is short and plain, which is cheap to see.
    if (
        value.__class__ is str
        and 0 < len(value) <= ID_MAX
        and value.isascii()
        and value.isprintable()
    ):
        return value
    if value is None or value == "":
        raise InvalidMessage(ErrorType.MISSING_FIELD, f"{path} is missing", path=path)
    text = value if isinstance(value, str) else str(value)
    if len(text) > ID_MAX or len(text.encode("utf-8", "replace")) > _ID_BYTES_MAX:
        raise InvalidMessage(
            ErrorType.TOO_LARGE, f"{path} is longer than {ID_MAX} characters", path=path
        )
    if _CONTROL.search(text) is not None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, f"{path} holds control characters", path=path)
    return text


def optional_id(value: Id | None, path: str) -> str | None:
    """Return an id as text, None where there is none; raises InvalidMessage as `native_id`."""
    return None if value is None or value == "" else native_id(value, path)


def milliseconds(value: Time, path: str) -> int:
    """Return a time of any of the forms in epoch milliseconds; raises InvalidMessage."""
    if isinstance(value, str):
        if value.isascii() and value.isdecimal() and len(value) <= _DIGITS_MAX:
            number = int(value)
        else:
            return _graph_milliseconds(value, path)
    else:
        number = int(value)
    if number < _SECONDS_BELOW:
        number *= _SECOND_MS
    # What is not below the revision of a deletion could not be ordered before it.
    if not 0 <= number < DELETED_WITHOUT_REVISION:
        raise InvalidMessage(
            ErrorType.TIME_OUT_OF_RANGE, f"{path} lies outside the years 1970 to 2108", path=path
        )
    return number


def _graph_milliseconds(value: str, path: str) -> int:
    if len(value) <= 40 and _GRAPH_TIME.fullmatch(value) is not None:
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            passed = (found - _EPOCH) // timedelta(milliseconds=1)
            if 0 <= passed < DELETED_WITHOUT_REVISION:
                return passed
            raise InvalidMessage(
                ErrorType.TIME_OUT_OF_RANGE,
                f"{path} lies outside the years 1970 to 2108",
                path=path,
            )
    raise InvalidMessage(
        ErrorType.INVALID_FIELD,
        f"{path} is no time: neither a number nor such as 2018-02-22T10:00:29+0000",
        path=path,
    )


def moment(value: int) -> datetime:
    """Return epoch milliseconds as aware UTC."""
    return datetime.fromtimestamp(value / _SECOND_MS, UTC)  # exact: a double holds 2^53


def said(value: str | None, path: str) -> str | None:
    """Return a text as it was said, None for none; raises InvalidMessage (length, NUL)."""
    if not value:
        return None
    check_text(value, path)
    return value


def shown_name(value: str | None) -> str | None:
    """Return a display name that a record can hold, else None: it is decoration, not identity."""
    return _shown(value, _NAME_MAX)


def shown_handle(value: str | None) -> str | None:
    """Return a handle that a record can hold, else None."""
    return _shown(value, _HANDLE_MAX)


def _shown(value: str | None, longest: int) -> str | None:
    return None if not value or len(value) > longest or "\x00" in value else value


def web_address(value: str | None) -> str | None:
    """Return a web address, None for what is none."""
    if not value or len(value) > ADDRESS_MAX or _WEB.fullmatch(value) is None:
        return None
    return value


def medium_id(value: Id | None) -> str | None:
    """Return a medium's id that a record can hold, else None."""
    if value is None or value == "":
        return None
    text = str(value)
    return None if len(text) > _MEDIUM_MAX or _CONTROL.search(text) is not None else text


def digest(*parts: bytes) -> str:
    """Return 128 bits over `parts` in hex, for objects that carry no id of their own."""
    found = blake2b(digest_size=16, person=b"klingel.meta")
    for part in parts:
        found.update(len(part).to_bytes(4, "big"))
        found.update(part)
    return found.hexdigest()


def content_id(native: bytes) -> str:
    """Return an id computed from JSON's content: order of keys and white space are no matter."""
    try:
        tree = msgspec.json.decode(native)
        native = msgspec.json.encode(tree, order="sorted")
    except READ_ERRORS as error:
        raise refusal(error) from None
    except (OverflowError, ValueError):
        return digest(native)  # a number that no encoder writes: the bytes are the content
    return digest(native)
