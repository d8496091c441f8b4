"""`klingel demo --check`: ring, wait until all is indexed, judge, and tell it in one line of JSON."""

import gzip
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from kafka.errors import KafkaError

from klingel.config.brand import Brand
from klingel.config.loader import load_brand
from klingel.contracts.topics import Topic
from klingel.settings import KafkaSettings
from klingel.stage.audit import AuditReport
from klingel_cli.books import read_books
from klingel_cli.demo.index import TOLD, UNWELL, Index, Sightings
from klingel_cli.demo.judging import Sent, Verdict, judge, percentile, read_recording, read_truth
from klingel_cli.demo.observe import told_to
from klingel_cli.demo.processes import CONNECTORS, SOURCE, Fleet, FleetError, until
from klingel_cli.demo.rehearsal import (
    Recording,
    Say,
    Traffic,
    hear_brief_calm_day,
    ring_recorded,
    ring_simulated,
    truth_file,
)
from klingel_cli.kafka import reading

_QUIET_SECONDS = 2.0
_SHOWN = 20
_AUDITS = 3
_TOLD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a check comes to.

    Attributes:
        verdict: of the judging.
        audit: of the books.
        rung: events that the sources sent, noise and duplicates included.
        dead_lettered: dead letters.
        latencies: received → searchable, seconds.
        events_per_second: raw events by the time from the first one received to the last one
            searchable; None where nothing came into sight.
        told_to: notifications that the simulated receiver got.
        tally: warnings, breaches, escalations, alerts and incidents in the index.
        networks: posts in the index by network.
        seen: of what the example brand must come to, whether it was seen; empty where nothing of the
            kind is asked for.
    """

    verdict: Verdict
    audit: AuditReport
    rung: int
    dead_lettered: int
    latencies: tuple[float, ...]
    events_per_second: float | None
    told_to: int = 0
    tally: Mapping[str, int] = field(default_factory=dict)
    networks: Mapping[str, int] = field(default_factory=dict)
    seen: Mapping[str, bool] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing was lost or doubled, the books add up, and all was seen that must be."""
        whole = self.verdict.clean and self.audit.clean and self.verdict.sent > 0
        return whole and all(self.seen.values())

    def told(self) -> dict[str, Any]:
        """Return the line for programs."""
        return {
            "sent": self.verdict.sent,
            "indexed": self.verdict.indexed,
            "lost": len(self.verdict.lost),
            "doubled": len(self.verdict.doubled),
            "dead_lettered": self.dead_lettered,
            "p50_ms": _milliseconds(percentile(self.latencies, 0.50)),
            "p99_ms": _milliseconds(percentile(self.latencies, 0.99)),
            "events_per_second": self.events_per_second and round(self.events_per_second, 1),
            "rung": self.rung,
            **{name: self.tally.get(name, 0) for name in (*TOLD, "alerts", "incidents")},
            "networks": dict(self.networks),
            "notified": self.told_to,
            "seen": dict(self.seen),
            "never_seen": self.verdict.never_seen,
            "audit": "clean" if self.audit.clean else "wrong",
        }

    def sentences(self) -> Iterator[str]:
        """Yield what is wrong, for people."""
        for name, found in (("lost", self.verdict.lost), ("doubled", self.verdict.doubled)):
            for sentence in found[:_SHOWN]:
                yield f"{name}: {sentence}"
            if len(found) > _SHOWN:
                yield f"{name}: and {len(found) - _SHOWN:,} more"
        for problem in self.audit.problems[:_SHOWN]:
            yield f"audit: {problem.stage} {problem.topic}/{problem.partition}: {problem.sentence}"
        for what, was_seen in self.seen.items():
            if not was_seen:
                yield f"not seen: {what}"
        if not self.verdict.sent:
            yield "nothing that the brand must hear was sent"


def check(
    fleet: Fleet, index: Index, source: Traffic | Recording, brand: Path, seconds: float, say: Say
) -> Result:
    """Ring, wait and judge, on services that are open already.

    Args:
        fleet: with its services ready; all but watch where a brief calm day comes first.
        index: of the fleet's prefix.
        source: who rings.
        brand: file of the brand that must hear it.
        seconds: bound of the ringing, and of the waiting after it.
        say: takes progress for people.

    Raises:
        FleetError: a process fell, or time was up.
    """
    file = load_brand(brand).brand
    is_whole = isinstance(source, Traffic) and source.brief_day
    if isinstance(source, Traffic) and is_whole:
        say("A calm day is heard first: early warning learns what is usual.")
        hear_brief_calm_day(fleet, source.seed, brand, seconds)
    sightings = Sightings(index)
    sightings.start()
    try:
        if isinstance(source, Traffic):
            # One connection: a delivery is answered before the next one is sent, so that what was
            # said before it was deleted also came before it, and must be there.
            ring_simulated(fleet, source, connections=1)
        else:
            ring_recorded(fleet, source)
        _await_sources(fleet, source, seconds, say)
        raw = _await_indexed(fleet, seconds, say)
        index.refresh()
        sightings.look()
    finally:
        sightings.stop()
    say("Judging what is in Elasticsearch against what the sources sent.")
    truth = _truth(fleet, source)
    verdict = judge_index(truth, index, file.brand)
    kafka = fleet.read_settings().kafka
    # First, since it waits for what is told late; what is counted below is what was there then.
    seen = await_seen(fleet, index, file) if is_whole else {}
    return Result(
        verdict=verdict,
        audit=_audit(kafka),
        rung=len(truth),
        dead_lettered=_dead_letters(kafka),
        latencies=tuple(sightings.latencies),
        events_per_second=_per_second(raw, sightings),
        told_to=told_to(fleet, 0).count,
        tally=index.tally(),
        networks=index.networks(),
        seen=seen,
    )


def await_seen(fleet: Fleet, index: Index, brand: Brand) -> Mapping[str, bool]:
    """Return whether each thing was seen that the example brand must come to.

    What is told is sent together when it is much: it is waited for.
    """

    def is_all_seen() -> bool:
        try:
            return all(what_is_seen(fleet, index, brand).values())
        except UNWELL:
            return False  # an index that was just made answers when its shards have started

    until(is_all_seen, _TOLD_SECONDS)
    return what_is_seen(fleet, index, brand)


def what_is_seen(fleet: Fleet, index: Index, brand: Brand) -> Mapping[str, bool]:
    """Return whether each thing is in the index, or at the receiver, by its name."""
    index.refresh()
    tally, standing = index.tally(), index.care(0, 1, _SHOWN)
    # Of alerts and incidents nobody else is told there.
    others = {*brand.alerts.notify, *brand.alerts.incident_notify}
    levels = {target for level in brand.escalation for target in level.notify}
    received = told_to(fleet, 0).received
    return {
        "a case whose clock runs": bool(standing.due),
        "a warning": tally["warned"] > 0,
        "a breach": tally["breached"] > 0,
        "an escalation that the receiver got": tally["escalated"] > 0
        and any(received.get(target) for target in levels - others),
        "an alert with evidence": any(
            each.terms and (each.authors or 0) >= brand.alerts.min_authors
            for each in standing.alerts
        ),
        "an incident": any(
            each.authors >= brand.alerts.incident_from for each in standing.incidents
        ),
    }


def judge_index(truth: list[Sent], index: Index, brand: str) -> Verdict:
    """Judge what the indices hold now."""
    index.refresh()
    return judge(truth, index.documents(), index.cases(), index.case_events(), brand=brand)


# ---------------------------------------------------------------------- waiting


def _await_sources(fleet: Fleet, source: Traffic | Recording, seconds: float, say: Say) -> None:
    names = [f"{name}-0" for name in _rings(source)]
    ended: set[str] = set()
    told = _Rarely(say)

    def over() -> bool:
        _require_all(fleet)
        ended.update(name for name in names if name not in ended and _is_over(fleet, name))
        told(lambda: _progress(fleet))
        return len(ended) == len(names)

    if not until(over, seconds):
        late = ", ".join(name for name in names if name not in ended)
        raise FleetError(f"{late} still rings after {seconds:.0f} s; see {fleet.folder / 'logs'}")
    say("The sources have sent everything.")


def _rings(source: Traffic | Recording) -> tuple[str, ...]:
    """Return the kinds of the processes that ring; each simulator keeps a list of what it sent."""
    if isinstance(source, Recording):
        return ("replay",)
    return ("jetstream", "webhook", *(("networks",) if source.networks is not None else ()))


def _is_over(fleet: Fleet, name: str) -> bool:
    if name == "replay-0":
        return not fleet[name].running
    said = fleet.said(name, "source_finished")
    if said is not None and said.get("refused"):
        raise FleetError(f"{name}: {said['refused']} events were refused; see {fleet[name].log}")
    return said is not None


def _await_indexed(fleet: Fleet, seconds: float, say: Say) -> int:
    """Wait until nothing waits anywhere and nothing new comes; return the raw events."""
    kafka = fleet.read_settings().kafka
    told = _Rarely(say)
    before: tuple[int, float] | None = None
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _require_all(fleet)
        try:
            books = read_books(kafka, datetime.now(UTC))
        except KafkaError:
            before = None
            continue
        report = books.audit()
        waiting = sum(report.waiting.values())
        raw = sum(end for (topic, _), end in books.ends.items() if topic == Topic.RAW_EVENTS)
        told(lambda raw=raw, waiting=waiting: f"{raw:,} raw events, {waiting:,} messages wait.")  # type: ignore[misc] # bound at once
        if waiting or _in_flight(fleet):
            before = None
        elif before is None or before[0] != raw:
            before = raw, time.monotonic()
        elif time.monotonic() - before[1] >= _QUIET_SECONDS:
            return raw
    raise FleetError(
        f"not everything is indexed after {seconds:.0f} s; see the logs in {fleet.folder / 'logs'}"
    )


def _in_flight(fleet: Fleet) -> bool:
    return any(
        sample.value > 0
        for name in fleet.children
        if name.startswith(("gateway", *CONNECTORS))
        for sample in fleet.metrics(name)
        if sample.name == "klingel_in_flight_messages"
    )


def _require_all(fleet: Fleet) -> None:
    for child in fleet.fallen():
        raise FleetError(f"{child.name} has fallen; its log is {child.log}")


def _progress(fleet: Fleet) -> str:
    def count(name: str) -> int:
        found = fleet.metrics(name) if name in fleet.children else []
        return int(sum(each.value for each in found if each.name == "klingel_received_total"))

    parts = [f"{kind} {count(f'{kind}-0'):,}" for kind in ("understand", "care", "indexer")]
    return f"Received so far: {', '.join(parts)}."


class _Rarely:
    """Says how it goes every few seconds, so that people see that it goes."""

    def __init__(self, say: Say, seconds: float = 3.0) -> None:
        self._say = say
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    def __call__(self, sentence: Callable[[], str]) -> None:
        if time.monotonic() >= self._next:
            self._say(sentence())
            self._next = time.monotonic() + self._seconds


# ---------------------------------------------------------------------- evidence


def _truth(fleet: Fleet, source: Traffic | Recording) -> list[Sent]:
    if isinstance(source, Recording):
        return list(chain.from_iterable(read_recording(_lines(p), SOURCE) for p in source.files))
    files = (truth_file(fleet, name) for name in _rings(source))
    return list(chain.from_iterable(read_truth(_lines(path)) for path in files))


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        yield from file


def _audit(kafka: KafkaSettings) -> AuditReport:
    """Audit; what does not add up is looked at again: a transaction shows part by part."""
    report = read_books(kafka, datetime.now(UTC)).audit()
    for _ in range(_AUDITS - 1):
        if report.clean:
            break
        time.sleep(1)
        report = read_books(kafka, datetime.now(UTC)).audit()
    return report


def _dead_letters(kafka: KafkaSettings) -> int:
    with reading(kafka) as log:
        return sum(1 for _ in log.read_whole(Topic.DEAD_LETTERS))


def _per_second(raw: int, sightings: Sightings) -> float | None:
    if sightings.first_received is None or sightings.last_seen is None:
        return None
    seconds = (sightings.last_seen - sightings.first_received).total_seconds()
    return raw / seconds if seconds > 0 else None


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
