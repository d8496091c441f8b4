"""Facts: what a conversation remembers of each object, and how what arrives joins what is known.

A fact stands for one object. It holds the newest revision that says something and, apart from it,
the newest deletion. Joining is commutative, associative and idempotent, so neither order nor
repetition of arrival matters. Of two contents of one revision that which lies later in
social-events counts: `understand` publishes a completed event after the incomplete one.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from msgspec import structs

from klingel.domain.identity import hash64
from klingel.domain.triage import believed_time, is_nobodys_word, is_silent
from klingel.model.case import Fact, Opening
from klingel.model.social_event import SocialEvent

MAX_ADDRESSEES = 8
Position = tuple[int, int]


@lru_cache(maxsize=256)
def _version(mapping: str, *found_by: str) -> str:
    return hash64(mapping, *found_by)


def utc(at: datetime) -> datetime:
    """Return the same instant in UTC."""
    return at if at.tzinfo is UTC else at.astimezone(UTC)


def customer_of(event: SocialEvent) -> str | None:
    """Return the customer who speaks, or None where the brand, a third party or nobody does."""
    if event.direction != "inbound":
        return None
    if event.customer_id is not None:
        return event.customer_id
    return event.author.id if event.author is not None else None


@lru_cache(maxsize=4096)
def names_of(customer: str) -> tuple[str, ...]:
    """Return the hashes by which a customer may be addressed: the id, and the network's own."""
    native = customer.partition(":")[2]
    return (hash64(customer), hash64(native)) if native else (hash64(customer),)


def deletion_of(event: SocialEvent, object_hash: str, position: Position) -> Fact:
    """Return the fact that a deletion alone makes."""
    at = utc(event.received_at)
    if event.changed_at is not None and event.changed_at < event.received_at:
        at = utc(event.changed_at)
    return Fact(
        object=object_hash,
        revision=event.revision,
        content=event.content_hash,
        at=at,
        direction=event.direction,
        change="deleted",
        removed=event.revision,
        removed_at=at,
        origin=list(position),
    )


def fact_of(
    event: SocialEvent,
    object_hash: str,
    position: Position,
    *,
    needs_answer: bool,
    asks_nothing: bool = False,
) -> Fact:
    """Return the fact that a social event makes, which is no deletion.

    Args:
        event: the event.
        object_hash: `hash64` of its object id.
        position: partition and offset of the event in social-events.
        needs_answer: whether it needs an answer and comes in time to open a case.
        asks_nothing: whether nobody waits because of it, such as thanks.
    """
    at = utc(believed_time(event))
    received_at = utc(event.received_at)
    # The brand's absence note is no answer to anybody.
    is_machines = event.direction == "outbound" and is_nobodys_word(event)
    direction = "third_party" if is_machines else event.direction
    return Fact(
        object=object_hash,
        revision=event.revision,
        content=event.content_hash,
        at=at,
        received_at=None if received_at == at else received_at,
        author=hash64(event.author.id) if event.author is not None else None,
        customer=customer_of(event),
        in_reply_to=hash64(event.in_reply_to) if event.in_reply_to else None,
        addressees=_addressees(event) if direction == "outbound" else None,
        direction=direction,
        change=event.change,
        silent=is_silent(event) or event.kind == "unknown" or asks_nothing or None,
        agent=_agent(event) if direction == "outbound" else None,
        needs_answer=needs_answer or None,
        version=_version(event.mapping, *_found_by(event)),
        origin=list(position),
    )


def _agent(event: SocialEvent) -> str | None:
    signature = event.signature
    return None if signature is None else (signature.agent or signature.code)


def _found_by(event: SocialEvent) -> Sequence[str]:
    """Return the versions of what found things in the text."""
    return (event.enrichment.models if event.enrichment is not None else None) or ()


def _addressees(event: SocialEvent) -> list[str] | None:
    named = [event.target] if event.target else []
    named.extend(event.mentions or ())
    return [hash64(name) for name in named[:MAX_ADDRESSEES]] or None


def is_deleted(fact: Fact) -> bool:
    """Whether the newest that is known of the object is its deletion."""
    return fact.removed is not None and (fact.change == "deleted" or fact.removed >= fact.revision)


def received_at(fact: Fact) -> datetime:
    """Return when klingel first received the object."""
    return fact.received_at or fact.at


def can_open(fact: Fact) -> bool:
    """Whether a fact opens a case where its customer has none.

    An object that its author had deleted before klingel received it opens nothing.
    """
    if not fact.needs_answer or fact.opening is None or fact.customer is None:
        return False
    return not (
        fact.removed_at is not None and is_deleted(fact) and fact.removed_at <= received_at(fact)
    )


def join(known: Fact, arrived: Fact) -> Fact:
    """Return what is known of an object after `arrived`; equal to `known` where nothing is new."""
    if arrived.change == "deleted":
        return _join_deletion(known, arrived)
    removed, removed_at = _removal(known, arrived)
    if known.change == "deleted":
        return structs.replace(arrived, removed=removed, removed_at=removed_at)
    newer, older = (arrived, known) if supersedes(arrived, known) else (known, arrived)
    at = min(newer.at, older.at)
    received = min(received_at(newer), received_at(older))
    customer, moved = newer.customer, None
    if known.moved or arrived.moved:
        customer, moved = _moved(known, arrived), True
    return structs.replace(
        newer,
        customer=customer,
        moved=moved,
        at=at,
        received_at=None if received == at else received,
        needs_answer=newer.needs_answer or older.needs_answer,
        removed=removed,
        removed_at=removed_at,
        opening=_first_opening(known.opening, arrived.opening),
        tone=known.tone or arrived.tone,
        intents=known.intents or arrived.intents,
        overruled_by=known.overruled_by or arrived.overruled_by,
        decision=_decision(known, arrived, newer),
    )


def _moved(known: Fact, arrived: Fact) -> str | None:
    """Return whose an object is after a merge of two customers' cases; of several the least."""
    told = (fact.customer for fact in (known, arrived) if fact.moved and fact.customer is not None)
    return min(told, default=None)


def _removal(known: Fact, arrived: Fact) -> tuple[int | None, datetime | None]:
    """Return the newest deletion that either knows; of one deletion the earliest time."""
    if known.removed is None or arrived.removed is None:
        only = arrived if known.removed is None else known
        return only.removed, only.removed_at
    if known.removed != arrived.removed:
        newer = known if known.removed > arrived.removed else arrived
        return newer.removed, newer.removed_at
    times = [at for at in (known.removed_at, arrived.removed_at) if at is not None]
    return known.removed, min(times, default=None)


def _first_opening(known: Opening | None, arrived: Opening | None) -> Opening | None:
    """Return what was decided first: an edit or another reading moves no case."""
    if known is None or arrived is None:
        return known or arrived
    return arrived if _decided(arrived) < _decided(known) else known


def _decided(opening: Opening) -> tuple[int, int]:
    return opening.revision or 0, opening.offset or 0


def _join_deletion(known: Fact, arrived: Fact) -> Fact:
    removed, removed_at = arrived.removed, arrived.removed_at
    if known.removed is not None and removed is not None:
        if known.removed > removed:
            return known
        if known.removed == removed and known.removed_at is not None and removed_at is not None:
            removed_at = min(known.removed_at, removed_at)
    if known.change != "deleted":
        return structs.replace(known, removed=removed, removed_at=removed_at)
    later = arrived if removed != known.removed else known
    return structs.replace(later, at=removed_at, removed=removed, removed_at=removed_at)


def supersedes(arrived: Fact, known: Fact) -> bool:
    """Whether what arrived replaces what is said of the object."""
    if arrived.revision != known.revision:
        return arrived.revision > known.revision
    if arrived.content == known.content and arrived.version == known.version:
        return False
    if arrived.origin is None or known.origin is None or arrived.origin[0] != known.origin[0]:
        return True
    return arrived.origin[1] > known.origin[1]


def _decision(known: Fact, arrived: Fact, newer: Fact) -> int | None:
    """Count decisions on one revision: another content of it is a new one."""
    if newer is known:
        return known.decision
    return (known.decision or 0) + 1 if arrived.revision == known.revision else None
