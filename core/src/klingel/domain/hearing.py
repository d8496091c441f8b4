"""Which brands hear an event, and why: channel, listening rule, reply to their own, open case."""

from collections.abc import Collection, Iterable, Mapping

from klingel.config.compiled import CompiledBrand
from klingel.domain.draft import SocialDraft
from klingel.domain.matching import RuleDocument
from klingel.model import RawEvent
from klingel.model.social_event import Lang, Match


def rule_document(draft: SocialDraft, network: str, lang: Lang | None) -> RuleDocument:
    """Return what listening and routing rules see of an event."""
    author = draft.author
    return RuleDocument(
        text=draft.text or "",
        lang=lang.code if lang else None,
        network=network,
        kind=draft.kind,
        author_id=author.id if author else None,
        author_handle=author.handle if author else None,
        followers=author.followers if author else None,
        has_link=bool(draft.links),
        hashtags=draft.hashtags,
        mentions=draft.mentions,
        visibility=draft.visibility,
        media=[media.kind for media in draft.media],
    )


def reasons_to_hear(
    brand: CompiledBrand,
    draft: SocialDraft,
    raw: RawEvent,
    document: RuleDocument,
    tracking: Collection[str],
) -> tuple[Match, ...]:
    """Return why a brand hears an event; empty when it does not.

    Args:
        brand: compiled configuration.
        draft: the event.
        raw: its raw event, for network and channel.
        document: the event as rules see it.
        tracking: brands with an open case in the event's conversation.
    """
    network = raw.network
    said_by = draft.author.id if draft.author else None
    matches = []
    if (
        brand.hears_channel(network, raw.channel)
        or brand.hears_channel(network, draft.target)
        or brand.owns(network, draft.target)
        or brand.owns(network, said_by)
    ):
        matches.append(Match(how="channel"))
    if brand.owns_any(network, draft.mentions):
        matches.append(Match(how="mention"))
    if brand.owns(network, draft.in_reply_to_author):
        matches.append(Match(how="reply"))
    if brand.brand in tracking:
        matches.append(Match(how="tracked"))
    matches += [
        Match(
            how="rule",
            rule=hit.rule_id,
            version=hit.version or None,
            spans=[list(span) for span in hit.spans] or None,
        )
        for hit in brand.listening.match(document)
    ]
    return tuple(matches)


def who_hears(
    brands: Mapping[str, CompiledBrand],
    draft: SocialDraft,
    raw: RawEvent,
    document: RuleDocument,
    tracking: Collection[str],
    *,
    before: Collection[str],
    only: Collection[str] | None,
) -> Iterable[tuple[str, tuple[Match, ...]]]:
    """Yield (brand, why); who heard the object before hears whatever happens to it.

    Args:
        brands: all there are, by name.
        draft: the event.
        raw: its raw event.
        document: the event as rules see it.
        tracking: brands with an open case in the event's conversation.
        before: brands that heard the object.
        only: brands that may hear the event; None for all.
    """
    for name, brand in brands.items():
        if only is not None and name not in only:
            continue
        why = reasons_to_hear(brand, draft, raw, document, tracking)
        if not why and name in before:
            why = (Match(how="directory"),)
        if why:
            yield name, why
