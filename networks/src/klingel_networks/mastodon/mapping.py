"""Mastodon's statuses and notifications in klingel's words; pure.

A status' id is the instance's own, and a deletion tells no more than that id: object ids are
`mastodon:<instance>:<status id>`, the instance being the context's `source`. The same holds for
accounts: `<instance>:<account id>`. A boost is `<object id of the boosted>/reblog/<account>` and a
favourite `<object id>/reaction/<account>/favourite`, the same from a stream, a timeline and a
notification. The deletion of a boost names the boost's own id and so reaches nothing.

Revisions are edit times in ms: 0 for a status that was never edited. A deletion has none.

A notification about a status (mention, status, update, quote, poll) is that status. Grouped
notifications are cut into the statuses, and for boosts and favourites one object an account, whether
the instance shows it whole, in part or by its id alone. What else the interface tells (follows,
reports, announcements) is of kind `unknown`.

A websocket's frame is the object that its payload holds; text of server-sent events is cut into its
events, see `frames.py`.

The client may put into the context: `event`, the name of the stream's event; `root`, the id of the
first status of the thread, which only the context call knows; `on`, the status of a grouped
notification, and `at`, its time.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple, TypeVar

import msgspec

from klingel.domain.draft import Change, Kind, SocialDraft, Threading, Visibility
from klingel.domain.identity import DELETED_WITHOUT_REVISION, REVISION_MAX, object_id
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import RawEvent
from klingel.model.social_event import Author, Media
from klingel_networks.bounds import (
    READ_ERRORS,
    check_depth,
    check_text,
    is_unreadable,
    read_utf8,
    refusal,
    rfc3339,
)
from klingel_networks.contract import Delivery, Identity, NativeObject, Refused
from klingel_networks.generic import native_of, source_of
from klingel_networks.mastodon.frames import (
    EVENT,
    data_of,
    events,
    is_text,
    named,
    of_frame,
)
from klingel_networks.mastodon.markup import is_web, links_of, text_of, without_quoted
from klingel_networks.mastodon.records import (
    ABSENT,
    ACCOUNT,
    BODY,
    GROUP,
    IDENTIFIER,
    NOTIFICATION,
    PIECES,
    REFERENCE,
    STATUS,
    STATUS_HEAD,
    Account,
    Attachment,
    Body,
    Group,
    Notification,
    Status,
    StatusHead,
)

MAPPING = "mastodon/1"
DELETE = "delete"
_NAMESPACE = "mastodon"
_OF_A_STATUS = frozenset({"mention", "status", "update", "poll", "quote", "quoted_update"})
_OF_ACCOUNTS: Mapping[str, Kind] = {"favourite": "reaction", "reblog": "repost"}
_VISIBILITIES: Mapping[str, Visibility] = {
    "public": "public",
    "unlisted": "unlisted",
    "private": "followers",
    "direct": "private",
}
_MEDIA = {"image": "image", "gifv": "video", "video": "video", "audio": "audio"}
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,5}")
_ID = re.compile(r"[0-9A-Za-z_-]{1,128}")
_HANDLE_MAX = 256
_ALT_MAX = 10_000
_TAG_MAX = 640

R = TypeVar("R")


def explode(delivery: Delivery) -> list[NativeObject | Refused]:
    """Cut a frame of the stream, text of it, or an answer of the interface into its objects.

    Raises:
        InvalidMessage: not JSON, not UTF-8, nested too deeply, or nothing that holds objects.
    """
    body = delivery.body
    read_utf8(body)
    context = delivery.context
    source_of(context)
    if EVENT not in context and is_text(body):
        return [piece for event, data in events(body) for piece in _told(event, data, context)]
    check_depth(body)
    event = context.get(EVENT)
    if event is not None:
        return _cut(data_of(event, body), context)
    try:
        pieces = PIECES.decode(body) if body.lstrip()[:1] == b"[" else None
    except READ_ERRORS as error:
        raise refusal(error) from None
    if pieces is not None:
        return [piece for each in pieces for piece in _cut(bytes(each), context)]
    return _cut(body.strip(), context)


def _told(event: str, data: bytes, context: Mapping[str, str]) -> list[NativeObject | Refused]:
    """Return the objects of one event of a text; a broken one stops no other."""
    try:
        check_depth(data)
        return _cut(data_of(event, data), named(event, context))
    except InvalidMessage as error:
        return [Refused(data, error)]


def _cut(native: bytes, context: Mapping[str, str]) -> list[NativeObject | Refused]:
    """Return the objects of one entity."""
    if EVENT in context and not native.startswith(b"{"):
        return [_checked(native, context)]  # an id
    try:
        body = _decode(BODY, native)
    except InvalidMessage as error:
        if is_unreadable(error):
            raise
        return [Refused(native, error)]
    if body.notification_groups is not ABSENT:
        return _grouped(body, context)
    if body.statuses is not ABSENT and body.hashtags is not ABSENT:
        return _searched(body, context)
    if body.ancestors is not ABSENT and body.descendants is not ABSENT:
        return [
            piece
            for part in (body.ancestors, body.descendants)
            for each in _list(part)
            for piece in _cut(bytes(each), context)
        ]
    return [_checked(_status_within(body) or native, context)]


def _is_frame(body: Body) -> bool:
    return _has(body.event) and (body.payload is not ABSENT or body.stream is not ABSENT)


def _status_within(body: Body) -> bytes | None:
    """Return the status that a conversation or a notification is about."""
    if body.unread is not ABSENT and _has(body.last_status):
        return bytes(body.last_status)
    if _is_notification(body) and _has(body.status) and _name(body.type) in _OF_A_STATUS:
        return bytes(body.status)
    return None


def _searched(body: Body, context: Mapping[str, str]) -> list[NativeObject | Refused]:
    found: list[NativeObject | Refused] = [
        _checked(bytes(each), context) for each in _list(body.statuses)
    ]
    beside = [each for part in (body.accounts, body.hashtags) for each in _list(part)]
    return found + [_checked(bytes(each), context) for each in beside]


def _grouped(body: Body, context: Mapping[str, str]) -> list[NativeObject | Refused]:
    """Cut grouped notifications: a status once, boosts and favourites an object an account."""
    pieces: list[NativeObject | Refused] = []
    statuses = _by_id(body.statuses, pieces)
    accounts = _by_id(body.partial_accounts, pieces) | _by_id(body.accounts, pieces)
    for native in map(bytes, _list(body.notification_groups)):
        try:
            group = _decode(GROUP, native)
        except InvalidMessage as error:
            pieces.append(Refused(native, error))
            continue
        status = statuses.get(str(group.status_id))
        if group.type in _OF_A_STATUS and status is not None:
            pieces.append(_checked(status, context))
        elif group.type in _OF_ACCOUNTS and group.status_id is not None:
            pieces += _of_accounts(group, native, accounts, context)
        else:
            pieces.append(_checked(native, context))
    return pieces


def _of_accounts(
    group: Group, native: bytes, accounts: Mapping[str, bytes], context: Mapping[str, str]
) -> list[NativeObject | Refused]:
    told = {**context, EVENT: group.type, "on": str(group.status_id)}
    if group.latest_page_notification_at is not None:
        told["at"] = group.latest_page_notification_at
    ids = dict.fromkeys(str(one) for one in group.sample_account_ids)
    found = [accounts.get(one, b'{"id":"%b"}' % one.encode()) for one in ids]
    return [_checked(each, told) for each in found] or [_checked(native, context)]


def _checked(native: bytes, context: Mapping[str, str]) -> NativeObject | Refused:
    try:
        identify(native, context)
    except InvalidMessage as error:
        if is_unreadable(error) and not native:
            raise
        return Refused(native, error)
    return NativeObject(native, context)


def _list(raw: msgspec.Raw) -> list[msgspec.Raw]:
    return _decode(PIECES, raw) if _has(raw) else []


def _by_id(raw: msgspec.Raw, pieces: list[NativeObject | Refused]) -> dict[str, bytes]:
    """Return what stands beside the groups by its id; what has none is added to `pieces`."""
    try:
        natives = [bytes(each) for each in _list(raw)]
    except InvalidMessage as error:
        pieces.append(Refused(bytes(raw), error))
        return {}
    found = {}
    for native in natives:
        try:
            found[str(_decode(REFERENCE, native).id)] = native
        except InvalidMessage as error:
            pieces.append(Refused(native, error))
    return found


def _has(raw: msgspec.Raw) -> bool:
    return raw is not ABSENT and bytes(raw) != b"null"


def _name(raw: msgspec.Raw) -> str | None:
    try:
        name = msgspec.json.decode(raw)
    except READ_ERRORS:
        return None
    return name if isinstance(name, str) else None


def _is_notification(body: Body) -> bool:
    return _has(body.type) and _has(body.created_at) and body.content is ABSENT


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of an object; raises InvalidMessage."""
    native, context = _opened(native, context)
    instance = source_of(context)
    event = context.get(EVENT)
    if event is not None and (event == DELETE or not native.startswith(b"{")):
        return _bare_identity(event, _decode(IDENTIFIER, native), instance)
    if event is not None and event in _OF_ACCOUNTS and "on" in context:
        account = _decode(ACCOUNT, native)
        own_id = _on(instance, _on_status(context), event, account.id)
        return Identity(own_id, 0, _OF_ACCOUNTS[event], "created")
    body = _decode(BODY, native)
    if _is_group(body):
        group = _decode(GROUP, native)
        return Identity(_other(instance, "group", group.group_key), 0, "unknown", "created")
    if _is_notification(body):
        return _notified(_decode(NOTIFICATION, native), instance)
    if _is_status(body):
        return _status_identity(_decode(STATUS_HEAD, native), instance)
    return Identity(_other(instance, *_unnamed(body, event, native)), 0, "unknown", "created")


def _bare_identity(event: str, own_id: str | int, instance: str) -> Identity:
    """Return the identity of what an event names by its id alone."""
    if event == DELETE:
        return Identity(_object(instance, own_id), DELETED_WITHOUT_REVISION, "post", "deleted")
    return Identity(_other(instance, "event", f"{event}/{own_id}"), 0, "unknown", "created")


def _opened(native: bytes, context: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
    """Return what a websocket's frame is about; everything else as it is."""
    if EVENT in context or b'"event"' not in native or not native.startswith(b"{"):
        return native, context
    body = _decode(BODY, native)
    if not _is_frame(body):
        return native, context
    data, told = of_frame(native, context)
    if data.startswith(b"{"):
        data = _status_within(_decode(BODY, data)) or data
    return data, told


def _is_group(body: Body) -> bool:
    return _has(body.group_key) and not _has(body.id) and _has(body.type)


def _is_status(body: Body) -> bool:
    return _has(body.created_at) and _has(body.account) and body.visibility is not ABSENT


def _unnamed(body: Body, event: str | None, native: bytes) -> tuple[str, str]:
    """Return shape and id of what is neither status nor notification, where it can be told.

    An event of the stream that has no id (a reaction to an announcement) is named by its content.
    """
    if body.unread is not ABSENT:
        return "conversation", str(_decode(IDENTIFIER, body.id)) if _has(body.id) else ""
    if event is not None:
        own_id = _decode(IDENTIFIER, body.id) if _has(body.id) else _digest(native)
        return "event", f"{event}/{own_id}"
    raise InvalidMessage(
        ErrorType.INVALID_FIELD,
        "the object is no status, no notification and no conversation of Mastodon",
    )


def _digest(native: bytes) -> str:
    return blake2b(native, digest_size=16, person=b"klingel.mastodon").hexdigest()


def _status_identity(status: StatusHead, instance: str) -> Identity:
    if status.reblog is not None:
        own_id = _on(instance, status.reblog.id, "reblog", status.account.id)
        return Identity(own_id, 0, "repost", "created")
    own_id = _object(instance, status.id)
    if _is_gone(status):
        return Identity(own_id, DELETED_WITHOUT_REVISION, _kind(status), "deleted")
    revision = 0 if status.edited_at is None else _revision(status.edited_at)
    return Identity(own_id, revision, _kind(status), "updated" if revision else "created")


def _is_gone(status: Status | StatusHead) -> bool:
    """Whether this is the answer to a deletion: its source instead of what readers see."""
    return status.content is None and status.text is not None


def _notified(told: Notification, instance: str) -> Identity:
    kind = _OF_ACCOUNTS.get(told.type)
    if kind is not None and told.status is not None and told.account is not None:
        return Identity(
            _on(instance, told.status.id, told.type, told.account.id), 0, kind, "created"
        )
    return Identity(_other(instance, "notification", str(told.id)), 0, "unknown", "created")


def _kind(status: Status | StatusHead) -> Kind:
    if status.visibility == "direct":
        return "direct_message"
    if status.in_reply_to_id is not None:
        return "reply"
    return "post" if _quoted(status) is None else "quote"


def _quoted(status: Status | StatusHead) -> str | int | None:
    quote = status.quote
    if quote is None:
        return None
    return quote.quoted_status_id if quote.quoted_status is None else quote.quoted_status.id


def _revision(edited_at: str) -> int:
    revision = int(rfc3339(edited_at, "edited_at").timestamp() * 1000)
    if not 0 < revision < REVISION_MAX:
        raise InvalidMessage(
            ErrorType.TIME_OUT_OF_RANGE, "edited_at lies outside the years 1970 to 2109"
        )
    return revision


def _object(instance: str, own_id: str | int) -> str:
    text = str(own_id)
    if _ID.fullmatch(text) is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "the id is none of Mastodon", path="id")
    return object_id(_NAMESPACE, instance, text)


def _on(instance: str, status: str | int, what: str, account: str | int) -> str:
    if what == "favourite":
        return f"{_object(instance, status)}/reaction/{account}/favourite"
    return f"{_object(instance, status)}/{what}/{account}"


def _other(instance: str, shape: str, own_id: str) -> str:
    if not own_id or not own_id.isprintable() or not own_id.isascii():
        raise InvalidMessage(ErrorType.INVALID_FIELD, f"the {shape} has no id", path="id")
    return object_id(_NAMESPACE, instance, f"{shape}/{own_id}")


def _on_status(context: Mapping[str, str]) -> str:
    status = context["on"]
    if _ID.fullmatch(status) is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "the context names no status", path="on")
    return status


def to_social_event(raw: RawEvent) -> SocialDraft:
    """Return the draft of an object; raises InvalidMessage."""
    native, context = _opened(bytes(native_of(raw)), raw.context or {})
    instance = source_of(context)
    event = context.get(EVENT)
    if event is not None and (event == DELETE or not native.startswith(b"{")):
        gone = event == DELETE
        return SocialDraft(
            mapping=MAPPING,
            kind="post" if gone else "unknown",
            change="deleted" if gone else "created",
        )
    if event is not None and event in _OF_ACCOUNTS and "on" in context:
        at = context.get("at")
        return _by_account(
            _OF_ACCOUNTS[event],
            _decode(ACCOUNT, native),
            _on_status(context),
            instance,
            None if at is None else rfc3339(at, "latest_page_notification_at"),
        )
    body = _decode(BODY, native)
    if _is_group(body):
        return SocialDraft(mapping=MAPPING, kind="unknown", change="created")
    if _is_notification(body):
        return _notification(_decode(NOTIFICATION, native), instance)
    if _is_status(body):
        return _status(_decode(STATUS, native), instance, context.get("root"))
    return SocialDraft(mapping=MAPPING, kind="unknown", change="created")


def _notification(told: Notification, instance: str) -> SocialDraft:
    at = rfc3339(told.created_at, "created_at")
    kind = _OF_ACCOUNTS.get(told.type)
    if kind is not None and told.status is not None and told.account is not None:
        return _by_account(kind, told.account, told.status.id, instance, at)
    return SocialDraft(
        mapping=MAPPING,
        kind="unknown",
        change="created",
        published_at=at,
        author=None if told.account is None else _author(told.account, instance),
    )


def _by_account(
    kind: Kind, account: Account, status: str | int, instance: str, at: datetime | None
) -> SocialDraft:
    """Return what an account did to a status."""
    about = _object(instance, status)
    is_boost = kind == "repost"
    return SocialDraft(
        mapping=MAPPING,
        kind=kind,
        change="created",
        author=_author(account, instance),
        published_at=at,
        threading="root" if is_boost else "parent_only",
        reposts=about if is_boost else None,
        in_reply_to=None if is_boost else about,
    )


def _status(status: Status, instance: str, root: str | None) -> SocialDraft:
    published_at = rfc3339(status.created_at, "created_at")
    if status.reblog is not None:
        return _by_account("repost", status.account, status.reblog.id, instance, published_at)
    change, changed_at = _change(status)
    content = status.content or ""
    if status.quote is not None:
        content = without_quoted(content)
    place, quoted = _place(status, instance, root), _quoted(status)
    media = [_medium(each) for each in status.media_attachments or ()]
    return SocialDraft(
        mapping=MAPPING,
        kind=_kind(status),
        change=change,
        visibility=_VISIBILITIES.get(status.visibility or "public", "private"),
        published_at=published_at,
        changed_at=changed_at,
        author=_author(status.account, instance),
        text=_text(status, content),
        langs=_langs(status.language),
        media=tuple(media),
        links=_links(status, content),
        hashtags=tuple(_hashtags(status)),
        mentions=tuple(
            dict.fromkeys(_account(instance, each.id) for each in status.mentions or ())
        ),
        metrics=_metrics(status),
        url=status.url if status.url is not None and is_web(status.url) else None,
        quotes=None if quoted is None else _object(instance, quoted),
        threading=place.threading,
        conversation_id=place.conversation,
        in_reply_to=place.parent,
        in_reply_to_author=place.parent_author,
    )


class _Place(NamedTuple):
    """Where in a thread a status stands."""

    threading: Threading
    conversation: str | None = None
    parent: str | None = None
    parent_author: str | None = None


def _place(status: Status, instance: str, root: str | None) -> _Place:
    """Return what of the thread is known: the root only where the context call told it."""
    if status.in_reply_to_id is None:
        return _Place("root")
    parent = _object(instance, status.in_reply_to_id)
    answered = status.in_reply_to_account_id
    author = None if answered is None else _account(instance, answered)
    if root is None:
        return _Place("parent_only", None, parent, author)
    return _Place("network", _object(instance, root), parent, author)


def _change(status: Status) -> tuple[Change, datetime | None]:
    if _is_gone(status):
        return "deleted", None
    if status.edited_at is None:
        return "created", None
    return "updated", rfc3339(status.edited_at, "edited_at")


def _text(status: Status, content: str) -> str | None:
    if _is_gone(status):
        return None
    check_text(content, "content")
    warning = (status.spoiler_text or "").strip()
    check_text(warning, "spoiler_text")
    said = text_of(content)
    return f"{warning}\n\n{said}" if warning and said else warning or said


def _langs(language: str | None) -> tuple[str, ...]:
    return (language,) if language is not None and _LANGUAGE.fullmatch(language) else ()


def _links(status: Status, content: str) -> tuple[str, ...]:
    found = list(links_of(content))
    card = None if status.card is None else status.card.url
    if card is not None and is_web(card):
        found.append(card)
    return tuple(dict.fromkeys(found[:100]))


def _hashtags(status: Status) -> list[str]:
    named = (tag.name.removeprefix("#").lower() for tag in status.tags or ())
    return list(dict.fromkeys(n for n in named if 0 < len(n) <= _TAG_MAX and "\x00" not in n))


def _metrics(status: Status) -> dict[str, int] | None:
    counted = {
        "replies": status.replies_count,
        "reposts": status.reblogs_count,
        "likes": status.favourites_count,
        "quotes": status.quotes_count,
    }
    return {name: count for name, count in counted.items() if count is not None} or None


def _medium(medium: Attachment) -> Media:
    url = next((u for u in (medium.url, medium.remote_url) if u is not None and is_web(u)), None)
    alt = medium.description
    if alt:
        check_text(alt, "media_attachments.description")
    return Media(
        kind=_MEDIA.get(medium.type or "", "file"),  # type: ignore[arg-type]  # a closed set
        id=str(medium.id),
        url=url,
        alt=alt[:_ALT_MAX] if alt else None,
        status="remote",
    )


def _account(instance: str, own_id: str | int) -> str:
    return f"{instance}:{own_id}"


def _author(account: Account, instance: str) -> Author:
    handle = account.acct
    if handle and "@" not in handle:
        handle = f"{handle}@{instance}"
    name = account.display_name
    return Author(
        id=_account(instance, account.id),
        handle=handle if handle and len(handle) <= _HANDLE_MAX and "\x00" not in handle else None,
        name=name if name and "\x00" not in name else None,
        followers=account.followers_count if (account.followers_count or -1) >= 0 else None,
    )


def _decode(decoder: msgspec.json.Decoder[R], native: bytes | msgspec.Raw) -> R:
    try:
        return decoder.decode(native)
    except READ_ERRORS as error:
        raise refusal(error) from None
