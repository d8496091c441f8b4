"""Targets, and the results as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Found = Mapping[str, Any]
SERVICES = ("connector flood", "connector paced", "understand", "care", "indexer")


@dataclass(frozen=True, slots=True)
class Target:
    """What is promised.

    Attributes:
        name: as it is reported.
        value: reads the measured figure.
        bound: at least, or below.
        least: whether `bound` is the least that is enough.
        form: how a figure is written.
    """

    name: str
    value: Callable[[Found], float]
    bound: float
    least: bool
    form: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A target beside what was measured."""

    name: str
    measured: str
    wanted: str
    met: bool


def _largest_service(found: Found) -> float:
    return float(max(found["resident_mb"][name] for name in SERVICES))


TARGETS = (
    Target(
        "events/s sustained, end to end",
        lambda found: float(found["events_per_second"]),
        2500,
        least=True,
        form="{:,.0f}",
    ),
    Target(
        "p99 received → searchable, seconds",
        lambda found: float(found["p99_seconds"]),
        10,
        least=False,
        form="{:.2f}",
    ),
    Target(
        "indexer alone / bulk ceiling",
        lambda found: float(found["indexer_ratio"]),
        0.7,
        least=True,
        form="{:.2f}",
    ),
    Target("largest service, MB resident", _largest_service, 400, least=False, form="{:,.0f}"),
)


def judged(found: Found) -> list[Judged]:
    """Return every target with its figure."""
    results = []
    for target in TARGETS:
        value = target.value(found)
        met = value >= target.bound if target.least else value < target.bound
        sign = "≥" if target.least else "<"
        wanted = f"{sign} {target.bound:,g}"
        results.append(Judged(target.name, target.form.format(value), wanted, met))
    return results


_COSTS = (
    "User and system time of all threads, divided by the raw events of the flood; the connector reads "
    "a file. Kafka and Elasticsearch include what the benchmark itself asks of them."
)


def markdown(found: Found) -> str:
    """Return the results as a page."""
    parts = [
        "# Measured: the whole pipeline",
        _machine(found),
        _table(
            ("what", "measured", "wanted"),
            [(each.name, each.measured, each.wanted) for each in judged(found)],
        ),
        _method(found),
        "## CPU of each process, microseconds an event",
        _table(
            ("process", "µs an event"),
            [(name, f"{cost:.0f}") for name, cost in found["cpu_us_per_event"].items()],
        ),
        _COSTS,
        "## Memory",
        _table(
            ("process", "largest resident set, MB"),
            [(name, f"{size:,}") for name, size in found["resident_mb"].items()],
        ),
        "## Records and bytes",
        _topics(found["topics"]),
        "## The indexer beside the ceiling",
        _indexer(found),
    ]
    return "\n\n".join(parts) + "\n"


def _machine(found: Found) -> str:
    machine = found["machine"]
    low, high = found["loads"]
    return (
        f"`{found['command']}` at {machine['at']}, commit {machine['commit']}: "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}, Elasticsearch {machine['elasticsearch']}, "
        f"{machine['partitions']} partitions; Kafka, Elasticsearch and every service on this one "
        f"machine. Load average {low:.1f} to {high:.1f} during the run; {found['flood_load']:.1f} "
        f"before the flood, {found['paced_load']:.1f} before the paced round. "
        "Written by `make bench`; never edited."
    )


def _method(found: Found) -> str:
    return (
        f"- **Mix**: {found['texts']:,} real texts, shuffled, used in turn. Everything is heard; "
        "20 % of the events open or change a case, 5 % are edits and deletions, 2 % duplicates. "
        f"Personal data is masked; model that reads the texts: {found['model']}.\n"
        f"- **Sustained**: {found['events']:,} events from a file, as fast as they are taken, in "
        f"{found['seconds']:.1f} s: from the first event's `received_at`, which is before its "
        "acknowledgement, to the first search that shows the last document. A warm-up round of "
        f"{found['warm']:,} events before it is not counted.\n"
        f"- **Received → searchable**: at {found['rate']:,.0f} events/s for "
        f"{found['paced_seconds']:.0f} s, over {found['latencies_counted']:,} documents: p50 "
        f"{found['p50_seconds']:.2f} s, p99 {found['p99_seconds']:.2f} s, longest "
        f"{found['longest_seconds']:.2f} s. The indices refresh every 5 s, the default. A search every 0.25 s "
        "asks for the greatest `_seq_no` in sight; a document counts as searchable at the answer to "
        "the first search that saw its own `_seq_no` or a greater one of its shard. So each figure "
        "is too large by at most one round. An edited post counts by its edit, a deleted one not."
    )


def _topics(topics: Mapping[str, Mapping[str, Any]]) -> str:
    return _table(
        ("topic", "records an event", "p50 bytes", "mean bytes", "mean headers", "bytes an event"),
        [
            (
                name,
                f"{each['records_an_event']:.3f}",
                f"{each['p50_bytes']:,.0f}",
                f"{each['mean_bytes']:,.0f}",
                f"{each['mean_header_bytes']:,.0f}",
                f"{each['bytes_an_event']:,.0f}",
            )
            for name, each in topics.items()
        ],
    )


def _indexer(found: Found) -> str:
    ceilings = ", ".join(
        f"{rate:,.0f} over {connections} connections"
        for connections, rate in found["bulk_ceiling_by_connections"].items()
    )
    alone = ", ".join(f"{rate:,.0f}" for rate in found["indexer_alone_runs"])
    return (
        f"{found['documents_compared']:,} documents of this run (posts, cases and case events), the "
        "other services stopped; ceiling and indexer in turn, each into empty indices under the same "
        f"templates. Documents a second of the ceiling, already encoded: {ceilings}. The indexer, "
        f"from Kafka to the answer: {alone}. The best of each give the ratio "
        f"{found['indexer_ratio']:.2f}."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
