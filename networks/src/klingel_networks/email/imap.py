"""IMAP4rev1's syntax, as much as a reader needs: what to say, and what the answers mean; pure.

Sources: RFC 9051 and 3501 (the protocol; section 5.1.3 on the names of folders), RFC 2177 (IDLE), RFC
4315 (UIDVALIDITY in responses), RFC 5530 (response codes), RFC 7628 and Google's and Microsoft's pages
on XOAUTH2.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from klingel.errors import ConfigurationError
from klingel_networks.email.header import date

UID_MAX = 2**32 - 1
CODES = frozenset(
    {
        *("ALERT", "BADCHARSET", "PARSE", "TRYCREATE", "UNAVAILABLE", "AUTHENTICATIONFAILED"),
        *("AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "CONTACTADMIN", "NOPERM", "INUSE"),
        *("EXPUNGEISSUED", "CORRUPTION", "SERVERBUG", "CLIENTBUG", "CANNOT", "LIMIT", "OVERQUOTA"),
        *("NONEXISTENT", "THROTTLED"),
    }
)
"""Response codes that may be told: RFC 5530 and 9051, and Microsoft's."""

_SAFE = re.compile(r"[ !#-\[\]-~]*")
_NUMBERS = re.compile(rb"\d{1,10}")
_CODE = re.compile(rb"\[([A-Za-z0-9.-]{1,40})(?: ([^\]\r\n]{0,400}))?\]")
_FETCH = re.compile(rb"\d{1,10} FETCH \(", re.IGNORECASE)
_UID = re.compile(rb"\bUID (\d{1,10})\b", re.IGNORECASE)
_SIZE = re.compile(rb"\bRFC822\.SIZE (\d{1,19})\b", re.IGNORECASE)
_FLAGS = re.compile(rb"\bFLAGS \(([^()]{0,4000})\)", re.IGNORECASE)
_RECEIVED = re.compile(rb'\bINTERNALDATE "([^"]{1,60})"', re.IGNORECASE)
_INTERNAL = re.compile(r"([ \d]?\d)-([A-Za-z]{3})-(\d{4}) (\d{2}:\d{2}:\d{2}) ([+-]\d{4})")
_BODY = re.compile(rb"\bBODY\[\](?:<\d{1,10}>)? (?:\"((?:[^\"\\]|\\.)*)\"|NIL)", re.IGNORECASE)
_BUSY = frozenset({"UNAVAILABLE", "LIMIT", "INUSE", "SERVERBUG", "THROTTLED", "OVERQUOTA"})
# Google and others give no code of their own for it.
_BUSY_WORDS = re.compile(rb"too many|try again|temporar|throttl", re.IGNORECASE)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FOLDER_PLAIN = frozenset(chr(each) for each in range(0x20, 0x7F)) - {"&"}


class Answer(NamedTuple):
    """One response: its text, each literal replaced by its announcement, and the literals."""

    text: bytes
    literals: tuple[bytes, ...] = ()


class Status(NamedTuple):
    """The end of a command.

    Attributes:
        state: `OK`, `NO` or `BAD`.
        code: response code in upper case; empty without.
        is_busy: whether the server wants to be left alone for now, by code or by what it says.
    """

    state: str
    code: str
    is_busy: bool


class Selected(NamedTuple):
    """A folder that was opened.

    Attributes:
        validity: UIDVALIDITY.
        next_uid: UIDNEXT; None where the server does not tell.
        exists: how many mails are in it.
        read_only: whether the server says so.
    """

    validity: int
    next_uid: int | None
    exists: int
    read_only: bool


class Envelope(NamedTuple):
    """What a server says of a mail beside the mail.

    Attributes:
        uid: within the folder and its UIDVALIDITY.
        size: in bytes.
        flags: as the server has them.
        received_at: INTERNALDATE, aware UTC; None where it cannot be read.
    """

    uid: int
    size: int
    flags: tuple[str, ...]
    received_at: datetime | None


def quoted(text: str) -> bytes:
    """Return a quoted string.

    Raises:
        ConfigurationError: it holds characters that a quoted string cannot; a literal can.
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    if not is_quotable(text):
        raise ConfigurationError("a name holds characters that IMAP takes only as a literal")
    return f'"{escaped}"'.encode("ascii")


def is_quotable(text: str) -> bool:
    """Whether a text may stand in a quoted string: printable ASCII."""
    return text.isascii() and (text.isprintable() or not text)


def is_searchable(text: str) -> bool:
    """Whether a text may stand in a search as it is, without quotes or escapes inside."""
    return bool(text) and len(text) <= 900 and _SAFE.fullmatch(text) is not None


def folder_name(name: str) -> bytes:
    """Return a folder's name as IMAP writes it: what is not ASCII in modified UTF-7."""
    written = ""
    foreign = ""
    for character in (*name, ""):
        if character and character not in _FOLDER_PLAIN and character != "&":
            foreign += character
            continue
        if foreign:
            coded = b64encode(foreign.encode("utf-16-be", "replace")).decode("ascii")
            written += f"&{coded.rstrip('=').replace('/', ',')}-"
            foreign = ""
        written += "&-" if character == "&" else character
    return quoted(written)


def xoauth2(username: str, token: str) -> str:
    """Return the initial response of SASL XOAUTH2."""
    return b64encode(f"user={username}\x01auth=Bearer {token}\x01\x01".encode()).decode("ascii")


def since(moment: datetime) -> str:
    """Return a day as searches take it."""
    day = moment.astimezone(UTC)
    return f"{day.day}-{_MONTHS[day.month - 1]}-{day.year:04}"


def status_of(line: bytes) -> Status:
    """Return what the end of a command says; without its text, which is the server's."""
    state = line[:3].split(b" ")[0].decode("ascii", "replace").upper()
    code = _CODE.search(line[:1000])
    name = "" if code is None else code[1].decode("ascii").upper()
    return Status(state, name, name in _BUSY or _BUSY_WORDS.search(line[:1000]) is not None)


def capabilities(answers: Iterable[Answer]) -> frozenset[str]:
    """Return what a server can, in upper case."""
    found: set[str] = set()
    for each in answers:
        words = each.text.decode("ascii", "replace").upper().split()
        if words[:1] == ["CAPABILITY"]:
            found.update(words[1:])
    return frozenset(found)


def selected(answers: Sequence[Answer], end: Status) -> Selected | None:
    """Return what EXAMINE told; None where the UIDVALIDITY is missing."""
    validity = next_uid = None
    exists = 0
    for each in answers:
        code = _CODE.search(each.text[:1000])
        name = b"" if code is None else code[1].upper()
        number = _NUMBERS.match(b"" if code is None or code[2] is None else code[2])
        if name == b"UIDVALIDITY" and number:
            validity = int(number[0])
        elif name == b"UIDNEXT" and number:
            next_uid = int(number[0])
        elif each.text.upper().endswith(b" EXISTS"):
            count = _NUMBERS.match(each.text)
            exists = int(count[0]) if count else 0
    if validity is None:
        return None
    return Selected(validity, next_uid, exists, end.code == "READ-ONLY")


def found_uids(answers: Iterable[Answer]) -> list[int]:
    """Return the UIDs of a search, rising, each once."""
    uids: set[int] = set()
    for each in answers:
        if each.text[:6].upper() == b"SEARCH":
            words = each.text[6:].split()
            uids.update(int(word) for word in words if len(word) <= 10 and word.isdigit())
    return sorted(uid for uid in uids if 0 < uid <= UID_MAX)


def envelopes(answers: Iterable[Answer]) -> list[Envelope]:
    """Return what a fetch told of mails; what has no UID or size is left out."""
    found = []
    for each in answers:
        uid, size = _UID.search(each.text), _SIZE.search(each.text)
        if _FETCH.match(each.text) is None or uid is None or size is None:
            continue
        flags, received = _FLAGS.search(each.text), _RECEIVED.search(each.text)
        listed = b"" if flags is None else flags[1]
        told = "" if received is None else received[1].decode("ascii", "replace")
        found.append(
            Envelope(
                int(uid[1]),
                int(size[1]),
                tuple(listed.decode("ascii", "replace").split()[:50]),
                internal_date(told),
            )
        )
    return found


def internal_date(text: str) -> datetime | None:
    """Return an INTERNALDATE as aware UTC; None where it is none."""
    found = _INTERNAL.fullmatch(text)
    return None if found is None else date(" ".join(found.groups()))


def fetched_body(answers: Iterable[Answer], uid: int) -> bytes | None:
    """Return the body of one mail; None where the mail is gone."""
    for each in answers:
        told = _UID.search(each.text)
        if _FETCH.match(each.text) is None or told is None or int(told[1]) != uid:
            continue
        if each.literals:
            return each.literals[0]
        short = _BODY.search(each.text)
        if short is not None:
            return re.sub(rb"\\(.)", rb"\1", short[1] or b"")
    return None


def is_news(answer: Answer) -> bool:
    """Whether something that a server says while it idles may mean a new mail."""
    return answer.text.upper().endswith((b" EXISTS", b" RECENT"))
