"""The process itself: real Kafka, real Elasticsearch, killed and stopped."""

import asyncio
import json
import os
import random
import signal
import sys
import urllib.error
import urllib.request
from collections import Counter
from itertools import pairwise

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from klingel.clock import SystemClock
from klingel.contracts.codec import decode
from klingel.contracts.envelope import SourcePosition
from klingel.contracts.topics import Topic
from klingel.domain.identity import deterministic_id
from klingel.model import LedgerLine
from klingel_indexer.bulk import elasticsearch_client

pytestmark = pytest.mark.servers

DEADLINE_SECONDS = 90


class Process:
    """`klingel-indexer run`, with its log lines read as they come."""

    def __init__(self, environ):
        self._environ = environ
        self.logs = []
        self.changed = asyncio.Event()

    async def start(self):
        """Start it; its HTTP address comes from its own log."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "klingel_indexer",
            "run",
            env=self._environ,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())

    async def _read(self):
        async for line in self._process.stderr:
            self.logs.append(json.loads(line))
            self.changed.set()

    async def logged(self, event, **fields):
        """Wait for a log line."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                self.changed.clear()
                for line in self.logs:
                    if line["event"] == event and fields.items() <= line.items():
                        return line
                await self.changed.wait()

    async def get(self, path):
        """Return status and body of its HTTP port."""
        port = (await self.logged("listening"))["port"]

        def fetch():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()

        return await asyncio.to_thread(fetch)

    async def end(self, number):
        """Send a signal and return the exit code."""
        self._process.send_signal(number)
        async with asyncio.timeout(DEADLINE_SECONDS):
            code = await self._process.wait()
            await self._reading
        return code


async def poll(question):
    """Ask until the answer is yes; the deadline is the test's."""
    clock = SystemClock()
    until = clock.monotonic() + DEADLINE_SECONDS
    pause = asyncio.Event()
    while not await question():
        assert clock.monotonic() < until, "never came true"
        try:
            async with asyncio.timeout(0.1):
                await pause.wait()
        except TimeoutError:
            continue


@pytest.fixture
async def environ(kafka_bootstrap, elasticsearch_url, topic_prefix, real_prefix):
    return {
        "PATH": os.environ["PATH"],
        "KLINGEL_KAFKA__BOOTSTRAP": kafka_bootstrap,
        "KLINGEL_KAFKA__TOPIC_PREFIX": topic_prefix,
        "KLINGEL_KAFKA__GROUP_PREFIX": topic_prefix,
        "KLINGEL_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
        "KLINGEL_ELASTICSEARCH__URL": elasticsearch_url,
        "KLINGEL_ELASTICSEARCH__INDEX_PREFIX": real_prefix,
        "KLINGEL_INDEXER__INSTANCE": "indexer-0",
        "KLINGEL_INDEXER__BULK_DOCUMENTS": "50",
    }


async def read_all(bootstrap, topic):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    try:
        held = [TopicPartition(topic, at) for at in await partitions_of(bootstrap, topic)]
        consumer.assign(held)
        await consumer.seek_to_beginning(*held)
        ends = await consumer.end_offsets(held)
        records = []
        while any([await consumer.position(one) < ends[one] for one in held]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def partitions_of(bootstrap, topic):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
        return [one["partition"] for one in described["partitions"]]
    finally:
        await admin.close()


async def publish(bootstrap, prefix, build, brand, count):
    """Publish `count` posts in transactions, one of fifty malformed, and delete each tenth."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{prefix}care")
    await producer.start()
    good, bad = set(), 0
    for start in range(0, count, 50):
        async with producer.transaction():
            for at in range(start, min(start + 50, count)):
                event = build.social_event(f"n:s:{at}", brand=brand)
                good.add(event["object_id"])
                source = SourcePosition(Topic.SOCIAL_EVENTS, at % 4, at, 0).encode()
                await send(producer, prefix, build.routed(event), at % 4, source)
                if at % 10 == 0:
                    gone = event | {"change": "deleted", "revision": 2**42 - 1}
                    source = SourcePosition(Topic.SOCIAL_EVENTS, at % 4, at, 1).encode()
                    await send(producer, prefix, build.routed(gone), at % 4, source)
                if at % 50 == 7:
                    source = SourcePosition(Topic.SOCIAL_EVENTS, at % 4, at, 1).encode()
                    await send(producer, prefix, build.message(b"{broken"), at % 4, source)
                    bad += 1
    await producer.stop()
    return good, bad


async def send(producer, prefix, made, partition, source):
    await producer.send(
        prefix + Topic.ROUTED_EVENTS,
        key=made.key,
        value=made.value,
        partition=partition,
        headers=[("klingel-source", source)],
    )


def effective(lines):
    """A line whose `before` is not after an earlier one's replaces that one and all later ones."""
    kept = []
    for line in lines:
        while kept and kept[-1].before >= line.before:
            kept.pop()
        kept.append(line)
    return kept


async def test_killed_again_and_again_it_indexes_each_post_once_and_the_books_add_up(
    environ, kafka_bootstrap, topic_prefix, real_prefix, build
):
    """SIGKILL at random moments: nothing lost, nothing doubled, every offset in one line."""
    brand = topic_prefix.strip("-")
    chance = random.Random(4)
    good, bad = await publish(kafka_bootstrap, topic_prefix, build, brand, 3000)
    async with elasticsearch_client(environ["KLINGEL_ELASTICSEARCH__URL"]) as client:
        pattern = f"{real_prefix}events-{brand}-2026.11"

        async def documents():
            await client.indices.refresh(index=pattern, ignore_unavailable=True)
            # 503: the index was made this moment and its shards have not started.
            patient = client.options(ignore_status=503)
            answer = await patient.count(index=pattern, ignore_unavailable=True)
            return answer.body.get("count", 0)

        async def progressed(least):
            return await documents() >= least

        for kill in range(3):
            process = Process(environ)
            await process.start()
            least = (kill + 1) * 500 + chance.randrange(400)
            await poll(lambda least=least: progressed(least))
            assert await process.end(signal.SIGKILL) == -signal.SIGKILL

        process = Process(environ)
        await process.start()

        await poll(lambda: progressed(len(good)))
        written = Counter(
            record.partition
            for record in await read_all(kafka_bootstrap, topic_prefix + Topic.ROUTED_EVENTS)
        )

        async def all_committed():
            lines = await ledger(kafka_bootstrap, topic_prefix)
            return all(
                sum(line.received for line in effective(lines.get(at, []))) == received
                for at, received in written.items()
            )

        await poll(all_committed)
        status, body = await process.get("/readyz")
        assert (status, json.loads(body)["ready"]) == (200, True)
        status, body = await process.get("/healthz")
        assert status == 200
        assert all(one["waiting"] == 0 for one in json.loads(body)["partitions"].values())
        status, body = await process.get("/metrics")
        assert b"klingel_received_to_indexed_seconds_bucket" in body
        assert await process.end(signal.SIGTERM) == 0

        await client.indices.refresh(index=pattern)
        gone = await client.count(index=pattern, q="change:deleted")
        assert gone.body["count"] == 300

    lines = await ledger(kafka_bootstrap, topic_prefix)
    totals = Counter()
    for of_partition in lines.values():
        kept = effective(of_partition)
        assert kept[0].before == 0
        assert all(earlier.after == later.before for earlier, later in pairwise(kept))
        assert sum(line.redone for line in kept) == 0
        for line in kept:
            totals.update(line.fates)
    assert totals == {"delivered": 3300, "dead_lettered": bad}
    letters = await read_all(kafka_bootstrap, topic_prefix + Topic.DEAD_LETTERS)
    assert {record.value for record in letters} == {b"{broken"}
    offsets = {
        (
            dict(record.headers)["__connect.errors.partition"],
            dict(record.headers)["__connect.errors.offset"],
        )
        for record in letters
    }
    assert len(offsets) == bad


def told(brand, number, revision):
    """Return topic, key, subject and value of an escalation or, of each fifth number, an alert."""
    if number % 5 == 0:
        identity = deterministic_id("alert", str(number))
        value = {
            "alert_id": identity,
            "brand": brand,
            "kind": "negative",
            "state": "open",
            "severity": 1 + revision,
            "revision": revision,
            "opened_at": "2026-11-22T12:00:00.000Z",
            "updated_at": "2026-11-22T12:00:00.000Z",
            "evidence": {"terms": [{"term": "störung", "count": 3}], "networks": {"x": 3}},
        }
        return Topic.ALERTS, identity, f"{brand}/{identity}", value
    case_id = f"{brand}:c|{number}:anna#1"
    identity = deterministic_id(case_id, "chat", "lead")
    value = {
        "escalation_id": identity,
        "case_id": case_id,
        "brand": brand,
        "conversation_id": f"c|{number}",
        "level": "lead",
        "target": "chat",
        "state": "raised",
        "reason": "breached",
        "revision": revision,
        "at": "2026-11-22T12:00:00.000Z",
        "recorded_at": "2026-11-22T12:00:00.000Z",
    }
    return Topic.ESCALATIONS, f"{case_id}|chat|lead", case_id, value


async def test_what_is_told_is_indexed_by_revision_and_removed_by_a_tombstone(
    environ, kafka_bootstrap, topic_prefix, real_prefix
):
    """Through the real topics: revisions in any order, then each third is gone."""
    brand = topic_prefix.strip("-")
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    await producer.start()
    written = Counter()
    for number in range(60):
        records = [told(brand, number, revision) for revision in (2, 0, 1)]
        if number % 3 == 0:
            records.append((*records[0][:3], None))
        for topic, key, subject, value in records:
            await producer.send(
                topic_prefix + topic,
                key=key.encode(),
                value=None if value is None else json.dumps(value).encode(),
                partition=number % 4,
                headers=[("ce_subject", subject.encode())],
            )
            written[topic] += 1
    await producer.stop()
    process = Process(environ)
    await process.start()

    async def all_counted():
        received = Counter()
        for topic in written:
            for lines in (await ledger(kafka_bootstrap, topic_prefix, topic)).values():
                received[topic] += sum(line.received for line in effective(lines))
        return received == written

    await poll(all_counted)
    assert await process.end(signal.SIGTERM) == 0
    expected = {
        topic: {number for number in range(60) if number % 3 and (number % 5 == 0) is alert}
        for topic, alert in ((Topic.ALERTS, True), (Topic.ESCALATIONS, False))
    }
    async with elasticsearch_client(environ["KLINGEL_ELASTICSEARCH__URL"]) as client:
        for topic, numbers in expected.items():
            index = f"{real_prefix}{topic}-{brand}"
            await client.indices.refresh(index=index)
            found = await client.search(index=index, size=100, version=True)
            hits = found.body["hits"]["hits"]
            name = {Topic.ALERTS: "alert_id", Topic.ESCALATIONS: "escalation_id"}[topic]
            wanted = {told(brand, number, 0)[3][name] for number in numbers}
            assert {hit["_id"] for hit in hits} == wanted
            assert {hit["_version"] for hit in hits} == {2}
    assert await read_all(kafka_bootstrap, topic_prefix + Topic.DEAD_LETTERS) == []


async def ledger(bootstrap, prefix, topic=Topic.ROUTED_EVENTS):
    found = {}
    for record in await read_all(bootstrap, prefix + Topic.STAGE_LEDGER):
        line = decode(LedgerLine, record.value)
        if line.topic == topic:
            found.setdefault(line.partition, []).append(line)
    return found


async def test_without_templates_it_waits_and_says_so(environ):
    """Nothing is written by a first write: it waits for `klingel index apply`."""
    process = Process(environ | {"KLINGEL_ELASTICSEARCH__INDEX_PREFIX": "unapplied-"})
    await process.start()
    line = await process.logged("waiting", waiting_for="templates")
    assert "klingel index apply" in line["reason"]
    status, body = await process.get("/readyz")
    assert (status, json.loads(body)["waiting_for"]) == (503, "templates")
    assert (await process.get("/healthz"))[0] == 200
    assert await process.end(signal.SIGTERM) == 0


async def test_without_topics_it_waits_and_says_so(environ):
    process = Process(environ | {"KLINGEL_KAFKA__TOPIC_PREFIX": "absent-"})
    await process.start()
    line = await process.logged("waiting", waiting_for="topics")
    assert "klingel topics apply" in line["reason"]
    assert await process.end(signal.SIGTERM) == 0


async def test_without_servers_it_waits(environ):
    process = Process(environ | {"KLINGEL_ELASTICSEARCH__URL": "http://127.0.0.1:1"})
    await process.start()
    await process.logged("waiting", waiting_for="templates")
    assert await process.end(signal.SIGTERM) == 0
    process = Process(environ | {"KLINGEL_KAFKA__BOOTSTRAP": "127.0.0.1:1"})
    await process.start()
    await process.logged("waiting", waiting_for="kafka")
    assert await process.end(signal.SIGTERM) == 0
