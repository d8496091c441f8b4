"""The books of all stages as they stand in Kafka now, taken so that they belong together.

What a stage counted since its last line travels as metadata of its committed offset. The positions
are read from the last stage to the first, then the ledger, then the ends of the logs: so whatever a
stage has received was emitted by what is read of the stage before it.

Of the ledger only what came since the checkpoints of an earlier audit is read
(`klingel.stage.checkpoint`), and what is settled is taken together while it is read: neither time
nor memory of an audit grows with the days that the ledger keeps.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from klingel.contracts import codec
from klingel.contracts.envelope import SOURCE_HEADER, Message, SourcePosition
from klingel.contracts.topics import Topic
from klingel.errors import InvalidMessage
from klingel.model import LedgerCheckpoint, LedgerLine
from klingel.settings import KafkaSettings
from klingel.stage.audit import (
    CHAIN,
    OPTIONAL,
    AuditReport,
    Place,
    Problem,
    audit,
    by_slot,
    locate,
    sparse,
)
from klingel.stage.checkpoint import (
    Book,
    Folding,
    checkpoint_output,
    differences,
    ends_of,
    newest,
)
from klingel.stage.ledger import Tally
from klingel_cli.kafka import Log, Slot, admin, publish, reading, when_ready

RUNNING = "running"
"""Holder of a line that is not written yet."""

ADVANCE = 500
"""By so many records of the ledger a checkpoint moves on: below that, reading them is cheaper."""

COUNTED = 50_000
"""So many messages that wait are counted one by one; of more, the offsets tell."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a group stands and the running tally that it committed with it."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that an audit needs; arguments of `klingel.stage.audit.audit`.

    Attributes:
        checkpoints: what a later audit may begin with, where it is worth writing.
        differing: where checkpoints and the lines that they stand for disagree; told where the
            whole ledger was read.
    """

    lines: Sequence[LedgerLine]
    ends: Mapping[tuple[str, int], int]
    begins: Mapping[tuple[str, int], int]
    waiting: Mapping[tuple[str, int], int]
    counted: Mapping[tuple[str, int, int], int]
    whole: bool
    checkpoints: Sequence[LedgerCheckpoint] = ()
    differing: Sequence[Problem] = ()

    def audit(self) -> AuditReport:
        """Check them."""
        report = audit(
            self.lines,
            self.ends,
            waiting=self.waiting,
            begins=self.begins,
            counted=self.counted,
            whole=self.whole,
        )
        return replace(report, problems=(*report.problems, *self.differing))


def group_of(kafka: KafkaSettings, stage: str) -> str:
    """Return the consumer group of a stage; the media worker's is one for all topic prefixes."""
    if stage in OPTIONAL:
        return kafka.group_prefix + stage
    return f"{kafka.group_prefix}{kafka.topic_prefix}{stage}"


def positions(client: KafkaAdminClient, kafka: KafkaSettings, stage: str) -> dict[Slot, Position]:
    """Return where a stage stands in each partition that it has committed; raises KafkaError."""
    group = group_of(kafka, stage)
    names = {kafka.topic_prefix + topic: Topic(topic) for topic in CHAIN[stage]}
    found: Mapping[TopicPartition, object] = client.list_group_offsets(group)[group]
    return {
        (names[place.topic], place.partition): Position(at.offset, at.metadata or "")  # type: ignore[attr-defined] # kafka-python ships no types
        for place, at in found.items()
        if place.topic in names and at.offset >= 0  # type: ignore[attr-defined] # as above
    }


def read_books(kafka: KafkaSettings, now: datetime, *, full: bool = False) -> Books:
    """Read the books; raises KafkaError, SourceUnavailable.

    Args:
        kafka: where.
        now: the time.
        full: read every line that the ledger has, and compare the checkpoints with them.
    """
    return when_ready(lambda: _read(kafka, now, full=full))


def _read(kafka: KafkaSettings, now: datetime, *, full: bool) -> Books:
    with admin(kafka) as client, reading(kafka) as log:
        standing_at = {stage: positions(client, kafka, stage) for stage in reversed([*CHAIN])}
        now_running = [line for stage in CHAIN for line in running(stage, standing_at[stage], now)]
        bases = _checkpoints(log)
        ledger = _Ledger(log, {_book(line): line.before for line in now_running})
        folded = ledger.fold({} if full else bases, {n: ends_of(each) for n, each in bases.items()})
        lines = [line for each in folded for line in each.lines()] + now_running
        slots = [slot for topics in CHAIN.values() for topic in topics for slot in _of(log, topic)]
        ends, begins = log.ends(slots), log.begins(slots)
        waiting = _waiting(log, lines, ends, begins)
        known = {place: count for each in folded for place, count in each.proven().items()}
        counted = known | _counted(log, lines, begins, known)
    differing = [
        problem
        for each in folded
        if full and each.partition in bases
        for problem in differences(bases[each.partition], each)
    ]
    return Books(
        lines,
        _named(ends),
        _named(begins),
        waiting,
        counted,
        whole=all(each.whole for each in folded),
        checkpoints=_worth_writing(bases, folded, ledger.ends, counted, now),
        differing=differing,
    )


def _book(line: LedgerLine) -> Book:
    return line.stage, line.topic, line.partition


def _checkpoints(log: Log) -> dict[int, LedgerCheckpoint]:
    """Return the checkpoint in force of each partition; one that cannot be read is none."""
    found = []
    for message in log.read_whole(Topic.AUDIT_CHECKPOINTS):
        try:
            found.append(codec.decode(LedgerCheckpoint, message.value))
        except InvalidMessage:
            continue
    return newest(found)


def _worth_writing(
    bases: Mapping[int, LedgerCheckpoint],
    folded: Iterable[Folding],
    ends: Mapping[Slot, int],
    counted: Mapping[tuple[str, int, int], int],
    now: datetime,
) -> list[LedgerCheckpoint]:
    found = []
    for each in folded:
        new = each.checkpoint(ends[Topic.STAGE_LEDGER, each.partition], counted, now)
        before = bases.get(each.partition)
        if new.position - (0 if before is None else before.position) >= ADVANCE:
            found.append(new)
    return found


def keep_checkpoints(kafka: KafkaSettings, books: Books) -> None:
    """Write the checkpoints that are worth it; raises KafkaError."""
    publish(kafka, [checkpoint_output(each) for each in books.checkpoints])


class _Ledger:
    """The ledger as it is read by an audit.

    Args:
        log: reads it.
        settled: committed position of each book.
    """

    def __init__(self, log: Log, settled: Mapping[Book, int]) -> None:
        self._log = log
        self._settled = settled
        slots = log.slots(Topic.STAGE_LEDGER)
        self.begins, self.ends = log.begins(slots), log.ends(slots)
        self._dense = _named(log.begins(_of(log, Topic.RAW_EVENTS)))

    def fold(
        self, bases: Mapping[int, LedgerCheckpoint], cuts: Mapping[int, Mapping[Book, int]]
    ) -> list[Folding]:
        """Take in every partition, from its checkpoint on where that still holds."""
        found = {}
        for slot, begin in self.begins.items():
            base = bases.get(slot[1])
            if base is not None and begin <= base.position <= self.ends[slot]:
                found[slot] = self._folding(slot, base=base)
            else:
                found[slot] = self._folding(slot, cuts=cuts.get(slot[1]))
        self._take(found, bases)
        again = {slot: self._folding(slot, tail=None) for slot, of in found.items() if of.rewound}
        if again:
            self._take(again, {})
        return [*(found | again).values()]

    def _folding(self, slot: Slot, **more: Any) -> Folding:
        return Folding(
            slot[1], self._settled, doubtful=self._doubtful, whole=not self.begins[slot], **more
        )

    def _take(self, found: Mapping[Slot, Folding], bases: Mapping[int, LedgerCheckpoint]) -> None:
        ranges = {
            slot: (bases[slot[1]].position if of.based else 0, self.ends[slot])
            for slot, of in found.items()
            if not of.rewound
        }
        for message in self._log.read(ranges):
            line = codec.decode(LedgerLine, message.value)
            found[message.topic, message.partition].take(message.offset, line)
        for each in found.values():
            each.close()

    def _doubtful(self, line: LedgerLine) -> bool:
        return any(sparse([line], self._dense))


def _named(offsets: Mapping[Slot, int]) -> dict[tuple[str, int], int]:
    return {(str(topic), partition): at for (topic, partition), at in offsets.items()}


def _of(log: Log, topic: str) -> list[Slot]:
    return log.slots(Topic(topic))


def running(stage: str, standing_at: Mapping[Slot, Position], now: datetime) -> list[LedgerLine]:
    """Return what a stage counted since its last lines, each as the line that it will become.

    It replaces whatever line was written after the position was read.
    """
    found = []
    for (topic, partition), at in standing_at.items():
        tally = Tally.resume(stage, topic, partition, at.offset, at.metadata)
        found.append(tally.line(max(at.offset, tally.before), RUNNING, now))
    return found


def _waiting(
    log: Log,
    lines: Sequence[LedgerLine],
    ends: Mapping[Slot, int],
    begins: Mapping[Slot, int],
) -> dict[tuple[str, int], int]:
    """Count the messages behind each position; markers of transactions are none."""
    found: dict[tuple[str, int], int] = {}
    ranges: dict[Slot, tuple[int, int]] = {}
    for stage in CHAIN:
        books = by_slot(lines, stage)
        for slot, end in ends.items():
            if slot[0] not in CHAIN[stage]:
                continue
            of = books.get((str(slot[0]), slot[1]))
            position = max(of[-1].after if of else 0, begins[slot])
            found[slot] = max(0, end - position)
            if 0 < found[slot] <= COUNTED:
                ranges[slot] = (position, end)
                found[slot] = 0
    for message in log.read(ranges):
        found[message.topic, message.partition] += 1
    return found


def _counted(
    log: Log,
    lines: Sequence[LedgerLine],
    begins: Mapping[Slot, int],
    known: Mapping[tuple[str, int, int], int],
) -> dict[tuple[str, int, int], int]:
    """Count what the log holds over the lines that received less than a message an offset."""
    found: dict[tuple[str, int, int], int] = {}
    for stage in CHAIN:
        for (topic, partition), standing_lines in by_slot(lines, stage).items():
            for line in sparse(standing_lines, _named(begins)):
                if (topic, partition, line.before) in known:
                    continue
                messages = log.read({(Topic(topic), partition): (line.before, line.after)})
                found[topic, partition, line.before] = sum(1 for _ in messages)
    return found


def located(kafka: KafkaSettings, books: Books, problem: Problem) -> Problem:
    """Return the problem with its first offset, where the topic's records still show it."""
    if problem.kind not in {"lost", "surplus"} or problem.offset is not None:
        return problem
    involved = {problem.stage, *CHAIN[problem.stage][problem.topic]}
    with reading(kafka) as log:
        places = [_place(message) for message in log.read_whole(Topic(problem.topic))]
        written = (
            codec.decode(LedgerLine, message.value)
            for message in log.read_whole(Topic.STAGE_LEDGER)
        )
        single = [line for line in written if line.stage in involved]
    now_running = [line for line in books.lines if line.holder == RUNNING]
    return locate(problem, [*single, *now_running], places) or problem


def _place(message: Message) -> Place:
    header = message.header(SOURCE_HEADER)
    source = None if header is None else SourcePosition.decode(header)
    return Place(message.partition, message.offset, source)
