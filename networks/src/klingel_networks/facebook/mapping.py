"""Facebook pages in klingel's words: feed, comments, reactions, mentions, ratings; pure.

Source: developers.facebook.com, "Webhooks reference: Page" (feed, mention, ratings), "Webhooks for
Pages"; what is polled: `graph.py` beside this.

- Ids are Graph's own, `facebook:network:<post or comment id>`; a rating is
  `facebook:network:rating/<its story id>`. The conversation of a comment is its post.
- A person has one reaction to a thing: its kind is the reaction's text, its place in the id holds
  `one`, a change of it is a later revision.
- Revisions are times in ms: 0 for a creation; an edit's `edited_time`, else the time of the entry.
  What was removed does not come back: it has the revision of a deletion without one.
- Hiding is no edit: where it carries the text it changes the visibility alone, where it does not
  (and for mute, block and their like) it is an object of kind `unknown` beside the post.
- What is no post, comment, rating, reaction or mention is of kind `unknown`.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from klingel.domain.draft import Change, Kind, SocialDraft, Visibility
from klingel.domain.identity import DELETED_WITHOUT_REVISION
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import RawEvent
from klingel.model.social_event import Author, Media
from klingel_networks.contract import Delivery, Identity, NativeObject, Refused
from klingel_networks.facebook import graph
from klingel_networks.generic import native_of
from klingel_networks.meta.deletion import (
    DELETION,
    draft_deletion,
    explode_deletion,
    identify_deletion,
)
from klingel_networks.meta.drafting import Actor, links_of
from klingel_networks.meta.envelope import FACEBOOK, VIA, exploder
from klingel_networks.meta.fields import (
    Id,
    Part,
    Time,
    content_id,
    decode,
    medium_id,
    milliseconds,
    moment,
    native_id,
    optional_id,
    said,
    shown_name,
    web_address,
)
from klingel_networks.meta.graph_objects import GRAPH, with_pages
from klingel_networks.meta.messaging import ONE_REACTION, MediaKind, stable_id

MAPPING = "facebook/1"
PREFIX = "facebook:network:"

_POSTS = frozenset(
    {
        "post",
        "status",
        "photo",
        "video",
        "share",
        "link",
        "album",
        "note",
        "event",
        "milestone",
        "offer",
        "question",
        "group",
        "coverphoto",
        "instant_article",
        "live_video",
        "reel",
        "story",
        "work",
    }
)
_REACTIONS = frozenset({"reaction", "like"})
_CREATED = frozenset({"add"})
_EDITED = frozenset({"edit", "edited", "update"})
_REMOVED = frozenset({"remove", "delete"})
_HIDDEN: Mapping[str, Visibility] = {"hide": "followers", "unhide": "public"}


class Post(Part, frozen=True, gc=False):
    """What the network adds about a post."""

    permalink_url: str | None = None


class Value(Part, frozen=True, gc=False, kw_only=True):
    """What a change of a page's feed, mentions or ratings says."""

    item: str | None = None
    verb: str | None = None
    post_id: Id | None = None
    comment_id: Id | None = None
    parent_id: Id | None = None
    album_id: Id | None = None
    photo_id: Id | None = None
    video_id: Id | None = None
    share_id: Id | None = None
    event_id: Id | None = None
    open_graph_story_id: Id | None = None
    from_: Actor | None = msgspec.field(default=None, name="from")
    sender_id: Id | None = None
    sender_name: str | None = None
    reviewer_id: Id | None = None
    reviewer_name: str | None = None
    created_time: Time | None = None
    edited_time: Time | None = None
    message: str | None = None
    review_text: str | None = None
    rating: int | str | None = None
    recommendation_type: str | None = None
    reaction_type: str | None = None
    link: str | None = None
    photo: str | None = None
    photos: list[str] | None = None
    video: str | None = None
    published: int | bool | None = None
    is_hidden: bool | None = None
    post: Post | None = None


class Changed(Part, frozen=True, gc=False):
    """One change."""

    field: str | None = None
    value: Value | None = None


class _Loose(Part, frozen=True, gc=False):
    field: str | None = None


_CHANGED = msgspec.json.Decoder(Changed)
_LOOSE = msgspec.json.Decoder(_Loose)
_IN_THREADS = frozenset({"comment", "reaction", "unknown"})
_FIELDS = frozenset({"feed", "mention", "ratings"})


class News(NamedTuple):
    """What one change tells of which thing.

    Attributes:
        field: of the webhook.
        kind: of the thing.
        change: what happened.
        own_id: its native id, without the network.
        revision: of the object.
        value: as decoded; None where the change is of no field that we read.
    """

    field: str
    kind: Kind
    change: Change
    own_id: str
    revision: int
    value: Value | None


_explode_told = with_pages(exploder(FACEBOOK))


def explode(delivery: Delivery) -> list[NativeObject | Refused]:
    """Cut a webhook delivery, a page of Graph's answer, or a deletion; raises InvalidMessage."""
    if delivery.context.get(VIA) == DELETION:
        return explode_deletion(delivery)
    return _explode_told(delivery)


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of an object; raises InvalidMessage."""
    via = context.get(VIA)
    if via == GRAPH:
        return graph.identify(native, context)
    if via == DELETION:
        return identify_deletion(native)
    news = read(native, context)
    return Identity(PREFIX + news.own_id, news.revision, news.kind, news.change)


def to_social_event(raw: RawEvent) -> SocialDraft:
    """Return the draft of an object; raises InvalidMessage."""
    context = raw.context or {}
    native = native_of(raw)
    via = context.get(VIA)
    if via == GRAPH:
        return graph.draft(MAPPING, native, context)
    if via == DELETION:
        return draft_deletion(MAPPING, native)
    return _draft(read(bytes(native), context), context)


def read(native: bytes, context: Mapping[str, str]) -> News:
    """Return what one change tells; raises InvalidMessage."""
    field = decode(_LOOSE, native).field or "none"
    foreign = context.get("object")
    if foreign is not None or field not in _FIELDS:
        return _unknown(field if foreign is None else f"{foreign}/{field}", native, None)
    value = decode(_CHANGED, native).value
    if value is None:
        return _unknown(field, native, None)
    if value.item in _REACTIONS:
        return _reaction_news(field, value, native, context)
    kind = _kind(field, value.item or "")
    own_id = None if kind == "unknown" else _own_id(field, kind, value)
    if own_id is None:
        return _unknown(field, native, value)
    return _thing_news(field, kind, own_id, value, context)


def _kind(field: str, item: str) -> Kind:
    if item == "comment":
        return "comment"
    if item == "rating" and field == "ratings":
        return "review"
    return "post" if item in _POSTS else "unknown"


def _thing_news(
    field: str, kind: Kind, own_id: str, value: Value, context: Mapping[str, str]
) -> News:
    verb = value.verb or "none"
    if verb in _CREATED:
        return News(field, kind, "created", own_id, 0, value)
    if verb in _REMOVED:
        return News(field, kind, "deleted", own_id, DELETED_WITHOUT_REVISION, value)
    if verb in _EDITED or (verb in _HIDDEN and _text(value) is not None):
        return News(field, kind, "updated", own_id, _edited_at(value, context), value)
    beside = f"{own_id}/{native_id(verb, 'value.verb')[:_VERB_MAX]}"
    return News(field, "unknown", "updated", beside, _edited_at(value, context), value)


_VERB_MAX = 40
_WHERE_MAX = 120


def _unknown(where: str, native: bytes, value: Value | None) -> News:
    own_id = f"{native_id(where, 'field')[:_WHERE_MAX]}/{content_id(native)}"
    return News(where, "unknown", "created", own_id, 0, value)


def _own_id(field: str, kind: Kind, value: Value) -> str | None:
    if kind == "comment":
        return optional_id(value.comment_id, "value.comment_id")
    if kind == "review":
        story = optional_id(value.open_graph_story_id, "value.open_graph_story_id")
        return _rating(story) if story is not None else _thread(field, value)
    for path in ("post_id", "album_id", "photo_id", "video_id", "share_id", "event_id"):
        found = optional_id(getattr(value, path), f"value.{path}")
        if found is not None:
            return found
    return None


def _rating(story: str) -> str:
    return f"rating/{story.rpartition('_')[2]}"


def _thread(field: str, value: Value) -> str | None:
    """Return the native id of the post, or of the rating, that a comment or reaction belongs to.

    A rating is a story: `<somebody>_<story id>` where others refer to it, the story's id by itself.
    """
    post = optional_id(value.post_id, "value.post_id")
    return _rating(post) if post is not None and field == "ratings" else post


def _reaction_news(field: str, value: Value, native: bytes, context: Mapping[str, str]) -> News:
    verb = value.verb or ""
    target, actor = _reacted_to(field, value), _author(value)
    if target is None or actor is None or verb not in _CREATED | _EDITED | _REMOVED:
        return _unknown(field, native, value)
    change: Change = "created"
    if verb not in _CREATED:
        change = "updated" if verb in _EDITED else "deleted"
    own_id = f"{target}/reaction/{actor.id}/{ONE_REACTION}"
    at = value.created_time
    revision = _entry_time(context) if at is None else milliseconds(at, "value.created_time")
    return News(field, "reaction", change, own_id, revision, value)


def _reacted_to(field: str, value: Value) -> str | None:
    comment = optional_id(value.comment_id, "value.comment_id")
    return _thread(field, value) if comment is None else comment


def _edited_at(value: Value, context: Mapping[str, str]) -> int:
    """Return when an edit happened: the network's word, else when it told of it."""
    if value.edited_time is not None:
        return milliseconds(value.edited_time, "value.edited_time")
    if "time" not in context and value.created_time is not None:
        return milliseconds(value.created_time, "value.created_time")
    return _entry_time(context)


def _entry_time(context: Mapping[str, str]) -> int:
    if "time" not in context:
        raise InvalidMessage(ErrorType.MISSING_FIELD, "entry.time is missing", path="entry.time")
    return milliseconds(context["time"], "context.time")


def _author(value: Value) -> Author | None:
    """Return who acted, from the present form of the payloads or from the older ones."""
    actor = value.from_
    pairs = (
        (
            None if actor is None else actor.id,
            None if actor is None else actor.name,
            "value.from.id",
        ),
        (value.sender_id, value.sender_name, "value.sender_id"),
        (value.reviewer_id, value.reviewer_name, "value.reviewer_id"),
    )
    for own_id, name, path in pairs:
        found = optional_id(own_id, path)
        if found is not None:
            return Author(id=found, name=shown_name(name))
    return None


def _text(value: Value) -> str | None:
    if value.review_text:
        return said(value.review_text, "value.review_text")
    return said(value.message, "value.message")


def _draft(news: News, context: Mapping[str, str]) -> SocialDraft:
    page = optional_id(context.get("channel"), "context.channel")
    value = news.value
    if value is None:
        return SocialDraft(mapping=MAPPING, kind=news.kind, change=news.change, target=page)
    author = _author(value)
    ours = author is not None and author.id == page
    mention = news.field == "mention"
    media = () if news.kind == "reaction" else tuple(_media(value))
    deleted = news.change == "deleted"
    created_at = None
    if news.change == "created":
        created_at = _published_at(value, context)
    replies = _in_reply_to(news, value)
    thread = _thread(news.field, value) if news.kind in _IN_THREADS else None
    return SocialDraft(
        mapping=MAPPING,
        kind=news.kind,
        change=news.change,
        visibility=_visibility(value),
        threading="network" if thread is not None else "root" if replies is None else "parent_only",
        conversation_id=None if thread is None else PREFIX + thread,
        published_at=None if created_at is None else moment(created_at),
        changed_at=_changed_at(news, context),
        in_reply_to=replies,
        target=None if ours or mention else page,
        author=author,
        text=None if deleted else _words(news, value),
        media=() if deleted else media,
        links=() if deleted else links_of(media),
        mentions=(page,) if mention and page is not None else (),
        metrics=(
            graph.stars(value.rating, value.recommendation_type)
            if news.kind == "review" and not deleted
            else None
        ),
        url=None if deleted else _permalink(news, value),
        direction="outbound" if ours else None,
    )


def _words(news: News, value: Value) -> str | None:
    if news.kind == "reaction":
        return said(value.reaction_type or value.item, "value.reaction_type")
    return _text(value)


def _published_at(value: Value, context: Mapping[str, str]) -> int | None:
    if value.created_time is not None:
        return milliseconds(value.created_time, "value.created_time")
    return _entry_time(context) if "time" in context else None


def _changed_at(news: News, context: Mapping[str, str]) -> datetime | None:
    if news.change == "created":
        return None
    if news.revision != DELETED_WITHOUT_REVISION:
        return moment(news.revision)
    return moment(_entry_time(context)) if "time" in context else None


def _in_reply_to(news: News, value: Value) -> str | None:
    if news.kind == "reaction":
        target = _reacted_to(news.field, value)
        return None if target is None else PREFIX + target
    if news.kind != "comment":
        return None
    parent = optional_id(value.parent_id, "value.parent_id")
    post = optional_id(value.post_id, "value.post_id")
    if parent is None or parent == post:
        thread = _thread(news.field, value)
        return None if thread is None else PREFIX + thread
    return PREFIX + parent


def _visibility(value: Value) -> Visibility:
    if value.is_hidden and value.verb != "unhide":
        return "followers"
    if value.published is not None and not value.published:
        return "unlisted"
    return _HIDDEN.get(value.verb or "", "public")


def _media(value: Value) -> Iterator[Media]:
    linked: MediaKind = "link"
    if value.item in {"photo", "video"}:
        linked = "image" if value.item == "photo" else "video"
    own_id = medium_id(value.photo_id) or medium_id(value.video_id)
    addresses: list[tuple[MediaKind, str | None]] = [("image", value.photo), ("video", value.video)]
    addresses += [("image", each) for each in value.photos or ()]
    addresses.append((linked, value.link))
    for kind, address in addresses:
        url = web_address(address)
        if url is None:
            continue
        known = stable_id(url) or (own_id if kind == linked else None)
        yield Media(kind=kind, id=known, url=url, status=None if kind == "link" else "remote")


_LINKABLE = re.compile(r"[0-9]{1,40}(?:_[0-9]{1,40})?")


def _permalink(news: News, value: Value) -> str | None:
    if value.post is not None and news.kind == "post":
        found = web_address(value.post.permalink_url)
        if found is not None:
            return found
    if news.kind not in {"post", "comment"} or _LINKABLE.fullmatch(news.own_id) is None:
        return None
    return f"https://www.facebook.com/{news.own_id}"
