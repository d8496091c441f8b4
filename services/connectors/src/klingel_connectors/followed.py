"""Following compacted topics whole, in a thread of its own and without a group.

Every process needs all of what lies there: each reads the topics from their beginning, says when it
has caught up, and goes on reading. While Kafka is away, what was read stays true.

What is written later is known within five seconds: an idle reader asks every two seconds, by a fetch
whose answer it takes at the next turn. Whoever asks often takes the interpreter from a busy
gateway's event loop each time, for nothing.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from klingel.contracts.connection import opened
from klingel.contracts.topics import Topic
from klingel.settings import KafkaSettings
from klingel_connectors import broker

_RETRY_SECONDS = 1.0
_IDLE_SECONDS = 2.0

Take = Callable[[Topic, Any], bool]
"""Takes a record of a topic; True when something changed that `renew` has to be told of."""


class Following:
    """Reads every partition of some topics from the beginning and goes on.

    Args:
        kafka: how to reach it.
        topics: logical names.
        name: of the thread, and of the reader at the broker.
        take: called in the thread for each record, in partition order; must not raise.
        renew: called in the thread once all was read that was there at the start, and from then on
            after each batch in which something changed.
        connect: opens a consumer with the options given; blocks; raises kafka-python's errors.
        wait: waits that many seconds between two rounds; None: until `stop` at the latest.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Sequence[Topic],
        *,
        name: str,
        take: Take,
        renew: Callable[[], None],
        connect: Callable[..., Any] | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._kafka = kafka
        self._topics = {broker.physical(kafka, topic): topic for topic in topics}
        self._name = name
        self._take = take
        self._renew = renew
        self._log = structlog.get_logger()
        self._connect = connect or partial(opened, KafkaConsumer)
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following; blocks a moment."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(3.0)

    # --- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except (kafka_errors.KafkaError, OSError, LookupError) as error:
                self._log.warning(
                    "topics_awaited", instance=self._name, error_class=type(error).__name__
                )
            self._wait(_RETRY_SECONDS)

    def _follow(self) -> None:
        consumer = self._connect(
            **broker.connection(self._kafka, self._name),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        try:
            places = [
                TopicPartition(name, partition)
                for name in self._topics
                for partition in _partitions(consumer, name)
            ]
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places)
            caught_up = False
            while not self._stopping.is_set():
                batches = consumer.poll(timeout_ms=0 if caught_up else 500)
                changed = self._read(batches)
                if caught_up and not batches:
                    # Waiting inside its poll, kafka-python takes a sixth of a busy gateway's core.
                    self._wait(_IDLE_SECONDS)
                if not caught_up:
                    caught_up = all(consumer.position(place) >= ends[place] for place in places)
                    changed = caught_up
                if changed and caught_up:
                    self._renew()
        finally:
            consumer.close(timeout_ms=2_000)

    def _read(self, batches: Mapping[Any, Sequence[Any]]) -> bool:
        """Take records; True when one of them changed something."""
        changed = False
        for place, records in batches.items():
            topic = self._topics[place.topic]
            for record in records:
                changed |= self._take(topic, record)
        return changed


def _partitions(consumer: Any, name: str) -> set[int]:
    found: set[int] | None = consumer.partitions_for_topic(name)
    if not found:
        raise LookupError(name)
    return found
