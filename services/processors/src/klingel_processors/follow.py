"""Following small compacted topics whole: brand configuration and tracked conversations.

Every worker needs all of it, so there is no group: each reads the topics from the beginning, says
when it has caught up, and goes on reading. (A Faust agent on `brand-config` would give each record
to one worker of the group only.)
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from klingel.config.brands import Brands
from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, Suppressed
from klingel.domain.identity_links import Customers
from klingel.errors import InvalidMessage, SourceUnavailable
from klingel.model import IdentityLink, Suppression
from klingel.settings import ErasureSettings, KafkaSettings
from klingel_processors.kafka_ports import client_options, to_message

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
            **client_options(self._kafka),
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


class Surroundings:
    """What stages know beside their own state: brands, erasures; understand also what is linked.

    Args:
        erasure: the key by which erased people are known.
    """

    def __init__(self, erasure: ErasureSettings | None = None) -> None:
        secret = None if erasure is None else erasure.key
        self.brands = Brands()
        self.suppressed = Suppressed(None if secret is None else Key(secret.get_secret_value()))
        self.tracking: dict[str, frozenset[str]] = {}
        self.customers = Customers()

    def take(self, message: Message) -> int:
        """Take one followed record; return how many brands are refused after it."""
        if message.topic is Topic.BRAND_CONFIG:
            self.brands.take(message)
        elif message.topic is Topic.TRACKED_CONVERSATIONS and message.key is not None:
            self._track(message.key.decode("utf-8", "replace"), tracked=message.value is not None)
        elif message.topic is Topic.IDENTITY_LINKS and message.key is not None:
            self._link(message.key, message.value)
        elif message.topic is Topic.SUPPRESSIONS and message.key is not None:
            self._suppress(message.key, message.value)
        # Who was erased cannot be told without the key: better nobody is heard than they are again.
        return len(self.brands.refused) + len(self.suppressed.strange)

    def _suppress(self, key: bytes, value: bytes | None) -> None:
        try:
            known = None if value is None else codec.decode(Suppression, value)
        except InvalidMessage:
            structlog.get_logger().warning("suppression_unreadable")
            return
        self.suppressed.take(key, known)
        if key in self.suppressed.strange:
            structlog.get_logger().error("suppression_of_another_key")

    def _link(self, key: bytes, value: bytes | None) -> None:
        try:
            known = None if value is None else codec.decode(IdentityLink, value)
        except InvalidMessage:
            structlog.get_logger().warning("identity_link_unreadable")
            return
        self.customers.take(key, known)

    def _track(self, key: str, *, tracked: bool) -> None:
        brand, _, conversation = key.partition("|")
        brands = self.tracking.get(conversation, frozenset())
        brands = brands | {brand} if tracked else brands - {brand}
        if brands:
            self.tracking[conversation] = brands
        else:
            self.tracking.pop(conversation, None)
