"""How much heads of topics add to a brand's keywords: trained on one half, measured on the other.

    python benchmarks/topics.py --data ../shared/data

Airline: nine reasons of complaints, posts without a reason have no topic; the queries are what one
would write at first. Banking77: 77 intents as topics; a query asks for all longer words of the name.
Medians of three cuts; `held` is what training itself reported of its own half. Of the first cut's
model, and of the shipped one, also: microseconds a text when warm (the best of five passes over 10,000
real posts, batches of 500) and the memory that a process of its own has more when it has read them.
"""

import argparse
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from enrichment import BATCH, posts, resident

from klingel.domain.matching import Rule, RuleSet
from klingel.language.heads import Heads, decode, encode, load_heads, read_file
from klingel.language.sense import Reader, Text
from klingel_models.gates import AIRLINE, BANKING
from klingel_models.recipe import SHIPPED, lines
from klingel_models.tasks import Labelled
from klingel_models.topics import (
    Told,
    keywords_of,
    report_of_topics,
    topics_told,
    train_topics,
)

SEEDS = (1, 2, 3)
REASONS = {
    "Customer Service Issue": ("service", '"customer service" OR "on hold" OR rude OR agent*'),
    "Late Flight": ("late", "delay* OR late OR waiting"),
    "Cancelled Flight": ("cancelled", "cancel*"),
    "Lost Luggage": ("luggage", "bag OR bags OR luggage OR baggage"),
    "Flight Booking Problems": ("booking", "booking OR website OR reservation"),
    "Flight Attendant Complaints": ("attendants", "attendant* OR crew"),
    "longlines": ("queues", "line OR lines OR queue"),
    "Bad Flight": ("comfort", "seat* OR wifi OR food"),
    "Damaged Luggage": ("damaged", "damaged OR broken"),
}
UNNAMED = "Can't Tell"
"""Reason of posts that have one which nobody named: they are left out."""


def airline(data: Path) -> Iterator[Labelled]:
    """Yield the posts with the topics of their reasons."""
    for row in lines(data / AIRLINE):
        reason = row["labels"]["reason"]
        if reason != UNNAMED:
            names = (REASONS[reason][0],) if reason in REASONS else ()
            yield Labelled(row["text"], frozenset(names), "en")


def banking(data: Path) -> Iterator[Labelled]:
    """Yield the questions with their intents as topics."""
    for row in lines(data / BANKING):
        yield Labelled(row["text"], frozenset((_slug(row["labels"]["intent"]),)), "en")


def _slug(intent: str) -> str:
    return intent.lower().replace("_", "-").rstrip("?")


def airline_taxonomy(_rows: list[Labelled]) -> RuleSet:
    """Return the reasons as topics."""
    return RuleSet.compile(Rule(name, query) for name, query in REASONS.values())


def banking_taxonomy(rows: list[Labelled]) -> RuleSet:
    """Return the intents as topics."""
    names = sorted({name for row in rows for name in row.truth})
    return RuleSet.compile(Rule(name, _query(name)) for name in names)


def _query(name: str) -> str:
    words = [word for word in name.split("-") if len(word) > 3]
    return " AND ".join(words or name.split("-"))


READ = 10_000
PASSES = 6


class Measured(NamedTuple):
    """One cut: reports of the keywords, of both together, of training's own; seconds, the model."""

    keywords: dict[str, Any]
    both: dict[str, Any]
    held: dict[str, Any]
    seconds: float
    model: bytes


def measure(rows: list[Labelled], taxonomy: RuleSet, seed: int) -> Measured:
    """Train on one half of the rows and measure on the other."""
    mixed = list(rows)
    random.Random(seed).shuffle(mixed)
    own, other = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
    start = time.process_time()
    trained = train_topics(load_heads(SHIPPED).weights, own, taxonomy)
    seconds = time.process_time() - start
    heads = Heads(trained.weights)
    return Measured(
        report_of_topics(other, [Told(hits) for hits in keywords_of(taxonomy, other)]),
        report_of_topics(other, topics_told(heads, other, taxonomy)),
        report_of_topics([own[at] for at in trained.held], trained.told),
        seconds,
        encode(trained.weights),
    )


def cost(path: Path, data: Path) -> tuple[float, float]:
    """Return microseconds a text and MB of a model, in this process; it should do nothing else."""
    texts = [Text(text, "post", "en") for text in posts(data)[:READ]]
    before = resident()
    reader = Reader("model", "0", decode(read_file(path), str(path)))
    took = []
    for _ in range(PASSES):
        start = time.process_time()
        for at in range(0, len(texts), BATCH):
            reader.read(texts[at : at + BATCH])
        took.append((time.process_time() - start) / len(texts) * 1e6)
    return min(took[1:]), resident() - before


def print_cost(name: str, model: bytes, data: Path) -> None:
    """Print what a model costs, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.klm"
        path.write_bytes(model)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            took, memory = pool.apply(cost, (path, data))
    print(f"{name:10} {len(model):,} bytes, {took:.1f} us a text warm, {memory:.0f} MB")


SETS: dict[
    str, tuple[Callable[[Path], Iterator[Labelled]], Callable[[list[Labelled]], RuleSet]]
] = {"airline": (airline, airline_taxonomy), "Banking77": (banking, banking_taxonomy)}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Measure topics that a brand trains.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data")
    data = parser.parse_args().data
    print("set        what                   exact  macro-F1  calibration error")
    for name, (read, taxonomy_of) in SETS.items():
        rows = list(read(data))
        found = [measure(rows, taxonomy_of(rows), seed) for seed in SEEDS]
        for what in ("keywords", "both", "held"):
            reports = [getattr(each, what) for each in found]
            exact, macro, ece = (
                statistics.median(each[key] or 0.0 for each in reports)
                for key in ("accuracy", "macro_f1", "ece")
            )
            last = "" if what == "keywords" else f"{ece:.3f}"
            print(f"{name:10} {what:22} {exact:.3f}  {macro:.3f}     {last}")
        seconds = statistics.median(each.seconds for each in found)
        print(f"{name:10} trained in {seconds:.0f} s CPU")
        print_cost(name, found[0].model, data)
    print_cost("shipped", SHIPPED.read_bytes(), data)


if __name__ == "__main__":
    main()
