"""Deliveries of X in klingel's words; pure.

Object ids are `x:network:` and the first id of a post's chain of edits; `dm/`, `chat/`, `user/`,
`event/` and `object/` part other namespaces of ids. A like is the reaction
`<object id of the post>/reaction/<account>/like`.

Revisions are edit times in ms: 0 for the first version of a post, for a later one the time in its
own id (each edit has one). A deletion has none: it is final, and the same on every path.

One line of a stream and one activity event are one object with its includes, as received. Of a page
each object of `data` is cut out, and its context gets of the includes what belongs to it. Errors
beside data tell why an include is missing; they are no objects, unless the context says that the
posts themselves were asked for (`asked`: `posts`): then a post that is gone is deleted.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from klingel.domain.draft import SocialDraft
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import RawEvent
from klingel_networks.bounds import READ_ERRORS, check_depth, read_utf8
from klingel_networks.contract import Delivery, Identity, NativeObject, Refused
from klingel_networks.generic import native_of
from klingel_networks.x.account_activity import reader_of
from klingel_networks.x.ids import PREFIX, is_id, other_object
from klingel_networks.x.legacy import (
    message_draft,
    message_identity,
    old_message_draft,
    old_post_draft,
    old_post_identity,
    sealed_message,
)
from klingel_networks.x.names import family_of, plain
from klingel_networks.x.notices import (
    Said,
    compliance,
    deletion,
    ended_post,
    job_result,
    like,
    other_activity,
    unknown,
)
from klingel_networks.x.pages import GONE, Cut, cut, lines_of
from klingel_networks.x.posts import NO_INCLUDES, post_draft, post_identity
from klingel_networks.x.reading import read
from klingel_networks.x.records import (
    ACTIVITY,
    ENDED_POST,
    HEAD,
    HEAD_LINE,
    INCLUDES,
    JOB_RESULT,
    LINE,
    MESSAGE,
    OLD_MESSAGE,
    OLD_POST,
    PARTS,
    PAYLOAD,
    POST,
    POST_LINE,
    PROBLEM,
    Activity,
    Head,
    Includes,
    Post,
)

_LINE_BEGINS = b'{"data":'
_Json = bytes | msgspec.Raw


class _Found(NamedTuple):
    """An object inside its native bytes.

    Attributes:
        head: what identity depends on.
        wrapped: whether it stands in `data`, beside its includes.
    """

    head: Head
    wrapped: bool


def explode(delivery: Delivery) -> list[NativeObject | Refused]:
    """Return the objects of a stream's line, a page, or a webhook's body; also of several lines.

    Raises:
        InvalidMessage: not JSON, not UTF-8, nested too deeply, or empty.
    """
    return lines_of(delivery.body, lambda body: _pieces(body, delivery.context))


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of an object; raises InvalidMessage."""
    found = _find(native)
    head = found.head
    if _is_post(head):
        return post_identity(head)
    if _is_old_post(head):
        return old_post_identity(head)
    return _said(native, found, context)[0]


def to_social_event(raw: RawEvent) -> SocialDraft:
    """Return the draft of an object; raises InvalidMessage."""
    native = bytes(native_of(raw))
    context = raw.context or {}
    plain = _post_in(native, context)
    if plain is not None:
        return post_draft(*plain, context)
    found = _find(native)
    head = found.head
    if _is_post(head):
        inner, includes = _parts(native, found, context)
        return post_draft(read(POST, inner, _where(found)), _includes(includes), context)
    if _is_old_post(head):
        post = read(OLD_POST, _parts(native, found, context)[0], "")
        return old_post_draft(post, old_post_identity(head).kind, context)
    return _said(native, found, context)[1]


def _pieces(body: bytes, context: Mapping[str, str]) -> list[NativeObject | Refused]:
    # Whether an object is valid, `identify` says: reading it twice would cost a quarter more.
    return [
        piece if isinstance(piece, Refused) else _bounded(piece, whole=piece.native is body)
        for piece in cut(body, context)
    ]


def _bounded(piece: Cut, *, whole: bool) -> NativeObject | Refused:
    try:
        # Each object by itself: decoding a whole page as one text costs as much as reading it.
        if not piece.native.isascii():
            read_utf8(piece.native)  # msgspec does not look into strings that it skips
        check_depth(piece.native)
    except InvalidMessage as error:
        if whole:
            raise
        return Refused(piece.native, error)
    return NativeObject(piece.native, piece.context)


# --- which object it is --------------------------------------------------------------------------


def _post_in(native: bytes, context: Mapping[str, str]) -> tuple[Post, Includes] | None:
    """Return a post and its includes, None for all else: the short way of nearly all."""
    try:
        if native.startswith(_LINE_BEGINS):
            line = POST_LINE.decode(native)
            post, includes = line.data, line.includes or NO_INCLUDES
        else:
            post = POST.decode(native)
            known = context.get("includes")
            includes = INCLUDES.decode(known) if known else NO_INCLUDES
    except READ_ERRORS:
        return None
    other = post.event_type is not None or post.sender_id is not None
    if other or len(memoryview(post.user)) > 0 or not is_id(post.id):
        return None
    return post, includes


def _find(native: bytes) -> _Found:
    if native.startswith(_LINE_BEGINS) or b'"data"' in native:
        line = read(HEAD_LINE, native, "")
        if line.data is not None:
            return _Found(line.data, wrapped=True)
    return _Found(read(HEAD, native, ""), wrapped=False)


def _is_post(head: Head) -> bool:
    return (
        head.text is not None
        and head.event_type is None
        and head.sender_id is None
        and len(memoryview(head.user)) == 0
        and is_id(head.own_id)
    )


def _is_old_post(head: Head) -> bool:
    return (
        len(memoryview(head.user)) > 0
        and (head.text is not None or head.full_text is not None)
        and head.own_id is not None
    )


def _is_activity(head: Head) -> bool:
    return head.event_type is not None and (
        head.event_uuid is not None or head.filter is not None or len(memoryview(head.payload)) > 0
    )


def _said(native: bytes, found: _Found, context: Mapping[str, str]) -> Said:
    """Return what an object that is no post says; raises InvalidMessage."""
    head = found.head
    inner, includes = _parts(native, found, context)
    form = context.get("form")
    if form == GONE:
        return deletion(read(PROBLEM, inner, "").resource_id, None)
    told_by_list = reader_of(form)
    if told_by_list is not None:
        return told_by_list(inner, native)
    if _is_activity(head):
        activity = read(ACTIVITY, inner, "data")
        return _activity(
            activity,
            native,
            context,
            _includes(activity.includes if len(memoryview(activity.includes)) > 0 else includes),
        )
    if len(memoryview(head.message_create)) > 0 or _is_message(head):
        return _message(head, inner, _includes(includes), context)
    if head.action is not None:
        return job_result(read(JOB_RESULT, inner, ""), context)
    return _notice_or_unknown(inner, head, context)


def _is_message(head: Head) -> bool:
    return head.dm_conversation_id is not None or head.event_type is not None


def _message(head: Head, inner: _Json, includes: Includes, context: Mapping[str, str]) -> Said:
    channel = context.get("channel")
    if len(memoryview(head.message_create)) > 0:
        old = read(OLD_MESSAGE, inner, "")
        return message_identity(old.id), old_message_draft(old, includes.users or (), channel)
    message = read(MESSAGE, inner, "")
    identity = message_identity(message.id)
    draft = message_draft(message, includes.users, channel)
    return identity._replace(kind=draft.kind), draft


def _notice_or_unknown(inner: _Json, head: Head, context: Mapping[str, str]) -> Said:
    native_id = head.own_id
    if (head.username is not None or head.screen_name is not None) and is_id(native_id):
        return unknown(f"{PREFIX}user/{native_id}", native_id)
    if native_id is None:
        parts = read(PARTS, inner, "")
        if not parts:
            raise InvalidMessage(ErrorType.MISSING_FIELD, "the object is empty")
        said = compliance(parts, context)
        if said is not None:
            return said
    return unknown(other_object(native_id, bytes(inner)))


def _activity(
    activity: Activity, native: bytes, context: Mapping[str, str], includes: Includes
) -> Said:
    """Return what an activity event says; raises InvalidMessage.

    Only events of the kinds that we know must have the shape that we know.
    """
    said: Said | None = None
    if bytes(activity.payload).lstrip().startswith(b"{"):
        reader = _READERS.get(family_of(activity.event_type or ""))
        if reader is not None:
            said = reader(activity, includes, context)
        else:
            with contextlib.suppress(InvalidMessage):
                said = _posted(activity, includes, context)
    return other_activity(activity, native) if said is None else said


_DELETIONS = frozenset({"postdelete", "tweetdelete"})
"""Names of the event, present and former; an event of something else that ended is none."""
_INSIDE = ("data", "post", "tweet")
"""Where a payload may hold its post."""


def _posted(activity: Activity, includes: Includes, context: Mapping[str, str]) -> Said | None:
    """Return the post of an event, or its deletion."""
    if plain(activity.event_type or "") in _DELETIONS:
        ended = read(ENDED_POST, activity.payload, "data.payload")
        return ended_post(ended, activity.filter.user_id if activity.filter else None)
    for payload in _payloads(activity.payload):
        head = read(HEAD, payload, "data.payload")
        if _is_post(head):
            post = read(POST, payload, "data.payload")
            return post_identity(head), post_draft(post, includes, context)
        if _is_old_post(head):
            old = read(OLD_POST, payload, "data.payload")
            identity = old_post_identity(head)
            return identity, old_post_draft(old, identity.kind, context)
    return None


def _payloads(payload: msgspec.Raw) -> Iterator[msgspec.Raw]:
    """Yield a payload, then what it may wrap."""
    yield payload
    parts = read(PARTS, payload, "data.payload")
    yield from (parts[name] for name in _INSIDE if bytes(parts.get(name, b"")).startswith(b"{"))


def _liked(
    activity: Activity,
    includes: Includes,
    context: Mapping[str, str],  # noqa: ARG001 - the readers' signature
) -> Said | None:
    payload = read(PAYLOAD, activity.payload, "data.payload")
    return like(activity, payload, includes)


def _sealed(
    activity: Activity,
    includes: Includes,  # noqa: ARG001 - the readers' signature
    context: Mapping[str, str],
) -> Said | None:
    if plain(activity.event_type or "") not in {"chatreceived", "chatsent"}:
        return None
    payload = read(PAYLOAD, activity.payload, "data.payload")
    return sealed_message(payload, context.get("channel"))


def _direct(activity: Activity, includes: Includes, context: Mapping[str, str]) -> Said | None:
    """Return the one message that stands in a payload itself; of a list each is an object."""
    head = read(HEAD, activity.payload, "data.payload")
    spoken = head.text is not None and head.sender_id is not None
    if spoken or len(memoryview(head.message_create)) > 0:
        return _message(head, activity.payload, includes, context)
    return None


_READERS: Mapping[str, Callable[[Activity, Includes, Mapping[str, str]], Said | None]] = {
    "post": _posted,
    "like": _liked,
    "chat": _sealed,
    "dm": _direct,
}


# --- parts ---------------------------------------------------------------------------------------


def _parts(native: bytes, found: _Found, context: Mapping[str, str]) -> tuple[_Json, _Json]:
    """Return the object itself and its includes, from beside it or from the context."""
    if found.wrapped:
        line = read(LINE, native, "")
        return line.data, line.includes
    return native, context.get("includes", "").encode("utf-8", "replace")


def _where(found: _Found) -> str:
    return "data" if found.wrapped else ""


def _includes(raw: _Json) -> Includes:
    """Return includes; those that cannot be read cost a post its author's name, not its text."""
    if len(memoryview(raw)) == 0:
        return NO_INCLUDES
    try:
        return read(INCLUDES, raw, "includes")
    except InvalidMessage:
        return NO_INCLUDES
