"""Whose an event is where a network has several ids for one person, and what follows for his cases.

What is known of ids is `klingel.domain.identity_links`; here an event meets it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from klingel.config.compiled import CompiledBrand
from klingel.domain.draft import SocialDraft
from klingel.domain.identity_links import Customers, join, links_of, named_by, naming, native_of
from klingel.domain.threading import refer
from klingel.model import CaseCommand, DirectoryEntry, IdentityLink, RawEvent, SocialEvent


class Customer(NamedTuple):
    """Whose an event is, of the ids that are one customer.

    Attributes:
        brand: that owns the account; what it knows of its customers is nobody else's.
        present: id under which the event names him.
        named: id that names him in its conversation.
        oldest: id that names him from now on.
        others: conversations that were named by his other ids, with these.
        news: links that are not known yet.
    """

    brand: str
    present: str
    named: str
    oldest: str
    others: Mapping[str, str]
    news: Sequence[IdentityLink]


def customer_of(
    brands: Mapping[str, CompiledBrand],
    known: Customers,
    raw: RawEvent,
    draft: SocialDraft,
    entry: DirectoryEntry | None,
) -> tuple[Customer | None, SocialDraft]:
    """Return whose an event is where its network has several ids for one, and the draft so named.

    An object that is known stays where it is, and is his who names that conversation.

    Args:
        brands: all there are, by name.
        known: which ids are one customer.
        raw: the event, for its account and its receipt.
        draft: what it says.
        entry: of its object; None where nobody knows it.
    """
    ids = draft.customer_ids
    brand = _whose(brands, known, raw, draft) if ids else None
    if brand is None:
        return None, draft
    told = links_of(brand, ids, raw.received_at)
    news = [] if draft.lone_id else known.news(told)
    if news:
        known = known.about(brand, [*news, *told])
    found = naming(known, brand, ids, draft.conversation_id)
    assert found is not None
    named = found.customer
    if entry is not None:
        named = named_by(known.ids_of(brand, named), entry.conversation_id) or named
    target = draft.target
    if target == native_of(ids[0]):
        target = native_of(named)
    renamed = msgspec.structs.replace(draft, conversation_id=found.conversation, target=target)
    return Customer(brand, ids[0], named, found.customer, found.others, news), renamed


def _whose(
    brands: Mapping[str, CompiledBrand], known: Customers, raw: RawEvent, draft: SocialDraft
) -> str | None:
    """Return the brand whose customer an event names, None where that is not one alone.

    Of a lone id only a link that a person gave tells anything.
    """
    if not draft.lone_id:
        return owner_of(brands, raw, draft)
    (own,) = draft.customer_ids
    knowing = [name for name in brands if known.knows(name, own)]
    if len(knowing) > 1:
        owner = owner_of(brands, raw, draft)
        return owner if owner in knowing else None
    return knowing[0] if knowing else None


def owner_of(brands: Mapping[str, CompiledBrand], raw: RawEvent, draft: SocialDraft) -> str | None:
    """Return the brand whose account an event came through, None where it is not one alone."""
    owners = [
        name
        for name, brand in brands.items()
        if brand.hears_channel(raw.network, raw.channel)
        or brand.hears_channel(raw.network, draft.target)
        or brand.owns(raw.network, draft.target)
    ]
    return owners[0] if len(owners) == 1 else None


def joins(
    customer: Customer,
    known: Customers,
    tracking: Mapping[str, Collection[str]],
    into: str,
    raw: RawEvent,
) -> list[CaseCommand]:
    """Return the commands by which a customer's cases under other ids go on as one.

    Args:
        customer: whose the event is.
        known: which ids were one customer before it.
        tracking: conversation to the brands with an open case in it.
        into: conversation in which they go on.
        raw: event that tells that they are one.
    """
    brand, met = customer.brand, bool(customer.news)
    return [
        join(
            brand,
            conversation,
            other,
            into,
            customer.oldest,
            cause=raw.event_id,
            at=raw.received_at,
        )
        for conversation, other in customer.others.items()
        if conversation != into
        and (brand in tracking.get(conversation, ()) or (met and known.knows(brand, other)))
    ]


def references(
    raw: RawEvent, draft: SocialDraft, events: Iterable[SocialEvent]
) -> list[CaseCommand]:
    """Return what names the conversation that a customer refers to without being part of it.

    Care may read it before the event that opens the case, and then keeps it until that comes.

    Args:
        raw: event that refers.
        draft: what it says.
        events: as the brands hear it.
    """
    if draft.refers_to is None or draft.refers_to_customer is None:
        return []
    other = (draft.refers_to, draft.refers_to_customer)
    return [
        refer(
            each.brand,
            each.conversation_id,
            each.customer_id,
            other,
            about=raw.object_id,
            cause=raw.event_id,
            at=raw.received_at,
        )
        for each in events
        if each.direction == "inbound" and each.customer_id is not None
    ]
