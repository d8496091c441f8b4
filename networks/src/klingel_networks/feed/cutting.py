"""Cuts a feed's document into the bytes of its entries; pure.

An entry is read alone later, so its context holds what it needs of the document: the declaration,
the outermost tag with its namespaces, and the language. Where entries cannot be cut out of the bytes (UTF-16, markup
that no parser of XML reads), each entry is the whole document and its place in it.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from xml.parsers import expat

from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.feed.reading import Entry, json_items, read_document

OPENING: Final = "opening"
"""Key of the context: what stands before an entry so that it can be read alone."""
INDEX: Final = "index"
"""Key of the context: the entry's place in the document, where it could not be cut out."""
LANGUAGE: Final = "language"
"""Key of the context: the language of an entry that was cut out, which its feed may have told."""
ENTRIES_MAX: Final = 10_000
_OPENING_MAX: Final = 16_384
_LANGUAGE_MAX: Final = 64
_ENTRIES: Final = frozenset({"item", "entry"})
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff", b"<\x00", b"\x00<", b"\x00\x00")


class Piece(NamedTuple):
    """One entry: its bytes, what its context gets, and what it says where that is known."""

    native: bytes
    context: Mapping[str, str]
    entry: Entry | None = None


def cut(body: bytes, context: Mapping[str, str]) -> list[Piece]:
    """Return the entries of a document, in its order.

    Raises:
        InvalidMessage: it is no feed, or holds more than ENTRIES_MAX entries.
    """
    items = json_items(body)
    if items is not None:
        _check_count(len(items))
        return [Piece(item, context) for item in items]
    found = read_document(body, context)
    _check_count(len(found))
    if not found:
        return []
    pieces = _cut_out(body, found, context)
    if pieces is not None:
        return pieces
    whole = body.strip()
    return [Piece(whole, {**context, INDEX: str(at)}, entry) for at, entry in enumerate(found)]


def _check_count(count: int) -> None:
    if count > ENTRIES_MAX:
        raise InvalidMessage(
            ErrorType.TOO_LARGE, f"the feed holds more than {ENTRIES_MAX:,} entries"
        )


def _cut_out(body: bytes, found: list[Entry], context: Mapping[str, str]) -> list[Piece] | None:
    """Return the entries as bytes; None where that does not give what the whole document says."""
    if body[:2] in _WIDE or b"\x00" in body[:64]:
        return None
    spans = _spans(body)
    if spans is None or len(spans.entries) != len(found):
        return None
    opening = body[: spans.opening].decode("latin-1")
    if len(opening) > _OPENING_MAX:
        return None
    alone = {**context, OPENING: opening}
    pieces = [
        Piece(body[start:end], _with_language(alone, entry.lang), entry)
        for (start, end), entry in zip(spans.entries, found, strict=True)
    ]
    # The first one stands for all: what the outer tags mean for an entry, they mean for each.
    first = read_document(reopened(pieces[0].native, alone), alone)
    if len(first) != 1 or first[0].said() != found[0].said():
        return None
    return pieces


def _with_language(alone: Mapping[str, str], told: str | None) -> Mapping[str, str]:
    return {**alone, LANGUAGE: told} if told and len(told) <= _LANGUAGE_MAX else alone


class _Spans(NamedTuple):
    opening: int
    entries: list[tuple[int, int]]


def _spans(body: bytes) -> _Spans | None:
    """Return where the outermost tag ends and where each entry begins and ends."""
    parser = expat.ParserCreate()
    depth, opening, start, within = 0, -1, -1, 0
    entries: list[tuple[int, int]] = []

    def begun(name: str, _: dict[str, Any]) -> None:
        nonlocal depth, opening, start, within
        if depth == 1 and opening < 0:
            opening = parser.CurrentByteIndex
        depth += 1
        if start < 0 and depth > 1 and name.rpartition(":")[2] in _ENTRIES:
            start, within = parser.CurrentByteIndex, depth

    def ended(_: str) -> None:
        nonlocal depth, start
        if start >= 0 and depth == within:
            end = body.find(b">", parser.CurrentByteIndex) + 1
            entries.append((start, end))
            start = -1
        depth -= 1

    parser.StartElementHandler = begun
    parser.EndElementHandler = ended
    try:
        parser.Parse(body, True)  # noqa: FBT003 - expat's own signature
    except (expat.ExpatError, ValueError):
        return None
    # Before the first child of the outermost tag stands that tag itself, and blanks.
    opened = body.rfind(b">", 0, opening) + 1 if opening > 0 else 0
    return _Spans(opened, entries) if opened else None


def reopened(native: bytes, context: Mapping[str, str]) -> bytes:
    """Return a document of one entry."""
    opening = context.get(OPENING)
    if opening is None:
        return native
    return opening.encode("latin-1", "replace") + native
