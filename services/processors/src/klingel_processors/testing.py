"""A stage over an in-memory broker without its loop: batch by batch, cut and restarted at will.

What `BatchLoop` does to one partition, in its order and with its transactions, but synchronously:
for properties over many histories, and for scenarios. The loop itself has its own suite.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from klingel.contracts.envelope import Message
from klingel.stage.batch import Coordinates, Overlay, history_needed, run_batch
from klingel.stage.dead_letters import Component
from klingel.stage.fates import Outcome
from klingel.stage.guard import Brake
from klingel.stage.ledger import Tally, brake_of, ledger_output
from klingel.stage.ports import Committed, Logic
from klingel.testing.broker import InMemoryBroker, InMemoryTable

_EVERYTHING = 1_000_000


@dataclass
class _Held:
    """One partition: its logic, its tables, its books."""

    logic: Logic
    tables: Mapping[str, InMemoryTable]
    tally: Tally
    offset: int
    brake: Brake


class StageInMemory:
    """One worker of a stage that owns every partition of a broker.

    Args:
        broker: where it reads and writes.
        logic: builds the pure half of one partition.
        now: time of a batch.
    """

    def __init__(
        self,
        broker: InMemoryBroker,
        logic: Callable[[int], Logic],
        now: Callable[[], datetime],
    ) -> None:
        self._broker = broker
        self._logic = logic
        self._now = now
        self.name = logic(0).name
        self.input = logic(0).input
        self._component = Component(service=f"klingel-{self.name}/0", stage=self.name)
        self._held = {number: self._open(number) for number in range(broker.partitions)}

    def tables(self, partition: int = 0) -> Mapping[str, InMemoryTable]:
        """Return the local tables of a partition."""
        return self._held[partition].tables

    def restart(self) -> None:
        """Forget everything local, as a worker on another machine: state comes from its mirrors."""
        self._held = {number: self._open(number) for number in range(self._broker.partitions)}

    def replay(self, offset: int = 0) -> None:
        """Set the group back and start over: everything from `offset` is read once more."""
        self._broker.reset(self.name, self.input, offset)
        self.restart()

    def advance(self, batch_messages: int = _EVERYTHING) -> list[Outcome]:
        """Take each partition one batch further.

        Args:
            batch_messages: messages of one batch at most.

        Returns:
            The outcomes, partition by partition; empty when nothing lay ahead.
        """
        outcomes: list[Outcome] = []
        for number, held in self._held.items():
            end = self._broker.end(self.input, number)
            ahead = self._broker.read(self.input, number, held.offset, end)[:batch_messages]
            if ahead:
                outcomes.extend(self._batch(number, held, ahead))
        return outcomes

    def drain(self, batch_messages: int = _EVERYTHING) -> list[Outcome]:
        """Advance until nothing lies ahead."""
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
        committed = self._broker.committed(self.name, self.input, number) or Committed(0)
        tally = Tally.resume(self.name, self.input, number, committed.offset, committed.metadata)
        brake = Brake.resume(brake_of(committed.metadata))
        return _Held(logic, tables, tally, committed.offset, brake)

    def _batch(self, number: int, held: _Held, messages: Sequence[Message]) -> Iterable[Outcome]:
        overlay = Overlay(held.tables)
        history: dict[Coordinates, Message] = {}
        for topic, partition, offset in history_needed(held.logic, messages, overlay):
            for message in self._broker.read(topic, partition, offset, offset + 1):
                history[topic, partition, offset] = message
        now = self._now()
        result = run_batch(
            held.logic,
            messages,
            overlay=overlay,
            history=history,
            tally=held.tally,
            brake=held.brake,
            component=self._component,
            now=now,
        )
        line = ledger_output(result.tally.line(result.next_offset, "", now))
        tally = result.tally.closed(result.next_offset)
        name = f"{self.name}-{number}"
        self._broker.commit(
            name,
            self._broker.fence(name),
            [*result.outputs, line],
            (
                self.name,
                self.input,
                number,
                Committed(result.next_offset, tally.metadata(held.brake.remembered())),
            ),
        )
        for table_name, table in held.tables.items():
            topic = held.logic.tables[table_name]
            table.apply(result.overlay.changes(table_name), self._broker.end(topic, number))
        held.tally, held.offset = tally, result.next_offset
        return result.outcomes
