"""Whether a worker moves: since when nothing was committed although messages wait.

A loop that comes round proves little: what it should read may be paused for good, or its batches may
come to nothing. Offsets that stand still while messages wait are what a person would look at.
"""

from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

P = TypeVar("P", bound=Hashable)
"""What names a partition."""

STUCK_SECONDS = 60.0
"""So long may offsets stand still, or the loop not come round: a restart is better then."""


class Standing(NamedTuple):
    """Where a worker stands in one partition.

    Attributes:
        committed: offset.
        waits: whether messages wait there that it could take: not stopped by the brake, not held
            back by a server that is away, none that waits for another message.
    """

    committed: int
    waits: bool


class Progress:
    """Since when each partition stands still although messages wait."""

    def __init__(self) -> None:
        self._since: dict[Hashable, tuple[int, float]] = {}

    def note(self, standing: Mapping[P, Standing], now: float) -> float:
        """Take note of where a worker stands; return for how long the worst partition has stood.

        Args:
            standing: of each partition that it holds.
            now: seconds of a monotonic clock.
        """
        found: dict[Hashable, tuple[int, float]] = {}
        for place, at in standing.items():
            committed, since = self._since.get(place, (at.committed, now))
            stands = at.waits and committed == at.committed
            found[place] = (at.committed, since if stands else now)
        self._since = found
        return max((now - since for _, since in found.values()), default=0.0)
