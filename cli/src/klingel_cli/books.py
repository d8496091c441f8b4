"""The books of all stages as they stand in Kafka now, taken so that they belong together.

What a stage counted since its last line travels as metadata of its committed offset. The positions
are read from the last stage to the first, then the ledger, then the ends of the logs: so whatever a
stage has received was emitted by what is read of the stage before it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import BrokerResponseError

from klingel.contracts import codec
from klingel.contracts.envelope import SOURCE_HEADER, Message, SourcePosition
from klingel.contracts.topics import Topic
from klingel.model import LedgerLine
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
from klingel.stage.ledger import Tally
from klingel_cli.kafka import Log, Slot, admin, reading

RUNNING = "running"
"""Holder of a line that is not written yet."""

_ATTEMPTS = 10
_AGAIN_SECONDS = 0.5

COUNTED = 50_000
"""So many messages that wait are counted one by one; of more, the offsets tell."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a group stands and the running tally that it committed with it."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that an audit needs; arguments of `klingel.stage.audit.audit`."""

    lines: Sequence[LedgerLine]
    ends: Mapping[tuple[str, int], int]
    begins: Mapping[tuple[str, int], int]
    waiting: Mapping[tuple[str, int], int]
    counted: Mapping[tuple[str, int, int], int]
    whole: bool

    def audit(self) -> AuditReport:
        """Check them."""
        return audit(
            self.lines,
            self.ends,
            waiting=self.waiting,
            begins=self.begins,
            counted=self.counted,
            whole=self.whole,
        )


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


def read_books(kafka: KafkaSettings, now: datetime) -> Books:
    """Read the books; raises KafkaError, SourceUnavailable.

    A broker that answers and is not ready yet is asked again: after a start or an election it does
    not know the leader of each partition, or the coordinator of each group.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return _read(kafka, now)
        except BrokerResponseError as error:
            if not error.retriable:
                raise
            time.sleep(_AGAIN_SECONDS)
    return _read(kafka, now)


def _read(kafka: KafkaSettings, now: datetime) -> Books:
    with admin(kafka) as client, reading(kafka) as log:
        standing_at = {stage: positions(client, kafka, stage) for stage in reversed([*CHAIN])}
        lines = [
            codec.decode(LedgerLine, message.value)
            for message in log.read_whole(Topic.STAGE_LEDGER)
        ]
        ledger = log.begins(log.slots(Topic.STAGE_LEDGER))
        lines += [line for stage in CHAIN for line in running(stage, standing_at[stage], now)]
        slots = [slot for topics in CHAIN.values() for topic in topics for slot in _of(log, topic)]
        ends, begins = log.ends(slots), log.begins(slots)
        waiting = _waiting(log, lines, ends, begins)
        counted = _counted(log, lines, begins)
    whole = not any(ledger.values())
    return Books(lines, _named(ends), _named(begins), waiting, counted, whole)


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
    log: Log, lines: Sequence[LedgerLine], begins: Mapping[Slot, int]
) -> dict[tuple[str, int, int], int]:
    """Count what the log holds over the lines that received less than a message an offset."""
    found: dict[tuple[str, int, int], int] = {}
    for stage in CHAIN:
        for (topic, partition), standing_lines in by_slot(lines, stage).items():
            for line in sparse(standing_lines, _named(begins)):
                messages = log.read({(Topic(topic), partition): (line.before, line.after)})
                found[topic, partition, line.before] = sum(1 for _ in messages)
    return found


def located(kafka: KafkaSettings, books: Books, problem: Problem) -> Problem:
    """Return the problem with its first offset, where the topic's records still show it."""
    if problem.kind not in {"lost", "surplus"} or problem.offset is not None:
        return problem
    with reading(kafka) as log:
        places = [_place(message) for message in log.read_whole(Topic(problem.topic))]
    return locate(problem, books.lines, places) or problem


def _place(message: Message) -> Place:
    header = message.header(SOURCE_HEADER)
    source = None if header is None else SourcePosition.decode(header)
    return Place(message.partition, message.offset, source)
