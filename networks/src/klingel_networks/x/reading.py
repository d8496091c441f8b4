"""Reading X's objects, whose ids and times are strings here and integers there; pure.

The API v2 writes ids as strings, v1.1 as integers beside a string (`id`, `id_str`), and the integer
may be rounded where some program on the way held it as a float. So an integer is looked at only where
the shape that we know has a string: then its `…_str` counts, else the integer, digit by digit. What is
well-formed at once is never read twice.
"""

import re
from typing import Any, TypeVar

import msgspec

from klingel_networks.bounds import READ_ERRORS, refusal

R = TypeVar("R")

_IDS_AND_TIMES = re.compile(r"(?:.*_)?(?:id|ids|uuid|ms|msec|timestamp|at|id_str)|timestampMs")


def read(decoder: "msgspec.json.Decoder[R]", native: bytes | msgspec.Raw, path: str) -> R:
    """Return what JSON says, ids and times as strings.

    Args:
        decoder: of the shape.
        native: one JSON value.
        path: where it lies in its delivery.

    Raises:
        InvalidMessage: it has not that shape.
    """
    try:
        return decoder.decode(native)
    except READ_ERRORS as error:
        if not isinstance(error, msgspec.ValidationError):
            raise refusal(error, path) from None
        try:
            return decoder.decode(with_text_ids(native))
        except READ_ERRORS:
            raise refusal(error, path) from None


def with_text_ids(native: bytes | msgspec.Raw) -> bytes:
    """Return JSON with ids and times as strings; raises one of READ_ERRORS."""
    tree = msgspec.json.decode(native)
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key in [key for key in value if _IDS_AND_TIMES.fullmatch(key)]:
                value[key] = _as_text(value[key], value.get(f"{key}_str"))
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return msgspec.json.encode(tree)


def _as_text(value: Any, exact: Any) -> Any:
    if isinstance(value, list):
        return [_as_text(each, None) for each in value]
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return exact if isinstance(exact, str) and exact else str(value)
