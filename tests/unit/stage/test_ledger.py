"""The books: what a tally counts, keeps, forgets, and how it survives a commit."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts.envelope import SOURCE_HEADER, Message, Output, SourcePosition
from klingel.contracts.topics import Topic
from klingel.errors import InvariantViolation
from klingel.model import LedgerLine
from klingel.stage.fates import Fate, Outcome
from klingel.stage.ledger import METADATA_BYTES, Tally, fired_of, ledger_output

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
OUTPUTS = {
    topic: Output(topic, b"k", b"{}")
    for topic in (Topic.SOCIAL_EVENTS, Topic.OBJECT_DIRECTORY, Topic.CASES)
}


def empty(before: int = 0) -> Tally:
    """Return new books."""
    return Tally("care", Topic.SOCIAL_EVENTS, 3, before)


def message(offset: int, source: SourcePosition | None = None) -> Message:
    """Return a message that another stage's message caused."""
    headers = () if source is None else ((SOURCE_HEADER, source.encode()),)
    return Message(Topic.SOCIAL_EVENTS, 3, offset, b"k", b"{}", headers)


def position(partition: int, offset: int, ordinal: int = 0) -> SourcePosition:
    """Return a place in raw-events."""
    return SourcePosition(Topic.RAW_EVENTS, partition, offset, ordinal)


def test_every_message_is_counted_under_its_fate_reason_and_network() -> None:
    """And every record that it caused, by topic."""
    delivered = Outcome(
        Fate.DELIVERED, network="webhook", outputs=(OUTPUTS[Topic.CASES], OUTPUTS[Topic.CASES])
    )
    discarded = Outcome(Fate.DISCARDED, reason="not_heard", network="bluesky")
    line = empty(4).plus([(message(4), delivered), (message(5), discarded)]).line(6, "w", NOW)
    assert (line.before, line.after, line.received, line.redone) == (4, 6, 2, 0)
    assert line.fates == {"delivered": 1, "discarded": 1}
    assert line.reasons == {"discarded:not_heard": 1}
    assert line.networks == {"delivered:webhook": 1, "discarded:bluesky": 1}
    assert line.emitted == {"cases": 2}
    assert line.caused is None


def test_what_was_passed_before_is_redone() -> None:
    """By the highest source position of each upstream partition, ordinals included."""
    places = [
        position(0, 7, 0),
        position(0, 7, 1),
        position(0, 7, 1),
        position(1, 2),
        position(0, 6),
        position(0, 8),
        None,
    ]
    done = [(message(at, place), Outcome(Fate.REPEATED)) for at, place in enumerate(places)]
    assert empty().plus(done).redone == 2


def test_what_was_passed_is_remembered_beyond_a_line() -> None:
    """A line starts the counts anew, not the memory."""
    tally = empty().plus([(message(0, position(0, 7)), Outcome(Fate.DELIVERED))]).closed(1)
    assert tally.empty
    assert tally.plus([(message(1, position(0, 7)), Outcome(Fate.REPEATED))]).redone == 1


OUTCOMES = st.builds(
    Outcome,
    fate=st.sampled_from([Fate.DELIVERED, Fate.REPEATED, Fate.DISCARDED, Fate.DEAD_LETTERED]),
    reason=st.sampled_from(["", "duplicate", "not_heard", "unhandled:KeyError"]),
    network=st.sampled_from(["", "webhook", "bluesky"]),
    outputs=st.lists(st.sampled_from(list(OUTPUTS.values())), max_size=3).map(tuple),
)
PLACES = st.none() | st.builds(position, st.integers(0, 3), st.integers(0, 20), st.integers(0, 2))


@given(st.lists(st.tuples(PLACES, OUTCOMES), max_size=30), st.data())
def test_any_cut_of_batches_gives_the_same_books(batch, data) -> None:
    """Also when the worker restarts between them, with what lay in the committed metadata."""
    done = [(message(at, place), outcome) for at, (place, outcome) in enumerate(batch)]
    cut = empty()
    start = 0
    while start < len(done):
        stop = data.draw(st.integers(start + 1, len(done)))
        cut = cut.plus(done[start:stop])
        if data.draw(st.booleans()):
            cut = Tally.resume(cut.stage, cut.topic, cut.partition, stop, cut.metadata())
        start = stop
    whole = empty().plus(done)
    assert cut.line(99, "w", NOW) == whole.line(99, "w", NOW)
    assert cut.passed == whole.passed
    assert sum(whole.fates.values()) == whole.received == len(done)


def test_the_metadata_of_a_deployment_as_shipped_fit_an_offset() -> None:
    """24 upstream partitions far into their offsets, every reason of the stages, many networks."""
    done = []
    for partition in range(24):
        for at, network in enumerate(("bluesky", "mastodon", "facebook", "webhook")):
            place = position(partition, 10**12 + at, 3)
            outcome = Outcome(Fate.DISCARDED, reason=f"reason_of_stage_{at}", network=network)
            done.append((message(at, place), outcome))
    tally = empty(10**12).plus(done)
    assert len(tally.metadata()) < METADATA_BYTES
    resumed = Tally.resume(tally.stage, tally.topic, 3, 10**12 + 5, tally.metadata())
    assert resumed == tally


def test_what_four_upstream_logs_of_64_partitions_passed_fits_an_offset() -> None:
    """A stage that several others write to remembers the partitions of all of them."""
    logs = ("raw-events", "social-events", "case-commands", "care.timers")
    places = [
        SourcePosition(log, number, 10**12 + number, 2) for log in logs for number in range(64)
    ]
    tally = empty().plus(
        [(message(at, place), Outcome(Fate.DELIVERED)) for at, place in enumerate(places)]
    )
    assert len(tally.metadata(fired=10**13)) < METADATA_BYTES
    assert Tally.resume("care", Topic.SOCIAL_EVENTS, 3, 5, tally.metadata()).passed == tally.passed
    assert len(tally.passed) == 256


def test_what_was_committed_before_in_decimal_is_still_known() -> None:
    """A new version goes on where the last one stood."""
    metadata = '{"b":4,"r":2,"d":1,"f":{},"w":{},"n":{},"e":{},"c":{},"p":{"raw-events/11":"70.2"}}'
    tally = Tally.resume("care", Topic.SOCIAL_EVENTS, 3, 9, metadata)
    assert (tally.before, tally.received, tally.redone) == (4, 2, 1)
    assert tally.passed == {"raw-events/11": (70, 2)}


def test_messages_that_no_stage_wrote_are_counted() -> None:
    """They have no source position, or none that is ours; also across a commit."""
    forged = Message(Topic.SOCIAL_EVENTS, 3, 2, b"k", b"{}", ((SOURCE_HEADER, b"x"),))
    done = [
        (each, Outcome(Fate.DELIVERED)) for each in (message(0, position(0, 7)), message(1), forged)
    ]
    tally = empty().plus(done)
    resumed = Tally.resume(tally.stage, tally.topic, 3, 3, tally.metadata())
    assert resumed.line(3, "w", NOW).outside == 2
    assert empty().plus(done[:1]).line(1, "w", NOW).outside is None


def test_the_last_timer_that_fired_travels_with_the_position() -> None:
    assert fired_of(empty().metadata(fired=7)) == 7
    assert fired_of(empty().metadata({"raised": {"a": 1}}, fired=7)) == 7
    assert fired_of(empty().metadata()) == fired_of("") == 0
    for metadata in ("hello", "[]", '{"t":"x"}', '{"t":[]}'):
        with pytest.raises(InvariantViolation):
            fired_of(metadata)


def test_crowded_books_ask_for_a_line() -> None:
    """Long before a broker would refuse the metadata; beyond that it is our own error."""
    many = [
        (message(at), Outcome(Fate.DISCARDED, reason=f"some_reason_number_{at}"))
        for at in range(200)
    ]
    assert not empty().crowded
    assert empty().plus(many[:90]).crowded
    assert not empty().plus(many[:90]).closed(90).crowded
    with pytest.raises(InvariantViolation, match="outgrew"):
        empty().plus(many).metadata()


def test_a_position_without_metadata_starts_new_books() -> None:
    """First start, or an operator's reset: the line begins at the position."""
    assert Tally.resume("care", Topic.SOCIAL_EVENTS, 3, 42, "") == empty(42)


@pytest.mark.parametrize("metadata", ["hello", "[]", "1", '{"p":{"raw-events/0":"x"}}', '{"p":1}'])
def test_metadata_that_are_not_ours_stop_the_worker(metadata: str) -> None:
    """Somebody else commits into our group: going on would make the books wrong."""
    with pytest.raises(InvariantViolation):
        Tally.resume("care", Topic.SOCIAL_EVENTS, 3, 42, metadata)


def test_the_record_of_a_line_is_keyed_by_stage_and_partition() -> None:
    """So that lines of one partition lie in order; the id is its range."""
    output = ledger_output(empty(4).closed(4).line(9, "w", NOW))
    assert output.key == b"care|social-events|3"
    assert dict(output.headers)["ce_id"] == b"care|social-events|3|4|9"
    assert isinstance(empty().line(1, "w", NOW), LedgerLine)
