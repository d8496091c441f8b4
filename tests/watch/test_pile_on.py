"""Customers who rouse each other in one thread, through the whole stage."""

from klingel.model import Alert
from klingel.model.brand_signals import Signal

from .conftest import BRAND, Post, in_order, row, usual

THREAD = "x:network:a thread"
BEGIN = 26 * 60


def piling(number: int, minute: float = BEGIN, tone: str = "negative") -> list[Signal]:
    """Return replies of different customers in one thread, one a minute."""
    return [
        row(
            f"p{tone[0]}{n}",
            minute + n,
            f"this is the worst of all {n}",
            conversation_id=THREAD,
            tone=tone,
            author=f"{n + 1:016x}",
            reach=n,
        )
        for n in range(number)
    ]


def pile_ons(post: Post) -> list[Alert]:
    return [each for each in post.alerts() if each.kind == "pile_on"]


def test_a_pile_on_is_told_with_its_thread_and_evidence_and_ends(post: Post) -> None:
    post.hear(in_order([*usual(26), *piling(12), *piling(3, BEGIN + 2, "neutral")]))
    (alert,) = pile_ons(post)
    assert (alert.state, alert.conversation_id, alert.network) == ("open", THREAD, "x")
    assert (alert.severity, alert.observed, alert.baseline) == (4, BRAND.alerts.pile_on_from, 0)
    assert alert.targets == ["chat"]
    assert alert.evidence is not None
    assert alert.evidence.authors == BRAND.alerts.pile_on_from
    assert alert.evidence.events is not None
    assert alert.evidence.events[0] == "nordlicht/x:network:pn9@0"
    post.pass_time(BEGIN + 50)
    assert len(pile_ons(post)) == 1
    post.pass_time(BEGIN + 90)
    ended = pile_ons(post)[-1]
    assert (ended.alert_id, ended.state, ended.revision) == (alert.alert_id, "ended", 2)
    post.pass_time(BEGIN + 120)
    assert len(pile_ons(post)) == 2


def test_a_worker_that_takes_over_goes_on_in_the_same_alert(post: Post) -> None:
    rows = in_order([*usual(26), *piling(24)])
    post.hear(rows[:-18])
    post.stage.restart()
    post.hear(rows[-18:])
    post.stage.restart()
    post.hear(rows)  # once more, which is no news
    told = pile_ons(post)
    assert [(each.revision, each.severity) for each in told] == [(1, 4), (2, 5)]
    assert len({each.alert_id for each in told}) == 1


def test_as_many_in_threads_of_their_own_are_none(post: Post) -> None:
    alone = [row(f"a{n}", BEGIN + n, f"so bad {n}") for n in range(24)]
    post.hear(in_order([*usual(26), *alone]))
    assert pile_ons(post) == []
