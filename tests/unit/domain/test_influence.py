"""Influence and velocity: known answers, what is unknown stays unknown, more is never less."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.domain.influence import (
    WEIGHTS,
    author_influence,
    engagements_of,
    thread_velocity,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
COUNTS = st.none() | st.integers(0, 10**12)
KNOWN = st.fixed_dictionaries(
    {
        "followers": COUNTS,
        "verified": st.none() | st.booleans(),
        "engagements": COUNTS,
        "public_contacts": COUNTS,
    }
)


def ago(*minutes: float) -> list[datetime]:
    """Give the times so many minutes before now."""
    return [NOW - timedelta(minutes=minute) for minute in minutes]


def test_nothing_known_is_no_score() -> None:
    """Unknown is not zero."""
    influence = author_influence()
    assert influence.score is None
    assert influence.known == 0
    assert [part.name for part in influence.parts] == list(WEIGHTS)
    assert all(part.value is None for part in influence.parts)


@pytest.mark.parametrize(
    ("followers", "reach"), [(0, 0.0), (3161, 0.5), (10_000_000, 1.0), (10**30, 1.0), (-1, None)]
)
def test_reach_is_on_a_log_scale(followers: int, reach: float | None) -> None:
    """Half of the way to ten million is 3,161 followers; a wrong count is unknown."""
    influence = author_influence(followers=followers)
    assert influence.parts[0].value == pytest.approx(reach, abs=1e-4)
    assert influence.score == influence.parts[0].value


def test_the_score_is_the_weighted_mean_of_what_is_known() -> None:
    """Reach 1 (weight 0.5) and not verified (0.15)."""
    influence = author_influence(followers=10_000_000, verified=False)
    assert influence.score == pytest.approx(0.5 / 0.65)
    assert influence.known == pytest.approx(0.65)
    assert influence.parts[2].value == 0
    assert influence.parts[1].why == (
        "The network does not tell the likes, replies, reposts and quotes."
    )


def test_contacts_saturate() -> None:
    """Three contacts are one half."""
    assert author_influence(public_contacts=0).score == 0
    assert author_influence(public_contacts=3).score == 0.5


def test_only_counts_of_engagement_add_up() -> None:
    """Views are none; no counts are unknown, a zero that was told is zero."""
    assert engagements_of(None) is None
    assert engagements_of({"views": 9}) is None
    assert engagements_of({"likes": 0}) == 0
    assert engagements_of({"likes": 2, "reposts": 3, "views": 9, "replies": -1}) == 5


@given(KNOWN)
def test_it_is_bounded_and_the_unknown_stays_unknown(known: dict) -> None:
    """0..1, a part for each fact, None exactly where nothing is known."""
    influence = author_influence(**known)
    values = {part.name: part.value for part in influence.parts}
    names = {"followers": "reach", "engagements": "engagement"}
    for name, given_value in known.items():
        assert (values[names.get(name, name)] is None) is (given_value is None)
    assert (influence.score is None) is all(value is None for value in known.values())
    assert influence.score is None or 0 <= influence.score <= 1
    assert 0 <= influence.known <= 1
    assert all(part.why for part in influence.parts)


@given(KNOWN, st.sampled_from(["followers", "engagements", "public_contacts"]), st.integers(1))
def test_more_is_never_less(known: dict, name: str, more: int) -> None:
    """Monotone in each number, the others being equal."""
    low = known | {name: known[name] or 0}
    high = low | {name: low[name] + more}
    assert author_influence(**high).score >= author_influence(**low).score


@given(KNOWN)
def test_verified_is_never_less_than_not(known: dict) -> None:
    """Monotone in verification."""
    yes = author_influence(**known | {"verified": True}).score
    assert yes >= author_influence(**known | {"verified": False}).score


def test_a_silent_thread_has_no_velocity() -> None:
    """What lies ahead of now does not count."""
    velocity = thread_velocity([NOW + timedelta(seconds=1)], NOW)
    assert velocity.score is None
    assert velocity.per_hour == 0
    assert velocity.explanation == "Nobody has answered yet."


def test_a_young_thread_has_a_pace_and_no_growth() -> None:
    """Under two hours there is no past of an hour to compare with."""
    velocity = thread_velocity(ago(5, 30, 90), NOW)
    assert velocity.per_hour == 2
    assert velocity.past_per_hour is None
    assert velocity.growth is None
    assert velocity.score == velocity.parts[0].value
    assert "too young" in velocity.explanation


def test_growth_is_against_the_own_past() -> None:
    """Four in five hours, then nine in the last one."""
    velocity = thread_velocity(ago(*range(1, 10), 90, 180, 240, 360), NOW)
    assert velocity.per_hour == 9
    assert velocity.past_per_hour == pytest.approx(4 / 5)
    assert velocity.growth == pytest.approx(10 / 1.8)
    assert velocity.parts[1].value == pytest.approx(1 - 0.18)
    assert velocity.explanation == (
        "9 replies and reposts in the last hour, 0.8 an hour before that."
    )


def test_a_thread_that_slows_down_does_not_grow() -> None:
    """Neither below zero nor unknown."""
    velocity = thread_velocity(ago(10, *range(61, 181)), NOW)
    assert velocity.parts[1].value == 0


def test_what_is_older_than_a_day_is_no_past() -> None:
    """A storm of last week is not the recent past."""
    old = thread_velocity(ago(5, 300) + ago(*[60 * 24 * 7] * 500), NOW)
    assert old.past_per_hour == pytest.approx(1 / 23, rel=0.06)


@given(
    st.lists(st.integers(-3 * 10**5, 10**5), max_size=60),
    st.randoms(use_true_random=False),
)
def test_velocity_is_bounded_and_knows_no_order(seconds: list[int], random) -> None:
    """Any times in any order."""
    times = [NOW + timedelta(seconds=second) for second in seconds]
    velocity = thread_velocity(times, NOW)
    assert velocity.score is None or 0 <= velocity.score <= 1
    assert (velocity.score is None) is all(second > 0 for second in seconds)
    random.shuffle(times)
    assert thread_velocity(times, NOW) == velocity


@given(st.lists(st.integers(0, 90_000), min_size=1, max_size=40))
def test_one_more_answer_now_is_never_slower(seconds: list[int]) -> None:
    """Monotone in what came in the last hour."""
    times = [NOW - timedelta(seconds=second) for second in seconds]
    assert thread_velocity([*times, NOW], NOW).score >= thread_velocity(times, NOW).score
