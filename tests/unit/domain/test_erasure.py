"""Suppressions: who is meant, until when, and that their order is of no matter."""

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts import codec
from klingel.contracts.envelope import ERASED_HEADER, Message
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, Suppressed, erased_draft, erasing, is_erasure
from klingel.domain.identity import DELETED_WITHOUT_REVISION
from klingel.model import RawEvent, Suppression
from klingel.settings import ErasureSettings
from klingel.stage.fates import Outcome
from klingel_indexer.convert import Write, convert
from klingel_processors.follow import Surroundings

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = Key("a key of this test's own")
NAMES = st.sampled_from(["x:1", "x:12", "y:1", "\udcff:\U0001f514"])
KINDS = st.sampled_from(["author", "object", "case"])
TIMES = st.integers(0, 5).map(lambda hours: NOON + timedelta(hours=hours))
FACTS = st.lists(st.tuples(KINDS, NAMES, TIMES), max_size=8)


def known(facts) -> Suppressed:
    """Return what somebody knows who read these, in this order."""
    found = Suppressed(KEY)
    for kind, name, at in facts:
        record = KEY.suppression(kind, name, at)
        found.take(record.subject.encode(), record)
    return found


@given(FACTS, KINDS, NAMES, TIMES, st.randoms(use_true_random=False))
def test_the_latest_counts_in_whatever_order_and_however_often(facts, kind, name, at, chance):
    again = [*facts, *facts]
    chance.shuffle(again)
    ends = [when for told, who, when in facts if (told, who) == (kind, name)]
    expected = bool(ends) and at <= max(ends)
    for held in (known(facts), known(again)):
        told = {
            "author": held.holds("o", name, at, at),
            "object": held.holds(name, None, at, at),
            "case": held.holds_case(name, "nobody:0", at),
        }
        assert told[kind] is expected


@given(NAMES, NAMES)
def test_a_hash_tells_kinds_names_and_keys_apart(one, other):
    hashes = {
        KEY.hash(kind, name) for kind in ("author", "object", "case") for name in {one, other}
    }
    assert len(hashes) == 3 * len({one, other})
    assert not hashes & {Key("another key of this test").hash("author", one)}


def test_nobody_can_be_read_in_a_suppression():
    record = KEY.suppression("author", "x:annas-number-0171", NOON)
    assert b"annas" not in codec.encode(record)
    assert "own" not in repr(KEY)


def test_without_a_publication_the_receipt_counts_and_one_in_the_future_is_not_believed():
    held = known([("author", "x:1", NOON)])
    later = NOON + timedelta(days=1)
    assert held.holds("o", "x:1", None, NOON)
    assert not held.holds("o", "x:1", None, later)
    assert held.holds("o", "x:1", later, NOON)
    assert not held.holds("o", None, NOON, NOON)


def test_what_is_taken_back_is_heard_again():
    held = known([("author", "x:1", NOON)])
    held.take(KEY.hash("author", "x:1").encode(), None)
    assert not held
    assert not held.holds("o", "x:1", NOON, NOON)


def followed(settings: ErasureSettings | None, record: Suppression) -> tuple[Surroundings, int]:
    around = Surroundings(settings)
    message = Message(Topic.SUPPRESSIONS, 0, 0, record.subject.encode(), codec.encode(record), ())
    return around, around.take(message)


def test_with_another_key_or_none_nobody_is_ready():
    """Who could not tell who was erased would hear them again."""
    record = KEY.suppression("author", "x:1", NOON)
    own = ErasureSettings.model_validate({"key": "a key of this test's own"})
    other = ErasureSettings.model_validate({"key": "another key of this test"})
    around, refused = followed(own, record)
    assert refused == 0
    assert around.suppressed.holds("o", "x:1", NOON, NOON)
    for settings in (None, ErasureSettings(), other):
        around, refused = followed(settings, record)
        assert refused == 1
        gone = Message(Topic.SUPPRESSIONS, 0, 1, record.subject.encode(), None, ())
        assert around.take(gone) == 0


def test_a_deletion_of_our_own_outweighs_every_revision_and_travels_whole():
    raw = erasing("x:network:1", "x", "post", NOON, "own")
    assert raw.revision == DELETED_WITHOUT_REVISION
    back = codec.decode(RawEvent, codec.encode(raw))
    assert is_erasure(back)
    assert erased_draft(back).change == "deleted"
    assert not is_erasure(RawEvent(**{**_fields(raw), "connector": "x-1"}))


def _fields(raw: RawEvent) -> dict[str, object]:
    return {name: getattr(raw, name) for name in raw.__struct_fields__}


def gone(*headers: tuple[str, bytes], key: bytes = b"nordlicht:x:1:x:anna#1") -> Write | Outcome:
    """Return what the indexer makes of a case's tombstone."""
    return convert(Message(Topic.CASES, 0, 0, key, None, headers), "kl-", "2026-03-02T12:00:00Z")


def test_an_erased_cases_document_goes_and_what_time_forgot_stays():
    write = gone((ERASED_HEADER, b"8"))
    assert isinstance(write, Write)
    assert (write.index, write.op, write.version) == ("kl-cases-nordlicht", "delete", 8)
    for kept in (gone(), gone((ERASED_HEADER, b"x")), gone((ERASED_HEADER, b"8"), key=b"#")):
        assert isinstance(kept, Outcome)
        assert kept.reason == "tombstone"


DONE = st.tuples(TIMES, st.none() | st.just(timedelta(hours=9)))


@given(st.lists(DONE, max_size=6), st.randoms(use_true_random=False))
def test_an_erasure_waits_until_one_as_late_is_carried_out(facts, chance):
    """In whatever order the records come: they lie in partitions of their own."""
    chance.shuffle(facts)
    found = Suppressed(KEY)
    subject = KEY.hash("author", "x:1")
    for erased_at, took in facts:
        record = KEY.suppression("author", "x:1", erased_at)
        if took is not None:
            record = msgspec.structs.replace(record, done_at=erased_at + took)
        found.take(f"{subject}{'' if took is None else '|done'}".encode(), record)
    ends = {erased_at for erased_at, took in facts if took is not None}
    latest = max((erased_at for erased_at, _ in facts), default=NOON)
    waits = bool(facts) and (not ends or max(ends) < latest)
    assert {each.erased_at for each in found.undone.values()} == ({latest} if waits else set())
    assert all(done_at - erased_at == timedelta(hours=9) for erased_at, done_at in found.found_done)
    assert bool(found.found_done) is bool(ends)


def test_what_tells_that_an_erasure_is_done_is_no_erasure_anew():
    """Whoever looks for cases to forget need not look again."""
    found = known([("author", "x:1", NOON)])
    record = msgspec.structs.replace(KEY.suppression("author", "x:1", NOON), done_at=NOON)
    found.take(b"done", record)
    assert found.count == 1
    assert found.holds("o", "x:1", NOON, NOON)


def test_examples_are_spared_unless_their_object_was_erased():
    found = known([("object", "x:s:1", NOON)])
    events = ["acme/x:s:1@0", "acme/x:s:1@7", "acme/x:s:12@0", "no event"]
    assert found.spared(events) == events[2:]
