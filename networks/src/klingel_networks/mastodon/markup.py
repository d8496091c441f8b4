"""The HTML of a status as text and links; pure.

Mastodon's subset: https://docs.joinmastodon.org/spec/activitypub/#sanitization. What stands in an
invisible span belongs to the link that it shortens, so it stays.
"""

import re
from collections.abc import Iterator
from html import unescape

from resiliparse.extract.html2text import extract_plain_text

_ANCHOR = re.compile(r"<a\b([^>]{0,8000})>", re.IGNORECASE)
_HREF = re.compile(r"\bhref\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_OURS = re.compile(r"\bclass\s*=\s*[\"'][^\"']*\b(?:mention|hashtag)\b", re.IGNORECASE)
_QUOTED = re.compile(r'<(p|span) class="quote-inline">.{0,8000}?</a>\s*</\1>', re.DOTALL)
"""What servers without quotes show in their place; the quote itself is told apart from the text."""
_LINK_MAX = 4096
_WEB = ("http://", "https://")


def without_quoted(content: str) -> str:
    """Return the HTML without the line that stands for a quoted status."""
    return _QUOTED.sub("", content) if "quote-inline" in content else content


def text_of(content: str) -> str:
    """Return the text that a reader sees, paragraphs apart."""
    if "<" not in content and "&" not in content:
        return content.strip()
    if content.count("<") == 2 and content.startswith("<p>") and content.endswith("</p>"):
        return unescape(content[3:-4]).strip()  # most statuses are one plain paragraph
    text: str = extract_plain_text(
        content, main_content=False, preserve_formatting=True, alt_texts=False, links=False
    )
    return text.strip()


def links_of(content: str) -> Iterator[str]:
    """Yield the addresses that the author linked; mentions and hashtags are no links."""
    for anchor in _ANCHOR.finditer(content):
        if _OURS.search(anchor[1]):
            continue
        href = _HREF.search(anchor[1])
        if href is None:
            continue
        url = unescape(href[1] or href[2] or "")
        if is_web(url):
            yield url


def is_web(url: str) -> bool:
    """Return whether `url` is a web address that an event can hold."""
    return len(url) <= _LINK_MAX and url[:8].lower().startswith(_WEB) and url.isprintable()
