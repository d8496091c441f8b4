"""The parts of a mail: cut at their boundaries, decoded, sorted into text and attachments; pure.

    parts = read_parts(header, data, start)

Headers are read by the standard library; the cutting is our own, because a mail is hostile input:
the library's parser walks every line under every open boundary, in nested generators, and writes
attached mails anew, so that their hash would be that of our own bytes. Here each level costs one
search over its bytes, the depth, the parts and the boundaries are bounded, and a part is a slice of
what was received. What lies beyond a bound is left out, the original is kept.
"""

import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from klingel.errors import InvalidMessage
from klingel_networks.email.charsets import decoded
from klingel_networks.email.header import Content, Header, read_header
from klingel_networks.email.markup import text_of_html

DEPTH = 30
"""Levels of nesting that are followed; the deepest recorded mail has 5."""
PARTS = 500
"""Parts that are looked at."""
BOUNDARIES = 2_000
"""Boundaries that are followed in one multipart."""
TEXT_BYTES = 1 << 20
"""So much of one text part is read."""
UU_LINES = 500_000
"""Lines of one uuencoded part that are decoded."""
TEXTS = 50
"""Text parts that are read."""

_UU_BEGIN = re.compile(rb"^begin [0-7]{3,4} [^\r\n]*\r?\n", re.MULTILINE)
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_TEXTS = ("text/plain", "text/html")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is no text of the mail.

    Attributes:
        type: media type in lower case.
        filename: as shown; None without.
        sha256: of the decoded bytes, in hex.
        size: of the decoded bytes.
        inline: whether it is shown within the text.
    """

    type: str
    filename: str | None
    sha256: str
    size: int
    inline: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """What a mail consists of.

    Attributes:
        text: what a person reads, of several alternatives the plain one; quotations in HTML are
            marked by `>` as in plain text.
        attachments: in their order.
        complete: whether nothing was left out for its depth or number.
        is_calendar: whether an invitation or the answer to one is among the parts.
    """

    text: str
    attachments: tuple[Attachment, ...]
    complete: bool
    is_calendar: bool


@dataclass(frozen=True, slots=True)
class _Node:
    """A part: its content's description, its place in the mail, and the parts inside."""

    content: Content
    start: int
    end: int
    children: tuple["_Node", ...] = ()


def read_parts(header: Header, data: bytes, start: int) -> Parts:
    """Return what the body of a mail consists of.

    Args:
        header: of the mail.
        data: the mail.
        start: where its body begins.
    """
    reader = _Reader(data)
    root = reader.node(header.content, start, len(data), 0)
    texts = list(reader.texts(root))
    text = "\n\n".join(filter(None, (each.strip("\n") for each in texts)))
    attachments = tuple(each for each, _ in reader.attachments(root, is_root=True))
    calendar = any(each.type == "text/calendar" for each in attachments)
    return Parts(text, attachments, reader.complete, calendar)


def read_attachment(header: Header, data: bytes, start: int, digest: str) -> bytes | None:
    """Return the bytes of the attachment whose SHA-256 is `digest`; None where it is not there.

    Args:
        header: of the mail.
        data: the mail.
        start: where its body begins.
        digest: in hex, as `read_parts` tells it.
    """
    reader = _Reader(data)
    root = reader.node(header.content, start, len(data), 0)
    for _ in reader.texts(root):  # only so it is known which parts are texts
        continue
    for each, content in reader.attachments(root, is_root=True):
        if each.sha256 == digest:
            return content
    return None


class _Reader:
    """One mail on the way to its parts."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.complete = True
        self.parts_left = PARTS
        self.texts_left = TEXTS
        self.read: set[int] = set()

    def node(self, content: Content, start: int, end: int, depth: int) -> _Node:
        """Return a part with the parts inside; text where a multipart holds no boundary."""
        if not content.type.startswith("multipart/") or content.boundary is None:
            return _Node(content, start, end)
        spans = self._spans(content.boundary, start, end)
        if not spans:
            return _Node(content._replace(type="text/plain"), start, end)
        if depth == DEPTH:
            self.complete = False
            return _Node(content, start, start)
        children: list[_Node] = []
        for inner_start, inner_end in spans:
            if not self.parts_left:
                self.complete = False
                break
            self.parts_left -= 1
            try:
                header, body = read_header(self.data, inner_start, inner_end)
            except InvalidMessage:
                self.complete = False
                continue
            inner = header.content
            if content.type == "multipart/digest" and not inner.declared:
                inner = inner._replace(type="message/rfc822")
            children.append(self.node(inner, body, inner_end, depth + 1))
        return _Node(content, start, end, tuple(children))

    def _spans(self, boundary: bytes, start: int, end: int) -> list[tuple[int, int]]:
        """Return where the parts between boundaries lie; a missing last boundary is none needed."""
        delimiter = b"--" + boundary
        spans: list[tuple[int, int]] = []
        opened: int | None = None
        at = start
        for _ in range(BOUNDARIES):
            found = self.data.find(delimiter, at, end)
            if found < 0:
                break
            at = found + len(delimiter)
            if found > start and self.data[found - 1 : found] != b"\n":
                continue
            line_end = self.data.find(b"\n", at, end)
            rest = self.data[at : end if line_end < 0 else min(line_end, at + 200)]
            closing = rest.startswith(b"--")
            if rest[2 if closing else 0 :].strip():
                continue  # a longer boundary that begins with this one
            if opened is not None:
                spans.append((opened, self._before_break(opened, found)))
            opened = None if closing or line_end < 0 else line_end + 1
            if closing:
                break
        else:
            self.complete = False
        if opened is not None:
            spans.append((opened, end))
        return spans

    def _before_break(self, start: int, end: int) -> int:
        """Return the end of a part: the line end before a boundary belongs to the boundary."""
        if end > start and self.data[end - 1 : end] == b"\n":
            end -= 1
            if end > start and self.data[end - 1 : end] == b"\r":
                end -= 1
        return end

    def texts(self, node: _Node) -> Iterator[str]:
        """Yield the texts that a person reads, and note which parts they are."""
        kind = node.content.type
        if not node.children:
            if kind in _TEXTS and not self._is_attached(node) and self.texts_left:
                self.texts_left -= 1
                self.read.add(node.start)
                yield self._text(node)
        elif kind == "multipart/alternative":
            yield from self._best(node)
        elif kind in {"multipart/signed", "multipart/report"}:
            yield from self.texts(node.children[0])
        else:
            for child in node.children:
                yield from self.texts(child)

    def _best(self, node: _Node) -> Iterator[str]:
        """Yield the first alternative in plain text that says something, else the last that does."""
        best: list[str] = []
        for child in node.children:
            found = [text for text in self.texts(child) if text.strip()]
            if found and (child.content.type == "text/plain" or _is_plain(child)):
                best = found
                break
            best = found or best
        for child in node.children:
            self._note_read(child)
        yield from best

    def _note_read(self, node: _Node) -> None:
        """Note what is another form of a text that was read."""
        if node.content.type in _TEXTS and not self._is_attached(node):
            self.read.add(node.start)
        for child in node.children:
            self._note_read(child)

    @staticmethod
    def _is_attached(node: _Node) -> bool:
        content = node.content
        return content.disposition == "attachment" or (
            content.filename is not None and content.disposition != "inline"
        )

    def _text(self, node: _Node) -> str:
        data = _transferred(
            self.data[node.start : min(node.end, node.start + 2 * TEXT_BYTES)], node.content
        )[:TEXT_BYTES]
        text = decoded(data, node.content.charset)
        return text_of_html(text) if node.content.type == "text/html" else text

    def attachments(
        self, node: _Node, *, is_root: bool = False
    ) -> Iterator[tuple[Attachment, bytes]]:
        """Yield the parts that no text was read from, with their bytes; an attached mail is one."""
        if node.children:
            for child in node.children:
                yield from self.attachments(child)
            return
        content = node.content
        if node.start in self.read or content.type.startswith("multipart/"):
            return
        if content.type in _TEXTS and not self._is_attached(node) and is_root:
            return
        data = self.data[node.start : node.end]
        if not content.type.startswith("message/"):
            data = _transferred(data, content)
        if not data:
            return
        told = Attachment(
            type=content.type,
            filename=content.filename,
            sha256=sha256(data).hexdigest(),
            size=len(data),
            inline=content.disposition == "inline" or content.id is not None,
        )
        yield told, data


def _is_plain(node: _Node) -> bool:
    """Whether the texts of an alternative that has parts itself are plain ones."""
    if not node.children:
        return node.content.type == "text/plain"
    return node.content.type != "multipart/related" and all(map(_is_plain, node.children[:1]))


def _transferred(data: bytes, content: Content) -> bytes:
    """Undo the transfer encoding, of broken ones as much as can be."""
    encoding = content.encoding
    if encoding == "base64":
        return _base64(data)
    if encoding == "quoted-printable":
        return quopri.decodestring(data)
    if encoding in {"x-uuencode", "uuencode", "uue", "x-uue"}:
        return _uudecoded(data)
    return data


def _base64(data: bytes) -> bytes:
    """Return what base64 says up to its end; foreign characters and missing padding are no matter."""
    body, padding, rest = data.partition(b"=")
    clean = _NO_BASE64.sub(b"", body)
    if len(clean) % 4 == 1:
        clean = clean[:-1]
    found = binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))
    # Some programs encode piece by piece, each with its padding.
    more = rest.lstrip(b"=\r\n \t") if padding else b""
    if more and _NO_BASE64.sub(b"", more[:4]) == more[:4] and len(more) > 4:
        return found + _pieces(more)
    return found


def _pieces(data: bytes) -> bytes:
    found = bytearray()
    for piece in re.split(rb"=+", data):
        clean = _NO_BASE64.sub(b"", piece)
        if len(clean) % 4 == 1:
            clean = clean[:-1]
        found += binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))
    return bytes(found)


def _uudecoded(data: bytes) -> bytes:
    begin = _UU_BEGIN.search(data)
    if begin is None:
        return data
    found = bytearray()
    for line in data[begin.end() :].split(b"\n", UU_LINES)[:UU_LINES]:
        if line.strip() == b"end":
            break
        try:
            found += binascii.a2b_uu(line)
        except binascii.Error:
            continue
    return bytes(found)
