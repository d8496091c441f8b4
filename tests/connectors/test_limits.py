"""Limits: never more calls than the network allows, waits that are exact, turns that are fair."""

import asyncio
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.metrics import Metric
from klingel.testing.clock import FixedClock
from klingel_connectors import costs, limits
from klingel_connectors.limits import LONGEST_WAIT, REFUSED_WAITS, Bucket, Turns
from klingel_connectors.permits import RuntimePermits
from klingel_networks.arrival import Quota

WINDOW = 100.0


class Platform:
    """A network with a fixed window, as most are: `limit` calls, then 429 until the reset."""

    def __init__(self, limit):
        self.limit = limit
        self.opened = 0.0
        self.used = 0
        self.refusals = 0

    def call(self, now):
        """Answer a call; the quota that its headers tell."""
        while now >= self.opened + WINDOW:
            self.opened += WINDOW
            self.used = 0
        self.used += 1
        if self.used > self.limit:
            self.refusals += 1
        rest = max(0, self.limit - self.used)
        return Quota("b", rest, self.limit, self.opened + WINDOW - now)


@given(
    limit=st.integers(1, 20),
    steps=st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=200),
    late=st.integers(0, 3),
)
def test_headers_keep_us_below_the_limit(limit, steps, late):
    """Whoever asks at whatever times is never refused, also when calls overlap.

    Of calls at one moment each answer is heard only after `late` further ones. What nobody could
    know before the first answer is let through: at most `late` calls above a limit, once.
    """
    platform, bucket, now = Platform(limit), Bucket(), 0.0
    answers = []
    for step in steps:
        while step and answers:
            bucket = limits.heard(bucket, answers.pop(0), now)
        now += step
        bucket, wait = limits.ask(bucket, now)
        if wait:
            while answers:
                bucket = limits.heard(bucket, answers.pop(0), now)
            wait = limits.ask(bucket, now)[1]
            now = math.nextafter(now + wait, math.inf)
            bucket, again = limits.ask(bucket, now)
            assert again == 0
        answers.append(platform.call(now))
        while len(answers) > late:
            bucket = limits.heard(bucket, answers.pop(0), now)
    assert platform.refusals <= late


@given(
    quotas=st.lists(
        st.tuples(
            st.integers(-5, 500),
            st.none() | st.integers(-5, 500),
            st.none() | st.floats() | st.integers(-100, 10**9),
        ),
        max_size=20,
    ),
    waits=st.lists(st.none() | st.floats() | st.floats(-10, 10**6), max_size=5),
)
def test_no_word_of_a_network_stops_us_for_ever(quotas, waits):
    """Negative, infinite, no number: a wait is finite, at most a day at a time, and ends."""
    bucket, now = Bucket(), 50.0
    for remaining, limit, resets_in in quotas:
        bucket = limits.heard(bucket, Quota("b", remaining, limit, resets_in), now)
        bucket, wait = limits.ask(bucket, now)
        assert 0 <= wait <= LONGEST_WAIT
    for retry_after in waits:
        bucket, wait = limits.refused(bucket, retry_after, now)
        assert 1 <= wait <= LONGEST_WAIT
        assert limits.ask(bucket, now)[1] == pytest.approx(wait)
        assert limits.ask(bucket, now + wait - 0.5)[1] > 0
        assert limits.ask(bucket, now + wait + 0.5)[1] == 0


def test_a_429_waits_for_the_networks_word_then_the_reset_then_the_table():
    known = limits.heard(Bucket(), Quota("b", 3, 10, 40.0), 0.0)
    assert limits.refused(known, 7.0, 0.0)[1] == 7.0
    assert limits.refused(known, None, 10.0)[1] == 30.0
    bucket, waits, now = Bucket(), [], 0.0
    for _ in range(6):
        bucket, wait = limits.refused(bucket, None, now)
        waits.append(wait)
        now += wait
    assert waits == [*REFUSED_WAITS, REFUSED_WAITS[-1]]
    assert limits.refused(limits.heard(bucket, Quota("b", 1), now), None, now)[1] == 60.0


def test_a_429_in_between_holds_whatever_headers_say_later():
    """An answer that was on its way when the 429 came lifts nothing."""
    bucket, _ = limits.refused(Bucket(), 30.0, 0.0)
    bucket = limits.heard(bucket, Quota("b", 100, 100, 500.0), 1.0)
    assert limits.ask(bucket, 10.0)[1] == 20.0


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.booleans()),
        max_size=80,
    )
)
def test_channels_take_turns(moves):
    """Nobody is served twice while another channel waits that stood there before."""
    turns, waiting, number = Turns(), {}, 0
    served_since = {}
    for channel, serve in moves:
        if not serve:
            turns.enter(channel, (channel, number))
            waiting.setdefault(channel, []).append(number)
            served_since.setdefault(channel, set())
            number += 1
            continue
        got = turns.next()
        if got is None:
            assert not waiting
            continue
        name, which = got
        assert waiting[name].pop(0) == which
        for other in waiting:
            if other != name:
                assert name not in served_since[other], "served twice before another channel"
                served_since[other].add(name)
        served_since[name] = set()
        if not waiting[name]:
            del waiting[name]
    assert len(turns) == sum(map(len, waiting.values()))


def test_who_leaves_is_not_served():
    turns = Turns()
    turns.enter("a", 1)
    turns.enter("a", 2)
    turns.enter("b", 3)
    turns.leave("a", 1)
    turns.leave("b", 3)
    turns.leave("c", 3)
    assert (turns.next(), turns.next(), turns.channels) == (2, None, ())


# --- the loop ----------------------------------------------------------------------------------


class Hours(FixedClock):
    """A clock that goes on when somebody sleeps by it."""

    def __init__(self):
        super().__init__()
        self.slept = []

    async def sleep(self, seconds):
        """Let the time pass."""
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock():
    return Hours()


@pytest.fixture
def permits(clock, metrics):
    return RuntimePermits(clock, metrics, budget=100.0, unit="posts", sleep=clock.sleep)


async def test_what_is_unknown_passes_and_what_is_spent_waits(permits, clock, metrics):
    await permits.ask("search")
    permits.heard(Quota("search", 1, 2, 60.0))
    await permits.ask("search")
    assert clock.slept == []
    await permits.ask("search")
    assert clock.slept == [60.0]
    await permits.ask("other")
    assert {n: v for n, _, v in metrics.samples()}[Metric.LIMIT_WAIT_SECONDS] == 60.0


async def test_a_greedy_channel_does_not_starve_the_others(permits):
    """A thousand calls of one, one of another: the other comes second, not last."""
    permits.heard(Quota("b", 0, 5, 10.0))
    order = []

    async def call(channel):
        await permits.ask("b", channel)
        order.append(channel)

    greedy = [asyncio.create_task(call("greedy")) for _ in range(30)]
    await asyncio.sleep(0)
    modest = [asyncio.create_task(call(name)) for name in ("one", "two")]
    await asyncio.gather(*greedy, *modest)
    assert max(order.index("one"), order.index("two")) <= 3


async def test_who_is_cancelled_takes_no_leave(permits):
    permits.heard(Quota("b", 0, 5, 10.0))
    waiting = asyncio.create_task(permits.ask("b", "a"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await permits.ask("b", "c")
    permits.stop()


async def test_the_status_tells_limits_and_spending(permits, clock):
    permits.heard(Quota("search", 3, 10, 60.0))
    permits.spend("rule-1", 40)
    permits.spend("rule-1", math.nan)
    permits.spend("rule-2", -5)
    assert permits.left() == 60.0
    (limit,) = permits.told()
    assert (limit.bucket, limit.remaining, limit.limit) == ("search", 3, 10)
    assert (limit.resets_at - clock.now()).total_seconds() == 60.0
    assert permits.refused("search", 5.0) == 5.0
    told = permits.purse.spent()
    assert (told.units, told.budget, told.items) == (40.0, 100.0, {"rule-1": 40.0})
    assert told.shared is None
    clock.advance(40 * 86_400)
    assert permits.left() == 100.0
    assert permits.purse.spent().units == 0


def test_a_charge_is_new_once_a_day():
    """Bounded: the oldest are forgotten, the day ends at midnight UTC."""
    today, now = costs.Today(), datetime(2026, 11, 20, 23, 59, tzinfo=UTC)
    assert [today.is_new("a", now), today.is_new("a", now), today.is_new("b", now)] == [
        True,
        False,
        True,
    ]
    assert today.is_new("a", now + timedelta(minutes=1))
