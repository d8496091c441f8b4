"""Watch in its loop, over both brokers: workers that vanish neither lose nor double what is told."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

from klingel.clock import SystemClock
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.model import LedgerLine
from klingel.stage.in_memory import InMemoryTable
from klingel.stage.ports import StateTable
from klingel.testing.conversations import compiled_brand
from klingel_processors.watch.logic import STATE, WatchLogic

from ..watch.conftest import START, Post, in_order, ringing, told, usual
from .conftest import World
from .test_batch_loop import (
    PATIENCE_SECONDS,
    Disk,
    assert_books_balance,
    ledger,
    new_loop,
    until,
)

BRANDS = {"nordlicht": compiled_brand()}
SCENE = in_order([*usual(12), *ringing(600)])
END = START + timedelta(hours=12)
A_RECORD = 5
PARTITIONS = 4
SAID = (Topic.INCIDENTS, Topic.CASE_COMMANDS)
Said = set[tuple[str, bytes | None, bytes | None]]


class Noon(SystemClock):
    """Event time passes as it is told to; waiting is waiting."""

    at = START

    def now(self) -> datetime:
        """Return the time up to which something was said."""
        return self.at


class WatchDisk(Disk):
    """The local table of watch."""

    def open(self, partition: int) -> dict[str, StateTable]:
        """Open a partition's table."""
        return {STATE: self.tables.setdefault(partition, InMemoryTable())}


def watch() -> WatchLogic:
    """Build the logic of the brand's partition; the others have nothing to do."""
    return WatchLogic(partition_for(b"nordlicht", PARTITIONS), brands=lambda: BRANDS)


async def said(world: World) -> list[tuple[str, bytes | None, bytes | None]]:
    """Return what others read."""
    return [
        (topic.value, each.key, each.value)
        for topic in SAID
        for each in await world.messages(topic)
    ]


def expected() -> Said:
    """Return what one worker says that is never disturbed."""
    post = Post()
    post.brands = BRANDS
    post.hear(SCENE, A_RECORD)
    post.pass_time(12 * 60)
    return {each for each in post.said() if each[0] in {topic.value for topic in SAID}}


async def test_workers_that_vanish_say_everything_once(world: World) -> None:
    """Each begins with an empty disk and goes on from what the last one committed."""
    wanted = expected()
    assert {topic for topic, _, _ in wanted} == {topic.value for topic in SAID}
    records = [told(SCENE[at : at + A_RECORD]) for at in range(0, len(SCENE), A_RECORD)]
    half = len(records) - 4
    clock = Noon()
    clock.at = SCENE[half * A_RECORD - 1].received_at
    await world.append(*records[:half])
    seen: list[int] = []

    async def grown() -> bool:
        return len(await said(world)) > (seen[-1] if seen else 0)

    for _ in range(2):
        task = asyncio.create_task(new_loop(world, WatchDisk(), logic=watch, clock=clock).run())
        with suppress(TimeoutError):
            await until(grown, world)
        seen.append(len(await said(world)))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if len(seen) == 1:
            clock.at = END
            await world.append(*records[half:])
    loop = new_loop(world, WatchDisk(), logic=watch, clock=clock)
    task = asyncio.create_task(loop.run())
    try:

        async def whole() -> bool:
            return set(await said(world)) >= wanted

        await until(whole, world)
    finally:
        loop.stop()
        await asyncio.wait_for(task, PATIENCE_SECONDS)
    found = await said(world)
    assert len(found) == len(set(found))
    assert set(found) == wanted
    lines: list[LedgerLine] = await ledger(world)
    rows = [line for line in lines if line.topic == Topic.BRAND_SIGNALS]
    assert_books_balance(rows, len(records))
