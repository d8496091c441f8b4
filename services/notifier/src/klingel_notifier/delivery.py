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
    Mark,
    Outcome,
    Rest,
    due,
    given_up,
)
from klingel.errors import ErrorType, InvalidMessage
from klingel.metrics import Metric, Metrics
from klingel.model import Notification
from klingel.stage.dead_letters import Component, dead_letter, kind_of
from klingel_notifier.intake import entry_output
from klingel_notifier.mailbox import Batch, Post, Waiting
from klingel_notifier.senders import Accepted, Failed, Receipt, Refused, Sender
from klingel_notifier.targets import InForce, Targets

STAGE: Final = "notifier"

_A_MOMENT: Final = timedelta(seconds=1)

log = structlog.get_logger()

Publish = Callable[[Sequence[Output]], Awaitable[None]]
"""Returns once all are acknowledged, however long Kafka is away."""


@dataclass(frozen=True, slots=True)
class Deliverer:
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

    async def turn(self, post: Post, partition: int) -> None:
        """Do what is due for one target, one attempt at most, and set when to look again."""
        found = self.targets.find(post.brand, post.target)
        now = self.clock.now()
        if post.batch is None:
            await self._leave_out(post, partition, found, now)
            if not await self._begin(post, found, now):
                return
        batch = post.batch
        if batch is None or not _unsettled(post, batch):
            # Whoever was killed had settled its members, and not yet said that it was over.
            await self._end_batch(post, [], now)
            return
        if given_up(batch.since, found.policy, now):
            await self._bury_batch(post, batch, partition, _unreachable(post, found))
            return
        if not found.policy.open(now):
            post.wake = found.policy.opening(now)
            return
        if found.sender is None:
            post.wake = self._give_up_at(post, found, now)
            return
        if not post.circuit.may_try(now):
            post.wake = post.circuit.until
            return
        await self._attempt(post, batch, partition, found.sender)

    # ------------------------------------------------------------------ before

    async def _leave_out(self, post: Post, partition: int, found: InForce, now: datetime) -> None:
        """Settle what nobody has to be told any more, and what could not be told in time."""
        marks: list[tuple[Waiting, Mark]] = []
        letters: list[Output] = []
        for each in post.to_tell():
            outcome = each.left_out(post.marks.get(each.matter), found.policy)
            if outcome is None and given_up(each.since, found.policy, now):
                outcome = "unreachable"
                error = _unreachable(post, found)
                letters.append(self.letter(post, each, partition, error, now))
            if outcome is not None:
                marks.append((each, post.mark_of(each, outcome)))
        await self._settle(post, marks, letters, now)

    async def _begin(self, post: Post, found: InForce, now: datetime) -> bool:
        """Write down what is sent next; False when nothing is due."""
        waiting = post.to_tell()
        decided = due(waiting, post.told_at, found.policy, now)
        if isinstance(decided, Rest):
            post.wake = decided.until
            if post.wake is not None:
                post.wake = min(post.wake, waiting[0].since + LONGEST_HOLD + _A_MOMENT)
            return False
        if found.sender is None:
            post.wake = self._give_up_at(post, found, now)
            return False
        if not post.circuit.may_try(now):
            # Until it may, more can come that goes with it.
            post.wake = post.circuit.until
            return False
        post.batch = Batch.of(waiting[: decided.count], now)
        post.attempts = 0
        post.resumed = False
        await self.publish([post.entry_of_batch(now)])
        return True

    def _give_up_at(self, post: Post, found: InForce, now: datetime) -> datetime:
        since = [each.since for each in post.waiting.values()]
        if post.batch is not None:
            since.append(post.batch.since)
        oldest = min(since, default=now)
        return max(now, found.policy.opening(oldest) + found.policy.give_up) + _A_MOMENT

    # ------------------------------------------------------------------ the attempt

    async def _attempt(self, post: Post, batch: Batch, partition: int, sender: Sender) -> None:
        if not self.ours():
            post.wake = self.clock.now()
            return
        if post.resumed and not post.attempts:
            # Whoever began it was killed: it may have arrived.
            self._resent(post, batch, "restart")
        post.attempts += 1
        receipt = await self._sent(sender, batch)
        now = self.clock.now()
        match receipt:
            case Failed():
                self._failed(post, batch, receipt, now)
            case Accepted(left_out):
                post.circuit = post.circuit.answered()
                if left_out:
                    self.metrics.count(Metric.REFUSED, left_out, reason="recipient")
                    log.warning(
                        "recipients_refused", brand=post.brand, target=post.target, count=left_out
                    )
                self._observe(batch, now)
                await self._end_batch(
                    post, [(each, post.mark_of(each, "told")) for each in batch.members], now
                )
            case Refused(answer):
                post.circuit = post.circuit.answered()
                error = InvalidMessage(
                    ErrorType.TARGET_REFUSED, f"target {post.target} answered {answer}"
                )
                await self._bury_batch(post, batch, partition, error)

    async def _sent(self, sender: Sender, batch: Batch) -> Receipt:
        try:
            return await sender.send(batch.letter)
        except Exception as error:
            log.exception("send_raised", error_class=type(error).__name__)
            return Refused(f"nothing: our own code raised {type(error).__name__}")

    def _failed(self, post: Post, batch: Batch, receipt: Failed, now: datetime) -> None:
        before = post.circuit.state(now, self.backoff)
        post.circuit = post.circuit.failed(
            now, self.backoff, self.chance.random(), receipt.retry_after
        )
        post.wake = post.circuit.until
        self.metrics.count(Metric.RETRIES, reason=receipt.reason)
        if receipt.unsure:
            self._resent(post, batch, receipt.reason)
        log.warning(
            "not_told",
            brand=post.brand,
            target=post.target,
            reason=receipt.reason,
            attempt=post.attempts,
        )
        if before == "closed" and post.circuit.state(now, self.backoff) == "open":
            log.error("circuit_opened", brand=post.brand, target=post.target)

    def _resent(self, post: Post, batch: Batch, reason: str) -> None:
        """Print that the receiver may get one key more than once."""
        self.metrics.count(Metric.RESENT, reason=reason)
        log.warning(
            "sent_again",
            brand=post.brand,
            target=post.target,
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
        self, post: Post, batch: Batch, partition: int, error: InvalidMessage
    ) -> None:
        now = self.clock.now()
        outcome: Outcome = (
            "refused" if error.error_type is ErrorType.TARGET_REFUSED else "unreachable"
        )
        left = _unsettled(post, batch)
        letters = [self.letter(post, each, partition, error, now) for each in left]
        ends = [(each, post.mark_of(each, outcome)) for each in left]
        await self._end_batch(post, ends, now, letters)

    async def _end_batch(
        self,
        post: Post,
        ends: Sequence[tuple[Waiting, Mark]],
        now: datetime,
        letters: Sequence[Output] = (),
    ) -> None:
        """Write how the members ended, then that nothing is in the air."""
        await self._settle(post, ends, letters, now)
        post.batch = None
        post.attempts = 0
        post.resumed = False
        post.wake = now
        await self.publish([post.entry_of_batch(now)])

    async def _settle(
        self,
        post: Post,
        ends: Sequence[tuple[Waiting, Mark]],
        letters: Sequence[Output],
        now: datetime,
    ) -> None:
        """Write dead letters, then marks; only then is anything forgotten."""
        if letters:
            await self.publish(letters)
        if not ends:
            return
        await self.publish([post.entry_of_mark(each.matter, mark, now) for each, mark in ends])
        for each, mark in ends:
            post.settle(each.matter, mark, now)
            if mark.outcome in {"over", "nothing_new"}:
                self.metrics.count(Metric.DISCARDED, reason=mark.outcome)

    async def drop_oldest(self, post: Post, partition: int) -> None:
        """Bury what has waited longest for a target: the memory for what waits is full."""
        now = self.clock.now()
        oldest = next(iter(post.to_tell()), None)
        if oldest is None:
            return
        error = InvalidMessage(
            ErrorType.TARGET_UNREACHABLE, f"too much waits for target {post.target}"
        )
        letter = self.letter(post, oldest, partition, error, now)
        mark = post.mark_of(oldest, "unreachable")
        await self._settle(post, [(oldest, mark)], [letter], now)

    def letter(
        self, post: Post, each: Waiting, partition: int, error: InvalidMessage, now: datetime
    ) -> Output:
        """Return the dead letter of one notification: its own entry, which can be sent back."""
        self.metrics.count(Metric.DEAD_LETTERED, error_type=kind_of(error))
        message = each.message or _entry_again(post, each, partition)
        return dead_letter(message, error, Component("klingel-notifier", STAGE, self.holder), now)


def _unsettled(post: Post, batch: Batch) -> list[Waiting]:
    """Return the members that have yet to find their end.

    Of a batch that this worker began these are all: a mark of the same revision is that of a dead
    letter which was sent back.
    """
    if not post.resumed:
        return list(batch.members)
    return [
        each
        for each in batch.members
        if (mark := post.marks.get(each.matter)) is None or mark.revision < each.revision
    ]


def _unreachable(post: Post, found: InForce) -> InvalidMessage:
    why = found.missing or "it did not take it in time"
    return InvalidMessage(ErrorType.TARGET_UNREACHABLE, f"target {post.target}: {why}")


def _entry_again(post: Post, each: Waiting, partition: int) -> Message:
    """Return the entry of something that is known from a batch alone, as it was written."""
    entry = Notification(
        entry="wanted",
        brand=post.brand,
        target=post.target,
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
