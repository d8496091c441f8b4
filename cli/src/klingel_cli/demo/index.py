"""What the demo reads from Elasticsearch: whole indices for judging, small questions for the board."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from klingel_cli.demo.judging import (
    ABOUT,
    CaseEventRecord,
    CaseRecord,
    Document,
    folded_objects,
    told_about,
)
from klingel_cli.demo.processes import Servers

UNWELL: Final = (ApiError, TransportError)
"""What a question raises while Elasticsearch is away."""

_PAGE: Final = 2_000
_KEEP_ALIVE: Final = "1m"
_SIGHTS: Final = 5_000
_REMEMBERED: Final = 100_000
_OVERTAKEN: Final = 200
"""Writes at once: one may come into sight after this many that were begun later."""
_TERMS: Final = 8
_WAITING: Final = {"exists": {"field": "waiting_since"}}


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue and what waits in it; `oldest` None where nothing does."""

    queue: str
    cases: int
    waiting: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class PostRow:
    """A routed post, for the operator's board alone."""

    at: datetime
    network: str
    queue: str
    priority: int
    text: str
    tone: str = ""
    intents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DueRow:
    """A case with a clock that runs.

    Attributes:
        queue, network: where it lies, and where it was said.
        clock: the clock whose deadline is `due_at`; empty where the case does not tell.
        due_at: earliest deadline; in the past for a case that is late.
        assignee: agent, empty for nobody.
        priority: score.
    """

    queue: str
    network: str
    clock: str
    due_at: datetime
    assignee: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert that stands; `topic` empty for the whole brand."""

    kind: str
    topic: str
    severity: int
    since: datetime
    authors: int = 0
    terms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident that stands: many customers with one question."""

    kind: str
    lang: str
    since: datetime
    count: int
    authors: int
    terms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Care:
    """Where the promises and the matters of the moment stand.

    Attributes:
        late: open cases of which a deadline has passed.
        due: of these the longest late, and those that are due next.
        alerts: that stand, the most severe first.
        incidents: that stand, the largest first.
    """

    late: int = 0
    due: tuple[DueRow, ...] = ()
    alerts: tuple[AlertRow, ...] = ()
    incidents: tuple[IncidentRow, ...] = ()


TOLD: Final = ("warned", "breached", "escalated")
"""Kinds of case events that the check counts."""


class Sight(NamedTuple):
    """A version of a post that is searchable.

    Attributes:
        place: index.
        sequence: number of the write in its index.
        received_at: when a connector first held the event.
    """

    place: str
    sequence: int
    received_at: datetime


class Index:
    """The indices of one prefix.

    Args:
        servers: where Elasticsearch answers.
        prefix: of the indices, such as `klingel-`.
    """

    def __init__(self, servers: Servers, prefix: str) -> None:
        self._client = Elasticsearch(
            servers.elasticsearch_url,
            basic_auth=servers.elasticsearch_auth,
            request_timeout=10,
            max_retries=0,
        )
        self.prefix = prefix

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def forget(self) -> None:
        """Delete every index of this prefix, for tests that share a server."""
        names = [*self._client.indices.get_alias(index=f"{self.prefix}*").body]
        if names:
            self._client.indices.delete(index=",".join(names))

    def refresh(self) -> None:
        """Make everything that is written searchable."""
        self._client.indices.refresh(index=f"{self.prefix}*")

    # ------------------------------------------------------------------ whole indices

    def documents(self) -> list[Document]:
        """Return every post of every brand."""
        fields = ["brand", "object_id", "revision", "deleted_at"]
        return [
            Document(
                place=f"{hit['_index']}/{hit['_id']}",
                brand=hit["_source"]["brand"],
                object_id=hit["_source"]["object_id"],
                revision=hit["_source"]["revision"],
                emptied="deleted_at" in hit["_source"],
            )
            for hit in self._all("events-*", fields)
        ]

    def cases(self) -> list[CaseRecord]:
        """Return every case of every brand."""
        fields = ["brand", "case_id", "state", "facts.object", "summary.hashes"]
        found = (hit["_source"] for hit in self._all("cases-*", fields))
        # What was merged into another case counts there.
        return [_case(source) for source in found if source.get("state") != "merged"]

    def case_events(self) -> list[CaseEventRecord]:
        """Return every event of every case."""
        return [
            CaseEventRecord(
                place=hit["_id"],
                case_id=hit["_source"]["case_id"],
                cause=hit["_source"]["cause"],
                kind=hit["_source"]["kind"],
                about=told_about(hit["_source"]),
            )
            for hit in self._all("case-events-*", ["case_id", "cause", "kind", *ABOUT])
        ]

    def _all(self, pattern: str, fields: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        index = f"{self.prefix}{pattern}"
        if not self._client.indices.get_alias(index=index, allow_no_indices=True).body:
            return
        opened = self._client.open_point_in_time(index=index, keep_alive=_KEEP_ALIVE)
        place, after = opened["id"], None
        try:
            while True:
                page = self._client.search(
                    pit={"id": place, "keep_alive": _KEEP_ALIVE},
                    size=_PAGE,
                    sort=["_shard_doc"],
                    source_includes=list(fields),
                    track_total_hits=False,
                    search_after=after,
                )
                place, hits = page["pit_id"], page["hits"]["hits"]
                if not hits:
                    return
                yield from hits
                after = hits[-1]["sort"]
        finally:
            self._client.close_point_in_time(id=place)

    # ------------------------------------------------------------------ questions of the board

    def queues(self) -> list[QueueRow]:
        """Return the queues that hold open cases, the one that waits longest first."""
        found = self._client.search(
            index=f"{self.prefix}cases-*",
            allow_no_indices=True,
            size=0,
            query={"terms": {"state": ["open", "waiting"]}},
            aggs={
                "queues": {
                    "terms": {"field": "queue", "size": 50},
                    "aggs": {
                        "waiting": {
                            "filter": _WAITING,
                            "aggs": {"oldest": {"min": {"field": "waiting_since"}}},
                        }
                    },
                }
            },
        )
        buckets = found.get("aggregations", {}).get("queues", {}).get("buckets", [])
        rows = [
            QueueRow(
                each["key"],
                each["doc_count"],
                each["waiting"]["doc_count"],
                _at(each["waiting"]["oldest"]["value"]),
            )
            for each in buckets
        ]
        return sorted(rows, key=lambda row: row.oldest or datetime.max.replace(tzinfo=UTC))

    def care(self, late: int, due: int, matters: int) -> Care:
        """Return where the promises stand now.

        Args:
            late: most rows of cases that are late.
            due: most rows of cases that are due next.
            matters: most alerts, and most incidents.
        """
        number, longest = self._due({"lt": "now"}, late)
        _, next_ones = self._due({"gte": "now"}, due)
        return Care(
            number,
            (*longest, *next_ones),
            tuple(_alert(each) for each in self._standing("alerts", "severity", matters)),
            tuple(_incident(each) for each in self._standing("incidents", "count", matters)),
        )

    def _due(self, when: Mapping[str, str], count: int) -> tuple[int, list[DueRow]]:
        found = self._client.search(
            index=f"{self.prefix}cases-*",
            allow_no_indices=True,
            size=count,
            query={
                "bool": {
                    "filter": [
                        {"terms": {"state": ["open", "waiting", "snoozed"]}},
                        {"range": {"due_at": dict(when)}},
                    ]
                }
            },
            sort=[{"due_at": {"order": "asc", "unmapped_type": "date"}}],
            source_includes=["queue", "network", "assignee", "priority.score", "due_at", "clocks"],
            track_total_hits=True,
        )
        hits = found["hits"]
        return hits["total"]["value"], [_due_row(hit["_source"]) for hit in hits["hits"]]

    def _standing(self, kind: str, most: str, count: int) -> list[Mapping[str, Any]]:
        found = self._client.search(
            index=f"{self.prefix}{kind}-*",
            allow_no_indices=True,
            size=count,
            query={"term": {"state": "open"}},
            sort=[
                {most: {"order": "desc", "unmapped_type": "long"}},
                {"opened_at": {"order": "asc", "unmapped_type": "date"}},
            ],
            track_total_hits=False,
        )
        return [hit["_source"] for hit in found["hits"]["hits"]]

    def tally(self) -> dict[str, int]:
        """Return how many warnings, breaches, escalations, alerts and incidents there are."""
        found = self._client.search(
            index=f"{self.prefix}case-events-*",
            allow_no_indices=True,
            size=0,
            query={"terms": {"kind": [*TOLD]}},
            aggs={"kinds": {"terms": {"field": "kind"}}},
        )
        buckets = found.get("aggregations", {}).get("kinds", {}).get("buckets", [])
        counts = {each["key"]: int(each["doc_count"]) for each in buckets}
        told = {kind: counts.get(kind, 0) for kind in TOLD}
        for kind in ("alerts", "incidents"):
            index = f"{self.prefix}{kind}-*"
            told[kind] = int(self._client.count(index=index, allow_no_indices=True)["count"])
        return told

    def networks(self) -> dict[str, int]:
        """Return how many posts of each network there are, most first."""
        found = self._client.search(
            index=f"{self.prefix}events-*",
            allow_no_indices=True,
            size=0,
            aggs={"networks": {"terms": {"field": "network", "size": 50}}},
        )
        buckets = found.get("aggregations", {}).get("networks", {}).get("buckets", [])
        return {each["key"]: int(each["doc_count"]) for each in buckets}

    def last_posts(self, count: int) -> list[PostRow]:
        """Return the posts that were routed to a queue last, the newest first."""
        found = self._client.search(
            index=f"{self.prefix}events-*",
            allow_no_indices=True,
            size=count,
            query={"exists": {"field": "queue"}},
            sort=[{"routed_at": {"order": "desc", "unmapped_type": "date"}}],
            source_includes=[
                "routed_at",
                "network",
                "queue",
                "priority",
                "text",
                "text_public",
                "enrichment.tone.label",
                "enrichment.intents.name",
            ],
            track_total_hits=False,
        )
        return [_post(hit["_source"]) for hit in found["hits"]["hits"]]

    def dead_letters(self) -> dict[str, int]:
        """Return the dead letters by kind."""
        found = self._client.search(
            index=f"{self.prefix}dead-letters",
            ignore_unavailable=True,
            size=0,
            aggs={"kinds": {"terms": {"field": "kind", "size": 20}}},
        )
        buckets = found.get("aggregations", {}).get("kinds", {}).get("buckets", [])
        return {each["key"]: each["doc_count"] for each in buckets}

    def seen_since(self, marks: Mapping[str, int]) -> list[Sight]:
        """Return what is searchable now, in the order in which it was written.

        Args:
            marks: index to the greatest sequence number that is not asked for again.
        """
        known = [
            {"bool": {"filter": [{"term": {"_index": name}}, {"range": {"_seq_no": {"gt": mark}}}]}}
            for name, mark in marks.items()
        ]
        unknown = {"bool": {"must_not": {"terms": {"_index": [*marks]}}}}
        found = self._client.search(
            index=f"{self.prefix}events-*",
            allow_no_indices=True,
            size=_SIGHTS,
            query={
                "bool": {
                    "filter": {"exists": {"field": "received_at"}},
                    "should": [*known, unknown],
                    "minimum_should_match": 1,
                }
            },
            sort=["_seq_no"],
            source=False,
            seq_no_primary_term=True,
            docvalue_fields=[{"field": "received_at"}],
            track_total_hits=False,
        )
        return [
            Sight(hit["_index"], hit["_seq_no"], _time(hit["fields"]["received_at"][0]))
            for hit in found["hits"]["hits"]
        ]


def _case(source: Mapping[str, Any]) -> CaseRecord:
    summary = source.get("summary")
    folded = folded_objects(summary["hashes"]) if summary else ()
    facts = (fact["object"] for fact in source.get("facts", ()))
    return CaseRecord(source["brand"], source["case_id"], (*folded, *facts))


def _due_row(source: Mapping[str, Any]) -> DueRow:
    due_at = _time(source["due_at"])
    clocks = (
        clock["name"]
        for clock in source.get("clocks", ())
        if clock.get("state") == "running" and _time(clock["deadline"]) == due_at
    )
    return DueRow(
        queue=source.get("queue", ""),
        network=source.get("network", ""),
        clock=next(clocks, ""),
        due_at=due_at,
        assignee=source.get("assignee") or "",
        priority=source.get("priority", {}).get("score", 0),
    )


def _alert(source: Mapping[str, Any]) -> AlertRow:
    evidence = source.get("evidence") or {}
    return AlertRow(
        kind=source["kind"],
        topic=source.get("topic") or "",
        severity=source["severity"],
        since=_time(source["opened_at"]),
        authors=evidence.get("authors", 0),
        terms=_terms(evidence),
    )


def _incident(source: Mapping[str, Any]) -> IncidentRow:
    return IncidentRow(
        kind=source["kind"],
        lang=source.get("lang", ""),
        since=_time(source["opened_at"]),
        count=source["count"],
        authors=source["authors"],
        terms=_terms(source),
    )


def _terms(source: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(each["term"] for each in (source.get("terms") or ())[:_TERMS])


def _at(milliseconds: float | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _post(source: Mapping[str, Any]) -> PostRow:
    found = source.get("enrichment", {})
    return PostRow(
        at=_time(source["routed_at"]),
        network=source["network"],
        queue=source["queue"],
        priority=source.get("priority", 0),
        text=source.get("text_public") or source.get("text", ""),
        tone=found.get("tone", {}).get("label", ""),
        intents=tuple(each["name"] for each in found.get("intents", ())),
    )


@dataclass(slots=True)
class Sightings:
    """Measures received → searchable: it searches all the time and notes what comes into sight.

    A latency is the time from `received_at` (when a connector first held the event) to the first
    search that found its document; it is too large by at most one round, never too small.

    Args:
        index: where to search.
        round_seconds: between two searches.
        window: how many latencies are kept; None keeps all.
    """

    index: Index
    round_seconds: float = 0.2
    window: int | None = None
    first_received: datetime | None = None
    last_seen: datetime | None = None
    count: int = 0
    latencies: deque[float] = field(default_factory=deque)
    _known: dict[tuple[str, int], None] = field(default_factory=dict)
    _marks: dict[str, int] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Search in the background until `stop`."""
        self.latencies = deque(maxlen=self.window)
        self._thread = threading.Thread(target=self._run, name="sightings", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the searching."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(15)

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            with suppress(*UNWELL):  # away or not there yet: the next round tells
                self.look()
            spent = time.monotonic() - began
            # A quarter of the time at most is spent on asking: the measure must not be the load.
            self._stopping.wait(max(self.round_seconds, 3 * spent))

    def look(self) -> None:
        """Search once; raises one of UNWELL."""
        found = self.index.seen_since(self._marks)
        now = datetime.now(UTC)
        for sight in found:
            key = sight.place, sight.sequence
            if key in self._known:
                continue
            self._known[key] = None
            self.latencies.append(max(0.0, (now - sight.received_at).total_seconds()))
            if self.first_received is None or sight.received_at < self.first_received:
                self.first_received = sight.received_at
            self.last_seen = now
            self.count += 1
            mark = sight.sequence - _OVERTAKEN
            self._marks[sight.place] = max(mark, self._marks.get(sight.place, -1))
        while len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
