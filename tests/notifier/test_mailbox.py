"""The state is a fold over the log: whoever reads it comes to the same, however often."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.domain.notifications import Ending
from klingel.errors import InvalidMessage
from klingel.model import Notification
from klingel_notifier.mailbox import ENDINGS, Addressee, Batch, Mailbox

from .conftest import NOON, escalation

MATTERS = st.integers(0, 3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wanted"), MATTERS, st.integers(1, 4)),
        st.tuples(st.just("settled"), MATTERS, st.integers(1, 4)),
        st.tuples(st.just("sending"), st.lists(MATTERS, max_size=3, unique=True), st.just(1)),
    ),
    max_size=25,
)


def message(offset, entry, headers=()):
    key = f"{entry.entry}|{entry.brand}|{entry.target}|{entry.matter}"
    return Message(
        Topic.NOTIFICATIONS, 0, offset, key.encode(), codec.encode(entry), tuple(headers)
    )


def matter_of(number):
    return f"escalation/{number:032x}"


def wanted(number, revision, at=NOON):
    return Notification(
        entry="wanted",
        brand="nordlicht",
        target="hook",
        matter=matter_of(number),
        at=at,
        revision=revision,
        record=msgspec.Raw(codec.encode(escalation(number, revision=revision))),
    )


def settled(number, revision, outcome="told"):
    return Notification(
        entry="settled",
        brand="nordlicht",
        target="hook",
        matter=matter_of(number),
        at=NOON,
        revision=revision,
        outcome=outcome,
        gist="x",
    )


def log_of(steps):
    """Return a log as an owner may have written it; `sending` holds what it says it does."""
    log = []
    for offset, (kind, what, revision) in enumerate(steps):
        if kind == "wanted":
            entry = wanted(what, revision, NOON + timedelta(seconds=offset))
        elif kind == "settled":
            entry = settled(what, revision)
        else:
            mailbox = rebuilt([message(0, wanted(number, 1)) for number in what])
            addressee = mailbox.addressee("nordlicht", "hook")
            addressee.batch = Batch.of(addressee.to_tell(), NOON) if what else None
            entry = codec.decode(Notification, addressee.entry_of_batch(NOON).value)
        log.append(message(offset, entry))
    return log


def rebuilt(log, end=None):
    mailbox = Mailbox(len(log) if end is None else end)
    for each in log:
        mailbox.apply(each)
    return mailbox


def standing(mailbox):
    """Return what of it decides."""
    return {
        place: (
            sorted((each.matter, each.revision) for each in addressee.waiting.values()),
            dict(sorted(addressee.endings.items())),
            addressee.batch and addressee.batch.key,
        )
        for place, addressee in mailbox.addressees.items()
    }


def compacted(log):
    """Return what compaction leaves: the last of each key, in order, with its offset."""
    last = {each.key: each for each in log}
    return sorted(last.values(), key=lambda each: each.offset)


@given(STEPS)
def test_reading_twice_changes_nothing(steps):
    log = log_of(steps)
    once, twice = rebuilt(log), rebuilt(log)
    for each in log:
        twice.apply(each)
    assert standing(once) == standing(twice)


@given(STEPS)
def test_what_is_settled_never_waits(steps):
    mailbox = rebuilt(log_of(steps))
    for addressee in mailbox.addressees.values():
        for matter, waiting in addressee.waiting.items():
            ending = addressee.endings.get(matter)
            assert ending is None or waiting.revision > ending.revision


@given(STEPS)
def test_the_oldest_is_the_smallest_offset_that_still_counts(steps):
    mailbox = rebuilt(log_of(steps))
    held = [
        each.offset
        for addressee in mailbox.addressees.values()
        for each in addressee.waiting.values()
    ]
    assert all(mailbox.oldest <= offset for offset in held)
    assert mailbox.oldest <= mailbox.position


def ordered(steps):
    """Return steps whose revisions only grow, as an owner that heals its log leaves them."""
    highest = {}
    for kind, what, _ in steps:
        if kind == "wanted":
            highest[what] = highest.get(what, 0) + 1
            yield kind, what, highest[what]
        elif kind == "settled" and what in highest:
            yield kind, what, highest[what]


@given(STEPS)
def test_compaction_loses_nothing(steps):
    """The newest of each key says it all, in a log that its owner has kept in order."""
    log = log_of(list(ordered(steps)))
    kept = compacted(log)
    assert standing(rebuilt(kept, len(log))) == standing(rebuilt(log))


def test_an_older_revision_in_the_log_calls_for_the_newer_one():
    mailbox = rebuilt([], 0)
    assert mailbox.apply(message(0, wanted(1, 5))) == ("waits", None)
    came, healed = mailbox.apply(message(1, wanted(1, 4)))
    assert came == "older"
    assert healed.value == codec.encode(wanted(1, 5))
    assert mailbox.apply(message(2, wanted(1, 5))) == ("older", None)


def test_what_changes_all_the_time_keeps_its_place():
    mailbox = rebuilt(
        [message(0, wanted(1, 1)), message(1, wanted(1, 2, NOON + timedelta(hours=1)))]
    )
    (waiting,) = mailbox.addressee("nordlicht", "hook").to_tell()
    assert (waiting.revision, waiting.since) == (2, NOON)


def test_a_dead_letter_that_was_sent_back_waits_again():
    sent_back = [("x-dlq-attempt", b"1")]
    for outcome, waits in (("refused", True), ("unreachable", True), ("told", False)):
        log = [message(0, wanted(1, 1)), message(1, settled(1, 1, outcome))]
        assert rebuilt(log).addressee("nordlicht", "hook").waiting == {}
        log.append(message(2, wanted(1, 1), sent_back))
        assert bool(rebuilt(log).addressee("nordlicht", "hook").waiting) == waits


def test_what_was_in_the_air_is_resumed_with_its_very_records():
    (one,) = rebuilt([message(0, wanted(7, 1))]).addressee("nordlicht", "hook").to_tell()
    batch = Batch.of([one], NOON)
    entry = codec.decode(
        Notification, Addressee("nordlicht", "hook", batch=batch).entry_of_batch(NOON).value
    )
    # Meanwhile a newer revision has replaced the entry that it was made of.
    mailbox = rebuilt([message(1, entry), message(2, wanted(7, 2))])
    addressee = mailbox.addressee("nordlicht", "hook")
    assert addressee.resumed
    assert addressee.batch.letter == batch.letter
    assert addressee.waiting[matter_of(7)].revision == 2
    assert mailbox.oldest == 0


def test_the_marks_are_bounded():
    addressee = Addressee("nordlicht", "hook")
    for number in range(ENDINGS + 10):
        addressee.settle(str(number), Ending(1, "told", "x"), NOON)
    assert len(addressee.endings) == ENDINGS
    assert "0" not in addressee.endings


@pytest.mark.parametrize(
    "fields",
    [
        {"matter": "letter/1"},
        {"revision": None},
        {"record": None},
        {"record": msgspec.Raw(b'{"x": 1}')},
    ],
)
def test_an_entry_that_cannot_be_told_is_an_invalid_message(fields):
    entry = msgspec.structs.replace(wanted(1, 1), **fields)
    mailbox = Mailbox(0)
    with pytest.raises(InvalidMessage):
        mailbox.apply(message(0, entry))
    assert mailbox.position == 1
