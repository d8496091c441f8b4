"""What a message says: its text, media, links and names; pure."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from klingel.model.social_event import Media
from klingel_networks.bounds import READ_ERRORS, check_text, refusal
from klingel_networks.telegram.records import ABSENT, BLOCKS, Entity, File, Message

MediaKind = Literal["image", "video", "audio", "file", "sticker", "location", "link"]
_FILES: tuple[tuple[str, MediaKind], ...] = (
    ("video", "video"),
    ("video_note", "video"),
    ("animation", "video"),
    ("audio", "audio"),
    ("voice", "audio"),
    ("document", "file"),
    ("sticker", "sticker"),
)
_OTHERS = ("contact", "story", "game", "invoice", "paid_media")
"""Content without words of its own, kept in the original."""
_LINK_MAX = 4096
_TAG_MAX = 640
_BLOCK_DEPTH = 64


class Names(NamedTuple):
    """What the marked stretches of a text name."""

    mentions: tuple[str, ...]
    links: tuple[str, ...]
    hashtags: tuple[str, ...]


def is_content(message: Message) -> bool:
    """Return whether somebody says something: else it is a notice of the chat."""
    if text_of(message) or next(media_of(message), None) is not None:
        return True
    return any(getattr(message, name) is not ABSENT for name in _OTHERS)


def text_of(message: Message) -> str:
    """Return the words of a message; of a poll or a checklist a line a choice."""
    found = message.text or message.caption or ""
    if not found:
        found = _other_text(message)
    check_text(found, "text")
    return found


def _other_text(message: Message) -> str:
    lines: list[str] = []
    if message.rich_message is not None:
        try:
            tree = BLOCKS.decode(message.rich_message.blocks)
        except READ_ERRORS as error:
            raise refusal(error, "rich_message.blocks") from None
        lines = [line for line in _blocks(tree) if line]
    elif message.poll is not None:
        lines = [message.poll.question, *(option.text for option in message.poll.options)]
    elif message.checklist is not None:
        lines = [message.checklist.title, *(task.text for task in message.checklist.tasks)]
    elif message.venue is not None:
        lines = [message.venue.title, message.venue.address or ""]
    elif message.web_app_data is not None:
        lines = [message.web_app_data.data]
    elif message.sticker is not None or message.dice is not None:
        shown = message.sticker or message.dice
        lines = [shown.emoji or ""] if shown is not None else []
    return "\n".join(line for line in lines if line)


def _blocks(tree: Any) -> Iterator[str]:
    """Yield a line a block; what nests within a block's text belongs to its line."""
    for block in tree if isinstance(tree, list) else [tree]:
        if not isinstance(block, dict):
            continue
        if "text" in block:
            yield _flat(block["text"])
        for name in ("blocks", "items", "cells", "caption", "credit"):
            inner = block.get(name)
            if name == "cells" and isinstance(inner, list):
                for row in inner:
                    cells = row if isinstance(row, list) else [row]
                    yield "\t".join(_flat(c.get("text")) for c in cells if isinstance(c, dict))
            elif inner is not None:
                yield from _blocks(inner)


def _flat(text: Any, depth: int = 0) -> str:
    if isinstance(text, str):
        return text
    if depth > _BLOCK_DEPTH:
        return ""
    if isinstance(text, list):
        return "".join(_flat(each, depth + 1) for each in text)
    if isinstance(text, dict):
        return _flat(text.get("text"), depth + 1)
    return ""


def media_of(message: Message) -> Iterator[Media]:
    """Yield the media; of a photo's sizes the greatest, which stands last."""
    if message.photo:
        yield _medium("image", message.photo[-1])
    for name, kind in _FILES:
        file: File | None = getattr(message, name)
        if file is not None and not (name == "document" and message.animation is not None):
            yield _medium(kind, file)
    place = message.location
    if place is not None:
        yield Media(kind="location", id=f"{place.latitude:.6f},{place.longitude:.6f}")


def _medium(kind: MediaKind, file: File) -> Media:
    return Media(kind=kind, id=file.file_id, alt=file.emoji or None, status="remote")


def names_of(message: Message) -> Names:
    """Return who and what the text names; marks outside of the text are ignored."""
    text = message.text if message.text is not None else message.caption
    marks = message.entities if message.text is not None else message.caption_entities
    if not text or not marks:
        return Names((), (), ())
    units = text.encode("utf-16-le")
    mentions, links, hashtags = list[str](), list[str](), list[str]()
    for mark in marks:
        stretch = _stretch(units, mark)
        if mark.type == "text_mention" and mark.user is not None:
            mentions.append(str(mark.user.id))
        elif mark.type == "mention" and stretch.startswith("@"):
            mentions.append(stretch.lower())
        elif mark.type == "text_link" and mark.url is not None and _is_web(mark.url):
            links.append(mark.url)
        elif mark.type == "url" and _is_web(stretch):
            links.append(stretch)
        elif mark.type == "hashtag" and 1 < len(stretch) <= _TAG_MAX:
            hashtags.append(stretch[1:].lower())
    return Names(*(tuple(dict.fromkeys(named)) for named in (mentions, links, hashtags)))


def _stretch(units: bytes, mark: Entity) -> str:
    start, end = 2 * mark.offset, 2 * (mark.offset + mark.length)
    if not 0 <= start < end <= len(units):
        return ""
    return units[start:end].decode("utf-16-le", "ignore")


def _is_web(url: str) -> bool:
    return (
        len(url) <= _LINK_MAX
        and url[:8].lower().startswith(("http://", "https://"))
        and url.isprintable()
    )
