"""The ports of a stage over aiokafka: group input, transactional writer, plain log reading.

Nothing decides here. Client errors are turned into what the loop understands: RetryableError when
Kafka is away or the outcome is unknown, OwnershipLost when somebody fenced us.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    IllegalOperation,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    ProducerFenced,
)
from aiokafka.structs import OffsetAndMetadata

from klingel.contracts.connection import connection
from klingel.contracts.envelope import Message, Output
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.errors import InvariantViolation, OwnershipLost, SourceUnavailable
from klingel.settings import KafkaSettings
from klingel.stage.ports import Committed, Reassigned, Slot, Written

TRANSACTION_MS = 30_000
ANSWER_SECONDS = 60.0
"""Bound of opening a writer and of one commit: the client waits for ever when its own loop dies."""
FETCH_BYTES = 4 << 20


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the options that every aiokafka client shares."""
    return {
        **connection(kafka),
        "request_timeout_ms": 20_000,
        "retry_backoff_ms": 100,
    }


def to_message(topic: Topic, record: Any) -> Message:
    """Return a client's record as a Message."""
    return Message(
        topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        tuple(record.headers),
        record.timestamp,
    )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """Passes numbers on; a number is given when every topic's partition of it is.

    While a new version that reads one more topic is rolled out, members that read different topics
    share the group: the partitions of one number then lie with two of them. They stay closed here.
    """

    def __init__(
        self,
        topics: frozenset[str],
        on_assigned: Reassigned,
        on_revoked: Reassigned,
        on_parted: Callable[[set[TopicPartition]], None],
    ) -> None:
        self._topics = topics
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_parted = on_parted

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._on_revoked({place.partition for place in revoked})

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        parted = {
            place
            for place in assigned
            if any(TopicPartition(topic, place.partition) not in assigned for topic in self._topics)
        }
        if parted:
            self._on_parted(parted)
        await self._on_assigned({place.partition for place in assigned - parted})


class KafkaInput:
    """Membership in a group over topics that lie together (port `Input`).

    Args:
        kafka: how to reach it.
        inputs: logical names, the primary one first.
        group: group name without prefix.
        instance: static member name, None to join afresh.
    """

    def __init__(
        self, kafka: KafkaSettings, inputs: Sequence[Topic], group: str, instance: str | None
    ) -> None:
        self.inputs = tuple(inputs)
        self._prefix = kafka.topic_prefix
        self._topics = {kafka.topic_prefix + topic: topic for topic in inputs}
        self._group = kafka.group_prefix + kafka.topic_prefix + group
        # A static member that comes back is given what it had: one that reads further topics since
        # has to be another.
        name = ".".join((self._group, *self.inputs[1:]))
        self._member = f"{name}-{instance}" if instance else None
        self._session_ms = int(kafka.session_timeout_seconds * 1000)
        self._options = client_options(kafka)
        self._consumer = self._new_consumer()
        self._admin = AIOKafkaAdminClient(**self._options)
        self._looking: AIOKafkaConsumer | None = None

    def _new_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._options,
            group_id=self._group,
            group_instance_id=self._member,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=self._session_ms,
            heartbeat_interval_ms=max(300, self._session_ms // 4),
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=100,
        )

    async def start(self, on_assigned: Reassigned, on_revoked: Reassigned) -> None:
        """Join the group; raises SourceUnavailable while Kafka is away, and may be called again."""
        listener = _Listener(frozenset(self._topics), on_assigned, on_revoked, self._on_parted)
        self._consumer.subscribe([*self._topics], listener=listener)
        try:
            await self._admin.start()
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            await self.stop()
            # A client that once failed to start cannot be started again.
            self._consumer = self._new_consumer()
            self._admin = AIOKafkaAdminClient(**self._options)
            raise SourceUnavailable("Kafka does not answer") from error

    def _on_parted(self, places: set[TopicPartition]) -> None:
        self._consumer.pause(*places)
        structlog.get_logger().warning(
            "partition_not_opened",
            partitions=sorted({place.partition for place in places}),
            reason="another worker holds another input of it; it reads other topics than this one",
        )

    async def fetch(
        self, max_records: int, wait_seconds: float
    ) -> Mapping[Slot, Sequence[Message]]:
        """Return messages by slot."""
        try:
            batches = await self._consumer.getmany(
                timeout_ms=int(wait_seconds * 1000), max_records=max_records
            )
        except NoOffsetForPartitionError:
            await self._begin_unread()
            return {}
        except OffsetOutOfRangeError as error:
            places = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
            topics = {self._topics[place.topic] for place in places} or set(self.inputs)
            raise InvariantViolation(
                f"{', '.join(sorted(topics))}: the committed position is no longer in the log"
            ) from error
        except KafkaError as error:
            if not getattr(error, "retriable", False):
                raise InvariantViolation(f"Kafka refuses: {type(error).__name__}") from error
            await asyncio.sleep(wait_seconds)
            return {}
        return {
            (topic, place.partition): [to_message(topic, record) for record in records]
            for place, records in batches.items()
            for topic in (self._topics[place.topic],)
        }

    async def _begin_unread(self) -> None:
        """Give assigned partitions that the group never read a position; they are paused."""
        for number in sorted({place.partition for place in self._consumer.assignment()}):
            for topic, committed in (await self.committed(number)).items():
                place = self._place((topic, number))
                if committed is None and place in self._consumer.assignment():
                    offset = await self.position_for_first_start((topic, number))
                    self._consumer.seek(place, offset)

    def _place(self, slot: Slot) -> TopicPartition:
        return TopicPartition(self._prefix + slot[0], slot[1])

    async def committed(self, number: int) -> Mapping[Topic, Committed | None]:
        """Ask the group's coordinator; the consumer's own cache may be older than the fence."""
        places = {topic: self._place((topic, number)) for topic in self.inputs}
        try:
            found = await self._admin.list_consumer_group_offsets(
                self._group, partitions=list(places.values())
            )
        except KafkaError as error:
            raise SourceUnavailable("the committed position is unknown for now") from error
        if not all(place in found for place in places.values()):
            # An error of the whole answer (the coordinator is loading), which the client does not
            # look at: without a committed offset Kafka says -1, it leaves out nothing.
            raise SourceUnavailable("no answer about the committed position")
        return {
            topic: None
            if found[place].offset < 0
            else Committed(found[place].offset, found[place].metadata or "")
            for topic, place in places.items()
        }

    async def position_for_first_start(self, slot: Slot) -> int:
        """Return the first offset that the log still has."""
        place = self._place(slot)
        try:
            offsets = await self._consumer.beginning_offsets([place])
        except KafkaError as error:
            raise SourceUnavailable("the beginning of the log is unknown for now") from error
        return int(offsets[place])

    async def ends(self, numbers: Iterable[int]) -> Mapping[Slot, int]:
        """Return the high watermarks: what a transaction still holds back lies below them.

        Asked through a connection of its own: the member reads what is committed alone, and its
        long fetches would hold the answer up.
        """
        slots = {
            self._place((topic, number)): (topic, number)
            for number in numbers
            for topic in self.inputs
        }
        try:
            if self._looking is None:
                self._looking = AIOKafkaConsumer(
                    **self._options, enable_auto_commit=False, isolation_level="read_uncommitted"
                )
                await self._looking.start()
            ends = await self._looking.end_offsets(list(slots))
        except (KafkaError, OSError) as error:
            await self._look_away()
            raise SourceUnavailable("the end of the log is unknown for now") from error
        except BaseException:
            await self._look_away()
            raise
        return {slots[place]: int(end) for place, end in ends.items()}

    async def _look_away(self) -> None:
        if self._looking is not None:
            looking, self._looking = self._looking, None
            await looking.stop()

    def seek(self, slot: Slot, offset: int) -> None:
        """Read on from `offset`; raises OwnershipLost when the group gave the partition away."""
        try:
            self._consumer.seek(self._place(slot), offset)
        except IllegalStateError as error:
            raise OwnershipLost("the group gave the partition to another worker") from error

    def pause(self, slot: Slot) -> None:
        """Fetch nothing of it."""
        place = self._place(slot)
        if place in self._consumer.assignment():
            self._consumer.pause(place)

    def resume(self, slot: Slot) -> None:
        """Fetch it again."""
        place = self._place(slot)
        if place in self._consumer.assignment():
            self._consumer.resume(place)

    def position(self, slot: Slot) -> int | None:
        """Return up to which offset everything was fetched, markers included."""
        place = self._place(slot)
        if place not in self._consumer.assignment():
            return None
        at = self._consumer._subscription.subscription.assignment.state_value(place)  # noqa: SLF001 - position() is a coroutine and may fetch
        return None if at is None or not at.has_valid_position else int(at.position)

    def lag(self, slot: Slot) -> int | None:
        """Return how far the last stable offset is ahead of what was fetched."""
        at = self.position(slot)
        end = None if at is None else self._consumer.last_stable_offset(self._place(slot))
        return None if end is None or at is None else max(0, end - at)

    async def stop(self) -> None:
        """Leave the group."""
        await self._look_away()
        await self._consumer.stop()
        await self._admin.close()


class _Sent(NamedTuple):
    """A batch on its way; `acknowledged` gives the place of its first record."""

    topic: Topic
    partition: int
    records: int
    acknowledged: Awaitable[Any]


class KafkaTransactions:
    """The writer of one owned number (port `Transactions`).

    Its transactional id is stage and number: whoever opens it next fences this one, and what it
    left in the air is settled before the next one reads the committed position.
    """

    def __init__(self, kafka: KafkaSettings, *, group: str, number: int) -> None:
        self._kafka = kafka
        self._group = kafka.group_prefix + kafka.topic_prefix + group
        self._number = number
        self._id = f"{self._group}-{number}"
        self._producer: AIOKafkaProducer | None = None
        self._counts: dict[Topic, int] = {}

    async def open(self) -> None:
        """Fence predecessors; raises SourceUnavailable while Kafka is away."""
        producer = AIOKafkaProducer(
            **client_options(self._kafka),
            transactional_id=self._id,
            transaction_timeout_ms=TRANSACTION_MS,
            acks="all",
            # Every client of ours reads it: kafka-python with zstandard, aiokafka with cramjam.
            compression_type="zstd",
            linger_ms=0,
            max_batch_size=262_144,
            max_request_size=4 << 20,
        )
        self._producer = producer  # before the start, so that close() lets go of it whatever comes
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await producer.start()
        except (KafkaError, OSError) as error:
            raise SourceUnavailable("Kafka does not open a transaction for now") from error

    async def commit(
        self, outputs: Sequence[Output], positions: Mapping[Topic, Committed]
    ) -> Sequence[Written]:
        """Write outputs and positions as one."""
        producer = self._producer
        if producer is None:
            raise InvariantViolation("a writer was used before it was opened")
        offsets = {
            TopicPartition(self._kafka.topic_prefix + topic, self._number): OffsetAndMetadata(
                at.offset, at.metadata
            )
            for topic, at in positions.items()
        }
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await producer.begin_transaction()
                sent = [
                    batch
                    for place, batched in (await self._placed(producer, outputs)).items()
                    for batch in await self._send(producer, place, batched)
                ]
                await producer.send_offsets_to_transaction(offsets, self._group)
                ends = await asyncio.gather(*(batch.acknowledged for batch in sent))
                await producer.commit_transaction()
        except ProducerFenced as error:
            raise OwnershipLost("another worker opened the partition") from error
        except (KafkaError, IllegalOperation, OSError) as error:
            raise SourceUnavailable("the batch was not committed") from error
        return [
            Written(batch.topic, batch.partition, end.offset + at)
            for batch, end in zip(sent, ends, strict=True)
            for at in range(batch.records)
        ]

    async def _placed(
        self, producer: AIOKafkaProducer, outputs: Sequence[Output]
    ) -> dict[tuple[Topic, int, str], list[Output]]:
        """Sort records by partition and name of the topic, in their order.

        What one message causes has one key in several topics: its place is computed once.
        """
        counts, placed = self._counts, dict[tuple[Topic, int, str], list[Output]]()
        known: dict[tuple[bytes, int], int] = {}
        for output in outputs:
            topic, partition = output.topic, output.partition
            if partition is None:
                count = counts.get(topic)
                if count is None:
                    count = len(await producer.partitions_for(self._kafka.topic_prefix + topic))
                    counts[topic] = count
                key = output.partition_key or output.key
                partition = known.get((key, count))
                if partition is None:
                    known[key, count] = partition = partition_for(key, count)
            name = self._kafka.topic_prefix + (output.instead or topic)
            placed.setdefault((topic, partition, name), []).append(output)
        return placed

    async def _send(
        self, producer: AIOKafkaProducer, place: tuple[Topic, int, str], outputs: Sequence[Output]
    ) -> list[_Sent]:
        """Send one partition's records as whole batches: a future a record would cost more."""
        topic, partition, name = place
        sent: list[_Sent] = []
        batch = producer.create_batch()
        for output in outputs:
            record = {"key": output.key, "value": output.value, "headers": list(output.headers)}
            if batch.append(timestamp=None, **record) is not None:
                continue
            # Full; an empty batch takes a record of any size.
            acknowledged = await producer.send_batch(batch, name, partition=partition)
            sent.append(_Sent(topic, partition, batch.record_count(), acknowledged))
            batch = producer.create_batch()
            batch.append(timestamp=None, **record)
        acknowledged = await producer.send_batch(batch, name, partition=partition)
        sent.append(_Sent(topic, partition, batch.record_count(), acknowledged))
        return sent

    async def close(self) -> None:
        """Let go; an open transaction is settled by the next opener."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await _quietly_stop(producer)


async def _quietly_stop(producer: AIOKafkaProducer) -> None:
    """Stop a producer whose transaction may be broken: it must not hold the worker up."""
    try:
        async with asyncio.timeout(5):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError, IllegalOperation):
        return


class KafkaLog:
    """Reading without a group (port `Log`); one consumer, one reading at a time."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._prefix = kafka.topic_prefix
        self._kafka = kafka
        self._lock = asyncio.Lock()
        self._kept: AIOKafkaConsumer | None = None

    async def end(self, topic: Topic, partition: int) -> int:
        """Return the last stable offset."""
        async with self._lock, self._consumer() as consumer:
            place = TopicPartition(self._prefix + topic, partition)
            offsets = await consumer.end_offsets([place])
            return int(offsets[place])

    async def partitions(self, topic: Topic) -> int:
        """Return how many partitions the topic has."""
        async with self._lock, self._consumer() as consumer:
            found = await consumer._client._wait_on_metadata(self._prefix + topic)  # noqa: SLF001 - the consumer has no public way to ask for a topic it does not read
            return len(found)

    async def cluster(self) -> str:
        """Return the cluster's id, which its storage was formatted with."""
        admin = AIOKafkaAdminClient(**client_options(self._kafka))
        try:
            await admin.start()
            found = await admin.describe_cluster()
        except (KafkaError, OSError) as error:
            raise SourceUnavailable("Kafka does not name its cluster for now") from error
        finally:
            await admin.close()
        return str(found["cluster_id"])

    async def read(
        self, topic: Topic, partition: int, start: int, stop: int
    ) -> AsyncIterator[Sequence[Message]]:
        """Yield the committed messages of [start, stop)."""
        async with self._lock, self._consumer() as consumer:
            place = TopicPartition(self._prefix + topic, partition)
            consumer.assign([place])
            # What lies behind the end, or before the beginning, will never come.
            stop = min(stop, (await consumer.end_offsets([place]))[place])
            first = (await consumer.beginning_offsets([place]))[place]
            if max(start, first) >= stop:
                return
            consumer.seek(place, max(start, first))
            while await consumer.position(place) < stop:
                # Short: behind the last record only markers may lie, and no record ends the wait.
                batches = await consumer.getmany(place, timeout_ms=25, max_records=5000)
                messages = [
                    to_message(topic, record)
                    for record in batches.get(place, ())
                    if start <= record.offset < stop
                ]
                if messages:
                    yield messages

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """The consumer, for one reading; client errors mean that Kafka is away for now."""
        try:
            if self._kept is None:
                self._kept = self._new_consumer()
                await self._kept.start()
            yield self._kept
        except (KafkaError, OSError) as error:
            await self.close()
            raise SourceUnavailable("Kafka cannot be read for now") from error
        except BaseException:
            await self.close()
            raise

    def _new_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **client_options(self._kafka),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=FETCH_BYTES,
            # A fetch that waits at the end of the log holds up every other request behind it.
            fetch_max_wait_ms=10,
        )

    async def close(self) -> None:
        """Let go of the connection; the next reading opens another."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            await kept.stop()
