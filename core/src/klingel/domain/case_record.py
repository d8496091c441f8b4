"""The record of a case: what was folded, held against its promises, with what people decided."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import structs

from klingel.config.compiled import CompiledBrand
from klingel.domain.clocks import Clocks, Promises, clocks_of
from klingel.domain.commands import KNOWN_COMMANDS, in_force, registers_of
from klingel.domain.conversation import NOBODY
from klingel.domain.escalation import escalate, settle, told_anew
from klingel.domain.identity import case_id
from klingel.domain.priority import AGAIN, INCIDENT, summed, velocity
from klingel.domain.routing import explain_special, explained
from klingel.domain.timeline import Generation
from klingel.model.case import AppliedCommand, Case, Fact, Opening, Priority, Terms
from klingel.model.case_command import CaseCommand


def derived(
    identity: str,
    brand_id: str,
    conversation_id: str,
    generation: Generation,
    commands: Sequence[AppliedCommand],
    promises: Promises,
    brand: CompiledBrand,
    *,
    old: Case | None,
    earlier: Case | None,
    merged: AppliedCommand | None = None,
) -> Case:
    """Return the record of a folded case; `old` itself where nothing changed.

    Args:
        identity: id of the case.
        brand_id: its brand.
        conversation_id: its conversation.
        generation: the case as it was folded.
        commands: that are about it.
        promises: of its conversation.
        brand: whose case it is.
        old: its record before.
        earlier: what is left of it where it was withdrawn.
        merged: command that merged it or its whole conversation, if one did.
    """
    opening, summary = generation.opening, generation.summary
    known_clocks = old.clocks if old is not None else None
    clocks = clocks_of(generation, opening.terms, promises, generation.turns_before, known_clocks)
    base = old or earlier
    since = generation.reopened_at or generation.opened_at
    applied, known = _kept(commands, base, since)
    registers = registers_of(applied, since)
    snooze = generation.snooze
    case = Case(
        case_id=identity,
        brand=brand_id,
        conversation_id=conversation_id,
        customer_id=generation.customer,
        generation=generation.number,
        revision=_revision(old, earlier),
        state=generation.state,
        network=opening.network,
        channel=opening.channel,
        facts=generation.facts,
        summary=summary,
        opened_at=generation.opened_at,
        closed_at=generation.closed_at,
        closed_because=generation.closed_because,
        reopened_at=generation.reopened_at,
        updated_at=_updated_at(generation),
        first_response_at=generation.first_response_at,
        responded_by=generation.responded_by,
        waiting_since=generation.waiting_since,
        snoozed_until=snooze.until
        if snooze is not None and generation.state == "snoozed"
        else None,
        queue=opening.queue,
        assignee=registers.assignee,
        acknowledged_at=registers.acknowledged_at,
        acknowledged_by=registers.acknowledged_by,
        incident=registers.incident,
        similar_to=registers.similar_to,
        overrides=registers.overrides,
        priority=_priority(generation, in_incident=registers.incident is not None),
        rule=opening.rule,
        explain=_explanation(old, opening, brand),
        counts=_counts(generation),
        terms=_terms(generation, promises),
        clocks=clocks.shown or None,
        turns=clocks.turns,
        due_at=_due_at(generation, clocks),
        applied=applied or None,
        commands=known or None,
        fired=base.fired if base is not None else None,
        escalations=base.escalations if base is not None else None,
        config_version=old.config_version if old is not None else brand.version,
    )
    case = settle(case if merged is None else merged_case(case, merged), clocks.every)
    if old is None:
        if earlier is not None:
            case = told_anew(case, earlier)
        opener = generation.opener or identity
        return escalate(case, "rule", opener, generation.opened_at, brand, None)
    return revised(old, case, brand)


def _revision(old: Case | None, earlier: Case | None) -> int:
    """Return the revision of a record that may turn out to be as it was; a new one's is its next."""
    if old is not None:
        return old.revision
    return earlier.revision + 1 if earlier is not None else 1


def merged_case(case: Case, merge: AppliedCommand) -> Case:
    """Return a case that goes on elsewhere: nothing runs here any more, its facts are sent on."""
    return structs.replace(
        case,
        state="merged",
        merged_into=merge.target or merge.into_conversation,
        closed_at=max(merge.at, case.opened_at or merge.at),
        closed_because="merged",
        waiting_since=None,
        snoozed_until=None,
        clocks=None,
        turns=None,
        due_at=None,
    )


def revised(old: Case, new: Case, brand: CompiledBrand) -> Case:
    """Return `old` where `new` equals it, else `new` as its next revision."""
    if new == old:
        return old
    return structs.replace(new, revision=old.revision + 1, config_version=brand.version)


def withdrawn(case: Case, brand: CompiledBrand) -> Case:
    """Return what is left of a case that should not have been opened, as its next revision.

    Its facts lie elsewhere now, and so does all that followed from them. It closes when it opened:
    no duration can be measured in it. Its commands stay, for the case may come back.
    """
    return settle(
        structs.replace(
            case,
            revision=case.revision + 1,
            state="closed",
            facts=[],
            closed_at=case.opened_at,
            closed_because="withdrawn",
            first_response_at=None,
            waiting_since=None,
            snoozed_until=None,
            clocks=None,
            turns=None,
            due_at=None,
            counts={"inbound": 0, "outbound": 0},
            config_version=brand.version,
        )
    )


def held_record(
    old: Case | None,
    facts: list[Fact],
    commands: list[AppliedCommand],
    promises: Promises,
    *,
    brand_id: str,
    conversation_id: str,
    config_version: str,
) -> Case | None:
    """Return the conversation's own record; None where there is nothing to remember.

    Args:
        old: the record before.
        facts: that belong to no case.
        commands: whose case is gone.
        promises: of the conversation.
        brand_id: its brand.
        conversation_id: the conversation.
        config_version: of the brand.
    """
    known = old.commands if old is not None else None
    if not facts and not commands and not known:
        return None
    applied = (in_force(commands, None)[0] or None) if commands else None
    if old is not None and old.facts == facts and old.applied == applied:
        return old
    return Case(
        case_id=case_id(brand_id, conversation_id, NOBODY, 0),
        brand=brand_id,
        conversation_id=conversation_id,
        customer_id=NOBODY,
        generation=0,
        revision=old.revision + 1 if old is not None else 1,
        state="held",
        facts=facts,
        applied=applied,
        commands=known,
        terms=_named(promises, (fact.opening for fact in facts)),
        updated_at=_newest(facts, old.updated_at if old is not None and known else None),
        config_version=config_version,
    )


def _newest(facts: Iterable[Fact], at: datetime | None) -> datetime | None:
    times = [fact.at for fact in facts]
    return max(times if at is None else [*times, at], default=None)


def knowing(case: Case, command: CaseCommand) -> Case:
    """Return a record that remembers a command which it did not take."""
    return structs.replace(
        case,
        commands=[*(case.commands or ()), command.command_id][-KNOWN_COMMANDS:],
        revision=case.revision + 1,
    )


def knowing_of_nobody(held: Case | None, command: CaseCommand, config_version: str) -> Case:
    """Return the conversation's own record, remembering a command about a case that is not known.

    Args:
        held: the record before.
        command: that was refused.
        config_version: of the brand.
    """
    record = held or Case(
        case_id=case_id(command.brand, command.conversation_id, NOBODY, 0),
        brand=command.brand,
        conversation_id=command.conversation_id,
        customer_id=NOBODY,
        generation=0,
        revision=0,
        state="held",
        facts=[],
        config_version=config_version,
    )
    return structs.replace(
        knowing(record, command),
        updated_at=max(record.updated_at or command.at, command.at),
    )


def _kept(
    commands: Sequence[AppliedCommand], old: Case | None, since: datetime
) -> tuple[list[AppliedCommand], list[str]]:
    """Return the commands in force, by time, and the ids of those that are too many."""
    if not commands:
        return [], list(old.commands or ()) if old is not None else []
    known = list(old.commands or ()) if old is not None else []
    applied, excess = in_force(commands, since)
    return applied, [*known, *excess][-KNOWN_COMMANDS:]


def _updated_at(generation: Generation) -> datetime:
    times = [fact.at for fact in generation.facts]
    if generation.summary is not None:
        times.append(generation.summary.last_at)
    return max(times)


def _due_at(generation: Generation, clocks: Clocks) -> datetime | None:
    return None if generation.closed_at is not None else clocks.due_at


def _priority(generation: Generation, *, in_incident: bool) -> Priority:
    if len(generation.facts) == 1 and generation.number == 1 and not in_incident:
        return summed(generation.opening.priority.parts)
    parts = dict(generation.opening.priority.parts)
    parts["again"] = AGAIN if generation.number > 1 else 0
    parts["velocity"] = velocity(generation.utterances())
    parts["incident"] = INCIDENT if in_incident else 0
    return summed(parts)


def _counts(generation: Generation) -> dict[str, int]:
    outbound = len([fact for fact in generation.facts if fact.direction == "outbound"])
    counts = {"inbound": len(generation.facts) - outbound, "outbound": outbound}
    summary = generation.summary
    if summary is not None:
        folded = summary.outbound or 0
        counts["inbound"] += summary.count - folded
        counts["outbound"] += folded
    return counts


def _terms(generation: Generation, promises: Promises) -> dict[str, Terms] | None:
    openings = [fact.opening for fact in generation.facts]
    openings.append(generation.opening)
    if generation.summary is not None:
        openings.append(generation.summary.opening)
    return _named(promises, openings)


def _named(promises: Promises, openings: Iterable[Opening | None]) -> dict[str, Terms] | None:
    """Return the promises that openings name."""
    keys = {opening.terms for opening in openings if opening is not None}
    if len(keys) > 1:
        return {key: promises.terms[key] for key in _sorted(keys) if key in promises.terms} or None
    for key in keys:
        if key and key in promises.terms:
            return {key: promises.terms[key]}
    return None


def _sorted(keys: Iterable[str | None]) -> list[str]:
    return sorted(key for key in keys if key)


def _explanation(old: Case | None, opening: Opening, brand: CompiledBrand) -> list[str]:
    if old is not None and old.explain is not None:
        routed = old.routed_queue or old.queue
        if old.rule == opening.rule and routed == opening.queue:
            return old.explain
    if opening.rule is None and opening.queue != brand.default_queue:
        return [explain_special(opening.queue)]
    return explained(brand, opening.rule)
