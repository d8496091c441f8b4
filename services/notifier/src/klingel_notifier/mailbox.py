"""What waits for each target, what it was told and what is in the air: a fold over the log.

One mailbox a partition of the notifier's own topic, rebuilt from its beginning by whoever takes it
over. Applying a record twice changes nothing.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import msgspec

from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output
from klingel.domain.notices import Noticed, end_of, gist_of
from klingel.domain.notifications import (
    Circuit,
    Ending,
    EndingKind,
    Policy,
    in_order,
    supersedes,
    untold,
)
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import Escalation, Notification
from klingel.model.notification import Member
from klingel_notifier.intake import BATCH, entry_output, record_of
from klingel_notifier.letters import Letter

ENDINGS: Final = 50_000
"""Matters of one target that are remembered; of one forgotten an old revision may be told again."""
_ATTEMPTS = "x-dlq-attempt"
_TOLD_AT: Final = 200


@dataclass(frozen=True, slots=True)
class Pending:
    """One revision of one record that a target is to be told of.

    Attributes:
        matter: kind and id.
        revision: of the record.
        since: when it came.
        offset: of its entry.
        raw: the record.
        gist: of what there is to tell.
        ended_at: end, None while it lasts.
        withdrawn: an escalation that is withdrawn or over.
        message: the entry as it was read; None when it is known from a batch alone.
    """

    matter: str
    revision: int
    since: datetime
    offset: int
    raw: bytes
    gist: str
    ended_at: datetime | None
    withdrawn: bool
    message: Message | None = None

    @property
    def size(self) -> int:
        """Bytes of its record."""
        return len(self.raw)

    @property
    def record(self) -> Noticed:
        """The record."""
        return record_of(self.matter, self.raw)

    @property
    def can_be_told(self) -> bool:
        """Whether our own code finds words for it."""
        try:
            Letter.of([self.record])
        except Exception:  # noqa: BLE001 - whatever it is, one record must not stop its target
            return False
        return True

    def left_out(self, ending: Ending | None, policy: Policy) -> EndingKind | None:
        """Return how it ends without being told; None when it is to be told."""
        return untold(
            ending,
            gist=self.gist,
            ended_at=self.ended_at,
            withdrawn=self.withdrawn,
            since=self.since,
            people=policy.people,
        )

    def as_member(self) -> Member:
        """Return it as it stands in the entry of a batch."""
        return Member(
            matter=self.matter,
            revision=self.revision,
            since=self.since,
            offset=self.offset,
            record=msgspec.Raw(self.raw),
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """What is in the air: begun, and not yet known to have found its end.

    Attributes:
        key: idempotency key.
        members: what it tells.
        since: when it was begun.
    """

    key: str
    members: tuple[Pending, ...]
    since: datetime

    @classmethod
    def of(cls, members: Sequence[Pending], now: datetime) -> "Batch":
        """Return the batch of what is told together from now on."""
        letter = Letter.of([member.record for member in members])
        return cls(letter.key, tuple(members), now)

    @property
    def letter(self) -> Letter:
        """What is sent."""
        return replace(Letter.of([member.record for member in self.members]), key=self.key)


@dataclass(slots=True)
class Addressee:
    """All about one target.

    Attributes:
        brand: whose target it is.
        target: its id.
        waiting: newest revision by matter.
        endings: what has found its end, by matter.
        batch: in the air.
        attempts: at the batch, by this worker.
        resumed: the batch was begun by another worker, or by this one before it ended.
        told_at: when it was told, newest last; a digest counts once for each member.
        circuit: of its attempts.
        wake: nothing has to be decided before; None while nothing waits.
        stirred: something came since its last turn.
        busy: somebody is at it.
    """

    brand: str
    target: str
    waiting: dict[str, Pending] = field(default_factory=dict)
    endings: dict[str, Ending] = field(default_factory=dict)
    batch: Batch | None = None
    attempts: int = 0
    resumed: bool = False
    told_at: "deque[datetime]" = field(default_factory=lambda: deque(maxlen=_TOLD_AT))
    circuit: Circuit = field(default_factory=Circuit)
    wake: datetime | None = None
    stirred: bool = False
    busy: bool = False

    def to_tell(self) -> list[Pending]:
        """Return what waits, the oldest first."""
        return in_order(self.waiting.values())

    def entry_of_batch(self, now: datetime) -> Output:
        """Return the entry that says what is in the air."""
        batch = self.batch
        return entry_output(
            Notification(
                entry="sending",
                brand=self.brand,
                target=self.target,
                matter=BATCH,
                at=now if batch is None else batch.since,
                key=None if batch is None else batch.key,
                members=None if batch is None else [each.as_member() for each in batch.members],
            )
        )

    def entry_of_ending(self, matter: str, ending: Ending, now: datetime) -> Output:
        """Return the entry that says how a matter has found its end."""
        return entry_output(
            Notification(
                entry="settled",
                brand=self.brand,
                target=self.target,
                matter=matter,
                at=now,
                revision=ending.revision,
                outcome=ending.outcome,
                gist=ending.gist,
            )
        )

    def ending_of(self, each: Pending, outcome: EndingKind) -> Ending:
        """Return the ending of something that has found its end."""
        before = self.endings.get(each.matter)
        told = each.gist if outcome == "told" else before.gist if before else None
        return Ending(each.revision, outcome, told)

    def settle(self, matter: str, ending: Ending, at: datetime) -> None:
        """Note that a matter has found its end; an older revision changes nothing."""
        before = self.endings.pop(matter, None)
        if before is not None and before.revision > ending.revision:
            self.endings[matter] = before
            return
        self.endings[matter] = ending
        if len(self.endings) > ENDINGS:
            del self.endings[next(iter(self.endings))]
        waiting = self.waiting.get(matter)
        if waiting is not None and waiting.revision <= ending.revision:
            del self.waiting[matter]
        if ending.outcome == "told":
            self.told_at.append(at)


class Mailbox:
    """The targets of one partition.

    Args:
        end: where the log ended when the partition was taken over: up to there others wrote.

    Attributes:
        started: it was rebuilt, and turns are given.
    """

    def __init__(self, end: int) -> None:
        self.end = end
        self.position = 0
        self.addressees: dict[tuple[str, str], Addressee] = {}
        self.started = False

    @property
    def rebuilt(self) -> bool:
        """Whether all is read that others wrote."""
        return self.position >= self.end

    @property
    def oldest(self) -> int:
        """Offset of the oldest entry that has yet to find its end, else where reading stands."""
        held = (each.offset for addressee in self.addressees.values() for each in _held(addressee))
        return min(held, default=self.position)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return sum(
            each.size
            for addressee in self.addressees.values()
            for each in addressee.waiting.values()
        )

    def addressee(self, brand: str, target: str) -> Addressee:
        """Return what is known of a target."""
        found = self.addressees.get((brand, target))
        if found is None:
            found = self.addressees[brand, target] = Addressee(brand, target)
        return found

    def apply(self, message: Message) -> tuple[str, Output | None]:
        """Take one record of the log.

        While it is rebuilt everything counts. After that only what is wanted does: what was sent
        and how it ended was written by ourselves, and known before it was written.

        Returns:
            What came of it (`waits`, `older`, `noted`), and a record to be written: the newer
            revision, where an older one has just replaced it in a log that is compacted.

        Raises:
            InvalidMessage: it is no entry.
        """
        live = message.offset >= self.end
        self.position = max(self.position, message.offset + 1)
        if message.value is None:
            return "noted", None
        entry: Notification = codec.decode(Notification, message.value)
        if entry.entry == "wanted":
            return self._wanted(entry, message, live=live)
        if live:
            return "noted", None
        addressee = self.addressee(entry.brand, entry.target)
        if entry.entry == "sending":
            addressee.batch = _batch(entry)
            addressee.resumed = addressee.batch is not None
        elif entry.revision is not None and entry.outcome is not None:
            ending = Ending(entry.revision, entry.outcome, entry.gist)
            addressee.settle(entry.matter, ending, entry.at)
        return "noted", None

    def _wanted(
        self, entry: Notification, message: Message, *, live: bool
    ) -> tuple[str, Output | None]:
        addressee = self.addressee(entry.brand, entry.target)
        again = message.header(_ATTEMPTS) is not None
        waiting = _waiting(entry, message)
        if not supersedes(waiting.revision, addressee.endings.get(waiting.matter), again=again):
            return "older", None
        before = addressee.waiting.get(waiting.matter)
        if before is not None and before.revision >= waiting.revision:
            newer = before.revision > waiting.revision and live and before.message is not None
            return "older", _rewritten(before.message) if newer and before.message else None
        if before is not None:
            # What changes all the time must not wait for ever for the end of its window.
            waiting = replace(waiting, since=min(before.since, waiting.since))
        addressee.waiting[waiting.matter] = waiting
        addressee.stirred = True
        return "waits", None


def _held(addressee: Addressee) -> Iterator[Pending]:
    yield from addressee.waiting.values()
    if addressee.batch is not None:
        yield from addressee.batch.members


def _rewritten(message: Message) -> Output:
    return Output(
        topic=message.topic,
        key=message.key or b"",
        value=message.value,
        headers=message.headers,
        partition=message.partition,
    )


def _waiting(entry: Notification, message: Message) -> Pending:
    if entry.revision is None or entry.record is None:
        raise InvalidMessage(ErrorType.MISSING_FIELD, "it holds no record", path="record")
    return _read(
        entry.matter, entry.revision, entry.at, message.offset, bytes(entry.record), message
    )


def _batch(entry: Notification) -> Batch | None:
    if not entry.members or entry.key is None:
        return None
    members = tuple(
        _read(each.matter, each.revision, each.since, each.offset, bytes(each.record), None)
        for each in entry.members
    )
    return Batch(entry.key, members, entry.at)


def _read(
    matter: str,
    revision: int,
    since: datetime,
    offset: int,
    raw: bytes,
    message: Message | None,
) -> Pending:
    record = record_of(matter, raw)
    ended_at = end_of(record)
    return Pending(
        matter=matter,
        revision=revision,
        since=since,
        offset=offset,
        raw=raw,
        gist=gist_of(record),
        ended_at=ended_at,
        withdrawn=ended_at is not None and isinstance(record, Escalation),
        message=message,
    )
