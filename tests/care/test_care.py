"""What care writes for each event, and how its state comes back from its own output."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from klingel.contracts import codec
from klingel.contracts.envelope import QUEUE_HEADER, SOURCE_HEADER, Output
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.errors import SourceUnavailable
from klingel.model import Case, SocialEvent
from klingel.model.social_event import Enrichment
from klingel.stage.fates import Fate
from klingel.testing.conversations import NOON, ROOT, answered, compiled_brand, deleted, said

from .conftest import Desk


def test_an_opener_writes_its_decision_first_then_what_it_caused(desk: Desk) -> None:
    """Routed event, case events, the record, the tracking: in order, numbered, at one place."""
    outcome = desk.hear(said("1"))
    assert (outcome.fate, outcome.reason, outcome.network) == (Fate.DELIVERED, "opened", "bluesky")
    topics = [output.topic for output in outcome.outputs]
    assert topics[0] is Topic.ROUTED_EVENTS
    assert topics[-2:] == [Topic.TRACKED_CONVERSATIONS, Topic.CASES]
    assert set(topics[1:-2]) == {Topic.CASE_EVENTS}
    positions = [dict(output.headers)[SOURCE_HEADER] for output in outcome.outputs]
    assert positions == [b"social-events/0/0/%d" % n for n in range(len(outcome.outputs))]
    place = conversation_key("nordlicht", ROOT)
    assert {output.partition_key for output in outcome.outputs} == {place}


def test_the_queue_stands_in_a_header_of_the_routed_event(desk: Desk) -> None:
    """Consumers of one queue need not read the value; what has no queue has no header."""
    opened, idle = desk.hear(said("1")), desk.hear(said("2", "carl", kind="repost"))
    assert dict(opened.outputs[0].headers)[QUEUE_HEADER] == b"first"
    assert QUEUE_HEADER not in dict(idle.outputs[0].headers)


def test_the_routed_event_carries_the_social_event_byte_for_byte(desk: Desk) -> None:
    """Unknown fields of a newer understand pass through."""
    desk.hear(said("1"))
    (message,) = desk.written(Topic.SOCIAL_EVENTS)
    (routed,) = desk.routed()
    assert bytes(routed.event) == message.value


def test_a_conversation_is_tracked_from_its_first_open_case_to_its_last(desk: Desk) -> None:
    """One record when the first opens, a tombstone when the last closes, none in between."""
    desk.hear(said("1", "anna", 0))
    desk.hear(said("2", "anna", 1))
    desk.hear(said("3", "bert", 2))
    assert len(desk.written(Topic.TRACKED_CONVERSATIONS)) == 1
    desk.hear(answered("4", 3, in_reply_to="1"))
    desk.hear(answered("5", 4, in_reply_to="3"))
    tracked = desk.written(Topic.TRACKED_CONVERSATIONS)
    assert {message.key for message in tracked} == {conversation_key("nordlicht", ROOT)}
    assert tracked[-1].value is None
    assert all(message.value is not None for message in tracked[:-1])
    assert desk.broker.compacted(Topic.TRACKED_CONVERSATIONS) == {}


def test_a_repeated_event_writes_nothing(desk: Desk) -> None:
    """Same event again, at the same place or another: counted, and nothing else."""
    desk.hear(said("1"))
    again = desk.hear(said("1"))
    assert (again.fate, again.outputs, again.puts) == (Fate.REPEATED, (), ())
    desk.stage.replay()
    assert {outcome.fate for outcome in desk.stage.drain()} == {Fate.REPEATED}


def test_what_another_model_finds_is_a_new_decision_and_no_new_case(desk: Desk) -> None:
    """A remap replaces the document; the case, its clock and its queue stay."""
    event = said("1")
    desk.hear(event)
    found = replace(event, enrichment=Enrichment(anger=0.5, models=["shipped/2"]))
    remapped = replace(found, origin=replace(event.origin, mode="remap"))
    assert desk.hear(remapped).fate is Fate.DELIVERED
    first, second = desk.routed()
    assert (first.decision.number, second.decision.number) == (0, 1)
    assert first.decision.case_id == second.decision.case_id
    assert desk.hear(remapped).fate is Fate.REPEATED


def test_what_is_read_anew_and_needs_no_answer_now_keeps_its_case(desk: Desk) -> None:
    """A configuration that changed since then withdraws nobody's case."""
    event = said("1")
    desk.hear(event)
    found = Enrichment(models=["shipped/2"])
    silent = replace(
        event, kind="reaction", origin=replace(event.origin, mode="remap"), enrichment=found
    )
    desk.hear(silent)
    desk.hear(replace(silent, origin=event.origin, enrichment=Enrichment(models=["shipped/3"])))
    (case,) = [codec.decode(Case, value) for value in desk.broker.compacted(Topic.CASES).values()]
    assert (case.state, case.queue) == ("open", "first")
    assert len(desk.broker.compacted(Topic.TRACKED_CONVERSATIONS)) == 1


def test_an_event_of_a_brand_whose_configuration_is_late_waits(desk: Desk) -> None:
    """For a minute after it was written the follower may just be slower."""
    desk.brands.clear()
    desk.now = NOON + timedelta(seconds=30)
    with pytest.raises(SourceUnavailable):
        desk.hear(said("1"))


def test_an_event_of_an_unknown_brand_is_a_dead_letter(desk: Desk) -> None:
    """After that minute nobody will come."""
    desk.brands.clear()
    desk.now = NOON + timedelta(seconds=90)
    outcome = desk.hear(said("1"))
    assert (outcome.fate, outcome.reason) == (Fate.DEAD_LETTERED, "unknown_brand")


@pytest.mark.parametrize("value", [b"{", b"[]", b"{}", None])
def test_what_is_no_social_event_is_a_dead_letter(desk: Desk, value: bytes | None) -> None:
    """Garbage, and a tombstone, which this topic does not have."""
    desk.broker.append(Output(Topic.SOCIAL_EVENTS, b"k", value))
    (outcome,) = desk.stage.drain()
    assert outcome.fate is Fate.DEAD_LETTERED
    assert desk.written(Topic.DEAD_LETTERS)[0].value == value


NAMES = st.sampled_from(["1", "2", "3", "4"])
AUTHORS = st.sampled_from(["anna", "bert"])
CONVERSATIONS = st.sampled_from([ROOT, "bluesky:network:other"])


@st.composite
def events(draw: st.DrawFn) -> SocialEvent:
    """One word in one of two conversations."""
    shape = draw(st.sampled_from(["said", "said", "edited", "answered", "deleted"]))
    name, minute = draw(NAMES), draw(st.integers(0, 60))
    conversation = draw(CONVERSATIONS)
    if shape == "answered":
        parent = draw(st.none() | NAMES)
        name = f"answer{name}"
        return answered(name, minute, in_reply_to=parent, conversation=conversation)
    if shape == "deleted":
        return deleted(name, minute)
    revision = draw(st.integers(1, 3)) if shape == "edited" else 0
    return said(
        name,
        draw(AUTHORS),
        minute,
        conversation=conversation,
        revision=revision,
        change="updated" if revision else "created",
        text=draw(st.sampled_from(["my line is dead", "still dead"])),
        kind=draw(st.sampled_from(["reply", "reply", "repost"])),
    )


HISTORIES = st.lists(events(), min_size=1, max_size=16)


@pytest.mark.exhaustive
@settings(max_examples=80, deadline=None)
@given(HISTORIES, st.data())
def test_restored_state_equals_the_live_one(history: list[SocialEvent], data) -> None:
    """Whenever the worker is replaced, `cases` with its tombstones tells all that it knew."""
    desk = Desk()
    for event in history:
        desk.hear(event)
        if data.draw(st.booleans()):
            live = desk.state()
            desk.stage.restart()
            assert desk.state() == live


def test_a_withdrawn_case_stays_in_its_topic_and_goes_on_when_the_customer_returns(
    desk: Desk,
) -> None:
    """Who reads `cases` by the highest revision sees it close, and later the new one open."""
    away = timedelta(minutes=60)
    desk.hear(said("1", "anna", 0, received_after=away))
    desk.hear(said("2", "anna", 1, addressing="indirect", received_after=away))
    desk.hear(deleted("1", 5))
    key = f"nordlicht:{ROOT}:anna#1".encode()
    (tracked,) = desk.written(Topic.TRACKED_CONVERSATIONS)[-1:]
    assert tracked.value is None
    desk.stage.restart()
    desk.hear(said("3", "anna", 90))
    records = [
        codec.decode(Case, message.value)
        for message in desk.written(Topic.CASES)
        if message.key == key
    ]
    assert [(each.revision, each.state, len(each.facts)) for each in records] == [
        (1, "open", 1),
        (2, "open", 2),
        (3, "closed", 0),
        (4, "open", 1),
    ]
    assert records[2].closed_because == "withdrawn"


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_compacted_cases_restore_the_same_state(history: list[SocialEvent]) -> None:
    """Compaction may take every record but the last of a key, and all tombstones."""
    desk = Desk()
    for event in history:
        desk.hear(event)
    live = without_tokens(desk.state())
    compacted = desk.broker.compacted(Topic.CASES)
    desk.broker._logs[Topic.CASES, 0] = [
        message
        if message is not None and compacted.get(message.key or b"") == message.value
        else None
        for message in desk.broker._logs[Topic.CASES, 0]
    ]
    desk.stage.restart()
    assert without_tokens(desk.state()) == live


def without_tokens(state: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the state but for which record was written last: a tombstone may be gone."""
    return {
        key: value.partition(b",")[2] if key.startswith(b"n") else value
        for key, value in state.items()
    }


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_a_replay_of_everything_writes_nothing_new(history: list[SocialEvent]) -> None:
    """Same cases, same case events; of routed events only such as were written before (I5)."""
    desk = Desk()
    for event in history:
        desk.hear(event)
    before = {topic: _identities(desk, topic) for topic in Topic}
    state = desk.state()
    desk.stage.replay()
    desk.stage.drain(3)
    assert desk.state() == state
    for topic in (Topic.CASE_EVENTS, Topic.ROUTED_EVENTS):
        assert _identities(desk, topic) == before[topic]
    assert len(desk.written(Topic.DEAD_LETTERS)) == 0


def _identities(desk: Desk, topic: Topic) -> set[bytes | None]:
    return {message.header("ce_id") for message in desk.written(topic)}


def test_rules_route_and_explain(desk: Desk) -> None:
    """The decision names the rule that hit and those that did not."""
    desk.brands["nordlicht"] = compiled_brand(
        queues=[{"id": "first"}, {"id": "billing"}],
        routing=[
            {"id": "refund", "when": "refund", "queue": "first"},
            {"id": "bill", "when": "bill OR rechnung", "queue": "billing", "priority": 5},
        ],
    )
    desk.hear(said("1", text="my bill is wrong"))
    decision = desk.routed()[0].decision
    assert (decision.queue, decision.rule) == ("billing", "bill")
    assert decision.explain == [
        "refund: its query does not hit",
        "bill: hits, queue billing, priority +5",
    ]


def test_a_queue_that_declares_a_topic_gets_its_events_there_too() -> None:
    """The same record at the same place, written with the same transaction."""
    brand = compiled_brand(queues=[{"id": "first", "topic": True}, {"id": "second"}])
    desk = Desk(brand)
    desk.hear(said("1"))
    desk.hear(said("2", "bert", addressing="indirect"))
    ((place, (record,)),) = desk.broker.beside.items()
    assert place == ("queue-nordlicht-first", 0)
    routed = desk.broker.messages(Topic.ROUTED_EVENTS)[0]
    assert (record.key, record.value) == (routed.key, routed.value)
