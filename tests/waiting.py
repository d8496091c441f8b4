"""Waiting in tests: until something holds, within a bound; never for a length of time."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

T = TypeVar("T")


async def until(
    holds: Callable[[], T | Awaitable[T]], *, seconds: float = 10.0, pace: float = 0.001
) -> T:
    """Ask until the answer is anything, and return it.

    What holds may be any condition, also another thread's or a server's: neither sets an event of
    ours.

    Args:
        holds: the question; it may be asked in a thread (`asyncio.to_thread`).
        seconds: after which it never will.
        pace: seconds from one question to the next; more for a server.

    Raises:
        TimeoutError: it did not hold in time.
    """
    async with asyncio.timeout(seconds):
        while True:
            found = holds()
            answer = await found if isawaitable(found) else found
            if answer:
                return answer
            await asyncio.sleep(pace)
