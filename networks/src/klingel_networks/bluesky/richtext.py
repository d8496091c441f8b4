"""What marks a text of Bluesky: mentions, links, tags, by their place in its UTF-8 form; pure."""

from collections.abc import Sequence

from klingel_networks.bluesky.records import ByteSlice, Facet, Feature
from klingel_networks.bluesky.syntax import is_did

_WEB_SCHEMES = ("http://", "https://")
_LINK_MAX = 4096
_TAG_MAX = 640


def is_web(uri: str) -> bool:
    """Return whether an address is one of the web that a record can hold."""
    return len(uri) <= _LINK_MAX and uri[:8].lower().startswith(_WEB_SCHEMES) and "\x00" not in uri


def marked(
    said: str, facets: Sequence[Facet] | None, tags: Sequence[str] | None = None
) -> tuple[list[str], list[str], list[str]]:
    """Return mentioned DIDs, links and tags; facets that mark no stretch of the text are ignored.

    Facets count bytes of the text's UTF-8 form, and neither end may split a character.
    """
    mentions: list[str] = []
    links: list[str] = []
    hashtags = [tag for tag in map(_tag, tags or ()) if tag]
    if not facets:
        return mentions, links, hashtags
    text = said.encode()
    features = [
        feature for facet in facets if _marks(facet.index, text) for feature in facet.features
    ]
    for feature in features:
        _note(feature, mentions, links, hashtags)
    return mentions, links, hashtags


def _note(feature: Feature, mentions: list[str], links: list[str], hashtags: list[str]) -> None:
    shape = feature.type_
    if shape == "app.bsky.richtext.facet#mention":
        if feature.did and is_did(feature.did):
            mentions.append(feature.did)
    elif shape == "app.bsky.richtext.facet#link":
        if feature.uri and is_web(feature.uri):
            links.append(feature.uri)
    elif shape == "app.bsky.richtext.facet#tag" and feature.tag:
        tag = _tag(feature.tag)
        if tag:
            hashtags.append(tag)


def _tag(tag: str) -> str:
    return "" if len(tag) > _TAG_MAX or "\x00" in tag else tag.removeprefix("#").lower()


def _marks(index: ByteSlice, text: bytes) -> bool:
    start, end = index.start, index.end
    if not 0 <= start < end <= len(text):
        return False
    return _starts_character(text, start) and _starts_character(text, end)


def _starts_character(text: bytes, at: int) -> bool:
    return at == len(text) or text[at] & 0xC0 != 0x80
