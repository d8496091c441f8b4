"""The gap ledger: every gap once, every outcome told, nothing open that was closed."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts import codec
from klingel.model import ConnectorStatus
from klingel_connectors import gaps
from klingel_connectors.gaps import Ledger
from klingel_connectors.raw import Origin
from klingel_connectors.status import before_of, gap_output, newest_statuses
from klingel_networks.arrival import Gap, GapClosed

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ORIGIN = Origin("x", "x-main", "x")


def gap(key="g1", start="10", cause="disconnected"):
    """Return a gap."""
    return Gap(cause, "the stream was away", key=key, start=start, began_at=NOW)


def test_a_gap_without_a_key_is_unrecoverable_at_once():
    ledger, (entry,) = gaps.opened(Ledger(), gap(key=""), "", NOW)
    assert (entry.outcome, entry.closed_at, ledger.open) == ("unrecoverable", NOW, {})


def test_a_gap_that_is_told_again_is_the_same():
    ledger, (first,) = gaps.opened(Ledger(), gap(), "", NOW)
    same, news = gaps.opened(ledger, gap(), "", NOW + timedelta(hours=1))
    assert (news, same) == ((), ledger)
    other, (second,) = gaps.opened(ledger, gap(), "elsewhere", NOW)
    assert second.name != first.name
    assert len(other.open) == 2


def test_a_gap_under_an_open_key_from_elsewhere_closes_the_old_one():
    ledger, _ = gaps.opened(Ledger(), gap(), "", NOW)
    later, (old, new) = gaps.opened(ledger, gap(start="20"), "", NOW)
    assert (old.outcome, new.outcome) == ("unrecoverable", "open")
    assert list(later.open.values()) == [new]
    _, (old, _) = gaps.opened(gaps.filled(ledger, "", 3), gap(start="20"), "", NOW)
    assert (old.outcome, old.recovered) == ("partial", 3)


def test_closing_tells_outcome_end_and_what_filled_it():
    ledger, _ = gaps.opened(Ledger(), gap(), "c", NOW)
    ledger = gaps.filled(gaps.filled(ledger, "c", 2), "other", 9)
    end = GapClosed("g1", "filled", end="30", ended_at=NOW + timedelta(minutes=5))
    after, (entry,) = gaps.closed(ledger, end, "c", NOW + timedelta(minutes=6))
    record = entry.record()
    assert after.open == {}
    assert (record.outcome, record.recovered, record.end, record.start) == ("filled", 2, "30", "10")
    assert gaps.closed(after, end, "c", NOW) == (after, ())


def test_what_an_earlier_process_left_open_can_be_closed():
    """Its record has the same key, so the outcome takes the place of the opening."""
    ledger, (entry,) = gaps.opened(Ledger(), gap(), "c", NOW)
    _, (lost,) = gaps.opened(ledger, gap(key=""), "c", NOW)
    _, (foreign,) = gaps.opened(Ledger(), gap(), "c", NOW)
    records = [
        gap_output(ORIGIN, entry, NOW),
        gap_output(ORIGIN, lost, NOW),
        gap_output(Origin("x", "x-other", "x"), foreign, NOW),
    ]
    told = newest_statuses(
        [(each.key, each.value) for each in records] + [(b"broken", b"{"), (b"gone", None)]
    )
    before = before_of("x-main", told)
    assert set(before.ledger.open) == {("c", "g1")}
    _, (closed,) = gaps.closed(before.ledger, GapClosed("g1", "partial"), "c", NOW)
    assert gap_output(ORIGIN, closed, NOW).key == records[0].key
    status = codec.decode(ConnectorStatus, gap_output(ORIGIN, closed, NOW).value)
    assert (status.state, status.gap.outcome) == ("failed", "partial")


KEYS = st.sampled_from(["", "k1", "k2"])
CHANNELS = st.sampled_from(["", "a"])
MOVES = st.one_of(
    st.tuples(st.just("open"), CHANNELS, KEYS, st.sampled_from([None, "1", "2"])),
    st.tuples(st.just("close"), CHANNELS, KEYS, st.sampled_from(["filled", "partial"])),
    st.tuples(st.just("fill"), CHANNELS, st.integers(0, 3), st.none()),
)


@given(st.lists(MOVES, max_size=40))
def test_every_entry_that_was_opened_is_open_or_has_one_outcome(moves):
    """Told entries: an opening at most once, one outcome at most, recovered never falls."""
    ledger, opened, outcomes = Ledger(), set(), {}
    for number, (move, channel, key, more) in enumerate(moves):
        now = NOW + timedelta(seconds=number)
        if move == "open":
            ledger, news = gaps.opened(ledger, gap(key=key, start=more), channel, now)
        elif move == "close":
            ledger, news = gaps.closed(ledger, GapClosed(key, more), channel, now)
        else:
            ledger, news = gaps.filled(ledger, channel, key), ()
        for entry in news:
            if entry.outcome == "open":
                # A gap may come back at the same place after it was closed: the same entry, anew.
                outcomes.pop(entry.name, None)
                opened.add(entry.name)
            else:
                assert not entry.gap.key or entry.name in opened
                outcomes[entry.name] = entry.outcome
            codec.decode(ConnectorStatus, gap_output(ORIGIN, entry, now).value)
    still = {entry.name for entry in ledger.open.values()}
    assert still | set(outcomes) >= opened
    assert not still & set(outcomes)
