"""Whether the books add up, from `raw-events` to the index (I3); pure.

Four things are proven from the ledger lines of each stage. Within a partition the lines follow
one another, so that no offset was skipped and none was counted twice. Within a line every message
that was received has one fate. A line over the first topic received what its log holds there. And
between two stages, what one emitted into a topic is what the next received from it, less what that
one had passed before, plus what still waits in the log:
`emitted(n, topic) = received(n+1, topic) - redone(n+1) + waiting(n+1)`.

What timers caused counts as emitted like the rest: it stands in lines of their own, which name no
offsets (`klingel.stage.timers`). Into some topics people write too: what has no source position is
not of a stage and is left out of the sum.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from klingel.contracts.envelope import SourcePosition
from klingel.contracts.topics import Topic
from klingel.model import LedgerLine
from klingel.stage.fates import Fate
from klingel.stage.timers import timers_of

Slot = tuple[str, int]
"""Topic and partition."""

Kind = Literal[
    "gap", "overlap", "counts", "range", "beyond", "start", "skipped", "lost", "surplus",
    "checkpoint",
]  # fmt: skip

CHAIN: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "understand": {Topic.RAW_EVENTS: ()},
    "thread": {Topic.UNTHREADED_EVENTS: ("understand",)},
    "care": {
        Topic.SOCIAL_EVENTS: ("understand", "thread"),
        Topic.CASE_COMMANDS: ("understand", "thread", "care", "watch"),
    },
    "watch": {Topic.BRAND_SIGNALS: ()},
    "indexer": {
        Topic.ROUTED_EVENTS: ("care",),
        Topic.CASES: ("care",),
        Topic.CASE_EVENTS: ("care",),
        Topic.ESCALATIONS: ("care",),
        Topic.ALERTS: ("watch",),
        Topic.INCIDENTS: ("watch",),
        Topic.DEAD_LETTERS: (),
        Topic.CONNECTOR_STATUS: (),
    },
    "media": {Topic.MEDIA_JOBS: ("understand", "thread")},
}
"""Stage to its inputs, each with the stages that write it; none where they are outside the books.

Connectors and gateway have no input offsets: their lines tell what they refused, and what they
wrote is the log of `raw-events` itself. Rows of `brand-signals` are packed at the end of a batch, so
that no message caused a record of them: what watch received there has no writer in the books.
"""


OPEN = frozenset({str(Topic.CASE_COMMANDS), str(Topic.MEDIA_JOBS)})
"""Inputs that others write to, beside the stages: people, bridges, the media worker itself when it
tries again."""

OPTIONAL = frozenset({"media"})
"""Stages that need not be deployed: nobody waits for one that never counted anything."""

DENSE = frozenset({str(Topic.RAW_EVENTS)})
"""Inputs in which every offset is a message: nothing compacts them, and connectors write them
outside transactions, so that no marker lies between two messages."""


def sparse(lines: Iterable[LedgerLine], begins: Mapping[Slot, int]) -> Iterable[LedgerLine]:
    """Yield the lines over dense inputs that received less than a message an offset.

    Either a message was skipped, or somebody wrote there in a transaction: counting what the log
    holds tells which. What retention has taken cannot be counted.
    """
    for line in lines:
        dense = line.topic in DENSE and begins.get((line.topic, line.partition), 0) <= line.before
        if dense and line.received < line.after - line.before:
            yield line


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not add up.

    Attributes:
        kind: what sort of thing.
        stage: whose books.
        topic: input topic; `<stage>.timers` for its timers.
        partition: input partition; None where only the topic's sum is wrong.
        offset: the first offset that does not add up; None where only the sum is wrong.
        sentence: for people.
        messages: how many it is about; offsets where they cannot be told apart from messages.
    """

    kind: Kind
    stage: str
    topic: str
    partition: int | None
    offset: int | None
    sentence: str
    messages: int


@dataclass(frozen=True, slots=True)
class Totals:
    """A stage's sums over one input topic, or over its timers.

    Attributes:
        received, redone, outside, fates: as in LedgerLine.
        waiting: messages in the log that the stage has not counted yet.
        emitted: records by topic, those of timers and commands included.
    """

    stage: str
    topic: str
    received: int = 0
    redone: int = 0
    outside: int = 0
    waiting: int = 0
    fates: Mapping[str, int] = field(default_factory=dict)
    emitted: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit comes to.

    Attributes:
        problems: in the order of the stages, then of partitions and offsets.
        waiting: (stage, topic) to messages that wait.
        totals: one for each stage and input topic, and for the timers of a stage that has any.
    """

    problems: tuple[Problem, ...]
    waiting: Mapping[tuple[str, str], int]
    totals: tuple[Totals, ...]

    @property
    def clean(self) -> bool:
        """Whether everything adds up."""
        return not self.problems


class Place(NamedTuple):
    """Where a record lies and what caused it."""

    partition: int
    offset: int
    source: SourcePosition | None


def standing(lines: Iterable[LedgerLine]) -> list[LedgerLine]:
    """Return the lines of one partition that count.

    A line whose `before` is not after an earlier one's replaces that one and all later ones: its
    worker started anew from there.

    Args:
        lines: of one stage, topic and partition, in the order in which they were written.
    """
    kept: list[LedgerLine] = []
    for line in lines:
        while kept and kept[-1].before >= line.before:
            kept.pop()
        kept.append(line)
    return kept


def by_slot(lines: Iterable[LedgerLine], stage: str) -> dict[Slot, list[LedgerLine]]:
    """Return a stage's standing lines by input partition."""
    written: dict[Slot, list[LedgerLine]] = {}
    for line in lines:
        if line.stage == stage:
            written.setdefault((line.topic, line.partition), []).append(line)
    return {slot: standing(of) for slot, of in sorted(written.items())}


def audit(
    lines: Sequence[LedgerLine],
    ends: Mapping[Slot, int],
    *,
    waiting: Mapping[Slot, int] | None = None,
    begins: Mapping[Slot, int] | None = None,
    counted: Mapping[tuple[str, int, int], int] | None = None,
    whole: bool = True,
) -> AuditReport:
    """Check the books.

    Args:
        lines: of all stages; those of one partition in the order in which they were written.
        ends: where the log of each input partition ends.
        waiting: messages between the last line and the end, where they were counted; else the
            difference of the offsets, in which the markers of transactions are counted too.
        begins: first offset that the log of each partition still holds, where known.
        counted: (topic, partition, `before`) of a `sparse` line to how many messages the log holds
            over its range; where they were not counted, as many as there are offsets.
        whole: whether the ledger still holds its first lines. Where retention has taken them,
            neither the start of the books nor the sums between stages can be compared.
    """
    problems: list[Problem] = []
    totals: dict[tuple[str, str], Totals] = {}
    for stage, inputs in CHAIN.items():
        books = by_slot(lines, stage)
        if stage in OPTIONAL and not books:
            continue
        for topic in inputs:
            slots = sorted({slot for slot in (*books, *ends) if slot[0] == topic})
            ahead = 0
            for slot in slots:
                known = (begins or {}) if whole else {}
                problems += _contiguous(stage, slot, books.get(slot, []), ends, known)
                problems += _skipped(stage, slot, books.get(slot, []), begins or {}, counted or {})
                ahead += _ahead(slot, books.get(slot, []), ends, waiting or {}, begins or {})
            of_topic = [line for slot in slots for line in books.get(slot, [])]
            totals[stage, topic] = _totals(stage, topic, of_topic, ahead)
        timers = timers_of(stage)
        fired = [line for slot, of in books.items() if slot[0] == timers for line in of]
        if fired:
            totals[stage, timers] = _totals(stage, timers, fired, 0)
            problems += [
                Problem(kind, stage, timers, line.partition, offset, sentence, messages)
                for line in fired
                for kind, offset, sentence, messages in within(line)
            ]
    if whole:
        problems += _sums(totals, _late(lines, ends, begins or {}))
    places = {stage: place for place, stage in enumerate(CHAIN)}
    return AuditReport(
        problems=tuple(sorted(problems, key=lambda each: places[each.stage])),
        waiting={key: each.waiting for key, each in totals.items()},
        totals=tuple(totals.values()),
    )


def _late(
    lines: Sequence[LedgerLine], ends: Mapping[Slot, int], begins: Mapping[Slot, int]
) -> set[str]:
    """Return the optional stages that came when retention had taken what was written before."""
    found = set()
    for stage in OPTIONAL:
        books = by_slot(lines, stage)
        for slot in {*books, *ends}:
            if slot[0] not in CHAIN[stage]:
                continue
            first = books[slot][0].before if slot in books else begins.get(slot, 0)
            if first > 0:
                found.add(stage)
    return found


def _sums(totals: Mapping[tuple[str, str], Totals], late: Collection[str]) -> Iterable[Problem]:
    """Compare what stages emitted with what was received, for every topic between two."""
    for stage, inputs in CHAIN.items():
        for topic, upstream in inputs.items():
            if upstream and (stage, topic) in totals and stage not in late:
                yield from _between(totals[stage, topic], upstream, totals)


def _contiguous(
    stage: str,
    slot: Slot,
    lines: Sequence[LedgerLine],
    ends: Mapping[Slot, int],
    begins: Mapping[Slot, int],
) -> Iterable[Problem]:
    """Check the lines of one partition, one after the other."""

    def problem(kind: Kind, offset: int, sentence: str, messages: int) -> Problem:
        return Problem(kind, stage, slot[0], slot[1], offset, sentence, messages)

    if not lines:
        return
    begin = begins.get(slot, lines[0].before)
    if begin < lines[0].before:
        yield problem(
            "start",
            begin,
            f"the books begin at {lines[0].before}, but the log still holds {begin} on",
            lines[0].before - begin,
        )
    position = lines[0].before
    for line in lines:
        if line.before > position:
            yield problem(
                "gap",
                position,
                f"no line covers the offsets {position} to {line.before - 1}",
                line.before - position,
            )
        elif line.before < position:
            yield problem(
                "overlap",
                line.before,
                f"two lines cover the offsets {line.before} to {position - 1}",
                position - line.before,
            )
        position = line.after
        yield from (problem(*each) for each in within(line))
    end = ends.get(slot)
    if end is not None and position > end:
        sentence = f"the books reach {position}, but the log ends at {end}"
        yield problem("beyond", end, sentence, position - end)


def within(line: LedgerLine) -> Iterable[tuple[Kind, int, str, int]]:
    """Check one line by itself: kind, offset, sentence and messages of what is wrong with it."""
    where = f"the line over {line.before} to {line.after - 1}"
    told = sum(line.fates.values())
    if line.received != told:
        sentence = f"{where} received {line.received:,} messages and tells the fate of {told:,}"
        yield "counts", line.before, sentence, abs(line.received - told)
    if line.received > line.after - line.before:
        sentence = f"{where} received {line.received:,} messages, more than lie there"
        yield "range", line.before, sentence, line.received - (line.after - line.before)
    if line.redone > line.received:
        sentence = f"{where} had passed {line.redone:,} of {line.received:,} messages before"
        yield "counts", line.before, sentence, line.redone - line.received


def _skipped(
    stage: str,
    slot: Slot,
    lines: Sequence[LedgerLine],
    begins: Mapping[Slot, int],
    counted: Mapping[tuple[str, int, int], int],
) -> Iterable[Problem]:
    """Compare what a stage received with what the log of a dense input holds."""
    for line in sparse(lines, begins):
        there = counted.get((*slot, line.before), line.after - line.before)
        if line.received != there:
            yield Problem(
                "skipped",
                stage,
                *slot,
                line.before,
                f"the log holds {there:,} messages at {line.before} to {line.after - 1}, "
                f"{stage} received {line.received:,}",
                abs(line.received - there),
            )


def _ahead(
    slot: Slot,
    lines: Sequence[LedgerLine],
    ends: Mapping[Slot, int],
    waiting: Mapping[Slot, int],
    begins: Mapping[Slot, int],
) -> int:
    if slot in waiting:
        return waiting[slot]
    position = lines[-1].after if lines else begins.get(slot, 0)
    return max(0, ends.get(slot, position) - position)


def _totals(stage: str, topic: str, lines: Sequence[LedgerLine], waiting: int) -> Totals:
    fates: Counter[str] = Counter({str(fate): 0 for fate in Fate if fate is not Fate.WAITING})
    emitted: Counter[str] = Counter()
    for line in lines:
        fates.update(line.fates)
        emitted.update(line.emitted)
        emitted.update(line.caused or {})
    return Totals(
        stage=stage,
        topic=topic,
        received=sum(line.received for line in lines),
        redone=sum(line.redone for line in lines),
        outside=sum(line.outside or 0 for line in lines),
        waiting=waiting,
        fates=dict(fates),
        emitted=dict(emitted),
    )


def _between(
    found: Totals, upstream: tuple[str, ...], totals: Mapping[tuple[str, str], Totals]
) -> Iterable[Problem]:
    """Compare what stages emitted into a topic with what the next one received from it."""
    emitted = sum(
        each.emitted.get(found.topic, 0) for (stage, _), each in totals.items() if stage in upstream
    )
    writers = " and ".join(filter(None, (", ".join(upstream[:-1]), upstream[-1])))
    first_time = found.received - found.redone
    if found.topic in OPEN:
        first_time -= found.outside
    missing = emitted - first_time
    if missing > found.waiting:
        yield Problem(
            "lost",
            found.stage,
            found.topic,
            None,
            None,
            f"{writers} emitted {emitted:,} records, {found.stage} received {first_time:,} for "
            f"the first time and {found.waiting:,} wait: {missing - found.waiting:,} are lost",
            missing - found.waiting,
        )
    elif missing < 0:
        yield Problem(
            "surplus",
            found.stage,
            found.topic,
            None,
            None,
            f"{writers} emitted {emitted:,} records, but {found.stage} received {first_time:,} "
            f"for the first time: {-missing:,} too many",
            -missing,
        )


def locate(
    problem: Problem, lines: Sequence[LedgerLine], records: Iterable[Place]
) -> Problem | None:
    """Name the first offset behind a wrong sum, from the topic's own records.

    Args:
        problem: `lost` or `surplus`.
        lines: of all stages.
        records: what the topic holds, as far back as the books reach.

    Returns:
        The problem with partition and offset; None when the records do not show it.
    """
    upstream = CHAIN[problem.stage][problem.topic]
    there = list(records)
    emitted = (_where_emitted(problem, stage, lines, there) for stage in upstream)
    return _where_received(problem, lines, there) or next(filter(None, emitted), None)


def _where_received(
    problem: Problem, lines: Sequence[LedgerLine], records: Sequence[Place]
) -> Problem | None:
    """Find the first line of the receiving stage that counted other than the log holds."""
    books = by_slot(lines, problem.stage)
    for (topic, partition), standing_lines in books.items():
        if topic != problem.topic:
            continue
        offsets = sorted(place.offset for place in records if place.partition == partition)
        for line in standing_lines:
            first = bisect_left(offsets, line.before)
            there = bisect_left(offsets, line.after) - first
            if there != line.received:
                return Problem(
                    problem.kind,
                    problem.stage,
                    topic,
                    partition,
                    offsets[first] if there else line.before,
                    f"the log holds {there:,} messages at {line.before} to {line.after - 1}, "
                    f"{problem.stage} counted {line.received:,}",
                    problem.messages,
                )
    return None


def _where_emitted(
    problem: Problem, upstream: str, lines: Sequence[LedgerLine], records: Sequence[Place]
) -> Problem | None:
    """Find the first line of the emitting stage whose records are not those of the log."""
    sources = {place.source for place in records if place.source is not None}
    for (topic, partition), standing_lines in by_slot(lines, upstream).items():
        caused = sorted(
            source.offset
            for source in sources
            if source.topic == topic and source.partition == partition
        )
        for line in standing_lines:
            there = bisect_left(caused, line.after) - bisect_left(caused, line.before)
            told = line.emitted.get(problem.topic, 0) + (line.caused or {}).get(problem.topic, 0)
            if there != told:
                return Problem(
                    problem.kind,
                    upstream,
                    topic,
                    partition,
                    line.before,
                    f"of {topic} at {line.before} to {line.after - 1}, {upstream} tells {told:,} "
                    f"records into {problem.topic}, the log holds {there:,}",
                    problem.messages,
                )
    return None
