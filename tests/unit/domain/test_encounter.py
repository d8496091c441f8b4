"""What an event is beside what is known of its object, and what is known afterwards."""

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.domain.dedupe import Known, Sighting, content_bits
from klingel.domain.draft import SocialDraft
from klingel.domain.encounter import (
    CONTRIBUTIONS,
    Encounter,
    Place,
    Said,
    demand_of,
    entry_after,
    heard_then,
    lost_because,
    relation_of,
    unheard_because,
)
from klingel.domain.erasure import Key, Suppressed
from klingel.model import DirectoryEntry, RawEvent
from klingel.model.social_event import Author, Match, Media

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PLACE = Place("n:talk", "network", ())
HEARD = {"nordlicht": (Match(how="channel"),)}


def said(text: str = "hello", *, revision: int = 0, mode: str = "live", **parts) -> Said:
    raw = RawEvent(
        event_id=f"n:1@{revision}",
        object_id="n:1",
        revision=revision,
        network="n",
        connector=parts.pop("connector", "n-1"),
        kind="post",
        change=parts.get("change", "created"),
        mode=mode,
        received_at=NOON,
        native=msgspec.Raw(b"{}"),
    )
    draft = {"mapping": "n/1", "kind": "post", "change": "created", "text": text, **parts}
    return Said.of(raw, SocialDraft(**draft))


def seen(one: Said, offset: int, *, heard: bool = True, deletion: bool = False) -> Sighting:
    return Sighting(offset, content_bits(one.content), heard, deletion)


def entry(one: Said, **parts) -> DirectoryEntry:
    first = entry_after(Encounter(one, None, 0, ()), one, PLACE, HEARD, mark=True)
    return msgspec.structs.replace(first, **parts)


def test_an_event_relates_to_what_was_seen_by_its_place_and_its_content() -> None:
    one, other = said(), said("something else")
    assert relation_of(Encounter(one, None, 5, ())) is Known.NEW
    assert relation_of(Encounter(one, None, 5, [seen(one, 5)])) is Known.REPLAY
    assert relation_of(Encounter(one, None, 5, [seen(one, 3)])) is Known.DUPLICATE
    assert relation_of(Encounter(one, None, 5, [seen(other, 3)])) is Known.COMPLETES


@pytest.mark.parametrize(
    ("marked", "remembered", "known"),
    [(False, False, Known.NEW), (True, False, Known.REPLAY), (False, True, Known.REPLAY)],
)
def test_what_is_read_again_on_purpose_is_known_by_mark_or_entry(
    marked: bool, remembered: bool, known: Known
) -> None:
    """Marks are kept for a shorter time than the directory."""
    one = said(mode="remap")
    sightings = [seen(one, 3)] if marked else []
    encounter = Encounter(one, entry(one) if remembered else None, 5, sightings)
    assert relation_of(encounter) is known


def test_a_merge_is_told_as_who_heard_it_never_as_the_media_worker() -> None:
    words = said("see this", media=(Media(kind="image", id="m"),))
    stored = said(
        "",
        connector="media",
        only_media=True,
        media=(Media(kind="image", id="m", status="stored"),),
    )
    for own, other in ((words, stored), (stored, words)):
        whole = Said.merged(own, [(3, other)])
        assert whole.raw.connector == "n-1"
        assert whole.draft.text == "see this"
        assert whole.draft.media[0].status == "stored"
    assert Said.merged(words, [(3, stored)]).content == Said.merged(stored, [(3, words)]).content


@pytest.mark.parametrize(
    ("revision", "gone", "reason"),
    [
        (0, None, None),
        (4, (9, 5), "deleted_before_seen"),
        (5, (9, 5), "deleted_before_seen"),
        (6, (9, 5), None),
    ],
)
def test_what_a_deletion_came_before_is_lost_unless_it_is_newer(
    revision: int, gone: tuple[int, int] | None, reason: str | None
) -> None:
    assert lost_because(said(revision=revision), gone) == reason
    assert lost_because(said(revision=revision, change="deleted"), gone) == "unknown_object"


def test_a_replay_gives_the_reason_of_the_first_time() -> None:
    one = said()
    assert unheard_because(None, None) == "not_heard"
    assert unheard_because(seen(one, 5, heard=False), None) == "not_heard"
    assert unheard_because(seen(one, 5, heard=False), (9, 0)) == "not_heard"
    assert unheard_because(seen(one, 5, heard=False), (3, 0)) == "deleted_before_seen"
    assert unheard_because(seen(one, 5, heard=False, deletion=True), None) == "unknown_object"


def test_a_brand_that_joined_later_did_not_hear_what_was_before() -> None:
    first, second = said("first"), said("second", revision=1)
    known = entry(first, brands={"nordlicht": "rule", "late": "rule"}, since={"late": 7})
    before = Encounter(first, known, 3, [seen(first, 3)])
    assert heard_then(before, known) == ["nordlicht"]
    its_own = Encounter(second, known, 7, [seen(second, 7)])
    assert heard_then(its_own, known) == ["nordlicht", "late"]
    after = Encounter(second, known, 9, [seen(second, 9)])
    assert heard_then(after, known) == ["nordlicht", "late"]


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.booleans(), st.sampled_from(["nordlicht", "late"])),
        min_size=1,
        max_size=20,
    )
)
def test_an_entry_keeps_the_newest_and_who_heard_whatever_comes(events) -> None:
    """A later record of an older revision changes no content; what is known only grows."""
    known: DirectoryEntry | None = None
    newest: tuple[int, Said] | None = None
    for offset, (revision, deleted, brand) in enumerate(events):
        one = said(f"at {offset}", revision=revision, change="deleted" if deleted else "updated")
        after = entry_after(
            Encounter(one, known, offset, ()),
            one,
            PLACE,
            {brand: (Match(how="rule"),)},
            mark=True,
        )
        if newest is None or revision >= newest[0]:
            newest = revision, one
        if known is not None:
            assert set(known.brands) <= set(after.brands)
            assert after.conversation_id == known.conversation_id
        assert brand in after.brands
        assert len(after.contributions) <= CONTRIBUTIONS
        known = after
    assert known is not None
    assert newest is not None
    assert (known.revision, known.content_hash) == (newest[0], newest[1].content)
    assert bool(known.deleted) == (newest[1].draft.change == "deleted")


def test_without_a_mark_nothing_is_added_to_the_contents() -> None:
    one = said()
    known = entry(one)
    assert entry_after(Encounter(one, known, 5, ()), one, PLACE, HEARD, mark=False) == known


def test_a_demand_begins_once_from_when_it_was_made() -> None:
    """A network's clock that runs ahead erases nothing that is said afterwards."""
    one = said(author=Author(id="anna"), published_at=NOON.replace(hour=23))
    key = Key("0123456789abcdef")
    suppressed = Suppressed(key)
    begun = demand_of(one, suppressed)
    assert begun is not None
    assert begun.erased_at == NOON
    suppressed.take(begun.subject.encode(), begun)
    assert demand_of(one, suppressed) is None
    nobody = replace(one, draft=msgspec.structs.replace(one.draft, author=None))
    assert demand_of(nobody, suppressed) is None
    assert demand_of(one, Suppressed()) is None
