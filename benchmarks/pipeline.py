"""What the whole pipeline does on this machine: from a recorded post to a searchable one.

`python benchmarks/pipeline.py` (`make bench`) starts its own Kafka and Elasticsearch, rings with the
fixed mix of real texts, prints one line of JSON, writes `benchmarks/results.md`, and ends with exit
code 1 when a target is missed. `--quick` is a small run that judges nothing.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from bulk_ceiling import backlog, bodies, documents_a_second
from elasticsearch import Elasticsearch
from gauges import Gauges
from report import judged, markdown
from ringing_mix import (
    BRAND,
    SOURCE,
    Expected,
    Mix,
    NoTextsError,
    Round,
    brand_file,
    real_texts,
)
from searching import Posts, Watch
from topic_sizes import read_sizes

from klingel_cli.demo.processes import PARTITIONS, Fleet, Servers, until
from klingel_cli.demo.rehearsal import stage_set

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("understand", "care", "indexer")
PATIENCE_SECONDS = 600.0
REFRESH = "5s"
"""Refresh interval of the indices: the default of the settings."""
_ROUND_SECONDS = 2.0
_SETTINGS = {"KLINGEL_ELASTICSEARCH__REFRESH_INTERVAL": REFRESH}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Events of each round, and the fixed rate."""

    warm: int
    flood: int
    paced: int
    rate: float


@dataclass(frozen=True, slots=True)
class Given:
    """Servers that run already, from a `stack.json`; see `--stack`."""

    bootstrap: str
    elasticsearch_url: str
    elasticsearch_auth: tuple[str, str] | None = None


@dataclass(slots=True)
class Bench:
    """One run.

    Args:
        fleet: the services.
        mix: writes recordings.
        gauges: reads CPU and memory.
        client: Elasticsearch.
        model: what reads the texts.
    """

    fleet: Fleet
    mix: Mix
    gauges: Gauges
    client: Elasticsearch
    model: str
    found: dict[str, Any] = field(default_factory=dict)
    _expected: Expected = field(default_factory=lambda: Expected(0, 0, 0))

    @property
    def posts(self) -> Posts:
        """The indexed posts."""
        return Posts(self.client, self.fleet.prefix or "klingel-")

    def furnish(self) -> None:
        """Make topics, templates and brand, and start the services."""
        brand = self.fleet.folder / f"{BRAND}.yaml"
        brand.write_text(brand_file(self.model), encoding="utf-8")
        self.fleet.klingel("topics", "apply")
        self.fleet.klingel("index", "apply")
        self.fleet.klingel("config", "apply", str(brand))
        for kind in reversed(STAGES):
            self.gauges.watch(kind, self.fleet.start(kind).process.pid)
        for kind in STAGES:
            self.fleet.wait_ready(f"{kind}-0")

    def ring(self, name: str, lines: int, rate: float | None) -> "Rung":
        """Ring one round and wait until the last of it is searchable."""
        recording = self.mix.write(self.fleet.folder / f"{name}.ndjson", name, lines)
        self._expected = self._expected.plus(recording.expected)
        watch = Watch(self.posts)
        watch.start()
        load = os.getloadavg()[0]
        options = [] if rate is None else ["--rate", f"{rate:g}"]
        child = self.fleet.start(
            "replay", str(recording.path), "--source", SOURCE, "--instance", name, *options
        )
        self.gauges.watch(f"connector {name}", child.process.pid)
        try:
            whole = self._wait_through(PATIENCE_SECONDS + lines / 500)
        finally:
            watch.stop()
        self.gauges.read()
        self.fleet.stop("replay-0")
        if not whole:
            found = self.posts.changes()
            raise SystemExit(f"round {name}: expected {self._expected}, only {found} came in time")
        return Rung(recording, watch, self._started(name), watch.ended(), load)

    def _wait_through(self, seconds: float) -> bool:
        """Ask seldom whether all is there: asking is a load too, and the watch has the times."""
        deadline = time.monotonic() + seconds
        while not self._expected.met_by(self.posts.changes()):
            fallen = [child.name for child in self.fleet.fallen()]
            if fallen:
                raise SystemExit(f"{', '.join(fallen)} ended; see {self.fleet.folder / 'logs'}")
            if time.monotonic() > deadline:
                return False
            time.sleep(_ROUND_SECONDS)
        return True

    def _started(self, name: str) -> float:
        """Return when the round's first event was received, which is before its first ack."""
        self.client.indices.refresh(index=self.posts.pattern)
        first = self.client.search(
            index=self.posts.pattern,
            size=0,
            query={"term": {"connector": name}},
            aggs={"first": {"min": {"field": "received_at"}}},
        )
        return float(first["aggregations"]["first"]["value"]) / 1000

    # ------------------------------------------------------------------ what is measured

    def flood(self, lines: int) -> None:
        """As fast as it goes: events a second, and CPU by stage."""
        rung = self.ring("flood", lines, None)
        seconds = rung.ended - rung.started
        shares = self.gauges.shares(rung.started, rung.ended)
        names = {"connector flood": "connector"}
        self.found["events_per_second"] = lines / seconds
        self.found["seconds"] = seconds
        self.found["flood_load"] = rung.load
        self.found["cpu_us_per_event"] = {
            names.get(name, name): cpu / lines * 1e6
            for name, cpu in shares.items()
            if name in {*STAGES, *names, "kafka", "elasticsearch"}
        }

    def pace(self, lines: int, rate: float) -> None:
        """At a fixed rate: received → searchable."""
        rung = self.ring("paced", lines, rate)
        waited = rung.watch.latencies(self.posts.of_connector("paced"))
        self.found["paced_seconds"] = lines / rate
        self.found["rate"] = rate
        self.found["paced_load"] = rung.load
        self.found["latencies_counted"] = len(waited)
        cuts = statistics.quantiles(waited, n=100)
        self.found["p50_seconds"], self.found["p99_seconds"] = cuts[49], cuts[98]
        self.found["longest_seconds"] = waited[-1]

    def compare_indexer(self, servers: Servers, connections: tuple[int, ...]) -> None:
        """Bulk ceiling and indexer alone, in turn, over the documents of all rounds."""
        messages = list(backlog(servers.bootstrap, self.fleet.prefix))
        ceilings: dict[int, float] = {}
        alone: list[float] = []
        for each in connections:
            with self._emptied(f"ceiling{each}") as prefix:
                encoded, count = bodies(messages, prefix)
                ceilings[each] = documents_a_second(servers.elasticsearch_url, encoded, count, each)
                del encoded
            with self._emptied(f"alone{each}") as prefix:
                alone.append(self._drained(prefix, count))
        best = max(ceilings.values())
        self.found["documents_compared"] = count
        self.found["bulk_ceiling"] = best
        self.found["bulk_ceiling_by_connections"] = ceilings
        self.found["indexer_alone"] = max(alone)
        self.found["indexer_alone_runs"] = alone
        self.found["indexer_ratio"] = max(alone) / best

    @contextmanager
    def _emptied(self, name: str) -> Iterator[str]:
        """Give a prefix of indices of its own, with the same templates; forget them at the end."""
        prefix = f"{self.fleet.prefix or 'klingel-'}{name}-"
        self._other(prefix).klingel("index", "apply")
        try:
            yield prefix
        finally:
            names = [*self.client.indices.get_alias(index=f"{prefix}*").body]
            if names:
                self.client.indices.delete(index=",".join(names))

    def _other(self, prefix: str) -> Fleet:
        """Return a fleet on the same topics, with indices and groups of its own."""
        return Fleet(
            self.fleet.servers,
            self.fleet.folder / prefix.rstrip("-"),
            self.fleet.prefix,
            {
                **_SETTINGS,
                "KLINGEL_ELASTICSEARCH__INDEX_PREFIX": prefix,
                "KLINGEL_KAFKA__GROUP_PREFIX": prefix,
            },
        )

    def _drained(self, prefix: str, count: int) -> float:
        """Let an indexer drain the whole backlog alone; return documents a second."""
        with self._other(prefix) as fleet:
            fleet.folder.mkdir(parents=True, exist_ok=True)
            child = fleet.start("indexer")
            self.gauges.watch(prefix, child.process.pid)
            points: list[tuple[float, float]] = []

            def through() -> bool:
                done = sum(
                    sample.value
                    for sample in fleet.metrics("indexer-0")
                    if sample.name == "klingel_bulk_items_total"
                )
                if done:
                    points.append((time.monotonic(), done))
                return done >= count

            if not until(through, PATIENCE_SECONDS):
                raise SystemExit(f"the indexer alone did not drain; its log is {child.log}")
        (began, first), (ended, last) = points[0], points[-1]
        return (last - first) / (ended - began)


@dataclass(frozen=True, slots=True)
class Rung:
    """A round that is through.

    Attributes:
        recording: what rang.
        watch: what became searchable when.
        started, ended: first event received, last document searchable; epoch seconds.
        load: load average before it.
    """

    recording: Round
    watch: Watch
    started: float
    ended: float
    load: float


def machine(client: Elasticsearch) -> dict[str, Any]:
    """Describe the machine and what runs on it."""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        "elasticsearch": client.info()["version"]["number"],
        "system": f"{platform.system()} {platform.machine()}",
        "commit": _commit(),
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "partitions": PARTITIONS,
    }


def _commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "no checkout"


def run(servers: Servers, pids: Mapping[str, int], folder: Path, asked: argparse.Namespace) -> Any:
    """Run all rounds; return what was found."""
    sizes = sizes_of(asked)
    texts = real_texts(ROOT.parent / "shared" / "data", asked.seed)
    client = Elasticsearch(
        servers.elasticsearch_url, basic_auth=servers.elasticsearch_auth, request_timeout=60
    )
    gauges = Gauges()
    gauges.start()
    for name, pid in pids.items():
        gauges.watch(name, pid)
    try:
        with Fleet(servers, folder / "fleet", asked.prefix, _SETTINGS) as fleet:
            fleet.folder.mkdir(parents=True, exist_ok=True)
            bench = Bench(fleet, Mix(texts, asked.seed), gauges, client, asked.model)
            bench.found["machine"] = machine(client)
            bench.found["texts"], bench.found["model"] = len(texts), asked.model
            bench.found["events"], bench.found["warm"] = sizes.flood, sizes.warm
            tell("services start")
            bench.furnish()
            tell(f"warming up with {sizes.warm:,} events")
            bench.ring("warm", sizes.warm, None)
            tell(f"{sizes.paced:,} events at {sizes.rate:,.0f} a second")
            bench.pace(sizes.paced, sizes.rate)
            tell(f"{sizes.flood:,} events as fast as they are taken")
            bench.flood(sizes.flood)
            fleet.stop_all()
            bench.found["resident_mb"] = {
                name: round(gauges.resident[name] / 1e6)
                for name in (*STAGES, "connector flood", "connector paced", *pids)
            }
            tell("what lies in the topics")
            events = sizes.warm + sizes.paced + sizes.flood
            bench.found["topics"] = read_sizes(servers.bootstrap, fleet.prefix, events)
            tell("bulk ceiling, and the indexer alone")
            bench.compare_indexer(servers, (3,) if asked.quick else (2, 4))
            bench.found["loads"] = [min(gauges.loads), max(gauges.loads)]
            return bench.found
    finally:
        gauges.close()
        client.close()


def sizes_of(asked: argparse.Namespace) -> Sizes:
    """Return how much each round rings; a quick run rings 20,000 events in all."""
    if asked.quick:
        return Sizes(warm=2_000, flood=14_000, paced=4_000, rate=asked.rate / 2)
    return Sizes(200_000, asked.events, max(1_000, int(asked.rate * 30)), asked.rate)


def tell(line: str) -> None:
    """Say on standard error what happens now, with the load of the machine."""
    sys.stderr.write(f"bench: {line} (load {os.getloadavg()[0]:.1f})\n")
    sys.stderr.flush()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=240_000, help="of the flood")
    parser.add_argument("--rate", type=float, default=2_000.0, help="of the paced round, a second")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model", default="care", help="what reads the texts: none, care, ...")
    parser.add_argument("--quick", action="store_true", help="20,000 events, nothing is judged")
    parser.add_argument("--results", type=Path, help="the Markdown goes there")
    parser.add_argument("--stack", type=Path, help="stack.json of servers that run already")
    parser.add_argument("--prefix", default="", help="of topics and indices")
    parser.add_argument("--folder", type=Path, default=ROOT / ".klingel" / "bench")
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    folder = asked.folder.absolute()
    try:
        if asked.stack is not None:
            data = json.loads(asked.stack.read_text(encoding="utf-8"))
            servers = Given(data["kafka"]["bootstrap"], data["elasticsearch"]["url"])
            folder.mkdir(parents=True, exist_ok=True)
            found = run(servers, {}, folder, asked)
        else:
            with stage_set(folder, tell) as stack:
                state = stack.status()
                pids = {name: state[name]["pid"] for name in ("kafka", "elasticsearch")}
                found = run(stack, pids, folder, asked)
    except NoTextsError as error:
        tell(f"skipped: {error}")
        return 0
    found["command"] = (
        "make bench" if len(sys.argv) == 1 else " ".join(["pipeline.py", *sys.argv[1:]])
    )
    found["missed"] = (
        [] if asked.quick else [target.name for target in judged(found) if not target.met]
    )
    print(json.dumps(found))
    results = asked.results or (None if asked.quick else ROOT / "benchmarks" / "results.md")
    if results is not None:
        results.write_text(markdown(found), encoding="utf-8")
    for name in found["missed"]:
        tell(f"missed: {name}")
    return 1 if found["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
