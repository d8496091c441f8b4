"""Sums of settled lines: what an audit finds with them is what it finds with every line."""

import dataclasses
from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from klingel.contracts import codec
from klingel.model import LedgerCheckpoint, LedgerLine
from klingel.stage.audit import AuditReport, audit
from klingel.stage.checkpoint import (
    OUTSIDE_DAYS,
    TAIL,
    Book,
    Folding,
    checkpoint_output,
    differences,
    ends_of,
    newest,
)
from klingel.stage.timers import timers_of

from .test_audit import NOON, cared, line, understood

RAW: Book = ("understand", "raw-events", 0)
LONG = [understood(at, at + 10, 5) for at in range(0, 400, 10)]


def folded(
    lines: Sequence[LedgerLine],
    settled: int = 10_000,
    base: LedgerCheckpoint | None = None,
    **more: object,
) -> Folding:
    """Take in lines whose offsets in the ledger are their places."""
    found = Folding(0, {RAW: settled}, base=base, **more)  # type: ignore[arg-type] # the test's own
    for at, each in enumerate(lines):
        if base is None or at >= base.position:
            found.take(at, each)
    found.close()
    return found


def checkpoint(lines: Sequence[LedgerLine], settled: int = 10_000) -> LedgerCheckpoint:
    """Return what is kept of them, as it is read back."""
    made = folded(lines, settled).checkpoint(len(lines), {}, NOON)
    return codec.decode(LedgerCheckpoint, checkpoint_output(made).value)


def audited(found: Folding) -> AuditReport:
    return audit(found.lines(), {("raw-events", 0): 400}, counted=found.proven())


def test_settled_lines_become_one_and_the_audit_finds_the_same() -> None:
    found = folded(LONG)
    (one,) = found.lines()
    assert (one.before, one.after, one.received, one.emitted) == (
        0,
        400,
        400,
        {"social-events": 200},
    )
    alone = audit(LONG, {("raw-events", 0): 400})
    assert audited(found).totals == alone.totals
    assert audited(found).problems == alone.problems


def test_a_later_audit_begins_where_the_earlier_one_ended() -> None:
    base = checkpoint(LONG[:30])
    assert base.position == 30
    assert base.whole
    assert folded(LONG, base=base).lines() == folded(LONG).lines()


def test_what_is_not_settled_may_be_replaced_still() -> None:
    """A worker that died before it committed wrote a line that the next one's replaces."""
    base = checkpoint(LONG[:30], settled=290)
    assert base.position == 29
    assert [each.after for each in base.books] == [290]
    replaced = [*LONG[:30], understood(290, 305, 9)]
    assert folded(replaced, base=base).lines() == folded(replaced, tail=None).lines()


def test_a_line_that_is_replaced_while_it_is_read_does_not_count() -> None:
    twice = [*LONG[:20], understood(200, 215, 99), understood(200, 210, 5), *LONG[21:]]
    (one,) = folded(twice).lines()
    assert one.emitted == {"social-events": 200}
    assert not folded(twice).rewound


def test_a_worker_that_began_anew_before_the_checkpoint_is_seen() -> None:
    base = checkpoint(LONG[:30])
    assert folded(LONG, settled=200, base=base).rewound, "by the position that is committed"
    anew = [*LONG[:30], understood(200, 210, 1)]
    assert folded(anew, base=base).rewound, "by the line that it wrote"
    assert not folded(LONG, base=base).rewound


def test_read_line_by_line_the_later_lines_stand() -> None:
    anew = [*LONG[:30], understood(200, 210, 1)]
    assert folded(anew).rewound
    again = folded(anew, tail=None)
    assert not again.rewound
    (one,) = again.lines()
    assert (one.after, one.emitted["social-events"]) == (210, 20 * 5 + 1)


WRONG = {
    "gap": [*LONG[:20], *LONG[21:]],
    "overlap": [*LONG[:20], understood(195, 215, 9, received=20), understood(215, 220, 1), *LONG[22:]],
    "counts": [*LONG[:20], understood(200, 210, 5, fates={"delivered": 9}), *LONG[21:]],
    "range": [*LONG[:20], understood(200, 210, 5, received=11), *LONG[21:]],
    "skipped": [*LONG[:20], understood(200, 210, 5, received=9), *LONG[21:]],
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_add_up_is_found_again_by_every_later_audit(kind: str) -> None:
    lines = WRONG[kind]
    report = audit(lines, {("raw-events", 0): 400})
    assert {each.kind for each in report.problems} >= {kind}

    def doubtful(each: LedgerLine) -> bool:
        return each.received < each.after - each.before

    first = folded(lines, doubtful=doubtful)
    assert audited(first).problems == report.problems
    assert len(first.lines()) <= 3, "what is well is taken together all the same"
    base = first.checkpoint(len(lines), {}, NOON)
    assert base.position == 20
    again = folded(lines, base=base, doubtful=doubtful)
    assert audited(again).problems == report.problems
    assert audited(again).totals == report.totals


def test_a_doubtful_line_is_well_once_the_log_was_counted() -> None:
    """Somebody wrote into raw-events in a transaction: its marker is no message."""
    lines = [*LONG[:20], understood(200, 210, 5, received=9), *LONG[21:]]
    found = folded(lines, doubtful=lambda each: each.received == 9)
    counted = {("raw-events", 0, 200): 9}
    base = found.checkpoint(len(lines), counted, NOON)
    assert base.position == len(lines)
    again = folded(lines, base=base)
    assert again.proven() == {("raw-events", 0, 0): 399}
    assert "skipped" not in {each.kind for each in audited(again).problems}


def test_timers_need_not_follow_one_another_and_are_settled_as_written() -> None:
    name = timers_of("care")
    fired = [
        line("care", name, at, at + 2, partition=3, emitted={}, caused={"case-events": 2})
        for at in (1000, 5000, 7000)
    ]
    base = checkpoint(fired)
    (one,) = base.books
    assert (one.before, one.after, one.received, one.caused) == (1000, 7002, 6, {"case-events": 6})
    assert base.position == 3


def test_who_has_no_input_is_known_by_his_last_line() -> None:
    def gateway(minutes: int) -> LedgerLine:
        at = NOON + timedelta(minutes=minutes)
        return replace(line("gateway", "", 0, 0, received=minutes), written_at=at)

    lines = [gateway(1), gateway(2)]
    assert folded(lines).lines() == lines[1:]
    assert [each.received for each in checkpoint(lines).books] == [2]
    later = NOON + timedelta(days=OUTSIDE_DAYS + 1)
    assert folded(lines).checkpoint(2, {}, later).books == []


def test_memory_does_not_grow_with_the_ledger() -> None:
    """However many lines there are, so many stand for them while they are read."""
    found = Folding(0, {RAW: 10**9})
    most = 0
    for at in range(5_000):
        found.take(at, understood(at * 10, at * 10 + 10, 1))
        if at % 100 == 0:
            most = max(most, len(found.lines()))
    assert most <= TAIL + 1


def test_the_first_lines_that_retention_took_are_told() -> None:
    found = folded(LONG, whole=False)
    assert not found.whole
    assert not found.checkpoint(40, {}, NOON).whole
    assert folded(LONG, base=checkpoint(LONG), whole=False).whole, "the sums still have them"


def test_a_full_audit_agrees_with_a_true_checkpoint() -> None:
    base = checkpoint(LONG[:30])
    assert list(differences(base, folded(LONG, cuts=ends_of(base)))) == []


@pytest.mark.parametrize(
    ("name", "value"), [("received", 299), ("redone", 4), ("emitted", {"social-events": 149})]
)
def test_a_full_audit_finds_a_checkpoint_that_tells_other_than_its_lines(
    name: str, value: object
) -> None:
    base = checkpoint(LONG[:30])
    spoilt = replace(base, books=[replace(base.books[0], **{name: value})])
    (problem,) = differences(spoilt, folded(LONG, cuts=ends_of(base)))
    assert (problem.kind, problem.stage, problem.partition) == ("checkpoint", "understand", 0)
    assert problem.messages in {1, 4}


def test_a_full_audit_finds_a_checkpoint_that_ends_within_a_line() -> None:
    base = checkpoint(LONG[:30])
    spoilt = replace(base, books=[replace(base.books[0], after=295)])
    for whole in (True, False):
        (problem,) = differences(spoilt, folded(LONG, cuts=ends_of(spoilt), whole=whole))
        assert problem.kind == "checkpoint"


def test_what_retention_took_is_not_compared() -> None:
    base = checkpoint(LONG[:30])
    left = folded(LONG[25:], cuts=ends_of(base), whole=False)
    assert list(differences(base, left)) == []


def test_the_last_checkpoint_of_a_partition_is_in_force() -> None:
    early, late = checkpoint(LONG[:10]), checkpoint(LONG[:20])
    other = replace(early, partition=1)
    assert newest([early, other, late]) == {0: late, 1: other}
    assert (
        checkpoint_output(early).key == checkpoint_output(late).key != checkpoint_output(other).key
    )


def test_a_report_with_sums_names_the_same_messages() -> None:
    """Sums between stages: what one emitted the next received, over checkpoints too."""
    lines = [*LONG, cared(0, 199)]
    whole = audit(lines, {("raw-events", 0): 400, ("social-events", 0): 199})
    found = Folding(0, {RAW: 400, ("care", "social-events", 0): 199})
    for at, each in enumerate(lines):
        found.take(at, each)
    found.close()
    report = audit(found.lines(), {("raw-events", 0): 400, ("social-events", 0): 199})
    assert [each.kind for each in report.problems] == ["lost"]
    assert dataclasses.asdict(report) == dataclasses.asdict(whole)
