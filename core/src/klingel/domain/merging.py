"""Merging: one matter in two conversations goes on in one of them.

A conversation that turns out to be part of another (a link that came late) merges whole, and a case
merges by a person's command. The side that gives up keeps folding what it hears, shows its cases as
merged, and sends every fact on, the first time all of them. The other side joins them like facts of
its own. Joining is idempotent and a fact that is known changes nothing: so merges chain (what is
sent to a merged conversation is sent on from there), commute, and end, even in a circle.

Of two cases the one with the smaller id goes on, whichever a person named first: two people who
merge them both ways mean the same.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import structs

from klingel.domain.conversation import ConversationState
from klingel.domain.identity import deterministic_id
from klingel.errors import ErrorType, InvalidMessage
from klingel.model.case import AppliedCommand, Case, Fact, Terms
from klingel.model.case_command import CaseCommand

BY = "care"


class Sent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one conversation sends to another.

    Attributes:
        facts: in the words of the receiver: of its customer, where a case is merged.
        terms: what their cases were promised.
        commands: that are about them.
        whole: the conversation that sends, where all of it merged into the receiver.
    """

    facts: list[Fact]
    terms: dict[str, Terms] = {}
    commands: list[AppliedCommand] = []
    whole: str | None = None


def read_sent(plain: dict[str, Any]) -> Sent:
    """Read what another conversation sends; raises InvalidMessage."""
    try:
        return msgspec.convert(plain, Sent)
    except msgspec.ValidationError:
        raise InvalidMessage(
            ErrorType.SCHEMA, "the facts of a merge are no facts of case.v1", path="facts"
        ) from None


def merge_of(commands: Iterable[AppliedCommand], conversation_id: str) -> AppliedCommand | None:
    """Return the command that merged a whole conversation; of several the earliest.

    Where two conversations were merged into each other, the one with the smaller id goes on.

    Args:
        commands: of the conversation.
        conversation_id: the conversation.
    """
    whole = [each for each in commands if each.kind == "merge" and each.anchor is None]
    gave_up = {each.target for each in whole if each.into_conversation is None}
    standing = [
        each
        for each in whole
        if each.into_conversation is not None
        and not (each.into_conversation in gave_up and conversation_id < each.into_conversation)
    ]
    return min(standing, key=lambda each: (each.at, each.id), default=None)


def gave_up_to_us(sender: str, at: datetime) -> AppliedCommand:
    """Return what is remembered of a conversation that merged whole into this one."""
    identity = deterministic_id(sender, "gave_up")
    return AppliedCommand(id=identity, kind="merge", at=at, by=BY, target=sender)


def goes_the_other_way(command: CaseCommand) -> bool:
    """Whether of two cases the other one has to give up: the smaller id goes on."""
    if command.kind != "merge" or command.case_id is None or command.target is None:
        return False
    return command.case_id < command.target


def turned_round(command: CaseCommand, case: Case) -> CaseCommand:
    """Return the same wish to the case that has to give up."""
    return CaseCommand(
        command_id=deterministic_id(command.command_id, "turned_round"),
        brand=command.brand,
        conversation_id=command.into_conversation_id or "",
        case_id=command.target,
        kind="merge",
        at=command.at,
        by=command.by,
        target=case.case_id,
        into_conversation_id=case.conversation_id,
        into_customer_id=case.customer_id,
        cause=command.command_id,
    )


def sent_on(
    before: ConversationState,
    after: ConversationState,
    changed: Collection[Case],
    cause: str,
    now: datetime,
) -> Iterator[CaseCommand]:
    """Yield what a conversation with merged cases has to send on.

    Args:
        before: as it was.
        after: as it is.
        changed: the records that changed.
        cause: event or command that changed them.
        now: when.
    """
    whole = _whole(after)
    if whole is None and not any(record.applied for record in changed):
        return
    known = {record.case_id: record for record in before.records()}
    was_whole = _whole(before)
    for record in changed:
        merge = whole or next((each for each in record.applied or () if each.kind == "merge"), None)
        if merge is None or merge.into_conversation is None:
            continue
        old = known.get(record.case_id)
        was_sent = old is not None and (was_whole is not None or old.state == "merged")
        sent = _news(record, old if was_sent else None, merge)
        if sent is not None:
            if merge is whole:
                sent = structs.replace(sent, whole=record.conversation_id)
            yield _command(record, merge, sent, cause, now)


def _whole(state: ConversationState) -> AppliedCommand | None:
    held = state.held
    return None if held is None else merge_of(held.applied or (), held.conversation_id)


def _news(record: Case, old: Case | None, merge: AppliedCommand) -> Sent | None:
    """Return what is new in a record; None where nothing is."""
    known_facts = {fact.object: fact for fact in old.facts} if old is not None else {}
    known_commands = {each.id for each in (old.applied or ())} if old is not None else set()
    facts = [
        _in_words_of(merge, fact) for fact in record.facts if known_facts.get(fact.object) != fact
    ]
    commands = [
        structs.replace(each, customer=merge.into_customer or each.customer)
        for each in record.applied or ()
        if each.kind != "merge" and each.id not in known_commands
    ]
    if not facts and not commands:
        return None
    return Sent(facts, _needed(facts, record.terms or {}), commands)


def _in_words_of(merge: AppliedCommand, fact: Fact) -> Fact:
    if merge.into_customer is None or fact.customer is None:
        return fact
    return structs.replace(fact, customer=merge.into_customer)


def _needed(facts: Iterable[Fact], terms: Mapping[str, Terms]) -> dict[str, Terms]:
    keys = {fact.opening.terms for fact in facts if fact.opening is not None}
    return {key: terms[key] for key in keys if key is not None and key in terms}


def _command(
    record: Case, merge: AppliedCommand, sent: Sent, cause: str, now: datetime
) -> CaseCommand:
    into = merge.into_conversation or ""
    return CaseCommand(
        command_id=deterministic_id(record.case_id, into, str(record.revision), cause),
        brand=record.brand,
        conversation_id=into,
        customer_id=merge.into_customer,
        kind="merge",
        at=now,
        by=BY,
        target=record.case_id,
        facts=msgspec.to_builtins(sent),
        cause=cause,
    )
