"""What time makes of cases: clocks, warnings, breaches, escalations, snoozes, forgetting."""

from datetime import timedelta
from pathlib import Path

import pytest

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import CaseEvent, Escalation
from klingel.stage.batch import Overlay
from klingel.testing.conversations import NOON, answered, compiled_brand, deleted, said
from klingel_processors.care.records import CASES, LAYOUT, first_due
from klingel_processors.rocks import RocksTable

from .conftest import Desk

BRAND = compiled_brand(
    queues=[{"id": "first"}, {"id": "late"}],
    calendars=[{"id": "always-on", "zone": "Etc/UTC", "hours": {"mon-sun": ["00:00-24:00"]}}],
    sla=[
        {
            "id": "public",
            "first_response": "60m",
            "next_response": "30m",
            "resolution": "1d",
            "pause_when": ["snoozed"],
        }
    ],
    targets=[{"id": "chat", "kind": "slack", "url_setting": "chat"}],
    escalation=[
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
    cases={"close_when": "never"},
)


@pytest.fixture
def desk() -> Desk:
    """A desk of a brand with promises, around the clock."""
    return Desk(BRAND)


def escalations(desk: Desk) -> list[tuple[str, str, int]]:
    """Return level, state and revision of everything that somebody was told."""
    records = [
        codec.decode(Escalation, message.value)
        for message in desk.broker.messages(Topic.ESCALATIONS)
    ]
    return [(each.level, each.state, each.revision) for each in records]


def states(desk: Desk) -> dict[str, str]:
    """Return the state of each clock."""
    return {clock.name: clock.state for clock in desk.case().clocks or ()}


def test_a_complaint_starts_the_clocks_that_its_policy_promises(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    first, resolution = desk.case().clocks or ()
    assert (first.name, first.policy, first.target_seconds) == ("first_response", "public", 3600)
    assert first.deadline == NOON + timedelta(hours=1)
    assert first.warn_at == NOON + timedelta(minutes=45)
    assert resolution.deadline == NOON + timedelta(days=1)
    assert desk.case().due_at == first.deadline


def test_an_answer_in_time_meets_the_clock_and_credits_the_agent(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    desk.hear(answered("2", 20, in_reply_to="1"))
    clock = (desk.case().clocks or ())[0]
    assert (clock.state, clock.business_seconds) == ("met", 1200.0)
    desk.hear(said("3", minute=30))
    desk.hear(answered("4", 35, in_reply_to="3"))
    turns = desk.case().turns
    assert turns is not None
    assert (turns.count, turns.late, turns.business_seconds) == (1, 0, 300.0)
    assert desk.pass_to(59) == []
    assert "warned" not in desk.happened()


def test_warning_and_breach_fire_once_at_their_times_and_raise_their_levels(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    assert desk.pass_to(44) == []
    (outcome,) = desk.pass_to(45.5)
    assert outcome.reason == "warned"
    assert desk.pass_to(46) == []
    assert escalations(desk) == [("lead", "raised", 1)]
    case = desk.case()
    assert case.priority is not None
    assert case.priority.parts["waiting"] == 20
    (outcome,) = desk.pass_to(61)
    assert outcome.reason == "breached"
    assert escalations(desk)[-1] == ("head", "raised", 1)
    assert (desk.case().queue, desk.case().routed_queue) == ("late", "first")
    assert desk.case().late == ["first_response"]
    assert desk.pass_to(62) == []
    assert desk.happened() == ["opened", "warned", "escalated", "breached", "escalated", "routed"]


def test_what_nobody_acknowledges_is_raised_further_and_what_somebody_does_is_not(
    desk: Desk,
) -> None:
    desk.hear(said("1", minute=0))
    desk.hear(said("2", "bert", minute=0))
    desk.pass_to(61)
    assert desk.pass_to(62) == []  # both customers of the conversation were late at once
    desk.order("acknowledge", "anna")
    for minute in (75, 76, 77):
        desk.pass_to(minute)
    told = [
        (each.case_id.rpartition(":")[2], each.level, each.state)
        for each in (
            codec.decode(Escalation, message.value)
            for message in desk.broker.messages(Topic.ESCALATIONS)
        )
    ]
    assert ("anna#1", "head", "acknowledged") in told
    assert ("bert#1", "board", "raised") in told
    assert ("anna#1", "board", "raised") not in told


def test_nothing_fires_before_all_was_read_that_lay_before_it_but_for_a_minute_at_most(
    desk: Desk,
) -> None:
    desk.hear(said("1", minute=0))
    assert desk.pass_to(45.5, read=False) == []
    (outcome,) = desk.pass_to(46.5, read=False)
    assert outcome.reason == "warned"
    fired = (desk.case().fired or ())[0]
    assert fired.provisional
    record = codec.decode(Escalation, desk.broker.messages(Topic.ESCALATIONS)[0].value)
    assert record.provisional


def test_an_answer_that_comes_to_light_late_corrects_and_withdraws(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    desk.pass_to(45.5)
    desk.pass_to(61)
    desk.hear(answered("2", 30, in_reply_to="1"))
    case = desk.case()
    assert states(desk)["first_response"] == "met"
    assert [bool(fired.withdrawn) for fired in case.fired or ()] == [True, True]
    assert [each.state for each in case.escalations or ()] == ["withdrawn", "withdrawn"]
    assert (case.queue, case.late) == ("first", None)
    assert escalations(desk)[-2:] == [("lead", "withdrawn", 2), ("head", "withdrawn", 2)]
    corrected = [
        event
        for event in (
            codec.decode(CaseEvent, message.value)
            for message in desk.broker.messages(Topic.CASE_EVENTS)
        )
        if event.kind == "corrected"
    ]
    assert [each.detail for each in corrected] == ["warned_withdrawn", "breached_withdrawn"]
    assert corrected[1].was == NOON + timedelta(hours=1)
    assert corrected[1].is_ == NOON + timedelta(minutes=30)


def test_a_late_answer_ends_the_escalation_and_stays_late(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    desk.pass_to(61)
    desk.hear(answered("2", 90, in_reply_to="1"))
    assert states(desk)["first_response"] == "met_late"
    assert [each.state for each in desk.case().escalations or ()] == ["ended"]
    assert desk.case().late == ["first_response"]


def test_a_deleted_complaint_stops_its_clock_and_says_so(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    desk.hear(deleted("1", 10))
    assert set(states(desk).values()) == {"cancelled"}
    assert desk.pass_to(200) == []
    assert "breached" not in desk.happened()


def test_timers_survive_a_restart_and_fire_once(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    desk.pass_to(45.5)
    desk.stage.restart()
    assert desk.pass_to(46) == []
    (outcome,) = desk.pass_to(61)
    assert outcome.reason == "breached"
    desk.stage.restart()
    assert desk.pass_to(62) == []


def test_a_snoozed_case_sleeps_until_its_time_or_the_customers_next_word(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    desk.hear(answered("2", 5, in_reply_to="1"))
    desk.now = NOON + timedelta(minutes=10)
    desk.order("snooze", until=NOON + timedelta(minutes=100))
    assert desk.case().state == "snoozed"
    assert states(desk)["resolution"] == "paused"
    (outcome,) = desk.pass_to(101)
    assert outcome.reason == "unsnoozed"
    assert desk.case().state == "waiting"
    resolution = (desk.case().clocks or ())[-1]
    assert resolution.deadline == NOON + timedelta(days=1, minutes=90)
    desk.order("snooze", until=NOON + timedelta(minutes=300))
    desk.hear(said("3", minute=120))
    assert desk.case().state == "open"
    assert desk.case().snoozed_until is None


def test_a_policy_change_is_not_retroactive(desk: Desk) -> None:
    desk.hear(said("1", minute=0))
    desk.brands["nordlicht"] = compiled_brand(
        sla=[{"id": "hurried", "first_response": "1m"}], cases={"close_when": "answered"}
    )
    desk.hear(said("2", minute=1))
    clock = (desk.case().clocks or ())[0]
    assert (clock.policy, clock.deadline) == ("public", NOON + timedelta(hours=1))
    desk.hear(answered("3", 5, in_reply_to="1"))
    assert desk.case().state == "waiting"


def test_a_word_out_of_hours_starts_the_clock_at_the_opening_and_says_so() -> None:
    brand = compiled_brand(
        calendars=[{"id": "day", "zone": "Etc/UTC", "hours": {"mon-fri": ["14:00-20:00"]}}],
        sla=[{"id": "public", "first_response": "60m"}],
    )
    desk = Desk(brand)
    desk.hear(said("1", minute=0))
    clock = (desk.case().clocks or ())[0]
    assert clock.out_of_hours
    assert clock.deadline == NOON + timedelta(hours=3)
    assert desk.routed()[0].decision.out_of_hours


def test_what_can_matter_no_more_is_forgotten(desk: Desk) -> None:
    desk.hear(answered("1", 9, in_reply_to="nothing"))
    desk.hear(said("2", minute=10))
    desk.now = NOON + timedelta(minutes=20)
    desk.order("close")
    week = 7 * 24 * 60
    (outcome,) = desk.pass_to(week + 30)
    assert outcome.reason == "forgotten"
    assert b":-#0" not in b"".join(desk.broker.compacted(Topic.CASES))
    (outcome,) = desk.pass_to(401 * 24 * 60)
    assert outcome.reason == "forgotten"
    assert desk.broker.compacted(Topic.CASES) == {}
    assert desk.state() == {}


def test_who_is_warned_does_not_wait_behind_what_is_to_be_forgotten(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is forgotten waits for all that lies before it, and may be any number of records."""
    monkeypatch.setattr("klingel_processors.care.logic.TIMERS_AT_ONCE", 3)
    for place in range(8):
        conversation = f"bluesky:network:there{place}"
        desk.hear(answered(f"own{place}", 0, in_reply_to="x", conversation=conversation))
    week = 7 * 24 * 60
    desk.now = NOON + timedelta(minutes=week)
    desk.hear(said("late", minute=week))
    assert desk.pass_to(week + 44, read=False) == []
    outcomes = desk.pass_to(week + 47, read=False)
    assert [outcome.reason for outcome in outcomes] == ["warned"]
    outcomes = desk.pass_to(week + 62)
    assert [outcome.reason for outcome in outcomes] == ["breached", "forgotten", "forgotten"]


def test_a_table_of_earlier_code_is_built_anew(desk: Desk, tmp_path: Path) -> None:
    """Code that knew no forgetting wrote no entry for it; its table tells no layout."""
    desk.hear(answered("own", 0, in_reply_to="x"))
    whole = desk.state()
    earlier = RocksTable(tmp_path / "cases")
    earlier.belong("cluster")
    earlier.apply([(key, value) for key, value in whole.items() if key[:1] not in b"tf"], 9)
    earlier.close()
    table = RocksTable(tmp_path / "cases", layout=LAYOUT)
    table.belong("cluster")
    assert table.position() == 0
    logic, seen = desk.logic(0), Overlay({CASES: table})
    for message in desk.written(Topic.CASES):
        seen.put(tuple(logic.restore(CASES, message, seen)))
    table.apply(seen.changes(CASES), 9)
    assert {key: table.get(key) for key in whole} == whole
    assert first_due(table) == NOON + timedelta(days=7, seconds=1)
    table.close()


def test_a_complaint_that_is_deleted_stops_its_clock_and_says_so(desk: Desk) -> None:
    """Another word of the customer waits on, from its own time; without one nobody waits."""
    desk.hear(said("1", minute=0))
    desk.hear(said("2", minute=10))
    desk.hear(deleted("1", 15))
    told = case_event(desk)
    assert (told.kind, told.detail) == ("corrected", "waiting")
    assert (told.was, told.is_) == (NOON, NOON + timedelta(minutes=10))
    assert (desk.case().clocks or ())[0].started_at == NOON + timedelta(minutes=10)
    desk.hear(answered("3", 20, in_reply_to="2"))
    desk.hear(said("4", minute=30))
    desk.hear(deleted("4", 35))
    told = case_event(desk)
    assert (told.kind, told.detail, told.is_) == ("corrected", "waiting", None)
    assert desk.case().state == "waiting"
    assert states(desk)["next_response"] == "cancelled"
    desk.hear(deleted("2", 40))
    told = case_event(desk)
    assert (told.kind, told.detail) == ("closed", "customer_deleted")


def case_event(desk: Desk) -> CaseEvent:
    """Return the case event that was told last."""
    return codec.decode(CaseEvent, desk.written(Topic.CASE_EVENTS)[-1].value)
