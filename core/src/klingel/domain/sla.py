"""SLA clocks: what was promised, until when, and whether it was kept.

    policies = Policies.compile(brand.sla, brand.calendars, version)
    promise = policies.choose(hits, queue, priority, kind).promise
    clock = clock_of(promise, "first_response", said_at, met_at=answered_at)

A clock is a function of the promise and of facts: when it started, when it stood, when it was met
or called off. Derived again from the same facts, in any order and at any time, it is the same;
only `now`, where it is given, tells of a running one whether it is warned or breached.

The end of the target is the deadline. Met at the deadline is met; not met when it comes, breached.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from itertools import chain
from typing import Final, Literal, NamedTuple, Self

from msgspec import Struct

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
    Calendar,
    CalendarError,
    Interval,
    Path,
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
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        told = (self.policy, self.version, self.calendar, self.first_response_seconds)
        object.__setattr__(self, "_hash", hash(told))

    def __hash__(self) -> int:
        """Return a hash that was made once: every case that is opened asks for it."""
        return self._hash

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
            return min(target, max(1, round(target * self.warn_share)))
        if self.warn_seconds is not None:
            return max(0, target - self.warn_seconds)
        return None

    def stands_in(self, name: ClockName, state: str) -> bool:
        """Whether a clock stands while the case is in this state; only the resolution's does."""
        return name == "resolution" and state in self.pause_when


class Counted(NamedTuple):
    """What a clock counted up to an instant, where the pauses before it are not kept.

    Attributes:
        until: the instant.
        seconds: open seconds until then, without pauses.
        deadline: the deadline, where it was reached by then.
        warn_at: when was warned, where that was reached by then.
    """

    until: datetime
    seconds: int
    deadline: datetime | None = None
    warn_at: datetime | None = None


class Clock(Struct, frozen=True, gc=False):
    """One promise to a customer: when it started, when it ends, how it went.

    Attributes:
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
            Those before `counted` are not among them.
        met_at: when it was met.
        cancelled_at: when it was called off.
        counted_until: until when `business_seconds` counts; None for a clock that was not looked
            at: not ended, and no `now` given.
        state: where it stands; warned and breached only where `now` was given.
        business_seconds: open seconds until it was met, called off, or `now`, without pauses.
        wall_seconds: all seconds until then.
        counted: what was counted before the first of the pauses; None: nothing apart.
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
    counted: Counted | None = None

    @property
    def paused(self) -> bool:
        """Whether it stands."""
        return self.state == "paused"


class Explanation(NamedTuple):
    """The counted intervals of a clock, ascending, touching ones as one.

    Where much was counted before the pauses that are kept, they are those after `Clock.counted`,
    and its seconds are part of either sum; where the deadline was reached by then, there are none up
    to it.

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
    pauses: Collection[Pause] = (),
    met_at: datetime | None = None,
    cancelled_at: datetime | None = None,
    now: datetime | None = None,
    counted: Counted | None = None,
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
        counted: up to an instant before which none of the pauses and no end lies.

    Returns:
        The clock; None where the policy promises nothing of that name.
    """
    target = promise.target(name)
    if target is None:
        return None
    calendar = promise.calendar
    begin, before = (started_at, 0) if counted is None else counted[:2]
    stood = _merged(pauses, begin) if pauses else ()
    deadline = counted.deadline if counted is not None else None
    if deadline is None:
        deadline = _reached(calendar, begin, stood, target - before)
    warned_after = promise.warned_after(target)
    warn_at = None
    if warned_after is not None:
        warn_at = counted.warn_at if counted is not None else None
        if warn_at is None:
            warn_at = _reached(calendar, begin, stood, warned_after - before)
    if met_at is not None and cancelled_at is not None:
        met_at, cancelled_at = (met_at, None) if met_at <= cancelled_at else (None, cancelled_at)
    until = met_at or cancelled_at or now
    business = wall = None
    if until is not None:
        windows = _windows(begin, stood, until) if stood else ((begin, until),)
        business = before + sum([calendar.between(start, end) for start, end in windows])
        wall = max(0, _whole(until) - _whole(started_at))
    counts_from = calendar.next_open(started_at)
    return Clock(
        name,
        promise.policy,
        promise.version,
        target,
        started_at,
        counts_from,
        counts_from != started_at,
        warn_at,
        deadline,
        stood,
        met_at,
        cancelled_at,
        until,
        _state(deadline, warn_at, stood, met_at, cancelled_at, now),
        business,
        wall,
        counted,
    )


def counted_to(
    promise: Promise,
    name: ClockName,
    started_at: datetime,
    pauses: Collection[Pause],
    until: datetime,
    before: Counted | None = None,
) -> Counted | None:
    """Return what a clock counted up to an instant, so that the pauses before it can be let go of.

    Args:
        promise: what was promised.
        name: which clock.
        started_at: when what starts it was said.
        pauses: when it stood; those that ended, ended by that instant.
        until: the instant; where the clock stood then, the begin of that pause counts.
        before: what was counted already, where pauses before that are not among them.

    Returns:
        The count; None where the policy promises nothing of that name.
    """
    stop = min([begin for begin, end in pauses if end is None], default=until)
    stop = min(stop, until)
    if before is not None:
        stop = max(stop, before.until)
    ended = [pause for pause in pauses if pause[1] is not None]
    clock = clock_of(promise, name, started_at, pauses=ended, cancelled_at=stop, counted=before)
    if clock is None:
        return None
    seconds = clock.business_seconds or 0
    warned_after = promise.warned_after(clock.target_seconds)
    is_warned = warned_after is not None and seconds >= warned_after
    return Counted(
        stop,
        seconds,
        clock.deadline if seconds >= clock.target_seconds else None,
        clock.warn_at if is_warned else None,
    )


def explain(clock: Clock, calendar: Calendar) -> Explanation:
    """List what was counted.

    Args:
        clock: any clock.
        calendar: the calendar of its promise.
    """
    to_end: Iterable[Interval] = ()
    begin = clock.started_at if clock.counted is None else clock.counted.until
    if clock.counted_until is not None:
        windows = _windows(begin, clock.pauses, clock.counted_until)
        to_end = chain.from_iterable(calendar.intervals(*window) for window in windows)
    ended = tuple(pause for pause in clock.pauses if pause[1] is not None)
    windows = _windows(begin, ended, max(begin, clock.deadline))
    to_deadline = chain.from_iterable(calendar.intervals(*window) for window in windows)
    return Explanation(tuple(to_deadline), tuple(to_end))


def _merged(pauses: Collection[Pause], started_at: datetime) -> tuple[Pause, ...]:
    """Return the pauses after the start, ascending, none touching another."""
    found: list[Pause] = []
    for begin, end in sorted(pauses, key=lambda pause: pause[0]):
        if end is not None and end <= max(begin, started_at):
            continue
        if not found:
            found.append((max(begin, started_at), end))
            continue
        earlier, until = found[-1]
        if until is None:
            break
        if begin > until:
            found.append((begin, end))
        elif end is None or end > until:
            found[-1] = (earlier, end)
    return tuple(found)


def _windows(
    started_at: datetime, stood: Iterable[Pause], until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Cut the time from the start on until an instant into what lies between the pauses."""
    begin: datetime | None = started_at
    for pause, resumed in stood:
        if begin is None or pause >= until:
            break
        yield begin, pause
        begin = resumed
    if begin is not None:
        yield begin, until


def _reached(
    calendar: Calendar, started_at: datetime, stood: Iterable[Pause], seconds: int
) -> datetime:
    """Return when so much was counted, as if a pause without an end were over at once."""
    begin, left = started_at, seconds
    for pause, resumed in stood:
        counted = calendar.between(begin, pause)
        if resumed is None or counted >= left:
            break
        begin, left = resumed, left - counted
    return calendar.add(begin, left)


def _state(
    deadline: datetime,
    warn_at: datetime | None,
    stood: Sequence[Pause],
    met_at: datetime | None,
    cancelled_at: datetime | None,
    now: datetime | None,
) -> ClockState:
    endless = bool(stood) and stood[-1][1] is None
    final = not endless or stood[-1][0] >= deadline
    if met_at is not None:
        late = final and met_at > deadline and _whole(met_at) > _whole(deadline)
        return "met_late" if late else "met"
    if cancelled_at is not None:
        return "cancelled"
    if now is None:
        return "paused" if endless else "running"
    if final and now >= deadline:
        return "breached"
    if any(begin <= now and (end is None or now < end) for begin, end in stood):
        return "paused"
    return "warned" if warn_at is not None and now >= warn_at else "running"


def _whole(at: datetime) -> int:
    since = at - _REFERENCE
    return since.days * 86_400 + since.seconds


class Policy(NamedTuple):
    """A policy and the cases that it is for.

    Attributes:
        promise: what it promises.
        when: query that an event has to hit; None for every event.
        queues: ids of queues; empty for any.
        priority_from: least priority; None for any.
        kinds: kinds of events; empty for any.
    """

    promise: Promise
    when: str | None
    queues: frozenset[str]
    priority_from: int | None
    kinds: frozenset[str]

    def takes(self, hits: Collection[str], queue: str, priority: int, kind: str) -> bool:
        """Whether a case meets all of its conditions; the arguments are those of `choose`."""
        return (
            (self.when is None or self.promise.policy in hits)
            and (not self.queues or queue in self.queues)
            and (self.priority_from is None or priority >= self.priority_from)
            and (not self.kinds or kind in self.kinds)
        )


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
        for problem in sla_problems(sla, calendars):
            raise CalendarError(*problem)
        known = compile_calendars(calendars)
        first = next(iter(known.values()))
        return cls(
            tuple(
                Policy(
                    promise=_promise(
                        part, first if part.calendar is None else known[part.calendar], version
                    ),
                    when=part.when,
                    queues=frozenset(part.queues),
                    priority_from=part.priority_from,
                    kinds=frozenset(part.kinds),
                )
                for part in sla or DEFAULT_SLA
            )
        )

    @property
    def queries(self) -> tuple[tuple[str, str], ...]:
        """The queries that are asked of events, as (id of the policy, query)."""
        asked = ((policy.promise.policy, policy.when) for policy in self.policies)
        return tuple((name, query) for name, query in asked if query is not None)

    def choose(self, hits: Collection[str], queue: str, priority: int, kind: str) -> Policy:
        """Return the first policy whose conditions a case meets.

        Args:
            hits: ids of the policies whose `when` the event hits.
            queue: queue of the case.
            priority: priority of the case.
            kind: kind of the event that opens it.
        """
        for policy in self.policies[:-1]:
            if policy.takes(hits, queue, priority, kind):
                return policy
        return self.policies[-1]


def compile_calendars(calendars: Sequence[BusinessCalendar]) -> dict[str, Calendar]:
    """Return a brand's calendars by id, in their order, and the one that is always open.

    A brand that declares none has `DEFAULT_CALENDAR`.

    Raises:
        CalendarError: one has no meaning.
    """
    known = {part.id: Calendar.compile(part) for part in calendars or (DEFAULT_CALENDAR,)}
    return {**known, ALWAYS: Calendar.compile(ALWAYS_OPEN)}


def _promise(part: SlaPolicy, calendar: Calendar, version: str) -> Promise:
    share = part.warn_at if isinstance(part.warn_at, float) else None
    return Promise(
        policy=part.id,
        version=version,
        calendar=calendar,
        first_response_seconds=_target(part.first_response),
        next_response_seconds=_target(part.next_response),
        resolution_seconds=_target(part.resolution),
        warn_share=share,
        warn_seconds=seconds_of(part.warn_at) if isinstance(part.warn_at, str) else None,
        pause_when=part.pause_when,
    )


def _target(duration: str | None) -> int | None:
    return None if duration is None else seconds_of(duration)


def sla_problems(
    sla: Sequence[SlaPolicy],
    calendars: Sequence[BusinessCalendar],
    queues: Collection[str] | None = None,
) -> list[Problem]:
    """Return all that is wrong with a brand's calendars and policies, apart from the queries.

    Which policies nothing ever reaches is told by `klingel.config.reachable`.

    Args:
        sla: the policies in their order; none is fine.
        calendars: the calendars; none is fine.
        queues: ids of the brand's queues; None where they were checked before.

    Returns:
        Problems with their paths from the brand on, such as ("sla", 0, "calendar").
    """
    problems: list[Problem] = []
    seen: set[str] = set()
    compiled: dict[str, Calendar | None] = {ALWAYS: Calendar.compile(ALWAYS_OPEN)}
    for place, part in enumerate(calendars):
        path: Path = ("calendars", place)
        found = calendar_problems(part)
        problems += (Problem((*path, *inner), sentence) for inner, sentence in found)
        if part.id == ALWAYS:
            sentence = f"'{ALWAYS}' is built in and open day and night; name yours otherwise"
            problems.append(Problem((*path, "id"), sentence))
            continue
        if part.id in compiled:
            problems.append(Problem((*path, "id"), _TWICE.format(part.id)))
        compiled.setdefault(part.id, None if found else Calendar.compile(part))
    if not calendars:
        compiled[DEFAULT_CALENDAR.id] = Calendar.compile(DEFAULT_CALENDAR)
    default = calendars[0].id if calendars else DEFAULT_CALENDAR.id
    for place, policy in enumerate(sla):
        path = ("sla", place)
        if policy.id in seen:
            problems.append(Problem((*path, "id"), _TWICE.format(policy.id)))
        seen.add(policy.id)
        for inner, sentence in chain(
            _reference_problems(policy, compiled, queues),
            _target_problems(policy, compiled.get(policy.calendar or default)),
        ):
            problems.append(Problem((*path, *inner), sentence))
    if sla and _conditions(sla[-1]):
        sentence = (
            f"the last policy has to take every case; leave out {_listed(_conditions(sla[-1]))}, "
            "or add a policy without conditions below"
        )
        problems.append(Problem(("sla", len(sla) - 1), sentence))
    return problems


_TWICE: Final = "'{}' stands twice; each needs an id of its own"


def _reference_problems(
    policy: SlaPolicy, calendars: Collection[str], queues: Collection[str] | None
) -> Iterator[Problem]:
    if policy.calendar is not None and policy.calendar not in calendars:
        sentence = f"there is no calendar '{policy.calendar}'; {_near(policy.calendar, calendars)}"
        yield Problem(("calendar",), sentence)
    for place, queue in enumerate(policy.queues):
        if queues is not None and queue not in queues:
            sentence = f"there is no queue '{queue}'; {_near(queue, queues)}"
            yield Problem(("queues", place), sentence)


def _target_problems(policy: SlaPolicy, calendar: Calendar | None) -> Iterator[Problem]:
    """Check targets against the warning and the calendar; None where that is wrong itself."""
    written = {
        "first_response": policy.first_response,
        "next_response": policy.next_response,
        "resolution": policy.resolution,
    }
    targets = {name: text for name, text in written.items() if text is not None}
    if not targets:
        yield Problem((), f"it promises nothing; add {_listed(CLOCK_NAMES, 'or')}")
    if policy.pause_when and policy.resolution is None:
        sentence = "only the resolution clock stands; add `resolution:`, or leave this out"
        yield Problem(("pause_when",), sentence)
    for name, text in targets.items():
        if isinstance(policy.warn_at, str) and seconds_of(policy.warn_at) >= seconds_of(text):
            sentence = f"'{policy.warn_at}' before the deadline is before `{name}: {text}` begins"
            yield Problem(("warn_at",), f"{sentence}; write a shorter time, or a share")
            break
    for name, text in targets.items():
        if calendar is None:
            break
        if calendar.add(_REFERENCE, seconds_of(text)) - _REFERENCE > FURTHEST:
            sentence = (
                f"'{text}' of open time take the calendar '{calendar.id}' more than "
                f"{FURTHEST.days} days; a day here is 24 open hours: write a shorter time"
            )
            yield Problem((name,), sentence)


def _conditions(policy: SlaPolicy) -> list[str]:
    names = ("when", "queues", "priority_from", "kinds")
    return [name for name in names if getattr(policy, name)]


def _listed(names: Iterable[str], last: str = "and") -> str:
    shown = [f"`{name}:`" for name in names]
    return f" {last} ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _near(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"did you mean '{near[0]}'?" if near else f"known are {', '.join([*known][:20])}"
