"""Wiring of watch: ports, brands and frame; no decision is made here."""

from klingel.clock import SystemClock
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.metrics import Metrics
from klingel.settings import Settings
from klingel_processors.app import BatchService, Frame
from klingel_processors.follow import Follower, Surroundings
from klingel_processors.kafka_ports import KafkaLog
from klingel_processors.watch.connectors import Connectors
from klingel_processors.watch.logic import NAME, STATE, WatchLogic
from klingel_processors.wiring import Wiring


def build(settings: Settings, metrics: Metrics) -> tuple[Frame, BatchService]:
    """Build the app; nothing starts."""
    around = Surroundings()
    connectors = Connectors()

    def take(message: Message) -> int:
        connectors.take(message)
        return around.take(message)

    follower = Follower(settings.kafka, (Topic.BRAND_CONFIG, Topic.CONNECTOR_STATUS), take)

    def logic(partition: int) -> WatchLogic:
        return WatchLogic(
            partition,
            brands=lambda: around.brands.by_name,
            connectors=connectors.known,
            gaps=connectors.gaps,
        )

    wiring = Wiring(
        NAME, settings, metrics, SystemClock(), KafkaLog(settings.kafka), tables={STATE: None}
    )
    return wiring.build(logic, WatchLogic, follower)
