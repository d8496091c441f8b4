"""The timers of one number, run once: what fires, and its line in the books.

What a timer causes has no message that caused it. So that the books add up all the same, the timers
of a stage and number are a log of their own, which exists in the books alone: `<stage>.timers`, in
which every timer that fires is a message. Its outputs name their place in it as source position;
the next stage tells by it what it has passed already, and the audit what was emitted.

A place is the time in milliseconds, or the one after the last where that is not behind it: it grows
even when what was remembered of the last is lost. A line is written with what fired, in the same
transaction, so lines need not follow one another.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from klingel.contracts.envelope import SOURCE_HEADER, Output, SourcePosition
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import LedgerLine
from klingel.stage.batch import RECORD_BYTES, Overlay
from klingel.stage.fates import Outcome
from klingel.stage.ledger import ledger_output
from klingel.stage.ports import Logic

_SUFFIX = ".timers"
"""No topic's name has a dot."""


def timers_of(stage: str) -> str:
    """Return the name under which the timers of a stage stand in the books."""
    return stage + _SUFFIX


@dataclass(frozen=True, slots=True)
class TickResult:
    """What one tick comes to.

    Attributes:
        outputs: records to write, ledger line included, in order.
        overlay: changes of local state.
        fired: number of the last timer that fired.
        outcomes: one per timer.
    """

    outputs: tuple[Output, ...]
    overlay: Overlay
    fired: int
    outcomes: tuple[Outcome, ...]


def run_tick(
    logic: Logic,
    *,
    overlay: Overlay,
    number: int,
    now: datetime,
    read_to: datetime | None,
    fired: int,
    holder: str,
) -> TickResult | None:
    """Let a logic fire what is due.

    Args:
        logic: the pure half of the number.
        overlay: state as committed so far; nothing was put into it.
        number: number of the partitions.
        now: the time.
        read_to: see `Logic.tick`.
        fired: number of the last timer that fired before; 0 when unknown.
        holder: worker, for the line.

    Returns:
        None when nothing was due.

    Raises:
        RetryableError, InvariantViolation: nothing of the tick counts.
        Exception: whatever pure code raises; InvalidMessage for a record that no broker takes.
    """
    outcomes = tuple(logic.tick(overlay, now, read_to))
    if not outcomes:
        return None
    first = max(fired + 1, int(now.timestamp() * 1000))
    outputs: list[Output] = []
    for place, outcome in enumerate(outcomes, first):
        overlay.put(outcome.puts)
        for ordinal, output in enumerate(outcome.outputs):
            position = SourcePosition(timers_of(logic.name), number, place, ordinal)
            outputs.append(_sourced(output, position))
    line = _line(logic.name, number, first, outcomes, holder, now)
    return TickResult(
        outputs=(*outputs, ledger_output(line)),
        overlay=overlay,
        fired=first + len(outcomes) - 1,
        outcomes=outcomes,
    )


def _sourced(output: Output, position: SourcePosition) -> Output:
    if len(output.value or b"") > RECORD_BYTES:
        raise InvalidMessage(
            ErrorType.TOO_LARGE, "a record that a timer causes is larger than Kafka takes"
        )
    if any(name == SOURCE_HEADER for name, _ in output.headers):
        raise ValueError("what a timer causes is caused by no message")
    return replace(output, headers=(*output.headers, (SOURCE_HEADER, position.encode())))


def _line(
    stage: str, number: int, first: int, outcomes: Sequence[Outcome], holder: str, now: datetime
) -> LedgerLine:
    fates = Counter(str(outcome.fate) for outcome in outcomes)
    reasons = Counter(f"{each.fate}:{each.reason}" for each in outcomes if each.reason)
    networks = Counter(f"{each.fate}:{each.network}" for each in outcomes if each.network)
    caused = Counter(
        str(output.instead or output.topic) for each in outcomes for output in each.outputs
    )
    return LedgerLine(
        stage=stage,
        topic=timers_of(stage),
        partition=number,
        before=first,
        after=first + len(outcomes),
        received=len(outcomes),
        redone=0,
        fates=dict(fates),
        reasons=dict(reasons) or None,
        networks=dict(networks) or None,
        emitted={},
        caused=dict(caused) or None,
        holder=holder,
        written_at=now,
    )
