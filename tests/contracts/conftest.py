"""The ports of a stage, in memory and over the real Kafka: one suite for both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaProducer

from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.settings import KafkaSettings
from klingel.stage.ports import Input, Log, Transactions
from klingel.testing.broker import (
    InMemoryBroker,
    InMemoryInput,
    InMemoryLog,
    InMemoryTransactions,
)
from klingel_local.machine import free_ports
from klingel_processors.kafka_ports import KafkaInput, KafkaLog, KafkaTransactions

SESSION_SECONDS = 3.0
INPUTS = (Topic.RAW_EVENTS,)


@dataclass
class World:
    """One broker behind its ports."""

    name: str
    new_input: Callable[..., Input]
    """Of a new member of the group `suite`, over INPUTS unless told otherwise."""
    new_writer: Callable[[int], Transactions]
    log: Log
    settings: KafkaSettings | None = None
    broker: InMemoryBroker | None = None
    door: asyncio.Server | None = None

    @asynccontextmanager
    async def away(self) -> AsyncIterator[Input]:
        """Give an input that cannot reach its broker until the context ends."""
        if self.broker is not None:
            self.broker.away = True
            try:
                yield self.new_input()
            finally:
                self.broker.away = False
            return
        assert self.settings is not None
        host, port = "127.0.0.1", free_ports("contracts-door", 1)[0]
        behind = self.settings.model_copy(update={"bootstrap": f"{host}:{port}"})
        try:
            yield KafkaInput(behind, INPUTS, "suite", None)
        finally:
            self.door = await asyncio.start_server(self._pass, host, port)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let one connection through the door to the broker."""
        assert self.settings is not None
        host, _, port = self.settings.bootstrap.partition(":")
        from_broker, to_broker = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pour(reader, to_broker), _pour(from_broker, writer))

    async def append(self, *outputs: Output) -> None:
        """Write records as a connector does."""
        if self.broker is not None:
            for output in outputs:
                self.broker.append(output)
            return
        assert self.settings is not None
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.bootstrap, enable_idempotence=True
        )
        async with producer:
            sent = [
                await producer.send(
                    self.settings.topic_prefix + output.topic,
                    value=output.value,
                    key=output.key,
                    partition=output.partition,
                    headers=list(output.headers),
                )
                for output in outputs
            ]
            await asyncio.gather(*sent)

    async def messages(self, topic: Topic) -> list[Message]:
        """Return the committed messages of a topic, partition by partition."""
        found = []
        for partition in range(await self.log.partitions(topic)):
            end = await self.log.end(topic, partition)
            async for messages in self.log.read(topic, partition, 0, end):
                found.extend(messages)
        return found


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while some := await source.read(65_536):
            sink.write(some)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.servers)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """The same ports over both brokers."""
    if request.param == "memory":
        broker = InMemoryBroker()
        yield World(
            "memory",
            lambda inputs=INPUTS: InMemoryInput(broker, inputs, "suite"),
            lambda partition: InMemoryTransactions(broker, group="suite", number=partition),
            InMemoryLog(broker),
            broker=broker,
        )
        return
    settings = KafkaSettings(
        bootstrap=request.getfixturevalue("kafka_bootstrap"),
        topic_prefix=request.getfixturevalue("topic_prefix"),
        session_timeout_seconds=SESSION_SECONDS,
    )
    log = KafkaLog(settings)
    world = World(
        "kafka",
        lambda inputs=INPUTS: KafkaInput(settings, inputs, "suite", None),
        lambda partition: KafkaTransactions(settings, group="suite", number=partition),
        log,
        settings=settings,
    )
    yield world
    await log.close()
    if world.door is not None:
        world.door.close()
