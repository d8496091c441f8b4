"""What spans cost a record: where nobody collects them, and at shares of traces.

The exporter throws them away, so that this is what a service's own thread pays:

    python benchmarks/tracing.py
"""

import time
import timeit
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from klingel import tracing
from klingel.contracts.envelope import (
    TRACE_HEADER,
    Message,
    Output,
    SourcePosition,
    ce_headers,
    trace_id,
)
from klingel.contracts.topics import Topic

RECORDS = 1_000
ROUNDS = 7
SHARES = ("0", "0.01", "0.1", "1")


class Nowhere(SpanExporter):
    """Throws away what it gets."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take the spans."""
        del spans
        return SpanExportResult.SUCCESS


def record(topic: Topic, number: int, source: str, cause: SourcePosition | None) -> Output:
    """Return a record of a trace of its own."""
    headers = ce_headers(
        topic,
        event_id=f"{number}@0",
        source=source,
        subject=str(number),
        time=datetime.now(UTC),
        trace=trace_id(str(number)),
        caused_by=cause,
    )
    return Output(topic, b"key", b"{}", headers)


def microseconds(work: Callable[[], object]) -> float:
    """Return the best round's CPU time of one record."""
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found) / RECORDS * 1e6


def main() -> None:
    """Measure and print."""
    off = timeit.repeat("current() is not None", globals=vars(tracing), number=RECORDS * 100)
    print(f"off: {min(off) / RECORDS / 100 * 1e6:.2f} us a record")
    raw = [record(Topic.RAW_EVENTS, n, "klingel/gateway", None) for n in range(RECORDS)]
    read = [Message(each.topic, 0, n, b"", b"", each.headers, 0) for n, each in enumerate(raw)]
    social = [
        record(Topic.SOCIAL_EVENTS, n, "klingel/understand", SourcePosition("raw-events", 0, n, 0))
        for n in range(RECORDS)
    ]
    parents = [each.header(TRACE_HEADER) for each in read]
    for share in SHARES:
        spans = tracing.Spans("bench", BatchSpanProcessor(Nowhere()), tracing.share_bound(share))
        publish = microseconds(
            lambda spans=spans: [spans.publishing(each, lambda _: None)(None) for each in raw]
        )
        stage = microseconds(lambda spans=spans: spans.batch("bench", read, social, 0.1))
        index = microseconds(lambda spans=spans: spans.bulk(parents, 0.1, 200))
        spans.close()
        print(f"share {share}: {publish:.1f} publish, {stage:.1f} stage, {index:.1f} index, us")


if __name__ == "__main__":
    main()
