"""The bulk writer: encoded bytes in, one verdict a document out, with bounded memory.

Documents are gathered until a batch is full or old enough; a few requests are in flight; only what
may succeed later is sent again. Nothing is ever given up: while Elasticsearch is away the batches
wait, and the writer says that it has no room. Whoever fetches then pauses.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog
from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport import ConnectionTimeout, TransportError
from elasticsearch import ApiError, AsyncElasticsearch
from elasticsearch.serializer import JsonSerializer

from klingel import tracing
from klingel.clock import Clock
from klingel.errors import InvariantViolation, SourceUnavailable
from klingel.metrics import Metric, Metrics
from klingel_indexer.classify import (
    RequestVerdict,
    Verdict,
    classify_item,
    classify_request,
    is_busy,
)
from klingel_indexer.convert import Write

_FILTER = "errors,items.*.status,items.*.error.type"
_HEADERS = {
    "content-type": "application/vnd.elasticsearch+x-ndjson; compatible-with=8",
    "accept": "application/vnd.elasticsearch+json; compatible-with=8",
}
_LINE_OVERHEAD = 128
_CALM_ROUNDS = 4

_ENCODER = msgspec.json.Encoder()

Sleep = Callable[[float], Awaitable[None]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a bulk request was answered.

    Attributes:
        status: HTTP status of the request.
        error_type: of the request as a whole.
        items: status and error type of each item, None when there is no list of items.
        all_written: no item failed, so `items` need not be looked at one by one.
    """

    status: int
    error_type: str = ""
    items: Sequence[Mapping[str, Any]] | None = None
    all_written: bool = False


class BulkTransport(Protocol):
    """How a bulk body reaches Elasticsearch."""

    async def send(self, body: bytes) -> Answer:
        """Send one body; raises SourceUnavailable when nothing was answered in time."""
        ...


class _Json(JsonSerializer):
    """The client's JSON, read by msgspec: replies of 2,000 items are the client's largest cost."""

    def loads(self, data: bytes) -> Any:
        return msgspec.json.decode(data)


def elasticsearch_client(url: str, **options: Any) -> AsyncElasticsearch:
    """Return a client that repeats nothing by itself: what is sent again is decided here.

    Args:
        url: address of the cluster.
        options: `basic_auth`, `api_key`, `ca_certs`, `request_timeout`.
    """
    options.setdefault("request_timeout", 30.0)
    return AsyncElasticsearch(
        url,
        max_retries=0,
        retry_on_timeout=False,
        serializers={"application/vnd.elasticsearch+json": _Json()},
        **options,
    )


class ElasticsearchTransport:
    """The official client's connection, without its helpers (measured: 3 µs against 30 a document)."""

    def __init__(self, client: AsyncElasticsearch) -> None:
        self._client = client

    async def send(self, body: bytes) -> Answer:
        """Send one body; raises SourceUnavailable when nothing was answered in time."""
        try:
            response = await self._client.perform_request(
                "POST", "/_bulk", params={"filter_path": _FILTER}, headers=_HEADERS, body=body
            )
        except ApiError as error:
            return Answer(error.meta.status, _error_type(error.body))
        except (TransportConnectionError, ConnectionTimeout) as error:
            raise SourceUnavailable(f"Elasticsearch: {type(error).__name__}") from None
        except TransportError as error:
            # An answer that is no JSON: a proxy's page, or a body cut short.
            raise SourceUnavailable(f"Elasticsearch: {type(error).__name__}") from None
        reply = response.body
        if not isinstance(reply, dict):
            return Answer(response.meta.status)
        items = reply.get("items")
        return Answer(
            response.meta.status,
            items=items if isinstance(items, list) else None,
            all_written=reply.get("errors") is False,
        )


def _error_type(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    found = error.get("type") if isinstance(error, dict) else None
    return found if isinstance(found, str) else ""


class Item:
    """A document on its way; `tag` is the caller's.

    Attributes:
        size: bytes in a bulk body, nearly.
        superseded: older versions of the same document that this one stands for. They are sent
            after all when this one is refused.
    """

    __slots__ = ("_lines", "size", "superseded", "tag", "write")

    def __init__(self, write: Write, tag: Any) -> None:
        self.write = write
        self.tag = tag
        self.size = len(write.body) + _LINE_OVERHEAD
        self.superseded: tuple[Item, ...] = ()
        self._lines: bytes | None = None

    def lines(self) -> bytes:
        """Return action and document, each on its line; a removal has no document."""
        if self._lines is None:
            document = b"" if self.write.op == "delete" else self.write.body + b"\n"
            self._lines = action_line(self.write) + document
        return self._lines


def action_line(write: Write) -> bytes:
    """Return the line that names index, id and version."""
    name = _ENCODER.encode(write.id)
    head = _action_head(write.op, write.index)
    if write.version is None:
        return b"%s%s}}\n" % (head, name)
    return b'%s%s,"version":%d,"version_type":"external_gte"}}\n' % (head, name, write.version)


@lru_cache(maxsize=4096)
def _action_head(op: str, index: str) -> bytes:
    return b'{"%s":{"_index":"%s","_id":' % (op.encode(), index.encode())


class Batch:
    """Documents that wait for a request; of several versions of one id only the newest is sent."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, str], Item] = {}
        self.bytes = 0

    def add(self, item: Item) -> None:
        """Add one; among equal versions the later stands, among creations the first."""
        key = (item.write.index, item.write.id)
        held = self._items.get(key)
        if held is None:
            self._items[key] = item
            self.bytes += item.size
            return
        if _replaces(item.write, held.write):
            item.superseded = (*held.superseded, held)
            held.superseded = ()
            self._items[key] = item
            self.bytes += item.size - held.size
        else:
            held.superseded = (*held.superseded, item)

    def items(self) -> list[Item]:
        """Return what is to be sent."""
        return list(self._items.values())

    def __len__(self) -> int:
        return len(self._items)


def _replaces(newer: Write, held: Write) -> bool:
    return newer.version is not None and held.version is not None and newer.version >= held.version


class Concurrency:
    """How many requests may be in flight: one more after four calm rounds, half after a 429.

    Args:
        maximum: at most; the start is two.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self.limit = min(2, maximum)
        self._calm = 0
        self._round = 0
        self._active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> int:
        """Wait for a place; the number given tells `busy` which round the request belongs to."""
        while self._active >= self.limit:
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            await place
        self._active += 1
        return self._round

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the place back."""
        self._active -= 1
        self._wake()

    def calm(self) -> None:
        """Note an answer without a 429."""
        self._calm += 1
        if self._calm >= _CALM_ROUNDS * self.limit and self.limit < self._maximum:
            self._calm = 0
            self.limit += 1
            self._wake()

    def busy(self, sent_in_round: int) -> None:
        """Note a 429; requests that were sent before the last halving do not halve again."""
        self._calm = 0
        if sent_in_round == self._round:
            self._round += 1
            self.limit = max(1, self.limit // 2)

    def _wake(self) -> None:
        free = self.limit - self._active
        while free > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1


@dataclass(frozen=True, slots=True)
class BulkLimits:
    """Sizes and waits.

    Attributes:
        documents, bytes: of one request.
        linger_seconds: how long a batch may wait to fill.
        requests: in flight at most.
        outstanding_documents, outstanding_bytes: accepted and not settled; above it `room` is
            False.
        first_wait_seconds, longest_wait_seconds: back-off, doubling, with jitter.
    """

    documents: int = 2000
    bytes: int = 8 << 20
    linger_seconds: float = 0.2
    requests: int = 3
    outstanding_documents: int = 16_000
    outstanding_bytes: int = 48 << 20
    first_wait_seconds: float = 0.25
    longest_wait_seconds: float = 5.0


def backoff_seconds(failures: int, limits: BulkLimits, chance: float) -> float:
    """Return how long to wait after `failures` attempts; `chance` in [0, 1) spreads workers."""
    longest = min(limits.longest_wait_seconds, limits.first_wait_seconds * 2.0 ** min(failures, 16))
    return longest * (0.5 + chance / 2)


class Settled(NamedTuple):
    """The end of one document: its verdict and, when refused, Elasticsearch's error type."""

    item: Item
    verdict: Verdict
    error_type: str = ""
    too_large: bool = False


@dataclass(slots=True)
class _Judged:
    settled: list[Settled] = field(default_factory=list)
    again: list[Item] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    busy: bool = False

    def repeat(self, item: Item, reason: str) -> None:
        self.again.append(item)
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


def judge(items: Sequence[Item], answer: Answer) -> _Judged:
    """Give each item of a request its verdict; an answer of another length settles none."""
    judged = _Judged(busy=is_busy(answer.status))
    replies = answer.items
    if replies is None or len(replies) != len(items):
        for item in items:
            judged.repeat(item, "items_missing")
        return judged
    if answer.all_written:
        judged.settled = [Settled(item, Verdict.WRITTEN) for item in items]
        return judged
    for item, reply in zip(items, replies, strict=True):
        _judge_item(item, reply, judged)
    return judged


def _judge_item(item: Item, reply: Mapping[str, Any], judged: _Judged) -> None:
    ((_, result),) = reply.items()
    status = result.get("status", 0)
    error = result.get("error")
    error_type = error.get("type", "") if isinstance(error, dict) else ""
    verdict = classify_item(create=item.write.op == "create", status=status, error_type=error_type)
    judged.busy = judged.busy or is_busy(status)
    if not verdict.settled:
        judged.repeat(item, str(verdict))
        return
    judged.settled.append(Settled(item, verdict, error_type, too_large=status == 413))


class BulkWriter:
    """Gathers, sends, repeats and settles.

    Args:
        transport: way to Elasticsearch.
        settled: awaited with every answer's ends before their places are free again; it may
            produce dead letters.
        clock: for linger and durations.
        limits: sizes and waits.
        metrics: where counts go.
        sleep: waits; a test gives its own.
        chance: jitter.
        trace_of: the `traceparent` of an item's record, for spans; None without one.
    """

    def __init__(
        self,
        transport: BulkTransport,
        settled: Callable[[Sequence[Settled]], Awaitable[None]],
        *,
        clock: Clock,
        limits: BulkLimits,
        metrics: Metrics,
        sleep: Sleep = asyncio.sleep,
        chance: random.Random | None = None,
        trace_of: Callable[[Item], bytes | None] = lambda _item: None,
    ) -> None:
        self._transport = transport
        self._settled = settled
        self._clock = clock
        self._limits = limits
        self._metrics = metrics
        self._sleep = sleep
        self._trace_of = trace_of
        self._chance = chance or random.Random()  # noqa: S311  jitter, not a secret
        self._batch = Batch()
        self._opened_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()
        self.concurrency = Concurrency(limits.requests)
        self.outstanding = 0
        self.outstanding_bytes = 0
        self.waiting_for: str | None = None

    @property
    def room(self) -> bool:
        """Whether more may be added; while False, fetch nothing."""
        return (
            self.outstanding < self._limits.outstanding_documents
            and self.outstanding_bytes < self._limits.outstanding_bytes
        )

    def add(self, item: Item) -> None:
        """Take in one document; a full batch leaves at once."""
        if not len(self._batch):
            self._opened_at = self._clock.monotonic()
        self._batch.add(item)
        self.outstanding += 1
        self.outstanding_bytes += item.size
        if len(self._batch) >= self._limits.documents or self._batch.bytes >= self._limits.bytes:
            self.flush()

    def linger(self) -> float | None:
        """Return the seconds until the open batch has waited long enough, None when empty."""
        if not len(self._batch):
            return None
        waited = self._clock.monotonic() - self._opened_at
        return max(0.0, self._limits.linger_seconds - waited)

    def flush_due(self) -> None:
        """Send the open batch when it has waited long enough."""
        if self.linger() == 0.0:
            self.flush()

    def flush(self) -> None:
        """Send the open batch."""
        items = self._batch.items()
        if not items:
            return
        self._batch = Batch()
        task = asyncio.create_task(self._deliver(items))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def progress(self, longest_seconds: float) -> None:
        """Wait until something was settled, or `longest_seconds`."""
        self._changed.clear()
        waits = [
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(self._sleep(longest_seconds)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def drain(self, longest_seconds: float) -> bool:
        """Send what waits and wait at most `longest_seconds`; True when all is settled."""
        self.flush()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=longest_seconds)
        self.check()
        return not self.outstanding

    async def close(self) -> None:
        """Abandon what is in flight; its offsets were never committed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def check(self) -> None:
        """Raise what stopped a delivery, if anything did: a broken invariant of our own."""
        if self._failure is not None:
            raise self._failure

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error

    async def _deliver(self, items: list[Item]) -> None:
        failures = 0
        while items:
            judged, split = await self._attempt(items)
            if split:
                half = len(items) // 2
                await self._deliver(items[:half])
                items = items[half:]
                continue
            settled_some = bool(judged.settled)
            items = judged.again + await self._settle(judged.settled)
            if judged.again:
                failures = 0 if settled_some else failures + 1
                self._count_repeats(judged.reasons)
                await self._sleep(backoff_seconds(failures, self._limits, self._chance.random()))

    async def _attempt(self, items: list[Item]) -> tuple[_Judged, bool]:
        """Send one request; True asks for two halves."""
        async with self.concurrency as sent_in_round:
            started = self._clock.monotonic()
            try:
                answer = await self._transport.send(b"".join([item.lines() for item in items]))
            except SourceUnavailable:
                self._wait_for("elasticsearch")
                return self._all_again(items, "unavailable"), False
            seconds = self._clock.monotonic() - started
            self._metrics.observe(Metric.BULK_SECONDS, seconds)
            spans = tracing.current()
            if spans is not None:
                spans.bulk(map(self._trace_of, items), seconds, answer.status)
        if 200 <= answer.status < 300:
            judged = judge(items, answer)
        else:
            verdict = classify_request(answer.status, answer.error_type)
            if verdict is RequestVerdict.SPLIT and len(items) > 1:
                return _Judged(), True
            judged = self._judge_failed(items, answer, verdict)
        if judged.busy:
            self.concurrency.busy(sent_in_round)
        else:
            self.concurrency.calm()
        self._wait_for(None if judged.settled else "elasticsearch")
        return judged, False

    def _judge_failed(self, items: list[Item], answer: Answer, verdict: RequestVerdict) -> _Judged:
        if verdict is RequestVerdict.SPLIT:
            refused = Settled(
                items[0], Verdict.REFUSED, answer.error_type, too_large=answer.status == 413
            )
            return _Judged(settled=[refused])
        judged = self._all_again(items, str(verdict))
        judged.busy = is_busy(answer.status)
        return judged

    @staticmethod
    def _all_again(items: list[Item], reason: str) -> _Judged:
        return _Judged(again=list(items), reasons={reason: len(items)})

    async def _settle(self, settled: list[Settled]) -> list[Item]:
        """Settle ends; return older versions that a refused newer one had stood for."""
        if not settled:
            return []
        ends: list[Settled] = []
        again: list[Item] = []
        for end in settled:
            ends.append(end)
            older = end.item.superseded
            if not older:
                continue
            end.item.superseded = ()
            if end.verdict.succeeded:
                ends.extend(Settled(item, Verdict.COALESCED) for item in older)
            else:
                second = Batch()
                for item in older:
                    second.add(item)
                again.extend(second.items())
        for verdict, count in Counter(end.verdict for end in ends).items():
            self._metrics.count(Metric.BULK_ITEMS, count, outcome=str(verdict))
        await self._settled(ends)
        self.outstanding -= len(ends)
        self.outstanding_bytes -= sum(end.item.size for end in ends)
        if self.outstanding < 0:
            raise InvariantViolation("a document was settled twice")
        self._changed.set()
        return again

    def _count_repeats(self, reasons: Mapping[str, int]) -> None:
        for reason, count in reasons.items():
            self._metrics.count(Metric.BULK_RETRIES, count, reason=reason)
            log.warning("documents_repeated", reason=reason, count=count)

    def _wait_for(self, what: str | None) -> None:
        if what != self.waiting_for:
            self.waiting_for = what
            if what is not None:
                log.warning("waiting", waiting_for=what, documents=self.outstanding)
            else:
                log.info("resumed", documents=self.outstanding)
