"""Did we see this before? Marks, sightings and the merge of what several deliveries said.

A *mark* remembers one raw event: object, revision, offset, content, whether anyone heard it. It is
32 bytes in the log (`understand-marks`) and stands under object and revision in local state.
"""

import struct
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from klingel.domain.draft import SocialDraft
from klingel.domain.identity import hash64, hash64_bytes
from klingel.model.social_event import Media

ROW = struct.Struct(">16sQQ")
"""Mark key (object hash, revision), offset, content with two flags: 32 bytes."""

SIGHTINGS = 32
"""Raw events of one revision that local state remembers."""

WORDS = ("text", "langs", "media", "links", "hashtags", "mentions")
"""Fields of a draft that hold what was said; withheld, none of them is told."""

_KNOWN_MEDIA = {"stored": 3, "failed": 2, "remote": 1}
_HEARD = 1
_DELETION = 2
_SIGHTING = struct.Struct(">QQ")


class Sighting(NamedTuple):
    """One raw event of an object's revision: where it lies, what it said, who listened."""

    offset: int
    content: int
    heard: bool
    deletion: bool


class Known(StrEnum):
    """How a raw event relates to what was seen of its object's revision."""

    NEW = "new"
    REPLAY = "replay"
    DUPLICATE = "duplicate"
    COMPLETES = "completes"


def content_bits(content_hash: str) -> int:
    """Return the 62 bits of a content hash that a mark keeps."""
    return int(content_hash, 16) & ~(_HEARD | _DELETION)


def mark_key(object_id: str, revision: int) -> bytes:
    """Return the key of an object's revision in local state: 16 bytes."""
    return hash64_bytes(object_id) + revision.to_bytes(8, "big")


def deletion_key(key: bytes) -> bytes:
    """Return the key under which a deletion before the first sight is remembered: 9 bytes.

    Args:
        key: mark key of any of the object's revisions.
    """
    return b"x" + key[:8]


def latest_deletion(known: bytes | None, key: bytes, offset: int) -> bytes:
    """Return what a deletion key remembers: the offset and revision of the newest deletion.

    Args:
        known: what it remembered before.
        key: mark key of the deletion.
        offset: of the deletion.
    """
    revision = int.from_bytes(key[8:], "big")
    if known is not None and read_deletion(known)[1] >= revision:
        return known
    return offset.to_bytes(8, "big") + revision.to_bytes(8, "big")


def read_deletion(value: bytes) -> tuple[int, int]:
    """Return (offset, revision) of the newest deletion of an object that nobody knows."""
    return int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big")


def pack_row(key: bytes, sighting: Sighting) -> bytes:
    """Return a mark's 32 bytes: its key, then the sighting."""
    flags = (_HEARD if sighting.heard else 0) | (_DELETION if sighting.deletion else 0)
    return key + _SIGHTING.pack(sighting.offset, sighting.content | flags)


def unpack_rows(rows: bytes) -> Iterable[tuple[bytes, bytes, Sighting]]:
    """Yield (mark key, deletion key, sighting) of packed marks."""
    for key, offset, content in ROW.iter_unpack(rows):
        yield key, deletion_key(key), _sighting(offset, content)


def _sighting(offset: int, content: int) -> Sighting:
    return Sighting(
        offset,
        content & ~(_HEARD | _DELETION),
        heard=bool(content & _HEARD),
        deletion=bool(content & _DELETION),
    )


def read_sightings(value: bytes | None) -> tuple[Sighting, ...]:
    """Read what local state keeps under a mark key."""
    if value is None:
        return ()
    return tuple(_sighting(offset, content) for offset, content in _SIGHTING.iter_unpack(value))


def add_sighting(value: bytes | None, sighting: Sighting) -> bytes:
    """Return the value of a mark key with one more sighting; the same offset counts once.

    Beyond SIGHTINGS the newest one that repeats an earlier one is forgotten: seen once more, it is
    a duplicate again.
    """
    known = {seen.offset: seen for seen in read_sightings(value)}
    known[sighting.offset] = sighting
    kept = sorted(known.values())
    if len(kept) > SIGHTINGS:
        del kept[_newest_repetition(kept)]
    return b"".join(
        _SIGHTING.pack(
            seen.offset,
            seen.content | (_HEARD if seen.heard else 0) | (_DELETION if seen.deletion else 0),
        )
        for seen in kept
    )


def _newest_repetition(sightings: Sequence[Sighting]) -> int:
    told = [sighting[1:] for sighting in sightings]
    return next((at for at in range(len(told) - 1, 0, -1) if told[at] in told[:at]), len(told) - 1)


def content_at(seen: Sequence[Sighting], offset: int) -> int | None:
    """Return what the raw event at `offset` said when it was seen, None if it was not."""
    return next((sighting.content for sighting in seen if sighting.offset == offset), None)


def first_offset(seen: Sequence[Sighting], content: int, offset: int) -> int:
    """Return where this content was seen first; `offset` itself where it was not seen before."""
    return min([offset, *(each.offset for each in seen if each.content == content)])


def other_contents(seen: Sequence[Sighting], own: int) -> list[int]:
    """Return where each content other than `own` was seen first: offsets, in order."""
    first: dict[int, int] = {}
    for sighting in sorted(seen):
        if sighting.content != own:
            first.setdefault(sighting.content, sighting.offset)
    return sorted(first.values())


def relate(seen: Sequence[Sighting], offset: int, content: int) -> Known:
    """Tell how a raw event at `offset` with `content` relates to earlier sightings."""
    if not seen:
        return Known.NEW
    if any(sighting.offset == offset for sighting in seen):
        return Known.REPLAY
    if any(sighting.content == content for sighting in seen):
        return Known.DUPLICATE
    return Known.COMPLETES


def merge_drafts(drafts: Sequence[SocialDraft]) -> SocialDraft:
    """Merge what several deliveries said of one revision; the order does not matter.

    A present field beats an absent one; of two present values the one with the greater hash wins.
    A deletion beats everything else that has its revision. What was found out about a medium later
    (it is stored, it can never be had) beats what the event itself said of it; what tells nothing
    but that says nothing else. Words that one of them withholds are told by none.
    """
    drafts = [draft for draft in drafts if draft.change == "deleted"] or drafts
    speaking = [draft for draft in drafts if not draft.only_media] or drafts
    merged = {}
    for name in SocialDraft.__struct_fields__:
        values = [value for draft in speaking if _present(value := getattr(draft, name))]
        if values:
            merged[name] = max(values, key=_weight)
    if "media" in merged:
        merged["media"] = _merge_media(drafts, speaking)
    if any(draft.withheld for draft in drafts):
        merged = {name: value for name, value in merged.items() if name not in WORDS}
        merged["withheld"] = True
    return SocialDraft(**merged)


def _merge_media(
    drafts: Sequence[SocialDraft], speaking: Sequence[SocialDraft]
) -> tuple[Media, ...]:
    """Return the media of the list that wins among those that speak, each as it is known best."""
    best: dict[tuple[str | None, ...], Media] = {}
    for medium in (each for draft in drafts for each in draft.media):
        known = best.get(place_of(medium))
        if known is None or _how_well(medium) > _how_well(known):
            best[place_of(medium)] = medium
    lists = [[place_of(medium) for medium in draft.media] for draft in speaking if draft.media]
    return tuple(best[place] for place in max(lists, key=_weight))


def place_of(medium: Media) -> tuple[str | None, ...]:
    """Return what names a medium, whatever became of it."""
    return medium.kind, medium.id, None if medium.id else medium.url


def _how_well(medium: Media) -> tuple[int, str]:
    return _KNOWN_MEDIA.get(medium.status or "", 0), _weight(medium)


def _present(value: object) -> bool:
    return value not in (None, (), "", {})


def _weight(value: object) -> str:
    return hash64(msgspec.json.encode(value).decode("utf-8"))
