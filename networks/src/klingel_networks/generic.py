"""The generic event: one documented JSON object for every source that is no network of ours.

Shared by `webhook` (and its contact form) and `replay`. The format, field by field, is in
`docs/reference/generic-event.md`.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from klingel.domain.draft import Change, Kind, SocialDraft, Threading, Visibility
from klingel.domain.identity import DELETED_WITHOUT_REVISION, object_id
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import RawEvent
from klingel.model.social_event import Author, Media
from klingel_networks.bounds import (
    READ_ERRORS,
    check_depth,
    check_json,
    check_text,
    is_unreadable,
    read_utf8,
    refusal,
    rfc3339,
)
from klingel_networks.contract import Delivery, Identity, NativeObject, Refused

BATCH_MAX = 1_000
"""Objects in one delivery."""
ID_BYTES_MAX = 768
"""Bytes of an id: with network, source, brand and revision an event id still fits its 1,024."""
COUNT_MAX = 2**53 - 1
"""The greatest integer on which all JSON readers agree."""

Direction = Literal["inbound", "outbound", "third_party"]
MediaKind = Literal["image", "video", "audio", "file", "sticker", "location", "link"]
GenericChange = Literal["created", "updated", "deleted"]

# \Z, not $: a trailing line feed is a control character too.
_WEB = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\x00-\x20\x7f]+\Z"
_Id = Annotated[str, Meta(min_length=1, max_length=512)]
_Label = Annotated[str, Meta(min_length=1, max_length=60)]
_Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
_Web = Annotated[str, Meta(max_length=4096, pattern=_WEB)]
_Lang = Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*\Z")]
_Metric = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z")]


class GenericAuthor(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Who acted: immutable id; handle and name as shown; followers as counted by the source."""

    id: _Id
    handle: Annotated[str, Meta(max_length=256)] | None = None
    name: Annotated[str, Meta(max_length=640)] | None = None
    followers: _Count | None = None


class GenericMedia(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An attachment: kind, and an id or a web address."""

    kind: MediaKind
    id: _Id | None = None
    url: _Web | None = None
    alt: Annotated[str, Meta(max_length=10_000)] | None = None


class GenericEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One thing that someone did; `author`, `text`, `published_at` are optional in a deletion."""

    id: _Id
    network: _Label
    author: GenericAuthor | None = None
    text: str | None = None
    published_at: str | None = None
    changed_at: str | None = None
    kind: Kind | None = None
    change: GenericChange | None = None
    revision: Annotated[int, Meta(ge=0, le=DELETED_WITHOUT_REVISION)] | None = None
    conversation_id: _Id | None = None
    in_reply_to: _Id | None = None
    lang: _Lang | None = None
    visibility: Visibility | None = None
    direction: Direction | None = None
    url: _Web | None = None
    media: Annotated[list[GenericMedia], Meta(max_length=100)] | None = None
    metrics: Annotated[dict[_Metric, _Count], Meta(max_length=100)] | None = None
    target: _Id | None = None


FIELDS = frozenset(
    name
    for shape in (GenericEvent, GenericAuthor, GenericMedia)
    for name in shape.__struct_fields__
)
_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "kind": get_args(Kind),
    "change": get_args(GenericChange),
    "visibility": get_args(Visibility),
    "direction": get_args(Direction),
}
_ALLOWED_IN_MEDIA: Mapping[str, tuple[str, ...]] = {"kind": get_args(MediaKind)}
_DECODER = msgspec.json.Decoder(GenericEvent)
_BATCH = msgspec.json.Decoder(list[msgspec.Raw])
_BLANKS = b" \t\r\n"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


def read_generic(native: bytes | msgspec.Raw) -> GenericEvent:
    """Read one generic event whose JSON was checked at the edge before.

    Raises:
        InvalidMessage: wrong type, missing or invalid field, NUL in the text, absurd time. One
            sentence, with the path.
    """
    return _read(native)[0]


# An edge reads each object twice in a row: to refuse it with a sentence, then for its identity.
_read_once = lru_cache(maxsize=1)(read_generic)


def _read(
    native: bytes | msgspec.Raw,
) -> tuple[GenericEvent, datetime | None, datetime | None]:
    """Return the event, when it was published, and when it was changed."""
    try:
        event = _DECODER.decode(native)
    except READ_ERRORS as error:
        raise _refusal(error) from None
    if event.change != "deleted":
        _require(event)
    _check_names(event)
    if event.text is not None:
        check_text(event.text, "text")
    return (
        event,
        None if event.published_at is None else rfc3339(event.published_at, "published_at"),
        None if event.changed_at is None else rfc3339(event.changed_at, "changed_at"),
    )


def _check_names(event: GenericEvent) -> None:
    """Refuse control characters in ids and NUL in names.

    Almost every string is printable, which is cheaper to see than a pattern's match.
    """
    author = event.author
    for path, value in (
        ("id", event.id),
        ("network", event.network),
        ("author.id", None if author is None else author.id),
        ("conversation_id", event.conversation_id),
        ("in_reply_to", event.in_reply_to),
        ("target", event.target),
    ):
        if value is not None and not (value.isascii() and value.isprintable()):
            _check_id(value, path)
    if author is not None:
        _check_free(author.handle, "author.handle")
        _check_free(author.name, "author.name")
    for at, medium in enumerate(event.media or ()):
        if medium.id is not None:
            _check_id(medium.id, f"media[{at}].id")
        _check_free(medium.alt, f"media[{at}].alt")


def _check_id(value: str, path: str) -> None:
    if _CONTROL.search(value) is not None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, f"{path} holds control characters", path=path)
    if len(value.encode()) > ID_BYTES_MAX:
        raise InvalidMessage(
            ErrorType.TOO_LARGE, f"{path} is longer than {ID_BYTES_MAX} bytes of UTF-8", path=path
        )


def _check_free(value: str | None, path: str) -> None:
    if value is not None and "\x00" in value:
        raise InvalidMessage(ErrorType.INVALID_TEXT, f"{path} holds a NUL character", path=path)


def _refusal(error: Exception) -> InvalidMessage:
    in_media = " - at `$.media[" in str(error)
    return refusal(error, allowed=_ALLOWED_IN_MEDIA if in_media else _ALLOWED)


def _require(event: GenericEvent) -> None:
    """Refuse an event that says less than its change demands."""
    for name in ("author", "text", "published_at"):
        if getattr(event, name) is None:
            path = "author.id" if name == "author" else name
            raise InvalidMessage(ErrorType.MISSING_FIELD, f"{path} is missing", path=path)
    if event.change == "updated" and event.revision is None:
        raise InvalidMessage(
            ErrorType.MISSING_FIELD,
            "revision is missing: an update needs its edit time in ms or its edit counter",
            path="revision",
        )
    if event.revision == DELETED_WITHOUT_REVISION:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD,
            f"revision: {DELETED_WITHOUT_REVISION} is kept for deletions",
            path="revision",
        )


def parse_generic(native: bytes) -> GenericEvent:
    """Read one generic event strictly: what the edge owes a sender who can mend it.

    Raises:
        InvalidMessage: as `read_generic`, and malformed JSON, keys given twice, too deep nesting,
            NUL characters or lone surrogates anywhere. One sentence, with the path.
    """
    check_json(native, FIELDS)
    return _read_once(native)


def explode_generic(delivery: Delivery) -> list[NativeObject | Refused]:
    """Cut a delivery into its generic events: one object, or an array of them.

    Raises:
        InvalidMessage: the delivery as a whole cannot be read: not JSON, an empty array, or more
            than BATCH_MAX objects.
    """
    body = delivery.body
    if body.lstrip(_BLANKS)[:1] != b"[":
        return [_one(body, delivery.context)]
    read_utf8(body)
    check_depth(body)
    try:
        pieces = [bytes(piece) for piece in _BATCH.decode(body)]
    except READ_ERRORS as error:
        check_json(body, FIELDS)  # names line, column or path, where it can
        raise _refusal(error) from None
    if not pieces:
        raise InvalidMessage(ErrorType.MISSING_FIELD, "the batch is empty")
    if len(pieces) > BATCH_MAX:
        raise InvalidMessage(
            ErrorType.TOO_LARGE, f"the batch holds more than {BATCH_MAX:,} objects"
        )
    return [_piece(piece, delivery.context) for piece in pieces]


def _one(body: bytes, context: Mapping[str, str]) -> NativeObject | Refused:
    native = body.strip(_BLANKS)
    piece = _piece(native, context)
    if isinstance(piece, Refused) and is_unreadable(piece.error):
        raise piece.error
    return piece


def _piece(native: bytes, context: Mapping[str, str]) -> NativeObject | Refused:
    try:
        parse_generic(native)
    except InvalidMessage as error:
        return Refused(native, error)
    return NativeObject(native, context)


def source_of(context: Mapping[str, str]) -> str:
    """Return the authenticated source; raises InvalidMessage when it is missing or no name.

    A colon in it would let two sources meet in one object id.
    """
    source = context.get("source")
    if source is None:
        raise InvalidMessage(
            ErrorType.MISSING_FIELD, "the delivery names no source", path="context.source"
        )
    if _SOURCE.fullmatch(source) is None:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD,
            "the source must be letters, digits, dots, dashes or underscores",
            path="context.source",
        )
    return source


def identify_generic(native: bytes, context: Mapping[str, str], namespace: str) -> Identity:
    """Return the identity `<namespace>:<source>:<id>` at the event's own revision."""
    event = _read_once(native)
    return Identity(
        object_id(namespace, source_of(context), event.id),
        _revision(event),
        _kind(event),
        _change(event),
    )


def _revision(event: GenericEvent) -> int:
    if event.revision is not None:
        return event.revision
    return DELETED_WITHOUT_REVISION if event.change == "deleted" else 0


def _kind(event: GenericEvent) -> Kind:
    if event.kind is not None:
        return event.kind
    return "post" if event.in_reply_to is None else "reply"


def _change(event: GenericEvent) -> Change:
    return event.change or "created"


def account_id(network: str, namespace: str, source: str, native_id: str) -> str:
    """Return the id of an account: of the authenticated source, as all ids of generic events are.

    Two sources that call somebody `anna` mean two people, and neither speaks for the other's brand.
    `form/` keeps a form apart from a webhook of the same name; no source's name holds a slash.
    """
    scope = source if namespace == network else f"{namespace}/{source}"
    return f"{scope}:{native_id}"


def draft_generic(raw: RawEvent, namespace: str, mapping: str) -> SocialDraft:
    """Return what a generic event says, its ids as those of the same source."""
    event, published_at, changed_at = _read(native_of(raw))
    source = source_of(raw.context or {})
    threading: Threading = "root"
    if event.conversation_id is not None:
        threading = "network"
    elif event.in_reply_to is not None:
        threading = "parent_only"

    def reference(native_id: str | None) -> str | None:
        return None if native_id is None else object_id(namespace, source, native_id)

    def account(native_id: str) -> str:
        return account_id(raw.network, namespace, source, native_id)

    return SocialDraft(
        mapping=mapping,
        kind=_kind(event),
        change=_change(event),
        visibility=event.visibility or "public",
        threading=threading,
        conversation_id=reference(event.conversation_id),
        published_at=published_at,
        changed_at=None if _change(event) == "created" else changed_at,
        in_reply_to=reference(event.in_reply_to),
        target=None if event.target is None else account(event.target),
        author=_author(event.author, account),
        text=event.text,
        langs=() if event.lang is None else (event.lang,),
        media=tuple(
            Media(kind=medium.kind, id=medium.id, url=medium.url, alt=medium.alt, status="remote")
            for medium in event.media or ()
        ),
        metrics=event.metrics,
        url=event.url,
        direction=event.direction,
        label=event.network,
    )


def _author(author: GenericAuthor | None, account: Callable[[str], str]) -> Author | None:
    if author is None:
        return None
    return Author(
        id=account(author.id), handle=author.handle, name=author.name, followers=author.followers
    )


def native_of(raw: RawEvent) -> msgspec.Raw:
    """Return the native bytes of a raw event; raises InvalidMessage when they are not at hand."""
    if raw.native is None:
        raise InvalidMessage(
            ErrorType.ORIGINAL_GONE, "the original is not in the record", path="native"
        )
    return raw.native
