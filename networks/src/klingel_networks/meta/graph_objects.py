"""What Graph answers when it is polled: pages of objects, and the messages of conversations; pure.

Source: developers.facebook.com, "Graph API: Paginated results", "Conversation", "Message". A page is
`{"data": […], "paging": {…}}`; each element is an object. Its context holds `via: graph`, `edge`
(what was asked for) and `channel` (the page or Instagram account), and of comments `parent` (the
post or medium they stand under). Ids are those of the webhooks.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from klingel.domain.draft import Kind, SocialDraft
from klingel.errors import ErrorType, InvalidMessage
from klingel.model.social_event import Media
from klingel_networks.bounds import check_depth, read_utf8
from klingel_networks.contract import Delivery, Identity, NativeObject, Refused
from klingel_networks.meta.drafting import Actor, links_of, named
from klingel_networks.meta.envelope import VIA
from klingel_networks.meta.fields import (
    ABSENT,
    Id,
    Part,
    Time,
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
from klingel_networks.meta.messaging import MediaKind, alt_text, stable_id

GRAPH = "graph"
"""Value of `via` in the context of what was polled."""
EDGE, CHANNEL, PARENT = "edge", "channel", "parent"
_KEPT = ("via", EDGE, CHANNEL, PARENT)


class _Actors(Part, frozen=True, gc=False):
    data: list[Actor] | None = None


class _Data(Part, frozen=True, gc=False):
    url: str | None = None


class _Attachment(Part, frozen=True, gc=False):
    id: Id | None = None
    name: str | None = None
    mime_type: str | None = None
    file_url: str | None = None
    image_data: _Data | None = None
    video_data: _Data | None = None


class _Attachments(Part, frozen=True, gc=False):
    data: list[_Attachment] | None = None


class _Share(Part, frozen=True, gc=False):
    id: Id | None = None
    link: str | None = None
    name: str | None = None


class _Shares(Part, frozen=True, gc=False):
    data: list[_Share] | None = None


class _StoryLink(Part, frozen=True, gc=False):
    id: Id | None = None
    link: str | None = None


class _Story(Part, frozen=True, gc=False):
    mention: _StoryLink | None = None
    reply_to: _StoryLink | None = None


class _Message(Part, frozen=True, gc=False, kw_only=True):
    id: Id | None = None
    created_time: Time | None = None
    from_: Actor | None = msgspec.field(default=None, name="from")
    to: _Actors | None = None
    message: str | None = None
    attachments: _Attachments | None = None
    shares: _Shares | None = None
    sticker: str | None = None
    story: _Story | None = None


class _Page(Part, frozen=True, gc=False):
    data: list[msgspec.Raw] | None = None
    error: msgspec.Raw = ABSENT


Cut = Callable[[Delivery], list[NativeObject | Refused]]
_PAGE = msgspec.json.Decoder(_Page)
_MESSAGE = msgspec.json.Decoder(_Message)


def with_pages(webhook: Cut) -> Cut:
    """Return an `explode` that cuts the pages of Graph's answers, too, beside its deliveries."""

    def cut(delivery: Delivery) -> list[NativeObject | Refused]:
        polled = delivery.context.get(VIA) == GRAPH
        return explode_page(delivery) if polled else webhook(delivery)

    return cut


def explode_page(delivery: Delivery) -> list[NativeObject | Refused]:
    """Cut a page of Graph's answer into its objects; an answer without `data` is one object.

    Raises:
        InvalidMessage: not JSON, not UTF-8, nested too deeply, or an error of Graph's.
    """
    body = delivery.body
    read_utf8(body)
    check_depth(body)
    context = {key: delivery.context[key] for key in _KEPT if key in delivery.context}
    page = decode(_PAGE, body)
    if page.data is not None:
        return [NativeObject(bytes(each), context) for each in page.data]
    if is_given(page.error):
        raise InvalidMessage(
            ErrorType.INVALID_FIELD, "the answer is an error of Graph's", path="error"
        )
    return [NativeObject(body.strip(), context)]


def identify_message(network: str, native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of a message of a conversation; raises InvalidMessage."""
    told = decode(_MESSAGE, native)
    _sides(told, context)
    return Identity(f"{network}:network:{native_id(told.id, 'id')}", 0, _kind(told), "created")


def _kind(told: _Message) -> Kind:
    mentioned = told.story is not None and told.story.mention is not None
    return "story" if mentioned else "direct_message"


def _sides(told: _Message, context: Mapping[str, str]) -> tuple[str | None, str | None, bool]:
    """Return account, customer, and whether the account speaks."""
    account = optional_id(context.get(CHANNEL), "context.channel")
    sender = None if told.from_ is None else optional_id(told.from_.id, "from.id")
    if sender is not None and sender == account:
        others = () if told.to is None else told.to.data or ()
        return account, next((optional_id(each.id, "to.data.id") for each in others), None), True
    return account, sender, False


def draft_message(
    network: str, mapping: str, native: bytes | msgspec.Raw, context: Mapping[str, str]
) -> SocialDraft:
    """Return the draft of a message of a conversation; raises InvalidMessage."""
    told = decode(_MESSAGE, native)
    account, customer, ours = _sides(told, context)
    prefix = f"{network}:network:"
    whole = account is not None and customer is not None
    speaker = account if ours else customer
    kind = _kind(told)
    answered = None
    media = tuple(_media(told))
    if told.story is not None and told.story.reply_to is not None:
        answered_id = optional_id(told.story.reply_to.id, "story.reply_to.id")
        answered = None if answered_id is None else prefix + answered_id
    return SocialDraft(
        mapping=mapping,
        kind=kind,
        change="created",
        visibility="private",
        threading="network" if whole else "root",
        conversation_id=f"{prefix}chat/{account}/{customer}" if whole else None,
        published_at=(
            None
            if told.created_time is None
            else moment(milliseconds(told.created_time, "created_time"))
        ),
        in_reply_to=answered,
        in_reply_to_author=account if answered is not None and not ours else None,
        target=customer if ours else account,
        author=None if speaker is None else named(speaker, told.from_),
        text=said(told.message, "message"),
        media=media,
        links=links_of(media),
        mentions=(account,) if kind == "story" and not ours and account else (),
        direction="outbound" if ours else None,
    )


def _media(told: _Message) -> Iterator[Media]:
    for each in () if told.attachments is None else told.attachments.data or ():
        kind, url = _attached(each)
        address = web_address(url)
        yield Media(
            kind=kind,
            id=stable_id(address) or medium_id(each.id),
            url=address,
            alt=alt_text(each.name),
            status="remote" if address else None,
        )
    if told.sticker:
        address = web_address(told.sticker)
        yield Media(kind="sticker", id=stable_id(address), url=address, status="remote")
    for share in () if told.shares is None else told.shares.data or ():
        yield Media(
            kind="link",
            id=medium_id(share.id),
            url=web_address(share.link),
            alt=alt_text(share.name),
        )
    if told.story is not None:
        if told.story.mention is not None:
            address = web_address(told.story.mention.link)
            yield Media(kind="image", id=stable_id(address), url=address, status="remote")
        if told.story.reply_to is not None:
            yield Media(
                kind="link",
                id=medium_id(told.story.reply_to.id),
                url=web_address(told.story.reply_to.link),
            )


def _attached(each: _Attachment) -> tuple[MediaKind, str | None]:
    mime = (each.mime_type or "").partition("/")[0]
    if each.image_data is not None:
        return "image", each.image_data.url
    if each.video_data is not None:
        return "video", each.video_data.url
    return ("audio" if mime == "audio" else "file"), each.file_url
