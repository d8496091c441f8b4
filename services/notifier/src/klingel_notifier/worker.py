"""One notifier process: settings become connections, and what is absent is waited for."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import aiohttp
import structlog
from aiohttp import web
from aiokafka.errors import KafkaError

from klingel.clock import SystemClock
from klingel.contracts.connection import connection, tls_context
from klingel.domain.notifications import Backoff
from klingel.errors import ConfigurationError, KlingelError, RetryableError, SourceUnavailable
from klingel.logs import configure_logs
from klingel.metrics import Metrics
from klingel.settings import NotifierSettings, Settings, load_settings
from klingel_notifier.addresses import Addresses
from klingel_notifier.factory import Senders
from klingel_notifier.kafka import BrandFollower, KafkaSource
from klingel_notifier.service import Notifier, NotifierOptions
from klingel_notifier.targets import Targets
from klingel_notifier.telling import STAGE
from klingel_streams.sink import KafkaSink

_WAIT_SECONDS = 2.0
_STUCK_SECONDS = 60.0

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


class Worker:
    """The process, from first connection to last commit; made within a running loop.

    Args:
        settings: of the environment.
        addresses: of the targets.
    """

    def __init__(self, settings: Settings, addresses: Addresses) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._metrics = Metrics(STAGE)
        self._session = http_session(settings.notifier)
        senders = Senders(addresses, settings.notifier, self._session, self._clock)
        self._targets = Targets(senders.build, timedelta(hours=settings.notifier.give_up_hours))
        connected = {**connection(settings.kafka), **tls_context(settings.kafka)}
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
            clock=self._clock,
            metrics=self._metrics,
            chance=random.Random(settings.notifier.seed),  # noqa: S311 - jitter
        )
        self._waiting_for: str | None = "start"
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            InvariantViolation: going on would make it worse.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        server = await self._serve()
        following = asyncio.create_task(self._brands.run())
        # It ends by itself only where it raises; nobody must go on with brands of yesterday.
        following.add_done_callback(lambda _task: self.stop())
        try:
            if await self._prepared():
                self._waiting_for = None
                log.info("started", instance=_holder(self._settings))
                await self._notifier.run()
            if following.done():
                await following
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self._close()
            await server.cleanup()

    def stop(self) -> None:
        """Finish what is in the air, commit and end."""
        self._stopping.set()
        self._notifier.stop()

    async def _prepared(self) -> bool:
        """Wait for Kafka, its topics and the brands; False when stopped before."""
        return (
            await self._until("kafka", self._sink.start)
            and await self._until("kafka", self._source.connect)
            and await self._until("topics", self._check_topics)
            and await self._until("brands", self._brands_known)
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
        await self._source.join(self._notifier.revoke)

    async def _brands_known(self) -> None:
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._brands.caught_up.wait()
        except TimeoutError:
            raise SourceUnavailable("the brands are not read yet") from None

    async def _check_topics(self) -> None:
        try:
            missing = await self._source.missing_topics()
        except KafkaError as error:
            raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None
        if missing:
            raise SourceUnavailable(f"topic {missing[0]} is missing; run `klingel topics apply`")

    async def _close(self) -> None:
        for close in (self._source.stop, self._sink.stop, self._session.close):
            with contextlib.suppress(KafkaError, KlingelError, OSError):
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
        idle = self._clock.monotonic() - self._notifier.ticked_at
        waiting = self._waiting()
        stuck = waiting is None and idle > _STUCK_SECONDS
        body = {"waiting_for": waiting, "partitions": self._notifier.progress()}
        return web.json_response(body, status=503 if stuck else 200)

    async def _get_ready(self, _request: web.Request) -> web.Response:
        """Answer 503 also while a declared target has no address: somebody is not told."""
        missing = self._targets.missing()
        ready = self._waiting_for is None and self._notifier.ready and not missing
        body = {
            "ready": ready,
            "waiting_for": self._waiting(),
            "targets_missing": missing,
            "circuits_open": self._notifier.open_circuits(),
        }
        return web.json_response(body, status=200 if ready else 503)

    def _waiting(self) -> str | None:
        return self._waiting_for or self._notifier.waiting_for


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
