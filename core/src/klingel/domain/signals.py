"""What watch needs of a social event: one row, packed with the others of its brand and batch.

packed = pack(event.brand, row_of(event))         # understand, on every event
values = records([packed, ...])                   # understand, once a batch
for row in codec.decode(BrandSignals, value).rows: ...
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from klingel.domain.alert_evidence import Row
from klingel.domain.facts import customer_of
from klingel.domain.identity import hash64
from klingel.domain.incidents import Post
from klingel.domain.triage import believed_time, is_nobodys_word, tone_of
from klingel.model import SocialEvent
from klingel.model.brand_signals import Signal

TEXT_LENGTH: Final = 280
"""Code points of a text that a row carries; a longer one ends with an ellipsis."""

RECORD_ROWS: Final = 500
"""Most rows of one record."""

RECORD_BYTES: Final = 262_144
"""Length from which on a record takes no further row."""

SILENT_KINDS: Final = frozenset({"reaction"})
"""Kinds of which there is no row: nobody said anything."""

ASKS_NOTHING: Final = frozenset({"praise", "spam", "feedback", "other"})
"""Intents that ask for nothing: posts with no other one are in no incident."""

_Id = Annotated[str, Meta(min_length=1, max_length=1024)]
_Time = Annotated[datetime, Meta(tz=True)]


class Heard(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A row as watch reads it: the fields of a Signal that it uses, see there.

    A third of the time of a Signal: what the schema says by patterns is left to whoever reads it.
    """

    event_id: Annotated[str, Meta(min_length=1, max_length=1100)]
    conversation_id: _Id
    at: _Time
    received_at: _Time
    mode: Literal["live", "gap_fill", "backfill", "remap"]
    network: Annotated[str, Meta(max_length=40)]
    direction: Literal["inbound", "outbound", "third_party"]
    channel: Annotated[str, Meta(max_length=256)] | None = None
    change: Literal["created", "updated", "deleted", "completed"] | None = None
    customer_id: _Id | None = None
    author: Annotated[str, Meta(min_length=16, max_length=16)] | None = None
    reach: Annotated[int, Meta(ge=0)] | None = None
    addressed: bool | None = None
    tone: Literal["negative", "neutral", "positive"] | None = None
    intents: Annotated[list[Annotated[str, Meta(max_length=40)]], Meta(max_length=9)] | None = None
    topics: Annotated[list[Annotated[str, Meta(max_length=60)]], Meta(max_length=50)] | None = None
    lang: Annotated[str, Meta(max_length=12)] | None = None
    fingerprint: Annotated[str, Meta(max_length=64)] | None = None
    text: Annotated[str, Meta(max_length=280)] | None = None
    reposts: _Id | None = None


AnyRow = Signal | Heard

_FIRST_SAID: Final = frozenset({None, "created", "completed"})
_MARK: Final = b"signal "
_ENCODER = msgspec.json.Encoder()


def row_of(event: SocialEvent) -> Signal | None:
    """Return the row of an event; None where it says nothing."""
    if event.kind in SILENT_KINDS or is_nobodys_word(event):
        return None
    enrichment, author = event.enrichment, event.author
    lang = event.lang
    text = event.text_public if event.text_public is not None else event.text
    if text is not None and len(text) > TEXT_LENGTH:
        text = text[: TEXT_LENGTH - 1] + "\u2026"
    intents = enrichment.intents if enrichment is not None else None
    return Signal(
        event_id=event.event_id,
        conversation_id=event.conversation_id,
        at=min(believed_time(event), event.received_at),
        received_at=event.received_at,
        mode=event.origin.mode,
        network=event.network,
        direction=event.direction,
        channel=event.channel,
        change=event.change,
        kind=event.kind,
        customer_id=customer_of(event),
        author=hash64(event.network, author.id) if author is not None else None,
        reach=author.followers if author is not None else None,
        addressed=event.addressing == "direct",
        tone=tone_of(event),  # type: ignore[arg-type] # one of the schema's words
        intents=[intent.name for intent in intents[:9]] if intents else None,
        topics=(enrichment.topics or [])[:50] or None if enrichment is not None else None,
        anger=enrichment.anger if enrichment is not None else None,
        lang=lang.code if lang is not None else None,
        fingerprint=event.fingerprint,
        text=text,
        reposts=event.reposts,
    )


def pack(brand: str, row: Signal) -> bytes:
    """Return a row as it is handed from a step to the end of its batch."""
    return _MARK + brand.encode() + b" " + _ENCODER.encode(row)


def is_packed(row: bytes) -> bool:
    """Whether something handed on is a packed row."""
    return row.startswith(_MARK)


def records(packed: Iterable[bytes]) -> Iterable[tuple[str, bytes]]:
    """Yield (brand, value) of the records of packed rows, in the order of the brands' first rows.

    The rows are JSON already; nothing is encoded twice.
    """
    of_brand: dict[bytes, list[bytes]] = {}
    for each in packed:
        brand, _, row = each[len(_MARK) :].partition(b" ")
        of_brand.setdefault(brand, []).append(row)
    for brand, rows in of_brand.items():
        for some in _pieces(rows):
            yield brand.decode(), b'{"brand":"' + brand + b'","rows":[' + b",".join(some) + b"]}"


def _pieces(rows: Iterable[bytes]) -> Iterable[list[bytes]]:
    some: list[bytes] = []
    length = 0
    for row in rows:
        some.append(row)
        length += len(row)
        if len(some) >= RECORD_ROWS or length >= RECORD_BYTES:
            yield some
            some, length = [], 0
    if some:
        yield some


def says_something_new(row: AnyRow) -> bool:
    """Whether a row counts: an edit or a deletion is not a further word, and history is no news."""
    return row.change in _FIRST_SAID and row.mode in {"live", "gap_fill"}


def is_dated(row: AnyRow) -> bool:
    """Whether it is known when it was said.

    What fills a gap and bears the time of its arrival piled up there, and counts for no time.
    """
    return row.mode != "gap_fill" or row.at < row.received_at


def is_history(row: AnyRow) -> bool:
    """Whether a row is no news, and tells what was usual: somebody's word from an import."""
    return row.mode == "backfill" and row.direction == "inbound" and row.change in _FIRST_SAID


def is_question(row: AnyRow) -> bool:
    """Whether somebody asks or complains in words of their own; unknown is not nothing."""
    if row.direction != "inbound" or not row.text or row.reposts is not None:
        return False
    return not row.intents or not ASKS_NOTHING.issuperset(row.intents)


def post_of(row: AnyRow, at: float, heard: float = 0.0) -> Post:
    """Return a row, said at seconds since 1970, as the search for incidents sees it.

    Args:
        row: what was heard.
        at: when it was said.
        heard: boundary that had passed then; see `Post`.
    """
    return Post(
        id=row.event_id,
        at=at,
        conversation=row.conversation_id,
        text=row.text or "",
        author=row.author,
        customer=row.customer_id,
        network=row.network,
        intents=tuple(row.intents or ()),
        topics=tuple(row.topics or ()),
        heard=heard,
    )


def counted_of(row: AnyRow, object_id: str, at: float) -> Row:
    """Return a row, of an object and said at seconds since 1970, as early warning sees it."""
    return Row(
        object_id,
        at,
        row.tone,
        row.topics or (),
        int(row.author, 16) if row.author is not None else None,
        float(row.reach or 0),
        row.network,
        row.text or "",
        row.fingerprint,
    )


def at_time(seconds: float) -> datetime:
    """Return the aware time of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
