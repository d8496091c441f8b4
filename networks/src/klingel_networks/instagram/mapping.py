"""Instagram in klingel's words: comments, mentions, story mentions and replies, messages; pure.

Source: developers.facebook.com, "Instagram Platform: Webhooks" and its notification examples,
"Webhooks reference: Instagram" (comments, live_comments, mentions, story_insights); messages are
those of `meta/messaging.py`, what is polled (comments, media, conversations) is Graph's.

- Ids are the network's own, `instagram:network:<comment, media or message id>`. The conversation of
  a comment is its medium.
- A mention names only the comment or medium that mentions us: its text comes with what is fetched
  then, under the same id.
- A customer has a scoped id, and a username that is shown beside it and may be another's tomorrow.
- What the account itself comments carries `from.self_ig_scoped_id`, whatever id stands beside it.
- The network tells no edit and no removal of a comment.
"""

from collections.abc import Mapping

import msgspec

from klingel.domain.draft import Kind, SocialDraft
from klingel.model import RawEvent
from klingel.model.social_event import Media
from klingel_networks.contract import Identity
from klingel_networks.generic import native_of
from klingel_networks.meta.drafting import Actor, Ref, author_of, named, placed
from klingel_networks.meta.envelope import INSTAGRAM, VIA, exploder
from klingel_networks.meta.fields import (
    ABSENT,
    Id,
    Part,
    Time,
    content_id,
    decode,
    is_given,
    medium_id,
    milliseconds,
    moment,
    native_id,
    optional_id,
    said,
    web_address,
)
from klingel_networks.meta.graph_objects import (
    CHANNEL,
    EDGE,
    GRAPH,
    PARENT,
    draft_message,
    identify_message,
    with_pages,
)
from klingel_networks.meta.messaging import MediaKind, draft_item, identify_item, stable_id
from klingel_networks.meta.window import with_window

MAPPING = "instagram/1"
PREFIX = "instagram:network:"

_COMMENTS = frozenset({"comments", "live_comments"})
_MENTIONS = "mentions"
_WHERE_MAX = 120
_MEDIA_EDGES = frozenset({"media", "tags", "stories"})
_KINDS: Mapping[str, Kind] = {"comments": "comment", "stories": "story"}


class Commenter(Actor, frozen=True, gc=False):
    """Who commented; the scoped id is that of our own account and stands there for it alone."""

    self_ig_scoped_id: Id | None = None


class Value(Part, frozen=True, gc=False, kw_only=True):
    """What a comment or a mention says; a comment's id is `id`, in some deliveries `comment_id`."""

    id: Id | None = None
    text: str | None = None
    from_: Commenter | None = msgspec.field(default=None, name="from")
    media: Ref | None = None
    parent_id: Id | None = None
    comment_id: Id | None = None
    media_id: Id | None = None
    created_time: Time | None = None
    timestamp: Time | None = None


class Changed(Part, frozen=True, gc=False):
    """One change."""

    field: str | None = None
    value: Value | None = None


class _Loose(Part, frozen=True, gc=False):
    field: str | None = None
    sender: msgspec.Raw = ABSENT
    recipient: msgspec.Raw = ABSENT


class _Object(Part, frozen=True, gc=False, kw_only=True):
    """A comment or a medium, as Graph gives it."""

    id: Id | None = None
    text: str | None = None
    caption: str | None = None
    timestamp: Time | None = None
    username: str | None = None
    from_: Actor | None = msgspec.field(default=None, name="from")
    owner: Ref | None = None
    parent_id: Id | None = None
    media: Ref | None = None
    hidden: bool | None = None
    media_type: str | None = None
    media_url: str | None = None
    permalink: str | None = None
    like_count: int | None = None
    comments_count: int | None = None


_CHANGED = msgspec.json.Decoder(Changed)
_LOOSE = msgspec.json.Decoder(_Loose)
_OBJECT = msgspec.json.Decoder(_Object)

explode = with_pages(exploder(INSTAGRAM))


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of an object; raises InvalidMessage."""
    if context.get(VIA) == GRAPH:
        if context.get(EDGE) == "messages":
            return identify_message(INSTAGRAM, native, context)
        own_id = native_id(decode(_OBJECT, native).id, "id")
        return Identity(PREFIX + own_id, 0, _graph_kind(context), "created")
    loose = _loose(native, context)
    if loose.field is None:
        return identify_item(INSTAGRAM, native, context)
    value = _value(native, loose.field)
    found = None if value is None else _own_id(loose.field, value)
    if found is None:
        own_id = f"{native_id(loose.field, 'field')[:_WHERE_MAX]}/{content_id(native)}"
        return Identity(PREFIX + own_id, 0, "unknown", "created")
    return Identity(PREFIX + found[1], 0, found[0], "created")


def _loose(native: bytes | msgspec.Raw, context: Mapping[str, str]) -> _Loose:
    """Return what tells a message from a change: a change has a field, a message has sides.

    An element of `messaging` is a message whatever it holds.
    """
    if context.get("by") in {"messaging", "standby"}:
        return _Loose()
    loose = decode(_LOOSE, native)
    if loose.field is None and not (is_given(loose.sender) or is_given(loose.recipient)):
        return _Loose("none")
    return loose


def _value(native: bytes | msgspec.Raw, field: str) -> Value | None:
    if field in _COMMENTS or field == _MENTIONS:
        return decode(_CHANGED, native).value
    return None


def _own_id(field: str, value: Value) -> tuple[Kind, str] | None:
    """Return kind and native id of a comment, or of what mentions us."""
    found = optional_id(value.id, "value.id") if field in _COMMENTS else None
    found = found or optional_id(value.comment_id, "value.comment_id")
    if found is not None or field in _COMMENTS:
        return None if found is None else ("comment", found)
    found = optional_id(value.media_id, "value.media_id")
    return None if found is None else ("post", found)


def _graph_kind(context: Mapping[str, str]) -> Kind:
    edge = context.get(EDGE, "")
    if edge in _KINDS:
        return _KINDS[edge]
    return "post" if edge in _MEDIA_EDGES else "unknown"


def to_social_event(raw: RawEvent) -> SocialDraft:
    """Return the draft of an object; raises InvalidMessage."""
    draft = with_window(_drafted(raw))
    return msgspec.structs.replace(draft, customer_ids=customer_ids(draft))


def customer_ids(draft: SocialDraft) -> tuple[str, ...]:
    """Return the ids under which an object names its customer: the scoped id, then the username.

    Who speaks is the customer; where the account speaks in private, whom it speaks to.
    """
    if draft.direction == "outbound":
        private = draft.visibility == "private" and draft.target is not None
        return (f"instagram:{draft.target}",) if private else ()
    author = draft.author
    if author is None:
        return ()
    own = f"instagram:{author.id}"
    return (own, f"instagram:username:{author.handle.lower()}") if author.handle else (own,)


def _drafted(raw: RawEvent) -> SocialDraft:
    context = raw.context or {}
    native = native_of(raw)
    if context.get(VIA) == GRAPH:
        if context.get(EDGE) == "messages":
            return draft_message(INSTAGRAM, MAPPING, native, context)
        return _graph_draft(decode(_OBJECT, native), context)
    loose = _loose(native, context)
    if loose.field is None:
        return draft_item(INSTAGRAM, MAPPING, native, context)
    account = optional_id(context.get("channel"), "context.channel")
    value = _value(native, loose.field)
    found = None if value is None else _own_id(loose.field, value)
    if value is None or found is None:
        return SocialDraft(mapping=MAPPING, kind="unknown", change="created", target=account)
    return _draft(loose.field, found[0], value, account, context)


def _draft(
    field: str, kind: Kind, value: Value, account: str | None, context: Mapping[str, str]
) -> SocialDraft:
    author = author_of(value.from_)
    itself = value.from_ is not None and value.from_.self_ig_scoped_id is not None
    ours = itself or (author is not None and author.id == account)
    medium = value.media_id if value.media is None else value.media.id
    thread = optional_id(medium, "value.media.id") if kind == "comment" else None
    place = placed(PREFIX, thread, optional_id(value.parent_id, "value.parent_id"))
    mention = field == _MENTIONS
    times = (value.created_time, value.timestamp, context.get("time"))
    at = next((each for each in times if each is not None), None)
    return SocialDraft(
        mapping=MAPPING,
        kind=kind,
        change="created",
        threading=place.threading,
        conversation_id=place.conversation_id,
        published_at=None if at is None else moment(milliseconds(at, "entry.time")),
        in_reply_to=place.in_reply_to,
        target=None if ours or mention else account,
        author=author,
        text=said(value.text, "value.text"),
        mentions=(account,) if mention and account is not None else (),
        direction="outbound" if ours else None,
        asked_by_id=mention and account is not None and not value.text,
    )


def _graph_draft(told: _Object, context: Mapping[str, str]) -> SocialDraft:
    kind = _graph_kind(context)
    account = optional_id(context.get(CHANNEL), "context.channel")
    author = author_of(told.from_)
    if author is None and told.owner is not None and told.owner.id is not None:
        author = named(native_id(told.owner.id, "owner.id"), Actor(username=told.username))
    ours = author is not None and author.id == account
    medium = context.get(PARENT) or (None if told.media is None else told.media.id)
    thread = optional_id(medium, "media.id") if kind == "comment" else None
    place = placed(PREFIX, thread, optional_id(told.parent_id, "parent_id"))
    tagged = context.get(EDGE) == "tags"
    at = told.timestamp
    return SocialDraft(
        mapping=MAPPING,
        kind=kind,
        change="created",
        visibility="followers" if told.hidden else "public",
        threading=place.threading,
        conversation_id=place.conversation_id,
        published_at=None if at is None else moment(milliseconds(at, "timestamp")),
        in_reply_to=place.in_reply_to,
        target=None if ours or tagged else account,
        author=author,
        text=said(told.text or told.caption, "text"),
        media=_media(told),
        mentions=(account,) if tagged and account is not None else (),
        metrics=_metrics(told),
        url=web_address(told.permalink),
        direction="outbound" if ours else None,
    )


def _media(told: _Object) -> tuple[Media, ...]:
    url = web_address(told.media_url)
    if url is None:
        return ()
    kind: MediaKind = "video" if told.media_type == "VIDEO" else "image"
    return (Media(kind=kind, id=stable_id(url) or medium_id(told.id), url=url, status="remote"),)


def _metrics(told: _Object) -> dict[str, int] | None:
    counted = {"likes": told.like_count, "comments": told.comments_count}
    return {name: each for name, each in counted.items() if each is not None and each >= 0} or None
