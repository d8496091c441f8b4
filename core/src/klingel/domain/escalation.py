"""Who is told that a case is late, or matters more: levels, once a case, target and level.

An escalation is raised by a timer, a rule or an incident. What becomes of it follows from the case:
withdrawn where later facts say that its cause never was, ended once nobody waits any more,
acknowledged by a person; until then it is raised to the next level after a time.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal

from msgspec import structs

from klingel.config.calendars import seconds_of
from klingel.config.compiled import CompiledBrand
from klingel.config.escalations import EscalationLevel
from klingel.domain.clocks import is_folded, may_be_hidden
from klingel.domain.facts import is_deleted, utc
from klingel.domain.identity import deterministic_id
from klingel.domain.priority import summed
from klingel.model.case import Case, Clock, Escalated, Fired
from klingel.model.escalation import Escalation

Reason = Literal[
    "warned",
    "breached",
    "rule",
    "early_warning",
    "incident",
    "late_unanswered",
    "not_acknowledged",
]
ClockName = Literal["first_response", "next_response", "resolution"]
State = Literal["raised", "acknowledged", "withdrawn", "ended"]
MAX_ESCALATIONS = 32
_PAST = frozenset({"withdrawn", "ended"})
_OWN_PARTS = ("waiting", "late", "escalation")
_PART = {"warned": "waiting", "breached": "late"}


def timer_id(case_id: str, *what: str) -> str:
    """Return the id of a timer of a case: 16 hex digits, the same on every replay."""
    return deterministic_id(case_id, *what)[:16]


def clock_timer(case_id: str, clock: Clock, kind: str) -> str:
    """Return the id of a clock's warning or breach."""
    return _clock_timer(case_id, clock.name, clock.started_at, kind)


@lru_cache(maxsize=4096)
def _clock_timer(case_id: str, name: str, started_at: datetime, kind: str) -> str:
    # Asked for a dozen times while one timer fires.
    return timer_id(case_id, name, utc(started_at).isoformat(), kind)


def raise_timer(case_id: str, level: Escalated) -> str:
    """Return the id of the timer that raises a level further."""
    return timer_id(case_id, level.level, level.cause or "", "raised")


def escalate(
    case: Case, reason: Reason, cause: str, at: datetime, brand: CompiledBrand, clock: str | None
) -> Case:
    """Return the case with the escalations that a reason raises; itself where it raises none.

    One that was withdrawn never was: the same level may be raised for another cause.

    Args:
        case: the case.
        reason: why.
        cause: timer, rule, incident or event.
        at: when, in event time.
        brand: whose levels they are.
        clock: which clock, where it is about one.
    """
    concerned = [each for each in brand.levels if _concerns(each, case, reason, clock)]
    if not concerned:  # most cases, each time that one is opened
        return case
    known = _used(case.escalations or ())
    raised = [
        _raised(level, case, reason, cause, at, brand, clock)
        for level in concerned
        if level.id not in known
    ]
    if not raised:
        return case
    return settle(structs.replace(case, escalations=_joined(case.escalations or (), raised)))


def _used(escalations: Iterable[Escalated]) -> set[str]:
    """Return the levels that cannot be raised again."""
    return {each.level for each in escalations if each.state != "withdrawn"}


def _joined(known: Iterable[Escalated], raised: Iterable[Escalated]) -> list[Escalated]:
    """Return escalations with those that are raised now, which follow withdrawn ones of theirs."""
    kept = {each.level: each for each in known}
    for each in raised:
        earlier = kept.pop(each.level, None)
        revision = (earlier.revision or 0) + 1 if earlier is not None else 1
        kept[each.level] = structs.replace(each, revision=revision)
    return [*kept.values()][:MAX_ESCALATIONS]


def raise_further(case: Case, level: Escalated, at: datetime, brand: CompiledBrand) -> Case:
    """Return the case raised to the level that follows one which nobody acknowledged."""
    others = [
        structs.replace(each, raise_at=None) if each is level else each
        for each in case.escalations or ()
    ]
    wanted = next((each for each in brand.levels if each.id == level.next_level), None)
    if wanted is not None and wanted.id not in _used(others):
        cause = raise_timer(case.case_id, level)
        further = _raised(wanted, case, "not_acknowledged", cause, at, brand, level.clock)
        others = _joined(others, [further])
    return settle(structs.replace(case, escalations=others))


def _concerns(level: EscalationLevel, case: Case, reason: Reason, clock: str | None) -> bool:
    if reason not in level.on:
        return False
    if level.clocks and clock is not None and clock not in level.clocks:
        return False
    if level.queues and case.queue not in level.queues:
        return False
    if reason == "rule" and case.rule not in level.rules:
        return False
    score = case.priority.score if case.priority is not None else 0
    return level.priority_from is None or score >= level.priority_from


def _raised(
    level: EscalationLevel,
    case: Case,
    reason: Reason,
    cause: str,
    at: datetime,
    brand: CompiledBrand,
    clock: str | None,
) -> Escalated:
    targets = dict.fromkeys([*level.notify, *brand.team_targets.get(case.queue or "", ())])
    raise_at = None
    if level.raise_after is not None and level.raise_to is not None:
        raise_at = at + timedelta(seconds=seconds_of(level.raise_after))
    return Escalated(
        level=level.id,
        state="raised",
        at=at,
        reason=reason,
        cause=cause,
        targets=[*targets][:16] or None,
        raise_at=raise_at,
        next_level=level.raise_to,
        priority=level.priority or None,
        queue=level.queue,
        revision=1,
        clock=clock,  # type: ignore[arg-type]  # a clock's name
    )


def settle(case: Case, every: Collection[Clock] | None = None) -> Case:
    """Return the case with what follows from its clocks and people for timers and escalations.

    Queue and priority are those of routing, moved by escalations that stand and overruled by
    people. Settling twice changes nothing.

    Args:
        case: the case.
        every: all clocks that are not folded away; None where only those are known that it shows.
    """
    if not (case.fired or case.escalations or case.overrides):
        late = None
        if case.clocks:
            late = sorted({clock.name for clock in case.clocks if _was_missed(clock)}) or None
        same = late == case.late and case.routed_queue is None
        return case if same else _plain(case, late)
    fired = [_judged(each, case, every) for each in case.fired or ()]
    escalations: list[Escalated] = []
    for each in case.escalations or ():
        escalations.append(_settled(each, case, fired, escalations))
    routed = case.routed_queue or case.queue
    queue = next(
        (each.queue for each in reversed(escalations) if each.queue and each.state != "withdrawn"),
        routed,
    )
    parts = dict(case.priority.parts) if case.priority is not None else {}
    for name in _OWN_PARTS:
        parts.pop(name, None)
    for each in escalations:
        if each.priority and each.state != "withdrawn":
            name = _PART.get(each.reason, "escalation")
            parts[name] = parts.get(name, 0) + each.priority
    priority = summed(parts)
    overrides = case.overrides
    if overrides is not None:
        queue = overrides.queue or queue
        if overrides.priority is not None:
            priority = structs.replace(priority, score=overrides.priority)
    missed = {clock.name for clock in case.clocks or () if _was_missed(clock)}
    missed |= {
        each.clock
        for each in fired
        if each.kind == "breached" and not each.withdrawn and each.clock is not None
    }
    return structs.replace(
        case,
        fired=fired or None,
        escalations=escalations or None,
        queue=queue,
        routed_queue=routed if routed != queue else None,
        priority=priority,
        late=sorted(missed) or None,
    )


def _plain(case: Case, late: list[ClockName] | None) -> Case:
    return structs.replace(
        case, queue=case.routed_queue or case.queue, routed_queue=None, late=late
    )


def _was_missed(clock: Clock) -> bool:
    """Whether the deadline had passed when the clock ended."""
    if clock.state == "cancelled":
        return clock.ended_at is not None and clock.ended_at > clock.deadline
    return clock.state == "met_late"


def _judged(fired: Fired, case: Case, every: Collection[Clock] | None) -> Fired:
    """Return a timer that fired, withdrawn where the clock says now that it should not have."""
    if fired.clock is None:
        return fired
    clock = _found(case, fired, case.clocks if every is None else every)
    if clock is None and (
        may_be_hidden(case, fired.clock, fired.due) if every is None else is_folded(case, fired.due)
    ):
        return fired
    justified = clock is not None and (
        clock.state in {"running", "paused"} or _ended(clock) > fired.due
    )
    if justified == (not fired.withdrawn):
        return fired
    return structs.replace(fired, withdrawn=None if justified else True)


def clock_of_timer(case: Case, fired: Fired) -> Clock | None:
    """Return the clock whose timer fired, None where it is not shown any more."""
    return _found(case, fired, case.clocks)


def _found(case: Case, fired: Fired, clocks: Iterable[Clock] | None) -> Clock | None:
    for clock in clocks or ():
        if clock.name == fired.clock and clock_timer(case.case_id, clock, fired.kind) == fired.id:
            return clock
    return None


def _ended(clock: Clock) -> datetime:
    return clock.met_at or clock.ended_at or clock.deadline


def _settled(
    escalated: Escalated, case: Case, fired: Iterable[Fired], earlier: Iterable[Escalated]
) -> Escalated:
    """Return an escalation as it stands now; `earlier` are those before it, settled."""
    state: State = "raised"
    fate = _fate(escalated, case, fired, earlier)
    if fate is not None:
        state = fate
    elif case.state == "merged" or (
        case.state == "closed" and escalated.reason != "late_unanswered"
    ):
        state = "ended"
    elif case.acknowledged_at is not None and case.acknowledged_at >= escalated.at:
        state = "acknowledged"
    if state == escalated.state:
        return escalated
    again = _since(escalated, case.reopened_at) if state == "raised" else escalated
    return structs.replace(again, state=state, revision=(escalated.revision or 0) + 1)


def _since(escalated: Escalated, reopened_at: datetime | None) -> Escalated:
    """Return an escalation that stands again, with its whole time from the reopening on."""
    if reopened_at is None or reopened_at <= escalated.at:
        return escalated
    raise_at = escalated.raise_at
    if raise_at is not None:
        raise_at = reopened_at + (raise_at - escalated.at)
    return structs.replace(escalated, at=reopened_at, raise_at=raise_at)


def _fate(
    escalated: Escalated, case: Case, fired: Iterable[Fired], earlier: Iterable[Escalated]
) -> State | None:
    """Return what became of an escalation's cause: withdrawn or ended; None while it stands."""
    if escalated.reason == "late_unanswered":
        return _fate_of_word(escalated, case)
    if escalated.reason == "not_acknowledged":
        for each in earlier:
            if raise_timer(case.case_id, each) == escalated.cause:
                return each.state if each.state in _PAST else None
        # What it was raised from was withdrawn, and is raised for another cause.
        return escalated.state if escalated.state in _PAST else None
    cause = next((each for each in fired if each.id == escalated.cause), None)
    if cause is None:
        # A timer's mark is let go of once nothing can become of it.
        was_timer = escalated.reason in {"warned", "breached"}
        return escalated.state if was_timer and escalated.state in _PAST else None
    if cause.withdrawn:
        return "withdrawn"
    # A clock that is not shown any more is over.
    return "ended" if cause.clock is not None and _is_over(clock_of_timer(case, cause)) else None


def _fate_of_word(escalated: Escalated, case: Case) -> State | None:
    """Return what became of a word that came to light after the closing."""
    word = next((fact for fact in case.facts if fact.object == escalated.cause), None)
    if word is None:
        return escalated.state if escalated.state in _PAST else "ended"
    if is_deleted(word):
        return "withdrawn"
    answers = (fact for fact in case.facts if fact.direction == "outbound")
    return "ended" if any(fact.at >= word.at for fact in answers) else None


def _is_over(clock: Clock | None) -> bool:
    return clock is None or clock.state not in {"running", "paused"}


def told_anew(case: Case, earlier: Case) -> Case:
    """Return a case that came back, none of whose escalations has a revision that was told.

    What they tell (who waits since when, deadline, queue) is that of the case as it is now.

    Args:
        case: the case, settled.
        earlier: what was left of it while it was withdrawn.
    """
    known = {(each.level, each.revision) for each in earlier.escalations or ()}
    if not known:
        return case
    escalations = [
        structs.replace(each, revision=(each.revision or 0) + 1)
        if (each.level, each.revision) in known
        else each
        for each in case.escalations or ()
    ]
    return structs.replace(case, escalations=escalations)


def told(before: Case | None, after: Case, now: datetime, version: str) -> Iterator[Escalation]:
    """Yield the records of what changed: one for each target and level.

    Args:
        before: the case before, None for a new one.
        after: the case after.
        now: when it is recorded.
        version: of the configuration.
    """
    known = {each.level: each for each in (before.escalations or () if before else ())}
    for each in after.escalations or ():
        was = known.get(each.level)
        if was is not None and (was.state, was.revision) == (each.state, each.revision):
            continue
        clock = _clock_of(after, each)
        for target in each.targets or ():
            yield Escalation(
                escalation_id=deterministic_id(after.case_id, target, each.level),
                case_id=after.case_id,
                brand=after.brand,
                conversation_id=after.conversation_id,
                level=each.level,
                target=target,
                state=each.state,
                reason=each.reason,
                revision=each.revision or 1,
                at=each.at,
                recorded_at=now,
                cause=each.cause,
                clock=each.clock,
                policy=clock.policy if clock is not None else None,
                waiting_since=after.waiting_since,
                deadline=clock.deadline if clock is not None else None,
                queue=after.queue,
                priority=after.priority.score if after.priority is not None else None,
                assignee=after.assignee,
                network=after.network,
                channel=after.channel,
                provisional=_is_provisional(after, each) or None,
                acknowledged_by=after.acknowledged_by if each.state == "acknowledged" else None,
                config_version=version,
                customer_id=after.customer_id,
                opened_at=after.opened_at,
            )


def _clock_of(case: Case, escalated: Escalated) -> Clock | None:
    """Return the clock that an escalation is about; one raised further, the newest of its name."""
    cause = next((each for each in case.fired or () if each.id == escalated.cause), None)
    if cause is not None and cause.clock is not None:
        return clock_of_timer(case, cause)
    return next(
        (each for each in reversed(case.clocks or ()) if each.name == escalated.clock), None
    )


def _is_provisional(case: Case, escalated: Escalated) -> bool:
    return any(each.id == escalated.cause and each.provisional for each in case.fired or ())
