"""The audit, again and again: its figures as metrics, and as documents for Kibana."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self, get_args

from klingel.clock import Clock
from klingel.errors import KlingelError
from klingel.metrics import Metric, Metrics
from klingel.settings import HttpSettings
from klingel.stage.audit import AuditReport, Kind, Problem, Totals
from klingel.stage.fates import Fate

COMPONENT = "audit"
KINDS: tuple[Kind, ...] = get_args(Kind)
_MISSED = 3
"""So many rounds may be late before the loop itself counts as standing still."""
_POLL_SECONDS = 0.05
"""Between two looks at whether the pages shall end."""
_LEAST_SECONDS = 300.0
"""An audit of a large ledger takes minutes."""


class Row(NamedTuple):
    """A document for Kibana and its id."""

    id: str
    document: Mapping[str, Any]


def rows_of(report: AuditReport, at: datetime) -> list[Row]:
    """Return the figures of each stage and input, each under an id that the next audit replaces."""
    return [_row(totals, report.problems, at) for totals in report.totals]


def _row(totals: Totals, problems: tuple[Problem, ...], at: datetime) -> Row:
    wrong = [each for each in problems if (each.stage, each.topic) == (totals.stage, totals.topic)]
    document = {
        "stage": totals.stage,
        "topic": totals.topic,
        "at": at.isoformat().replace("+00:00", "Z"),
        "written": totals.received + totals.waiting,
        "received": totals.received,
        **{str(fate): totals.fates[fate] for fate in Fate if fate is not Fate.WAITING},
        "waiting": totals.waiting,
        "redone": totals.redone,
        "outside": totals.outside,
        "difference": sum(each.messages for each in wrong),
        "problems": len(wrong),
    }
    return Row(f"{totals.stage}/{totals.topic}", document)


class Auditor:
    """Audits again and again, and knows what it found and when.

    A server that is away is no finding: the age of the last audit grows until it is back.

    Args:
        audit: reads and checks the books; raises KlingelError and what `away` names.
        keep: writes the documents; raises KlingelError.
        metrics: of this process.
        clock: the time.
        say: tells people in a line.
        away: further errors of a server that is away.
    """

    def __init__(
        self,
        audit: Callable[[], AuditReport],
        keep: Callable[[list[Row]], None],
        metrics: Metrics,
        clock: Clock,
        say: Callable[[str], None],
        away: tuple[type[Exception], ...] = (),
    ) -> None:
        self._audit = audit
        self._keep = keep
        self._metrics = metrics
        self._clock = clock
        self._say = say
        self._away: tuple[type[Exception], ...] = (KlingelError, *away)
        self._began = self._turned_at = clock.monotonic()
        self._audited_at: float | None = None
        self._every = _LEAST_SECONDS

    def run(self, every: float, stopping: threading.Event) -> None:
        """Audit every so many seconds until told to stop."""
        self._every = max(every, _LEAST_SECONDS)
        while not stopping.is_set():
            self.once()
            stopping.wait(every)

    def once(self) -> None:
        """Audit once and tell what was found, or why nothing was."""
        try:
            report = self._audit()
            self._audited_at = self._clock.monotonic()
            self._measure(report)
            self._keep(rows_of(report, self._clock.now()))
        except self._away as error:
            known = isinstance(error, KlingelError)
            self._tell(waiting_for=str(error) if known else type(error).__name__)
        else:
            waiting = sum(report.waiting.values())
            self._tell(clean=report.clean, problems=len(report.problems), waiting=waiting)
        self._turned_at = self._clock.monotonic()

    @property
    def ready(self) -> bool:
        """Whether an audit came to an end."""
        return self._audited_at is not None

    @property
    def alive(self) -> bool:
        """Whether rounds still end, with an audit or without."""
        return self._clock.monotonic() - self._turned_at < _MISSED * self._every

    def render(self) -> bytes:
        """Return the metrics as they stand now."""
        since = self._began if self._audited_at is None else self._audited_at
        self._metrics.set(Metric.AUDIT_AGE_SECONDS, self._clock.monotonic() - since)
        return self._metrics.render()

    def _measure(self, report: AuditReport) -> None:
        found: Counter[str] = Counter()
        for problem in report.problems:
            found[problem.kind] += problem.messages
        for kind in KINDS:
            self._metrics.set(Metric.AUDIT_DIFFERENCE, found[kind], reason=kind)

    def _tell(self, **what: object) -> None:
        at = self._clock.now().isoformat().replace("+00:00", "Z")
        self._say(json.dumps({"at": at, "component": COMPONENT, **what}))


class Pages:
    """`/metrics`, `/healthz` and `/readyz` of an auditor, served by a thread."""

    def __init__(self, auditor: Auditor, http: HttpSettings) -> None:
        handler = type("_Handler", (_Handler,), {"auditor": auditor})
        self._server = ThreadingHTTPServer((http.host, http.port), handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers GET for the three pages."""

    auditor: Auditor
    timeout = 10

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/metrics":
            self._answer(HTTPStatus.OK, self.auditor.render(), "text/plain; version=0.0.4")
        elif self.path in {"/healthz", "/readyz"}:
            good = self.auditor.alive if self.path == "/healthz" else self.auditor.ready
            status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, json.dumps({"fine": good}).encode(), "application/json")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"", "text/plain")

    def log_message(self, *_what: object) -> None:
        """Log no requests: probes ask every few seconds."""

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
