"""What X tells about posts and accounts: compliance, deletions, likes, other activity; pure.

A post that was deleted does not come back, so its deletion has no time of its own in the identity
and is the same from the activity webhook, the compliance stream and a compliance job. What can be
undone (an account that is protected or suspended, a post withheld elsewhere) is of kind `unknown`
with the network's time as revision; a post to be dropped from view is deleted, and stays so. An
account that was deleted demands an erasure too: should it come back, what it said before does not.

Sources: "Compliance Data Objects" of the X API v2 and of v1.1 (`x-api/enterprise-gnip-2.0/fundamentals/
firehouse`), which name subjects and times each in its own way; `x-api/compliance/batch-compliance/
integrate`; `x-api/activity/event-payloads`.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from klingel.domain.draft import Change, SocialDraft
from klingel.domain.identity import DELETED_WITHOUT_REVISION
from klingel.model.social_event import Author
from klingel_networks.bounds import rfc3339
from klingel_networks.contract import Identity
from klingel_networks.x.ids import (
    PREFIX,
    chain_of,
    checked_id,
    is_id,
    is_withheld,
    milliseconds,
    other_object,
    post_object,
    revision_of,
    snowflake_ms,
    snowflake_time,
)
from klingel_networks.x.names import is_end
from klingel_networks.x.posts import MAPPING, author_of
from klingel_networks.x.reading import read
from klingel_networks.x.records import (
    COMPLIANCE,
    Activity,
    ActivityPayload,
    Compliance,
    EndedPost,
    Includes,
    JobResult,
    Subject,
)

Said = tuple[Identity, SocialDraft]

LIKE = "like"
"""The emoji part of a like's object id."""

_GONE = frozenset({"delete", "drop"})
_OF_POSTS = frozenset({"delete", "drop", "undrop", "withheld", "tweet_edit"})
_OF_USERS = frozenset(
    {
        "user_delete",
        "user_undelete",
        "user_protect",
        "user_unprotect",
        "user_suspend",
        "user_unsuspend",
        "user_withheld",
        "user_profile_modification",
        "scrub_geo",
    }
)
_ALSO_CALLED = {
    "status_withheld": "withheld",
    "tweet_withheld": "withheld",
    "post_withheld": "withheld",
    "withhold": "withheld",
    "user_withhold": "user_withheld",
    "user_scrub_geo": "scrub_geo",
    "post_edit": "tweet_edit",
    "status_delete": "delete",
    "tweet_delete": "delete",
    "post_delete": "delete",
}
"""Names of v1.1, and what X calls posts beside tweets."""
_BESIDE = frozenset({"event_at", "timestamp_ms", "timestampMs", "created_at"})
"""What may stand beside an event: its time."""
_REMOVED = "delete"
_SCRUBBED = "scrub_geo"
_DELETED = "deleted"
_USER_DELETED = "user_delete"


def deletion(post_id: str | None, author_id: str | None, at: datetime | None = None) -> Said:
    """Return the deletion of a post; raises InvalidMessage when it has no id."""
    object_id = post_object(checked_id(post_id, "id"))
    identity = Identity(object_id, DELETED_WITHOUT_REVISION, "post", "deleted")
    draft = SocialDraft(
        mapping=MAPPING,
        kind="post",
        change="deleted",
        author=author_of(author_id, None),
        changed_at=at,
    )
    return identity, draft


def job_result(result: JobResult, context: Mapping[str, str]) -> Said:
    """Return what a compliance job says of one id; raises InvalidMessage.

    Args:
        result: a line of its result.
        context: `job` is `users` where the job was about accounts.
    """
    at = None if result.redacted_at is None else rfc3339(result.redacted_at, "redacted_at")
    subject = checked_id(result.id, "id")
    if context.get("job") == "users":
        gone = result.action == _REMOVED and result.reason == _DELETED
        return _notice(f"user/{subject}/compliance", at, subject, erases=gone)
    if result.action == _REMOVED and result.reason != _SCRUBBED:
        return deletion(subject, None, at)
    return _notice(f"{subject}/compliance", at, None)


def ended_post(post: EndedPost, actor: str | None) -> Said:
    """Return the deletion of the post that an activity event names; raises InvalidMessage.

    Args:
        post: the payload, in one of its forms.
        actor: the account that the event was subscribed by: it deleted its own post.
    """
    inside = post.post or post.tweet or post.status
    named = post.post_id or post.tweet_id or (_id_of(inside) if inside is not None else None)
    inner = (inside.author_id or inside.user_id) if inside is not None else None
    author_id = post.author_id or post.user_id or inner or actor
    history = post.edit_history_tweet_ids
    return deletion(chain_of(named or post.id or "", history), author_id)


def compliance(parts: Mapping[str, msgspec.Raw], context: Mapping[str, str]) -> Said | None:
    """Return what a compliance event says, None when these are the parts of no such event.

    Raises:
        InvalidMessage: it is one that cannot be read.
    """
    names = [name for name in parts if name not in _BESIDE]
    if len(names) != 1:
        return None
    name = _ALSO_CALLED.get(names[0], names[0])
    if name not in _OF_POSTS and name not in _OF_USERS:
        return None
    event = read(COMPLIANCE, parts[names[0]], f"data.{names[0]}")
    at = _when(event, f"data.{names[0]}")
    if name in _OF_USERS:
        user = event.user or Subject(id=event.id_str or event.user_id or event.id)
        user_id = checked_id(_id_of(user), f"data.{names[0]}.user.id")
        return _notice(f"user/{user_id}/{name}", at, user_id, erases=name == _USER_DELETED)
    if name == _REMOVED and event.favorite is not None:
        return _unliked(event.favorite, at)
    return _of_post(name, event, at, context)


def _when(event: Compliance, path: str) -> datetime | None:
    """Return when it happened; v1.1 tells milliseconds, once in a field that holds a date."""
    told = event.event_at or event.timestamp_ms or event.timestamp
    if told is None:
        return None
    field = "event_at" if event.event_at else "timestamp_ms"
    if told.isdigit():
        return milliseconds(told, f"{path}.{field}")
    return rfc3339(told, f"{path}.{field}")


def _id_of(subject: Subject) -> str | None:
    return subject.id_str or subject.id


def _unliked(like_: Subject, at: datetime | None) -> Said:
    """Return the end of a like; raises InvalidMessage."""
    target = checked_id(like_.tweet_id, "data.delete.favorite.tweet_id")
    actor = checked_id(like_.user_id, "data.delete.favorite.user_id")
    return reaction(target, Author(id=actor), None, "deleted", at)


def _of_post(name: str, event: Compliance, at: datetime | None, context: Mapping[str, str]) -> Said:
    tweet = event.tweet or event.status or event.post or Subject(id=event.id, id_str=event.id_str)
    post_id = checked_id(_id_of(tweet), f"data.{name}.tweet.id")
    author_id = tweet.author_id or tweet.user_id or event.user_id
    if name in _GONE or (name == "withheld" and is_withheld(event.withheld_in_countries, context)):
        return deletion(post_id, author_id, at)
    if name == "tweet_edit" and event.initial_tweet_id is not None:
        first = checked_id(event.initial_tweet_id, "data.tweet_edit.initial_tweet_id")
        if first != post_id:
            return _edited(first, post_id, author_id)
    return _notice(f"{post_id}/{name}", at, author_id)


def _edited(first: str, version: str, author_id: str | None) -> Said:
    """Return the news of an edit: identity as the edited post's own, which completes it."""
    identity = Identity(post_object(first), snowflake_ms(version), "post", "updated")
    draft = SocialDraft(
        mapping=MAPPING,
        kind="post",
        change="updated",
        author=author_of(author_id, None),
        published_at=snowflake_time(first),
        changed_at=snowflake_time(version),
    )
    return identity, draft


def like(activity: Activity, payload: ActivityPayload, includes: Includes) -> Said | None:
    """Return a like as a reaction; None when the event does not tell who liked what."""
    liked = payload.liked_tweet_id
    actor = _liker(activity, payload, includes)
    if actor is None or liked is None or not is_id(liked):
        return None
    change: Change = "deleted" if is_end(activity.event_type or "") else "created"
    at = milliseconds(payload.timestamp_ms, "data.payload.timestamp_ms")
    owner = payload.liked_tweet_author_id
    return reaction(liked, author_of(actor, includes.users), owner, change, at)


def reaction(
    liked: str, actor: Author | None, owner: str | None, change: Change, at: datetime | None
) -> Said:
    """Return a like as a reaction.

    Args:
        liked: X's id of the post.
        actor: who likes it.
        owner: whose post it is, where it is told.
        change: created, or deleted for a like that ended.
        at: when, where it is told: somebody may like again what he no longer liked, so every change
            has its own time.
    """
    target = post_object(liked)
    revision = DELETED_WITHOUT_REVISION if change == "deleted" and at is None else 0
    if at is not None:
        revision = revision_of(at)
    named = actor.id if actor is not None else ""
    identity = Identity(f"{target}/reaction/{named}/{LIKE}", revision, "reaction", change)
    draft = SocialDraft(
        mapping=MAPPING,
        kind="reaction",
        change=change,
        threading="parent_only",
        published_at=at if change == "created" else None,
        changed_at=at if change == "deleted" else None,
        in_reply_to=target,
        in_reply_to_author=owner if is_id(owner) else None,
        author=actor,
    )
    return identity, draft


def other_activity(activity: Activity, native: bytes) -> Said:
    """Return an activity event that has no word of ours, by its own id."""
    event_id = activity.event_uuid
    named = PREFIX + f"event/{event_id}" if _is_event_id(event_id) else other_object(None, native)
    user_id = activity.filter.user_id if activity.filter is not None else None
    identity = Identity(named, 0, "unknown", "created")
    return identity, SocialDraft(
        mapping=MAPPING,
        kind="unknown",
        change="created",
        target=user_id if is_id(user_id) else None,
    )


def unknown(object_id: str, author_id: str | None = None) -> Said:
    """Return an object that has no word of ours."""
    draft = SocialDraft(
        mapping=MAPPING, kind="unknown", change="created", author=author_of(author_id, None)
    )
    return Identity(object_id, 0, "unknown", "created"), draft


def _notice(name: str, at: datetime | None, author_id: str | None, *, erases: bool = False) -> Said:
    revision = 0 if at is None else revision_of(at)
    draft = SocialDraft(
        mapping=MAPPING,
        kind="unknown",
        change="updated",
        author=Author(id=author_id) if author_id is not None and is_id(author_id) else None,
        changed_at=at,
        erases=erases,
    )
    return Identity(PREFIX + name, revision, "unknown", "updated"), draft


def _is_event_id(value: str | None) -> bool:
    return value is not None and is_id(value.removeprefix("-"))


def _liker(activity: Activity, payload: ActivityPayload, includes: Includes) -> str | None:
    """Return who liked: the subscribed account, or of the others named the one who did not write."""
    subscribed = activity.filter.user_id if activity.filter is not None else None
    if subscribed is None or not is_id(subscribed):
        return None
    direction = activity.filter.direction if activity.filter is not None else None
    owner = payload.liked_tweet_author_id
    if direction == "outbound" or (direction is None and owner != subscribed):
        return subscribed
    named = {
        known.id
        for user in includes.users or ()
        if (known := user.data or user).id is not None and is_id(known.id) and known.id != owner
    }
    return named.pop() if len(named) == 1 else None
