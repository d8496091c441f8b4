"""Until when somebody may be answered freely; pure.

Source: developers.facebook.com, "Messenger Platform: 24-hour standard messaging window" (a message,
a pressed button, a reaction), "Instagram messaging: policy" (a message, a story reply or mention),
"WhatsApp: customer service windows" (a message). What the customer does opens the window anew; an
edit, a removal, a comment and our own words do not.
"""

from datetime import datetime, timedelta
from typing import Final

from msgspec import structs

from klingel.domain.draft import SocialDraft

WINDOW: Final = timedelta(hours=24)
_MESSENGERS = frozenset({"messenger", "instagram", "whatsapp"})
_OPENING = frozenset({"direct_message", "story"})


def window_until(draft: SocialDraft) -> datetime | None:
    """Return the end of the window that an event opens, aware UTC; None where it opens none."""
    network = draft.mapping.partition("/")[0]
    if network not in _MESSENGERS or draft.visibility != "private" or draft.direction is not None:
        return None
    opens = draft.kind in _OPENING or (network == "messenger" and draft.kind == "reaction")
    if not opens or draft.change != "created" or draft.published_at is None:
        return None
    return draft.published_at + WINDOW


def with_window(draft: SocialDraft) -> SocialDraft:
    """Return an event with the window that it opens."""
    until = window_until(draft)
    return draft if until is None else structs.replace(draft, window_until=until)
