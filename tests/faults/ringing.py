"""One ring of the whole platform under a plan of faults, and what it comes to.

The same traffic rings undisturbed and disturbed; what stands in the index afterwards must be equal.
Recorded events carry fixed times, so that cases can be compared to the second; signed webhooks ring
live beside them.
"""

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan

from klingel_cli.demo.index import Index
from klingel_cli.demo.judging import Sent, Verdict, judge, read_truth
from klingel_cli.demo.processes import SOURCE, Fleet, FleetError, until
from klingel_cli.demo.rehearsal import brand_file
from klingel_local import LocalStack

BRAND: Final = "nordlicht"
SESSION_SECONDS: Final = 3
PATIENCE_SECONDS: Final = 120.0
WORKERS: Final = ("understand-0", "care-0", "care-1", "indexer-0", "gateway-0", "replay-0")
SERVERS: Final = ("kafka", "elasticsearch")


@dataclass(frozen=True)
class Traffic:
    """What rings: the same for both runs."""

    seed: int
    recorded: int
    webhooks: int
    start: str = "2026-11-01T08:00:00Z"


@dataclass
class Rung:
    """What stands in the index after a ring."""

    verdict: Verdict
    cases: dict[str, Any]
    audit: dict[str, Any]
    kills: int
    taken_over: bool


def record(folder: Path, traffic: Traffic) -> tuple[Path, Path]:
    """Write the recording and the simulator's own list of it."""
    recording, truth = folder / "recording.ndjson", folder / "recording.truth"
    subprocess.run(
        [
            sys.executable, "-m", "klingel_simulator", "ndjson", "--out", str(recording),
            "--seed", str(traffic.seed), "--events", str(traffic.recorded),
            "--rate", "5", "--start", traffic.start, "--source", SOURCE, "--truth", str(truth),
        ],
        check=True,
    )  # fmt: skip
    return recording, truth


class Ring:
    """One run of every service on a prefix of its own.

    Args:
        stack: servers; killed when the plan says so.
        folder: logs and state.
        prefix: of topics and indices.
        traffic: what rings.
        rate: recorded events a second; 0 as fast as they are taken.
    """

    def __init__(
        self, stack: LocalStack, folder: Path, prefix: str, traffic: Traffic, rate: float
    ) -> None:
        self.stack = stack
        self.traffic = traffic
        self.rate = rate
        folder.mkdir(parents=True)
        self.fleet = Fleet(
            stack,
            folder,
            prefix,
            {"KLINGEL_KAFKA__SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS)},
        )
        self.recording, self.truth = record(folder, traffic)
        self.webhook_truth = folder / "webhook.truth"
        self.kills = 0
        self.taken_over = False

    def start(self) -> None:
        """Start every service, then the sources."""
        fleet = self.fleet
        fleet.klingel("topics", "apply")
        fleet.klingel("index", "apply")
        fleet.klingel("config", "apply", str(brand_file()))
        for kind, instance in (
            ("indexer", 0), ("care", 0), ("care", 1), ("understand", 0), ("gateway", 0),
        ):  # fmt: skip
            fleet.start(kind, instance=instance)
        for name in ("indexer-0", "care-0", "care-1", "understand-0", "gateway-0"):
            fleet.wait_ready(name, 90.0)
        fleet.start(
            "replay", str(self.recording), "--source", SOURCE, "--rate", str(self.rate), "--exit"
        )
        fleet.start(
            "webhook",
            "--url", f"http://127.0.0.1:{fleet['gateway-0'].port}/webhook/{SOURCE}",
            "--secret-env", "KLINGEL_DEMO_SECRET",
            "--source", SOURCE,
            "--seed", str(self.traffic.seed + 1),
            "--events", str(self.traffic.webhooks),
            "--rate", str(self.rate * self.traffic.webhooks / max(1, self.traffic.recorded)),
            "--truth", str(self.webhook_truth),
        )  # fmt: skip

    def disturb(self, chance: random.Random, kills: int) -> None:
        """Kill everything at random moments, `kills` times, and freeze a care worker once.

        Every victim comes at least once before any comes again.
        """
        victims: list[str] = []
        while len(victims) < kills:
            once = [*WORKERS, *SERVERS]
            chance.shuffle(once)
            victims += once
        freeze_at = chance.randrange(kills)
        for number, victim in enumerate(victims[:kills]):
            self._wait(chance.uniform(0.1, 2.0))
            if number == freeze_at:
                self._freeze()
            self._kill(victim)
            self.kills += 1

    def _kill(self, victim: str) -> None:
        if victim == "kafka":
            self.stack.kafka.kill()
            self.stack.kafka.start()
        elif victim == "elasticsearch":
            self.stack.elasticsearch.kill()
            self.stack.elasticsearch.start()
        elif self.fleet[victim].process.poll() == 0:
            return  # the recording is at its end
        else:
            self.fleet.kill(victim)
            self.fleet.restart(victim)

    def _freeze(self) -> None:
        """Freeze a care worker beyond its session, let the other take over, and wake it."""
        for name in ("care-0", "care-1"):
            self.fleet.wait_ready(name, 120.0)
        self.fleet.freeze("care-0")
        try:
            self.taken_over = until(lambda: self._owns_all("care-1"), 60.0)
        finally:
            self.fleet.thaw("care-0")

    def _owns_all(self, name: str) -> bool:
        try:
            status, body = self.fleet.get(name, "/readyz")
        except OSError:
            return False
        return status == 200 and len(json.loads(body)["partitions"]) == 4

    @staticmethod
    def _wait(seconds: float) -> None:
        until(lambda: False, seconds)

    def finish(self) -> Rung:
        """Wait until the sources are through and everything is indexed; judge."""
        fleet = self.fleet
        for name in ("replay-0", "webhook-0"):
            if fleet.wait(name, PATIENCE_SECONDS) != 0:
                raise FleetError(f"{name} did not end well; its log is {fleet[name].log}")
        if not until(lambda: self._audit()["settled"], PATIENCE_SECONDS):
            report = self._audit()
            waits = [total for total in report.get("totals", ()) if total["waiting"]]
            raise FleetError(f"not everything arrived: {waits or report}")
        index = Index(self.stack, fleet.prefix)
        try:
            index.refresh()
            verdict = judge(
                self._sent(), index.documents(), index.cases(), index.case_events(), brand=BRAND
            )
        finally:
            index.close()
        return Rung(
            verdict, self._cases(), self._audit(), kills=self.kills, taken_over=self.taken_over
        )

    def _sent(self) -> Iterator[Sent]:
        for path in (self.truth, self.webhook_truth):
            with path.open("rb") as lines:
                yield from read_truth(lines)

    def _audit(self) -> dict[str, Any]:
        try:
            report = json.loads(self.fleet.klingel("audit", "--json"))
        except FleetError as error:
            return {"settled": False, "clean": False, "problems": [str(error)]}
        waits = [total for total in report["totals"] if total["waiting"]]
        # Status records are written for as long as connectors live.
        report["settled"] = all(total["topic"] == "connector-status" for total in waits)
        return dict(report)

    def _cases(self) -> dict[str, Any]:
        """Return the cases without what may differ: revisions and processing times."""
        client = Elasticsearch(self.stack.elasticsearch_url)
        try:
            found = scan(client, index=f"{self.fleet.prefix}cases-*")
            return {hit["_id"]: comparable(hit["_source"]) for hit in found}
        finally:
            client.close()


PROCESSING: Final = frozenset(
    {
        "revision",
        "indexed_at",
        "document_version",
        "received_at",
        "origin",
        "decision",
        "updated_at",
    }
)
LIVE_TIMES: Final = frozenset(
    {"at", "opened_at", "closed_at", "first_response_at", "waiting_since", "last_at", "removed_at"}
)


def comparable(case: Mapping[str, Any]) -> Any:
    """Return a case without revisions and processing times.

    Signed webhooks are written live: the times of their words differ from run to run, and so they
    are left out of these cases; their order is not.
    """
    live = str(case["conversation_id"]).startswith("webhook:")
    left_out = PROCESSING | LIVE_TIMES if live else PROCESSING

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(inner) for key, inner in value.items() if key not in left_out}
        if isinstance(value, list):
            return [strip(inner) for inner in value]
        return value

    return strip(case)
