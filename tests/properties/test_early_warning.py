"""Laws of early warning over counts: whatever is counted, and however the stream is cut."""

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from klingel.domain.early_warning import (
    START,
    Detector,
    Policy,
    Reading,
    State,
    from_plain,
    to_plain,
)

# Short memories, so that few intervals reach every state.
QUICK = Detector(300.0, Policy(probation_seconds=3_000, cool_down_seconds=3_000))
COUNTS = st.one_of(
    st.integers(0, 5), st.integers(0, 10**6), st.floats(0, 1e300), st.just(0), st.none()
)
SERIES = st.lists(COUNTS, max_size=120)
KNOWN = st.lists(st.integers(0, 1_000), min_size=15, max_size=80)


def read_on(state: State, counts: list[float | None]) -> tuple[State, list[Reading]]:
    found = []
    for count in counts:
        state, reading = QUICK.observe(state, count)
        found.append(reading)
    return state, found


@given(SERIES)
def test_everything_is_finite_and_within_its_bounds(counts) -> None:
    state, found = read_on(START, counts)
    for reading in found:
        assert 0 <= reading.score <= 1
        assert 1 <= reading.severity <= 10
        assert 0 <= reading.surprise < math.inf
        assert 0 <= reading.baseline < math.inf
        assert 0 <= reading.longevity_seconds <= len(counts) * 300
        assert not reading.alarm or (reading.score >= 0.5 and reading.severity >= 4)
    assert not any(math.isnan(number) or number == math.inf for number in state)


@given(SERIES, st.integers(0, 120))
def test_a_restart_anywhere_changes_nothing(counts, cut) -> None:
    whole = read_on(START, counts)
    first, before = read_on(START, counts[:cut])
    restored = from_plain(json.loads(json.dumps(to_plain(first))))
    assert restored == first
    second, after = read_on(restored, counts[cut:])
    assert (second, before + after) == whole


@given(SERIES, st.lists(st.one_of(st.just(0), st.none()), max_size=60))
def test_silence_and_gaps_never_alarm(counts, rest) -> None:
    state, _ = read_on(START, counts)
    assert not any(reading.alarm for reading in read_on(state, rest)[1][1:])
    assert not any(reading.score for reading in read_on(START, rest)[1])


@given(SERIES, st.integers(1, 40), st.lists(st.integers(0, 10**6), max_size=40))
def test_what_piled_up_behind_a_gap_never_alarms(counts, gap, piled) -> None:
    state, during = read_on(read_on(START, counts)[0], [None] * gap)
    after = read_on(state, piled[:gap])[1]
    assert not any(reading.score or reading.alarm for reading in [*during, *after])


@given(KNOWN, st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_posts_are_never_less_surprising(counts, one, other) -> None:
    state, _ = read_on(START, counts)
    less, more = sorted((one, other))
    _, [lower] = read_on(state, [less])
    _, [higher] = read_on(state, [more])
    assert lower.surprise <= higher.surprise
    assert lower.score <= higher.score
    assert lower.severity <= higher.severity
    assert lower.alarm <= higher.alarm
    assert QUICK.surprise(state, more) == higher.surprise


@given(KNOWN, st.floats(0.1, 20))
def test_the_bar_is_the_least_count_that_surprises_so_much(counts, surprise) -> None:
    state, _ = read_on(START, counts)
    bar = QUICK.least_surprising(state, surprise)
    if bar < math.inf:
        assert QUICK.surprise(state, bar) >= surprise
        assert bar == 0 or QUICK.surprise(state, bar - 1) < surprise


@given(
    st.lists(st.integers(1_000, 50_000), min_size=15, max_size=80),
    st.integers(1_000, 10**6),
    st.integers(2, 1_000),
)
@settings(max_examples=50)
def test_brands_of_every_size_are_measured_alike(counts, last, factor) -> None:
    small, _ = read_on(START, counts)
    large, _ = read_on(START, [count * factor for count in counts])
    expected = QUICK.surprise(small, last)
    assert math.isclose(QUICK.surprise(large, last * factor), expected, rel_tol=0.05, abs_tol=0.05)


@given(st.dictionaries(st.integers(-5, 90), st.integers(0, 1_000), max_size=40))
def test_walking_through_history_is_watching_it(counts) -> None:
    """Where nothing is said the count was zero; what lies outside plays no part."""
    expected, _ = read_on(START, [counts.get(at, 0) for at in range(80)])
    found = QUICK.after(counts, 0, 79)
    assert found.seen == expected.seen
    for one, other in zip(found, expected._replace(cooling=0, run=found.run), strict=True):
        assert one == other or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


@given(KNOWN, KNOWN)
def test_with_a_past_is_known_what_both_have_taught(past, counts) -> None:
    """Peaks of both, however they are told apart; nothing alarms by it and nothing is forgotten."""
    first, _ = read_on(START, past)
    second, _ = read_on(START, counts)
    known = QUICK.with_past(second, first)
    assert known.seen == len(past) + len(counts)
    assert math.isclose(known.weight, first.weight + second.weight)
    least, most = sorted((first.mean, second.mean))
    assert least - 1e-9 <= known.mean <= most + 1e-9
    assert known.spread >= max(first.spread, second.spread) - 1e-9
    assert known[4:6] == second[4:6]
    assert known[9:] == second[9:]
    assert QUICK.with_past(second, START) == second
    assert from_plain(json.loads(json.dumps(to_plain(known)))) == known
