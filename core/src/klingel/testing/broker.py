"""Kafka as a stage sees it, in memory: partitions, groups, transactions, fencing, compaction.

`InMemoryBroker` holds the logs, those of `klingel.stage.in_memory`; `InMemoryInput`,
`InMemoryTransactions` and `InMemoryLog` are its ports. Faults can be planted: see `fail_next_commit`.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import count
from typing import Literal

from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.errors import InvariantViolation, OwnershipLost, SourceUnavailable
from klingel.stage.in_memory import InMemoryLogs
from klingel.stage.ports import Committed, Reassigned, Slot, Written

Fault = Literal["before", "after"]


_CLUSTERS = count()


class InMemoryBroker(InMemoryLogs):
    """Logs, committed positions and writer epochs.

    Args:
        partitions: of every topic.
    """

    def __init__(self, partitions: int = 4) -> None:
        super().__init__(partitions)
        self.cluster = f"memory-{next(_CLUSTERS)}"
        self._epochs: dict[str, int] = defaultdict(int)
        self._members: dict[str, list[InMemoryInput]] = defaultdict(list)
        self._faults: list[Fault] = []
        self.away = False
        self.changed = asyncio.Event()

    def append(self, output: Output, timestamp_ms: int = 0) -> Written:
        """Write one record outside any transaction, as a connector does."""
        self._answer()
        written = super().append(output, timestamp_ms)
        self._ring()
        return written

    def committed(self, group: str, topic: Topic, partition: int) -> Committed | None:
        """Return a group's committed position."""
        self._answer()
        return super().committed(group, topic, partition)

    def fail_next_commit(self, fault: Fault) -> None:
        """Let the next commit fail: `before` nothing became visible, `after` everything did."""
        self._faults.append(fault)

    def end(self, topic: Topic, partition: int) -> int:
        """Return the offset behind the last record or marker."""
        self._answer()
        return super().end(topic, partition)

    def read(self, topic: Topic, partition: int, start: int, stop: int) -> list[Message]:
        """Return the messages of [start, stop)."""
        self._answer()
        return super().read(topic, partition, start, stop)

    def write(
        self,
        outputs: Sequence[Output],
        positions: Mapping[tuple[str, Topic, int], Committed],
    ) -> list[Written]:
        """Write outputs and positions as one, whoever does; see `commit`."""
        self._answer()
        fault = self._faults.pop(0) if self._faults else None
        if fault == "before":
            raise SourceUnavailable("the batch was not committed")
        written = super().write(outputs, positions)
        self._ring()
        if fault == "after":
            raise SourceUnavailable("the batch was committed, the answer was lost")
        return written

    # -- for the ports ---------------------------------------------------------------------

    def fence(self, name: str) -> int:
        """Open a writer name anew; earlier epochs are void."""
        self._answer()
        self._epochs[name] += 1
        return self._epochs[name]

    def commit(
        self,
        name: str,
        epoch: int,
        outputs: Sequence[Output],
        positions: Mapping[tuple[str, Topic, int], Committed],
    ) -> list[Written]:
        """Write outputs and positions (of group, topic, partition) as one, if the epoch holds."""
        self._answer()
        if self._epochs[name] != epoch:
            raise OwnershipLost("another worker opened the partition")
        return self.write(outputs, positions)

    async def join(self, group: str, member: "InMemoryInput") -> None:
        """Add a member and share the partitions anew."""
        self._answer()
        self._members[group].append(member)
        await self._share(group)

    async def leave(self, group: str, member: "InMemoryInput") -> None:
        """Remove a member and share its partitions among the others."""
        if member in self._members[group]:
            self._members[group].remove(member)
            await member.revoke()
            await self._share(group)

    async def evict(self, group: str, member: "InMemoryInput") -> None:
        """Give a silent member's partitions away without telling it, as a session timeout does."""
        self._members[group].remove(member)
        await self._share(group)

    async def _share(self, group: str) -> None:
        members = self._members[group]
        for member in members:
            await member.revoke()
        for number, member in enumerate(members):
            await member.assign(set(range(number, self.partitions, len(members))))

    def _answer(self) -> None:
        if self.away:
            raise SourceUnavailable("the broker is away")

    def _ring(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class InMemoryInput:
    """Membership in a group over topics that lie together (port `Input`)."""

    def __init__(self, broker: InMemoryBroker, inputs: Sequence[Topic], group: str) -> None:
        self._broker = broker
        self.inputs = tuple(inputs)
        self._group = group
        self._positions: dict[Slot, int] = {}
        self._paused: set[Slot] = set()
        self._owned: set[int] = set()
        self._on_assigned: Reassigned | None = None
        self._on_revoked: Reassigned | None = None

    async def start(self, on_assigned: Reassigned, on_revoked: Reassigned) -> None:
        """Join the group."""
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        await self._broker.join(self._group, self)

    async def assign(self, numbers: set[int]) -> None:
        """Get partitions of the group."""
        self._owned = numbers
        self._positions = {(topic, number): 0 for topic in self.inputs for number in numbers}
        self._paused = set()
        if self._on_assigned is not None:
            await self._on_assigned(numbers)

    async def revoke(self) -> None:
        """Give all partitions back."""
        owned, self._owned = self._owned, set()
        if owned and self._on_revoked is not None:
            await self._on_revoked(owned)

    async def fetch(
        self, max_records: int, wait_seconds: float
    ) -> Mapping[Slot, Sequence[Message]]:
        """Return what lies ahead, waiting for it when there is nothing."""
        changed = self._broker.changed
        found = self._take(max_records)
        if not found:
            try:
                async with asyncio.timeout(wait_seconds):
                    await changed.wait()
            except TimeoutError:
                return {}
            found = self._take(max_records)
        return found

    def _take(self, max_records: int) -> dict[Slot, list[Message]]:
        found: dict[Slot, list[Message]] = {}
        if self._broker.away:
            return found
        owned = [(topic, number) for number in sorted(self._owned) for topic in self.inputs]
        for slot in owned:
            if slot in self._paused:
                continue
            start = self._positions[slot]
            end = min(self._broker.end(*slot), start + max_records)
            messages = self._broker.read(*slot, start, end)
            self._positions[slot] = end
            max_records -= end - start
            if messages:
                found[slot] = messages
        return found

    async def committed(self, number: int) -> Mapping[Topic, Committed | None]:
        """Return the group's committed positions."""
        return {topic: self._broker.committed(self._group, topic, number) for topic in self.inputs}

    async def position_for_first_start(self, slot: Slot) -> int:
        """Return the first offset."""
        del slot
        return 0

    async def ends(self, numbers: Iterable[int]) -> Mapping[Slot, int]:
        """Return where every topic of the numbers ends."""
        return {
            (topic, number): self._broker.end(topic, number)
            for number in numbers
            for topic in self.inputs
        }

    def seek(self, slot: Slot, offset: int) -> None:
        """Read on from `offset`."""
        self._positions[slot] = offset

    def pause(self, slot: Slot) -> None:
        """Fetch nothing of it."""
        self._paused.add(slot)

    def resume(self, slot: Slot) -> None:
        """Fetch it again."""
        self._paused.discard(slot)

    def position(self, slot: Slot) -> int | None:
        """Return up to which offset everything was fetched."""
        return self._positions.get(slot) if slot[1] in self._owned else None

    def lag(self, slot: Slot) -> int | None:
        """Return how many offsets lie ahead."""
        if self._broker.away or slot[1] not in self._owned:
            return None
        return self._broker.end(*slot) - self._positions[slot]

    async def stop(self) -> None:
        """Leave the group."""
        await self._broker.leave(self._group, self)


class InMemoryTransactions:
    """The writer of one owned number (port `Transactions`)."""

    def __init__(self, broker: InMemoryBroker, *, group: str, number: int) -> None:
        self._broker = broker
        self._group = group
        self._number = number
        self._name = f"{group}-{number}"
        self._epoch: int | None = None

    async def open(self) -> None:
        """Fence predecessors."""
        self._epoch = self._broker.fence(self._name)

    async def commit(
        self, outputs: Sequence[Output], positions: Mapping[Topic, Committed]
    ) -> Sequence[Written]:
        """Write outputs and positions as one."""
        if self._epoch is None:
            raise InvariantViolation("a writer was used before it was opened")
        return self._broker.commit(
            self._name,
            self._epoch,
            outputs,
            {(self._group, topic, self._number): at for topic, at in positions.items()},
        )

    async def close(self) -> None:
        """Let go."""
        self._epoch = None


class InMemoryLog:
    """Reading without a group (port `Log`)."""

    def __init__(self, broker: InMemoryBroker) -> None:
        self._broker = broker

    async def end(self, topic: Topic, partition: int) -> int:
        """Return the offset behind the last record."""
        return self._broker.end(topic, partition)

    async def partitions(self, topic: Topic) -> int:
        """Return how many partitions the topic has."""
        del topic
        return self._broker.partitions

    async def cluster(self) -> str:
        """Return the broker's id."""
        return self._broker.cluster

    async def read(
        self, topic: Topic, partition: int, start: int, stop: int
    ) -> AsyncIterator[Sequence[Message]]:
        """Yield the messages of [start, stop)."""
        messages = self._broker.read(topic, partition, start, stop)
        if messages:
            yield messages
