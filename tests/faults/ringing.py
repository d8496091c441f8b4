"""One ring of the whole platform under a plan of faults, and what it comes to.

The same traffic rings undisturbed and disturbed; what stands in the index afterwards must be equal.
All events are recorded with fixed times, so that cases can be compared to the second; some come
through the replay connector, the others as signed deliveries through the gateway.

A calm day lies behind the run, and a wave of complaints rings amid the faults (`brewing`). Early
warning knows the present, so the clock of watch is moved to the time of the run, the same in both;
in the end hours pass at once.
"""

import base64
import hashlib
import hmac
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan

from klingel_cli.demo.index import Index
from klingel_cli.demo.judging import Sent, Verdict, judge, read_truth
from klingel_cli.demo.processes import SOURCE, Fleet, FleetError, ending, until
from klingel_cli.demo.rehearsal import (
    CALM_SOURCE,
    await_heard,
    brand_file,
    write_brief_calm_day,
)
from klingel_local import LocalStack

from . import brewing, clocked

BRAND: Final = "nordlicht"
SESSION_SECONDS: Final = 3
PATIENCE_SECONDS: Final = 120.0
LAST_LINES: Final = 5
SERVICES: Final = (
    ("indexer", 0), ("notifier", 0), ("care", 0), ("care", 1), ("thread", 0),
    ("understand", 0), ("gateway", 0), ("watch", 0),
)  # fmt: skip
"""In the order in which they are started: who reads is there before who writes, but for watch, which
reads the calm day as what it missed."""
WORKERS: Final = (*(f"{kind}-{instance}" for kind, instance in SERVICES), "replay-0")
SERVERS: Final = ("kafka", "elasticsearch")


@dataclass(frozen=True)
class Traffic:
    """What rings: the same for both runs.

    Attributes:
        seed: same seed, same traffic.
        recorded: events of the replay connector.
        webhooks: events of the gateway.
        present: of watch when the run begins; what else rings was said a day before.
    """

    seed: int
    recorded: int
    webhooks: int
    present: datetime

    @property
    def start(self) -> datetime:
        """When the first of the others was said: recently, since old words open no case."""
        return self.present - timedelta(hours=24)


@dataclass
class Rung:
    """What stands in the index after a ring."""

    verdict: Verdict
    cases: dict[str, Any]
    audit: dict[str, Any]
    fired: Counter[tuple[str, str, str, str]]
    told: dict[tuple[str, str], set[str]]
    kills: int
    taken_over: bool
    said: brewing.Said
    disturbed: tuple[datetime, datetime] | None


def record(folder: Path, name: str, seed: int, events: int, start: datetime) -> tuple[Path, Path]:
    """Write a recording and the simulator's own list of it."""
    recording, truth = folder / f"{name}.ndjson", folder / f"{name}.truth"
    subprocess.run(
        [
            sys.executable, "-m", "klingel_simulator", "ndjson", "--out", str(recording),
            "--seed", str(seed), "--events", str(events),
            "--rate", "5", "--start", start.isoformat(), "--source", SOURCE, "--truth", str(truth),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return recording, truth


CONNECTIONS = 8
"""An answer takes as long as its record's acknowledgement: one after the other would be slow."""


class Sender(threading.Thread):
    """Delivers a recording to the gateway, signed, over some connections, until each is taken.

    Args:
        name: part of the deliveries' ids.
        lines: generic events.
        port: the gateway's.
        secret: `whsec_...`.
        rate: events a second; 0 as fast as they are taken.
    """

    def __init__(
        self, name: str, lines: Sequence[bytes], port: int, secret: str, rate: float = 0.0
    ) -> None:
        super().__init__(daemon=True)
        self._name = name
        self._lines = lines
        self._port = port
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._pause = CONNECTIONS / rate if rate else 0.0
        self._ended = threading.Event()
        self._stopped = threading.Event()
        self.refused: list[int] = []

    def run(self) -> None:
        """Send everything."""
        # What happens to one object stays in order: a deletion before its post is another story.
        shares: list[list[tuple[int, bytes]]] = [[] for _ in range(CONNECTIONS)]
        for number, line in enumerate(self._lines):
            shares[crc32(json.loads(line)["id"].encode()) % CONNECTIONS].append((number, line))
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(self._send, shares))
        self._ended.set()

    def _send(self, share: list[tuple[int, bytes]]) -> None:
        for number, line in share:
            while (status := self._deliver(f"{self._name}_{number}", line)) not in {202, 400, 422}:
                if self._stopped.wait(0.2):
                    return
            if status != 202:
                self.refused.append(status)
            if self._stopped.wait(self._pause):
                return

    def stop(self) -> None:
        """Give up what was not taken: nobody listens any more."""
        self._stopped.set()

    def wait_end(self, seconds: float) -> bool:
        """Wait until everything was taken."""
        return self._ended.wait(seconds) and not self.refused

    def _deliver(self, identity: str, body: bytes) -> int:
        at = str(int(time.time()))
        signed = b".".join((identity.encode(), at.encode(), body))
        mac = base64.b64encode(hmac.new(self._key, signed, hashlib.sha256).digest()).decode()
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request(
                "POST",
                f"/webhook/{SOURCE}",
                body,
                {
                    "content-type": "application/json",
                    "webhook-id": identity,
                    "webhook-timestamp": at,
                    "webhook-signature": f"v1,{mac}",
                },
            )
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()


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
        seed, start = traffic.seed, traffic.start
        # No promise of its posts falls due between the two runs.
        self.calm_day = write_brief_calm_day(self.fleet, seed, traffic.present - timedelta(hours=2))
        self.recording, self.truth = record(folder, "replay", seed, traffic.recorded, start)
        self.deliveries, self.webhook_truth = record(
            folder, "webhook", seed + 1, traffic.webhooks, start
        )
        wave = folder / "wave.ndjson"
        brewing.write_wave(wave, traffic.present, seed)
        self.first_words, self.wave = brewing.first_words(wave)
        self.brand = folder / "brand.yaml"
        self.brand.write_text(_brand(), "utf-8")
        self.clock = folder / "clock"
        self.senders: list[Sender] = []
        self.kills = 0
        self.taken_over = False
        self.disturbed: tuple[datetime, datetime] | None = None

    def start(self) -> None:
        """Start every service, then the sources."""
        fleet = self.fleet
        fleet.klingel("topics", "apply")
        fleet.klingel("index", "apply")
        fleet.klingel("config", "apply", str(self.brand))
        fleet.start("receiver")
        fleet.wait_ready("receiver-0")
        told = fleet.told_settings(self.brand)
        others = [each for each in SERVICES if each[0] != "watch"]
        for kind, instance in others:
            fleet.start(kind, instance=instance, environ=told if kind == "notifier" else None)
        for kind, instance in others:
            fleet.wait_ready(f"{kind}-{instance}", 90.0)
        self._hear_calm_day()
        fleet.start(
            "replay", str(self.recording), "--source", SOURCE, "--rate", str(self.rate), "--exit"
        )
        rate = self.rate * self.traffic.webhooks / max(1, self.traffic.recorded)
        self._send("msg", self.deliveries.read_bytes().splitlines(), rate)

    def _hear_calm_day(self) -> None:
        """Let a day pass before watch, which is started once all of it lies there.

        The first words of the wave are heard too before anything else rings.
        """
        fleet = self.fleet
        calm = fleet.start(
            "replay",
            *(str(self.calm_day), "--source", CALM_SOURCE, "--instance", CALM_SOURCE, "--exit"),
            instance=1,
        )
        if fleet.wait(calm.name, PATIENCE_SECONDS) != 0:
            raise FleetError(f"the calm day was not replayed; the log is {calm.log}")
        yesterday = len(self.calm_day.read_bytes().splitlines())
        await_heard(fleet, "understand-0", yesterday, PATIENCE_SECONDS)
        self._set_clock(self.traffic.present)
        fleet.start(
            "watch",
            module=clocked.__name__.rpartition(".")[2],
            environ={
                clocked.VARIABLE: str(self.clock),
                "PYTHONPATH": os.pathsep.join(
                    [str(Path(clocked.__file__).parent), os.environ.get("PYTHONPATH", "")]
                ),
            },
        )
        fleet.wait_ready("watch-0", 90.0)
        if not self._send("first", self.first_words).wait_end(PATIENCE_SECONDS):
            raise FleetError("the first words of the wave were not taken")
        heard = yesterday + len(self.first_words)
        await_heard(fleet, "understand-0", heard, PATIENCE_SECONDS)

    def _set_clock(self, at: datetime) -> None:
        """Set the clock of watch, for when it is started."""
        self.clock.write_text(str((at - datetime.now(UTC)).total_seconds()), "ascii")

    def _send(self, name: str, lines: Sequence[bytes], rate: float = 0.0) -> Sender:
        gateway = self.fleet["gateway-0"]
        secret = gateway.environ[f"KLINGEL_WEBHOOK_SECRET_{SOURCE.upper()}"]
        sender = Sender(name, lines, gateway.port, secret, rate)
        self.senders.append(sender)
        sender.start()
        return sender

    def close(self) -> None:
        """End everything that was started."""
        for sender in self.senders:
            sender.stop()
        self.fleet.stop_all()

    def disturb(self, chance: random.Random, kills: int) -> None:
        """Kill everything at random moments, `kills` times, and freeze a care worker once.

        Every victim comes at least once before any comes again, and between two of them a share of
        the wave. The faults are over once every service has come back.
        """
        victims: list[str] = []
        while len(victims) < kills:
            once = [*WORKERS, *SERVERS]
            chance.shuffle(once)
            victims += once
        freeze_at = chance.randrange(kills)
        begun = datetime.now(UTC)
        for number, victim in enumerate(victims[:kills]):
            share = slice(*(at * len(self.wave) // kills for at in (number, number + 1)))
            self._send(f"wave{number}", self.wave[share])
            self._wait(chance.uniform(0.1, 2.0))
            if number == freeze_at:
                self._freeze()
            self._kill(victim)
            self.kills += 1
        for kind, instance in SERVICES:
            self.fleet.wait_ready(f"{kind}-{instance}", 120.0)
        self.disturbed = begun, datetime.now(UTC)

    def ring_wave(self) -> None:
        """Let the whole wave ring at once, undisturbed."""
        self._send("wave", self.wave)

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
        if fleet.wait("replay-0", PATIENCE_SECONDS) != 0:
            raise FleetError(f"the replay did not end well; its log is {fleet['replay-0'].log}")
        for sender in self.senders:
            if not sender.wait_end(PATIENCE_SECONDS):
                raise FleetError(f"not every delivery was taken; refused: {sender.refused[:5]}")
        self._settle()
        self._let_hours_pass()
        self._settle()
        if not until(self._all_is_told, PATIENCE_SECONDS):
            raise FleetError(f"timers wait, or somebody is not told\n{self._states()}")
        index = Index(self.stack, fleet.prefix)
        try:
            index.refresh()
            verdict = judge(
                self._sent(), index.documents(), index.cases(), index.case_events(), brand=BRAND
            )
        finally:
            index.close()
        return Rung(
            verdict,
            self._cases(),
            self._audit(),
            fired=self._fired(),
            told=self._told(),
            kills=self.kills,
            taken_over=self.taken_over,
            said=brewing.said(fleet.read_settings().kafka),
            disturbed=self.disturbed,
        )

    def _settle(self) -> None:
        """Wait until nothing waits anywhere."""
        if not until(lambda: self._audit()["settled"], PATIENCE_SECONDS):
            report = self._audit()
            waits = [total for total in report.get("totals", ()) if total["waiting"]]
            raise FleetError(f"not everything arrived: {waits or report}\n{self._states()}")

    def _let_hours_pass(self) -> None:
        """Set the clock of watch beyond what brews, and wait until all of it has ended."""
        fleet = self.fleet
        fleet.wait_ready("watch-0", 90.0)
        if (why := fleet.stop("watch-0")) is not None:
            raise FleetError(f"watch did not end well: {why}")
        self._set_clock(self.traffic.present + brewing.CALM_AGAIN)
        fleet.restart("watch-0")
        kafka = fleet.read_settings().kafka
        if not until(lambda: brewing.said(kafka).all_ended, PATIENCE_SECONDS):
            raise FleetError(f"what brewed has not ended\n{self._states()}")

    def _all_is_told(self) -> bool:
        """Whether every deadline that is over has fired, and every notification is on its way."""
        now = datetime.now(UTC).isoformat()
        late = {"exists": {"field": "due_at"}}
        client = Elasticsearch(self.stack.elasticsearch_url)
        try:
            found = scan(client, query={"query": late}, index=f"{self.fleet.prefix}cases-*")
            waiting = sum(not _has_fired(hit["_source"], now) for hit in found)
        finally:
            client.close()
        return not waiting and self._lag_of_notifier() == 0

    def _lag_of_notifier(self) -> int:
        samples = self.fleet.metrics("notifier-0")
        return round(sum(each.value for each in samples if each.name == "klingel_lag_messages"))

    def _fired(self) -> Counter[tuple[str, str, str, str]]:
        """Return how often each warning and breach stands: case, kind, clock, due.

        One whose clock began otherwise, since an earlier word came to light, was withdrawn.
        """
        client = Elasticsearch(self.stack.elasticsearch_url)
        try:
            cases = [hit["_source"] for hit in scan(client, index=f"{self.fleet.prefix}cases-*")]
        finally:
            client.close()
        return Counter(
            (case["case_id"], each["kind"], each["clock"], each["due"])
            for case in cases
            for each in case.get("fired") or ()
            if each.get("clock") and not each.get("withdrawn")
        )

    def _told(self) -> dict[tuple[str, str], set[str]]:
        """Return the contents that came under each key, of each receiver.

        A message that goes to several, as an incident does, has one key and each one's form.
        """
        told: dict[tuple[str, str], set[str]] = {}
        for line in self.fleet.lines("receiver-0"):
            if line.get("key"):
                told.setdefault((line["where"], line["key"]), set()).add(line["body"])
        return told

    def _states(self) -> str:
        """Say of each process how it stands and what it logged last, for who reads a failed run."""
        told = []
        for name, child in self.fleet.children.items():
            said = [
                line for line in self.fleet.lines(name) if line.get("event") != "library_logged"
            ]
            told.append(f"{name}: {self.fleet.readiness(name)}")
            told += [f"    {json.dumps(line)}" for line in said[-LAST_LINES:]]
            told += [] if child.running else [f"    {ending(child.process.poll())}"]
        return "\n".join(told)

    def _sent(self) -> Iterator[Sent]:
        for object_id in brewing.object_ids():
            yield Sent(object_id, "created", 0)
        for path, network in ((self.truth, "replay"), (self.webhook_truth, "webhook")):
            with path.open("rb") as lines:
                for sent in read_truth(lines):
                    _, _, rest = sent.object_id.partition(":")
                    yield Sent(f"{network}:{rest}", sent.event, sent.revision, sent.heard)

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
            before = (self.traffic.present - timedelta(hours=12)).isoformat()
            return {hit["_id"]: comparable(hit["_source"], before) for hit in found}
        finally:
            client.close()


def _brand() -> str:
    """Return the example brand, around the clock, with a level for customers of an incident.

    A deadline that opens or shuts between the two runs would make a difference.
    """
    text = brand_file().read_text(encoding="utf-8")
    text = text.replace("calendar: service-hours", "calendar: always")
    text = text.replace("quiet: service-hours", "quiet: always")
    level = "escalation:\n  - {id: many, on: [incident], notify: [ticketing]}\n"
    return text.replace("escalation:\n", level, 1)


PROCESSING: Final = frozenset(
    {
        "revision", "indexed_at", "document_version", "received_at", "origin", "decision", "offset",
        "fired", "escalations",
    }
)  # fmt: skip
"""What is not compared, since the same facts may give it otherwise: what counts writes
(`revision`, `document_version`, `decision`: a repetition adds one), where something lies and when
it came (`origin`, `offset`, `received_at`, `indexed_at`), and what timers said in between (`fired`,
`escalations`: a warning is left out where the deadline was over when it was noticed, and what fired
and was corrected stays told)."""
NOTICED: Final = frozenset({"removed_at", "closed_at", "ended_at"})
"""When klingel received a deletion: the recorded ones tell no time. What lies before is compared."""
STANDING: Final = frozenset({"deadline", "warn_at"})
"""What such a deletion moves in a clock that stands because of it; compared where it lies before."""
OF_ESCALATIONS: Final = frozenset({"waiting", "late", "escalation"})
"""Parts of the priority that escalations add; the others are compared."""
LATER: Final = "when klingel noticed it"


def _has_fired(case: dict[str, Any], now: str) -> bool:
    """Whether each warning and deadline of a case that is over has fired."""
    fired = {(each.get("clock"), each["kind"]) for each in case.get("fired") or ()}
    for clock in case.get("clocks") or ():
        name = clock["name"]
        if clock["state"] != "running" or (name, "breached") in fired:
            continue
        if clock["deadline"] < now:
            return False
        if clock.get("warn_at", now) < now and (name, "warned") not in fired:
            return False
    return True


def comparable(value: Any, said_before: str) -> Any:
    """Return a case without what processing decides.

    Args:
        value: the case, or a part of it.
        said_before: when all words had been said; what is later is when klingel noticed something.
    """
    if isinstance(value, list):
        return [comparable(inner, said_before) for inner in value]
    if not isinstance(value, dict):
        return value
    masked = _moved(value, said_before)
    kept: dict[str, Any] = {}
    for name, inner in value.items():
        if name in PROCESSING:
            continue
        if name in masked:
            kept[name] = _instant(inner, said_before)
        elif name == "pauses":
            kept[name] = [
                {side: _instant(at, said_before) for side, at in pause.items()}
                for pause in inner or ()
            ]
        elif name == "priority" and isinstance(inner, dict):
            kept[name] = _own_parts(inner)
        else:
            kept[name] = comparable(inner, said_before)
    return kept


def _moved(value: dict[str, Any], said_before: str) -> set[str]:
    """Return the fields in which a time may be when klingel noticed something."""
    moved = set(NOTICED)
    if value.get("by") == "watch":
        moved.add("at")  # of its commands: when it found who belongs together
    if _stood_since(value, said_before):
        moved |= STANDING
    for clock in value.get("clocks") or ():
        if _stood_since(clock, said_before):
            moved |= {f"{clock['name']}_deadline", "due_at"}
    return moved


def _instant(at: Any, said_before: str) -> Any:
    """Return a time as it is; one at which klingel noticed something as that."""
    return LATER if isinstance(at, str) and at > said_before else at


def _own_parts(priority: dict[str, Any]) -> dict[str, int]:
    """Return the parts of a priority that follow from what was said; the score is their sum."""
    parts = priority.get("parts") or {}
    return {name: points for name, points in parts.items() if name not in OF_ESCALATIONS}


def _stood_since(clock: dict[str, Any], said_before: str) -> bool:
    """Whether a pause of a clock begins or ends when klingel noticed something."""
    ends = [at for pause in clock.get("pauses") or () for at in pause.values()]
    return any(at is not None and at > said_before for at in ends)
