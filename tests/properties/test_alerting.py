"""Laws of alerts: any rows, in any order within an interval, told twice, cut and restarted anywhere."""

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from klingel.domain.alerting import Alert, AlertPolicy, BrandWatch, Row, watched
from klingel.domain.early_warning import Policy
from klingel.domain.identity import hash64_bytes

# Short memories, so that few rows reach every state.
QUICK = AlertPolicy(
    detection=Policy(probation_seconds=1_800, cool_down_seconds=3_600),
    least_authors=2,
    cool_down_seconds=3_600,
    calm_seconds=900,
)
BEGIN = 1_772_409_600.0
TEXTS = st.sampled_from(["Netz weg", "danke", "🔥", "Störung in Kiel", "", "\u202e" * 9])


@st.composite
def some_rows(draw: st.DrawFn) -> list[Row]:
    """Quiet hours and waves; times go forward, several rows to an interval."""
    rows, at = [], BEGIN
    for _ in range(draw(st.integers(1, 12))):
        wave = draw(st.integers(1, 30))
        at += draw(st.sampled_from([1.0, 60.0, 400.0, 4_000.0]))
        step = draw(st.sampled_from([0.5, 10.0, 120.0]))
        tone = draw(st.sampled_from(["negative", "neutral", "positive", None]))
        topics = draw(st.sampled_from([(), ("a",), ("a", "b"), ("b", "b", "")]))
        authors = draw(st.integers(1, 40))
        for number in range(wave):
            at += step
            author = int.from_bytes(hash64_bytes(f"{number % authors}"), "big")
            rows.append(
                Row(f"e{len(rows)}", at, tone, topics, author, 1.0, "x", draw(TEXTS), f"{wave}")
            )
    return rows


def run(rows: list[Row]) -> list[Alert]:
    return list(watched(rows, BrandWatch("b", QUICK)))


@given(some_rows())
@settings(max_examples=30)
def test_every_alert_is_whole_and_every_story_in_order(rows) -> None:
    stories: dict[str, list[Alert]] = {}
    for alert in run(rows):
        stories.setdefault(alert.alert_id, []).append(alert)
        assert 1 <= alert.severity <= 10
        assert 0 <= alert.longevity_seconds < math.inf
        assert 0 <= alert.baseline < math.inf
        assert 0 <= alert.evidence.negative_share <= 1
        assert 2 <= alert.evidence.unique_authors <= alert.posts <= len(rows)
        assert alert.began_at <= alert.opened_at <= alert.updated_at
        assert len(alert.evidence.examples) <= 5
        assert len(alert.evidence.terms) <= 10
    for story in stories.values():
        assert [alert.revision for alert in story] == list(range(1, len(story) + 1))
        assert [alert.change == "opened" for alert in story] == [True] + [False] * (len(story) - 1)
        assert all(alert.change != "ended" for alert in story[:-1])
        assert [each.severity for each in story] == sorted(each.severity for each in story)


@given(some_rows(), st.lists(st.integers(0, 400), max_size=4))
@settings(max_examples=20)
def test_a_restart_anywhere_changes_nothing(rows, cuts) -> None:
    watch, found, last = BrandWatch("b", QUICK), [], 0
    for cut in [*sorted(cuts), len(rows)]:
        found += watched(rows[last:cut], watch)
        last = max(last, cut)
        watch = BrandWatch.from_plain(json.loads(json.dumps(watch.to_plain())), QUICK)
    assert found == run(rows)


@given(some_rows(), st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_rows_told_twice_change_nothing(rows, chance) -> None:
    """A repetition comes within the interval or later; later than the bound it is only counted."""
    watch, found, now = BrandWatch("b", QUICK), [], 0.0
    for at, row in enumerate(rows):
        now = max(now, row.at)
        found += watch.add(row, now)
        found += watch.advance(now, until=now)
        for again in chance.choices(rows[: at + 1], k=2):
            assert list(watch.add(again, now)) == []
    assert found == run(rows)


@given(some_rows())
@settings(max_examples=20)
def test_what_nobody_is_told_of_is_never_alerted(rows) -> None:
    """The whole time is a gap: nothing is known of it."""
    watch = BrandWatch("b", QUICK)
    watch.note_gap(BEGIN, None)
    assert list(watched(rows, watch)) == []


@given(some_rows(), st.integers(1, 400))
@settings(max_examples=20)
def test_silence_opens_nothing(rows, hours) -> None:
    watch = BrandWatch("b", QUICK)
    list(watched(rows, watch))
    now = rows[-1].at + hours * 3_600
    # Rows that still wait within the bound of lateness may open; nothing that comes after them can.
    first = watch.advance(rows[-1].at + 1_200, until=rows[-1].at + 1_200)
    assert all(alert.opened_at <= rows[-1].at for alert in first)
    assert {alert.change for alert in watch.advance(now, until=now)} <= {"ended", "updated"}
