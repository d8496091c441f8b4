"""Direct messages of Bluesky in klingel's words; pure.

Source: the lexicons `chat.bsky.convo.getLog`, `getMessages` and `chat.bsky.convo.defs`. Native is an
entry of the log, or a message of `getMessages` with its conversation in the context:

- `channel`: DID of the brand's account; `other`: of the one whom it talks to, where known.
- `convo`: the conversation, of a message that stands outside the log.

A message is `bluesky:network:chat/<conversation>/<message>`, the same on both ways. It cannot be
edited; deleted is deleted for good. A reaction is of the time at which it was put, its removal of a
millisecond later: put again it is newer than both. `rev` orders the log and is no time. What is
nobody's word (read, muted, members, the system's own messages) is of kind `unknown`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from klingel.domain.draft import Change, Kind, SocialDraft
from klingel.domain.identity import DELETED_WITHOUT_REVISION
from klingel.errors import ErrorType, InvalidMessage
from klingel.model.social_event import Author
from klingel_networks.bluesky.records import LOG, MESSAGE, Log, Message, Profile, Reaction
from klingel_networks.bluesky.richtext import marked
from klingel_networks.bluesky.syntax import (
    RECORD_KEY,
    at_datetime,
    edit_time,
    is_did,
    is_handle,
    record_uri,
)
from klingel_networks.bounds import READ_ERRORS, check_text, refusal
from klingel_networks.contract import Identity

CHANNEL, OTHER, CONVO = "channel", "other", "convo"
_PREFIX = "bluesky:network:"
_LOG = "chat.bsky.convo.defs#log"
_DELETED = "chat.bsky.convo.defs#deletedMessageView"
_POST = "app.bsky.feed.post"
_NAME_MAX = 640
_EMOJI_MAX = 64
_REACTIONS: Mapping[str, Change] = {"AddReaction": "created", "RemoveReaction": "deleted"}


class News(NamedTuple):
    """What one entry tells.

    Attributes:
        kind: of the thing.
        change: what happened.
        own_id: native id of the thing.
        revision: of the thing.
        convo: the conversation.
        message: as decoded, where one is told of.
        reaction: the same of a reaction.
        profiles: of who is concerned.
    """

    kind: Kind
    change: Change
    own_id: str
    revision: int
    convo: str
    message: Message | None
    reaction: Reaction | None
    profiles: list[Profile]


def identify_chat(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of an entry; raises InvalidMessage."""
    news = read(native, context)
    return Identity(_PREFIX + news.own_id, news.revision, news.kind, news.change)


def read(native: bytes | msgspec.Raw, context: Mapping[str, str]) -> News:
    """Return what an entry of the log, or a message outside it, tells; raises InvalidMessage."""
    try:
        if CONVO in context:
            message = MESSAGE.decode(native)
            return _message_news("CreateMessage", _named(context[CONVO], CONVO), message, [])
        log = LOG.decode(native)
    except READ_ERRORS as error:
        raise refusal(error) from None
    return _log_news(log)


def _log_news(log: Log) -> News:
    convo = _named(log.convo_id, "convoId")
    shape = (log.type_ or "").removeprefix(_LOG)
    profiles = log.profiles or []
    if log.message is not None and log.reaction is not None and shape in _REACTIONS:
        return _reaction_news(shape, convo, log.message, log.reaction, profiles)
    if log.message is not None and shape in {"CreateMessage", "DeleteMessage"}:
        return _message_news(shape, convo, log.message, profiles)
    own_id = f"chat/{convo}/log/{_named(log.rev, 'rev')}"
    return News("unknown", "created", own_id, 0, convo, None, None, profiles)


def _message_news(shape: str, convo: str, message: Message, profiles: list[Profile]) -> News:
    own_id = f"chat/{convo}/{_named(message.id, 'message.id')}"
    if shape == "DeleteMessage" or message.type_ == _DELETED:
        revision = DELETED_WITHOUT_REVISION
        return News("direct_message", "deleted", own_id, revision, convo, message, None, profiles)
    kind: Kind = "unknown" if message.sender is None or message.text is None else "direct_message"
    return News(kind, "created", own_id, 0, convo, message, None, profiles)


def _reaction_news(
    shape: str, convo: str, message: Message, reaction: Reaction, profiles: list[Profile]
) -> News:
    target = f"chat/{convo}/{_named(message.id, 'message.id')}"
    actor = _did(reaction.sender.did, "reaction.sender.did")
    emoji = reaction.value
    if not emoji or len(emoji) > _EMOJI_MAX or not emoji.isprintable():
        raise InvalidMessage(
            ErrorType.INVALID_FIELD, "reaction.value is no emoji", path="reaction.value"
        )
    put = at_datetime(reaction.created_at, "reaction.createdAt")
    revision, _ = edit_time(int(put.timestamp() * 1_000_000), "reaction.createdAt")
    change = _REACTIONS[shape]
    return News(
        "reaction",
        change,
        f"{target}/reaction/{actor}/{emoji}",
        revision + (change == "deleted"),
        convo,
        message,
        reaction,
        profiles,
    )


def _named(value: str | None, path: str) -> str:
    if not value:
        raise InvalidMessage(ErrorType.MISSING_FIELD, f"{path} is missing", path=path)
    if RECORD_KEY.fullmatch(value) is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, f"{path} is no id", path=path)
    return value


def _did(value: str, path: str) -> str:
    if not is_did(value):
        raise InvalidMessage(ErrorType.INVALID_FIELD, f"{path} is no DID", path=path)
    return value


def draft_chat(
    mapping: str, native: bytes | msgspec.Raw, context: Mapping[str, str]
) -> SocialDraft:
    """Return the draft of an entry; raises InvalidMessage."""
    news = read(native, context)
    own = context.get(CHANNEL)
    reaction, message = news.reaction, news.message
    speaker = None
    if reaction is not None:
        speaker = reaction.sender.did
    elif message is not None and message.sender is not None:
        speaker = _did(message.sender.did, "message.sender.did")
    ours = speaker is not None and speaker == own
    said = None if reaction is not None or news.change == "deleted" else message
    words = "" if said is None or said.text is None else said.text
    check_text(words, "message.text")
    mentions, links, hashtags = marked(words, None if said is None else said.facets)
    return SocialDraft(
        mapping=mapping,
        kind=news.kind,
        change=news.change,
        visibility="private",
        threading="network",
        conversation_id=f"{_PREFIX}chat/{news.convo}",
        published_at=_published_at(news),
        in_reply_to=_in_reply_to(news),
        quotes=_quoted(said),
        target=context.get(OTHER) if ours else own,
        author=None if speaker is None else _author(speaker, news.profiles, context),
        text=_text(news, said),
        mentions=tuple(dict.fromkeys(mentions)),
        links=tuple(dict.fromkeys(links)),
        hashtags=tuple(dict.fromkeys(hashtags)),
        direction="outbound" if ours else None,
    )


def _published_at(news: News) -> datetime | None:
    if news.change != "created":
        return None
    if news.reaction is not None:
        return at_datetime(news.reaction.created_at, "reaction.createdAt")
    if news.message is None or news.message.sent_at is None:
        return None
    return at_datetime(news.message.sent_at, "message.sentAt")


def _in_reply_to(news: News) -> str | None:
    if news.reaction is None or news.message is None:
        return None
    return f"{_PREFIX}chat/{news.convo}/{news.message.id}"


def _quoted(message: Message | None) -> str | None:
    """Return the post that a message shows."""
    if message is None or message.embed is None or message.embed.record is None:
        return None
    uri = message.embed.record.uri
    if uri is None or record_uri(uri, "message.embed.record.uri").collection != _POST:
        return None
    return _PREFIX + uri


def _text(news: News, said: Message | None) -> str | None:
    if news.reaction is not None:
        return news.reaction.value if news.change == "created" else None
    return None if said is None else said.text or None


def _author(did: str, profiles: list[Profile], context: Mapping[str, str]) -> Author:
    for profile in profiles:
        if profile.did == did:
            return author_of(profile)
    known = context.get(OTHER) == did
    return author_of(
        Profile(did, context.get("handle"), context.get("name")) if known else Profile(did)
    )


def author_of(profile: Profile) -> Author:
    """Return an author with the names that the network tells, where a record can hold them."""
    handle, name = profile.handle, profile.display_name
    return Author(
        id=profile.did,
        handle=handle if handle is not None and is_handle(handle) else None,
        name=name if name and len(name) <= _NAME_MAX and "\x00" not in name else None,
    )
