"""I4 and I5 for understand: repetition, batch cuts, crashes and replays change nothing."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klingel.contracts.topics import Topic
from klingel.domain.dedupe import (
    SIGHTINGS,
    Sighting,
    add_sighting,
    merge_drafts,
    read_sightings,
    relate,
)
from klingel.domain.draft import SocialDraft
from klingel.domain.identity import content_hash
from klingel.model.social_event import Author, Media
from klingel.stage.fates import Fate
from klingel_processors.understand.logic import UnderstandLogic

from ..ringing import generic, gone, ring
from .conftest import Desk

IDS = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["hallo nordlicht", "kuestenstrom und nordlicht", "kein netz"])
MEDIA = st.sampled_from([None, [{"kind": "image", "id": "m1"}], [{"kind": "image", "id": "m2"}]])


@st.composite
def events(draw: st.DrawFn) -> dict:
    """One raw event of one of three objects: a creation, an edit, a deletion."""
    kind = draw(st.sampled_from(["created", "created", "updated", "deleted"]))
    native_id = draw(IDS)
    if kind == "deleted":
        return gone(native_id, **draw(st.sampled_from([{}, {"revision": 2}, {"kind": "review"}])))
    fields = {"media": draw(MEDIA), "conversation_id": draw(st.sampled_from([None, "0"]))}
    if kind == "updated":
        fields |= {"change": "updated", "revision": draw(st.sampled_from([1, 2]))}
    return generic(native_id, draw(TEXTS), **fields)


HISTORIES = st.lists(events(), min_size=1, max_size=14)


def told(desk: Desk) -> dict[str, tuple]:
    """Return what each event says in the end; its coordinates may differ."""
    return {
        identity: (
            event.content_hash,
            event.change,
            event.conversation_id,
            event.index,
            event.text,
            event.media,
        )
        for identity, event in desk.newest().items()
    }


def heard_in_one_go(history: list[dict]) -> Desk:
    """Return a desk that heard it all in one batch."""
    desk = Desk()
    desk.put(*(ring(event) for event in history))
    desk.stage.drain()
    return desk


@settings(max_examples=120, deadline=None)
@given(HISTORIES, st.data())
def test_batches_and_crashes_change_nothing(history: list[dict], data: st.DataObject) -> None:
    """Any cut of batches with any restarts in between: the same words, fates and state."""
    whole = heard_in_one_go(history)
    desk = Desk()
    desk.put(*(ring(event) for event in history))
    while desk.stage.advance(data.draw(st.integers(1, 5), label="batch")):
        if data.draw(st.booleans(), label="crash"):
            desk.stage.restart()
    assert told(desk) == told(whole)
    assert [m.value for m in desk.broker.messages(Topic.SOCIAL_EVENTS)] == [
        m.value for m in whole.broker.messages(Topic.SOCIAL_EVENTS)
    ]
    assert desk.state() == whole.state()


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_reading_ahead_decides_nothing(history: list[dict]) -> None:
    """A worker that reads nothing ahead says the same, and remembers the same."""
    ahead = heard_in_one_go(history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UnderstandLogic, "look_over", lambda *_: None)
        without = heard_in_one_go(history)
    for topic in (Topic.SOCIAL_EVENTS, Topic.OBJECT_DIRECTORY, Topic.DEAD_LETTERS):
        assert ahead.broker.messages(topic) == without.broker.messages(topic)
    assert ahead.state() == without.state()


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_restored_state_equals_the_live_one(history: list[dict]) -> None:
    """Marks and directory rebuilt from their mirrors are those that the worker had."""
    desk = Desk()
    desk.put(*(ring(event) for event in history))
    desk.stage.drain(3)
    live = desk.state()
    desk.stage.restart()
    assert desk.state() == live


@settings(max_examples=100, deadline=None)
@given(HISTORIES, st.integers(1, 5), st.integers(0, 13))
def test_a_replay_says_nothing_new(history: list[dict], batch: int, start: int) -> None:
    """From any offset, any number of times: the same words at the end, the same state."""
    desk = heard_in_one_go(history)
    before, state = told(desk), desk.state()
    for _ in range(2):
        desk.stage.replay(min(start, len(history) - 1))
        desk.stage.drain(batch)
    assert told(desk) == before
    assert desk.state() == state


@settings(max_examples=60, deadline=None)
@given(HISTORIES, st.data())
def test_repetitions_are_duplicates(history: list[dict], data: st.DataObject) -> None:
    """What rings once more at other coordinates is counted and says nothing."""
    desk = heard_in_one_go(history)
    before = told(desk)
    for event in data.draw(st.lists(st.sampled_from(history), max_size=6)):
        outcome = desk.hear(event)
        assert outcome.fate is Fate.DISCARDED
        assert outcome.outputs == ()
    assert told(desk) == before


DRAFTS = st.builds(
    SocialDraft,
    mapping=st.just("webhook/1"),
    kind=st.sampled_from(["post", "reply"]),
    change=st.sampled_from(["created", "updated", "completed", "deleted"]),
    text=st.none() | st.sampled_from(["", "one", "two", "grüße 🧯"]),
    media=st.lists(st.builds(Media, kind=st.just("image"), id=st.sampled_from("xyz"))).map(tuple),
    author=st.none() | st.builds(Author, id=st.sampled_from("ab")),
    metrics=st.none() | st.dictionaries(st.sampled_from(["likes"]), st.integers(0, 3)),
    in_reply_to=st.none() | st.sampled_from(["p", "q"]),
)


@given(st.lists(DRAFTS, min_size=1, max_size=4))
def test_merging_knows_no_order(drafts: list[SocialDraft]) -> None:
    """Every order, and every repetition, gives the same draft."""
    merged = merge_drafts(drafts)
    assert all(merge_drafts(each) == merged for each in permutations(drafts))
    assert merge_drafts([*drafts, *drafts]) == merged


@given(st.lists(DRAFTS, min_size=1, max_size=4))
def test_merging_loses_no_field(drafts: list[SocialDraft]) -> None:
    """A field that one contribution has, the merge has, with one of its values."""
    merged = merge_drafts(drafts)
    telling = [d for d in drafts if d.change == "deleted"] or drafts
    for name in ("text", "author", "metrics", "in_reply_to", "media"):
        values = [value for d in telling if (value := getattr(d, name))]
        found = getattr(merged, name)
        assert found in values if values else not found


@given(st.lists(DRAFTS, min_size=2, max_size=3))
def test_merging_piece_by_piece_is_merging_at_once(drafts: list[SocialDraft]) -> None:
    """Associative: what was merged already may be merged again."""
    first = merge_drafts(drafts[:-1])
    if first.change == "deleted" or drafts[-1].change != "deleted":
        again = merge_drafts([first, drafts[-1]])
        assert content_hash(again) == content_hash(merge_drafts(drafts))


@given(st.permutations(["remote", "stored", "failed"]), st.booleans())
def test_what_became_of_a_medium_beats_what_was_said_of_it(states: list[str], late: bool) -> None:
    """A completion wins over the original in every order, medium by medium."""
    other = Media(kind="image", id="m2", status="remote")

    def told(change: str, status: str) -> SocialDraft:
        digest = "a" * 64 if status == "stored" else None
        medium = Media(
            kind="image", id="m1", url="https://x.example/1", status=status, sha256=digest
        )
        return SocialDraft(mapping="t/1", kind="post", change=change, media=(medium, other))

    drafts = [told("created" if each == "remote" else "completed", each) for each in states]
    merged = merge_drafts(drafts if late else drafts[::-1])
    assert [each.status for each in merged.media] == ["stored", "remote"]
    assert merge_drafts(drafts[:1]).media == drafts[0].media


def test_the_memory_of_one_revision_is_bounded() -> None:
    """A source that rings one thing for ever costs no more than SIGHTINGS; it stays a duplicate."""
    value = None
    for offset in range(500):
        value = add_sighting(
            value, Sighting(offset, 8 if offset else 4, heard=True, deletion=False)
        )
    seen = read_sightings(value)
    assert len(seen) == SIGHTINGS
    assert {sighting.content for sighting in seen} == {4, 8}
    assert relate(seen, 600, 8) == "duplicate"


def test_a_ninth_content_of_one_revision_completes_nothing(desk: Desk) -> None:
    """A hostile source cannot make every message read back all earlier ones."""
    fates = desk.fates(*(generic("1", f"nordlicht {number}") for number in range(12)), batch=5)
    assert fates[:8] == [(Fate.DELIVERED, "")] * 8
    assert fates[8:] == [(Fate.DISCARDED, "completes_nothing")] * 4
