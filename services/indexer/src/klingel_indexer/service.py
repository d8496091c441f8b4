"""The indexer's loop: fetch ▶ convert ▶ bulk ▶ classify ▶ commit, and its books.

Bulk requests are in flight while the next messages are fetched. What is committed is the
contiguous prefix of settled messages of each partition (I7); the running ledger line travels as
metadata of the committed offset, so position and count cannot disagree. While Elasticsearch or
Kafka is away the loop waits with bounded memory and keeps its partitions (I9).
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from klingel.clock import Clock
from klingel.contracts.envelope import TRACE_HEADER, Message, Output, rfc3339
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Suppressed
from klingel.errors import (
    ErrorType,
    InvalidMessage,
    InvariantViolation,
    RetryableError,
)
from klingel.metrics import Metric, Metrics
from klingel.stage.dead_letters import Component, dead_letter, kind_of
from klingel.stage.fates import Fate, Outcome
from klingel.stage.guard import Brake, BrakePulled
from klingel.stage.ledger import Tally, brake_of, ledger_output
from klingel.stage.progress import Progress, Standing
from klingel_indexer.bulk import BulkLimits, BulkTransport, BulkWriter, Item, Settled, Sleep
from klingel_indexer.classify import Verdict
from klingel_indexer.convert import Write, convert
from klingel_indexer.erased import passed
from klingel_indexer.offsets import OffsetTracker, Ticket
from klingel_streams.ports import Sink, Slot, Source, TakeOver

STAGE = "indexer"

_OBSERVED = 200
"""Latencies noted of one answer: evenly taken from all. A histogram costs 5 µs a value."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Position:
    """A position in the input and the metadata that were or will be committed with it."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class IndexerOptions:
    """What a deployment chooses.

    Attributes:
        index_prefix: of every index.
        holder: this worker, in ledger lines and dead letters.
        fetch_messages: at most in one fetch.
        commit_seconds: between two commits.
        line_seconds: between two ledger lines of one partition.
        stop_seconds: grace for what is in flight, on SIGTERM and when partitions are revoked.
    """

    index_prefix: str = "klingel-"
    holder: str = ""
    fetch_messages: int = 2000
    commit_seconds: float = 0.5
    line_seconds: float = 1.0
    stop_seconds: float = 8.0
    limits: BulkLimits = field(default_factory=BulkLimits)


@dataclass(slots=True)
class _Partition:
    """What is known of one owned partition."""

    tracker: OffsetTracker
    tally: Tally
    committed: int
    line_at: float
    brake: Brake
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class _Deletion:
    """A deletion on its way into the index, and who follows it."""

    demanded_at: datetime
    ticket: Ticket
    tracker: OffsetTracker


class Indexer:
    """The loop; owns no connection.

    Args:
        source: messages and positions.
        sink: ledger lines and dead letters.
        transport: way to Elasticsearch.
        options: what a deployment chooses.
        clock: time.
        metrics: where counts go.
        suppressed: who and what was erased; somebody follows it.
        sleep: waits between attempts; a test gives its own.
    """

    def __init__(
        self,
        source: Source[Position, Position],
        sink: Sink,
        transport: BulkTransport,
        *,
        options: IndexerOptions,
        clock: Clock,
        metrics: Metrics,
        suppressed: Suppressed | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._suppressed = Suppressed() if suppressed is None else suppressed
        self._source = source
        self._sink = sink
        self._options = options
        self._clock = clock
        self._metrics = metrics
        self._sleep = sleep
        self._component = Component("klingel-indexer", STAGE, options.holder)
        self._partitions: dict[Slot, _Partition] = {}
        self._deletions: list[_Deletion] = []
        self._stopping = asyncio.Event()
        self._committing = asyncio.Lock()
        self._committed_at = clock.monotonic()
        self._throttled = False
        self._taking_over = TakeOver(clock, metrics)
        self._progress = Progress()
        self.stalled_seconds = 0.0
        self.ticked_at = clock.monotonic()
        self.writer = BulkWriter(
            transport,
            self._settle,
            clock=clock,
            limits=options.limits,
            metrics=metrics,
            sleep=sleep,
            trace_of=lambda item: item.tag.message.header(TRACE_HEADER),
        )

    # ------------------------------------------------------------------ ownership

    def assign(self, positions: Mapping[Slot, Position]) -> None:
        """Take over partitions at their committed positions.

        Raises:
            InvariantViolation: somebody else commits into the group.
        """
        for (topic, partition), position in positions.items():
            tally = Tally.resume(STAGE, topic, partition, position.offset, position.metadata)
            self._partitions[topic, partition] = _Partition(
                tracker=OffsetTracker(position.offset),
                tally=tally,
                committed=position.offset,
                line_at=self._clock.monotonic(),
                brake=Brake.resume(brake_of(position.metadata)),
            )
        self._metrics.set(Metric.PARTITIONS, len(self._partitions))

    async def revoke(self) -> None:
        """Finish what is in flight within the grace, commit what is whole, let go of the rest."""
        try:
            await self.writer.drain(self._options.stop_seconds)
            await self.commit(final=True)
        finally:
            self._partitions.clear()
            self._taking_over.forget()
            self._metrics.set(Metric.PARTITIONS, 0)

    async def _take_over(self) -> None:
        """Register what the group gave us once Kafka says where it begins, then fetch it."""
        positions = await self._taking_over.ask(self._source)
        if not positions:
            return
        self.assign(positions)
        if self._throttled:
            return  # the end of the throttling resumes them
        self._source.resume(list(positions))

    # ------------------------------------------------------------------ the loop

    def stop(self) -> None:
        """Ask the loop to end after the grace."""
        self._stopping.set()

    async def run(self) -> None:
        """Index until `stop`; raises what no waiting can mend."""
        while not self._stopping.is_set():
            await self.tick()
        await self.writer.drain(self._options.stop_seconds)
        await self.commit(final=True)
        await self.writer.close()

    async def tick(self) -> None:
        """Do one round: fetch, convert, send what is due, commit what is due."""
        self.ticked_at = self._clock.monotonic()
        self.writer.check()
        await self._take_over()
        self._throttle()
        linger = self.writer.linger()
        longest = self._options.limits.linger_seconds
        wait = longest if linger is None else min(linger, longest)
        messages = await self._source.fetch(self._options.fetch_messages, wait)
        # No await between fetch and the last receipt: `consumed` is already behind them all.
        at = rfc3339(self._clock.now())
        dead = [pair for message in messages if (pair := self._take(message, at)) is not None]
        await self._bury(dead)
        self.writer.flush_due()
        if self._throttled:
            await self.writer.progress(longest)
        if self._clock.monotonic() - self._committed_at >= self._options.commit_seconds:
            await self.commit()

    @property
    def _full(self) -> bool:
        """Whether nothing more may be fetched.

        One document that has to wait holds back all messages behind it, also when they are written
        already: they count too, or one blocked index would fill the memory.
        """
        limits = self._options.limits
        trackers = [owned.tracker for owned in self._partitions.values()]
        return (
            not self.writer.room
            or sum(map(len, trackers)) >= 2 * limits.outstanding_documents
            or sum(tracker.held_bytes for tracker in trackers) >= 2 * limits.outstanding_bytes
        )

    def _throttle(self) -> None:
        """Pause every partition while there is no room; polling goes on, membership stays."""
        full = self._full
        if full == self._throttled:
            return
        self._throttled = full
        slots = [slot for slot, owned in self._partitions.items() if not owned.stopped]
        (self._source.pause if full else self._source.resume)(slots)

    def _take(self, message: Message, at: str) -> tuple[Ticket, Exception] | None:
        """Take in one message; return it with the error when it is to be a dead letter."""
        owned = self._partitions.get((message.topic, message.partition))
        if owned is None:
            # Paused until it is registered, a partition yields nothing: dropped, it would be lost.
            raise InvariantViolation(f"{_slot_name(message)}: fetched before it was taken over")
        if owned.stopped:
            return None
        ticket = owned.tracker.receive(message)
        try:
            result = self._document(message, at)
        except InvalidMessage as error:
            return ticket, error
        except Exception as error:  # noqa: BLE001  whatever our pure code raises is a dead letter
            return None if self._is_braked(owned, message) else (ticket, error)
        owned.brake.note(_slot_name(message), raised=False)
        if isinstance(result, Write):
            self.writer.add(Item(result, ticket))
            if result.demanded_at is not None:
                self._deletions.append(_Deletion(result.demanded_at, ticket, owned.tracker))
        else:
            ticket.outcome = result
        return None

    def _document(self, message: Message, at: str) -> Write | Outcome:
        """Return what becomes of a message, without what was erased; raises InvalidMessage."""
        allowed = passed(message, self._suppressed)
        if allowed is None:
            return Outcome(Fate.DISCARDED, reason="erased")
        return convert(allowed, self._options.index_prefix, at)

    def _is_braked(self, owned: _Partition, message: Message) -> bool:
        """Note that our own fault met a message; True once the partition has to stop (I8)."""
        if not owned.stopped:
            try:
                owned.brake.note(_slot_name(message), raised=True)
            except BrakePulled:
                self._pull_brake(message)
        return owned.stopped

    def _pull_brake(self, message: Message) -> None:
        owned = self._partitions[message.topic, message.partition]
        owned.stopped = True
        self._source.pause([(message.topic, message.partition)])
        stopped = sum(1 for one in self._partitions.values() if one.stopped)
        self._metrics.set(Metric.PARTITIONS_PAUSED, stopped)
        log.error("brake_pulled", topic=str(message.topic), partition=message.partition)

    # ------------------------------------------------------------------ fates

    async def _settle(self, ends: Sequence[Settled]) -> None:
        """Give every message of an answer its fate; dead letters are acknowledged before that."""
        now = self._clock.now()
        dead: list[tuple[Ticket, Exception]] = []
        written: list[Write] = []
        for end in ends:
            ticket: Ticket = end.item.tag
            if end.verdict.succeeded:
                ticket.outcome = Outcome(Fate.DELIVERED, network=end.item.write.network)
                written.append(end.item.write)
                if end.item.write.demanded_at is not None:
                    waited = (now - end.item.write.demanded_at).total_seconds()
                    self._metrics.observe(Metric.DELETION_SECONDS, max(0.0, waited))
                # What was read a second time exists already, and is counted once.
                if end.item.write.breach and end.verdict is Verdict.WRITTEN:
                    self._metrics.count(Metric.SLA_BREACHES, reason=end.item.write.breach)
            elif not self._is_our_fault(end, ticket.message):
                dead.append((ticket, _refusal(end)))
        for write in written[:: max(1, len(written) // _OBSERVED)]:
            self._observe(write, now)
        await self._bury(dead)

    def _is_our_fault(self, end: Settled, message: Message) -> bool:
        """Whether templates and code do not fit, so that the partition has to stop.

        A field that the strict mapping does not know was never said by a network: the shapes are
        ours. Such messages stay uncommitted and are read again by the next start.
        """
        if end.error_type != "strict_dynamic_mapping_exception":
            return False
        owned = self._partitions.get((message.topic, message.partition))
        return owned is not None and self._is_braked(owned, message)

    def _observe(self, write: Write, now: datetime) -> None:
        if write.received_at is not None:
            waited = (now - write.received_at).total_seconds()
            self._metrics.observe(Metric.RECEIVED_TO_INDEXED, max(0.0, waited))
        if write.published_at is not None:
            waited = (now - write.published_at).total_seconds()
            self._metrics.observe(Metric.PUBLISHED_TO_INDEXED, max(0.0, waited))

    async def _bury(self, dead: Sequence[tuple[Ticket, Exception]]) -> None:
        """Write the dead letters, then settle their messages.

        A letter that cannot be indexed stays in its topic, where it is already: another letter
        about it would come back here, for ever.
        """
        now = self._clock.now()
        outcomes: list[Outcome] = []
        for ticket, error in dead:
            if ticket.message.topic is Topic.DEAD_LETTERS:
                outcomes.append(Outcome(Fate.DISCARDED, reason="letter_not_indexed"))
                continue
            letter = dead_letter(ticket.message, error, self._component, now)
            outcomes.append(Outcome(Fate.DEAD_LETTERED, reason=kind_of(error), outputs=(letter,)))
        letters = [letter for outcome in outcomes for letter in outcome.outputs]
        if letters:
            await self._published(letters)
        for (ticket, _), outcome in zip(dead, outcomes, strict=True):
            ticket.outcome = outcome

    async def _published(self, outputs: Sequence[Output]) -> None:
        """Publish and wait for the acknowledgement, however long Kafka is away."""
        while True:
            try:
                await self._sink.publish(outputs)
            except RetryableError:
                log.warning("waiting", waiting_for="kafka")
                self._metrics.count(Metric.RETRIES, reason="kafka")
                await self._sleep(self._options.limits.longest_wait_seconds)
            else:
                return

    # ------------------------------------------------------------------ books

    async def commit(self, *, final: bool = False) -> None:
        """Commit every partition that has moved, and write the ledger lines that are due.

        Args:
            final: write every line, due or not; the last commit before letting go.
        """
        async with self._committing:
            now = self._clock.monotonic()
            self._committed_at = now
            moved: dict[Slot, Position] = {}
            lines: list[Output] = []
            for slot, owned in list(self._partitions.items()):
                await self._advance(slot, owned)
                line = self._line(owned, now, final=final)
                if line is not None:
                    lines.append(line)
                elif owned.tracker.position == owned.committed:
                    continue
                metadata = owned.tally.metadata(owned.brake.remembered())
                moved[slot] = Position(owned.tracker.position, metadata)
            if lines:
                await self._published(lines)
            if moved:
                await self._commit(moved)
            self._report()

    async def _advance(self, slot: Slot, owned: _Partition) -> None:
        done = owned.tracker.passed()
        if done:
            owned.tally = owned.tally.plus(done)
            self._count(done)
        consumed = await self._source.consumed(slot)
        if consumed is not None and not owned.stopped:
            owned.tracker.caught_up(consumed)

    def _line(self, owned: _Partition, now: float, *, final: bool) -> Output | None:
        """Close the running line when one is due; before the commit that starts the next one.

        Killed in between, the next worker writes a line with the same `before`, which replaces
        this one.
        """
        due = now - owned.line_at >= self._options.line_seconds
        if owned.tally.empty or not (due or final or owned.tally.crowded):
            return None
        after = owned.tracker.position
        line = owned.tally.line(after, self._options.holder, self._clock.now())
        owned.tally = owned.tally.closed(after)
        owned.line_at = now
        return ledger_output(line)

    async def _commit(self, moved: Mapping[Slot, Position]) -> None:
        try:
            await self._source.commit(moved)
        except RetryableError:
            self._metrics.count(Metric.RETRIES, reason="commit")
            log.warning("commit_failed", partitions=len(moved))
            return
        for slot, position in moved.items():
            if slot in self._partitions:
                self._partitions[slot].committed = position.offset

    def _count(self, done: Sequence[tuple[Message, Outcome]]) -> None:
        networks = Counter(outcome.network or "none" for _, outcome in done)
        for network, count in networks.items():
            self._metrics.count(Metric.RECEIVED, count, network=network)
        fates = Counter((outcome.fate, outcome.reason) for _, outcome in done)
        for (fate, reason), count in fates.items():
            if fate is Fate.DELIVERED:
                self._metrics.count(Metric.DELIVERED, count)
            elif fate is Fate.DISCARDED:
                self._metrics.count(Metric.DISCARDED, count, reason=reason)
            else:
                self._metrics.count(Metric.DEAD_LETTERED, count, error_type=reason)

    # ------------------------------------------------------------------ what others may ask

    def _report(self) -> None:
        now_ms = self._clock.now().timestamp() * 1000
        oldest, standing = 0.0, dict[Slot, Standing]()
        held_back = self.waiting_for is not None
        for (topic, partition), owned in self._partitions.items():
            lag = self._source.lag((topic, partition))
            if lag is not None:
                self._metrics.set(Metric.LAG, lag, partition=f"{topic}/{partition}")
            waits = bool(lag or len(owned.tracker)) and not (owned.stopped or held_back)
            standing[topic, partition] = Standing(owned.committed, waits)
            waiting = owned.tracker.oldest
            if waiting is not None:
                oldest = max(oldest, (now_ms - waiting.timestamp_ms) / 1000)
        self.stalled_seconds = self._progress.note(standing, self._clock.monotonic())
        self._metrics.set(Metric.STALLED_SECONDS, self.stalled_seconds)
        self._metrics.set(Metric.OLDEST_SECONDS, oldest)
        self._note_done()
        self._metrics.set(Metric.DELETION_OLDEST_SECONDS, self._oldest_deletion())
        self._metrics.set(Metric.IN_FLIGHT_MESSAGES, self.writer.outstanding)
        self._metrics.set(Metric.IN_FLIGHT_BYTES, self.writer.outstanding_bytes)

    def _oldest_deletion(self) -> float:
        """Return the age of the oldest demand that is not met, in seconds.

        Of deletions those that are taken in and not in the index; of erasures those of which nobody
        has told that they are carried out.
        """
        trackers = {id(owned.tracker) for owned in self._partitions.values()}
        self._deletions = [
            each
            for each in self._deletions
            if each.ticket.outcome is None and id(each.tracker) in trackers
        ]
        now = self._clock.now()
        demanded = [each.demanded_at for each in self._deletions]
        demanded += [each.erased_at for each in self._suppressed.undone.values()]
        return max([0.0, *((now - at).total_seconds() for at in demanded)])

    def _note_done(self) -> None:
        """Note how long erasures took, from the demand until nothing was found any more."""
        done = self._suppressed.found_done
        while done:
            erased_at, done_at = done.pop()
            self._metrics.observe(
                Metric.DELETION_SECONDS, max(0.0, (done_at - erased_at).total_seconds())
            )

    @property
    def ready(self) -> bool:
        """Whether it has taken over all that the group gave it, writes, and no brake is pulled."""
        return (
            self.waiting_for is None
            and self._source.assignment() == set(self._partitions)
            and not any(owned.stopped for owned in self._partitions.values())
        )

    @property
    def waiting_for(self) -> str | None:
        """The server without which it cannot go on, None when both answer."""
        return self.writer.waiting_for if self._taking_over.is_answered else "kafka"

    def progress(self) -> dict[str, dict[str, int | bool]]:
        """Return position, committed offset and waiting messages by partition."""
        return {
            f"{topic}/{partition}": {
                "position": owned.tracker.position,
                "committed": owned.committed,
                "waiting": len(owned.tracker),
                "stopped": owned.stopped,
            }
            for (topic, partition), owned in self._partitions.items()
        }


def _slot_name(message: Message) -> str:
    return f"{message.topic}/{message.partition}"


def _refusal(end: Settled) -> InvalidMessage:
    """Return the error of a refused document; Elasticsearch's reason may quote it and stays out."""
    if end.too_large:
        return InvalidMessage(ErrorType.TOO_LARGE, "Elasticsearch: the document is too large")
    return InvalidMessage(ErrorType.SINK_REFUSED, f"Elasticsearch: {end.error_type or 'refused'}")
