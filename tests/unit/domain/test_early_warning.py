"""Early warning over counts: what alarms, what never does, and the real series."""

import csv
import gzip
import json
import math
import random
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from klingel.domain.early_warning import (
    START,
    Detector,
    Policy,
    Reading,
    State,
    from_plain,
    severity_of,
    to_plain,
)

DAY = 288
SEED = 20260302


def usual(intervals: int, mean: float = 10.0, seed: int = SEED) -> list[int]:
    """Return counts with days and nights, the chance of Poisson and a needle now and then."""
    print(f"seed {seed}")  # noqa: T201 - shown when a test fails
    chance = random.Random(seed)
    counts = []
    for at in range(intervals):
        level = mean * (1.0 + 0.7 * math.sin(2 * math.pi * at / DAY))
        if chance.random() < 0.01:
            level *= 2.0
        counts.append(sum(chance.random() < level / 200.0 for _ in range(200)))
    return counts


def read_all(
    counts: list[int | float | None], detector: Detector | None = None
) -> tuple[State, list[Reading]]:
    detector = Detector() if detector is None else detector
    state, found = START, []
    for count in counts:
        state, reading = detector.observe(state, count)
        found.append(reading)
    return state, found


def alarms(readings: list[Reading]) -> list[int]:
    return [at for at, reading in enumerate(readings) if reading.alarm]


def test_usual_days_do_not_alarm_and_a_wave_does_soon() -> None:
    counts = usual(14 * DAY)
    assert alarms(read_all(counts)[1]) == []
    wave = [100, 160, 200, 220, 210, 180]
    found = read_all([*counts, *wave])[1]
    assert [at - len(counts) for at in alarms(found)] == [1]
    assert found[-1].severity >= 7
    assert 5 < found[-1].baseline < 40
    assert found[-1].longevity_seconds >= len(wave) * 300


def test_slow_growth_alarms_before_any_single_interval_would() -> None:
    counts = usual(14 * DAY, mean=2.0)
    peak = max(counts)
    found = read_all([*counts, *[peak + 1] * 24])[1]
    assert len(alarms(found)) == 1
    assert 0 < alarms(found)[0] - len(counts) < 24


def test_after_an_alarm_there_is_a_day_without_another_one() -> None:
    counts = usual(10 * DAY)
    found = read_all([*counts, *([200] * 6 + [10] * 66) * 8])[1]
    first, second = alarms(found)
    assert second - first >= DAY


def test_the_first_day_alarms_at_nothing() -> None:
    assert alarms(read_all([*[3] * (DAY - 10), 5_000])[1]) == []
    assert alarms(read_all([*[3] * (DAY + 10), 5_000])[1]) == [DAY + 10]


@pytest.mark.parametrize("level", [0, 1, 10_000, 0.25])
def test_a_series_that_never_changes_never_alarms(level: float) -> None:
    assert {reading.score for reading in read_all([level] * (5 * DAY))[1]} == {0.0}


def test_one_post_after_long_silence_is_no_alarm_and_many_are() -> None:
    silence = [0] * (20 * DAY)
    assert alarms(read_all([*silence, 1, 0, 0, 1, 2])[1]) == []
    assert alarms(read_all([*silence, 15])[1]) == [len(silence)]


def test_neither_a_gap_nor_what_piled_up_behind_it_alarms() -> None:
    counts = usual(10 * DAY)
    gap = [None] * 36
    piled = [400] * 20 + [15] * 60
    found = read_all([*counts, *gap, *piled])[1]
    assert alarms(found) == []
    assert all(reading.score == 0.0 for reading in found[len(counts) : len(counts) + 72])
    quiet_again = [*counts, *gap, *piled, *usual(DAY, seed=8), 300, 300]
    assert alarms(read_all(quiet_again)[1])[0] == len(quiet_again) - 2


def test_a_gap_counted_as_zeros_would_not_alarm_either() -> None:
    assert alarms(read_all([*usual(10 * DAY), *[0] * 50, *usual(DAY, seed=9)])[1]) == []


def test_missed_intervals_are_the_same_one_by_one_or_at_once() -> None:
    detector = Detector()
    before = read_all(usual(3 * DAY))[0]
    state = before
    for _ in range(7):
        state, _ = detector.observe(state, None)
    assert state == detector.miss(before, 7)
    assert detector.miss(before, 0) == before


def test_another_gap_within_the_silence_after_one_lengthens_it() -> None:
    detector = Detector()
    state = detector.miss(read_all(usual(3 * DAY))[0], 10)
    for _ in range(4):
        state, reading = detector.observe(state, 5_000)
        assert reading.score == 0.0
    state, _ = detector.observe(detector.miss(state, 3), 5_000)
    assert state.settling == 6 + 3 - 1


@pytest.mark.parametrize("count", [-1, math.nan, math.inf, -math.inf])
def test_what_is_no_count_is_refused(count: float) -> None:
    with pytest.raises(ValueError, match="number from zero"):
        Detector().observe(START, count)


@pytest.mark.parametrize(
    "settings",
    [{"threshold": 0.0}, {"few": -1.0}, {"memory_seconds": math.inf}, {"cool_down_seconds": -1.0}],
)
def test_an_impossible_policy_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"zero|negative"):
        Policy(**settings)


@pytest.mark.parametrize("seconds", [0.0, -5.0, math.inf, math.nan])
def test_an_impossible_interval_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="interval"):
        Detector(seconds)


def test_the_bar_of_an_interval_is_the_least_count_that_alarms() -> None:
    detector = Detector()
    for seed, mean in ((1, 0.3), (2, 4.0), (3, 60.0)):
        state = read_all(usual(5 * DAY, mean, seed))[0]
        for surprise in (1.0, 3.8, 7.0):
            bar = detector.least_surprising(state, surprise)
            assert detector.surprise(state, bar) >= surprise
            assert detector.surprise(state, bar - 1) < surprise or bar == 0
    assert detector.least_surprising(START, 3.8) == math.inf
    assert detector.least_surprising(detector.miss(state, 3), 3.8) == math.inf


def test_zeros_at_once_are_zeros_one_by_one() -> None:
    detector = Detector()
    for intervals in (0, 1, 7, 600):
        walked, leaped = read_all([0] * intervals)[0], detector.after_zeros(intervals)
        assert leaped == pytest.approx(walked)


def test_severity_is_four_at_the_threshold_and_ends_at_ten() -> None:
    severities = [severity_of(x, 3.8) for x in (0.0, 1.2, 3.79, 3.8, 5.8, 7.6, 1e9)]
    assert severities == [1, 1, 3, 4, 7, 10, 10]


@pytest.mark.parametrize("plain", [None, [], [1], ["x"] * 13, [math.nan] * 13, {"seen": 1}])
def test_what_is_no_state_is_refused(plain: object) -> None:
    with pytest.raises(ValueError, match="no state"):
        from_plain(plain)


def test_a_state_is_small_and_stays_so() -> None:
    def size(state: State) -> int:
        return sys.getsizeof(state) + sum(map(sys.getsizeof, state))

    young, old = read_all(usual(2 * DAY))[0], read_all(usual(20 * DAY))[0]
    assert size(old) <= 640
    assert abs(size(old) - size(young)) <= 32
    assert from_plain(json.loads(json.dumps(to_plain(old)))) == old


def test_intervals_of_other_lengths_find_the_same_wave() -> None:
    counts = [*usual(14 * DAY, mean=20), *[400] * 24]
    found = {}
    for minutes in (5, 15, 60):
        each = minutes // 5
        sums = [sum(counts[at : at + each]) for at in range(0, len(counts), each)]
        found[minutes] = [at * each for at in alarms(read_all(sums, Detector(minutes * 60.0))[1])]
    assert all(len(each) == 1 and each[0] >= 14 * DAY for each in found.values()), found


def test_the_real_series_are_warned_of_early_and_seldom_in_vain(shared_data: Path) -> None:
    """NAB's realTweets: the gates of the whole, with every series left out in turn as well."""
    tool = shared_data.parent / "tools" / "nab_score.py"
    spec = spec_from_file_location("nab_score", tool)
    assert spec is not None
    assert spec.loader is not None
    scorer = module_from_spec(spec)
    spec.loader.exec_module(scorer)
    folder = shared_data / "permissive" / "spikes"
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    sums = {profile: [0.0, 0.0, 0.0] for profile in scorer.PROFILES}
    for name, label in labels.items():
        path = folder / f"{Path(name).stem}.csv.gz"
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        found = read_all([float(row["value"]) for row in rows])[1]
        times = [row["timestamp"][:19] for row in rows]
        windows = [(begin[:19], end[:19]) for begin, end in label["windows"]]
        for profile, weights in scorer.PROFILES.items():
            raw, count, *_ = scorer.raw_score(times, [r.alarm for r in found], windows, weights)
            for at, part in enumerate((raw, -weights[2] * count, weights[0] * count)):
                sums[profile][at] += part
    scores = {p: 100 * (raw - null) / (best - null) for p, (raw, null, best) in sums.items()}
    assert scores["standard"] >= 86, scores
    assert scores["low_fp"] >= 80, scores
