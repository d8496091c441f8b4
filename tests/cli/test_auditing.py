"""`klingel audit --every`: what an audit found as metrics, pages and documents, again and again."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection

import pytest
from kafka.errors import KafkaConnectionError

from klingel.errors import SourceUnavailable
from klingel.metrics import Metrics
from klingel.model import LedgerLine
from klingel.settings import HttpSettings
from klingel.stage.audit import AuditReport, audit
from klingel.testing.clock import FixedClock
from klingel_cli.auditing import Auditor, Pages, Row, rows_of

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)


def line(before: int, after: int, **fates: int) -> LedgerLine:
    return LedgerLine(
        stage="understand",
        topic="raw-events",
        partition=0,
        before=before,
        after=after,
        received=after - before,
        redone=0,
        fates={"delivered": 0, "repeated": 0, "discarded": 0, "dead_lettered": 0} | fates,
        networks={},
        emitted={},
        holder="one",
        written_at=AT,
    )


CLEAN = audit([line(0, 6, delivered=3, discarded=2, dead_lettered=1)], {("raw-events", 0): 9})
GAP = audit([line(0, 4, delivered=4), line(7, 9, delivered=2)], {("raw-events", 0): 9})


class Watch:
    """An auditor of reports that are given, and what it kept, said and measured."""

    def __init__(self, *reports: AuditReport | Exception) -> None:
        self.reports = list(reports)
        self.kept: list[list[Row]] = []
        self.said: list[dict[str, object]] = []
        self.clock = FixedClock()
        self.keep: Callable[[list[Row]], None] = self.kept.append
        self.auditor = Auditor(
            self._audit,
            self._keep,
            Metrics("audit"),
            self.clock,
            lambda text: self.said.append(json.loads(text)),
            (KafkaConnectionError,),
        )

    def _audit(self) -> AuditReport:
        found = self.reports.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def _keep(self, rows: list[Row]) -> None:
        self.keep(rows)

    def value(self, name: str, **labels: str) -> float:
        """Return what a scrape would see."""
        shown = ",".join(
            f'{key}="{each}"' for key, each in {"component": "audit", **labels}.items()
        )
        text = self.auditor.render().decode()
        (found,) = [each for each in text.splitlines() if each.startswith(f"{name}{{{shown}}}")]
        return float(found.rpartition(" ")[2])


def test_a_row_tells_the_equation_of_its_stage() -> None:
    rows = {row.id: row.document for row in rows_of(CLEAN, AT)}
    row = rows["understand/raw-events"]
    assert row == {
        "stage": "understand",
        "topic": "raw-events",
        "at": "2026-03-02T12:00:00Z",
        "written": 9,
        "received": 6,
        "delivered": 3,
        "repeated": 0,
        "discarded": 2,
        "dead_lettered": 1,
        "waiting": 3,
        "redone": 0,
        "outside": 0,
        "difference": 0,
        "problems": 0,
    }
    assert len(rows) == len(rows_of(CLEAN, AT))


def test_what_does_not_add_up_is_counted_in_messages_by_kind() -> None:
    watch = Watch(CLEAN, GAP, CLEAN)
    name = "klingel_audit_difference_messages"
    watch.auditor.once()
    assert watch.value(name, reason="gap") == 0
    watch.auditor.once()
    assert watch.value(name, reason="gap") == 3, "the offsets 4 to 6"
    assert watch.value(name, reason="lost") == 0
    kept = {row.id: row.document for row in watch.kept[-1]}["understand/raw-events"]
    # That fewer were received than lie in a dense log is no further problem: the gap is one.
    assert kept["difference"] == 3
    assert kept["problems"] == 1
    watch.auditor.once()
    assert watch.value(name, reason="gap") == 0
    assert [each["clean"] for each in watch.said] == [True, False, True]


@pytest.mark.parametrize("error", [SourceUnavailable("Kafka is away"), KafkaConnectionError()])
def test_a_server_that_is_away_is_no_finding_but_its_age_grows(error: Exception) -> None:
    watch = Watch(CLEAN, error)
    watch.auditor.once()
    watch.clock.advance(600)
    watch.auditor.once()
    assert watch.value("klingel_audit_age_seconds") == 600
    assert watch.auditor.alive
    assert watch.auditor.ready
    assert "waiting_for" in watch.said[-1]


def test_before_the_first_audit_the_age_counts_from_the_start() -> None:
    watch = Watch(SourceUnavailable("Kafka is away"))
    watch.clock.advance(4000)
    watch.auditor.once()
    assert watch.value("klingel_audit_age_seconds") == 4000
    assert not watch.auditor.ready


def test_what_was_found_is_told_although_it_cannot_be_kept() -> None:
    watch = Watch(GAP)

    def refuse(_rows: list[Row]) -> None:
        raise SourceUnavailable("Elasticsearch is away")

    watch.keep = refuse
    watch.auditor.once()
    assert watch.value("klingel_audit_difference_messages", reason="gap") == 3
    assert watch.said[0]["waiting_for"] == "Elasticsearch is away"


def test_it_goes_on_until_it_is_told_to_stop() -> None:
    watch, stopping = Watch(CLEAN, GAP, CLEAN), threading.Event()

    def keep(rows: list[Row]) -> None:
        watch.kept.append(rows)
        if len(watch.kept) == 3:
            stopping.set()

    watch.keep = keep
    watch.auditor.run(0.001, stopping)
    assert len(watch.kept) == 3


def test_a_loop_that_hangs_is_not_alive() -> None:
    watch = Watch(CLEAN)
    watch.auditor.once()
    watch.clock.advance(899)
    assert watch.auditor.alive
    watch.clock.advance(2)
    assert not watch.auditor.alive


@contextmanager
def served(watch: Watch) -> Iterator[Callable[[str], tuple[int, bytes]]]:
    """Serve the pages and return how to ask for one."""
    with Pages(watch.auditor, HttpSettings()) as pages:

        def get(path: str) -> tuple[int, bytes]:
            connection = HTTPConnection("127.0.0.1", pages.port, timeout=5)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        yield get


def test_the_pages_of_a_service_are_served() -> None:
    watch = Watch(GAP)
    with served(watch) as get:
        assert get("/readyz")[0] == 503
        assert get("/healthz")[0] == 200
        watch.auditor.once()
        assert get("/readyz")[0] == 200
        status, body = get("/metrics")
        assert status == 200
        assert b'klingel_audit_difference_messages{component="audit",reason="gap"} 3.0' in body
        assert get("/else")[0] == 404
        watch.clock.advance(10_000)
        assert get("/healthz")[0] == 503
