"""Leave to call: buckets from response headers, turns among channels, waits after a 429 (K9). Pure.

Times are monotonic seconds. A bucket knows what the network said last: how many calls are left until
when. Of two answers of one window the smaller number counts, because answers may overtake each other;
what was asked for and not yet answered is already taken off. A bucket of which nothing was said lets
everything pass.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from klingel_networks.arrival import Quota

REFUSED_WAITS = (60.0, 120.0, 240.0, 480.0, 960.0)
"""Seconds after a 429 that names no time, by how often in a row; X publishes the first step."""

LONGEST_WAIT = 86_400.0
_UNKNOWN_WINDOW = 60.0
_SAME_WINDOW = 2.0
"""Seconds by which two tellings of one reset may differ: the network rounds, and answers travel."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is known of one limit.

    Attributes:
        left: calls until the reset; None when nothing is known.
        limit: calls a window; None when not told.
        resets_at: end of the window; None when not told.
        blocked_until: no call before, after a 429.
        refusals: 429s in a row.
    """

    left: int | None = None
    limit: int | None = None
    resets_at: float | None = None
    blocked_until: float = 0.0
    refusals: int = 0


def ask(bucket: Bucket, now: float) -> tuple[Bucket, float]:
    """Take one call; returns the bucket after it and 0, or the same bucket and seconds to wait.

    Asked again after exactly this wait, the call is granted, unless the network said something new.
    """
    if now < bucket.blocked_until:
        return bucket, bucket.blocked_until - now
    if bucket.left is None:
        return bucket, 0.0
    if bucket.resets_at is not None and now >= bucket.resets_at:
        # A new window; how long it is, the next answer tells.
        left = None if bucket.limit is None else max(0, bucket.limit - 1)
        return replace(bucket, left=left, resets_at=None), 0.0
    if bucket.left > 0:
        return replace(bucket, left=bucket.left - 1), 0.0
    if bucket.resets_at is None:
        until = now + _UNKNOWN_WINDOW
        return replace(bucket, resets_at=until), until - now
    return bucket, bucket.resets_at - now


def heard(bucket: Bucket, quota: Quota, now: float) -> Bucket:
    """Take the network's word. It ends a row of refusals, and never lifts a block."""
    remaining = max(0, quota.remaining)
    resets_at = None
    if quota.resets_in is not None and math.isfinite(quota.resets_in):
        resets_at = now + min(LONGEST_WAIT, max(0.0, quota.resets_in))
    same = (
        bucket.left is not None
        and bucket.resets_at is not None
        and now < bucket.resets_at
        and (resets_at is None or abs(resets_at - bucket.resets_at) <= _SAME_WINDOW)
    )
    left = min(remaining, bucket.left) if same and bucket.left is not None else remaining
    limit = bucket.limit if quota.limit is None else max(0, quota.limit)
    return Bucket(
        left=left,
        limit=limit,
        resets_at=bucket.resets_at if same else resets_at,
        blocked_until=bucket.blocked_until,
        refusals=0,
    )


def refused(bucket: Bucket, retry_after: float | None, now: float) -> tuple[Bucket, float]:
    """Take a 429; returns the bucket after it and the seconds in which nothing may be asked.

    The network's own word counts; without one the end of the window, if it is known; without that
    the table, longer with each refusal in a row.
    """
    if retry_after is not None and math.isfinite(retry_after):
        wait = min(LONGEST_WAIT, max(1.0, retry_after))
    elif bucket.resets_at is not None and bucket.resets_at > now:
        wait = max(1.0, bucket.resets_at - now)
    else:
        wait = REFUSED_WAITS[min(bucket.refusals, len(REFUSED_WAITS) - 1)]
    until = max(bucket.blocked_until, now + wait)
    after = Bucket(
        left=None,
        limit=bucket.limit,
        resets_at=None,
        blocked_until=until,
        refusals=bucket.refusals + 1,
    )
    return after, until - now


class Turns(Generic[T]):
    """Who is next when several channels wait for one bucket: each in turn, none twice before all.

    A queue a channel; the channels take turns. A channel that asks a thousand times at once waits no
    shorter than one that asks once.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[T]] = {}

    def enter(self, channel: str, who: T) -> None:
        """Stand behind the others of the channel; a new channel behind the other channels."""
        self._waiting.setdefault(channel, deque()).append(who)

    def next(self) -> T | None:
        """Return who is next and take them out; None when nobody waits."""
        if not self._waiting:
            return None
        channel = next(iter(self._waiting))
        queue = self._waiting.pop(channel)
        who = queue.popleft()
        if queue:
            self._waiting[channel] = queue
        return who

    def leave(self, channel: str, who: T) -> None:
        """Take one out who waits no longer."""
        queue = self._waiting.get(channel)
        if queue is not None and who in queue:
            queue.remove(who)
            if not queue:
                del self._waiting[channel]

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def channels(self) -> Sequence[str]:
        """Channels that wait, in the order of their turns."""
        return tuple(self._waiting)
