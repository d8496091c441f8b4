"""Spans for OpenTelemetry, where somebody asks for them; where nobody does, nothing at all.

`OTEL_EXPORTER_OTLP_ENDPOINT` asks. Then, and only then, OpenTelemetry is imported (extra `tracing`)
and spans of a sample of traces are sent there as OTLP over HTTP, by a thread of its own with a
bounded queue: who collects them may be away, and no message waits for him.

Which traces are in the sample is decided by their ids, alike in every service and as
OpenTelemetry's own `traceidratio` does, so that a trace is whole or not there. The span of a record
has the id that stands in the record's `traceparent`: the next stage's spans, and a sender's own
tracing, find their parents. Spans hold names, counts and places, never texts, handles or addresses.
"""

import atexit
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from klingel.contracts.envelope import (
    SOURCE_HEADER,
    TRACE_HEADER,
    Message,
    Output,
    SourcePosition,
    incoming_trace,
)
from klingel.errors import ConfigurationError, InvariantViolation

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import SpanContext

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
RATIO = "OTEL_TRACES_SAMPLER_ARG"
DEFAULT_RATIO = 0.01
_LINKS = 100
"""Most links of one span; a bulk request has thousands of documents."""
_LOW = (1 << 64) - 1

_current: "Spans | None" = None
_request: ContextVar["SpanContext | None"] = ContextVar("klingel_request", default=None)


def current() -> "Spans | None":
    """Return where spans go, None where nobody asked for any."""
    return _current


def begin(service: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send spans from now on, if the environment says where.

    Args:
        service: component; `service.name` is `klingel-<service>` unless OTEL_SERVICE_NAME says else.
        environ: names and values; OpenTelemetry itself reads those of the process.

    Raises:
        ConfigurationError: asked for and not installed, or no share of traces.
    """
    global _current  # noqa: PLW0603  one for a process, as its logs are
    if not any(environ.get(name) for name in ENDPOINTS):
        return
    bound = share_bound(environ.get(RATIO, ""))
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  only where asked for
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.trace.export import (  # noqa: PLC0415  only where asked for
            BatchSpanProcessor,
        )
    except ImportError:
        raise ConfigurationError(
            f"{ENDPOINTS[1]} is set, but OpenTelemetry is not installed; install klingel[tracing]"
        ) from None
    name = environ.get("OTEL_SERVICE_NAME") or f"klingel-{service}"
    _current = Spans(name, BatchSpanProcessor(OTLPSpanExporter()), bound)
    atexit.register(end)


def end() -> None:
    """Send what waits and stop; nothing where nobody asked."""
    global _current  # noqa: PLW0603  as above
    if _current is not None:
        _current.close()
        _current = None


def share_bound(told: str) -> int:
    """Return below what the lower half of a trace's id lies in the sample."""
    try:
        ratio = float(told) if told else DEFAULT_RATIO
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ConfigurationError(f"{RATIO}: a share of traces from 0 to 1")
    return round(ratio * (_LOW + 1))


class Spans:
    """Makes spans of what is over and hands them on.

    Args:
        name: of the service.
        processor: takes finished spans.
        bound: below what the lower half of a trace's id lies in the sample.
    """

    def __init__(self, name: str, processor: "SpanProcessor", bound: int) -> None:
        from opentelemetry import trace  # noqa: PLC0415  only where asked for
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  as above
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415  as above
        from opentelemetry.sdk.util.instrumentation import (  # noqa: PLC0415  as above
            InstrumentationScope,
        )

        self._trace = trace
        self._readable = ReadableSpan
        self._resource = Resource.create({"service.name": name})
        self._scope = InstrumentationScope("klingel")
        self._processor = processor
        self._bound = bound

    def close(self) -> None:
        """Send what waits."""
        self._processor.shutdown()

    # -- what is told ----------------------------------------------------------------------

    @contextmanager
    def request(self, traceparent: str | None, name: str) -> Iterator[Callable[[int], None]]:
        """Tell of a request to the gateway; records that it publishes are its children.

        Args:
            traceparent: of the sender, None without one.
            name: method and route, without what the sender put into the address.

        Yields:
            Takes the status of the answer; a request that ends without one has failed.
        """
        parent = self._context(traceparent)
        trace = parent.trace_id if parent is not None else secrets.randbits(128) or 1
        if not self._wanted(trace):
            yield lambda _status: None
            return
        own, started, statuses = self._new(trace), time.time_ns(), list[int]()
        token = _request.set(own)
        try:
            yield statuses.append
        finally:
            _request.reset(token)
            status = statuses[-1] if statuses else 500
            self._tell(
                name, own, parent, self._trace.SpanKind.SERVER, started,
                {"http.response.status_code": status}, failed=status >= 500,
            )  # fmt: skip

    def publishing(self, output: Output, done: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return what is to be called once a record is acknowledged, or can never be stored."""
        own = self._context(_header(output))
        if own is None or not self._wanted(own.trace_id):
            return done
        started, request = time.time_ns(), _request.get()
        parent = request if request is not None and request.trace_id == own.trace_id else None
        links = [] if request is None or parent is not None else [request]

        def told(error: Any) -> None:
            self._tell(
                f"publish {output.topic!s}", own, parent, self._trace.SpanKind.PRODUCER, started,
                {"messaging.destination.name": str(output.topic)}, links=links,
                failed=error is not None,
            )  # fmt: skip
            done(error)

        return told

    def batch(
        self, stage: str, messages: Sequence[Message], outputs: Iterable[Output], seconds: float
    ) -> None:
        """Tell of a batch that a stage has committed, and of each record that it caused.

        Args:
            stage: whose.
            messages: the batch.
            outputs: records; those without a source position no message caused.
            seconds: from the first decision to the commit.
        """
        caused_by = {(str(each.topic), each.partition, each.offset): each for each in messages}
        end, told = time.time_ns(), list["SpanContext"]()
        started, outputs = end - int(seconds * 1e9), list(outputs)
        for output in outputs:
            own = self._context(_header(output))
            if own is None or not self._wanted(own.trace_id):
                continue
            source = _source(output)
            message = None if source is None else caused_by.get(source)
            parent = None if message is None else self._context(message.header(TRACE_HEADER))
            self._tell(
                f"{stage} {output.topic!s}", own, parent, self._trace.SpanKind.CONSUMER, started,
                {"messaging.destination.name": str(output.topic)},
            )  # fmt: skip
            told.append(own)
        if told and messages:
            self._tell(
                f"{stage} batch", self._new(secrets.randbits(128) or 1), None,
                self._trace.SpanKind.INTERNAL, started,
                {
                    "messaging.batch.message_count": len(messages),
                    "messaging.source.name": str(messages[0].topic),
                    "messaging.source.partition": messages[0].partition,
                    "klingel.outputs": len(outputs),
                },
                links=told,
            )  # fmt: skip

    def bulk(self, parents: Iterable[bytes | None], seconds: float, status: int) -> None:
        """Tell of a bulk request, and of each document that is in the sample.

        Args:
            parents: `traceparent` of each document's record.
            seconds: until the answer.
            status: of the answer.
        """
        end, told, count = time.time_ns(), list["SpanContext"](), 0
        started, failed = end - int(seconds * 1e9), not 200 <= status < 300
        for traceparent in parents:
            count += 1
            parent = self._context(traceparent)
            if parent is None or not self._wanted(parent.trace_id):
                continue
            span = blake2b(b"index" + parent.span_id.to_bytes(8), digest_size=8).digest()
            own = self._at(parent.trace_id, int.from_bytes(span))
            self._tell("index", own, parent, self._trace.SpanKind.CLIENT, started, failed=failed)
            told.append(own)
        if told:
            self._tell(
                "bulk", self._new(secrets.randbits(128) or 1), None, self._trace.SpanKind.CLIENT,
                started,
                {"db.operation.batch.size": count, "http.response.status_code": status},
                links=told, failed=failed,
            )  # fmt: skip

    # -- how ------------------------------------------------------------------------------

    def _wanted(self, trace: int) -> bool:
        return trace & _LOW < self._bound

    def _context(self, traceparent: bytes | str | None) -> "SpanContext | None":
        trace = incoming_trace(traceparent)
        if trace is None or traceparent is None:
            return None
        return self._at(int(trace, 16), int(traceparent[36:52], 16))

    def _new(self, trace: int) -> "SpanContext":
        return self._at(trace, secrets.randbits(64) or 1)

    def _at(self, trace: int, span: int) -> "SpanContext":
        sampled = self._trace.TraceFlags(self._trace.TraceFlags.SAMPLED)
        return self._trace.SpanContext(trace, span, is_remote=False, trace_flags=sampled)

    def _tell(
        self,
        name: str,
        own: "SpanContext",
        parent: "SpanContext | None",
        kind: Any,
        started: int,
        attributes: Mapping[str, str | int] | None = None,
        *,
        links: Sequence["SpanContext"] = (),
        failed: bool = False,
    ) -> None:
        code = self._trace.StatusCode
        self._processor.on_end(
            self._readable(
                name,
                context=own,
                parent=parent,
                resource=self._resource,
                attributes=attributes,
                links=[self._trace.Link(each) for each in links[:_LINKS]],
                kind=kind,
                status=self._trace.Status(code.ERROR if failed else code.UNSET),
                start_time=started,
                end_time=time.time_ns(),
                instrumentation_scope=self._scope,
            )
        )


def _header(output: Output) -> bytes | None:
    return next((value for name, value in output.headers if name == TRACE_HEADER), None)


def _source(output: Output) -> tuple[str, int, int] | None:
    value = next((value for name, value in output.headers if name == SOURCE_HEADER), None)
    if value is None:
        return None
    try:
        found = SourcePosition.decode(value)
    except InvariantViolation:
        return None
    return found.topic, found.partition, found.offset
