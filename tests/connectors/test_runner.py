"""The runner: cursor after acknowledgement, lease before reading, back-off, a clean stop."""

import asyncio
from dataclasses import replace

import pytest
from kafka import errors as kafka_errors

from klingel.clock import SystemClock
from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.errors import ConfigurationError, CredentialsRejected, SourceUnavailable
from klingel.metrics import Metric
from klingel.model import ConnectorCursor, ConnectorLease, ConnectorStatus, LedgerLine
from klingel_connectors.cursor import saved_cursor
from klingel_connectors.runner import Plan, Runner
from klingel_connectors.testing import HeldLease, RecordingProducer, ScriptedClient
from klingel_networks.arrival import Arrival, Gap

FAST = Plan(back_off=(0.0,), grace_seconds=4.0, tick_seconds=0.005, exit_when_finished=True)


class Bench:
    """A runner with everything it needs, at hand for the test."""

    def __init__(self, runner, client, producer, lease, stop):
        self.runner = runner
        self.client = client
        self.producer = producer
        self.lease = lease
        self.stop = stop

    def records(self, topic, shape):
        """Decoded records sent to a topic."""
        return [codec.decode(shape, record["value"]) for record in self.producer.of(topic)]

    def cursors(self):
        """Saved cursors, in order."""
        return [record.cursor for record in self.records(Topic.CONNECTOR_CURSORS, ConnectorCursor)]

    def states(self):
        """States told, in order."""
        return [record.state for record in self.records(Topic.CONNECTOR_STATUS, ConnectorStatus)]

    def measured(self, metric):
        """The value of a metric without labels of its own; None where nothing set it."""
        found = [value for name, _, value in self.runner._metrics.samples() if name == metric]
        return found[0] if found else None

    def keys(self):
        """Object ids published."""
        return [record["key"].decode() for record in self.producer.of(Topic.RAW_EVENTS)]


@pytest.fixture
def make_bench(make_publisher, make_intake, origin, books, metrics):
    def make(*scripts, producer=None, lease=None, stored=None, plan=FAST, read=None, **intake):
        producer = producer or RecordingProducer()
        lease = lease or HeldLease()
        client = ScriptedClient(*scripts)
        stop = asyncio.Event()
        runner = Runner(
            client=client,
            origin=origin,
            intake=make_intake(**intake),
            publisher=make_publisher(producer),
            lease=lease,
            read_cursor=read or (lambda _instance, _source: stored),
            books=books,
            metrics=metrics,
            clock=SystemClock(),
            plan=plan,
            stop=stop,
        )
        return Bench(runner, client, producer, lease, stop)

    return make


@pytest.fixture
def saved(origin):
    def build(cursor, epoch=1):
        now = SystemClock().now()
        return saved_cursor(origin.instance, "script", cursor, "before", epoch, now, finished=False)

    return build


async def test_everything_is_published_and_the_cursor_is_at_the_end(make_bench, arrival):
    bench = make_bench([arrival(number) for number in range(1, 6)])
    await bench.runner.run()
    assert bench.keys() == [f"replay:src:{number}" for number in range(1, 6)]
    last = bench.records(Topic.CONNECTOR_CURSORS, ConnectorCursor)[-1]
    assert (last.cursor, last.finished, last.holder) == ("5", True, "holder")
    assert bench.states()[-1] == "finished"
    (line,) = bench.records(Topic.STAGE_LEDGER, LedgerLine)
    assert (line.received, line.fates) == (5, {"delivered": 5})


async def test_no_cursor_is_saved_before_the_acknowledgement(
    make_bench, arrival, eventually, metrics
):
    """I1, K6."""
    producer = RecordingProducer(automatic=False)
    script = [arrival(1), arrival(2), ScriptedClient.WAIT]
    bench = make_bench(script, producer=producer)
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: len(bench.keys()) == 2)
    await metrics.rounds(10)
    assert bench.cursors() == []
    at = [record["topic"] for record in producer.sent].index("raw-events")
    producer.automatic = True
    producer.acknowledge(at + 1)
    await eventually(lambda: bench.cursors() == ["1"])
    producer.acknowledge()
    await eventually(lambda: bench.cursors() == ["1", "2"])
    bench.stop.set()
    await running
    assert bench.states()[-1] == "stopped"


async def test_it_resumes_at_the_stored_cursor_under_a_higher_epoch(make_bench, arrival, saved):
    lease = HeldLease(generation=2)
    bench = make_bench([arrival(8)], stored=saved("7", epoch=5), lease=lease)
    await bench.runner.run()
    assert bench.client.asked == ["7"]
    assert bench.records(Topic.CONNECTOR_CURSORS, ConnectorCursor)[-1].epoch == 6
    (taken,) = bench.records(Topic.CONNECTOR_LEASES, ConnectorLease)
    assert (taken.epoch, taken.holder) == (6, "holder")


async def test_a_broken_delivery_is_a_dead_letter_and_the_channel_goes_on(make_bench, arrival):
    bench = make_bench([arrival(1), arrival(2, b"{broken"), arrival(3)])
    await bench.runner.run()
    assert bench.keys() == ["replay:src:1", "replay:src:3"]
    (letter,) = bench.producer.of(Topic.DEAD_LETTERS)
    assert letter["value"] == b"{broken"
    assert bench.cursors()[-1] == "3"


async def test_what_is_filtered_moves_the_cursor_too(make_bench, arrival):
    bench = make_bench([arrival(1), arrival(2)], keep=lambda _raw: False)
    await bench.runner.run()
    assert bench.keys() == []
    assert bench.cursors()[-1] == "2"


async def test_a_network_that_is_away_is_tried_again_from_the_last_cursor(make_bench, arrival):
    bench = make_bench(
        [arrival(1), SourceUnavailable("away")], [SourceUnavailable("away")], [arrival(2)]
    )
    await bench.runner.run()
    assert bench.client.asked == [None, "1", "1"]
    assert bench.keys() == ["replay:src:1", "replay:src:2"]


async def test_without_the_lease_nothing_is_read(make_bench, arrival, eventually):
    """K7: a stand-by waits, says so, and takes over."""
    lease = HeldLease(held=False)
    bench = make_bench([arrival(1)], lease=lease)
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: "waiting" in bench.states())
    assert bench.client.asked == []
    lease.give(3)
    await running
    assert bench.keys() == ["replay:src:1"]


async def test_a_lost_lease_stops_the_reading_and_the_saving(make_bench, arrival, eventually):
    bench = make_bench([arrival(1), ScriptedClient.WAIT], [arrival(2)])
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: bench.cursors() == ["1"])
    bench.lease.take()
    await eventually(lambda: bench.states()[-1] == "waiting")
    assert bench.client.asked == [None]
    bench.lease.give(9)
    await running
    assert [record.epoch for record in bench.records(Topic.CONNECTOR_LEASES, ConnectorLease)] == [
        1,
        9,
    ]


async def test_a_gap_is_told_loudly_and_reading_goes_on(make_bench, arrival):
    bench = make_bench([Gap("cursor_too_old", "gone"), arrival(1)])
    await bench.runner.run()
    records = bench.records(Topic.CONNECTOR_STATUS, ConnectorStatus)
    gaps = [record for record in records if "/gap/" in record.instance]
    assert [(gap.state, gap.reason) for gap in gaps] == [("failed", "gap cursor_too_old: gone")]
    assert any(r.state == "failed" for r in records if r.instance == "test-1")
    assert bench.keys() == ["replay:src:1"]


async def test_the_length_of_a_gap_and_the_age_of_the_cursor_are_measured(
    make_bench, arrival, saved, eventually
):
    lost = [Gap("cursor_too_old", "gone"), replace(arrival(8), gap_seconds=90.5), arrival(9)]
    bench = make_bench([*lost, ScriptedClient.WAIT], stored=saved("7"))
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: bench.cursors()[-1:] == ["9"])
    await eventually(lambda: bench.measured(Metric.CURSOR_AGE_SECONDS) is not None)
    assert bench.measured(Metric.GAP_SECONDS) == 90.5
    assert 0 <= bench.measured(Metric.CURSOR_AGE_SECONDS) < 60
    bench.stop.set()
    await running


async def test_a_rejected_credential_stops_and_stays_told(make_bench, eventually):
    bench = make_bench([CredentialsRejected("the token was revoked")])
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: "failed" in bench.states())
    told = bench.records(Topic.CONNECTOR_STATUS, ConnectorStatus)[-1]
    assert (told.credential, told.reason) == ("revoked", "the token was revoked")
    assert bench.client.asked == [None]
    bench.stop.set()
    await running


async def test_what_the_client_cannot_read_at_all_ends_the_process(make_bench):
    bench = make_bench([ConfigurationError("no such file")])
    with pytest.raises(ConfigurationError, match="no such file"):
        await bench.runner.run()
    assert bench.states()[-1] == "failed"


async def test_a_stored_cursor_that_cannot_be_read_yet_is_waited_for(make_bench, arrival, saved):
    answers = [kafka_errors.KafkaTimeoutError(), SourceUnavailable("half"), saved("4")]

    def read(_instance, _source):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    bench = make_bench([arrival(5)], read=read)
    await bench.runner.run()
    assert bench.client.asked == ["4"]


async def test_a_stop_before_kafka_was_ever_there_ends_at_once(make_bench, arrival, eventually):
    producer = RecordingProducer(topics=set())
    bench = make_bench([arrival(1)], producer=producer)
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: bench.runner.health.state == "starting")
    bench.stop.set()
    async with asyncio.timeout(5):
        await running
    assert bench.producer.sent == []


async def test_a_stop_while_kafka_is_away_ends_within_the_grace(make_bench, arrival, eventually):
    """What was not acknowledged keeps its cursor: it is heard again, never lost."""
    producer = RecordingProducer(automatic=False)
    plan = Plan(back_off=(0.0,), grace_seconds=0.2, tick_seconds=0.005)
    bench = make_bench([arrival(1), ScriptedClient.WAIT], producer=producer, plan=plan)
    running = asyncio.create_task(bench.runner.run())
    await eventually(lambda: bench.keys() == ["replay:src:1"])
    bench.stop.set()
    async with asyncio.timeout(5):
        await running
    assert bench.cursors() == []


async def test_recorded_times_and_modes_reach_the_raw_event(make_bench, arrival):
    told = arrival(1)
    recorded = SystemClock().now().replace(year=2020)
    bench = make_bench([Arrival(told.delivery, "1", received_at=recorded, mode="backfill")])
    await bench.runner.run()
    (record,) = bench.producer.of(Topic.RAW_EVENTS)
    assert b'"mode":"backfill"' in record["value"]
    assert b'"received_at":"2020-' in record["value"]


async def test_a_stop_between_two_deliveries_is_no_end_of_the_source(make_bench, arrival):
    """The cursor of a stopped source must not say that its end was reached."""
    bench = make_bench([arrival(1), arrival(2)])
    taken = bench.runner._take

    async def take_and_stop(reading, item):
        await taken(reading, item)
        bench.stop.set()

    bench.runner._take = take_and_stop
    await bench.runner.run()
    assert bench.keys() == ["replay:src:1"]
    assert bench.states()[-1] == "stopped"
    last = bench.records(Topic.CONNECTOR_CURSORS, ConnectorCursor)[-1]
    assert (last.cursor, last.finished) == ("1", None)
