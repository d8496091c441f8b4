"""The fold: what a conversation of one brand is after a further event, command or timer.

The unit is the conversation. Its facts lie in the records of its cases, and those that belong to
no customer's case in its own record, `<brand>:<conversation>:-#0`. An event is joined to the facts,
a command to the commands, then all cases are derived from them anew (`klingel.domain.timeline`): so
order, repetition and batches cannot matter. What happened to a case is the difference of before and
after.

What is made for every event is a Struct: a NamedTuple takes five times as long to make.

A case that was written is never taken away. Where later facts say that it should not have been
opened, it is withdrawn: its record stays, closed and without facts, and keeps its revision.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Literal, NamedTuple

from msgspec import Struct, structs

from klingel.config.compiled import CompiledBrand
from klingel.domain.case_history import Cause, history, is_late_unanswered, refused
from klingel.domain.case_record import (
    derived,
    held_record,
    knowing,
    knowing_of_nobody,
    revised,
    withdrawn,
)
from klingel.domain.clocks import Promises
from klingel.domain.commands import (
    Refusal,
    Target,
    applied_of,
    comes_early,
    early_of,
    is_applied,
    refusal_of,
    target_of,
)
from klingel.domain.conversation import SMALL, ConversationState, customers_by_object, reach_of
from klingel.domain.escalation import escalate, timer_id, told
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
from klingel.domain.merging import (
    Sent,
    gave_up_to_us,
    goes_the_other_way,
    handed_over,
    means_all,
    merge_of,
    merges_of_cases,
    read_sent,
    sent_on,
    turned_round,
)
from klingel.domain.routing import Routing
from klingel.domain.summaries import is_folded, joined, without
from klingel.domain.timeline import Generation, Lookup, Timeline
from klingel.domain.timers import Firing
from klingel.domain.triage import (
    NOBODY_WAITS,
    TriageReason,
    is_candidate,
    is_praise,
    lateness,
    needs_answer,
)
from klingel.model.case import AppliedCommand, Case, Fact, Opening, Summary, Terms
from klingel.model.case_command import CaseCommand
from klingel.model.case_event import CaseEvent
from klingel.model.escalation import Escalation
from klingel.model.routed_event import Decision
from klingel.model.social_event import SocialEvent
from klingel.model.tracked_conversation import TrackedConversation

Route = Callable[[SocialEvent, bool], Routing]
"""Routes an event; the second argument tells whether its customer had a case here before."""


class Change(Struct, frozen=True, gc=False):
    """What an event, a command or a timer makes of a conversation.

    Attributes:
        state: afterwards.
        changed: records to be written, with their new revision; withdrawn cases among them.
        removed: ids of records to be written as tombstones.
        case_events: what happened to cases, by deterministic ids.
        escalations: who is told, or told otherwise.
        commands: what other conversations have to do.
    """

    state: ConversationState
    changed: tuple[Case, ...] = ()
    removed: tuple[str, ...] = ()
    case_events: tuple[CaseEvent, ...] = ()
    escalations: tuple[Escalation, ...] = ()
    commands: tuple[CaseCommand, ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is to be written."""
        told = self.case_events or self.escalations or self.commands
        return not (self.changed or self.removed or told)


class FoldOutcome(Struct, frozen=True, gc=False):
    """What one event makes of a conversation.

    Attributes:
        change: of the conversation.
        decision: on this event.
        repeated: nothing was new: the event, or a newer revision of it, is known.
    """

    change: Change
    decision: Decision
    repeated: bool

    @property
    def state(self) -> ConversationState:
        """The conversation afterwards."""
        return self.change.state

    @property
    def changed(self) -> tuple[Case, ...]:
        """Records to be written."""
        return self.change.changed

    @property
    def removed(self) -> tuple[str, ...]:
        """Ids of records to be written as tombstones."""
        return self.change.removed

    @property
    def case_events(self) -> tuple[CaseEvent, ...]:
        """What happened to cases."""
        return self.change.case_events


class CommandOutcome(NamedTuple):
    """What one command makes of a conversation.

    Attributes:
        change: of the conversation.
        result: `applied`, `repeated`, or why it is refused.
        decision: on the post that was overruled, and where its event lies in social-events.
    """

    change: Change
    result: str
    decision: tuple[Decision, Position] | None = None


_UNNAMED: dict[str, str] = {}


class _Arrival(Struct, frozen=True, gc=False):
    """The event, and what triage says of it; `terms` is what a case that it opens is promised."""

    event: SocialEvent
    fact: Fact
    reason: TriageReason
    terms: tuple[str, Terms] | None = None


class _News(Struct, frozen=True, gc=False):
    """What is new in a conversation.

    Attributes:
        brand_id: brand.
        conversation_id: conversation.
        fact: what is known now of the object that an event is about.
        known: what was known of it before.
        command: that is taken.
        terms: what the event's case is promised.
        customers: whose cases it can change; None: anybody's.
        sent: facts and commands that another conversation sends.
    """

    brand_id: str
    conversation_id: str
    fact: Fact | None = None
    known: Fact | None = None
    command: AppliedCommand | None = None
    terms: tuple[str, Terms] | None = None
    customers: tuple[str, ...] | None = None
    sent: Sent | None = None


class _Folded(Struct, frozen=True, gc=False):
    """A conversation folded anew; `place` is the case in which the event's object lies."""

    state: ConversationState
    before: dict[str, Case]
    cases: dict[str, Case]
    changed: tuple[Case, ...]
    removed: tuple[str, ...]
    timeline: Timeline
    promises: Promises
    home: Case | None
    known: ConversationState


def fold_event(
    state: ConversationState,
    event: SocialEvent,
    position: Position,
    routing: Route,
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
    opens, why = _asks(event, brand)
    forgets = _needs_no_memory(event, opens=opens)
    object_hash, home, known = "", None, None
    if not (forgets and state.is_empty):  # most events are of this kind: nobody looks for them
        object_hash = hash64(event.object_id)
        home, known = state.find(object_hash)
    if forgets and known is None:
        return FoldOutcome(Change(state), _decision(event, brand, now, why), repeated=False)
    arrival = _arrival(event, object_hash, position, opens=opens, why=why)
    if forgets and known is not None and not supersedes(arrival.fact, known):
        # It must tell a known fact nothing either: it may as well have come first.
        if known.change != "deleted":
            return _repeated(state, arrival, known, home, brand, now)
        return FoldOutcome(Change(state), _decision(event, brand, now, why), repeated=False)
    if known is None:
        folded = _folded_in(state, arrival.fact)
        if folded is not None:
            decision = _decision(event, brand, now, _known_reason(event), folded)
            return FoldOutcome(Change(state), decision, repeated=event.revision == 0)
        arrival = _routed(arrival, routing, state)
        fact = arrival.fact
    else:
        was_said = known.change != "deleted"
        newer = was_said and supersedes(arrival.fact, known)
        arrival = _routed(arrival, routing, state, again=newer)
        fact = join(known, arrival.fact)
        if fact == known:
            return _repeated(state, arrival, known, home, brand, now)
    return _fold_arrival(state, arrival, fact, known, brand, now)


def _fold_arrival(
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
    news = _News(
        event.brand, event.conversation_id, fact, known, terms=arrival.terms, customers=reach
    )
    folded = _refold(state, news, brand)
    place = folded.timeline.place_of(fact.object)
    reason = _reason(arrival, fact, known, place, brand)
    home = folded.home
    if place is not None:
        home = folded.cases.get(place.identity)
    decision = _decision(
        event,
        brand,
        now,
        reason,
        home,
        _number(event, fact),
        fact,
        out_of_hours=_out_of_hours(arrival, folded.promises),
    )
    if place is not None:
        folded = _late_word(folded, place.identity, fact, brand)
    change = _change(folded, Cause(event.event_id, fact=fact), brand, now)
    if place is not None and fact.customer is not None and event.change != "deleted":
        other = handed_over(event, fact.customer)
        if other is not None:
            change = structs.replace(change, commands=(*change.commands, other))
    return FoldOutcome(change, decision, repeated=False)


def fold_command(
    state: ConversationState, command: CaseCommand, brand: CompiledBrand, now: datetime
) -> CommandOutcome:
    """Fold one command into the state of its conversation.

    Args:
        state: of the command's conversation, from the records written before.
        command: the command.
        brand: the command's brand.
        now: when this is decided, aware UTC.
    """
    if command.facts is not None:
        return _fold_sent(state, command, read_sent(command.facts), brand, now)
    if is_applied(state, command.command_id):
        return CommandOutcome(Change(state), "repeated")
    if command.kind == "merge" and means_all(command):
        return _merge_all(state, command, brand, now)
    return _about_a_case(state, command, brand, now)


def _about_a_case(
    state: ConversationState, command: CaseCommand, brand: CompiledBrand, now: datetime
) -> CommandOutcome:
    target = target_of(state, command)
    if target is None and comes_early(command):
        return _keep_early(state, command, brand, now)
    refusal = refusal_of(target, command, brand, state)
    if refusal is not None or target is None:
        why = refusal.value if refusal is not None else "unknown_case"
        return _refused(state, command, target, why, brand, now)
    if goes_the_other_way(command):
        other = turned_round(command, target.case)
        told = knowing(target.case, command)
        return CommandOutcome(Change(state.replaced(told), (told,), commands=(other,)), "applied")
    return _taken(state, command, target, brand, now)


def _taken(
    state: ConversationState,
    command: CaseCommand,
    target: Target,
    brand: CompiledBrand,
    now: datetime,
) -> CommandOutcome:
    applied = applied_of(command, target)
    fact, known = _overruled(target.case, applied)
    # Where the brand answered somebody by guess, a closing may move whom.
    alone = state.is_large and not state.index().guessed
    news = _News(
        command.brand,
        command.conversation_id,
        fact,
        known,
        command=applied,
        customers=(target.case.customer_id,) if alone else None,
    )
    folded = _refold(state, news, brand)
    if command.kind == "incident_joined":
        folded = _escalated(folded, target, applied, brand)
    change = _change(folded, Cause(command.command_id, command=applied), brand, now)
    return CommandOutcome(change, "applied", _overruling(target, fact, folded, brand, now))


def _keep_early(
    state: ConversationState, command: CaseCommand, brand: CompiledBrand, now: datetime
) -> CommandOutcome:
    """Remember what a stage wants of a post that has not arrived here yet."""
    news = _News(command.brand, command.conversation_id, command=early_of(command))
    folded = _refold(state, news, brand)
    cause = Cause(command.command_id, command=news.command)
    return CommandOutcome(_change(folded, cause, brand, now), "kept")


def _refused(
    state: ConversationState,
    command: CaseCommand,
    target: Target | None,
    why: str,
    brand: CompiledBrand,
    now: datetime,
) -> CommandOutcome:
    """Say why a command is not taken, and remember that: a replay must not take it after all."""
    event = refused(command, target.case if target is not None else None, why, brand, now)
    if target is not None:
        told = knowing(target.case, command)
        after = state.replaced(told)
    else:
        told = knowing_of_nobody(state.held, command, brand.version)
        after = state.holding(told)
    return CommandOutcome(Change(after, changed=(told,), case_events=(event,)), why)


def _merge_all(
    state: ConversationState, command: CaseCommand, brand: CompiledBrand, now: datetime
) -> CommandOutcome:
    """Merge a whole conversation into another, with all that will yet be said in it."""
    into = command.into_conversation_id
    why = Refusal.NOTHING_ASKED if into is None else None
    if into == command.conversation_id:
        why = Refusal.SAME_CASE
    if why is not None:
        event = refused(command, None, why.value, brand, now)
        return CommandOutcome(Change(state, case_events=(event,)), why.value)
    if goes_the_other_way(command):
        other = turned_round(command, None)
        return CommandOutcome(Change(state, commands=(other,)), "applied")
    applied = AppliedCommand(
        id=command.command_id,
        kind="merge",
        at=command.at,
        by=command.by,
        into_conversation=into,
    )
    news = _News(command.brand, command.conversation_id, command=applied)
    folded = _refold(state, news, brand)
    change = _change(folded, Cause(command.command_id, command=applied), brand, now)
    return CommandOutcome(change, "applied")


def _fold_sent(
    state: ConversationState,
    command: CaseCommand,
    sent: Sent,
    brand: CompiledBrand,
    now: datetime,
) -> CommandOutcome:
    """Fold what another conversation sends; what is known already changes nothing."""
    known = [each for record in state.records() for each in record.applied or ()]
    circles = tuple(gave_up_to_us(sent, known, command.at))
    if circles:
        sent = structs.replace(sent, commands=[*sent.commands, *circles])
    reach, sent = _reach_of_sent(state, sent, command.conversation_id)
    news = _News(command.brand, command.conversation_id, customers=reach, sent=sent)
    folded = _refold(state, news, brand)
    if not folded.changed and not folded.removed:
        return CommandOutcome(Change(state), "repeated")
    return CommandOutcome(_change(folded, Cause(command.command_id), brand, now, sent), "applied")


def _reach_of_sent(
    state: ConversationState, sent: Sent, conversation_id: str
) -> tuple[tuple[str, ...] | None, Sent]:
    """Return the customers whose cases a few facts can change, and what is left of them that is new.

    None where it may be anybody's.
    """
    if not state.is_large or sent.commands or sent.summary is not None:
        return None, sent
    if len(sent.facts) > SMALL:
        return None, sent
    index, root = state.index(), hash64(conversation_id)
    reached: dict[str, None] = {}
    new: list[Fact] = []
    for fact in sent.facts:
        _, known = state.find(fact.object)
        after = fact if known is None else join(known, fact)
        if after == known or (known is None and _folded_in(state, fact) is not None):
            continue
        new.append(fact)
        reach = reach_of(state, index, after, known, root)
        # Of several, one may answer what another says.
        if reach is None or (len(sent.facts) > 1 and fact.direction == "outbound"):
            return None, sent
        reached.update(dict.fromkeys(reach))
    return tuple(reached), structs.replace(sent, facts=new)


def _overruled(case: Case, applied: AppliedCommand) -> tuple[Fact | None, Fact | None]:
    """Return the post that a command overrules, as it is afterwards and before."""
    if applied.kind != "override" or (applied.tone is None and applied.intents is None):
        return None, None
    known = next((fact for fact in case.facts if fact.object == applied.object), None)
    if known is None or _is_overruled_later(case, applied):
        return None, None
    fact = structs.replace(
        known,
        tone=applied.tone or known.tone,
        intents=applied.intents or known.intents,
        overruled_by=applied.by,
        decision=(known.decision or 0) + 1,
    )
    return fact, known


def _is_overruled_later(case: Case, applied: AppliedCommand) -> bool:
    """Whether a command that was given later than this one has overruled the post already."""
    return any(
        each.kind == "override"
        and each.object == applied.object
        and (each.at, each.id) > (applied.at, applied.id)
        for each in case.applied or ()
    )


def _overruling(
    target: Target, fact: Fact | None, folded: _Folded, brand: CompiledBrand, now: datetime
) -> tuple[Decision, Position] | None:
    """Return the decision on an overruled post, and where its event lies."""
    if fact is None or fact.origin is None:
        return None
    case = folded.cases.get(target.case.case_id, target.case)
    number, reason = fact.decision or 0, TriageReason.OVERRULED
    decision = _said_of(number, reason, fact.direction, case, fact, brand, now)
    return decision, (fact.origin[0], fact.origin[1])


def _escalated(
    folded: _Folded, target: Target, applied: AppliedCommand, brand: CompiledBrand
) -> _Folded:
    """Raise the escalations of a case that joined an incident."""
    case = folded.cases.get(target.case.case_id)
    if case is None:
        return folded
    raised = escalate(case, "incident", applied.target or "", applied.at, brand, None)
    if raised is case:
        return folded
    return _replaced(folded, case, raised)


def _late_word(folded: _Folded, identity: str, fact: Fact, brand: CompiledBrand) -> _Folded:
    """Raise what a word raises that comes to light after the closing and has no answer."""
    case = folded.cases.get(identity)
    if case is None or not is_late_unanswered(case, fact, folded.before.get(identity)):
        return folded
    raised = escalate(case, "late_unanswered", fact.object, received_at(fact), brand, None)
    return folded if raised is case else _replaced(folded, case, raised)


def _replaced(folded: _Folded, case: Case, other: Case) -> _Folded:
    cases = {**folded.cases, case.case_id: other}
    changed = tuple(other if each is case else each for each in folded.changed)
    after = folded.state.replaced(other)
    return structs.replace(folded, cases=cases, changed=changed, state=after)


def wake(state: ConversationState, firing: Firing, brand: CompiledBrand, now: datetime) -> Change:
    """Fold a conversation anew in which a snooze is over.

    Args:
        state: with the case as it was before its timers fired.
        firing: what fired, with the case after it.
        brand: whose case it is.
        now: when this is decided.
    """
    case = firing.case
    assert case is not None
    news = _News(
        case.brand,
        case.conversation_id,
        customers=(case.customer_id,) if state.is_large else None,
    )
    folded = _refold(state.replaced(case), news, brand, known=state)
    return _change(folded, Cause(firing.fired[0].id, firing=firing), brand, now)


def pass_time(
    case: Case, firing: Firing, brand: CompiledBrand, now: datetime
) -> tuple[Case | None, tuple[CaseEvent, ...], tuple[Escalation, ...]]:
    """Return what timers made of one case, of which nothing has to be folded anew.

    Args:
        case: before.
        firing: what fired.
        brand: whose case it is.
        now: when this is decided.
    """
    if firing.case is None:
        return None, (), ()
    after = revised(case, firing.case, brand)
    cause = Cause(firing.fired[0].id, firing=firing)
    happened = history({case.case_id: case}, {case.case_id: after}, cause, brand.version, now)
    return after, happened, tuple(told(case, after, now, brand.version))


def _change(
    folded: _Folded,
    cause: Cause,
    brand: CompiledBrand,
    now: datetime,
    sent: Sent | None = None,
) -> Change:
    arrived = sent
    if arrived is None:
        arrived = Sent([] if cause.fact is None else [cause.fact])
    withdrawn = folded.known.withdrawn
    happened = history(folded.before, folded.cases, cause, brand.version, now, withdrawn)
    escalations: list[Escalation] = []
    for case in folded.changed:
        if case.escalations:
            escalations += told(folded.before.get(case.case_id), case, now, brand.version)
    sent_further = sent_on(folded.known, folded.state, folded.changed, arrived, cause.id, now)
    return Change(
        folded.state,
        folded.changed,
        folded.removed,
        happened,
        tuple(escalations),
        tuple(sent_further),
    )


def _asks(event: SocialEvent, brand: CompiledBrand) -> tuple[bool, TriageReason]:
    """Return whether an event may open a case, and why not; the reason is `opened` where it may."""
    needed, reason = needs_answer(event, brand)
    late = lateness(event, brand) if needed else None
    return needed and late is None, late or reason


def _arrival(
    event: SocialEvent, object_hash: str, position: Position, *, opens: bool, why: TriageReason
) -> _Arrival:
    if event.change == "deleted":
        return _Arrival(event, deletion_of(event, object_hash, position), why)
    fact = fact_of(
        event,
        object_hash,
        position,
        needs_answer=opens,
        asks_nothing=why in NOBODY_WAITS,
    )
    return _Arrival(event, fact, why)


def _routed(
    arrival: _Arrival, routing: Route, state: ConversationState, *, again: bool = False
) -> _Arrival:
    """Return the arrival with what a case would take from it, where it may open one.

    A further revision is routed even where it needs no answer: an earlier one may have. So is what
    comes too late to open a case, and what is said again of a known object: the same may have been
    said live, and be read anew by a configuration that no longer wants an answer.
    """
    event, fact = arrival.event, arrival.fact
    may_open = again or fact.needs_answer or event.origin.mode == "remap"
    may_open = may_open or arrival.reason in _LATE
    if fact.customer is None or not (may_open or event.revision > 0 or event.change != "created"):
        return arrival
    routed = routing(event, state.knows(fact.customer))
    fact = structs.replace(fact, opening=_opening(event, routed, fact.origin))
    return structs.replace(arrival, fact=fact, terms=routed.terms)


_LATE = frozenset({TriageReason.NOT_LIVE, TriageReason.TOO_OLD})


def _opening(event: SocialEvent, routed: Routing, origin: list[int] | None) -> Opening:
    intents = event.enrichment.intents if event.enrichment is not None else None
    return Opening(
        queue=routed.queue,
        rule=routed.rule,
        priority=routed.priority,
        network=event.network,
        channel=event.channel,
        terms=routed.terms[0] if routed.terms is not None else None,
        intents=[intent.name for intent in intents] if intents else None,
        revision=event.revision or None,
        offset=origin[1] if origin else None,
    )


def _needs_no_memory(event: SocialEvent, *, opens: bool) -> bool:
    """Whether forgetting an event changes nothing, whatever comes.

    The root of a conversation that cannot open a case: nobody's word lies before it, what replies
    to it is taken as an answer to nobody else, and no older revision can come.
    """
    return (
        not opens
        and event.revision == 0
        and event.change == "created"
        and event.object_id == event.conversation_id
    )


def _folded_in(state: ConversationState, fact: Fact) -> Case | None:
    """Return the case in whose summary an object lies already."""
    for case in state.summed_up():
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
    hours = None
    if arrival.terms is not None:
        hours = _out_of_hours(arrival, Promises(dict([arrival.terms])))
    decision = _decision(arrival.event, brand, now, reason, case, number, known, out_of_hours=hours)
    return FoldOutcome(Change(state), decision, repeated=True)


def _number(event: SocialEvent, fact: Fact) -> int:
    """Return the number of the decision on the event's own revision."""
    said = event.change != "deleted" and event.revision == fact.revision
    return fact.decision or 0 if said else 0


def _refold(
    state: ConversationState,
    news: _News,
    brand: CompiledBrand,
    *,
    known: ConversationState | None = None,
) -> _Folded:
    """Derive the cases of a conversation anew.

    Args:
        state: before the news.
        news: what is new.
        brand: whose conversation it is.
        known: what was written of it, where that is not `state`.
    """
    known = known or state
    written, some = known.cases, state.cases
    if news.customers is not None:
        some = {case.case_id: case for case in state.cases_of(news.customers)}
    cases_before = [*some.values()]
    if news.sent is not None:
        cases_before = _with_summary(cases_before, state, news, news.sent)
    material = _material(cases_before, state, news)
    timeline = _timeline(state, material, news, brand, _firsts(cases_before))
    timeline.run(material.facts)
    cases = {case.case_id: revised(some[case.case_id], case, brand) for case in material.frozen}
    for generation in timeline.generations:
        case = _derived(state, timeline, generation, material, news, brand)
        cases[case.case_id] = case
    before = written
    if some is not written:
        before = {identity: written[identity] for identity in some if identity in written}
    commands = material.commands
    homeless = [each for each in commands if timeline.case_of(each) is None] if commands else []
    held = held_record(
        state.held,
        timeline.held,
        homeless,
        material.promises,
        brand_id=news.brand_id,
        conversation_id=news.conversation_id,
        config_version=brand.version,
    )
    changed = [case for case in cases.values() if case is not before.get(case.case_id)]
    gone = [withdrawn(case, brand) for identity, case in some.items() if identity not in cases]
    left = _left(state.withdrawn, cases, gone)
    if news.customers is not None:
        after = state.then(changed, left, held, state.index())
    else:
        after = ConversationState(cases, held, left)
    changed += gone
    if held is not None and held is not state.held:
        changed.append(held)
    removed = () if held is not None or state.held is None else (state.held.case_id,)
    return _Folded(
        after,
        before,
        cases,
        tuple(changed),
        removed,
        timeline,
        material.promises,
        material.home,
        known,
    )


def _left(known: dict[str, Case], cases: dict[str, Case], gone: list[Case]) -> dict[str, Case]:
    """Return the withdrawn cases: those that are known and have not come back, and further ones."""
    if not known and not gone:
        return known
    left = {each: case for each, case in known.items() if each not in cases}
    left.update((case.case_id, case) for case in gone)
    return left


class _Material(Struct, frozen=True, gc=False):
    """What is folded.

    Attributes:
        facts: by object hash.
        frozen: cases that stay as they are but for the content of their facts.
        resumed: cases with folded facts, from which the fold goes on.
        elsewhere: object hash to customer, of the facts of frozen cases.
        home: the frozen case in which the arrived fact lies, if any.
        promises: what the cases were promised.
        commands: of the cases that are folded.
        woken: ids of snoozes whose time is over.
    """

    facts: dict[str, Fact]
    frozen: list[Case]
    resumed: list[Case]
    elsewhere: dict[str, str]
    home: Case | None
    promises: Promises
    commands: list[AppliedCommand]
    woken: frozenset[str]


def _material(cases: Collection[Case], state: ConversationState, news: _News) -> _Material:
    """Sort out what is folded anew.

    Generations before one that has folded facts are history: nothing can change them.
    """
    last_folded = _last_folded(cases)
    arrived = news.fact
    terms: dict[str, Terms] = dict([news.terms]) if news.terms is not None else {}
    commands = [news.command] if news.command is not None else []
    facts: dict[str, Fact] = {}
    all_frozen: list[Case] = []
    resumed: list[Case] = []
    elsewhere: dict[str, str] = {}
    home = None
    for case in cases:
        if case.terms:
            terms.update(case.terms)
        boundary = last_folded.get(case.customer_id, 0)
        if case.generation < boundary:
            frozen = _frozen(case, arrived)
            all_frozen.append(frozen)
            elsewhere.update((each.object, case.customer_id) for each in frozen.facts)
            if arrived is not None and arrived in frozen.facts:
                home = frozen
            continue
        if case.generation == boundary:
            resumed.append(case)
        if case.applied:
            commands += case.applied
        facts.update([(fact.object, fact) for fact in case.facts])
    for record in _beside(state, cases):
        terms.update(record.terms or {})
        commands.extend(record.applied or ())
        facts.update([(fact.object, fact) for fact in record.facts])
    if home is None and arrived is not None:
        facts[arrived.object] = arrived
    promises, woken = Promises(terms), _woken(cases)
    material = _Material(facts, all_frozen, resumed, elsewhere, home, promises, commands, woken)
    if news.sent is not None:
        _take_in(news.sent, material)
    return material


def _take_in(sent: Sent, material: _Material) -> None:
    """Join what another conversation sends with what is known."""
    material.promises.terms.update(sent.terms)
    have = {each.id for each in material.commands}
    material.commands.extend(each for each in sent.commands if each.id not in have)
    summaries = [case.summary for case in material.resumed if case.summary is not None]
    for fact in sent.facts:
        if fact.object in material.elsewhere:
            continue
        if any(is_folded(summary, fact.object) for summary in summaries):
            continue
        known = material.facts.get(fact.object)
        material.facts[fact.object] = fact if known is None else join(known, fact)


def _with_summary(
    cases: list[Case], state: ConversationState, news: _News, sent: Sent
) -> list[Case]:
    """Return the cases, in one of them what the sender's older facts came to.

    That is the customer's case in which facts are folded already, else the first; where the
    customer has none, one that holds nothing else.
    """
    if sent.summary is None or sent.customer is None:
        return cases
    facts = [fact for record in state.records() for fact in record.facts]
    summary = without(sent.summary, facts)
    frozen = (case.summary for case in state.cases.values() if case.summary is not None)
    if summary is None or any(joined(each, summary) == each for each in frozen):
        return cases
    theirs = [case for case in cases if case.customer_id == sent.customer]
    boundary = _last_folded(theirs).get(sent.customer)
    home = min(
        (case for case in theirs if boundary is None or case.generation == boundary),
        key=lambda case: case.generation,
        default=None,
    )
    if home is None:
        return [*cases, _begun(news, sent.customer, summary)]
    both = summary if home.summary is None else joined(home.summary, summary)
    return [structs.replace(case, summary=both) if case is home else case for case in cases]


def _begun(news: _News, customer: str, summary: Summary) -> Case:
    """Return a case of which no more is known than its summary."""
    return Case(
        case_id=case_id(news.brand_id, news.conversation_id, customer, 1),
        brand=news.brand_id,
        conversation_id=news.conversation_id,
        customer_id=customer,
        generation=1,
        revision=0,
        state="open",
        facts=[],
        summary=summary,
        config_version="",
    )


def _last_folded(cases: Iterable[Case]) -> dict[str, int]:
    """Return the last generation with folded facts of each customer who has one."""
    last: dict[str, int] = {}
    for case in cases:
        if case.summary is not None:
            last[case.customer_id] = max(last.get(case.customer_id, 0), case.generation)
    return last


def _beside(state: ConversationState, cases: Collection[Case]) -> Iterable[Case]:
    """Return the conversation's own record, and withdrawn cases of customers who are folded."""
    beside = [] if state.held is None else [state.held]
    if not state.withdrawn:
        return beside
    customers = {case.customer_id for case in cases}
    everybody = len(cases) == len(state.cases)
    gone = state.withdrawn.values()
    beside += [case for case in gone if everybody or case.customer_id in customers]
    return beside


def _frozen(case: Case, arrived: Fact | None) -> Case:
    if arrived is None:
        return case
    facts = [arrived if each.object == arrived.object else each for each in case.facts]
    return structs.replace(case, facts=facts)


def _woken(cases: Iterable[Case]) -> frozenset[str]:
    """Return the snoozes of which a timer said that they are over."""
    over: list[str] = []
    for case in cases:
        if not case.fired:
            continue
        done = {each.id for each in case.fired if each.kind == "unsnoozed"}
        if not done:
            continue
        for each in case.applied or ():
            until = each.until.isoformat() if each.until is not None else ""
            if each.kind == "snooze" and timer_id(case.case_id, until, "unsnoozed") in done:
                over.append(each.id)
    return frozenset(over)


def _firsts(cases: Iterable[Case]) -> dict[str, int]:
    """Return the number of each customer's first case, where those before it are forgotten."""
    firsts: dict[str, int] = {}
    for case in cases:
        known = firsts.get(case.customer_id, case.generation)
        firsts[case.customer_id] = min(known, case.generation)
    return firsts


def _timeline(
    state: ConversationState,
    material: _Material,
    news: _News,
    brand: CompiledBrand,
    firsts: dict[str, int],
) -> Timeline:
    elsewhere: Lookup = material.elsewhere.get
    names: Lookup = _UNNAMED.get
    if news.customers is not None:
        index = state.index()
        elsewhere, names = customers_by_object(state, index), index.customer_named
    return Timeline(
        news.conversation_id,
        brand,
        resumed=material.resumed,
        firsts=firsts,
        elsewhere=elsewhere,
        names=names,
        arrived=_arrived(news),
        promises=material.promises,
        commands=material.commands,
        woken=material.woken,
    )


def _arrived(news: _News) -> Collection[str] | None:
    """Return what may lie among folded facts and is not counted yet; None where anything may."""
    sent = news.sent
    if sent is not None:
        return None if sent.summary is not None else {fact.object for fact in sent.facts}
    return () if news.fact is None else (news.fact.object,)


def _case_id(news: _News, generation: Generation) -> str:
    return case_id(news.brand_id, news.conversation_id, generation.customer, generation.number)


def _derived(
    state: ConversationState,
    timeline: Timeline,
    generation: Generation,
    material: _Material,
    news: _News,
    brand: CompiledBrand,
) -> Case:
    """Return the record of a generation; the old one itself where nothing changed."""
    identity = generation.identity = _case_id(news, generation)
    commands = material.commands
    if commands:
        commands = [each for each in commands if timeline.case_of(each) is generation]
    return derived(
        identity,
        news.brand_id,
        news.conversation_id,
        generation,
        commands,
        material.promises,
        brand,
        old=state.cases.get(identity),
        earlier=state.withdrawn.get(identity),
        merged=_merged(material, commands, news.conversation_id, generation.customer),
    )


def _merged(
    material: _Material, commands: list[AppliedCommand], conversation_id: str, customer: str
) -> AppliedCommand | None:
    """Return the command by which a customer's case goes on elsewhere, None where it goes on here.

    Args:
        material: what is folded.
        commands: that are about the case.
        conversation_id: its conversation.
        customer: whose case it is.
    """
    if not material.commands or all(each.kind != "merge" for each in material.commands):
        return None
    whole = merge_of(material.commands, conversation_id)
    if whole is not None:
        return whole
    # One that was early may name a post that turned out to be another customer's.
    own = {each.id for each in commands if each.customer in {None, customer}}
    merges = merges_of_cases(material.commands, conversation_id)
    return next((each for each in merges if each.id in own), None)


def _reason(
    arrival: _Arrival,
    fact: Fact,
    known: Fact | None,
    place: Generation | None,
    brand: CompiledBrand,
) -> TriageReason:
    """Return the one reason of an event, from where its fact came to lie."""
    if arrival.event.change == "deleted":
        return TriageReason.DELETED if known is not None else TriageReason.HELD
    if known is not None and known.change != "deleted" and arrival.event.revision < known.revision:
        return TriageReason.SUPERSEDED
    if place is None:
        return _unplaced_reason(arrival, fact, known)
    opened = fact.object == place.opener and (known is None or not can_open(known))
    if arrival.event.direction == "outbound":
        reason = TriageReason.ANSWERED
    elif opened:
        reason = _opening_reason(arrival.event, place, brand)
    elif known is not None and known.change != "deleted":
        reason = TriageReason.EDITED
    elif fact.object == place.reopened:
        reason = TriageReason.REOPENED
    elif fact.object in place.after:
        reason = TriageReason.CLOSED_GENERATION
    else:
        reason = TriageReason.JOINED
    return reason


def _opening_reason(event: SocialEvent, place: Generation, brand: CompiledBrand) -> TriageReason:
    if is_candidate(event, brand):
        return TriageReason.OUTREACH
    if brand.triage.praise_queue is not None and is_praise(event):
        return TriageReason.PRAISED
    return TriageReason.OPENED if place.number == 1 else TriageReason.NEW_GENERATION


def _unplaced_reason(arrival: _Arrival, fact: Fact, known: Fact | None) -> TriageReason:
    if known is not None and known.change != "deleted":
        return TriageReason.EDITED
    if fact.direction == "outbound":
        to_somebody = fact.in_reply_to is not None or fact.addressees is not None
        return TriageReason.ANSWERS_NOBODY if to_somebody else TriageReason.OWN_POST
    if arrival.reason is TriageReason.OPENED:
        return TriageReason.DELETED_BEFORE_OPENING
    return arrival.reason


def _decision(
    event: SocialEvent,
    brand: CompiledBrand,
    now: datetime,
    reason: TriageReason,
    case: Case | None = None,
    number: int = 0,
    fact: Fact | None = None,
    *,
    out_of_hours: bool | None = None,
) -> Decision:
    return _said_of(
        number,
        reason,
        event.direction,
        case,
        fact,
        brand,
        now,
        outreach=is_candidate(event, brand) or None,
        out_of_hours=out_of_hours,
    )


def _out_of_hours(arrival: _Arrival, promises: Promises) -> bool | None:
    """Whether what needs an answer came while the calendar of its promise was closed."""
    if arrival.terms is None:
        return None
    promise = promises.get(arrival.terms[0])
    return None if promise is None else not promise.calendar.is_open(arrival.fact.at) or None


def _said_of(
    number: int,
    reason: TriageReason,
    direction: Literal["inbound", "outbound", "third_party"],
    case: Case | None,
    fact: Fact | None,
    brand: CompiledBrand,
    now: datetime,
    *,
    outreach: bool | None = None,
    out_of_hours: bool | None = None,
) -> Decision:
    """Return a decision: what it says of the case, and of the post what people said of it.

    They win over every model.
    """
    overruled = fact if fact is not None and fact.overruled_by is not None else None
    return Decision(
        number=number,
        triage=str(reason),
        direction=direction,
        routed_at=now,
        config_version=brand.version,
        outreach=outreach,
        out_of_hours=out_of_hours,
        case_id=case.case_id if case is not None else None,
        queue=case.queue if case is not None else None,
        priority=case.priority.score if case is not None and case.priority is not None else None,
        rule=case.rule if case is not None else None,
        explain=case.explain if case is not None else None,
        overruled_tone=overruled.tone if overruled is not None else None,
        overruled_intents=overruled.intents if overruled is not None else None,
        overruled_by=overruled.overruled_by if overruled is not None else None,
    )


def tracked_of(state: ConversationState) -> TrackedConversation | None:
    """Return the tracking record of a conversation, None where no case of it is open."""
    count, since = state.tracked()
    if since is None:
        return None
    some = next(iter(state.cases.values()))
    return TrackedConversation(
        brand=some.brand, conversation_id=some.conversation_id, open_cases=count, since=since
    )
