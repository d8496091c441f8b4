"""Webhooks of the Account Activity API: lists of what happened at one own account; pure.

A body names the account (`for_user_id`) and holds one list a kind of happening. Each member is an
object; posts and direct messages tell by themselves what they are, the others are told by the list that
they stood in, which their context keeps (`form`). Likes and deletions are what the X Activity API tells
of them. Who follows, blocks, mutes, types or has read says nothing: kind `unknown`, with who did it and
to whom.

Source: "Account Activity data objects" (`x-api/enterprise-gnip-2.0/fundamentals/account-activity`). Its
example keeps the accounts of a message under `apps`, beside an empty `users`: both are looked into.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import msgspec

from klingel.domain.draft import SocialDraft
from klingel.errors import ErrorType, InvalidMessage
from klingel.model.social_event import Author
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.contract import Identity
from klingel_networks.x.ids import checked_id, is_id, milliseconds, old_time, other_object
from klingel_networks.x.legacy import old_author, own_id
from klingel_networks.x.notices import Said, deletion, reaction
from klingel_networks.x.posts import MAPPING, customer_ids
from klingel_networks.x.reading import read
from klingel_networks.x.records import (
    DEED,
    DELETED_POST,
    FAVOURITE,
    OLD_USER,
    PARTS,
    PIECES,
    USER,
    Includes,
    User,
    UserMetrics,
)

_LIST = "_events"
_REVOKED = "user_event"
_ACCOUNT = "for_user_id"
_LIKED, _DELETED = "favorite_events", "tweet_delete_events"
_PRIVATE = "direct_message_"


def is_one(body: bytes) -> bool:
    """Return whether a body without `data` may be such a webhook's."""
    return b'_events"' in body or b'"user_event"' in body


def objects_of(
    body: bytes, context: Mapping[str, str]
) -> list[tuple[msgspec.Raw, Mapping[str, str]]]:
    """Return the members of all lists, each with its context; none for a body that has none.

    Raises:
        InvalidMessage: what stands in place of a list is none.
    """
    parts = read(PARTS, body, "")
    lists = {name: raw for name, raw in parts.items() if name.endswith(_LIST) or name == _REVOKED}
    known = dict(context)
    account = _account(parts.get(_ACCOUNT))
    if account is not None:
        known.setdefault("channel", account)
    users = list(_users(parts))
    if users:
        known["includes"] = msgspec.json.encode(Includes(users=users)).decode()
    return [
        (raw, known | {"form": name})
        for name, members in lists.items()
        for raw in _members(name, members)
    ]


def reader_of(form: str | None) -> "Callable[[bytes | msgspec.Raw, bytes], Said] | None":
    """Return what reads a member of a list; None where a member tells itself what it is."""
    if form is None or not (form.endswith(_LIST) or form == _REVOKED):
        return None
    if form in {"tweet_create_events", "direct_message_events"}:
        return None
    if form == _LIKED:
        return _liked
    if form == _DELETED:
        return _deleted
    return _told_in_private if form.startswith(_PRIVATE) else _done


def users_in(raw: msgspec.Raw | None) -> Iterator[User]:
    """Yield the accounts of a map by id, as v2 (`data`) or v1.1 writes them; those it cannot read not."""
    if raw is None:
        return
    try:
        parts = PARTS.decode(raw)
    except READ_ERRORS:
        return
    for each in parts.values():
        try:
            wrapped = read(USER, each, "")
            if wrapped.data is not None:
                yield wrapped.data
                continue
            old = read(OLD_USER, each, "")
        except InvalidMessage:
            continue
        if old.screen_name is not None:
            yield User(
                id=own_id(old),
                username=old.screen_name,
                name=old.name,
                verified=old.verified,
                protected=old.protected,
                public_metrics=UserMetrics(old.followers_count),
            )
        elif wrapped.username is not None:
            yield wrapped


def _users(parts: Mapping[str, msgspec.Raw]) -> Iterator[User]:
    yield from users_in(parts.get("users"))
    yield from users_in(parts.get("apps"))


def _account(raw: msgspec.Raw | None) -> str | None:
    """Return the own account; an integer digit by digit."""
    if raw is None:
        return None
    told = bytes(raw).decode("utf-8", "replace").strip().strip('"')
    return told if is_id(told) else None


def _members(name: str, raw: msgspec.Raw) -> list[msgspec.Raw]:
    first = bytes(raw).lstrip()[:1]
    if first == b"n":  # null: the list is not there
        return []
    return [raw] if first == b"{" else read(PIECES, raw, name)


def _liked(inner: bytes | msgspec.Raw, native: bytes) -> Said:
    del native
    told = read(FAVOURITE, inner, _LIKED)
    post, actor = told.favorited_status, old_author(told.user)
    liked = checked_id(own_id(post), f"{_LIKED}.favorited_status.id_str")
    if actor is None:
        raise InvalidMessage(
            ErrorType.MISSING_FIELD, f"{_LIKED}.user.id_str is missing", path=f"{_LIKED}.user"
        )
    at = milliseconds(told.timestamp_ms, f"{_LIKED}.timestamp_ms")
    if at is None and told.created_at is not None:
        at = old_time(told.created_at, f"{_LIKED}.created_at")
    owner = None if post.user is None else own_id(post.user)
    return reaction(liked, actor, owner, "created", at)


def _deleted(inner: bytes | msgspec.Raw, native: bytes) -> Said:
    del native
    told = read(DELETED_POST, inner, _DELETED)
    at = milliseconds(told.timestamp_ms, f"{_DELETED}.timestamp_ms")
    status = told.status
    return deletion(status.id_str or status.id, status.user_id or status.author_id, at)


def _done(inner: bytes | msgspec.Raw, native: bytes) -> Said:
    return _deed(inner, native, private=False)


def _told_in_private(inner: bytes | msgspec.Raw, native: bytes) -> Said:
    return _deed(inner, native, private=True)


def _deed(inner: bytes | msgspec.Raw, native: bytes, *, private: bool) -> Said:
    """Return what somebody did; what has not that shape, too, is kept as it is."""
    identity = Identity(other_object(None, native), 0, "unknown", "created")
    draft = SocialDraft(mapping=MAPPING, kind="unknown", change="created")
    try:
        deed = read(DEED, inner, "")
    except InvalidMessage:
        return identity, draft
    by, to = deed.source, deed.target
    actor = None if by is None else old_author(by)
    if actor is None and deed.sender_id is not None and is_id(deed.sender_id):
        actor = Author(id=deed.sender_id)
    target = None if to is None else to.recipient_id or own_id(to)
    return identity, SocialDraft(
        mapping=MAPPING,
        kind="unknown",
        change="created",
        visibility="private" if private else "public",
        published_at=_when(deed.created_timestamp),
        author=actor,
        customer_ids=customer_ids(actor),
        lone_id=True,
        target=target if is_id(target) else None,
    )


def _when(told: str | None) -> datetime | None:
    """Return when it was done; a time that is none costs only itself."""
    try:
        return milliseconds(told, "created_timestamp")
    except InvalidMessage:
        return None
