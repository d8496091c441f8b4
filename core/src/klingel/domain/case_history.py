"""What happened to cases: the difference between before and after one event, command or timer.

Ids derive from the case, the cause, the kind and the case's revision, those of timers from the
timer alone: so doing anything twice says nothing twice.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct

from klingel.config.compiled import CompiledBrand
from klingel.domain.conversation import NOBODY
from klingel.domain.escalation import clock_of_timer
from klingel.domain.facts import received_at, utc
from klingel.domain.identity import case_id, deterministic_id
from klingel.domain.timers import Firing
from klingel.model.case import AppliedCommand, Case, Clock, Fact, Fired
from klingel.model.case_command import CaseCommand
from klingel.model.case_event import CaseEvent

Kind = Literal[
    "opened",
    "joined",
    "responded",
    "waiting",
    "reopened",
    "routed",
    "closed",
    "corrected",
    "late_unanswered",
    "acknowledged",
    "assigned",
    "snoozed",
    "unsnoozed",
    "warned",
    "breached",
    "met",
    "escalated",
    "overridden",
    "split",
    "linked",
    "merged",
    "incident_joined",
]
_COMMANDED: dict[str, Kind] = {
    "acknowledge": "acknowledged",
    "assign": "assigned",
    "override": "overridden",
    "split": "split",
    "similar_to": "linked",
    "incident_joined": "incident_joined",
}


_NOTHING: Mapping[str, Case] = {}


class Cause(Struct, frozen=True, gc=False):
    """What made the difference.

    Attributes:
        id: of the event, the command or the timer.
        fact: what is known now of the event's object.
        command: that was taken.
        firing: timers that fired.
    """

    id: str
    fact: Fact | None = None
    command: AppliedCommand | None = None
    firing: Firing | None = None

    def at(self, case: Case) -> datetime:
        """Return the event time of what happened to a case."""
        if self.fact is not None:
            return self.fact.at
        if self.command is not None:
            return self.command.at
        if self.firing is not None:
            return self.firing.fired[0].due
        return case.updated_at or case.opened_at  # type: ignore[return-value]  # one of them is set


class _Step(Struct, frozen=True, gc=False):
    """One thing that happened; what is given beside kind and time stands in the case event."""

    kind: Kind
    at: datetime
    seconds: float | None = None
    detail: str | None = None
    clock: Clock | None = None
    agent: str | None = None
    by: str | None = None
    level: str | None = None
    timer: Fired | None = None
    corrects: str | None = None
    was: datetime | None = None
    now: datetime | None = None
    business_seconds: float | None = None


def history(
    before: Mapping[str, Case],
    after: Mapping[str, Case],
    cause: Cause,
    config_version: str,
    now: datetime,
    withdrawn: Mapping[str, Case] = _NOTHING,
) -> tuple[CaseEvent, ...]:
    """Return what a cause did to the cases of a conversation.

    Args:
        before: cases before, by id.
        after: cases after it.
        cause: the cause.
        withdrawn: by id, what was left of withdrawn cases before: one that comes back tells nothing
            again that it told.
        config_version: of the brand.
        now: when it is recorded.
    """
    told: list[CaseEvent] = []
    for identity, case in after.items():
        old = before.get(identity)
        if old is case:
            continue
        steps = _steps(old, case, cause, withdrawn.get(identity) if old is None else old)
        told += [_tell(case, step, cause, config_version, now) for step in steps]
    for identity, case in before.items():
        if identity not in after:
            step = _Step("corrected", case.opened_at or now, detail="generation_gone")
            told.append(_tell(case, step, cause, config_version, now))
    return tuple(told)


def refused(
    command: CaseCommand, case: Case | None, why: str, brand: CompiledBrand, now: datetime
) -> CaseEvent:
    """Return what is told of a command that is not taken."""
    nobody = case_id(command.brand, command.conversation_id, NOBODY, 0)
    identity = case.case_id if case is not None else command.case_id or nobody
    return CaseEvent(
        case_event_id=deterministic_id(identity, command.command_id, "refused"),
        case_id=identity,
        brand=command.brand,
        conversation_id=command.conversation_id,
        customer_id=case.customer_id if case is not None else command.customer_id or NOBODY,
        kind="refused",
        at=command.at,
        recorded_at=now,
        cause=command.command_id,
        detail=why,
        by=command.by,
        config_version=brand.version,
        opened_at=case.opened_at if case is not None else None,
    )


def _steps(old: Case | None, case: Case, cause: Cause, remembered: Case | None) -> Iterator[_Step]:
    """Give what happened; `remembered` is the old record, or what was left of a withdrawn one."""
    at = cause.at(case)
    if old is None:
        yield _Step("opened", case.opened_at or at)
    elif cause.fact is not None and _is_new_word(old, case, cause.fact):
        yield _Step("joined", cause.fact.at)
    yield from _answers(old, case, cause)
    yield from _met(old, case)
    yield from _state_steps(old, case, at)
    if cause.command is not None and _concerns(case, cause.command):
        kind = _COMMANDED.get(cause.command.kind)
        if kind is not None:
            yield _Step(kind, cause.command.at, by=cause.command.by)
    if case.fired:
        yield from _timer_steps(remembered, case)
    if case.escalations:
        yield from _escalated(remembered, case)
    if old is not None:
        yield from _corrections(old, case, at)
        yield from _waiting_corrected(old, case, cause)
        if (old.queue, old.rule) != (case.queue, case.rule):
            yield _Step("routed", at)
    if cause.fact is not None and is_late_unanswered(case, cause.fact, old):
        yield _Step("late_unanswered", cause.fact.at)


def _is_new_word(old: Case, case: Case, fact: Fact) -> bool:
    return fact.direction != "outbound" and _has(case, fact) and not _has(old, fact)


def _answers(old: Case | None, case: Case, cause: Cause) -> Iterator[_Step]:
    first = case.first_response_at
    if first is not None and (old is None or old.first_response_at is None):
        seconds = max(0.0, (first - (case.opened_at or first)).total_seconds())
        yield _Step("responded", first, seconds, "first", agent=case.responded_by)
        return
    fact = cause.fact
    if old is None or fact is None or fact.direction != "outbound" or not _has(case, fact):
        return
    since = old.waiting_since
    if since is not None and case.waiting_since != since and not _has(old, fact):
        seconds = max(0.0, (fact.at - since).total_seconds())
        yield _Step("responded", fact.at, seconds, "next", agent=fact.agent)


def _met(old: Case | None, case: Case) -> Iterator[_Step]:
    """Give the clocks that ended, with the time that they took."""
    known: dict[tuple[str, datetime], Clock] | None = None
    for clock in case.clocks or ():
        if clock.met_at is None:
            continue
        if known is None:
            known = {_clock_key(each): each for each in (old.clocks or () if old else ())}
        was = known.get(_clock_key(clock))
        if was is not None and was.met_at is not None:
            continue
        yield _Step(
            "met",
            clock.met_at,
            clock.wall_seconds,
            "late" if clock.state == "met_late" else "in_time",
            clock=clock,
            business_seconds=clock.business_seconds,
        )


def _clock_key(clock: Clock) -> tuple[str, datetime]:
    return clock.name, clock.started_at


def _state_steps(old: Case | None, case: Case, at: datetime) -> Iterator[_Step]:
    earlier = old.state if old is not None else "open"
    if case.state == earlier:
        return
    if case.state == "closed":
        yield _Step("closed", case.closed_at or at, detail=case.closed_because)
    elif case.state == "merged":
        yield _Step("merged", at)
    elif earlier == "closed":
        yield _Step("reopened", case.reopened_at or at)
    elif case.state == "snoozed":
        yield _Step("snoozed", at)
    elif earlier == "snoozed":
        yield _Step("unsnoozed", at)
    elif case.state == "waiting":
        yield _Step("waiting", at)


def _timer_steps(old: Case | None, case: Case) -> Iterator[_Step]:
    known = {each.id for each in (old.fired or () if old else ())}
    for each in case.fired or ():
        if each.id not in known and each.kind in {"warned", "breached"}:
            kind: Kind = "warned" if each.kind == "warned" else "breached"
            yield _Step(kind, each.due, clock=clock_of_timer(case, each), timer=each)


def _escalated(old: Case | None, case: Case) -> Iterator[_Step]:
    known = {(each.level, each.cause) for each in (old.escalations or () if old else ())}
    for each in case.escalations or ():
        if (each.level, each.cause) not in known:
            yield _Step("escalated", each.at, detail=each.reason, level=each.level)


def _corrections(old: Case, case: Case, at: datetime) -> Iterator[_Step]:
    """Give what was told before and is told otherwise now: of, was, is."""
    if old.opened_at != case.opened_at:
        yield _Step("corrected", at, detail="opening", was=old.opened_at, now=case.opened_at)
    first = case.first_response_at
    if old.first_response_at is not None and old.first_response_at != first:
        yield _Step("corrected", at, detail="first_response", was=old.first_response_at, now=first)
    closed = case.closed_at
    if old.closed_at is not None and closed is not None and old.closed_at != closed:
        yield _Step("corrected", at, detail="closing", was=old.closed_at, now=closed)
    was = {each.id: each for each in old.fired or ()}
    for each in case.fired or () if was else ():
        known = was.get(each.id)
        if known is None or bool(known.withdrawn) == bool(each.withdrawn):
            continue
        clock = clock_of_timer(case, each)
        yield _Step(
            "corrected",
            at,
            detail=f"{each.kind}_withdrawn" if each.withdrawn else f"{each.kind}_after_all",
            corrects=_timer_event_id(case, each),
            was=each.due,
            now=clock.met_at or clock.ended_at if clock is not None else None,
        )


def _waiting_corrected(old: Case, case: Case, cause: Cause) -> Iterator[_Step]:
    """Tell that the customer waits since another word, or for nothing: it was deleted, say."""
    fact = cause.fact
    if fact is None or fact.direction == "outbound" or old.waiting_since is None:
        return
    since = case.waiting_since
    if (old.opened_at, case.opened_at) == (old.waiting_since, since):
        return  # that is told of the opening
    if case.closed_at is None and since != old.waiting_since:
        yield _Step(
            "corrected",
            fact.removed_at or fact.at,
            detail="waiting",
            was=old.waiting_since,
            now=since,
        )


def is_late_unanswered(case: Case, fact: Fact, old: Case | None) -> bool:
    """Whether a word from before the closing came after it, wants an answer and has none.

    A closing by an answer answered all that was said before it.
    """
    closed = case.closed_at
    if closed is None or case.closed_because != "command":
        return False
    if not fact.needs_answer or fact.at > closed or received_at(fact) <= closed:
        return False
    if not _has(case, fact) or (old is not None and _has(old, fact)):
        return False
    return not any(each.direction == "outbound" and each.at >= fact.at for each in case.facts)


def _concerns(case: Case, command: AppliedCommand) -> bool:
    return any(each.id == command.id for each in case.applied or ())


def _has(case: Case, fact: Fact) -> bool:
    wanted = fact.object
    for each in case.facts:  # noqa: SIM110 - a generator costs three times as much, for each word
        if each.object == wanted:
            return True
    return False


def _timer_event_id(case: Case, fired: Fired) -> str:
    return deterministic_id(case.case_id, fired.id, fired.kind)


def _clock_or(clock: Clock | None, other: str) -> str:
    # One cause may end several clocks of a name.
    return other if clock is None else f"{clock.name} {utc(clock.started_at).isoformat()}"


def _tell(case: Case, step: _Step, cause: Cause, config_version: str, now: datetime) -> CaseEvent:
    clock = step.clock
    what = step.corrects or step.level or _clock_or(clock, step.detail or "")
    identity = deterministic_id(case.case_id, cause.id, step.kind, what, str(case.revision))
    if step.timer is not None:
        identity = _timer_event_id(case, step.timer)
    return CaseEvent(
        case_event_id=identity,
        case_id=case.case_id,
        brand=case.brand,
        conversation_id=case.conversation_id,
        customer_id=case.customer_id,
        kind=step.kind,
        at=step.at,
        recorded_at=now,
        cause=cause.id,
        queue=case.queue,
        priority=case.priority.score if case.priority is not None else None,
        seconds=step.seconds,
        detail=step.detail,
        config_version=config_version,
        opened_at=case.opened_at,
        clock=clock.name if clock is not None else None,
        policy=clock.policy if clock is not None else None,
        deadline=clock.deadline if clock is not None else None,
        business_seconds=step.business_seconds,
        agent=step.agent,
        by=step.by,
        level=step.level,
        provisional=step.timer.provisional if step.timer is not None else None,
        corrects=step.corrects,
        was=step.was,
        is_=step.now,
    )
