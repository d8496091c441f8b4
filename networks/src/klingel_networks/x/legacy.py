"""The older shapes: direct messages of activity events, and posts of API v1.1; pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

from klingel.domain.draft import Kind, SocialDraft
from klingel.errors import ErrorType, InvalidMessage
from klingel.model.social_event import Author, Media
from klingel_networks.bounds import check_text, rfc3339
from klingel_networks.contract import Identity
from klingel_networks.x.ids import (
    PREFIX,
    chain_of,
    checked_id,
    is_id,
    is_native_id,
    is_withheld,
    language,
    milliseconds,
    old_time,
    post_object,
    snowflake_ms,
    snowflake_time,
)
from klingel_networks.x.posts import (
    MAPPING,
    alt_of,
    author,
    author_of,
    best_variant,
    customer_ids,
    is_link,
    tag_of,
)
from klingel_networks.x.reading import read
from klingel_networks.x.records import (
    EDIT_HISTORY,
    ActivityPayload,
    DirectMessage,
    EditHistory,
    ExtendedTweet,
    Head,
    OldEntities,
    OldMedia,
    OldMessage,
    OldPost,
    OldReference,
    OldUser,
    User,
)

_MEDIA = {"photo": "image", "video": "video", "animated_gif": "video"}
_COUNT_MAX = 2**53 - 1
NOT_CUT = ExtendedTweet()


def message_object(message_id: str) -> str:
    """Return the object id of a direct message; the same from webhook and from the API v2."""
    return f"{PREFIX}dm/{message_id}"


def conversation_of(*accounts: str) -> str:
    """Return the conversation of two accounts as the API v2 names it: the lower id first."""
    return f"{PREFIX}dm/" + "-".join(sorted(accounts, key=int))


def message_identity(message_id: str | None) -> Identity:
    """Return the identity of a direct message; raises InvalidMessage."""
    return Identity(message_object(checked_id(message_id, "id")), 0, "direct_message", "created")


def old_message_draft(
    message: OldMessage, users: Sequence[User], channel: str | None
) -> SocialDraft:
    """Return the draft of a direct message of an activity event; raises InvalidMessage.

    Args:
        message: the message.
        users: accounts that it names.
        channel: the own account that it came through, where that is known.
    """
    said = message.message_create
    sender = checked_id(said.sender_id, "message_create.sender_id")
    recipient = said.target.recipient_id
    data = said.message_data
    text = data.text or ""
    check_text(text, "message_create.message_data.text")
    media = data.attachment.media if data.attachment is not None else None
    _, hashtags, links = old_marks(data.entities)
    speaker = author_of(sender, users)
    return SocialDraft(
        mapping=MAPPING,
        kind="direct_message",
        change="created",
        visibility="private",
        threading="root" if not is_id(recipient) else "network",
        conversation_id=None
        if recipient is None or not is_id(recipient)
        else conversation_of(sender, recipient),
        published_at=milliseconds(message.created_timestamp, "created_timestamp")
        or snowflake_time(message.id),
        target=recipient if is_id(recipient) else None,
        direction=_direction(sender, channel),
        author=speaker,
        customer_ids=customer_ids(speaker),
        lone_id=True,
        text=text,
        media=() if media is None else tuple(old_media((media,))),
        links=links,
        hashtags=hashtags,
    )


def _direction(sender: str | None, channel: str | None) -> Literal["outbound"] | None:
    """Return that an own account speaks, where it is the one that a message came through."""
    return "outbound" if channel is not None and sender == channel else None


def message_draft(
    message: DirectMessage, users: Sequence[User] | None, channel: str | None
) -> SocialDraft:
    """Return the draft of a direct message of the API v2; raises InvalidMessage.

    Somebody who joins or leaves is no message: kind `unknown`.
    """
    spoken = message.event_type in {None, "MessageCreate"}
    text = message.text if spoken else None
    if text is not None:
        check_text(text, "text")
    conversation, target = _conversation(message.dm_conversation_id, message.sender_id)
    published: datetime | None = None
    if message.created_at is not None:
        published = rfc3339(message.created_at, "created_at")
    keys = message.attachments.media_keys if message.attachments is not None else None
    speaker = author_of(message.sender_id, users)
    return SocialDraft(
        mapping=MAPPING,
        kind="direct_message" if spoken else "unknown",
        change="created",
        visibility="private",
        threading="root" if conversation is None else "network",
        conversation_id=conversation,
        published_at=published or snowflake_time(message.id),
        target=target,
        direction=_direction(message.sender_id, channel),
        author=speaker,
        customer_ids=customer_ids(speaker),
        lone_id=True,
        text=text,
        media=tuple(
            Media(kind="file", id=key, status="remote") for key in keys or () if 0 < len(key) <= 512
        ),
    )


def sealed_message(payload: ActivityPayload, channel: str | None) -> tuple[Identity, SocialDraft]:
    """Return an encrypted message: who writes to whom and when, its text is not for us to read.

    Raises:
        InvalidMessage: it has no id.
    """
    if payload.id is None or not is_native_id(payload.id):
        raise InvalidMessage(
            ErrorType.INVALID_FIELD, "data.payload.id is no id", path="data.payload.id"
        )
    conversation, target = _conversation(
        (payload.conversation_id or "").replace(":", "-"), payload.sender_id
    )
    speaker = author_of(payload.sender_id, None)
    draft = SocialDraft(
        mapping=MAPPING,
        kind="direct_message",
        change="created",
        visibility="private",
        threading="root" if conversation is None else "network",
        conversation_id=conversation,
        published_at=milliseconds(payload.created_at_msec, "data.payload.created_at_msec"),
        target=target,
        direction=_direction(payload.sender_id, channel),
        author=speaker,
        customer_ids=customer_ids(speaker),
        lone_id=True,
    )
    return Identity(f"{PREFIX}chat/{payload.id}", 0, "direct_message", "created"), draft


def _conversation(named: str | None, sender: str | None) -> tuple[str | None, str | None]:
    """Return conversation and, of two, the one who does not speak."""
    if not named or len(named) > 200:
        return None, None
    parts = named.split("-")
    if not all(is_id(part) for part in parts):
        return None, None
    if len(parts) == 2:
        other = [part for part in parts if part != sender]
        return conversation_of(*parts), other[0] if len(other) == 1 else None
    return f"{PREFIX}dm/{named}", None


def old_post_identity(head: Head) -> Identity:
    """Return the identity of a post of API v1.1; raises InvalidMessage."""
    kind: Kind = "post"
    if len(memoryview(head.retweeted_status)) > 0:
        kind = "repost"
    elif head.in_reply_to_status_id_str:
        kind = "reply"
    elif head.quoted_status_id_str:
        kind = "quote"
    post_id = checked_id(head.own_id, "id_str")
    history = None
    if len(memoryview(head.edit_history)) > 0:
        history = read(EDIT_HISTORY, head.edit_history, "edit_history")
    first = _first_of(post_id, history)
    if first == post_id:
        return Identity(post_object(first), 0, kind, "created")
    return Identity(post_object(first), snowflake_ms(post_id), kind, "updated")


def _first_of(post_id: str, history: EditHistory | None) -> str:
    """Return the first id of a chain of edits; raises InvalidMessage when it is none."""
    if history is None:
        return post_id
    if history.initial_tweet_id:
        return checked_id(history.initial_tweet_id, "edit_history.initial_tweet_id")
    return chain_of(post_id, history.edit_tweet_ids)


def old_post_draft(post: OldPost, kind: Kind, context: Mapping[str, str]) -> SocialDraft:
    """Return the draft of a post of API v1.1; raises InvalidMessage.

    It names only the parent, no conversation; what a reposted post quotes is that post's affair. Streams and webhooks cut its text, and give the whole in
    `extended_tweet` with entities of its own.
    """
    whole = post.extended_tweet or NOT_CUT
    text = whole.full_text or post.full_text or post.text or ""
    check_text(text, "text")
    hidden = is_withheld(
        post.withheld_in_countries, context, copyright_claimed=post.withheld_copyright
    )
    entities = whole.entities or post.entities
    mentions, hashtags, links = ((), (), ()) if hidden else old_marks(entities)
    parent = post.in_reply_to_status_id_str
    shown = whole.extended_entities or post.extended_entities or entities
    post_id = checked_id(own_id(post), "id_str")
    first = _first_of(post_id, post.edit_history)
    made = None if post.created_at is None else old_time(post.created_at, "created_at")
    is_first = first == post_id
    speaker = old_author(post.user)
    return SocialDraft(
        mapping=MAPPING,
        kind=kind,
        change="created" if is_first else "updated",
        visibility="followers" if post.user.protected else "public",
        threading="parent_only" if is_id(parent) else "root",
        published_at=(made or snowflake_time(post_id)) if is_first else snowflake_time(first),
        changed_at=None if is_first else made or snowflake_time(post_id),
        in_reply_to=_reference(parent),
        in_reply_to_author=post.in_reply_to_user_id_str
        if is_id(post.in_reply_to_user_id_str)
        else None,
        quotes=None
        if kind == "repost"
        else _chain(post.quoted_status) or _reference(post.quoted_status_id_str),
        quoted_author=None if kind == "repost" else _owner(post.quoted_status),
        reposts=_chain(post.retweeted_status),
        author=speaker,
        customer_ids=customer_ids(speaker),
        lone_id=True,
        text=None if hidden else text,
        langs=() if hidden else language(post.lang),
        media=() if hidden or shown is None else tuple(old_media(shown.media or ())),
        links=links,
        hashtags=hashtags,
        mentions=mentions,
        metrics=_counts(post),
        withheld=hidden,
        url=f"https://x.com/i/status/{post_id}",
    )


def _counts(post: OldPost) -> dict[str, int] | None:
    counts = {
        "retweets": post.retweet_count,
        "replies": post.reply_count,
        "likes": post.favorite_count,
        "quotes": post.quote_count,
        "withheld_countries": len(post.withheld_in_countries or ()) or None,
    }
    return {
        name: count
        for name, count in counts.items()
        if count is not None and 0 <= count <= _COUNT_MAX
    } or None


def own_id(thing: OldPost | OldReference | OldUser) -> str | None:
    """Return an id of v1.1: its string, else its integer, digit by digit."""
    return thing.id_str or (None if thing.id is None else str(thing.id))


def _chain(post: OldReference | None) -> str | None:
    """Return the object id of a post inside a post; of an edited one its chain's."""
    post_id = None if post is None else own_id(post)
    if post is None or not is_id(post_id):
        return None
    first = None if post.edit_history is None else post.edit_history.initial_tweet_id
    return _reference(first if is_id(first) else post_id)


def _owner(post: OldReference | None) -> str | None:
    found = None if post is None or post.user is None else own_id(post.user)
    return found if is_id(found) else None


def old_marks(
    entities: OldEntities | None,
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return mentioned accounts, hashtags and links."""
    if entities is None:
        return (), (), ()
    mentions = [
        each.id_str if is_id(each.id_str) else each.screen_name
        for each in entities.user_mentions or ()
    ]
    hashtags = [tag_of(each.text) for each in entities.hashtags or ()]
    links = [each.expanded_url for each in entities.urls or ()]
    return (
        tuple(dict.fromkeys(each for each in mentions if each and len(each) <= 256)),
        tuple(dict.fromkeys(each for each in hashtags if each)),
        tuple(dict.fromkeys(each for each in links if each and is_link(each))),
    )


def old_media(media: Sequence[OldMedia]) -> Iterator[Media]:
    """Yield attachments; raises InvalidMessage."""
    for medium in media:
        url = medium.media_url_https
        if medium.video_info is not None:
            url = best_variant(medium.video_info.variants) or url
        yield Media(
            kind=_MEDIA.get(medium.type or "", "file"),  # type: ignore[arg-type]  # the table's values are kinds
            id=medium.id_str if is_id(medium.id_str) else None,
            url=url if is_link(url) else None,
            alt=alt_of(medium.ext_alt_text),
            status="remote",
        )


def _reference(post_id: str | None) -> str | None:
    return post_object(post_id) if post_id is not None and is_id(post_id) else None


def old_author(user: OldUser) -> Author | None:
    """Return an account of v1.1; None where its id is none."""
    user_id = own_id(user)
    if user_id is None or not is_id(user_id):
        return None
    return author(user_id, user.screen_name, user.name, user.followers_count, user.verified)
