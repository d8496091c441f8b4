"""Messages, a clock and a writer for the indexer's tests; a fake and the real Elasticsearch."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from elasticsearch import AsyncElasticsearch

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.metrics import Metrics
from klingel.testing.clock import FixedClock
from klingel.testing.elasticsearch import FakeElasticsearch
from klingel_indexer.bulk import (
    BulkLimits,
    BulkWriter,
    ElasticsearchTransport,
    Settled,
    elasticsearch_client,
)
from klingel_indexer.templates import apply_templates

TEMPLATES = Path(__file__).resolve().parents[2] / "schemas" / "generated" / "elasticsearch"
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class SteppedClock(FixedClock):
    """Time that goes on only when somebody sleeps."""

    def __init__(self) -> None:
        super().__init__(START)
        self.naps: list[float] = []
        self.on_sleep: Callable[[], Awaitable[None]] | None = None

    async def sleep(self, seconds: float) -> None:
        """Let the time pass, then whatever the test wants to happen."""
        self.advance(seconds)
        self.naps.append(seconds)
        if self.on_sleep is not None:
            await self.on_sleep()
        await asyncio.sleep(0)


def social_event(object_id: str = "bluesky:network:1", **fields: Any) -> dict[str, Any]:
    event = {
        "event_id": f"acme/{object_id}@{fields.get('revision', 0)}",
        "object_id": object_id,
        "kind": "post",
        "change": "created",
        "revision": 0,
        "brand": "acme",
        "matches": [{"how": "rule", "rule": "delivery", "spans": [[0, 9]]}],
        "network": "bluesky",
        "connector": "bluesky-1",
        "origin": {"topic": "raw-events", "partition": 0, "offset": 7, "mode": "live"},
        "direction": "inbound",
        "addressing": "direct",
        "visibility": "public",
        "published_at": "2026-11-22T11:59:00.000Z",
        "received_at": "2026-11-22T11:59:30.000Z",
        "conversation_id": object_id,
        "threading": "network",
        "index": "2026.11",
        "content_hash": "00000000000000ff",
        "mapping": "bluesky/1",
        "config_version": "c1",
        "author": {"id": "did:plc:canary", "handle": "canary.example", "name": "Kim Canary"},
        "text": "Lieferung seit Tagen verspätet \U0001f4e6",
        "lang": {"code": "de", "score": 0.9, "from": "detector"},
        "metrics": {"likes": 3},
    }
    return event | fields


def decision(**fields: Any) -> dict[str, Any]:
    made = {
        "number": 0,
        "direction": "inbound",
        "triage": "complaint",
        "routed_at": "2026-11-22T11:59:31.000Z",
        "config_version": "c1",
        "case_id": "acme:bluesky:network:1:did:plc:canary#1",
        "queue": "delivery",
        "priority": 4,
        "rule": "delivery",
        "explain": ["delivery: matched"],
    }
    return made | fields


def message(
    value: Any,
    topic: Topic = Topic.ROUTED_EVENTS,
    *,
    partition: int = 0,
    offset: int = 0,
    headers: Sequence[tuple[str, bytes]] = (),
) -> Message:
    encoded = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return Message(
        topic, partition, offset, b"key", encoded, tuple(headers), timestamp_ms=1_795_348_800_000
    )


class Build:
    """Builders, as one fixture."""

    social_event = staticmethod(social_event)
    decision = staticmethod(decision)
    message = staticmethod(message)

    @staticmethod
    def routed(event: dict[str, Any] | None = None, **given: Any) -> Message:
        """Return a routed event; `decided` replaces the decision, the rest is the message's."""
        decided = given.pop("decided", None) or decision()
        return message({"event": event or social_event(), "decision": decided}, **given)


@pytest.fixture
def build() -> Build:
    return Build()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def fake() -> AsyncIterator[FakeElasticsearch]:
    """The fake server, listening, without templates."""
    server = FakeElasticsearch()
    await server.start()
    yield server
    await server.stop()


class Cluster:
    """A fake or a real Elasticsearch with templates applied under a prefix of its own."""

    def __init__(self, client: AsyncElasticsearch, prefix: str, brand: str = "acme") -> None:
        self.client = client
        self.prefix = prefix
        self.brand = brand

    @property
    def events(self) -> str:
        """Index of this test's posts."""
        return f"{self.prefix}events-{self.brand}-2026.11"

    async def document(self, index: str, id_: str) -> dict[str, Any]:
        """Return a document with its version."""
        response = await self.client.get(index=index, id=id_)
        return {"version": response.body["_version"], **response.body["_source"]}

    async def count(self, pattern: str) -> int:
        """Return how many documents can be found."""
        await self.client.indices.refresh(index=pattern)
        return int((await self.client.count(index=pattern)).body["count"])


@pytest.fixture
def templates() -> Path:
    return TEMPLATES


@pytest.fixture
async def fake_cluster(fake: FakeElasticsearch) -> AsyncIterator[Cluster]:
    async with elasticsearch_client(fake.url) as client:
        await apply_templates(client, TEMPLATES, "t-", {})
        yield Cluster(client, "t-")


async def no_documents(client: AsyncElasticsearch, prefix: str) -> None:
    """Remove the indices that other tests left on a real cluster; templates stay."""
    for index in (await client.indices.get(index=f"{prefix}*")).body:
        await client.indices.delete(index=index)


async def wipe(client: AsyncElasticsearch, prefix: str) -> None:
    """Remove what a test left on a real cluster."""
    await no_documents(client, prefix)
    for kind in ("index", "component"):
        response = await client.perform_request(
            "GET", f"/_{kind}_template", headers={"accept": "application/json"}
        )
        for template in response.body[f"{kind}_templates"]:
            if template["name"].startswith(prefix):
                await client.perform_request(
                    "DELETE",
                    f"/_{kind}_template/{template['name']}",
                    headers={"accept": "application/json"},
                )


@pytest.fixture(scope="session")
def real_prefix(elasticsearch_url: str) -> Iterator[str]:
    """Templates applied once a run: on a real cluster that takes seconds."""
    prefix = f"ix{os.getpid()}-"

    async def set_up() -> None:
        async with elasticsearch_client(elasticsearch_url) as client:
            await apply_templates(client, TEMPLATES, prefix, {"number_of_replicas": 0})

    async def clean_up() -> None:
        async with elasticsearch_client(elasticsearch_url) as client:
            await wipe(client, prefix)

    asyncio.run(set_up())
    yield prefix
    asyncio.run(clean_up())


@pytest.fixture
async def real_cluster(
    elasticsearch_url: str, real_prefix: str, request: pytest.FixtureRequest
) -> AsyncIterator[Cluster]:
    async with elasticsearch_client(elasticsearch_url) as client:
        yield Cluster(client, real_prefix, f"b{crc32(request.node.nodeid.encode())}")


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.servers)])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Both, so that the fake cannot say what the real one would not."""
    found: Cluster = request.getfixturevalue(f"{request.param}_cluster")
    return found


class Writing:
    """A bulk writer and what it settled, by tag."""

    def __init__(self, client: AsyncElasticsearch, clock: SteppedClock, limits: BulkLimits) -> None:
        self.ends: dict[Any, Settled] = {}
        self.metrics = Metrics("indexer")
        self.writer = BulkWriter(
            ElasticsearchTransport(client),
            self._settle,
            clock=clock,
            limits=limits,
            metrics=self.metrics,
            sleep=clock.sleep,
            chance=random.Random(7),
        )

    async def _settle(self, ends: Sequence[Settled]) -> None:
        for end in ends:
            assert end.item.tag not in self.ends
            self.ends[end.item.tag] = end

    @property
    def verdicts(self) -> dict[Any, str]:
        """Verdict by tag."""
        return {tag: str(end.verdict) for tag, end in self.ends.items()}

    def counted(self, metric: str, label: str) -> dict[str, float]:
        """Value of a metric by one of its labels."""
        return {
            labels[label]: value for name, labels, value in self.metrics.samples() if name == metric
        }


@pytest.fixture
def writing(clock: SteppedClock) -> Callable[..., Writing]:
    """Make a writer against a client."""

    def make(client: AsyncElasticsearch, **limits: Any) -> Writing:
        return Writing(client, clock, BulkLimits(**limits))

    return make
