"""Replies out of `chat-outbox`: each becomes an outbound event, then is shown to its session.

Every gateway reads all partitions, because any of them may hold the session's connection. It begins
as far back as a session can be resumed, so that after a restart nothing is missing for a page that
comes back. Which replies have become events is the group's committed offset: those before it are
only shown. Several gateways publish the same reply once each; its object id makes them one.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors

from klingel.clock import Clock
from klingel.contracts import codec
from klingel.contracts.connection import opened
from klingel.contracts.topics import Topic
from klingel.errors import InvalidMessage, RetryableError
from klingel.model.chat_reply import ChatReply
from klingel.settings import KafkaSettings
from klingel_connectors import broker
from klingel_connectors.chat import Chat, NotTakenError
from klingel_connectors.chat_sessions import Told
from klingel_networks.chat.mapping import BRAND, SIDE
from klingel_networks.contract import Delivery

_POLL_MS = 500
_AGAIN_SECONDS = 1.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_reply(value: bytes) -> ChatReply | None:
    """Read a record of the outbox; None for what is no reply."""
    try:
        return codec.decode(ChatReply, value)
    except InvalidMessage:
        return None


class Outbox:
    """Reads replies until cancelled.

    Args:
        kafka: how to reach Kafka.
        name: client id.
        chat: where replies are stored and shown.
        hours: how far back it begins.
        clock: time.
    """

    def __init__(
        self, kafka: KafkaSettings, name: str, chat: Chat, hours: int, clock: Clock
    ) -> None:
        self._kafka = kafka
        self._name = name
        self._chat = chat
        self._hours = hours
        self._clock = clock
        self._told: dict[TopicPartition, int] = {}
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Read; a Kafka that is away is waited for."""
        while True:
            consumer: KafkaConsumer | None = None
            try:
                consumer = await asyncio.to_thread(self._connected)
                await self._follow(consumer)
            except kafka_errors.KafkaError as error:
                self._log.info("outbox_waits", error=type(error).__name__)
            finally:
                if consumer is not None:
                    consumer.close()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _follow(self, consumer: KafkaConsumer) -> None:
        while True:
            await self._take(consumer, await asyncio.to_thread(consumer.poll, _POLL_MS))

    def _connected(self) -> KafkaConsumer:
        """Return a consumer that stands where the oldest open session began; blocks."""
        consumer = opened(
            KafkaConsumer,
            **broker.connection(self._kafka, f"{self._name}-outbox"),
            group_id=f"{self._kafka.group_prefix}chat",
            enable_auto_commit=False,
            isolation_level="read_committed",
            max_poll_records=500,
        )
        topic = broker.physical(self._kafka, Topic.CHAT_OUTBOX)
        places = [
            TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()
        ]
        if not places:
            consumer.close()
            raise kafka_errors.UnknownTopicOrPartitionError
        consumer.assign(places)
        since = self._clock.now() - timedelta(hours=self._hours)
        times = consumer.offsets_for_times(
            {place: (since - _EPOCH) // timedelta(milliseconds=1) for place in places}
        )
        ends = consumer.end_offsets(places)
        for place in places:
            committed = consumer.committed(place) or 0
            found = times.get(place)
            begin = ends[place] if found is None else found.offset
            self._told[place] = max(committed, self._told.get(place, 0))
            # What no gateway has told yet is told, however old it is.
            consumer.seek(place, min(begin, committed) if committed else 0)
        return consumer

    async def _take(self, consumer: KafkaConsumer, polled: Mapping[Any, Any]) -> None:
        """Store, show, then commit (I7)."""
        done: dict[TopicPartition, OffsetAndMetadata] = {}
        for place, records in polled.items():
            for record in records:
                await self._one(record.value or b"", record.offset, place)
            after = records[-1].offset + 1
            if after > self._told.get(place, 0):
                self._told[place] = after
                done[place] = OffsetAndMetadata(after, "", -1)
        if done:
            await asyncio.to_thread(consumer.commit, done)

    async def _one(self, value: bytes, offset: int, place: TopicPartition) -> None:
        now = self._clock.now()
        reply = read_reply(value)
        if reply is None:
            if offset >= self._told.get(place, 0):
                await self._kept(None, Delivery(value, {SIDE: BRAND}), now)
            return
        if reply.channel not in self._chat.channels:
            return  # another gateway serves it
        if offset >= self._told.get(place, 0):
            context = {"channel": reply.channel, "session": reply.session, SIDE: BRAND}
            await self._kept(reply.channel, Delivery(value, context), now)
        written = (reply.written_at - _EPOCH) // timedelta(milliseconds=1)
        self._chat.deliver(reply.session, Told(offset, written, reply.text, reply.name or ""))

    async def _kept(self, channel: str | None, delivery: Delivery, now: datetime) -> None:
        """Return once the event, or the dead letter, is durable, however long it takes."""
        while True:
            try:
                await self._chat.stored(channel, delivery, now, letters=True)
            except InvalidMessage:
                return  # counted; Kafka can never take it
            except (NotTakenError, RetryableError):
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return
