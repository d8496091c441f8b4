"""What the board shows, gathered: metrics of the processes, answers of Elasticsearch."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path

from klingel_cli.demo.index import UNWELL, Care, Index, PostRow, QueueRow, Sightings
from klingel_cli.demo.judging import percentile
from klingel_cli.demo.processes import KINDS, Child, Fleet, FleetError, Sample, ending
from klingel_cli.demo.rehearsal import SERVICES

_RECEIVED = "klingel_received_total"
_LAG = "klingel_lag_messages"
_OLDEST = "klingel_oldest_unprocessed_seconds"
_STATE = "klingel_state"
_LETTERS = "klingel_dead_lettered_total"
_SIMULATORS = frozenset({"jetstream", "webhook", "networks", "receiver"})
_MEANINGS = {
    "jetstream": "simulated Bluesky",
    "webhook": "simulated help desk",
    "networks": "simulated X, Meta, mail",
    "receiver": "simulated chats, mail",
}
_LATE_ROWS = 3
_DUE_ROWS = 5
_MATTER_ROWS = 3
_TOLD_ROWS = 4


@dataclass(frozen=True, slots=True)
class StageRow:
    """One process; None where it does not tell."""

    name: str
    state: str
    fallen: bool
    per_second: float | None
    total: int | None
    waiting: int | None
    oldest_seconds: float | None
    resident_bytes: int | None
    address: str


@dataclass(frozen=True, slots=True)
class ToldRow:
    """A notification that the simulated receiver got: to which address, its first words."""

    where: str
    title: str


@dataclass(frozen=True, slots=True)
class Told:
    """What the simulated receiver got: how much so far, and the newest ones first.

    Attributes:
        count: of all.
        newest: the newest ones first.
        received: how many, by path or address.
    """

    count: int = 0
    newest: tuple[ToldRow, ...] = ()
    received: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the board shows at one moment."""

    at: datetime
    stages: tuple[StageRow, ...]
    p50_seconds: float | None
    p99_seconds: float | None
    searchable: int
    queues: tuple[QueueRow, ...]
    posts: tuple[PostRow, ...]
    dead_letters: Mapping[str, int]
    fallen: tuple[str, ...]
    trouble: str | None
    care: Care
    told: Told
    networks: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Rates:
    """Events a second from totals; a total that shrinks belongs to a new process."""

    _last: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, name: str, total: float, at: float) -> float | None:
        """Return the rate since the last total; None at the first one.

        Args:
            name: whose total.
            total: so far.
            at: monotonic seconds.
        """
        before = self._last.get(name)
        self._last[name] = total, at
        if before is None or at <= before[1]:
            return None
        return max(0.0, total - before[0]) / (at - before[1])


class Observer:
    """Looks at a fleet and its index.

    Args:
        fleet: the processes.
        index: its indices.
        sightings: already started.
    """

    def __init__(self, fleet: Fleet, index: Index, sightings: Sightings) -> None:
        self._fleet = fleet
        self._index = index
        self._sightings = sightings
        self._rates = Rates()

    def look(self) -> Snapshot:
        """Gather one snapshot; what does not answer is shown as such."""
        children = [*self._fleet.children.values()]
        samples = {child.name: self._fleet.metrics(child.name) for child in children}
        now = time.monotonic()
        stages = tuple(self._stage(child, samples[child.name], now) for child in in_order(children))
        latencies = list(self._sightings.latencies)
        queues: list[QueueRow] = []
        posts: list[PostRow] = []
        letters: dict[str, int] = {}
        networks: dict[str, int] = {}
        care = Care()
        trouble = None
        try:
            care = self._index.care(_LATE_ROWS, _DUE_ROWS, _MATTER_ROWS)
            queues, posts = self._index.queues(), self._index.last_posts(8)
            letters, networks = self._index.dead_letters(), self._index.networks()
        except UNWELL as error:
            trouble = f"Elasticsearch does not answer ({type(error).__name__})"
        return Snapshot(
            at=datetime.now(UTC),
            stages=stages,
            p50_seconds=percentile(latencies, 0.50),
            p99_seconds=percentile(latencies, 0.99),
            searchable=self._sightings.count,
            queues=tuple(queues),
            posts=tuple(posts),
            dead_letters=letters or counted(samples),
            fallen=tuple(
                f"{child.name} {ending(child.process.poll())}; its log is {child.log}"
                for child in self._fleet.fallen()
            ),
            trouble=trouble,
            care=care,
            told=told_to(self._fleet, _TOLD_ROWS),
            networks=networks,
        )

    def _stage(self, child: Child, samples: list[Sample], now: float) -> StageRow:
        total = self._total(child, samples)
        rate = None if total is None else self._rates.take(child.name, total, now)
        fallen = child in self._fleet.fallen()
        if not child.running and not fallen:
            state = "finished"
        else:
            state = self._fleet.readiness(child.name).says
            if is_waiting(samples) and not state.startswith("waiting"):
                state = f"waits: {state}"
        lag = [each.value for each in samples if each.name == _LAG]
        oldest = [each.value for each in samples if each.name == _OLDEST]
        page = "/control/status" if child.kind in _SIMULATORS else "/metrics"
        return StageRow(
            name=_MEANINGS.get(child.kind, child.name),
            state=state,
            fallen=fallen,
            per_second=rate,
            total=None if total is None else int(total),
            waiting=int(sum(lag)) if lag else None,
            oldest_seconds=max(oldest) if oldest and child.kind in SERVICES else None,
            resident_bytes=resident_bytes(child.process.pid) if child.running else None,
            address=f"http://127.0.0.1:{child.port}{page}" if child.port else "",
        )

    def _total(self, child: Child, samples: list[Sample]) -> float | None:
        if child.kind == "jetstream":
            try:
                status, body = self._fleet.get(child.name, KINDS[child.kind].probe or "")
            except (OSError, HTTPException):
                return None
            return float(json.loads(body)["next_seq"] - 1) if status == 200 else None
        if child.kind == "networks":
            try:
                _, body = self._fleet.get(child.name, KINDS[child.kind].probe or "")
            except (OSError, HTTPException):
                return None
            return float(sum(json.loads(body)["sent"].values()))
        if child.kind == "receiver":
            return float(told_to(self._fleet, 0).count)
        received = [each.value for each in samples if each.name == _RECEIVED]
        return sum(received) if received else (0.0 if samples else None)


def told_to(fleet: Fleet, rows: int) -> Told:
    """Ask the simulated receiver what it got; nothing where it does not answer.

    Args:
        fleet: that it belongs to.
        rows: most notifications that are shown.
    """
    try:
        _, counted_so_far = fleet.get("receiver-0", "/control/status")
        _, listed = fleet.get("receiver-0", "/control/received")
    except (FleetError, OSError, HTTPException):
        return Told()
    received = json.loads(counted_so_far)["received"]
    newest = [*reversed(json.loads(listed))][:rows]
    newest_rows = tuple(ToldRow(each["where"], each["title"]) for each in newest)
    return Told(sum(received.values()), newest_rows, received)


def in_order(children: list[Child]) -> list[Child]:
    """Return processes in the order in which an event passes them."""
    way = (
        "jetstream",
        "webhook",
        "networks",
        "replay",
        "bluesky",
        "x",
        "email",
        "feed",
        "gateway",
        "media",
        "understand",
        "thread",
        "care",
        "watch",
        "indexer",
        "notifier",
        "receiver",
    )
    return sorted(children, key=lambda child: (way.index(child.kind), child.name))


def counted(samples: Mapping[str, list[Sample]]) -> dict[str, int]:
    """Return the dead letters by kind, as the processes counted them."""
    found: dict[str, int] = {}
    for each in (sample for of in samples.values() for sample in of):
        if each.name == _LETTERS and each.value:
            kind = each.labels.get("error_type", "")
            found[kind] = found.get(kind, 0) + int(each.value)
    return found


def is_waiting(samples: Sequence[Sample]) -> bool:
    """Whether a connector says that it waits for somebody."""
    return any(
        each.name == _STATE and each.labels.get("state") == "waiting" and each.value == 1
        for each in samples
    )


def resident_bytes(pid: int) -> int | None:
    """Return the resident memory of a process; None where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
