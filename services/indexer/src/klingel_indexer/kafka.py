"""Kafka behind the indexer's ports: one consumer group over all inputs, one idempotent producer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NoError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from klingel.clock import Clock, SystemClock
from klingel.contracts.envelope import Message, Output
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.errors import InvariantViolation, SourceUnavailable
from klingel_indexer.convert import INPUTS
from klingel_indexer.service import Position, Slot

Revoked = Callable[[], Awaitable[None]]

_LOOK_UP_SECONDS = 5.0
"""Longest wait for one answer about positions; the loop's back-off follows."""


class KafkaSource(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Membership in the group, with positions and their metadata.

    Reads only committed records. There is no automatic reset: a partition without a committed
    offset starts at its beginning; one whose committed offset retention has taken stops the worker.

    The client logs and swallows whatever a rebalance listener raises. So the listener only notes
    and pauses what was assigned; `look_up`, called by the loop, asks where it begins. What fails
    while partitions are let go is raised by the next `look_up`.

    Args:
        connection: bootstrap servers and security, as aiokafka names them.
        group: consumer group.
        topic_prefix: before every topic name.
        instance: static member name, None joins afresh.
        session_timeout_seconds: a silent worker loses its partitions after it.
        doubt_seconds: how long it is asked again when no partition of the group has a position,
            although there is something to be read.
        clock: tells how long that has been so.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        *,
        group: str,
        topic_prefix: str,
        instance: str | None,
        session_timeout_seconds: float,
        doubt_seconds: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        self._group = group
        self._doubt_seconds = doubt_seconds
        self._clock = clock or SystemClock()
        self._denied_at: float | None = None
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
        self._consumer.subscribe([self._prefix + topic for topic in INPUTS], listener=self)
        try:
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None

    async def missing_topics(self) -> list[str]:
        """Return the inputs that Kafka does not have; none is made here."""
        there = set(await self._admin.list_topics())
        return sorted(self._prefix + topic for topic in INPUTS if self._prefix + topic not in there)

    async def stop(self) -> None:
        """Leave the group and close."""
        await self._consumer.stop()
        await self._admin.close()

    async def on_partitions_revoked(self, revoked: Sequence[aiokafka.TopicPartition]) -> None:
        """Let the indexer finish and commit, as long as the partitions are still ours."""
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

    async def look_up(self) -> Mapping[Slot, Position]:
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
        found = await self._first_positions(sorted(new))
        # Every assignment and every revocation makes a new set. No await from here on.
        if self._new is not new:
            return {}
        for one, position in found.items():
            self._consumer.seek(one, position.offset)
        self._new = frozenset()
        return {self._slot(one): position for one, position in found.items()}

    async def _first_positions(
        self, new: list[aiokafka.TopicPartition]
    ) -> dict[aiokafka.TopicPartition, Position]:
        try:
            async with asyncio.timeout(_LOOK_UP_SECONDS):
                held = await self._admin.list_consumer_group_offsets(self._group, partitions=new)
                if not held.keys() >= set(new):
                    # An error of the whole answer, which the client does not look at. Without a
                    # committed offset Kafka says -1; it leaves out nothing that it was asked.
                    raise SourceUnavailable("Kafka: no answer about committed positions")
                first = [one for one in new if held[one].offset < 0]
                beginnings = await self._consumer.beginning_offsets(first) if first else {}
                if beginnings:
                    await self._doubt(beginnings)
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
        self._denied_at = None
        return {
            one: Position(beginnings[one])
            if one in beginnings
            else Position(held[one].offset, held[one].metadata or "")
            for one in new
        }

    async def _doubt(self, beginnings: Mapping[aiokafka.TopicPartition, int]) -> None:
        """Raise SourceUnavailable while positions that Kafka denies may yet be found.

        A broker that serves the group before it knows it denies all positions alike, without an
        error; believed, that would index everything again. One position of the group that it does
        know tells that it knows the group.
        """
        ends = await self._consumer.end_offsets(list(beginnings))
        if all(ends[one] <= begin for one, begin in beginnings.items()):
            return
        known = await self._admin.list_consumer_group_offsets(self._group)
        if any(at.offset >= 0 for at in known.values()):
            return
        now = self._clock.monotonic()
        if self._denied_at is None:
            self._denied_at = now
        if now - self._denied_at < self._doubt_seconds:
            raise SourceUnavailable("Kafka knows no position of the group")

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
                f"{gone}: the log no longer has the next offset; what lies between was not "
                "indexed. Replay it, then reset the group's offset"
            ) from None
        messages: list[Message] = []
        for one, records in fetched.items():
            topic = Topic(one.topic.removeprefix(self._prefix))
            messages.extend(
                [
                    Message(topic, one.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
                    for r in records
                ]
            )
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

    async def commit(self, positions: Mapping[Slot, Position]) -> None:
        """Commit positions with their metadata."""
        offsets = {
            self._physical(slot): (position.offset, position.metadata)
            for slot, position in positions.items()
        }
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


class KafkaSink:
    """Ledger lines and dead letters: an idempotent producer, every record acknowledged.

    Args:
        connection: bootstrap servers and security, as aiokafka names them.
        topic_prefix: before every topic name.
    """

    def __init__(self, connection: Mapping[str, Any], topic_prefix: str) -> None:
        self._prefix = topic_prefix
        self._producer = aiokafka.AIOKafkaProducer(
            **connection, enable_idempotence=True, acks="all", compression_type="zstd"
        )

    async def start(self) -> None:
        """Connect; raises SourceUnavailable while Kafka is away."""
        try:
            await self._producer.start()
        except (KafkaError, OSError) as error:
            raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None

    async def stop(self) -> None:
        """Send what waits and close."""
        await self._producer.stop()

    async def publish(self, outputs: Sequence[Output]) -> None:
        """Return once all are acknowledged.

        Raises:
            SourceUnavailable: Kafka is away; publishing again is harmless.
            InvariantViolation: Kafka will never take one of them.
        """
        try:
            sent = [await self._send(output) for output in outputs]
            await asyncio.gather(*sent)
        except (KafkaConnectionError, KafkaTimeoutError, OSError) as error:
            raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None
        except KafkaError as error:
            if error.retriable:
                raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None
            raise InvariantViolation(f"Kafka refuses a record: {type(error).__name__}") from None

    async def _send(self, output: Output) -> Awaitable[Any]:
        topic = self._prefix + output.topic
        partition = output.partition
        if partition is None and output.partition_key is not None:
            count = len(await self._producer.partitions_for(topic))
            partition = partition_for(output.partition_key, count)
        sent: Awaitable[Any] = await self._producer.send(
            topic,
            value=output.value,
            key=output.key,
            partition=partition,
            headers=list(output.headers),
        )
        return sent
