"""What Graph answers when a page is polled: posts, comments, ratings; pure.

Source: developers.facebook.com, "Graph API reference": Page Feed, Object Comments, Page Ratings.
A comment names its parent only where it answers another comment, and never its post: that stands
in the context (`parent`), put there by whoever asked for its comments.

Graph shows the present text of a thing and not when it was edited, so what is polled has revision
0: an edit that no webhook told is found, and of two texts the greater hash wins.
"""

from collections.abc import Iterator, Mapping

import msgspec

from klingel.domain.draft import Kind, SocialDraft, Visibility
from klingel.model.social_event import Media
from klingel_networks.contract import Identity
from klingel_networks.meta.drafting import Actor, Ref, author_of, links_of, placed
from klingel_networks.meta.fields import (
    Id,
    Part,
    Time,
    decode,
    medium_id,
    milliseconds,
    moment,
    native_id,
    optional_id,
    said,
    web_address,
)
from klingel_networks.meta.graph_objects import CHANNEL, EDGE, PARENT
from klingel_networks.meta.messaging import MediaKind, alt_text, stable_id

PREFIX = "facebook:network:"

_KINDS: Mapping[str, Kind] = {
    "feed": "post",
    "tagged": "post",
    "comments": "comment",
    "ratings": "review",
}


class _Source(Part, frozen=True, gc=False):
    src: str | None = None


class _Image(Part, frozen=True, gc=False):
    image: _Source | None = None
    source: str | None = None


class _Target(Part, frozen=True, gc=False):
    id: Id | None = None
    url: str | None = None


class _Attachment(Part, frozen=True, gc=False):
    type: str | None = None
    media_type: str | None = None
    media: _Image | None = None
    target: _Target | None = None
    title: str | None = None
    url: str | None = None
    unshimmed_url: str | None = None


class _Attachments(Part, frozen=True, gc=False):
    data: list[_Attachment] | None = None


class _Thing(Part, frozen=True, gc=False, kw_only=True):
    id: Id | None = None
    created_time: Time | None = None
    from_: Actor | None = msgspec.field(default=None, name="from")
    reviewer: Actor | None = None
    message: str | None = None
    review_text: str | None = None
    rating: int | str | None = None
    recommendation_type: str | None = None
    open_graph_story: Ref | None = None
    parent: Ref | None = None
    attachment: _Attachment | None = None
    attachments: _Attachments | None = None
    permalink_url: str | None = None
    is_hidden: bool | None = None
    is_published: bool | None = None


_THING = msgspec.json.Decoder(_Thing)


def _kind(context: Mapping[str, str]) -> Kind:
    return _KINDS.get(context.get(EDGE, ""), "unknown")


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of a post, comment or rating; raises InvalidMessage."""
    thing = decode(_THING, native)
    kind = _kind(context)
    if kind == "review":
        return Identity(PREFIX + _rating_id(thing), 0, kind, "created")
    return Identity(PREFIX + native_id(thing.id, "id"), 0, kind, "created")


def _rating_id(thing: _Thing) -> str:
    story = thing.open_graph_story
    return f"rating/{native_id(None if story is None else story.id, 'open_graph_story.id')}"


def draft(mapping: str, native: bytes | msgspec.Raw, context: Mapping[str, str]) -> SocialDraft:
    """Return the draft of a post, comment or rating; raises InvalidMessage."""
    thing = decode(_THING, native)
    kind = _kind(context)
    page = optional_id(context.get(CHANNEL), "context.channel")
    author = author_of(thing.from_ or thing.reviewer)
    ours = author is not None and author.id == page
    media = tuple(_media(thing))
    post = optional_id(context.get(PARENT), "context.parent") if kind == "comment" else None
    parent = None if thing.parent is None else optional_id(thing.parent.id, "parent.id")
    place = placed(PREFIX, post, parent if kind == "comment" else None)
    created = thing.created_time
    tagged = context.get(EDGE) == "tagged"
    return SocialDraft(
        mapping=mapping,
        kind=kind,
        change="created",
        visibility=_visibility(thing),
        threading=place.threading,
        conversation_id=place.conversation_id,
        published_at=None if created is None else moment(milliseconds(created, "created_time")),
        in_reply_to=place.in_reply_to,
        target=None if ours or tagged else page,
        author=author,
        text=said(thing.review_text or thing.message, "message"),
        media=media,
        links=links_of(media),
        mentions=(page,) if tagged and page is not None else (),
        metrics=stars(thing.rating, thing.recommendation_type) if kind == "review" else None,
        url=web_address(thing.permalink_url),
        direction="outbound" if ours else None,
    )


def _visibility(thing: _Thing) -> Visibility:
    if thing.is_hidden:
        return "followers"
    return "unlisted" if thing.is_published is False else "public"


_STARS_MAX = 5


def stars(rating: int | str | None, recommendation: str | None) -> dict[str, int] | None:
    """Return the stars of a rating and whether it recommends; None where neither is told."""
    found = {}
    if isinstance(rating, int) and 0 <= rating <= _STARS_MAX:
        found["stars"] = rating
    recommends = {"POSITIVE": 1, "NEGATIVE": 0}.get((recommendation or "").upper())
    if recommends is not None:
        found["recommends"] = recommends
    return found or None


def _media(thing: _Thing) -> Iterator[Media]:
    listed = () if thing.attachments is None else thing.attachments.data or ()
    for each in (*listed, thing.attachment):
        if each is not None:
            yield _medium(each)


def _medium(each: _Attachment) -> Media:
    told = (each.type or each.media_type or "").lower()
    kind: MediaKind = "link"
    for known in ("photo", "video", "sticker", "image"):
        if known in told:
            kind = _MEDIA[known]
            break
    source = None
    if each.media is not None:
        image = each.media.image
        source = each.media.source if kind == "video" else None
        source = source or (None if image is None else image.src)
    url = web_address(source if kind != "link" else each.unshimmed_url or each.url)
    target = None if each.target is None else medium_id(each.target.id)
    return Media(
        kind=kind,
        id=stable_id(url) or target,
        url=url,
        alt=alt_text(each.title),
        status=None if kind == "link" or url is None else "remote",
    )


_MEDIA: Mapping[str, MediaKind] = {
    "photo": "image",
    "image": "image",
    "video": "video",
    "sticker": "sticker",
}
