"""The media worker in the books: nobody waits for one that is not there, and one that is counts."""

from klingel.stage.audit import audit

from .test_audit import line

SLOT = ("media-jobs", 0)
ENDS = {("raw-events", 0): 10, ("social-events", 0): 10, SLOT: 5}


def emitted(jobs: int) -> list:
    """Lines of understand and care; understand wrote so many jobs."""
    return [
        line("understand", "raw-events", 0, 10, emitted={"social-events": 10, "media-jobs": jobs}),
        line("care", "social-events", 0, 10),
    ]


def test_a_worker_that_never_counted_is_not_waited_for() -> None:
    """Its jobs lie there till retention takes them; nothing is lost, nobody waits."""
    report = audit(emitted(4), ENDS)
    assert report.clean
    assert sum(report.waiting.values()) == 0
    assert not any(each.stage == "media" for each in report.totals)


def test_a_worker_that_counts_is_waited_for() -> None:
    """What lies behind it waits; with that, the sums are those of understand."""
    report = audit([*emitted(4), line("media", "media-jobs", 0, 2)], ENDS, waiting={SLOT: 2})
    assert report.clean
    assert report.waiting["media", "media-jobs"] == 2


def test_a_job_that_it_never_received_is_lost() -> None:
    """Named with the stage."""
    report = audit([*emitted(4), line("media", "media-jobs", 0, 5, received=3)], ENDS)
    (problem,) = report.problems
    assert (problem.kind, problem.stage, problem.topic) == ("lost", "media", "media-jobs")


def test_what_it_tries_again_by_itself_is_no_surplus() -> None:
    """Those jobs have no source position: they are outside."""
    report = audit([*emitted(3), line("media", "media-jobs", 0, 5, outside=2)], ENDS)
    assert report.clean


def test_one_that_came_after_retention_is_not_compared() -> None:
    """The first jobs are gone: what it received can be no sum."""
    late = line("media", "media-jobs", 3, 5)
    report = audit([*emitted(4), late], ENDS, begins={SLOT: 3})
    assert report.clean
