"""Bounded publishing over kafka-python: what is in flight is counted, what is full waits.

`KafkaProducer.send` never blocks for memory, so the bound is ours: at most N records and M bytes are
on their way; whoever wants to publish more waits, and that is the back-pressure on the source.
Acknowledgements come in kafka-python's own thread, in bursts; they cross to the event loop once a
burst. A record stays here until it is acknowledged: while Kafka is away nothing is dropped and
nothing grows.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from kafka import KafkaProducer
from kafka import errors as kafka_errors

from klingel import tracing
from klingel.clock import Clock
from klingel.contracts.connection import opened
from klingel.contracts.envelope import Output
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage
from klingel.settings import KafkaSettings
from klingel_connectors import broker

HEADER_BYTES = 400
"""What headers and bookkeeping of a record weigh; exact enough for a bound."""

_FIRST_WAIT = 0.25
_LONGEST_WAIT = 5.0
_ROUNDS_BEFORE_A_NEW_PRODUCER = 3
_NEVER_FITS = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.InvalidRecordError,
)

Done = Callable[[InvalidMessage | None], None]


class Producer(Protocol):
    """What the publisher uses of a KafkaProducer."""

    def send(self, topic: str, **record: Any) -> Any:
        """Take a record; returns a kafka-python future."""
        ...

    def partitions_for(self, topic: str) -> set[int] | None:
        """Return the topic's partitions, waiting for metadata."""
        ...

    def close(self, timeout: float | None = None) -> None:
        """Let go."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that may be on its way to Kafka."""

    messages: int = 10_000
    bytes: int = 32 << 20


class _Entry:
    """One record on its way; its methods are the callbacks in kafka-python's thread."""

    __slots__ = ("done", "output", "publisher", "sent_at", "size")

    def __init__(
        self, publisher: "Publisher", output: Output, done: Done, size: int, sent_at: float
    ) -> None:
        self.publisher = publisher
        self.output = output
        self.done = done
        self.size = size
        self.sent_at = sent_at

    def acknowledged(self, _metadata: object) -> None:
        self.publisher.report(self, None)

    def failed(self, error: Exception) -> None:
        self.publisher.report(self, error)


class Publisher:
    """Publishes outputs; every method belongs to the event loop that called `start`.

    Args:
        kafka: how to reach Kafka.
        client_id: name of this process at the broker.
        topics: topics that will be written, looked up at the start.
        clock: for ages.
        bounds: most that may be in flight.
        connect: opens a producer; blocks; raises kafka-python's errors.
        sleep: waits between attempts.
        linger_ms: what a record may wait for company.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        client_id: str,
        topics: Iterable[Topic],
        clock: Clock,
        bounds: Bounds | None = None,
        connect: Callable[[], Producer] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        linger_ms: int = 20,
    ) -> None:
        self._kafka = kafka
        self._topics = tuple(topics)
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._connect = connect or (
            lambda: opened(KafkaProducer, **broker.producer(kafka, client_id, linger_ms=linger_ms))
        )
        self._sleep = sleep
        self._log = structlog.get_logger()
        self._producer: Producer | None = None
        self._partitions: dict[Topic, int] = {}
        self._in_flight: dict[int, _Entry] = {}
        self._bytes = 0
        self._reports: deque[tuple[_Entry, Exception | None]] = deque()
        self._reporting = False
        self._again: deque[_Entry] = deque()
        self._wake_again = asyncio.Event()
        self._resending: asyncio.Task[None] | None = None
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._empty = asyncio.Event()
        self._empty.set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting_for = "Kafka"
        self.acknowledged = 0
        self.retried = 0

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect; waits for Kafka and for the topics as long as it takes, saying for what."""
        self._loop = asyncio.get_running_loop()
        self._producer = await self._connected()
        await self._look_up(self._producer)
        self._waiting_for = ""
        self._resending = asyncio.create_task(self._resend())

    async def flush(self, timeout: float) -> bool:  # noqa: ASYNC109  grace of a shutdown
        """Wait until all is acknowledged; False when `timeout` seconds were not enough."""
        try:
            await asyncio.wait_for(self._empty.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def close(self, grace: float) -> bool:
        """Flush within `grace` seconds and disconnect; False when something was not acknowledged.

        What was not acknowledged is not lost: its cursor was not advanced, its sender not answered.
        """
        flushed = await self.flush(grace)
        if self._resending is not None:
            self._resending.cancel()
        if self._producer is not None:
            await asyncio.to_thread(self._producer.close, 2.0 if flushed else 0.0)
        return flushed

    # --- what is on its way --------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Records not yet acknowledged."""
        return len(self._in_flight)

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of these."""
        return self._bytes

    def oldest_seconds(self) -> float:
        """Age of the oldest record that is not acknowledged."""
        for entry in self._in_flight.values():
            return max(0.0, self._clock.monotonic() - entry.sent_at)
        return 0.0

    def waiting_for(self, patience: float = 5.0) -> str:
        """Say what keeps it waiting: empty unless acknowledgements are late or never began."""
        if self._waiting_for:
            return self._waiting_for
        return "Kafka" if self.oldest_seconds() > patience else ""

    # --- publishing ----------------------------------------------------------------------------

    async def publish(self, output: Output, done: Done) -> None:
        """Hand over one record, waiting for room; `done` is called once it is acknowledged.

        `done` gets None, or why the record can never be stored. It runs in the event loop.
        """
        spans = tracing.current()
        if spans is not None:
            done = spans.publishing(output, done)
        size = HEADER_BYTES + len(output.key) + len(output.value or b"")
        while not self._has_room(size):
            await self._room()
        self._send(self._enter(output, done, size))

    async def deliver(self, outputs: Iterable[Output]) -> None:
        """Publish and return once Kafka has acknowledged every one of them.

        Raises:
            InvalidMessage: one of them can never be stored; the others may have been.
        """
        loop = asyncio.get_running_loop()
        acknowledgements = []
        for output in outputs:
            acknowledgement: asyncio.Future[InvalidMessage | None] = loop.create_future()
            acknowledgements.append(acknowledgement)
            await self.publish(output, _settler(acknowledgement))
        for error in [await acknowledgement for acknowledgement in acknowledgements]:
            if error is not None:
                raise error

    def report(self, entry: _Entry, error: Exception | None) -> None:
        """Note the broker's word; the one method that kafka-python's thread calls."""
        self._reports.append((entry, error))
        if not self._reporting:
            self._reporting = True
            loop = self._loop
            if loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(self._settle)

    # --- inside --------------------------------------------------------------------------------

    def _has_room(self, size: int) -> bool:
        if not self._in_flight:
            return True
        return (
            len(self._in_flight) < self._bounds.messages
            and self._bytes + size <= self._bounds.bytes
        )

    async def _room(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if not waiter.done() or waiter.cancelled():
                self._waiters = deque(other for other in self._waiters if other is not waiter)

    def _enter(self, output: Output, done: Done, size: int) -> _Entry:
        entry = _Entry(self, output, done, size, self._clock.monotonic())
        self._in_flight[id(entry)] = entry
        self._bytes += size
        self._empty.clear()
        return entry

    def _send(self, entry: _Entry) -> None:
        """Pass to kafka-python; never blocks, since the topic's metadata are known."""
        output = entry.output
        count = self._partitions.get(output.topic)
        if count is None or self._producer is None:
            self._later(entry)
            return
        partition = output.partition
        if partition is None:
            # kafka-python would compute the same, after listing the partitions for every record.
            partition = partition_for(output.partition_key or output.key, count)
        try:
            future = self._producer.send(
                broker.physical(self._kafka, output.topic),
                key=output.key,
                value=output.value,
                headers=list(output.headers),
                partition=partition,
            )
        except kafka_errors.KafkaTimeoutError as error:
            # its metadata were lost: they are looked up in a thread, the loop must not block again
            self._partitions.pop(output.topic, None)
            self.report(entry, error)
            return
        except kafka_errors.KafkaError as error:
            self.report(entry, error)
            return
        future.add_callback(entry.acknowledged)
        future.add_errback(entry.failed)

    def _settle(self) -> None:
        self._reporting = False
        reports = self._reports
        while reports:
            entry, error = reports.popleft()
            if id(entry) not in self._in_flight:
                continue
            if error is None:
                self.acknowledged += 1
                self._leave(entry, None)
            elif isinstance(error, _NEVER_FITS):
                sentence = "the record is larger than Kafka accepts"
                self._leave(entry, InvalidMessage(ErrorType.TOO_LARGE, sentence))
            else:
                self._later(entry)
                self._log.warning("publish_failed", error_class=type(error).__name__)
        if not self._in_flight:
            self._empty.set()
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def _leave(self, entry: _Entry, error: InvalidMessage | None) -> None:
        del self._in_flight[id(entry)]
        self._bytes -= entry.size
        entry.done(error)

    def _later(self, entry: _Entry) -> None:
        self._again.append(entry)
        self._wake_again.set()

    async def _resend(self) -> None:
        """Send again what failed, after a wait; a producer that never recovers is replaced."""
        wait, rounds, acknowledged = _FIRST_WAIT, 0, self.acknowledged
        while True:
            await self._wake_again.wait()
            await self._sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)
            rounds += 1
            if self.acknowledged != acknowledged:
                wait, rounds, acknowledged = _FIRST_WAIT, 0, self.acknowledged
            if rounds >= _ROUNDS_BEFORE_A_NEW_PRODUCER:
                rounds = 0
                await self._replace()
            if self._producer is None:
                continue
            missing = {entry.output.topic for entry in self._again} - set(self._partitions)
            if missing:
                self._topics = tuple({*self._topics, *missing})
                await self._look_up(self._producer)
            self._wake_again.clear()
            self.retried += len(self._again)
            for _ in range(len(self._again)):
                entry = self._again.popleft()
                if id(entry) in self._in_flight:
                    self._send(entry)

    async def _replace(self) -> None:
        """Open a new producer: the records of the old one come back as failures or are sent again.

        Sending twice is harmless: every record has an identity.
        """
        old, self._producer = self._producer, None
        self._waiting_for = "Kafka"
        if old is not None:
            await asyncio.to_thread(old.close, 0.0)
        self._producer = await self._connected()
        waiting = {id(entry) for entry in self._again}
        self._again.extend(entry for at, entry in self._in_flight.items() if at not in waiting)
        self._waiting_for = ""
        self._log.warning("producer_replaced", count=len(self._again))

    async def _connected(self) -> Producer:
        wait = _FIRST_WAIT
        while True:
            try:
                return await asyncio.to_thread(self._connect)
            except (kafka_errors.KafkaError, OSError) as error:
                self._log.warning(
                    "kafka_awaited", waiting_for="Kafka", error_class=type(error).__name__
                )
            await self._sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _look_up(self, producer: Producer) -> None:
        for topic in self._topics:
            wait = _FIRST_WAIT
            while topic not in self._partitions:
                name = broker.physical(self._kafka, topic)
                try:
                    found = await asyncio.to_thread(producer.partitions_for, name)
                except kafka_errors.KafkaError:
                    found = None
                if found:
                    self._partitions[topic] = len(found)
                    break
                self._waiting_for = f"topic {name} (klingel topics apply makes it)"
                self._log.warning("topic_awaited", topic=name)
                await self._sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT)


def _settler(acknowledgement: "asyncio.Future[InvalidMessage | None]") -> Done:
    def settle(error: InvalidMessage | None) -> None:
        if not acknowledgement.done():
            acknowledgement.set_result(error)

    return settle
