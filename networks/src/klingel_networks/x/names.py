"""Names of activity events, however they are written: pure.

X has named them `post.create` since March 2026 and `PostCreate` before, and adds some every month
(`x-api/activity/introduction`, changelog). What is compared is the name without case and signs.
"""

import re
from functools import lru_cache

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LONGEST = 80
_FORMER = {"tweet": "post", "direct": "dm", "directmessage": "dm", "favorite": "like"}
_PLAIN = {
    **dict.fromkeys(
        (
            "postcreate",
            "postdelete",
            "postmentioncreate",
            "postreplycreate",
            "postquotecreate",
            "postrepostcreate",
            "tweetcreate",
            "tweetdelete",
        ),
        "post",
    ),
    **dict.fromkeys(("likecreate", "likedelete"), "like"),
    **dict.fromkeys(("chatreceived", "chatsent"), "chat"),
    **dict.fromkeys(("dmreceived", "dmsent", "dmread", "dmindicatetyping"), "dm"),
}
"""What `DmReceived` is called where its case was lost."""


@lru_cache(maxsize=256)
def plain(event_type: str) -> str:
    """Return a name in lower case without signs: `dmreceived` of `dm.received` and `DmReceived`."""
    return "".join(_WORDS.findall(event_type[:_LONGEST])).lower()


@lru_cache(maxsize=256)
def family_of(event_type: str) -> str:
    """Return what an event is about, the first word of its name; empty for a name without words."""
    known = _PLAIN.get(plain(event_type))
    if known is not None:
        return known
    words = _WORDS.findall(event_type[:_LONGEST])
    first = words[0].lower() if words else ""
    return _FORMER.get(first, first)


def is_end(event_type: str) -> bool:
    """Return whether an event tells that a post or a like ended; of something else that ended it is none."""
    return plain(event_type) in {"postdelete", "tweetdelete", "likedelete", "favoritedelete"}
