"""Polling: each channel in its time, one round at a time, one that fails alone."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.clock import SystemClock
from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    InvariantViolation,
    RateLimited,
    SourceUnavailable,
)
from klingel.metrics import Metrics
from klingel.model import ConnectorCursor, ConnectorStatus
from klingel.model.connector_status import Spent
from klingel.testing.clock import FixedClock
from klingel_connectors.cursor import saved_cursor
from klingel_connectors.permits import RuntimePermits
from klingel_connectors.rounds import PARKED_SECONDS, Schedule
from klingel_connectors.runner import Plan, Runner
from klingel_connectors.status import Before, before_of, newest_statuses
from klingel_connectors.testing import (
    HeldLease,
    RecordingProducer,
    ScriptedClient,
    ScriptedPoller,
)
from klingel_networks.arrival import Arrival, Away, Credential, Gap, GapClosed, Rest
from klingel_networks.contract import Delivery

FAST = Plan(back_off=(0.0,), grace_seconds=4.0, tick_seconds=0.005, poll_seconds=0.001)


def test_a_channel_is_due_again_after_the_period_the_rest_or_the_back_off():
    schedule = Schedule(60.0)
    schedule.sync(["a", "b"], 0.0)
    assert (schedule.take(0.0), schedule.take(0.0), schedule.take(0.0)) == ("a", "b", None)
    assert schedule.next_due() is None
    schedule.done("a", began=0.0, now=2.0)
    schedule.failed("b", now=2.0, delay=5.0)
    assert (schedule.next_due(), schedule.count("waiting")) == (7.0, 1)
    assert schedule.take(6.9) is None
    assert schedule.take(7.0) == "b"
    schedule.done("b", began=7.0, now=8.0, rest=300.0)
    assert schedule.take(60.0) == "a"
    schedule.parked("a", now=61.0)
    assert (schedule.take(307.9), schedule.take(308.0)) == (None, "b")
    assert (schedule.next_due(), schedule.count("parked")) == (61.0 + PARKED_SECONDS, 1)
    schedule.sync(["b"], 400.0)
    schedule.done("b", began=308.0, now=400.0)
    assert len(schedule) == 1
    schedule.sync(["a", "b"], 401.0)
    assert {schedule.take(401.0), schedule.take(401.0)} == {"a", "b"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sync", "take", "done", "failed", "parked"]),
            st.sampled_from("abc"),
            st.floats(0, 100),
        ),
        max_size=60,
    )
)
def test_no_channel_runs_twice_and_none_is_forgotten(moves):
    """Whatever happens: a known channel runs, or is due at some time; a gone one never starts."""
    schedule, running, known, now = Schedule(10.0), {}, {"a", "b"}, 0.0
    schedule.sync(sorted(known), now)
    for move, name, number in moves:
        now += number
        if move == "sync":
            known = known ^ {name}
            schedule.sync(sorted(known), now)
        elif move == "take":
            got = schedule.take(now)
            if got is not None:
                assert got in known
                assert got not in running
                running[got] = now
        elif name in running:
            began = running.pop(name)
            if move == "done":
                schedule.done(name, began, now)
            elif move == "failed":
                schedule.failed(name, now, number)
            else:
                schedule.parked(name, now)
        idle = known - set(running)
        assert (schedule.next_due() is None) == (not idle)
        counts = [schedule.count(state) for state in ("fine", "waiting", "parked")]
        assert min(counts) >= 0
        assert sum(counts) == len(schedule)
    assert len(schedule) == len(known)


# --- the loop ----------------------------------------------------------------------------------


class Bench:
    """A runner over a scripted poller, and what it wrote."""

    def __init__(self, runner, client, producer, stop):
        self.runner = runner
        self.client = client
        self.producer = producer
        self.stop = stop

    def records(self, topic, shape):
        """Decoded records sent to a topic."""
        return [codec.decode(shape, record["value"]) for record in self.producer.of(topic)]

    def saved(self):
        """The newest saved cursor of each source."""
        return {
            record.source: record.cursor
            for record in self.records(Topic.CONNECTOR_CURSORS, ConnectorCursor)
        }

    def keys(self):
        """Object ids published."""
        return [record["key"].decode() for record in self.producer.of(Topic.RAW_EVENTS)]

    def statuses(self):
        """Every status told."""
        return self.records(Topic.CONNECTOR_STATUS, ConnectorStatus)

    def gaps(self):
        """Entries of the gap ledger, in the order told."""
        return [each.gap for each in self.statuses() if each.gap is not None]

    async def finish(self, running):
        """Stop and wait."""
        self.stop.set()
        await running


@pytest.fixture
def make_bench(make_publisher, make_intake, origin, books, metrics):
    def make(
        rounds,
        *,
        producer=None,
        plan=FAST,
        stored=None,
        before=None,
        client=None,
        clock=None,
        permits=None,
    ):
        clock = clock or SystemClock()
        producer = producer or RecordingProducer()
        poller = client or ScriptedPoller(rounds)
        stop = asyncio.Event()
        runner = Runner(
            client=poller,
            origin=origin,
            intake=make_intake(),
            publisher=make_publisher(producer, clock=clock),
            lease=HeldLease(generation=3),
            read_cursor=lambda _instance, _source: None,
            read_cursors=lambda _instance: stored or {},
            read_before=lambda _instance: before or Before(),
            permits=permits,
            books=books,
            metrics=metrics,
            clock=clock,
            plan=plan,
            stop=stop,
        )
        return Bench(runner, poller, producer, stop)

    return make


async def test_every_channel_has_its_cursor_and_resumes_at_it(make_bench, arrival, eventually):
    now = SystemClock().now()
    stored = {
        "script/b": saved_cursor("test-1", "script/b", "7", "x", 8, now, finished=False),
        "script/gone": saved_cursor("test-1", "script/gone", "1", "x", 2, now, finished=False),
    }
    bench = make_bench({"a": [[arrival(1), arrival(2)]], "b": [[arrival(8)]]}, stored=stored)
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: bench.saved() == {"script/a": "2", "script/b": "8"})
    await eventually(lambda: ("a", "2") in bench.client.asked and ("b", "8") in bench.client.asked)
    assert bench.client.asked[:2] == [("a", None), ("b", "7")]
    epochs = {each.epoch for each in bench.records(Topic.CONNECTOR_CURSORS, ConnectorCursor)}
    assert epochs == {9}
    await bench.finish(running)


async def test_what_asking_confirms_is_asked_behind_the_saved_cursor_alone(
    make_bench, arrival, eventually
):
    """A network that forgets what was asked behind: nothing is confirmed before it is durable."""
    producer = RecordingProducer(automatic=False)
    poller = ScriptedPoller({"a": [[arrival(1), arrival(2)]]})
    poller.confirms = True
    bench = make_bench({}, producer=producer, client=poller)
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: len(poller.asked) > 3)
    assert {cursor for _, cursor in poller.asked} == {None}
    producer.automatic = True
    producer.acknowledge()
    await eventually(lambda: ("a", "2") in poller.asked)
    await bench.finish(running)


async def test_a_channel_that_is_away_holds_up_no_other(make_bench, arrival, eventually):
    """One fails for ever, one is refused, the third goes on; the status says how many wait."""
    rounds = {
        "away": [[SourceUnavailable("away")]] * 500,
        "refused": [[CredentialsRejected("sign in anew")]] * 2,
        "fine": [[arrival(number)] for number in range(1, 20)],
    }
    bench = make_bench(rounds, plan=replace(FAST, back_off=(0.001,)))
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: len(bench.keys()) == 19)
    await eventually(lambda: bench.client.asked.count(("away", None)) > 3)
    assert bench.client.asked.count(("refused", None)) == 1
    health = bench.runner.health
    assert (health.state, health.credential) == ("running", "revoked")
    assert (health.channels, health.channels_waiting) == (3, 2)
    await bench.finish(running)


async def test_when_nobody_can_be_polled_the_state_says_so(make_bench, eventually):
    bench = make_bench({"a": [[CredentialsRejected("sign in anew")]]})
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: bench.runner.health.state == "failed")
    assert bench.runner.health.reason == "sign in anew"
    await bench.finish(running)
    bench = make_bench({"a": [[RateLimited("slower", retry_after=500.0)]]})
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: bench.runner.health.state == "waiting")
    await bench.finish(running)


async def test_a_credential_that_is_accepted_again_is_well(
    make_bench, arrival, eventually, monkeypatch
):
    """A person renewed it: the next round says so."""
    monkeypatch.setattr("klingel_connectors.rounds.PARKED_SECONDS", 0.05)
    rounds = {"a": [[CredentialsRejected("sign in anew")], [arrival(1)]]}
    bench = make_bench(rounds, plan=replace(FAST, credential="ok"))
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: bench.runner.health.credential == "revoked")
    await eventually(lambda: bench.keys() == ["replay:src:1"])
    await eventually(lambda: bench.runner.health.credential == "ok")
    assert bench.runner.health.state == "running"
    await bench.finish(running)


async def test_no_more_rounds_at_once_than_planned(make_bench, eventually, metrics):
    rounds = {f"c{number}": [[ScriptedClient.WAIT]] for number in range(10)}
    bench = make_bench(rounds, plan=replace(FAST, rounds_at_once=4))
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: len(bench.client.running) == 4)
    await metrics.rounds()
    assert bench.client.most_at_once == 4
    await bench.finish(running)
    assert bench.client.running == set()


class Leaping(SystemClock):
    """A clock that leaps ahead when told."""

    ahead = 0.0

    def monotonic(self):
        """Return seconds, and those it leapt."""
        return super().monotonic() + self.ahead


class Watching(ScriptedPoller):
    """Notes at the beginning of each round what the connector gives as its reason."""

    def poll(self, channel, cursor):
        """Note it, and play the round."""
        self.seen.append(self.reason())
        return super().poll(channel, cursor)


async def test_rounds_that_end_well_do_not_hide_what_is_waited_for(make_bench, arrival, eventually):
    """The network answers, Kafka does not: the status says so throughout, until it is over."""
    producer, clock = RecordingProducer(automatic=False), Leaping()
    poller = Watching({"a": [[arrival(1)]]})
    bench = make_bench({}, producer=producer, client=poller, clock=clock)
    health, poller.seen = bench.runner.health, []
    poller.reason = lambda: health.reason
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: len(bench.keys()) == 1)
    clock.ahead = 10.0
    await eventually(lambda: health.reason == "waiting for Kafka")
    begun = len(poller.seen)
    await eventually(lambda: len(poller.seen) > begun + 20)
    assert set(poller.seen[begun:]) == {"waiting for Kafka"}
    assert health.state == "running"
    producer.automatic = True
    producer.acknowledge()
    await eventually(lambda: health.reason == "")
    await bench.finish(running)


async def test_what_only_a_person_can_mend_ends_the_process(make_bench):
    bench = make_bench({"a": [[ConfigurationError("no such mailbox")]]})
    with pytest.raises(ConfigurationError, match="no such mailbox"):
        await bench.runner.run()
    bench = make_bench({"a|b": []})
    with pytest.raises(InvariantViolation):
        await bench.runner.run()


async def test_the_network_may_wish_for_a_rest(make_bench, arrival, eventually, metrics):
    bench = make_bench({"a": [[arrival(1), Rest(3600.0)], [arrival(2)]]})
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: bench.saved() == {"script/a": "1"})
    await metrics.rounds()
    assert bench.client.asked == [("a", None)]
    await bench.finish(running)


async def test_a_published_table_is_kept(make_bench, arrival, eventually, metrics):
    """A network's own table holds for what it is for; ours for the rest."""
    plan = replace(FAST, back_off=(0.0,), tables={"http": (3600.0,)})
    rounds = {"a": [[SourceUnavailable("away")], [Away("refused", table="http")], [arrival(1)]]}
    bench = make_bench(rounds, plan=plan)
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: len(bench.client.asked) == 2)
    await metrics.rounds()
    assert len(bench.client.asked) == 2
    await bench.finish(running)


# --- gaps and credentials, in a stream ---------------------------------------------------------


def filling(number):
    """Return an arrival that fills a gap."""
    body = (
        f'{{"id": "{number}", "network": "n", "author": {{"id": "a"}}, "text": "t",'
        ' "published_at": "2026-11-20T10:00:00Z"}'
    ).encode()
    return Arrival(Delivery(body, {"source": "src"}), cursor=str(number), mode="gap_fill")


async def test_a_gap_is_opened_filled_and_closed_with_its_count(make_bench, arrival, eventually):
    told = [
        arrival(1),
        Gap("disconnected", "the stream was away", key="g1", start="1"),
        filling(2),
        filling(3),
        GapClosed("g1", "filled", end="4"),
        arrival(4),
        ScriptedClient.WAIT,
    ]
    bench = make_bench({}, client=ScriptedClient(told))
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: bench.saved() == {"script": "4"})
    opened, closed = bench.gaps()
    assert (opened.outcome, closed.outcome, closed.recovered) == ("open", "filled", 2)
    keys = {r["key"] for r in bench.producer.of(Topic.CONNECTOR_STATUS) if b"/gap/" in r["key"]}
    assert len(keys) == 1
    await bench.finish(running)


async def test_no_cursor_passes_a_gap_that_is_not_durable(make_bench, arrival, eventually, metrics):
    producer = RecordingProducer(automatic=False)
    told = [Gap("cursor_too_old", "gone"), arrival(2), ScriptedClient.WAIT]
    bench = make_bench({}, producer=producer, client=ScriptedClient(told))
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: len(bench.keys()) == 1)
    held = [
        future
        for future, record in zip(producer.open, producer.sent, strict=True)
        if b"/gap/" not in record["key"]
    ]
    producer.open = [future for future in producer.open if future not in held]
    for future in held:
        producer._in_thread(lambda future=future: future.success(None))
    await metrics.rounds(5)
    assert bench.saved() == {}
    producer.automatic = True
    producer.acknowledge()
    await eventually(lambda: bench.saved() == {"script": "2"})
    await bench.finish(running)


async def test_what_an_earlier_process_spent_is_spent(make_bench, eventually):
    """Its status is all that a version before the records of spending left."""
    clock = FixedClock()
    permits = RuntimePermits(clock, Metrics("x"), budget=100.0, unit="US dollars", app="x")
    before = Before(spent=Spent(month="2026-11", units=40.0, items={"rule": 40.0}))
    bench = make_bench({}, before=before, permits=permits, client=ScriptedClient([]))
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: permits.left() == 60.0)
    await bench.finish(running)


async def test_a_gap_of_an_earlier_process_is_closed_by_this_one(make_bench, eventually):
    """Kill and resume: what was opened before the kill has its outcome after it."""
    opening = Gap("disconnected", "the stream was away", key="g1", start="1")
    first = make_bench({}, client=ScriptedClient([opening, ScriptedClient.WAIT]))
    running = asyncio.create_task(first.runner.run())
    await eventually(lambda: len(first.gaps()) == 1)
    await first.finish(running)
    written = first.producer.of(Topic.CONNECTOR_STATUS)
    before = before_of("test-1", newest_statuses([(r["key"], r["value"]) for r in written]))
    script = [filling(2), GapClosed("g1", "partial"), ScriptedClient.WAIT]
    second = make_bench({}, before=before, client=ScriptedClient(script))
    running = asyncio.create_task(second.runner.run())
    await eventually(lambda: len(second.gaps()) == 1)
    (closed,) = second.gaps()
    assert (closed.outcome, closed.recovered) == ("partial", 1)
    await second.finish(running)


async def test_the_state_of_a_credential_is_told(make_bench, arrival, eventually):
    ends = SystemClock().now() + timedelta(days=5)
    told = [Credential(expires_at=ends), arrival(1), ScriptedClient.WAIT]
    bench = make_bench({}, client=ScriptedClient(told))
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: any(each.credential == "expiring" for each in bench.statuses()))
    (status, *_) = [each for each in bench.statuses() if each.credential == "expiring"]
    assert 4.9 < status.credential_days < 5
    await bench.finish(running)
