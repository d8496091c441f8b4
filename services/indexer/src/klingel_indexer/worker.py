"""One indexer process: settings become connections, and what is absent is waited for."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from aiohttp import web
from aiokafka.errors import KafkaError
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from klingel.clock import SystemClock
from klingel.contracts.connection import connection, tls_context
from klingel.contracts.resources import schemas_dir
from klingel.errors import CredentialsRejected, KlingelError, RetryableError, SourceUnavailable
from klingel.logs import configure_logs
from klingel.metrics import Metrics
from klingel.settings import ElasticsearchSettings, Settings, load_settings
from klingel_indexer.bulk import BulkLimits, ElasticsearchTransport, elasticsearch_client
from klingel_indexer.kafka import KafkaSource
from klingel_indexer.service import STAGE, Indexer, IndexerOptions
from klingel_indexer.templates import FOLDER, check_templates
from klingel_streams.sink import KafkaSink

_WAIT_SECONDS = 2.0
_STUCK_SECONDS = 60.0

log = structlog.get_logger()


def elasticsearch_from(settings: ElasticsearchSettings) -> AsyncElasticsearch:
    """Return the client for the settings."""
    options: dict[str, Any] = {}
    if settings.api_key is not None:
        options["api_key"] = settings.api_key.get_secret_value()
    elif settings.username is not None and settings.password is not None:
        options["basic_auth"] = (settings.username, settings.password.get_secret_value())
    if settings.ca_certs is not None:
        options["ca_certs"] = str(settings.ca_certs)
    return elasticsearch_client(settings.url, **options)


def template_overrides(settings: ElasticsearchSettings) -> dict[str, Any]:
    """Return what the deployment sets in every index, for `apply_templates`."""
    return {
        "refresh_interval": settings.refresh_interval,
        "number_of_replicas": settings.replicas,
    }


class Worker:
    """The process, from first connection to last commit.

    Args:
        settings: of the environment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._metrics = Metrics(STAGE)
        self._client = elasticsearch_from(settings.elasticsearch)
        connected = {**connection(settings.kafka), **tls_context(settings.kafka)}
        self._sink = KafkaSink(connected, settings.kafka.topic_prefix)
        self._source = KafkaSource(
            connected,
            group=f"{settings.kafka.group_prefix}{settings.kafka.topic_prefix}{STAGE}",
            topic_prefix=settings.kafka.topic_prefix,
            instance=settings.indexer.instance,
            session_timeout_seconds=settings.kafka.session_timeout_seconds,
        )
        self._indexer = Indexer(
            self._source,
            self._sink,
            ElasticsearchTransport(self._client),
            options=_options(settings),
            clock=self._clock,
            metrics=self._metrics,
        )
        self._waiting_for: str | None = "start"
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            CredentialsRejected: Elasticsearch refuses ours.
            InvariantViolation: going on would make it worse.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        server = await self._serve()
        try:
            if await self._prepared():
                self._waiting_for = None
                log.info("started", instance=_holder(self._settings))
                await self._indexer.run()
        finally:
            await self._close()
            await server.cleanup()

    def stop(self) -> None:
        """Finish what is in flight, commit and end."""
        self._stopping.set()
        self._indexer.stop()

    async def _prepared(self) -> bool:
        """Wait for Kafka, its topics and the templates; False when stopped before."""
        return (
            await self._until("templates", self._check_templates)
            and await self._until("kafka", self._sink.start)
            and await self._until("kafka", self._source.connect)
            and await self._until("topics", self._check_topics)
            and await self._until("kafka", self._join)
        )

    async def _until(self, what: str, attempt: Callable[[], Awaitable[None]]) -> bool:
        while not self._stopping.is_set():
            self._waiting_for = what
            try:
                await attempt()
            except RetryableError as error:
                log.warning("waiting", waiting_for=what, reason=str(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_WAIT_SECONDS):
                        await self._stopping.wait()
            else:
                return True
        return False

    async def _join(self) -> None:
        await self._source.join(self._indexer.revoke)

    async def _check_templates(self) -> None:
        folder = schemas_dir(self._settings.schemas_dir) / FOLDER
        prefix = self._settings.elasticsearch.index_prefix
        try:
            differences = await check_templates(self._client, folder, prefix, None)
        except ApiError as error:
            if error.meta.status in {401, 403}:
                raise CredentialsRejected("Elasticsearch refuses our credential") from None
            raise SourceUnavailable(f"Elasticsearch answered {error.meta.status}") from None
        except TransportError as error:
            raise SourceUnavailable(f"Elasticsearch: {type(error).__name__}") from None
        if differences:
            raise SourceUnavailable(f"{differences[0]}; run `klingel index apply`")

    async def _check_topics(self) -> None:
        try:
            missing = await self._source.missing_topics()
        except KafkaError as error:
            raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None
        if missing:
            raise SourceUnavailable(f"topic {missing[0]} is missing; run `klingel topics apply`")

    async def _close(self) -> None:
        await self._indexer.writer.close()
        for close in (self._source.stop, self._sink.stop, self._client.close):
            with contextlib.suppress(KafkaError, KlingelError, OSError, TransportError):
                await close()

    # ------------------------------------------------------------------ HTTP

    async def _serve(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/metrics", self._get_metrics)
        app.router.add_get("/healthz", self._get_health)
        app.router.add_get("/readyz", self._get_ready)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        http = self._settings.http
        await web.TCPSite(runner, http.host, http.port).start()
        log.info("listening", host=http.host, port=runner.addresses[0][1])
        return runner

    async def _get_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), content_type="text/plain")

    async def _get_health(self, _request: web.Request) -> web.Response:
        """Answer 503 only when the loop itself stands still: waiting for a server is health."""
        idle = self._clock.monotonic() - self._indexer.ticked_at
        stuck = self._waiting_for is None and idle > _STUCK_SECONDS
        body = {"waiting_for": self._waiting(), "partitions": self._indexer.progress()}
        return web.json_response(body, status=503 if stuck else 200)

    async def _get_ready(self, _request: web.Request) -> web.Response:
        ready = self._waiting_for is None and self._indexer.ready
        body = {"ready": ready, "waiting_for": self._waiting()}
        return web.json_response(body, status=200 if ready else 503)

    def _waiting(self) -> str | None:
        return self._waiting_for or self._indexer.waiting_for


def _holder(settings: Settings) -> str:
    return settings.indexer.instance or f"{socket.gethostname()}-{os.getpid()}"


def _options(settings: Settings) -> IndexerOptions:
    return IndexerOptions(
        index_prefix=settings.elasticsearch.index_prefix,
        holder=_holder(settings),
        limits=BulkLimits(
            documents=settings.indexer.bulk_documents,
            bytes=settings.indexer.bulk_bytes,
            requests=settings.indexer.requests_in_flight,
        ),
    )


def run(environ: Mapping[str, str]) -> int:
    """Run a worker for this environment; return the exit code."""
    settings = load_settings(environ)
    configure_logs(STAGE, settings.logs.level)
    asyncio.run(_run(settings))
    return 0


async def _run(settings: Settings) -> None:
    await Worker(settings).run()
