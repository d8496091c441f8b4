"""One indexer process: settings become connections, and what is absent is waited for."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from klingel import tracing
from klingel.clock import SystemClock
from klingel.contracts.certificates import tell_certificates
from klingel.contracts.connection import connection
from klingel.contracts.envelope import Message
from klingel.contracts.resources import schemas_dir
from klingel.contracts.suppressions import nobody_yet, take_suppression
from klingel.contracts.topics import Topic
from klingel.contracts.trust import refuse_unreadable, why_not_trusted
from klingel.errors import CredentialsRejected, KlingelError, SourceUnavailable
from klingel.logs import configure_logs
from klingel.metrics import Metrics
from klingel.settings import ElasticsearchSettings, Settings, load_settings
from klingel_indexer.bulk import BulkLimits, ElasticsearchTransport, elasticsearch_client
from klingel_indexer.kafka import KafkaSource
from klingel_indexer.service import STAGE, Indexer, IndexerOptions
from klingel_indexer.templates import FOLDER, check_templates
from klingel_streams.follower import Follower
from klingel_streams.process import ANSWER_SECONDS, Process
from klingel_streams.sink import KafkaSink

_NO_KEY = (
    "a suppression was told with another key: KLINGEL_ERASURE__KEY has to be the same everywhere"
)

ELASTICSEARCH = "KLINGEL_ELASTICSEARCH__"
"""Beginning of its settings."""

log = structlog.get_logger()


def elasticsearch_from(settings: ElasticsearchSettings) -> AsyncElasticsearch:
    """Return the client for the settings.

    Raises:
        ConfigurationError: the file of authorities cannot be read.
    """
    refuse_unreadable(settings.ca_certs, ELASTICSEARCH)
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


class Worker(Process):
    """The process, from first connection to last commit.

    Args:
        settings: of the environment.
    """

    def __init__(self, settings: Settings) -> None:
        clock = SystemClock()
        metrics = tell_certificates(Metrics(STAGE), settings, clock)
        self._settings = settings
        self._client = elasticsearch_from(settings.elasticsearch)
        connected = connection(settings.kafka)
        self._sink = KafkaSink(connected, settings.kafka.topic_prefix)
        self._source = KafkaSource(
            connected,
            group=f"{settings.kafka.group_prefix}{settings.kafka.topic_prefix}{STAGE}",
            topic_prefix=settings.kafka.topic_prefix,
            instance=settings.indexer.instance,
            session_timeout_seconds=settings.kafka.session_timeout_seconds,
        )
        self._suppressed = nobody_yet(settings.erasure)
        self._follower = Follower(settings.kafka, (Topic.SUPPRESSIONS,), self._suppress)
        self._following: asyncio.Task[None] | None = None
        self._indexer = Indexer(
            self._source,
            self._sink,
            ElasticsearchTransport(self._client),
            options=_options(settings),
            clock=clock,
            metrics=metrics,
            suppressed=self._suppressed,
        )
        super().__init__(self._indexer, settings.http, clock, metrics, self._source)

    async def work(self) -> None:
        """Index until `stop`.

        Raises:
            CredentialsRejected: Elasticsearch refuses ours.
            InvariantViolation: going on would make it worse.
        """
        if await self._prepared():
            self.waiting_for = None
            log.info("started", instance=_holder(self._settings))
            await self._indexer.run()

    async def _prepared(self) -> bool:
        """Wait for Kafka, its topics and the templates; False when stopped before."""
        return (
            await self.until("templates", self._check_templates)
            and await self.until("kafka", self._sink.start)
            and await self.until("kafka", self._source.connect)
            and await self.until("topics", lambda: self.check_topics(self._source))
            and await self.until("suppressions", self._know_erased)
            and await self.until("kafka", self._join)
        )

    async def _join(self) -> None:
        await self._source.join(self._indexer.revoke)

    async def _know_erased(self) -> None:
        """Read who was erased to the end: before that nothing may be indexed.

        Raises:
            SourceUnavailable: not read yet; or the key is not the one that erasures were told with.
        """
        if self._following is None:
            self._following = asyncio.create_task(self._follower.run())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._follower.caught_up.wait()
        except TimeoutError:
            raise SourceUnavailable("who was erased is not known yet") from None
        if self._suppressed.strange:
            raise SourceUnavailable(_NO_KEY)
        # Whoever ran before has noted how long these took.
        self._suppressed.found_done.clear()

    def _suppress(self, message: Message) -> int:
        """Take a record of the followed topic; return how many are of another key."""
        before = len(self._suppressed.strange)
        if not take_suppression(self._suppressed, message):
            log.warning("suppression_unreadable")
        elif len(self._suppressed.strange) > before:
            log.error("suppression_of_another_key")
        return len(self._suppressed.strange)

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
            why = why_not_trusted(error, ELASTICSEARCH) or type(error).__name__
            raise SourceUnavailable(f"Elasticsearch: {why}") from None
        if differences:
            raise SourceUnavailable(f"{differences[0]}; run `klingel index apply`")

    async def close(self) -> None:
        """Close what was opened, whatever state it is in."""
        await self._indexer.writer.close()
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        for close in (self._source.stop, self._sink.stop, self._client.close):
            with contextlib.suppress(KafkaError, KlingelError, OSError, TransportError):
                await close()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Return whether it has taken over all that the group gave it."""
        return self._indexer.ready and not self._suppressed.strange, {}


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
    tracing.begin(STAGE)
    asyncio.run(_run(settings))
    return 0


async def _run(settings: Settings) -> None:
    await Worker(settings).run()
