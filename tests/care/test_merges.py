"""Conversations and cases that turn out to be one: nothing is lost, nothing counts twice."""

from datetime import timedelta

import pytest

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import Case
from klingel.stage.fates import Fate
from klingel.testing.conversations import NOON, ROOT, answered, compiled_brand, said

from .conftest import Desk

BRAND = compiled_brand(cases={"close_when": "never"}, sla=[{"id": "all", "first_response": "90d"}])
PART = "bluesky:network:part"
THIRD = "bluesky:network:third"


@pytest.fixture
def desk() -> Desk:
    """A desk where nothing was said yet."""
    return Desk(BRAND)


def merge(desk: Desk, source: str, target: str) -> None:
    """Say that a conversation belongs to another, and let everybody hear of it."""
    desk.order("merge", customer="", conversation=source, into_conversation_id=target)
    desk.stage.drain()


def case_in(desk: Desk, conversation: str, customer: str = "anna") -> Case:
    """Return a case as it was written last."""
    identity = f"nordlicht:{conversation}:{customer}#1"
    return codec.decode(Case, desk.broker.compacted(Topic.CASES)[identity.encode()])


def test_a_conversation_that_is_part_of_another_goes_on_there(desk: Desk) -> None:
    desk.hear(said("1", minute=5, conversation=PART))
    merge(desk, PART, ROOT)
    gone, case = case_in(desk, PART), case_in(desk, ROOT)
    assert (gone.state, gone.merged_into, gone.clocks) == ("merged", ROOT, None)
    assert (case.state, case.opened_at) == ("open", NOON + timedelta(minutes=5))
    assert (case.clocks or ())[0].policy == "all"
    assert "merged" in desk.happened()


def test_what_is_said_in_it_later_arrives_there(desk: Desk) -> None:
    desk.hear(said("1", minute=5, conversation=PART))
    merge(desk, PART, ROOT)
    desk.hear(said("2", minute=7, conversation=PART))
    desk.hear(answered("3", 9, in_reply_to="2", conversation=PART))
    desk.stage.drain()
    case = case_in(desk, ROOT)
    assert [fact.at.minute for fact in case.facts] == [5, 7, 9]
    assert case.first_response_at == NOON + timedelta(minutes=9)


def test_merging_before_anything_was_said_holds_too(desk: Desk) -> None:
    merge(desk, PART, ROOT)
    desk.hear(said("1", minute=5, conversation=PART))
    desk.stage.drain()
    assert case_in(desk, ROOT).state == "open"
    assert case_in(desk, PART).state == "merged"


@pytest.mark.parametrize("first", [(THIRD, PART), (PART, ROOT)])
def test_merges_chain_in_any_order(desk: Desk, first: tuple[str, str]) -> None:
    second = (PART, ROOT) if first == (THIRD, PART) else (THIRD, PART)
    desk.hear(said("1", minute=5, conversation=THIRD))
    merge(desk, *first)
    desk.hear(said("2", "bert", 6, conversation=PART))
    merge(desk, *second)
    desk.hear(answered("3", 9, in_reply_to="1", conversation=THIRD))
    desk.stage.drain()
    assert case_in(desk, ROOT).state == "waiting"
    assert case_in(desk, ROOT, "bert").state == "open"


def test_a_circle_of_merges_comes_to_an_end(desk: Desk) -> None:
    desk.hear(said("1", minute=5, conversation=PART))
    merge(desk, PART, ROOT)
    merge(desk, ROOT, PART)
    assert len(desk.broker.messages(Topic.CASE_COMMANDS)) < 10


def test_a_private_conversation_goes_on_with_the_public_case(desk: Desk) -> None:
    """Handed over by a person: what the other account says privately is the first one's matter."""
    desk.hear(said("1", minute=5))
    desk.hear(said("2", "private-anna", 20, conversation="dm"))
    public, private = f"nordlicht:{ROOT}:anna#1", "nordlicht:dm:private-anna#1"
    desk.order(
        "merge",
        customer="",
        conversation="dm",
        case_id=private,
        target=public,
        into_conversation_id=ROOT,
        into_customer_id="anna",
    )
    desk.hear(answered("3", 25, in_reply_to="2", conversation="dm"))
    desk.stage.drain()
    case = case_in(desk, ROOT)
    assert len(case.facts) == 3
    assert case.state == "waiting"
    assert case_in(desk, "dm", "private-anna").state == "merged"


@pytest.mark.parametrize("there", [True, False])
def test_two_people_who_merge_both_ways_mean_the_same(desk: Desk, there: bool) -> None:
    desk.hear(said("1", minute=5))
    desk.hear(said("2", "bert", 6, conversation=PART))
    one, two = f"nordlicht:{ROOT}:anna#1", f"nordlicht:{PART}:bert#1"
    ways = [(ROOT, one, two, PART, "bert"), (PART, two, one, ROOT, "anna")]
    for conversation, case_id, target, into, customer in ways if there else reversed(ways):
        desk.order(
            "merge",
            customer="",
            conversation=conversation,
            case_id=case_id,
            target=target,
            into_conversation_id=into,
            into_customer_id=customer,
        )
        desk.stage.drain()
    states = {case_in(desk, ROOT).state, case_in(desk, PART, "bert").state}
    assert states == {"open", "merged"}
    winner = case_in(desk, PART, "bert")
    assert winner.state == "open"
    assert len(winner.facts) == 2


def test_replaying_everything_after_a_merge_changes_nothing(desk: Desk) -> None:
    desk.hear(said("1", minute=5, conversation=PART))
    merge(desk, PART, ROOT)
    desk.hear(said("2", minute=7, conversation=PART))
    desk.stage.drain()
    state = desk.state()
    before = len(desk.broker.messages(Topic.CASES))
    desk.stage.replay()
    outcomes = desk.stage.drain(2)
    assert {outcome.fate for outcome in outcomes} == {Fate.REPEATED}
    assert len(desk.broker.messages(Topic.CASES)) == before
    assert desk.state() == state


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"into_conversation_id": ROOT}, "same_case"),
        ({}, "nothing_asked"),
    ],
)
def test_a_merge_into_itself_or_nowhere_is_refused(
    desk: Desk, parts: dict[str, object], why: str
) -> None:
    desk.hear(said("1"))
    assert desk.order("merge", customer="", **parts).reason == why
    assert desk.case().state == "open"
