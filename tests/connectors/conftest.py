"""What the suites of the connectors share."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from klingel.clock import SystemClock
from klingel.contracts.blobs import BlobStore
from klingel.contracts.topics import Topic
from klingel.metrics import Metric, Metrics
from klingel.settings import KafkaSettings
from klingel_connectors.books import Books
from klingel_connectors.intake import TOPICS, Intake
from klingel_connectors.publisher import Bounds, Publisher
from klingel_connectors.raw import Origin
from klingel_connectors.testing import NobodyErased, RecordingProducer
from klingel_networks.arrival import Arrival
from klingel_networks.contract import Delivery, Network
from klingel_networks.registry import installed_network

from ..waiting import until

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def eventually():
    """Yield to the loop until something holds, within a deadline."""
    return until


def _generic(number: int | str, **more: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "network": "shop",
        "author": {"id": "a1"},
        "text": f"Wo bleibt meine Lieferung {number}?",
        "published_at": "2026-11-20T10:00:00Z",
    } | more


@pytest.fixture
def generic():
    """Build a generic event."""
    return _generic


@pytest.fixture
def arrival():
    """Build the arrival of a generic event, its cursor being its number."""

    def build(number: int, body: bytes | None = None) -> Arrival:
        said = json.dumps(_generic(number)).encode() if body is None else body
        return Arrival(Delivery(said, {"source": "src"}), cursor=str(number))

    return build


@pytest.fixture
def kafka(request: pytest.FixtureRequest) -> KafkaSettings:
    """Settings of Kafka: the real one's for what is marked to need it."""
    if request.node.get_closest_marker("servers") is None:
        return KafkaSettings()
    prefix = request.getfixturevalue("topic_prefix")
    return KafkaSettings(
        bootstrap=request.getfixturevalue("kafka_bootstrap"),
        topic_prefix=prefix,
        group_prefix=prefix,
        session_timeout_seconds=6,
    )


@pytest.fixture
def read(kafka: KafkaSettings) -> Callable[[Topic], list[Any]]:
    """Read a topic of the real Kafka to its end."""

    def records(topic: Topic) -> list[Any]:
        name = kafka.topic_prefix + topic
        consumer = KafkaConsumer(
            bootstrap_servers=kafka.bootstrap,
            group_id=None,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        try:
            places = [TopicPartition(name, p) for p in consumer.partitions_for_topic(name)]
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places)
            found: list[Any] = []
            while any(consumer.position(place) < ends[place] for place in places):
                for batch in consumer.poll(timeout_ms=1000).values():
                    found.extend(batch)
            return found
        finally:
            consumer.close()

    return records


@pytest.fixture
def network() -> Network:
    return installed_network("replay")


class MeasuredRounds(Metrics):
    """Counts a connector's rounds of housekeeping: each measures the oldest record once."""

    def __init__(self) -> None:
        super().__init__("test")
        self._rounds = 0

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set, and count."""
        self._rounds += metric is Metric.OLDEST_SECONDS
        super().set(metric, value, **labels)

    async def rounds(self, number: int = 3) -> None:
        """Wait for so many rounds more, in which something must not happen."""
        enough = self._rounds + number
        await until(lambda: self._rounds >= enough)


@pytest.fixture
def metrics() -> MeasuredRounds:
    return MeasuredRounds()


@pytest.fixture
def books() -> Books:
    return Books("connector-test", "holder", NOW)


@pytest.fixture
def origin() -> Origin:
    return Origin("test", "test-1", "replay", "holder", "src")


@pytest.fixture
def producer() -> RecordingProducer:
    return RecordingProducer()


@pytest.fixture
def make_intake(network, origin, books, metrics, tmp_path):
    def make(**more: Any) -> Intake:
        arguments: dict[str, Any] = {
            "version": "1.2.3",
            "blobs": BlobStore(tmp_path / "blobs"),
            "suppressions": NobodyErased(),
            "books": books,
            "metrics": metrics,
            "clock": SystemClock(),
        }
        return Intake(more.pop("network", network), more.pop("origin", origin), **arguments | more)

    return make


@pytest.fixture
async def make_publisher(kafka):
    made: list[Publisher] = []

    def make(producer: Any, **more: Any) -> Publisher:
        publisher = Publisher(
            kafka,
            client_id="test",
            topics=(*TOPICS, Topic.CONNECTOR_CURSORS, Topic.CONNECTOR_LEASES),
            clock=more.pop("clock", SystemClock()),
            bounds=more.pop("bounds", Bounds()),
            connect=more.pop("connect", lambda: producer),
            sleep=more.pop("sleep", lambda _seconds: asyncio.sleep(0)),
        )
        made.append(publisher)
        return publisher

    yield make
    for publisher in made:
        await publisher.close(0.0)
