"""The shapes of X's objects that we read; unknown fields are ignored.

Sources: the data dictionary and the OpenAPI description of the X API v2; `x-api/activity/
event-payloads` (activity events); "Compliance Data Objects" (compliance streams);
`x-api/compliance/batch-compliance` (job results). Direct messages of activity events, and posts of
the recordings of API v1.1, have the older shapes at the end.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

NOTHING = Raw()
MOST = 1_000
"""Entries of one list that we read; the networks' own bounds are far below."""


class Reference(Struct, frozen=True, gc=False):
    """How one post refers to another."""

    type: str | None = None
    id: str | None = None


class Withheld(Struct, frozen=True, gc=False):
    """Where a post may not be shown, and whether that is for its author's rights."""

    copyright: bool | None = None
    country_codes: Annotated[list[str], Meta(max_length=MOST)] | None = None


class Filter(Struct, frozen=True, gc=False):
    """What an activity event was subscribed by."""

    user_id: str | None = None
    direction: str | None = None


class Head(Struct, frozen=True, gc=False):
    """What identity depends on, of any object."""

    id: str | int | None = None
    id_str: str | None = None
    text: str | None = None
    full_text: str | None = None
    edit_history_tweet_ids: Annotated[list[str], Meta(max_length=MOST)] | None = None
    referenced_tweets: Annotated[list[Reference], Meta(max_length=MOST)] | None = None
    user: Raw = NOTHING
    event_type: str | None = None
    event_uuid: str | None = None
    filter: Filter | None = None
    payload: Raw = NOTHING
    message_create: Raw = NOTHING
    sender_id: str | None = None
    dm_conversation_id: str | None = None
    action: str | None = None
    username: str | None = None
    screen_name: str | None = None
    retweeted_status: Raw = NOTHING
    quoted_status_id_str: str | None = None
    in_reply_to_status_id_str: str | None = None
    edit_history: Raw = NOTHING

    @property
    def own_id(self) -> str | None:
        """The object's id as a string; v1.1 has an integer too, which may be rounded."""
        if isinstance(self.id, str):
            return self.id
        if self.id_str is not None:
            return self.id_str
        return None if self.id is None else str(self.id)


class Mention(Struct, frozen=True, gc=False):
    """An account named in a text."""

    id: str | None = None
    username: str | None = None


class Tag(Struct, frozen=True, gc=False):
    """A hashtag."""

    tag: str | None = None


class Link(Struct, frozen=True, gc=False):
    """An address in a text; one with a media key shows an attachment."""

    expanded_url: str | None = None
    unwound_url: str | None = None
    media_key: str | None = None


class Entities(Struct, frozen=True, gc=False):
    """What stretches of a text are."""

    mentions: Annotated[list[Mention], Meta(max_length=MOST)] | None = None
    hashtags: Annotated[list[Tag], Meta(max_length=MOST)] | None = None
    urls: Annotated[list[Link], Meta(max_length=MOST)] | None = None


class Attachments(Struct, frozen=True, gc=False):
    """Keys of attachments."""

    media_keys: Annotated[list[str], Meta(max_length=MOST)] | None = None


class NoteTweet(Struct, frozen=True, gc=False):
    """The whole of a post longer than 280 characters."""

    text: str | None = None
    entities: Entities | None = None


class PostMetrics(Struct, frozen=True, gc=False):
    """Counts of a post."""

    retweet_count: int | None = None
    reply_count: int | None = None
    like_count: int | None = None
    quote_count: int | None = None
    bookmark_count: int | None = None
    impression_count: int | None = None


class Post(Struct, frozen=True, gc=False):
    """A post."""

    id: str
    text: str
    author_id: str | None = None
    conversation_id: str | None = None
    created_at: str | None = None
    edit_history_tweet_ids: Annotated[list[str], Meta(max_length=MOST)] | None = None
    referenced_tweets: Annotated[list[Reference], Meta(max_length=MOST)] | None = None
    in_reply_to_user_id: str | None = None
    entities: Entities | None = None
    attachments: Attachments | None = None
    lang: str | None = None
    public_metrics: PostMetrics | None = None
    note_tweet: NoteTweet | None = None
    withheld: Withheld | None = None
    event_type: str | None = None
    sender_id: str | None = None
    user: Raw = NOTHING


class UserMetrics(Struct, frozen=True, gc=False, omit_defaults=True):
    """Counts of an account."""

    followers_count: int | None = None


class User(Struct, frozen=True, gc=False, omit_defaults=True):
    """An account; some activity events wrap it in `data`."""

    id: str | None = None
    username: str | None = None
    name: str | None = None
    verified: bool | None = None
    protected: bool | None = None
    public_metrics: UserMetrics | None = None
    data: "User | None" = None


class Variant(Struct, frozen=True, gc=False, omit_defaults=True):
    """One encoding of a video."""

    url: str | None = None
    content_type: str | None = None
    bit_rate: int | None = None
    bitrate: int | None = None


class IncludedMedia(Struct, frozen=True, gc=False, omit_defaults=True):
    """An attachment."""

    media_key: str | None = None
    type: str | None = None
    url: str | None = None
    preview_image_url: str | None = None
    alt_text: str | None = None
    variants: Annotated[list[Variant], Meta(max_length=MOST)] | None = None


class IncludedPost(Struct, frozen=True, gc=False, omit_defaults=True):
    """Of a post that another refers to: which chain of edits it belongs to, and whose it is."""

    id: str | None = None
    author_id: str | None = None
    edit_history_tweet_ids: Annotated[list[str], Meta(max_length=MOST)] | None = None


class Includes(Struct, frozen=True, gc=False, omit_defaults=True):
    """What an answer gives beside its objects."""

    users: Annotated[list[User], Meta(max_length=MOST)] | None = None
    tweets: Annotated[list[IncludedPost], Meta(max_length=MOST)] | None = None
    media: Annotated[list[IncludedMedia], Meta(max_length=MOST)] | None = None


class PageMeta(Struct, frozen=True, gc=False):
    """What a page says of itself; one without results has no data."""

    result_count: int | None = None


class Body(Struct, frozen=True, gc=False):
    """A delivery: a line of a stream, a page, a webhook's body."""

    data: Head | Annotated[list[Raw], Meta(max_length=10_000)] | None = None
    includes: Raw = NOTHING
    errors: Raw = NOTHING
    meta: PageMeta | None = None
    statuses: Annotated[list[Raw], Meta(max_length=10_000)] | None = None
    events: Annotated[list[Raw], Meta(max_length=10_000)] | None = None


class Piece(Struct, frozen=True, gc=False):
    """Of an object of a page, what it refers to."""

    author_id: str | None = None
    sender_id: str | None = None
    referenced_tweets: Annotated[list[Reference], Meta(max_length=MOST)] | None = None
    attachments: Attachments | None = None


class Problem(Struct, frozen=True, gc=False):
    """An error beside data."""

    resource_id: str | None = None
    resource_type: str | None = None
    parameter: str | None = None
    type: str | None = None


class Line(Struct, frozen=True, gc=False):
    """A line of a stream, its object still to be read."""

    data: Raw = NOTHING
    includes: Raw = NOTHING


class PostLine(Struct, frozen=True, gc=False):
    """A line of the stream as it nearly always is: a post and what belongs to it."""

    data: Post
    includes: Includes | None = None


class HeadLine(Struct, frozen=True, gc=False):
    """A line of a stream, as far as identity goes."""

    data: Head | None = None


class Activity(Struct, frozen=True, gc=False):
    """An activity event."""

    event_type: str | None = None
    event_uuid: str | None = None
    filter: Filter | None = None
    payload: Raw = NOTHING
    includes: Raw = NOTHING


class ActivityPayload(Struct, frozen=True, gc=False):
    """What activity events tell; which one, the event's type says."""

    id: str | None = None
    text: str | None = None
    author_id: str | None = None
    liked_tweet_id: str | None = None
    liked_tweet_author_id: str | None = None
    timestamp_ms: str | None = None
    created_at_msec: str | None = None
    sender_id: str | None = None
    conversation_id: str | None = None


class Subject(Struct, frozen=True, gc=False):
    """The post or account that something is told about, v2 and v1.1."""

    id: str | None = None
    id_str: str | None = None
    author_id: str | None = None
    user_id: str | None = None
    tweet_id: str | None = None


class EndedPost(Struct, frozen=True, gc=False):
    """A post that was deleted, in the forms of an activity event's payload."""

    id: str | None = None
    post_id: str | None = None
    tweet_id: str | None = None
    post: Subject | None = None
    tweet: Subject | None = None
    status: Subject | None = None
    author_id: str | None = None
    user_id: str | None = None
    edit_history_tweet_ids: Annotated[list[str], Meta(max_length=MOST)] | None = None


class Compliance(Struct, frozen=True, gc=False):
    """A compliance event: of v2, and of v1.1, where the subject may be the event itself."""

    tweet: Subject | None = None
    status: Subject | None = None
    post: Subject | None = None
    favorite: Subject | None = None
    user: Subject | None = None
    id: str | None = None
    id_str: str | None = None
    user_id: str | None = None
    event_at: str | None = None
    timestamp_ms: str | None = None
    timestamp: str | None = msgspec.field(name="timestampMs", default=None)
    withheld_in_countries: Annotated[list[str], Meta(max_length=MOST)] | None = None
    initial_tweet_id: str | None = None


class JobResult(Struct, frozen=True, gc=False):
    """A line of a compliance job's result."""

    id: str
    action: str
    redacted_at: str | None = None
    reason: str | None = None


class DirectMessage(Struct, frozen=True, gc=False):
    """A direct message of the API v2."""

    id: str
    event_type: str | None = None
    text: str | None = None
    sender_id: str | None = None
    dm_conversation_id: str | None = None
    created_at: str | None = None
    attachments: Attachments | None = None
    entities: Entities | None = None


class Recipient(Struct, frozen=True, gc=False):
    """Who gets a message."""

    recipient_id: str | None = None


class OldMention(Struct, frozen=True, gc=False):
    """An account named in a text, as v1.1 says it."""

    id_str: str | None = None
    screen_name: str | None = None


class OldTag(Struct, frozen=True, gc=False):
    """A hashtag, as v1.1 says it."""

    text: str | None = None


class VideoInfo(Struct, frozen=True, gc=False):
    """Encodings of a video."""

    variants: Annotated[list[Variant], Meta(max_length=MOST)] | None = None


class OldMedia(Struct, frozen=True, gc=False):
    """An attachment, as v1.1 says it."""

    id_str: str | None = None
    type: str | None = None
    media_url_https: str | None = None
    ext_alt_text: str | None = None
    video_info: VideoInfo | None = None


class OldEntities(Struct, frozen=True, gc=False):
    """What stretches of a text are, as v1.1 says it."""

    user_mentions: Annotated[list[OldMention], Meta(max_length=MOST)] | None = None
    hashtags: Annotated[list[OldTag], Meta(max_length=MOST)] | None = None
    urls: Annotated[list[Link], Meta(max_length=MOST)] | None = None
    media: Annotated[list[OldMedia], Meta(max_length=MOST)] | None = None


class OldAttachment(Struct, frozen=True, gc=False):
    """What a message carries."""

    media: OldMedia | None = None


class MessageData(Struct, frozen=True, gc=False):
    """What a message says."""

    text: str | None = None
    entities: OldEntities | None = None
    attachment: OldAttachment | None = None


class MessageCreate(Struct, frozen=True, gc=False):
    """Who says what to whom."""

    sender_id: str
    message_data: MessageData
    target: Recipient = Recipient()


class OldMessage(Struct, frozen=True, gc=False):
    """A direct message of activity events, and of v1.1."""

    id: str
    message_create: MessageCreate
    created_timestamp: str | None = None


class OldUser(Struct, frozen=True, gc=False):
    """An account, as v1.1 says it; the map of an account's activity names it by `id` alone."""

    id_str: str | None = None
    id: str | int | None = None
    screen_name: str | None = None
    name: str | None = None
    followers_count: int | None = None
    verified: bool | None = None
    protected: bool | None = None


class EditHistory(Struct, frozen=True, gc=False):
    """The chain of edits of a post, as v1.1 says it."""

    initial_tweet_id: str | None = None
    edit_tweet_ids: Annotated[list[str], Meta(max_length=MOST)] | None = None


class OldReference(Struct, frozen=True, gc=False):
    """A post inside a post."""

    id_str: str | None = None
    id: str | int | None = None
    user: OldUser | None = None
    edit_history: EditHistory | None = None


class ExtendedTweet(Struct, frozen=True, gc=False):
    """The whole of a post that streams and webhooks cut at 140 characters."""

    full_text: str | None = None
    entities: OldEntities | None = None
    extended_entities: OldEntities | None = None


class OldPost(Struct, frozen=True, gc=False):
    """A post, as v1.1 says it."""

    user: OldUser
    id_str: str | None = None
    id: str | int | None = None
    text: str | None = None
    full_text: str | None = None
    created_at: str | None = None
    entities: OldEntities | None = None
    extended_entities: OldEntities | None = None
    in_reply_to_status_id_str: str | None = None
    in_reply_to_user_id_str: str | None = None
    quoted_status_id_str: str | None = None
    quoted_status: OldReference | None = None
    retweeted_status: OldReference | None = None
    extended_tweet: ExtendedTweet | None = None
    edit_history: EditHistory | None = None
    lang: str | None = None
    retweet_count: int | None = None
    reply_count: int | None = None
    quote_count: int | None = None
    favorite_count: int | None = None
    withheld_in_countries: Annotated[list[str], Meta(max_length=MOST)] | None = None
    withheld_copyright: bool | None = None


class Favourite(Struct, frozen=True, gc=False):
    """A like, as an account's activity tells it."""

    user: OldUser
    favorited_status: OldReference
    timestamp_ms: str | None = None
    created_at: str | None = None


class DeletedPost(Struct, frozen=True, gc=False):
    """A post that was deleted, as an account's activity tells it."""

    status: Subject
    timestamp_ms: str | None = None


class Deed(Struct, frozen=True, gc=False):
    """What somebody did to somebody: followed, blocked, muted, types, has read."""

    source: OldUser | None = None
    target: "Named | None" = None
    sender_id: str | None = None
    created_timestamp: str | None = None


class Named(OldUser, frozen=True, gc=False):
    """An account, or who gets a message."""

    recipient_id: str | None = None


BODY = msgspec.json.Decoder(Body)
LINE = msgspec.json.Decoder(Line)
POST_LINE = msgspec.json.Decoder(PostLine)
HEAD_LINE = msgspec.json.Decoder(HeadLine)
HEAD = msgspec.json.Decoder(Head)
POST = msgspec.json.Decoder(Post)
INCLUDES = msgspec.json.Decoder(Includes)
ACTIVITY = msgspec.json.Decoder(Activity)
PAYLOAD = msgspec.json.Decoder(ActivityPayload)
ENDED_POST = msgspec.json.Decoder(EndedPost)
EDIT_HISTORY = msgspec.json.Decoder(EditHistory)
FAVOURITE = msgspec.json.Decoder(Favourite)
DELETED_POST = msgspec.json.Decoder(DeletedPost)
DEED = msgspec.json.Decoder(Deed)
OLD_USER = msgspec.json.Decoder(OldUser)
USER = msgspec.json.Decoder(User)
PARTS = msgspec.json.Decoder(dict[str, Raw])
COMPLIANCE = msgspec.json.Decoder(Compliance)
JOB_RESULT = msgspec.json.Decoder(JobResult)
MESSAGE = msgspec.json.Decoder(DirectMessage)
OLD_MESSAGE = msgspec.json.Decoder(OldMessage)
OLD_POST = msgspec.json.Decoder(OldPost)
PIECE = msgspec.json.Decoder(Piece)
PROBLEM = msgspec.json.Decoder(Problem)
PROBLEMS = msgspec.json.Decoder(Annotated[list[Problem], Meta(max_length=10_000)])
PIECES = msgspec.json.Decoder(Annotated[list[Raw], Meta(max_length=10_000)])
