"""Whether a program may reply to a post of X; pure.

Since 2026-02-23 a program's reply is accepted only when the author "summoned" the account: named it
or quoted it (platform docs, changelog). All else is answered by a person who opens the permalink.
"""

from collections.abc import Collection
from typing import Literal

from klingel.domain.draft import SocialDraft

ReplyPolicy = Literal["summoned", "unsummoned", "unknown"]


def reply_policy(draft: SocialDraft, own: Collection[str]) -> ReplyPolicy:
    """Return what X's rule says of a reply to `draft`.

    Args:
        draft: the post or message.
        own: the brand's accounts, ids and handles in lower case.
    """
    quoted_author = draft.quoted_author
    named = {*draft.mentions, *(each.lower() for each in draft.mentions)}
    if draft.visibility == "private":
        return "summoned" if draft.target in own else "unknown"
    if named & set(own) or draft.in_reply_to_author in own or quoted_author in own:
        return "summoned"
    return "unknown" if draft.quotes is not None and quoted_author is None else "unsummoned"
