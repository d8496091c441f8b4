"""How servers of feeds are spared: few questions at once to each, none while one wants none.

Thousands of feeds may lie on one server, and each server's word holds for that server alone. Times
are monotonic seconds.
"""

import asyncio
from typing import Final

AT_ONCE: Final = 2
"""Questions under way to one server."""
REFUSED_WAITS: Final = (60.0, 120.0, 240.0, 480.0, 960.0)
"""Seconds after a refusal that names no time, by how often in a row."""
_LONGEST: Final = 86_400.0


class Host:
    """One server.

    Attributes:
        turn: held while it is asked.
    """

    __slots__ = ("_blocked_until", "_refusals", "turn")

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(AT_ONCE)
        self._blocked_until = 0.0
        self._refusals = 0

    def wait(self, now: float) -> float:
        """Return for how many seconds it wants no question; 0 when it takes one."""
        return max(0.0, self._blocked_until - now)

    def answered(self) -> None:
        """Note an answer: a row of refusals is over."""
        self._refusals = 0

    def refused(self, after: float | None, now: float) -> float:
        """Note a refusal; returns the seconds until the next question.

        Args:
            after: seconds that it named; None for none.
            now: time.
        """
        step = REFUSED_WAITS[min(self._refusals, len(REFUSED_WAITS) - 1)]
        self._refusals += 1
        wait = min(_LONGEST, step if after is None else after)
        self._blocked_until = max(self._blocked_until, now + wait)
        return wait
