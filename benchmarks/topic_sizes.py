"""What lies in the topics after a run: records an event and bytes of a record."""

import statistics
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from klingel.contracts.topics import Topic

TOPICS = (
    Topic.RAW_EVENTS,
    Topic.UNDERSTAND_MARKS,
    Topic.OBJECT_DIRECTORY,
    Topic.SOCIAL_EVENTS,
    Topic.ROUTED_EVENTS,
    Topic.CASES,
    Topic.CASE_EVENTS,
    Topic.TRACKED_CONVERSATIONS,
    Topic.STAGE_LEDGER,
    Topic.DEAD_LETTERS,
)


def read_sizes(bootstrap: str, prefix: str, events: int) -> dict[str, dict[str, Any]]:
    """Return by topic: records an event, p50 and mean bytes of a value, mean bytes of headers.

    Args:
        bootstrap: Kafka.
        prefix: of the topics.
        events: raw events of all rounds.
    """
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 << 20,
    )
    try:
        return {str(topic): _sizes(consumer, prefix + topic, events) for topic in TOPICS}
    finally:
        consumer.close()


def _sizes(consumer: KafkaConsumer, name: str, events: int) -> dict[str, Any]:
    places = [
        TopicPartition(name, number) for number in consumer.partitions_for_topic(name) or set()
    ]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    ends = consumer.end_offsets(places)
    values: list[int] = []
    headers = 0
    while any(consumer.position(place) < ends[place] for place in places):
        for records in consumer.poll(timeout_ms=200, max_records=5_000).values():
            for record in records:
                values.append(len(record.value or b""))
                headers += sum(len(key) + len(value) for key, value in record.headers)
    count = len(values)
    return {
        "records": count,
        "records_an_event": count / events,
        "p50_bytes": statistics.median(values) if values else 0,
        "mean_bytes": statistics.fmean(values) if values else 0,
        "mean_header_bytes": headers / count if count else 0,
        "bytes_an_event": (sum(values) + headers) / events,
    }
