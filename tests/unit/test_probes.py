"""Liveness: it fails when offsets stand still although messages wait, not when Kafka is away."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts.envelope import Output
from klingel.contracts.topics import Topic
from klingel.errors import SourceUnavailable
from klingel.metrics import Metric, Metrics
from klingel.settings import HttpSettings
from klingel.stage.dead_letters import Component
from klingel.stage.in_memory import InMemoryTable
from klingel.stage.ports import Slot
from klingel.stage.progress import STUCK_SECONDS, Progress, Standing
from klingel.testing.broker import (
    InMemoryBroker,
    InMemoryInput,
    InMemoryLog,
    InMemoryTransactions,
)
from klingel.testing.clock import FixedClock
from klingel_processors.batch_service import BatchLoop, BatchSettings
from klingel_streams.process import Process

from ..contracts.counting import CountingLogic

SLOT = (Topic.RAW_EVENTS, 0)
LONG = STUCK_SECONDS + 1


# -- since when a worker stands still ----------------------------------------------------------


def test_what_moves_or_has_nothing_to_do_does_not_stand() -> None:
    progress = Progress()
    for second in range(0, 300, 10):
        assert progress.note({"a": Standing(second, waits=True)}, second) == 0
        assert progress.note({"b": Standing(7, waits=False)}, second) == 0


def test_the_worst_partition_counts() -> None:
    progress = Progress()
    for second in range(0, 100, 10):
        standing = {"moves": Standing(second, waits=True), "stands": Standing(3, waits=True)}
        assert progress.note(standing, second) == second


def test_a_partition_that_comes_back_begins_anew() -> None:
    progress = Progress()
    standing = {"a": Standing(3, waits=True)}
    progress.note(standing, 0)
    assert progress.note(standing, 50) == 50
    assert progress.note({}, 60) == 0
    assert progress.note(standing, 70) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.booleans(), st.floats(0, 30, allow_nan=False)), max_size=40
    )
)
def test_it_is_the_time_since_the_last_move_or_the_last_rest(
    steps: list[tuple[int, bool, float]],
) -> None:
    progress, now, history = Progress(), 0.0, list[tuple[float, int, bool]]()
    for committed, waits, passed in steps:
        now += passed
        history.append((now, committed, waits))
        since = now
        for index in range(len(history) - 1, 0, -1):
            _, place, waited = history[index]
            if not waited or place != history[index - 1][1]:
                break
            since = history[index - 1][0]
        assert progress.note({"a": Standing(committed, waits)}, now) == pytest.approx(now - since)


# -- processors -----------------------------------------------------------------------------


class Input(InMemoryInput):
    """A group membership that can be asked of a Kafka that is away, and can lose a wake-up."""

    away = False

    async def ends(self, numbers: Iterable[int]) -> Mapping[Slot, int]:
        """Return where the inputs end."""
        if self.away:
            raise SourceUnavailable("Kafka: away")
        return await super().ends(numbers)

    def lag(self, slot: Slot) -> int | None:
        """Return what Kafka said last."""
        return self._broker.end(*slot) - self._positions[slot]

    def _take(self, max_records: int) -> Any:
        return {} if self.away else super()._take(max_records)


class Worker:
    """A worker of a stage, its clock and what it measures."""

    def __init__(self) -> None:
        self.broker = InMemoryBroker(1)
        self.clock = FixedClock()
        self.metrics = Metrics("suite")
        self.input = Input(self.broker, CountingLogic.inputs, "suite")
        self.loop = BatchLoop(
            logic=lambda _partition: CountingLogic(),
            source=self.input,
            log=InMemoryLog(self.broker),
            writer=lambda number: InMemoryTransactions(self.broker, group="suite", number=number),
            tables=lambda _partition: {"counts": InMemoryTable()},
            component=Component(service="suite/1", stage="counting"),
            clock=self.clock,
            metrics=self.metrics,
            settings=BatchSettings(batch_wait_seconds=0.001),
        )

    def ring(self) -> None:
        """Let a message come."""
        now = int(self.clock.now().timestamp() * 1000)
        self.broker.append(Output(Topic.RAW_EVENTS, b"k", b"x", partition=0), now)

    async def turns(self, number: int = 4) -> None:
        """Let the loop come round so many times."""
        seen = self.loop._progress
        told: list[float] = []
        note, done = seen.note, asyncio.Event()

        def noted(standing: Any, now: float) -> float:
            told.append(now)
            if len(told) >= number:
                done.set()
            return note(standing, now)

        seen.note = noted  # type: ignore[method-assign] # to wait for a turn without sleeping
        try:
            async with asyncio.timeout(10):
                await done.wait()
        finally:
            seen.note = note  # type: ignore[method-assign] # as above

    def gauge(self, metric: Metric) -> float:
        """Return the largest value of a gauge."""
        return max(value for name, _, value in self.metrics.samples() if name == metric)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """A worker that runs and has worked."""
    made = Worker()
    task = asyncio.create_task(made.loop.run())
    made.ring()
    async with asyncio.timeout(10):
        while not made.broker.messages(Topic.SOCIAL_EVENTS):
            await made.broker.changed.wait()
    await made.turns()
    yield made
    made.loop.stop()
    await asyncio.wait_for(task, 10)


async def test_a_worker_without_work_is_alive(worker: Worker) -> None:
    worker.clock.advance(LONG)
    await worker.turns()
    assert worker.loop.stalled_seconds == 0
    assert await worker.loop.is_alive(STUCK_SECONDS)


async def test_offsets_that_stop_although_messages_wait_are_not_life(worker: Worker) -> None:
    """As after a pause that nobody ended: the loop comes round and reads nothing."""
    worker.input.pause(SLOT)
    worker.ring()
    await worker.turns()
    assert await worker.loop.is_alive(STUCK_SECONDS)
    worker.clock.advance(LONG)
    await worker.turns()
    assert worker.loop.seconds_without_progress() < STUCK_SECONDS
    assert not await worker.loop.is_alive(STUCK_SECONDS)
    assert worker.gauge(Metric.STALLED_SECONDS) >= LONG
    assert worker.gauge(Metric.LAG) == 1
    assert worker.gauge(Metric.OLDEST_SECONDS) >= LONG
    worker.input.resume(SLOT)
    await worker.turns()
    assert await worker.loop.is_alive(STUCK_SECONDS)
    assert worker.gauge(Metric.OLDEST_SECONDS) == 0


async def test_a_kafka_that_is_away_is_no_reason_to_restart(worker: Worker) -> None:
    worker.input.away = True
    worker.ring()
    worker.clock.advance(LONG)
    await worker.turns()
    worker.clock.advance(LONG)
    await worker.turns()
    assert worker.loop.stalled_seconds >= LONG
    assert await worker.loop.is_alive(STUCK_SECONDS)


async def test_the_brake_is_no_reason_to_restart(worker: Worker) -> None:
    """A restart would pull it again; a person has to look, and readiness tells."""
    worker.loop._paused.add(SLOT)
    worker.input.pause(SLOT)
    worker.ring()
    await worker.turns()
    worker.clock.advance(LONG)
    await worker.turns()
    assert await worker.loop.is_alive(STUCK_SECONDS)
    assert not worker.loop.ready


async def test_the_age_begins_when_a_message_comes_after_a_quiet_time(worker: Worker) -> None:
    worker.clock.advance(3600)
    await worker.turns()
    worker.input.pause(SLOT)
    worker.ring()
    await worker.turns()
    worker.clock.advance(5)
    await worker.turns()
    assert 5 <= worker.gauge(Metric.OLDEST_SECONDS) < 10


# -- indexer and notifier -------------------------------------------------------------------


class _Loop:
    ticked_at = 0.0
    stalled_seconds = 0.0
    waiting_for: str | None = None

    def progress(self) -> Mapping[str, Any]:
        return {}

    def stop(self) -> None:
        """End."""


class _Kafka:
    away = False

    async def missing_topics(self) -> list[str]:
        if self.away:
            raise SourceUnavailable("Kafka: away")
        return []


class _Process(Process):
    async def work(self) -> None:
        self.waiting_for = None

    async def close(self) -> None:
        """Nothing is open."""

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        return True, {}


class House:
    """A process that answers over HTTP, its loop, its Kafka and its clock."""

    def __init__(self) -> None:
        self.loop, self.kafka, self.clock = _Loop(), _Kafka(), FixedClock()
        self.loop.ticked_at = self.clock.monotonic()
        self.process = _Process(self.loop, HttpSettings(), self.clock, Metrics("x"), self.kafka)
        self.process.waiting_for = None

    @asynccontextmanager
    async def served(self) -> AsyncIterator["House"]:
        """Answer for as long as this lasts."""
        runner = await self.process._serve()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def health(self) -> int:
        """Ask as a probe does."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/healthz") as answer:
            return answer.status


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """A process that runs."""
    async with House().served() as made:
        yield made


async def test_a_process_whose_offsets_stop_is_not_alive(house: House) -> None:
    assert await house.health() == 200
    house.loop.stalled_seconds = LONG
    assert await house.health() == 503
    house.kafka.away = True
    assert await house.health() == 200


async def test_a_process_whose_loop_stands_is_not_alive(house: House) -> None:
    house.clock.advance(LONG)
    assert await house.health() == 503
    house.loop.waiting_for = "elasticsearch"
    assert await house.health() == 200
