"""The only loop of the processors: fetch, decide, commit as one, remember; for every owned number.

A number is the partition of that number of every input and every mirror of a stage: one writer, one
set of local tables, one lock. Positions, books and brake are those of each input.

Order of one batch, in a transaction of the number's own writer: outputs, mirrored state, ledger
line, input position. Local state follows once the transaction is committed, together with the
mirror's position. Whatever goes wrong in between, the number is opened again: the writer is fenced
anew, the committed positions are asked of Kafka, local state catches up from its mirror. What
timers cause is written in the same way, in transactions of their own.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from klingel import tracing
from klingel.clock import Clock
from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.errors import InvariantViolation, OwnershipLost, RetryableError, SourceUnavailable
from klingel.metrics import Metric, Metrics
from klingel.stage.batch import BatchResult, Coordinates, Overlay, history_needed, run_batch
from klingel.stage.dead_letters import Component
from klingel.stage.fates import Fate
from klingel.stage.guard import Brake, BrakePulled
from klingel.stage.ledger import Tally, brake_of, fired_of, ledger_output
from klingel.stage.ports import (
    Committed,
    Input,
    Log,
    Logic,
    Slot,
    StateTable,
    Transactions,
    Written,
)
from klingel.stage.progress import Progress, Standing
from klingel.stage.timers import TickResult, run_tick

LINE_SECONDS = 1.0
MANY = 50_000
"""Records of a mirror from which on a local table is filled rather than brought up to date."""
_ANSWER_SECONDS = 2.0
"""Within which Kafka answers a probe's question."""
WAIT_SECONDS = 0.2
"""From one look at a message that waits to the next, at the longest."""
TICK_FAILURES = 3
"""So many ticks in a row on which our own code raises, and the worker is not ready."""
REVOKE_SECONDS = 5.0
_BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0)
_TICK_BACK_OFF = (1, 2, 5, 10, 30, 60)
"""In looks at the timers."""
_ASKED = 64
"""So many ends of the inputs are remembered until they are reached."""
_BUSY = 64
"""Messages of one turn from which on a worker is busy."""


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Bounds of the loop.

    Attributes:
        batch_messages: messages of one fetch.
        batch_wait_seconds: longest wait of one fetch.
        busy_seconds: from one turn to the next of a worker that is busy and has kept up: a
            transaction costs the same for few messages as for many.
        settle_seconds: how long a worker that lost a partition waits for the group's word before
            it opens it again; two heartbeats, so that a frozen worker learns that it was replaced.
        doubt_seconds: how long Kafka is asked again when it denies a position although state was
            written: a coordinator that begins to serve before it has loaded denies everything.
        tick_seconds: from one look at the timers of a number to the next, and from one question
            for the ends of the inputs to the next.
    """

    batch_messages: int = 1000
    batch_wait_seconds: float = 0.1
    busy_seconds: float = 0.5
    settle_seconds: float = 6.0
    doubt_seconds: float = 60.0
    tick_seconds: float = 1.0


@dataclass(slots=True)
class Reading:
    """How far one input of a number is read, and its books.

    Attributes:
        topic: input.
        tally: books since the last line.
        next_offset: position to commit.
        reached: everything before it was read and decided; markers need no decision.
        line_due: when the next ledger line may be written.
        brake: of this input.
        begun: whether the group has a position; the next transaction gives it one.
    """

    topic: Topic
    tally: Tally
    next_offset: int
    reached: int
    line_due: float
    brake: Brake
    begun: bool
    wake_at: float | None = None
    """When the message at `next_offset`, which waits for another, is looked at again."""
    newest: datetime | None = None
    """When the newest message that is decided came to Kafka."""
    caught_up: datetime | None = None
    """When nothing lay ahead for the last time."""

    def waited(self, now: datetime, lag: int) -> float:
        """Return for how many seconds the oldest message ahead may have waited, at the most.

        It came after the newest decided one, and after nothing lay ahead.
        """
        if not lag:
            self.caught_up = now
        known = [at for at in (self.newest, self.caught_up) if at is not None]
        return max(0.0, (now - max(known)).total_seconds()) if known else 0.0


@dataclass(slots=True)
class Partition:
    """What a worker holds of one number that it owns and has opened.

    Attributes:
        number: of the partitions.
        logic: pure half.
        writer: transactional writer.
        tables: local state.
        readings: inputs, the primary one first.
        fired: number of the last timer that fired; 0 when unknown.
        tick_due: when timers are looked at again.
        tick_failures: ticks in a row on which our own code raised.
        asked: when the ends of the inputs were asked for, and what they were; the oldest first.
        read_to: see `Logic.tick`.
    """

    number: int
    logic: Logic
    writer: Transactions
    tables: Mapping[str, StateTable]
    readings: Mapping[Topic, Reading]
    fired: int = 0
    tick_due: float = 0.0
    tick_failures: int = 0
    asked: deque[tuple[datetime, Mapping[Topic, int]]] = field(default_factory=deque)
    read_to: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    closed: bool = False
    in_doubt: bool = False
    """A batch ended in the middle: what is remembered here may be outdated, or say too much."""

    @property
    def slots(self) -> list[Slot]:
        """The partitions of its inputs."""
        return [(topic, self.number) for topic in self.readings]

    def note_read(self) -> None:
        """Take over what was asked and has been reached."""
        while self.asked:
            at, ends = self.asked[0]
            if any(reading.reached < ends[topic] for topic, reading in self.readings.items()):
                return
            self.read_to = at
            self.asked.popleft()

    def is_closed(self) -> bool:
        """Whether it was let go of, perhaps while a batch was in hand."""
        return self.closed

    async def close(self) -> None:
        """Let go of writer and files."""
        self.closed = True
        for table in self.tables.values():
            table.close()
        await self.writer.close()


class BatchLoop:
    """Runs a stage over the partitions that its group gives it.

    Args:
        logic: builds the pure half of one number.
        source: membership in the inputs' group.
        log: for rebuilding state and reading back.
        writer: builds the transactional writer of a number.
        tables: opens the local tables of a number, by name.
        component: service, stage and holder, for dead letters and ledger.
        clock: time.
        metrics: metrics.
        settings: bounds.
        keep: stores an original that a dead letter must cut, and returns its address.
    """

    def __init__(
        self,
        *,
        logic: Callable[[int], Logic],
        source: Input,
        log: Log,
        writer: Callable[[int], Transactions],
        tables: Callable[[int], Mapping[str, StateTable]],
        component: Component,
        clock: Clock,
        metrics: Metrics,
        settings: BatchSettings,
        keep: Callable[[bytes], str] | None = None,
    ) -> None:
        self._logic = logic
        self._source = source
        self._log = log
        self._writer = writer
        self._tables = tables
        self._component = component
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._keep = keep
        self._assigned: set[int] = set()
        self._open: dict[int, Partition] = {}
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._paused: set[Slot] = set()
        self._failures: dict[int, int] = {}
        self._denied_at: dict[int, float] = {}
        self._asking: asyncio.Task[None] | None = None
        self._ask_due = 0.0
        self._stopping = asyncio.Event()
        self._fatal: Exception | None = None
        self._progress_at = clock.monotonic()
        self._progress = Progress()
        self.stalled_seconds = 0.0
        """For how long nothing was committed although messages wait that it could take."""

    @property
    def ready(self) -> bool:
        """Whether every assigned number is open, no brake is pulled and timers are looked at."""
        raising = any(held.tick_failures >= TICK_FAILURES for held in self._open.values())
        return not self._paused and not raising and self._assigned == set(self._open)

    @property
    def owned(self) -> set[int]:
        """Numbers that are open."""
        return set(self._open)

    def seconds_without_progress(self) -> float:
        """Return how long ago the loop last came round."""
        return self._clock.monotonic() - self._progress_at

    def stop(self) -> None:
        """Ask the loop to end after the batches in hand."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until `stop`; raises what no retry can mend."""
        try:
            await self._join()
            while not self._stopping.is_set():
                await self._turn()
        finally:
            await self._leave()

    async def _join(self) -> None:
        """Join the group; while Kafka is away, try again."""
        failures = 0
        while not self._stopping.is_set():
            try:
                await self._source.start(self._on_assigned, self._on_revoked)
            except SourceUnavailable as error:
                self._metrics.count(Metric.RETRIES, reason="join")
                structlog.get_logger().warning(
                    "group_not_joined",
                    waiting_for="kafka",
                    error_class=type(error.__cause__ or error).__name__,
                )
                self._progress_at = self._clock.monotonic()  # a restart would not bring Kafka back
                await self._wait(_BACK_OFF[min(failures, len(_BACK_OFF) - 1)])
                failures += 1
            else:
                return

    async def _turn(self) -> None:
        self._open_missing()
        if self._fatal is not None:
            raise self._fatal
        self._wake()
        batches = await self._source.fetch(
            self._settings.batch_messages, self._settings.batch_wait_seconds
        )
        fetched_at = self._clock.monotonic()
        self._ask_for_ends()
        await asyncio.gather(*(self._take(held, batches) for held in self._open.values()))
        self._progress_at = self._clock.monotonic()
        self._metrics.set(Metric.PARTITIONS, len(self._open))
        self._metrics.set(Metric.PARTITIONS_PAUSED, len(self._paused))
        self._report()
        if sum(map(len, batches.values())) >= _BUSY and not self._behind:
            took = self._clock.monotonic() - fetched_at
            await self._wait(self._settings.busy_seconds - took)

    async def is_alive(self, stuck_seconds: float) -> bool:
        """Return whether the loop comes round and offsets move, or Kafka is what is missing.

        Args:
            stuck_seconds: for how long nothing may happen.
        """
        if self.seconds_without_progress() >= stuck_seconds:
            return False
        return self.stalled_seconds < stuck_seconds or not await self._kafka_answers()

    async def _kafka_answers(self) -> bool:
        """Ask where the logs end: what is known of them is what Kafka said last."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._source.ends(list(self._open))
        except (TimeoutError, RetryableError):
            return False
        return True

    def _report(self) -> None:
        """Tell how far it is behind, and since when nothing moves; also while nothing is read."""
        standing: dict[Slot, Standing] = {}
        now, oldest = self._clock.now(), 0.0
        for held in self._open.values():
            behind = 0
            for slot, reading in zip(held.slots, held.readings.values(), strict=True):
                lag = self._source.lag(slot) or 0
                behind += lag
                free = slot not in self._paused and reading.wake_at is None
                standing[slot] = Standing(reading.next_offset, bool(lag) and free)
                oldest = max(oldest, reading.waited(now, lag))
            self._metrics.set(Metric.LAG, behind, partition=str(held.number))
        self.stalled_seconds = self._progress.note(standing, self._clock.monotonic())
        self._metrics.set(Metric.STALLED_SECONDS, self.stalled_seconds)
        self._metrics.set(Metric.OLDEST_SECONDS, oldest)

    def _wake(self) -> None:
        """Read again from the messages that waited long enough to be looked at."""
        now = self._clock.monotonic()
        for held in self._open.values():
            for slot, reading in zip(held.slots, held.readings.values(), strict=True):
                if reading.wake_at is not None and now >= reading.wake_at:
                    reading.wake_at = None
                    if slot not in self._paused:
                        self._source.resume(slot)

    def _let_wait(self, held: Partition, reading: Reading, until: datetime) -> None:
        """Go back to a message that waits; other slots are read on meanwhile."""
        slot = (reading.topic, held.number)
        self._source.pause(slot)
        self._source.seek(slot, reading.next_offset)
        left = (until - self._clock.now()).total_seconds()
        reading.wake_at = self._clock.monotonic() + min(WAIT_SECONDS, max(0.0, left))

    @property
    def _behind(self) -> bool:
        """Whether a full transaction lies in Kafka already: waiting would gain nothing."""
        slots = (slot for held in self._open.values() for slot in held.slots)
        return sum(self._source.lag(slot) or 0 for slot in slots) >= _BUSY

    async def _take(self, held: Partition, batches: Mapping[Slot, Sequence[Message]]) -> None:
        """Take one number further: a batch of each input, one after the other, then its timers."""
        for slot, reading in zip(held.slots, held.readings.values(), strict=True):
            if slot in self._paused:
                continue
            if await self._advance(held, reading, batches.get(slot, ())):
                # Nobody fetched since: whatever lies before it has been decided.
                reading.reached = self._source.position(slot) or reading.reached
        if held.logic.wants_time and self._paused.isdisjoint(held.slots):
            await self._tick(held)

    # -- ownership -------------------------------------------------------------------------

    async def _on_assigned(self, numbers: set[int]) -> None:
        for number in numbers - set(self._open):
            for topic in self._source.inputs:
                self._source.pause((topic, number))
        self._assigned |= numbers

    async def _on_revoked(self, numbers: set[int]) -> None:
        self._assigned -= numbers
        for number in numbers:
            await self._drop(number)

    async def _drop(self, number: int) -> None:
        """Finish or abandon the batch in hand within a bound, then let go."""
        task = self._opening.pop(number, None)
        if task is not None:
            # No longer assigned, it closes what it opens; cut short, it would leave connections.
            await asyncio.wait({task}, timeout=REVOKE_SECONDS)
            task.cancel()
            # Until it has let go of its files, no successor may open them.
            await asyncio.wait({task}, timeout=REVOKE_SECONDS)
        held = self._open.pop(number, None)
        self._paused = {slot for slot in self._paused if slot[1] != number}
        if held is None:
            return
        try:
            async with asyncio.timeout(REVOKE_SECONDS), held.lock:
                await held.close()
        except TimeoutError:
            structlog.get_logger().warning("batch_abandoned", partition=number)
            await held.close()

    async def _leave(self) -> None:
        """Write the last ledger lines, let go of every partition, leave the group."""
        self._assigned.clear()
        async with AsyncExitStack() as leaving:  # whatever raises, the rest is still let go of
            leaving.push_async_callback(self._source.stop)
            for number in list(self._opening) + list(self._open):
                leaving.push_async_callback(self._drop, number)
            if self._asking is not None:
                self._asking.cancel()
                leaving.push_async_callback(asyncio.wait, {self._asking})
            for held in list(self._open.values()):
                for topic, reading in held.readings.items():
                    if (topic, held.number) not in self._paused:
                        await self._advance(held, reading, (), last=True)

    def _open_missing(self) -> None:
        for number in self._assigned - set(self._open) - set(self._opening):
            self._opening[number] = asyncio.create_task(self._open_partition(number))

    async def _open_partition(self, number: int) -> None:
        try:
            failures = self._failures.get(number, 0)
            if failures:
                await self._wait(_BACK_OFF[min(failures, len(_BACK_OFF)) - 1])
            held = await self._opened(number)
            if number not in self._assigned:
                await held.close()
                return
            try:
                for topic, reading in held.readings.items():
                    self._source.seek((topic, number), reading.next_offset)
                for slot in held.slots:
                    self._source.resume(slot)
            except OwnershipLost:
                await held.close()
                raise
            self._open[number] = held
            self._failures.pop(number, None)
            structlog.get_logger().info(
                "partition_opened",
                partition=number,
                offsets=[reading.next_offset for reading in held.readings.values()],
            )
        except (RetryableError, OwnershipLost) as error:
            self._failures[number] = self._failures.get(number, 0) + 1
            self._metrics.count(Metric.RETRIES, reason="open")
            structlog.get_logger().warning(
                "partition_not_opened",
                partition=number,
                reason=str(error),
                error_class=type(error).__name__,
            )
        except Exception as error:  # noqa: BLE001 - what no retry can mend ends the worker, loudly
            self._fatal = error
        finally:
            self._no_longer_opening(number)

    def _no_longer_opening(self, number: int) -> None:
        """Forget the calling task; a successor's entry stays."""
        if self._opening.get(number) is asyncio.current_task():
            del self._opening[number]

    async def _opened(self, number: int) -> Partition:
        """Fence, ask for the positions, rebuild state."""
        writer = self._writer(number)
        tables: Mapping[str, StateTable] = {}
        try:
            await writer.open()
            logic = self._logic(number)
            committed = await self._source.committed(number)
            begins = {
                topic: await self._source.position_for_first_start((topic, number))
                for topic in logic.inputs
                if committed[topic] is None
            }
            if begins:
                await self._doubt(logic, number, begins)
            self._denied_at.pop(number, None)
            tables = self._tables(number)
            await self._rebuild(logic, tables, number)
            readings = {
                topic: self._reading(logic, (topic, number), committed[topic], begins.get(topic, 0))
                for topic in logic.inputs
            }
            primary = committed[logic.inputs[0]]
            fired = 0 if primary is None else fired_of(primary.metadata)
        except BaseException:
            for table in tables.values():
                table.close()
            await writer.close()
            raise
        return Partition(number, logic, writer, tables, readings, fired)

    def _reading(
        self, logic: Logic, slot: Slot, committed: Committed | None, begin: int
    ) -> Reading:
        """Return how far an input was read; where that is unknown, it begins at `begin`."""
        at = committed or Committed(begin)
        return Reading(
            slot[0],
            Tally.resume(logic.name, *slot, at.offset, at.metadata),
            next_offset=at.offset,
            reached=at.offset,
            line_due=self._clock.monotonic() + LINE_SECONDS,
            brake=Brake.resume(brake_of(at.metadata)),
            begun=committed is not None,
        )

    async def _doubt(self, logic: Logic, number: int, begins: Mapping[Topic, int]) -> None:
        """Raise SourceUnavailable while a denied position may yet be found.

        State that was mirrored was committed together with a position of every input. Once the time
        is up, the position is lost (expired, deleted), or the input is new: all is read again, and
        what was said is recognised. Where nothing lies there to be read, nothing is lost.
        """
        ends = [await self._log.end(topic, number) > at for topic, at in begins.items()]
        if not any(ends):
            return
        mirrors = logic.tables.values()
        if not any([await self._log.end(topic, number) for topic in mirrors]):
            return
        now = self._clock.monotonic()
        if now - self._denied_at.setdefault(number, now) < self._settings.doubt_seconds:
            raise SourceUnavailable("Kafka denies a position that was committed")
        structlog.get_logger().error(
            "position_lost", partition=number, topics=[str(topic) for topic in begins]
        )

    async def _rebuild(self, logic: Logic, tables: Mapping[str, StateTable], number: int) -> None:
        """Bring each local table up to the end of its mirror."""
        started, records = self._clock.monotonic(), 0
        cluster = await self._log.cluster()
        for name, table in tables.items():
            topic = logic.tables[name]
            end = await self._log.end(topic, number)
            if table.position() > end:
                table.wipe()  # the mirror was made anew
            table.belong(cluster)
            start = table.position()
            with table.filling(end - start) if end - start > MANY else nullcontext():
                async for messages in self._log.read(topic, number, start, end):
                    seen = Overlay(tables)
                    for message in messages:
                        seen.put(tuple(logic.restore(name, message, seen)))
                    table.apply(seen.changes(name), messages[-1].offset + 1)
                    records += len(messages)
        seconds = self._clock.monotonic() - started
        self._metrics.count(Metric.REBUILT, records)
        self._metrics.observe(Metric.REBUILD_SECONDS, seconds)
        structlog.get_logger().info(
            "state_rebuilt", partition=number, records=records, seconds=round(seconds, 3)
        )

    # -- batches ---------------------------------------------------------------------------

    async def _advance(
        self,
        held: Partition,
        reading: Reading,
        messages: Sequence[Message],
        *,
        last: bool = False,
    ) -> bool:
        """Take one input one batch further, or write its ledger line when that is due.

        Returns:
            Whether every message was decided and committed.
        """
        async with held.lock:
            # In doubt, a line would name a position that may be behind what was committed.
            if held.closed or held.in_doubt:
                return False
            line_due = last or self._clock.monotonic() >= reading.line_due
            if not messages and (reading.tally.empty or not line_due) and (reading.begun or last):
                return True
            started = self._clock.monotonic()
            try:
                result = await self._decide(held, reading, messages)
                due = line_due and not reading.tally.empty
                if result.waits_until is None or result.outcomes or due or not reading.begun:
                    await self._commit(held, reading, result, line_due=line_due)
                if result.waits_until is not None and not held.is_closed():
                    self._let_wait(held, reading, result.waits_until)
            except BrakePulled as error:
                self._pause(held, reading, error)
                return False
            except (OwnershipLost, RetryableError) as error:
                await self._give_up(held, error)
                return False
            except Exception:  # our own fault, unless the files were closed in the meantime
                held.in_doubt = True  # the brake has noted a batch that never was
                if held.is_closed():  # abandoned under our hands by a revocation
                    return False
                raise
            seen = messages[: len(result.outcomes) + 1]  # what waits is the oldest undecided one
            self._observe(held, seen, result, self._clock.monotonic() - started)
            return result.waits_until is None and not held.is_closed()

    async def _decide(
        self, held: Partition, reading: Reading, messages: Sequence[Message]
    ) -> BatchResult:
        if not messages:
            return BatchResult((), Overlay(held.tables), reading.tally, reading.next_offset, ())
        if messages[0].offset < reading.next_offset:
            raise InvariantViolation("the input went back behind the committed position")
        overlay = Overlay(held.tables)
        history: dict[Coordinates, Message] = {}
        for topic, partition, offset in history_needed(held.logic, messages, overlay):
            async for found in self._log.read(topic, partition, offset, offset + 1):
                for message in found:
                    history[topic, partition, message.offset] = message
        return run_batch(
            held.logic,
            messages,
            overlay=overlay,
            history=history,
            tally=reading.tally,
            brake=reading.brake,
            component=self._component,
            now=self._clock.now(),
            keep=self._keep,
        )

    async def _commit(
        self, held: Partition, reading: Reading, result: BatchResult, *, line_due: bool
    ) -> None:
        """Write the batch as one, then let local state follow."""
        outputs, tally = list(result.outputs), result.tally
        written_line = (line_due or tally.crowded) and not tally.empty
        if written_line:
            line = tally.line(result.next_offset, self._component.holder, self._clock.now())
            outputs.append(ledger_output(line))
            tally = tally.closed(result.next_offset)
        after = replace(reading, tally=tally, next_offset=result.next_offset)
        if not await self._write(held, outputs, result.overlay, after, held.fired):
            return
        reading.tally, reading.next_offset = tally, result.next_offset
        if written_line:
            reading.line_due = self._clock.monotonic() + LINE_SECONDS

    async def _write(
        self,
        held: Partition,
        outputs: Sequence[Output],
        overlay: Overlay,
        reading: Reading,
        fired: int,
    ) -> bool:
        """Write records with the position of one input, and of those that have none yet.

        Returns:
            Whether local state followed: not when the number was let go of in the meantime.
        """
        primary = held.logic.inputs[0]
        unbegun = (each for each in held.readings.values() if not each.begun)
        positions = {
            each.topic: Committed(
                each.next_offset,
                each.tally.metadata(each.brake.remembered(), fired if each.topic == primary else 0),
            )
            for each in (*unbegun, reading)
        }
        held.in_doubt = True
        written = await held.writer.commit(outputs, positions)
        if held.is_closed():  # committed after a revocation gave up on us: the mirror remembers it
            return False
        self._remember(held, overlay, written)
        for each in held.readings.values():
            each.begun = True
        held.in_doubt = False
        return True

    # -- timers ----------------------------------------------------------------------------

    def _ask_for_ends(self) -> None:
        """Ask once a second where the inputs end, beside the turns: an answer may take long."""
        asking = [held for held in self._open.values() if held.logic.wants_time]
        now = self._clock.monotonic()
        if not asking or self._asking is not None or now < self._ask_due:
            return
        self._ask_due = now + self._settings.tick_seconds
        self._asking = asyncio.create_task(self._ends_asked(asking))

    async def _ends_asked(self, asking: Sequence[Partition]) -> None:
        try:
            at = self._clock.now()  # before the question: what lies there now lies there then
            ends = await self._source.ends([held.number for held in asking])
            for held in asking:
                if len(held.asked) >= _ASKED:
                    held.asked.pop()
                held.asked.append((at, {slot[0]: ends[slot] for slot in held.slots}))
        except RetryableError as error:
            self._metrics.count(Metric.RETRIES, reason="ends")
            structlog.get_logger().warning("ends_not_known", reason=str(error))
        except Exception as error:  # noqa: BLE001 - what no retry can mend ends the worker, loudly
            self._fatal = error
        finally:
            self._asking = None

    async def _tick(self, held: Partition) -> None:
        """Let the logic fire what is due, and write it as one."""
        async with held.lock:
            if held.closed or held.in_doubt or self._clock.monotonic() < held.tick_due:
                return
            held.note_read()
            try:
                result = self._fire(held)
                if result is not None:
                    primary = held.readings[held.logic.inputs[0]]
                    outputs, overlay = result.outputs, result.overlay
                    if await self._write(held, outputs, overlay, primary, result.fired):
                        held.fired = result.fired
            except (OwnershipLost, RetryableError) as error:
                await self._give_up(held, error)
            except Exception:  # our own fault, unless the files were closed in the meantime
                held.in_doubt = True
                if held.is_closed():
                    return
                raise
            else:
                # What was bounded goes on at the next turn.
                if result is not None:
                    held.tick_due = self._clock.monotonic()

    def _fire(self, held: Partition) -> TickResult | None:
        """Run the pure tick; when it raises, this number's timers wait, and its batches go on.

        There is no message to bury: what raises, raises again. So it is told each time, and a
        worker on which it goes on is not ready: a person must look.
        """
        due = self._clock.monotonic() + self._settings.tick_seconds
        try:
            result = run_tick(
                held.logic,
                overlay=Overlay(held.tables),
                number=held.number,
                now=self._clock.now(),
                read_to=held.read_to,
                fired=held.fired,
                holder=self._component.holder,
            )
        except (RetryableError, OwnershipLost, InvariantViolation):
            raise
        except Exception as error:  # noqa: BLE001 - pure code: told, counted, tried again later
            wait = _TICK_BACK_OFF[min(held.tick_failures, len(_TICK_BACK_OFF) - 1)]
            held.tick_failures += 1
            held.tick_due = self._clock.monotonic() + wait * self._settings.tick_seconds
            self._metrics.count(Metric.RETRIES, reason="tick")
            structlog.get_logger().error(
                "tick_failed",
                partition=held.number,
                error_class=type(error).__name__,
                failures=held.tick_failures,
            )
            return None
        held.tick_failures = 0
        held.tick_due = due
        return result

    def _remember(self, held: Partition, overlay: Overlay, written: Sequence[Written]) -> None:
        ends: dict[str, int] = {}
        for place in written:
            for name, topic in held.logic.tables.items():
                if place.topic == topic and place.partition == held.number:
                    ends[name] = max(ends.get(name, 0), place.offset + 1)
        for name, table in held.tables.items():
            changes = overlay.changes(name)
            if changes or name in ends:
                table.apply(changes, ends.get(name, table.position()))

    def _pause(self, held: Partition, reading: Reading, error: BrakePulled) -> None:
        slot = (reading.topic, held.number)
        self._paused.add(slot)
        self._source.pause(slot)
        structlog.get_logger().error(
            "brake_pulled",
            topic=str(reading.topic),
            partition=held.number,
            offset=reading.next_offset,
            reason=str(error),
        )

    async def _give_up(self, held: Partition, error: Exception) -> None:
        """Drop what is in hand and open the partition again: Kafka knows what became visible."""
        lost = isinstance(error, OwnershipLost)
        if lost:
            self._metrics.count(Metric.OWNERSHIP_LOST)
        else:
            self._metrics.count(Metric.RETRIES, reason="commit")
        structlog.get_logger().warning(
            "ownership_lost" if lost else "batch_not_committed",
            partition=held.number,
            error_class=type(error).__name__,
        )
        for slot in held.slots:
            self._source.pause(slot)
        self._paused.difference_update(held.slots)
        self._open.pop(held.number, None)
        self._failures[held.number] = self._failures.get(held.number, 0) + 1
        await held.close()
        if lost:
            self._opening[held.number] = asyncio.create_task(self._settle(held.number))

    async def _settle(self, number: int) -> None:
        """Wait for the group's word before a lost partition is opened again."""
        try:
            await self._wait(self._settings.settle_seconds)
        finally:
            self._no_longer_opening(number)

    async def _wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _observe(
        self, held: Partition, messages: Sequence[Message], result: BatchResult, seconds: float
    ) -> None:
        if not messages:
            return
        fates: dict[tuple[Fate, str], int] = {}
        networks: dict[str, int] = {}
        for outcome in result.outcomes:
            place = (outcome.fate, outcome.reason)
            fates[place] = fates.get(place, 0) + 1
            networks[outcome.network] = networks.get(outcome.network, 0) + 1
        for network, count in networks.items():
            self._metrics.count(Metric.RECEIVED, count, network=network)
        for (fate, reason), count in fates.items():
            self._count_fate(fate, reason, count)
        self._metrics.observe(Metric.BATCH_SECONDS, seconds)
        spans = tracing.current()
        if spans is not None:
            spans.batch(held.logic.name, messages, result.outputs, seconds)
        newest = datetime.fromtimestamp(messages[-1].timestamp_ms / 1000, UTC)
        held.readings[messages[-1].topic].newest = newest

    def _count_fate(self, fate: Fate, reason: str, count: int) -> None:
        if fate is Fate.DELIVERED:
            self._metrics.count(Metric.DELIVERED, count)
        elif fate is Fate.REPEATED:
            self._metrics.count(Metric.REPEATED, count)
        elif fate is Fate.DISCARDED:
            self._metrics.count(Metric.DISCARDED, count, reason=reason)
        else:
            self._metrics.count(Metric.DEAD_LETTERED, count, error_type=reason)
