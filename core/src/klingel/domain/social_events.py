"""The social event that one brand hears: put together of what was found out about a raw event."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import msgspec

from klingel.config.compiled import CompiledBrand
from klingel.domain.copies import comparable
from klingel.domain.customer_of import Customer
from klingel.domain.direction import addressing_of, direction_of
from klingel.domain.draft import SocialDraft
from klingel.domain.encounter import Said
from klingel.domain.enrichment import enrich
from klingel.domain.identity import event_id
from klingel.domain.matching import RuleDocument
from klingel.language.sense import Sense
from klingel.model import DirectoryEntry, RawEvent, SocialEvent
from klingel.model.social_event import Lang, Match, Origin, Reply

ReplyPolicy = Callable[[SocialDraft, Collection[str]], str | None]
"""What a network's rule says of a program's reply to a draft, given the brand's own accounts."""


class Words(NamedTuple):
    """What is found in a text, once for all brands that hear it."""

    lang: Lang | None
    fingerprint: str | None
    document: RuleDocument

    @classmethod
    def of(cls, document: RuleDocument, lang: Lang | None) -> "Words":
        """Return what is found in the text of a document."""
        text = document.text
        return cls(lang, comparable(text, document.terms).fingerprint if text else None, document)


def social_event(
    said: Said,
    words: Words,
    entry: DirectoryEntry,
    brand: CompiledBrand,
    why: tuple[Match, ...],
    *,
    origin: Origin,
    sense: Sense | None,
    customer: Customer | None,
) -> SocialEvent:
    """Return an event as a brand hears it.

    Args:
        said: the event.
        words: what is found in its text.
        entry: of its object, this event included.
        brand: that hears it.
        why: it hears it.
        origin: where it came from.
        sense: what the brand's model makes of its words.
        customer: whose it is, where its network has several ids for one.
    """
    raw, draft = said.raw, said.draft
    direction = direction_of(draft, brand, channel=raw.channel)
    found = enrich(brand, draft, words.document, direction, sense)
    return SocialEvent(
        event_id=event_id(raw.object_id, raw.revision, brand.brand),
        object_id=raw.object_id,
        kind=draft.kind if draft.change != "deleted" else (entry.kind or draft.kind),
        change=draft.change,
        revision=raw.revision,
        brand=brand.brand,
        matches=list(why),
        network=raw.network,
        label=draft.label,
        channel=raw.channel,
        connector=raw.connector,
        origin=origin,
        direction=direction,
        addressing=addressing_of(draft, brand, channel=raw.channel),
        visibility=draft.visibility,
        published_at=draft.published_at,
        changed_at=draft.changed_at,
        received_at=raw.received_at,
        conversation_id=entry.conversation_id,
        threading=entry.threading or "directory",
        in_reply_to=draft.in_reply_to,
        quotes=draft.quotes,
        reposts=draft.reposts,
        target=draft.target,
        author=draft.author,
        customer_id=_customer_id(raw, draft, brand, customer),
        text=draft.text,
        text_public=found.text_public,
        lang=words.lang,
        signature=found.signature,
        enrichment=found.enrichment,
        media=list(draft.media) or None,
        links=list(draft.links) or None,
        hashtags=list(draft.hashtags) or None,
        mentions=list(draft.mentions) or None,
        metrics=draft.metrics or None,
        refers_to=draft.refers_to,
        natures=list(draft.natures) or None,
        reply=_reply(raw, draft),
        url=draft.url,
        index=entry.index,
        content_hash=said.content,
        fingerprint=words.fingerprint,
        mapping=draft.mapping,
        config_version=brand.version,
    )


def _customer_id(
    raw: RawEvent, draft: SocialDraft, brand: CompiledBrand, customer: Customer | None
) -> str | None:
    """Return whose an event is: who wrote it, by the id that names him in its conversation."""
    if draft.author is None:
        return None
    present = f"{raw.network}:{draft.author.id}"
    if customer is not None and (customer.brand, customer.present) == (brand.brand, present):
        return customer.named
    return present


def _reply(raw: RawEvent, draft: SocialDraft) -> Reply:
    return Reply(
        channel=raw.channel or raw.connector,
        target=raw.object_id,
        permalink=draft.url,
        window_until=draft.window_until,
    )


def with_reply_policy(
    event: SocialEvent, draft: SocialDraft, rule: ReplyPolicy | None, brand: CompiledBrand
) -> SocialEvent:
    """Return the event with what its network's rule says of a program's reply to it.

    Args:
        event: as the brand hears it.
        draft: what it says.
        rule: of its network; None where there is none.
        brand: that hears it.
    """
    if rule is None or event.direction != "inbound" or event.author is None:
        return event
    policy = rule(draft, brand.accounts.get(event.network, frozenset()))
    if policy is None or event.reply is None:
        return event
    return msgspec.structs.replace(event, reply=msgspec.structs.replace(event.reply, policy=policy))
