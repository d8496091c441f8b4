"""What happened to cases: the difference between before and after one event.

Ids derive from the case, the cause and the kind, so doing anything twice says nothing twice.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from klingel.domain.identity import deterministic_id
from klingel.model.case import Case, Fact
from klingel.model.case_event import CaseEvent
from klingel.model.social_event import SocialEvent

_Kind = Literal[
    "opened", "joined", "responded", "waiting", "reopened", "routed", "closed", "corrected"
]


def history(
    before: dict[str, Case],
    after: dict[str, Case],
    event: SocialEvent,
    fact: Fact,
    config_version: str,
    now: datetime,
) -> tuple[CaseEvent, ...]:
    """Return what an event did to the cases of its conversation.

    Args:
        before: cases before the event, by id.
        after: cases after it.
        event: the cause.
        fact: what is known of the event's object now.
        config_version: of the brand.
        now: when it is recorded.
    """
    told: list[CaseEvent] = []
    for identity, case in after.items():
        old = before.get(identity)
        if old is case:
            continue
        for kind, at, seconds, detail in _steps(old, case, fact):
            told.append(_tell(case, event, config_version, now, kind, at, seconds, detail))
    for identity, case in before.items():
        if identity not in after:
            at = case.opened_at or fact.at
            detail = "generation_gone"
            told.append(_tell(case, event, config_version, now, "corrected", at, None, detail))
    return tuple(told)


_Step = tuple[_Kind, datetime, float | None, str | None]


def _steps(old: Case | None, case: Case, fact: Fact) -> Iterator[_Step]:
    opened_at = case.opened_at or fact.at
    if old is None:
        yield "opened", opened_at, None, None
    elif fact.direction != "outbound" and _has(case, fact) and not _has(old, fact):
        yield "joined", fact.at, None, None
    first = case.first_response_at
    if first is not None and (old is None or old.first_response_at is None):
        yield "responded", first, max(0.0, (first - opened_at).total_seconds()), "first"
    elif old is not None and fact.direction == "outbound" and _has(case, fact):
        since = old.waiting_since
        if since is not None and case.waiting_since != since and not _has(old, fact):
            yield "responded", fact.at, max(0.0, (fact.at - since).total_seconds()), "next"
    yield from _state_steps(old, case, fact)
    if old is not None:
        correction = _correction(old, case)
        if correction is not None:
            yield "corrected", fact.at, None, correction
        if (old.queue, old.rule) != (case.queue, case.rule):
            yield "routed", fact.at, None, None


def _state_steps(old: Case | None, case: Case, fact: Fact) -> Iterator[_Step]:
    earlier = old.state if old is not None else "open"
    if case.state == earlier:
        return
    if case.state == "closed":
        yield "closed", case.closed_at or fact.at, None, case.closed_because
    elif case.state == "waiting":
        yield "waiting", fact.at, None, None
    elif earlier == "closed":
        yield "reopened", fact.at, None, None


def _correction(old: Case, case: Case) -> str | None:
    """Return what was told before and is told otherwise now."""
    if old.opened_at != case.opened_at:
        return "opening"
    if old.first_response_at is not None and old.first_response_at != case.first_response_at:
        return "first_response"
    if old.closed_at is not None and case.closed_at is not None and old.closed_at != case.closed_at:
        return "closing"
    return None


def _has(case: Case, fact: Fact) -> bool:
    return any(each.object == fact.object for each in case.facts)


def _tell(
    case: Case,
    event: SocialEvent,
    config_version: str,
    now: datetime,
    kind: _Kind,
    at: datetime,
    seconds: float | None,
    detail: str | None,
) -> CaseEvent:
    return CaseEvent(
        case_event_id=deterministic_id(case.case_id, event.event_id, kind),
        case_id=case.case_id,
        brand=case.brand,
        conversation_id=case.conversation_id,
        customer_id=case.customer_id,
        kind=kind,
        at=at,
        recorded_at=now,
        cause=event.event_id,
        queue=case.queue,
        priority=case.priority.score if case.priority is not None else None,
        seconds=seconds,
        detail=detail,
        config_version=config_version,
    )
