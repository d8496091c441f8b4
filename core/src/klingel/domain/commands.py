"""What people and stages want done with a case: whether it can be, and what follows from it.

A command is remembered in the case that it is about, and applied anew whenever the case is folded:
so a word that arrives later finds it in its place, and an override is never computed over. Which
case is meant is told by an anchor, the word that opened it then, whatever its generation is now.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, get_args, get_type_hints

from klingel.config.compiled import CompiledBrand
from klingel.domain.conversation import ConversationState
from klingel.domain.facts import can_open
from klingel.domain.identity import hash64
from klingel.model.case import AppliedCommand, Case, Overrides
from klingel.model.case_command import CaseCommand

MAX_APPLIED = 64
APPLIED_BYTES = 16_000
"""Commands with long ids are fewer: about so many bytes of a record are theirs."""
MAX_SIMILAR = 8
_CLOSED = frozenset({"closed", "merged"})
KNOWN_COMMANDS = 64
"""Ids of commands that a record remembers beside those in force."""
_STAGES = frozenset({"watch", "care", "understand", "thread"})
_TAKEN = frozenset(get_args(get_type_hints(AppliedCommand)["kind"]))
_NEEDS_OPEN = frozenset({"acknowledge", "snooze", "close"})


class Refusal(StrEnum):
    """Why a command is not taken."""

    UNKNOWN_CASE = "unknown_case"
    """No such case is known here."""
    CASE_CLOSED = "case_closed"
    """The case is closed."""
    CASE_OPEN = "case_open"
    """The case is open: there is nothing to reopen."""
    UNKNOWN_QUEUE = "unknown_queue"
    """The brand has no such queue."""
    UNKNOWN_POST = "unknown_post"
    """The post does not lie in the case."""
    NOTHING_ASKED = "nothing_asked"
    """The command does not say what it wants: until when, which queue, which post."""
    SAME_CASE = "same_case"
    """It would be merged into itself."""
    SAME_CONVERSATION = "same_conversation"
    """Two customers of one conversation stay two."""
    NEWER_OPEN = "newer_open"
    """The customer has a later case here that is open."""
    UNKNOWN_KIND = "unknown_kind"
    """There is no such command."""
    IN_THE_PAST = "in_the_past"
    """It would snooze until a time that is over."""


class Target(NamedTuple):
    """The case that a command is about, and its anchor there."""

    case: Case
    anchor: str


def target_of(state: ConversationState, command: CaseCommand) -> Target | None:
    """Return the case that a command means, None where there is none."""
    case = state.cases.get(command.case_id) if command.case_id is not None else None
    if case is None and command.object_id is not None:
        home, _ = state.find(hash64(command.object_id))
        case = home if home is not None and home.state != "held" else None
    if case is None and command.case_id is None and command.customer_id is not None:
        newest = [each for each in state.cases.values() if each.customer_id == command.customer_id]
        case = max(newest, key=lambda each: each.generation, default=None)
    return None if case is None else Target(case, anchor_of(case))


def anchor_of(case: Case) -> str:
    """Return the object by which a case is found again, whatever becomes of its generation."""
    opener = next((fact.object for fact in case.facts if can_open(fact)), None)
    if opener is not None:
        return opener
    if case.facts:
        return case.facts[0].object
    return case.summary.last_object if case.summary is not None else hash64(case.case_id)


def is_applied(state: ConversationState, command_id: str) -> bool:
    """Whether a command was taken already."""
    return any(
        command_id in (case.commands or ())
        or any(each.id == command_id for each in case.applied or ())
        for case in state.records()
    )


def refusal_of(
    target: Target | None, command: CaseCommand, brand: CompiledBrand, state: ConversationState
) -> Refusal | None:
    """Return why a command cannot be taken, None where it can.

    Args:
        target: the case that is meant.
        command: the command.
        brand: whose case it is.
        state: of its conversation.
    """
    if target is None:
        return Refusal.UNKNOWN_CASE
    case, kind = target.case, command.kind
    if kind not in _TAKEN:
        return Refusal.UNKNOWN_KIND
    closed = case.state in _CLOSED
    if kind == "reopen":
        return _reopen_refusal(case, state)
    if kind in _NEEDS_OPEN and closed:
        return Refusal.CASE_CLOSED
    refuse = _REFUSALS.get(kind)
    return refuse(case, command, brand) if refuse is not None else None


def _reopen_refusal(case: Case, state: ConversationState) -> Refusal | None:
    if case.state not in _CLOSED:
        return Refusal.CASE_OPEN
    later = (
        each.customer_id == case.customer_id
        and each.generation > case.generation
        and each.state not in _CLOSED
        for each in state.cases.values()
    )
    return Refusal.NEWER_OPEN if any(later) else None


def comes_early(command: CaseCommand) -> bool:
    """Whether a command is about a post that care may not have read yet: a stage gave it."""
    return command.object_id is not None and command.case_id is None and command.by in _STAGES


def early_of(command: CaseCommand) -> AppliedCommand:
    """Return what is remembered of a command until its post arrives."""
    anchor = hash64(command.object_id or "")
    return AppliedCommand(
        id=command.command_id,
        kind=command.kind,
        at=command.at,
        by=command.by,
        anchor=anchor,
        customer=command.customer_id,
        object=anchor,
        target=command.target,
        into_conversation=command.into_conversation_id,
        into_customer=command.into_customer_id,
    )


def _snooze_refusal(_case: Case, command: CaseCommand, _brand: CompiledBrand) -> Refusal | None:
    if command.until is None:
        return Refusal.NOTHING_ASKED
    return Refusal.IN_THE_PAST if command.until <= command.at else None


def _merge_refusal(case: Case, command: CaseCommand, _brand: CompiledBrand) -> Refusal | None:
    if command.into_conversation_id is None:
        return Refusal.NOTHING_ASKED
    if command.customer_id not in {None, case.customer_id}:
        return Refusal.UNKNOWN_CASE  # the post that is named lies in another customer's
    if command.into_conversation_id != case.conversation_id:
        return None
    same = command.into_customer_id in {None, case.customer_id}
    return Refusal.SAME_CASE if same else Refusal.SAME_CONVERSATION


def _target_refusal(_case: Case, command: CaseCommand, _brand: CompiledBrand) -> Refusal | None:
    return Refusal.NOTHING_ASKED if command.target is None else None


def _override_refusal(case: Case, command: CaseCommand, brand: CompiledBrand) -> Refusal | None:
    if command.queue is not None and command.queue not in brand.queues:
        return Refusal.UNKNOWN_QUEUE
    if command.tone is not None or command.intents is not None:
        return _post_refusal(case, command, brand)
    asked = command.queue is not None or command.priority is not None
    return None if asked else Refusal.NOTHING_ASKED


def _post_refusal(case: Case, command: CaseCommand, _brand: CompiledBrand) -> Refusal | None:
    if command.object_id is None:
        return Refusal.NOTHING_ASKED
    wanted = hash64(command.object_id)
    known = any(fact.object == wanted for fact in case.facts)
    return None if known else Refusal.UNKNOWN_POST


_REFUSALS: dict[str, Callable[[Case, CaseCommand, CompiledBrand], Refusal | None]] = {
    "snooze": _snooze_refusal,
    "override": _override_refusal,
    "split": _post_refusal,
    "merge": _merge_refusal,
    "similar_to": _target_refusal,
    "incident_joined": _target_refusal,
    "incident_closed": _target_refusal,
}
"""What each kind of command must say."""


def applied_of(command: CaseCommand, target: Target) -> AppliedCommand:
    """Return what a case remembers of a command that is taken."""
    return AppliedCommand(
        id=command.command_id,
        kind=command.kind,
        at=command.at,
        by=command.by,
        anchor=target.anchor,
        customer=target.case.customer_id,
        assignee=command.assignee,
        until=command.until,
        queue=command.queue,
        priority=command.priority,
        object=hash64(command.object_id) if command.object_id is not None else None,
        tone=command.tone,
        intents=command.intents,
        target=command.target,
        into_conversation=command.into_conversation_id,
        into_customer=command.into_customer_id,
    )


def by_time(command: AppliedCommand) -> tuple[datetime, str]:
    """Return the place of a command among others."""
    return command.at, command.id


def in_force(
    commands: Iterable[AppliedCommand], since: datetime | None
) -> tuple[list[AppliedCommand], list[str]]:
    """Return the commands that a record holds, by time, and the ids of those that are too many.

    What a later command overruled goes first, whoever floods a case: the newest assignment, the
    overrides that count, merges and splits stay. Then goes the oldest of what has a place among the
    facts, since the case is by now what came of it.

    Args:
        commands: of a record, in any order; one may occur twice.
        since: newest opening of the case.
    """
    ordered = sorted({each.id: each for each in commands}.values(), key=by_time)
    room = APPLIED_BYTES - sum(_size(each) for each in ordered)
    if len(ordered) <= MAX_APPLIED and room >= 0:
        return ordered, []
    needed = _needed(ordered, since)
    left, excess = len(ordered), set()
    for each in sorted(ordered, key=lambda each: (needed.get(each.id, 0), *by_time(each))):
        if left <= MAX_APPLIED and room >= 0:
            break
        excess.add(each.id)
        left, room = left - 1, room + _size(each)
    kept = [each for each in ordered if each.id not in excess]
    return kept, [each.id for each in ordered if each.id in excess]


def _size(command: AppliedCommand) -> int:
    """Return about how many bytes a command takes in a record."""
    texts = (command.customer, command.target, command.into_conversation, command.into_customer)
    return 180 + sum(len(text.encode()) for text in texts if text is not None)


def _needed(ordered: Sequence[AppliedCommand], since: datetime | None) -> dict[str, int]:
    """Return how much each command matters that is not overruled; the others are absent."""
    needed: dict[str, int] = {}
    said: set[str] = set()
    similar: set[str] = set()
    for each in reversed(ordered):
        tells: set[str] = {each.kind}
        if each.kind in _ALWAYS:
            needed[each.id] = 3
            continue
        if each.kind in _PLACED:
            needed[each.id] = 1
            continue
        if each.kind == "override":
            asked = (("queue", each.queue), ("priority", each.priority))
            tells = {name for name, value in asked if value is not None}
        elif each.kind == "similar_to":
            tells = set()
            if len(similar) < MAX_SIMILAR and each.target not in similar:
                similar.add(each.target or "")
                needed[each.id] = 2
        if not tells <= said:
            said |= tells
            needed[each.id] = 2
    acknowledged = [each for each in ordered if each.kind == "acknowledge"]
    newest = [each for each in acknowledged if since is None or each.at >= since][-1:]
    needed.update((each.id, 2) for each in newest)
    return needed


_ALWAYS = frozenset({"merge", "split"})
_PLACED = frozenset({"close", "reopen", "snooze", "incident_closed"})


class Registers(NamedTuple):
    """What commands say of a case; of two that contradict each other the later one counts.

    Attributes:
        assignee: who works on it.
        acknowledged_at: newest acknowledgement since `since`: it holds for all that was raised before.
        acknowledged_by: by whom.
        incident: that it belongs to.
        similar_to: cases in which the same was said, the newest last.
        overrides: what people decided of queue and priority.
    """

    assignee: str | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    incident: str | None
    similar_to: list[str] | None
    overrides: Overrides | None


_UNTOUCHED = Registers(None, None, None, None, None, None)


def registers_of(applied: Sequence[AppliedCommand], since: datetime | None) -> Registers:
    """Return what commands say of a case.

    Args:
        applied: the commands of the case.
        since: newest opening: an acknowledgement before it is none of this opening.
    """
    if not applied:
        return _UNTOUCHED
    assignee: str | None = None
    acknowledged: AppliedCommand | None = None
    incident: str | None = None
    similar: list[str] = []
    overrides: Overrides | None = None
    for command in sorted(applied, key=by_time):
        if command.kind == "assign":
            assignee = command.assignee
        elif command.kind == "acknowledge":
            if since is None or command.at >= since:
                acknowledged = command
        elif command.kind == "incident_joined":
            incident = command.target
        elif command.kind == "similar_to" and command.target is not None:
            similar = [*(each for each in similar if each != command.target), command.target]
        elif command.kind == "override" and (
            command.queue is not None or command.priority is not None
        ):
            was = overrides or Overrides()
            overrides = Overrides(
                queue=command.queue or was.queue,
                priority=command.priority if command.priority is not None else was.priority,
                by=command.by,
                at=command.at,
            )
    return Registers(
        assignee=assignee,
        acknowledged_at=acknowledged.at if acknowledged is not None else None,
        acknowledged_by=acknowledged.by if acknowledged is not None else None,
        incident=incident,
        similar_to=similar[-MAX_SIMILAR:] or None,
        overrides=overrides,
    )
