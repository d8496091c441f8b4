"""Whatever rings and however the books are cut: true books are clean, a planted fault is found."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from klingel.contracts import codec
from klingel.model import LedgerCheckpoint, LedgerLine
from klingel.stage.audit import AuditReport, audit, standing
from klingel.stage.checkpoint import Folding, book_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
UPSTREAM, TOPIC, DOWNSTREAM = "understand", "social-events", "care"


@dataclasses.dataclass(frozen=True)
class World:
    """Two stages: what lies in their logs and what their books say."""

    lines: tuple[LedgerLine, ...]
    ends: dict[tuple[str, int], int]
    waiting: dict[tuple[str, int], int]

    def audited(self) -> AuditReport:
        """Check the books."""
        return audit(self.lines, self.ends, waiting=self.waiting)

    def changed(self, at: int, change: Callable[[LedgerLine], LedgerLine | None]) -> "World":
        """Return the world with one line of the books changed or taken out."""
        new = change(self.lines[at])
        lines = self.lines[:at] + (() if new is None else (new,)) + self.lines[at + 1 :]
        return dataclasses.replace(self, lines=lines)


def _cut(draw: st.DrawFn, log: list[bool], stop: int) -> list[tuple[int, int, int]]:
    """Cut [0, stop) of a log into ranges; returns (before, after, messages), all not empty."""
    inner = draw(st.lists(st.integers(1, max(1, stop - 1)), max_size=4, unique=True))
    cuts = sorted({0, stop, *(at for at in inner if at < stop)})
    return [(a, b, sum(log[a:b])) for a, b in pairwise(cuts)]


def _books(
    draw: st.DrawFn,
    stage: str,
    topic: str,
    partition: int,
    log: list[bool],
    stop: int,
    emits: dict[int, int],
) -> list[LedgerLine]:
    """Write true lines of a partition, some of which a later line replaces."""
    found = []
    for before, after, messages in _cut(draw, log, stop):
        emitted = sum(emits.get(at, 0) for at in range(before, after))
        if draw(st.booleans()):  # a worker that died before it committed this line
            found.append(_line(stage, topic, partition, before, after + 1, messages, emitted + 1))
        found.append(_line(stage, topic, partition, before, after, messages, emitted))
    return found


def _line(
    stage: str, topic: str, partition: int, before: int, after: int, messages: int, emitted: int
) -> LedgerLine:
    return LedgerLine(
        stage=stage,
        topic=topic,
        partition=partition,
        before=before,
        after=after,
        received=messages,
        redone=0,
        fates={"delivered": messages},
        emitted={TOPIC: emitted} if stage == UPSTREAM else {},
        written_at=NOON,
    )


@st.composite
def worlds(draw: st.DrawFn, *, settled: bool = False) -> World:
    """True books over logs with transaction markers (offsets without a message).

    Args:
        draw: of hypothesis.
        settled: something was emitted, and care has read all of it.
    """
    lines: list[LedgerLine] = []
    ends: dict[tuple[str, int], int] = {}
    waiting: dict[tuple[str, int], int] = {}
    total = 0
    for partition in range(draw(st.integers(1, 3))):
        raw = [True] * draw(st.integers(1, 12))
        stop = draw(st.integers(1, len(raw)))
        emits = {at: draw(st.integers(int(settled), 2)) for at in range(stop)}
        total += sum(emits.values())
        lines += _books(draw, UPSTREAM, "raw-events", partition, raw, stop, emits)
        ends["raw-events", partition] = len(raw)
        waiting["raw-events", partition] = len(raw) - stop
    log = draw(st.permutations([True] * total + [False] * draw(st.integers(0, 5))))
    ends[TOPIC, 0] = len(log)
    stop = len(log) if settled else draw(st.integers(0, len(log)))
    if stop:
        lines += _books(draw, DOWNSTREAM, TOPIC, 0, log, stop, {})
    waiting[TOPIC, 0] = sum(log[stop:])
    return World(tuple(lines), ends, waiting)


def _standing_at(world: World) -> list[int]:
    """Return the places of the lines that count."""
    kept = set()
    for slot in {(each.stage, each.topic, each.partition) for each in world.lines}:
        own = [one for one in world.lines if (one.stage, one.topic, one.partition) == slot]
        kept |= {id(one) for one in standing(own)}
    return [at for at, one in enumerate(world.lines) if id(one) in kept]


@given(worlds())
def test_true_books_are_clean_and_their_sums_are_right(world: World) -> None:
    report = world.audited()
    assert report.problems == ()
    for each in report.totals:
        logged = sum(end for (topic, _), end in world.ends.items() if topic == each.topic)
        assert each.received + each.waiting <= logged
        assert each.received == sum(each.fates.values())


@given(worlds(), st.data())
def test_a_line_taken_out_is_found(world: World, data: st.DataObject) -> None:
    """A hole in the middle is a gap at its first offset; the last line's messages are lost."""
    at = data.draw(st.sampled_from(_standing_at(world)))
    gone = world.lines[at]
    rest = [each for each in world.lines if each is not gone]
    own = [
        each
        for each in standing(
            each for each in rest if (each.stage, each.partition) == (gone.stage, gone.partition)
        )
        if each.stage == gone.stage
    ]
    # Another line over the same range would take its place, as after a worker's death.
    assume(all(each.before != gone.before for each in own))
    later = [each for each in own if each.before >= gone.after]
    earlier = [each for each in own if each.after <= gone.before]
    report = world.changed(at, lambda _: None).audited()
    if later and earlier:
        found = [(each.kind, each.partition, each.offset) for each in report.problems]
        assert ("gap", gone.partition, gone.before) in found
    elif gone.stage == UPSTREAM and gone.emitted[TOPIC] > 0 and not _care_waits(world):
        assert "surplus" in {each.kind for each in report.problems}
    elif gone.stage == DOWNSTREAM and gone.received:
        assert "lost" in {each.kind for each in report.problems}


def _care_waits(world: World) -> bool:
    return world.waiting[TOPIC, 0] > 0


@given(worlds(settled=True), st.data())
def test_a_message_counted_twice_is_found(world: World, data: st.DataObject) -> None:
    """One message more, with its fate, in a line of care: more than understand emitted."""
    places = [at for at in _standing_at(world) if world.lines[at].stage == DOWNSTREAM]
    at = data.draw(st.sampled_from(places))
    doubled = world.changed(
        at,
        lambda line: msgspec.structs.replace(
            line, received=line.received + 1, fates={"delivered": line.received + 1}
        ),
    )
    assert {"surplus", "range"} & {each.kind for each in doubled.audited().problems}


@given(worlds(), st.data())
def test_a_message_without_a_fate_is_found(world: World, data: st.DataObject) -> None:
    places = [at for at in _standing_at(world) if world.lines[at].received]
    assume(places)
    at = data.draw(st.sampled_from(places))
    forgotten = world.changed(
        at,
        lambda line: msgspec.structs.replace(line, fates={"delivered": line.received - 1}),
    )
    place = world.lines[at]
    assert ("counts", place.topic, place.partition, place.before) in {
        (each.kind, each.topic, each.partition, each.offset)
        for each in forgotten.audited().problems
    }


@given(worlds(), st.data())
def test_a_range_that_reaches_into_the_next_one_is_found(world: World, data: st.DataObject) -> None:
    kept = _standing_at(world)
    places = [
        at
        for at in kept
        if any(
            (other.stage, other.topic, other.partition)
            == (world.lines[at].stage, world.lines[at].topic, world.lines[at].partition)
            and other.before == world.lines[at].after
            for other in (world.lines[place] for place in kept)
        )
    ]
    assume(places)
    at = data.draw(st.sampled_from(places))
    place = world.lines[at]
    longer = world.changed(at, lambda line: msgspec.structs.replace(line, after=line.after + 1))
    assert ("overlap", place.topic, place.partition, place.after) in {
        (each.kind, each.topic, each.partition, each.offset) for each in longer.audited().problems
    }


def _read(world: World, stop: int, base: LedgerCheckpoint | None = None) -> Folding:
    """Read the books up to a place, from a checkpoint on where there is one.

    What a stage has committed lies before its last line, which may still be replaced.
    """
    settled = {book_of(each): each.before for each in world.lines[:stop]}
    folding = Folding(0, settled, base=base)
    for at in range(0 if base is None else base.position, stop):
        folding.take(at, world.lines[at])
    folding.close()
    return folding


@given(worlds(), st.data())
def test_with_checkpoints_an_audit_finds_what_it_finds_without(
    world: World, data: st.DataObject
) -> None:
    """Wherever an audit was made, whatever it settled and whatever is wrong."""
    if data.draw(st.booleans(), label="a fault") and world.lines:
        at = data.draw(st.integers(0, len(world.lines) - 1), label="at")
        world = world.changed(
            at, lambda one: msgspec.structs.replace(one, received=one.received + 1)
        )
    end = len(world.lines)
    base = None
    for stop in sorted(data.draw(st.lists(st.integers(0, end), max_size=3), label="audits at")):
        base = _read(world, stop, base).checkpoint(stop, {}, NOON)
        base = codec.decode(LedgerCheckpoint, codec.encode(base))
    found = _read(world, end, base)
    assert not found.rewound
    with_it = audit(found.lines(), world.ends, waiting=world.waiting, counted=found.proven())
    without = world.audited()
    assert with_it.totals == without.totals
    assert with_it.problems == without.problems
