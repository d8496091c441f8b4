"""A stage over logs in memory without its loop: batch by batch, cut and restarted at will.

What `BatchLoop` does to one partition, in its order and with its transactions, but synchronously:
for a backtest, for properties over many histories, and for scenarios. The loop has its own suite.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.stage.batch import Coordinates, Overlay, history_needed, run_batch
from klingel.stage.dead_letters import Component
from klingel.stage.fates import Outcome
from klingel.stage.guard import Brake
from klingel.stage.in_memory import InMemoryLogs, InMemoryTable
from klingel.stage.ledger import Tally, brake_of, fired_of, ledger_output
from klingel.stage.ports import Committed, Logic
from klingel.stage.timers import run_tick

_EVERYTHING = 1_000_000


@dataclass
class _Read:
    """One input: its books and how far it is read."""

    tally: Tally
    offset: int
    brake: Brake


@dataclass
class _Held:
    """One number: its logic, its tables, its inputs, the last timer that fired."""

    logic: Logic
    tables: Mapping[str, InMemoryTable]
    inputs: dict[Topic, _Read]
    fired: int
    waits: dict[Topic, datetime] = field(default_factory=dict)


class StageInMemory:
    """One worker of a stage that owns every partition of a log.

    Args:
        broker: where it reads and writes.
        logic: builds the pure half of one partition.
        now: time of a batch.
    """

    def __init__(
        self,
        broker: InMemoryLogs,
        logic: Callable[[int], Logic],
        now: Callable[[], datetime],
    ) -> None:
        self._broker = broker
        self._logic = logic
        self._now = now
        self.name = logic(0).name
        self.inputs = logic(0).inputs
        """The primary one first."""
        self._component = Component(service=f"klingel-{self.name}/0", stage=self.name)
        self._held = {number: self._open(number) for number in range(broker.partitions)}

    def tables(self, partition: int = 0) -> Mapping[str, InMemoryTable]:
        """Return the local tables of a partition."""
        return self._held[partition].tables

    @property
    def waits_until(self) -> datetime | None:
        """When the first of the messages that wait has to be decided; None where none waits."""
        return min((at for held in self._held.values() for at in held.waits.values()), default=None)

    def restart(self) -> None:
        """Forget everything local, as a worker on another machine: state comes from its mirrors."""
        self._held = {number: self._open(number) for number in range(self._broker.partitions)}

    def replay(self, offset: int = 0) -> None:
        """Set the group back and start over: all inputs from `offset` are read once more."""
        for topic in self.inputs:
            self._broker.reset(self.name, topic, offset)
        self.restart()

    def advance(self, batch_messages: int = _EVERYTHING) -> list[Outcome]:
        """Take each partition of each input one batch further.

        Args:
            batch_messages: messages of one batch at most.

        Returns:
            The outcomes, partition by partition; empty when nothing lay ahead, or all of it waits.
        """
        outcomes: list[Outcome] = []
        for number, held in self._held.items():
            for topic, read in held.inputs.items():
                end = self._broker.end(topic, number)
                ahead = self._broker.read(topic, number, read.offset, end)[:batch_messages]
                if ahead:
                    outcomes.extend(self._batch(number, held, ahead))
        return outcomes

    def tick(self, read_to: datetime | None = None) -> list[Outcome]:
        """Let each partition fire what is due now, once.

        Args:
            read_to: see `Logic.tick`.

        Returns:
            The outcomes, partition by partition; empty when nothing was due.
        """
        outcomes: list[Outcome] = []
        for number, held in self._held.items():
            result = run_tick(
                held.logic,
                overlay=Overlay(held.tables),
                number=number,
                now=self._now(),
                read_to=read_to,
                fired=held.fired,
                holder="",
            )
            if result is not None:
                primary = self.inputs[0]
                held.fired = result.fired
                self._commit(number, held, result.outputs, primary, result.overlay)
                outcomes.extend(result.outcomes)
        return outcomes

    def drain(self, batch_messages: int = _EVERYTHING) -> list[Outcome]:
        """Advance until nothing lies ahead that need not wait."""
        outcomes: list[Outcome] = []
        while some := self.advance(batch_messages):
            outcomes.extend(some)
        return outcomes

    def _open(self, number: int) -> _Held:
        logic = self._logic(number)
        tables = {name: InMemoryTable() for name in logic.tables}
        for name, table in tables.items():
            topic = logic.tables[name]
            end = self._broker.end(topic, number)
            seen = Overlay(tables)
            for message in self._broker.read(topic, number, 0, end):
                seen.put(tuple(logic.restore(name, message, seen)))
            table.apply(seen.changes(name), end)
        inputs: dict[Topic, _Read] = {}
        fired = 0
        for topic in logic.inputs:
            at = self._broker.committed(self.name, topic, number) or Committed(0)
            tally = Tally.resume(self.name, topic, number, at.offset, at.metadata)
            inputs[topic] = _Read(tally, at.offset, Brake.resume(brake_of(at.metadata)))
            fired = max(fired, fired_of(at.metadata))
        return _Held(logic, tables, inputs, fired)

    def _batch(self, number: int, held: _Held, messages: Sequence[Message]) -> Iterable[Outcome]:
        overlay = Overlay(held.tables)
        history: dict[Coordinates, Message] = {}
        for topic, partition, offset in history_needed(held.logic, messages, overlay):
            for message in self._broker.read(topic, partition, offset, offset + 1):
                history[topic, partition, offset] = message
        now = self._now()
        topic = messages[0].topic
        read = held.inputs[topic]
        result = run_batch(
            held.logic,
            messages,
            overlay=overlay,
            history=history,
            tally=read.tally,
            brake=read.brake,
            component=self._component,
            now=now,
        )
        held.waits.pop(topic, None)
        if result.waits_until is not None:
            held.waits[topic] = result.waits_until
            if not result.outcomes:
                return ()
        line = ledger_output(result.tally.line(result.next_offset, "", now))
        read.tally, read.offset = result.tally.closed(result.next_offset), result.next_offset
        self._commit(number, held, [*result.outputs, line], topic, result.overlay)
        return result.outcomes

    def _commit(
        self, number: int, held: _Held, outputs: Sequence[Output], topic: Topic, overlay: Overlay
    ) -> None:
        """Write records with the position of an input, then let local state follow."""
        read = held.inputs[topic]
        fired = held.fired if topic == self.inputs[0] else 0
        metadata = read.tally.metadata(read.brake.remembered(), fired)
        at = {(self.name, topic, number): Committed(read.offset, metadata)}
        self._broker.write(outputs, at)
        for table_name, table in held.tables.items():
            mirror = held.logic.tables[table_name]
            table.apply(overlay.changes(table_name), self._broker.end(mirror, number))
