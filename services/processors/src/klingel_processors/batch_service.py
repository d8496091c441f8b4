"""The only loop of the processors: fetch, decide, commit as one, remember; for every owned partition.

Order of one batch, in a transaction of the partition's own writer: outputs, mirrored state, ledger
line, input position. Local state follows once the transaction is committed, together with the
mirror's position. Whatever goes wrong in between, the partition is opened again: the writer is
fenced anew, the committed position is asked of Kafka, local state catches up from its mirror.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from klingel.clock import Clock
from klingel.contracts.envelope import Message
from klingel.errors import InvariantViolation, OwnershipLost, RetryableError, SourceUnavailable
from klingel.metrics import Metric, Metrics
from klingel.stage.batch import BatchResult, Coordinates, Overlay, history_needed, run_batch
from klingel.stage.dead_letters import Component
from klingel.stage.fates import Fate
from klingel.stage.guard import Brake, BrakePulled
from klingel.stage.ledger import Tally, brake_of, ledger_output
from klingel.stage.ports import Committed, Input, Log, Logic, StateTable, Transactions, Written

LINE_SECONDS = 1.0
REVOKE_SECONDS = 5.0
_BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0)
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
    """

    batch_messages: int = 1000
    batch_wait_seconds: float = 0.1
    busy_seconds: float = 0.5
    settle_seconds: float = 6.0
    doubt_seconds: float = 60.0


@dataclass(slots=True)
class Partition:
    """What a worker holds of one partition it owns and has opened."""

    number: int
    logic: Logic
    writer: Transactions
    tables: Mapping[str, StateTable]
    tally: Tally
    next_offset: int
    line_due: float
    brake: Brake
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    closed: bool = False
    in_doubt: bool = False
    """A batch ended in the middle: what is remembered here may be outdated, or say too much."""

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
        logic: builds the pure half of one partition.
        source: membership in the input's group.
        log: for rebuilding state and reading back.
        writer: builds the transactional writer of a partition.
        tables: opens the local tables of a partition, by name.
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
        self._paused: set[int] = set()
        self._failures: dict[int, int] = {}
        self._denied_at: dict[int, float] = {}
        self._stopping = asyncio.Event()
        self._fatal: Exception | None = None
        self._progress_at = clock.monotonic()

    @property
    def ready(self) -> bool:
        """Whether every assigned partition is open and no brake is pulled."""
        return not self._paused and self._assigned == set(self._open)

    @property
    def owned(self) -> set[int]:
        """Partitions that are open."""
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
        batches = await self._source.fetch(
            self._settings.batch_messages, self._settings.batch_wait_seconds
        )
        fetched_at = self._clock.monotonic()
        await asyncio.gather(
            *(
                self._advance(self._open[number], batches.get(number, ()))
                for number in list(self._open)
                if number not in self._paused
            )
        )
        self._progress_at = self._clock.monotonic()
        self._metrics.set(Metric.PARTITIONS, len(self._open))
        self._metrics.set(Metric.PARTITIONS_PAUSED, len(self._paused))
        if sum(map(len, batches.values())) >= _BUSY and not self._behind:
            took = self._clock.monotonic() - fetched_at
            await self._wait(self._settings.busy_seconds - took)

    @property
    def _behind(self) -> bool:
        """Whether a full transaction lies in Kafka already: waiting would gain nothing."""
        return sum(self._source.lag(number) or 0 for number in self._open) >= _BUSY

    # -- ownership -------------------------------------------------------------------------

    async def _on_assigned(self, partitions: set[int]) -> None:
        for number in partitions - set(self._open):
            self._source.pause(number)
        self._assigned |= partitions

    async def _on_revoked(self, partitions: set[int]) -> None:
        self._assigned -= partitions
        for number in partitions:
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
        self._paused.discard(number)
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
            for number, held in list(self._open.items()):
                if number not in self._paused:
                    await self._advance(held, (), last=True)

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
                self._source.seek(number, held.next_offset)
                self._source.resume(number)
            except OwnershipLost:
                await held.close()
                raise
            self._open[number] = held
            self._failures.pop(number, None)
            structlog.get_logger().info(
                "partition_opened", partition=number, offset=held.next_offset
            )
        except (RetryableError, OwnershipLost) as error:
            self._failures[number] = self._failures.get(number, 0) + 1
            self._metrics.count(Metric.RETRIES, reason="open")
            structlog.get_logger().warning(
                "partition_not_opened", partition=number, error_class=type(error).__name__
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
        """Fence, ask for the position, rebuild state."""
        writer = self._writer(number)
        tables: Mapping[str, StateTable] = {}
        try:
            await writer.open()
            logic = self._logic(number)
            committed = await self._source.committed(number)
            if committed is None:
                await self._doubt(logic, number)
                committed = Committed(await self._source.position_for_first_start(number))
            self._denied_at.pop(number, None)
            tables = self._tables(number)
            await self._rebuild(logic, tables, number)
            tally = Tally.resume(
                logic.name, logic.input, number, committed.offset, committed.metadata
            )
            brake = Brake.resume(brake_of(committed.metadata))
        except BaseException:
            for table in tables.values():
                table.close()
            await writer.close()
            raise
        return Partition(
            number,
            logic,
            writer,
            tables,
            tally,
            committed.offset,
            line_due=self._clock.monotonic() + LINE_SECONDS,
            brake=brake,
        )

    async def _doubt(self, logic: Logic, number: int) -> None:
        """Raise SourceUnavailable while a denied position may yet be found.

        State that was mirrored was committed together with a position. Once the time is up, the
        position is lost (expired, deleted): all is read again, and what was said is recognised.
        """
        topics = logic.tables.values()
        if not any([await self._log.end(topic, number) for topic in topics]):
            return
        now = self._clock.monotonic()
        if now - self._denied_at.setdefault(number, now) < self._settings.doubt_seconds:
            raise SourceUnavailable("Kafka denies a position that was committed")
        structlog.get_logger().error("position_lost", partition=number)

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
        self, held: Partition, messages: Sequence[Message], *, last: bool = False
    ) -> None:
        """Take one partition one batch further, or write its ledger line when that is due."""
        async with held.lock:
            # In doubt, a line would name a position that may be behind what was committed.
            if held.closed or held.in_doubt:
                return
            line_due = last or self._clock.monotonic() >= held.line_due
            if not messages and (held.tally.empty or not line_due):
                return
            started = self._clock.monotonic()
            try:
                result = await self._decide(held, messages)
                await self._commit(held, result, line_due=line_due)
            except BrakePulled as error:
                self._pause(held, error)
                return
            except (OwnershipLost, RetryableError) as error:
                await self._give_up(held, error)
                return
            except Exception:  # our own fault, unless the files were closed in the meantime
                held.in_doubt = True  # the brake has noted a batch that never was
                if held.is_closed():  # abandoned under our hands by a revocation
                    return
                raise
            self._observe(held, messages, result, self._clock.monotonic() - started)

    async def _decide(self, held: Partition, messages: Sequence[Message]) -> BatchResult:
        if not messages:
            return BatchResult((), Overlay(held.tables), held.tally, held.next_offset, ())
        if messages[0].offset < held.next_offset:
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
            tally=held.tally,
            brake=held.brake,
            component=self._component,
            now=self._clock.now(),
            keep=self._keep,
        )

    async def _commit(self, held: Partition, result: BatchResult, *, line_due: bool) -> None:
        """Write the batch as one, then let local state follow."""
        outputs, tally = list(result.outputs), result.tally
        if (line_due or tally.crowded) and not tally.empty:
            line = tally.line(result.next_offset, self._component.holder, self._clock.now())
            outputs.append(ledger_output(line))
            tally = tally.closed(result.next_offset)
            held.line_due = self._clock.monotonic() + LINE_SECONDS
        held.in_doubt = True
        written = await held.writer.commit(
            outputs,
            held.number,
            Committed(result.next_offset, tally.metadata(held.brake.remembered())),
        )
        if held.is_closed():  # committed after a revocation gave up on us: the mirror remembers it
            return
        self._remember(held, result, written)
        held.tally, held.next_offset = tally, result.next_offset
        held.in_doubt = False

    def _remember(self, held: Partition, result: BatchResult, written: Sequence[Written]) -> None:
        ends: dict[str, int] = {}
        for place in written:
            for name, topic in held.logic.tables.items():
                if place.topic == topic and place.partition == held.number:
                    ends[name] = max(ends.get(name, 0), place.offset + 1)
        for name, table in held.tables.items():
            changes = result.overlay.changes(name)
            if changes or name in ends:
                table.apply(changes, ends.get(name, table.position()))

    def _pause(self, held: Partition, error: BrakePulled) -> None:
        self._paused.add(held.number)
        self._source.pause(held.number)
        structlog.get_logger().error(
            "brake_pulled", partition=held.number, offset=held.next_offset, reason=str(error)
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
        self._source.pause(held.number)
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
        age = self._clock.now() - datetime.fromtimestamp(messages[-1].timestamp_ms / 1000, UTC)
        self._metrics.set(Metric.OLDEST_SECONDS, max(0.0, age.total_seconds()))
        lag = self._source.lag(held.number)
        if lag is not None:
            self._metrics.set(Metric.LAG, lag, partition=str(held.number))

    def _count_fate(self, fate: Fate, reason: str, count: int) -> None:
        if fate is Fate.DELIVERED:
            self._metrics.count(Metric.DELIVERED, count)
        elif fate is Fate.REPEATED:
            self._metrics.count(Metric.REPEATED, count)
        elif fate is Fate.DISCARDED:
            self._metrics.count(Metric.DISCARDED, count, reason=reason)
        else:
            self._metrics.count(Metric.DEAD_LETTERED, count, error_type=reason)
