"""Messages of Messenger and of Instagram in klingel's words: one shape, two networks; pure.

Source: developers.facebook.com, "Messenger Platform: Webhook events" (messages, message_echoes,
message_edits, message_reactions, message_reads, message_deliveries, messaging_postbacks,
messaging_referrals, messaging_handovers, standby, messaging_optins, policy_enforcement) and
"Webhooks for Instagram Messaging" (story replies and mentions, unsent messages, seen).

- A message is `<network>:network:<mid>`: the same id from webhook, standby, echo and Graph.
- The conversation is the pair of account and customer: `<network>:network:chat/<account>/<customer>`.
- A person has one reaction to a message at a time and its removal does not name it: the emoji is
  the reaction's text, its place in the id holds `one`.
- Revisions are times of the event in ms: 0 for a message, the edit's time for an edit; an unsent
  message is gone for good.
- What is nobody's word (read, delivery, handover, referral, opt-in, policy …) is of kind `unknown`;
  its id is computed from its content, as the network gives it none.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import msgspec

from klingel.domain.draft import Change, Kind, SocialDraft
from klingel.domain.identity import DELETED_WITHOUT_REVISION
from klingel.errors import ErrorType, InvalidMessage
from klingel.model.social_event import Author, Media
from klingel_networks.contract import Identity
from klingel_networks.meta.drafting import links_of
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

ONE_REACTION = "one"
"""The emoji part of a reaction's id where an account has one reaction to a thing at a time."""


class Side(Part, frozen=True, gc=False):
    """Sender or recipient; `user_ref` before somebody opened a conversation."""

    id: Id | None = None
    user_ref: Id | None = None


class Story(Part, frozen=True, gc=False):
    """A story of the account that a message answers."""

    id: Id | None = None
    url: str | None = None


class ReplyTo(Part, frozen=True, gc=False):
    """What a message answers."""

    mid: Id | None = None
    story: Story | None = None


class Coordinates(Part, frozen=True, gc=False):
    """Where a location is."""

    lat: float | None = None
    long: float | None = None


class Element(Part, frozen=True, gc=False):
    """A card of a template."""

    title: str | None = None
    subtitle: str | None = None


class Product(Part, frozen=True, gc=False):
    """Products of a shop that somebody asks about."""

    elements: list[Element] | None = None


class Payload(Part, frozen=True, gc=False):
    """What an attachment carries."""

    url: str | None = None
    title: str | None = None
    text: str | None = None
    sticker_id: Id | None = None
    attachment_id: Id | None = None
    reel_video_id: Id | None = None
    ig_post_media_id: Id | None = None
    id: Id | None = None
    coordinates: Coordinates | None = None
    elements: list[Element] | None = None
    product: Product | None = None


class Attachment(Part, frozen=True, gc=False):
    """One attachment; `payload` is an object, a string or nothing."""

    type: str | None = None
    title: str | None = None
    url: str | None = None
    payload: msgspec.Raw = ABSENT


class Message(Part, frozen=True, gc=False):
    """A message, an echo, or that it was unsent."""

    mid: Id | None = None
    text: str | None = None
    is_echo: bool | None = None
    is_deleted: bool | None = None
    is_unsupported: bool | None = None
    attachments: list[Attachment] | None = None
    reply_to: ReplyTo | None = None


class Edit(Part, frozen=True, gc=False):
    """A message's new text."""

    mid: Id | None = None
    text: str | None = None


class Reaction(Part, frozen=True, gc=False):
    """A reaction, or its removal."""

    mid: Id | None = None
    action: str | None = None
    emoji: str | None = None
    reaction: str | None = None


class Postback(Part, frozen=True, gc=False):
    """A button that somebody pressed."""

    mid: Id | None = None
    title: str | None = None


class Prior(Part, frozen=True, gc=False):
    """Who somebody was before the conversation: a reference of the web site's plug-in."""

    identifier: Id | None = None


class Item(Part, frozen=True, gc=False, kw_only=True):
    """One element of `messaging` or `standby`."""

    sender: Side | None = None
    recipient: Side | None = None
    timestamp: Time | None = None
    message: Message | None = None
    message_edit: Edit | None = None
    reaction: Reaction | None = None
    postback: Postback | None = None
    prior_message: Prior | None = None


class _Present(Part, frozen=True, gc=False):
    """Which of the events that are nobody's word an item holds."""

    read: msgspec.Raw = ABSENT
    delivery: msgspec.Raw = ABSENT
    referral: msgspec.Raw = ABSENT
    optin: msgspec.Raw = ABSENT
    account_linking: msgspec.Raw = ABSENT
    pass_thread_control: msgspec.Raw = ABSENT
    take_thread_control: msgspec.Raw = ABSENT
    request_thread_control: msgspec.Raw = ABSENT
    app_roles: msgspec.Raw = ABSENT
    policy_enforcement: msgspec.Raw = ABSENT
    policy: msgspec.Raw = msgspec.field(default=ABSENT, name="policy-enforcement")


ITEM = msgspec.json.Decoder(Item)
_PRESENT = msgspec.json.Decoder(_Present)
_PAYLOAD = msgspec.json.Decoder(Payload)
MediaKind = Literal["image", "video", "audio", "file", "sticker", "location", "link"]
_KINDS: Mapping[str, MediaKind] = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "file": "file",
    "location": "location",
    "sticker": "sticker",
    "like_heart": "sticker",
    "animated_image": "image",
    "story_mention": "image",
    "ig_story": "image",
    "ephemeral": "image",
    "unsupported_type": "file",
}
"""Kinds of media by type of attachment; all others are links to something on the network."""
_EVENTS = tuple(name for name in _Present.__struct_fields__ if name != "policy")
_ASSET = re.compile(r"[?&]asset_id=([0-9]{1,40})(?:&|\Z)")
_CDN = re.compile(
    r"https://[a-z0-9.-]{1,100}\.(?:fbcdn\.net|cdninstagram\.com)/[^?#]{0,2000}?([^/?#]{5,300})(?:[?#]|\Z)"
)
_STORY_MENTION = "story_mention"
_TEMPLATE = "template"
_ALT_MAX = 10_000


class Told(NamedTuple):
    """An item, its two sides, whose word it is, and when.

    Attributes:
        item: as decoded.
        account: our page or Instagram account, None where the item does not name it.
        customer: the other side.
        ours: whether the account speaks.
        at: epoch milliseconds of the event, else of the delivery; None where neither is told.
    """

    item: Item
    account: str | None
    customer: str | None
    ours: bool
    at: int | None

    @property
    def speaker(self) -> str | None:
        """Id of who acted."""
        return self.account if self.ours else self.customer


def read_item(native: bytes | msgspec.Raw, context: Mapping[str, str]) -> Told:
    """Read one item; raises InvalidMessage."""
    item = decode(ITEM, native)
    sender, recipient = _side(item.sender, "sender"), _side(item.recipient, "recipient")
    echo = item.message is not None and item.message.is_echo is True
    channel = context.get("channel")
    ours = echo or (sender is not None and sender == channel)
    account, customer = (sender, recipient) if ours else (recipient, sender)
    if echo and recipient is not None and recipient == channel:  # as older versions told an echo
        account, customer = recipient, sender
    at = None
    if item.timestamp is not None:
        at = milliseconds(item.timestamp, "timestamp")
    elif "time" in context:
        at = milliseconds(context["time"], "context.time")
    return Told(item, account or channel, customer, ours, at)


def _side(side: Side | None, path: str) -> str | None:
    if side is None:
        return None
    if side.id is None and side.user_ref is not None:
        return f"user_ref:{native_id(side.user_ref, f'{path}.user_ref')}"
    return optional_id(side.id, f"{path}.id")


def identify_item(network: str, native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of one item; raises InvalidMessage."""
    told = read_item(native, context)
    item = told.item
    prefix = f"{network}:network:"
    if item.message is not None:
        return _message_identity(item.message, prefix, native)
    if item.message_edit is not None and item.message_edit.text:
        mid = native_id(item.message_edit.mid, "message_edit.mid")
        return Identity(prefix + mid, _time(told), "direct_message", "updated")
    reacted = None if item.reaction is None else _REACTIONS.get(item.reaction.action or "")
    if item.reaction is not None and reacted is not None:
        own = _reaction_id(item.reaction, told)
        return Identity(prefix + own, _time(told), "reaction", reacted)
    if item.postback is not None and item.postback.title:
        pressed = optional_id(item.postback.mid, "postback.mid")
        own = pressed or f"postback/{content_id(native)}"
        return Identity(prefix + own, 0, "direct_message", "created")
    return Identity(f"{prefix}{_event(item, native)}/{content_id(native)}", 0, "unknown", "created")


_REACTIONS: Mapping[str, Change] = {"react": "created", "unreact": "deleted"}


def _message_identity(message: Message, prefix: str, native: bytes) -> Identity:
    mid = optional_id(message.mid, "message.mid")
    if message.is_deleted:
        if mid is None:
            raise _missing("message.mid")
        return Identity(prefix + mid, DELETED_WITHOUT_REVISION, "direct_message", "deleted")
    named = mid or f"message/{content_id(native)}"
    return Identity(prefix + named, 0, _message_kind(message), "created")


def _message_kind(message: Message) -> Kind:
    mentions = any(each.type == _STORY_MENTION for each in message.attachments or ())
    return "story" if mentions else "direct_message"


def _event(item: Item, native: bytes | msgspec.Raw) -> str:
    """Return the name of an event that is nobody's word."""
    if item.message_edit is not None:
        return "message_edit"  # without a text it is no edit: Instagram tells so of new messages
    if item.postback is not None:
        return "postback"
    if item.reaction is not None:
        return "reaction"
    present = decode(_PRESENT, native)
    if is_given(present.policy):
        return "policy_enforcement"
    return next((name for name in _EVENTS if is_given(getattr(present, name))), "event")


def _time(told: Told) -> int:
    if told.at is None:
        raise _missing("timestamp")
    return told.at


def _missing(path: str) -> InvalidMessage:
    return InvalidMessage(ErrorType.MISSING_FIELD, f"{path} is missing", path=path)


def _reaction_id(reaction: Reaction, told: Told) -> str:
    mid = native_id(reaction.mid, "reaction.mid")
    speaker = told.speaker
    if speaker is None:
        raise _missing("sender.id")
    return f"{mid}/reaction/{speaker}/{ONE_REACTION}"


def conversation_id(network: str, account: str, customer: str) -> str:
    """Return the conversation between an account and a customer."""
    return f"{network}:network:chat/{account}/{customer}"


def draft_item(
    network: str, mapping: str, native: bytes | msgspec.Raw, context: Mapping[str, str]
) -> SocialDraft:
    """Return the draft of one item; raises InvalidMessage."""
    told = read_item(native, context)
    item = told.item
    prefix = f"{network}:network:"
    if item.message is not None:
        return _message(item.message, told, prefix, mapping)
    if item.message_edit is not None and item.message_edit.text:
        native_id(item.message_edit.mid, "message_edit.mid")
        at = _time(told)
        text = said(item.message_edit.text, "message_edit.text")
        return _draft(told, mapping, prefix, "direct_message", "updated", text=text, changed_at=at)
    if item.reaction is not None and (item.reaction.action or "") in _REACTIONS:
        return _reaction(item.reaction, told, prefix, mapping)
    if item.postback is not None and item.postback.title:
        text = said(item.postback.title, "postback.title")
        return _draft(told, mapping, prefix, "direct_message", "created", text=text)
    return _draft(told, mapping, prefix, "unknown", "created")


def _draft(
    told: Told,
    mapping: str,
    prefix: str,
    kind: Kind,
    change: Change,
    *,
    changed_at: int | None = None,
    text: str | None = None,
    media: tuple[Media, ...] = (),
    links: tuple[str, ...] = (),
    mentions: tuple[str, ...] = (),
    in_reply_to: str | None = None,
    in_reply_to_author: str | None = None,
) -> SocialDraft:
    account, customer, ours = told.account, told.customer, told.ours
    speaker = account if ours else customer
    whole = account is not None and customer is not None
    at = told.at
    return SocialDraft(
        mapping=mapping,
        kind=kind,
        change=change,
        visibility="private",
        threading="network" if whole else "root",
        conversation_id=f"{prefix}chat/{account}/{customer}" if whole else None,
        published_at=moment(at) if change == "created" and at is not None else None,
        changed_at=None if changed_at is None else moment(changed_at),
        in_reply_to=in_reply_to,
        in_reply_to_author=in_reply_to_author,
        target=customer if ours else account,
        author=None if speaker is None else Author(id=speaker),
        text=text,
        media=media,
        links=links,
        mentions=mentions,
        direction="outbound" if ours else None,
    )


def _reaction(reaction: Reaction, told: Told, prefix: str, mapping: str) -> SocialDraft:
    _reaction_id(reaction, told)
    change = _REACTIONS[reaction.action or ""]
    emoji = said(reaction.emoji or reaction.reaction, "reaction.emoji")
    return _draft(
        told,
        mapping,
        prefix,
        "reaction",
        change,
        changed_at=told.at if change == "deleted" else None,
        text=emoji if change == "created" else None,
        in_reply_to=prefix + native_id(reaction.mid, "reaction.mid"),
    )


def _message(message: Message, told: Told, prefix: str, mapping: str) -> SocialDraft:
    if message.is_deleted:
        return _draft(told, mapping, prefix, "direct_message", "deleted", changed_at=told.at)
    kind = _message_kind(message)
    attachments = message.attachments or ()
    carried = [(each, _payload(each)) for each in attachments]
    media = tuple(_media(carried)) if carried else ()
    text = said(message.text, "message.text")
    if text is None and carried:
        text = said(_template_text(carried), "message.attachments")
    answered = answered_author = None
    reply = message.reply_to
    if reply is not None:
        if reply.mid is not None:
            answered = prefix + native_id(reply.mid, "message.reply_to.mid")
        elif reply.story is not None and reply.story.id is not None:
            answered = prefix + native_id(reply.story.id, "message.reply_to.story.id")
            answered_author = None if told.ours else told.account
            url = web_address(reply.story.url)
            media += (Media(kind="link", id=medium_id(reply.story.id), url=url),)
    mentioned = kind == "story" and not told.ours and told.account is not None
    return _draft(
        told,
        mapping,
        prefix,
        kind,
        "created",
        text=text,
        media=media,
        links=links_of(media),
        mentions=(told.account,) if mentioned and told.account else (),
        in_reply_to=answered,
        in_reply_to_author=answered_author,
    )


def _payload(attachment: Attachment) -> Payload | None:
    raw = attachment.payload
    if not bytes(raw).startswith(b"{"):
        return None
    return decode(_PAYLOAD, raw, "message.attachments.payload")


def _template_text(carried: list[tuple[Attachment, Payload | None]]) -> str | None:
    """Return what a template says: its text, else the titles of its cards."""
    lines = []
    for attachment, payload in carried:
        if attachment.type != _TEMPLATE or payload is None:
            continue
        if payload.text:
            lines.append(payload.text)
        shown = payload.elements if payload.product is None else payload.product.elements
        for element in shown or ():
            lines += [part for part in (element.title, element.subtitle) if part]
    return "\n".join(lines) or None


def _media(carried: list[tuple[Attachment, Payload | None]]) -> Iterator[Media]:
    for attachment, payload in carried:
        if attachment.type == _TEMPLATE:
            continue
        yield _medium(attachment, payload or Payload())


def _medium(attachment: Attachment, payload: Payload) -> Media:
    kind: MediaKind = _KINDS.get(attachment.type or "", "link")
    if payload.sticker_id is not None:
        kind = "sticker"
    url = web_address(payload.url) or web_address(attachment.url)
    found = coordinates(payload.coordinates)
    own_id = (
        stable_id(url)
        or medium_id(payload.sticker_id)
        or medium_id(payload.reel_video_id)
        or medium_id(payload.ig_post_media_id)
        or medium_id(payload.attachment_id)
        or medium_id(payload.id)
    )
    return Media(
        kind=kind,
        id=own_id,
        url=found or url,
        alt=alt_text(attachment.title or payload.title),
        status="remote" if url is not None and kind not in {"link", "location"} else None,
    )


def coordinates(found: Coordinates | None) -> str | None:
    """Return a place as a `geo:` address (RFC 5870), None where it is not told."""
    if found is None or found.lat is None or found.long is None:
        return None
    return f"geo:{found.lat},{found.long}"


def alt_text(value: str | None) -> str | None:
    """Return an alternative text that a record can hold, else None."""
    return None if not value or len(value) > _ALT_MAX or "\x00" in value else value


def stable_id(url: str | None) -> str | None:
    """Return what names a medium in an address of Meta's; all else of it changes from fetch to fetch.

    An address of another host, or of no medium, has none.
    """
    if url is None:
        return None
    found = _ASSET.search(url)
    if found is not None:
        return f"asset:{found[1]}"
    found = _CDN.match(url)
    return None if found is None else f"file:{found[1]}"
