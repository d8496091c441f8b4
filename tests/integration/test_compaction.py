"""Real compaction keeps what differs: the key that a topic file names is its record's identity."""

import json
import time
import uuid
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from klingel.contracts import codec
from klingel.contracts.topics import Topic, topic_specs
from klingel.domain.identity_links import link_key
from klingel.model import IdentityLink

pytestmark = pytest.mark.servers

EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"
COMPACTED = [topic for topic, spec in topic_specs().items() if spec.compacted]
OLDER_VERSIONS = 3
DEADLINE_SECONDS = 120
POLL_MS = 1000
# A segment a record, each compacted as soon as the cleaner comes by.
EAGER = {
    "segment.ms": "1",
    "min.cleanable.dirty.ratio": "0.0001",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "1",
}
FILLER = b"filler"  # rolls the active segment, which compaction leaves alone


def key_of(topic: Topic, record: dict[str, object]) -> bytes:
    """Make the key from the fields that the topic's file names.

    What takes a link of ids back stands beside the link, under a key of its own.
    """
    if topic is Topic.IDENTITY_LINKS:
        return link_key(codec.decode(IdentityLink, json.dumps(record).encode()))
    fields = [field.strip() for field in topic_specs()[topic].key.split(",")]
    return "|".join(str(record.get(field, "")) for field in fields).encode()


def newest_records(topic: Topic) -> dict[bytes, bytes]:
    """Give the examples of a topic by key."""
    records = {}
    for path in sorted((EXAMPLES / topic).glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        records[key_of(topic, record)] = json.dumps(record, ensure_ascii=False).encode()
    return records


def log_of(consumer: KafkaConsumer, name: str) -> list[tuple[bytes, bytes]]:
    """Read all that the log of a topic holds now, without the filler."""
    partition = TopicPartition(name, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]
    found = []
    while consumer.position(partition) < end:
        found += consumer.poll(timeout_ms=POLL_MS).get(partition, [])
    return [(record.key, record.value) for record in found if record.key != FILLER]


@pytest.fixture(scope="module")
def compacted(kafka_bootstrap):
    """Publish older versions and then every example of every compacted topic; await the cleaner.

    Gives {topic: what its log holds afterwards}.
    """
    prefix = f"compaction-{uuid.uuid4().hex[:12]}-"
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all")
    consumer = KafkaConsumer(bootstrap_servers=kafka_bootstrap, enable_auto_commit=False)
    names = {topic: prefix + topic for topic in COMPACTED}
    try:
        admin.create_topics(
            [
                NewTopic(
                    name=name,
                    num_partitions=1,
                    replication_factor=1,
                    topic_configs=topic_specs()[topic].config() | EAGER,
                )
                for topic, name in names.items()
            ]
        )
        for topic, name in names.items():
            records = newest_records(topic)
            for version in range(OLDER_VERSIONS):
                for key in records:
                    producer.send(name, key=key, value=f"version {version}".encode())
            for key, value in records.items():
                producer.send(name, key=key, value=value)
        yield await_cleaner(producer, consumer, names)
    finally:
        consumer.close()
        producer.close()
        admin.delete_topics(list(names.values()))
        admin.close()


def await_cleaner(producer, consumer, names):
    """Poll the logs until each key stands once, at most DEADLINE_SECONDS; give the last look."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    logs: dict[Topic, list[tuple[bytes, bytes]]] = {}
    waiting = set(names)
    while waiting and time.monotonic() < deadline:
        for topic in waiting:
            producer.send(names[topic], key=FILLER, value=b"")
        producer.flush()
        logs |= {topic: log_of(consumer, names[topic]) for topic in waiting}
        waiting = {topic for topic in waiting if len(logs[topic]) > len(newest_records(topic))}
        consumer.poll(timeout_ms=POLL_MS)  # at the end of the log: waits, gives nothing
    return logs


@pytest.mark.parametrize("topic", COMPACTED)
def test_examples_survive_compaction(compacted, topic):
    """Of each key its newest record remains, and no two examples of a topic share a key."""
    examples = list((EXAMPLES / topic).glob("*.json"))
    newest = newest_records(topic)
    assert len(newest) == len(examples) >= 2
    assert sorted(compacted[topic]) == sorted(newest.items())
