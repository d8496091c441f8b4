"""A connector's process without Kafka: what it wrote, what was acknowledged, and its death."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from klingel.contracts import codec
from klingel.contracts.blobs import BlobStore
from klingel.contracts.topics import Topic
from klingel.metrics import Metric, Metrics
from klingel.model import ConnectorCursor, ConnectorStatus, RawEvent
from klingel.model.connector_status import GapRecord
from klingel.settings import KafkaSettings
from klingel_connectors.books import Books
from klingel_connectors.intake import TOPICS, Intake
from klingel_connectors.permits import RuntimePermits
from klingel_connectors.publisher import Bounds, Publisher
from klingel_connectors.raw import Origin
from klingel_connectors.runner import Runner
from klingel_connectors.status import GAP, Health, State, before_of, newest_statuses
from klingel_connectors.testing import HeldLease, NobodyErased, RecordingProducer
from klingel_networks.arrival import Tools
from klingel_networks.registry import installed_network

from ...killing import kill_connectors
from .standins import StandIn
from .warp import LoopClock

PATIENCE = 7200.0
"""Seconds of the loop's time that a scenario waits for anything."""
SAID = re.compile(rb"c(\d)n(\d+)e")


class Broker(RecordingProducer):
    """Kafka as a producer sees it; each partition acknowledges for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[dict[str, Any], Any]] = []

    def send(self, topic: str, **record: Any) -> Any:
        """Take a record."""
        future = super().send(topic, **record)
        self.taken.append(({"topic": topic, **record}, future))
        return future

    def acknowledge_all_but(self, topic: str, first: int) -> None:
        """Acknowledge everything but what came behind the first records of one topic."""
        seen, done = 0, []
        for record, future in self.taken:
            seen += record["topic"] == topic
            if not future.is_done and (record["topic"] != topic or seen <= first):
                done.append(future)
        self.open = [each for each in self.open if each not in done]
        self._in_thread(lambda: [each.success(None) for each in done])


@dataclass(slots=True)
class Watched(Health):
    """The health of a connector, and every state that it went through with its reason."""

    turns: list[tuple[str, str]] = field(default_factory=list)

    def turn(self, state: State, reason: str = "") -> bool:
        """Change the state, and note it: some last shorter than a status is awaited."""
        self.turns.append((state, reason))
        return Health.turn(self, state, reason)


class Heard(NamedTuple):
    """What one record told: a conversation, a number, and how it reached us."""

    conversation: int
    number: int
    mode: str


class Entry(NamedTuple):
    """A record of the gap ledger, and what was told as filling since the one before it."""

    name: str
    gap: GapRecord
    filling: tuple[Heard, ...]


class Listening:
    """One process of a connector; a later one resumes where those before it came to."""

    def __init__(
        self,
        standin: StandIn,
        clock: LoopClock,
        blobs: BlobStore,
        before: Sequence["Listening"] = (),
    ) -> None:
        network = installed_network(standin.network)
        self._blobs, self._pace = blobs, standin.pace
        self.metrics = Metrics(f"connector-{standin.network}")
        self.producer = Broker()
        origin = Origin(standin.network, f"{standin.network}-1", standin.network, "holder")
        books = Books(f"connector-{standin.network}", "holder", clock.now(), self.metrics)
        self.publisher = Publisher(
            KafkaSettings(),
            client_id="test",
            topics=(*TOPICS, Topic.CONNECTOR_CURSORS, Topic.CONNECTOR_LEASES),
            clock=clock,
            bounds=Bounds(),
            connect=lambda: self.producer,
            sleep=asyncio.sleep,
        )
        stored: dict[str, ConnectorCursor] = {}
        told: list[tuple[bytes, bytes | None]] = []
        for process in before:
            stored |= {each.source: each for each in process.cursors()}
            told += [
                (each["key"], each["value"]) for each in process.durable(Topic.CONNECTOR_STATUS)
            ]
        self._permits = RuntimePermits(clock, self.metrics)
        self.client = standin.client(
            Tools(clock=clock, permits=self._permits, brands=standin.brands)
        )
        self.stop = asyncio.Event()
        self.runner = Runner(
            client=self.client,
            origin=origin,
            intake=Intake(
                network,
                origin,
                version="1.2.3",
                blobs=blobs,
                suppressions=NobodyErased(),
                books=books,
                metrics=self.metrics,
                clock=clock,
            ),
            publisher=self.publisher,
            lease=HeldLease(generation=len(before) + 1),
            read_cursor=lambda _instance, source: stored.get(source),
            read_cursors=lambda _instance: stored,
            read_before=lambda instance: before_of(instance, newest_statuses(told)),
            permits=self._permits,
            books=books,
            metrics=self.metrics,
            clock=clock,
            plan=standin.plan,
            stop=self.stop,
        )
        self.health = self.runner.health = Watched(credential=standin.plan.credential)
        self.running = asyncio.create_task(self.runner.run())

    # --- what it wrote -------------------------------------------------------------------------

    def durable(self, topic: Topic) -> list[dict[str, Any]]:
        """Return the records of a topic that Kafka has acknowledged."""
        return [
            record
            for record, future in self.producer.taken
            if future.is_done and record["topic"] == topic
        ]

    def cursors(self) -> list[ConnectorCursor]:
        """Return the durable cursors."""
        records = self.durable(Topic.CONNECTOR_CURSORS)
        return [codec.decode(ConnectorCursor, each["value"]) for each in records]

    def statuses(self) -> list[ConnectorStatus]:
        """Return everything that was told of the state, durable or not."""
        records = self.producer.of(Topic.CONNECTOR_STATUS)
        return [codec.decode(ConnectorStatus, each["value"]) for each in records]

    def heard(self) -> list[Heard]:
        """Return everything that was heard and is durable, in order, with repeats."""
        told = map(self._told, self.durable(Topic.RAW_EVENTS))
        return [each for each in told if each is not None]

    def _told(self, record: dict[str, Any]) -> Heard | None:
        raw = codec.decode(RawEvent, record["value"])
        native = bytes(raw.native) if raw.native is not None else b""
        if raw.native_ref is not None:
            native = self._blobs.get(raw.native_ref)
        match = SAID.search(native)
        return None if match is None else Heard(int(match[1]), int(match[2]), raw.mode)

    def ledger(self) -> list[Entry]:
        """Return what was told of gaps, in order, each with what was told as filling before it."""
        entries: list[Entry] = []
        filling: list[Heard] = []
        for record, _ in self.producer.taken:
            if record["topic"] == Topic.RAW_EVENTS:
                heard = self._told(record)
                if heard is not None and heard.mode == "gap_fill":
                    filling.append(heard)
            elif record["topic"] == Topic.CONNECTOR_STATUS:
                status = codec.decode(ConnectorStatus, record["value"])
                if status.gap is not None and GAP in status.instance:
                    entries.append(Entry(status.instance, status.gap, tuple(filling)))
                    filling = []
        assert not (entries and filling), "something fills a gap that is closed"
        return entries

    def measured(self, metric: Metric, **labels: str) -> float | None:
        """Return the value of a metric; None where nothing set it."""
        wanted = set(labels.items())
        for name, given, value in self.metrics.samples():
            if name == metric and wanted <= set(dict(given).items()):
                return value
        return None

    def counted(self, metric: Metric) -> float:
        """Return a counter over all its labels."""
        name = metric.value
        return sum(value for given, _, value in self.metrics.samples() if given == name)

    # --- its life ------------------------------------------------------------------------------

    async def until(self, holds: Callable[[], object]) -> None:
        """Let time pass until something holds; an end of the process before it is an error."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                if self.running.done():
                    await self.running
                    raise AssertionError("the process ended")
                await asyncio.sleep(self._pace)

    async def kill(self) -> None:
        """End it in the midst of whatever it does; nothing is flushed."""
        await kill_connectors()
        await self._leave()

    async def finish(self) -> None:
        """Stop it as a SIGTERM does."""
        self.stop.set()
        async with asyncio.timeout(PATIENCE):
            await self.running
        await self._leave()

    async def _leave(self) -> None:
        self._permits.stop()
        close = getattr(self.client, "close", None)
        if close is not None:
            await close()
        await self.publisher.close(0.0)
