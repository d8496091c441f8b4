"""Until when somebody may be answered freely; pure.

Source: developers.facebook.com, "Messenger Platform: 24-hour standard messaging window" (a message,
a pressed button, a reaction), "Instagram messaging: policy" (a message, a story reply or mention),
"WhatsApp: customer service windows" (a message). What the customer does opens the window anew; an
edit, a removal, a comment and our own words do not.
"""

from datetime import datetime, timedelta
from typing import Final

from msgspec import structs

from klingel.domain.draft import Change, Kind, SocialDraft

WINDOW: Final = timedelta(hours=24)
_MESSENGERS = frozenset({"messenger", "instagram", "whatsapp"})
_OPENING = frozenset({"direct_message", "story"})


def window_until(draft: SocialDraft) -> datetime | None:
    """Return the end of the window that an event opens, aware UTC; None where it opens none."""
    network = draft.mapping.partition("/")[0]
    if network not in _MESSENGERS or draft.visibility != "private" or draft.direction is not None:
        return None
    return opened_until(network, draft.kind, draft.change, draft.published_at)


def opened_until(
    network: str, kind: Kind, change: Change, published_at: datetime | None
) -> datetime | None:
    """Return the end of the window that something private of a customer's opens."""
    opens = kind in _OPENING or (network == "messenger" and kind == "reaction")
    if not opens or change != "created" or published_at is None:
        return None
    return published_at + WINDOW


def with_window(draft: SocialDraft) -> SocialDraft:
    """Return an event with the window that it opens."""
    until = window_until(draft)
    return draft if until is None else structs.replace(draft, window_until=until)
