"""What is wrong because nothing happens: told once, worse as it lasts, taken back when it ends."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from klingel.config.escalations import Alerts
from klingel.domain.signals import row_of
from klingel.domain.silences import (
    FORGET_SECONDS,
    MOST_ANSWERED,
    MOST_PLACES,
    MOST_WAITING,
    SilenceRules,
    Silences,
    look,
    note,
)
from klingel.model.brand_signals import Signal
from klingel.testing.conversations import NOON, said

RULES = SilenceRules(nobody_answered=600.0, oldest_unanswered=1200.0, dormant={"bluesky": 3600.0})
START = NOON.timestamp()


def asked(name: str, minute: float, **fields: object) -> Signal:
    """Return a customer's word in a conversation of its own."""
    row = row_of(said(name, f"author{name}", minute))
    assert row is not None
    usual = {"conversation_id": f"c:{name}", "addressed": True, "customer_id": f"x:{name}"}
    return replace(row, **{**usual, **fields})


def answer(name: str, minute: float) -> Signal:
    """Return the brand's word in that conversation."""
    return asked(name, minute, direction="outbound", event_id=f"nordlicht/x:y:a{name}{minute}@0")


def heard(*rows: Signal) -> Silences:
    """Return what is remembered after some rows."""
    silences = Silences()
    for row in rows:
        note(silences, row)
    return silences


def kinds(silences: Silences, seconds: float) -> list[tuple[str, str, int]]:
    """Return what is told at a time."""
    told = look(silences, RULES, "nordlicht", asked("x", 0).at.timestamp() + seconds)
    return [(each.kind, each.state, each.severity) for each in told]


def test_nothing_is_told_before_its_time() -> None:
    """To the second."""
    silences = heard(asked("1", 0))
    assert kinds(silences, 599) == []
    assert kinds(silences, 600) == [("nobody_answered", "open", 5)]
    assert kinds(silences, 601) == []


def test_it_grows_worse_with_each_doubling_up_to_ten() -> None:
    """And has one id all the way."""
    silences = heard(asked("1", 0))
    severities = []
    for doubling in range(9):
        told = kinds(silences, 600 * 2**doubling)
        severities += [severity for kind, _, severity in told if kind == "nobody_answered"]
    assert severities == [5, 6, 7, 8, 9, 10]


def test_an_answer_elsewhere_ends_the_one_alarm_and_not_the_other() -> None:
    """Somebody answers, but the oldest still waits."""
    silences = heard(asked("1", 0), asked("2", 1))
    assert {kind for kind, _, _ in kinds(silences, 1200)} == {
        "nobody_answered",
        "oldest_unanswered",
    }
    note(silences, answer("2", 20))
    assert kinds(silences, 1201) == [("nobody_answered", "ended", 6)]


def test_the_next_oldest_goes_on_with_the_alarm_of_the_oldest() -> None:
    """One open alarm for a matter, whoever waits longest."""
    silences = heard(asked("1", 0), asked("2", 1))
    kinds(silences, 1300)
    note(silences, answer("1", 2))
    told = look(silences, RULES, "nordlicht", START + 1500)
    assert not [each for each in told if each.kind == "oldest_unanswered"]
    assert "oldest_unanswered|" in silences.alarms


def test_a_deleted_question_waits_for_nobody() -> None:
    """Only its own deletion ends it."""
    silences = heard(asked("1", 0))
    note(silences, asked("2", 1, change="deleted", conversation_id="c:1"))
    assert silences.waiting
    note(silences, asked("1", 1, change="deleted"))
    assert not silences.waiting


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "backfill"},
        {"addressed": False},
        {"customer_id": None},
        {"intents": ["praise"]},
        {"change": "updated"},
        {"direction": "third_party"},
    ],
)
def test_who_wants_no_answer_waits_for_none(fields: dict[str, object]) -> None:
    """History, talk among others, praise."""
    row = asked("1", 0)
    assert not heard(replace(row, **fields)).waiting


def test_a_channel_that_was_never_heard_is_not_dormant() -> None:
    """Nothing is known of it."""
    rules = SilenceRules(dormant={"mastodon": 60.0})
    assert look(heard(asked("1", 0)), rules, "nordlicht", START + 1e6) == []


def test_after_a_week_a_word_is_not_waited_for() -> None:
    """And the alarm ends."""
    silences = heard(asked("1", 0))
    kinds(silences, 600)
    ended = [state for kind, state, _ in kinds(silences, FORGET_SECONDS + 1) if kind[0] != "d"]
    assert ended == ["ended"]


def test_memory_is_bounded() -> None:
    """Whatever is heard."""
    silences = Silences()
    for n in range(MOST_WAITING + 5):
        note(silences, asked(f"q{n}", n / 1000, channel=f"c{n}"))
    for n in range(MOST_ANSWERED + 5):
        note(silences, answer(f"z{n}", n / 1000))
    assert len(silences.waiting) == MOST_WAITING
    assert len(silences.answered) == MOST_ANSWERED
    assert len(silences.places) == MOST_PLACES


def test_rules_are_those_of_the_brand_file() -> None:
    """Durations in seconds; none where none is set."""
    alerts = Alerts(nobody_answered_after="2h", dormant_after={"x": "1d"})
    assert SilenceRules.of(alerts) == SilenceRules(7200.0, None, {"x": 86400.0})


@given(st.integers(0, 2**32))
def test_the_order_of_rows_decides_nothing(seed: int) -> None:
    """Questions and answers in any order leave the same ones waiting."""
    chance = random.Random(seed)
    rows = [asked(str(n), chance.randrange(60)) for n in range(6)]
    rows += [answer(str(chance.randrange(6)), chance.randrange(60)) for _ in range(6)]
    shuffled = chance.sample(rows, len(rows))
    one, other = heard(*rows), heard(*shuffled)
    assert one.waiting == other.waiting
    assert (one.answered_at, one.places) == (other.answered_at, other.places)
