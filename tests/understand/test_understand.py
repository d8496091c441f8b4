"""What understand decides, relation by relation."""

import hashlib

import msgspec
import pytest

from klingel.contracts import codec
from klingel.contracts.envelope import SOURCE_HEADER, Output
from klingel.contracts.topics import Topic
from klingel.model import RawEvent
from klingel.model.raw_event import BlobRef
from klingel.stage.fates import Fate

from ..ringing import CHANNEL, brand, generic, gone, ring
from . import conftest
from .conftest import BRANDS, Desk

EDITED = {"change": "updated", "revision": 5}


def test_a_new_event_is_told_to_the_brand_that_hears_it(desk: Desk) -> None:
    """One social event with conversation, language, reason to hear, index and raw coordinates."""
    outcome = desk.hear(generic("1", "hallo Nordlicht, kein Netz", conversation_id="0"))
    assert outcome.fate is Fate.DELIVERED
    (event,) = desk.social()
    assert event.event_id == "nordlicht/webhook:forum:1@0"
    assert event.text == "hallo Nordlicht, kein Netz"
    assert event.conversation_id == "webhook:forum:0"
    assert event.index == "2026.03"
    assert event.lang is not None
    assert event.lang.code == "de"
    assert [(match.how, match.rule) for match in event.matches] == [("rule", "name")]
    assert (event.origin.partition, event.origin.offset) == (0, 0)


def test_what_no_brand_hears_is_discarded(desk: Desk) -> None:
    """Nothing is written but the mark."""
    outcome = desk.hear(generic("1", "nothing of interest"))
    assert (outcome.fate, outcome.reason) == (Fate.DISCARDED, "not_heard")
    assert desk.social() == []
    assert desk.entry("1") is None
    assert len(desk.broker.messages(Topic.UNDERSTAND_MARKS)) == 1


def test_two_brands_hear_one_event_each_for_itself(desk: Desk) -> None:
    """One social event a brand, with ordinals in the order of the brands' names."""
    desk.hear(generic("1", "nordlicht oder kuestenstrom?"))
    messages = desk.broker.messages(Topic.SOCIAL_EVENTS)
    assert [(m.key, m.header(SOURCE_HEADER)) for m in messages] == [
        (b"kuestenstrom/webhook:forum:1@0", b"raw-events/0/0/0"),
        (b"nordlicht/webhook:forum:1@0", b"raw-events/0/0/1"),
    ]


def test_the_same_content_again_is_a_duplicate(desk: Desk) -> None:
    """Other metrics and another profile are no other content."""
    again = generic("1", metrics={"likes": 7}, author={"id": "anna", "name": "Anna B."})
    assert desk.fates(generic("1"), again, generic("1"), batch=2) == [
        (Fate.DELIVERED, ""),
        (Fate.DISCARDED, "duplicate"),
        (Fate.DISCARDED, "duplicate"),
    ]


def test_a_duplicate_is_told_to_a_brand_that_hears_it_only_now(desk: Desk) -> None:
    """A brand whose case is open now gets what it did not hear then; the first one gets no more."""
    desk.hear(generic("1", conversation_id="0"))
    desk.tracking["webhook:forum:0"] = frozenset({"kuestenstrom"})
    assert desk.hear(generic("1", conversation_id="0")).fate is Fate.DELIVERED
    assert [event.brand for event in desk.social()] == ["nordlicht", "kuestenstrom"]
    entry = desk.entry("1")
    assert entry is not None
    assert entry.brands == {"nordlicht": "rule", "kuestenstrom": "tracked"}


def test_a_duplicate_that_nobody_heard_is_matched_again(desk: Desk) -> None:
    """First nobody listens, then a brand does."""
    quiet = generic("1", "kein netz", conversation_id="0")
    assert desk.fates(quiet, quiet) == [(Fate.DISCARDED, "not_heard")] * 2
    desk.tracking["webhook:forum:0"] = frozenset({"nordlicht"})
    assert desk.hear(quiet).fate is Fate.DELIVERED


def test_an_edit_keeps_conversation_brands_and_index_of_the_first_sight(desk: Desk) -> None:
    """The edit names neither the brand nor the month nor the conversation any more."""
    desk.hear(generic("1", conversation_id="0"))
    later = {"published_at": "2026-04-09T00:00:00Z"}
    desk.hear(generic("1", "edited", **EDITED, **later))
    edit = desk.social()[-1]
    assert (edit.event_id, edit.change) == ("nordlicht/webhook:forum:1@5", "updated")
    assert (edit.conversation_id, edit.index) == ("webhook:forum:0", "2026.03")
    assert [match.how for match in edit.matches] == ["directory"]


def test_a_deletion_keeps_kind_conversation_brands_and_index(desk: Desk) -> None:
    """It carries no more than the id."""
    desk.hear(generic("1", kind="review", conversation_id="0"))
    desk.hear(gone("1"))
    deletion = desk.social()[-1]
    assert (deletion.change, deletion.text, deletion.author) == ("deleted", None, None)
    assert (deletion.kind, deletion.conversation_id) == ("review", "webhook:forum:0")
    assert (deletion.brand, deletion.index) == ("nordlicht", "2026.03")
    entry = desk.entry("1")
    assert entry is not None
    assert entry.deleted


def test_an_older_edit_after_a_newer_one_passes_and_changes_no_revision(desk: Desk) -> None:
    """Order is care's matter; the directory keeps the newest revision."""
    desk.hear(generic("1"))
    desk.hear(generic("1", "second edit", change="updated", revision=9))
    assert desk.hear(generic("1", "first edit", **EDITED)).fate is Fate.DELIVERED
    entry = desk.entry("1")
    assert entry is not None
    assert entry.revision == 9


def test_the_deletion_of_an_unknown_object_is_remembered(desk: Desk) -> None:
    """It is discarded, and so is every creation after it, however often it comes."""
    assert desk.fates(gone("1"), generic("1"), generic("1"), generic("1", "nordlicht again")) == [
        (Fate.DISCARDED, "unknown_object"),
        (Fate.DISCARDED, "deleted_before_seen"),
        (Fate.DISCARDED, "deleted_before_seen"),
        (Fate.DISCARDED, "deleted_before_seen"),
    ]
    assert desk.social() == []


def test_an_edit_after_the_deletion_of_an_unknown_object_is_discarded(desk: Desk) -> None:
    """A late edit is no way around the deletion."""
    fates = desk.fates(gone("1"), generic("1", "nordlicht", **EDITED))
    assert fates[-1] == (Fate.DISCARDED, "deleted_before_seen")


def test_deletions_of_an_unknown_object_stay_unheard_in_a_channel(desk: Desk) -> None:
    """Also where a brand hears the whole channel, and where two deletions say it differently."""
    desk.brands["nordlicht"] = brand(channels=[{"network": "webhook", "id": CHANNEL}])
    first = desk.hear(gone("1"), channel=CHANNEL)
    second = desk.hear(gone("1", kind="review"), channel=CHANNEL)
    assert [first.reason, second.reason] == ["unknown_object", "unknown_object"]
    assert desk.social() == []


def test_a_duplicate_of_a_deleted_object_is_told_to_nobody_new(desk: Desk) -> None:
    """A brand that comes to listen later must not get what was deleted before."""
    desk.fates(generic("1", conversation_id="0"), gone("1"))
    desk.tracking["webhook:forum:0"] = frozenset({"kuestenstrom"})
    assert desk.hear(generic("1", conversation_id="0")).reason == "duplicate"
    assert {event.brand for event in desk.social()} == {"nordlicht"}


def test_another_content_of_one_revision_completes_it(desk: Desk) -> None:
    """What one delivery lacks the other gives; the event keeps its id."""
    full = generic("1", in_reply_to="0", media=[{"kind": "image", "id": "m1"}], conversation_id="0")
    bare = generic("1", conversation_id="0")
    desk.hear(bare)
    assert desk.hear(full).fate is Fate.DELIVERED
    before, after = desk.social()
    assert before.event_id == after.event_id
    assert before.media is None
    assert after.media is not None
    assert after.in_reply_to == "webhook:forum:0"


def test_completion_does_not_depend_on_the_cut_of_batches(desk: Desk) -> None:
    """Both contributions in one batch are merged like those in two."""
    bare, full = generic("1"), generic("1", media=[{"kind": "image", "id": "m1"}])
    assert [fate for fate, _ in desk.fates(bare, full)] == [Fate.DELIVERED, Fate.DELIVERED]
    assert desk.newest()["nordlicht/webhook:forum:1@0"].media is not None


def test_a_completion_without_the_other_original_is_discarded(desk: Desk) -> None:
    """Retention took the first original: half of a merge would be worse than none."""
    desk.hear(generic("1"))
    desk.broker._logs[Topic.RAW_EVENTS, 0][0] = None
    outcome = desk.hear(generic("1", "nordlicht, other words"))
    assert (outcome.fate, outcome.reason) == (Fate.DISCARDED, "completes_nothing")
    assert len(desk.social()) == 1


def test_a_replay_without_the_other_original_says_nothing(desk: Desk) -> None:
    """A replay must not take back what a completion said when it cannot merge any more."""
    first = generic("1", media=[{"kind": "image", "id": "m1"}])
    desk.fates(first, generic("1", in_reply_to="0"))
    desk.broker._logs[Topic.RAW_EVENTS, 0][0] = None
    desk.stage.replay()
    (outcome,) = desk.stage.drain()
    assert (outcome.fate, outcome.reason) == (Fate.DISCARDED, "completes_nothing")


def test_a_completion_whose_other_original_cannot_be_read_is_no_dead_letter(desk: Desk) -> None:
    """The blob store lost the other one: this one is in order and not at fault."""
    original = msgspec.json.encode(generic("1"))
    digest = hashlib.sha256(original).hexdigest()
    desk.blobs[digest] = original
    desk.put(by_reference("1", digest, len(original)))
    desk.stage.drain()
    del desk.blobs[digest]
    outcome = desk.hear(generic("1", "nordlicht, other words"))
    assert (outcome.fate, outcome.reason) == (Fate.DISCARDED, "completes_nothing")


def test_a_replay_says_the_same_of_an_event_that_was_completed(desk: Desk) -> None:
    """Replaying the first contribution alone gives the merge of all."""
    desk.fates(generic("1"), generic("1", media=[{"kind": "image", "id": "m1"}]))
    complete = desk.social()[-1]
    desk.stage.replay()
    desk.stage.advance(1)
    assert desk.social()[-1].content_hash == complete.content_hash
    assert desk.social()[-1].media == complete.media


def test_a_replay_is_told_to_those_who_heard_it_and_nobody_else(desk: Desk) -> None:
    """A case that a brand opened in between must not let it hear the past by a replay."""
    desk.hear(generic("1", conversation_id="0"))
    desk.tracking["webhook:forum:0"] = frozenset({"kuestenstrom"})
    desk.stage.replay()
    (outcome,) = desk.stage.drain()
    assert outcome.fate is Fate.DELIVERED
    assert [event.brand for event in desk.social()] == ["nordlicht", "nordlicht"]


@pytest.mark.parametrize("event", [generic("1", "nobody listens"), gone("1")])
def test_a_replay_of_what_nobody_heard_stays_discarded(desk: Desk, event) -> None:
    """For the same reason as the first time."""
    first = desk.hear(event)
    desk.stage.replay()
    (again,) = desk.stage.drain()
    assert (again.fate, again.reason) == (Fate.DISCARDED, first.reason)
    assert desk.social() == []


def test_a_replay_is_not_told_to_who_came_with_a_later_edit(desk: Desk) -> None:
    """The edit named a second brand, or the first at all: the original stays unheard by it."""
    desk.fates(
        generic("1"),
        generic("1", "nordlicht und kuestenstrom", **EDITED),
        generic("2", "kein netz"),
        generic("2", "kein netz bei nordlicht", **EDITED),
    )
    told = set(desk.newest())
    desk.stage.replay()
    desk.stage.drain()
    assert set(desk.newest()) == told
    assert "kuestenstrom/webhook:forum:1@0" not in told


def test_an_event_in_a_tracked_conversation_is_heard(desk: Desk) -> None:
    """Without a word of the brand."""
    desk.tracking["webhook:forum:0"] = frozenset({"nordlicht"})
    desk.hear(generic("2", "und jetzt?", conversation_id="0"))
    (event,) = desk.social()
    assert [match.how for match in event.matches] == ["tracked"]


def test_a_remap_passes_like_a_replay(desk: Desk) -> None:
    """Known elsewhere, it is told again, to the brands of the directory, and leaves no mark."""
    desk.hear(generic("1"))
    before = desk.state()["marks"]
    assert desk.hear(generic("1"), mode="remap").fate is Fate.DELIVERED
    assert [event.origin.mode for event in desk.social()] == ["live", "remap"]
    assert desk.state()["marks"] == before


def test_a_remap_is_told_to_those_who_heard_it_though_its_marks_are_gone(desk: Desk) -> None:
    """Marks are kept for days, the directory for more than a year."""
    desk.brands = {"nordlicht": BRANDS["nordlicht"]}
    desk.hear(generic("1", "nordlicht und kuestenstrom"))
    desk.stage.tables()["marks"]._values.clear()
    desk.brands = dict(BRANDS)
    assert (
        desk.hear(generic("1", "nordlicht und kuestenstrom"), mode="remap").fate is Fate.DELIVERED
    )
    assert [(event.brand, event.origin.mode) for event in desk.social()] == [
        ("nordlicht", "live"),
        ("nordlicht", "remap"),
    ]


def test_a_deletion_at_the_revision_of_an_edit_wins(desk: Desk) -> None:
    """Sources that count edits may give a deletion the number of the last edit."""
    desk.fates(generic("1"), generic("1", "edited", **EDITED), gone("1", revision=5))
    last = desk.newest()["nordlicht/webhook:forum:1@5"]
    assert (last.change, last.text) == ("deleted", None)
    entry = desk.entry("1")
    assert entry is not None
    assert entry.deleted


@pytest.mark.parametrize("published_at", ["1999-12-31T00:00:00Z", "2026-03-02T12:11:00Z"])
def test_absurd_times_are_undated(desk: Desk, published_at: str) -> None:
    """Before 2006, or more than ten minutes after the receipt."""
    desk.hear(generic("1", published_at=published_at))
    assert desk.social()[0].index == "undated"


def by_reference(native_id: str, digest: str, size: int) -> Output:
    """Return a raw event whose original lies in the blob store."""
    output = ring(generic(native_id))
    raw = codec.decode(RawEvent, output.value)
    reference = BlobRef(sha256=digest, size=size, ref=f"{digest[:2]}/{digest}")
    raw = msgspec.structs.replace(raw, native=None, native_ref=reference)
    return Output(output.topic, output.key, codec.encode(raw), output.headers)


def test_an_original_in_the_blob_store_is_read_there(desk: Desk) -> None:
    """It is mapped like one that came inline."""
    original = msgspec.json.encode(generic("1", "nordlicht, a long story"))
    digest = hashlib.sha256(original).hexdigest()
    desk.blobs[digest] = original
    desk.put(by_reference("1", digest, len(original)))
    desk.stage.drain()
    assert desk.social()[0].text == "nordlicht, a long story"


def test_an_original_that_is_gone_is_a_dead_letter(desk: Desk) -> None:
    """With the reason, and without a mark: a redrive is new."""
    desk.put(by_reference("1", "0" * 64, 3))
    (outcome,) = desk.stage.drain()
    assert (outcome.fate, outcome.reason) == (Fate.DEAD_LETTERED, "original_gone")
    assert desk.state() == {"marks": {}, "directory": {}}


def test_a_dead_letter_leaves_no_mark(desk: Desk) -> None:
    """What our mapping refuses is kept with its bytes; nothing of it is remembered."""
    good = ring(generic("1"))
    broken = Output(good.topic, good.key, good.value.replace(b'"anna"', b"17"), good.headers)
    desk.put(broken)
    (outcome,) = desk.stage.drain()
    assert outcome.fate is Fate.DEAD_LETTERED
    (letter,) = desk.letters()
    assert letter.value == broken.value
    assert desk.state() == {"marks": {}, "directory": {}}
    desk.put(good)
    assert desk.stage.drain()[0].fate is Fate.DELIVERED


@pytest.mark.parametrize(
    "identity", [b"", b"x@", b"x@\xc2\xb2", b"x@" + b"9" * 5000, b"x@-1", b"x@99999999999999999999"]
)
def test_an_odd_identity_in_the_header_stops_nothing(desk: Desk, identity: bytes) -> None:
    """What is read back is asked outside the guard: no header may raise there."""
    desk.hear(generic("1"))
    output = ring(generic("1"))
    headers = tuple((k, identity if k == "ce_id" else v) for k, v in output.headers)
    desk.put(Output(output.topic, output.key, output.value, headers))
    assert desk.stage.drain()[0].reason == "duplicate"


def test_a_duplicate_reads_nothing_back(desk: Desk) -> None:
    """Reading back costs a round trip to Kafka: only another content is worth it."""
    desk.hear(generic("1"))
    desk.put(ring(generic("1")), ring(generic("1", "nordlicht, other words")))
    duplicate, other = desk.broker.read(Topic.RAW_EVENTS, 0, 1, 3)
    view = _View(desk)
    assert desk.logic(0).needs(duplicate, view) == []
    assert desk.logic(0).needs(other, view) == [(Topic.RAW_EVENTS, 0, 0)]


class _View:
    def __init__(self, desk: Desk) -> None:
        self.tables = desk.stage.tables()

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.tables[table].get(key)


def test_the_marks_of_a_large_batch_fit_their_records(desk: Desk) -> None:
    """No record of marks is larger than the cap, however many messages a batch holds."""
    rows = [bytes([number % 256]) * 32 for number in range(5000)]
    outputs = desk.logic(0).batch_outputs(rows, 0, desk.stage._now())
    assert all(len(output.value or b"") < 64 * 1024 for output in outputs)
    assert len({dict(output.headers)["ce_id"] for output in outputs}) == len(outputs)


def test_a_text_on_which_the_detector_raises_is_one_dead_letter(
    monkeypatch: pytest.MonkeyPatch, desk: Desk
) -> None:
    """Languages are detected for a batch at once: one odd text must not stop the others."""

    def detect(text: str) -> tuple[str, float]:
        if "kaputt" in text:
            raise ZeroDivisionError
        return "de", 0.9

    monkeypatch.setattr(conftest, "detect", detect)
    desk.stage.restart()
    texts = ("nordlicht eins", "nordlicht ist kaputt", "nordlicht drei")
    fates = desk.fates(*(generic(str(number), text) for number, text in enumerate(texts)))
    assert fates == [
        (Fate.DELIVERED, ""),
        (Fate.DEAD_LETTERED, "unhandled:ZeroDivisionError"),
        (Fate.DELIVERED, ""),
    ]


def test_a_stored_original_is_read_once(monkeypatch: pytest.MonkeyPatch, desk: Desk) -> None:
    """It may have megabytes: it is not read ahead."""
    read: list[str] = []
    original = Desk.original

    def counted(self: Desk, reference: BlobRef) -> bytes:
        read.append(reference.sha256)
        return original(self, reference)

    monkeypatch.setattr(Desk, "original", counted)
    desk.stage.restart()
    content = msgspec.json.encode(generic("1", "nordlicht, a long story"))
    digest = hashlib.sha256(content).hexdigest()
    desk.blobs[digest] = content
    desk.put(by_reference("1", digest, len(content)))
    assert [outcome.fate for outcome in desk.stage.drain()] == [Fate.DELIVERED]
    assert read == [digest]
