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
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from klingel.domain.draft import SocialDraft
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import RawEvent
from klingel_networks.bounds import READ_ERRORS, check_depth, read_utf8, refusal
from klingel_networks.contract import Delivery, Identity, NativeObject, Refused
from klingel_networks.generic import native_of
from klingel_networks.x.ids import PREFIX, is_id, other_object
from klingel_networks.x.legacy import (
    message_draft,
    message_identity,
    old_message_draft,
    old_post_draft,
    old_post_identity,
    sealed_message,
)
from klingel_networks.x.notices import (
    Said,
    compliance,
    deletion,
    job_result,
    like,
    other_activity,
    unknown,
)
from klingel_networks.x.pages import GONE, Cut, cut, lines_of
from klingel_networks.x.posts import NO_INCLUDES, post_draft, post_identity
from klingel_networks.x.records import (
    ACTIVITY,
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

R = TypeVar("R")
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
        return post_draft(_decode(POST, inner, _where(found)), _includes(includes), context)
    if _is_old_post(head):
        post = _decode(OLD_POST, _parts(native, found, context)[0], "")
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
        line = _decode(HEAD_LINE, native, "")
        if line.data is not None:
            return _Found(line.data, wrapped=True)
    return _Found(_decode(HEAD, native, ""), wrapped=False)


def _is_post(head: Head) -> bool:
    return (
        head.text is not None
        and isinstance(head.id, str)
        and head.event_type is None
        and head.sender_id is None
        and len(memoryview(head.user)) == 0
        and is_id(head.id)
    )


def _is_old_post(head: Head) -> bool:
    return (
        head.id_str is not None
        and len(memoryview(head.user)) > 0
        and (head.text is not None or head.full_text is not None)
    )


def _is_activity(head: Head) -> bool:
    return head.event_type is not None and (
        head.event_uuid is not None or head.filter is not None or len(memoryview(head.payload)) > 0
    )


def _said(native: bytes, found: _Found, context: Mapping[str, str]) -> Said:
    """Return what an object that is no post says; raises InvalidMessage."""
    head = found.head
    inner, includes = _parts(native, found, context)
    if context.get("form") == GONE:
        return deletion(_decode(PROBLEM, inner, "").resource_id, None)
    if _is_activity(head):
        return _activity(_decode(ACTIVITY, inner, "data"), native, context)
    if len(memoryview(head.message_create)) > 0 or _is_message(head):
        return _message(head, inner, includes)
    if head.action is not None:
        return job_result(_decode(JOB_RESULT, inner, ""), context)
    return _notice_or_unknown(inner, head, context)


def _is_message(head: Head) -> bool:
    return head.dm_conversation_id is not None or head.event_type is not None


def _message(head: Head, inner: _Json, includes: _Json) -> Said:
    users = _includes(includes).users
    if len(memoryview(head.message_create)) > 0:
        old = _decode(OLD_MESSAGE, inner, "")
        return message_identity(old.id), old_message_draft(old, users or ())
    message = _decode(MESSAGE, inner, "")
    draft = message_draft(message, users)
    return message_identity(message.id)._replace(kind=draft.kind), draft


def _notice_or_unknown(inner: _Json, head: Head, context: Mapping[str, str]) -> Said:
    native_id = head.id if isinstance(head.id, str) else head.id_str
    if (head.username is not None or head.screen_name is not None) and is_id(native_id):
        return unknown(f"{PREFIX}user/{native_id}", native_id)
    if native_id is None:
        parts = _decode(PARTS, inner, "")
        if not parts:
            raise InvalidMessage(ErrorType.MISSING_FIELD, "the object is empty")
        said = compliance(parts, context)
        if said is not None:
            return said
    return unknown(other_object(native_id, bytes(inner)))


def _activity(activity: Activity, native: bytes, context: Mapping[str, str]) -> Said:
    """Return what an activity event says; raises InvalidMessage.

    Only events of the kinds that we know must have the shape that we know.
    """
    said: Said | None = None
    if bytes(activity.payload).lstrip().startswith(b"{"):
        kind = (activity.event_type or "").lower().partition(".")[0]
        if kind in _READERS:
            said = _READERS[kind](activity, context)
        else:
            with contextlib.suppress(InvalidMessage):
                said = _posted(activity, context)
    return other_activity(activity, native) if said is None else said


_DELETIONS = frozenset({"post.delete", "postdelete", "tweet.delete", "tweetdelete"})
"""Names of the event, present and former; an event of something else that ended is none."""


def _posted(activity: Activity, context: Mapping[str, str]) -> Said | None:
    """Return the post of an event, or its deletion."""
    head = _decode(HEAD, activity.payload, "data.payload")
    if _is_post(head):
        post = _decode(POST, activity.payload, "data.payload")
        return post_identity(head), post_draft(post, _includes(activity.includes), context)
    if (activity.event_type or "").lower() in _DELETIONS:
        payload = _decode(PAYLOAD, activity.payload, "data.payload")
        return deletion(payload.id, payload.author_id)
    return None


def _liked(activity: Activity, context: Mapping[str, str]) -> Said | None:  # noqa: ARG001 - the readers' signature
    payload = _decode(PAYLOAD, activity.payload, "data.payload")
    return like(activity, payload, _includes(activity.includes))


def _sealed(activity: Activity, context: Mapping[str, str]) -> Said | None:  # noqa: ARG001 - the readers' signature
    if (activity.event_type or "").lower() not in {"chat.received", "chat.sent"}:
        return None
    return sealed_message(_decode(PAYLOAD, activity.payload, "data.payload"))


_READERS: Mapping[str, Callable[[Activity, Mapping[str, str]], Said | None]] = {
    "post": _posted,
    "like": _liked,
    "chat": _sealed,
}


# --- parts ---------------------------------------------------------------------------------------


def _parts(native: bytes, found: _Found, context: Mapping[str, str]) -> tuple[_Json, _Json]:
    """Return the object itself and its includes, from beside it or from the context."""
    if found.wrapped:
        line = _decode(LINE, native, "")
        return line.data, line.includes
    return native, context.get("includes", "").encode("utf-8", "replace")


def _where(found: _Found) -> str:
    return "data" if found.wrapped else ""


def _includes(raw: _Json) -> Includes:
    """Return includes; those that cannot be read cost a post its author's name, not its text."""
    if len(memoryview(raw)) == 0:
        return NO_INCLUDES
    try:
        return INCLUDES.decode(raw)
    except READ_ERRORS:
        return NO_INCLUDES


def _decode(decoder: msgspec.json.Decoder[R], native: _Json, path: str) -> R:
    try:
        return decoder.decode(native)
    except READ_ERRORS as error:
        raise refusal(error, path) from None
