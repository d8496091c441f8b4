"""Spans: a real collector receives them, each under the span that caused it; without one there are none."""

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from aiohttp import web
from click.testing import CliRunner
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

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
from klingel.errors import ConfigurationError
from klingel_connectors.__main__ import main as connectors

from .stage.test_audit import NOON

TRACE = trace_id("bluesky|at://post/1")
SENDER = f"00-{TRACE}-00000000000000aa-01"


class Collector:
    """An OTLP receiver over HTTP; what it got is read after `tracing.end`."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: list[str] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        """Answer as a collector does."""
        self.paths.append(request.path)
        found = ExportTraceServiceRequest()
        found.ParseFromString(await request.read())
        self.requests.append(found)
        return web.Response(content_type="application/x-protobuf")

    def spans(self) -> dict[str, Span]:
        """Return what came, by name; of one name the last."""
        return {
            span.name: span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector in a thread of its own, named by the environment; spans end with the test."""
    found, loop, ready = Collector(), asyncio.new_event_loop(), threading.Event()
    app = web.Application()
    app.router.add_post("/v1/traces", found.take)
    runner = web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()

    def serve() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(10)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1")
    yield found
    tracing.end()
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


def output(topic: Topic, event_id: str, source: str, caused_by: SourcePosition | None) -> Output:
    headers = ce_headers(
        topic, event_id=event_id, source=source, subject="one", time=NOON, trace=TRACE,
        caused_by=caused_by,
    )  # fmt: skip
    return Output(topic, b"nordlicht|one", b"{}", headers)


def read(record: Output, offset: int) -> Message:
    return Message(record.topic, 0, offset, record.key, record.value, record.headers, 0)


RAW = output(Topic.RAW_EVENTS, "one@0", "klingel/gateway", None)
SOCIAL = output(
    Topic.SOCIAL_EVENTS, "one@0", "klingel/understand", SourcePosition("raw-events", 0, 7, 0)
)


def ring() -> None:
    """Let one delivery go from the gateway to the index."""
    spans = tracing.current()
    assert spans is not None
    acknowledged: list[object] = []
    with spans.request(SENDER, "POST /webhook/{source}") as ended:
        done = spans.publishing(RAW, acknowledged.append)
        ended(202)
    done(None)
    assert acknowledged == [None]
    spans.batch("understand", [read(RAW, 7)], [SOCIAL], 0.25)
    spans.bulk([read(SOCIAL, 3).header(TRACE_HEADER), None], 0.5, 200)


def test_a_collector_receives_one_trace_from_the_senders_span_to_the_index(collector) -> None:
    tracing.begin("gateway")
    ring()
    tracing.end()
    assert set(collector.paths) == {"/v1/traces"}
    found = collector.spans()
    request, published = found["POST /webhook/{source}"], found["publish raw-events"]
    understood, indexed = found["understand social-events"], found["index"]
    assert {span.trace_id.hex() for span in (request, published, understood, indexed)} == {TRACE}
    assert request.parent_span_id.hex() == "00000000000000aa"
    assert published.parent_span_id == request.span_id
    assert understood.parent_span_id == published.span_id
    assert indexed.parent_span_id == understood.span_id
    assert published.span_id.hex().encode() in dict(RAW.headers)[TRACE_HEADER]
    assert understood.end_time_unix_nano - understood.start_time_unix_nano >= 250_000_000
    assert request.kind == Span.SPAN_KIND_SERVER
    service = collector.requests[0].resource_spans[0].resource.attributes
    assert {each.key: each.value.string_value for each in service}["service.name"] == (
        "klingel-gateway"
    )


def test_a_batch_and_a_bulk_request_link_to_what_they_held(collector) -> None:
    tracing.begin("understand")
    ring()
    tracing.end()
    found = collector.spans()
    for name, count in (("understand batch", 1), ("bulk", 2)):
        held = {each.key: each.value.int_value for each in found[name].attributes}
        assert count in held.values()
    assert [link.span_id for link in found["bulk"].links] == [found["index"].span_id]
    batch = found["understand batch"]
    assert [link.span_id for link in batch.links] == [found["understand social-events"].span_id]


def test_a_request_that_raises_has_failed(collector) -> None:
    tracing.begin("gateway")
    spans = tracing.current()
    with pytest.raises(ValueError, match="no"), spans.request(None, "POST /hook/{family}"):
        raise ValueError("no")
    tracing.end()
    span = collector.spans()["POST /hook/{family}"]
    assert span.status.code == 2
    assert span.parent_span_id == b""


def test_no_text_and_no_key_gets_into_a_span(collector) -> None:
    tracing.begin("gateway")
    secret = Output(Topic.RAW_EVENTS, b"canary-key", b"canary-text", RAW.headers)
    spans = tracing.current()
    spans.publishing(secret, lambda _error: None)(None)
    spans.batch("understand", [read(secret, 7)], [SOCIAL], 0.1)
    tracing.end()
    assert collector.requests
    assert b"canary" not in b"".join(each.SerializeToString() for each in collector.requests)


@pytest.mark.parametrize(("ratio", "there"), [("0", False), ("1", True)])
def test_a_trace_is_whole_or_not_there(collector, monkeypatch, ratio: str, there: bool) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", ratio)
    tracing.begin("gateway")
    ring()
    tracing.end()
    assert bool(collector.spans()) is there


def test_the_sample_is_that_of_opentelemetry() -> None:
    """Its own sampler of the same share takes the same traces."""
    from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased  # noqa: PLC0415  the one use

    sampler, bound = TraceIdRatioBased(0.1), tracing.share_bound("0.1")
    taken = 0
    for number in range(2_000):
        trace = int(trace_id(f"object {number}"), 16)
        theirs = sampler.should_sample(None, trace, "any").decision is Decision.RECORD_AND_SAMPLE
        assert (trace & tracing._LOW < bound) is theirs
        taken += theirs
    assert 100 < taken < 300


@pytest.mark.parametrize("told", ["much", "2", "-0.5", "nan"])
def test_a_share_that_is_none_is_refused(told: str) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER_ARG": told}
    with pytest.raises(ConfigurationError, match="share of traces"):
        tracing.begin("gateway", environ)
    assert tracing.current() is None


def test_without_an_endpoint_there_are_none_and_nothing_is_imported(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace.export", None)
    tracing.begin("gateway", {})
    assert tracing.current() is None


def test_asked_for_and_not_installed_is_one_sentence(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(ConfigurationError, match=r"install klingel\[tracing\]"):
        tracing.begin("gateway", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})


@pytest.mark.parametrize("hostile", ["", "00-", "x" * 30_000, f"00-{'0' * 32}-{'0' * 16}-01", None])
def test_a_hostile_traceparent_is_none(collector, hostile: str | None) -> None:
    tracing.begin("gateway")
    with tracing.current().request(hostile, "POST /webhook/{source}") as ended:
        ended(202)
    tracing.end()
    assert collector.spans()["POST /webhook/{source}"].parent_span_id == b""


def test_a_collector_that_is_away_keeps_nobody_waiting(monkeypatch) -> None:
    """Nothing listens there: what is told is dropped, and telling raises nothing."""
    taken: list[object] = []
    processor = SimpleNamespace(on_end=taken.append, shutdown=lambda: None)
    spans = tracing.Spans("klingel-gateway", processor, tracing.share_bound("1"))
    monkeypatch.setattr(tracing, "_current", spans)
    ring()
    assert len(taken) == 6
    tracing.end()


def test_a_service_that_cannot_tell_spans_says_so_and_ends() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_TRACES_SAMPLER_ARG": "2",
        "KLINGEL_WEBHOOK_SOURCES": "nordlicht",
        "KLINGEL_WEBHOOK_SECRET_NORDLICHT": "whsec_" + "QUFB" * 8,
    }
    result = CliRunner().invoke(connectors, ["gateway"], env=environ)
    assert result.exit_code == 2
    assert "OTEL_TRACES_SAMPLER_ARG: a share of traces from 0 to 1" in result.output
