"""Where to resume: only over the contiguous acknowledged prefix, kept in a compacted topic (K6)."""

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from klingel.contracts import codec
from klingel.contracts.connection import opened
from klingel.contracts.envelope import Output, ce_headers, trace_id
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.errors import InvalidMessage, InvariantViolation, SourceUnavailable
from klingel.model import ConnectorCursor
from klingel.settings import KafkaSettings
from klingel_connectors import broker

_READ_SECONDS = 30
_CURSOR_LENGTH = 4_096
"""What `connector-cursor` allows; a longer one would be skipped by whoever reads it."""


class Slot:
    """One delivery on its way: how many of its records are not yet acknowledged."""

    __slots__ = ("cursor", "open")

    def __init__(self, cursor: str | None, records: int) -> None:
        self.cursor = cursor
        self.open = records

    def acknowledge(self) -> None:
        """One of its records is acknowledged."""
        self.open -= 1


class Prefix:
    """The contiguous acknowledged prefix of what was read, in the order in which it was read.

    A delivery without records (a filtered one) is acknowledged as it is opened.
    """

    def __init__(self) -> None:
        self._slots: deque[Slot] = deque()
        self._position: str | None = None

    def open(self, cursor: str | None, records: int) -> Slot:
        """Enter the next delivery; a report before the first cursor has none."""
        slot = Slot(cursor, records)
        self._slots.append(slot)
        return slot

    def position(self) -> str | None:
        """Return the cursor behind the prefix; None before the first."""
        while self._slots and self._slots[0].open <= 0:
            self._position = self._slots.popleft().cursor
        return self._position

    @property
    def pending(self) -> int:
        """Deliveries behind the prefix."""
        return len(self._slots)


def cursor_key(instance: str, source: str) -> bytes:
    """Return the key of a cursor record."""
    return f"{instance}|{source}".encode()


def cursor_output(cursor: ConnectorCursor) -> Output:
    """Return the record of a cursor."""
    identity = f"{cursor.instance}|{cursor.source}"
    return Output(
        topic=Topic.CONNECTOR_CURSORS,
        key=cursor_key(cursor.instance, cursor.source),
        value=codec.encode(cursor),
        headers=ce_headers(
            Topic.CONNECTOR_CURSORS,
            event_id=f"{identity}@{cursor.epoch}:{int(cursor.saved_at.timestamp() * 1000)}",
            source=f"klingel/connector/{cursor.instance}",
            subject=identity,
            time=cursor.saved_at,
            trace=trace_id(identity),
        ),
    )


def newest(records: Iterable[ConnectorCursor]) -> ConnectorCursor | None:
    """Return the record that counts: the last of the highest epoch.

    A holder that was frozen and woke writes with an epoch that has passed: ignored. Where
    compaction has left only such a record, it is older than the truth: then something is heard
    twice, never missed.
    """
    found: ConnectorCursor | None = None
    for record in records:
        if found is None or record.epoch >= found.epoch:
            found = record
    return found


def next_epoch(generation: int, stored: ConnectorCursor | None) -> int:
    """Return the epoch of a lease just taken.

    The group's generation, lifted above what is stored: Kafka forgets the generation of a group
    that was empty for long, and begins anew at 1.
    """
    return generation if stored is None else max(generation, stored.epoch + 1)


def saved_cursor(
    instance: str,
    source: str,
    cursor: str,
    holder: str,
    epoch: int,
    now: datetime,
    *,
    finished: bool,
) -> ConnectorCursor:
    """Build a cursor record.

    Raises:
        InvariantViolation: it is longer than anybody may read, so that nobody could go on from it.
    """
    if len(cursor) > _CURSOR_LENGTH:
        raise InvariantViolation(
            f"a cursor of {len(cursor):,} characters; {_CURSOR_LENGTH:,} are allowed"
        )
    return ConnectorCursor(
        instance=instance,
        source=source,
        cursor=cursor,
        holder=holder,
        epoch=epoch,
        saved_at=now,
        finished=True if finished else None,
    )


def read_cursor(kafka: KafkaSettings, instance: str, source: str) -> ConnectorCursor | None:
    """Read the stored cursor: the key's partition, to its end. Blocks; for a thread.

    Raises:
        SourceUnavailable: the partition could not be read to its end.
        kafka.errors.KafkaError: Kafka is away.
    """
    key = cursor_key(instance, source)
    topic = broker.physical(kafka, Topic.CONNECTOR_CURSORS)
    consumer = opened(
        KafkaConsumer,
        **broker.connection(kafka, f"{instance}-cursor"),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            raise SourceUnavailable(f"topic {topic} does not exist (klingel topics apply makes it)")
        at = TopicPartition(topic, partition_for(key, len(partitions)))
        return newest(_cursors(_records(consumer, at), key))
    finally:
        consumer.close(timeout_ms=2_000)


def read_cursors(kafka: KafkaSettings, instance: str) -> dict[str, ConnectorCursor]:
    """Read the stored cursors of all channels of an instance, by source. Blocks; for a thread.

    Raises:
        As `read_cursor`.
    """
    found: dict[str, list[ConnectorCursor]] = {}
    prefix = f"{instance}|".encode()
    for key, value in read_whole(kafka, Topic.CONNECTOR_CURSORS, f"{instance}-cursors"):
        if not key.startswith(prefix) or value is None:
            continue
        try:
            cursor = codec.decode(ConnectorCursor, value)
        except InvalidMessage:
            continue
        found.setdefault(cursor.source, []).append(cursor)
    counting = {source: newest(cursors) for source, cursors in found.items()}
    return {source: cursor for source, cursor in counting.items() if cursor is not None}


def read_whole(
    kafka: KafkaSettings, topic: Topic, client_id: str, *, committed: bool = False
) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield key and value of every record of a compacted topic, in order a partition. Blocks.

    Args:
        kafka: how to reach it.
        topic: logical name.
        client_id: name of the reader at the broker.
        committed: whether records of transactions that were given up are left out.

    Raises:
        SourceUnavailable: a partition could not be read to its end.
        kafka.errors.KafkaError: Kafka is away.
    """
    name = broker.physical(kafka, topic)
    consumer = opened(
        KafkaConsumer,
        **broker.connection(kafka, client_id),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed" if committed else "read_uncommitted",
    )
    try:
        partitions = consumer.partitions_for_topic(name)
        if not partitions:
            raise SourceUnavailable(f"topic {name} does not exist (klingel topics apply makes it)")
        for partition in sorted(partitions):
            for record in _records(consumer, TopicPartition(name, partition)):
                value = None if record.value is None else bytes(record.value)
                yield bytes(record.key or b""), value
    finally:
        consumer.close(timeout_ms=2_000)


def _records(consumer: Any, at: TopicPartition) -> Iterator[Any]:
    consumer.assign([at])
    consumer.seek_to_beginning(at)
    end = consumer.end_offsets([at])[at]
    idle = 0
    while consumer.position(at) < end:
        found = consumer.poll(timeout_ms=1_000).get(at, [])
        yield from found
        idle = 0 if found else idle + 1
        if idle >= _READ_SECONDS:
            raise SourceUnavailable("the stored cursor could not be read to its end")


def _cursors(records: Iterable[Any], key: bytes) -> Iterable[ConnectorCursor]:
    for record in records:
        if record.key == key and record.value is not None:
            try:
                yield codec.decode(ConnectorCursor, bytes(record.value))
            except InvalidMessage:
                continue
