"""Entries of feeds in klingel's words; pure.

Object ids are `feed:<source>:<hash>`, the hash over the entry's own id, else its link, else its title
and text: ids of feeds are any text at all. A feed that gives an entry another id each time is seen
through by the client, which says whose the entry is (`same_as` in the context).

Revisions are edit times in ms: the time at which an entry says that it was updated, where that is
after its publication; else 0, and for a changed one the time at which the client noticed (`noticed`).
An entry that vanished from the midst of its feed is a deletion.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final
from urllib.parse import urljoin, urlsplit

from resiliparse.extract.html2text import extract_plain_text

from klingel.domain.draft import Change, Kind, SocialDraft
from klingel.domain.identity import DELETED_WITHOUT_REVISION, REVISION_MAX, hash64, object_id
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import RawEvent
from klingel.model.social_event import Author, Media
from klingel_networks.bounds import TEXT_MAX
from klingel_networks.contract import Delivery, Identity, NativeObject, Refused
from klingel_networks.feed.cutting import INDEX, LANGUAGE, OPENING, cut, reopened
from klingel_networks.feed.reading import (
    DOCUMENT_BYTES,
    Enclosure,
    Entry,
    read_document,
    read_item,
)
from klingel_networks.generic import native_of, source_of

MAPPING = "feed/1"
SAME_AS: Final = "same_as"
NOTICED: Final = "noticed"
VANISHED: Final = "vanished"
ENTRY: Final = "entry"
TOPIC: Final = "topic"
SUBSCRIPTION: Final = "subscription"
"""Keys of the context: key of the entry that this one is; epoch ms of a change; key of an entry that
is gone; that the delivery is one entry, cut out already; of a push, the feed's address as proved by
the subscription, and the subscription."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_NAME = re.compile(r"[^a-z0-9.-]")
_KEY = re.compile(r"[0-9a-f]{16}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,5}")
_LINK_MAX, _NAME_MAX, _TAG_MAX, _TITLE_MAX = 4096, 640, 640, 10_000
_REMEMBERED_BYTES = 256 << 10
_MEDIA = {"image": "image", "video": "video", "audio": "audio"}


def explode(delivery: Delivery) -> list[NativeObject | Refused]:
    """Cut a document into its entries.

    Raises:
        InvalidMessage: it is no feed, too large, or nested too deeply.
    """
    body, context = delivery.body, delivery.context
    scope_of(context)
    if len(body) > DOCUMENT_BYTES:
        raise InvalidMessage(ErrorType.TOO_LARGE, "the document is larger than 8 MiB")
    if VANISHED in context or ENTRY in context:
        return [_checked(body, context)]
    return [_checked(*piece) for piece in cut(body, context)]


def _checked(
    native: bytes, context: Mapping[str, str], entry: Entry | None = None
) -> NativeObject | Refused:
    try:
        if entry is None:
            identify(native, context)
        else:
            _identity(entry, context)
    except InvalidMessage as error:
        return Refused(native, error)
    return NativeObject(native, context)


def name_of(url: str) -> str:
    """Return a feed's name in ids and cursors: its host, and a hash of its address."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    host = _NO_NAME.sub("-", host.lower())[:80].strip(".-")
    return f"{host or 'feed'}-{sha256(url.encode()).hexdigest()[:12]}"


def scope_of(context: Mapping[str, str]) -> str:
    """Return the feed's name in ids: of the poller, or of the subscription's topic.

    A push that does not name its topic belongs to its subscription, a document that is mapped by
    hand to the feed `feed`.
    """
    if "source" in context:
        return source_of(context)
    if context.get(TOPIC):
        return name_of(context[TOPIC])
    return source_of({"source": context.get(SUBSCRIPTION) or "feed"})


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity of an entry; raises InvalidMessage."""
    scope = scope_of(context)
    if VANISHED in context:
        own_id = object_id("feed", scope, _key(context[VANISHED]))
        return Identity(own_id, DELETED_WITHOUT_REVISION, "post", "deleted")
    return _identity(entry_of(native, context), context)


def _identity(entry: Entry, context: Mapping[str, str]) -> Identity:
    key = _key(context[SAME_AS]) if SAME_AS in context else key_of(entry)
    revision, change = _revision(entry, context)
    return Identity(object_id("feed", scope_of(context), key), revision, _kind(entry), change)


def entry_of(native: bytes, context: Mapping[str, str]) -> Entry:
    """Read one entry; raises InvalidMessage."""
    if OPENING not in context and INDEX not in context and native.lstrip()[:1] == b"{":
        return read_item(native)
    document, kind = reopened(native, context), context.get("content_type", "")
    small = len(document) <= _REMEMBERED_BYTES
    found = _once_read(document, kind) if small else _read(document, kind)
    at = _index(context) if INDEX in context else 0
    if at >= len(found):
        raise InvalidMessage(ErrorType.MISSING_FIELD, "the document has no such entry")
    return found[at]


def _read(document: bytes, content_type: str) -> tuple[Entry, ...]:
    return tuple(read_document(document, {"content_type": content_type}))


_once_read = lru_cache(maxsize=2)(_read)
"""An entry is cut, named and drafted one after the other: it is parsed once for the three."""


def key_of(entry: Entry) -> str:
    """Return the key of an entry within its feed: by its id, else its link, else its words."""
    if entry.id is not None:
        return hash64("id", entry.id)
    if entry.link is not None:
        return hash64("link", entry.link)
    words = entry.title or entry.text or entry.html
    if words is None:
        raise InvalidMessage(ErrorType.MISSING_FIELD, "the entry has no id, no link and no words")
    return hash64("words", entry.title or "", entry.text or entry.html or "")


def content_of(entry: Entry) -> str:
    """Return a hash of what an entry says: another one tells that it was changed."""
    return hash64(entry.title or "", entry.text or "", entry.html or "", entry.link or "")


def _index(context: Mapping[str, str]) -> int:
    told = context[INDEX]
    if not told.isascii() or not told.isdigit() or len(told) > 6:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "the context names no entry", path=INDEX)
    return int(told)


def _key(told: str) -> str:
    if _KEY.fullmatch(told) is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "the context names no entry", path="context")
    return told


def _revision(entry: Entry, context: Mapping[str, str]) -> tuple[int, Change]:
    """Return the revision: the entry's own word before the client's."""
    noticed = context.get(NOTICED)
    if entry.updated is not None and (entry.published or _EPOCH) < entry.updated:
        told = int(entry.updated.timestamp() * 1000)
        is_edit = entry.published is not None or noticed is not None
        return min(told, REVISION_MAX - 1), "updated" if is_edit else "created"
    if noticed is None:
        return 0, "created"
    if not noticed.isascii() or not noticed.isdigit() or not 0 < int(noticed[:20]) < REVISION_MAX:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "the context tells no time", path=NOTICED)
    return int(noticed), "updated"


def _kind(entry: Entry) -> Kind:
    return "post" if entry.in_reply_to is None else "comment"


def to_social_event(raw: RawEvent) -> SocialDraft:
    """Return the draft of an entry; raises InvalidMessage."""
    native, context = bytes(native_of(raw)), raw.context or {}
    if VANISHED in context:
        return SocialDraft(mapping=MAPPING, kind="post", change="deleted")
    entry = entry_of(native, context)
    revision, change = _revision(entry, context)
    scope = scope_of(context)
    parent = None
    if entry.in_reply_to is not None:
        parent = object_id("feed", scope, hash64("id", entry.in_reply_to))
    link = _web(entry.link, context)
    return SocialDraft(
        mapping=MAPPING,
        kind=_kind(entry),
        change=change,
        threading="root" if parent is None else "parent_only",
        in_reply_to=parent,
        published_at=entry.published or entry.updated,
        changed_at=_changed(revision, change),
        author=_author(entry, scope),
        text=_text(entry),
        langs=_langs(entry.lang or context.get(LANGUAGE)),
        hashtags=tuple(dict.fromkeys(tag.lower() for tag in entry.tags if _is_tag(tag)))[:100],
        links=() if link is None else (link,),
        media=tuple(filter(None, (_medium(each, context) for each in entry.enclosures))),
        url=link,
    )


def _langs(told: str | None) -> tuple[str, ...]:
    return (told,) if told and _LANGUAGE.fullmatch(told) else ()


def _changed(revision: int, change: Change) -> datetime | None:
    return datetime.fromtimestamp(revision / 1000, UTC) if change == "updated" else None


def _text(entry: Entry) -> str:
    """Return title and words; a title that the words begin with is not said twice."""
    title = entry.title or ""
    title = (title.replace("\x00", "").strip() if entry.is_plain_title else _plain(title))[
        :_TITLE_MAX
    ]
    words = entry.text if entry.text is not None else _plain(entry.html or "")
    words = words.replace("\x00", "")[: TEXT_MAX - _TITLE_MAX - 2].strip()
    if not title or words.startswith(title):
        return words
    return f"{title}\n\n{words}" if words else title


def _plain(html: str) -> str:
    if "<" not in html and "&" not in html:
        return html.replace("\x00", "").strip()
    text: str = extract_plain_text(
        html[:1_000_000], main_content=False, preserve_formatting=True, links=False
    )
    return text.replace("\x00", "").strip()


def _author(entry: Entry, scope: str) -> Author | None:
    """Return who wrote it: a name within its feed, for feeds know no accounts."""
    name = (entry.author or "").replace("\x00", "").strip()
    if not name:
        return None
    return Author(id=f"{scope}:{hash64(name.casefold())}", name=name[:_NAME_MAX])


def _is_tag(tag: str) -> bool:
    return 0 < len(tag) <= _TAG_MAX and "\x00" not in tag


def _web(link: str | None, context: Mapping[str, str]) -> str | None:
    if link is None:
        return None
    try:
        url = urljoin(context.get("url") or context.get(TOPIC) or "", link)
    except ValueError:
        return None
    is_web = url[:8].lower().startswith(("http://", "https://"))
    return (
        url if is_web and len(url) <= _LINK_MAX and url.isprintable() and " " not in url else None
    )


def _medium(enclosure: Enclosure, context: Mapping[str, str]) -> Media | None:
    url = _web(enclosure.url, context)
    if url is None:
        return None
    kind = _MEDIA.get(enclosure.type.partition("/")[0].lower(), "file")
    return Media(kind=kind, url=url, status="remote")  # type: ignore[arg-type]  # a closed set


def vanished(key: str) -> bytes:
    """Return the body of a delivery that tells that an entry is gone."""
    return json.dumps({"vanished": key}).encode()
