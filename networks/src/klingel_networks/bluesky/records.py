"""The shapes of Jetstream frames and of the records that we read; unknown fields are ignored.

Two wires, one meaning: the first (`kind`, `time_us`, nested `commit`), and the second
(`network.bsky.jetstream.subscribeEvents`: `$type`, `seq`, flat, in an envelope with `payload`).
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct, field

NOTHING = Raw()


class Status(Struct, frozen=True, gc=False):
    """What an identity, account or sync event wraps: the relay's own event."""

    did: str | None = None
    handle: str | None = None
    time: str | None = None


class Commit(Struct, frozen=True, gc=False):
    """A change of one record, as the first wire nests it."""

    operation: str | None = None
    collection: str | None = None
    rkey: str | None = None
    rev: str | None = None
    record: Raw = NOTHING


class Frame(Struct, frozen=True):
    """A frame of either wire, or the envelope around one of the second."""

    type_: str | None = field(default=None, name="$type")
    kind: str | None = None
    did: str | None = None
    time_us: int | None = None
    time: str | None = None
    commit: Commit | None = None
    identity: Status | None = None
    account: Status | None = None
    sync: Status | None = None
    operation: str | None = None
    collection: str | None = None
    rkey: str | None = None
    rev: str | None = None
    record: Raw = NOTHING
    payload: "Frame | None" = None


class StrongRef(Struct, frozen=True, gc=False):
    """A reference to a record."""

    uri: str


class SubjectRecord(Struct, frozen=True, gc=False):
    """A like or a repost."""

    subject: StrongRef
    created_at: str = field(name="createdAt")


class ReplyRef(Struct, frozen=True, gc=False):
    """Root of the thread and direct parent."""

    root: StrongRef
    parent: StrongRef


class BlobLink(Struct, frozen=True, gc=False):
    """A content id inside a blob."""

    link: str | None = field(default=None, name="$link")


class Blob(Struct, frozen=True, gc=False):
    """A blob, of today or of the legacy form (`cid`)."""

    ref: BlobLink | None = None
    cid: str | None = None


class Image(Struct, frozen=True, gc=False):
    """One image of a post."""

    image: Blob | None = None
    alt: str | None = None


class External(Struct, frozen=True, gc=False):
    """A link card."""

    uri: str
    title: str | None = None


class EmbeddedRecord(Struct, frozen=True, gc=False):
    """A quoted record: a reference (`embed.record`), or one level deeper (`recordWithMedia`)."""

    uri: str | None = None
    record: StrongRef | None = None


class EmbeddedMedia(Struct, frozen=True, gc=False):
    """What `recordWithMedia` shows beside the quote."""

    images: Annotated[list[Image], Meta(max_length=100)] | None = None
    video: Blob | None = None
    external: External | None = None
    alt: str | None = None


class Embed(Struct, frozen=True, gc=False):
    """Any embed of a post; which one, its fields tell."""

    images: Annotated[list[Image], Meta(max_length=100)] | None = None
    video: Blob | None = None
    external: External | None = None
    alt: str | None = None
    record: EmbeddedRecord | None = None
    media: EmbeddedMedia | None = None


class Feature(Struct, frozen=True, gc=False):
    """What a stretch of text is: a mention, a link or a tag."""

    type_: str | None = field(default=None, name="$type")
    did: str | None = None
    uri: str | None = None
    tag: str | None = None


class ByteSlice(Struct, frozen=True, gc=False):
    """A stretch of text in bytes of its UTF-8 form."""

    start: int = field(name="byteStart")
    end: int = field(name="byteEnd")


class Facet(Struct, frozen=True, gc=False):
    """Features of one stretch of text."""

    index: ByteSlice
    features: Annotated[list[Feature], Meta(max_length=100)]


class PostHead(Struct, frozen=True, gc=False):
    """What the kind of a post depends on."""

    reply: ReplyRef | None = None
    embed: Embed | None = None


class Post(Struct, frozen=True, gc=False):
    """A post."""

    text: str
    created_at: str = field(name="createdAt")
    reply: ReplyRef | None = None
    embed: Embed | None = None
    facets: Annotated[list[Facet], Meta(max_length=1000)] | None = None
    langs: Annotated[list[str], Meta(max_length=100)] | None = None
    tags: Annotated[list[str], Meta(max_length=100)] | None = None


class Profile(Struct, frozen=True, gc=False):
    """Somebody, as the network's interfaces name him."""

    did: str
    handle: str | None = None
    display_name: str | None = field(default=None, name="displayName")


class Notification(Struct, frozen=True, gc=False):
    """News for the account: `app.bsky.notification.listNotifications#notification`."""

    uri: str
    author: Profile
    reason: str
    record: Raw
    indexed_at: str = field(name="indexedAt")


class NotificationPage(Struct, frozen=True, gc=False):
    """An answer of `app.bsky.notification.listNotifications`."""

    notifications: list[Raw]
    cursor: str | None = None


class Sender(Struct, frozen=True, gc=False):
    """Who sent a message or reacted to one."""

    did: str


class Message(Struct, frozen=True, gc=False, kw_only=True):
    """A message of a conversation, whole, deleted or of the system: which, its type tells."""

    type_: str | None = field(default=None, name="$type")
    id: str
    text: str | None = None
    facets: Annotated[list[Facet], Meta(max_length=1000)] | None = None
    embed: Embed | None = None
    sender: Sender | None = None
    sent_at: str | None = field(default=None, name="sentAt")


class Reaction(Struct, frozen=True, gc=False):
    """An emoji that somebody put on a message."""

    value: str
    sender: Sender
    created_at: str = field(name="createdAt")


class Log(Struct, frozen=True, gc=False, kw_only=True):
    """An entry of `chat.bsky.convo.getLog`; what it tells of, its type says."""

    type_: str | None = field(default=None, name="$type")
    rev: str | None = None
    convo_id: str | None = field(default=None, name="convoId")
    message: Message | None = None
    reaction: Reaction | None = None
    profiles: Annotated[list[Profile], Meta(max_length=1000)] | None = field(
        default=None, name="relatedProfiles"
    )


class LogPage(Struct, frozen=True, gc=False):
    """An answer of `chat.bsky.convo.getLog`."""

    logs: list[Raw]
    cursor: str | None = None


class MessagePage(Struct, frozen=True, gc=False):
    """An answer of `chat.bsky.convo.getMessages`."""

    messages: list[Raw]
    cursor: str | None = None


FRAME = msgspec.json.Decoder(Frame)
NOTIFICATION = msgspec.json.Decoder(Notification)
NOTIFICATIONS = msgspec.json.Decoder(NotificationPage)
LOG = msgspec.json.Decoder(Log)
LOGS = msgspec.json.Decoder(LogPage)
MESSAGE = msgspec.json.Decoder(Message)
MESSAGES = msgspec.json.Decoder(MessagePage)
POST = msgspec.json.Decoder(Post)
POST_HEAD = msgspec.json.Decoder(PostHead)
SUBJECT = msgspec.json.Decoder(SubjectRecord)
