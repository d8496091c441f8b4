"""Traces: the sender's id reaches the document; what is hostile or absent gets an id of ours."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts.envelope import Message, incoming_trace, trace_id, trace_of
from klingel.contracts.topics import Topic
from klingel.testing.broker import InMemoryBroker
from klingel_connectors.raw import Heard, Origin, raw_output, read_delivery
from klingel_indexer.convert import Write, convert
from klingel_networks.contract import Delivery
from klingel_networks.registry import installed_network
from klingel_processors.care.logic import CareLogic
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.hearing import World
from klingel_processors.understand.logic import UnderstandLogic

from ...ringing import CHANNEL, NOON, SOURCE, brand, generic

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    "value",
    [GOOD, GOOD.encode(), f"00-{TRACE}-{PARENT}-00", f"cc-{TRACE}-{PARENT}-01-what-comes-later"],
)
def test_a_trace_of_the_standard_is_taken(value: str | bytes) -> None:
    assert incoming_trace(value) == TRACE


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "00",
        GOOD.upper(),
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD}-more",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
        f"cc-{TRACE}-{PARENT}-01-{'x' * 10_000}",
        "\u0660\u0660-" + GOOD[3:],
        "👋" * 20_000,
        "00-" * 100_000,
    ],
)
def test_anything_else_is_ignored(value: str | None) -> None:
    assert incoming_trace(value) is None


@given(st.one_of(st.text(max_size=80), st.binary(max_size=80)))
def test_nothing_from_outside_raises(value: str | bytes) -> None:
    found = incoming_trace(value)
    assert found is None or (len(found) == 32 and int(found, 16) > 0)


def test_a_message_without_a_trace_is_of_its_object() -> None:
    bare = Message(Topic.RAW_EVENTS, 0, 0, None, None)
    assert trace_of(bare, "x:network:1") == trace_id("x:network:1")
    told = Message(Topic.RAW_EVENTS, 0, 0, None, None, (("traceparent", GOOD.encode()),))
    assert trace_of(told, "x:network:1") == TRACE


def indexed(trace: str | None) -> tuple[list[Message], dict[str, Any]]:
    """Let one post ring, through every stage; return all records and its document."""
    told = brand(channels=[{"network": "webhook", "id": CHANNEL}])
    brands = {told.brand: told}
    broker = InMemoryBroker(partitions=1)
    origin = Origin("webhook", "webhook-1", "webhook", channel=CHANNEL)
    delivery = Delivery(json.dumps(generic("1")).encode(), {"source": SOURCE})
    (heard,) = read_delivery(installed_network("webhook"), delivery, origin, "live", NOON)
    assert isinstance(heard, Heard)
    broker.append(raw_output(heard.raw, trace))
    later = NOON + timedelta(minutes=1)
    understand = StageInMemory(
        broker,
        lambda number: UnderstandLogic(
            number,
            networks=installed_network,
            detect=lambda _text: ("de", 0.9),
            readers=lambda _model: None,
            originals=lambda _reference: b"",
            world=lambda: World(brands, {}),
        ),
        lambda: later,
    )
    care = StageInMemory(
        broker, lambda number: CareLogic(number, brands=lambda: brands), lambda: later
    )
    understand.drain()
    care.drain()
    (routed,) = broker.messages(Topic.ROUTED_EVENTS)
    write = convert(routed, "klingel-", "2026-03-02T12:01:00Z")
    assert isinstance(write, Write)
    path = (
        Topic.RAW_EVENTS,
        Topic.SOCIAL_EVENTS,
        Topic.ROUTED_EVENTS,
        Topic.CASES,
        Topic.CASE_EVENTS,
    )
    return [each for topic in path for each in broker.messages(topic)], json.loads(write.body)


@pytest.mark.parametrize("trace", [TRACE, None])
def test_a_trace_goes_from_the_first_record_to_the_document(trace: str | None) -> None:
    records, document = indexed(trace)
    expected = trace or trace_id("webhook:forum:1")
    assert document["trace_id"] == expected
    assert len(records) >= 5
    for record in records:
        assert incoming_trace(record.header("traceparent")) == expected, record.topic
    spans = [(record.header("traceparent") or b"").split(b"-")[2] for record in records]
    assert len(set(spans)) == len(spans), "each record is a step of its own"


def test_what_is_done_twice_has_the_same_trace() -> None:
    once, again = indexed(TRACE), indexed(TRACE)
    assert [each.headers for each in once[0]] == [each.headers for each in again[0]]
    assert once[1] == again[1]
