"""Kafka for a command: the only place where a kafka-python client is made."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import BrokerResponseError

from klingel.contracts import connection as shared
from klingel.contracts.connection import opened
from klingel.contracts.envelope import Message, Output
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.errors import ConfigurationError, SourceUnavailable
from klingel.settings import KafkaSettings

BOOTSTRAP_MS = 10_000
WAIT_SECONDS = 30.0

SOURCE: Final = "klingel/cli"
"""`ce_source` of what a person's command writes."""

Slot = tuple[Topic, int]
"""A partition of a topic."""

T = TypeVar("T")

_ATTEMPTS = 10
_AGAIN_SECONDS = 0.5


def connection(kafka: KafkaSettings) -> dict[str, Any]:
    """Return what every client needs to connect."""
    return {
        **shared.connection(kafka),
        "client_id": "klingel-cli",
        "bootstrap_timeout_ms": BOOTSTRAP_MS,
    }


def missing(topic: str) -> ConfigurationError:
    """Return what to say of a topic that is not there."""
    return ConfigurationError(f"there is no topic {topic}; run `klingel topics apply`")


@contextmanager
def admin(kafka: KafkaSettings) -> Iterator[KafkaAdminClient]:
    """Open an admin client; raises KafkaError."""
    client = opened(KafkaAdminClient, **connection(kafka))
    try:
        yield client
    finally:
        client.close()


def when_ready(question: Callable[[], T]) -> T:
    """Ask a broker that answers and is not ready yet again; raises KafkaError.

    After a start or an election it does not know the leader of each partition, or the coordinator of
    each group.

    Args:
        question: reads; it is asked from its beginning.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return question()
        except BrokerResponseError as error:
            if not error.retriable:
                raise
            time.sleep(_AGAIN_SECONDS)
    return question()


class Log:
    """Reads topics without a group, committed records only; see `reading`."""

    def __init__(self, consumer: KafkaConsumer, prefix: str) -> None:
        self._consumer = consumer
        self._prefix = prefix

    def slots(self, topic: Topic) -> list[Slot]:
        """Return a topic's partitions; raises ConfigurationError where it does not exist."""
        numbers = self._consumer.partitions_for_topic(self._prefix + topic)
        if not numbers:
            raise missing(self._prefix + topic)
        return [(topic, number) for number in sorted(numbers)]

    def ends(self, slots: Sequence[Slot]) -> dict[Slot, int]:
        """Return the position behind the last committed record or marker of each."""
        found = _of_all(self._consumer.end_offsets, [self._place(slot) for slot in slots])
        return {slot: found[self._place(slot)] for slot in slots}

    def begins(self, slots: Sequence[Slot]) -> dict[Slot, int]:
        """Return the first offset that each still has."""
        found = _of_all(self._consumer.beginning_offsets, [self._place(slot) for slot in slots])
        return {slot: found[self._place(slot)] for slot in slots}

    def first_since(self, slots: Sequence[Slot], at: datetime) -> dict[Slot, int | None]:
        """Return the first offset of each that was written at `at` or later, None without one."""
        asked = {self._place(slot): int(at.timestamp() * 1000) for slot in slots}
        found = self._consumer.offsets_for_times(asked)
        for place in [place for place in asked if found.get(place) is None]:
            # Nothing was written since, or the client left it out: see `_of_all`.
            found |= self._consumer.offsets_for_times({place: asked[place]})
        return {
            slot: None if (place := found.get(self._place(slot))) is None else place.offset
            for slot in slots
        }

    def read(self, ranges: Mapping[Slot, tuple[int, int]]) -> Iterator[Message]:
        """Yield the committed messages of [start, stop), of each partition in offset order.

        Raises:
            SourceUnavailable: nothing more comes although the log goes on.
        """
        begins = self.begins(list(ranges))
        due = {
            self._place(slot): stop
            for slot, (start, stop) in ranges.items()
            if max(start, begins[slot]) < stop
        }
        names = {self._place(slot): slot for slot in ranges}
        self._consumer.assign(list(due))
        for place in due:
            slot = names[place]
            self._consumer.seek(place, max(ranges[slot][0], begins[slot]))
        silent = 0.0
        while due:
            batches = self._consumer.poll(timeout_ms=500, max_records=5000)
            silent = 0.0 if batches else silent + 0.5
            for place, records in batches.items():
                topic, partition = names[place]
                for record in records:
                    if record.offset < due.get(place, 0):
                        yield to_message(topic, partition, record)
            for place in [place for place in due if self._consumer.position(place) >= due[place]]:
                del due[place]
                self._consumer.pause(place)
            if silent >= WAIT_SECONDS:
                raise SourceUnavailable("Kafka sends nothing although the log goes on")
        self._consumer.assign([])

    def read_whole(self, topic: Topic) -> Iterator[Message]:
        """Yield everything that is committed in a topic now."""
        slots = self.slots(topic)
        return self.read({slot: (0, end) for slot, end in self.ends(slots).items()})

    def follow(self, starts: Mapping[Slot, int], wait_seconds: float) -> Iterator[list[Message]]:
        """Yield what is committed from these offsets on, as it comes, without end.

        Args:
            starts: first offset of each partition.
            wait_seconds: after so long an empty list is yielded where nothing comes.
        """
        names = {self._place(slot): slot for slot in starts}
        self._consumer.assign(list(names))
        for place, slot in names.items():
            self._consumer.seek(place, starts[slot])
        while True:
            batches = self._consumer.poll(timeout_ms=int(wait_seconds * 1000))
            yield [
                to_message(*names[place], record)
                for place, records in batches.items()
                for record in records
            ]

    def _place(self, slot: Slot) -> TopicPartition:
        return TopicPartition(self._prefix + slot[0], slot[1])


def _of_all(
    ask: Callable[[list[TopicPartition]], dict[TopicPartition, int]], places: list[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return an offset of each partition.

    kafka-python 3.0 leaves out partitions of which it does not know the leader, and stumbles over
    that. Of one alone it waits until it knows.
    """
    try:
        return ask(places)
    except KeyError:
        return {place: ask([place])[place] for place in places}


def to_message(topic: Topic, partition: int, record: Any) -> Message:
    """Return a client's record as a Message."""
    return Message(
        topic,
        partition,
        record.offset,
        record.key,
        record.value,
        tuple(record.headers),
        record.timestamp,
    )


@contextmanager
def reading(kafka: KafkaSettings) -> Iterator[Log]:
    """Open a reader of committed records; raises KafkaError."""
    consumer = opened(
        KafkaConsumer,
        **connection(kafka),
        group_id=None,
        allow_auto_create_topics=False,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 << 20,
        fetch_max_wait_ms=100,
    )
    try:
        yield Log(consumer, kafka.topic_prefix)
    finally:
        consumer.close(autocommit=False)


def publish(kafka: KafkaSettings, outputs: Sequence[Output]) -> None:
    """Write records and wait until every one is acknowledged by all replicas.

    Raises:
        ConfigurationError: a topic is missing; nothing is written.
        KafkaError: one of them is not acknowledged; those before it may be.
    """
    if not outputs:
        return
    counts = _partition_counts(kafka, {kafka.topic_prefix + each.topic for each in outputs})
    producer = opened(
        KafkaProducer,
        **connection(kafka),
        acks="all",
        enable_idempotence=True,
        allow_auto_create_topics=False,
        compression_type="zstd",
        max_request_size=4 << 20,
        max_block_ms=int(WAIT_SECONDS * 1000),
        delivery_timeout_ms=int(WAIT_SECONDS * 1000),
        request_timeout_ms=10_000,
    )
    try:
        sent = [_send(producer, kafka.topic_prefix, output, counts) for output in outputs]
        for receipt in sent:
            receipt.get(timeout=WAIT_SECONDS)
    finally:
        producer.close(timeout=5)


def _partition_counts(kafka: KafkaSettings, names: set[str]) -> dict[str, int]:
    with admin(kafka) as client:
        absent = sorted(names - set(client.list_topics()))
        if absent:
            raise missing(absent[0])
        return {
            each["name"]: len(each["partitions"]) for each in client.describe_topics(list(names))
        }


def _send(producer: KafkaProducer, prefix: str, output: Output, counts: Mapping[str, int]) -> Any:
    name = prefix + output.topic
    partition = output.partition
    if partition is None:
        partition = partition_for(output.partition_key or output.key, counts[name])
    return producer.send(
        name,
        key=output.key,
        value=output.value,
        headers=list(output.headers),
        partition=partition,
    )
