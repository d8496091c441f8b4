"""What people want done with cases: taken once, told when refused, never computed over."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from klingel.contracts import codec
from klingel.contracts.envelope import TRACE_HEADER, incoming_trace, trace_id
from klingel.contracts.topics import Topic
from klingel.model import Case, CaseCommand
from klingel.model.social_event import Enrichment, Tone
from klingel.stage.fates import Fate
from klingel.testing.conversations import NOON, ROOT, answered, compiled_brand, said

from .conftest import Desk, commanded, social

BRAND = compiled_brand(queues=[{"id": "first"}, {"id": "second"}], cases={"close_when": "never"})


@pytest.fixture
def desk() -> Desk:
    """A desk at which anna has a case."""
    desk = Desk(BRAND)
    desk.hear(said("1", minute=0))
    desk.now = NOON + timedelta(minutes=10)
    return desk


def test_a_case_is_assigned_acknowledged_closed_and_reopened(desk: Desk) -> None:
    assert desk.order("assign", assignee="mk").reason == "applied"
    desk.order("acknowledge")
    assert (desk.case().assignee, desk.case().acknowledged_by) == ("mk", "maike")
    desk.order("close")
    assert (desk.case().state, desk.case().closed_because) == ("closed", "command")
    desk.order("reopen")
    assert desk.case().state == "open"
    assert desk.happened() == ["opened", "assigned", "acknowledged", "closed", "reopened"]


@pytest.mark.parametrize(
    ("kind", "parts", "why"),
    [
        ("close", {"customer": "nobody"}, "unknown_case"),
        ("close", {"case_id": "nordlicht:x:y#1", "customer": "anna"}, "unknown_case"),
        ("reopen", {}, "case_open"),
        ("snooze", {}, "nothing_asked"),
        ("snooze", {"until": NOON}, "in_the_past"),
        ("override", {}, "nothing_asked"),
        ("override", {"queue": "third"}, "unknown_queue"),
        ("override", {"tone": "negative", "object_id": "bluesky:network:9"}, "unknown_post"),
        ("split", {"object_id": "bluesky:network:9"}, "unknown_post"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    desk: Desk, kind: str, parts: dict[str, object], why: str
) -> None:
    before = desk.case()
    customer = str(parts.pop("customer", "anna"))
    outcome = desk.order(kind, customer, **parts)
    assert (outcome.fate, outcome.reason) == (Fate.DELIVERED, why)
    assert desk.happened()[-1] == "refused"
    # Only that it was refused is remembered: a replay must not take it after all.
    case = replace(desk.case(), revision=before.revision, commands=before.commands)
    assert case == before
    parts["customer"] = customer


def test_a_closed_case_cannot_be_acknowledged_or_closed_again(desk: Desk) -> None:
    desk.order("close")
    assert desk.order("close").reason == "case_closed"
    assert desk.order("acknowledge").reason == "case_closed"


def test_a_command_twice_is_taken_once(desk: Desk) -> None:
    desk.order("assign", assignee="mk", command_id="one")
    again = desk.order("assign", assignee="xy", command_id="one")
    assert (again.fate, again.outputs) == (Fate.REPEATED, ())
    assert desk.case().assignee == "mk"
    desk.stage.replay()
    assert {outcome.fate for outcome in desk.stage.drain()} == {Fate.REPEATED}


def test_a_word_from_before_the_closing_joins_and_is_told_when_nobody_answered_it(
    desk: Desk,
) -> None:
    desk.order("close")
    desk.hear(said("2", minute=9, received_after=timedelta(minutes=5)))
    assert desk.case().state == "closed"
    assert desk.happened()[-1] == "late_unanswered"


def test_a_later_word_finds_the_closing_in_its_place(desk: Desk) -> None:
    """The closing was given at ten past; what was said after it reopens, whatever came first."""
    desk.hear(said("2", minute=20))
    desk.order("close")
    assert desk.case().state == "open"
    assert desk.case().waiting_since == NOON + timedelta(minutes=20)


def test_people_overrule_queue_and_priority_for_good(desk: Desk) -> None:
    desk.order("override", queue="second", priority=77)
    assert (desk.case().queue, desk.case().routed_queue) == ("second", "first")
    desk.hear(said("1", revision=1, change="updated", text="dead, dead", minute=0))
    desk.hear(said("2", minute=20))
    case = desk.case()
    assert case.queue == "second"
    assert case.priority is not None
    assert case.priority.score == 77


def test_people_overrule_the_tone_of_a_post_for_good(desk: Desk) -> None:
    """The event is read back and said again with the next decision; another model is overruled."""
    outcome = desk.order(
        "override", tone="negative", intents=["complaint"], object_id="bluesky:network:1"
    )
    assert Topic.ROUTED_EVENTS in {output.topic for output in outcome.outputs}
    decision = desk.routed()[-1].decision
    assert (decision.number, decision.overruled_tone, decision.overruled_by) == (
        1,
        "negative",
        "maike",
    )
    found = Enrichment(
        tone=Tone(label="positive", negative=0.1, neutral=0.1, positive=0.8), models=["other/2"]
    )
    event = said("1", minute=0)
    desk.hear(replace(event, enrichment=found))
    decision = desk.routed()[-1].decision
    assert (decision.number, decision.overruled_tone) == (2, "negative")
    assert decision.overruled_intents == ["complaint"]


def test_an_event_that_a_command_writes_again_has_the_conversations_trace() -> None:
    """Not the sender's, which it came with: docs/observability.md says so."""
    sender = "4bf92f3577b34da6a3ce929d0e0e4736"
    desk, event = Desk(BRAND), said("1", minute=0)
    record = social(event)
    given = {**dict(record.headers), TRACE_HEADER: f"00-{sender}-00f067aa0ba902b7-01".encode()}
    desk.broker.append(replace(record, headers=tuple(given.items())), int(NOON.timestamp() * 1000))
    desk.stage.advance()
    desk.now = NOON + timedelta(minutes=10)
    desk.order("override", tone="negative", object_id=event.object_id)
    told = [
        incoming_trace(each.header(TRACE_HEADER))
        for each in desk.broker.messages(Topic.ROUTED_EVENTS)
    ]
    assert told == [sender, trace_id(event.conversation_id)]


def test_a_split_makes_a_case_of_its_own(desk: Desk) -> None:
    desk.hear(said("2", minute=5))
    desk.hear(said("3", minute=6))
    desk.order("split", object_id="bluesky:network:2")
    assert len(desk.case().facts) == 1
    assert len(desk.case(generation=2).facts) == 2
    desk.hear(answered("4", 30, in_reply_to="3"))
    assert desk.case(generation=2).state == "waiting"
    assert desk.case().state == "open"


def test_an_incident_is_joined_and_closed_with_one_public_answer(desk: Desk) -> None:
    desk.order("incident_joined", target="incident-1", object_id="bluesky:network:1")
    case = desk.case()
    assert case.incident == "incident-1"
    assert case.priority is not None
    assert case.priority.parts["incident"] == 10
    desk.order("incident_closed", target="incident-1")
    case = desk.case()
    assert (case.state, case.closed_because) == ("closed", "command")
    assert case.first_response_at == desk.now


def test_commands_survive_a_restart(desk: Desk) -> None:
    desk.order("assign", assignee="mk", command_id="one")
    desk.order("close")
    desk.stage.restart()
    assert desk.order("assign", assignee="xy", command_id="one").fate is Fate.REPEATED
    assert (desk.case().state, desk.case().assignee) == ("closed", "mk")


def test_what_was_refused_is_not_taken_by_a_replay(desk: Desk) -> None:
    assert desk.order("reopen", command_id="early").reason == "case_open"
    desk.order("close")
    desk.stage.replay()
    assert {outcome.fate for outcome in desk.stage.drain()} == {Fate.REPEATED}
    assert desk.case().state == "closed"


def test_a_command_from_the_future_counts_as_given_when_it_came(desk: Desk) -> None:
    desk.order("close", at=NOON + timedelta(days=4000))
    assert desk.case().state == "closed"


def test_a_time_without_a_zone_is_no_time(desk: Desk) -> None:
    message = commanded(
        CaseCommand(
            command_id="naive",
            brand="nordlicht",
            conversation_id=ROOT,
            customer_id="anna",
            kind="close",
            at=desk.now,
            by="maike",
        )
    )
    value = (message.value or b"").replace(b"Z", b"")
    desk.broker.append(replace(message, value=value), int(NOON.timestamp() * 1000))
    outcome, *_ = desk.stage.advance()
    assert (outcome.fate, outcome.reason) == (Fate.DEAD_LETTERED, "schema")


def test_a_stage_may_be_ahead_of_the_post_that_it_is_about(desk: Desk) -> None:
    """Watch reads another topic than care: its word waits for the post."""
    outcome = desk.order(
        "incident_joined", "cleo", target="i-1", object_id="bluesky:network:9", by="watch"
    )
    assert outcome.reason == "kept"
    desk.hear(said("9", "cleo", minute=11))
    assert desk.case("cleo").incident == "i-1"


def test_an_answer_to_a_word_of_a_split_case_answers_that_one(desk: Desk) -> None:
    desk.hear(said("2", minute=5))
    desk.order("split", object_id="bluesky:network:2")
    desk.hear(answered("3", 30, in_reply_to="1"))
    assert desk.case().state == "waiting"
    assert desk.case(generation=2).state == "open"


def test_one_customers_merge_leaves_the_others_where_they_are(desk: Desk) -> None:
    """What watch finds of one author in two conversations is about that author alone."""
    desk.hear(said("2", "bert", minute=1))
    desk.order(
        "merge",
        "anna",
        object_id="bluesky:network:1",
        into_conversation_id="bluesky:network:part",
        into_customer_id="anna",
        by="watch",
    )
    desk.stage.drain()
    assert (desk.case().state, desk.case("bert").state) == ("merged", "open")


@pytest.mark.parametrize("first", [0, 1])
def test_two_conversations_merged_into_each_other_are_one(desk: Desk, first: int) -> None:
    part = "bluesky:network:part"
    desk.hear(said("2", "bert", 6, conversation=part))
    ways = [(ROOT, part), (part, ROOT)]
    for source, target in (ways[first], ways[1 - first]):
        desk.order("merge", "", conversation=source, into_conversation_id=target)
        desk.stage.drain()
    records = [codec.decode(Case, value) for value in desk.broker.compacted(Topic.CASES).values()]
    standing = sorted(
        (case.conversation_id, case.customer_id) for case in records if case.state == "open"
    )
    assert standing == [(part, "anna"), (part, "bert")]


def test_a_command_for_a_case_that_is_not_known_yet_stays_refused(desk: Desk) -> None:
    """A replay reads it beside a case that came later; what was answered holds."""
    later = "bluesky:network:later"
    assert desk.order("close", conversation=later).reason == "unknown_case"
    desk.hear(said("9", minute=30, conversation=later))
    desk.stage.replay()
    assert {outcome.fate for outcome in desk.stage.drain()} == {Fate.REPEATED}
    case = desk.broker.compacted(Topic.CASES)[f"nordlicht:{later}:anna#1".encode()]
    assert codec.decode(Case, case).state == "open"
    assert desk.happened().count("closed") == 0


def test_what_is_remembered_of_a_command_for_nobody_is_forgotten(desk: Desk) -> None:
    """It is remembered for as long as the command can be read again, whatever a case may age."""
    later = "bluesky:network:later"
    desk.order("close", conversation=later)
    key = f"nordlicht:{later}:-#0".encode()
    assert key in desk.broker.compacted(Topic.CASES)
    desk.pass_to(7 * 24 * 60 + 60)
    assert key in desk.broker.compacted(Topic.CASES)
    desk.pass_to(9 * 24 * 60)
    assert key not in desk.broker.compacted(Topic.CASES)


def test_what_a_stage_wants_of_a_post_that_never_comes_is_forgotten(desk: Desk) -> None:
    never = "bluesky:network:never"
    parts = {"conversation": never, "object_id": f"{never}-1", "target": "inc", "by": "watch"}
    assert desk.order("incident_joined", customer="", **parts).reason == "kept"
    key = f"nordlicht:{never}:-#0".encode()
    desk.pass_to(7 * 24 * 60 + 60)
    assert key in desk.broker.compacted(Topic.CASES)
    desk.pass_to(9 * 24 * 60)
    assert key not in desk.broker.compacted(Topic.CASES)
