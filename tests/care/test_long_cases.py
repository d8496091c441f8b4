"""Cases that go on and on: what a record lets go of stays counted, to the second."""

from datetime import UTC, datetime, timedelta

import pytest

from klingel.config.compiled import CompiledBrand
from klingel.domain.clocks import Promises, explained_by
from klingel.domain.sla import Pause, Promise, clock_of, explain
from klingel.model.case import Case
from klingel.testing.conversations import NOON, answered, compiled_brand, said

from .conftest import Desk

TURN = 37
"""Minutes from a customer's word to the next."""


def brand(*pause_when: str) -> CompiledBrand:
    """Return a brand that promises a resolution, and pauses for it."""
    return compiled_brand(
        calendars=[{"id": "day", "zone": "Europe/Berlin", "hours": {"mon-sun": ["06:00-22:00"]}}],
        sla=[{"id": "all", "resolution": "30h", "pause_when": pause_when}],
        cases={"close_when": "never"},
    )


def at(minute: float) -> datetime:
    """Return a time of the conversation."""
    return (NOON + timedelta(minutes=minute)).astimezone(UTC)


def talk(desk: Desk, turns: int, *, snoozing: bool) -> list[Pause]:
    """Let customer and brand talk in turns; return when the resolution may have stood."""
    stood: list[Pause] = []
    for turn in range(turns):
        start = turn * TURN
        if stood:
            stood[-1] = (stood[-1][0], at(start))
        desk.now = at(start)
        desk.hear(said(f"w{turn}", minute=start))
        if snoozing:
            desk.now = at(start + 2)
            assert desk.order("snooze", until=at(start + 4)).reason == "applied"
            stood.append((at(start + 2), at(start + 4)))
        desk.now = at(start + 7)
        desk.hear(answered(f"a{turn}", start + 7, in_reply_to=f"w{turn}"))
        stood.append((at(start + 7), None))
    return stood


def check(case: Case, promise: Promise, stood: list[Pause]) -> None:
    """Compare the clock of a case with that which all pauses give, and with its explanation."""
    shown = (case.clocks or ())[-1]
    known = clock_of(promise, "resolution", NOON, pauses=stood, met_at=case.closed_at)
    assert known is not None
    assert (shown.deadline, shown.warn_at) == (known.deadline, known.warn_at)
    assert shown.business_seconds == known.business_seconds
    read = explained_by(shown, Promises(case.terms or {}))
    assert read is not None
    assert (read.deadline, read.business_seconds) == (known.deadline, known.business_seconds)
    assert read.counted is not None
    told = explain(read, promise.calendar)
    if read.counted.deadline is None:
        counted = read.counted.seconds + sum(each.seconds for each in told.to_deadline)
        assert counted == known.target_seconds
    if known.business_seconds is not None:
        counted = read.counted.seconds + sum(each.seconds for each in told.to_end)
        assert counted == known.business_seconds


@pytest.mark.parametrize(("turns", "snoozing"), [(40, True), (60, False), (140, False)])
@pytest.mark.parametrize("closed", [True, False])
def test_however_often_a_clock_stood_it_is_exact(turns: int, snoozing: bool, closed: bool) -> None:
    states = ["waiting", "snoozed"] if snoozing else ["waiting"]
    desk = Desk(brand(*states))
    stood = talk(desk, turns, snoozing=snoozing)
    if closed:
        desk.now += timedelta(minutes=5)
        stood[-1] = (stood[-1][0], desk.now)
        desk.order("close")
    case = desk.case()
    promise = Promises(case.terms or {}).get(next(iter(case.terms or {})))
    assert promise is not None
    check(case, promise, stood)
    desk.stage.restart()
    assert desk.case() == case


def test_a_case_that_was_closed_among_folded_words_counts_on_when_it_is_reopened() -> None:
    desk = Desk(brand("waiting"))
    stood = talk(desk, 30, snoozing=False)
    start = 30 * TURN
    desk.now = at(start)
    stood[-1] = (stood[-1][0], at(start))
    desk.order("close")
    stood.append((at(start), at(start + 100)))
    for turn in range(60):
        begin = start + 100 + turn * TURN
        if turn:
            stood[-1] = (stood[-1][0], at(begin))
        desk.now = at(begin)
        desk.hear(said(f"v{turn}", minute=begin))
        desk.now = at(begin + 7)
        desk.hear(answered(f"b{turn}", begin + 7, in_reply_to=f"v{turn}"))
        stood.append((at(begin + 7), None))
    case = desk.case()
    promise = Promises(case.terms or {}).get(next(iter(case.terms or {})))
    assert promise is not None
    assert case.summary is not None
    check(case, promise, stood)
