"""Who speaks to whom, seen from a brand."""

from typing import Literal

from klingel.config.compiled import CompiledBrand
from klingel.domain.draft import SocialDraft

Direction = Literal["inbound", "outbound", "third_party"]
Addressing = Literal["direct", "indirect"]


def direction_of(
    draft: SocialDraft, brand: CompiledBrand, *, channel: str | None = None
) -> Direction:
    """Return who speaks: the brand (`outbound`), or somebody else.

    An own account as author is the brand. Of sources without accounts, what they claim counts, but
    that the brand itself speaks only of one that the brand hears whole: another's voice is a third
    party's. Everything else comes in.

    Args:
        draft: what was said.
        brand: who hears it.
        channel: channel it came through, where the connector names one.
    """
    network = _network(draft)
    if draft.author is not None and brand.owns(network, draft.author.id):
        return "outbound"
    if draft.direction == "outbound" and not brand.hears_channel(network, channel):
        return "third_party"
    return draft.direction or "inbound"


def addressing_of(
    draft: SocialDraft,
    brand: CompiledBrand,
    *,
    channel: str | None = None,
) -> Addressing:
    """Return whether the brand is addressed (`direct`) or only talked about (`indirect`).

    Args:
        draft: what was said.
        brand: who hears it.
        channel: channel it came through, where the connector names one.
    """
    network = _network(draft)
    direct = (
        draft.visibility == "private"
        or brand.hears_channel(network, channel)
        or brand.owns(network, draft.in_reply_to_author)
        or brand.owns(network, draft.target)
        or brand.hears_channel(network, draft.target)
        or brand.owns_any(network, draft.mentions)
    )
    return "direct" if direct else "indirect"


def _network(draft: SocialDraft) -> str:
    return draft.mapping.partition("/")[0]
