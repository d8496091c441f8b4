"""One notifier process: settings become connections, and what is absent is waited for."""

import asyncio
import contextlib
import os
import random
import socket
import ssl
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import aiohttp
import structlog
from aiokafka.errors import KafkaError

from klingel.clock import SystemClock
from klingel.contracts.certificates import tell_certificates
from klingel.contracts.connection import connection
from klingel.domain.notifications import Backoff
from klingel.errors import ConfigurationError, KlingelError, SourceUnavailable
from klingel.logs import configure_logs
from klingel.metrics import Metrics
from klingel.settings import NotifierSettings, Settings, load_settings
from klingel_notifier.addresses import Addresses
from klingel_notifier.factory import Senders
from klingel_notifier.kafka import BrandFollower, KafkaSource
from klingel_notifier.service import Notifier, NotifierOptions
from klingel_notifier.targets import Targets
from klingel_notifier.telling import STAGE
from klingel_streams.process import WAIT_SECONDS, Process
from klingel_streams.sink import KafkaSink

log = structlog.get_logger()


def http_session(settings: NotifierSettings) -> aiohttp.ClientSession:
    """Return the session of all senders over HTTP.

    A connection is used once: on one that the receiver has closed meanwhile a POST could only be
    sent again without knowing whether it arrived.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_certs)
    except OSError:
        raise ConfigurationError(
            "KLINGEL_NOTIFIER__CA_CERTS: the file cannot be read as certificates"
        ) from None
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=True
    )


class Worker(Process):
    """The process, from first connection to last commit; made within a running loop.

    Args:
        settings: of the environment.
        addresses: of the targets.
    """

    def __init__(self, settings: Settings, addresses: Addresses) -> None:
        clock = SystemClock()
        metrics = tell_certificates(Metrics(STAGE), settings, clock)
        self._settings = settings
        self._session = http_session(settings.notifier)
        senders = Senders(addresses, settings.notifier, self._session, clock)
        self._targets = Targets(senders.build, timedelta(hours=settings.notifier.give_up_hours))
        connected = connection(settings.kafka)
        prefix = settings.kafka.topic_prefix
        self._brands = BrandFollower(connected, prefix, self._targets.take)
        self._sink = KafkaSink(connected, prefix)
        self._source = KafkaSource(
            connected,
            group=f"{settings.kafka.group_prefix}{prefix}{STAGE}",
            topic_prefix=prefix,
            instance=settings.notifier.instance,
            session_timeout_seconds=settings.kafka.session_timeout_seconds,
        )
        self._notifier = Notifier(
            self._source,
            self._sink,
            self._targets,
            options=_options(settings),
            clock=clock,
            metrics=metrics,
            chance=random.Random(settings.notifier.seed),  # noqa: S311 - jitter
        )
        super().__init__(self._notifier, settings.http, clock, metrics, self._source)

    async def work(self) -> None:
        """Notify until `stop`.

        Raises:
            InvariantViolation: going on would make it worse.
        """
        following = asyncio.create_task(self._brands.run())
        # It ends by itself only where it raises; nobody must go on with brands of yesterday.
        following.add_done_callback(lambda _task: self.stop())
        try:
            if await self._prepared():
                self.waiting_for = None
                log.info("started", instance=_holder(self._settings))
                await self._notifier.run()
            if following.done():
                await following
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _prepared(self) -> bool:
        """Wait for Kafka, its topics and the brands; False when stopped before."""
        return (
            await self.until("kafka", self._sink.start)
            and await self.until("kafka", self._source.connect)
            and await self.until("topics", lambda: self.check_topics(self._source))
            and await self.until("brands", self._brands_known)
            and await self.until("kafka", self._join)
        )

    async def _join(self) -> None:
        await self._source.join(self._notifier.revoke)

    async def _brands_known(self) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._brands.caught_up.wait()
        except TimeoutError:
            raise SourceUnavailable("the brands are not read yet") from None

    async def close(self) -> None:
        """Close what was opened, whatever state it is in."""
        for close in (self._source.stop, self._sink.stop, self._session.close):
            with contextlib.suppress(KafkaError, KlingelError, OSError):
                await close()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Return whether it does its work; what a brand declares and nobody set is told beside it.

        A target without an address is a matter of the deployment's settings: a worker that waited for
        it would hold up every roll-out, and the others would be told no sooner.
        """
        missing = self._targets.missing()
        more = {"targets_missing": missing, "circuits_open": self._notifier.open_circuits()}
        return self._notifier.ready, more


def _holder(settings: Settings) -> str:
    return settings.notifier.instance or f"{socket.gethostname()}-{os.getpid()}"


def _options(settings: Settings) -> NotifierOptions:
    notifier = settings.notifier
    return NotifierOptions(
        holder=_holder(settings),
        silent_seconds=settings.kafka.session_timeout_seconds,
        waiting_bytes=notifier.waiting_bytes,
        backoff=Backoff(
            first=notifier.first_pause_seconds,
            longest=notifier.longest_pause_seconds,
            circuit_after=notifier.circuit_after,
            circuit_seconds=notifier.circuit_seconds,
        ),
    )


def run(environ: Mapping[str, str]) -> int:
    """Run a worker for this environment; return the exit code."""
    settings = load_settings(environ)
    addresses = Addresses(environ)
    configure_logs(STAGE, settings.logs.level)
    asyncio.run(_run(settings, addresses))
    return 0


async def _run(settings: Settings, addresses: Addresses) -> None:
    await Worker(settings, addresses).run()
