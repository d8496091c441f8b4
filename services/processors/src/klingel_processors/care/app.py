"""Wiring of care: ports, brands and frame; no decision is made here."""

from klingel.clock import Clock
from klingel.contracts.topics import Topic
from klingel.metrics import Metrics
from klingel.settings import Settings
from klingel_processors.app import BatchService, Frame
from klingel_processors.care.logic import NAME, CareLogic
from klingel_processors.care.records import CASES, LAYOUT
from klingel_processors.follow import Surroundings
from klingel_processors.kafka_ports import KafkaLog
from klingel_processors.wiring import Wiring
from klingel_streams.follower import Follower


def build(settings: Settings, metrics: Metrics, clock: Clock) -> tuple[Frame, BatchService]:
    """Build the app; nothing starts."""
    around = Surroundings(settings.erasure)
    follower = Follower(settings.kafka, (Topic.BRAND_CONFIG, Topic.SUPPRESSIONS), around.take)

    def logic(partition: int) -> CareLogic:
        return CareLogic(
            partition, brands=lambda: around.brands.by_name, suppressed=around.suppressed
        )

    wiring = Wiring(
        NAME,
        settings,
        metrics,
        clock,
        KafkaLog(settings.kafka),
        tables={CASES: None},
        layout=LAYOUT,
    )
    return wiring.build(logic, CareLogic, follower)
