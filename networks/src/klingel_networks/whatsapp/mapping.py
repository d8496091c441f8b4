"""The WhatsApp Cloud API in klingel's words; pure. Who is who was settled by `meta/cloud.py`.

Source: developers.facebook.com, "WhatsApp Cloud API: Webhooks: messages" (each type), "status",
"smb_message_echoes", "history", "Business-scoped user IDs", "Edit messages", "Revoke messages".

- A message is `whatsapp:<own number's id>:<hash of its wamid>`, its conversation
  `whatsapp:<own number's id>:chat/<customer>`; a group's is `…:group/<hash>`.
- Revisions are times in ms (the network tells seconds): 0 for a message, the event's time for an
  edit. What was revoked is gone for good.
- What the brand sends through the Cloud API comes back only as statuses: `sent` is the outbound
  message itself (its text is not told) and stops clocks; `failed` is its deletion, for it never
  arrived. Templates for marketing, utility and authentication answer nobody and are of kind
  `unknown`. `delivered`, `read`, `played` and all others are objects of their own beside it.
- What the brand sends from the WhatsApp Business app comes as an echo, with its text.
- System messages, calls, preferences, changes of ids, and news of account and templates are of
  kind `unknown`; so is a type of message that nobody knows yet, with its id and its author.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from klingel.domain.draft import Change, Kind, SocialDraft
from klingel.domain.identity import DELETED_WITHOUT_REVISION
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import RawEvent
from klingel.model.social_event import Author, Media
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.contract import Identity
from klingel_networks.generic import native_of
from klingel_networks.meta.envelope import WHATSAPP, exploder
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
    said,
    web_address,
)
from klingel_networks.meta.identities import seen_ids
from klingel_networks.meta.messaging import ONE_REACTION, MediaKind, alt_text
from klingel_networks.meta.window import opened_until

MAPPING = "whatsapp/1"

_MESSAGES = frozenset({"messages", "message_echoes", "history"})
_SILENT_CATEGORIES = ("marketing", "utility", "authentication")
_SPEAKS_OF = frozenset({"revoke", "edit", "reaction"})
_ORDINARY = frozenset(
    {"text", "button", "interactive", "order", "unsupported", "unknown", "errors"}
)
"""`unsupported`, in older versions `unknown`: a customer wrote what the interface cannot show."""
_MEDIA: Mapping[str, MediaKind] = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "voice": "audio",
    "document": "file",
    "sticker": "sticker",
}
_SAID = _ORDINARY | set(_MEDIA) | {"location", "contacts", "template"}
"""Types that somebody says; others are nobody's word, or not known yet."""
_FLOW_LINES = 100
_SEGMENT_MAX = 100


class Body(Part, frozen=True, gc=False):
    """A text."""

    body: str | None = None


class Attached(Part, frozen=True, gc=False):
    """A medium: fetched by its id."""

    id: Id | None = None
    url: str | None = None
    caption: str | None = None
    filename: str | None = None


class Location(Part, frozen=True, gc=False):
    """A place."""

    latitude: float | None = None
    longitude: float | None = None
    name: str | None = None
    address: str | None = None
    url: str | None = None


class Button(Part, frozen=True, gc=False):
    """A template's button that was pressed."""

    text: str | None = None


class Choice(Part, frozen=True, gc=False):
    """A reply button or an entry of a list that was chosen."""

    title: str | None = None
    description: str | None = None


class Flow(Part, frozen=True, gc=False):
    """A form that was filled in: what was entered, as JSON in a string."""

    body: str | None = None
    response_json: str | None = None


class Question(Part, frozen=True, gc=False):
    """What an interactive message of ours asks."""

    text: str | None = None


class Interactive(Part, frozen=True, gc=False):
    """What was chosen or filled in, or what we asked."""

    body: Question | None = None
    button_reply: Choice | None = None
    list_reply: Choice | None = None
    nfm_reply: Flow | None = None


class Order(Part, frozen=True, gc=False):
    """A basket."""

    text: str | None = None
    product_items: list[msgspec.Raw] | None = None


class PersonName(Part, frozen=True, gc=False):
    """How a contact is called."""

    formatted_name: str | None = None


class Card(Part, frozen=True, gc=False):
    """A contact that was sent."""

    name: PersonName | None = None


class Emoji(Part, frozen=True, gc=False):
    """A reaction; without an emoji it was taken back."""

    emoji: str | None = None


class Context(Part, frozen=True, gc=False):
    """What a message answers, or that it was forwarded."""

    id: Id | None = None
    from_: Id | None = msgspec.field(default=None, name="from")


class Content(Part, frozen=True, gc=False, kw_only=True):
    """What a message says: the field of its type."""

    type: str | None = None
    text: Body | None = None
    image: Attached | None = None
    video: Attached | None = None
    audio: Attached | None = None
    voice: Attached | None = None
    document: Attached | None = None
    sticker: Attached | None = None
    location: Location | None = None
    button: Button | None = None
    interactive: Interactive | None = None
    order: Order | None = None
    contacts: list[Card] | None = None


class Edit(Part, frozen=True, gc=False):
    """The new content of a message."""

    message: Content | None = None


class Message(Content, frozen=True, gc=False, kw_only=True):
    """A message, whoever sent it."""

    timestamp: Time | None = None
    reaction: Emoji | None = None
    edit: Edit | None = None
    context: Context | None = None
    from_: Id | None = msgspec.field(default=None, name="from")


class Pricing(Part, frozen=True, gc=False):
    """What a message costs: its category."""

    category: str | None = None


class Origin(Part, frozen=True, gc=False):
    """What opened a conversation."""

    type: str | None = None


class Conversation(Part, frozen=True, gc=False):
    """A conversation that is charged for."""

    origin: Origin | None = None


class Status(Part, frozen=True, gc=False, kw_only=True):
    """What became of a message of ours."""

    status: str | None = None
    type: str | None = None
    timestamp: Time | None = None
    pricing: Pricing | None = None
    conversation: Conversation | None = None


class _Event(Part, frozen=True, gc=False):
    timestamp: Time | None = None


_MESSAGE = msgspec.json.Decoder(Message)
_STATUS = msgspec.json.Decoder(Status)
_EVENT = msgspec.json.Decoder(_Event)
_FLOW = msgspec.json.Decoder(dict[str, Any])


class News(msgspec.Struct, frozen=True, gc=False):
    """What one object tells.

    Attributes:
        kind: of the thing.
        change: what happened.
        own_id: of the thing, behind the own number.
        revision: of the object.
        at: epoch milliseconds of the event; None where it has no time.
        message: content, of messages.
        ours: whether the brand speaks.
        target: own id of what a reaction or a status is about.
    """

    kind: Kind
    change: Change
    own_id: str
    revision: int
    at: int | None
    message: Message | None = None
    ours: bool = False
    target: str | None = None


explode = exploder(WHATSAPP)


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of an object; raises InvalidMessage."""
    news = read(native, context)
    return Identity(_scope(context) + news.own_id, news.revision, news.kind, news.change)


def _scope(context: Mapping[str, str]) -> str:
    """Return `whatsapp:<own number>:`; news of an account stands under the account."""
    found = context.get("channel") or context.get("account") or "none"
    if ":" in found:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD,
            "the id of the own number holds a colon",
            path="context.channel",
        )
    return f"whatsapp:{found}:"


def read(native: bytes | msgspec.Raw, context: Mapping[str, str]) -> News:
    """Return what one object tells; raises InvalidMessage."""
    of = context.get("of")
    if of in _MESSAGES and "id" in context:
        return _message_news(decode(_MESSAGE, native), context)
    if of == "statuses" and "id" in context:
        return _status_news(decode(_STATUS, native), context)
    return _other(native, context)


def _other(native: bytes | msgspec.Raw, context: Mapping[str, str]) -> News:
    """Return what has no id, or is nobody's word: named by list, field and content."""
    found = decode(_EVENT, native).timestamp if "of" in context else None
    at = _entry_time(context) if found is None else milliseconds(found, "timestamp")
    where = f"{context.get('field', 'none')}/{context.get('of', 'change')}"
    return News("unknown", "created", f"{where}/{content_id(bytes(native))}", 0, at)


def _entry_time(context: Mapping[str, str]) -> int | None:
    return milliseconds(context["time"], "context.time") if "time" in context else None


def _message_news(message: Message, context: Mapping[str, str]) -> News:
    at = None if message.timestamp is None else milliseconds(message.timestamp, "timestamp")
    ours = context.get("by") == "own"
    told = message.type or "none"
    if told in _SPEAKS_OF:
        return _about(told, message, at, context)
    # A template is sent by machines: as its status, it answers nobody.
    said = told in _SAID and not (ours and told == "template")
    kind: Kind = "direct_message" if said else "unknown"
    return News(kind, "created", context["id"], 0, at, message, ours)


def _about(told: str, message: Message, at: int | None, context: Mapping[str, str]) -> News:
    """Return the news of a message that speaks of another one: revoke, edit, reaction."""
    ref, ours = context.get("ref"), context.get("by") == "own"
    if told == "revoke":
        return News(
            "direct_message",
            "deleted",
            _known(ref, "revoke.original_message_id"),
            DELETED_WITHOUT_REVISION,
            at,
            message,
            ours,
        )
    if told == "edit" and (message.edit is None or message.edit.message is None):
        # What it was edited to is not told: it blanks nothing.
        return News("unknown", "created", context["id"], 0, at, message, ours)
    if told == "edit":
        ref = _known(ref, "edit.original_message_id")
        return News("direct_message", "updated", ref, _time(at), at, message, ours)
    target = _known(ref, "reaction.message_id")
    actor = context.get("channel") if ours else context.get("customer")
    given = message.reaction is not None and message.reaction.emoji
    change: Change = "created" if given else "deleted"
    reaction_id = f"{target}/reaction/{_known(actor, 'from')}/{ONE_REACTION}"
    return News("reaction", change, reaction_id, _time(at), at, message, ours, target)


def _known(value: str | None, path: str) -> str:
    if value is None:
        raise InvalidMessage(ErrorType.MISSING_FIELD, f"{path} is missing", path=path)
    return value


def _time(at: int | None) -> int:
    if at is None:
        raise InvalidMessage(ErrorType.MISSING_FIELD, "timestamp is missing", path="timestamp")
    return at


def _status_news(status: Status, context: Mapping[str, str]) -> News:
    at = None if status.timestamp is None else milliseconds(status.timestamp, "timestamp")
    target = native_id(context["id"], "id")
    name = native_id(status.status or "none", "status")[:_SEGMENT_MAX].lower()
    if status.type not in {"call", "payment"}:
        kind: Kind = "unknown" if _is_template(status) else "direct_message"
        if name == "sent":
            return News(kind, "created", target, 0, at, ours=True)
        if name == "failed":
            return News(kind, "deleted", target, DELETED_WITHOUT_REVISION, at, ours=True)
        if name == "deleted":
            return News("direct_message", "deleted", target, DELETED_WITHOUT_REVISION, at)
    who = f"/{context['customer']}" if "group" in context and "customer" in context else ""
    return News("unknown", "created", f"{target}/status/{name}{who}", 0, at, target=target)


def _is_template(status: Status) -> bool:
    """Whether a message was a template that machines send: it answers nobody."""
    category = None if status.pricing is None else status.pricing.category
    if category is None and status.conversation is not None:
        origin = status.conversation.origin
        category = None if origin is None else origin.type
    return (category or "").lower().startswith(_SILENT_CATEGORIES)


def to_social_event(raw: RawEvent) -> SocialDraft:
    """Return the draft of an object; raises InvalidMessage."""
    context = raw.context or {}
    news = read(native_of(raw), context)
    scope = _scope(context)
    own = context.get("channel")
    customer = context.get("customer")
    speaker, target = (own, customer) if news.ours else (customer, own)
    deleted = news.change == "deleted"
    message = None if deleted or news.message is None else news.message
    content = _content(message)
    answered = news.target
    answered_author = None
    if message is not None and message.context is not None:
        answered = _answered(news, context)
        answered_author = _answered_author(news, own)
    conversation = _conversation(context, scope)
    at = None if news.at is None else moment(news.at)
    published_at = at if news.change == "created" else None
    return SocialDraft(
        mapping=MAPPING,
        kind=news.kind,
        change=news.change,
        visibility="private",
        threading="root" if conversation is None else "network",
        conversation_id=conversation,
        published_at=published_at,
        changed_at=None if news.change == "created" else at,
        in_reply_to=None if answered is None else scope + answered,
        in_reply_to_author=answered_author,
        customer_ids=seen_ids(raw),
        target=target,
        author=_author(speaker, context, ours=news.ours),
        text=_text(news, content),
        media=() if content is None else _media(content),
        metrics=None if content is None or content.order is None else _metrics(content.order),
        direction="outbound" if news.ours else None,
        window_until=(
            None if news.ours else opened_until(WHATSAPP, news.kind, news.change, published_at)
        ),
    )


def _content(message: Message | None) -> Content | None:
    """Return what a message says, an edited one what it says now."""
    if message is None or message.type != "edit":
        return message
    return None if message.edit is None else message.edit.message


def _conversation(context: Mapping[str, str], scope: str) -> str | None:
    if "channel" not in context:
        return None
    if "group" in context:
        return f"{scope}group/{context['group']}"
    return f"{scope}chat/{context['customer']}" if "customer" in context else None


def _author(speaker: str | None, context: Mapping[str, str], *, ours: bool) -> Author | None:
    if speaker is None:
        return None
    if ours:
        return Author(id=speaker)
    handle = context.get("phone") or context.get("username")
    return Author(id=speaker, handle=handle, name=context.get("name"))


def _answered(news: News, context: Mapping[str, str]) -> str | None:
    """Return the own id of what an object answers or is about."""
    if news.target is not None:
        return news.target
    message = news.message
    if message is None or message.context is None or message.type in {"edit", "revoke"}:
        return None
    return context.get("ref") if message.context.id is not None else None


def _answered_author(news: News, own: str | None) -> str | None:
    """Return our own account where a customer answers a message of ours."""
    message = news.message
    if message is None or message.context is None or message.context.id is None or news.ours:
        return None
    answered, sender = message.context.from_, message.from_
    if answered is None or sender is None or str(answered) == str(sender):
        return None
    return own


def _text(news: News, content: Content | None) -> str | None:
    if content is None:
        return None
    if news.kind == "reaction":
        reaction = None if news.message is None else news.message.reaction
        return said(None if reaction is None else reaction.emoji, "reaction.emoji")
    told = content.type or ""
    if told in _MEDIA:
        attached = _attached(content)
        return said(None if attached is None else attached.caption, f"{told}.caption")
    words = _WORDS.get(told)
    return None if words is None else said(words(content), told)


_WORDS: Mapping[str, Callable[[Content], str | None]] = {
    "text": lambda content: None if content.text is None else content.text.body,
    "button": lambda content: None if content.button is None else content.button.text,
    "order": lambda content: None if content.order is None else content.order.text,
    "interactive": lambda content: (
        None if content.interactive is None else _chosen(content.interactive)
    ),
}


def _chosen(interactive: Interactive) -> str | None:
    """Return what was chosen, or what was entered in a form, a line a field."""
    choice = interactive.button_reply or interactive.list_reply
    if choice is not None:
        parts = (choice.title, choice.description)
        return "\n".join(part for part in parts if part) or None
    if interactive.nfm_reply is not None:
        return _entered(interactive.nfm_reply)
    return None if interactive.body is None else interactive.body.text


def _entered(flow: Flow) -> str | None:
    try:
        fields = _FLOW.decode(flow.response_json or "")
    except READ_ERRORS:
        return flow.body
    lines = []
    for name, value in list(fields.items())[:_FLOW_LINES]:
        parts = value if isinstance(value, list) else [value]
        # What nests (photos that were taken, dates of a range) is kept in the original.
        shown = ", ".join(str(part) for part in parts if isinstance(part, str | int | float))
        if name != "flow_token" and shown:
            lines.append(f"{name}: {shown}")
    return "\n".join(lines) or flow.body


def _attached(content: Content) -> Attached | None:
    found: Attached | None = getattr(content, content.type or "")
    return found


def _media(content: Content) -> tuple[Media, ...]:
    told = content.type or ""
    if told in _MEDIA:
        attached = _attached(content)
        if attached is None:
            return ()
        own_id, url = medium_id(attached.id), web_address(attached.url)
        return (
            Media(
                kind=_MEDIA[told],
                id=own_id,
                url=url,
                alt=alt_text(attached.filename),
                status="remote" if own_id or url else None,
            ),
        )
    if told == "location" and content.location is not None:
        return (_place(content.location),)
    if told == "contacts":
        return tuple(
            Media(
                kind="file", alt=None if card.name is None else alt_text(card.name.formatted_name)
            )
            for card in content.contacts or ()
        )
    return ()


def _place(place: Location) -> Media:
    known = place.latitude is not None and place.longitude is not None
    named = ", ".join(part for part in (place.name, place.address) if part)
    return Media(
        kind="location",
        url=f"geo:{place.latitude},{place.longitude}" if known else web_address(place.url),
        alt=alt_text(named),
    )


def _metrics(order: Order) -> dict[str, int] | None:
    """Return how many products a basket holds."""
    return None if order.product_items is None else {"products": len(order.product_items)}
