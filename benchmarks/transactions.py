"""What a Kafka transaction a batch costs a processor: messages a second with and without, as ratios.

`python benchmarks/transactions.py [--stack FILE] [--json]` needs the real Kafka (`make up`). Both
ways write the same records to one partition and commit the same input position: plainly, with an
idempotent producer and a commit of the group; or both as one transaction, as the processors do.
The two ways alternate within one run; the figures are medians.
"""

import argparse
import asyncio
import json
import logging
import os
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import OffsetAndMetadata

STACK = Path(".klingel/local/stack.json")
RECORD_BYTES = 1200
"""About a social event."""
MESSAGES = {10: 2_000, 100: 10_000, 1000: 30_000}
"""Batch size to the messages of one round."""
ROUNDS = 5
WARM_UP = 2_000
METADATA = json.dumps({"b": 0, "r": 1000, "f": {"delivered": 1000}, "e": {"social-events": 1000}})

Batch = Callable[[int, int], Awaitable[None]]


class Plain:
    """Outputs first, then the position of the group."""

    def __init__(self, bootstrap: str, topic: str, source: TopicPartition, group: str) -> None:
        self._topic, self._source = topic, source
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, enable_idempotence=True, **_options()
        )
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
        )

    async def start(self) -> None:
        """Connect; the consumer only commits and fetches nothing."""
        self._consumer.assign([self._source])
        await self._consumer.start()
        self._consumer.pause(self._source)
        await self._producer.start()

    async def batch(self, size: int, position: int) -> None:
        """Write one batch and commit the position."""
        sent = [await self._producer.send(self._topic, _RECORD, partition=0) for _ in range(size)]
        await asyncio.gather(*sent)
        await self._consumer.commit({self._source: OffsetAndMetadata(position, METADATA)})

    async def stop(self) -> None:
        """Disconnect."""
        await self._producer.stop()
        await self._consumer.stop()


class Transactional:
    """Outputs and position as one."""

    def __init__(self, bootstrap: str, topic: str, source: TopicPartition, group: str) -> None:
        self._topic, self._source, self._group = topic, source, group
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, transactional_id=group, **_options()
        )

    async def start(self) -> None:
        """Connect and fence earlier writers of the name."""
        await self._producer.start()

    async def batch(self, size: int, position: int) -> None:
        """Write one batch and the position in a transaction."""
        await self._producer.begin_transaction()
        sent = [await self._producer.send(self._topic, _RECORD, partition=0) for _ in range(size)]
        await self._producer.send_offsets_to_transaction(
            {self._source: OffsetAndMetadata(position, METADATA)}, self._group
        )
        await asyncio.gather(*sent)
        await self._producer.commit_transaction()

    async def stop(self) -> None:
        """Disconnect."""
        await self._producer.stop()


_RECORD = (json.dumps({"text": "Seit gestern kein Netz. "}) * 60).encode()[:RECORD_BYTES]


def _options() -> dict[str, object]:
    return {
        "acks": "all",
        "compression_type": "lz4",
        "linger_ms": 0,
        "max_batch_size": 262_144,
        "max_request_size": 4 << 20,
    }


async def measure(bootstrap: str) -> dict[int, dict[str, list[float]]]:
    """Return, by batch size and way, the messages a second of each round."""
    prefix = f"bench-{uuid.uuid4().hex[:8]}-"
    topic, inputs = f"{prefix}outputs", f"{prefix}inputs"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1) for name in (topic, inputs)])
    ways: dict[str, Plain | Transactional] = {
        "plain": Plain(bootstrap, topic, TopicPartition(inputs, 0), f"{prefix}plain"),
        "transactions": Transactional(
            bootstrap, topic, TopicPartition(inputs, 0), f"{prefix}transactions"
        ),
    }
    found: dict[int, dict[str, list[float]]] = {
        size: {name: [] for name in ways} for size in MESSAGES
    }
    try:
        for way in ways.values():
            await way.start()
            await _round(way.batch, 100, WARM_UP)
        for turn in range(ROUNDS):
            for size, count in MESSAGES.items():
                order = list(ways) if turn % 2 == 0 else list(reversed(ways))
                for name in order:
                    seconds = await _round(ways[name].batch, size, count)
                    found[size][name].append(count / seconds)
    finally:
        for way in ways.values():
            await way.stop()
        await admin.delete_topics([topic, inputs])
        await admin.close()
    return found


async def _round(batch: Batch, size: int, count: int) -> float:
    started = time.perf_counter()
    for position in range(0, count, size):
        await batch(size, position)
    return time.perf_counter() - started


def summary(found: dict[int, dict[str, list[float]]]) -> list[dict[str, float]]:
    """Return one row a batch size: medians, their ratio and the milliseconds a batch more."""
    rows = []
    for size, ways in found.items():
        plain = statistics.median(ways["plain"])
        transactions = statistics.median(ways["transactions"])
        rows.append(
            {
                "batch_messages": size,
                "plain_per_second": round(plain),
                "transactions_per_second": round(transactions),
                "ratio": round(transactions / plain, 2),
                "extra_ms_per_batch": round(1000 * size * (1 / transactions - 1 / plain), 2),
            }
        )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", type=Path, default=STACK, help="stack.json of a running stack")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    arguments = parser.parse_args()
    stack = json.loads(arguments.stack.read_text(encoding="utf-8"))
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # what it tries again is in the figures
    rows = summary(asyncio.run(measure(stack["kafka"]["bootstrap"])))
    if arguments.json:
        print(json.dumps({"cores": os.cpu_count(), "rounds": ROUNDS, "rows": rows}))
        return
    print(f"medians of {ROUNDS} rounds, {RECORD_BYTES} bytes a record, {os.cpu_count()} cores")
    print("batch  plain/s  transactions/s  ratio  ms more a batch")
    for row in rows:
        print(
            f"{row['batch_messages']:5} {row['plain_per_second']:8} "
            f"{row['transactions_per_second']:15} {row['ratio']:6.2f} "
            f"{row['extra_ms_per_batch']:16.2f}"
        )


if __name__ == "__main__":
    main()
