"""Reads documents of feeds; pure. RSS, Atom, RDF and CDF by feedparser, JSON Feed here.

feedparser is given bytes in memory only: handed anything else, it opens addresses and files.
"""

from calendar import timegm
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from typing import Annotated, Any, Final, NamedTuple

import feedparser
import msgspec
from feedparser.api import PREFERRED_XML_PARSERS
from msgspec import Meta

from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bounds import READ_ERRORS, check_depth, read_utf8, refusal

DOCUMENT_BYTES: Final = 8 << 20
_JSON_FEED: Final = b"jsonfeed.org/version/"
_DEPTH_MAX: Final = 500
_TAG_BYTES: Final = 32_768
_YEARS: Final = (1970, 2199)


class Enclosure(NamedTuple):
    """An attachment: address and type."""

    url: str
    type: str


class Entry(NamedTuple):
    """What an entry says, whatever the format."""

    id: str | None
    link: str | None
    title: str | None
    html: str | None
    text: str | None
    author: str | None
    published: datetime | None
    updated: datetime | None
    lang: str | None
    tags: tuple[str, ...]
    enclosures: tuple[Enclosure, ...]
    in_reply_to: str | None
    is_plain_title: bool = False

    def said(self) -> "Entry":
        """Return it without what the document around it decides."""
        return self._replace(lang=None, link=None, enclosures=(), html=None, in_reply_to=None)


class _Attachment(msgspec.Struct):
    url: str
    mime_type: str = ""


class _Person(msgspec.Struct):
    name: str | None = None


class _Item(msgspec.Struct):
    """An item of JSON Feed: https://www.jsonfeed.org/version/1.1/."""

    id: str | int | float | None = None
    url: str | None = None
    title: str | None = None
    content_html: str | None = None
    content_text: str | None = None
    summary: str | None = None
    date_published: str | None = None
    date_modified: str | None = None
    author: _Person | None = None
    authors: list[_Person] | None = None
    language: str | None = None
    tags: list[str] | None = None
    attachments: Annotated[list[_Attachment], Meta(max_length=100)] | None = None


class _JsonFeed(msgspec.Struct):
    version: str
    items: list[msgspec.Raw] = []


_FEED = msgspec.json.Decoder(_JsonFeed)
_ITEM = msgspec.json.Decoder(_Item)


def json_items(body: bytes) -> list[bytes] | None:
    """Return the items of a JSON Feed; None for a document that is none.

    Raises:
        InvalidMessage: JSON that is no JSON Feed.
    """
    if body.lstrip()[:1] != b"{":
        return None
    read_utf8(body)
    check_depth(body)
    try:
        feed = _FEED.decode(body)
    except READ_ERRORS as error:
        raise refusal(error) from None
    if _JSON_FEED.decode() not in feed.version:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "version names no JSON Feed", path="version")
    return [bytes(item) for item in feed.items]


def read_item(native: bytes) -> Entry:
    """Read one item of a JSON Feed; raises InvalidMessage."""
    read_utf8(native)
    check_depth(native)
    try:
        item = _ITEM.decode(native)
    except READ_ERRORS as error:
        raise refusal(error) from None
    people = [item.author, *(item.authors or ())]
    named = [person.name for person in people if person is not None and person.name]
    return Entry(
        id=None if item.id is None else str(item.id),
        link=item.url,
        title=item.title,
        html=item.content_html,
        text=item.content_text or item.summary,
        author=named[0] if named else None,
        published=_rfc3339(item.date_published),
        updated=_rfc3339(item.date_modified),
        lang=item.language,
        tags=tuple(item.tags or ()),
        enclosures=tuple(Enclosure(one.url, one.mime_type) for one in item.attachments or ()),
        in_reply_to=None,
    )


def _rfc3339(text: str | None) -> datetime | None:
    try:
        at = msgspec.convert(text, datetime, strict=True) if text else None
    except msgspec.ValidationError:
        return None
    if at is None or at.tzinfo is None or not _YEARS[0] <= at.year <= _YEARS[1]:
        return None
    return at.astimezone(UTC)


def read_document(body: bytes, context: Mapping[str, str]) -> list[Entry]:
    """Read a document whole.

    Args:
        body: as received.
        context: `content_type` of the answer, where it is known. The address is left out: what is
            relative to it stays so, or an entry's id would depend on the way it came.

    Raises:
        InvalidMessage: it is no feed: neither of a known format nor with entries.
    """
    _check_nesting(body)
    _settle_parser()
    headers = {"content-type": context.get("content_type") or "application/xml"}
    try:
        # No sanitizing: what is read of the HTML is its text.
        found = feedparser.parse(
            BytesIO(body), response_headers=headers, sanitize_html=False, resolve_relative_uris=True
        )
    except Exception:  # noqa: BLE001 - a parser of hostile input: whatever it raises, it cannot read it
        raise InvalidMessage(ErrorType.INVALID_FIELD, "the document cannot be read") from None
    entries = found.get("entries") or []
    if not entries and not found.get("version"):
        raise InvalidMessage(
            ErrorType.INVALID_FIELD,
            "the document is no feed: neither RSS, Atom, RDF, CDF nor JSON Feed",
        )
    # RSS leaves open whether a title is HTML, and its language is an element of the feed: Atom tells
    # both at the words themselves.
    if str(found.get("version")).startswith("atom"):
        return [_entry(each, is_typed=True, lang=None) for each in entries]
    lang = (found.get("feed") or {}).get("language")
    return [_entry(each, is_typed=False, lang=lang) for each in entries]


@cache
def _settle_parser() -> None:
    """Let every document be read by Python's own expat.

    feedparser looks for another reader first, on the disk, at each document: a tenth of its time.
    """
    PREFERRED_XML_PARSERS.clear()


def _check_nesting(body: bytes) -> None:
    """Refuse what cannot be read in bounded time; tags are counted, not matched."""
    depth = 0
    at = body.find(b"<")
    while at >= 0:
        if body.startswith(b"<![CDATA[", at):
            at = body.find(b"]]>", at)
            if at < 0:
                return
        elif (end := body.find(b">", at)) < 0:
            _check_tag(body[at:])
            return
        else:
            following = body[at + 1 : at + 2]
            if following == b"/":
                depth -= 1
            elif following not in b"!?" and body[end - 1 : end] != b"/":
                depth += 1
            _check_tag(body[at:end])
            if depth > _DEPTH_MAX:
                raise InvalidMessage(
                    ErrorType.TOO_DEEP, f"the document nests deeper than {_DEPTH_MAX} tags"
                )
        at = body.find(b"<", at + 1)


def _check_tag(tag: bytes) -> None:
    """Refuse a tag of very many attributes: the reader's time grows with their square."""
    if len(tag) > _TAG_BYTES and not tag.startswith((b"<!--", b"<!DOCTYPE", b"<?")):
        raise InvalidMessage(
            ErrorType.TOO_LARGE, f"the document has a tag of more than {_TAG_BYTES:,} bytes"
        )


def _entry(found: Any, *, is_typed: bool, lang: Any) -> Entry:
    contents = [each.get("value") or "" for each in found.get("content") or ()]
    html = max(contents, key=len, default="") or found.get("summary") or ""
    details = (*(found.get("content") or ()), found.get("summary_detail") or {})
    detail: Any = next((each for each in details if each.get("value") == html), {})
    titled = found.get("title_detail") or {}
    is_plain = detail.get("type") == "text/plain"
    return Entry(
        id=_given(found.get("id")),
        link=_given(_link(found)),
        title=_given(found.get("title")),
        html=None if is_plain else _given(html),
        text=_given(html) if is_plain else None,
        author=_given((found.get("author_detail") or {}).get("name") or found.get("author")),
        published=_moment(found.get("published_parsed")),
        updated=_moment(found.get("updated_parsed")) if "updated" in found else None,
        lang=_given(detail.get("language")) or _given(titled.get("language")) or _given(lang),
        tags=tuple(tag["term"] for tag in found.get("tags") or () if tag.get("term")),
        enclosures=tuple(
            Enclosure(each["href"], each.get("type") or "")
            for each in (found.get("enclosures") or ())[:100]
            if each.get("href")
        ),
        in_reply_to=_given(_replied(found)),
        is_plain_title=is_typed and titled.get("type") == "text/plain",
    )


def _link(found: Any) -> Any:
    """Return an entry's own address, which one that stands for another relation does not replace."""
    told = found.get("link")
    rels: dict[Any, set[Any]] = {}
    for each in found.get("links") or ():
        if each.get("href"):
            rels.setdefault(each["href"], set()).add(each.get("rel"))
    own = next((href for href, told_as in rels.items() if "alternate" in told_as), None)
    return told if own is None or "alternate" in rels.get(told, {"alternate"}) else own


def _replied(found: Any) -> str | None:
    """Return what an entry answers: https://www.rfc-editor.org/rfc/rfc4685 (thr:in-reply-to)."""
    told = found.get("thr_in-reply-to") or found.get("in-reply-to")
    return told.get("ref") if isinstance(told, dict) else None


def _given(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _moment(parsed: Any) -> datetime | None:
    """Return feedparser's time of day (UTC) where it is a moment of our years."""
    if parsed is None or not _YEARS[0] <= parsed[0] <= _YEARS[1]:
        return None
    try:
        return datetime.fromtimestamp(timegm(parsed), UTC)
    except (ValueError, OverflowError, OSError):
        return None
