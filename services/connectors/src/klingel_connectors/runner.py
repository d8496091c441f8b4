"""The one loop of every connector that polls or streams.

client → explode → identify → publish → cursor. The client talks, the mapping decides what things
are, and this shell keeps the promises: nothing is read without the lease, nothing is saved before
it is acknowledged, a network that is away is tried again by the back-off table, and SIGTERM ends
with everything flushed that could be flushed within the grace period.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from kafka import errors as kafka_errors

from klingel.clock import Clock
from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    InvalidMessage,
    RetryableError,
)
from klingel.metrics import Metric, Metrics
from klingel.model import ConnectorCursor
from klingel.stage.fates import Fate
from klingel.stage.guard import BrakePulled
from klingel_connectors.books import Books
from klingel_connectors.cursor import (
    Prefix,
    Slot,
    cursor_output,
    next_epoch,
    saved_cursor,
)
from klingel_connectors.intake import Intake, Record
from klingel_connectors.lease import lease_output
from klingel_connectors.ports import CursorReader, LeasePort
from klingel_connectors.publisher import Done, Publisher
from klingel_connectors.raw import Origin, TurnedAway
from klingel_connectors.status import (
    EVERY_SECONDS,
    STATES,
    Credential,
    Health,
    State,
    gap_output,
    status_output,
)
from klingel_networks.arrival import Arrival, Client, Gap

BACK_OFF = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds between attempts where the manifest gives no table of the network's own."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a connector runs.

    Attributes:
        back_off: seconds before the next attempt, by attempt; the last one repeats.
        grace_seconds: how long a stop may take to flush.
        exit_when_finished: whether a source with an end ends the process.
        tick_seconds: between two rounds of housekeeping; cursors are saved that often at most.
        credential: what state the credential is in while all is well.
    """

    back_off: Sequence[float] = BACK_OFF
    grace_seconds: float = 20.0
    exit_when_finished: bool = False
    tick_seconds: float = 1.0
    credential: Credential = "none"


class Runner:
    """Runs one connector instance until `stop` is set or its source ends.

    Args:
        client: the talking half.
        origin: who listens.
        intake: deliveries to records.
        publisher: already made, not yet started.
        lease: single-holder lease.
        read_cursor: reads the stored cursor.
        books: counts of fates.
        metrics: Prometheus.
        clock: time.
        plan: how it runs.
        stop: set by SIGTERM.
    """

    def __init__(
        self,
        *,
        client: Client,
        origin: Origin,
        intake: Intake,
        publisher: Publisher,
        lease: LeasePort,
        read_cursor: CursorReader,
        books: Books,
        metrics: Metrics,
        clock: Clock,
        plan: Plan,
        stop: asyncio.Event,
    ) -> None:
        self._client = client
        self._origin = origin
        self._intake = intake
        self._publisher = publisher
        self._lease = lease
        self._read_cursor = read_cursor
        self._books = books
        self._metrics = metrics
        self._clock = clock
        self._plan = plan
        self._stop = stop
        self._log = structlog.get_logger()
        self.health = Health(credential=plan.credential)
        self._prefix = Prefix()
        self._epoch = 0
        self._resume: str | None = None
        self._saved: str | None = None
        self._saved_at: datetime | None = None
        self._saved_finished = False
        self._finished = False
        self._next_status = 0.0
        self._attempt = 0
        self._letters: set[asyncio.Task[None]] = set()

    # --- the way through -----------------------------------------------------------------------

    async def run(self) -> None:
        """Run to the end.

        Raises:
            ConfigurationError: the client cannot read what it was told to read.
        """
        self._turn("starting", "waiting for Kafka")
        starting = asyncio.create_task(self._publisher.start())
        await self._first(starting)
        if not starting.done():
            starting.cancel()
            return
        await starting
        self._lease.start()
        keeping = asyncio.create_task(self._keep_house())
        try:
            await self._hold_and_read()
        except ConfigurationError as error:
            self._turn("failed", str(error))
            raise
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
            await self._shut_down()

    async def _hold_and_read(self) -> None:
        while not self._stop.is_set():
            if not self._lease.held.is_set():
                self._turn("waiting", "waiting for the lease")
                await self._first_of_events(self._lease.held)
                continue
            await self._take_up()
            if self._stop.is_set() or self._lease.lost.is_set():
                continue
            reading = asyncio.create_task(self._read_until_over())
            await self._first_of_events(self._lease.lost, task=reading)
            if not reading.done():
                reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
            if self._finished and self._plan.exit_when_finished:
                while not self._stop.is_set() and not await self._publisher.flush(
                    self._plan.tick_seconds
                ):
                    continue
                return

    async def _take_up(self) -> None:
        """Learn where to resume, and under which epoch to save."""
        stored = await self._stored()
        self._epoch = next_epoch(self._lease.generation, stored)
        self._resume = None if stored is None else stored.cursor
        self._saved, self._saved_finished = self._resume, bool(stored and stored.finished)
        self._saved_at = None if stored is None else stored.saved_at
        self._prefix = Prefix()
        self._finished = False
        taken = lease_output(
            self._origin.instance, self._origin.holder, self._epoch, self._clock.now()
        )
        await self._publisher.publish(taken, _ignore)

    async def _stored(self) -> ConnectorCursor | None:
        wait = 0
        while not self._stop.is_set():
            try:
                return await asyncio.to_thread(
                    self._read_cursor, self._origin.instance, self._client.source
                )
            except (kafka_errors.KafkaError, RetryableError, OSError) as error:
                self._turn("waiting", "the stored cursor cannot be read yet")
                self._log.warning("cursor_awaited", error_class=type(error).__name__)
                await self._pause(self._delay(wait))
                wait += 1
        return None

    async def _read_until_over(self) -> None:
        """Read with reconnects until the source ends, the lease goes or we stop."""
        self._attempt = 0
        while True:
            try:
                await self._read()
            except CredentialsRejected as error:
                self.health.credential = "revoked"
                self._turn("failed", str(error))
                await self._stop.wait()
            except RetryableError as error:
                self._turn("waiting", str(error))
                self._metrics.count(Metric.RECONNECTS, reason=type(error).__name__)
                delay = error.retry_after or self._delay(self._attempt)
                self._attempt += 1
                await self._pause(delay)
            except BrakePulled as error:
                self._turn("failed", str(error))
                await self._stop.wait()
            else:
                if self._stop.is_set():
                    return
                self._finished = True
                self._turn("finished")
                if not self._plan.exit_when_finished:
                    await self._stop.wait()
                return
            if self._stop.is_set():
                return

    async def _read(self) -> None:
        arrivals = self._client.arrivals(self._resume)
        self._turn("running")
        try:
            async for arrival in arrivals:
                if isinstance(arrival, Gap):
                    await self._gap(arrival)
                    continue
                if not isinstance(arrival, Arrival):
                    continue
                if arrival.gap_seconds:
                    self._metrics.count(Metric.GAP_SECONDS, arrival.gap_seconds)
                    self._log.error("gap_closed", seconds=round(arrival.gap_seconds, 1))
                await self._take(arrival)
                self._resume = arrival.cursor
                self._attempt = 0
                if self._stop.is_set():
                    return
        finally:
            if isinstance(arrivals, AsyncGenerator):
                await arrivals.aclose()

    async def _take(self, arrival: Arrival) -> None:
        """Publish one delivery's records; its cursor follows their acknowledgement."""
        now = self._clock.now()
        records: list[Record] = []
        if arrival.delivery is not None:
            self.health.last_event_at = now
            results = self._intake.read(arrival.delivery, arrival.mode, arrival.received_at or now)
            records = await self._intake.records(results)
        slot = self._prefix.open(arrival.cursor, len(records))
        for record in records:
            await self._publisher.publish(record.output, self._done(slot, record))

    def _done(self, slot: Slot, record: Record) -> Done:
        def done(error: InvalidMessage | None) -> None:
            if error is not None and record.fate is Fate.DELIVERED:
                task = asyncio.ensure_future(self._turn_away(slot, record, error))
                self._letters.add(task)
                task.add_done_callback(self._letters.discard)
                return
            self._intake.settled(record, error)
            slot.acknowledge()

        return done

    async def _turn_away(self, slot: Slot, record: Record, error: InvalidMessage) -> None:
        """Kafka can never store this record: its bytes become a dead letter instead."""
        letter = (await self._intake.records([TurnedAway(record.output.value or b"", error)]))[0]
        await self._publisher.publish(letter.output, self._done(slot, letter))

    async def _gap(self, gap: Gap) -> None:
        self._log.error("gap_opened", reason=gap.cause, instance=self._origin.instance)
        self._turn("failed", f"gap {gap.cause}: {gap.sentence}")
        record = gap_output(self._origin, gap, self._clock.now())
        await self._publisher.publish(record, _ignore)
        await self._report()
        self._turn("running", f"after gap {gap.cause}")

    # --- housekeeping --------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        """Every second: cursor, ledger, metrics; status at changes and every 10 s."""
        while True:
            await asyncio.sleep(self._plan.tick_seconds)
            self._measure()
            self._tell_what_we_wait_for()
            await self._save_cursor()
            await self._write_books()
            if self._clock.monotonic() >= self._next_status:
                await self._report()

    async def _save_cursor(self) -> None:
        position = self._prefix.position()
        finished = self._finished and not self._prefix.pending
        if position is None or not self._lease.held.is_set():
            if not (finished and self._resume is not None and self._lease.held.is_set()):
                return
            position = self._resume
        if (position, finished) == (self._saved, self._saved_finished):
            return
        now = self._clock.now()
        record = saved_cursor(
            self._origin.instance,
            self._client.source,
            position,
            self._origin.holder,
            self._epoch,
            now,
            finished=finished,
        )
        await self._publisher.publish(cursor_output(record), _ignore)
        self._saved_at = now
        self._saved, self._saved_finished = position, finished
        self.health.cursor = position

    async def _write_books(self) -> None:
        line = self._books.close(self._clock.now())
        if line is not None:
            await self._publisher.publish(line, _ignore)

    def _measure(self) -> None:
        self.health.in_flight = self._publisher.in_flight
        self.health.published = self._publisher.acknowledged
        self._metrics.set(Metric.IN_FLIGHT_MESSAGES, self._publisher.in_flight)
        self._metrics.set(Metric.IN_FLIGHT_BYTES, self._publisher.in_flight_bytes)
        self._metrics.set(Metric.OLDEST_SECONDS, self._publisher.oldest_seconds())
        if self._saved_at is not None:
            age = (self._clock.now() - self._saved_at).total_seconds()
            self._metrics.set(Metric.CURSOR_AGE_SECONDS, max(0.0, age))

    def _tell_what_we_wait_for(self) -> None:
        if self.health.state != "running":
            return
        waiting_for = self._publisher.waiting_for()
        if waiting_for and not self.health.reason:
            self._log.warning("kafka_awaited", waiting_for=waiting_for)
            self.health.reason = f"waiting for {waiting_for}"
        elif not waiting_for and self.health.reason.startswith("waiting for "):
            self.health.reason = ""

    def _turn(self, state: State, reason: str = "") -> None:
        if not self.health.turn(state, reason):
            return
        self._next_status = 0.0
        self._log.info("state_changed", state=state, reason=reason, instance=self._origin.instance)
        for known in STATES:
            self._metrics.set(Metric.STATE, 1.0 if known == state else 0.0, state=known)

    async def _report(self) -> None:
        self._next_status = self._clock.monotonic() + EVERY_SECONDS
        self._measure()
        record = status_output(self._origin, self.health, self._clock.now())
        await self._publisher.publish(record, _ignore)

    async def _shut_down(self) -> None:
        """Flush, save, say so, leave: all within the grace period."""
        grace = self._plan.grace_seconds
        flushed = await self._publisher.flush(grace / 2)
        if not flushed:
            self._log.warning("flush_incomplete", in_flight=self._publisher.in_flight)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace / 4):
                await self._save_cursor()
                await self._write_books()
                if self.health.state not in {"failed", "finished"}:
                    self._turn("stopped")
                await self._report()
        await self._publisher.close(grace / 4)
        await self._lease.stop()
        self._log.info("connector_stopped", instance=self._origin.instance)

    # --- waiting -------------------------------------------------------------------------------

    def _delay(self, attempt: int) -> float:
        return self._plan.back_off[min(attempt, len(self._plan.back_off) - 1)]

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _first(self, task: "asyncio.Task[None]") -> None:
        await self._first_of_events(task=task)

    async def _first_of_events(
        self, *events: asyncio.Event, task: "asyncio.Task[None] | None" = None
    ) -> None:
        """Wait until the stop, one of the events, or the task's end."""
        waits: list[asyncio.Task[Any]] = [
            asyncio.create_task(event.wait()) for event in (self._stop, *events)
        ]
        try:
            everything: list[asyncio.Task[Any]] = [*waits]
            if task is not None:
                everything.append(task)
            await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _ignore(_error: InvalidMessage | None) -> None:
    """Our own small records always fit; nothing waits for them."""
