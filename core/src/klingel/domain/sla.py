"""SLA clocks: what was promised, until when, and whether it was kept.

    policies = Policies.compile(brand.sla, brand.calendars, version)
    promise = policies.choose(hits, queue, priority, kind).promise
    clock = clock_of(promise, "first_response", said_at, met_at=answered_at)

A clock is a function of the promise and of facts: when it started, when it stood, when it was met
or called off. Derived again from the same facts, in any order and at any time, it is the same;
only `now`, where it is given, tells of a running one whether it is warned or breached.

The end of the target is the deadline. Met at the deadline is met; not met when it comes, breached.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from itertools import chain
from typing import Final, Literal, NamedTuple, Self

from klingel.config.calendars import (
    ALWAYS,
    DEFAULT_CALENDAR,
    DEFAULT_SLA,
    BusinessCalendar,
    SlaPolicy,
    seconds_of,
)
from klingel.domain.calendar import (
    ALWAYS_OPEN,
    END,
    Calendar,
    CalendarError,
    Interval,
    Problem,
    calendar_problems,
)

ClockName = Literal["first_response", "next_response", "resolution"]
CLOCK_NAMES: Final[tuple[ClockName, ...]] = ("first_response", "next_response", "resolution")
ClockState = Literal["running", "warned", "breached", "met", "met_late", "paused", "cancelled"]
FURTHEST: Final = timedelta(days=3 * 365)
"""A target that takes its calendar longer than this is refused."""
_REFERENCE: Final = datetime(2026, 1, 1, tzinfo=UTC)

Pause = tuple[datetime, datetime | None]
"""From when a clock stood, and until when; None while it still stands."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a policy promised when a clock started; all that the clock needs of it.

    Args:
        policy: id of the policy.
        version: of the configuration that it was part of.
        calendar: whose open time counts.
        first_response_seconds: target of the first answer; None where nothing is promised.
        next_response_seconds: target of the answer to each later word.
        resolution_seconds: target of the closing.
        warn_share: share of the target after which is warned; None where `warn_seconds` says it.
        warn_seconds: open seconds before the deadline at which is warned.
        pause_when: states of the case in which the resolution clock stands.
    """

    policy: str
    version: str
    calendar: Calendar
    first_response_seconds: int | None = None
    next_response_seconds: int | None = None
    resolution_seconds: int | None = None
    warn_share: float | None = None
    warn_seconds: int | None = None
    pause_when: tuple[str, ...] = ()

    def target(self, name: ClockName) -> int | None:
        """Return the target of a clock in open seconds; None where there is no such clock."""
        if name == "first_response":
            return self.first_response_seconds
        if name == "next_response":
            return self.next_response_seconds
        return self.resolution_seconds

    def warned_after(self, target: int) -> int | None:
        """Return after how many open seconds is warned; None where never before the deadline."""
        if self.warn_share is not None:
            return min(target, round(target * self.warn_share))
        if self.warn_seconds is not None:
            return max(0, target - self.warn_seconds)
        return None

    def stands_in(self, name: ClockName, state: str) -> bool:
        """Whether a clock stands while the case is in this state; only the resolution's does."""
        return name == "resolution" and state in self.pause_when


@dataclass(frozen=True, slots=True)
class Clock:
    """One promise to a customer: when it started, when it ends, how it went.

    Args:
        name: what is promised.
        policy: id of the policy.
        version: of the configuration that the policy was part of.
        target_seconds: open seconds promised.
        started_at: what it starts from was said.
        counts_from: first instant that can count: the opening where it started out of hours.
        out_of_hours: it started while the calendar was closed.
        warn_at: when is warned; None where the policy never warns.
        deadline: when it is breached. While a pause has no end: the earliest that it can be, as if
            the pause were over at once; it moves with each open second that the clock stands.
        pauses: when it stood, merged, ascending; the end of the last may be None.
        met_at: when it was met.
        cancelled_at: when it was called off.
        counted_until: until when `business_seconds` counts; None for a clock that was not looked
            at: not ended, and no `now` given.
        state: where it stands; warned and breached only where `now` was given.
        business_seconds: open seconds until it was met, called off, or `now`, without pauses.
        wall_seconds: all seconds until then.
    """

    name: ClockName
    policy: str
    version: str
    target_seconds: int
    started_at: datetime
    counts_from: datetime
    out_of_hours: bool
    warn_at: datetime | None
    deadline: datetime
    pauses: tuple[Pause, ...]
    met_at: datetime | None
    cancelled_at: datetime | None
    counted_until: datetime | None
    state: ClockState
    business_seconds: int | None
    wall_seconds: int | None

    @property
    def paused(self) -> bool:
        """Whether it stands."""
        return self.state == "paused"


class Explanation(NamedTuple):
    """The counted intervals of a clock, ascending, touching ones as one.

    Attributes:
        to_deadline: up to the deadline; their seconds add up to the target.
        to_end: up to `Clock.counted_until`; they add up to `Clock.business_seconds`.
    """

    to_deadline: tuple[Interval, ...]
    to_end: tuple[Interval, ...]


def clock_of(
    promise: Promise,
    name: ClockName,
    started_at: datetime,
    *,
    pauses: Iterable[Pause] = (),
    met_at: datetime | None = None,
    cancelled_at: datetime | None = None,
    now: datetime | None = None,
) -> Clock | None:
    """Derive a clock from its facts.

    Args:
        promise: what was promised when it started.
        name: which clock.
        started_at: when what starts it was said.
        pauses: when it stood, in any order, overlapping or not.
        met_at: when it was met; before the start counts as at the start.
        cancelled_at: when it was called off; what is met before or then is met.
        now: to tell warned and breached from running; None: the state that the facts give.

    Returns:
        The clock; None where the policy promises nothing of that name.
    """
    raise NotImplementedError


def explain(clock: Clock, calendar: Calendar) -> Explanation:
    """List what was counted.

    Args:
        clock: any clock.
        calendar: the calendar of its promise.
    """
    raise NotImplementedError


class Policy(NamedTuple):
    """A policy and the cases that it is for.

    Attributes:
        promise: what it promises.
        when: query that an event has to hit; None for every event.
        queues: ids of queues; empty for any.
        priority_from: least priority.
        kinds: kinds of events; empty for any.
    """

    promise: Promise
    when: str | None
    queues: frozenset[str]
    priority_from: int
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class Policies:
    """The ordered policies of a brand; the last is for every case.

    Args:
        policies: in their order.
    """

    policies: tuple[Policy, ...]

    @classmethod
    def compile(
        cls, sla: Sequence[SlaPolicy], calendars: Sequence[BusinessCalendar], version: str
    ) -> Self:
        """Compile a brand's policies; one that declares none has `DEFAULT_SLA`.

        Args:
            sla: the policies in their order.
            calendars: the brand's calendars; the first is that of policies that name none.
            version: of the configuration.

        Raises:
            CalendarError: something has no meaning; the first of `sla_problems`.
        """
        raise NotImplementedError

    def choose(self, hits: Collection[str], queue: str, priority: int, kind: str) -> Policy:
        """Return the first policy whose conditions a case meets.

        Args:
            hits: ids of the policies whose `when` the event hits.
            queue: queue of the case.
            priority: priority of the case.
            kind: kind of the event that opens it.
        """
        raise NotImplementedError


def sla_problems(
    sla: Sequence[SlaPolicy], calendars: Sequence[BusinessCalendar], queues: Collection[str]
) -> list[Problem]:
    """Return all that is wrong with a brand's calendars and policies, apart from the queries.

    Args:
        sla: the policies in their order; none is fine.
        calendars: the calendars.
        queues: ids of the brand's queues.

    Returns:
        Problems with their paths from the brand on: ("sla", 0, "calendar").
    """
    raise NotImplementedError
