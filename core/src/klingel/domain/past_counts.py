"""What a brand's history comes to: counts of an import or a backfill, from which is learned what is usual.

    past.add([("", "volume")], interval, voice, now)   # on every row of history, in any order
    if past.settled(now):                              # nothing more comes
        earliest, counts = past.before(first)

History arrives within minutes, oldest or newest first, while live posts go on. Its counts are
gathered by the interval in which they were said, an author once an interval, and walked through by
the detector when nothing more has come for a while.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, Generic, Self, TypeVar

SETTLED_SECONDS: Final = 600.0
"""So long after its last row history is taken as complete."""

_INTERVALS: Final = 16
_VOICES: Final = 512
_MOST = 0xFFFF_FFFF

K = TypeVar("K", bound=Hashable)


class PastCounts(Generic[K]):
    """Counts of history by series and interval; bounded by the series and intervals that are told.

    Attributes:
        counts: posts by series and interval.
        heard_at: the reader's clock at the last row; 0 before the first.
    """

    __slots__ = ("_voices", "counts", "heard_at")

    def __init__(self) -> None:
        self.counts: dict[K, dict[int, int]] = {}
        self.heard_at = 0.0
        # Imports go through time in one direction or the other: few intervals are under way at once.
        self._voices: OrderedDict[int, set[int]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self.counts)

    def add(self, keys: Iterable[K], interval: int, voice: int, now: float) -> None:
        """Count a post of history in its series, unless its author spoke in this interval.

        Args:
            keys: series that it counts in.
            interval: when it was said.
            voice: 64-bit hash of the author and of what tells the series apart.
            now: the reader's clock, seconds since 1970.
        """
        self.heard_at = max(self.heard_at, now)
        voices = self._voices.get(interval)
        if voices is None:
            voices = self._voices[interval] = set()
            if len(self._voices) > _INTERVALS:
                self._voices.popitem(last=False)
        if voice in voices:
            return
        if len(voices) < _VOICES:
            voices.add(voice)
        for key in keys:
            counts = self.counts.setdefault(key, {})
            counts[interval] = min(counts.get(interval, 0) + 1, _MOST)

    def settled(self, now: float) -> bool:
        """Whether there is something to learn, and nothing more has come for a while."""
        return bool(self.counts) and now - self.heard_at >= SETTLED_SECONDS

    def before(self, first: int) -> tuple[int, Mapping[K, Mapping[int, int]]] | None:
        """Return the earliest interval and the counts of all before `first`; None if there are none."""
        found = {
            key: {at: count for at, count in counts.items() if at < first}
            for key, counts in self.counts.items()
        }
        earliest = min((at for counts in found.values() for at in counts), default=None)
        return None if earliest is None else (earliest, found)

    def to_plain(self) -> list[Any]:
        """Return the content for JSON; intervals as steps, which are small numbers."""
        counts = []
        for key, of in self.counts.items():
            told = sorted(of)
            steps = [later - earlier for earlier, later in pairwise([0, *told])]
            counts.append([key, steps, [of[at] for at in told]])
        voices = [[at, [f"{each:x}" for each in sorted(of)]] for at, of in self._voices.items()]
        return [self.heard_at, counts, voices]

    @classmethod
    def from_plain(cls, plain: Sequence[Any], key_of: Callable[[Any], K]) -> Self:
        """Return what `to_plain` has written.

        Args:
            plain: see there.
            key_of: makes a series' key of what became of it.
        """
        made = cls()
        made.heard_at, counts, voices = plain
        for key, steps, numbers in counts:
            made.counts[key_of(key)] = dict(zip(accumulate(steps), numbers, strict=True))
        for at, each in voices:
            made._voices[at] = {int(voice, 16) for voice in each}
        return made
