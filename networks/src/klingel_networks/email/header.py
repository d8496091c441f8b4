"""The header of a mail or of a part: fields, words, addresses, message ids, dates; pure.

Real headers break every rule: raw bytes of any charset, words encoded by halves, display names with
commas, ids without brackets, dates in prose. What can be told is told, the rest is left out; nothing
here raises but `read_header` for a header that is too long.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import parsedate_tz
from itertools import takewhile
from typing import NamedTuple

from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bounds import YEAR_MAX, YEAR_MIN
from klingel_networks.email.charsets import cleaned, decoded

HEADER_BYTES = 256 << 10
"""A longer header is refused; the longest of the recorded mails has 14 KiB."""
VALUE_CHARACTERS = 4096
"""So much of one field is decoded; of fields of addresses and ids so much times eight."""
ADDRESSES = 200
MESSAGE_IDS = 100
_GARBAGE_LINES = 50
_GARBAGE_BYTES = 8 << 10

_FIELD = re.compile(rb"([!-9;-~]{1,76})[ \t]*:")
_BLANKS = re.compile(r"\s+")
_ANGLE = re.compile(r"<([^<>]{0,1000})>")
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,900})>")
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[^\s@<>,;:\"()\\]{1,189}")
_QUOTED_ADDRESS = re.compile(r'"[^"\x00-\x1f\x7f]{1,62}"@[^\s@<>,;:"()\\]{1,189}')
# Commas and semicolons in quotes, comments and brackets part nobody.
_ENTRY = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|\((?:[^()\\]|\\.)*+\)|<[^<>]*+>|[^,;])++')
_COMMENT = re.compile(r"\(([^()]{0,500})\)")
_CHARSET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,39}")
_YEAR_FIRST = re.compile(
    r"(\d{4})[-./](\d{1,2})[-./](\d{1,2})(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?"
)
_KNOWN = frozenset(
    (
        b"from sender reply-to to cc bcc date subject message-id in-reply-to references received"
        b" return-path delivered-to mime-version content-type content-transfer-encoding"
        b" content-disposition x-mailer user-agent resent-from envelope-to x-original-to"
    ).split()
)


class Address(NamedTuple):
    """Somebody: the name as shown, and the address in lower case, empty where there is none."""

    name: str
    address: str


class Header:
    """The fields of a header, decoded when they are asked for."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, list[bytes]]) -> None:
        self._fields = fields

    def __contains__(self, name: str) -> bool:
        """Whether a field is there."""
        return name in self._fields

    @property
    def is_of_a_mail(self) -> bool:
        """Whether any field is one that mails have."""
        return any(name.encode() in _KNOWN for name in self._fields)

    def raw(self, name: str) -> bytes:
        """Return the bytes of a field, unfolded, of several the first; empty without."""
        found = self._fields.get(name)
        return found[0] if found else b""

    def value(self, name: str) -> str:
        """Return a field as one line, its encoded words as they stand; empty without."""
        return _one_line(self.raw(name)[:VALUE_CHARACTERS])

    def text(self, name: str) -> str:
        """Return a field as one line of text, its encoded words decoded; empty without."""
        return words(self.value(name))

    def addresses(self, name: str) -> list[Address]:
        """Return who stands in a field, of all fields of that name, in order."""
        found: list[Address] = []
        for raw in self._fields.get(name, ())[:20]:
            found += addresses(_one_line(raw[: 8 * VALUE_CHARACTERS]))
        return found[:ADDRESSES]

    def message_ids(self, name: str) -> list[str]:
        """Return the message ids in a field, without brackets, each once."""
        ids: dict[str, None] = {}
        for raw in self._fields.get(name, ())[:20]:
            line = _one_line(raw[: 8 * VALUE_CHARACTERS])
            found = _MESSAGE_ID.findall(line) or [
                word.strip("<>") for word in line.split() if "@" in word and len(word) <= 900
            ]
            ids.update(dict.fromkeys(found))
        listed = [each for each in ids if each]
        # The first names the root, the last the parent; a flood between them tells nothing.
        return listed if len(listed) <= MESSAGE_IDS else [listed[0], *listed[1 - MESSAGE_IDS :]]

    def date(self, name: str) -> datetime | None:
        """Return when a field says that it was; None where it says nothing that can be."""
        return date(self.value(name))

    @property
    def content(self) -> "Content":
        """What the header says of the body below it."""
        return _content(self)


class Content(NamedTuple):
    """What a header says of its body.

    Attributes:
        type: media type in lower case; `text/plain` where none is named.
        boundary: of a multipart; None without.
        charset: as declared; None without.
        report: `report-type`, in lower case.
        encoding: transfer encoding in lower case.
        disposition: `attachment`, `inline` or empty.
        filename: as shown; None without.
        id: content id without brackets; None without.
        declared: whether a type is named at all.
    """

    type: str
    boundary: bytes | None
    charset: str | None
    report: str
    encoding: str
    disposition: str
    filename: str | None
    id: str | None
    declared: bool


def read_header(data: bytes, start: int = 0, end: int | None = None) -> tuple[Header, int]:
    """Return a header and where the body below it begins.

    A line that is no field is skipped where a known field follows before an empty line, and before
    the first field; else the body begins there, because somebody forgot the empty line.

    Raises:
        InvalidMessage: the header is longer than HEADER_BYTES.
    """
    end = len(data) if end is None else end
    limit = min(end, start + HEADER_BYTES)
    fields: dict[str, list[bytes]] = {}
    name: str | None = None
    pieces: list[bytes] = []
    at = start
    garbage_left = _GARBAGE_LINES

    def close() -> None:
        if name is not None:
            fields.setdefault(name, []).append(b" ".join(pieces))

    while at < limit:
        stop = data.find(b"\n", at, limit)
        line_end = limit if stop < 0 else stop
        after = line_end if stop < 0 else stop + 1
        line = data[at:line_end].rstrip(b"\r")
        if not line:
            close()
            return Header(fields), after
        found = _FIELD.match(line)
        if line[:1] in b" \t" and (name is not None or not fields):
            pieces.append(line.strip())
        elif found is not None:
            close()
            name, pieces = found[1].decode("ascii").lower(), [line[found.end() :].strip()]
        elif fields or name is not None:
            if not garbage_left or not _goes_on(data, after, limit):
                close()
                return Header(fields), at
            garbage_left -= 1
        at = after
    if limit < end:
        raise InvalidMessage(
            ErrorType.TOO_LARGE, f"the header is longer than {HEADER_BYTES >> 10} KiB"
        )
    close()
    return Header(fields), end


def _goes_on(data: bytes, start: int, limit: int) -> bool:
    """Whether a known field follows before the next empty line."""
    lines = data[start : min(limit, start + _GARBAGE_BYTES)].splitlines()
    for line in takewhile(bool, lines):
        found = _FIELD.match(line)
        if found is not None and found[1].lower() in _KNOWN:
            return True
    return False


def _one_line(raw: bytes) -> str:
    if raw.isascii():
        text = raw.decode("ascii")
        if text.isprintable() and "  " not in text:
            return text.strip()
    return _BLANKS.sub(" ", decoded(raw, None)).strip()


def words(value: str) -> str:
    """Return a line with its encoded words (RFC 2047) decoded; what is broken stays as it is."""
    if "=?" not in value:
        return value
    try:
        pieces = decode_header(value[:VALUE_CHARACTERS])
    except (HeaderParseError, ValueError):
        return value
    text = "".join(
        piece if isinstance(piece, str) else _word(piece, charset) for piece, charset in pieces
    )
    return _BLANKS.sub(" ", cleaned(text)).strip()


def _word(piece: bytes, charset: str | None) -> str:
    if charset is None:  # decode_header writes what stood between words by this codec
        return piece.decode("raw-unicode-escape", "replace")
    return decoded(piece, charset.partition("*")[0])


def addresses(line: str) -> list[Address]:
    """Return who stands in a line of addresses, groups resolved; at most ADDRESSES."""
    found: list[Address] = []
    for entry in _ENTRY.finditer(line):
        each = _entry(entry[0])
        if each is not None:
            found.append(each)
        if len(found) == ADDRESSES:
            break
    return found


def _entry(entry: str) -> Address | None:
    entry = entry.strip()
    if not entry:
        return None
    angles = list(_ANGLE.finditer(entry))
    if angles:
        angle = angles[-1]
        inner = angle[1].strip()
        name = _name(entry[: angle.start()])
        found = _ADDRESS.search(inner) or _QUOTED_ADDRESS.search(inner)
        if found is None:
            name = name or _name(inner)
            return Address(name, "") if name else None
        return Address(name, found[0].lower())
    comment = _COMMENT.search(entry)
    bare = _COMMENT.sub(" ", entry)
    found = _ADDRESS.search(bare) or _QUOTED_ADDRESS.search(bare)
    if found is not None:
        before = bare[: found.start()].rpartition(":")[2]
        return Address(_name(comment[1] if comment else before), found[0].lower())
    name = _name(bare.removesuffix(":"))
    # `undisclosed-recipients:;` names nobody.
    return None if not name or entry.endswith(":") else Address(name, "")


def _name(raw: str) -> str:
    text = raw.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    text = words(text.replace('\\"', '"').replace("\\\\", "\\")).strip().strip("\"'<>").strip()
    return text[:640]


def date(value: str) -> datetime | None:
    """Return a time as aware UTC; None where it is none, or outside 1970..2199.

    A time without a zone counts as UTC.
    """
    try:
        moment = _moment(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment is None or not YEAR_MIN <= moment.year <= YEAR_MAX:
        return None
    return moment


def _moment(value: str) -> datetime | None:
    parsed = parsedate_tz(value[:200])
    if parsed is None:
        found = _YEAR_FIRST.search(value[:200])
        if found is None:
            return None
        numbers = [int(each or 0) for each in found.groups()]
        return datetime(*numbers, tzinfo=UTC)  # type: ignore[arg-type,misc]  # six numbers
    zone = UTC if parsed[9] is None else timezone(timedelta(seconds=parsed[9]))
    year, month, day, hour, minute, second = parsed[:6]
    return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone).astimezone(UTC)


# What the parser of parameters raises on words that it does not expect.
_PARAMETER_ERRORS = (ValueError, LookupError, TypeError, AttributeError)


def _content(header: Header) -> Content:
    message = Message()
    for name in ("content-type", "content-disposition"):
        if name in header:
            message[name] = header.value(name)
    kind = header.value("content-type").partition(";")[0].strip().lower()
    content_id = header.value("content-id").strip("<> ")
    disposition = header.value("content-disposition").partition(";")[0].strip().lower()
    if disposition not in {"attachment", "inline", ""}:
        disposition = "attachment"  # RFC 2183, 2.8
    boundary = _parameter(message, "boundary")
    charset = _parameter(message, "charset")
    return Content(
        type=kind if kind.count("/") == 1 and len(kind) <= 127 else "text/plain",
        boundary=boundary.rstrip().encode("utf-8", "replace") if boundary else None,
        charset=charset if charset and _CHARSET.fullmatch(charset) else None,
        report=(_parameter(message, "report-type") or "").lower(),
        encoding=header.value("content-transfer-encoding").partition(";")[0].strip(" \"'").lower(),
        disposition=disposition,
        filename=_filename(message),
        id=content_id[:500] or None,
        declared="content-type" in header,
    )


def _parameter(message: Message, name: str) -> str | None:
    try:
        value = message.get_param(name)
    except _PARAMETER_ERRORS:
        return None
    if isinstance(value, tuple):
        value = value[2]
    return value if isinstance(value, str) else None


def _filename(message: Message) -> str | None:
    try:
        name = message.get_filename()
    except _PARAMETER_ERRORS:
        return None
    if not isinstance(name, str):
        return None
    return cleaned(words(_BLANKS.sub(" ", name))).strip()[:500] or None
