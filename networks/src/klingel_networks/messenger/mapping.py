"""Messenger in klingel's words; pure. What it shares with Instagram is `meta/messaging.py`.

What Graph returns of a conversation's messages is mapped to the same ids (`meta/graph_objects.py`).
"""

from collections.abc import Mapping

from msgspec import structs

from klingel.domain.draft import SocialDraft
from klingel.model import RawEvent
from klingel_networks.contract import Identity
from klingel_networks.generic import native_of
from klingel_networks.meta.envelope import MESSENGER, VIA, exploder
from klingel_networks.meta.graph_objects import (
    GRAPH,
    draft_message,
    identify_message,
    with_pages,
)
from klingel_networks.meta.identities import seen_ids
from klingel_networks.meta.messaging import draft_item, identify_item
from klingel_networks.meta.window import window_until, with_window

MAPPING = "messenger/1"

explode = with_pages(exploder(MESSENGER))


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of an item; raises InvalidMessage."""
    if context.get(VIA) == GRAPH:
        return identify_message(MESSENGER, native, context)
    return identify_item(MESSENGER, native, context)


def to_social_event(raw: RawEvent) -> SocialDraft:
    """Return the draft of an item; raises InvalidMessage."""
    context = raw.context or {}
    if context.get(VIA) == GRAPH:
        return with_window(draft_message(MESSENGER, MAPPING, native_of(raw), context))
    draft = draft_item(MESSENGER, MAPPING, native_of(raw), context)
    return structs.replace(
        draft, customer_ids=seen_ids(raw, draft), window_until=window_until(draft)
    )
