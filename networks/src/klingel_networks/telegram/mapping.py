"""Telegram's updates in klingel's words; pure.

A message's id counts within its chat, and in private chats and small groups it is the bot's own
number: object ids are `telegram:<bot>/<chat>:<message>` there, `telegram:<chat>:<message>` in
supergroups and channels, which number for everybody, and `telegram:<connection>/<chat>:<message>` in
the chats of a business account. The bot is the context's `channel`.

Reactions are `<object id of the message>/reaction/<who>/<emoji>`; one update that changes several is
as many objects. What Telegram tells beside messages and reactions is of kind `unknown`.

Revisions are edit times in ms (Telegram counts seconds), 0 for a message that was never edited.
Deletions are told of business chats alone; they have no revision and are final.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import msgspec

from klingel.domain.draft import Change, Kind, SocialDraft, Threading, Visibility
from klingel.domain.identity import DELETED_WITHOUT_REVISION
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import RawEvent
from klingel.model.social_event import Author
from klingel_networks.bounds import READ_ERRORS, check_depth, check_text, read_utf8, refusal
from klingel_networks.contract import Delivery, Identity, NativeObject, Refused
from klingel_networks.generic import native_of
from klingel_networks.telegram.content import is_content, media_of, names_of, text_of
from klingel_networks.telegram.records import (
    ABSENT,
    ANSWER,
    CALLBACK,
    DELETED,
    MESSAGE,
    PIECES,
    REACTION,
    SHOWN,
    UPDATE,
    Callback,
    Chat,
    Message,
    Reaction,
    ReactionType,
    Update,
    User,
)

MAPPING = "telegram/1"
ANY_BOT = "bot"
"""Stands for the bot where nobody names it."""
_MESSAGES: Mapping[str, Change] = {
    "message": "created",
    "channel_post": "created",
    "business_message": "created",
    "edited_message": "updated",
    "edited_channel_post": "updated",
    "edited_business_message": "updated",
}
_PREFIX = "telegram:"
_FOR_EVERYBODY = frozenset({"supergroup", "channel"})
_NAME_MAX = 640
_LANGUAGE_MAX = 35
_REACTED = "reaction"
_GONE = "gone"
_DELETED = "deleted"

R = TypeVar("R")


class _Did(NamedTuple):
    """One reaction of an update, as its context names it: `+👍` added, `-👍` taken back."""

    emoji: str
    change: Change


def explode(delivery: Delivery) -> list[NativeObject | Refused]:
    """Cut a webhook's update, or an answer of getUpdates, into its objects.

    Raises:
        InvalidMessage: not JSON, not UTF-8, nested too deeply.
    """
    body = delivery.body
    read_utf8(body)
    check_depth(body)
    return [piece for native in _updates(body) for piece in _cut(native, delivery.context)]


def _updates(body: bytes) -> list[bytes]:
    try:
        if body.lstrip()[:1] == b"[":
            return [bytes(each) for each in PIECES.decode(body)]
        answer = ANSWER.decode(body)
        if answer.ok is not ABSENT and bytes(answer.result)[:1] == b"[":
            return [bytes(each) for each in PIECES.decode(answer.result)]
    except READ_ERRORS as error:
        raise refusal(error) from None
    return [body.strip()]


def _cut(native: bytes, context: Mapping[str, str]) -> list[NativeObject | Refused]:
    try:
        contexts = [{**context, **more} for more in _within(native)]
        for each in contexts:
            identify(native, each)
    except InvalidMessage as error:
        return [Refused(native, error)]
    return [NativeObject(native, each) for each in contexts]


def _within(native: bytes) -> Iterator[Mapping[str, str]]:
    """Yield what each object of an update adds to the context."""
    update = _decode(UPDATE, native)
    if update.message_reaction is not ABSENT:
        told = _decode(REACTION, update.message_reaction)
        before = [_emoji(each) for each in told.old_reaction]
        after = [_emoji(each) for each in told.new_reaction]
        changes = [f"+{each}" for each in dict.fromkeys(after) if each not in before]
        changes += [f"-{each}" for each in dict.fromkeys(before) if each not in after]
        yield from ({_REACTED: change} for change in changes)
        if not changes:
            yield {}
    elif update.deleted_business_messages is not ABSENT:
        gone = _decode(DELETED, update.deleted_business_messages)
        yield from ({_GONE: str(each)} for each in dict.fromkeys(gone.message_ids))
    else:
        yield {}


def _emoji(reaction: ReactionType) -> str:
    """Return the name of a reaction within an id: the emoji itself, or its type and id."""
    if reaction.type == "emoji" and reaction.emoji:
        if reaction.emoji.isspace() or not all(
            c.isprintable() or c == "\u200d" for c in reaction.emoji
        ):
            raise InvalidMessage(ErrorType.INVALID_FIELD, "a reaction is no emoji")
        return reaction.emoji
    if reaction.custom_emoji_id and reaction.custom_emoji_id.isalnum():
        return f"custom-{reaction.custom_emoji_id}"
    return "paid" if reaction.type == "paid" else "other"


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of an object; raises InvalidMessage."""
    update = _decode(UPDATE, native)
    found = _message(update, native)
    if found is not None:
        message, change = found
        if not is_content(message):
            return Identity(_own_id(message, context), 0, "unknown", "created")
        revision = _revision(message) if change == "updated" else 0
        kind = _kind(message)
        return Identity(
            _own_id(message, context), revision, kind, change if revision else "created"
        )
    if update.deleted_business_messages is not ABSENT and _GONE in context:
        gone = _decode(DELETED, update.deleted_business_messages)
        return Identity(
            _id(_scope(gone.chat, gone.business_connection_id, context), _gone(context)),
            DELETED_WITHOUT_REVISION,
            "direct_message",
            "deleted",
        )
    if update.message_reaction is not ABSENT and _REACTED in context:
        told = _decode(REACTION, update.message_reaction)
        did = _did(context)
        own_id = f"{_about(told, context)}/reaction/{_reactor(told)}/{did.emoji}"
        return Identity(own_id, told.date * 1000, "reaction", did.change)
    if update.callback_query is not ABSENT:
        return _pressed_identity(_decode(CALLBACK, update.callback_query), context)
    if update.update_id is None:
        raise InvalidMessage(
            ErrorType.MISSING_FIELD,
            "the object is no update of Telegram: update_id is missing",
            path="update_id",
        )
    return Identity(f"{_PREFIX}{_bot(context)}:update/{update.update_id}", 0, "unknown", "created")


def _pressed_identity(told: Callback, context: Mapping[str, str]) -> Identity:
    own_id = f"{_PREFIX}{_bot(context)}:callback/{_printable(told.id, 'callback_query.id')}"
    kind: Kind = "direct_message" if told.data and told.message is not ABSENT else "unknown"
    return Identity(own_id, 0, kind, "created")


def _message(update: Update, native: bytes | msgspec.Raw) -> tuple[Message, Change] | None:
    """Return the message of an update, whether it was edited; a bare message is a new one."""
    for name, change in _MESSAGES.items():
        raw: msgspec.Raw = getattr(update, name)
        if raw is not ABSENT:
            return _decode(MESSAGE, raw), change
    if update.update_id is None and update.message_id is not ABSENT and update.chat is not ABSENT:
        return _decode(MESSAGE, native), "created"
    return None


def _revision(message: Message) -> int:
    """Return the edit time in ms; an edit that does not tell one happened at some time after."""
    return (message.edit_date or message.date) * 1000


def _kind(message: Message) -> Kind:
    if message.direct_messages_topic is not None or message.chat.is_direct_messages:
        return "direct_message"
    if _visibility(message.chat) == "private" and message.chat.type not in {"group", "supergroup"}:
        return "direct_message"
    return "post" if _parent(message) is None else "reply"


def _parent(message: Message) -> int | None:
    """Return the message that is answered; a topic's first message is answered by all of it."""
    parent = message.reply_to_message
    if parent is None:
        return None
    if message.is_topic_message and parent.message_id == message.message_thread_id:
        return None
    return parent.message_id


def _visibility(chat: Chat) -> Visibility:
    """Return who can read a chat: only those with a public name are public."""
    return "public" if chat.username and chat.type in _PUBLIC else "private"


_PUBLIC = frozenset({"supergroup", "channel", "group"})


def _scope(chat: Chat, connection: str | None, context: Mapping[str, str]) -> str:
    if connection is not None:
        return f"{_printable(connection, 'business_connection_id')}/{chat.id}"
    return str(chat.id) if chat.type in _FOR_EVERYBODY else f"{_bot(context)}/{chat.id}"


def _bot(context: Mapping[str, str]) -> str:
    return _printable(context.get("channel", ANY_BOT), "context.channel")


def _printable(value: str, path: str) -> str:
    if (
        not value
        or len(value) > 256
        or not value.isascii()
        or not value.isprintable()
        or ":" in value
    ):
        raise InvalidMessage(ErrorType.INVALID_FIELD, f"{path} is no id", path=path)
    return value


def _id(scope: str, message_id: int | str) -> str:
    return f"{_PREFIX}{scope}:{message_id}"


def _own_id(message: Message, context: Mapping[str, str]) -> str:
    return _id(_scope(message.chat, message.business_connection_id, context), message.message_id)


def _gone(context: Mapping[str, str]) -> str:
    gone = context[_GONE]
    if not gone.isascii() or not gone.removeprefix("-").isdigit() or len(gone) > 20:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "the context names no message", path=_GONE)
    return gone


def _did(context: Mapping[str, str]) -> _Did:
    told = context[_REACTED]
    if len(told) < 2 or len(told) > 80 or told[0] not in "+-" or any(ord(c) < 32 for c in told):
        raise InvalidMessage(
            ErrorType.INVALID_FIELD, "the context names no reaction", path=_REACTED
        )
    return _Did(told[1:], "created" if told[0] == "+" else "deleted")


def _about(told: Reaction, context: Mapping[str, str]) -> str:
    return _id(_scope(told.chat, None, context), told.message_id)


def _reactor(told: Reaction) -> str:
    if told.user is not None:
        return str(told.user.id)
    return "nobody" if told.actor_chat is None else str(told.actor_chat.id)


def to_social_event(raw: RawEvent) -> SocialDraft:
    """Return the draft of an object; raises InvalidMessage."""
    native, context = native_of(raw), raw.context or {}
    update = _decode(UPDATE, native)
    found = _message(update, native)
    if found is not None:
        return _said(*found, context)
    if update.deleted_business_messages is not ABSENT and _GONE in context:
        gone = _decode(DELETED, update.deleted_business_messages)
        return SocialDraft(
            mapping=MAPPING,
            kind="direct_message",
            change="deleted",
            visibility="private",
            threading="network",
            conversation_id=_id(_scope(gone.chat, gone.business_connection_id, context), "chat"),
        )
    if update.message_reaction is not ABSENT and _REACTED in context:
        return _reacted(_decode(REACTION, update.message_reaction), context)
    if update.callback_query is not ABSENT:
        return _pressed(_decode(CALLBACK, update.callback_query), context)
    return SocialDraft(mapping=MAPPING, kind="unknown", change="created", visibility="private")


def _said(message: Message, change: Change, context: Mapping[str, str]) -> SocialDraft:
    visibility, author = _visibility(message.chat), _sender(message)
    published_at = _moment(message.date)
    if not is_content(message):
        return SocialDraft(
            mapping=MAPPING,
            kind="unknown",
            change="created",
            visibility=visibility,
            published_at=published_at,
            author=author,
        )
    if not _revision(message):
        change = "created"
    names, place = names_of(message), _place(message, context)
    ours = _is_ours(message)
    return SocialDraft(
        mapping=MAPPING,
        kind=_kind(message),
        change=change,
        visibility=visibility,
        threading=place.threading,
        conversation_id=place.conversation,
        in_reply_to=place.parent,
        in_reply_to_author=place.parent_author,
        published_at=published_at,
        changed_at=_moment(message.edit_date or message.date) if change == "updated" else None,
        target=str(message.chat.id) if ours else None,
        direction="outbound" if ours else None,
        author=author,
        text=text_of(message),
        langs=_langs(message.from_),
        media=tuple(media_of(message)),
        mentions=names.mentions,
        links=names.links,
        hashtags=names.hashtags,
        url=_url(message),
    )


def _is_ours(message: Message) -> bool:
    """Whether a business account speaks, itself or through a bot: its chats are the others'."""
    sender = message.from_
    if message.business_connection_id is None or sender is None:
        return False
    return message.chat.type == "private" and sender.id != message.chat.id


class _Place(NamedTuple):
    """Where in a conversation a message stands."""

    threading: Threading
    conversation: str | None
    parent: str | None
    parent_author: str | None


def _place(message: Message, context: Mapping[str, str]) -> _Place:
    """Return the conversation: a private chat is one, a topic is one, else the parent tells it.

    A story, or a message of another chat, is answered without being part of the conversation.
    """
    scope = _scope(message.chat, message.business_connection_id, context)
    answered = _parent(message)
    parent = None if answered is None else _id(scope, answered)
    author = None
    if parent is not None and message.reply_to_message is not None:
        known = message.reply_to_message
        who = known.from_ or known.sender_chat
        author = None if who is None else str(who.id)
    elsewhere = (parent, author) if parent is not None else _elsewhere(message, context)
    if message.chat.type == "private" or message.business_connection_id is not None:
        return _Place("network", _id(scope, "chat"), *elsewhere)
    if message.direct_messages_topic is not None:
        topic = f"direct/{message.direct_messages_topic.topic_id}"
        return _Place("network", _id(scope, topic), *elsewhere)
    if message.is_topic_message and message.message_thread_id is not None:
        return _Place("network", _id(scope, message.message_thread_id), *elsewhere)
    return _Place("root" if parent is None else "parent_only", None, *elsewhere)


def _elsewhere(message: Message, context: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return what is answered beyond the chat, and whose it is: a story, or a named message."""
    story, external = message.reply_to_story, message.external_reply
    if story is not None:
        return _id(_scope(story.chat, None, context), f"story/{story.id}"), str(story.chat.id)
    if external is None or external.chat is None or external.message_id is None:
        return None, None
    return _id(_scope(external.chat, None, context), external.message_id), None


def _sender(message: Message) -> Author | None:
    """Return who speaks: a channel or an anonymous group speaks as a chat."""
    chat = message.sender_chat
    if chat is not None:
        return Author(id=str(chat.id), handle=_short(chat.username), name=_short(chat.title))
    return None if message.from_ is None else _author(message.from_)


def _author(user: User) -> Author:
    names = [name for name in (user.first_name, user.last_name) if name]
    return Author(id=str(user.id), handle=_short(user.username), name=_short(" ".join(names)))


def _short(name: str | None) -> str | None:
    return name if name and len(name) <= _NAME_MAX and "\x00" not in name else None


def _langs(user: User | None) -> tuple[str, ...]:
    """Return the language of the person's application: a hint, not that of the words."""
    code = None if user is None else user.language_code
    if code is None or len(code) > _LANGUAGE_MAX or not code.isascii():
        return ()
    return (code,) if code.replace("-", "").isalnum() and code[:1].isalpha() else ()


def _url(message: Message) -> str | None:
    """Return the public address of a message in a chat that has one."""
    name = message.chat.username
    if _visibility(message.chat) != "public" or name is None:
        return None
    return (
        f"https://t.me/{name}/{message.message_id}" if name.isascii() and name.isalnum() else None
    )


def _reacted(told: Reaction, context: Mapping[str, str]) -> SocialDraft:
    did = _did(context)
    chat = told.actor_chat
    if told.user is not None:
        author: Author | None = _author(told.user)
    else:
        author = None if chat is None else Author(id=str(chat.id), name=_short(chat.title))
    return SocialDraft(
        mapping=MAPPING,
        kind="reaction",
        change=did.change,
        visibility=_visibility(told.chat),
        threading="parent_only",
        in_reply_to=_about(told, context),
        published_at=_moment(told.date) if did.change == "created" else None,
        changed_at=_moment(told.date) if did.change == "deleted" else None,
        author=author,
        text=did.emoji if did.change == "created" else None,
    )


def _pressed(told: Callback, context: Mapping[str, str]) -> SocialDraft:
    """Return what a pressed button says: its data, as an answer to the message that shows it."""
    if _pressed_identity(told, context).kind == "unknown":
        return SocialDraft(
            mapping=MAPPING,
            kind="unknown",
            change="created",
            visibility="private",
            author=_author(told.from_),
        )
    shown = _decode(SHOWN, told.message)
    scope = _scope(shown.chat, shown.business_connection_id, context)
    check_text(told.data or "", "callback_query.data")
    private = shown.chat.type == "private" or shown.business_connection_id is not None
    talk = "chat" if private else shown.message_thread_id if shown.is_topic_message else None
    return SocialDraft(
        mapping=MAPPING,
        kind="direct_message",
        change="created",
        visibility=_visibility(shown.chat),
        threading="parent_only" if talk is None else "network",
        conversation_id=None if talk is None else _id(scope, talk),
        in_reply_to=_id(scope, shown.message_id),
        in_reply_to_author=None if shown.from_ is None else str(shown.from_.id),
        author=_author(told.from_),
        text=told.data,
        langs=_langs(told.from_),
    )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _decode(decoder: msgspec.json.Decoder[R], native: bytes | msgspec.Raw) -> R:
    try:
        return decoder.decode(native)
    except READ_ERRORS as error:
        raise refusal(error) from None
