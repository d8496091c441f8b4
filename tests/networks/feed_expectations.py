"""What feedparser's own files state of themselves, read without running it.

Each file begins with a comment `Expect: not bozo and entries[0]['title'] == u'…'`. The expression is
parsed, never evaluated: it falls into conjuncts, and each of these must be one of the forms below, so
that no statement is passed over in silence.
"""

import ast
import codecs
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any, Final, NamedTuple

from klingel.domain.identity import hash64, object_id

_EXPECT = re.compile(r"Expect:\s*(.*?)\s*-->", re.DOTALL)
_HEADER = re.compile(r"^Header:\s*([A-Za-z-]+):\s*(.+?)\s*$", re.MULTILINE)
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    ("<?".encode("utf-32-le"), "utf-32-le"),
    ("<?".encode("utf-32-be"), "utf-32-be"),
    ("<?".encode("utf-16-le"), "utf-16-le"),
    ("<?".encode("utf-16-be"), "utf-16-be"),
)
ABSENT: Final = None
"""The value of a statement that a field is not there."""


class Other(NamedTuple):
    """A value that is no literal: another path, or a moment put together by a call."""

    expression: str


class Claim(NamedTuple):
    """One conjunct: what stands at a path equals a value, or does not."""

    path: tuple[str | int, ...]
    is_equal: bool
    value: Any


class Stated(NamedTuple):
    """What a file states: the headers that it came with, and its claims."""

    headers: dict[str, str]
    claims: tuple[Claim, ...]


def stated(body: bytes) -> Stated:
    """Return what a file states of itself.

    Raises:
        ValueError: it states nothing, or in a form that is not known here.
    """
    text = _decoded(body)
    found = _EXPECT.search(text)
    if found is None:
        raise ValueError("the file states no expectation")
    headers = {name.lower(): value for name, value in _HEADER.findall(text[: found.end()])}
    return Stated(headers, tuple(_claims(ast.parse(found[1], mode="eval").body)))


def _decoded(body: bytes) -> str:
    """Return the file's characters, as far as the comment needs them: it is ASCII and escapes."""
    for mark, name in _MARKS:
        if body.startswith(mark):
            return body.decode(name, "replace")
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("latin-1")


def _claims(node: ast.expr) -> list[Claim]:  # noqa: PLR0911 - one form, one line
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return [claim for value in values for claim in _claims(value)]
        case ast.Constant(value=1):
            return []
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return [_unsaid(operand)]
        case ast.Compare(left=left, ops=[ast.Eq() | ast.Is()], comparators=[right]):
            return [_compared(left, right, is_equal=True)]
        case ast.Compare(left=left, ops=[ast.Eq(), ast.Eq()], comparators=[middle, right]):
            return [_compared(each, right, is_equal=True) for each in (left, middle)]
        case ast.Compare(left=left, ops=[ast.NotEq()], comparators=[right]):
            return [_compared(left, right, is_equal=False)]
        case ast.Call(func=ast.Name(id="isinstance"), args=[of, _]):
            return [Claim(_path(of), is_equal=False, value=ABSENT)]
        case _:
            return [Claim(_path(node), is_equal=True, value=True)]


def _unsaid(node: ast.expr) -> Claim:
    """Return the claim that something is not there, or false."""
    match node:
        case ast.Call(func=ast.Attribute(value=of, attr="has_key"), args=[ast.Constant(value=key)]):
            return Claim((*_path(of), _step(key)), is_equal=True, value=ABSENT)
        case ast.Compare(left=ast.Constant(value=key), ops=[ast.In()]):
            return Claim((_step(key),), is_equal=True, value=ABSENT)
        case _:
            return Claim(_path(node), is_equal=True, value=False)


def _compared(left: ast.expr, right: ast.expr, *, is_equal: bool) -> Claim:
    match left:
        case ast.Call(func=ast.Name(id="ord"), args=[of]):
            return Claim(_path(of), is_equal, chr(_literal(right)))
        case ast.Call(func=ast.Name(id="len"), args=[of]):
            return Claim((*_path(of), "len"), is_equal, _literal(right))
        case _:
            return Claim(_path(left), is_equal, _literal(right))


def _path(node: ast.expr) -> tuple[str | int, ...]:
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Attribute(value=of, attr=name):
            return (*_path(of), name)
        case ast.Subscript(value=of, slice=ast.Constant(value=key)):
            return (*_path(of), _step(key))
        case ast.Call(func=ast.Attribute(value=of, attr="get"), args=[ast.Constant(value=key)]):
            return (*_path(of), _step(key))
        case _:
            raise ValueError(f"no path is known for {ast.dump(node)}")


def _step(key: object) -> str | int:
    if isinstance(key, (str, int)):
        return key
    raise ValueError(f"{key!r} leads nowhere")


def _literal(node: ast.expr) -> Any:
    """Return a literal's value, texts put together by `+`; Other where it is none."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _literal(node.left) + _literal(node.right)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return Other(ast.unparse(node))


class _Words(HTMLParser):
    """Keeps the characters of a document and a blank for each tag that ends a line."""

    INLINE: Final = frozenset(
        re.findall(
            r"\w+",
            "a abbr acronym b bdo big blink cite code del dfn em font i img ins kbd label math mi mn"
            " mo mrow q s samp small span strike strong sub sup tt u var",
        )
    )
    UNSEEN: Final = frozenset(("script", "style", "head", "title", "noscript", "template"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.kept: list[str] = []
        self.unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.unseen += tag in self.UNSEEN
        self._end_line(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._end_line(tag)

    def handle_endtag(self, tag: str) -> None:
        self.unseen -= tag in self.UNSEEN and self.unseen > 0
        self._end_line(tag)

    def handle_data(self, data: str) -> None:
        if not self.unseen:
            self.kept.append(data)

    def _end_line(self, tag: str) -> None:
        if tag not in self.INLINE:
            self.kept.append(" ")


def words_of(html: str) -> str:
    """Return what a piece of HTML says, by the standard library alone; blanks are one space."""
    reader = _Words()
    reader.feed(html)
    reader.close()
    return blanks("".join(reader.kept))


def blanks(text: str) -> str:
    """Return a text with every run of blanks as one space."""
    return " ".join(text.split())


_ASPECTS: Final = (
    ("number", r"len"),
    ("title", r"\d+\.(?:title|title_detail\.value)"),
    ("words", r"\d+\.(?:description|summary|summary_detail\.value|content\.\d+\.value)"),
    ("link", r"\d+\.(?:link|links\.\d+\.href)"),
    ("id", r"\d+\.(?:id|guid)"),
    ("author", r"\d+\.(?:author|author_detail\.name|authors\.\d+\.name)"),
    ("published", r"\d+\.(?:published|published_parsed)"),
    ("updated", r"\d+\.(?:updated|updated_parsed)"),
    ("language", r"\d+\.(?:title_detail|summary_detail|content\.\d+)\.language"),
    ("category", r"\d+\.(?:category|tags\.\d+\.term)"),
    ("enclosure", r"\d+\.enclosures\.\d+\.(?:href|url)"),
)


def aspect_of(claim: Claim) -> str | None:
    """Return what of an event a claim is about; None for what no event carries."""
    if claim.path[0] != "entries":
        return None
    path = ".".join(map(str, claim.path[1:]))
    return next((name for name, form in _ASPECTS if re.fullmatch(form, path)), None)


def field_of(claim: Claim) -> str:
    """Return the name of the field that a claim is about: `feed.title`, `entry.rights`, `bozo`."""
    if claim.path[0] == "entries":
        return f"entry.{claim.path[2]}" if len(claim.path) > 2 else "entries"
    return ".".join(map(str, claim.path[:2]))


def holds(
    claim: Claim, aspect: str, told: list[dict[str, Any]], reduced: Callable[[str], str] = words_of
) -> bool:
    """Tell whether the mapping's answer to a file says what a claim says.

    Args:
        claim: what the file states.
        aspect: what of an event it is about.
        told: what `map_delivery` makes of the file.
        reduced: makes of a stated text what an event says of it: `words_of` of HTML, `blanks` of
            plain characters.

    Raises:
        TypeError: the claim compares with something that is no literal.
    """
    if aspect == "number":
        return (len(told) == claim.value) is claim.is_equal
    at = claim.path[1]
    assert isinstance(at, int)
    if at >= len(told) or told[at]["fate"] != "delivered":
        return False
    return _says(told[at]["event"], aspect, claim, reduced) is claim.is_equal


def _says(event: dict[str, Any], aspect: str, claim: Claim, reduced: Callable[[str], str]) -> bool:
    value = claim.value
    if isinstance(value, Other):
        raise TypeError(f"{value.expression} is no literal")
    if aspect in {"title", "words"}:
        return _says_text(event.get("text", ""), aspect, reduced(value))
    if aspect in {"published", "updated"}:
        told = event.get("changed_at") if aspect == "updated" else None
        return _moment(told or event.get("published_at")) == _moment(value)
    if aspect == "id":
        return bool(event["object_id"] == object_id("feed", "feed", hash64("id", value.strip())))
    return bool(_field(event, aspect, claim.path) == _as_told(value, aspect))


def _field(event: dict[str, Any], aspect: str, path: tuple[str | int, ...]) -> Any:
    """Return what an event says at a path of the entry; None where it says nothing."""
    at = path[3] if len(path) > 4 and isinstance(path[3], int) else 0
    listed = {
        "link": [event.get("url")],
        "author": [event.get("author", {}).get("name")],
        "language": event.get("langs", []),
        "category": event.get("hashtags", []),
        "enclosure": [medium["url"] for medium in event.get("media", [])],
    }[aspect]
    at = at if aspect in {"category", "enclosure"} else 0
    return listed[at] if at < len(listed) else None


def _as_told(value: Any, aspect: str) -> Any:
    """Return a stated value as an event writes it: its tags are in small letters."""
    return value.lower() if aspect == "category" and value is not None else value


def _says_text(text: str, aspect: str, words: str) -> bool:
    """Tell whether a text, which is a title, a blank line and words, has words as one of these."""
    if blanks(text) == words:
        return True
    title, both, rest = text.partition("\n\n")
    return bool(both) and blanks(title if aspect == "title" else rest) == words


def _moment(value: Any) -> datetime | None:
    """Return a moment of an event, of feedparser (a time tuple of UTC) or of a feed's own text."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return datetime(*value[:6], tzinfo=UTC)
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return parsedate_to_datetime(value)
