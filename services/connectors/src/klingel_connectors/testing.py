"""Real objects that stand where Kafka and the networks stand: a producer, a lease, a client.

The producer passes the same suite as kafka-python's (tests/connectors/test_publisher.py).
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from kafka import errors as kafka_errors
from kafka.future import Future

from klingel.model import RawEvent
from klingel_networks.arrival import Arrival, Report
from klingel_networks.contract import Network


class RecordingProducer:
    """Takes records as a KafkaProducer does; acknowledges from another thread, in bursts.

    Args:
        automatic: acknowledge at once; else `acknowledge` does it when told.
        topics: topics that exist; None for all.

    Attributes:
        failures: consumed first, one error a record.
        sent: records taken, as keyword arguments and `topic`.
    """

    def __init__(self, *, automatic: bool = True, topics: set[str] | None = None) -> None:
        self.automatic = automatic
        self.topics = topics
        self.sent: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self.open: list[Future] = []
        self.closed = False

    def send(self, topic: str, **record: Any) -> Any:
        """Take a record; returns kafka-python's future."""
        future = Future()
        if self.failures:
            error = self.failures.pop(0)
            self._in_thread(lambda: future.failure(error))
            return future
        self.sent.append({"topic": topic, **record})
        if self.automatic:
            self._in_thread(lambda: future.success(None))
        else:
            self.open.append(future)
        return future

    def acknowledge(self, count: int | None = None) -> None:
        """Acknowledge the oldest open records in one burst of another thread."""
        burst, self.open = self.open[:count], self.open[len(self.open[:count]) :]
        self._in_thread(lambda: [future.success(None) for future in burst])

    def partitions_for(self, topic: str) -> set[int] | None:
        """Return four partitions of a topic that exists."""
        if self.topics is not None and topic not in self.topics:
            raise kafka_errors.UnknownTopicOrPartitionError
        return {0, 1, 2, 3}

    def close(self, timeout: float | None = None) -> None:  # noqa: ARG002  kafka-python's signature
        """Note it."""
        self.closed = True

    def of(self, topic: str) -> list[dict[str, Any]]:
        """Records sent to a topic."""
        return [record for record in self.sent if record["topic"] == topic]

    @staticmethod
    def _in_thread(call: Callable[[], object]) -> None:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()


class NobodyErased:
    """Nobody has asked to be erased."""

    async def known(self) -> None:
        """Return at once."""

    def holds(self, raw: RawEvent, network: Network) -> bool:  # noqa: ARG002  the port's signature
        """Return False."""
        return False


class HeldLease:
    """A lease that is given and taken by the test."""

    def __init__(self, *, held: bool = True, generation: int = 1) -> None:
        self.held = asyncio.Event()
        self.lost = asyncio.Event()
        self.generation = generation
        if held:
            self.give(generation)
        else:
            self.take()

    def start(self) -> None:
        """Nothing to join."""

    async def stop(self) -> None:
        """Nothing to leave."""

    def give(self, generation: int) -> None:
        """Give the lease."""
        self.generation = generation
        self.lost.clear()
        self.held.set()

    def take(self) -> None:
        """Take it away."""
        self.held.clear()
        self.lost.set()


class ScriptedPoller:
    """Yields for each channel what the script of its next round says; without scripts, nothing.

    Args:
        rounds: by channel, the scripts of its rounds; an exception in a script is raised.

    Attributes:
        confirms: whether it says that asking confirms.
        asked: channel and cursor of every round, in order.
        most_at_once: how many rounds ran at the same time at most.
    """

    def __init__(self, rounds: Mapping[str, Sequence[Sequence[object]]]) -> None:
        self.source = "script"
        self.confirms = False
        self.rounds = {channel: list(scripts) for channel, scripts in rounds.items()}
        self.asked: list[tuple[str, str | None]] = []
        self.running: set[str] = set()
        self.most_at_once = 0

    def channels(self) -> Sequence[str]:
        """Return the channels that have scripts."""
        return list(self.rounds)

    async def poll(
        self, channel: str, cursor: str | None
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Play the channel's next round."""
        assert channel not in self.running, "one channel is polled twice at once"
        self.running.add(channel)
        self.most_at_once = max(self.most_at_once, len(self.running))
        self.asked.append((channel, cursor))
        try:
            await asyncio.sleep(0)
            for item in self.rounds[channel].pop(0) if self.rounds[channel] else []:
                if item is ScriptedClient.WAIT:
                    await asyncio.Event().wait()
                if isinstance(item, Exception):
                    raise item
                assert isinstance(item, Arrival | Report)
                yield item
        finally:
            self.running.discard(channel)


class ScriptedClient:
    """Yields what each call's script says: arrivals, gaps, or an exception to raise.

    A script that ends with `WAIT` stays open.
    """

    WAIT = object()

    def __init__(self, *scripts: Sequence[object]) -> None:
        self.source = "script"
        self.scripts = list(scripts)
        self.asked: list[str | None] = []

    async def arrivals(self, cursor: str | None) -> AsyncGenerator[Arrival | Report, None]:
        """Play the next script."""
        self.asked.append(cursor)
        script = self.scripts.pop(0) if self.scripts else [self.WAIT]
        for item in script:
            if item is self.WAIT:
                await asyncio.Event().wait()
            if isinstance(item, Exception):
                raise item
            assert isinstance(item, Arrival | Report)
            yield item
