"""Posts of the API v2: identity and draft; pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from klingel.domain.draft import Kind, SocialDraft, Threading
from klingel.model.social_event import Author, Media
from klingel_networks.bounds import check_text, rfc3339
from klingel_networks.contract import Identity
from klingel_networks.x.ids import (
    chain_of,
    checked_id,
    is_id,
    is_withheld,
    language,
    post_object,
    snowflake_ms,
    snowflake_time,
)
from klingel_networks.x.records import (
    Entities,
    Head,
    IncludedMedia,
    Includes,
    Post,
    PostMetrics,
    Reference,
    User,
    Variant,
    Withheld,
)

MAPPING = "x/1"

_HANDLE_MAX, _NAME_MAX, _LINK_MAX, _TAG_MAX, _KEY_MAX = 256, 640, 4096, 640, 512
_COUNT_MAX = 2**53 - 1
_KINDS: Mapping[str, Kind] = {
    "retweeted": "repost",
    "replied_to": "reply",
    "quoted": "quote",
}
_MEDIA = {"photo": "image", "video": "video", "animated_gif": "video"}
_BY_KEY = {"3": "image", "7": "video", "13": "video", "16": "video"}
_METRICS = (
    ("retweet_count", "retweets"),
    ("reply_count", "replies"),
    ("like_count", "likes"),
    ("quote_count", "quotes"),
    ("bookmark_count", "bookmarks"),
    ("impression_count", "impressions"),
)
NO_INCLUDES = Includes()


class References(NamedTuple):
    """What a post refers to, as X's ids."""

    kind: Kind
    reposted: str | None
    parent: str | None
    quoted: str | None


def references_of(references: Sequence[Reference] | None) -> References:
    """Return kind and references; a reply that also quotes is a reply. Raises InvalidMessage."""
    if not references:
        return _ORIGINAL
    found: dict[str, str] = {}
    for reference in references:
        if reference.type is not None and reference.type in _KINDS:
            found[reference.type] = checked_id(reference.id, "referenced_tweets.id")
    return References(
        kind_of(references), found.get("retweeted"), found.get("replied_to"), found.get("quoted")
    )


def kind_of(references: Sequence[Reference] | None) -> Kind:
    """Return the kind that references make of a post."""
    if not references:
        return "post"
    if len(references) == 1:
        return _KINDS.get(references[0].type or "", "post")
    types = {reference.type for reference in references}
    return next((kind for type_, kind in _KINDS.items() if type_ in types), "post")


_ORIGINAL = References("post", None, None, None)


def post_identity(head: Head) -> Identity:
    """Return the identity of a post; raises InvalidMessage.

    The thing is the chain of edits, named by its first id; the revision is the time in the id of
    this version, 0 for the first.
    """
    post_id = checked_id(head.own_id, "id")
    first = chain_of(post_id, head.edit_history_tweet_ids)
    kind = kind_of(head.referenced_tweets)
    if post_id == first:
        return Identity(post_object(first), 0, kind, "created")
    return Identity(post_object(first), snowflake_ms(post_id), kind, "updated")


def post_draft(post: Post, includes: Includes, context: Mapping[str, str]) -> SocialDraft:
    """Return the draft of a post; raises InvalidMessage."""
    first = chain_of(post.id, post.edit_history_tweet_ids)
    refers = references_of(post.referenced_tweets)
    note = post.note_tweet
    text = note.text if note is not None and note.text else post.text
    check_text(text, "text")
    entities = note.entities if note is not None and note.entities else post.entities
    codes, hidden = (
        _withheld(post.withheld, context) if post.withheld is not None else (None, False)
    )
    mentions, hashtags, links = ((), (), ()) if hidden else _marked(entities)
    metrics = _counts(post.public_metrics)
    if codes:
        metrics = {**(metrics or {}), "withheld_countries": len(codes)}
    author = author_of(post.author_id, includes.users)
    conversation, threading = _thread(post, first, refers)
    published, changed = _times(post, first)
    return SocialDraft(
        mapping=MAPPING,
        kind=refers.kind,
        change="created" if changed is None else "updated",
        visibility="followers" if _is_protected(post.author_id, includes.users) else "public",
        threading=threading,
        conversation_id=conversation,
        published_at=published,
        changed_at=changed,
        in_reply_to=_object(refers.parent, includes),
        in_reply_to_author=post.in_reply_to_user_id if is_id(post.in_reply_to_user_id) else None,
        quotes=_object(refers.quoted, includes),
        quoted_author=None if refers.quoted is None else _author_of(refers.quoted, includes),
        reposts=_object(refers.reposted, includes),
        author=author,
        text=None if hidden else text,
        langs=() if hidden else language(post.lang),
        media=() if hidden or post.attachments is None else tuple(_attached(post, includes)),
        links=links,
        hashtags=hashtags,
        mentions=mentions,
        metrics=metrics,
        url=f"https://x.com/i/status/{post.id}",
        customer_ids=() if author is None else (f"x:{author.id}",),
        lone_id=True,
        withheld=hidden,
    )


def customer_ids(author: Author | None) -> tuple[str, ...]:
    """Return the id of who speaks; a handle may be another's tomorrow and is none."""
    return () if author is None else (f"x:{author.id}",)


def author_of(user_id: str | None, users: Sequence[User] | None) -> Author | None:
    """Return who acted, with what the answer tells of the account."""
    if user_id is None or not is_id(user_id):
        return None
    user = _user(user_id, users)
    if user is None:
        return Author(id=user_id)
    followers = user.public_metrics.followers_count if user.public_metrics else None
    return author(user_id, user.username, user.name, followers, user.verified)


def author(
    user_id: str,
    handle: str | None,
    name: str | None,
    followers: int | None,
    verified: bool | None,  # noqa: FBT001 - a field among fields
) -> Author:
    """Return an author; what is out of bounds is left out."""
    return Author(
        id=user_id,
        handle=handle if handle and _is_plain(handle, _HANDLE_MAX) else None,
        name=name if name and _is_plain(name, _NAME_MAX) else None,
        followers=followers if followers is not None and 0 <= followers <= _COUNT_MAX else None,
        verified=verified,
    )


def is_link(url: str | None) -> bool:
    """Return whether an address is one of the web that fits a topic."""
    return (
        url is not None
        and len(url) <= _LINK_MAX
        and url.startswith(("https://", "http://"))
        and "\x00" not in url
    )


def tag_of(value: str | None) -> str:
    """Return a hashtag in lower case without its sign; empty when it is none."""
    if not value or len(value) > _TAG_MAX or "\x00" in value:
        return ""
    return value.removeprefix("#").lower()


def best_variant(variants: Sequence[Variant] | None) -> str | None:
    """Return the address of the encoding with the greatest bit rate that is no playlist."""
    found: tuple[int, str] | None = None
    for variant in variants or ():
        rate = variant.bit_rate if variant.bit_rate is not None else variant.bitrate
        if rate is None or variant.url is None or not is_link(variant.url):
            continue
        if found is None or rate > found[0]:
            found = (rate, variant.url)
    return None if found is None else found[1]


def alt_of(alt: str | None) -> str | None:
    """Return an alternative text; raises InvalidMessage when it is no text."""
    if alt:
        check_text(alt, "alt_text")
    return alt or None


def _is_plain(value: str, most: int) -> bool:
    return len(value) <= most and "\x00" not in value


def _user(user_id: str, users: Sequence[User] | None) -> User | None:
    for user in users or ():
        known = user.data if user.data is not None else user
        if known.id == user_id:
            return known
    return None


def _is_protected(user_id: str | None, users: Sequence[User] | None) -> bool:
    user = None if user_id is None else _user(user_id, users)
    return user is not None and user.protected is True


def _object(post_id: str | None, includes: Includes) -> str | None:
    """Return the object id of a post that is referred to; of an edited one its chain's."""
    if post_id is None:
        return None
    for post in includes.tweets or ():
        if post.id == post_id and post.edit_history_tweet_ids:
            found = [each for each in post.edit_history_tweet_ids if is_id(each)]
            return post_object(min(found, key=int, default=post_id))
    return post_object(post_id)


def _author_of(post_id: str, includes: Includes) -> str | None:
    """Return whose post is referred to, where the answer tells it."""
    found = (post.author_id for post in includes.tweets or () if post.id == post_id)
    return next((each for each in found if is_id(each)), None)


def _thread(post: Post, first: str, refers: References) -> tuple[str | None, Threading]:
    """Return the network's conversation; None where the post begins its own."""
    conversation = post.conversation_id
    if conversation is None or not is_id(conversation):
        return None, "root" if refers.parent is None else "parent_only"
    if conversation in {first, post.id, *(post.edit_history_tweet_ids or ())}:
        return None, "root"
    return post_object(conversation), "network"


def _withheld(told: Withheld, context: Mapping[str, str]) -> tuple[Sequence[str] | None, bool]:
    """Return where a post is withheld, and whether its words are not for us to tell."""
    hidden = is_withheld(told.country_codes, context, copyright_claimed=told.copyright)
    return told.country_codes, hidden


def _times(post: Post, first: str) -> tuple[datetime | None, datetime | None]:
    """Return when the thing was published, and when this version was made if it is an edit."""
    made = None if post.created_at is None else rfc3339(post.created_at, "created_at")
    if post.id == first:
        return made or snowflake_time(first), None
    return snowflake_time(first), made or snowflake_time(post.id)


def _marked(
    entities: Entities | None,
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return mentioned accounts, hashtags and links."""
    if entities is None:
        return (), (), ()
    mentions: list[str | None] = []
    hashtags: list[str] = []
    links: list[str | None] = []
    if entities.mentions:
        mentions = [each.id if is_id(each.id) else each.username for each in entities.mentions]
        mentions = [each for each in mentions if each and _is_plain(each, _HANDLE_MAX)]
    if entities.hashtags:
        hashtags = [tag for tag in [tag_of(each.tag) for each in entities.hashtags] if tag]
    if entities.urls:
        links = [
            each.unwound_url if is_link(each.unwound_url) else each.expanded_url
            for each in entities.urls
            if each.media_key is None and not _shows_attachment(each.expanded_url)
        ]
        links = [each for each in links if is_link(each)]
    return _once(mentions), _once(hashtags), _once(links)


def _once(values: Sequence[str | None]) -> tuple[str, ...]:
    """Return what there is, each once, in its order."""
    if not values:
        return ()
    return tuple(dict.fromkeys([each for each in values if each is not None]))


def _shows_attachment(url: str | None) -> bool:
    """Answers before 2023 name no media key; their address ends in /photo/1 or /video/1."""
    return (
        url is not None
        and url.startswith(("https://twitter.com/", "https://x.com/"))
        and url.endswith(("/photo/1", "/video/1"))
    )


def _attached(post: Post, includes: Includes) -> Iterator[Media]:
    if post.attachments is None:
        return
    for key in post.attachments.media_keys or ():
        if not key or not _is_plain(key, _KEY_MAX):
            continue
        yield _medium(key, includes.media)


def address_of(medium: IncludedMedia) -> str | None:
    """Return where an attachment's bytes are, as X tells it."""
    url = medium.url or best_variant(medium.variants) or medium.preview_image_url
    return url if is_link(url) else None


def _medium(key: str, known: Sequence[IncludedMedia] | None) -> Media:
    for medium in known or ():
        if medium.media_key == key:
            return Media(
                kind=_MEDIA.get(medium.type or "", "file"),  # type: ignore[arg-type]  # the table's values are kinds
                id=key,
                url=address_of(medium),
                alt=alt_of(medium.alt_text),
                status="remote",
            )
    kind = _BY_KEY.get(key.partition("_")[0], "file")
    return Media(kind=kind, id=key, status="remote")  # type: ignore[arg-type]  # the table's values are kinds


def _counts(metrics: PostMetrics | None) -> dict[str, int] | None:
    if metrics is None:
        return None
    found = {}
    for theirs, ours in _METRICS:
        count = getattr(metrics, theirs)
        if count is not None and 0 <= count <= _COUNT_MAX:
            found[ours] = count
    return found or None
