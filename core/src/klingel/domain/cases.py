"""The fold: what a conversation of one brand is after a further event.

The unit is the conversation. Its facts lie in the records of its cases, and those that belong to
no customer's case in its own record, `<brand>:<conversation>:-#0`. An event is joined to the facts,
then all cases are derived from the facts anew (`klingel.domain.timeline`): so order, repetition
and batches cannot matter. What happened to a case is the difference of before and after.

A case that was written is never taken away. Where later facts say that it should not have been
opened, it is withdrawn: its record stays, closed and without facts, and keeps its revision.
"""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import structs

from klingel.config.compiled import CompiledBrand
from klingel.domain.case_history import history
from klingel.domain.conversation import NOBODY, ConversationState, customers_by_object, reach_of
from klingel.domain.facts import (
    Position,
    can_open,
    deletion_of,
    fact_of,
    join,
    received_at,
    supersedes,
)
from klingel.domain.identity import case_id, hash64
from klingel.domain.routing import Routing, explain
from klingel.domain.timeline import Generation, Lookup, Timeline, is_folded
from klingel.domain.triage import TriageReason, lateness, needs_answer
from klingel.model.case import Case, Fact, Opening, Priority
from klingel.model.case_event import CaseEvent
from klingel.model.routed_event import Decision
from klingel.model.social_event import SocialEvent
from klingel.model.tracked_conversation import TrackedConversation


class FoldOutcome(NamedTuple):
    """What one event makes of a conversation.

    Attributes:
        state: after the event.
        changed: records to be written, with their new revision; withdrawn cases among them.
        removed: ids of records to be written as tombstones: the held record's, once emptied.
        decision: on this event.
        case_events: what happened to cases, by deterministic ids.
        repeated: nothing was new: the event, or a newer revision of it, is known.
    """

    state: ConversationState
    changed: tuple[Case, ...]
    removed: tuple[str, ...]
    decision: Decision
    case_events: tuple[CaseEvent, ...]
    repeated: bool


_UNNAMED: dict[str, str] = {}


class _Arrival(NamedTuple):
    """The event, and what triage says of it."""

    event: SocialEvent
    fact: Fact
    reason: TriageReason


def fold_event(
    state: ConversationState,
    event: SocialEvent,
    position: Position,
    routing: Callable[[SocialEvent], Routing],
    brand: CompiledBrand,
    now: datetime,
) -> FoldOutcome:
    """Fold one social event into the state of its conversation.

    Args:
        state: of the event's conversation, from the records written before.
        event: the event.
        position: partition and offset of the event in social-events.
        routing: called at most once, for what may open a case: `route` of klingel.domain.routing.
        brand: the event's brand.
        now: when this is decided, aware UTC; stands in the decision and the case events alone.
    """
    arrival = _arrival(event, position, brand)
    home, known = state.find(arrival.fact.object)
    if _needs_no_memory(arrival) and (known is None or not supersedes(arrival.fact, known)):
        # It must tell a known fact nothing either: it may as well have come first.
        if known is not None and known.change != "deleted":
            return _repeated(state, arrival, known, home, brand, now)
        decision = _decision(arrival, brand, now, arrival.reason, None, 0)
        return FoldOutcome(state, (), (), decision, (), repeated=False)
    if known is None:
        folded = _folded_in(state, arrival.fact)
        if folded is not None:
            reason = _known_reason(event)
            decision = _decision(arrival, brand, now, reason, folded, 0)
            return FoldOutcome(state, (), (), decision, (), repeated=event.revision == 0)
        fact = _routed(arrival, routing)
    else:
        was_said = known.change != "deleted"
        counts = not was_said or supersedes(arrival.fact, known)
        fact = join(known, _routed(arrival, routing, again=was_said) if counts else arrival.fact)
        if fact == known:
            return _repeated(state, arrival, known, home, brand, now)
    return _fold(state, arrival, fact, known, brand, now)


def _arrival(event: SocialEvent, position: Position, brand: CompiledBrand) -> _Arrival:
    object_hash = hash64(event.object_id)
    if event.change == "deleted":
        return _Arrival(event, deletion_of(event, object_hash, position), TriageReason.DELETED)
    needed, reason = needs_answer(event, brand)
    late = lateness(event, brand) if needed else None
    fact = fact_of(event, object_hash, position, needs_answer=needed and late is None)
    return _Arrival(event, fact, late or reason)


def _routed(
    arrival: _Arrival, routing: Callable[[SocialEvent], Routing], *, again: bool = False
) -> Fact:
    """Return the fact with what a case would take from it, where it may open one.

    A further revision is routed even where it needs no answer: an earlier one may have. So is what
    comes too late to open a case, and what is said again of a known object: the same may have been
    said live, and be read anew by a configuration that no longer wants an answer.
    """
    event, fact = arrival.event, arrival.fact
    may_open = again or fact.needs_answer or event.origin.mode == "remap"
    may_open = may_open or arrival.reason in _LATE
    if fact.customer is None or not (may_open or event.revision > 0 or event.change != "created"):
        return fact
    return structs.replace(fact, opening=_opening(event, routing(event)))


_LATE = frozenset({TriageReason.NOT_LIVE, TriageReason.TOO_OLD})


def _opening(event: SocialEvent, routed: Routing) -> Opening:
    return Opening(
        queue=routed.queue,
        rule=routed.rule,
        priority=routed.priority,
        network=event.network,
        channel=event.channel,
    )


def _needs_no_memory(arrival: _Arrival) -> bool:
    """Whether forgetting an event changes nothing, whatever comes.

    The root of a conversation that cannot open a case: nobody's word lies before it, what replies
    to it is taken as an answer to nobody else, and no older revision can come.
    """
    event = arrival.event
    return (
        event.object_id == event.conversation_id
        and event.revision == 0
        and event.change == "created"
        and not arrival.fact.needs_answer
    )


def _folded_in(state: ConversationState, fact: Fact) -> Case | None:
    """Return the case in whose summary an object lies already."""
    for case in state.cases.values():
        if case.summary is not None and is_folded(case.summary, fact.object):
            return case
    return None


def _known_reason(event: SocialEvent) -> TriageReason:
    return TriageReason.DELETED if event.change == "deleted" else TriageReason.EDITED


def _repeated(
    state: ConversationState,
    arrival: _Arrival,
    known: Fact,
    home: Case | None,
    brand: CompiledBrand,
    now: datetime,
) -> FoldOutcome:
    newest = max(known.revision, known.removed or 0)
    reason = _known_reason(arrival.event)
    if arrival.event.revision < newest:
        reason = TriageReason.SUPERSEDED
    case = home if home is not None and home.state != "held" else None
    number = _number(arrival.event, known)
    decision = _decision(arrival, brand, now, reason, case, number)
    return FoldOutcome(state, (), (), decision, (), repeated=True)


def _number(event: SocialEvent, fact: Fact) -> int:
    """Return the number of the decision on the event's own revision."""
    said = event.change != "deleted" and event.revision == fact.revision
    return fact.decision or 0 if said else 0


def _fold(
    state: ConversationState,
    arrival: _Arrival,
    fact: Fact,
    known: Fact | None,
    brand: CompiledBrand,
    now: datetime,
) -> FoldOutcome:
    event = arrival.event
    reach = None
    if state.is_large:
        reach = reach_of(state, state.index(), fact, known, hash64(event.conversation_id))
    before = state.cases
    if reach is not None:
        before = {case.case_id: case for case in state.cases_of(reach)}
    material = _material(before.values(), state.held, fact)
    timeline = _timeline(state, material, fact, event, brand, partial=reach is not None)
    timeline.run(material.facts)
    cases = {case.case_id: _revised(before[case.case_id], case, brand) for case in material.frozen}
    for generation in timeline.generations:
        case = _case(state, generation, event, brand)
        cases[case.case_id] = case
    held = _held(state.held, timeline.held, event, brand)
    changed = [case for case in cases.values() if case is not before.get(case.case_id)]
    gone = [_withdrawn(case, brand) for identity, case in before.items() if identity not in cases]
    withdrawn = {each: case for each, case in state.withdrawn.items() if each not in cases}
    withdrawn.update((case.case_id, case) for case in gone)
    if reach is not None:
        after = state.then(changed, withdrawn, held, state.index())
    else:
        after = ConversationState(cases, held, withdrawn)
    changed += gone
    removed: list[str] = []
    if held is not None and held is not state.held:
        changed.append(held)
    elif held is None and state.held is not None:
        removed.append(state.held.case_id)
    place = timeline.place_of(fact.object)
    reason = _reason(arrival, fact, known, place)
    home = cases.get(_case_id(event, place)) if place is not None else material.home
    return FoldOutcome(
        after,
        tuple(changed),
        tuple(removed),
        _decision(arrival, brand, now, reason, home, _number(event, fact)),
        history(before, cases, event, fact, brand.version, now),
        repeated=False,
    )


class _Material(NamedTuple):
    """What is folded.

    Attributes:
        facts: by object hash.
        frozen: cases that stay as they are but for the content of their facts.
        resumed: cases with folded facts, from which the fold goes on.
        elsewhere: object hash to customer, of the facts of frozen cases.
        home: the frozen case in which the arrived fact lies, if any.
    """

    facts: dict[str, Fact]
    frozen: list[Case]
    resumed: list[Case]
    elsewhere: dict[str, str]
    home: Case | None


def _material(cases: Collection[Case], held: Case | None, arrived: Fact) -> _Material:
    """Sort out what is folded anew.

    Generations before one that has folded facts are history: nothing can change them.
    """
    last_folded: dict[str, int] = {}
    for case in cases:
        if case.summary is not None:
            number = last_folded.get(case.customer_id, 0)
            last_folded[case.customer_id] = max(number, case.generation)
    material = _Material({}, [], [], {}, None)
    home = None
    for case in cases:
        boundary = last_folded.get(case.customer_id, 0)
        if case.generation < boundary:
            facts = [arrived if each.object == arrived.object else each for each in case.facts]
            frozen = structs.replace(case, facts=facts)
            material.frozen.append(frozen)
            material.elsewhere.update((each.object, case.customer_id) for each in facts)
            if arrived in facts:
                home = frozen
            continue
        if case.generation == boundary:
            material.resumed.append(case)
        for fact in case.facts:
            material.facts[fact.object] = fact
    for fact in held.facts if held is not None else ():
        material.facts[fact.object] = fact
    if home is None:
        material.facts[arrived.object] = arrived
    return material._replace(home=home)


def _timeline(
    state: ConversationState,
    material: _Material,
    fact: Fact,
    event: SocialEvent,
    brand: CompiledBrand,
    *,
    partial: bool,
) -> Timeline:
    elsewhere: Lookup = material.elsewhere.get
    names: Lookup = _UNNAMED.get
    if partial:
        index = state.index()
        elsewhere, names = customers_by_object(state, index), index.names.get
    return Timeline(
        event.conversation_id,
        brand,
        resumed=material.resumed,
        elsewhere=elsewhere,
        names=names,
        arrived=fact.object,
    )


def _case_id(event: SocialEvent, generation: Generation) -> str:
    return case_id(event.brand, event.conversation_id, generation.customer, generation.number)


def _case(
    state: ConversationState, generation: Generation, event: SocialEvent, brand: CompiledBrand
) -> Case:
    """Return the record of a generation; the old one itself where nothing changed."""
    identity = _case_id(event, generation)
    old = state.cases.get(identity)
    earlier = old or state.withdrawn.get(identity)
    opening = generation.opening
    facts = generation.facts
    summary = generation.summary
    outbound = sum(1 for fact in facts if fact.direction == "outbound")
    counts = {"inbound": len(facts) - outbound, "outbound": outbound}
    if summary is not None:
        folded = summary.outbound or 0
        counts["inbound"] += summary.count - folded
        counts["outbound"] += folded
    times = [fact.at for fact in facts]
    if summary is not None:
        times.append(summary.last_at)
    derived = Case(
        case_id=identity,
        brand=event.brand,
        conversation_id=event.conversation_id,
        customer_id=generation.customer,
        generation=generation.number,
        revision=earlier.revision if earlier is not None else 0,
        state=generation.state,
        network=opening.network,
        channel=opening.channel,
        facts=facts,
        summary=summary,
        opened_at=generation.opened_at,
        closed_at=generation.closed_at,
        closed_because=generation.closed_because,
        updated_at=max(times),
        first_response_at=generation.first_response_at,
        waiting_since=generation.waiting_since,
        queue=opening.queue,
        assignee=old.assignee if old is not None else None,
        priority=opening.priority,
        rule=opening.rule,
        explain=_explanation(old, opening, brand),
        counts=counts,
        commands=old.commands if old is not None else None,
        merged_into=old.merged_into if old is not None else None,
        config_version=old.config_version if old is not None else brand.version,
    )
    if old is not None:
        return _revised(old, derived, brand)
    return structs.replace(derived, revision=derived.revision + 1)


def _withdrawn(case: Case, brand: CompiledBrand) -> Case:
    """Return what is left of a case that should not have been opened, as its next revision.

    Its facts lie elsewhere now, and so does all that followed from them. It closes when it opened:
    no duration can be measured in it.
    """
    return structs.replace(
        case,
        revision=case.revision + 1,
        state="closed",
        facts=[],
        closed_at=case.opened_at,
        closed_because="withdrawn",
        first_response_at=None,
        waiting_since=None,
        counts={"inbound": 0, "outbound": 0},
        config_version=brand.version,
    )


def _explanation(old: Case | None, opening: Opening, brand: CompiledBrand) -> list[str]:
    if old is not None and old.explain is not None and _routed_alike(old, opening):
        return old.explain
    return list(explain(brand, opening.rule))


def _routed_alike(old: Case, opening: Opening) -> bool:
    return old.rule == opening.rule and old.queue == opening.queue


def _revised(old: Case, new: Case, brand: CompiledBrand) -> Case:
    """Return `old` where `new` equals it, else `new` as its next revision."""
    if new == old:
        return old
    return structs.replace(new, revision=old.revision + 1, config_version=brand.version)


def _held(
    old: Case | None, facts: list[Fact], event: SocialEvent, brand: CompiledBrand
) -> Case | None:
    if not facts:
        return None
    if old is not None and old.facts == facts:
        return old
    return Case(
        case_id=case_id(event.brand, event.conversation_id, NOBODY, 0),
        brand=event.brand,
        conversation_id=event.conversation_id,
        customer_id=NOBODY,
        generation=0,
        revision=old.revision + 1 if old is not None else 1,
        state="held",
        facts=facts,
        updated_at=max(fact.at for fact in facts),
        config_version=brand.version,
    )


def _reason(
    arrival: _Arrival, fact: Fact, known: Fact | None, place: Generation | None
) -> TriageReason:
    """Return the one reason of an event, from where its fact came to lie."""
    if arrival.event.change == "deleted":
        return TriageReason.DELETED if known is not None else TriageReason.HELD
    if place is None:
        return _unplaced_reason(arrival, fact, known)
    opened = fact.object == place.opener and (known is None or not can_open(known))
    if arrival.event.direction == "outbound":
        reason = TriageReason.ANSWERED
    elif opened:
        reason = TriageReason.OPENED if place.number == 1 else TriageReason.NEW_GENERATION
    elif known is not None and known.change != "deleted":
        reason = TriageReason.EDITED
    elif fact.object == place.reopened:
        reason = TriageReason.REOPENED
    elif fact.object in place.after:
        reason = TriageReason.CLOSED_GENERATION
    else:
        reason = TriageReason.JOINED
    return reason


def _unplaced_reason(arrival: _Arrival, fact: Fact, known: Fact | None) -> TriageReason:
    if known is not None and known.change != "deleted":
        return TriageReason.EDITED
    if arrival.event.direction == "outbound":
        to_somebody = fact.in_reply_to is not None or fact.addressees is not None
        return TriageReason.ANSWERS_NOBODY if to_somebody else TriageReason.OWN_POST
    if arrival.reason is TriageReason.OPENED:
        return TriageReason.DELETED_BEFORE_OPENING
    return arrival.reason


def _decision(
    arrival: _Arrival,
    brand: CompiledBrand,
    now: datetime,
    reason: TriageReason,
    case: Case | None,
    number: int,
) -> Decision:
    priority: Priority | None = case.priority if case is not None else None
    return Decision(
        number=number,
        triage=reason.value,
        direction=arrival.event.direction,
        routed_at=now,
        config_version=brand.version,
        case_id=case.case_id if case is not None else None,
        queue=case.queue if case is not None else None,
        priority=priority.score if priority is not None else None,
        rule=case.rule if case is not None else None,
        explain=case.explain if case is not None else None,
    )


def expired(case: Case, now: datetime, max_open_age: timedelta) -> bool:
    """Whether a conversation's own record may be forgotten: nothing in it can matter any more."""
    if case.state != "held":
        return False
    newest = max((received_at(fact) for fact in case.facts), default=None)
    return newest is None or now - newest > max_open_age


def tracked_of(state: ConversationState) -> TrackedConversation | None:
    """Return the tracking record of a conversation, None where no case of it is open."""
    unclosed = [
        case for case in state.cases.values() if case.state in {"open", "waiting", "snoozed"}
    ]
    if not unclosed:
        return None
    return TrackedConversation(
        brand=unclosed[0].brand,
        conversation_id=unclosed[0].conversation_id,
        open_cases=len(unclosed),
        since=min(case.opened_at for case in unclosed if case.opened_at is not None),
    )
