"""The AT Protocol's identifiers: DID, NSID, record key, AT URI, TID, handle, language, datetime.

Rules: the protocol's syntax specifications; tried against its interoperability files.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from klingel.domain.identity import REVISION_MAX
from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bounds import rfc3339

_DID = r"did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]"
_HANDLE = (
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
    r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_NSID = (
    r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+"
    r"\.[A-Za-z][A-Za-z0-9]{0,62}"
)
_RECORD_KEY = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_~.:-]{1,512}"
_TID_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"

DID = re.compile(_DID)
HANDLE = re.compile(_HANDLE)
NSID = re.compile(_NSID)
RECORD_KEY = re.compile(_RECORD_KEY)
RECORD_URI = re.compile(rf"at://({_DID}|{_HANDLE})/({_NSID})/({_RECORD_KEY})")
AT_URI = re.compile(rf"at://(?:{_DID}|{_HANDLE})(?:/{_NSID}(?:/{_RECORD_KEY})?)?")
TID = re.compile(r"[2-7a-j][2-7a-z]{12}")
LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")

_DID_MAX = 512
_HANDLE_MAX = 253
_LANGUAGE_MAX = 64
_URI_MAX = 8192
_TID_VALUES = {digit: value for value, digit in enumerate(_TID_DIGITS)}
_CLOCK_ID_BITS = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# RFC 3339 allows both; the protocol does not.
_UNCLEAR_TIME = re.compile(r".*(?:-00:00|[tz].*)", re.DOTALL)


class RecordUri(NamedTuple):
    """The parts of `at://<authority>/<collection>/<record key>`."""

    authority: str
    collection: str
    record_key: str


def is_did(value: str) -> bool:
    """Return whether `value` is a DID."""
    return len(value) <= _DID_MAX and DID.fullmatch(value) is not None


def is_handle(value: str) -> bool:
    """Return whether `value` is a handle."""
    return len(value) <= _HANDLE_MAX and HANDLE.fullmatch(value) is not None


def is_at_uri(value: str) -> bool:
    """Return whether `value` is an AT URI: of a repository, a collection or a record."""
    return len(value) <= _URI_MAX and AT_URI.fullmatch(value) is not None


def is_language(value: str) -> bool:
    """Return whether `value` has the form of a BCP 47 tag."""
    return len(value) <= _LANGUAGE_MAX and LANGUAGE.fullmatch(value) is not None


def record_uri(value: str, path: str) -> RecordUri:
    """Return the parts of a record's AT URI; raises InvalidMessage when it is none."""
    match = RECORD_URI.fullmatch(value) if len(value) <= _URI_MAX else None
    if match is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, f"{path} is no AT URI of a record", path=path)
    return RecordUri(*match.groups())


def tid_microseconds(value: str, path: str) -> int:
    """Return the time in a TID, microseconds since 1970; raises InvalidMessage when it is none.

    A TID is 13 digits of base 32: a zero bit, 53 bits of microseconds, 10 bits of clock id.
    """
    if TID.fullmatch(value) is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, f"{path} is no TID", path=path)
    number = 0
    for digit in value:
        number = number << 5 | _TID_VALUES[digit]
    return number >> _CLOCK_ID_BITS


def edit_time(microseconds: int, path: str) -> tuple[int, datetime]:
    """Return an edit time as revision (ms) and as aware UTC.

    Raises:
        InvalidMessage: beyond what a revision can hold (the year 2109).
    """
    revision = microseconds // 1000
    if not 0 <= revision < REVISION_MAX:
        raise InvalidMessage(
            ErrorType.TIME_OUT_OF_RANGE, f"{path} lies outside the years 1970 to 2109", path=path
        )
    return revision, _EPOCH + timedelta(microseconds=microseconds)


def at_datetime(value: str, path: str) -> datetime:
    """Return a datetime of the protocol as aware UTC: RFC 3339 with capital T and Z, no -00:00.

    Raises:
        InvalidMessage: no such datetime, or outside 1970..2199.
    """
    if _UNCLEAR_TIME.fullmatch(value) is not None:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD,
            f"{path} is no datetime of the AT Protocol: capital T and Z, a known offset",
            path=path,
        )
    return rfc3339(value, path)
