"""What watch costs, and what its incidents are worth: `python benchmarks/watch.py [intents] [speed]`.

Speed: rows as understand tells them (real posts; a third of them asks something), decided by the
stage's own logic in batches, with everything it writes; once for few large brands, once for 1,000
brands of 20 topics, each record of one row. Kafka is not part of it. Memory is what Python's own
allocations come to, after a warm-up and after twice as many rows.

Incidents: each of the 77 intents of Banking77 in turn rings within half an hour amid 20,000 other
posts a day, by its words alone. Members are those that were told to join, over the whole course; found
is the time at which a reader that keeps up is told, after the 20th post. `--intents 10` takes some.

Gates are told with `ok` or `MISS`; exit code 1 where one is missed.
"""

import argparse
import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from duplicates import others, rows

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.domain.identity import hash64
from klingel.domain.incidents import LATENESS, Changed, IncidentWindow, Joined, Post
from klingel.domain.signals import pack, records
from klingel.model.brand_signals import Signal
from klingel.stage.batch import Overlay, run_batch
from klingel.stage.dead_letters import Component
from klingel.stage.guard import Brake
from klingel.stage.in_memory import InMemoryTable
from klingel.stage.ledger import Tally
from klingel.testing.conversations import compiled_brand
from klingel_processors.watch.logic import BRANDS_A_TICK, STATE, WatchLogic

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SEED = 20260823
START = datetime(2026, 3, 20, tzinfo=UTC)
DAY = 86_400.0
BATCH = 500
TOPICS = 20
PER_BRAND = 288
"""Rows a brand and day of the run that shows what is held."""
PER_TURN = 96
DAYS = (1, 3, 5, 8, 12, 16)


def note(name: str, value: object) -> None:
    print(f"      {name}: {value}", flush=True)


class Gates:
    """What is wanted of the figures, told as they come."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def at_least(self, name: str, value: float, bound: float) -> None:
        """Tell a figure that must not be below its bound."""
        self._tell(name, f"{value:.4g} (>= {bound:g})", good=value >= bound)

    def at_most(self, name: str, value: float, bound: float) -> None:
        """Tell a figure that must not be above its bound."""
        self._tell(name, f"{value:.4g} (<= {bound:g})", good=value <= bound)

    def _tell(self, name: str, told: str, *, good: bool) -> None:
        print(f"{'ok  ' if good else 'MISS'}  {name}: {told}", flush=True)
        if not good:
            self.missed.append(name)


# --- speed ----------------------------------------------------------------------------------------


def signals(
    texts: Sequence[str], brands: int, a_second: float, chance: random.Random
) -> Iterator[tuple[str, Signal]]:
    """Yield rows of brands for ever, at a steady pace."""
    number = 0
    while True:
        number += 1
        at = START + timedelta(seconds=number / a_second)
        brand = f"brand-{chance.randrange(brands)}"
        asks = chance.random() < 1 / 3
        author = hash64(str(chance.randrange(200_000)))
        yield (
            brand,
            Signal(
                event_id=f"{brand}/bluesky:network:at://did:plc:abc/app.bsky.feed.post/{number}@0",
                conversation_id=f"bluesky:network:at://did:plc:abc/app.bsky.feed.post/{number}",
                at=at,
                received_at=at,
                mode="live",
                network="bluesky",
                channel="main",
                direction="inbound",
                change="created",
                kind="post",
                customer_id=f"bluesky:did:plc:{author}",
                author=author,
                reach=chance.randrange(2_000),
                addressed=asks,
                tone=chance.choice(("negative", "neutral", "positive")),  # type: ignore[arg-type]
                intents=["problem"] if asks else ["other"],
                topics=[f"topic-{chance.randrange(TOPICS)}"],
                lang="en",
                fingerprint=hash64(str(number)),
                text=chance.choice(texts)[:280],
            ),
        )


def messages(
    told: Iterator[tuple[str, Signal]], number: int, a_record: int
) -> tuple[list[Message], datetime]:
    """Return records of some rows, and the time of the last."""
    found: list[Message] = []
    packed: list[bytes] = []
    at = START
    for _ in range(number):
        brand, row = next(told)
        at = row.received_at
        packed.append(pack(brand, row))
        if len(packed) == a_record:
            found += [
                Message(Topic.BRAND_SIGNALS, 0, 0, each.encode(), value)
                for each, value in records(packed)
            ]
            packed = []
    return found, at


class Bench:
    """A worker of one partition, without Kafka."""

    def __init__(self, brands: int) -> None:
        of_brands = {
            f"brand-{n}": compiled_brand(brand=f"brand-{n}", name=f"Brand {n}")
            for n in range(brands)
        }
        self._logic = WatchLogic(0, brands=lambda: of_brands)
        self._table = InMemoryTable()
        self._offset = 0
        self._tally = Tally.resume("watch", Topic.BRAND_SIGNALS, 0, 0, "")
        self.written = 0

    def stored(self) -> int:
        """Return the bytes of the table, which lies on a disk in the service."""
        found = self._table.scan(b"", b"\xff", 1 << 40)
        return sum(sys.getsizeof(key) + sys.getsizeof(value) for key, value in found)

    def decide(self, some: Sequence[Message], now: datetime) -> None:
        """Decide a batch and let local state follow."""
        placed = [
            Message(each.topic, 0, self._offset + at, each.key, each.value)
            for at, each in enumerate(some)
        ]
        self._offset += len(placed)
        overlay = Overlay({STATE: self._table})
        result = run_batch(
            self._logic,
            placed,
            overlay=overlay,
            history={},
            tally=self._tally,
            brake=Brake(),
            component=Component(service="bench/1", stage="watch"),
            now=now,
        )
        self._tally = result.tally
        self._table.apply(result.overlay.changes(STATE), self._offset)
        self.written += sum(len(each.value or b"") for each in result.outputs)
        wrong = [each for each in result.outcomes if each.error is not None]
        assert not wrong, wrong[0].error

    def pass_time(self, now: datetime) -> None:
        """Let all brands see that time has passed, as the worker does several times a minute."""
        told = BRANDS_A_TICK
        while told >= BRANDS_A_TICK:
            overlay = Overlay({STATE: self._table})
            outcomes = self._logic.tick(overlay, now, now)
            told = len(outcomes)
            for outcome in outcomes:
                overlay.put(outcome.puts)
            self._table.apply(overlay.changes(STATE), self._offset)


def speed(
    gates: Gates, texts: Sequence[str], brands: int, a_second: float, number: int, name: str
) -> None:
    chance = random.Random(SEED)
    told = signals(texts, brands, a_second, chance)
    bench = Bench(brands)
    a_record = max(1, BATCH)
    for _ in range(max(1, number // 2 // BATCH)):
        bench.decide(*messages(told, BATCH, a_record))
    bench.written = 0
    spent = 0.0
    for _ in range(number // BATCH):
        some, at = messages(told, BATCH, a_record)
        began = time.process_time()
        bench.decide(some, at)
        spent += time.process_time() - began
    gates.at_most(f"{name}: microseconds a row", spent / number * 1e6, 20)
    note(f"{name}: bytes written a row", round(bench.written / number))


def memory(gates: Gates, texts: Sequence[str], brands: int) -> None:
    """Print what some brands hold as time goes on, far beyond what they remember.

    Longest remembered is for a week: a word that nobody answers.

    The brands' table stands for RocksDB, and what lies in it is not counted.
    """
    told = signals(texts, brands, brands * PER_BRAND / DAY, random.Random(SEED))
    bench = Bench(brands)
    tracemalloc.start()
    held_on: dict[int, float] = {}
    for day in range(1, max(DAYS) + 1):
        for _ in range(brands * PER_BRAND // PER_TURN):
            some, at = messages(told, PER_TURN, PER_TURN)
            bench.decide(some, at)
            bench.pass_time(at)
        if day not in DAYS:
            continue
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - bench.stored()
        held_on[day] = held / brands
        name = f"{brands} brands of {TOPICS} topics, after {day} days, kB a brand"
        note(name, round(held / brands / 1000))
    tracemalloc.stop()
    growth = held_on[DAYS[-1]] / held_on[DAYS[-2]]
    gates.at_most(f"what is held after {DAYS[-1]} days, to {DAYS[-2]}", growth, 1.1)


# --- incidents ------------------------------------------------------------------------------------


class Scored(NamedTuple):
    """How one intent was found."""

    precision: float
    recall: float
    delay: float
    incidents: int
    others: int


def scored(base: Sequence[Post], asked: Sequence[str], seed: int) -> Scored:
    """Let one intent ring at a random time of the day, and see what is told."""
    chance = random.Random(seed)
    began = chance.uniform(DAY / 4, DAY - 7200)
    ring = sorted(
        (
            Post(f"b/x:r{n}@0", began + chance.uniform(0, 1800), f"x:r{n}", text, f"r{n}", f"c{n}")
            for n, text in enumerate(asked)
        ),
        key=lambda post: post.at,
    )
    about = [post for post in base if began - DAY / 4 < post.at < began + 5400]
    window = IncidentWindow("b", "en")
    members: dict[str, set[str]] = {}
    told: dict[str, float] = {}
    for post in sorted([*about, *ring], key=lambda post: post.at):
        window.hear(post)
        for each in window.advance(post.at):
            if isinstance(each, Joined):
                members.setdefault(each.incident_id, set()).add(each.post.id)
            elif isinstance(each, Changed):
                told.setdefault(each.incident.incident_id, each.at + LATENESS)
    mine = {post.id for post in ring}
    best = max(members, key=lambda each: len(members[each] & mine), default="")
    found = members.get(best, set())
    right = [each for each in members.values() if 2 * len(each & mine) > len(each)]
    return Scored(
        len(found & mine) / max(1, len(found)),
        len(found & mine) / len(mine),
        told[best] - ring[19].at if best else DAY,
        len(right),
        len(members) - len(right),
    )


def incidents(gates: Gates, number: int | None) -> None:
    print("incidents", flush=True)
    chance = random.Random(SEED)
    texts, _ = others(DATA)
    chance.shuffle(texts)
    base = [
        Post(f"b/x:o{n}@0", chance.uniform(0, DAY), f"x:o{n}", text, f"o{n}", f"c{n}")
        for n, text in enumerate(texts)
    ]
    by_intent: dict[str, list[str]] = {}
    for row in rows(DATA, "permissive/text/banking77_train"):
        by_intent.setdefault(row["labels"]["intent"], []).append(row["text"])
    names = sorted(by_intent)
    if number is not None:
        names = sorted(chance.sample(names, number))
    found = [scored(base, by_intent[name], SEED + at) for at, name in enumerate(names)]
    for name, each in zip(names, found, strict=True):
        note(name, " ".join(f"{field} {value:.3g}" for field, value in each._asdict().items()))
    gates.at_least("precision in the mean", statistics.fmean(each.precision for each in found), 0.9)
    gates.at_least("recall in the mean", statistics.fmean(each.recall for each in found), 0.6)
    in_time = sum(each.delay <= 120 for each in found) / len(found)
    gates.at_least("found within 2 minutes of the 20th post", in_time, 1.0)
    note("median seconds from the 20th post", round(statistics.median(e.delay for e in found)))
    gates.at_least("one incident", sum(each.incidents == 1 for each in found) / len(found), 1.0)
    note("incidents of others, a run of 7.5 hours", statistics.fmean(e.others for e in found))


def settle() -> None:
    """Let the collector of garbage do as the worker lets it, at its start."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


def main(arguments: Sequence[str]) -> int:
    """Run the parts that are asked for; all without a word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], help="speed, memory, incidents")
    parser.add_argument("--intents", type=int, default=None, help="that many, by a seed")
    asked: Any = parser.parse_args(arguments)
    parts = asked.parts or ["speed", "memory", "incidents"]
    if not DATA.is_dir():
        print("skipped: the real data are not beside this checkout")
        return 0
    texts, _ = others(DATA)
    settle()
    gates = Gates()
    if "speed" in parts:
        print("speed", flush=True)
        speed(gates, texts, 10, 200.0, 20_000, "10 brands, 500 rows a batch")
        speed(gates, texts, 1_000, 200.0, 20_000, "1,000 brands, a record a row, nearly")
        speed(gates, texts, 10, 0.5, 20_000, "10 brands over 17 hours, searches for incidents too")
    if "memory" in parts:
        print("memory", flush=True)
        memory(gates, texts, 6)
    if "incidents" in parts:
        incidents(gates, asked.intents)
    for name in gates.missed:
        print(f"missed: {name}", file=sys.stderr)
    return 1 if gates.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
