"""One batch: later messages see what earlier ones changed, and each other."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage, SourceUnavailable
from klingel.stage.batch import Coordinates, Overlay, history_needed, run_batch
from klingel.stage.dead_letters import Component
from klingel.stage.fates import Fate, NotYet, Outcome, Put
from klingel.stage.guard import Brake
from klingel.stage.in_memory import InMemoryTable
from klingel.stage.ledger import Tally
from klingel.stage.ports import StateView

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Adding:
    """Adds numbers under their key; `bad` is invalid, `later` waits, `away` is the world's fault."""

    name = "adding"
    inputs: tuple[Topic, ...] = (Topic.RAW_EVENTS,)
    wants_time = False
    tables: Mapping[str, Topic] = {"sums": Topic.OBJECT_DIRECTORY}

    def source_of(self, message: Message) -> str:
        """Nobody in particular."""
        return str(message.partition)

    def needs(self, message: Message, state: StateView) -> Sequence[Coordinates]:
        """Ask for the message before, unless the key is known."""
        known = state.get("sums", message.key or b"")
        return [] if known else [(Topic.RAW_EVENTS, 0, message.offset - 1)]

    def look_over(self, messages: Sequence[Message]) -> None:
        """Nothing is cheaper in a row."""

    def step(
        self,
        message: Message,
        state: StateView,
        now: datetime,
        history: Mapping[Coordinates, Message],
    ) -> Outcome:
        """Add."""
        del now
        key, value = message.key or b"", message.value or b""
        if value == b"bad":
            raise InvalidMessage(ErrorType.INVALID_FIELD, "bad")
        if value == b"later":
            raise NotYet(NOW)
        if value == b"away":
            raise SourceUnavailable("away")
        total = str(int(state.get("sums", key) or b"0") + int(value)).encode()
        before = history.get((Topic.RAW_EVENTS, 0, message.offset - 1))
        return Outcome(
            Fate.DELIVERED,
            outputs=(Output(Topic.SOCIAL_EVENTS, key, total + (before.value if before else b"")),),
            puts=(Put("sums", key, None if total == b"0" else total),),
            rows=(key,),
        )

    def tick(self, state: StateView, now: datetime, read_to: datetime | None) -> Sequence[Outcome]:
        """There are no timers."""
        del state, now, read_to
        return ()

    def batch_outputs(
        self, rows: Sequence[bytes], partition: int, now: datetime
    ) -> Sequence[Output]:
        """One record of all keys."""
        del now
        return [Output(Topic.UNDERSTAND_MARKS, b"", b",".join(rows), partition=partition)]

    def restore(self, table: str, message: Message, state: StateView) -> Iterable[Put]:
        """Nothing is restored here."""
        del table, message, state
        return ()


def batch(*values: tuple[bytes, bytes], tables=None, history=None, brake=None):
    """Run a batch from offset 5 on."""
    messages = [
        Message(Topic.RAW_EVENTS, 0, 5 + at, key, value) for at, (key, value) in enumerate(values)
    ]
    return run_batch(
        Adding(),
        messages,
        overlay=Overlay(tables or {"sums": InMemoryTable()}),
        history=history or {},
        tally=Tally("adding", Topic.RAW_EVENTS, 0, 5),
        brake=brake or Brake(),
        component=Component("adding/1", "adding"),
        now=NOW,
    )


def test_later_messages_see_what_earlier_ones_changed() -> None:
    """Though nothing is stored before the commit."""
    table = InMemoryTable()
    result = batch((b"a", b"1"), (b"b", b"5"), (b"a", b"2"), tables={"sums": table})
    assert result.overlay.changes("sums") == [(b"a", b"3"), (b"b", b"5")]
    assert table.get(b"a") is None
    assert (result.next_offset, result.tally.received) == (8, 3)


def test_a_removed_key_is_gone_for_the_rest_of_the_batch() -> None:
    """The table's own value does not shine through."""
    table = InMemoryTable()
    table.apply([(b"a", b"4")], 1)
    result = batch((b"a", b"-4"), (b"a", b"1"), tables={"sums": table})
    assert result.overlay.changes("sums") == [(b"a", b"1")]
    overlay = Overlay({"sums": table})
    overlay.put([Put("sums", b"a", None)])
    assert overlay.get("sums", b"a") is None


def test_a_dead_letter_takes_its_place_among_the_outputs() -> None:
    """The others are as if it had not come; the batch's record comes last."""
    result = batch((b"a", b"1"), (b"a", b"bad"), (b"a", b"2"))
    assert [output.topic for output in result.outputs] == [
        Topic.SOCIAL_EVENTS,
        Topic.DEAD_LETTERS,
        Topic.SOCIAL_EVENTS,
        Topic.UNDERSTAND_MARKS,
    ]
    assert result.outputs[-1].value == b"a,a"
    assert result.tally.fates == {"delivered": 2, "dead_lettered": 1}
    assert result.tally.emitted == {"social-events": 2}


def test_a_step_sees_the_messages_of_its_own_batch() -> None:
    """What it would read back lies in its hands already."""
    outside = Message(Topic.RAW_EVENTS, 0, 4, b"z", b"!")
    result = batch((b"a", b"1"), (b"a", b"2"), history={(Topic.RAW_EVENTS, 0, 4): outside})
    assert [output.value for output in result.outputs[:2]] == [b"1!", b"31"]


def test_a_message_that_waits_ends_the_batch() -> None:
    """What lies before it counts; it and what lies behind it have no fate, and are read again."""
    result = batch((b"a", b"1"), (b"a", b"later"), (b"a", b"bad"), (b"b", b"2"))
    assert (result.next_offset, result.waits_until) == (6, NOW)
    assert [outcome.fate for outcome in result.outcomes] == [Fate.DELIVERED]
    assert result.tally.received == 1
    assert result.overlay.changes("sums") == [(b"a", b"1")]
    assert [output.topic for output in result.outputs][-1] is Topic.UNDERSTAND_MARKS


def test_a_batch_whose_first_message_waits_decides_nothing() -> None:
    brake = Brake()
    result = batch((b"a", b"later"), (b"a", b"1"), brake=brake)
    assert (result.next_offset, result.outcomes) == (5, ())
    assert result.tally.empty
    assert not brake._window


def test_what_is_away_takes_the_whole_batch_back() -> None:
    """Nothing of it counts, state and tally included."""
    table = InMemoryTable()
    with pytest.raises(SourceUnavailable):
        batch((b"a", b"1"), (b"a", b"away"), tables={"sums": table})
    assert table.get(b"a") is None


def test_history_is_asked_once_and_in_order() -> None:
    """By what is stored: each place once."""
    table = InMemoryTable()
    table.apply([(b"known", b"1")], 1)
    messages = [
        Message(Topic.RAW_EVENTS, 0, at, key, b"1")
        for at, key in ((7, b"a"), (8, b"known"), (7, b"a"), (9, b"b"))
    ]
    needed = history_needed(Adding(), messages, Overlay({"sums": table}))
    assert list(needed) == [(Topic.RAW_EVENTS, 0, 6), (Topic.RAW_EVENTS, 0, 8)]


KEYS = st.text("ab", max_size=3).map(str.encode)  # few enough to meet again


@given(
    st.dictionaries(KEYS, st.binary(max_size=2), min_size=4, max_size=12),
    st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=2)), max_size=12),
    st.just((b"", b"c")) | st.tuples(KEYS, KEYS),
    st.integers(0, 3),
    st.booleans(),
)
def test_a_scan_sees_what_the_batch_changed(
    stored: dict[bytes, bytes],
    changes: list[tuple[bytes, bytes | None]],
    bounds: tuple[bytes, bytes],
    limit: int,
    before: bool,
) -> None:
    """As if the changes lay in the table already: added, replaced, removed; in key order."""
    start, stop = bounds
    table = InMemoryTable()
    table.apply(list(stored.items()), 1)
    overlay = Overlay({"sums": table})
    for key, value in changes:
        if before:  # what was scanned once must not be remembered
            overlay.scan("sums", start, stop, limit)
        overlay.put([Put("sums", key, value)])
    merged: dict[bytes, bytes | None] = {**stored, **dict(changes)}
    there = sorted((key, value) for key, value in merged.items() if value is not None)
    within = [(key, value) for key, value in there if start <= key < stop]
    assert list(overlay.scan("sums", start, stop, limit)) == within[:limit]
