"""The notifier's loop: take in what is to be told, give each target its turn, commit.

Inputs are committed once what they ask for is acknowledged as `wanted` entries of the notifier's
own topic; from there nothing is lost whatever is killed, and a target that rests for a night holds
back nobody. That topic is partitioned by target: one worker sees everything for a target, in order.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from klingel.clock import Clock
from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.domain.notifications import Backoff
from klingel.errors import ErrorType, InvariantViolation, RetryableError
from klingel.metrics import Metric, Metrics
from klingel.stage.dead_letters import Component, dead_letter, kind_of
from klingel.stage.fates import Fate
from klingel.stage.guard import Brake, BrakePulled, guard
from klingel.stage.progress import Progress, Standing
from klingel_notifier.intake import KINDS, take_in
from klingel_notifier.mailbox import Addressee, Mailbox
from klingel_notifier.targets import Targets
from klingel_notifier.telling import STAGE, Teller
from klingel_streams.ports import Sink, Slot, Source, TakeOver

INPUTS = (*KINDS, Topic.NOTIFICATIONS)
"""What the group reads: the inputs, and the notifier's own topic."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Start:
    """Where a partition that was taken over begins; the notifier's own topic: at its beginning.

    Attributes:
        offset: read from here.
        end: where its log ends now.
    """

    offset: int
    end: int


@dataclass(frozen=True, slots=True)
class NotifierOptions:
    """What a deployment chooses.

    Attributes:
        holder: this worker, in dead letters.
        fetch_messages: at most in one fetch.
        wait_seconds: longest wait for messages; nothing that is due waits longer.
        commit_seconds: between two commits.
        stop_seconds: grace for what is in the air.
        retry_seconds: until Kafka is asked again.
        silent_seconds: a worker that stood still for so long may have lost its partitions.
        waiting_bytes: what may wait in memory.
        turns: targets that have their turn at once.
        backoff: how failures space out the attempts.
    """

    holder: str = ""
    fetch_messages: int = 1000
    wait_seconds: float = 0.2
    commit_seconds: float = 1.0
    stop_seconds: float = 8.0
    retry_seconds: float = 1.0
    silent_seconds: float = 10.0
    waiting_bytes: int = 128 << 20
    turns: int = 32
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(slots=True)
class _Partition:
    """One owned partition of an input."""

    position: int
    committed: int
    brake: Brake = field(default_factory=Brake)
    stopped: bool = False


class Notifier:
    """The loop; owns no connection.

    Args:
        source: messages and positions.
        sink: entries and dead letters.
        targets: in force.
        options: what a deployment chooses.
        clock: time.
        metrics: where counts go.
        chance: jitter.
    """

    def __init__(
        self,
        source: Source[Start, int],
        sink: Sink,
        targets: Targets,
        *,
        options: NotifierOptions,
        clock: Clock,
        metrics: Metrics,
        chance: random.Random,
    ) -> None:
        self._source = source
        self._sink = sink
        self._targets = targets
        self._options = options
        self._clock = clock
        self._metrics = metrics
        self._component = Component("klingel-notifier", STAGE, options.holder)
        self._inputs: dict[Slot, _Partition] = {}
        self._progress = Progress()
        self.stalled_seconds = 0.0
        self._mailboxes: dict[int, Mailbox] = {}
        self._committed: dict[int, int] = {}
        self._turns: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._committed_at = clock.monotonic()
        self._taking_over = TakeOver(clock, metrics)
        self._waits_for_kafka = False
        self._known_targets = -1
        self._fault: BaseException | None = None
        self.ticked_at = clock.monotonic()
        self._teller = Teller(
            targets=targets,
            publish=self._published,
            clock=clock,
            metrics=metrics,
            backoff=options.backoff,
            chance=chance,
            holder=options.holder,
            ours=self._is_ours,
        )

    # ------------------------------------------------------------------ ownership

    def assign(self, starts: Mapping[Slot, Start]) -> None:
        """Take over partitions."""
        for (topic, partition), start in starts.items():
            if topic is Topic.NOTIFICATIONS:
                mailbox = Mailbox(start.end)
                mailbox.position = start.offset
                self._mailboxes[partition] = mailbox
            else:
                self._inputs[topic, partition] = _Partition(start.offset, start.offset)
        self._metrics.set(Metric.PARTITIONS, len(self._inputs) + len(self._mailboxes))

    async def revoke(self) -> None:
        """Finish what is in the air within the grace, commit, let go of everything.

        What is cut off was written down as begun: whoever comes next sends it under its key.
        """
        try:
            await self._drain()
            await self.commit()
        finally:
            self._inputs.clear()
            self._mailboxes.clear()
            self._committed.clear()
            self._taking_over.forget()
            self._metrics.set(Metric.PARTITIONS, 0)

    async def _take_over(self) -> None:
        starts = await self._taking_over.ask(self._source)
        if starts:
            self.assign(starts)
            self._source.resume(list(starts))

    def _is_ours(self) -> bool:
        """Whether the loop went on: a worker that was frozen hears first what it has lost."""
        idle = self._clock.monotonic() - self.ticked_at
        return idle < self._options.silent_seconds

    # ------------------------------------------------------------------ the loop

    def stop(self) -> None:
        """Ask the loop to end after the grace."""
        self._stopping.set()

    async def run(self) -> None:
        """Notify until `stop`; raises what no waiting can mend."""
        while not self._stopping.is_set():
            await self.tick()
        await self._drain()
        await self.commit()

    async def tick(self) -> None:
        """Do one round: take over, read, take in, give turns, commit what is due."""
        if self._fault is not None:
            raise self._fault
        await self._take_over()
        messages = await self._source.fetch(
            self._options.fetch_messages, self._options.wait_seconds
        )
        self.ticked_at = self._clock.monotonic()
        await self._take(messages)
        await self._rebuild()
        self._give_turns()
        if self._clock.monotonic() - self._committed_at >= self._options.commit_seconds:
            await self._keep_within_bounds()
            await self._pass_markers()
            await self.commit()

    async def _take(self, messages: Sequence[Message]) -> None:
        """Take in what was read; outputs are acknowledged before any position moves."""
        outputs: list[Output] = []
        passed: dict[Slot, int] = {}
        for message in messages:
            slot = (message.topic, message.partition)
            if message.topic is Topic.NOTIFICATIONS:
                outputs += self._noted(message)
            elif slot in self._inputs:
                owned = self._inputs[slot]
                outputs += self._taken_in(message, owned)
                if not owned.stopped:
                    passed[slot] = message.offset + 1
            else:
                raise InvariantViolation(f"{slot[0]}/{slot[1]}: fetched before it was taken over")
        if outputs:
            await self._published(outputs)
        for slot, position in passed.items():
            if slot in self._inputs:
                self._inputs[slot].position = position

    async def _pass_markers(self) -> None:
        """Move positions over the markers of transactions: all that was fetched is taken in."""
        for slot, owned in list(self._inputs.items()):
            consumed = await self._source.consumed(slot)
            if consumed is not None and not owned.stopped:
                owned.position = max(owned.position, consumed)

    def _taken_in(self, message: Message, owned: _Partition) -> Sequence[Output]:
        """Give one message of an input its fate; a brake stops the partition (I8)."""
        if owned.stopped:
            return ()
        now = self._clock.now()
        try:
            outcome, error = guard(lambda each: take_in(each, now), message, owned.brake, _source)
        except BrakePulled:
            owned.stopped = True
            self._source.pause([(message.topic, message.partition)])
            stopped = sum(1 for each in self._inputs.values() if each.stopped)
            self._metrics.set(Metric.PARTITIONS_PAUSED, stopped)
            log.exception("brake_pulled", topic=str(message.topic), partition=message.partition)
            return ()
        self._metrics.count(Metric.RECEIVED, network="none")
        if error is not None:
            self._count_dead(error)
            return (dead_letter(message, error, self._component, now),)
        if outcome.fate is Fate.DISCARDED:
            self._metrics.count(Metric.DISCARDED, reason=outcome.reason)
        return outcome.outputs

    def _noted(self, message: Message) -> Sequence[Output]:
        """Apply one record of our own topic; one that is none of ours is a dead letter."""
        mailbox = self._mailboxes.get(message.partition)
        if mailbox is None:
            raise InvariantViolation(
                f"{message.topic}/{message.partition}: fetched before it was taken over"
            )
        live = message.offset >= mailbox.end
        try:
            came, output = mailbox.apply(message)
        except Exception as error:  # noqa: BLE001 - what our own code raises on becomes a dead letter
            if not live:
                return ()  # whoever read it first has buried it
            self._count_dead(error)
            return (dead_letter(message, error, self._component, self._clock.now()),)
        if live and came == "older":
            self._metrics.count(Metric.REPEATED)
        return () if output is None else (output,)

    @staticmethod
    def _stir(mailbox: Mailbox) -> None:
        """Let everything be decided anew that waits."""
        for addressee in mailbox.addressees.values():
            addressee.stirred = bool(addressee.waiting) or addressee.batch is not None

    async def _rebuild(self) -> None:
        """Notice which mailboxes are complete, markers of transactions included."""
        for partition, mailbox in list(self._mailboxes.items()):
            if mailbox.started:
                continue
            consumed = await self._source.consumed((Topic.NOTIFICATIONS, partition))
            if consumed is not None:
                mailbox.position = max(mailbox.position, consumed)
            if mailbox.rebuilt:
                mailbox.started = True
                self._stir(mailbox)

    def _count_dead(self, error: Exception) -> None:
        kind = kind_of(error)
        known = kind if kind in set(ErrorType) else str(ErrorType.UNHANDLED)
        self._metrics.count(Metric.DEAD_LETTERED, error_type=known)

    # ------------------------------------------------------------------ turns

    def _give_turns(self) -> None:
        now = self._clock.now()
        if self._known_targets != self._targets.version:
            self._known_targets = self._targets.version
            for mailbox in self._mailboxes.values():
                self._stir(mailbox)
        for partition, mailbox in self._mailboxes.items():
            if not mailbox.started:
                continue
            for addressee in mailbox.addressees.values():
                if len(self._turns) >= self._options.turns:
                    return
                due = addressee.stirred or (addressee.wake is not None and addressee.wake <= now)
                if due and not addressee.busy:
                    self._give_turn(addressee, partition)

    def _give_turn(self, addressee: Addressee, partition: int) -> None:
        addressee.busy = True
        addressee.stirred = False
        addressee.wake = None
        turn = asyncio.create_task(self._teller.turn(addressee, partition))
        self._turns.add(turn)

        def ended(task: "asyncio.Task[None]") -> None:
            self._turns.discard(task)
            addressee.busy = False
            if not task.cancelled() and task.exception() is not None:
                self._fault = task.exception()

        turn.add_done_callback(ended)

    async def _drain(self) -> None:
        """Wait for the turns that are under way; cut off what takes longer than the grace."""
        turns = list(self._turns)
        if not turns:
            return
        _, late = await asyncio.wait(turns, timeout=self._options.stop_seconds)
        for turn in late:
            turn.cancel()
        await asyncio.gather(*turns, return_exceptions=True)

    async def _keep_within_bounds(self) -> None:
        """Bury the oldest of whoever has most waiting, while too much waits."""
        sizes = {
            (partition, addressee.brand, addressee.target): sum(
                each.size for each in addressee.waiting.values()
            )
            for partition, mailbox in self._mailboxes.items()
            if mailbox.rebuilt
            for addressee in mailbox.addressees.values()
            if addressee.waiting
        }
        total = sum(sizes.values())
        while total > self._options.waiting_bytes:
            place = max(sizes, key=lambda each: sizes[each])
            addressee = self._mailboxes[place[0]].addressee(place[1], place[2])
            await self._teller.drop_oldest(addressee, place[0])
            left = sum(each.size for each in addressee.waiting.values())
            total -= sizes[place] - left
            sizes[place] = left

    # ------------------------------------------------------------------ Kafka

    async def _published(self, outputs: Sequence[Output]) -> None:
        """Publish and wait for the acknowledgement, however long Kafka is away."""
        while True:
            try:
                await self._sink.publish(outputs)
            except RetryableError:
                self._waits_for_kafka = True
                log.warning("waiting", waiting_for="kafka")
                self._metrics.count(Metric.RETRIES, reason="kafka")
                await asyncio.sleep(self._options.retry_seconds)
            else:
                self._waits_for_kafka = False
                return

    async def commit(self) -> None:
        """Commit every partition that has moved.

        Of our own topic the oldest entry without an end: nobody starts there, but it shows as lag
        what still waits.
        """
        self._committed_at = self._clock.monotonic()
        moved: dict[Slot, int] = {}
        for slot, owned in self._inputs.items():
            if owned.position > owned.committed:
                moved[slot] = owned.position
        for partition, mailbox in self._mailboxes.items():
            oldest = mailbox.oldest
            if mailbox.rebuilt and oldest > self._committed.get(partition, -1):
                moved[Topic.NOTIFICATIONS, partition] = oldest
        if moved:
            try:
                await self._source.commit(moved)
            except RetryableError:
                self._metrics.count(Metric.RETRIES, reason="commit")
                log.warning("commit_failed", partitions=len(moved))
                return
        for (topic, partition), position in moved.items():
            if topic is Topic.NOTIFICATIONS:
                self._committed[partition] = position
            elif (topic, partition) in self._inputs:
                self._inputs[topic, partition].committed = position
        self._report()

    # ------------------------------------------------------------------ what others may ask

    def _report(self) -> None:
        now = self._clock.now()
        standing = dict[Slot, Standing]()
        for slot, owned in self._inputs.items():
            lag = self._source.lag(slot)
            if lag is not None:
                self._metrics.set(Metric.LAG, lag, partition=f"{slot[0]}/{slot[1]}")
            waits = bool(lag) and not owned.stopped and self.waiting_for is None
            standing[slot] = Standing(owned.committed, waits)
        self.stalled_seconds = self._progress.note(standing, self._clock.monotonic())
        self._metrics.set(Metric.STALLED_SECONDS, self.stalled_seconds)
        waiting: Counter[str] = Counter({"due": 0, "quiet": 0, "in_the_air": 0, "unset": 0})
        circuits: Counter[str] = Counter({"closed": 0, "open": 0, "half_open": 0, "unset": 0})
        oldest = timedelta(0)
        for addressee in self._addressees():
            found = self._targets.find(addressee.brand, addressee.target)
            circuit = addressee.circuit.state(now, self._options.backoff)
            circuits["unset" if found.sender is None else circuit] += 1
            state = "due" if found.policy.open(now) else "quiet"
            waiting["unset" if found.sender is None else state] += len(addressee.waiting)
            waiting["in_the_air"] += len(addressee.batch.members) if addressee.batch else 0
            for each in addressee.waiting.values():
                oldest = max(oldest, now - each.since)
        for state, count in waiting.items():
            self._metrics.set(Metric.NOTIFICATIONS_WAITING, count, state=state)
        for state, count in circuits.items():
            self._metrics.set(Metric.TARGETS, count, state=state)
        self._metrics.set(Metric.OLDEST_SECONDS, oldest.total_seconds())

    def _addressees(self) -> list[Addressee]:
        return [
            addressee
            for mailbox in self._mailboxes.values()
            for addressee in mailbox.addressees.values()
        ]

    @property
    def ready(self) -> bool:
        """Whether it has taken over and rebuilt all that the group gave it, and Kafka answers."""
        owned = {*self._inputs, *((Topic.NOTIFICATIONS, each) for each in self._mailboxes)}
        return (
            self.waiting_for is None
            and self._source.assignment() == owned
            and all(mailbox.rebuilt for mailbox in self._mailboxes.values())
            and not any(each.stopped for each in self._inputs.values())
        )

    @property
    def waiting_for(self) -> str | None:
        """What it cannot go on without, None when nothing is missing."""
        return "kafka" if self._waits_for_kafka or not self._taking_over.is_answered else None

    def open_circuits(self) -> list[str]:
        """Return the targets that are not tried for now, by brand and id."""
        now = self._clock.now()
        return sorted(
            f"{addressee.brand}/{addressee.target}"
            for addressee in self._addressees()
            if addressee.circuit.state(now, self._options.backoff) != "closed"
        )

    def progress(self) -> dict[str, dict[str, int]]:
        """Return positions of inputs, and what waits by partition of our own topic."""
        found = {
            f"{topic}/{partition}": {"position": owned.position, "committed": owned.committed}
            for (topic, partition), owned in self._inputs.items()
        }
        for partition, mailbox in self._mailboxes.items():
            found[f"{Topic.NOTIFICATIONS}/{partition}"] = {
                "position": mailbox.position,
                "waiting": sum(len(addressee.waiting) for addressee in mailbox.addressees.values()),
            }
        return found


def _source(message: Message) -> str:
    """Return who rang, for the brake: the brand and what follows it in the key."""
    return (message.key or b"").decode("utf-8", "replace")
