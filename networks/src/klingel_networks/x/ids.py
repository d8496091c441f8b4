"""X's ids and times: pure.

A snowflake holds its time of creation: milliseconds since 4 November 2010 above 22 bits (source:
twitter-archive/snowflake; `x-api/fundamentals/x-ids`). Each edit of a post has an id of its own, so
its time is the edit's, the same on every delivery path.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from klingel.domain.identity import REVISION_MAX, deterministic_id
from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bounds import rfc3339

PREFIX = "x:network:"
HOME_COUNTRY = "DE"
"""Where posts are read, unless the context says another country."""

_DIGITS = 19
_NATIVE_ID = re.compile(r"[^\x00-\x20\x7f]{1,200}")
_SNOWFLAKE_EPOCH_MS = 1_288_834_974_657
_SNOWFLAKE_BITS = 22
_FIRST_SNOWFLAKE = 29_700_859_247
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EVERYWHERE = frozenset({"XX", "XY"})
_OLD_TIME = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}) "
    r"([+-][0-9]{2})([0-9]{2}) ([0-9]{4})"
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}


def checked_id(value: str | None, path: str) -> str:
    """Return a numeric id; raises InvalidMessage when it is none."""
    if not value:
        raise InvalidMessage(ErrorType.MISSING_FIELD, f"{path} is missing", path=path)
    if not is_id(value):
        raise InvalidMessage(ErrorType.INVALID_FIELD, f"{path} is no id of X", path=path)
    return value


def is_id(value: str | None) -> bool:
    """Return whether `value` is a numeric id."""
    return value is not None and len(value) <= _DIGITS and value.isascii() and value.isdigit()


def is_native_id(value: str) -> bool:
    """Return whether `value` can be part of an object id."""
    return _NATIVE_ID.fullmatch(value) is not None


def post_object(post_id: str) -> str:
    """Return the object id of a post, by the first id of its chain of edits."""
    return PREFIX + post_id


def other_object(native_id: str | None, native: bytes) -> str:
    """Return the object id of what we cannot name: by its own id, else by its content."""
    if native_id is not None and is_native_id(native_id):
        return f"{PREFIX}object/{native_id}"
    return f"{PREFIX}object/~{deterministic_id(native.decode('utf-8', 'replace'))}"


def chain_of(post_id: str, history: Sequence[str] | None) -> str:
    """Return the first id of a post's chain of edits; raises InvalidMessage when it is none.

    X gives the chain in the order of its edits; where it came in another, the least id is the first.
    """
    if not history:
        return post_id
    if len(history) == 1:
        return checked_id(history[0], "edit_history_tweet_ids[0]")
    return min((each for each in history if is_id(each)), key=int, default=None) or checked_id(
        history[0], "edit_history_tweet_ids[0]"
    )


def snowflake_ms(post_id: str) -> int:
    """Return when an id was made, milliseconds since 1970; fits a revision."""
    return (int(post_id) >> _SNOWFLAKE_BITS) + _SNOWFLAKE_EPOCH_MS


def snowflake_time(post_id: str) -> datetime | None:
    """Return when an id was made; None for one that is older than snowflakes."""
    if int(post_id) < _FIRST_SNOWFLAKE:
        return None
    return _EPOCH + timedelta(milliseconds=snowflake_ms(post_id))


def milliseconds(value: str | None, path: str) -> datetime | None:
    """Return a count of milliseconds since 1970 as aware UTC, None for none.

    Raises:
        InvalidMessage: no such count, or beyond what a revision can hold (the year 2109).
    """
    if value is None:
        return None
    if not is_id(value) or int(value) >= REVISION_MAX:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD, f"{path} is no time in milliseconds", path=path
        )
    return _EPOCH + timedelta(milliseconds=int(value))


def milliseconds_of(moment: datetime) -> int:
    """Return a moment as milliseconds since 1970."""
    since: int = (moment - _EPOCH) // timedelta(milliseconds=1)
    return since


def at_milliseconds(count: int) -> datetime:
    """Return milliseconds since 1970 as aware UTC; raises OverflowError beyond the year 9999."""
    return _EPOCH + timedelta(milliseconds=count)


def snowflake_at(moment: datetime) -> str:
    """Return the least id that can be made at a moment, for `since_id`."""
    return str(max(0, milliseconds_of(moment) - _SNOWFLAKE_EPOCH_MS) << _SNOWFLAKE_BITS)


def revision_of(moment: datetime) -> int:
    """Return a moment as revision: milliseconds since 1970."""
    since = milliseconds_of(moment)
    return since if since < REVISION_MAX else int(REVISION_MAX) - 1


def old_time(value: str, path: str) -> datetime:
    """Return a time of API v1.1, such as `Wed Oct 10 20:19:24 +0000 2018`, as aware UTC.

    Raises:
        InvalidMessage: no such time.
    """
    found = _OLD_TIME.fullmatch(value)
    if found is None or found[1] not in _MONTHS:
        raise InvalidMessage(ErrorType.INVALID_FIELD, f"{path} is no time of X", path=path)
    month, day, clock, hours, minutes, year = found.groups()
    return rfc3339(f"{year}-{_MONTHS[month]:02}-{day}T{clock}{hours}:{minutes}", path)


def is_withheld(
    countries: Sequence[str] | None,
    context: Mapping[str, str],
    *,
    copyright_claimed: bool | None = None,
) -> bool:
    """Return whether a post may not be shown: everywhere (XX, XY), or in the context's `country`.

    A claim of copyright that names no country is one everywhere.
    """
    if not countries:
        return copyright_claimed is True
    home = context.get("country") or HOME_COUNTRY
    told = {code.upper() for code in countries}
    return home.upper() in told or not told.isdisjoint(_EVERYWHERE)


@lru_cache(maxsize=1024)
def language(code: str | None) -> tuple[str, ...]:
    """Return X's word on the language as BCP 47; nothing for its `und`, `zxx`, `qme` and the like."""
    if not code or len(code) > 12:
        return ()
    primary, *rest = code.replace("_", "-").split("-")
    primary = {"iw": "he", "in": "id"}.get(primary.lower(), primary.lower())
    if primary in {"und", "zxx", "art", "mul"} or (primary[:1] == "q" and len(primary) == 3):
        return ()
    if not (primary.isascii() and primary.isalpha() and 2 <= len(primary) <= 3):
        return ()
    if not all(part.isascii() and part.isalnum() for part in rest):
        return ()
    return ("-".join((primary, *rest)),)
