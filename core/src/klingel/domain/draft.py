"""What a network's mapping makes of a native object: a social event that no brand has heard yet."""

from datetime import datetime
from typing import Literal

import msgspec

from klingel.model.social_event import Author, Media

Kind = Literal[
    "post",
    "reply",
    "repost",
    "quote",
    "comment",
    "direct_message",
    "email",
    "review",
    "reaction",
    "story",
    "chat",
    "unknown",
]
Change = Literal["created", "updated", "deleted", "completed"]
Visibility = Literal["public", "unlisted", "followers", "private"]
Threading = Literal["network", "root", "parent_only"]
Nature = Literal[
    "auto_reply",
    "bounce",
    "read_receipt",
    "abuse_report",
    "auto_generated",
    "mailing_list",
    "bulk",
    "spam_flag",
    "forged_sender",
]


class SocialDraft(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A native object in klingel's words; ids of other objects are object ids.

    Attributes:
        mapping: `<network>/<version of the mapping>`.
        conversation_id: the network's own conversation; None where it names none.
        threading: `network` the network names the conversation, `root` the object is the first of
            its own, `parent_only` only a parent is known (the object's own id is the conversation).
        in_reply_to_author: author id of the parent, where the network tells it.
        refers_to: conversation that it refers to without being part of it: a link, never a join.
        refers_to_customer: whose that conversation is, `<network>:<author id>`.
        quoted_author: author id of what is quoted, where the network tells it.
        customer_ids: all ids under which the object names its customer, `<network>:<author id>`, the
            present one first; empty where it names none.
        lone_id: whether the network gives an author one id for ever: nothing is remembered of it
            unless a person links it with another.
        target: account id or source the object is addressed to.
        langs: what the network says of the language, most likely first.
        direction: only where a generic source claims it.
        label: network name given by a generic source.
        window_until: until when the network lets us answer freely, where this event says so.
        natures: what it is beside its words: a machine's answer, a list, what a filter said of it.
        asked_by_id: whether the network tells the rest of it only when it is asked for it by its id.
        only_media: whether it tells nothing but what became of the event's media.
        erases: whether it demands that what its author said until then is erased.
        withheld: whether the network lets its words be shown no longer; they are left out here, and
            hide those that another delivery of the revision brought.
    """

    mapping: str
    kind: Kind
    change: Change
    visibility: Visibility = "public"
    threading: Threading = "root"
    conversation_id: str | None = None
    published_at: datetime | None = None
    changed_at: datetime | None = None
    in_reply_to: str | None = None
    in_reply_to_author: str | None = None
    quotes: str | None = None
    reposts: str | None = None
    refers_to: str | None = None
    refers_to_customer: str | None = None
    quoted_author: str | None = None
    customer_ids: tuple[str, ...] = ()
    lone_id: bool = False
    target: str | None = None
    author: Author | None = None
    text: str | None = None
    langs: tuple[str, ...] = ()
    media: tuple[Media, ...] = ()
    links: tuple[str, ...] = ()
    hashtags: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    metrics: dict[str, int] | None = None
    url: str | None = None
    direction: Literal["inbound", "outbound", "third_party"] | None = None
    label: str | None = None
    window_until: datetime | None = None
    natures: tuple[Nature, ...] = ()
    asked_by_id: bool = False
    only_media: bool = False
    erases: bool = False
    withheld: bool = False
