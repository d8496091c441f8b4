"""Whose turn it is to be polled: pure. Times are monotonic seconds.

Every channel has a time from which it is due. A round that went well is followed by the next after
the manifest's period, or later when the network wished so; one that failed by the back-off; one whose
credential is refused by an hour, because only a person can help.
"""

import heapq
from collections import Counter
from collections.abc import Iterable
from typing import Literal

PARKED_SECONDS = 3600.0
LONGEST_REST = 7 * 86_400.0

State = Literal["fine", "waiting", "parked"]


class Schedule:
    """When each channel is due; a channel whose round runs is not in it.

    Args:
        period: seconds from the start of a round to the start of the next.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._running: set[str] = set()
        self._known: dict[str, State] = {}
        self._counts: Counter[State] = Counter()

    def sync(self, channels: Iterable[str], now: float) -> None:
        """Take up channels that are new, due at once, and forget those that are gone."""
        wanted = dict.fromkeys(channels)
        for name in [name for name in self._known if name not in wanted]:
            self._counts[self._known.pop(name)] -= 1
            self._due.pop(name, None)
        for name in wanted:
            if name not in self._known:
                self._known[name] = "fine"
                self._counts["fine"] += 1
                if name not in self._running:
                    self._enter(name, now)

    def take(self, now: float) -> str | None:
        """Return the channel that is due for the longest, as running; None when none is."""
        while self._heap and self._heap[0][0] <= now:
            due, name = heapq.heappop(self._heap)
            if self._due.get(name) == due:
                del self._due[name]
                self._running.add(name)
                return name
        return None

    def next_due(self) -> float | None:
        """Return when the next channel is due; None when none waits."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def done(self, name: str, began: float, now: float, rest: float = 0.0) -> None:
        """Note a round that went well; the network wished `rest` seconds from now at least."""
        wish = min(LONGEST_REST, max(0.0, rest))
        self._back(name, "fine", max(began + self._period, now + wish))

    def failed(self, name: str, now: float, delay: float) -> None:
        """Note a round that shall be tried again after `delay` seconds."""
        self._back(name, "waiting", now + max(0.0, delay))

    def parked(self, name: str, now: float) -> None:
        """Note a round whose credential was refused."""
        self._back(name, "parked", now + PARKED_SECONDS)

    def count(self, state: State) -> int:
        """Return how many channels are in a state."""
        return self._counts[state]

    def __len__(self) -> int:
        """Return how many channels are known."""
        return len(self._known)

    def _back(self, name: str, state: State, due: float) -> None:
        self._running.discard(name)
        if name in self._known:
            self._counts[self._known[name]] -= 1
            self._counts[state] += 1
            self._known[name] = state
            self._enter(name, due)

    def _enter(self, name: str, due: float) -> None:
        self._due[name] = due
        heapq.heappush(self._heap, (due, name))
