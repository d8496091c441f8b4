"""The books of a stage: one running tally per partition, from which `klingel audit` proves I3.

A tally counts what was done with the messages of one input partition since its last line. Until a
line is written, the tally travels as metadata of the committed offset, so that position and count
can never disagree, not even after SIGKILL. What timers cause stands in lines of its own
(`klingel.stage.timers`).
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from klingel.contracts import codec
from klingel.contracts.envelope import (
    SOURCE_HEADER,
    Message,
    Output,
    SourcePosition,
    ce_headers,
    trace_id,
)
from klingel.contracts.topics import Topic
from klingel.errors import InvariantViolation
from klingel.model import LedgerLine
from klingel.stage.fates import Fate, Outcome

METADATA_BYTES = 4096
"""Kafka's default `offset.metadata.max.bytes`."""

Passed = dict[str, tuple[int, int]]
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Tally:
    """The books of one input partition since `before`; immutable, so an aborted batch leaves none.

    Attributes:
        before: first offset of the range.
        received: messages read.
        redone: of these, messages whose source position had been passed before.
        outside: of these, messages without a source position: no stage wrote them.
        fates, reasons, networks: counts as in LedgerLine.
        emitted: records caused by these messages, by topic.
        passed: `<upstream topic>/<partition>` to the highest (offset, ordinal) passed, for ever.
    """

    stage: str
    topic: Topic
    partition: int
    before: int
    received: int = 0
    redone: int = 0
    outside: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    networks: Counter[str] = field(default_factory=Counter)
    emitted: Counter[str] = field(default_factory=Counter)
    passed: Passed = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write a line about."""
        return not self.received

    def plus(self, done: Iterable[tuple[Message, Outcome]]) -> "Tally":
        """Return the tally after a batch: every message with its one outcome, in offset order."""
        fates, reasons = Counter(self.fates), Counter(self.reasons)
        networks, emitted = Counter(self.networks), Counter(self.emitted)
        passed = dict(self.passed)
        received = redone = outside = 0
        ends: Counter[tuple[Fate, str, str]] = Counter()
        for message, outcome in done:
            received += 1
            before = _passed_before(message, passed)
            redone += before is True
            outside += before is None
            ends[outcome.fate, outcome.reason, outcome.network] += 1
            for output in outcome.outputs:
                emitted[output.instead or output.topic] += 1
        for (fate, reason, network), count in ends.items():
            fates[fate] += count
            if reason:
                reasons[f"{fate}:{reason}"] += count
            if network:
                networks[f"{fate}:{network}"] += count
        return dataclasses.replace(
            self,
            received=self.received + received,
            redone=self.redone + redone,
            outside=self.outside + outside,
            fates=fates,
            reasons=reasons,
            networks=networks,
            emitted=emitted,
            passed=passed,
        )

    def closed(self, after: int) -> "Tally":
        """Return the empty tally that follows a line ending at `after`."""
        return Tally(self.stage, self.topic, self.partition, after, passed=self.passed)

    def line(self, after: int, holder: str, now: datetime) -> LedgerLine:
        """Return the ledger line over [before, after)."""
        return LedgerLine(
            stage=self.stage,
            topic=str(self.topic),
            partition=self.partition,
            before=self.before,
            after=after,
            received=self.received,
            redone=self.redone,
            outside=self.outside or None,
            fates={str(key): n for key, n in self.fates.items()},
            reasons=dict(self.reasons) or None,
            networks=dict(self.networks) or None,
            emitted={str(key): n for key, n in self.emitted.items()},
            holder=holder,
            written_at=now,
        )

    def metadata(self, brake: Mapping[str, Any] | None = None, fired: int = 0) -> str:
        """Return the tally as metadata of the committed offset.

        Args:
            brake: what the partition's brake remembers; left out where there is no room for it.
            fired: number of the last timer that fired; 0 before the first.

        Raises:
            InvariantViolation: longer than a broker accepts.
        """
        more = {"t": fired} if fired else {}
        text = self._packed(**more)
        if brake:
            longer = self._packed(**more, k=brake)
            text = longer if len(longer) <= METADATA_BYTES else text
        if len(text) > METADATA_BYTES:
            raise InvariantViolation("the running ledger line outgrew an offset's metadata")
        return text

    def _packed(self, **more: Any) -> str:
        return json.dumps(
            {
                **more,
                "b": self.before,
                "r": self.received,
                "d": self.redone,
                "o": self.outside,
                "f": self.fates,
                "w": self.reasons,
                "n": self.networks,
                "e": self.emitted,
                "p": _packed_passed(self.passed),
            },
            separators=(",", ":"),
        )

    @property
    def crowded(self) -> bool:
        """Whether a line is due before the metadata outgrow what a broker accepts."""
        return len(self._packed()) > METADATA_BYTES // 2

    @classmethod
    def resume(
        cls, stage: str, topic: Topic, partition: int, offset: int, metadata: str
    ) -> "Tally":
        """Return the tally as committed with `offset`; empty metadata start anew.

        Raises:
            InvariantViolation: metadata that are not ours: somebody else commits into the group.
        """
        try:
            data = json.loads(metadata) if metadata else {}
            return cls(
                stage,
                topic,
                partition,
                before=data.get("b", offset),
                received=data.get("r", 0),
                redone=data.get("d", 0),
                outside=data.get("o", 0),
                fates=Counter(data.get("f", {})),
                reasons=Counter(data.get("w", {})),
                networks=Counter(data.get("n", {})),
                emitted=Counter(data.get("e", {})),
                passed=_unpacked_passed(data.get("p", {})),
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise InvariantViolation("the metadata of a committed offset are not ours") from error


def brake_of(metadata: str) -> dict[str, Any]:
    """Return what a brake remembered in the metadata of a committed offset.

    Raises:
        InvariantViolation: metadata that are not ours.
    """
    try:
        return dict(json.loads(metadata).get("k", {})) if metadata else {}
    except (ValueError, TypeError, AttributeError) as error:
        raise InvariantViolation("the metadata of a committed offset are not ours") from error


def fired_of(metadata: str) -> int:
    """Return the number of the last timer that fired, from the metadata of a committed offset.

    Raises:
        InvariantViolation: metadata that are not ours.
    """
    try:
        return int(json.loads(metadata).get("t", 0)) if metadata else 0
    except (ValueError, TypeError, AttributeError) as error:
        raise InvariantViolation("the metadata of a committed offset are not ours") from error


def _packed_passed(passed: Passed) -> dict[str, str]:
    """Return by topic `<partition>:<offset>.<ordinal>`, one after the other, in base 36.

    A stage that several others write to passes the partitions of them all: there is room for some
    hundreds.
    """
    packed: dict[str, list[str]] = {}
    for upstream, (offset, ordinal) in passed.items():
        topic, _, partition = upstream.rpartition("/")
        at = f"{_base36(int(partition))}:{_base36(offset)}"
        packed.setdefault(topic, []).append(f"{at}.{_base36(ordinal)}" if ordinal else at)
    return {topic: " ".join(places) for topic, places in packed.items()}


def _unpacked_passed(packed: Mapping[str, str]) -> Passed:
    passed: Passed = {}
    for topic, places in packed.items():
        if "/" in topic:  # as it was written before: `<topic>/<partition>`, decimal
            offset, ordinal = places.split(".")
            passed[topic] = (int(offset), int(ordinal))
            continue
        for place in places.split():
            partition, _, at = place.partition(":")
            offset, _, ordinal = at.partition(".")
            passed[f"{topic}/{int(partition, 36)}"] = (int(offset, 36), int(ordinal or "0", 36))
    return passed


def _base36(number: int) -> str:
    digits = ""
    while number >= 36:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return _DIGITS[number] + digits


def _passed_before(message: Message, passed: Passed) -> bool | None:
    """Note the message's source position; whether it had been passed before.

    None: it has none, or one that is not from us: whoever may write to the topic may write
    anything.
    """
    header = message.header(SOURCE_HEADER)
    if not header:
        return None
    try:
        upstream, offset, ordinal = header.decode().rsplit("/", 2)
        highest = passed.get(upstream)
        at = (int(offset), int(ordinal))
        if highest is None:  # the others name a place that was read before
            source = SourcePosition.decode(header)
            upstream = f"{source.topic}/{source.partition}"
            highest = passed.get(upstream)
    except (ValueError, InvariantViolation):
        return None
    if highest is not None and at <= highest:
        return True
    passed[upstream] = at
    return False


def ledger_output(line: LedgerLine) -> Output:
    """Return the record of a ledger line; its key keeps a stage's partition in order."""
    identity = f"{line.stage}|{line.topic}|{line.partition}"
    return Output(
        topic=Topic.STAGE_LEDGER,
        key=identity.encode(),
        value=codec.encode(line),
        headers=ce_headers(
            Topic.STAGE_LEDGER,
            event_id=f"{identity}|{line.before}|{line.after}",
            source=f"klingel/{line.stage}",
            subject=identity,
            time=line.written_at,
            trace=trace_id(identity),
        ),
    )
