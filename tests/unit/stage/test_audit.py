"""The audit: what adds up is clean, and each thing that does not is named with its first offset."""

from datetime import UTC, datetime
from typing import Any

import pytest

from klingel.contracts.envelope import SourcePosition
from klingel.model import LedgerLine
from klingel.stage.audit import Place, audit, locate, standing

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def line(
    stage: str,
    topic: str,
    before: int,
    after: int,
    *,
    partition: int = 0,
    received: int | None = None,
    redone: int = 0,
    emitted: dict[str, int] | None = None,
    **more: Any,
) -> LedgerLine:
    """A line whose messages were all delivered, unless `fates` says otherwise."""
    count = after - before if received is None else received
    return LedgerLine(
        stage=stage,
        topic=topic,
        partition=partition,
        before=before,
        after=after,
        received=count,
        redone=redone,
        fates=more.pop("fates", {"delivered": count}),
        emitted=emitted or {},
        written_at=NOON,
        **more,
    )


def understood(before: int, after: int, emitted: int, **more: Any) -> LedgerLine:
    return line(
        "understand", "raw-events", before, after, emitted={"social-events": emitted}, **more
    )


def cared(before: int, after: int, **more: Any) -> LedgerLine:
    return line("care", "social-events", before, after, **more)


def test_contiguous_lines_with_equal_sums_are_clean() -> None:
    report = audit(
        [understood(0, 10, 6), understood(10, 15, 4), cared(0, 10)],
        {("raw-events", 0): 15, ("social-events", 0): 10},
    )
    assert report.clean
    assert report.totals[0].received == 15
    assert report.totals[0].fates == {
        "delivered": 15,
        "repeated": 0,
        "discarded": 0,
        "dead_lettered": 0,
    }
    assert report.waiting["understand", "raw-events"] == 0


def test_the_end_of_the_log_beyond_the_last_line_waits() -> None:
    report = audit([understood(0, 10, 0)], {("raw-events", 0): 25, ("raw-events", 1): 7})
    assert report.clean
    assert report.waiting["understand", "raw-events"] == 22


def test_a_gap_names_the_first_offset_that_no_line_covers() -> None:
    report = audit([understood(0, 10, 0), understood(12, 15, 0)], {("raw-events", 0): 15})
    assert [(each.kind, each.partition, each.offset) for each in report.problems] == [
        ("gap", 0, 10)
    ]
    assert report.problems[0].sentence == "no line covers the offsets 10 to 11"


def test_an_overlap_names_the_first_offset_that_two_lines_cover() -> None:
    report = audit([understood(0, 10, 0), understood(8, 15, 0)], {("raw-events", 0): 15})
    assert [(each.kind, each.offset) for each in report.problems] == [("overlap", 8)]


def test_a_line_from_an_earlier_start_replaces_that_one_and_all_later_ones() -> None:
    first, second, third = understood(0, 5, 5), understood(5, 9, 4), understood(9, 12, 3)
    again = understood(5, 12, 7)
    assert standing([first, second, third, again]) == [first, again]
    report = audit(
        [first, second, third, again, cared(0, 12)],
        {("raw-events", 0): 12, ("social-events", 0): 12},
    )
    assert report.clean


def test_a_message_without_a_fate_is_named_by_its_line() -> None:
    report = audit(
        [understood(0, 5, 0), understood(5, 9, 0, fates={"delivered": 3})], {("raw-events", 0): 9}
    )
    assert [(each.kind, each.offset) for each in report.problems] == [("counts", 5)]


def test_more_messages_than_offsets_cannot_be() -> None:
    report = audit([understood(0, 5, 0, received=6)], {("raw-events", 0): 5})
    assert [(each.kind, each.offset) for each in report.problems] == [("range", 0)]


def test_markers_of_transactions_are_offsets_without_messages() -> None:
    report = audit(
        [understood(0, 3, 3), cared(0, 5, received=3)],
        {("raw-events", 0): 3, ("social-events", 0): 6},
        waiting={("social-events", 0): 0},
    )
    assert report.clean
    assert report.waiting["care", "social-events"] == 0


def test_a_message_skipped_inside_the_first_topic_is_seen_without_an_upstream() -> None:
    lines = [understood(0, 10, 10), understood(10, 20, 9, received=9), cared(0, 19)]
    ends = {("raw-events", 0): 20, ("social-events", 0): 19}
    (problem,) = audit(lines, ends).problems
    assert (problem.kind, problem.stage, problem.offset) == ("skipped", "understand", 10)
    assert problem.sentence == ("the log holds 10 messages at 10 to 19, understand received 9")


def test_where_the_log_of_the_first_topic_was_counted_the_count_decides() -> None:
    lines = [understood(0, 10, 9, received=9), cared(0, 9)]
    ends = {("raw-events", 0): 10, ("social-events", 0): 9}
    assert audit(lines, ends, counted={("raw-events", 0, 0): 9}).clean
    assert not audit(lines, ends, counted={("raw-events", 0, 0): 10}).clean


def test_what_retention_has_taken_of_the_first_topic_is_not_compared() -> None:
    lines = [understood(0, 10, 9, received=9), cared(0, 9)]
    ends = {("raw-events", 0): 10, ("social-events", 0): 9}
    assert audit(lines, ends, begins={("raw-events", 0): 4}, whole=False).clean


def test_books_beyond_the_end_of_the_log_are_of_another_log() -> None:
    report = audit([understood(0, 9, 0)], {("raw-events", 0): 4})
    assert [(each.kind, each.offset) for each in report.problems] == [("beyond", 4)]


def test_books_that_begin_after_the_log_does_have_skipped_its_beginning() -> None:
    ends, begins = {("raw-events", 0): 9}, {("raw-events", 0): 2}
    report = audit([understood(5, 9, 0)], ends, begins=begins)
    assert [(each.kind, each.offset) for each in report.problems] == [("start", 2)]
    assert audit([understood(5, 9, 0)], ends, begins={("raw-events", 0): 5}).clean
    assert audit([understood(5, 9, 0)], ends, begins=begins, whole=False).clean


def test_what_was_emitted_and_neither_received_nor_waits_is_lost() -> None:
    lines = [understood(0, 10, 8), cared(0, 5)]
    report = audit(lines, {("raw-events", 0): 10, ("social-events", 0): 5})
    assert [(each.kind, each.stage) for each in report.problems] == [("lost", "care")]
    assert "3 are lost" in report.problems[0].sentence
    assert audit(lines, {("raw-events", 0): 10, ("social-events", 0): 8}).clean


def test_what_was_received_for_the_first_time_and_never_emitted_is_too_much() -> None:
    lines = [understood(0, 10, 3), cared(0, 5)]
    ends = {("raw-events", 0): 10, ("social-events", 0): 5}
    report = audit(lines, ends)
    assert [(each.kind, each.stage) for each in report.problems] == [("surplus", "care")]
    assert audit(lines, ends, whole=False).clean


def test_what_had_been_passed_before_is_not_received_for_the_first_time() -> None:
    ends = {("raw-events", 0): 10, ("social-events", 0): 7}
    assert audit([understood(0, 10, 5), cared(0, 7, redone=2)], ends).clean
    assert not audit([understood(0, 10, 5), cared(0, 7, redone=1)], ends).clean


def test_records_of_timers_count_as_emitted() -> None:
    ends = {("raw-events", 0): 10, ("social-events", 0): 7}
    lines = [understood(0, 10, 5, caused={"social-events": 2}), cared(0, 7)]
    assert audit(lines, ends).clean


def fired(before: int, after: int, caused: dict[str, int]) -> LedgerLine:
    return line("care", "care.timers", before, after, caused=caused)


def test_lines_of_timers_need_not_follow_one_another_and_are_summed() -> None:
    ends = {("raw-events", 0): 1, ("social-events", 0): 1, ("cases", 0): 9}
    lines = [
        understood(0, 1, 1),
        line("care", "social-events", 0, 1, emitted={"cases": 2}),
        fired(1_000, 1_002, {"cases": 3}),
        fired(99_000, 99_004, {"cases": 4}),
        line("indexer", "cases", 0, 9),
    ]
    report = audit(lines, ends)
    assert report.clean
    timers = next(each for each in report.totals if each.topic == "care.timers")
    assert (timers.received, timers.emitted, timers.waiting) == (6, {"cases": 7}, 0)
    lost = audit([*lines[:-1], line("indexer", "cases", 0, 9, received=8)], ends, waiting={})
    assert [(each.kind, each.topic) for each in lost.problems] == [("lost", "cases")]
    surplus = audit([*lines[:3], lines[-1]], ends)
    assert [(each.kind, each.topic) for each in surplus.problems] == [("surplus", "cases")]


def test_a_line_of_timers_tells_a_fate_for_each() -> None:
    wrong = line("care", "care.timers", 5, 7, fates={"delivered": 1})
    assert [(each.kind, each.topic) for each in audit([wrong], {}).problems] == [
        ("counts", "care.timers")
    ]


def test_commands_of_stages_and_of_people_lie_in_one_topic() -> None:
    """What thread and care emitted is what care received, less what people wrote."""
    ends = {
        ("raw-events", 0): 4,
        ("unthreaded-events", 0): 3,
        ("social-events", 0): 2,
        ("case-commands", 0): 7,
    }
    merged = {"social-events": 1, "case-commands": 1}
    lines = [
        line("thread", "unthreaded-events", 0, 3, emitted=merged),
        line(
            "understand", "raw-events", 0, 4, emitted={"social-events": 1, "unthreaded-events": 3}
        ),
        cared(0, 2, emitted={"case-commands": 1}),
        fired(1_000, 1_001, {"case-commands": 1}),
        line("care", "case-commands", 0, 7, emitted={"case-commands": 1}, outside=3),
    ]
    assert audit(lines, ends).clean
    forgotten = [
        line("thread", "unthreaded-events", 0, 3, emitted={"social-events": 1}),
        *lines[1:],
    ]
    report = audit(forgotten, ends)
    assert [(each.kind, each.topic) for each in report.problems] == [("surplus", "case-commands")]
    assert "thread, care and watch emitted 3" in report.problems[0].sentence


def test_what_watch_tells_is_what_the_indexer_reads() -> None:
    """Rows have no writer in the books; alerts and incidents do, those of time alone as well."""
    ends = {("brand-signals", 0): 9, ("alerts", 0): 4, ("incidents", 0): 1, ("case-commands", 0): 2}
    told = {"alerts": 3, "incidents": 1, "case-commands": 2, "watch-state": 1}
    lines = [
        line("watch", "brand-signals", 0, 7, emitted=told),
        line("watch", "watch.timers", 1_000, 1_001, caused={"alerts": 1, "watch-state": 1}),
        line("indexer", "alerts", 0, 4),
        line("indexer", "incidents", 0, 1),
        line("care", "case-commands", 0, 2),
    ]
    report = audit(lines, ends)
    assert report.clean
    assert report.waiting["watch", "brand-signals"] == 2
    untold = audit([lines[0], *lines[2:]], ends)
    assert [(each.kind, each.topic) for each in untold.problems] == [("surplus", "alerts")]


def test_what_no_stage_wrote_is_too_much_where_only_stages_write() -> None:
    lines = [understood(0, 10, 4), cared(0, 5, outside=1)]
    report = audit(lines, {("raw-events", 0): 10, ("social-events", 0): 5})
    assert [each.kind for each in report.problems] == ["surplus"]


def test_a_lost_record_of_a_timer_is_located_at_its_line() -> None:
    lines = [fired(100, 102, {"cases": 2}), fired(200, 203, {"cases": 3})]
    lines.append(line("indexer", "cases", 0, 4))
    (problem,) = audit(lines, {("cases", 0): 4}).problems
    sources = [100, 101, 200, 202]
    places = [Place(0, at, SourcePosition("care.timers", 0, n, 0)) for at, n in enumerate(sources)]
    found = locate(problem, lines, places)
    assert found is not None
    assert (found.stage, found.topic, found.offset) == ("care", "care.timers", 200)


def test_the_indexer_s_own_inputs_have_no_upstream_in_the_books() -> None:
    lines = [line("indexer", "dead-letters", 0, 4), line("indexer", "dead-letters", 5, 6)]
    report = audit(lines, {("dead-letters", 0): 6})
    assert [(each.kind, each.topic, each.offset) for each in report.problems] == [
        ("gap", "dead-letters", 4)
    ]


@pytest.mark.parametrize("topic", ["routed-events", "cases", "case-events"])
def test_each_topic_between_care_and_indexer_is_compared(topic: str) -> None:
    lines = [
        understood(0, 1, 1),
        line("care", "social-events", 0, 1, emitted={topic: 2}),
        line("indexer", topic, 0, 1),
    ]
    ends = {("raw-events", 0): 1, ("social-events", 0): 1, (topic, 0): 1}
    report = audit(lines, ends)
    assert [(each.kind, each.topic) for each in report.problems] == [("lost", topic)]


def test_a_lost_record_is_located_where_the_receiver_counted_less_than_lies_there() -> None:
    lines = [understood(0, 6, 6), cared(0, 3), cared(3, 6, received=2)]
    report = audit(
        lines,
        {("raw-events", 0): 6, ("social-events", 0): 6},
        waiting={("social-events", 0): 0},
    )
    (problem,) = report.problems
    places = [Place(0, at, SourcePosition("raw-events", 0, at, 0)) for at in range(6)]
    found = locate(problem, lines, places)
    assert found is not None
    assert (found.kind, found.stage, found.partition, found.offset) == ("lost", "care", 0, 3)


def test_a_record_that_never_reached_the_log_is_located_at_its_sender() -> None:
    lines = [understood(0, 3, 3), understood(3, 6, 3), cared(0, 5)]
    report = audit(lines, {("raw-events", 0): 6, ("social-events", 0): 5})
    (problem,) = report.problems
    places = [Place(0, at, SourcePosition("raw-events", 0, at, 0)) for at in range(5)]
    found = locate(problem, lines, places)
    assert found is not None
    assert (found.stage, found.topic, found.offset) == ("understand", "raw-events", 3)


def test_records_that_show_nothing_wrong_locate_nothing() -> None:
    lines = [understood(0, 3, 3), cared(0, 2)]
    (problem,) = audit(lines, {("raw-events", 0): 3, ("social-events", 0): 2}).problems
    places = [Place(0, at, SourcePosition("raw-events", 0, at, 0)) for at in range(3)]
    assert locate(problem, [understood(0, 3, 3), cared(0, 3)], places) is None


def test_what_understand_commands_is_no_surplus() -> None:
    """It joins conversations of one customer, and names those that somebody refers to."""
    emitted = {"social-events": 3, "case-commands": 2}
    told = line("understand", "raw-events", 0, 3, emitted=emitted)
    received = line("care", "case-commands", 0, 2)
    ends = {("raw-events", 0): 3, ("social-events", 0): 3, ("case-commands", 0): 2}
    assert audit([told, cared(0, 3), received], ends).clean
    (problem,) = audit([told, cared(0, 3)], ends | {("case-commands", 0): 0}).problems
    assert (problem.kind, problem.topic) == ("lost", "case-commands")
