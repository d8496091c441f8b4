"""Whether a connector, the gateway or the media worker moves: what `/healthz` goes by.

A restart helps only against a process's own standstill. So there are a few signs of one, each with the
time that it may last; and before one counts, Kafka is asked: while it does not answer, waiting for it
is all that can be done. A network that is away, a limit that is waited for, a lease that another one
holds and a channel with nothing new are no signs.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from klingel.clock import Clock
from klingel.metrics import Metric, Metrics
from klingel.stage.progress import STUCK_SECONDS

ROUND_SECONDS = 3600.0
"""So long may a round over a channel go on without a word; one IDLE of e-mail takes half of it."""


class Pulse:
    """When a loop came round last.

    Args:
        clock: time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: float | None = None

    def beat(self) -> None:
        """Say that it came round."""
        self._at = self._clock.monotonic()

    def still(self) -> float:
        """Return the seconds since; 0 before the first time."""
        return 0.0 if self._at is None else max(0.0, self._clock.monotonic() - self._at)


class Sign(NamedTuple):
    """Something by which a standstill is seen.

    Attributes:
        says: what stands still, in a few words.
        seconds: for how long.
        most: seconds that are no standstill yet.
    """

    says: str
    seconds: Callable[[], float]
    most: float = STUCK_SECONDS


class Standstill:
    """Asks all signs.

    Args:
        signs: of this process.
        answers: asks Kafka anything; whether it answered.
        metrics: where the seconds are told.
    """

    def __init__(
        self, signs: Sequence[Sign], answers: Callable[[], Awaitable[bool]], metrics: Metrics
    ) -> None:
        self._signs = list(signs)
        self._answers = answers
        self._metrics = metrics

    def watch(self, signs: Sequence[Sign]) -> None:
        """Ask these too."""
        self._signs += signs

    async def told(self) -> str:
        """Say what stands still; empty while all moves, or Kafka is away."""
        lasting = [(each.seconds(), each) for each in self._signs]
        stuck = [(seconds, each.says) for seconds, each in lasting if seconds > each.most]
        if stuck and not await self._answers():
            stuck = []
        seconds, says = max(stuck, default=(0.0, ""))
        self._metrics.set(Metric.STALLED_SECONDS, seconds)
        return says
