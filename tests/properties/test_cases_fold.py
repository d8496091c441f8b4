"""The fold under arbitrary arrival: order, repetition and cuts change nothing that matters."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.domain import conversation
from klingel.domain.cases import ConversationState, FoldOutcome, Route, fold_event, tracked_of
from klingel.domain.identity import hash64
from klingel.domain.routing import route
from klingel.domain.triage import TriageReason
from klingel.model.case import Case
from klingel.model.social_event import Enrichment, SocialEvent
from klingel.testing.conversations import NOON, answered, compiled_brand, deleted, said

ROUTING = [
    {"id": "outage", "when": "dead", "queue": "technical", "priority": 50},
    {"id": "money", "when": "bill", "queue": "billing"},
]
QUEUES = [{"id": "first"}, {"id": "technical"}, {"id": "billing"}]
BRANDS = {
    close_when: compiled_brand(
        routing=ROUTING,
        queues=QUEUES,
        cases={"close_when": close_when, "reopen_within_days": 1},
        triage={"utterance_seconds": 3600},
    )
    for close_when in ("never", "answered")
}
CUSTOMERS = ("anna", "ben", "cem")
TEXTS = ("my line is dead", "the bill is wrong", "hello there")
MINUTES = st.integers(0, 60 * 72) | st.integers(0, 90)

Placed = tuple[int, SocialEvent]


@st.composite
def words(draw: st.DrawFn, name: str, others: Sequence[str]) -> list[SocialEvent]:
    """One customer's object with its edits and perhaps its deletion."""
    author = draw(st.sampled_from(CUSTOMERS))
    minute = draw(MINUTES)
    make = partial(
        said,
        name,
        author,
        minute,
        kind=draw(st.sampled_from(["reply", "reply", "reply", "repost", "reaction", "unknown"])),
        in_reply_to=draw(st.sampled_from([None, *others])),
    )
    lag = timedelta(minutes=draw(st.sampled_from([0, 1, 60 * 24 * 8])))
    revisions = sorted(draw(st.sets(st.integers(0, 3), min_size=1, max_size=3)))
    events = [
        make(
            text=draw(st.sampled_from(TEXTS)),
            revision=revision,
            change="updated" if revision else "created",
            addressing=draw(st.sampled_from(["direct", "direct", "indirect"])),
            mode=draw(st.sampled_from(["live", "live", "live", "gap_fill", "backfill"])),
            received_after=lag + timedelta(minutes=revision),
        )
        for revision in revisions
    ]
    if draw(st.integers(0, 3)) == 0:
        events.append(read_anew(draw(st.sampled_from(events))))
    if draw(st.integers(0, 3)) == 0:
        after = minute + draw(st.integers(0, 600))
        # One revision is one event: it is not an edit and a deletion at once.
        revision = draw(st.sampled_from(sorted({2, 4, 2**42 - 1} - set(revisions))))
        events.append(deleted(name, after, revision))
    return events


def read_anew(event: SocialEvent) -> SocialEvent:
    """Return what a remap makes of an event: the same, found by another model."""
    return replace(
        event,
        origin=replace(event.origin, mode="remap"),
        enrichment=Enrichment(models=["shipped/2"]),
    )


@st.composite
def answers(draw: st.DrawFn, name: str, others: Sequence[str]) -> list[SocialEvent]:
    """One post of the brand, to an object, by mention, or to nobody."""
    minute = draw(MINUTES)
    event = answered(
        name,
        minute,
        in_reply_to=draw(st.sampled_from([None, "root", *others])),
        mentions=draw(st.sampled_from([(), (), ("anna",), ("nobody", "ben")])),
    )
    events = [event]
    if draw(st.integers(0, 4)) == 0:
        events.append(deleted(name, minute + 30))
    return events


@st.composite
def conversations(draw: st.DrawFn) -> list[SocialEvent]:
    """All events of a conversation, in the order in which they were made up."""
    count = draw(st.integers(1, 6))
    names = ["root", *(f"w{number}" for number in range(count))]
    events: list[SocialEvent] = []
    for name in names[draw(st.integers(0, 1)) :]:
        events += draw(words(name, names))
    brand_posts = draw(st.integers(0, 3))
    for number in range(brand_posts):
        posts = [f"b{other}" for other in range(brand_posts) if other != number]
        events += draw(answers(f"b{number}", [*names, *posts]))
    return events


@st.composite
def orders(draw: st.DrawFn, placed: Sequence[Placed]) -> list[Placed]:
    """Any order of arrival, but that nothing is read anew before it was read."""
    order = draw(st.permutations(placed))
    first: dict[str, int] = {}
    for at, (_, event) in enumerate(order):
        if event.event_id not in first:
            first[event.event_id] = at
        elif event.origin.mode != "remap":
            earlier = first[event.event_id]
            order[earlier], order[at] = order[at], order[earlier]
    return order


def router(brand: CompiledBrand) -> Route:
    """Route by the brand's rules."""
    return lambda event, again: route(event, brand, again=again)


def fold(
    brand: CompiledBrand, arrivals: Sequence[Placed], state: ConversationState | None = None
) -> tuple[ConversationState, list[FoldOutcome]]:
    """Fold the events one after the other, each with its position in social-events."""
    outcomes = []
    state = state or ConversationState()
    for number, (offset, event) in enumerate(arrivals):
        now = NOON + timedelta(days=10, seconds=number)
        outcome = fold_event(state, event, (0, offset), router(brand), brand, now)
        outcomes.append(outcome)
        state = outcome.state
    return state, outcomes


def essence(state: ConversationState) -> dict[str, dict[str, Any]]:
    """Everything but revision, decision numbers and positions, by record id.

    A case that was withdrawn on the way says nothing: it may never have been opened in another
    order.
    """
    for record in state.withdrawn.values():
        assert (record.state, record.closed_because) == ("closed", "withdrawn")
        assert not record.facts
        assert record.summary is None
    return {
        record.case_id: _essence(record)
        for record in state.records()
        if record.case_id not in state.withdrawn
    }


def _essence(record: Case) -> dict[str, Any]:
    content = msgspec.to_builtins(record)
    del content["revision"]
    for fact in content["facts"]:
        fact.pop("origin", None)
        fact.pop("decision", None)
    return content


@pytest.mark.exhaustive
@pytest.mark.parametrize("close_when", ["never", "answered"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=conversations(), data=st.data())
def test_order_and_repetition_of_arrival_change_no_case(
    close_when: str, events: list[SocialEvent], data: st.DataObject
) -> None:
    brand = BRANDS[close_when]
    placed = list(enumerate(events))
    expected, _ = fold(brand, placed)
    shuffled = data.draw(orders(placed))
    repeated = data.draw(st.lists(st.sampled_from(placed), max_size=5))
    state, _ = fold(brand, [*shuffled, *repeated])
    assert essence(state) == essence(expected)
    assert tracked_of(state) == tracked_of(expected)


@pytest.mark.exhaustive
@pytest.mark.parametrize("close_when", ["never", "answered"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=conversations())
def test_a_replay_changes_nothing_and_is_repeated(
    close_when: str, events: list[SocialEvent]
) -> None:
    brand = BRANDS[close_when]
    placed = list(enumerate(events))
    state, _ = fold(brand, placed)
    remembered = {fact.object for record in state.records() for fact in record.facts}
    again, outcomes = fold(brand, placed, state)
    assert again == state
    for outcome in outcomes:
        assert not outcome.changed
        assert not outcome.removed
        assert not outcome.case_events
    for event, outcome in zip(events, outcomes, strict=True):
        # A root that opens nothing is not remembered, so it passes again, to the same decision.
        forgotten = event.object_id == event.conversation_id and event.revision == 0
        assert outcome.repeated or (forgotten and outcome.decision.case_id is None)
        assert outcome.repeated <= (_object(event) in remembered)


def _object(event: SocialEvent) -> str:
    return hash64(event.object_id)


@pytest.mark.exhaustive
@pytest.mark.parametrize("close_when", ["never", "answered"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=conversations(), data=st.data())
def test_folding_only_what_an_event_can_reach_gives_the_same_as_folding_all(
    close_when: str, events: list[SocialEvent], data: st.DataObject
) -> None:
    """Large conversations look at the reach of an event alone: no outcome may tell."""
    placed = data.draw(orders(list(enumerate(events))))
    _, expected = fold(BRANDS[close_when], placed)
    with patch.object(conversation, "SMALL", 0):
        _, outcomes = fold(BRANDS[close_when], placed)
    for outcome, other in zip(outcomes, expected, strict=True):
        assert outcome.state == other.state
        assert sorted(outcome.changed, key=_identity) == sorted(other.changed, key=_identity)
        assert sorted(outcome.removed) == sorted(other.removed)
        assert outcome.decision == other.decision
        assert set(map(repr, outcome.case_events)) == set(map(repr, other.case_events))
        assert outcome.repeated == other.repeated


def _identity(record: Case) -> str:
    return record.case_id


@pytest.mark.exhaustive
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=conversations(), data=st.data())
def test_an_old_state_folds_on_as_before_when_a_newer_one_has_gone_on(
    events: list[SocialEvent], data: st.DataObject
) -> None:
    """States are values: what was made of one of them does not change it."""
    placed = data.draw(orders(list(enumerate(events))))
    with patch.object(conversation, "SMALL", 0):
        middle, _ = fold(BRANDS["answered"], placed[: len(placed) // 2])
        once, _ = fold(BRANDS["answered"], placed[len(placed) // 2 :], middle)
        twice, _ = fold(BRANDS["answered"], placed[len(placed) // 2 :], middle)
    assert once == twice


@pytest.mark.exhaustive
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=conversations(), data=st.data())
def test_records_alone_carry_the_state_across_any_cut(
    events: list[SocialEvent], data: st.DataObject
) -> None:
    """What is written and read back between any two events folds on to the same cases."""
    brand = BRANDS["answered"]
    placed = list(enumerate(events))
    expected, _ = fold(brand, placed)
    topic: dict[str, bytes] = {}
    for arrival in placed:
        if data.draw(st.booleans()):
            records = (codec.decode(Case, value) for value in topic.values())
            state = ConversationState.of(records)
        state, outcomes = fold(brand, [arrival], state if topic else None)
        for identity in outcomes[0].removed:
            del topic[identity]
        for record in outcomes[0].changed:
            topic[record.case_id] = msgspec.json.encode(record)
    written = ConversationState.of(codec.decode(Case, value) for value in topic.values())
    assert essence(written) == essence(expected)


@pytest.mark.exhaustive
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=conversations(), data=st.data())
def test_a_case_once_written_is_never_taken_away_and_its_revisions_only_grow(
    events: list[SocialEvent], data: st.DataObject
) -> None:
    """Readers that keep the highest revision of a case end with the state of the fold."""
    placed = data.draw(orders(list(enumerate(events))))
    state, outcomes = fold(BRANDS["answered"], placed)
    kept: dict[str, Case] = {}
    for outcome in outcomes:
        assert all(identity.endswith(":-#0") for identity in outcome.removed)
        for record in outcome.changed:
            if record.state == "held":
                continue
            earlier = kept.get(record.case_id)
            assert record.revision == (1 if earlier is None else earlier.revision + 1)
            kept[record.case_id] = record
    assert kept == state.cases | state.withdrawn
    assert not state.cases.keys() & state.withdrawn.keys()


@pytest.mark.exhaustive
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=conversations(), data=st.data())
def test_every_fact_counts_once_and_only_for_its_customer(
    events: list[SocialEvent], data: st.DataObject
) -> None:
    placed = data.draw(orders(list(enumerate(events))))
    state, _ = fold(BRANDS["answered"], placed)
    objects = [fact.object for record in state.records() for fact in record.facts]
    assert len(objects) == len(set(objects))
    for case in state.cases.values():
        customers = {fact.customer for fact in case.facts if fact.direction == "inbound"}
        assert customers == {case.customer_id}
        assert case.counts == {
            "inbound": sum(fact.direction == "inbound" for fact in case.facts),
            "outbound": sum(fact.direction == "outbound" for fact in case.facts),
        }


@pytest.mark.exhaustive
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=conversations(), data=st.data())
def test_every_event_has_one_reason_and_every_case_a_history(
    events: list[SocialEvent], data: st.DataObject
) -> None:
    """Reasons are of the closed set; the case events of a life tell its last state."""
    placed = data.draw(orders(list(enumerate(events))))
    state, outcomes = fold(BRANDS["answered"], placed)
    told: dict[str, set[str]] = {}
    ids: list[str] = []
    for outcome in outcomes:
        assert TriageReason(outcome.decision.triage) in TriageReason
        ids += [case_event.case_event_id for case_event in outcome.case_events]
        for case_event in outcome.case_events:
            told.setdefault(case_event.case_id, set()).add(case_event.kind)
    assert len(ids) == len(set(ids))
    for identity, case in state.cases.items():
        assert "opened" in told[identity]
        if case.state == "closed":
            assert "closed" in told[identity]
        if case.first_response_at is not None:
            assert "responded" in told[identity]
