"""The only place where a `faust.App` is built: the frame around a batch service.

Faust gives worker, lifecycle, signals and the web server. Its own Kafka consumer and producer are
off: the batch service has its own, and no agent or table exists that would need them.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import faust
import structlog
from aiohttp.web import Response as AiohttpResponse
from faust.app.base import BootStrategy
from faust.web import Request, Response, Web
from mode import Service

from klingel.contracts.topics import Topic, topic_specs
from klingel.errors import ConfigurationError, SourceUnavailable
from klingel.metrics import Metric, Metrics
from klingel.settings import HttpSettings, KafkaSettings
from klingel.stage.ports import Log, Logic
from klingel.stage.progress import STUCK_SECONDS
from klingel_processors.batch_service import BatchLoop

_GRACE_SECONDS = 20.0


class _FrameOnly(BootStrategy):
    """Sensors, web server and our services; nothing of Faust talks to Kafka."""

    enable_kafka = False


class Frame(faust.App):
    """A Faust app without Kafka and without files of its own."""

    BootStrategy = _FrameOnly

    def _create_directories(self) -> None:
        """Make none: they would be for tables."""


def free_port(host: str) -> int:
    """Return a port that is free now; Faust takes no 0."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def build_frame(name: str, kafka: KafkaSettings, http: HttpSettings) -> Frame:
    """Build the frame of one processor."""
    port = http.port or free_port(http.host)
    structlog.get_logger().info("status_listened", host=http.host, port=port)
    return Frame(
        f"klingel-{name}",
        broker=[f"kafka://{address}" for address in kafka.bootstrap.split(",")],
        autodiscover=False,
        web_host=http.host,
        web_bind=http.host,
        web_port=port,
        web_tables_enabled=False,
        web_metrics_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        worker_redirect_stdouts=False,
        logging_config=None,
    )


class BatchService(Service):
    """Runs a batch loop inside the frame.

    Args:
        prepare: waits until Kafka, topics and configuration are there.
        loop: builds the loop once they are.
        beside: further coroutines that run as long as the service does.
        refused: how many brands' newest configuration cannot be read now; their events wait.
    """

    def __init__(
        self,
        prepare: Callable[[], Awaitable[None]],
        loop: Callable[[], BatchLoop],
        beside: tuple[Callable[[], Awaitable[None]], ...] = (),
        refused: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__()
        self._prepare = prepare
        self._build = loop
        self._beside = beside
        self._refused = refused
        self._ended = asyncio.Event()
        self.batch_loop: BatchLoop | None = None

    @property
    def refused(self) -> int:
        """Brands whose events wait: their newest configuration cannot be read."""
        return self._refused()

    @property
    def ready(self) -> bool:
        """Whether the loop is, and every brand can be read."""
        return self.batch_loop is not None and self.batch_loop.ready and not self.refused

    @Service.task
    async def _run(self) -> None:
        beside = [asyncio.ensure_future(each()) for each in self._beside]
        try:
            await self._prepare()
            self.batch_loop = self._build()
            await self.batch_loop.run()
        finally:
            for task in beside:
                task.cancel()
            self._ended.set()

    async def on_stop(self) -> None:
        """Finish the batches in hand within the grace period."""
        if self.batch_loop is None:
            return
        self.batch_loop.stop()
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            structlog.get_logger().warning("stopped_in_a_batch")


def add_pages(frame: Frame, service: BatchService, metrics: Metrics) -> None:
    """Serve `/metrics`, `/healthz` (progress) and `/readyz` (see `ready`)."""

    @frame.page("/metrics")  # type: ignore[arg-type] # Faust types a page as a view of a class
    async def _metrics(_web: Web, _request: Request) -> Response:
        metrics.set(Metric.BRANDS_REFUSED, service.refused)
        return AiohttpResponse(body=metrics.render(), content_type="text/plain")  # type: ignore[return-value] # Faust's type has no bytes body

    @frame.page("/healthz")  # type: ignore[arg-type] # Faust types a page as a view of a class
    async def _health(web: Web, _request: Request) -> Response:
        loop = service.batch_loop
        if loop is None:
            return web.json({"seconds_without_progress": 0.0, "stalled_seconds": 0.0})
        told = {
            "seconds_without_progress": round(loop.seconds_without_progress(), 1),
            "stalled_seconds": round(loop.stalled_seconds, 1),
        }
        return web.json(told, status=_status(await loop.is_alive(STUCK_SECONDS)))

    @frame.page("/readyz")  # type: ignore[arg-type] # Faust types a page as a view of a class
    async def _ready(web: Web, _request: Request) -> Response:
        loop, ready = service.batch_loop, service.ready
        told = {"ready": ready, "partitions": sorted(loop.owned) if loop else []}
        if service.refused:
            told["brands_refused"] = service.refused
        return web.json(told, status=_status(ready))


def _status(good: bool) -> int:  # noqa: FBT001 - the one thing it says
    return 200 if good else 503


def _together(logic: type[Logic] | Logic) -> tuple[Topic, ...]:
    """Return the topics of a stage that lie together: inputs, mirrors, and what it writes beside."""
    beside = [
        topic
        for topic, spec in topic_specs().items()
        if logic.name in spec.producers and spec.copartitioned_with in logic.inputs
    ]
    return tuple(dict.fromkeys((*logic.inputs, *logic.tables.values(), *beside)))


async def wait_for_topics(
    log: Log, logic: type[Logic] | Logic, *, retry_seconds: float = 1.0
) -> None:
    """Wait until inputs and mirrors exist; refuse unequal partition counts.

    Raises:
        ConfigurationError: topics that must lie together have different partition counts.
    """
    while True:
        try:
            counts = {topic: await log.partitions(topic) for topic in _together(logic)}
            break
        except SourceUnavailable as error:
            structlog.get_logger().info(
                "service_waits", waiting_for="kafka and topics", reason=str(error)
            )
            await asyncio.sleep(retry_seconds)
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{topic} has {count}" for topic, count in sorted(counts.items()))
        raise ConfigurationError(f"these topics need equal partition counts: {told}")
