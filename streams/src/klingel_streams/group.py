"""Membership in a consumer group over whole topics, without an automatic reset."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    KafkaTimeoutError,
    NoError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.errors import InvariantViolation, SourceUnavailable
from klingel_streams.ports import Slot

Revoked = Callable[[], Awaitable[None]]

_LOOK_UP_SECONDS = 5.0
"""Longest wait for one answer about positions; the loop's back-off follows."""


class Beginning(Protocol):
    """Where a partition begins, with whatever else the service wants to know of it."""

    @property
    def offset(self) -> int:
        """Read from here."""
        ...


P = TypeVar("P", bound=Beginning)


def to_message(topic: Topic, record: Any) -> Message:
    """Return a client's record as a Message."""
    return Message(
        topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        record.headers,
        record.timestamp,
    )


class GroupSource(aiokafka.ConsumerRebalanceListener, ABC, Generic[P]):  # type: ignore[misc]  # aiokafka ships no types
    """Membership in a group.

    Reads only committed records. There is no automatic reset: where a partition begins is decided by
    `_begin`; one whose next offset retention has taken stops the worker.

    The client logs and swallows whatever a rebalance listener raises. So the listener only notes
    and pauses what was assigned; `look_up`, called by the loop, asks where it begins. What fails
    while partitions are let go is raised by the next `look_up`.

    Args:
        connection: bootstrap servers and security, as aiokafka names them.
        inputs: what the group reads.
        needed: every topic without which the service cannot work, the inputs among them.
        lost: what it means that retention took a message before it was read, and what to do.
        group: consumer group.
        topic_prefix: before every topic name.
        instance: static member name, None joins afresh.
        session_timeout_seconds: a silent worker loses its partitions after it.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        *,
        inputs: Sequence[Topic],
        needed: Sequence[Topic],
        lost: str,
        group: str,
        topic_prefix: str,
        instance: str | None,
        session_timeout_seconds: float,
    ) -> None:
        self._inputs = tuple(inputs)
        self._needed = tuple(needed)
        self._lost = lost
        self._group = group
        self._prefix = topic_prefix
        self._revoked: Revoked
        self._new: frozenset[aiokafka.TopicPartition] = frozenset()
        self._told = False
        self._fault: Exception | None = None
        self._admin = AIOKafkaAdminClient(**connection)
        self._consumer = aiokafka.AIOKafkaConsumer(
            **connection,
            group_id=group,
            group_instance_id=instance,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=int(session_timeout_seconds * 1000),
            heartbeat_interval_ms=int(session_timeout_seconds * 300),
            max_partition_fetch_bytes=2 << 20,
            fetch_max_wait_ms=100,
        )

    async def connect(self) -> None:
        """Connect without joining; raises SourceUnavailable while Kafka is away."""
        try:
            await self._admin.start()
        except (KafkaError, OSError) as error:
            raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None

    async def join(self, revoked: Revoked) -> None:
        """Join the group; raises SourceUnavailable while Kafka is away.

        Args:
            revoked: awaited before partitions are let go.
        """
        self._revoked = revoked
        self._consumer.subscribe([self._prefix + topic for topic in self._inputs], listener=self)
        try:
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None

    async def missing_topics(self) -> list[str]:
        """Return the topics that Kafka does not have; none is made here."""
        there = set(await self._admin.list_topics())
        return sorted({self._prefix + topic for topic in self._needed} - there)

    async def stop(self) -> None:
        """Leave the group and close."""
        await self._consumer.stop()
        await self._admin.close()

    async def on_partitions_revoked(self, revoked: Sequence[aiokafka.TopicPartition]) -> None:
        """Let the service finish and commit, as long as the partitions are still ours."""
        self._new = frozenset()
        if not revoked:
            return
        try:
            await self._revoked()
        except Exception as error:  # noqa: BLE001  the client would swallow it; `look_up` raises it
            self._fault = error

    async def on_partitions_assigned(self, assigned: Sequence[aiokafka.TopicPartition]) -> None:
        """Note what is ours now; nothing of it is fetched before `look_up` and `resume`."""
        self._consumer.pause(*assigned)
        self._new = frozenset(assigned)
        self._told = True

    async def look_up(self) -> Mapping[Slot, P]:
        """Return where the newly assigned partitions begin, and set the consumer there.

        They stay paused until `resume`. Empty when nothing is new, or when the partitions were let
        go while Kafka was asked: what it said then may be overtaken.

        Raises:
            SourceUnavailable: Kafka does not say for now; ask again.
            InvariantViolation: it never will.
        """
        if self._fault is not None:
            raise self._fault
        new = self._new
        if not new:
            return {}
        found = await self._positions(sorted(new))
        # Every assignment and every revocation makes a new set. No await from here on.
        if self._new is not new:
            return {}
        for one, position in found.items():
            self._consumer.seek(one, position.offset)
        self._new = frozenset()
        return {self._slot(one): position for one, position in found.items()}

    async def _positions(
        self, new: list[aiokafka.TopicPartition]
    ) -> dict[aiokafka.TopicPartition, P]:
        try:
            async with asyncio.timeout(_LOOK_UP_SECONDS):
                held = await self._admin.list_consumer_group_offsets(self._group, partitions=new)
                if not held.keys() >= set(new):
                    # An error of the whole answer, which the client does not look at. Without a
                    # committed offset Kafka says -1; it leaves out nothing that it was asked.
                    raise SourceUnavailable("Kafka: no answer about committed positions")
                return await self._begin({one: held[one] for one in new})
        except (KafkaTimeoutError, OSError, NoError) as error:
            # NoError is how the client reports an error of one partition: it reads the wrong code.
            # TimeoutError is an OSError.
            raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None
        except KafkaError as error:
            if error.retriable:
                raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None
            raise InvariantViolation(
                f"Kafka does not say where the partitions begin: {type(error).__name__}"
            ) from None

    @abstractmethod
    async def _begin(
        self, held: Mapping[aiokafka.TopicPartition, OffsetAndMetadata]
    ) -> dict[aiokafka.TopicPartition, P]:
        """Return where each partition begins; what Kafka's client raises is told by the caller.

        Args:
            held: what the group has committed for the new partitions, offset -1 where nothing.
        """

    def assignment(self) -> set[Slot] | None:
        """Return what the group gave us, None before its first word."""
        if not self._told:
            return None
        return {self._slot(one) for one in self._consumer.assignment()}

    async def fetch(self, max_records: int, wait_seconds: float) -> Sequence[Message]:
        """Return messages; raises InvariantViolation when retention has taken the next one."""
        try:
            fetched = await self._consumer.getmany(
                timeout_ms=int(wait_seconds * 1000), max_records=max_records
            )
        except NoOffsetForPartitionError:
            # The client looked for the first position before `look_up` had set it. It would say so
            # again at once.
            await asyncio.sleep(wait_seconds)
            return []
        except OffsetOutOfRangeError as error:
            gone = ", ".join(f"{one.topic}/{one.partition}" for one in error.args[0])
            raise InvariantViolation(
                f"{gone}: the log no longer has the next offset; {self._lost}"
            ) from None
        messages: list[Message] = []
        for one, records in fetched.items():
            topic = Topic(one.topic.removeprefix(self._prefix))
            messages.extend([to_message(topic, record) for record in records])
        return messages

    async def consumed(self, slot: Slot) -> int | None:
        """Return the consumer's position, None once the partition is not ours."""
        try:
            async with asyncio.timeout(1):
                position: int = await self._consumer.position(self._physical(slot))
        except (IllegalStateError, TimeoutError):
            return None
        return position

    def lag(self, slot: Slot) -> int | None:
        """Return how many offsets lie between the position and the last stable one."""
        one = self._physical(slot)
        if one not in self._consumer.assignment():
            return None
        end = self._consumer.last_stable_offset(one)
        state = self._consumer._subscription.subscription.assignment.state_value(one)  # noqa: SLF001  position() is a coroutine; a gauge must not wait
        if end is None or end < 0 or state is None or not state.has_valid_position:
            return None
        return int(max(0, end - state.position))

    def pause(self, slots: Sequence[Slot]) -> None:
        """Fetch nothing of these."""
        self._consumer.pause(*self._ours(slots))

    def resume(self, slots: Sequence[Slot]) -> None:
        """Fetch these again."""
        self._consumer.resume(*self._ours(slots))

    async def _commit(self, positions: Mapping[Slot, int | tuple[int, str]]) -> None:
        offsets = {self._physical(slot): position for slot, position in positions.items()}
        try:
            await self._consumer.commit(offsets)
        except (KafkaError, OSError) as error:
            raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None

    def _slot(self, one: aiokafka.TopicPartition) -> Slot:
        return Topic(one.topic.removeprefix(self._prefix)), one.partition

    def _physical(self, slot: Slot) -> aiokafka.TopicPartition:
        return aiokafka.TopicPartition(self._prefix + slot[0], slot[1])

    def _ours(self, slots: Sequence[Slot]) -> list[aiokafka.TopicPartition]:
        held = self._consumer.assignment()
        return [one for one in map(self._physical, slots) if one in held]
