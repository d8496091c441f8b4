"""What a stage needs of the world: an input, transactions, a log to read, local state.

Real Kafka and RocksDB stand behind them in the services, `klingel.testing` in tests; the same suite
runs both.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

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
Slot = tuple[Topic, int]
"""Topic and partition."""


class Input(Protocol):
    """Membership in a consumer group over topics that lie together.

    Whoever is given a number is given the partition of that number of every topic.
    """

    @property
    def inputs(self) -> tuple[Topic, ...]:
        """The topics, the primary one first."""
        ...

    async def start(self, on_assigned: Reassigned, on_revoked: Reassigned) -> None:
        """Join; the callbacks get numbers, and revocation waits for the callback."""
        ...

    async def fetch(
        self, max_records: int, wait_seconds: float
    ) -> Mapping[Slot, Sequence[Message]]:
        """Return messages by slot, in offset order, from the slots that are not paused."""
        ...

    async def committed(self, number: int) -> Mapping[Topic, Committed | None]:
        """Return the group's committed position of each topic, None before the first commit."""
        ...

    async def position_for_first_start(self, slot: Slot) -> int:
        """Return the first offset that the log still has."""
        ...

    async def ends(self, numbers: Iterable[int]) -> Mapping[Slot, int]:
        """Return behind which offset nothing lies yet, for every topic; one request for all.

        What lies in a transaction that is not finished counts as lying there.

        Raises:
            SourceUnavailable: it is not known for now.
        """
        ...

    def seek(self, slot: Slot, offset: int) -> None:
        """Read on from `offset`."""
        ...

    def pause(self, slot: Slot) -> None:
        """Fetch nothing of it."""
        ...

    def resume(self, slot: Slot) -> None:
        """Fetch it again."""
        ...

    def position(self, slot: Slot) -> int | None:
        """Return up to which offset everything was fetched, markers included; None when unknown."""
        ...

    def lag(self, slot: Slot) -> int | None:
        """Return how many offsets lie ahead, None when unknown."""
        ...

    async def stop(self) -> None:
        """Leave."""
        ...


class Transactions(Protocol):
    """The writer of one owned number; opening it fences every earlier one of its name."""

    async def open(self) -> None:
        """Fence predecessors and settle what they left in the air."""
        ...

    async def commit(
        self, outputs: Sequence[Output], positions: Mapping[Topic, Committed]
    ) -> Sequence[Written]:
        """Write outputs and the positions of inputs as one.

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

    def scan(self, start: bytes, stop: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """Return the first `limit` entries of [start, stop), in the order of their keys' bytes."""
        ...

    def position(self) -> int:
        """Return the offset of the mirrored topic up to which this table is complete."""
        ...

    def apply(self, puts: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        """Apply changes and the new position as one."""
        ...

    def filling(self, records: int) -> AbstractContextManager[None]:
        """Leave until later what is cheaper once, while so many records are applied in a row."""
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

    def scan(
        self, table: str, start: bytes, stop: bytes, limit: int
    ) -> Sequence[tuple[bytes, bytes]]:
        """Return the first `limit` entries of [start, stop), in the order of their keys' bytes."""
        ...


@runtime_checkable
class RemembersBatches(Protocol):
    """What a Logic may have besides: state of a batch as a whole."""

    def batch_state(
        self, state: StateView, now: datetime
    ) -> tuple[Sequence[Output], Sequence[Put]]:
        """Return records of state and the changes that they mean, behind all others of a batch.

        They are caused by the batch, and the books do not count them. What is raised takes the batch
        back.

        Args:
            state: what was stored before the batch, and what its steps have put.
            now: when it was decided.
        """
        ...


class Logic(Protocol):
    """A stage's pure half; one instance serves one number.

    Attributes:
        name: stage name in ledger, ids and metrics.
        inputs: topics it reads, the primary one first; they lie together: equal partition counts,
            the same key. A worker that owns a number owns it of every input, and decides one batch
            of it at a time. `step` tells them apart by the message's topic.
        tables: local table to the topic that mirrors it; a partition of the stage mirrors the
            partition of the same number.
        wants_time: whether `tick` is called and the ends of the inputs are asked for.
    """

    name: str
    inputs: tuple[Topic, ...]
    tables: Mapping[str, Topic]
    wants_time: bool

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
        """Decide one message.

        Raises:
            InvalidMessage: it can never succeed.
            RetryableError: the batch is taken back and tried again.
            NotYet: the batch ends before it.
        """
        ...

    def tick(self, state: StateView, now: datetime, read_to: datetime | None) -> Sequence[Outcome]:
        """Fire the timers that are due: one outcome each.

        Called once a second at most, first right after the start; again at the next turn when it
        returned something. So it returns a bounded number, and what it changes must keep it from
        returning the same again. Outputs are headed by `klingel.contracts.envelope.timer_headers`;
        the caller adds their source position. Outputs and changes are committed as one, then local
        state follows. One timer that raises holds up all of its number: guard each.

        Args:
            state: everything that was committed so far.
            now: the time.
            read_to: the latest known time of which everything that lay in the inputs at that time
                was decided and committed; None until it is known.
        """
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
