"""What a document costs the indexer: CPU of this process, by step.

`python benchmarks/indexer_client.py [--documents N]` needs no server: bulk requests go through the
real client to a process that counts lines and answers as Elasticsearch does.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from klingel.clock import SystemClock
from klingel.contracts.envelope import Message, SourcePosition
from klingel.contracts.topics import Topic
from klingel.metrics import Metrics
from klingel.stage.fates import Fate, Outcome
from klingel.stage.ledger import Tally
from klingel_indexer.bulk import (
    BulkLimits,
    BulkWriter,
    ElasticsearchTransport,
    Item,
    elasticsearch_client,
)
from klingel_indexer.convert import Write, convert
from klingel_indexer.offsets import OffsetTracker

AT = "2026-11-22T12:00:00.000Z"
DELIVERED = Outcome(Fate.DELIVERED, network="bluesky")


def messages(count: int) -> list[Message]:
    """Return routed events of the usual size, about 1.6 KB."""
    made = []
    for at in range(count):
        event = {
            "event_id": f"acme/bluesky:network:{at}@0",
            "object_id": f"bluesky:network:{at}",
            "kind": "post",
            "change": "created",
            "revision": 0,
            "brand": "acme",
            "matches": [{"how": "rule", "rule": "delivery", "spans": [[0, 9]]}],
            "network": "bluesky",
            "connector": "bluesky-1",
            "origin": {"topic": "raw-events", "partition": 0, "offset": at, "mode": "live"},
            "direction": "inbound",
            "addressing": "direct",
            "visibility": "public",
            "published_at": AT,
            "received_at": AT,
            "conversation_id": f"bluesky:network:{at}",
            "threading": "network",
            "index": "2026.11",
            "content_hash": "00000000000000ff",
            "mapping": "bluesky/1",
            "config_version": "c1",
            "author": {"id": f"did:plc:{at}", "handle": "someone.example", "followers": 12},
            "text": "Meine Lieferung ist seit Tagen verspätet, und niemand antwortet. " * 4,
            "lang": {"code": "de", "score": 0.97, "from": "detector"},
            "metrics": {"likes": 3},
        }
        decided = {
            "number": 0,
            "direction": "inbound",
            "triage": "complaint",
            "routed_at": AT,
            "config_version": "c1",
            "case_id": f"acme:bluesky:network:{at}:did:plc:{at}#1",
            "queue": "delivery",
            "priority": 4,
            "rule": "delivery",
            "explain": ["praise: no praise", "delivery: matched the rule delivery"],
        }
        value = json.dumps(
            {"event": event, "decision": decided}, ensure_ascii=False, separators=(",", ":")
        )
        source = SourcePosition(Topic.SOCIAL_EVENTS, 0, at, 0).encode()
        headers = (
            ("ce_specversion", b"1.0"),
            ("ce_id", str(event["event_id"]).encode()),
            ("klingel-source", source),
        )
        made.append(Message(Topic.ROUTED_EVENTS, 0, at, b"key", value.encode(), headers, 0))
    return made


def sink(ready: Connection) -> None:
    """Answer bulk requests as Elasticsearch does when every item is written."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            at = head.lower().index(b"content-length:") + 15
            body = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
            count = body.count(b"\n") // 2
            item = b'{"index":{"status":201}}'
            reply = b'{"errors":false,"items":[' + b",".join([item] * count) + b"]}"
            writer.write(
                b"HTTP/1.1 200 OK\r\nX-Elastic-Product: Elasticsearch\r\n"
                b"content-type: application/vnd.elasticsearch+json;compatible-with=8\r\n"
                b"content-length: %d\r\n\r\n" % len(reply) + reply
            )

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 20)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


@contextmanager
def cost(name: str, count: int, note: Callable[[str, float], None]) -> Iterator[None]:
    """Note the CPU microseconds a document that a block takes."""
    started = time.process_time()
    yield
    note(name, (time.process_time() - started) / count * 1e6)


async def measure(url: str, count: int) -> dict[str, float]:
    """Return CPU microseconds a document by step."""
    found: dict[str, float] = {}
    inputs = messages(count)
    with cost("convert", count, found.__setitem__):
        writes = [convert(message, "klingel-", AT) for message in inputs]
    tracker = OffsetTracker(0)
    tally = Tally("indexer", Topic.ROUTED_EVENTS, 0, 0)
    with cost("offsets", count, found.__setitem__):
        tickets = [tracker.receive(message) for message in inputs]
        for ticket in tickets:
            ticket.outcome = DELIVERED
        done = tracker.passed()
    with cost("ledger", count, found.__setitem__):
        tally = tally.plus(done)
    async with elasticsearch_client(url) as client:

        async def settled(ends: object) -> None:
            assert ends

        writer = BulkWriter(
            ElasticsearchTransport(client),
            settled,
            clock=SystemClock(),
            limits=BulkLimits(),
            metrics=Metrics("bench"),
        )
        with cost("bulk", count, found.__setitem__):
            for at, write in enumerate(writes):
                assert isinstance(write, Write)
                writer.add(Item(write, at))
                if not writer.room:
                    await writer.progress(1)
            await writer.drain(60)
    found["client (convert + bulk)"] = found["convert"] + found["bulk"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=60_000)
    count = parser.parse_args().documents
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=sink, args=(there,), daemon=True)
    server.start()
    try:
        found = asyncio.run(measure(f"http://127.0.0.1:{here.recv()}", count))
    finally:
        server.kill()
    for name, microseconds in found.items():
        print(f"{microseconds:8.2f} µs a document  {name}")


if __name__ == "__main__":
    main()
