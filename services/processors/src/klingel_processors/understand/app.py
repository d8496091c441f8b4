"""Wiring of understand and its thread stage: ports, world and frame; no decision is made here."""

from collections.abc import Mapping

from klingel.clock import Clock
from klingel.contracts.blobs import BlobStore
from klingel.contracts.topics import Topic
from klingel.language.identify import load_detector
from klingel.metrics import Metrics
from klingel.settings import Settings
from klingel_networks.registry import installed
from klingel_processors.app import BatchService, Frame
from klingel_processors.follow import Surroundings
from klingel_processors.kafka_ports import KafkaLog
from klingel_processors.understand.hearing import HearingLogic, World
from klingel_processors.understand.logic import DIRECTORY, MARKS, UnderstandLogic
from klingel_processors.understand.models import Models
from klingel_processors.understand.thread import LINKS, ThreadLogic
from klingel_processors.wiring import Wiring
from klingel_streams.follower import Follower

MARK_SECONDS = 8 * 86_400


def build(settings: Settings, metrics: Metrics, clock: Clock) -> tuple[Frame, BatchService]:
    """Build the app of understand; nothing starts."""
    return _build(settings, metrics, clock, UnderstandLogic, {MARKS: MARK_SECONDS, DIRECTORY: None})


def build_thread(settings: Settings, metrics: Metrics, clock: Clock) -> tuple[Frame, BatchService]:
    """Build the app of the thread stage; nothing starts."""
    return _build(settings, metrics, clock, ThreadLogic, {LINKS: None})


def _build(
    settings: Settings,
    metrics: Metrics,
    clock: Clock,
    stage: type[UnderstandLogic] | type[ThreadLogic],
    tables: Mapping[str, int | None],
) -> tuple[Frame, BatchService]:
    around = Surroundings(settings.erasure)
    follower = Follower(
        settings.kafka,
        (
            Topic.BRAND_CONFIG,
            Topic.TRACKED_CONVERSATIONS,
            Topic.IDENTITY_LINKS,
            Topic.SUPPRESSIONS,
        ),
        around.take,
    )
    detect = load_detector()
    models = Models(settings.processor.models_dir)
    blobs = BlobStore(settings.blobs.dir)

    def world() -> World:
        return World(around.brands.by_name, around.tracking, around.customers, around.suppressed)

    def logic(partition: int) -> HearingLogic:
        return stage(
            partition,
            networks=installed().network,
            detect=detect,
            readers=models.reader,
            originals=blobs.get,
            world=world,
        )

    wiring = Wiring(stage.name, settings, metrics, clock, KafkaLog(settings.kafka), tables=tables)
    return wiring.build(
        logic, stage, follower, lambda: models.check(around.brands.readable.values())
    )
