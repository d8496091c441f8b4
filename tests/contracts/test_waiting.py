"""A message that waits for another: the batch ends before it, and nothing is passed or lost."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from klingel.clock import SystemClock
from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.stage.batch import Coordinates
from klingel.stage.fates import NotYet, Outcome
from klingel.stage.ports import Input, StateView

from .conftest import World
from .counting import CountingLogic, number_of
from .test_batch_loop import (
    Disk,
    assert_books_balance,
    counts,
    ledger,
    new_loop,
    raw,
    running,
    total,
    until,
)

FAR = datetime(2100, 1, 1, tzinfo=UTC)
HERE, ALSO_HERE, AWAITED, LAST = "a", "e", "m", "q"
"""Keys of one partition."""
ELSEWHERE = "b"


class WaitingLogic(CountingLogic):
    """Counts; `after:<key>:<seconds since the epoch>` waits for a key, and no longer than that."""

    def __init__(self) -> None:
        self._ahead: set[bytes] = set()

    def look_over(self, messages: Sequence[Message]) -> None:
        """Note which keys lie ahead."""
        self._ahead = {message.key or b"" for message in messages}

    def step(
        self,
        message: Message,
        state: StateView,
        now: datetime,
        history: Mapping[Coordinates, Message],
    ) -> Outcome:
        """Count, or wait."""
        word, _, argument = (message.value or b"").partition(b":")
        if word == b"after":
            key, _, seconds = argument.partition(b":")
            known = key in self._ahead or state.get("counts", key) is not None
            by = datetime.fromtimestamp(float(seconds), UTC)
            if not known and now < by:
                raise NotYet(by)
        return super().step(message, state, now, history)


def waiting(key: str, by: datetime = FAR) -> Output:
    """Return a message that waits for AWAITED."""
    return raw(key, f"after:{AWAITED}:{by.timestamp()}")


def test_the_keys_lie_where_the_suite_wants_them() -> None:
    assert {number_of(key) for key in (HERE, ALSO_HERE, AWAITED, LAST)} == {number_of(HERE)}
    assert number_of(ELSEWHERE) != number_of(HERE)


async def position(source: Input) -> int | None:
    """Return how far the group has read the partition."""
    found = (await source.committed(number_of(HERE)))[Topic.RAW_EVENTS]
    return None if found is None else found.offset


async def test_what_waits_ends_its_batch_and_holds_what_lies_behind_it(world: World) -> None:
    """What lies before is counted, other partitions go on; then everything, in its order."""
    await world.append(raw(HERE), waiting(ALSO_HERE), raw(HERE), raw(ELSEWHERE))
    source = world.new_input()
    loop = new_loop(world, Disk(), source=source, logic=WaitingLogic)
    async with running(loop):
        await until(lambda: _counted(world, 2), world)
        await world.append(raw(ELSEWHERE), raw(LAST))
        await until(lambda: _counted(world, 3), world)
        assert await counts(world) == {b"a": [1], b"b": [1, 2]}
        assert await position(source) == 1
        assert loop.ready
        await world.append(raw(AWAITED))
        await until(lambda: _counted(world, 7), world)
    assert await counts(world) == {b"a": [1, 2], b"b": [1, 2], b"e": [1], b"q": [1], b"m": [1]}
    assert_books_balance(await ledger(world), 7)
    order = [message.key for message in await world.messages(Topic.OBJECT_DIRECTORY)]
    assert [key for key in order if key != b"b"] == [b"a", b"e", b"a", b"q", b"m"]


async def _counted(world: World, expected: int) -> bool:
    return await total(world) >= expected


async def test_nothing_waits_longer_than_it_says(world: World) -> None:
    """The awaited never comes."""
    by = SystemClock().now() + timedelta(seconds=0.7)
    await world.append(waiting(HERE, by), raw(ALSO_HERE))
    async with running(new_loop(world, Disk(), logic=WaitingLogic)):
        await until(lambda: _counted(world, 2), world)
        assert SystemClock().now() >= by
    assert_books_balance(await ledger(world), 2)


async def test_a_worker_killed_while_a_message_waits_loses_nothing(world: World) -> None:
    """Its successor, with an empty disk, waits on; everything is counted once."""
    await world.append(raw(HERE), waiting(HERE), raw(HERE))
    task = asyncio.create_task(new_loop(world, Disk(), logic=WaitingLogic).run())
    await until(lambda: _counted(world, 1), world)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    source = world.new_input()
    async with running(new_loop(world, Disk(), source=source, logic=WaitingLogic)):
        await world.append(raw(ELSEWHERE))
        await until(lambda: _counted(world, 2), world)
        assert await position(source) == 1
        await world.append(raw(AWAITED))
        await until(lambda: _counted(world, 5), world)
    assert await counts(world) == {b"a": [1, 2, 3], b"b": [1], b"m": [1]}
    assert_books_balance(await ledger(world), 5)


@pytest.mark.exhaustive
async def test_a_worker_that_waits_writes_nothing_again_and_again(world: World) -> None:
    """A look at what still waits is no transaction: the log ends where it ended."""
    await world.append(raw(HERE), waiting(HERE))
    looks = 0

    class Looking(WaitingLogic):
        def look_over(self, messages: Sequence[Message]) -> None:
            nonlocal looks
            looks += 1
            super().look_over(messages)

    async with running(new_loop(world, Disk(), logic=Looking)):
        await until(lambda: looks >= 2, world)
        await until(lambda: _lines(world, 1), world)
        ends = await _ends(world)
        so_far = looks
        await until(lambda: looks >= so_far + 3, world)
        assert await _ends(world) == ends


async def _lines(world: World, expected: int) -> bool:
    found = [line for line in await ledger(world) if line.partition == number_of(HERE)]
    return len(found) >= expected


async def _ends(world: World) -> list[int]:
    topics = (Topic.SOCIAL_EVENTS, Topic.OBJECT_DIRECTORY, Topic.STAGE_LEDGER)
    return [await world.log.end(topic, number) for topic in topics for number in range(4)]
