"""What watch is told of an event: all it needs, packed, and nothing that a reader must not see."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from klingel.contracts import codec
from klingel.domain.identity import object_of
from klingel.domain.signals import (
    RECORD_BYTES,
    RECORD_ROWS,
    TEXT_LENGTH,
    counted_of,
    is_packed,
    is_question,
    pack,
    post_of,
    records,
    row_of,
    says_something_new,
)
from klingel.model import BrandSignals, SocialEvent
from klingel.model.brand_signals import Signal
from klingel.model.social_event import Enrichment, Intent, Tone
from klingel.testing.conversations import said


def told(event: SocialEvent) -> Signal:
    row = row_of(event)
    assert row is not None
    return row


def test_a_row_says_what_the_event_says() -> None:
    """Masked where something is masked."""
    event = replace(
        said("1"),
        text="call 0171 1234567",
        text_public="call [phone]",
        enrichment=Enrichment(
            tone=Tone(label="negative", negative=0.8, neutral=0.1, positive=0.1),
            intents=[Intent(name="problem", score=0.9), Intent(name="question", score=0.5)],
            topics=["outage"],
            anger=0.4,
        ),
    )
    row = told(event)
    assert row.text == "call [phone]"
    assert (row.tone, row.intents, row.topics) == ("negative", ["problem", "question"], ["outage"])
    assert (row.event_id, row.conversation_id) == (event.event_id, event.conversation_id)
    assert object_of(row.event_id) == event.object_id
    assert event.author is not None
    assert row.author is not None
    assert event.author.id not in row.author


def test_a_reaction_says_nothing() -> None:
    """There is no row of it."""
    assert row_of(replace(said("1"), kind="reaction")) is None


def test_a_time_in_the_future_is_not_believed() -> None:
    """A row is never later than its receipt."""
    event = said("1")
    later = replace(event, published_at=event.received_at + timedelta(minutes=5))
    assert told(later).at == event.received_at


def test_a_long_text_is_cut_and_says_so() -> None:
    """So that a copy of it is known as one."""
    text = told(replace(said("1"), text="ä" * 30_000)).text
    assert text is not None
    assert len(text) == TEXT_LENGTH
    assert text.endswith("\u2026")


def test_rows_come_back_as_they_were_packed_by_brand() -> None:
    """In order, and valid by the schema's shape."""
    rows = [told(said(str(n), f"author{n}", n)) for n in range(20)]
    packed = [pack("north" if n % 3 else "south", row) for n, row in enumerate(rows)]
    assert all(map(is_packed, packed))
    back = {brand: codec.decode(BrandSignals, value) for brand, value in records(packed)}
    assert {brand: each.brand for brand, each in back.items()} == {
        "south": "south",
        "north": "north",
    }
    assert back["south"].rows == rows[::3]
    assert back["north"].rows == [row for n, row in enumerate(rows) if n % 3]


def test_records_are_bounded_in_rows_and_bytes() -> None:
    """A batch of the longest ids there can be fits what Kafka takes."""
    small = pack("b", told(said("1")))
    assert [
        len(codec.decode(BrandSignals, value).rows) for _, value in records([small] * 1_100)
    ] == [RECORD_ROWS, RECORD_ROWS, 100]
    large = replace(told(said("1")), conversation_id="x" * 1024, text="\u20ac" * 280)
    values = [value for _, value in records([pack("b", large)] * 600)]
    assert len(values) > 2
    assert max(map(len, values)) < RECORD_BYTES + 4_096


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({}, True),
        ({"mode": "gap_fill"}, True),
        ({"change": None}, True),
        ({"change": "completed"}, True),
        ({"mode": "backfill"}, False),
        ({"mode": "remap"}, False),
        ({"change": "updated"}, False),
        ({"change": "deleted"}, False),
    ],
)
def test_history_edits_and_deletions_are_no_news(fields: dict[str, str], counts: bool) -> None:
    """Each counts once, as it was first said."""
    assert says_something_new(replace(told(said("1")), **fields)) is counts


@pytest.mark.parametrize(
    ("fields", "asks"),
    [
        ({"intents": None}, True),
        ({"intents": ["praise", "question"]}, True),
        ({"intents": ["praise"]}, False),
        ({"direction": "outbound"}, False),
        ({"text": None}, False),
        ({"reposts": "x:network:1"}, False),
    ],
)
def test_who_wants_nothing_is_in_no_incident(fields: dict[str, object], asks: bool) -> None:
    """What is not known is not nothing."""
    assert is_question(replace(told(said("1")), **fields)) is asks


def test_a_row_as_others_see_it() -> None:
    """The same post for early warning, by its object, and for incidents, by its event."""
    row = replace(told(said("1")), topics=["outage"], reach=12, tone="negative")
    at = row.at.timestamp()
    post, counted = post_of(row, at), counted_of(row, object_of(row.event_id), at)
    assert post.at == counted.at == row.at.timestamp()
    assert post.id == row.event_id
    assert counted.event_id == object_of(row.event_id)
    assert (counted.reach, counted.topics, counted.tone) == (12.0, ["outage"], "negative")
    assert f"{counted.author:016x}" == row.author


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_passes_through(text: str) -> None:
    """Byte for byte up to the cut."""
    row = told(replace(said("1"), text=text))
    ((_, value),) = records([pack("b", row)])
    assert codec.decode(BrandSignals, value).rows == [row]
