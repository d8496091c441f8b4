"""The bulk ceiling: how fast the same Elasticsearch takes the same documents, already encoded.

The bodies have the indexer's own form (own `_id`, `external_gte`, `filter_path`) and go to indices
under the same templates; plain sockets send them, so that next to nothing is spent on this side.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from kafka import KafkaConsumer, TopicPartition

from klingel.clock import SystemClock
from klingel.contracts.envelope import Message, rfc3339
from klingel.contracts.topics import Topic
from klingel.errors import KlingelError
from klingel_indexer.bulk import action_line
from klingel_indexer.convert import INPUTS, Write, convert

DOCUMENTS = 2_000
"""Of one request, as the indexer's default."""

_PATH = "/_bulk?filter_path=errors,items.*.status,items.*.error.type"


class RefusedError(KlingelError):
    """Elasticsearch did not take a body as a whole."""


def backlog(bootstrap: str, topic_prefix: str) -> Iterable[Message]:
    """Yield every committed message of the indexer's inputs, partitions in turn."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 << 20,
    )
    try:
        for topic in INPUTS:
            name = topic_prefix + topic
            numbers = consumer.partitions_for_topic(name) or set()
            places = [TopicPartition(name, number) for number in sorted(numbers)]
            yield from _read(consumer, topic, places)
    finally:
        consumer.close()


def _read(
    consumer: KafkaConsumer, topic: Topic, places: Sequence[TopicPartition]
) -> Iterable[Message]:
    consumer.assign(list(places))
    consumer.seek_to_beginning(*places)
    ends = consumer.end_offsets(list(places))
    while any(consumer.position(place) < ends[place] for place in places):
        for place, records in consumer.poll(timeout_ms=200, max_records=5_000).items():
            for record in records:
                yield Message(
                    topic,
                    place.partition,
                    record.offset,
                    record.key,
                    record.value,
                    tuple(record.headers),
                    record.timestamp,
                )


def bodies(messages: Iterable[Message], index_prefix: str) -> tuple[list[bytes], int]:
    """Return encoded bulk bodies of DOCUMENTS each, and how many documents they hold."""
    at = rfc3339(SystemClock().now())
    found: list[bytes] = []
    lines: list[bytes] = []
    count = 0
    for message in messages:
        write = convert(message, index_prefix, at)
        if not isinstance(write, Write):
            continue
        lines += (action_line(write), write.body, b"\n")
        count += 1
        if count % DOCUMENTS == 0:
            found.append(b"".join(lines))
            lines = []
    if lines:
        found.append(b"".join(lines))
    return found, count


async def _send(url: str, bodies_left: list[bytes]) -> None:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=8 << 20)
    try:
        while bodies_left:
            body = bodies_left.pop()
            head = (
                f"POST {_PATH} HTTP/1.1\r\nhost: {address.netloc}\r\n"
                f"content-type: application/x-ndjson\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode())
            writer.write(body)
            await writer.drain()
            answer = await _answer(reader)
            if b'"errors":false' not in answer:
                _require_conflicts_alone(answer)
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"content-length:" in head:
        at = head.index(b"content-length:") + 15
        return await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append((await reader.readexactly(size + 2))[:-2])
    await reader.readline()
    return b"".join(pieces)


def _require_conflicts_alone(answer: bytes) -> None:
    """Raise unless all that failed are older versions that came after newer ones.

    Connections overtake each other, and each case has many versions; the indexer meets them too.
    """
    items = json.loads(answer).get("items", [])
    kinds = {
        result["error"]["type"] for item in items for result in item.values() if "error" in result
    }
    if kinds != {"version_conflict_engine_exception"}:
        told = ", ".join(sorted(kinds)) or "an answer without items"
        raise RefusedError(f"Elasticsearch refused documents: {told}")


def documents_a_second(url: str, encoded: Sequence[bytes], count: int, connections: int) -> float:
    """Send all bodies over so many connections; return documents a second."""

    async def send_all() -> None:
        left = [*reversed(encoded)]
        await asyncio.gather(*(_send(url, left) for _ in range(connections)))

    began = time.monotonic()
    asyncio.run(send_all())
    return count / (time.monotonic() - began)
