"""HTML parts of mails as text, with what they quote marked as in plain text; pure.

The parser and the layout are a library's (resiliparse on lexbor, linear whatever the nesting). What
it does not know of is mail: a quotation is an indented block there. So the blocks that mail programs
write around what they quote are marked before, and their lines begin with `>` after.
"""

import re

from resiliparse.extract.html2text import extract_plain_text

HTML_CHARACTERS = 1_000_000
"""So much of one HTML part is read."""

TAGS = 20_000
"""So many tags of one HTML part are read; the longest recorded mail has 3,000."""
LIST_DEPTH = 20
"""Lists nested deeper are read as lines."""
BLOCKS = 1_000
"""So many beginnings and ends of indented blocks are told apart."""

_OPEN, _MAYBE, _CLOSE = "\ue000", "\ue001", "\ue002"
_MARKS = re.compile("[\ue000-\ue002]")
_BLOCKQUOTE = re.compile(r"<(/?)blockquote\b([^>]{0,2000})>", re.IGNORECASE)
_LIST = re.compile(r"<(/?)(?:ul|ol|menu|dir|dl)\b", re.IGNORECASE)
_LIST_PART = re.compile(r"</?(?:ul|ol|menu|dir|dl|li|dt|dd)\b", re.IGNORECASE)
_CITED = re.compile(
    r"type\s*=\s*[\"']?cite|(?:class|id)\s*=\s*[\"']?[^\"'>]{0,100}quote|\bcite\s*=\s*[\"']?mid:",
    re.IGNORECASE,
)
_ANNOUNCES = re.compile(
    r"(?:@|\d{1,2}[:.h]\d\d|\b(?:19|20)\d\d\b).{0,200}[:\uff1a]\s*\Z", re.DOTALL
)
_GAP_LINES = 5
_SPACES = re.compile(r"[ \t\xa0\u2007\u202f]+")
_EMPTY_LINES = re.compile(r"\n{3,}")
_INVISIBLE = re.compile("[\u200b-\u200d\u2060\u00ad\u034f\ufeff]{2,}")
QUOTED = "> "


def text_of_html(html: str) -> str:
    """Return the text of an HTML part; lines that it quotes begin with `> `."""
    html = _bounded(_MARKS.sub("", html[:HTML_CHARACTERS]))
    html = _BLOCKQUOTE.sub(_marked, html, count=BLOCKS)
    text = extract_plain_text(
        html,
        preserve_formatting=True,
        main_content=False,
        list_bullets=True,
        alt_texts=False,
        links=False,
        form_fields=False,
        noscript=True,
    )
    lines = [_SPACES.sub(" ", _INVISIBLE.sub("", line)).strip() for line in text.split("\n")]
    if _OPEN in text or _MAYBE in text:
        lines = _quoted(lines)
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip("\n")


def _bounded(html: str) -> str:
    """Return HTML of a bounded number of tags, without lists where these are nested too deeply.

    Each level of a list indents all lines below it: without a bound the text would grow with the
    square of the depth, as does the parser's time with links and bold type that nobody closes.
    """
    if html.count("<") > TAGS:
        html = "<".join(html.split("<", TAGS + 1)[:-1])
    depth = deepest = 0
    for tag in _LIST.finditer(html):
        depth = max(0, depth - 1) if tag[1] else depth + 1
        deepest = max(deepest, depth)
    return _LIST_PART.sub("<br ", html) if deepest > LIST_DEPTH else html


def _marked(tag: re.Match[str]) -> str:
    if tag[1]:
        return f"<p>{_CLOSE}</p>{tag[0]}"
    mark = _OPEN if _CITED.search(tag[2]) else _MAYBE
    return f"{tag[0]}<p>{mark}</p>"


def _quoted(lines: list[str]) -> list[str]:
    """Mark the lines between the marks, and the line that announces them.

    A block that says nothing of itself is a quotation where a line with an address, a time or a
    year and a colon announces it; else it is somebody's indented text.
    """
    told: list[str] = []
    blocks: list[bool] = []
    for line in lines:
        if not _MARKS.search(line):
            told.append(QUOTED + line if any(blocks) else line)
            continue
        for mark in _MARKS.findall(line):
            if mark == _CLOSE:
                if blocks:
                    blocks.pop()
            elif any(blocks):
                blocks.append(True)
            else:
                announced = _announce(told)
                blocks.append(mark == _OPEN or announced)
        rest = _MARKS.sub("", line).strip()
        if rest:
            told.append(QUOTED + rest if any(blocks) else rest)
    return told


def _announce(told: list[str]) -> bool:
    """Whether the last line announces a quotation; if it does, it is marked as a part of it."""
    at = len(told) - 1
    while at >= max(0, len(told) - _GAP_LINES) and not told[at]:
        at -= 1
    if at < 0 or not 0 < len(told[at]) <= 300 or not _ANNOUNCES.search(told[at]):
        return False
    if not told[at].startswith(QUOTED):
        told[at] = QUOTED + told[at]
    return True
