"""One target's turn: decide, begin, send, settle. The only place where anything is sent.

What is begun is written down before it is sent (`sending`), so that whoever comes after a kill
sends the same under the same key; what has found its end is written down before it is forgotten.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from klingel.clock import Clock
from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.domain.notifications import (
    LONGEST_HOLD,
    Backoff,
    Ending,
    EndingKind,
    Rest,
    due,
    given_up,
)
from klingel.errors import ErrorType, InvalidMessage
from klingel.metrics import Metric, Metrics
from klingel.model import Notification
from klingel.stage.dead_letters import Component, dead_letter, kind_of
from klingel_notifier.intake import entry_output
from klingel_notifier.mailbox import Addressee, Batch, Pending
from klingel_notifier.senders import Accepted, Failed, Receipt, Refused, Sender
from klingel_notifier.targets import InForce, Targets

STAGE: Final = "notifier"

_A_MOMENT: Final = timedelta(seconds=1)

log = structlog.get_logger()

Publish = Callable[[Sequence[Output]], Awaitable[None]]
"""Returns once all are acknowledged, however long Kafka is away."""


@dataclass(frozen=True, slots=True)
class Teller:
    """What every turn needs.

    Attributes:
        targets: in force.
        publish: writes entries and dead letters.
        clock: time.
        metrics: where counts go.
        backoff: how failures space out the attempts.
        chance: jitter.
        holder: this worker, in dead letters.
        ours: whether this worker still is who may send; asked before each attempt.
    """

    targets: Targets
    publish: Publish
    clock: Clock
    metrics: Metrics
    backoff: Backoff
    chance: random.Random
    holder: str
    ours: Callable[[], bool]

    async def turn(self, addressee: Addressee, partition: int) -> None:
        """Do what is due for one target, one attempt at most, and set when to look again."""
        found = self.targets.find(addressee.brand, addressee.target)
        now = self.clock.now()
        if addressee.batch is None:
            await self._leave_out(addressee, partition, found, now)
            if not await self._begin(addressee, partition, found, now):
                return
        batch = addressee.batch
        if batch is None or not _unsettled(addressee, batch):
            # Whoever was killed had settled its members, and not yet said that it was over.
            await self._end_batch(addressee, [], now)
            return
        if given_up(batch.since, found.policy, now):
            await self._bury_batch(addressee, batch, partition, _unreachable(addressee, found))
            return
        if not found.policy.open(now):
            addressee.wake = found.policy.opening(now)
            return
        if found.sender is None:
            addressee.wake = self._give_up_at(addressee, found, now)
            return
        if not addressee.circuit.may_try(now):
            addressee.wake = addressee.circuit.until
            return
        await self._attempt(addressee, batch, partition, found.sender)

    # ------------------------------------------------------------------ before

    async def _leave_out(
        self, addressee: Addressee, partition: int, found: InForce, now: datetime
    ) -> None:
        """Settle what nobody has to be told any more, and what could not be told in time."""
        endings: list[tuple[Pending, Ending]] = []
        letters: list[Output] = []
        for each in addressee.to_tell():
            outcome = each.left_out(addressee.endings.get(each.matter), found.policy)
            if outcome is None and given_up(each.since, found.policy, now):
                outcome = "unreachable"
                error = _unreachable(addressee, found)
                letters.append(self.letter(addressee, each, partition, error, now))
            if outcome is not None:
                endings.append((each, addressee.ending_of(each, outcome)))
        await self._settle(addressee, endings, letters, now)

    async def _begin(
        self, addressee: Addressee, partition: int, found: InForce, now: datetime
    ) -> bool:
        """Write down what is sent next; False when nothing is due."""
        waiting = addressee.to_tell()
        decided = due(waiting, addressee.told_at, found.policy, now)
        if isinstance(decided, Rest):
            addressee.wake = decided.until
            if addressee.wake is not None:
                addressee.wake = min(addressee.wake, waiting[0].since + LONGEST_HOLD + _A_MOMENT)
            return False
        if found.sender is None:
            addressee.wake = self._give_up_at(addressee, found, now)
            return False
        if not addressee.circuit.may_try(now):
            # Until it may, more can come that goes with it.
            addressee.wake = addressee.circuit.until
            return False
        members = waiting[: decided.count]
        odd = [each for each in members if not each.can_be_told]
        if odd:
            await self._bury_odd(addressee, odd, partition, now)
            return False
        addressee.batch = Batch.of(members, now)
        addressee.attempts = 0
        addressee.resumed = False
        await self.publish([addressee.entry_of_batch(now)])
        return True

    async def _bury_odd(
        self, addressee: Addressee, odd: Sequence[Pending], partition: int, now: datetime
    ) -> None:
        """Bury what our own code raises on; the others are told without it."""
        error = InvalidMessage(ErrorType.UNHANDLED, "our own code finds no words for it")
        letters = [self.letter(addressee, each, partition, error, now) for each in odd]
        endings = [(each, addressee.ending_of(each, "refused")) for each in odd]
        await self._settle(addressee, endings, letters, now)
        addressee.wake = now

    def _give_up_at(self, addressee: Addressee, found: InForce, now: datetime) -> datetime:
        since = [each.since for each in addressee.waiting.values()]
        if addressee.batch is not None:
            since.append(addressee.batch.since)
        oldest = min(since, default=now)
        return max(now, found.policy.opening(oldest) + found.policy.give_up) + _A_MOMENT

    # ------------------------------------------------------------------ the attempt

    async def _attempt(
        self, addressee: Addressee, batch: Batch, partition: int, sender: Sender
    ) -> None:
        if not self.ours():
            addressee.wake = self.clock.now()
            return
        if addressee.resumed and not addressee.attempts:
            # Whoever began it was killed: it may have arrived.
            self._resent(addressee, batch, "restart")
        addressee.attempts += 1
        receipt = await self._sent(sender, batch)
        now = self.clock.now()
        match receipt:
            case Failed():
                self._failed(addressee, batch, receipt, now)
            case Accepted(left_out):
                addressee.circuit = addressee.circuit.answered()
                if left_out:
                    self.metrics.count(Metric.REFUSED, left_out, reason="recipient")
                    log.warning(
                        "recipients_refused",
                        brand=addressee.brand,
                        target=addressee.target,
                        count=left_out,
                    )
                self._observe(batch, now)
                await self._end_batch(
                    addressee,
                    [(each, addressee.ending_of(each, "told")) for each in batch.members],
                    now,
                )
            case Refused(answer):
                addressee.circuit = addressee.circuit.answered()
                error = InvalidMessage(
                    ErrorType.TARGET_REFUSED, f"target {addressee.target} answered {answer}"
                )
                await self._bury_batch(addressee, batch, partition, error)

    async def _sent(self, sender: Sender, batch: Batch) -> Receipt:
        try:
            return await sender.send(batch.letter)
        except (
            Exception
        ) as error:  # whatever our own code raises ends as a dead letter, not the worker
            log.exception("send_raised", error_class=type(error).__name__)
            return Refused(f"nothing: our own code raised {type(error).__name__}")

    def _failed(self, addressee: Addressee, batch: Batch, receipt: Failed, now: datetime) -> None:
        before = addressee.circuit.state(now, self.backoff)
        addressee.circuit = addressee.circuit.failed(
            now, self.backoff, self.chance.random(), receipt.retry_after
        )
        addressee.wake = addressee.circuit.until
        self.metrics.count(Metric.RETRIES, reason=receipt.reason)
        if receipt.unsure:
            self._resent(addressee, batch, receipt.reason)
        log.warning(
            "not_told",
            brand=addressee.brand,
            target=addressee.target,
            reason=receipt.reason,
            attempt=addressee.attempts,
        )
        if before == "closed" and addressee.circuit.state(now, self.backoff) == "open":
            log.error("circuit_opened", brand=addressee.brand, target=addressee.target)

    def _resent(self, addressee: Addressee, batch: Batch, reason: str) -> None:
        """Print that the receiver may get one key more than once."""
        self.metrics.count(Metric.RESENT, reason=reason)
        log.warning(
            "sent_again",
            brand=addressee.brand,
            target=addressee.target,
            notification=batch.key,
            reason=reason,
        )

    def _observe(self, batch: Batch, now: datetime) -> None:
        self.metrics.count(Metric.DELIVERED, len(batch.members))
        for each in batch.members:
            waited = (now - each.since).total_seconds()
            self.metrics.observe(Metric.RECORDED_TO_TOLD, max(0.0, waited))

    # ------------------------------------------------------------------ after

    async def _bury_batch(
        self, addressee: Addressee, batch: Batch, partition: int, error: InvalidMessage
    ) -> None:
        now = self.clock.now()
        outcome: EndingKind = (
            "refused" if error.error_type is ErrorType.TARGET_REFUSED else "unreachable"
        )
        left = _unsettled(addressee, batch)
        letters = [self.letter(addressee, each, partition, error, now) for each in left]
        ends = [(each, addressee.ending_of(each, outcome)) for each in left]
        await self._end_batch(addressee, ends, now, letters)

    async def _end_batch(
        self,
        addressee: Addressee,
        ends: Sequence[tuple[Pending, Ending]],
        now: datetime,
        letters: Sequence[Output] = (),
    ) -> None:
        """Write how the members ended, then that nothing is in the air."""
        await self._settle(addressee, ends, letters, now)
        addressee.batch = None
        addressee.attempts = 0
        addressee.resumed = False
        addressee.wake = now
        await self.publish([addressee.entry_of_batch(now)])

    async def _settle(
        self,
        addressee: Addressee,
        ends: Sequence[tuple[Pending, Ending]],
        letters: Sequence[Output],
        now: datetime,
    ) -> None:
        """Write dead letters, then endings; only then is anything forgotten."""
        if letters:
            await self.publish(letters)
        if not ends:
            return
        await self.publish(
            [addressee.entry_of_ending(each.matter, ending, now) for each, ending in ends]
        )
        for each, ending in ends:
            addressee.settle(each.matter, ending, now)
            if ending.outcome in {"over", "nothing_new"}:
                self.metrics.count(Metric.DISCARDED, reason=ending.outcome)

    async def drop_oldest(self, addressee: Addressee, partition: int) -> None:
        """Bury what has waited longest for a target: the memory for what waits is full."""
        now = self.clock.now()
        oldest = next(iter(addressee.to_tell()), None)
        if oldest is None:
            return
        error = InvalidMessage(
            ErrorType.TARGET_UNREACHABLE, f"too much waits for target {addressee.target}"
        )
        letter = self.letter(addressee, oldest, partition, error, now)
        ending = addressee.ending_of(oldest, "unreachable")
        await self._settle(addressee, [(oldest, ending)], [letter], now)

    def letter(
        self,
        addressee: Addressee,
        each: Pending,
        partition: int,
        error: InvalidMessage,
        now: datetime,
    ) -> Output:
        """Return the dead letter of one notification: its own entry, which can be sent back."""
        self.metrics.count(Metric.DEAD_LETTERED, error_type=kind_of(error))
        message = each.message or _entry_again(addressee, each, partition)
        return dead_letter(message, error, Component("klingel-notifier", STAGE, self.holder), now)


def _unsettled(addressee: Addressee, batch: Batch) -> list[Pending]:
    """Return the members that have yet to find their end.

    Of a batch that this worker began these are all: an ending of the same revision is that of a dead
    letter which was sent back.
    """
    if not addressee.resumed:
        return list(batch.members)
    return [
        each
        for each in batch.members
        if (ending := addressee.endings.get(each.matter)) is None or ending.revision < each.revision
    ]


def _unreachable(addressee: Addressee, found: InForce) -> InvalidMessage:
    why = found.missing or "it did not take it in time"
    return InvalidMessage(ErrorType.TARGET_UNREACHABLE, f"target {addressee.target}: {why}")


def _entry_again(addressee: Addressee, each: Pending, partition: int) -> Message:
    """Return the entry of something that is known from a batch alone, as it was written."""
    entry = Notification(
        entry="wanted",
        brand=addressee.brand,
        target=addressee.target,
        matter=each.matter,
        at=each.since,
        revision=each.revision,
        record=each.as_member().record,
    )
    made = entry_output(entry)
    return Message(
        Topic.NOTIFICATIONS,
        partition,
        each.offset,
        made.key,
        codec.encode(entry),
        made.headers,
        int(each.since.timestamp() * 1000),
    )
