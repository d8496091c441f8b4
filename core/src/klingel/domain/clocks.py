"""The clocks of a case: its waits and its resolution, each held against what it was promised.

What was promised lies in the case itself (`Case.terms`), since policies and calendars may change
while a clock runs. The same facts give the same clocks.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

import msgspec
from msgspec import structs

from klingel.domain.calendar import Calendar
from klingel.domain.identity import hash64
from klingel.domain.sla import (
    Clock,
    ClockName,
    Counted,
    Pause,
    Promise,
    clock_of,
    counted_to,
)
from klingel.domain.waiting import Wait, Waiting
from klingel.model.case import Case, Terms, Turns
from klingel.model.case import Clock as CaseClock
from klingel.model.case import Counted as CaseCounted
from klingel.model.case import Pause as Span

CloseWhen = Literal["never", "answered"]
TURNS_SHOWN = 8
"""Clocks of further responses that a case shows; the sums hold all."""
PAUSES_SHOWN = 64
"""Newest pauses of a clock that a case holds; what was counted before them is a sum."""
_FIRSTS_SHOWN = 2
_SHOWN: dict[ClockName, int] = {"first_response": _FIRSTS_SHOWN, "next_response": TURNS_SHOWN}


class Clocks(NamedTuple):
    """What the clocks of a case say.

    Attributes:
        shown: first responses, the newest turns, the resolution.
        turns: sums over the further responses that were given; None where there was none.
        due_at: earliest deadline of a clock that runs.
        every: all that are not folded away, shown or not.
    """

    shown: list[CaseClock]
    turns: Turns | None
    due_at: datetime | None
    every: tuple[CaseClock, ...]


class Folded(Protocol):
    """What the clocks need of a case that is folded."""

    @property
    def opened_at(self) -> datetime:
        """When the case was opened."""
        ...

    @property
    def closed_at(self) -> datetime | None:
        """When it was closed, if it is."""
        ...

    @property
    def closed_because(self) -> str | None:
        """Why it was closed."""
        ...

    @property
    def waiting(self) -> Waiting:
        """Who waited for what."""
        ...


class Promises:
    """What was promised to the cases of one conversation, by key.

    Args:
        terms: as the cases hold them.
    """

    def __init__(self, terms: dict[str, Terms]) -> None:
        self.terms = terms
        self._read: dict[str, Promise | None] = {}

    def get(self, key: str | None) -> Promise | None:
        """Return a promise; None where nothing was promised."""
        if key is None:
            return None
        if key not in self._read:
            terms = self.terms.get(key)
            self._read[key] = None if terms is None else _promise_of(terms)
        return self._read[key]


@lru_cache(maxsize=4096)
def terms_of(
    promise: Promise,
    *,
    close_when: CloseWhen,
    reopen_within_seconds: int,
    utterance_seconds: int,
) -> tuple[str, Terms]:
    """Return what a case keeps of the policies at its opening, with its key.

    Args:
        promise: of the policy that fits.
        close_when: whether an answer closes the case.
        reopen_within_seconds: a word after the closing reopens within this.
        utterance_seconds: posts of one author within this are one utterance.
    """
    terms = Terms(
        policy=promise.policy,
        version=promise.version,
        calendar=promise.calendar.content,
        first_response_seconds=promise.first_response_seconds,
        next_response_seconds=promise.next_response_seconds,
        resolution_seconds=promise.resolution_seconds,
        warn_share=promise.warn_share,
        warn_seconds=promise.warn_seconds,
        pause_when=[*promise.pause_when] or None,  # type: ignore[list-item]  # the policy's own set
        close_when=close_when,
        reopen_within_seconds=reopen_within_seconds,
        utterance_seconds=utterance_seconds or None,
    )
    # The same promise under another configuration is the same: a case keeps it once.
    content = structs.replace(terms, version="")
    return hash64(_encoded(content).decode()), terms


def _encoded(terms: Terms) -> bytes:
    return msgspec.json.encode(terms)


def _promise_of(terms: Terms) -> Promise | None:
    return _promise(
        terms.policy,
        terms.version,
        terms.calendar,
        terms.first_response_seconds,
        terms.next_response_seconds,
        terms.resolution_seconds,
        terms.warn_share,
        terms.warn_seconds,
        tuple(terms.pause_when or ()),
    )


@lru_cache(maxsize=4096)
def _promise(
    policy: str,
    version: str,
    content: str,
    first_response: int | None,
    next_response: int | None,
    resolution: int | None,
    warn_share: float | None,
    warn_seconds: int | None,
    pause_when: tuple[str, ...],
) -> Promise | None:
    try:
        calendar = Calendar.of(content)
    except ValueError:  # its zone is not known on this machine: the case goes on without clocks
        return None
    return Promise(
        policy=policy,
        version=version,
        calendar=calendar,
        first_response_seconds=first_response,
        next_response_seconds=next_response,
        resolution_seconds=resolution,
        warn_share=warn_share,
        warn_seconds=warn_seconds,
        pause_when=pause_when,
    )


def clocks_of(
    case: Folded,
    terms: str | None,
    promises: Promises,
    before: Turns | None,
    known: Iterable[CaseClock] | None = None,
) -> Clocks:
    """Derive the clocks of a case.

    Args:
        case: as it was folded.
        terms: key of what its opening was promised.
        promises: of its conversation.
        before: sums over turns that are folded away.
        known: clocks of the same case that were derived before: what tells an answer's clock lies
            in it, so one whose wait is as it was is taken over.
    """
    derived = {_wait_key(clock): clock for clock in known or ()}
    firsts: list[CaseClock] = []
    further: list[CaseClock] = []
    for wait in case.waiting.waits:
        clock = derived.get((wait.name, wait.terms, wait.started_at, wait.met_at, wait.ended_at))
        if clock is None or promises.get(wait.terms) is None:
            clock = _answer_clock(wait, promises)
        if clock is not None:
            (firsts if wait.name == "first_response" else further).append(clock)
    shown = [*firsts[-_FIRSTS_SHOWN:], *further[-TURNS_SHOWN:]]
    every = [*firsts, *further]
    resolution = _resolution(case, terms, promises)
    if resolution is not None:
        shown.append(resolution)
        every.append(resolution)
    due = [clock.deadline for clock in shown if clock.state == "running"]
    turns = turns_of(further, before) if further else before
    return Clocks(shown, turns, min(due, default=None), tuple(every))


def may_be_hidden(case: Case, name: ClockName, due: datetime) -> bool:
    """Whether a clock that a case does not show may be one that ended after a time.

    Args:
        case: with the clocks that it shows.
        name: of the clock.
        due: the time. What is not shown ended before any of its name that is shown began.
    """
    if case.closed_because == "withdrawn":
        return False
    if case.state == "merged":
        return True
    limit = _SHOWN.get(name)
    shown = [clock.started_at for clock in case.clocks or () if clock.name == name]
    if limit is not None and len(shown) >= limit and due <= min(shown):
        return True
    return is_folded(case, due)


def is_folded(case: Case, at: datetime) -> bool:
    """Whether what a case knew of a time is folded into its summary."""
    return case.summary is not None and at <= case.summary.last_at


def _wait_key(clock: CaseClock) -> tuple[object, ...]:
    return clock.name, clock.terms, clock.started_at, clock.met_at, clock.ended_at


def _answer_clock(wait: Wait, promises: Promises) -> CaseClock | None:
    promise = promises.get(wait.terms)
    if promise is None or wait.terms is None:
        return None
    clock = clock_of(
        promise, wait.name, wait.started_at, met_at=wait.met_at, cancelled_at=wait.ended_at
    )
    return None if clock is None else _shown(clock, wait.terms, promise)


def _resolution(case: Folded, terms: str | None, promises: Promises) -> CaseClock | None:
    promise = promises.get(terms)
    if promise is None or terms is None or promise.resolution_seconds is None:
        return None
    pauses = [*_stood(case.waiting, promise)]
    pauses += [span for span in case.waiting.closed if span[1] is not None]
    before = case.waiting.before
    counted = _read(before.counted) if before is not None else None
    closed_at = case.closed_at
    was_kept = case.closed_because in {"answered", "command"}
    clock = clock_of(
        promise,
        "resolution",
        case.opened_at,
        pauses=pauses,
        met_at=closed_at if was_kept else None,
        cancelled_at=None if was_kept else closed_at,
        counted=counted,
    )
    return None if clock is None else _shown(clock, terms, promise)


def _stood(waiting: Waiting, promise: Promise) -> Iterator[Pause]:
    """Give the spans in which the resolution clock of an open case stood."""
    if promise.stands_in("resolution", "waiting"):
        yield from waiting.idle
    if promise.stands_in("resolution", "snoozed"):
        yield from waiting.snoozed


def resolution_counted(
    waiting: Waiting, terms: str | None, promises: Promises, until: datetime
) -> CaseCounted | None:
    """Return what the resolution clock of a case counted until its facts are folded away.

    Args:
        waiting: of the case, also after that.
        terms: key of what its opening was promised.
        promises: of its conversation.
        until: when the newest of them was said.
    """
    promise = promises.get(terms)
    if promise is None:
        return None
    before = waiting.before
    counted = counted_to(
        promise,
        "resolution",
        waiting.opened_at,
        [*_until([*_stood(waiting, promise), *waiting.closed], until)],
        until,
        _read(before.counted) if before is not None else None,
    )
    return _written(counted)


def _until(pauses: Iterable[Pause], until: datetime) -> Iterator[Pause]:
    """Give the pauses as they were known at an instant."""
    for begin, end in pauses:
        if begin < until:
            yield begin, end if end is not None and end <= until else None


def _read(counted: CaseCounted | None) -> Counted | None:
    if counted is None:
        return None
    return Counted(counted.until, counted.seconds, counted.deadline, counted.warn_at)


def _written(counted: Counted | None) -> CaseCounted | None:
    return None if counted is None else CaseCounted(**counted._asdict())


def turns_of(clocks: Iterable[CaseClock], before: Turns | None) -> Turns | None:
    """Sum up the further responses that were given.

    Args:
        clocks: of further responses, in any order; those that were not met count for nothing.
        before: sums to go on from.
    """
    given = [clock for clock in clocks if clock.met_at is not None]
    if not given:
        return before
    start = before or Turns(count=0)
    counted = [clock.business_seconds or 0.0 for clock in given]
    return Turns(
        count=start.count + len(given),
        late=(start.late or 0) + sum(clock.state == "met_late" for clock in given),
        business_seconds=(start.business_seconds or 0.0) + sum(counted),
        wall_seconds=(start.wall_seconds or 0.0)
        + sum(clock.wall_seconds or 0.0 for clock in given),
        longest_seconds=max(start.longest_seconds or 0.0, *counted),
    )


def further_clocks(waiting: Waiting, promises: Promises) -> list[CaseClock]:
    """Return the clocks of all further responses."""
    waits = (wait for wait in waiting.waits if wait.name == "next_response")
    return [clock for wait in waits if (clock := _answer_clock(wait, promises)) is not None]


_STATES = {"met": "met", "met_late": "met_late", "cancelled": "cancelled", "paused": "paused"}


def _shown(clock: Clock, terms: str, promise: Promise) -> CaseClock:
    ended = clock.met_at is not None
    counted = clock.counted
    pauses: list[Span] | None = None
    if clock.pauses:  # only a resolution's
        older = clock.pauses[:-PAUSES_SHOWN]
        if older:
            resumed = older[-1][1] or clock.started_at  # all but the newest have an end
            counted = counted_to(promise, clock.name, clock.started_at, older, resumed, counted)
        pauses = [Span(from_at=start, to_at=end) for start, end in clock.pauses[-PAUSES_SHOWN:]]
    return CaseClock(
        name=clock.name,
        policy=clock.policy,
        terms=terms,
        target_seconds=clock.target_seconds,
        started_at=clock.started_at,
        counts_from=clock.counts_from,
        out_of_hours=clock.out_of_hours or None,
        warn_at=clock.warn_at,
        deadline=clock.deadline,
        met_at=clock.met_at,
        ended_at=clock.cancelled_at if clock.state == "cancelled" else None,
        state=_STATES.get(clock.state, "running"),  # type: ignore[arg-type]  # a closed set
        business_seconds=float(clock.business_seconds or 0) if ended else None,
        wall_seconds=float(clock.wall_seconds or 0) if ended else None,
        pauses=pauses,
        counted=_written(counted),
    )


def explained_by(clock: CaseClock, promises: Promises) -> Clock | None:
    """Return the clock that a case shows, as `klingel.domain.sla.explain` takes it."""
    promise = promises.get(clock.terms)
    if promise is None:
        return None
    pauses = [(pause.from_at, pause.to_at) for pause in clock.pauses or ()]
    name: ClockName = clock.name
    return clock_of(
        promise,
        name,
        clock.started_at,
        pauses=pauses,
        met_at=clock.met_at,
        cancelled_at=clock.ended_at,
        counted=_read(clock.counted),
    )
