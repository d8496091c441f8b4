"""What happens to a case because time goes by: warnings, breaches, waking up, raising, forgetting.

A timer fires once: its id derives from the case, and stands in the case once it fired. It fires
when everything that lay in the input at its time has been read; where that takes longer than
`PATIENCE`, it fires provisionally, and later facts correct it. Forgetting, which nothing corrects,
waits however long that takes, and so does letting go of a merged conversation in which nobody says
any more.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from msgspec import Struct, structs

from klingel.config.compiled import CompiledBrand
from klingel.domain.escalation import (
    ClockName,
    clock_timer,
    escalate,
    raise_further,
    raise_timer,
    settle,
    timer_id,
)
from klingel.model.case import Case, Escalated, Fired

PATIENCE = timedelta(seconds=60)
"""How long a timer waits for what may lie before it."""
REMEMBERED = timedelta(days=400)
"""How long a closed case is remembered."""
READ_AGAIN = timedelta(days=8)
"""Up to this age a command may be read anew: the topic keeps it for seven days, and segments."""
MAX_FIRED = 32
_EVER = datetime.min.replace(tzinfo=UTC)

TimerKind = Literal["warned", "breached", "unsnoozed", "raised", "quiet", "forgotten"]
_FOR_GOOD = frozenset({"quiet", "forgotten"})
"""What cannot be corrected waits for all that lies before it."""


class Heard(Protocol):
    """What timers need of a fact."""

    @property
    def at(self) -> datetime:
        """When it was said."""
        ...

    @property
    def received_at(self) -> datetime | None:
        """When klingel received it, where that is another time."""
        ...


class Ordered(Protocol):
    """What timers need of a command that was taken."""

    @property
    def kind(self) -> str:
        """What was wanted."""
        ...

    @property
    def at(self) -> datetime:
        """When it was given."""
        ...

    @property
    def anchor(self) -> str | None:
        """Which case is meant; None for the whole conversation."""
        ...


class Promised(Protocol):
    """What timers need of a clock."""

    @property
    def name(self) -> ClockName:
        """What is promised."""
        ...

    @property
    def state(self) -> str:
        """State as the facts say."""
        ...

    @property
    def started_at(self) -> datetime:
        """The word that started it."""
        ...

    @property
    def deadline(self) -> datetime:
        """When it is breached."""
        ...

    @property
    def warn_at(self) -> datetime | None:
        """When is warned."""
        ...


class Timed(Protocol):
    """What timers need of a record: a `Case`, or as much of it as was read."""

    @property
    def case_id(self) -> str:
        """Id of the case."""
        ...

    @property
    def state(self) -> str:
        """State of the case; `held` for a conversation's own record."""
        ...

    @property
    def facts(self) -> Sequence[Heard]:
        """Its facts."""
        ...

    @property
    def applied(self) -> Sequence[Ordered] | None:
        """Its commands."""
        ...

    @property
    def commands(self) -> Sequence[str] | None:
        """Ids of further commands that are known."""
        ...

    @property
    def updated_at(self) -> datetime | None:
        """When the newest of it was said."""
        ...

    @property
    def closed_at(self) -> datetime | None:
        """When it was closed."""
        ...

    @property
    def snoozed_until(self) -> datetime | None:
        """Until when it is put aside."""
        ...

    @property
    def clocks(self) -> Sequence[Promised] | None:
        """Its clocks."""
        ...

    @property
    def fired(self) -> list[Fired] | None:
        """Timers that fired."""
        ...

    @property
    def escalations(self) -> list[Escalated] | None:
        """Levels that were raised."""
        ...


class Timer(Struct, frozen=True, gc=False):
    """Something that will happen to a case unless something else happens before.

    Attributes:
        due: when.
        kind: what.
        id: 16 hex digits.
        clock: of a warning or a breach.
        level: that is raised further.
    """

    due: datetime
    kind: TimerKind
    id: str
    clock: Promised | None = None
    level: Escalated | None = None


class Firing(Struct, frozen=True, gc=False):
    """What timers made of a case.

    Attributes:
        case: after them; None where it is forgotten.
        fired: in the order of their times.
        provisional: not everything was read that lay before them.
        wakes: whether the case has to be folded anew, since its snooze is over.
    """

    case: Case | None
    fired: tuple[Timer, ...]
    provisional: bool
    wakes: bool


def timers_of(case: Timed, max_open_age: timedelta) -> Iterator[Timer]:
    """Yield the timers of a case that have not fired, in no order.

    Args:
        case: any record of a conversation.
        max_open_age: after which a conversation's own record can matter no more.
    """
    if is_history(case):
        yield from _history_timers(case, max_open_age)
        return
    done = {each.id for each in case.fired or ()}
    yield from _clock_timers(case, done)
    if case.state == "snoozed" and case.snoozed_until is not None:
        identity = timer_id(case.case_id, case.snoozed_until.isoformat(), "unsnoozed")
        if identity not in done:
            yield Timer(case.snoozed_until, "unsnoozed", identity)
    for each in case.escalations or ():
        if each.state == "raised" and each.raise_at is not None and each.next_level is not None:
            identity = raise_timer(case.case_id, each)
            if identity not in done:
                yield Timer(each.raise_at, "raised", identity, level=each)


def _history_timers(case: Timed, max_open_age: timedelta) -> Iterator[Timer]:
    due = _held_until(case, max_open_age)
    if case.state != "held":
        due = None if case.closed_at is None else case.closed_at + REMEMBERED
    if due is not None:
        yield Timer(due, "forgotten", timer_id(case.case_id, "forgotten"))
    if case.state == "merged" and case.closed_at is not None:
        yield from _quiet(case, case.closed_at, max_open_age)


def _quiet(case: Timed, merged_at: datetime, max_open_age: timedelta) -> Iterator[Timer]:
    """Give the timer by which a merged case is heard no more, as one that nobody opens any more.

    Whether it is over where it went on is not known here.
    """
    due = max([merged_at, *(fact.at for fact in case.facts)]) + max_open_age
    if not any(each.kind == "quiet" and each.due >= due for each in case.fired or ()):
        yield Timer(due, "quiet", timer_id(case.case_id, due.isoformat(), "quiet"))


def is_history(case: Timed) -> bool:
    """Whether nothing happens to a record by time alone for which somebody waits."""
    return case.state in _HISTORY


_HISTORY = frozenset({"held", "closed", "merged"})


def _held_until(case: Timed, max_open_age: timedelta) -> datetime | None:
    """Return until when a conversation's own record matters; one that merged it, as its cases."""
    times = [fact.received_at or fact.at for fact in case.facts]
    commands = case.applied or ()
    times += [each.at for each in commands]
    if case.updated_at is not None:
        times.append(case.updated_at)
    if not times:
        return None
    if any(each.kind == "merge" and each.anchor is None for each in commands):
        return max(times) + REMEMBERED
    ordered = bool(commands or case.commands)
    return max(times) + (max(max_open_age, READ_AGAIN) if ordered else max_open_age)


def _clock_timers(case: Timed, done: set[str]) -> Iterator[Timer]:
    for clock in case.clocks or ():
        if clock.state != "running":
            continue
        breach = _clock_timer(case, clock, "breached")
        if breach in done:
            continue
        yield Timer(clock.deadline, "breached", breach, clock=clock)
        if clock.warn_at is not None and clock.warn_at < clock.deadline:
            warning = _clock_timer(case, clock, "warned")
            if warning not in done:
                yield Timer(clock.warn_at, "warned", warning, clock=clock)


def _clock_timer(case: Timed, clock: Promised, kind: str) -> str:
    # Name and start of a clock make the id.
    return clock_timer(case.case_id, clock, kind)  # type: ignore[arg-type]  # it asks no more


def due_at(case: Timed, max_open_age: timedelta) -> datetime | None:
    """Return when the next timer of a case is due."""
    if case.state in {"open", "waiting"} and not case.fired and not case.escalations:
        return _first_due(case)
    return min((timer.due for timer in timers_of(case, max_open_age)), default=None)


def _first_due(case: Timed) -> datetime | None:
    """Return the earliest warning or deadline of a case in which nothing has fired."""
    due: datetime | None = None
    for clock in case.clocks or ():
        if clock.state == "running":
            at = clock.deadline if clock.warn_at is None else min(clock.warn_at, clock.deadline)
            due = at if due is None else min(due, at)
    return due


def fire(
    case: Case,
    now: datetime,
    read_to: datetime | None,
    brand: CompiledBrand,
    reading_since: datetime | None = None,
) -> Firing | None:
    """Fire what is due; None where nothing may fire yet.

    Args:
        case: the case.
        now: the time.
        read_to: of what time everything that lay in the input then has been read.
        brand: whose levels are raised.
        reading_since: since when the input is read; before, nothing can have been waited for.
    """
    ready: list[Timer] = []
    provisional = False
    since = reading_since or _EVER
    for timer in timers_of(case, brand.max_open_age):
        if read_to is not None and timer.due <= read_to:
            ready.append(timer)
        elif timer.kind not in _FOR_GOOD and now - max(timer.due, since) >= PATIENCE:
            ready.append(timer)
            provisional = True
    if not ready:
        return None
    ready.sort(key=lambda timer: (timer.due, timer.kind, timer.id))
    breached = {_key(timer) for timer in ready if timer.kind == "breached"}
    # What is late already is not warned of any more.
    ready = [each for each in ready if each.kind != "warned" or _key(each) not in breached]
    after: Case | None = case
    for timer in ready:
        if timer.kind == "forgotten":
            return Firing(None, (timer,), provisional, wakes=False)
        if after is not None:
            after = _fired(after, timer, now, brand, provisional=provisional)
    wakes = any(timer.kind == "unsnoozed" for timer in ready)
    return Firing(after, tuple(ready), provisional, wakes)


def _key(timer: Timer) -> tuple[str, datetime] | None:
    return None if timer.clock is None else (timer.clock.name, timer.clock.started_at)


def _kept(case: Case) -> list[Fired]:
    """Return the marks of timers that fired, with room for one more.

    What could fire again keeps its mark: a clock that goes on, or may go on when the case is
    reopened, a snooze. Then comes what an escalation stands upon, then what is newest.
    """
    marks = case.fired or []
    excess = len(marks) + 1 - MAX_FIRED
    if excess <= 0:
        return marks
    again = {
        clock_timer(case.case_id, clock, kind)
        for clock in case.clocks or ()
        if clock.state in {"running", "paused"} or clock.name == "resolution"
        for kind in ("warned", "breached")
    }
    snoozes = {
        timer_id(case.case_id, each.until.isoformat(), "unsnoozed")
        for each in case.applied or ()
        if each.until is not None
    }
    standing = {
        each.cause for each in case.escalations or () if each.state in {"raised", "acknowledged"}
    }

    def weight(place: int) -> tuple[bool, bool, bool, int]:
        identity = marks[place].id
        return identity in again, identity in snoozes, identity in standing, place

    gone = set(sorted(range(len(marks)), key=weight)[:excess])
    return [mark for place, mark in enumerate(marks) if place not in gone]


def _fired(
    case: Case, timer: Timer, now: datetime, brand: CompiledBrand, *, provisional: bool
) -> Case:
    if timer.kind == "forgotten":
        return case
    clock = timer.clock.name if timer.clock is not None else None
    mark = Fired(
        id=timer.id,
        kind=timer.kind,
        clock=clock,
        level=timer.level.level if timer.level is not None else None,
        due=timer.due,
        fired_at=now,
        provisional=provisional or None,
    )
    case = settle(structs.replace(case, fired=[*_kept(case), mark]))
    if timer.kind in {"warned", "breached"}:
        reason: Literal["warned", "breached"] = "warned" if timer.kind == "warned" else "breached"
        return escalate(case, reason, timer.id, timer.due, brand, clock)
    if timer.level is not None:
        current = next(each for each in case.escalations or () if each.level == timer.level.level)
        return raise_further(case, current, timer.due, brand)
    return case
