"""Rates: how many objects are due by now. The arithmetic is pure, waiting is the shell's."""

from typing import Final

TICK_SECONDS: Final = 0.02
BURST: Final = 500
"""At most so many objects between two chances for others to run."""


class Pace:
    """Counts what is due at ``rate`` a second from ``started`` (monotonic seconds) on.

    Rate 0 means as fast as possible. After a stall at most one second's worth is caught up at once.
    """

    def __init__(self, rate: float, started: float) -> None:
        self._rate = rate
        self._credit = 0.0
        self._last = started

    def due(self, now: float) -> int:
        """Take what is due: the number of objects to send before asking again."""
        if not self._rate:
            return BURST
        self._credit = min(self._credit + (now - self._last) * self._rate, max(self._rate, 1.0))
        self._last = now
        whole = min(int(self._credit), BURST)
        self._credit -= whole
        return whole

    def pause_seconds(self, taken: int) -> float:
        """How long to wait after ``taken`` objects before asking again."""
        return 0.0 if taken == BURST else TICK_SECONDS
