"""What is wrong because nothing happens: told once, worse as it lasts, taken back when it ends."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from klingel.config.escalations import Alerts
from klingel.domain.signals import row_of
from klingel.domain.silences import (
    FORGET_SECONDS,
    MOST_ANSWERED,
    MOST_NETWORKS,
    MOST_PLACES,
    MOST_WAITING,
    RHYTHM_DAYS,
    Connector,
    Gap,
    SilenceRules,
    Silences,
    look,
    note,
    unheard,
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


# --- silent connectors ----------------------------------------------------------------------------

QUIET = SilenceRules()
DAY = 86_400.0
MONDAY = datetime(2026, 3, 2, tzinfo=UTC).timestamp()


def came(at: float, **fields: object) -> Signal:
    """Return a row that came from bluesky at a time."""
    row = asked(f"r{at}", 0, network="bluesky", direction="third_party")
    when = datetime.fromtimestamp(at, UTC)
    return replace(row, **{"at": when, "received_at": when, **fields})


def usual(days: float, **fields: object) -> Silences:
    """Return what is remembered after days with a row every ten minutes from 8 to 20 o'clock."""
    silences = Silences()
    for at in range(int(MONDAY), int(MONDAY + days * DAY), 600):
        if 8 <= at // 3600 % 24 < 20:
            note(silences, came(float(at), **fields))
    return silences


def silent(
    silences: Silences, at: float, connectors: Sequence[Connector] | None = None
) -> list[tuple[str, str, int, str]]:
    """Return what is told of connectors at a time; one listens, unless others are named."""
    connectors = [status(at)] if connectors is None else connectors
    told = look(silences, QUIET, "nordlicht", at, connectors)
    assert {each.kind for each in told} <= {"silent_connector"}
    return [(each.place, each.state, each.severity, each.connector) for each in told]


def status(at: float, state: str = "running", **fields: str) -> Connector:
    """Return what a connector of bluesky said of itself."""
    return Connector("bluesky-1", "bluesky", state, at, **fields)


@pytest.mark.exhaustive
def test_a_connector_that_breaks_its_rhythm_is_told_and_taken_back() -> None:
    """Two weeks of working hours, then nothing from Monday noon on: within two hours."""
    silences = usual(14.5)
    last = MONDAY + 14 * DAY + 12 * 3600 - 600
    for minute in range(0, 50, 10):
        assert not silent(silences, last + minute * 60), minute
    at = next(at for at in range(0, 7200, 60) if silent(usual(14.5), last + at))
    assert 1800 <= at <= 7200
    now = last + at
    assert silent(silences, now, [status(now - 5)]) == [("bluesky", "open", 5, "bluesky-1")]
    assert not silent(silences, now + 60, [status(now + 55)])
    assert silent(silences, now + 2 * at, [status(now + 2 * at)])[0][1:3] == ("open", 6)
    note(silences, came(now + 2 * at + 1))
    assert silent(silences, now + 2 * at + 5) == [("bluesky", "ended", 6, "bluesky-1")]
    assert not silent(silences, now + 2 * at + 10)


@pytest.mark.parametrize("days", [1, 2, 5, 9, 14, 21])
def test_nights_are_part_of_the_rhythm(days: int) -> None:
    """From the evening to the next morning nothing is missing, whatever day it is."""
    silences = usual(days)
    evening = MONDAY + (days - 1) * DAY + 20 * 3600
    for quarter in range(48):
        assert not silent(silences, evening + quarter * 900), quarter


def test_a_weekend_without_posts_is_no_silence() -> None:
    """Where nobody posts on weekends, Monday's working hours are what is waited for."""
    silences = Silences()
    for at in range(int(MONDAY), int(MONDAY + 26 * DAY), 600):
        if 8 <= at // 3600 % 24 < 20 and (at - int(MONDAY)) // 86_400 % 7 < 5:
            note(silences, came(float(at)))
    monday = MONDAY + 28 * DAY
    assert not silent(silences, monday + 8 * 3600)
    assert silent(silences, monday + 10 * 3600)


@pytest.mark.parametrize(
    ("connector", "severity", "reason"),
    [
        (status(-5.0), 5, "said running"),
        (status(-600.0), 8, "and nothing since"),
        (status(-5.0, "failed", reason="the network refuses us"), 8, "the network refuses us"),
        (status(-5.0, "waiting", credential="revoked"), 8, "credential is revoked"),
        (status(-5.0, "stopped"), 8, "said stopped"),
    ],
)
def test_the_status_says_whether_it_lives(connector: Connector, severity: int, reason: str) -> None:
    """It decides how severe the silence is, and is the alarm's evidence."""
    now = MONDAY + 14 * DAY + 16 * 3600
    connector = connector._replace(at=now + connector.at)
    # So many limits later that nothing else makes it as severe.
    silences = usual(14.5)
    silences.rhythms["bluesky"].newest = now - 7_200
    (told,) = look(silences, QUIET, "nordlicht", now, [connector])
    assert (told.severity, told.connector) == (severity, "bluesky-1")
    assert reason in told.reason
    assert len(told.reason) <= 300


def test_who_said_that_nothing_more_comes_is_not_silent() -> None:
    """An import that is finished; while another one listens, that one is missed."""
    now = MONDAY + 14 * DAY + 18 * 3600
    finished = status(now, "finished")
    assert not silent(usual(14.5), now, [finished])
    assert silent(usual(14.5), now, [finished, status(now)._replace(instance="b-2")])
    assert silent(usual(14.5), now)


def test_where_no_connector_is_known_none_is_silent() -> None:
    """A replay of what is long over has none; one that was forgotten is missed no longer."""
    now, silences = MONDAY + 14 * DAY + 18 * 3600, usual(14.5)
    assert not silent(silences, now, [])
    assert silent(silences, now)
    assert silent(silences, now + 5, []) == [("bluesky", "ended", 6, "")]


def test_history_teaches_the_rhythm_and_is_not_missed() -> None:
    """An import alone is waited for by nobody; with the first live row its rhythm holds."""
    silences = usual(14.5, mode="backfill")
    assert not silent(silences, MONDAY + 16 * DAY)
    assert not silences.places
    note(silences, came(MONDAY + 14 * DAY + 12 * 3600))
    assert silent(silences, MONDAY + 14 * DAY + 14.5 * 3600)


def test_little_is_known_of_a_young_or_rare_rhythm() -> None:
    """Four days, or three posts a day, make no hour of silence an alarm."""
    assert not silent(usual(4.5), MONDAY + 5 * DAY)
    silences = Silences()
    for day in range(28):
        for hour in (9, 13, 18):
            note(silences, came(MONDAY + day * DAY + (hour + day % 7 / 7) * 3600))
    assert not silent(silences, MONDAY + 28 * DAY + 12 * 3600)


def test_what_a_rhythm_knows_is_bounded() -> None:
    """In days and networks, whatever the rows say."""
    silences = usual(60)
    for n in range(MOST_NETWORKS + 5):
        note(silences, came(MONDAY, network=f"n{n}"))
    assert len(silences.rhythms) == MOST_NETWORKS
    assert len(silences.rhythms["bluesky"].days) == RHYTHM_DAYS


@given(st.lists(st.integers(0, 4000), max_size=60), st.randoms(use_true_random=False))
def test_a_rhythm_does_not_depend_on_order_or_repeats(
    minutes: list[int], chance: random.Random
) -> None:
    """Live rows and history, in any order, each once or more."""
    rows = [
        came(MONDAY + minute * 60.0, mode="backfill" if minute % 3 else "live")
        for minute in minutes
    ]
    again = chance.sample([*rows, *rows[:9]], len(rows) + len(rows[:9]))
    assert heard(*rows).rhythms == heard(*again).rhythms


def away(
    begin: float, end: float | None, *, open_: bool = False, instance: str = "bluesky-1"
) -> Gap:
    """Return an entry of the ledger, hours since the last row was heard."""
    last = MONDAY + DAY
    over = None if end is None else last + 3600 * end
    return Gap(instance, instance.partition("-")[0], last + 3600 * begin, over, open_)


@pytest.mark.parametrize(
    ("gaps", "known", "found"),
    [
        ([], [], []),
        ([away(0, 4)], [], [(0, 4)]),
        ([away(1, None, open_=True)], [], [(1, None)]),
        ([away(-3, None, open_=True)], [], [(-3, 0)]),  # heard again since
        ([away(1, None)], [], []),  # over, and nobody says when
        ([away(4, 1)], [], []),
        ([away(-99, -50)], [], []),
        ([away(0, 4), away(2, 9, instance="bluesky-2")], ["bluesky-2"], [(2, 4)]),
        ([away(0, 4)], ["bluesky-2"], []),  # the other one goes on
        ([away(0, 4, instance="youtube-1")], [], []),  # where nothing was ever heard
    ],
)
def test_unheard_is_what_nobody_could_hear(
    gaps: list[Gap], known: list[str], found: list[tuple[float, float | None]]
) -> None:
    last = MONDAY + DAY
    silences = heard(came(last))
    connectors = [Connector(each, "bluesky", "running", last) for each in ("bluesky-1", *known)]
    assert unheard(silences, connectors, gaps, last + 5 * 3600) == [
        (last + 3600 * begin, None if end is None else last + 3600 * end) for begin, end in found
    ]


spans = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 9)).map(lambda each: (each[0], sum(each))),
    min_size=1,
    max_size=9,
)


@given(spans, spans)
def test_what_two_connectors_did_not_hear_is_what_all_pairs_of_gaps_share(
    some: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    last = MONDAY + DAY
    silences = heard(came(last))
    gaps = [away(*each) for each in some]
    gaps += [away(*each, instance="bluesky-2") for each in others]
    found = unheard(silences, [], gaps, last + 5 * 3600)
    pairs = [(max(a, c), min(b, d)) for a, b in some for c, d in others]
    assert sorted(found) == sorted(
        (last + 3600 * begin, last + 3600 * end) for begin, end in pairs if begin < end
    )


def test_while_another_network_speaks_nothing_is_unheard() -> None:
    silences = heard(came(MONDAY + DAY), replace(came(MONDAY + DAY + 1), network="x"))
    assert not unheard(silences, [], [away(0, 4)], MONDAY + 2 * DAY)
