"""When a worker waits for more messages before its next turn, and when it does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from klingel.clock import SystemClock
from klingel.contracts.envelope import Output
from klingel.contracts.topics import Topic
from klingel.metrics import Metrics
from klingel.stage.dead_letters import Component
from klingel.stage.in_memory import InMemoryTable
from klingel.testing.broker import (
    InMemoryBroker,
    InMemoryInput,
    InMemoryLog,
    InMemoryTransactions,
)
from klingel_processors.batch_service import BatchLoop, BatchSettings

from ..contracts.counting import CountingLogic

HOUR = 3600.0
PARTITIONS = 4


def fill(broker: InMemoryBroker, each: int) -> None:
    """Write so many messages into each partition."""
    for number in range(each):
        for partition in range(PARTITIONS):
            broker.append(Output(Topic.RAW_EVENTS, b"%d" % number, b"x", partition=partition))


@asynccontextmanager
async def working(broker: InMemoryBroker, batch_messages: int) -> AsyncIterator[None]:
    """Run a worker that waits an hour where it waits at all; a stop ends the wait."""
    loop = BatchLoop(
        logic=lambda _partition: CountingLogic(),
        source=InMemoryInput(broker, CountingLogic.inputs, "suite"),
        log=InMemoryLog(broker),
        writer=lambda number: InMemoryTransactions(broker, group="suite", number=number),
        tables=lambda _partition: {"counts": InMemoryTable()},
        component=Component(service="suite/1", stage="counting"),
        clock=SystemClock(),
        metrics=Metrics("suite"),
        settings=BatchSettings(
            batch_messages=batch_messages, batch_wait_seconds=0.01, busy_seconds=HOUR
        ),
    )
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        loop.stop()
        await asyncio.wait_for(task, 10)


async def told(broker: InMemoryBroker, at_least: int) -> int:
    """Return how many messages were told, once there are enough and the worker has come to rest."""
    async with asyncio.timeout(10):
        while len(broker.messages(Topic.SOCIAL_EVENTS)) < at_least:
            await broker.changed.wait()
    for _ in range(500):
        await asyncio.sleep(0)
    return len(broker.messages(Topic.SOCIAL_EVENTS))


async def test_a_busy_worker_that_has_kept_up_waits_for_more() -> None:
    broker = InMemoryBroker(PARTITIONS)
    fill(broker, 25)
    async with working(broker, 1000):
        assert await told(broker, 100) == 100
        fill(broker, 25)
        assert await told(broker, 100) == 100


async def test_a_worker_with_few_messages_does_not_wait() -> None:
    broker = InMemoryBroker(PARTITIONS)
    fill(broker, 5)
    async with working(broker, 1000):
        assert await told(broker, 20) == 20
        fill(broker, 5)
        assert await told(broker, 40) == 40


@pytest.mark.parametrize("batch_messages", [64, 100])
async def test_a_worker_that_is_behind_does_not_wait(batch_messages: int) -> None:
    """Also where no single partition holds much."""
    broker = InMemoryBroker(PARTITIONS)
    fill(broker, 60)
    async with working(broker, batch_messages):
        assert await told(broker, 240 - 63) >= 240 - 63
