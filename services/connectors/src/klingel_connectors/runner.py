"""The one loop of every connector that polls or streams.

client → explode → identify → publish → cursor. The client talks, the mapping decides what things
are, and this shell keeps the promises: nothing is read without the lease, nothing is saved before
it is acknowledged, a network that is away is tried again by the back-off table, and SIGTERM ends
with everything flushed that could be flushed within the grace period.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

import structlog
from kafka import errors as kafka_errors

from klingel.clock import Clock
from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    InvalidMessage,
    InvariantViolation,
    RateLimited,
    RetryableError,
)
from klingel.metrics import Metric, Metrics
from klingel.model import ConnectorCursor
from klingel.stage.fates import Fate
from klingel.stage.guard import BrakePulled
from klingel_connectors import gaps
from klingel_connectors.books import Books
from klingel_connectors.credentials import Standing, standing, worst
from klingel_connectors.cursor import (
    Prefix,
    Slot,
    cursor_output,
    next_epoch,
    saved_cursor,
)
from klingel_connectors.gaps import Entry, Ledger
from klingel_connectors.intake import Intake, Record
from klingel_connectors.lease import lease_output
from klingel_connectors.permits import RuntimePermits
from klingel_connectors.ports import BeforeReader, CursorReader, CursorsReader, LeasePort
from klingel_connectors.publisher import Done, Publisher
from klingel_connectors.raw import Heard, Origin, TurnedAway
from klingel_connectors.rounds import Schedule
from klingel_connectors.standstill import ROUND_SECONDS, Pulse, Sign
from klingel_connectors.status import (
    CREDENTIALS,
    EVERY_SECONDS,
    STATES,
    Before,
    Health,
    State,
    gap_output,
    status_output,
)
from klingel_networks.arrival import (
    Arrival,
    Away,
    Client,
    Credential,
    CredentialState,
    Gap,
    GapClosed,
    PollClient,
    Report,
    Table,
)

BACK_OFF = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds between attempts where the manifest gives no table of the network's own."""

POLL_SECONDS = 60.0
"""Between two rounds over a channel where the manifest does not say."""

_T = TypeVar("_T")
_CHANNEL_LENGTH = 120
_IDLE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a connector runs.

    Attributes:
        back_off: seconds before the next attempt, by attempt; the last one repeats.
        tables: the network's own tables, for what they are for.
        jitter: factor of each wait; at least 1, so that no published table is undercut.
        grace_seconds: how long a stop may take to flush.
        exit_when_finished: whether a source with an end ends the process.
        tick_seconds: between two rounds of housekeeping; cursors are saved that often at most.
        credential: what state the credential is in while all is well.
        poll_seconds: from the start of a round over a channel to the start of the next.
        rounds_at_once: most channels polled at the same time.
    """

    back_off: Sequence[float] = BACK_OFF
    tables: Mapping[Table, Sequence[float]] = field(default_factory=dict)
    jitter: Callable[[], float] = lambda: 1.0
    grace_seconds: float = 20.0
    exit_when_finished: bool = False
    tick_seconds: float = 1.0
    credential: CredentialState = "none"
    poll_seconds: float = POLL_SECONDS
    rounds_at_once: int = 64


@dataclass(slots=True, eq=False)
class _Reading:
    """One channel that is read: where it resumes, what is on its way, how often it failed.

    Attributes:
        channel: its name; empty for a stream, which has but one.
        source: of its cursor's key.
        word_at: when its round began, or last told anything: seconds of a monotonic clock.
    """

    channel: str
    source: str
    resume: str | None = None
    prefix: Prefix = field(default_factory=Prefix)
    saved: str | None = None
    saved_finished: bool = False
    finished: bool = False
    attempt: int = 0
    rest: float = 0.0
    word_at: float = 0.0


class Runner:
    """Runs one connector instance until `stop` is set or its source ends.

    Args:
        client: the talking half; one with `poll` is polled, channel by channel.
        origin: who listens.
        intake: deliveries to records.
        publisher: already made, not yet started.
        lease: single-holder lease.
        read_cursor: reads the stored cursor of a stream.
        books: counts of fates.
        metrics: Prometheus.
        clock: time.
        plan: how it runs.
        stop: set by SIGTERM.
        read_cursors: reads the stored cursors of all channels; needed for a client that polls.
        read_before: reads what an earlier process told of gaps and spending, and waits until it is
            known what others have spent; None: nothing.
        permits: limits and spending, for the status.
    """

    def __init__(
        self,
        *,
        client: Client | PollClient,
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
        read_cursors: CursorsReader | None = None,
        read_before: BeforeReader | None = None,
        permits: RuntimePermits | None = None,
    ) -> None:
        self._client = client
        self._polls = hasattr(client, "poll")
        self._origin = origin
        self._intake = intake
        self._publisher = publisher
        self._lease = lease
        self._read_cursor = read_cursor
        self._read_cursors = read_cursors
        self._read_before = read_before
        self._permits = permits
        self._books = books
        self._metrics = metrics
        self._clock = clock
        self._plan = plan
        self._stop = stop
        self._log = structlog.get_logger()
        self.health = Health(credential=plan.credential)
        self._readings: dict[str, _Reading] = {}
        self._dirty: set[_Reading] = set()
        self._stored_cursors: Mapping[str, ConnectorCursor] = {}
        self._schedule: Schedule | None = None
        self._epoch = 0
        self._saved_at: datetime | None = None
        self._finished = False
        self._next_status = 0.0
        self._letters: set[asyncio.Task[None]] = set()
        self._ledger = Ledger()
        self._credentials: dict[str, Credential] = {}
        self._refused: set[str] = set()
        self._standing = Standing(plan.credential)
        self._rounds: dict[asyncio.Task[None], tuple[_Reading, float]] = {}
        self._pulse = Pulse(clock)

    def signs(self) -> list[Sign]:
        """Return by what a standstill of this connector is seen."""
        return [
            Sign("its housekeeping does not come round", self._pulse.still),
            Sign("Kafka answers and acknowledges nothing", self._publisher.oldest_seconds),
            Sign("a channel is due and not asked", self._overdue),
            Sign("a round over a channel does not end", self._silent, ROUND_SECONDS),
        ]

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
        """Learn where to resume, what is still open, and under which epoch to save."""
        self._stored_cursors = await self._stored(self._all_cursors, {})
        newest = max(self._stored_cursors.values(), key=_by_epoch, default=None)
        self._epoch = next_epoch(self._lease.generation, newest)
        self._saved_at = None if newest is None else newest.saved_at
        self._readings = {}
        self._dirty = set()
        self._finished = False
        self._credentials = {}
        self._refused = set()
        if self._read_before is not None:
            read = self._read_before
            before = await self._stored(lambda: read(self._origin.instance), Before())
            self._ledger = before.ledger
            if self._permits is not None:
                self._permits.purse.inherit(before.spent)
        if not self._polls:
            self._reading("")
        taken = lease_output(
            self._origin.instance, self._origin.holder, self._epoch, self._clock.now()
        )
        await self._publisher.publish(taken, _ignore)

    def _all_cursors(self) -> Mapping[str, ConnectorCursor]:
        """Read the stored cursors; blocks."""
        instance, source = self._origin.instance, self._client.source
        if not self._polls:
            stored = self._read_cursor(instance, source)
            return {} if stored is None else {source: stored}
        return {} if self._read_cursors is None else self._read_cursors(instance)

    async def _stored(self, read: Callable[[], _T], nothing: _T) -> _T:
        wait = 0
        while not self._stop.is_set():
            try:
                return await asyncio.to_thread(read)
            except (kafka_errors.KafkaError, RetryableError, OSError) as error:
                self._turn("waiting", "the stored cursor cannot be read yet")
                self._log.warning("cursor_awaited", error_class=type(error).__name__)
                await self._pause(self._step(self._plan.back_off, wait))
                wait += 1
        return nothing

    def _reading(self, channel: str) -> _Reading:
        """Return the reading of a channel, resumed where its stored cursor stands."""
        found = self._readings.get(channel)
        if found is None:
            source = f"{self._client.source}/{channel}" if channel else self._client.source
            stored = self._stored_cursors.get(source)
            found = _Reading(channel, source)
            if stored is not None:
                found.resume = found.saved = stored.cursor
                found.saved_finished = bool(stored.finished)
            self._readings[channel] = found
        return found

    # --- reading a stream ----------------------------------------------------------------------

    async def _read_until_over(self) -> None:
        """Read with reconnects until the source ends, the lease goes or we stop."""
        if self._polls:
            await self._poll_until_over(cast("PollClient", self._client))
            return
        reading = self._reading("")
        client = cast("Client", self._client)
        while True:
            try:
                await self._read(reading, client)
            except CredentialsRejected as error:
                self._credential(reading, Credential(revoked=True, sentence=str(error)))
                self._turn("failed", str(error))
                await self._stop.wait()
            except RetryableError as error:
                self._turn("waiting", str(error))
                self._metrics.count(Metric.RECONNECTS, reason=type(error).__name__)
                delay = self._delay(error, reading.attempt)
                reading.attempt += 1
                await self._pause(delay)
            except BrakePulled as error:
                self._turn("failed", str(error))
                await self._stop.wait()
            else:
                if self._stop.is_set():
                    return
                self._finished = reading.finished = True
                self._turn("finished")
                if not self._plan.exit_when_finished:
                    await self._stop.wait()
                return
            if self._stop.is_set():
                return

    async def _read(self, reading: _Reading, client: Client) -> None:
        arrivals = client.arrivals(reading.resume)
        self._go_on()
        try:
            async for arrival in arrivals:
                await self._heard(reading, arrival)
                if self._stop.is_set():
                    return
        finally:
            if isinstance(arrivals, AsyncGenerator):
                await arrivals.aclose()

    async def _heard(self, reading: _Reading, arrival: Arrival | Report) -> None:
        reading.word_at = self._clock.monotonic()
        if isinstance(arrival, Gap):
            await self._gap(reading, arrival)
        elif isinstance(arrival, GapClosed):
            await self._gap_closed(reading, arrival)
        elif isinstance(arrival, Credential):
            self._credential(reading, arrival)
        elif isinstance(arrival, Arrival):
            if arrival.gap_seconds:
                self._metrics.count(Metric.GAP_SECONDS, arrival.gap_seconds)
                self._log.error("gap_closed", seconds=round(arrival.gap_seconds, 1))
            await self._take(reading, arrival)
            reading.resume = arrival.cursor
            reading.attempt = 0
        else:
            reading.rest = arrival.seconds

    # --- polling -------------------------------------------------------------------------------

    async def _poll_until_over(self, client: PollClient) -> None:
        """Poll every channel in its turn until the lease goes or we stop."""
        schedule = self._schedule = Schedule(self._plan.poll_seconds)
        rounds = self._rounds = {}
        known: Sequence[str] | None = None
        self._turn("running")
        try:
            while not self._stop.is_set():
                now = self._clock.monotonic()
                channels = client.channels()
                # A tuple that is the same has not changed: thousands are not looked at each time.
                if channels is not known or not isinstance(channels, tuple):
                    schedule.sync(_checked(channels), now)
                    known = channels
                while len(rounds) < self._plan.rounds_at_once:
                    channel = schedule.take(now)
                    if channel is None:
                        break
                    reading = self._reading(channel)
                    rounds[asyncio.create_task(self._round(client, reading))] = (reading, now)
                due = schedule.next_due()
                full = len(rounds) >= self._plan.rounds_at_once
                wait = None if full else _IDLE_SECONDS if due is None else max(0.0, due - now)
                for task in await self._any(rounds, wait):
                    reading, began = rounds.pop(task)
                    self._over(schedule, reading, task, began)
        except BrakePulled as error:
            self._turn("failed", str(error))
            await self._stop.wait()
        finally:
            for task in rounds:
                task.cancel()
            await asyncio.gather(*rounds, return_exceptions=True)
            self._schedule, self._rounds = None, {}

    def _overdue(self) -> float:
        """Return the seconds for which a channel has been due although there was room for it."""
        due = None if self._schedule is None else self._schedule.next_due()
        if due is None or len(self._rounds) >= self._plan.rounds_at_once:
            return 0.0
        return max(0.0, self._clock.monotonic() - due)

    def _silent(self) -> float:
        """Return the seconds since the most silent round told anything; waiting for leave is none."""
        if self._permits is not None and self._permits.waits:
            return 0.0
        now = self._clock.monotonic()
        return max((now - reading.word_at for reading, _ in self._rounds.values()), default=0.0)

    async def _any(self, rounds: Mapping[asyncio.Task[None], Any], wait: float | None) -> list[Any]:
        """Return the rounds that are over, waiting for one, for `wait` seconds, or for the stop."""
        stopped = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait(
                [*rounds, stopped], timeout=wait, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            stopped.cancel()
        return [task for task in done if task is not stopped]

    async def _round(self, client: PollClient, reading: _Reading) -> None:
        reading.rest = 0.0
        reading.word_at = self._clock.monotonic()
        # What asking confirms may be asked for only once it is durable here.
        confirms = getattr(client, "confirms", False)
        arrivals = client.poll(reading.channel, reading.saved if confirms else reading.resume)
        try:
            async for arrival in arrivals:
                await self._heard(reading, arrival)
                if self._stop.is_set():
                    return
        finally:
            if isinstance(arrivals, AsyncGenerator):
                await arrivals.aclose()

    def _over(
        self, schedule: Schedule, reading: _Reading, task: "asyncio.Task[None]", began: float
    ) -> None:
        """Decide when a channel is polled again.

        Raises:
            ConfigurationError, BrakePulled, InvariantViolation: as the round did.
        """
        now = self._clock.monotonic()
        error = task.exception()
        if error is None:
            reading.attempt = 0
            self._accepted(reading)
            schedule.done(reading.channel, began, now, reading.rest)
        elif isinstance(error, CredentialsRejected):
            self._credential(reading, Credential(revoked=True, sentence=str(error)))
            self._refused.add(reading.channel)
            schedule.parked(reading.channel, now)
        elif isinstance(error, RetryableError):
            self._metrics.count(Metric.RECONNECTS, reason=type(error).__name__)
            schedule.failed(reading.channel, now, self._delay(error, reading.attempt))
            reading.attempt += 1
        else:
            raise error
        self._tell_channels(schedule, error)

    def _tell_channels(self, schedule: Schedule, error: BaseException | None) -> None:
        waiting, parked = schedule.count("waiting"), schedule.count("parked")
        self.health.channels = len(schedule)
        self.health.channels_waiting = waiting + parked
        for state in ("fine", "waiting", "parked"):
            self._metrics.set(Metric.CHANNELS, schedule.count(state), state=state)
        if not waiting + parked:
            self._go_on()
        elif error is not None:
            said = f"{waiting + parked} of {len(schedule)} channels wait: {error}"
            if len(schedule) == 1:
                said = str(error)
            if parked == len(schedule):
                self._turn("failed", said)
            elif waiting + parked == len(schedule):
                self._turn("waiting", said)
            else:
                self._turn("running", said)

    # --- what arrived --------------------------------------------------------------------------

    async def _take(self, reading: _Reading, arrival: Arrival) -> None:
        """Publish one delivery's records; its cursor follows their acknowledgement."""
        now = self._clock.now()
        records: list[Record] = []
        if arrival.delivery is not None:
            self.health.last_event_at = now
            results = self._intake.read(arrival.delivery, arrival.mode, arrival.received_at or now)
            if arrival.mode == "gap_fill" and self._ledger.open:
                heard = sum(1 for result in results if isinstance(result, Heard))
                self._ledger = gaps.filled(self._ledger, reading.channel, heard)
            records = await self._intake.records(results)
        slot = reading.prefix.open(arrival.cursor, len(records))
        self._dirty.add(reading)
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

    async def _gap(self, reading: _Reading, gap: Gap) -> None:
        """Enter a gap: its record is durable before the cursor passes it."""
        now = self._clock.now()
        self._ledger, news = gaps.opened(self._ledger, gap, reading.channel, now)
        if not news:
            return
        self._log.error("gap_opened", reason=gap.cause, instance=self._origin.instance)
        self._turn("failed", f"gap {gap.cause}: {gap.sentence}")
        await self._enter(reading, news)
        await self._report()
        self._turn("running", f"after gap {gap.cause}")

    async def _gap_closed(self, reading: _Reading, end: GapClosed) -> None:
        self._ledger, news = gaps.closed(self._ledger, end, reading.channel, self._clock.now())
        for entry in news:
            began = entry.gap.began_at
            if entry.outcome != "filled" and began is not None and entry.ended_at is not None:
                lost = max(0.0, (entry.ended_at - began).total_seconds())
                self._metrics.count(Metric.GAP_SECONDS, lost)
            self._log.warning("gap_closed", outcome=entry.outcome, instance=self._origin.instance)
        await self._enter(reading, news)

    async def _enter(self, reading: _Reading, entries: Sequence[Entry]) -> None:
        now = self._clock.now()
        for entry in entries:
            slot = reading.prefix.open(reading.resume, 1)
            self._dirty.add(reading)

            def done(_error: InvalidMessage | None, slot: Slot = slot) -> None:
                slot.acknowledge()

            if entry.outcome != "open":
                self._metrics.count(Metric.GAPS_CLOSED, outcome=entry.outcome)
            await self._publisher.publish(gap_output(self._origin, entry, now), done)

    def _credential(self, reading: _Reading, told: Credential) -> None:
        self._credentials[reading.channel] = told
        self._judge()

    def _accepted(self, reading: _Reading) -> None:
        """A round went well: a refusal of the credential is over."""
        if reading.channel in self._refused:
            self._refused.discard(reading.channel)
            if self._credentials[reading.channel].revoked:
                del self._credentials[reading.channel]
            self._judge()

    def _judge(self) -> None:
        """Derive the credential's state; a change is told at once."""
        now, idle = self._clock.now(), self._plan.credential
        found = worst((standing(told, now, idle) for told in self._credentials.values()), idle)
        if found.state != self._standing.state:
            self._next_status = 0.0
            self._log.warning("credential_changed", state=found.state, sentence=found.sentence)
        self._standing = found
        self.health.credential, self.health.credential_days = found.state, found.days

    # --- housekeeping --------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        """Every second: cursor, ledger, metrics; status at changes and every 10 s."""
        while True:
            self._pulse.beat()
            await asyncio.sleep(self._plan.tick_seconds)
            self._measure()
            self._tell_what_we_wait_for()
            await self._save_cursor()
            await self._write_books()
            if self._clock.monotonic() >= self._next_status:
                await self._report()

    async def _save_cursor(self) -> None:
        """Save what moved, each channel under its own key."""
        if not self._lease.held.is_set():
            return
        for reading in list(
            self._dirty | {each for each in self._readings.values() if each.finished}
        ):
            await self._save(reading)

    async def _save(self, reading: _Reading) -> None:
        position = reading.prefix.position()
        if not reading.prefix.pending:
            self._dirty.discard(reading)
        finished = reading.finished and not reading.prefix.pending
        if position is None:
            if not finished or reading.resume is None:
                return
            position = reading.resume
        if (position, finished) == (reading.saved, reading.saved_finished):
            return
        now = self._clock.now()
        record = saved_cursor(
            self._origin.instance,
            reading.source,
            position,
            self._origin.holder,
            self._epoch,
            now,
            finished=finished,
        )
        await self._publisher.publish(cursor_output(record), _ignore)
        self._saved_at = now
        reading.saved, reading.saved_finished = position, finished
        if not self._polls:
            self.health.cursor = position

    async def _write_books(self, *, last: bool = False) -> None:
        line = self._books.close(self._clock.now())
        if line is not None:
            await self._publisher.publish(line, _ignore)
        spending = None if self._permits is None else self._permits.purse.output(last=last)
        if spending is not None:
            await self._publisher.publish(spending, _ignore)

    def _measure(self) -> None:
        self._judge()
        for known in CREDENTIALS:
            self._metrics.set(
                Metric.CREDENTIAL, 1.0 if known == self._standing.state else 0.0, state=known
            )
        if self._standing.days is not None:
            self._metrics.set(Metric.CREDENTIAL_DAYS, self._standing.days)
        self.health.gaps_open = len(self._ledger.open)
        self._metrics.set(Metric.GAPS_OPEN, self.health.gaps_open)
        if self._permits is not None:
            self._permits.purse.measure()
            self.health.spent = self._permits.purse.spent()
            self.health.limits = self._permits.told()
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

    def _go_on(self) -> None:
        """Turn to running; what the publisher still waits for goes on being the reason."""
        waiting_for = self._publisher.waiting_for()
        still = waiting_for and self.health.reason == f"waiting for {waiting_for}"
        self._turn("running", self.health.reason if still else "")

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
                await self._write_books(last=True)
                if self.health.state not in {"failed", "finished"}:
                    self._turn("stopped")
                await self._report()
        await self._publisher.close(grace / 4)
        await self._lease.stop()
        self._log.info("connector_stopped", instance=self._origin.instance)

    # --- waiting -------------------------------------------------------------------------------

    def _delay(self, error: RetryableError, attempt: int) -> float:
        """Return the seconds until the next attempt: the network's own word, its table, or ours."""
        if error.retry_after is not None:
            return error.retry_after
        tables = self._plan.tables
        table: Sequence[float] = self._plan.back_off
        if isinstance(error, Away):
            table = tables.get(error.table, table)
        elif isinstance(error, RateLimited):
            table = tables.get("rate_limited", table)
        return self._step(table, attempt)

    def _step(self, table: Sequence[float], attempt: int) -> float:
        return table[min(attempt, len(table) - 1)] * self._plan.jitter()

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


def _by_epoch(cursor: ConnectorCursor) -> tuple[int, datetime]:
    return cursor.epoch, cursor.saved_at


def _checked(channels: Sequence[str]) -> Sequence[str]:
    """Return the channels of a client; raises InvariantViolation for names that no key can hold."""
    for name in channels:
        if not 0 < len(name) <= _CHANNEL_LENGTH or not name.isprintable() or "|" in name:
            raise InvariantViolation("a client names a channel that no cursor's key can hold")
    return channels


def _ignore(_error: InvalidMessage | None) -> None:
    """Our own small records always fit; nothing waits for them."""
