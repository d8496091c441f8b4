"""Merging: one matter in two conversations goes on in one of them.

A conversation that turns out to be part of another (a link that came late) merges whole, and a case
merges by a person's command. The side that gives up keeps folding what it hears, shows its cases as
merged, and sends every fact on, the first time all of them. The other side joins them like facts of
its own. Joining is idempotent and a fact that is known changes nothing: so merges chain (what is
sent to a merged conversation is sent on from there), commute, and end, even in a circle.

What is folded away goes along as its summary (`klingel.domain.summaries`). Where a case merged into
one conversation and all around it into another, it goes with the others, and its own merge with it.

Of two cases the one with the smaller id goes on, whichever a person named first: two people who
merge them both ways mean the same.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from re import compile as compiled
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, structs

from klingel.domain.commands import by_time
from klingel.domain.conversation import ConversationState
from klingel.domain.identity import deterministic_id
from klingel.domain.summaries import check, is_folded
from klingel.domain.threading import BY as THREADED
from klingel.errors import ErrorType, InvalidMessage
from klingel.model.case import AppliedCommand, Case, Fact, Opening, Summary, Terms
from klingel.model.case_command import CaseCommand
from klingel.model.social_event import SocialEvent

BY = "care"
_HASHES = compiled("[0-9a-f]*")


class Sent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one conversation sends to another.

    Attributes:
        facts: in the words of the receiver: of its customer, where a case is merged.
        terms: what their cases were promised.
        commands: that are about them.
        whole: the conversation that sends, where all of it merged into the receiver.
        part: what names the case that sends, where it alone merged: see `part_of`.
        customer: of the receiver, whose older facts `summary` tells of.
        summary: what the older facts of a case come to that are folded away; None where none are.
    """

    facts: list[Fact]
    terms: dict[str, Terms] = {}
    commands: list[AppliedCommand] = []
    whole: str | None = None
    part: str | None = None
    customer: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    summary: Summary | None = None


def part_of(conversation_id: str, customer_id: str) -> str:
    """Return what names a customer's matter in a conversation: a bounded text."""
    return deterministic_id(conversation_id, customer_id)


def read_sent(plain: dict[str, Any]) -> Sent:
    """Read what another conversation sends; raises InvalidMessage."""
    try:
        sent = msgspec.convert(plain, Sent)
        if sent.summary is not None:
            check(sent.summary)
        _check_hashes(sent)
    except ValueError:  # msgspec.ValidationError is one
        raise InvalidMessage(
            ErrorType.SCHEMA, "the facts of a merge are no facts of case.v1", path="facts"
        ) from None
    return sent


def _check_hashes(sent: Sent) -> None:
    """Raise ValueError where a hash is none: of its own records alone a stage believes them."""
    if _HASHES.fullmatch("".join(_hashes(sent))) is None:
        raise ValueError("hashes are of hex digits")


def _hashes(sent: Sent) -> Iterator[str]:
    """Give what must be of hex digits in what others send; each is as long as it must be."""
    openings: list[Opening | None] = []
    for fact in sent.facts:
        yield from (fact.object, fact.content)
        yield from filter(None, (fact.author, fact.in_reply_to, fact.version))
        yield from fact.addressees or ()
        openings.append(fact.opening)
    for command in sent.commands:
        yield from filter(None, (command.anchor, command.object))
    if sent.summary is not None:
        yield sent.summary.last_object
        openings.append(sent.summary.opening)
    yield from (each.terms for each in openings if each is not None and each.terms is not None)


def merge_of(commands: Iterable[AppliedCommand], conversation_id: str) -> AppliedCommand | None:
    """Return the command that merged a whole conversation, None where it goes on itself.

    Where two conversations were merged into each other, the one with the smaller id goes on; where
    one was merged into several, those are one as well (see `sent_on`), under the smallest.

    Args:
        commands: of the conversation.
        conversation_id: the conversation.
    """
    return next(iter(_merges_of_all(commands, conversation_id)), None)


def _merges_of_all(
    commands: Iterable[AppliedCommand], conversation_id: str
) -> list[AppliedCommand]:
    merges = [each for each in commands if each.kind == "merge"]
    gave_up = _gave_up(merges)
    standing = (
        each
        for each in merges
        if each.anchor is None
        and each.into_conversation is not None
        and not (each.into_conversation in gave_up and conversation_id < each.into_conversation)
    )
    return sorted(standing, key=_by_place)


def _by_place(merge: AppliedCommand) -> tuple[object, ...]:
    return merge.into_conversation or "", merge.into_customer or "", *by_time(merge)


def merges_of_cases(
    commands: Iterable[AppliedCommand], conversation_id: str
) -> list[AppliedCommand]:
    """Return the commands that merged single cases and stand, in the order of where they lead.

    Where the conversation that one names merged whole into this one, nothing is left to do: its
    facts come back as those of the customer whom the command names. Where two cases were merged
    into each other, that of the smaller conversation goes on.

    Args:
        commands: of the conversation.
        conversation_id: the conversation.
    """
    merges = [each for each in commands if each.kind == "merge"]
    gave_up = _gave_up(merges)
    standing = (
        each
        for each in merges
        if each.anchor is not None
        and each.into_conversation is not None
        and each.into_conversation not in gave_up
        and not (
            conversation_id < each.into_conversation
            and part_of(each.into_conversation, each.into_customer or each.customer or "")
            in gave_up
        )
    )
    return sorted(standing, key=_by_place)


def _gave_up(merges: Iterable[AppliedCommand]) -> set[str | None]:
    """Return what merged into this conversation: conversations, and parts of such."""
    return {each.target for each in merges if each.into_conversation is None}


def gave_up_to_us(
    sent: Sent, known: Collection[AppliedCommand], at: datetime
) -> Iterator[AppliedCommand]:
    """Yield what has to be remembered where we merged into what now merges into us.

    Args:
        sent: what is sent to us.
        known: our commands.
        at: when it is read.
    """
    merges = [each for each in known if each.kind == "merge"]
    if not merges:
        return
    # What comes back as that customer's came all the way through what it was merged into.
    back = {fact.object: fact.customer for fact in sent.facts if fact.moved} if sent.whole else {}
    gave_up = _gave_up(merges)
    for each in merges:
        into = each.into_conversation
        if into is None:
            continue
        part = part_of(into, each.into_customer or each.customer or "")
        for found, sender in (
            (sent.whole == into, into),
            (sent.part == part, part),
            (each.anchor is not None and back.get(each.anchor) == each.into_customer, into),
        ):
            if found and sender not in gave_up:
                gave_up.add(sender)
                identity = deterministic_id(sender, "gave_up")
                yield AppliedCommand(id=identity, kind="merge", at=at, by=BY, target=sender)


def goes_the_other_way(command: CaseCommand) -> bool:
    """Whether the other side has to give up: the smaller id goes on, so no merges make a circle.

    A conversation that answers goes on in the one that it answers, whatever they are called, and a
    customer under the id that names him: there his next word is expected.
    """
    if command.kind != "merge" or command.by == THREADED:
        return False
    if command.case_id is not None and command.target is not None:
        return command.case_id < command.target
    into = command.into_conversation_id
    return into is not None and command.conversation_id < into


def handed_over(event: SocialEvent, customer: str) -> CaseCommand | None:
    """Return what joins a private conversation with the public one that a customer refers to.

    Only a reference joins: a private message that quotes the customer's own post, with which the
    other conversation begins. None where there is none.

    Args:
        event: what the customer says.
        customer: who says it.
    """
    root = event.quotes
    if event.visibility != "private" or root is None or root == event.conversation_id:
        return None
    return CaseCommand(
        command_id=deterministic_id("handed_over", event.brand, event.object_id, root),
        brand=event.brand,
        conversation_id=root,
        customer_id=customer,
        object_id=root,
        kind="merge",
        at=event.received_at,
        by=BY,
        into_conversation_id=event.conversation_id,
        into_customer_id=customer,
        cause=event.event_id,
    )


def means_all(command: CaseCommand) -> bool:
    """Whether a merge is about a whole conversation, and not about one customer's case in it."""
    return (command.case_id, command.customer_id, command.object_id) == (None, None, None)


def turned_round(command: CaseCommand, case: Case | None) -> CaseCommand:
    """Return the same wish to the side that has to give up; `case` goes on, None: all of it.

    Which case gives up the command tells: by its id, or by its customer there.
    """
    return CaseCommand(
        command_id=deterministic_id(command.command_id, "turned_round"),
        brand=command.brand,
        conversation_id=command.into_conversation_id or "",
        case_id=command.target,
        customer_id=command.into_customer_id if command.target is None else None,
        kind="merge",
        at=command.at,
        by=command.by,
        target=case.case_id if case is not None else None,
        into_conversation_id=command.conversation_id,
        into_customer_id=case.customer_id if case is not None else None,
        cause=command.command_id,
    )


class _Way(NamedTuple):
    """Where a record goes on.

    Attributes:
        conversation: there.
        customer: whose case it is there; None: each customer's own.
        whole: all of the conversation goes there.
    """

    conversation: str
    customer: str | None
    whole: bool


def sent_on(
    before: ConversationState,
    after: ConversationState,
    changed: Collection[Case],
    arrived: Sent,
    cause: str,
    now: datetime,
) -> Iterator[CaseCommand]:
    """Yield what a conversation with merged cases has to send on.

    What merged into several places makes those one: all but one of them are told to merge, too.

    Args:
        before: as it was.
        after: as it is.
        changed: the records that changed.
        arrived: what was new, which may be folded away already.
        cause: event or command that changed them.
        now: when.
    """
    ways = _ways(after)
    if ways is None and not any(record.applied for record in changed):
        return
    known = {record.case_id: record for record in before.records()}
    ways_before = _ways(before)
    for record in changed:
        way = _way(record, ways)
        if way is None:
            continue
        old = known.get(record.case_id)
        was_sent = old is not None and _way(old, ways_before) == way
        sent = _news(record, old if was_sent else None, way, arrived)
        if sent is not None:
            yield _command(record, way, sent, cause, now)
        places = _places(record)
        if len(places) > 1 and (old is None or _places(old) != places):
            yield from _made_one(record, places, cause, now)


def _places(record: Case) -> list[tuple[str, str | None]]:
    """Return where a record was merged into, by conversation and customer."""
    of = _merges_of_all if record.state == "held" else merges_of_cases
    merges = of(record.applied or (), record.conversation_id)
    found = {(each.into_conversation or "", each.into_customer): None for each in merges}
    return [*found]


def _made_one(
    record: Case, places: list[tuple[str, str | None]], cause: str, now: datetime
) -> Iterator[CaseCommand]:
    into, into_customer = places[0]
    for conversation, customer in places[1:]:
        if conversation != into:
            names = conversation, customer or "", into, into_customer or ""
            yield CaseCommand(
                command_id=deterministic_id("made_one", record.brand, *names),
                brand=record.brand,
                conversation_id=conversation,
                customer_id=customer,
                kind="merge",
                at=now,
                by=BY,
                into_conversation_id=into,
                into_customer_id=into_customer,
                cause=cause,
            )


def _ways(state: ConversationState) -> list[AppliedCommand] | None:
    """Return the merges that the conversation's own record knows; None where there are none."""
    held = state.held
    if held is None or held.applied is None:
        return None
    return [each for each in held.applied if each.kind == "merge"] or None


def _way(record: Case, ways: list[AppliedCommand] | None) -> _Way | None:
    """Return where a record goes on; None where it goes on itself."""
    merges = [*(ways or ()), *(each for each in record.applied or () if each.kind == "merge")]
    if not merges:
        return None
    whole = merge_of(merges, record.conversation_id)
    standing = merges_of_cases(merges, record.conversation_id)
    own = (each for each in standing if each.customer in {None, record.customer_id})
    case = next(own, None)
    if whole is not None:
        into = whole.into_conversation or ""
        # Both lead there: it is that customer's.
        same = case is not None and case.into_conversation == into
        return _Way(into, case.into_customer if case is not None and same else None, whole=True)
    if case is None or record.state == "held":
        return None
    return _Way(case.into_conversation or "", case.into_customer, whole=False)


def _news(record: Case, old: Case | None, way: _Way, arrived: Sent) -> Sent | None:
    """Return what is new in a record, everything where `old` is None; None where nothing is."""
    known_facts = {fact.object: fact for fact in old.facts} if old is not None else {}
    known_commands = {each.id for each in (old.applied or ())} if old is not None else set()
    facts = [
        _in_words_of(way, fact) for fact in record.facts if known_facts.get(fact.object) != fact
    ]
    summary = record.summary
    if old is not None and summary is not None:
        facts += [_in_words_of(way, fact) for fact in _folded_at_once(record, old, arrived)]
        is_theirs = arrived.customer == record.customer_id and summary != old.summary
        summary = arrived.summary if is_theirs else None
    commands = [
        structs.replace(each, customer=way.customer or each.customer)
        for each in record.applied or ()
        if each.id not in known_commands and _goes_along(each, way)
    ]
    if not facts and not commands and summary is None:
        return None
    openings = [fact.opening for fact in facts]
    if summary is not None:
        openings.append(summary.opening)
    return Sent(
        facts,
        _needed(openings, record.terms or {}),
        commands,
        whole=record.conversation_id if way.whole else None,
        part=None if way.whole else part_of(record.conversation_id, record.customer_id),
        customer=way.customer or record.customer_id if summary is not None else None,
        summary=summary,
    )


def _folded_at_once(record: Case, old: Case, arrived: Sent) -> Iterator[Fact]:
    """Give what arrived and was folded away with older facts: the record does not tell it."""
    summary, before = record.summary, old.summary
    if summary is None or summary == before:
        return
    at_hand = {fact.object for each in (record, old) for fact in each.facts}
    for fact in arrived.facts:
        known = fact.object in at_hand or (before is not None and is_folded(before, fact.object))
        if not known and is_folded(summary, fact.object):
            yield fact


def _goes_along(command: AppliedCommand, way: _Way) -> bool:
    """Whether a command is obeyed where the record goes on: a merge into elsewhere is, too."""
    if command.kind != "merge":
        return True
    return command.anchor is not None and command.into_conversation != way.conversation


def _in_words_of(way: _Way, fact: Fact) -> Fact:
    if way.customer is None or fact.customer is None:
        return fact
    return structs.replace(fact, customer=way.customer, moved=True)


def _needed(openings: Iterable[Opening | None], terms: Mapping[str, Terms]) -> dict[str, Terms]:
    keys = {opening.terms for opening in openings if opening is not None}
    return {key: terms[key] for key in keys if key is not None and key in terms}


def _command(record: Case, way: _Way, sent: Sent, cause: str, now: datetime) -> CaseCommand:
    return CaseCommand(
        command_id=deterministic_id(record.case_id, way.conversation, str(record.revision), cause),
        brand=record.brand,
        conversation_id=way.conversation,
        customer_id=way.customer,
        kind="merge",
        at=now,
        by=BY,
        target=record.case_id,
        facts=msgspec.to_builtins(sent),
        cause=cause,
    )
