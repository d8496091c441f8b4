"""What is due now, for which target: digest, quiet hours, circuit, order of revisions."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.config.calendars import BusinessCalendar
from klingel.domain.calendar import Calendar
from klingel.domain.notifications import (
    DIGEST_BYTES,
    DIGEST_MOST,
    LONGEST_HOLD,
    LONGEST_RETRY_AFTER,
    STALE,
    Backoff,
    Circuit,
    Ending,
    Policy,
    Rest,
    Send,
    batch_key,
    due,
    given_up,
    in_order,
    supersedes,
    together,
    untold,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WINDOW = timedelta(seconds=30)
DESK = Calendar.compile(
    BusinessCalendar(id="desk", zone="Europe/Berlin", hours={"mon-fri": ("08:00-20:00",)})
)
OUTCOMES = ("told", "over", "nothing_new", "refused", "unreachable")


@dataclass(frozen=True)
class Held:
    """Something that waits."""

    matter: str
    since: datetime
    revision: int = 1
    size: int = 800


def held(*seconds, size=800):
    return [
        Held(f"escalation/{number}", NOON + timedelta(seconds=each), size=size)
        for number, each in enumerate(seconds)
    ]


def at(seconds):
    return NOON + timedelta(seconds=seconds)


def test_nothing_waits_nothing_is_due():
    assert due([], [], Policy(5, WINDOW), NOON) == Rest(None)


@pytest.mark.parametrize(
    ("waiting", "told", "now", "expected"),
    [
        pytest.param((0,), (), 0, Send(1), id="rare things at once"),
        pytest.param((0, 0, 0, 0), (), 0, Send(1), id="fewer than a digest: one by one"),
        pytest.param((0, 0, 0, 0, 0), (), 0, Send(5), id="many at once: one digest"),
        pytest.param((10,), (0, 1, 2), 10, Send(1), id="the fourth goes alone"),
        pytest.param((10,), (0, 1, 2, 3), 10, Rest(at(40)), id="the fifth waits"),
        pytest.param((10, 20, 39), (0, 1, 2, 3), 40, Send(3), id="together at the window's end"),
        pytest.param((40,), (0, 1, 2, 3), 40, Send(1), id="the flood is over"),
        pytest.param((10, 11, 12, 13, 14), (9,), 14, Rest(at(40)), id="a flood just begun"),
        pytest.param((90,), (88, 89, 89, 90), 40, Send(1), id="a clock that was set back"),
    ],
)
def test_digest(waiting, told, now, expected):
    found = due(held(*waiting), [at(each) for each in told], Policy(5, WINDOW), at(now))
    assert found == expected


@given(
    st.lists(st.integers(0, 900), min_size=1, max_size=80),
    st.integers(2, 8),
    st.integers(1, 60),
)
def test_a_flood_is_bounded_and_nothing_waits_longer_than_the_window(arrivals, start, window):
    """Simulated second by second: everything is told, once, within the window, in few messages."""
    policy = Policy(start, timedelta(seconds=window))
    coming = in_order(held(*sorted(arrivals)))
    waiting, told, messages = [], [], []
    for second in range(max(arrivals) + window + 2):
        now = at(second)
        while coming and coming[0].since <= now:
            waiting.append(coming.pop(0))
        while True:
            decided = due(waiting, told, policy, now)
            if isinstance(decided, Rest):
                assert decided.until is None or decided.until > now
                break
            for each in waiting[: decided.count]:
                assert (now - each.since).total_seconds() <= window
                told.append(now)
            messages.append((now, decided.count))
            waiting = waiting[decided.count :]
    assert coming == waiting == []
    assert sum(number for _, number in messages) == len(arrivals)
    for first, _ in messages:
        within = [
            number for moment, number in messages if timedelta(0) <= moment - first < policy.window
        ]
        full = sum(1 for number in within if number == DIGEST_MOST)
        assert len(within) <= start + full


@given(st.integers(0, 20 * 86_400), st.integers(0, 20 * 86_400), st.integers(1, 9))
def test_nothing_is_told_in_quiet_hours(since, later, number):
    policy = Policy(5, WINDOW, hours=DESK)
    now = at(since + later)
    decided = due(held(*[since] * number), [], policy, now)
    if DESK.is_open(now):
        assert isinstance(decided, Send) or decided.until is not None
    else:
        assert decided == Rest(DESK.next_open(now), quiet=True)


@given(st.integers(0, 20 * 86_400), st.integers(1, 9), st.integers(0, 9))
def test_what_came_in_quiet_hours_goes_out_together(since, number, told):
    policy = Policy(5, WINDOW, hours=DESK)
    opening = DESK.next_open(at(since))
    if opening == at(since):
        return
    decided = due(held(*[since] * number), [opening] * told, policy, opening)
    assert decided == Send(number)


def test_without_a_calendar_a_target_is_told_day_and_night():
    policy = Policy(5, WINDOW)
    assert policy.open(at(12 * 3600))
    assert policy.opening(at(1)) == at(1)


@given(st.lists(st.integers(0, DIGEST_BYTES * 2), min_size=1, max_size=90))
def test_a_digest_is_bounded_and_never_empty(sizes):
    waiting = [Held(str(number), NOON, size=size) for number, size in enumerate(sizes)]
    count = together(waiting)
    assert 1 <= count <= min(DIGEST_MOST, len(waiting))
    assert count == 1 or sum(sizes[:count]) <= DIGEST_BYTES
    more = count < min(DIGEST_MOST, len(waiting))
    assert not more or sum(sizes[: count + 1]) > DIGEST_BYTES


# ---------------------------------------------------------------------- revisions


@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from(OUTCOMES), st.booleans())
def test_only_a_newer_revision_supersedes(revision, before, outcome, again):
    found = supersedes(revision, Ending(before, outcome), again=again)
    dead = outcome in {"refused", "unreachable"}
    assert found == (revision > before or (again and dead and revision == before))


def test_the_first_word_of_a_matter_always_counts():
    assert supersedes(0, None)


@given(
    st.one_of(
        st.none(), st.builds(Ending, st.integers(0, 9), st.sampled_from(OUTCOMES), st.none())
    ),
    st.booleans(),
    st.integers(0, 3 * 86_400),
)
def test_who_was_told_nothing_hears_only_of_what_matters_still(ending, withdrawn, age):
    said = {"gist": "x", "withdrawn": withdrawn, "since": NOON, "people": True}
    assert untold(ending, ended_at=None, **said) is None
    ended = untold(ending, ended_at=NOON - timedelta(seconds=age), **said)
    assert ended == ("over" if withdrawn or age > STALE.total_seconds() else None)


@given(st.text(max_size=3), st.text(max_size=3), st.booleans(), st.booleans())
def test_who_was_told_hears_what_is_new(gist, before, people, withdrawn):
    said = {"withdrawn": withdrawn, "since": NOON, "people": people, "ended_at": NOON - 2 * STALE}
    found = untold(Ending(1, "told", before), gist=gist, **said)
    assert found == ("nothing_new" if people and gist == before else None)


def test_what_waits_is_told_as_it_came():
    assert [each.matter for each in in_order(held(5, 3, 4))] == [
        "escalation/1", "escalation/2", "escalation/0",
    ]  # fmt: skip


# ---------------------------------------------------------------------- giving up


def test_giving_up():
    policy = Policy(5, WINDOW, give_up=timedelta(hours=2))
    assert not given_up(NOON, policy, at(7200))
    assert given_up(NOON, policy, at(7201))


def test_quiet_time_does_not_count_but_no_hold_is_for_ever():
    policy = Policy(5, WINDOW, hours=DESK, give_up=timedelta(hours=2))
    friday_night = datetime(2026, 11, 27, 21, 0, tzinfo=UTC)
    monday = datetime(2026, 11, 30, 7, 0, tzinfo=UTC)
    assert not given_up(friday_night, policy, monday + timedelta(hours=2))
    assert given_up(friday_night, policy, monday + timedelta(hours=2, seconds=1))

    class Shut:
        """Opens in a year."""

        def is_open(self, _at):
            """Never."""
            return False

        def next_open(self, at):
            """Next year."""
            return at + timedelta(days=365)

    shut = Policy(5, WINDOW, hours=Shut())
    assert not given_up(NOON, shut, NOON + LONGEST_HOLD)
    assert given_up(NOON, shut, NOON + LONGEST_HOLD + timedelta(seconds=1))


# ---------------------------------------------------------------------- keys


@given(st.lists(st.text("abc123_", min_size=1, max_size=9), min_size=2, max_size=9, unique=True))
def test_the_key_of_a_digest_is_made_of_its_members_alone(keys):
    key = batch_key(keys)
    assert key == batch_key(keys[::-1])
    assert key.startswith("digest_")
    assert key != batch_key([*keys, "one more"])
    assert batch_key(keys[:1]) == keys[0]
    assert "." not in key  # Standard Webhooks joins by full stops


# ---------------------------------------------------------------------- circuit

chances = st.floats(0, 1, exclude_max=True)
wishes = st.one_of(st.none(), st.floats(-10, 10_000))


@given(st.integers(1, 10_000), chances, wishes)
def test_a_pause_is_bounded_and_never_shorter_than_wished(failures, chance, wish):
    backoff = Backoff(first=2, longest=100, circuit_after=5, circuit_seconds=40)
    pause = backoff.pause(failures, chance, wish)
    wished = min(max(0.0, wish), LONGEST_RETRY_AFTER) if wish is not None else 0
    assert max(1, wished) <= pause <= max(100, wished)
    if failures >= 5:
        assert pause >= 40


@given(chances)
def test_pauses_double_with_jitter(chance):
    backoff = Backoff(first=1, longest=300, circuit_after=99)
    for failures in range(1, 9):
        step = 2 ** (failures - 1)
        assert step / 2 <= backoff.pause(failures, chance) <= step


@given(st.lists(st.tuples(st.booleans(), chances, wishes, st.integers(0, 500)), max_size=40))
def test_a_circuit_opens_after_so_many_failures_and_closes_with_an_answer(steps):
    backoff = Backoff(first=1, longest=60, circuit_after=3, circuit_seconds=10)
    circuit, now, failures = Circuit(), NOON, 0
    for answers, chance, wish, seconds in steps:
        now += timedelta(seconds=seconds)
        if not circuit.may_try(now):
            assert circuit.until is not None
            assert now < circuit.until
            assert circuit.state(now, backoff) in {"closed", "open"}
            continue
        assert circuit.state(now, backoff) == ("half_open" if failures >= 3 else "closed")
        failures = 0 if answers else failures + 1
        circuit = circuit.answered() if answers else circuit.failed(now, backoff, chance, wish)
        assert circuit.failures == failures
        assert circuit.may_try(now) == answers
        assert circuit.state(now, backoff) == ("open" if failures >= 3 else "closed")
