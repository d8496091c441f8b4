"""What a service's loop asks of Kafka: membership in a group, and a way out; see `group`, `sink`."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypeVar

import structlog

from klingel.clock import Clock
from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.errors import RetryableError
from klingel.metrics import Metric, Metrics

Slot = tuple[Topic, int]
"""A partition."""

BACK_OFF: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between two questions where the assigned partitions begin."""

log = structlog.get_logger()

S_co = TypeVar("S_co", covariant=True)
"""Where a partition begins, with whatever else the service wants to know of it."""

C_contra = TypeVar("C_contra", contravariant=True)
"""What is committed of a partition."""


class Source(Protocol[S_co, C_contra]):
    """Membership in the consumer group over all inputs."""

    async def look_up(self) -> Mapping[Slot, S_co]:
        """Return where newly assigned partitions begin; they are paused until `resume`.

        Raises RetryableError while that is unknown.
        """
        ...

    def assignment(self) -> set[Slot] | None:
        """Return what the group gave us, None before its first word."""
        ...

    async def fetch(self, max_records: int, wait_seconds: float) -> Sequence[Message]:
        """Return messages, of each partition in offset order; none of paused partitions."""
        ...

    async def consumed(self, slot: Slot) -> int | None:
        """Return the offset behind everything fetched, transaction markers included."""
        ...

    def lag(self, slot: Slot) -> int | None:
        """Return how many offsets lie ahead, None when unknown."""
        ...

    def pause(self, slots: Sequence[Slot]) -> None:
        """Fetch nothing of these."""
        ...

    def resume(self, slots: Sequence[Slot]) -> None:
        """Fetch these again."""
        ...

    async def commit(self, positions: Mapping[Slot, C_contra]) -> None:
        """Commit; raises RetryableError when it is unknown whether that worked."""
        ...


class Sink(Protocol):
    """Where a service's own messages go."""

    async def publish(self, outputs: Sequence[Output]) -> None:
        """Return once every one is acknowledged; raises RetryableError."""
        ...


class TakeOver:
    """When to ask where newly assigned partitions begin, and how long Kafka has not said so.

    Args:
        clock: time.
        metrics: where retries are counted.
    """

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._unanswered = 0
        self._due_at = clock.monotonic()

    @property
    def is_answered(self) -> bool:
        """Whether Kafka answered the last question."""
        return not self._unanswered

    def forget(self) -> None:
        """Ask at once: what was assigned is gone."""
        self._unanswered = 0
        self._due_at = self._clock.monotonic()

    async def ask(self, source: Source[S_co, C_contra]) -> Mapping[Slot, S_co]:
        """Return where newly assigned partitions begin; nothing while it is not time to ask."""
        if self._clock.monotonic() < self._due_at:
            return {}
        try:
            starts = await source.look_up()
        except RetryableError as error:
            pause = BACK_OFF[min(self._unanswered, len(BACK_OFF) - 1)]
            self._unanswered += 1
            self._due_at = self._clock.monotonic() + pause
            self._metrics.count(Metric.RETRIES, reason="open")
            log.warning("waiting", waiting_for="kafka", reason=str(error))
            return {}
        self._unanswered = 0
        return starts
