"""Which media of an event are to be fetched, and the job that says so."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from klingel.domain.dedupe import content_at, place_of
from klingel.domain.encounter import Encounter, Said
from klingel.model import MediaJob, RawEvent
from klingel.model.media_job import MediumToFetch
from klingel.model.social_event import Media

FETCHED_KINDS: Final = frozenset({"image", "video", "audio", "file", "sticker"})
"""A place and a link are told whole by the event itself."""
MOST = 64
"""Media of one job; further ones stay where they are."""
_ID_LENGTH = 512
_ADDRESSES = ("https://", "http://")


def is_to_fetch(medium: Media, *, by_id: bool) -> bool:
    """Whether a medium's bytes are elsewhere, and can be had.

    Args:
        medium: as the event tells it.
        by_id: whether its network is asked for the bytes of an id.
    """
    if medium.kind not in FETCHED_KINDS or medium.sha256 is not None or medium.status == "failed":
        return False
    if medium.url is not None and medium.url.lower().startswith(_ADDRESSES):
        return True
    return by_id and bool(medium.id)


def media_job(
    raw: RawEvent,
    kind: str,
    told: Iterable[Media],
    *,
    author: str | None = None,
    asked: Collection[Media] = (),
    known: Sequence[Media] = (),
    by_id: bool = False,
    gone: bool = False,
    whole: bool = False,
) -> MediaJob | None:
    """Return the job of an event; None where nothing is to be fetched. The same event, the same job.

    Args:
        raw: that tells of the media.
        kind: of the event.
        told: its media.
        author: the network's id of who said it, where that is known.
        asked: media of this event's revision for which there was a job before.
        known: the media as they are known by now: what is stored is not fetched again, what can
            never be had is.
        by_id: whether the network is asked for the bytes of an id.
        gone: whether the event was deleted since: then nothing of it is fetched any more.
        whole: whether the event itself is to be fetched by its id.
    """
    before = {place_of(medium) for medium in asked}
    digests = {place_of(medium): medium.sha256 for medium in known}
    wanted = {
        place: medium
        for medium in told
        if is_to_fetch(medium, by_id=by_id) and (place := place_of(medium)) not in before
    }
    whole = whole and not gone
    if not wanted and not whole:
        return None
    return MediaJob(
        object_id=raw.object_id,
        revision=raw.revision,
        network=raw.network,
        kind=kind,  # type: ignore[arg-type] # one of the schema's words
        mode=raw.mode,
        channel=raw.channel,
        author_id=author or None,
        requested_at=raw.received_at,
        whole=True if whole else None,
        media=[
            MediumToFetch(
                kind=medium.kind,
                id=medium.id,
                url=medium.url,
                alt=medium.alt,
                sha256=digests.get(place),
                failure="deleted" if gone else None,
            )
            for place, medium in [*wanted.items()][:MOST]
        ]
        or [MediumToFetch(kind="link", id=raw.object_id[-_ID_LENGTH:])],
    )


def job_of(encounter: Encounter, whole: Said, *, by_id: bool) -> MediaJob | None:
    """Return the job for the media that an event is the first to tell; a replay has the same.

    Args:
        encounter: the event.
        whole: what it says together with the other contents of its revision.
        by_id: whether its network is asked for the bytes of an id.
    """
    raw, draft, entry = whole.raw, encounter.said.draft, encounter.entry
    if raw.mode == "remap" or whole.draft.change == "deleted" or draft.only_media:
        return None
    heard = {
        each.content for each in encounter.seen if each.heard and each.offset < encounter.offset
    }
    if encounter.bits in heard:
        return None
    before = [
        (content_at(encounter.seen, at), each) for at, each in whole.others if at < encounter.offset
    ]
    asked = [medium for bits, each in before if bits in heard for medium in each.draft.media]
    told = [medium for bits, each in before if bits not in heard for medium in each.draft.media]
    return media_job(
        raw,
        whole.draft.kind,
        [*draft.media, *told],
        author=None if whole.draft.author is None else whole.draft.author.id,
        asked=asked,
        known=whole.draft.media,
        by_id=by_id,
        whole=draft.asked_by_id,
        gone=entry is not None and bool(entry.deleted) and raw.revision <= entry.revision,
    )
