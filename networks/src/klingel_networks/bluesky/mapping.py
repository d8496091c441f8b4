"""Jetstream frames in klingel's words; pure.

Object ids are `bluesky:network:` and the record's AT URI; a like is the reaction
`<object id of its subject>/reaction/<did>/like`. The deletion of a like names only its own record,
not the subject: it stays an object of its own and reaches no reaction.

Revisions are edit times in ms: 0 for a creation; for updates and deletions the time in the
commit's `rev`, a TID, which is the same on every instance, on re-fetch and in gap fill.

What is no post, repost or like, and every identity, account and sync event, is of kind `unknown`.

What the brand's own account is told comes as `via: notification` (a record that names it, the same
object as on the stream) and `via: chat` (its direct messages, see `chat.py`).
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Literal, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import structs

from klingel.domain.draft import Change, Kind, SocialDraft
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import RawEvent
from klingel.model.social_event import Author, Media
from klingel_networks.bluesky.chat import CONVO, author_of, draft_chat, identify_chat
from klingel_networks.bluesky.records import (
    FRAME,
    LOGS,
    MESSAGES,
    NOTIFICATIONS,
    POST,
    POST_HEAD,
    SUBJECT,
    Blob,
    Embed,
    EmbeddedMedia,
    Frame,
    Post,
    PostHead,
    Status,
)
from klingel_networks.bluesky.records import NOTIFICATION as NOTIFICATION_VIEW
from klingel_networks.bluesky.richtext import is_web, marked
from klingel_networks.bluesky.syntax import (
    NSID,
    RECORD_KEY,
    at_datetime,
    edit_time,
    is_did,
    is_handle,
    is_language,
    record_uri,
    tid_microseconds,
)
from klingel_networks.bounds import (
    OBJECT_ID_MAX,
    READ_ERRORS,
    check_depth,
    check_text,
    is_unreadable,
    read_utf8,
    refusal,
)
from klingel_networks.contract import Delivery, Identity, NativeObject, Refused
from klingel_networks.generic import native_of

MAPPING = "bluesky/1"
POST_COLLECTION = "app.bsky.feed.post"
REPOST_COLLECTION = "app.bsky.feed.repost"
LIKE_COLLECTION = "app.bsky.feed.like"
VIA, NOTIFICATION = "via", "notification"
"""Key of a context, and its value for what `listNotifications` tells."""
CHAT = "chat"
"""The same for direct messages."""
LIKE = "like"
"""The emoji part of a like's object id: the network shows a heart, its record says like."""

_PREFIX = "bluesky:network:"
_EVENTS = "network.bsky.jetstream.subscribeEvents#"
_STATUS_SHAPES = ("identity", "account", "sync")
_CHANGES: Mapping[str, Change] = {"create": "created", "update": "updated", "delete": "deleted"}
_KINDS: Mapping[str, Kind] = {
    POST_COLLECTION: "post",
    REPOST_COLLECTION: "repost",
    LIKE_COLLECTION: "reaction",
}
_ID_MAX = 512
_IMAGE = "https://cdn.bsky.app/img/feed_fullsize/plain/{did}/{cid}@jpeg"
"""Source: atproto.com/guides/images-and-video. The CDN finds the host of any account by itself, and
gives the image as Bluesky shows it, not the bytes that were uploaded."""
_VIDEO = "https://bsky.social/xrpc/com.atproto.sync.getBlob?did={did}&cid={cid}"
"""Source: the lexicon com.atproto.sync.getBlob, which asks for no authorisation, and
docs.bsky.app/docs/advanced-guides/entryway: bsky.social leads on to the host of an account of
Bluesky's own, and knows no others. The CDN has videos as playlists alone."""

R = TypeVar("R")


class _Change(NamedTuple):
    """One change of a record, from either wire."""

    did: str
    collection: str
    record_key: str
    change: Change
    rev: str | None
    record: msgspec.Raw

    @property
    def uri(self) -> str:
        return f"at://{self.did}/{self.collection}/{self.record_key}"


class _Status(NamedTuple):
    """News of an identity, an account or a repository."""

    did: str
    shape: str
    microseconds: int
    handle: str | None


def explode(delivery: Delivery) -> list[NativeObject | Refused]:
    """Return the one object of a frame, or why it is none.

    Raises:
        InvalidMessage: not JSON, not UTF-8, or nested too deeply.
    """
    body = delivery.body
    read_utf8(body)  # msgspec does not look into strings that it skips
    check_depth(body)
    if VIA in delivery.context:
        return _account_objects(body, delivery.context)
    try:
        _identity(_decode(FRAME, body, ""))
    except InvalidMessage as error:
        if is_unreadable(error):
            raise
        via = _via(body)
        if via is not None:
            return _account_objects(body, {**delivery.context, VIA: via})
        return [Refused(body, error)]
    return [NativeObject(body, delivery.context)]


def _via(body: bytes) -> str | None:
    """Return what an answer that is no frame was asked for, where its shape tells it."""
    if _tried(NOTIFICATIONS, body) is not None:
        return NOTIFICATION
    return CHAT if _tried(LOGS, body) is not None else None


def _account_objects(body: bytes, context: Mapping[str, str]) -> list[NativeObject | Refused]:
    """Return the objects of what the account was told: one, or an answer's page of them."""
    natives = [body]
    if context[VIA] == NOTIFICATION:
        found = _tried(NOTIFICATIONS, body)
        natives = natives if found is None else [bytes(each) for each in found.notifications]
    elif CONVO in context:
        messages = _tried(MESSAGES, body)
        natives = natives if messages is None else [bytes(each) for each in messages.messages]
    else:
        logs = _tried(LOGS, body)
        natives = natives if logs is None else [bytes(each) for each in logs.logs]
    pieces: list[NativeObject | Refused] = []
    for native in natives:
        try:
            identify(native, context)
        except InvalidMessage as error:
            if native is body and is_unreadable(error):
                raise
            pieces.append(Refused(native, error))
        else:
            pieces.append(NativeObject(native, context))
    return pieces


def _tried(decoder: msgspec.json.Decoder[R], body: bytes) -> R | None:
    """Return a page, None where a body is none: then it is one object, or nothing."""
    try:
        return decoder.decode(body)
    except READ_ERRORS:
        return None


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of an object; raises InvalidMessage."""
    via = context.get(VIA)
    if via == CHAT:
        return identify_chat(native, context)
    if via == NOTIFICATION:
        return _change_identity(_noticed(native)[0])
    return _identity(_decode(FRAME, native, ""))


def to_social_event(raw: RawEvent) -> SocialDraft:
    """Return the draft of an object; raises InvalidMessage."""
    context = raw.context or {}
    via = context.get(VIA)
    if via == CHAT:
        return draft_chat(MAPPING, native_of(raw), context)
    if via == NOTIFICATION:
        change, author = _noticed(native_of(raw))
        return structs.replace(_drafted(change), author=author)
    news = _news(_decode(FRAME, native_of(raw), ""))
    if isinstance(news, _Status):
        _, changed_at = edit_time(news.microseconds, "time")
        handle = news.handle if news.handle is not None and is_handle(news.handle) else None
        return SocialDraft(
            mapping=MAPPING,
            kind="unknown",
            change="updated",
            author=Author(id=news.did, handle=handle),
            changed_at=changed_at,
        )
    return _drafted(news)


def _noticed(native: bytes | msgspec.Raw) -> tuple[_Change, Author]:
    """Return the record that a notification is about, and who wrote it; raises InvalidMessage."""
    told = _decode(NOTIFICATION_VIEW, native, "")
    uri = record_uri(told.uri, "uri")
    if uri.authority != told.author.did:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD, "author.did is not whose record uri names", path="author.did"
        )
    change = _Change(*uri, "created", None, told.record)
    return change, author_of(told.author)


def _drafted(news: _Change) -> SocialDraft:
    if news.change == "deleted":
        return _bare(news, _KINDS.get(news.collection, "unknown"))
    if news.collection == POST_COLLECTION:
        return _post(news)
    if news.collection == REPOST_COLLECTION:
        return _repost(news)
    if news.collection == LIKE_COLLECTION:
        return _like(news)
    return _bare(news, "unknown")


def _decode(decoder: msgspec.json.Decoder[R], native: bytes | msgspec.Raw, path: str) -> R:
    try:
        return decoder.decode(native)
    except READ_ERRORS as error:
        raise refusal(error, path) from None


def _identity(frame: Frame) -> Identity:
    news = _news(frame)
    if isinstance(news, _Status):
        revision, _ = edit_time(news.microseconds, "time")
        return Identity(_PREFIX + f"{news.did}/{news.shape}", revision, "unknown", "updated")
    return _change_identity(news)


def _change_identity(news: _Change) -> Identity:
    revision = 0
    if news.change != "created":
        revision, _ = _edited(news)
    kind = _KINDS.get(news.collection, "unknown")
    own_id = _PREFIX + news.uri
    if news.change != "deleted":
        if kind == "post":
            kind = _post_kind(_decode(POST_HEAD, _record(news), "record"))
        elif kind == "reaction":
            own_id = _reaction_id(news)
    return Identity(_bounded(own_id), revision, kind, news.change)


def _news(frame: Frame) -> _Change | _Status:
    """Return what a frame of either wire tells; raises InvalidMessage when that is nothing."""
    if frame.payload is not None:
        frame = frame.payload
    shape = _shape(frame)
    did = _present(frame.did, "did")
    if not is_did(did):
        raise InvalidMessage(ErrorType.INVALID_FIELD, "did is no DID", path="did")
    if shape == "commit":
        return _commit(frame, did)
    status: Status | None = getattr(frame, shape)
    if status is None:
        raise InvalidMessage(ErrorType.MISSING_FIELD, f"{shape} is missing", path=shape)
    return _Status(did, shape, _status_time(frame, status, shape), status.handle)


def _shape(frame: Frame) -> str:
    """Return `commit`, `identity`, `account` or `sync`."""
    if frame.kind is not None:
        shape, path = frame.kind, "kind"
    elif frame.type_ is not None:
        shape, path = frame.type_.removeprefix(_EVENTS).removeprefix("#"), "$type"
    else:
        raise InvalidMessage(
            ErrorType.MISSING_FIELD,
            "the object is no Jetstream frame: kind is missing",
            path="kind",
        )
    if shape == "commit" or shape in _STATUS_SHAPES:
        return shape
    if shape in {"info", "error"}:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD, "the frame is a notice of the stream, no object", path=path
        )
    raise InvalidMessage(
        ErrorType.INVALID_FIELD,
        f"{path} must be one of commit, {', '.join(_STATUS_SHAPES)}",
        path=path,
    )


def _commit(frame: Frame, did: str) -> _Change:
    commit = frame.commit
    if commit is None and frame.kind is not None:
        raise InvalidMessage(ErrorType.MISSING_FIELD, "commit is missing", path="commit")
    at = commit or frame
    collection = _present(at.collection, "collection")
    if len(collection) > 317 or NSID.fullmatch(collection) is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "collection is no NSID", path="collection")
    record_key = _present(at.rkey, "rkey")
    if RECORD_KEY.fullmatch(record_key) is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "rkey is no record key", path="rkey")
    change = _CHANGES.get(_present(at.operation, "operation"))
    if change is None:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD,
            f"operation must be one of {', '.join(_CHANGES)}",
            path="operation",
        )
    return _Change(did, collection, record_key, change, at.rev, at.record)


def _present(value: str | None, path: str) -> str:
    if not value:
        raise InvalidMessage(ErrorType.MISSING_FIELD, f"{path} is missing", path=path)
    return value


def _status_time(frame: Frame, status: Status, shape: str) -> int:
    """Return the relay's time of the event in microseconds, else the instance's own.

    The relay's is the same on every instance.
    """
    for value, path in ((status.time, f"{shape}.time"), (frame.time, "time")):
        if value is not None:
            return int(at_datetime(value, path).timestamp() * 1_000_000)
    if frame.time_us is None:
        raise InvalidMessage(ErrorType.MISSING_FIELD, f"{shape}.time is missing", path="time")
    return frame.time_us


def _edited(news: _Change) -> tuple[int, datetime]:
    return edit_time(tid_microseconds(_present(news.rev, "rev"), "rev"), "rev")


def _bounded(own_id: str) -> str:
    if len(own_id) > OBJECT_ID_MAX:
        raise InvalidMessage(
            ErrorType.TOO_LARGE, f"the object's id is longer than {OBJECT_ID_MAX} characters"
        )
    return own_id


def _record(news: _Change) -> msgspec.Raw:
    if len(memoryview(news.record)) == 0:
        raise InvalidMessage(ErrorType.MISSING_FIELD, "record is missing", path="record")
    return news.record


def _reference(uri: str, path: str) -> str:
    record_uri(uri, path)
    return _bounded(_PREFIX + uri)


def _reaction_id(news: _Change) -> str:
    like = _decode(SUBJECT, _record(news), "record")
    return f"{_reference(like.subject.uri, 'record.subject.uri')}/reaction/{news.did}/{LIKE}"


def _quoted(embed: Embed | None) -> str | None:
    """Return the AT URI of the record that an embed quotes."""
    if embed is None or embed.record is None:
        return None
    if embed.record.uri is not None:
        return embed.record.uri
    return None if embed.record.record is None else embed.record.record.uri


def _post_kind(post: Post | PostHead) -> Kind:
    if post.reply is not None:
        return "reply"
    uri = _quoted(post.embed)
    if uri is None:
        return "post"
    # Feeds, lists and starter packs are embedded in the same way; they are no posts.
    quoted = record_uri(uri, "record.embed.record.uri")
    return "quote" if quoted.collection == POST_COLLECTION else "post"


def _bare(news: _Change, kind: Kind) -> SocialDraft:
    """Return what a deletion, or a record that we do not read, says: who and when."""
    return SocialDraft(
        mapping=MAPPING,
        kind=kind,
        change=news.change,
        author=Author(id=news.did),
        changed_at=_changed_at(news),
    )


def _changed_at(news: _Change) -> datetime | None:
    return None if news.change == "created" else _edited(news)[1]


def _repost(news: _Change) -> SocialDraft:
    repost = _decode(SUBJECT, _record(news), "record")
    return SocialDraft(
        mapping=MAPPING,
        kind="repost",
        change=news.change,
        author=Author(id=news.did),
        published_at=at_datetime(repost.created_at, "record.createdAt"),
        changed_at=_changed_at(news),
        reposts=_reference(repost.subject.uri, "record.subject.uri"),
    )


def _like(news: _Change) -> SocialDraft:
    like = _decode(SUBJECT, _record(news), "record")
    return SocialDraft(
        mapping=MAPPING,
        kind="reaction",
        change=news.change,
        author=Author(id=news.did),
        threading="parent_only",
        published_at=at_datetime(like.created_at, "record.createdAt"),
        changed_at=_changed_at(news),
        in_reply_to=_reference(like.subject.uri, "record.subject.uri"),
        in_reply_to_author=_author_in(like.subject.uri, "record.subject.uri"),
    )


def _author_in(uri: str, path: str) -> str | None:
    """Return the DID in an AT URI; None where it stands under a handle, which may change."""
    authority = record_uri(uri, path).authority
    return authority if authority.startswith("did:") else None


def _post(news: _Change) -> SocialDraft:
    post = _decode(POST, _record(news), "record")
    check_text(post.text, "record.text")
    reply, embed = post.reply, post.embed
    quoted = _quoted(embed)
    mentions, links, hashtags = marked(post.text, post.facets, post.tags)
    if embed is None:
        media: tuple[Media, ...] = ()
    else:
        media = tuple(
            medium
            for each in (embed, embed.media)
            if each is not None
            for medium in _media(each, news.did)
        )
        links += [medium.url for medium in media if medium.kind == "link" and medium.url]
    root = parent = parent_author = None
    if reply is not None:
        root = _reference(reply.root.uri, "record.reply.root.uri")
        parent = _reference(reply.parent.uri, "record.reply.parent.uri")
        parent_author = _author_in(reply.parent.uri, "record.reply.parent.uri")
    return SocialDraft(
        mapping=MAPPING,
        kind=_post_kind(post),
        change=news.change,
        author=Author(id=news.did),
        text=post.text,
        published_at=at_datetime(post.created_at, "record.createdAt"),
        changed_at=_changed_at(news),
        quotes=None if quoted is None else _reference(quoted, "record.embed.record.uri"),
        langs=tuple(lang for lang in post.langs or () if is_language(lang)),
        mentions=tuple(dict.fromkeys(mentions)),
        links=tuple(dict.fromkeys(links)),
        hashtags=tuple(dict.fromkeys(hashtags)),
        media=media,
        url=f"https://bsky.app/profile/{news.did}/post/{news.record_key}",
        threading="root" if reply is None else "network",
        conversation_id=root,
        in_reply_to=parent,
        in_reply_to_author=parent_author,
    )


def _media(embed: Embed | EmbeddedMedia, did: str) -> Iterator[Media]:
    for image in embed.images or ():
        yield _blob("image", _IMAGE, image.image, did, image.alt)
    if embed.video is not None:
        yield _blob("video", _VIDEO, embed.video, did, embed.alt)
    external = embed.external
    if external is not None and is_web(external.uri):
        yield Media(kind="link", url=external.uri, alt=_alt(external.title), status="remote")


def _blob(
    kind: Literal["image", "video"], address: str, blob: Blob | None, did: str, alt: str | None
) -> Media:
    cid = _blob_id(blob)
    url = None
    if cid is not None and cid.isascii():
        url = address.format(did=quote(did, safe=":"), cid=cid)
    return Media(kind=kind, id=cid, url=url, alt=_alt(alt), status="remote")


def _alt(alt: str | None) -> str | None:
    if alt:
        check_text(alt, "record.embed.alt")
    return alt or None


def _blob_id(blob: Blob | None) -> str | None:
    if blob is None:
        return None
    cid = blob.cid if blob.ref is None else blob.ref.link
    return cid if cid and len(cid) <= _ID_MAX and cid.isalnum() else None
