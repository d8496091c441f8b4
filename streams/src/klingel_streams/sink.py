"""Where a service's own messages go: one idempotent producer."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import aiokafka
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from klingel.contracts.envelope import Output
from klingel.contracts.partition import partition_for
from klingel.errors import InvariantViolation, SourceUnavailable


class KafkaSink:
    """An idempotent producer, every record acknowledged.

    Args:
        connection: bootstrap servers and security, as aiokafka names them.
        topic_prefix: before every topic name.
    """

    def __init__(self, connection: Mapping[str, Any], topic_prefix: str) -> None:
        self._prefix = topic_prefix
        self._producer = aiokafka.AIOKafkaProducer(
            **connection, enable_idempotence=True, acks="all", compression_type="zstd"
        )

    async def start(self) -> None:
        """Connect; raises SourceUnavailable while Kafka is away."""
        try:
            await self._producer.start()
        except (KafkaError, OSError) as error:
            raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None

    async def stop(self) -> None:
        """Send what waits and close."""
        await self._producer.stop()

    async def publish(self, outputs: Sequence[Output]) -> None:
        """Return once all are acknowledged.

        Raises:
            SourceUnavailable: Kafka is away; publishing again is harmless.
            InvariantViolation: Kafka will never take one of them.
        """
        try:
            sent = [await self._send(output) for output in outputs]
            await asyncio.gather(*sent)
        except (KafkaConnectionError, KafkaTimeoutError, OSError) as error:
            raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None
        except KafkaError as error:
            if error.retriable:
                raise SourceUnavailable(f"Kafka: {type(error).__name__}") from None
            raise InvariantViolation(f"Kafka refuses a record: {type(error).__name__}") from None

    async def _send(self, output: Output) -> Awaitable[Any]:
        topic = self._prefix + output.topic
        partition = output.partition
        if partition is None and output.partition_key is not None:
            count = len(await self._producer.partitions_for(topic))
            partition = partition_for(output.partition_key, count)
        sent: Awaitable[Any] = await self._producer.send(
            topic,
            value=output.value,
            key=output.key,
            partition=partition,
            headers=list(output.headers),
        )
        return sent
