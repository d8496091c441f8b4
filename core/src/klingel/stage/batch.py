"""One batch of one partition, decided: what to write, what to remember, how far we are.

Nothing is written here. The result is committed as one by the shell; when that fails, the result is
dropped and nothing of it ever was.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage
from klingel.stage.dead_letters import VALUE_BYTES, Component, dead_letter
from klingel.stage.fates import Fate, NotYet, Outcome, Put
from klingel.stage.guard import Brake, guard, needed_by
from klingel.stage.ledger import Tally
from klingel.stage.ports import Logic, RemembersBatches, StateTable, StateView

Coordinates = tuple[Topic, int, int]

RECORD_BYTES = 900_000
"""A larger record would be refused by a broker's default limit (1 MiB), batch after batch."""

_TOO_LARGE = "a record that this message causes is larger than Kafka takes"
_DEAD = Fate.DEAD_LETTERED
"""Asked for with every message: an enumeration gives its members at ten times the cost."""


class Overlay:
    """State as a batch sees it: its own changes first, then the tables.

    What was read once is kept: nobody else changes the tables while a batch is decided, and a
    message asks for the same keys several times.
    """

    def __init__(self, tables: Mapping[str, StateTable]) -> None:
        self._tables = tables
        self._changed: dict[str, dict[bytes, bytes | None]] = {name: {} for name in tables}
        self._read: dict[str, dict[bytes, bytes | None]] = {name: {} for name in tables}
        self._order: dict[str, list[bytes]] = {}
        """Changed keys in order, of tables that were scanned: who scans, scans for each message."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value, as changed by earlier messages of this batch."""
        changed, read = self._changed[table], self._read[table]
        if key in changed:
            return changed[key]
        if key not in read:
            read[key] = self._tables[table].get(key)
        return read[key]

    def scan(
        self, table: str, start: bytes, stop: bytes, limit: int
    ) -> Sequence[tuple[bytes, bytes]]:
        """Return the first `limit` entries of [start, stop) by key, as changed by this batch."""
        order = self._order.get(table)
        if order is None:
            order = self._order[table] = sorted(self._changed[table])
        within = order[bisect_left(order, start) : bisect_left(order, stop)]
        if not within:
            return self._tables[table].scan(start, stop, limit)
        changed = {key: self._changed[table][key] for key in within}
        removed = sum(value is None for value in changed.values())
        # What is removed here may be what the table would name first.
        merged: dict[bytes, bytes | None] = dict(
            self._tables[table].scan(start, stop, limit + removed)
        )
        merged.update(changed)
        there = sorted((key, value) for key, value in merged.items() if value is not None)
        return there[:limit]

    def put(self, puts: Sequence[Put]) -> None:
        """Remember changes for the rest of the batch."""
        for put in puts:
            changed = self._changed[put.table]
            if put.table in self._order and put.key not in changed:
                insort(self._order[put.table], put.key)
            changed[put.key] = put.value

    def changes(self, table: str) -> list[tuple[bytes, bytes | None]]:
        """Return what the batch changed in one table."""
        return list(self._changed[table].items())


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch comes to.

    Attributes:
        outputs: records to write, dead letters included, in order.
        overlay: changes of local state.
        tally: the books after the batch.
        next_offset: input position after it; that of the message that waits, where one does.
        outcomes: one per message that was decided.
        waits_until: when the message at `next_offset` has to be decided at the latest; None where
            none waits.
    """

    outputs: tuple[Output, ...]
    overlay: Overlay
    tally: Tally
    next_offset: int
    outcomes: tuple[Outcome, ...]
    waits_until: datetime | None = None


def run_batch(
    logic: Logic,
    messages: Sequence[Message],
    *,
    overlay: Overlay,
    history: Mapping[Coordinates, Message],
    tally: Tally,
    brake: Brake,
    component: Component,
    now: datetime,
    keep: Callable[[bytes], str] | None = None,
) -> BatchResult:
    """Decide the messages of one partition, in offset order, up to the first that has to wait.

    What waits has no fate yet, nor has what lies behind it: order is kept, and nothing of it needs
    to be remembered, since the position is not passed.

    `overlay` is the batch's own: it may have been read from, and nothing was put into it.

    `keep` stores an original that its dead letter must cut, and returns its address; the same bytes
    have the same address, so that a repeated batch stores nothing anew.

    Raises:
        RetryableError, InvariantViolation, BrakePulled: nothing of the batch counts.
    """
    outputs: list[Output] = []
    done: list[tuple[Message, Outcome]] = []
    rows: list[bytes] = []
    partition, next_offset = messages[0].partition, messages[-1].offset + 1
    waits_until: datetime | None = None
    # What a message needs to see may lie in its own batch: where a batch is cut must not matter.
    seen = dict(history)

    def step(message: Message) -> Outcome:
        outcome = logic.step(message, overlay, now, seen)
        for output in outcome.outputs:
            value = output.value
            if value is not None and len(value) > RECORD_BYTES:
                raise InvalidMessage(ErrorType.TOO_LARGE, _TOO_LARGE)
        return outcome

    logic.look_over(messages)
    for message in messages:
        seen[message.topic, message.partition, message.offset] = message
        try:
            outcome, error = guard(step, message, brake, logic.source_of)
        except NotYet as wait:
            next_offset, waits_until = message.offset, wait.until
            break
        if outcome.fate is _DEAD:
            assert error is not None
            cut = len(message.value or b"") > VALUE_BYTES
            ref = keep(message.value or b"") if cut and keep is not None else None
            outputs.append(
                dead_letter(message, error, component, now, network=outcome.network, ref=ref)
            )
        if outcome.puts:
            overlay.put(outcome.puts)
        outputs.extend(outcome.outputs)
        if outcome.rows:
            rows.extend(outcome.rows)
        done.append((message, outcome))
    outputs.extend(logic.batch_outputs(rows, partition, now))
    if isinstance(logic, RemembersBatches):
        remembered, puts = logic.batch_state(overlay, now)
        outputs.extend(remembered)
        overlay.put(puts)
    return BatchResult(
        outputs=tuple(outputs),
        overlay=overlay,
        tally=tally.plus(done),
        next_offset=next_offset,
        outcomes=tuple(outcome for _, outcome in done),
        waits_until=waits_until,
    )


def history_needed(
    logic: Logic, messages: Sequence[Message], state: StateView
) -> dict[Coordinates, None]:
    """Return, in order, which earlier messages the batch must see before it is decided."""
    needed: dict[Coordinates, None] = {}
    for message in messages:
        for coordinates in needed_by(logic, message, state):
            needed[coordinates] = None
    return needed
