"""What a tick comes to: places that grow, sources that are named, a line that adds up."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts import codec
from klingel.contracts.envelope import (
    CAUSE_HEADER,
    SOURCE_HEADER,
    Message,
    Output,
    SourcePosition,
    timer_headers,
)
from klingel.contracts.topics import Topic
from klingel.errors import InvalidMessage
from klingel.model import LedgerLine
from klingel.stage.audit import audit
from klingel.stage.batch import RECORD_BYTES, Overlay
from klingel.stage.fates import Fate, Outcome, Put
from klingel.stage.in_memory import InMemoryTable
from klingel.stage.ledger import Tally, fired_of
from klingel.stage.ports import StateView
from klingel.stage.timers import TickResult, run_tick

from .test_batch import Adding

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


class Ringing(Adding):
    """Fires what it is told to, and notes what it was told."""

    name = "care"
    wants_time = True

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = outcomes
        self.read_to: datetime | None = None

    def tick(self, state: StateView, now: datetime, read_to: datetime | None) -> Sequence[Outcome]:
        """Fire."""
        del state, now
        self.read_to = read_to
        return self.outcomes


def headed(topic: Topic, value: bytes = b"{}") -> Output:
    """Return an output of a timer."""
    headers = timer_headers(
        topic,
        event_id="case/clock/1",
        source="klingel/care",
        subject="case",
        time=NOW,
        trace="0" * 32,
        cause="case/clock",
    )
    return Output(topic, b"k", value, headers)


def ticked(*outcomes: Outcome, fired: int = 0, now: datetime = NOW) -> TickResult | None:
    """Run one tick of partition 3."""
    return run_tick(
        Ringing(*outcomes),
        overlay=Overlay({"sums": InMemoryTable()}),
        number=3,
        now=now,
        read_to=NOW,
        fired=fired,
        holder="w",
    )


def sources(result: TickResult) -> list[SourcePosition]:
    """Return the places of a tick's records, without its line."""
    headers = [dict(output.headers) for output in result.outputs[:-1]]
    return [SourcePosition.decode(each[SOURCE_HEADER]) for each in headers]


def line_of(result: TickResult) -> LedgerLine:
    """Return the line of a tick, which comes last."""
    return codec.decode(LedgerLine, result.outputs[-1].value)


def test_nothing_due_is_nothing_to_write() -> None:
    assert ticked() is None


def test_records_name_their_timer_and_its_cause() -> None:
    """One place a timer, one ordinal a record; what else the header says is the logic's."""
    two = Outcome(Fate.DELIVERED, outputs=(headed(Topic.CASES), headed(Topic.CASE_EVENTS)))
    one = Outcome(Fate.DELIVERED, outputs=(headed(Topic.CASES),), puts=(Put("sums", b"a", b"1"),))
    result = ticked(two, one)
    assert result is not None
    assert sources(result) == [
        SourcePosition("care.timers", 3, NOW_MS, 0),
        SourcePosition("care.timers", 3, NOW_MS, 1),
        SourcePosition("care.timers", 3, NOW_MS + 1, 0),
    ]
    assert {dict(output.headers)[CAUSE_HEADER] for output in result.outputs[:-1]} == {b"case/clock"}
    assert result.overlay.changes("sums") == [(b"a", b"1")]
    line = line_of(result)
    assert (line.topic, line.partition, line.before, line.after) == (
        "care.timers",
        3,
        NOW_MS,
        NOW_MS + 2,
    )
    assert (line.received, line.fates) == (2, {"delivered": 2})
    assert line.caused == {"cases": 2, "case-events": 1}
    assert result.fired == NOW_MS + 1


@pytest.mark.parametrize("behind", [timedelta(0), timedelta(hours=3)])
def test_a_clock_that_stands_still_or_goes_back_gives_no_place_twice(behind: timedelta) -> None:
    outcome = Outcome(Fate.DELIVERED, outputs=(headed(Topic.CASES),))
    first = ticked(outcome, outcome)
    assert first is not None
    second = ticked(outcome, fired=first.fired, now=NOW - behind)
    assert second is not None
    assert sources(second) == [SourcePosition("care.timers", 3, first.fired + 1, 0)]


def test_a_record_that_no_broker_takes_is_refused_before_it_is_tried_for_ever() -> None:
    with pytest.raises(InvalidMessage, match="larger"):
        ticked(Outcome(Fate.DELIVERED, outputs=(headed(Topic.CASES, b"x" * (RECORD_BYTES + 1)),)))


def test_a_record_that_names_a_message_as_its_source_is_refused() -> None:
    """It would be taken for one that the message caused, and counted as redone."""
    place = SourcePosition(Topic.SOCIAL_EVENTS, 3, 7, 0)
    output = Output(Topic.CASES, b"k", b"{}", ((SOURCE_HEADER, place.encode()),))
    with pytest.raises(ValueError, match="no message"):
        ticked(Outcome(Fate.DELIVERED, outputs=(output,)))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5), st.booleans()), max_size=20))
def test_the_books_between_a_stage_s_timers_and_the_next_stage_add_up(
    turns: list[tuple[int, int, bool]],
) -> None:
    """Whatever fires when, whatever the clock does, however often the worker starts anew."""
    lines: list[LedgerLine] = []
    log: list[Message] = []
    fired, now = 0, NOW
    for timers, seconds, restarts in turns:
        now += timedelta(seconds=seconds)
        outcome = Outcome(Fate.DELIVERED, outputs=(headed(Topic.CASES), headed(Topic.CASES)))
        result = ticked(*[outcome] * timers, fired=fired, now=now)
        if result is not None:
            fired = result.fired
            lines.append(line_of(result))
            log += [
                Message(Topic.CASES, 3, len(log) + at, b"k", b"{}", output.headers)
                for at, output in enumerate(result.outputs[:-1])
            ]
        if restarts:
            fired = fired_of(Tally("care", Topic.SOCIAL_EVENTS, 3, 0).metadata(fired=fired))
    indexed = Tally("indexer", Topic.CASES, 3, 0).plus(
        [(message, Outcome(Fate.DELIVERED)) for message in log]
    )
    assert indexed.redone == indexed.outside == 0
    books = [*lines, indexed.line(len(log), "w", NOW)] if log else lines
    report = audit(books, {(str(Topic.CASES), 3): len(log)})
    assert report.clean
    caused = sum((Counter(line.caused) for line in lines), Counter[str]())
    assert caused[Topic.CASES] == indexed.received
