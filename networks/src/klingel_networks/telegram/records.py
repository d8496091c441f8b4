"""What we read of an Update; everything else is kept in the original.

Names are those of https://core.telegram.org/bots/api (Bot API 9).
"""

from typing import Annotated

import msgspec
from msgspec import Meta

_Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Seconds = Annotated[int, Meta(ge=0, le=7_258_118_400)]
_Some = Annotated[list[msgspec.Raw], Meta(max_length=1000)]
ABSENT = msgspec.Raw(b"")


class User(msgspec.Struct, frozen=True, gc=False):
    """Who acted."""

    id: _Id
    is_bot: bool | None = None
    first_name: str | None = None
    last_name: str | None = None
    username: str | None = None
    language_code: str | None = None


class Chat(msgspec.Struct, frozen=True, gc=False):
    """Where it was said."""

    id: _Id
    type: str | None = None
    title: str | None = None
    username: str | None = None
    is_direct_messages: bool | None = None


class Entity(msgspec.Struct, frozen=True, gc=False):
    """A stretch of text with a meaning; offsets count UTF-16 code units."""

    type: str
    offset: int
    length: int
    url: str | None = None
    user: User | None = None


class File(msgspec.Struct, frozen=True, gc=False):
    """Anything that getFile can fetch."""

    file_id: Annotated[str, Meta(min_length=1, max_length=512)]
    emoji: str | None = None


class Place(msgspec.Struct, frozen=True, gc=False):
    """A point on the earth."""

    latitude: float
    longitude: float


class Venue(msgspec.Struct, frozen=True, gc=False):
    """A named place."""

    title: str
    address: str | None = None


class Option(msgspec.Struct, frozen=True, gc=False):
    """A choice of a poll, or a task of a checklist."""

    text: str


class Poll(msgspec.Struct, frozen=True, gc=False):
    """A question with choices."""

    question: str
    options: Annotated[list[Option], Meta(max_length=1000)] = []


class Checklist(msgspec.Struct, frozen=True, gc=False):
    """A list of tasks."""

    title: str
    tasks: Annotated[list[Option], Meta(max_length=1000)] = []


class Emoji(msgspec.Struct, frozen=True, gc=False):
    """A die, a dart, a football."""

    emoji: str


class WebAppData(msgspec.Struct, frozen=True, gc=False):
    """What a page in the chat sent."""

    data: str


class Rich(msgspec.Struct, frozen=True, gc=False):
    """A message of blocks, whose texts nest."""

    blocks: msgspec.Raw


class Parent(msgspec.Struct, frozen=True, gc=False):
    """The message that is answered."""

    message_id: _Id
    from_: User | None = msgspec.field(default=None, name="from")
    sender_chat: Chat | None = None


class Story(msgspec.Struct, frozen=True, gc=False):
    """The story that is answered."""

    chat: Chat
    id: _Id


class External(msgspec.Struct, frozen=True, gc=False):
    """The message of another chat or topic that is answered, where it can be named."""

    chat: Chat | None = None
    message_id: _Id | None = None


class Topic(msgspec.Struct, frozen=True, gc=False):
    """What somebody and a channel write to each other."""

    topic_id: _Id


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message, edited or not, of a chat, a channel or a business account."""

    message_id: _Id
    date: _Seconds
    chat: Chat
    from_: User | None = msgspec.field(default=None, name="from")
    sender_chat: Chat | None = None
    edit_date: _Seconds | None = None
    message_thread_id: _Id | None = None
    is_topic_message: bool | None = None
    business_connection_id: Annotated[str, Meta(max_length=256)] | None = None
    reply_to_message: Parent | None = None
    reply_to_story: Story | None = None
    external_reply: External | None = None
    direct_messages_topic: Topic | None = None
    text: str | None = None
    caption: str | None = None
    entities: Annotated[list[Entity], Meta(max_length=1000)] | None = None
    caption_entities: Annotated[list[Entity], Meta(max_length=1000)] | None = None
    photo: Annotated[list[File], Meta(max_length=100)] | None = None
    video: File | None = None
    video_note: File | None = None
    animation: File | None = None
    audio: File | None = None
    voice: File | None = None
    document: File | None = None
    sticker: File | None = None
    location: Place | None = None
    venue: Venue | None = None
    poll: Poll | None = None
    checklist: Checklist | None = None
    dice: Emoji | None = None
    web_app_data: WebAppData | None = None
    rich_message: Rich | None = None
    contact: msgspec.Raw = ABSENT
    story: msgspec.Raw = ABSENT
    game: msgspec.Raw = ABSENT
    invoice: msgspec.Raw = ABSENT
    paid_media: msgspec.Raw = ABSENT


class Callback(msgspec.Struct, frozen=True, gc=False):
    """A button that was pressed."""

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    from_: User = msgspec.field(name="from")
    message: msgspec.Raw = ABSENT
    data: str | None = None


class Shown(msgspec.Struct, frozen=True, gc=False):
    """The message under whose button somebody pressed; `date` 0 where it is gone."""

    message_id: _Id
    chat: Chat
    from_: User | None = msgspec.field(default=None, name="from")
    business_connection_id: Annotated[str, Meta(max_length=256)] | None = None
    message_thread_id: _Id | None = None
    is_topic_message: bool | None = None


class ReactionType(msgspec.Struct, frozen=True, gc=False):
    """An emoji, a custom emoji, or a paid star."""

    type: str
    emoji: Annotated[str, Meta(max_length=64)] | None = None
    custom_emoji_id: Annotated[str, Meta(max_length=64)] | None = None


class Reaction(msgspec.Struct, frozen=True, gc=False):
    """All reactions of somebody to a message, before and after."""

    chat: Chat
    message_id: _Id
    date: _Seconds
    user: User | None = None
    actor_chat: Chat | None = None
    old_reaction: Annotated[list[ReactionType], Meta(max_length=100)] = []
    new_reaction: Annotated[list[ReactionType], Meta(max_length=100)] = []


class Deleted(msgspec.Struct, frozen=True, gc=False):
    """Messages of a business chat that are gone."""

    business_connection_id: Annotated[str, Meta(max_length=256)]
    chat: Chat
    message_ids: Annotated[list[_Id], Meta(min_length=1, max_length=1000)]


class Update(msgspec.Struct, frozen=True, gc=False):
    """One update: its number and one of the things that can happen."""

    update_id: _Id | None = None
    message: msgspec.Raw = ABSENT
    edited_message: msgspec.Raw = ABSENT
    channel_post: msgspec.Raw = ABSENT
    edited_channel_post: msgspec.Raw = ABSENT
    business_message: msgspec.Raw = ABSENT
    edited_business_message: msgspec.Raw = ABSENT
    deleted_business_messages: msgspec.Raw = ABSENT
    message_reaction: msgspec.Raw = ABSENT
    callback_query: msgspec.Raw = ABSENT
    message_id: msgspec.Raw = ABSENT
    chat: msgspec.Raw = ABSENT


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The answer of getUpdates."""

    ok: msgspec.Raw = ABSENT
    result: msgspec.Raw = ABSENT


UPDATE = msgspec.json.Decoder(Update)
ANSWER = msgspec.json.Decoder(Answer)
PIECES = msgspec.json.Decoder(list[msgspec.Raw])
MESSAGE = msgspec.json.Decoder(Message)
CALLBACK = msgspec.json.Decoder(Callback)
SHOWN = msgspec.json.Decoder(Shown)
REACTION = msgspec.json.Decoder(Reaction)
DELETED = msgspec.json.Decoder(Deleted)
BLOCKS = msgspec.json.Decoder()
