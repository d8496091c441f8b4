"""Cutting deliveries: lines of a stream, pages of a search, bodies of webhooks; pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bounds import READ_ERRORS, is_unreadable
from klingel_networks.contract import NativeObject, Refused
from klingel_networks.x import account_activity
from klingel_networks.x.names import family_of
from klingel_networks.x.reading import read
from klingel_networks.x.records import (
    ACTIVITY,
    BODY,
    INCLUDES,
    LINE,
    PARTS,
    PIECE,
    PIECES,
    PROBLEMS,
    Body,
    Head,
    IncludedPost,
    Includes,
    Piece,
)

GONE = "gone"
"""Value of `form` in the context of an error that says that a post we asked for is gone."""

_SPACE = b" \t\r\n"
_LINE_BEGINS = b'{"data":{'
_EVENT = b'"event_type"'
_MESSAGES = ("direct_message_events", "dm_events")
"""Lists of messages in a payload: v1.1's, and the API v2's."""
_LOST = ("/resource-not-found", "/not-authorized-for-resource")


class Cut(NamedTuple):
    """An object of a delivery with its context, before it is known to be valid."""

    native: bytes
    context: Mapping[str, str]


def cut(body: bytes, context: Mapping[str, str]) -> list[Cut | Refused]:
    """Return the objects of one JSON value, uncut where it holds one alone.

    What looks like a post's line of the stream is one without a second look: should it be none, or
    broken, whoever reads it finds out.

    Raises:
        InvalidMessage: it cannot be read, or is nothing that holds objects.
    """
    if body.startswith(_LINE_BEGINS) and b"\n" not in body and _EVENT not in body:
        return [Cut(body, context)]
    if body[:1] == b"[":
        return [each for raw in read(PIECES, body, "") for each in _of_array(bytes(raw), context)]
    page = read(BODY, body, "")
    if isinstance(page.data, Head):
        return _one(body, page.data, context)
    if page.data is not None:
        return [*_objects(page.data, page.includes, context), *_lost(page, context)]
    return _without_data(body, page, context)


def _of_array(native: bytes, context: Mapping[str, str]) -> list[Cut | Refused]:
    """Return what a member of an array holds: a delivery among several, or an object of v1.1."""
    if native[:1] != b"{":
        return [Refused(native, _no_object())]
    try:
        return cut(native, context)
    except InvalidMessage as error:
        return [Refused(native, error)]


def _without_data(body: bytes, page: Body, context: Mapping[str, str]) -> list[Cut | Refused]:
    """Return the objects of what has no `data`: v1.1's lists, an empty page, errors, one object.

    What an account's activity tells is cut list by list.
    """
    old = page.statuses if page.statuses is not None else page.events
    if old is not None:
        return [Cut(bytes(raw), context) for raw in old]
    if account_activity.is_one(body):
        found = account_activity.objects_of(body, context)
        if found:
            return [_member(bytes(raw), known) for raw, known in found]
    if page.meta is not None and page.meta.result_count == 0:
        return _lost(page, context)
    if len(memoryview(page.errors)) > 0:
        return _lost(page, context) or [Refused(body, _told())]
    return [Cut(body, context)]


def _one(body: bytes, head: Head, context: Mapping[str, str]) -> list[Cut | Refused]:
    """Return the object of a stream's line or a webhook's body; the messages of one that has such."""
    through = _through(head, context)
    if head.event_type is not None and family_of(head.event_type) == "dm":
        return _messages(body, through) or [Cut(body, through)]
    return [Cut(body, through)]


def _member(native: bytes, context: Mapping[str, str]) -> Cut | Refused:
    return Cut(native, context) if native[:1] == b"{" else Refused(native, _no_object())


def lines_of(
    body: bytes, pieces: "Callable[[bytes], list[NativeObject | Refused]]"
) -> list[NativeObject | Refused]:
    """Return the objects of a body: of one JSON value, or of one a line.

    A stream kept in a file is one value a line; blank lines are its heartbeats, and a line that
    cannot be read is refused by itself. A body none of whose lines can be read is refused whole.

    Raises:
        InvalidMessage: it cannot be read at all.
    """
    body = body.strip(_SPACE)
    if not body:
        raise InvalidMessage(ErrorType.MALFORMED_JSON, "the body is empty")
    try:
        return pieces(body)
    except InvalidMessage as error:
        lines = [line.strip(_SPACE) for line in body.split(b"\n")]
        if not is_unreadable(error) or sum(map(bool, lines)) < 2:
            raise
        found: list[NativeObject | Refused] = []
        read = 0
        for line in filter(None, lines):
            try:
                if line[:1] != b"{":
                    raise _no_object()
                found += pieces(line)
                read += 1
            except InvalidMessage as reason:
                found.append(Refused(line, reason))
        if not read:
            raise
        return found


def _through(head: Head, context: Mapping[str, str]) -> Mapping[str, str]:
    """Return the context with the own account that an activity event came through."""
    if head.filter is None or not head.filter.user_id or "channel" in context:
        return context
    return {**context, "channel": head.filter.user_id[:256]}


def _messages(body: bytes, context: Mapping[str, str]) -> list[Cut | Refused]:
    """Return the direct messages of an activity event, each with the accounts it names."""
    data = read(LINE, body, "")
    activity = read(ACTIVITY, data.data, "data")
    if len(memoryview(activity.payload)) == 0:
        return []
    try:
        payload = PARTS.decode(activity.payload)
        lists = [PIECES.decode(payload[name]) for name in _MESSAGES if name in payload]
    except READ_ERRORS:
        return []
    users = list(account_activity.users_in(payload.get("users")))
    known = dict(context)
    if users:
        known["includes"] = msgspec.json.encode(Includes(users=users)).decode()
    return [_member(bytes(raw), known) for members in lists for raw in members]


def _objects(
    data: Sequence[msgspec.Raw], includes: msgspec.Raw, context: Mapping[str, str]
) -> list[Cut | Refused]:
    """Return the objects of a page, each with the includes that belong to it."""
    shelf = _Shelf.of(includes)
    found: list[Cut | Refused] = []
    for raw in data:
        native = bytes(raw)
        belongs = shelf.of_object(native) if native[:1] == b"{" else ""
        found.append(_member(native, {**context, "includes": belongs} if belongs else context))
    return found


def _lost(page: Body, context: Mapping[str, str]) -> list[Cut | Refused]:
    """Return the errors that say that posts which were asked for are gone."""
    if context.get("asked") != "posts" or len(memoryview(page.errors)) == 0:
        return []
    try:
        problems = PROBLEMS.decode(page.errors)
        raws = PIECES.decode(page.errors)
    except READ_ERRORS:
        return []
    gone = {**context, "form": GONE}
    return [
        Cut(bytes(raw), gone)
        for raw, problem in zip(raws, problems, strict=True)
        if problem.resource_type == "tweet"
        and problem.parameter in {"id", "ids"}
        and problem.type is not None
        and problem.type.endswith(_LOST)
    ]


class _Shelf:
    """The includes of a page, by id."""

    def __init__(self, includes: Includes) -> None:
        self._users = {user.id: user for user in includes.users or () if user.id}
        self._posts = {post.id: post for post in includes.tweets or () if post.id}
        self._media = {medium.media_key: medium for medium in includes.media or ()}

    @classmethod
    def of(cls, raw: msgspec.Raw) -> "_Shelf":
        if len(memoryview(raw)) == 0:
            return cls(Includes())
        try:
            return cls(read(INCLUDES, raw, "includes"))
        except InvalidMessage:
            return cls(Includes())

    def of_object(self, native: bytes) -> str:
        """Return as JSON what belongs to an object; empty for nothing."""
        if not (self._users or self._posts or self._media):
            return ""
        try:
            piece = read(PIECE, native, "")
        except InvalidMessage:
            return ""
        users = [self._users[each] for each in _ids(piece) if each in self._users]
        referred = [each.id for each in piece.referenced_tweets or ()]
        posts: list[IncludedPost] = [self._posts[each] for each in referred if each in self._posts]
        keys = piece.attachments.media_keys if piece.attachments is not None else None
        media = [self._media[key] for key in keys or () if key in self._media]
        if not (users or posts or media):
            return ""
        return msgspec.json.encode(
            Includes(users=users or None, tweets=posts or None, media=media or None)
        ).decode()


def _ids(piece: Piece) -> list[str]:
    return [each for each in (piece.author_id, piece.sender_id) if each]


def _told() -> InvalidMessage:
    return InvalidMessage(
        ErrorType.INVALID_FIELD, "the network tells of a problem, no object", path="errors"
    )


def _no_object() -> InvalidMessage:
    return InvalidMessage(ErrorType.WRONG_TYPE, "an object of X is a JSON object")
