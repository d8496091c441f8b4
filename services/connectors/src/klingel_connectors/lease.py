"""The lease: one holder at a time, by membership in a consumer group over one partition (K7).

Whoever is given the partition of `connector-leases` holds the lease of that group. When the group
takes it away, or the broker has not heard of us for the session timeout, it is lost and reading
stops. A holder that was frozen learns of its loss when it wakes; what it may still save carries its
old epoch, which readers ignore.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka import errors as kafka_errors

from klingel.contracts import codec
from klingel.contracts.connection import opened
from klingel.contracts.envelope import Output, ce_headers, trace_id
from klingel.contracts.topics import Topic
from klingel.model import ConnectorLease
from klingel.settings import KafkaSettings
from klingel_connectors import broker

_RETRY_SECONDS = 1.0
_ANSWER_SECONDS = (10.0, 45.0)
"""Least and most that a group may take to say whether the lease is ours; then we join anew."""


def lease_output(instance: str, holder: str, epoch: int, now: datetime) -> Output:
    """Return the record that tells of a lease taken."""
    return Output(
        topic=Topic.CONNECTOR_LEASES,
        key=instance.encode(),
        value=codec.encode(
            ConnectorLease(instance=instance, holder=holder, epoch=epoch, acquired_at=now)
        ),
        headers=ce_headers(
            Topic.CONNECTOR_LEASES,
            event_id=f"{instance}@{epoch}",
            source=f"klingel/connector/{instance}",
            subject=instance,
            time=now,
            trace=trace_id(instance),
        ),
    )


class Lease:
    """Membership in `<group prefix>lease-<instance>`.

    Args:
        kafka: how to reach Kafka.
        instance: whose lease.
        holder: our name in the group; with `static` it is a static member, which gets its lease
            back at once after a crash and fences a twin of the same name.
        static: whether the holder's name is unique and lasting (a pod's name).
    """

    def __init__(
        self, kafka: KafkaSettings, instance: str, holder: str, *, static: bool = False
    ) -> None:
        self._kafka = kafka
        self._instance = instance
        self._holder = holder
        self._static = static
        self._log = structlog.get_logger()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.held = asyncio.Event()
        self.lost = asyncio.Event()
        self.generation = 0
        self.lost.set()

    def start(self) -> None:
        """Join, in a thread of its own; `held` is set when the lease is ours."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Leave, so that another may take over at once."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 5.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._join()
            except (kafka_errors.KafkaError, OSError) as error:
                self._log.warning("lease_awaited", error_class=type(error).__name__)
            self._tell(self._gone)
            self._stopping.wait(_RETRY_SECONDS)

    def _join(self) -> None:
        session = int(self._kafka.session_timeout_seconds * 1000)
        consumer = opened(
            KafkaConsumer,
            **broker.connection(self._kafka, f"{self._instance}-lease"),
            group_id=f"{self._kafka.group_prefix}lease-{self._instance}",
            group_instance_id=self._holder if self._static else None,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            session_timeout_ms=session,
            heartbeat_interval_ms=max(300, session // 3),
            max_poll_interval_ms=max(60_000, session * 2),
        )
        try:
            topic = broker.physical(self._kafka, Topic.CONNECTOR_LEASES)
            listener = _Listener(self, consumer)
            consumer.subscribe([topic], listener=listener)
            # A leader of the group that does not know the topic yet would give it to nobody. Asked
            # after subscribing: kafka-python takes the first word about a subscribed topic that
            # comes after it has joined for news, and joins anew (docs/gotchas.md).
            if topic not in consumer.topics():
                raise kafka_errors.UnknownTopicOrPartitionError(
                    "the lease's topic is not known yet"
                )
            least, most = _ANSWER_SECONDS
            patience = min(most, max(least, 4 * self._kafka.session_timeout_seconds))
            while not self._stopping.is_set():
                consumer.poll(timeout_ms=300)
                if listener.waits_for() > patience:
                    raise kafka_errors.KafkaTimeoutError("the group does not answer")
        finally:
            consumer.close(autocommit=False, timeout_ms=3_000)

    def taken(self, generation: int) -> None:
        """The group gave us the partition; called in the lease's thread."""
        self._tell(lambda: self._take(generation))

    def given_up(self) -> None:
        """The group took the partition away; called in the lease's thread."""
        self._tell(self._gone)

    def _take(self, generation: int) -> None:
        self.generation = generation
        self.lost.clear()
        self.held.set()
        self._log.info("lease_taken", instance=self._instance, generation=generation)

    def _gone(self) -> None:
        if self.held.is_set() and not self._stopping.is_set():
            self._log.warning("lease_lost", instance=self._instance)
        self.held.clear()
        self.lost.set()

    def _tell(self, change: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(change)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python ships no types
    """Passes the group's decisions on."""

    def __init__(self, lease: Lease, consumer: Any) -> None:
        self._lease = lease
        self._consumer = consumer
        self._asked_at: float | None = time.monotonic()

    def waits_for(self) -> float:
        """Return for how many seconds the group has owed an answer; 0 when it owes none."""
        return 0.0 if self._asked_at is None else time.monotonic() - self._asked_at

    def on_partitions_revoked(self, revoked: set[Any]) -> None:
        # The group is joined again: that may stay without an answer as the first time.
        self._asked_at = time.monotonic()
        if revoked:
            self._lease.given_up()

    def on_partitions_lost(self, lost: set[Any]) -> None:
        self._asked_at = time.monotonic()
        if lost:
            self._lease.given_up()

    def on_partitions_assigned(self, assigned: set[Any]) -> None:
        self._asked_at = None
        if assigned:
            self._consumer.pause(*assigned)
            self._lease.taken(self._consumer.group_metadata().generation_id)
