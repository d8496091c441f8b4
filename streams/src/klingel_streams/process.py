"""One process around a loop: signals, what is waited for before it starts, and its HTTP answers."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import structlog
from aiohttp import web
from aiokafka.errors import KafkaError

from klingel.clock import Clock
from klingel.errors import ConfigurationError, KlingelError, RetryableError, SourceUnavailable
from klingel.metrics import Metrics
from klingel.settings import HttpSettings
from klingel.stage.progress import STUCK_SECONDS

WAIT_SECONDS: Final = 2.0
"""Between two attempts at what is not there yet."""

ANSWER_SECONDS: Final = 2.0
"""Within which Kafka answers; a probe waits a few seconds."""

log = structlog.get_logger()


class Loop(Protocol):
    """What runs in the process."""

    ticked_at: float

    @property
    def waiting_for(self) -> str | None:
        """The server without which it cannot go on."""
        ...

    def progress(self) -> Mapping[str, Any]:
        """Return where it stands, by partition."""
        ...

    @property
    def stalled_seconds(self) -> float:
        """For how long nothing was committed although messages wait that it could take."""
        ...

    def stop(self) -> None:
        """Ask it to end after the grace."""
        ...


class Topics(Protocol):
    """Tells which topics are not there."""

    async def missing_topics(self) -> list[str]:
        """Return those that are needed and missing."""
        ...


class Process(ABC):
    """From the first connection to the last commit.

    Args:
        loop: what runs.
        http: where it answers.
        clock: time.
        metrics: what `/metrics` shows.
        kafka: who is asked whether Kafka answers.
    """

    def __init__(
        self, loop: Loop, http: HttpSettings, clock: Clock, metrics: Metrics, kafka: Topics
    ) -> None:
        self._loop = loop
        self._kafka = kafka
        self._http = http
        self._clock = clock
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self.waiting_for: str | None = "start"

    @abstractmethod
    async def work(self) -> None:
        """Connect, then run the loop until `stop`."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of every connection."""

    @abstractmethod
    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the loop does its work, and what `/readyz` says besides."""

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; raises what no waiting can mend."""
        running = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(number, self.stop)
        server = await self._serve()
        try:
            await self.work()
        finally:
            await self.close()
            await server.cleanup()

    def stop(self) -> None:
        """Finish what is in flight, commit and end."""
        self._stopping.set()
        self._loop.stop()

    async def until(self, what: str, attempt: Callable[[], Awaitable[None]]) -> bool:
        """Try until it works; False when stopped before."""
        while not self._stopping.is_set():
            self.waiting_for = what
            try:
                await attempt()
            except RetryableError as error:
                log.warning("waiting", waiting_for=what, reason=str(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WAIT_SECONDS):
                        await self._stopping.wait()
            else:
                return True
        return False

    async def check_topics(self, topics: Topics) -> None:
        """Raise SourceUnavailable while a topic is missing."""
        try:
            missing = await topics.missing_topics()
        except KafkaError as error:
            raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None
        if missing:
            raise SourceUnavailable(f"topic {missing[0]} is missing; run `klingel topics apply`")

    # ------------------------------------------------------------------ HTTP

    async def _serve(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/metrics", self._get_metrics)
        app.router.add_get("/healthz", self._get_health)
        app.router.add_get("/readyz", self._get_ready)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, self._http.host, self._http.port).start()
        log.info("listening", host=self._http.host, port=runner.addresses[0][1])
        return runner

    async def _get_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), content_type="text/plain")

    async def _get_health(self, _request: web.Request) -> web.Response:
        """Answer 503 when the loop or its offsets stand still: waiting for a server is health."""
        idle = self._clock.monotonic() - self._loop.ticked_at
        stalled = self._loop.stalled_seconds
        waiting = self._waiting()
        if waiting is None and stalled > STUCK_SECONDS and not await self._kafka_answers():
            waiting = "kafka"
        stuck = waiting is None and max(idle, stalled) > STUCK_SECONDS
        body = {
            "waiting_for": waiting,
            "stalled_seconds": round(stalled, 1),
            "partitions": self._loop.progress(),
        }
        return web.json_response(body, status=503 if stuck else 200)

    async def _kafka_answers(self) -> bool:
        """Ask Kafka anything; what is known of its logs is what it said last."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._kafka.missing_topics()
        except (TimeoutError, KafkaError, KlingelError, OSError):
            return False
        return True

    async def _get_ready(self, _request: web.Request) -> web.Response:
        working, more = self.readiness()
        ready = self.waiting_for is None and working
        body = {"ready": ready, "waiting_for": self._waiting(), **more}
        return web.json_response(body, status=200 if ready else 503)

    def _waiting(self) -> str | None:
        return self.waiting_for or self._loop.waiting_for


def main(
    program: str, description: str, does: str, run: Callable[[Mapping[str, str]], int]
) -> None:
    """Read the command line and run; exit 2 for a wrong setting, 1 for anything else of ours.

    Args:
        program: its name.
        description: one sentence.
        does: what `run` does until SIGTERM.
        run: one worker for an environment; returns the exit code.
    """
    parser = argparse.ArgumentParser(prog=program, description=description)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("run", help=f"{does} until SIGTERM; settings are KLINGEL_* variables")
    parser.parse_args()
    try:
        code = run(os.environ)
    except ConfigurationError as error:
        sys.stderr.write(f"{program}: {error}\n")
        sys.exit(2)
    except KlingelError as error:
        log.error("stopped", reason=str(error), error_class=type(error).__name__)  # noqa: TRY400  the sentence says it
        sys.exit(1)
    sys.exit(code)
