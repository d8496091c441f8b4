"""What a stage needs of the world: an input, transactions, a log to read, local state.

Real Kafka and RocksDB stand behind them in the services, `klingel.testing` in tests; the same suite
runs both.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.stage.fates import Outcome, Put


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed input position and the metadata committed with it."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """Where an output lies now."""

    topic: Topic
    partition: int
    offset: int


Reassigned = Callable[[set[int]], Awaitable[None]]


class Input(Protocol):
    """Membership in a consumer group over one topic."""

    async def start(self, on_assigned: Reassigned, on_revoked: Reassigned) -> None:
        """Join; the callbacks get partitions, and revocation waits for the callback."""
        ...

    async def fetch(self, max_records: int, wait_seconds: float) -> Mapping[int, Sequence[Message]]:
        """Return messages by partition, in offset order, from the partitions that are not paused."""
        ...

    async def committed(self, partition: int) -> Committed | None:
        """Return the group's committed position, None before the first commit."""
        ...

    async def position_for_first_start(self, partition: int) -> int:
        """Return the first offset that the log still has."""
        ...

    def seek(self, partition: int, offset: int) -> None:
        """Read on from `offset`."""
        ...

    def pause(self, partition: int) -> None:
        """Fetch nothing of it."""
        ...

    def resume(self, partition: int) -> None:
        """Fetch it again."""
        ...

    def lag(self, partition: int) -> int | None:
        """Return how many offsets lie ahead, None when unknown."""
        ...

    async def stop(self) -> None:
        """Leave."""
        ...


class Transactions(Protocol):
    """The writer of one owned partition; opening it fences every earlier one of its name."""

    async def open(self) -> None:
        """Fence predecessors and settle what they left in the air."""
        ...

    async def commit(
        self, outputs: Sequence[Output], partition: int, committed: Committed
    ) -> Sequence[Written]:
        """Write outputs and input position as one.

        Raises:
            OwnershipLost: somebody opened it after us; nothing of this became visible.
            RetryableError: unknown whether it became visible; open again and ask the log.
        """
        ...

    async def close(self) -> None:
        """Let go."""
        ...


class Log(Protocol):
    """Reading partitions without a group: rebuilding state, reading back, following."""

    async def end(self, topic: Topic, partition: int) -> int:
        """Return the offset behind the last committed record."""
        ...

    async def partitions(self, topic: Topic) -> int:
        """Return how many partitions the topic has."""
        ...

    async def cluster(self) -> str:
        """Return the id of the cluster that keeps the log."""
        ...

    def read(
        self, topic: Topic, partition: int, start: int, stop: int
    ) -> AsyncIterator[Sequence[Message]]:
        """Yield the committed messages of [start, stop) in order, in batches."""
        ...


class StateTable(Protocol):
    """One local table: a mirror of one partition of a topic."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value."""
        ...

    def position(self) -> int:
        """Return the offset of the mirrored topic up to which this table is complete."""
        ...

    def apply(self, puts: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        """Apply changes and the new position as one."""
        ...

    def belong(self, cluster: str) -> None:
        """Note whose log this mirrors; what was copied from another cluster is forgotten."""
        ...

    def wipe(self) -> None:
        """Forget everything: the position is 0 again."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...


class StateView(Protocol):
    """State as one batch sees it: what it changed itself, before what is stored."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value."""
        ...


class Logic(Protocol):
    """A stage's pure half; one instance serves one partition.

    Attributes:
        name: stage name in ledger, ids and metrics.
        input: topic it reads.
        tables: local table to the topic that mirrors it; a partition of the stage mirrors the
            partition of the same number.
    """

    name: str
    input: Topic
    tables: Mapping[str, Topic]

    def needs(self, message: Message, state: StateView) -> Sequence[tuple[Topic, int, int]]:
        """Return (topic, partition, offset) of earlier messages that `step` must see."""
        ...

    def look_over(self, messages: Sequence[Message]) -> None:
        """Do ahead of the steps of a batch what is cheaper in a row.

        It decides nothing and raises nothing: the steps come to the same without it.
        """
        ...

    def step(
        self,
        message: Message,
        state: StateView,
        now: datetime,
        history: Mapping[tuple[Topic, int, int], Message],
    ) -> Outcome:
        """Decide one message."""
        ...

    def batch_outputs(
        self, rows: Sequence[bytes], partition: int, now: datetime
    ) -> Sequence[Output]:
        """Return the records that remember the batch as a whole."""
        ...

    def restore(self, table: str, message: Message, state: StateView) -> Iterable[Put]:
        """Return what a mirrored record says about local state, given what is there."""
        ...

    def source_of(self, message: Message) -> str:
        """Return who rang, for the brake; cheap and never raising."""
        ...
