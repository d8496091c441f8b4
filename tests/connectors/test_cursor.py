"""The cursor advances over the contiguous acknowledged prefix and nothing else."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts import codec
from klingel.errors import InvariantViolation
from klingel.model import ConnectorCursor
from klingel_connectors.cursor import Prefix, newest, next_epoch, saved_cursor

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def record(cursor, epoch):
    return saved_cursor("i", "s", cursor, "h", epoch, NOW, finished=False)


def test_a_cursor_that_nobody_could_read_is_not_written():
    """As long as the schema allows, and no longer: a reader would skip it without a word."""
    longest = codec.encode(record("x" * 4_096, 1))
    assert codec.decode(ConnectorCursor, longest).cursor == "x" * 4_096
    with pytest.raises(InvariantViolation, match="4,097 characters"):
        record("x" * 4_097, 1)


def test_a_later_acknowledgement_does_not_pass_an_earlier_one():
    prefix = Prefix()
    first, second = prefix.open("1", 1), prefix.open("2", 1)
    second.acknowledge()
    assert prefix.position() is None
    first.acknowledge()
    assert prefix.position() == "2"
    assert prefix.pending == 0


def test_a_delivery_without_records_waits_for_those_before_it():
    prefix = Prefix()
    first = prefix.open("1", 2)
    prefix.open("2", 0)
    first.acknowledge()
    assert prefix.position() is None
    first.acknowledge()
    assert prefix.position() == "2"


@given(st.lists(st.integers(0, 3), max_size=30), st.randoms(use_true_random=False))
def test_the_position_never_passes_what_is_open(counts, rng):
    """Acknowledged in any order, the position is always the delivery before the first open one."""
    prefix = Prefix()
    slots = [prefix.open(str(at), count) for at, count in enumerate(counts)]
    left = [slot for slot in slots for _ in range(slot.open)]
    rng.shuffle(left)
    while True:
        expected = None
        for at, slot in enumerate(slots):
            if slot.open > 0:
                break
            expected = str(at)
        assert prefix.position() == expected
        if not left:
            break
        left.pop().acknowledge()
    assert prefix.position() == (str(len(counts) - 1) if counts else None)


def test_a_record_of_a_lower_epoch_is_ignored():
    assert newest([record("a", 1), record("b", 3), record("stale", 2)]).cursor == "b"
    assert newest([record("a", 1), record("b", 1)]).cursor == "b"
    assert newest([]) is None


def test_an_epoch_is_lifted_above_the_stored_one():
    assert next_epoch(7, None) == 7
    assert next_epoch(7, record("a", 3)) == 7
    assert next_epoch(1, record("a", 3)) == 4
    assert next_epoch(3, record("a", 3)) == 4
