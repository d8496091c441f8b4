"""Only the contiguous settled prefix may ever be committed."""

from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.stage.fates import Fate, Outcome
from klingel_indexer.offsets import OffsetTracker

DONE = Outcome(Fate.DELIVERED)


def received(tracker: OffsetTracker, offsets: list[int]):
    return [
        tracker.receive(Message(Topic.ROUTED_EVENTS, 0, offset, None, b"abc")) for offset in offsets
    ]


@st.composite
def histories(draw):
    """Offsets with gaps (transaction markers), and an order in which they are settled."""
    gaps = draw(st.lists(st.integers(1, 4), min_size=1, max_size=30))
    offsets = [sum(gaps[: at + 1]) for at in range(len(gaps))]
    order = draw(st.permutations(range(len(offsets))))
    settled = draw(st.integers(0, len(offsets)))
    return offsets, order[:settled]


@given(histories())
def test_nothing_is_committed_past_an_unsettled_message(history):
    offsets, order = history
    tracker = OffsetTracker(0)
    tickets = received(tracker, offsets)
    out: list[int] = []
    for at in order:
        tickets[at].outcome = DONE
        before = tracker.position
        out += [message.offset for message, _ in tracker.passed()]
        unsettled = [t.message.offset for t in tickets if t.outcome is None]
        assert tracker.position >= before
        assert all(tracker.position <= offset for offset in unsettled)
    assert out == offsets[: len(out)]
    assert len(tracker) == len(offsets) - len(out)
    assert tracker.held_bytes == 3 * len(tracker)
    if len(order) == len(offsets):
        assert tracker.position == offsets[-1] + 1


@given(histories(), st.integers(0, 1000))
def test_a_position_beyond_waiting_messages_is_never_taken_over(history, consumed):
    offsets, order = history
    tracker = OffsetTracker(0)
    tickets = received(tracker, offsets)
    for at in order:
        tickets[at].outcome = DONE
    tracker.passed()
    before = tracker.position
    tracker.caught_up(consumed)
    if len(tracker):
        assert tracker.position == before
    else:
        assert tracker.position == max(before, consumed)


def test_oldest_is_the_message_that_holds_back_the_rest():
    tracker = OffsetTracker(5)
    tickets = received(tracker, [5, 6, 7])
    tickets[0].outcome = tickets[2].outcome = DONE
    tracker.passed()
    assert tracker.oldest is tickets[1].message
    assert tracker.position == 6
