"""Kafka behind the notifier's ports: a group over all inputs, and brands as they change."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiokafka
import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel_notifier.service import INPUTS, Start
from klingel_streams.group import GroupSource, to_message
from klingel_streams.ports import Slot

log = structlog.get_logger()


class KafkaSource(GroupSource[Start]):
    """Membership in the group.

    Inputs begin at their committed offset; without one at their beginning. The notifier's own topic
    begins at its beginning, whatever is committed: its state is what lies in it.

    Args:
        connection: bootstrap servers and security, as aiokafka names them.
        group: consumer group.
        topic_prefix: before every topic name.
        instance: static member name, None joins afresh.
        session_timeout_seconds: a silent worker loses its partitions after it.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        *,
        group: str,
        topic_prefix: str,
        instance: str | None,
        session_timeout_seconds: float,
    ) -> None:
        super().__init__(
            connection,
            inputs=INPUTS,
            needed=(*INPUTS, Topic.BRAND_CONFIG, Topic.DEAD_LETTERS),
            lost="what lay between was told to nobody. Reset the group's offset",
            group=group,
            topic_prefix=topic_prefix,
            instance=instance,
            session_timeout_seconds=session_timeout_seconds,
        )

    async def _begin(
        self, held: Mapping[aiokafka.TopicPartition, OffsetAndMetadata]
    ) -> dict[aiokafka.TopicPartition, Start]:
        beginnings = await self._consumer.beginning_offsets(list(held))
        ends = await self._consumer.end_offsets(list(held))
        return {
            one: Start(
                beginnings[one]
                if at.offset < 0 or self._slot(one)[0] is Topic.NOTIFICATIONS
                else at.offset,
                ends[one],
            )
            for one, at in held.items()
        }

    async def commit(self, positions: Mapping[Slot, int]) -> None:
        """Commit positions; raises SourceUnavailable while Kafka is away."""
        await self._commit(positions)


class BrandFollower:
    """Reads `brand-config` whole, without a group, and goes on: every worker needs all of it.

    Args:
        connection: bootstrap servers and security, as aiokafka names them.
        topic_prefix: before every topic name.
        take: called for each message; must not raise.
    """

    def __init__(
        self, connection: Mapping[str, Any], topic_prefix: str, take: Callable[[Message], None]
    ) -> None:
        self._connection = connection
        self._name = topic_prefix + Topic.BRAND_CONFIG
        self._take = take
        self.caught_up = asyncio.Event()

    async def run(self) -> None:
        """Follow for ever; starts over from the beginning when Kafka was away."""
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError) as error:
                log.warning("waiting", waiting_for="kafka", error_class=type(error).__name__)
                await asyncio.sleep(1.0)

    async def _follow(self) -> None:
        consumer = aiokafka.AIOKafkaConsumer(
            **self._connection,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        try:
            await consumer.start()
            numbers = await consumer._client._wait_on_metadata(self._name)  # noqa: SLF001 - the consumer has no public way to ask for a topic it does not read yet
            places = [aiokafka.TopicPartition(self._name, number) for number in numbers]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            await consumer.seek_to_beginning(*places)
            while True:
                batches = await consumer.getmany(timeout_ms=200)
                for records in batches.values():
                    for record in records:
                        self._take(to_message(Topic.BRAND_CONFIG, record))
                if not self.caught_up.is_set():
                    reached = [await consumer.position(place) >= ends[place] for place in places]
                    if all(reached):
                        self.caught_up.set()
        finally:
            await consumer.stop()
