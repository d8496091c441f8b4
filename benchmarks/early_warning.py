"""Early warning: how early and how seldom in vain on the real series, how stable, how fast, how large.

    python benchmarks/early_warning.py [--plateau] [--json]

The series are NAB's realTweets that lie beside the checkout, scored by NAB's published rules
(`../shared/tools/nab_score.py`): standard and low-FP. `left out in turn` chooses the threshold on all
series but one, in the middle of the best plateau, and scores it on the one. `--plateau` shows the score
as each setting is halved and doubled, and made a tenth less and more, and as the threshold is moved.

A row of the watch is measured with a thousand brands of twenty topics, brand sizes as they are (a few
large, many small), CPU time; beside it stands a loop of plain arithmetic, by which machines and their
other load can be told apart. Exit code 1 below a gate.
"""

import argparse
import csv
import dataclasses
import gc
import gzip
import json
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import msgspec

from klingel.domain.alerting import BrandWatch, Row
from klingel.domain.early_warning import START, Detector, Policy, to_plain

SHARED = Path(__file__).resolve().parents[2] / "shared"
PROFILES = ("standard", "low_fp")
GATES = {"standard": 82.0, "low_fp": 73.0}
GATES_LEFT_OUT = {"standard": 72.0, "low_fp": 62.0}
MICROSECONDS_A_ROW = 20.0
THRESHOLDS = tuple(round(2.4 + 0.2 * step, 1) for step in range(16))
FACTORS = (0.5, 0.9, 1.0, 1.1, 2.0)
NEAR = (0.9, 1.1)
INTERVAL = 300.0
BRANDS, TOPICS = 1_000, 20
SEED = 5


class Series(NamedTuple):
    """A series with its labels."""

    name: str
    times: list[str]
    counts: list[float]
    windows: list[tuple[str, str]]


Raw = dict[str, tuple[float, float, float]]
"""By profile: raw score, score of silence, score of perfection."""


def load_scorer() -> ModuleType:
    spec = spec_from_file_location("nab_score", SHARED / "tools" / "nab_score.py")
    if spec is None or spec.loader is None:
        sys.exit("the scorer is not beside this checkout")
    scorer = module_from_spec(spec)
    spec.loader.exec_module(scorer)
    return scorer


def read_series() -> list[Series]:
    folder = SHARED / "data" / "permissive" / "spikes"
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    found = []
    for name, label in sorted(labels.items()):
        with gzip.open(folder / f"{Path(name).stem}.csv.gz", "rt", newline="") as file:
            rows = list(csv.DictReader(file))
        found.append(
            Series(
                Path(name).stem,
                [row["timestamp"][:19] for row in rows],
                [float(row["value"]) for row in rows],
                [(begin[:19], end[:19]) for begin, end in label["windows"]],
            )
        )
    return found


def surprises(series: Series, policy: Policy) -> list[float]:
    """Return the surprise of every interval; the threshold plays no part in it."""
    detector, state, found = Detector(INTERVAL, policy), START, []
    for count in series.counts:
        state, surprise = detector.step(state, count)
        found.append(surprise)
    return found


def alarms(found: Sequence[float], policy: Policy) -> list[bool]:
    """Return which intervals alarm, by the detector's own rule."""
    cool_down = round(policy.cool_down_seconds / INTERVAL)
    until, told = 0, []
    for at, surprise in enumerate(found):
        alarm = surprise >= policy.threshold and at >= until
        until = at + cool_down + 1 if alarm else until
        told.append(alarm)
    return told


def raw_of(scorer: ModuleType, series: Series, told: list[bool]) -> Raw:
    raw = {}
    for profile in PROFILES:
        weights = scorer.PROFILES[profile]
        score, windows, *_ = scorer.raw_score(series.times, told, series.windows, weights)
        raw[profile] = (score, -weights[2] * windows, weights[0] * windows)
    return raw


def score(raws: Sequence[Raw], profile: str) -> float:
    raw, null, perfect = (sum(each[profile][at] for each in raws) for at in range(3))
    return 100 * (raw - null) / (perfect - null)


def scores(raws: Sequence[Raw]) -> dict[str, float]:
    return {profile: round(score(raws, profile), 1) for profile in PROFILES}


def judge(scorer: ModuleType, every: Sequence[Series], policy: Policy) -> dict[str, float]:
    told = [alarms(surprises(series, policy), policy) for series in every]
    return scores([raw_of(scorer, *pair) for pair in zip(every, told, strict=True)])


def left_out(scorer: ModuleType, every: Sequence[Series]) -> dict[str, Any]:
    """Score each series at the threshold that the others would choose."""
    found = {series.name: surprises(series, Policy()) for series in every}
    raws = {
        (series.name, threshold): raw_of(
            scorer, series, alarms(found[series.name], Policy(threshold=threshold))
        )
        for series in every
        for threshold in THRESHOLDS
    }
    chosen = {}
    for series in every:
        others = [each.name for each in every if each != series]
        worth = [
            sum(score([raws[name, threshold] for name in others], p) for p in PROFILES)
            for threshold in THRESHOLDS
        ]
        # The middle of a plateau: a peak between two slopes is chance.
        smooth = [
            sum(worth[max(0, at - 1) : at + 2]) / len(worth[max(0, at - 1) : at + 2])
            for at in range(len(worth))
        ]
        chosen[series.name] = THRESHOLDS[smooth.index(max(smooth))]
    return {**scores([raws[pair] for pair in chosen.items()]), "thresholds": chosen}


def plateau(scorer: ModuleType, every: Sequence[Series]) -> dict[str, dict[str, Any]]:
    """Return the scores as each setting is made less and more, and the threshold is moved."""
    usual = Policy()
    shown: dict[str, dict[str, Any]] = {
        "thresholds": {
            str(each): judge(scorer, every, dataclasses.replace(usual, threshold=each))
            for each in THRESHOLDS
        }
    }
    for name in (
        "few",
        "peak_seconds",
        "memory_seconds",
        "least_deviation",
        "probation_seconds",
        "cool_down_seconds",
        "settle_seconds",
        "threshold",
    ):
        shown[name] = {}
        for factor in FACTORS:
            value = getattr(usual, name) * factor
            policy = dataclasses.replace(usual, **{name: value})
            shown[name][f"x{factor:g}"] = judge(scorer, every, policy)
    shown["horizons_seconds"] = {}
    for factor in FACTORS:
        short, middle, long = (seconds * factor for seconds in usual.horizons_seconds)
        policy = dataclasses.replace(usual, horizons_seconds=(short, middle, long))
        shown["horizons_seconds"][f"x{factor:g}"] = judge(scorer, every, policy)
    return shown


def within_a_tenth(shown: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return the lowest score of each profile as one setting is a tenth less or more."""
    rows = [row for name, row in shown.items() if name != "thresholds"]
    near = [row[f"x{factor:g}"] for row in rows for factor in NEAR]
    return {profile: min(each[profile] for each in near) for profile in PROFILES}


def arithmetic() -> float:
    """Return the microseconds of a thousand steps of plain arithmetic."""
    start = time.process_time()
    total = 0
    for number in range(1_000_000):
        total += number * number
    return (time.process_time() - start) * 1e3


def microseconds_an_interval(every: Sequence[Series]) -> float:
    detector, best = Detector(INTERVAL), float("inf")
    for series in every:
        state, start = START, time.process_time()
        for count in series.counts:
            state, _ = detector.observe(state, count)
        best = min(best, (time.process_time() - start) / len(series.counts) * 1e6)
    return best


def some_rows(
    chance: random.Random, begin: float, seconds: float, count: int
) -> Iterator[tuple[int, Row]]:
    """Yield rows of brands in order of time: half of them of a few large brands."""
    words = [f"wort{number}" for number in range(2_000)]
    texts = [" ".join(chance.choices(words, k=25)) for _ in range(2_000)]
    tones = ("negative", "neutral", "positive", "neutral")
    for number in range(count):
        large = chance.random() < 0.5
        brand = int(chance.paretovariate(1.0)) - 1 if large else chance.randrange(BRANDS)
        at = begin + seconds * number / count
        yield (
            brand % BRANDS,
            Row(
                f"bluesky:network:{at:.6f}:{number:08d}@0",
                at,
                chance.choice(tones),
                (f"topic-{chance.randrange(TOPICS)}",) if chance.random() < 0.7 else (),
                chance.getrandbits(64),
                float(chance.randrange(1_000)),
                "bluesky",
                texts[number % len(texts)],
                f"{number % 5_000:x}",
            ),
        )


def watch_rows(rows_a_second: int, minutes: int) -> dict[str, float]:
    """Return what a row costs the watch, all that belongs to it: counting, closing, alerts."""
    chance = random.Random(SEED)
    watches = [BrandWatch(f"brand-{number}") for number in range(BRANDS)]
    begin, spent, count, alerts = 1_770_000_000.0, [], 0, 0
    # As the processors' worker does at its start.
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for second in range(0, minutes * 60, 10):
        rows = list(some_rows(chance, begin + second, 10.0, rows_a_second * 10))
        start = time.process_time()
        for brand, row in rows:
            alerts += len(watches[brand].add(row, row.at))
        for watch in watches:
            alerts += len(watch.advance(begin + second + 10, until=begin + second + 10))
        spent.append(time.process_time() - start)
        count += len(rows)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": count,
        "alerts": alerts,
        "microseconds": round(sum(spent) / count * 1e6, 1),
        "microseconds_best_tenth": round(
            sum(sorted(spent)[: max(1, len(spent) // 10)])
            / max(1, len(spent) // 10)
            / (rows_a_second * 10)
            * 1e6,
            1,
        ),
        "megabytes": round((after - before) / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plateau", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows-a-second", type=int, default=1_000)
    parser.add_argument("--minutes", type=int, default=20)
    options = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit("the real data (../shared) are not beside this checkout")
    scorer, every = load_scorer(), read_series()
    state = START
    for count in every[0].counts:
        state, _ = Detector(INTERVAL).step(state, count)
    told: dict[str, Any] = {
        "scores": judge(scorer, every, Policy()),
        "left_out_in_turn": left_out(scorer, every),
        "bytes_a_series": {
            "memory": sys.getsizeof(state) + sum(map(sys.getsizeof, state)),
            "json": len(msgspec.json.encode(to_plain(state))),
        },
        "microseconds_an_interval": round(microseconds_an_interval(every), 2),
        "microseconds_of_1000_steps_of_arithmetic": round(arithmetic(), 1),
        "watch": watch_rows(options.rows_a_second, options.minutes),
    }
    if options.plateau:
        told["plateau"] = plateau(scorer, every)
        told["within_a_tenth"] = within_a_tenth(told["plateau"])
    if options.json:
        print(json.dumps(told))
    else:
        show(told)
    below = [
        *(told["scores"][profile] < gate for profile, gate in GATES.items()),
        *(told["left_out_in_turn"][profile] < gate for profile, gate in GATES_LEFT_OUT.items()),
        told["watch"]["microseconds"] > MICROSECONDS_A_ROW,
    ]
    sys.exit(1 if any(below) else 0)


def show(told: dict[str, Any]) -> None:
    for name, figures in told.items():
        if name != "plateau":
            print(f"{name}: {figures}")
    for name, row in told.get("plateau", {}).items():
        cells = (f"{value}: {s['standard']} / {s['low_fp']}" for value, s in row.items())
        print(f"{name:20} {'   '.join(cells)}")


if __name__ == "__main__":
    main()
