"""Our Kafka settings in kafka-python's words."""

from typing import Any

from klingel.contracts import connection as shared
from klingel.contracts.topics import Topic
from klingel.settings import KafkaSettings

NEVER_MS = 2**31 - 1
"""About 24 days: kafka-python itself goes on trying; giving up would be our own decision."""


def physical(kafka: KafkaSettings, topic: Topic) -> str:
    """Return the topic's name on the broker."""
    return f"{kafka.topic_prefix}{topic}"


def connection(kafka: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Return what every kafka-python client needs to connect."""
    return {
        **shared.connection(kafka),
        "client_id": client_id,
        "allow_auto_create_topics": False,
        "reconnect_backoff_max_ms": 2_000,
        "bootstrap_timeout_ms": 5_000,
        "metrics_enabled": False,
    }


def producer(kafka: KafkaSettings, client_id: str, *, linger_ms: int = 20) -> dict[str, Any]:
    """Return the configuration of a producer that loses nothing (I1).

    `linger_ms` is what a record may wait for company: larger batches against earlier answers.

    Records never expire inside kafka-python: an expired record would tear a hole into the
    idempotent sequence, and the publisher keeps every record until it is acknowledged anyway.
    """
    return connection(kafka, client_id) | {
        "acks": "all",
        "enable_idempotence": True,
        "max_in_flight_requests_per_connection": 5,
        "compression_type": "zstd",
        "linger_ms": linger_ms,
        "batch_size": 262_144,
        "max_request_size": 1 << 20,
        "delivery_timeout_ms": NEVER_MS,
        "request_timeout_ms": 30_000,
        "max_block_ms": 500,
    }
