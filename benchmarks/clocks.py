"""Business time and clocks: microseconds of processor time each.

    python benchmarks/clocks.py [--count 10000] [--runs 5] [--seed 1] [--json]

Deadlines and open times of instants that are spread over a year, with a calendar of a state's
holidays and two intervals a day; then whole clocks (deadline, warning, state, open seconds), as the
fold of a case derives them. Warm: the year's intervals are laid out. Cold: a calendar's very first
deadline. Bounded: the worst that a configuration can hold, one open minute a week and a target that
is never reached.

The gate is 10,000 warm deadlines a second; exit code 1 below.
"""

import argparse
import json
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

from klingel.config.calendars import BusinessCalendar, HolidayRegion
from klingel.domain.calendar import END, Calendar
from klingel.domain.sla import Promise, clock_of

GATE_US = 100.0
YEAR = datetime(2026, 1, 1, tzinfo=UTC)
OFFICE = BusinessCalendar(
    id="office",
    zone="Europe/Berlin",
    hours={"mon-fri": ("08:00-12:00", "13:00-20:00"), "sat": ("09:00-13:00",)},
    holidays=HolidayRegion(country="DE", state="NW"),
)
RARE = BusinessCalendar(id="rare", zone="Europe/Berlin", hours={"mon": ("02:00-02:01",)})


def measure(count: int, runs: int, work: Callable[[], object]) -> float:
    """Return the median microseconds of processor time of one of `count` things."""
    costs = []
    for _ in range(runs):
        started = time.process_time()
        work()
        costs.append((time.process_time() - started) / count * 1e6)
    return statistics.median(costs)


def forget() -> Calendar:
    """Return a calendar that has laid out nothing yet."""
    office = Calendar.compile(OFFICE)
    office._chunks.clear()  # noqa: SLF001 - a benchmark of exactly that
    return office


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    arguments = parser.parse_args()
    count, runs, random = arguments.count, arguments.runs, Random(arguments.seed)
    office = Calendar.compile(OFFICE)
    starts = [YEAR + timedelta(seconds=random.randrange(365 * 86_400)) for _ in range(count)]
    pairs = [(start, start + timedelta(hours=random.randrange(200))) for start in starts]
    promise = Promise("public", "1", office, first_response_seconds=3_600, warn_share=0.75)
    now = YEAR + timedelta(days=366)
    snoozes = [(start, end, end + timedelta(days=2)) for start, end in pairs]
    resolution = Promise("public", "1", office, resolution_seconds=80 * 3_600, warn_share=0.75)
    found = {
        "count": count,
        "seed": arguments.seed,
        "deadline_us": measure(count, runs, lambda: [office.add(each, 14_400) for each in starts]),
        "between_us": measure(count, runs, lambda: [office.between(*pair) for pair in pairs]),
        "next_open_us": measure(count, runs, lambda: [office.next_open(each) for each in starts]),
        "clock_us": measure(
            count,
            runs,
            lambda: [
                clock_of(promise, "first_response", start, met_at=end, now=now)
                for start, end in pairs
            ],
        ),
        "paused_clock_us": measure(
            count,
            runs,
            lambda: [
                clock_of(resolution, "resolution", start, pauses=[(begin, end)], now=now)
                for start, begin, end in snoozes
            ],
        ),
        "cold_deadline_us": measure(1, runs, lambda: forget().add(YEAR, 14_400)),
        "ninety_days_us": measure(
            100, runs, lambda: [office.add(each, 90 * 86_400) for each in starts[:100]]
        ),
    }
    rare = Calendar.compile(RARE)
    found["never_reached_us"] = measure(1, runs, lambda: rare.add(YEAR, 90 * 86_400))
    assert rare.add(YEAR, 90 * 86_400) == END
    tracemalloc.start()
    fresh = forget()
    for number in range(60):
        fresh.add(YEAR + timedelta(days=100 * number), 3_600)
    found["calendar_kib"] = tracemalloc.get_traced_memory()[0] / 1024
    tracemalloc.stop()
    rounded = {name: round(value, 1) for name, value in found.items()}
    if arguments.json:
        print(json.dumps(rounded))
    else:
        for name, value in rounded.items():
            print(f"{name.replace('_', ' '):24} {value}")
    return 0 if found["deadline_us"] <= GATE_US else 1


if __name__ == "__main__":
    sys.exit(main())
