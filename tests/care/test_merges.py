"""Conversations and cases that turn out to be one: nothing is lost, nothing counts twice."""

from datetime import timedelta

import pytest
from msgspec import structs

from klingel.contracts import codec
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.domain.identity import hash64
from klingel.model import Case
from klingel.model.social_event import SocialEvent
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
    """Tell as a thread does that a conversation belongs to another; let everybody hear of it."""
    desk.order(
        "merge", customer="", conversation=source, into_conversation_id=target, by="understand"
    )
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


def merge_case(
    desk: Desk, conversation: str, customer: str, into: str, into_customer: str, minute: float = 50
) -> None:
    """Say that a customer's case goes on with another's, and let everybody hear of it."""
    desk.order(
        "merge",
        customer=customer,
        conversation=conversation,
        into_conversation_id=into,
        into_customer_id=into_customer,
        at=NOON + timedelta(minutes=minute),
    )
    desk.stage.drain()


def objects(case: Case) -> set[str]:
    """Return the objects of which a case knows facts."""
    return {fact.object for fact in case.facts}


@pytest.mark.parametrize("case_first", [True, False])
def test_a_case_and_its_conversation_merge_in_any_order(desk: Desk, case_first: bool) -> None:
    """The conversation goes on in its parent; anna's matter there is bert's elsewhere."""
    desk.hear(said("1", minute=5, conversation=THIRD))
    desk.hear(said("2", "bert", 6, conversation=ROOT))
    desk.hear(said("3", "cleo", 7, conversation=THIRD))
    if case_first:
        merge_case(desk, THIRD, "anna", ROOT, "bert")
        merge(desk, THIRD, PART)
    else:
        merge(desk, THIRD, PART)
        merge_case(desk, THIRD, "anna", ROOT, "bert")
    desk.hear(said("4", minute=60, conversation=THIRD, in_reply_to="1"))
    desk.stage.drain()
    theirs = case_in(desk, ROOT, "bert")
    assert objects(theirs) == {hash64(f"bluesky:network:{name}") for name in "124"}
    assert theirs.state == "open"
    assert case_in(desk, PART, "anna").state == "merged"
    assert objects(case_in(desk, PART, "anna")) == {
        hash64("bluesky:network:1"),
        hash64("bluesky:network:4"),
    }
    assert case_in(desk, PART, "cleo").state == "open"


@pytest.mark.parametrize("case_first", [True, False])
@pytest.mark.parametrize("ways", [(ROOT, PART), (PART, ROOT)])
def test_a_case_merged_into_a_conversation_that_is_the_same_is_that_customers(
    desk: Desk, ways: tuple[str, str], case_first: bool
) -> None:
    """Whichever of the two conversations goes on, and whatever was said first."""
    desk.hear(said("1", minute=5, conversation=ROOT))
    desk.hear(said("2", "bert", 6, conversation=PART))
    if case_first:
        merge_case(desk, ROOT, "anna", PART, "bert")
        merge(desk, *ways)
    else:
        merge(desk, *ways)
        merge_case(desk, ROOT, "anna", PART, "bert")
    case = case_in(desk, ways[1], "bert")
    assert case.state == "open"
    assert objects(case) == {hash64("bluesky:network:1"), hash64("bluesky:network:2")}
    assert len(desk.broker.messages(Topic.CASE_COMMANDS)) < 12


@pytest.mark.parametrize("first", [0, 1])
def test_two_cases_merged_into_each_other_are_one(desk: Desk, first: int) -> None:
    desk.hear(said("1", minute=5, conversation=PART))
    desk.hear(said("2", "bert", 6))
    ways = [(PART, "anna", ROOT, "bert"), (ROOT, "bert", PART, "anna")]
    for way in ways[first:] + ways[:first]:
        merge_case(desk, *way)
    states = case_in(desk, PART, "anna").state, case_in(desk, ROOT, "bert").state
    assert states == ("open", "merged")
    assert len(objects(case_in(desk, PART, "anna"))) == 2


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_folded_away_goes_along(desk: Desk, whole: bool) -> None:
    """All words count where the case goes on, and none of them counts twice."""
    for place in range(150):
        desk.hear(said(f"w{place}", minute=place, conversation=THIRD))
    desk.hear(answered("a", 200, in_reply_to="w149", conversation=THIRD))
    old = case_in(desk, THIRD)
    assert old.summary is not None
    desk.hear(said("own", "bert", 30))
    desk.now = NOON + timedelta(minutes=210)
    if whole:
        merge(desk, THIRD, ROOT)
    else:
        merge_case(desk, THIRD, "anna", ROOT, "bert", 210)
    case = case_in(desk, ROOT, "anna" if whole else "bert")
    assert case.counts == {"inbound": 150 if whole else 151, "outbound": 1}
    assert case.opened_at == NOON
    assert case.first_response_at == NOON + timedelta(minutes=200)
    assert case.state == "waiting"
    desk.hear(said("w3", minute=3, conversation=THIRD, change="updated", revision=1, text="edited"))
    desk.stage.drain()
    again = case_in(desk, ROOT, "anna" if whole else "bert")
    assert again.counts == case.counts
    desk.hear(said("late", minute=20, conversation=THIRD))
    desk.hear(said("new", minute=230, conversation=THIRD))
    desk.stage.drain()
    counts = case_in(desk, ROOT, "anna" if whole else "bert").counts
    assert counts == {"inbound": 152 if whole else 153, "outbound": 1}
    records = desk.broker.compacted(Topic.CASES)
    desk.stage.replay()
    desk.stage.drain()
    assert desk.broker.compacted(Topic.CASES) == records


def test_a_merged_conversation_is_heard_while_somebody_speaks_in_it(desk: Desk) -> None:
    desk.hear(said("1", minute=5, conversation=PART))
    merge(desk, PART, ROOT)
    week = 7 * 24 * 60

    def is_tracked() -> bool:
        tracked = desk.broker.compacted(Topic.TRACKED_CONVERSATIONS)
        return conversation_key("nordlicht", PART) in tracked

    assert is_tracked()
    desk.hear(said("2", minute=week, conversation=PART))
    desk.stage.drain()
    desk.pass_to(week + 60 * 30)
    assert is_tracked()
    assert [each.reason for each in desk.pass_to(2 * week + 1)] == ["quiet"]
    assert not is_tracked()
    assert desk.pass_to(2 * week + 2) == []
    desk.hear(said("3", minute=3 * week, conversation=PART))
    desk.stage.drain()
    assert is_tracked()
    assert len(objects(case_in(desk, ROOT))) == 3
    desk.stage.restart()
    desk.pass_to(4 * week + 1)
    assert not is_tracked()


def private(name: str, author: str, minute: float, quotes: str | None) -> SocialEvent:
    """Build a private message, which may quote a post."""
    event = said(name, author, minute, conversation="dm", kind="direct_message")
    return structs.replace(event, visibility="private", quotes=quotes)


@pytest.mark.parametrize("public_first", [True, False])
def test_a_private_message_that_quotes_the_customers_post_is_its_matter(
    desk: Desk, public_first: bool
) -> None:
    events = [said("root", minute=5), private("2", "anna", 20, ROOT)]
    for event in events if public_first else reversed(events):
        desk.hear(event)
        desk.stage.drain()
    here, there = (ROOT, "dm") if public_first else ("dm", ROOT)
    case = case_in(desk, here)
    assert (case.state, len(case.facts)) == ("open", 2)
    assert case_in(desk, there).state == "merged"
    desk.hear(answered("3", 25, in_reply_to="2", conversation="dm"))
    desk.stage.drain()
    assert case_in(desk, here).state == "waiting"
    records = desk.broker.compacted(Topic.CASES)
    written = len(desk.broker.messages(Topic.CASES))
    desk.stage.replay()
    assert {outcome.fate for outcome in desk.stage.drain()} == {Fate.REPEATED}
    assert desk.broker.compacted(Topic.CASES) == records
    assert len(desk.broker.messages(Topic.CASES)) == written


@pytest.mark.parametrize("public_first", [True, False])
@pytest.mark.parametrize(
    ("author", "quotes"), [("mallory", ROOT), ("anna", None), ("anna", "bluesky:network:else")]
)
def test_nothing_but_a_customers_own_post_hands_a_case_over(
    desk: Desk, author: str, quotes: str | None, public_first: bool
) -> None:
    """Who quotes another's complaint gets no part in it."""
    events = [said("root", minute=5), private("2", author, 20, quotes)]
    for event in events if public_first else reversed(events):
        desk.hear(event)
        desk.stage.drain()
    assert len(case_in(desk, ROOT).facts) == 1
    assert case_in(desk, ROOT).state == "open"
    assert case_in(desk, "dm", author).state == "open"
    assert len(case_in(desk, "dm", author).facts) == 1


def test_watch_may_find_the_same_author_from_either_side(desk: Desk) -> None:
    """Merges that two findings ask for in opposite directions make no circle."""
    desk.hear(said("1", minute=5))
    desk.hear(said("2", minute=6, conversation=PART))
    for source, target, post in ((ROOT, PART, "1"), (PART, ROOT, "2")):
        desk.order(
            "merge",
            conversation=source,
            object_id=f"bluesky:network:{post}",
            into_conversation_id=target,
            into_customer_id="anna",
            by="watch",
        )
        desk.stage.drain()
    assert {case_in(desk, ROOT).state, case_in(desk, PART).state} == {"open", "merged"}
    assert len(case_in(desk, PART).facts) == 2
