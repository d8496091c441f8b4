"""When a target is told, of what, and what becomes of what cannot be told.

Pure: the notifier asks with what waits for one target, what it was told, and the time. A target is
told one thing at a time, so one batch at most is in the air; what was once begun under a key is
sent under that key until it has found its end.

- Rare things are told at once. From `digest_from` within `digest_window` on they wait for the end
  of the window and go out as one digest, so that a flood is at most `digest_from` messages a window.
  What had to wait for as long for any other reason goes out together too.
- Outside of its calendar a target rests; what came then goes out together at the opening.
- Of each matter only the newest revision counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final, Literal, Protocol, TypeVar

DIGEST_MOST: Final = 40
"""Members of one digest, at most."""
DIGEST_BYTES: Final = 40_000
"""Bytes of their records together, at most; a larger single one goes alone."""
LONGEST_HOLD: Final = timedelta(days=21)
"""What a calendar holds back for longer is given up, well before its topic forgets it."""
STALE: Final = timedelta(days=1)
"""What was over for so long when it came, and never told, is not told any more."""
LONGEST_RETRY_AFTER: Final = 3600.0
"""A receiver's own wish counts up to here, in seconds."""

EndingKind = Literal["told", "over", "nothing_new", "refused", "unreachable"]
"""How a notification ends; see `Notification.outcome`."""


class Hours(Protocol):
    """When a target may be told; `klingel.domain.calendar.Calendar` is one."""

    def is_open(self, at: datetime) -> bool:
        """Whether it may be told at this instant."""
        ...

    def next_open(self, at: datetime) -> datetime:
        """Return the first open instant from `at` on."""
        ...


@dataclass(frozen=True, slots=True)
class Policy:
    """How one target wants to be told.

    Attributes:
        digest_from: from so many within the window on they are one digest.
        window: what counts as at once.
        hours: when it may be told; None always.
        people: whether people read it: they are not told what says nothing new.
        give_up: time after which what cannot be told is given up; quiet time does not count.
    """

    digest_from: int
    window: timedelta
    hours: Hours | None = None
    people: bool = True
    give_up: timedelta = timedelta(days=1)

    def open(self, at: datetime) -> bool:
        """Whether the target may be told now."""
        return self.hours is None or self.hours.is_open(at)

    def opening(self, at: datetime) -> datetime:
        """Return the first instant from `at` on at which it may be told."""
        return at if self.hours is None else self.hours.next_open(at)


class Held(Protocol):
    """What waits for a target."""

    @property
    def matter(self) -> str:
        """Kind and id."""
        ...

    @property
    def revision(self) -> int:
        """Revision of the record."""
        ...

    @property
    def since(self) -> datetime:
        """When it came."""
        ...

    @property
    def size(self) -> int:
        """Bytes of its record."""
        ...


H = TypeVar("H", bound=Held)


@dataclass(frozen=True, slots=True)
class Ending:
    """What a target was told of one matter.

    Attributes:
        revision: newest that has found its end.
        outcome: how.
        gist: of what it was told last; None while it was told nothing.
    """

    revision: int
    outcome: EndingKind
    gist: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Tell the target of the first `count` of what waits, together."""

    count: int


@dataclass(frozen=True, slots=True)
class Rest:
    """Tell nothing before `until`; None while nothing waits."""

    until: datetime | None
    quiet: bool = False


def supersedes(revision: int, ending: Ending | None, *, again: bool = False) -> bool:
    """Whether a revision that comes has yet to find its end.

    Args:
        revision: of what comes.
        ending: what has found its end before.
        again: it is a dead letter that somebody sent back.
    """
    if ending is None or revision > ending.revision:
        return True
    return again and revision == ending.revision and ending.outcome in {"refused", "unreachable"}


def untold(
    ending: Ending | None,
    *,
    gist: str,
    ended_at: datetime | None,
    withdrawn: bool,
    since: datetime,
    people: bool,
) -> EndingKind | None:
    """Return how something ends without being told; None when it is to be told.

    Args:
        ending: what the target was told of the matter.
        gist: of what there is to tell.
        ended_at: when it ended, None while it lasts.
        withdrawn: it is an escalation that is withdrawn or over: nobody has to do anything.
        since: when it came.
        people: whether people read the target.
    """
    if ending is None or ending.gist is None:
        over = ended_at is not None and (withdrawn or since - ended_at > STALE)
        return "over" if over else None
    return "nothing_new" if people and ending.gist == gist else None


def due(
    waiting: Sequence[Held], told_at: Iterable[datetime], policy: Policy, now: datetime
) -> Send | Rest:
    """Decide what a target is told now.

    Args:
        waiting: what waits for it and is to be told, the oldest first.
        told_at: when it was told before; what lies before the window does not matter.
        policy: how it wants to be told.
        now: the time.
    """
    if not waiting:
        return Rest(None)
    if not policy.open(now):
        return Rest(policy.opening(now), quiet=True)
    oldest = waiting[0].since
    if not policy.open(oldest):
        return Send(together(waiting))
    end = oldest + policy.window
    # What has waited for so long goes out together, whatever held it up. And a clock that was set
    # back must not hold anything for longer than the window.
    if now >= end or now < oldest:
        return Send(together(waiting))
    recent = sum(1 for at in told_at if now - policy.window < at <= now)
    if recent + len(waiting) < policy.digest_from:
        return Send(1)
    return Rest(end) if recent else Send(together(waiting))


def together(waiting: Sequence[Held]) -> int:
    """Return how many of the first fit into one digest; 1 at least."""
    size = 0
    for count, each in enumerate(waiting[:DIGEST_MOST]):
        size += each.size
        if size > DIGEST_BYTES:
            return max(1, count)
    return min(len(waiting), DIGEST_MOST)


def given_up(since: datetime, policy: Policy, now: datetime) -> bool:
    """Whether what came at `since` has waited too long to be told."""
    return now - since > LONGEST_HOLD or now - policy.opening(since) > policy.give_up


def in_order(held: Iterable[H]) -> list[H]:
    """Return what waits in the order in which it is told: as it came."""
    return sorted(held, key=lambda each: (each.since, each.matter))


def batch_key(keys: Sequence[str]) -> str:
    """Return the idempotency key of what is told together.

    Args:
        keys: of the members, one at least; their order does not matter.
    """
    if len(keys) == 1:
        return keys[0]
    return f"digest_{blake2b('|'.join(sorted(keys)).encode(), digest_size=16).hexdigest()}"


# ---------------------------------------------------------------------- circuit


@dataclass(frozen=True, slots=True)
class Backoff:
    """How failures space out the attempts.

    Attributes:
        first: seconds after a first failure; they double.
        longest: seconds, at most.
        circuit_after: failures in a row that open the circuit.
        circuit_seconds: least seconds until an open circuit is probed.
    """

    first: float = 1.0
    longest: float = 300.0
    circuit_after: int = 5
    circuit_seconds: float = 30.0

    def pause(self, failures: int, chance: float, retry_after: float | None = None) -> float:
        """Return the seconds until the next attempt.

        Args:
            failures: in a row, 1 or more.
            chance: random number of [0, 1): the pause lies between half of the step and all of it.
            retry_after: what the receiver wishes, in seconds; it is never undercut.
        """
        step = min(self.longest, self.first * 2.0 ** min(failures - 1, 32))
        pause = step / 2 + chance * step / 2
        if failures >= self.circuit_after:
            pause = max(pause, self.circuit_seconds)
        if retry_after is not None:
            pause = max(pause, min(max(0.0, retry_after), LONGEST_RETRY_AFTER))
        return pause


CircuitState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class Circuit:
    """Whether a target may be tried; each target has one of its own.

    Attributes:
        failures: in a row.
        until: no attempt before; None when nothing has failed.
    """

    failures: int = 0
    until: datetime | None = None

    def may_try(self, now: datetime) -> bool:
        """Whether an attempt may be made now; where the circuit was open it is a probe."""
        return self.until is None or now >= self.until

    def failed(
        self, now: datetime, backoff: Backoff, chance: float, retry_after: float | None = None
    ) -> "Circuit":
        """Return the circuit after a failed attempt."""
        failures = self.failures + 1
        pause = backoff.pause(failures, chance, retry_after)
        return replace(self, failures=failures, until=now + timedelta(seconds=pause))

    def answered(self) -> "Circuit":
        """Return the circuit after an answer: a refusal is one too."""
        return Circuit()

    def state(self, now: datetime, backoff: Backoff) -> CircuitState:
        """Return closed, open, or half open: the next attempt decides."""
        if self.failures < backoff.circuit_after:
            return "closed"
        return "half_open" if self.may_try(now) else "open"
