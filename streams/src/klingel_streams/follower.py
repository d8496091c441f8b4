"""Following small compacted topics whole.

Every worker needs all of it, so there is no group: each reads the topics from the beginning, says
when it has caught up, and goes on reading. (A Faust agent on `brand-config` would give each record
to one worker of the group only.)
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from klingel.contracts.connection import connection
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.errors import SourceUnavailable
from klingel.settings import KafkaSettings
from klingel_streams.group import to_message

Take = Callable[[Message], int]


class Follower:
    """Reads every partition of some topics from the beginning and goes on.

    Args:
        kafka: how to reach it.
        topics: logical names.
        take: called for each message, in partition order; returns how many brands are refused after
            it; must not raise.

    Attributes:
        caught_up: set once everything was read that was there at the start.
        refused: brands whose newest configuration cannot be read.
    """

    def __init__(self, kafka: KafkaSettings, topics: Sequence[Topic], take: Take) -> None:
        self._kafka = kafka
        self._topics = {kafka.topic_prefix + topic: topic for topic in topics}
        self._take = take
        self.caught_up = asyncio.Event()
        self.refused = 0

    async def run(self) -> None:
        """Follow for ever; starts over from the beginning when Kafka was away."""
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError, SourceUnavailable) as error:
                structlog.get_logger().warning(
                    "follower_waits", waiting_for="kafka", error_class=type(error).__name__
                )
                await asyncio.sleep(1.0)

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(
            **connection(self._kafka),
            request_timeout_ms=20_000,
            retry_backoff_ms=100,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        try:
            await consumer.start()
            places = [
                TopicPartition(name, partition)
                for name in self._topics
                for partition in await consumer._client._wait_on_metadata(name)  # noqa: SLF001 - the consumer has no public way to ask for a topic it does not read yet
            ]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            await consumer.seek_to_beginning(*places)
            while True:
                if not self.caught_up.is_set() and await self._reached(consumer, ends):
                    self.caught_up.set()
                batches = await consumer.getmany(timeout_ms=200)
                for place, records in batches.items():
                    for record in records:
                        self.refused = self._take(to_message(self._topics[place.topic], record))
        finally:
            await consumer.stop()

    @staticmethod
    async def _reached(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
        for place, end in ends.items():
            if await consumer.position(place) < end:
                return False
        return True
