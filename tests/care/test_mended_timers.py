"""What timers, escalations and their history got wrong once."""

from datetime import timedelta

import pytest

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.domain.timers import PATIENCE, fire
from klingel.model import Case, CaseEvent, Escalation
from klingel.model.social_event import SocialEvent
from klingel.testing.conversations import NOON, ROOT, answered, compiled_brand, deleted, said

from .conftest import Desk

DAY = 24 * 60
OTHER = "bluesky:network:other"


def brand(**parts: object) -> CompiledBrand:
    """Return a brand with promises around the clock, and with other parts where they are given."""
    content: dict[str, object] = {
        "queues": [{"id": "first"}, {"id": "late"}],
        "calendars": [
            {"id": "always-on", "zone": "Etc/UTC", "hours": {"mon-sun": ["00:00-24:00"]}}
        ],
        "sla": [
            {
                "id": "public",
                "first_response": "60m",
                "next_response": "30m",
                "resolution": "10d",
            }
        ],
        "targets": [{"id": "chat", "kind": "slack", "url_setting": "chat"}],
        "escalation": [
            {"id": "lead", "on": ["warned"], "priority": 20, "notify": ["chat"]},
            {
                "id": "head",
                "on": ["breached"],
                "queue": "late",
                "notify": ["chat"],
                "raise_after": "15m",
                "raise_to": "board",
            },
            {"id": "board", "notify": ["chat"]},
        ],
        "cases": {"close_when": "never"},
    }
    return compiled_brand(**{**content, **parts})


@pytest.fixture
def desk() -> Desk:
    """A desk of a brand with promises, at noon."""
    desk = Desk(brand())
    desk.now = NOON
    return desk


def escalations(desk: Desk) -> list[tuple[str, str, int]]:
    """Return level, state and revision of everything that somebody was told."""
    records = [
        codec.decode(Escalation, message.value) for message in desk.written(Topic.ESCALATIONS)
    ]
    return [(each.level, each.state, each.revision) for each in records]


def case_events(desk: Desk) -> list[CaseEvent]:
    """Return all case events, in order."""
    return [codec.decode(CaseEvent, message.value) for message in desk.written(Topic.CASE_EVENTS)]


def cases(desk: Desk) -> dict[str, Case]:
    """Return all records, by what follows the brand."""
    return {
        key.decode().partition(":")[2]: codec.decode(Case, value)
        for key, value in desk.broker.compacted(Topic.CASES).items()
    }


def test_an_answer_is_not_forgotten_while_its_question_lies_unread() -> None:
    desk = Desk(compiled_brand(cases={"close_when": "answered"}))
    desk.now = NOON + timedelta(days=10)
    desk.hear(answered("a", 5, in_reply_to="q"))
    assert desk.stage.tick(None) == []
    assert desk.stage.tick(NOON + timedelta(days=6)) == []
    desk.hear(said("q", minute=0))
    assert desk.case().state == "closed"


def test_a_deletion_is_not_forgotten_while_what_it_deletes_lies_unread(desk: Desk) -> None:
    desk.now = NOON + timedelta(days=10)
    desk.hear(deleted("q", 0.001))
    assert desk.stage.tick(None) == []
    desk.hear(said("q", minute=0))
    assert not any(case.state == "open" for case in cases(desk).values())


def test_a_conversation_that_merged_stays_merged_when_what_it_held_matters_no_more(
    desk: Desk,
) -> None:
    desk.hear(said("root", minute=0))
    desk.hear(said("aside", "kim", 1, direction="third_party", in_reply_to="root"))
    desk.order("merge", customer="", into_conversation_id=OTHER)
    desk.stage.drain()
    desk.pass_to(8 * DAY)
    desk.stage.restart()
    desk.pass_to(9 * DAY)
    desk.hear(said("again", minute=9 * DAY, in_reply_to="root"))
    desk.stage.drain()
    assert cases(desk)[f"{ROOT}:anna#1"].state == "merged"


def test_a_merge_of_a_whole_conversation_is_forgotten_with_its_cases(desk: Desk) -> None:
    desk.hear(said("root", minute=0))
    desk.order("merge", customer="", into_conversation_id=OTHER)
    desk.stage.drain()
    desk.pass_to(399 * DAY)
    assert f"{ROOT}:-#0" in cases(desk)
    desk.pass_to(401 * DAY)
    desk.pass_to(402 * DAY)
    assert [key for key in cases(desk) if key.startswith(ROOT)] == []


def test_an_escalation_that_was_withdrawn_does_not_keep_a_true_one_from_being_raised(
    desk: Desk,
) -> None:
    desk.hear(said("1", minute=0))
    desk.pass_to(62)
    desk.pass_to(76)
    desk.hear(answered("a", 10, in_reply_to="1"))
    assert ("head", "withdrawn", 2) in escalations(desk)
    assert desk.case().queue == "first"
    desk.hear(said("2", minute=100))
    desk.pass_to(131)
    assert escalations(desk)[-1] == ("head", "raised", 3)
    assert desk.case().queue == "late"
    assert [each.level for each in case_events(desk) if each.kind == "escalated"].count("head") == 2
    raised = next(each for each in desk.case().escalations or () if each.level == "head")
    assert raised.at == NOON + timedelta(minutes=130)
    desk.pass_to(146)
    assert [each[:2] for each in escalations(desk)].count(("board", "raised")) == 2
    ids = [(each[0], each[2]) for each in escalations(desk)]
    assert len(set(ids)) == len(ids)


def test_what_was_raised_further_is_withdrawn_with_what_it_was_raised_from(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    desk.pass_to(62)
    desk.pass_to(76)
    assert escalations(desk)[-1] == ("board", "raised", 1)
    desk.hear(answered("a", 10, in_reply_to="1"))
    assert escalations(desk)[-1] == ("board", "withdrawn", 2)


def test_what_was_raised_further_ends_with_what_it_was_raised_from(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    desk.pass_to(62)
    desk.pass_to(76)
    desk.hear(answered("a", 80, in_reply_to="1"))
    assert escalations(desk)[-1] == ("board", "ended", 2)


def after_a_late_turn(desk: Desk) -> None:
    """Let a further answer come late, and eight be given in time."""
    desk.hear(said("1", minute=0))
    desk.hear(answered("a1", 5, in_reply_to="1"))
    desk.hear(said("q1", minute=10))
    desk.pass_to(45)
    desk.hear(answered("b1", 50, in_reply_to="q1"))
    for number in range(8):
        minute = 60 + number * 10
        desk.hear(said(f"r{number}", minute=minute))
        desk.hear(answered(f"s{number}", minute + 5, in_reply_to=f"r{number}"))


def test_a_breach_stays_one_when_its_clock_is_not_shown_any_more(desk: Desk) -> None:
    after_a_late_turn(desk)
    assert escalations(desk) == [("head", "raised", 1), ("head", "ended", 2)]
    assert (desk.case().late, desk.case().queue) == (["next_response"], "late")
    assert "corrected" not in desk.happened()


def test_a_breach_whose_clock_is_not_shown_is_withdrawn_where_an_answer_comes_to_light(
    desk: Desk,
) -> None:
    after_a_late_turn(desk)
    desk.hear(answered("b0", 15, in_reply_to="q1"))
    assert escalations(desk)[-1] == ("head", "withdrawn", 3)
    assert (desk.case().late, desk.case().queue) == (None, "first")


def test_a_breach_stays_one_when_its_clock_is_folded_away(desk: Desk) -> None:
    after_a_late_turn(desk)
    for number in range(100):
        desk.hear(said(f"t{number}", minute=200 + number))
    assert desk.case().summary is not None
    assert desk.case().late == ["next_response"]
    assert "corrected" not in desk.happened()


def test_a_breach_stays_one_when_its_case_goes_on_elsewhere(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    desk.pass_to(61)
    desk.order("merge", into_conversation_id=OTHER)
    assert escalations(desk) == [("head", "raised", 1), ("head", "ended", 2)]
    assert desk.case().late == ["first_response"]
    desk.stage.drain()
    desk.hear(said("2", minute=70))
    assert desk.case().late == ["first_response"]
    assert "corrected" not in desk.happened()


def test_a_breach_of_a_case_that_should_never_have_been_opened_is_withdrawn(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    desk.pass_to(61)
    desk.hear(said("1", None, -1, change="deleted", revision=3))
    assert desk.case().closed_because == "withdrawn"
    assert escalations(desk)[-1] == ("head", "withdrawn", 2)


def test_a_timer_that_fired_fires_no_more_however_many_followed_it() -> None:
    promises = {"id": "public", "first_response": "10m", "next_response": "10m", "resolution": "2h"}
    desk = Desk(brand(sla=[promises]))
    desk.now = NOON
    minute = 0.0
    for number in range(24):
        desk.hear(said(f"r{number}", minute=minute))
        desk.pass_to(minute + 8.5)
        desk.pass_to(minute + 11)
        desk.hear(answered(f"s{number}", minute + 12, in_reply_to=f"r{number}"))
        minute += 15
    desk.pass_to(minute)
    told = [
        (each.kind, each.clock, each.case_event_id)
        for each in case_events(desk)
        if each.kind in {"warned", "breached"}
    ]
    assert len(desk.case().fired or ()) == 32
    assert len(told) == 2 * 24 + 2
    assert len(set(told)) == len(told)
    ended = [each for each in escalations(desk) if each[:2] == ("head", "ended")]
    assert len(ended) == 1


def test_each_clock_that_one_cause_ends_is_told_under_an_id_of_its_own(desk: Desk) -> None:
    for number in range(3):
        minute = number * 10
        desk.hear(said(f"r{number}", minute=minute))
        desk.hear(answered(f"s{number}", minute + 5, in_reply_to=f"r{number}"))
    desk.order("merge", into_conversation_id=OTHER)
    desk.stage.drain()
    told = case_events(desk)
    there = [each for each in told if each.kind == "met" and each.conversation_id == OTHER]
    assert [each.clock for each in there] == ["first_response", "next_response", "next_response"]
    ids = [each.case_event_id for each in told]
    assert len(set(ids)) == len(ids)


def test_an_escalation_of_a_case_that_came_back_is_told_under_a_revision_of_its_own() -> None:
    rules = [{"id": "vip", "when": "dead", "queue": "first"}]
    lead = {"id": "lead", "on": ["rule"], "rules": ["vip"], "notify": ["chat"]}
    desk = Desk(brand(routing=rules, escalation=[lead], cases={"close_when": "answered"}))
    desk.now = NOON + timedelta(minutes=30)
    desk.hear(said("1", minute=0))
    desk.hear(answered("a", 5, in_reply_to="1"))
    desk.hear(said("1", None, -1, change="deleted", revision=3))
    assert desk.case().closed_because == "withdrawn"
    desk.hear(said("1", minute=0, change="updated", revision=5))
    assert desk.case().closed_because == "answered"
    revisions = [each[2] for each in escalations(desk)]
    assert revisions == sorted(set(revisions))
    current = next(iter(desk.case().escalations or ()))
    assert escalations(desk)[-1] == ("lead", current.state, current.revision)


def test_what_a_rule_raised_has_its_time_again_when_the_case_is_reopened() -> None:
    rules = [{"id": "vip", "when": "dead", "queue": "first"}]
    levels = [
        {
            "id": "lead",
            "on": ["rule"],
            "rules": ["vip"],
            "notify": ["chat"],
            "raise_after": "15m",
            "raise_to": "board",
        },
        {"id": "board", "notify": ["chat"]},
    ]
    desk = Desk(brand(routing=rules, escalation=levels))
    desk.now = NOON
    desk.hear(said("1", minute=0))
    for minute in (600, 1200):
        desk.now = NOON + timedelta(minutes=minute - 590)
        desk.order("acknowledge")
        desk.order("close")
        desk.now = NOON + timedelta(minutes=minute)
        desk.hear(said(f"again-{minute}", minute=minute))
        assert escalations(desk)[-1][:2] == ("lead", "raised")
        desk.pass_to(minute + 14)
        assert "board" not in [each[0] for each in escalations(desk)]
    desk.pass_to(1216)
    assert escalations(desk)[-1] == ("board", "raised", 1)


def test_patience_begins_with_the_reading_after_an_outage(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    case, started = desk.case(), NOON + timedelta(hours=2)
    rules = desk.brands["nordlicht"]
    assert fire(case, started, None, rules, started) is None
    assert fire(case, started + PATIENCE - timedelta(seconds=1), None, rules, started) is None
    firing = fire(case, started + PATIENCE, None, rules, started)
    assert firing is not None
    assert (firing.provisional, [each.kind for each in firing.fired]) == (True, ["breached"])
    read = fire(case, started, started, rules, started)
    assert read is not None
    assert not read.provisional


def test_an_escalation_tells_the_deadline_of_the_clock_that_raised_it(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    desk.hear(answered("a", 5, in_reply_to="1"))
    desk.hear(said("2", minute=10))
    desk.hear(answered("b", 15, in_reply_to="2"))
    desk.hear(said("3", minute=20))
    desk.pass_to(51)
    record = codec.decode(Escalation, desk.written(Topic.ESCALATIONS)[-1].value)
    assert (record.level, record.state) == ("head", "raised")
    assert record.deadline == NOON + timedelta(minutes=50)
    desk.pass_to(66)
    record = codec.decode(Escalation, desk.written(Topic.ESCALATIONS)[-1].value)
    assert (record.level, record.deadline) == ("board", NOON + timedelta(minutes=50))


def test_a_case_that_comes_back_tells_no_escalation_again() -> None:
    """It was withdrawn by a deletion that lay before an edit; what it told holds."""
    desk = Desk(
        brand(
            routing=[{"id": "vip", "when": "dead", "queue": "first"}],
            escalation=[{"id": "lead", "on": ["rule"], "rules": ["vip"], "notify": ["chat"]}],
            cases={"close_when": "answered"},
        )
    )
    desk.now = NOON + timedelta(minutes=30)
    desk.hear(said("1", minute=0))
    desk.hear(said("1", None, -1, change="deleted", revision=3))
    assert cases(desk)[f"{ROOT}:anna#1"].closed_because == "withdrawn"
    desk.hear(said("1", minute=0, change="updated", revision=5, text="my line is dead!"))
    assert cases(desk)[f"{ROOT}:anna#1"].state == "open"
    kinds = [event.kind for event in case_events(desk)]
    assert kinds.count("escalated") == 1
    assert kinds.count("opened") == 2


@pytest.mark.parametrize(
    ("then", "end"),
    [
        pytest.param(answered("b", 30, in_reply_to="2"), "ended", id="answered"),
        pytest.param(deleted("2", 30), "withdrawn", id="deleted"),
    ],
)
def test_a_word_that_comes_to_light_after_the_closing_is_told(then: SocialEvent, end: str) -> None:
    """It reopens nothing, so no clock runs for it: somebody has to be told."""
    desk = Desk(brand(escalation=[{"id": "late", "on": ["late_unanswered"], "notify": ["chat"]}]))
    desk.now = NOON + timedelta(minutes=20)
    desk.hear(said("1", minute=0))
    desk.order("acknowledge", at=NOON + timedelta(minutes=6))
    desk.order("close", at=NOON + timedelta(minutes=10))
    desk.hear(said("2", minute=5, received_after=timedelta(minutes=14)))
    assert cases(desk)[f"{ROOT}:anna#1"].state == "closed"
    assert escalations(desk) == [("late", "raised", 1)]
    desk.stage.restart()
    desk.hear(said("1", minute=0, change="updated", revision=1, text="my line is dead still"))
    assert escalations(desk) == [("late", "raised", 1)]
    desk.hear(then)
    assert escalations(desk) == [("late", "raised", 1), ("late", end, 2)]


def test_without_levels_the_team_of_the_queue_is_told_of_such_a_word() -> None:
    desk = Desk(
        compiled_brand(
            targets=[{"id": "chat", "kind": "slack", "url_setting": "chat"}],
            teams=[{"id": "team", "queues": ["first"], "notify": ["chat"]}],
        )
    )
    desk.now = NOON + timedelta(minutes=20)
    desk.hear(said("1", minute=0))
    desk.order("close", at=NOON + timedelta(minutes=10))
    desk.hear(said("2", minute=5, received_after=timedelta(minutes=14)))
    assert escalations(desk) == [("unanswered", "raised", 1)]
