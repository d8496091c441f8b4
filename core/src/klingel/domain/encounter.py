"""A raw event beside what is known of its object: what it is, and what is known afterwards.

An object is known by its entry, an event by the sightings of its revision. Nothing here knows where
these are kept.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from klingel.domain.dedupe import (
    Known,
    Sighting,
    content_at,
    content_bits,
    first_offset,
    merge_drafts,
    relate,
)
from klingel.domain.draft import SocialDraft
from klingel.domain.erasure import Suppressed, author_name
from klingel.domain.identity import content_hash, index_month
from klingel.model import DirectoryEntry, RawEvent, Suppression
from klingel.model.directory_entry import Contribution
from klingel.model.social_event import Match

CONTRIBUTIONS = 8
"""Contents of one revision that are merged; a further one completes nothing."""


@dataclass(frozen=True, slots=True)
class Said:
    """A raw event in our words."""

    raw: RawEvent
    draft: SocialDraft
    content: str
    others: Sequence[tuple[int, "Said"]] = ()
    """Of a merge: where the other contents were seen first, and what they say."""

    @classmethod
    def of(cls, raw: RawEvent, draft: SocialDraft) -> "Said":
        """Return what one raw event says."""
        return cls(raw, draft, content_hash(draft))

    @classmethod
    def merged(cls, own: "Said", others: Sequence[tuple[int, "Said"]]) -> "Said":
        """Return what several contents of one revision say together.

        It is told as the raw event of this one, but never as the media worker's, if it can be
        helped: who heard the event, when and through which account is how it may be answered.

        Args:
            own: the content at hand.
            others: where each other content was seen first, and what it says.
        """
        raw = own.raw
        if own.draft.only_media:
            raw = next((each.raw for _, each in others if not each.draft.only_media), raw)
        draft = merge_drafts([own.draft, *(each.draft for _, each in others)])
        return cls(raw, draft, content_hash(draft), others)


class Place(NamedTuple):
    """The conversation of an object, what names it, and the brands with an open case in it."""

    conversation: str
    threading: str
    tracking: Collection[str]


class Encounter(NamedTuple):
    """A raw event beside what is known of its object.

    Attributes:
        said: the event in our words.
        entry: of its object; None where nobody knows it.
        offset: where it was seen first.
        seen: of its revision.
    """

    said: Said
    entry: DirectoryEntry | None
    offset: int
    seen: Sequence[Sighting]

    @property
    def own(self) -> Sighting | None:
        """This very event, as it was seen; None where it was not."""
        return next((each for each in self.seen if each.offset == self.offset), None)

    @property
    def bits(self) -> int:
        """What is compared of its content: as it was when it was seen."""
        kept = content_at(self.seen, self.offset)
        return content_bits(self.said.content) if kept is None else kept


def demand_of(said: Said, suppressed: Suppressed) -> Suppression | None:
    """Return what a network's demand for a person's erasure begins.

    Returns:
        None where as much is known already, where nobody is named, and without a key.
    """
    raw, draft = said.raw, said.draft
    if draft.author is None:
        return None
    told = draft.published_at or draft.changed_at or raw.received_at
    return suppressed.demanded(
        author_name(raw.network, draft.author.id), min(told, raw.received_at)
    )


def relation_of(encounter: Encounter) -> Known:
    """Tell how an event relates to what was seen of its revision.

    Marks are kept for a shorter time than the directory: what is read again on purpose is known
    when either remembers it.
    """
    known = relate(encounter.seen, encounter.offset, content_bits(encounter.said.content))
    if encounter.said.raw.mode != "remap":
        return known
    return known if known is Known.NEW and encounter.entry is None else Known.REPLAY


def lost_because(said: Said, deleted_before: tuple[int, int] | None) -> str | None:
    """Return why an event of an object that nobody knows is told to nobody; None where it is told.

    Args:
        said: the event.
        deleted_before: (offset, revision) of a deletion that came before the object was ever seen.
    """
    if said.draft.change == "deleted":
        return "unknown_object"
    if deleted_before is not None and said.raw.revision <= deleted_before[1]:
        return "deleted_before_seen"
    return None


def unheard_because(own: Sighting | None, deleted_before: tuple[int, int] | None) -> str:
    """Return why nobody heard an event the first time.

    Args:
        own: how it was seen then; None where it was not.
        deleted_before: (offset, revision) of a deletion that came before the object was ever seen.
    """
    if own is not None and own.deletion:
        return "unknown_object"
    if own is not None and deleted_before is not None and deleted_before[0] < own.offset:
        return "deleted_before_seen"
    return "not_heard"


def heard_then(encounter: Encounter, entry: DirectoryEntry) -> list[str]:
    """Return the brands that heard an event when it came first; a brand may have joined later."""
    since, first = entry.since or {}, first_offset(encounter.seen, encounter.bits, encounter.offset)
    return [
        name
        for name in entry.brands
        if (at := since.get(name, 0)) <= first or at == encounter.offset
    ]


def entry_after(
    encounter: Encounter,
    whole: Said,
    place: Place,
    hearing: Mapping[str, tuple[Match, ...]],
    *,
    mark: bool,
) -> DirectoryEntry:
    """Return what is known of an object once these brands have heard this event of it.

    Args:
        encounter: the event.
        whole: what is told of it.
        place: its conversation; the first sight decides for ever.
        hearing: who hears it, and why.
        mark: whether it is to be remembered.
    """
    raw, draft, entry = whole.raw, whole.draft, encounter.entry
    own = Contribution(
        revision=raw.revision, offset=encounter.offset, content=encounter.said.content
    )
    brands = {name: str(why[0].how) for name, why in hearing.items()}
    if entry is None:
        return DirectoryEntry(
            object_id=raw.object_id,
            revision=raw.revision,
            index=index_month(draft.published_at, raw.received_at),
            conversation_id=place.conversation,
            threading=place.threading,  # type: ignore[arg-type] # one of the schema's words
            brands=brands,
            contributions=[own],
            content_hash=whole.content,
            deleted=True if draft.change == "deleted" else None,
            kind=draft.kind,
        )
    newest = raw.revision >= entry.revision
    contributions, since = entry.contributions, entry.since
    late = {name: encounter.offset for name in brands if name not in entry.brands}
    if late:
        since = {**(since or {}), **late}
    if mark:
        contributions = sorted([*contributions, own], key=lambda one: one.offset)[-CONTRIBUTIONS:]
    return msgspec.structs.replace(
        entry,
        revision=max(raw.revision, entry.revision),
        brands={**entry.brands, **{name: brands[name] for name in late}},
        since=since,
        contributions=contributions,
        content_hash=whole.content if newest else entry.content_hash,
        deleted=(True if draft.change == "deleted" else None) if newest else entry.deleted,
    )
