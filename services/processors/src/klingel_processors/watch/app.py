"""Wiring of watch: ports, brands and frame; no decision is made here."""

from klingel.clock import Clock
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.metrics import Metrics
from klingel.settings import Settings
from klingel_processors.app import BatchService, Frame
from klingel_processors.follow import Surroundings
from klingel_processors.kafka_ports import KafkaLog
from klingel_processors.watch.connectors import Connectors
from klingel_processors.watch.logic import NAME, STATE, WatchLogic
from klingel_processors.wiring import Wiring
from klingel_streams.follower import Follower

_FOLLOWED = (Topic.BRAND_CONFIG, Topic.CONNECTOR_STATUS, Topic.SUPPRESSIONS)


def build(settings: Settings, metrics: Metrics, clock: Clock) -> tuple[Frame, BatchService]:
    """Build the app; nothing starts."""
    around = Surroundings(settings.erasure)
    connectors = Connectors()

    def take(message: Message) -> int:
        connectors.take(message)
        return around.take(message)

    follower = Follower(settings.kafka, _FOLLOWED, take)

    def logic(partition: int) -> WatchLogic:
        return WatchLogic(
            partition,
            brands=lambda: around.brands.by_name,
            connectors=connectors.known,
            gaps=connectors.gaps,
            suppressed=around.suppressed,
        )

    wiring = Wiring(NAME, settings, metrics, clock, KafkaLog(settings.kafka), tables={STATE: None})
    return wiring.build(logic, WatchLogic, follower)
