"""The liveness of connector, gateway and media worker: its own standstill, never Kafka's absence."""

import asyncio
import struct

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from klingel.metrics import Metric, Metrics
from klingel.settings import KafkaSettings
from klingel.testing.clock import FixedClock
from klingel_connectors import asking, service
from klingel_connectors.asking import answers
from klingel_connectors.books import Books
from klingel_connectors.permits import RuntimePermits
from klingel_connectors.runner import Plan, Runner
from klingel_connectors.standstill import ROUND_SECONDS, Pulse, Sign, Standstill
from klingel_connectors.status import Health
from klingel_connectors.status_server import Probe, status_routes
from klingel_connectors.testing import HeldLease, RecordingProducer, ScriptedClient, ScriptedPoller

HOUSE = "its housekeeping does not come round"
PRODUCE = "Kafka answers and acknowledges nothing"
DUE = "a channel is due and not asked"
ROUND = "a round over a channel does not end"


def stalled(metrics):
    return next(value for name, _, value in metrics.samples() if name == Metric.STALLED_SECONDS)


@pytest.fixture
def clock():
    return FixedClock()


@pytest.fixture
def asked(metrics):
    """Whether Kafka answers, and how often it was asked."""

    class Asked:
        answers = True
        count = 0

        async def __call__(self):
            self.count += 1
            return self.answers

        def of(self, signs):
            return Standstill(signs, self, metrics)

    return Asked()


async def test_the_worst_sign_is_told_and_measured(asked, metrics):
    seconds = {"a": 0.0, "b": 0.0}
    standstill = asked.of([Sign("a", lambda: seconds["a"]), Sign("b", lambda: seconds["b"], 600)])
    assert (await standstill.told(), asked.count) == ("", 0)
    seconds.update(a=60.0, b=599.0)
    assert (await standstill.told(), asked.count) == ("", 0)
    seconds.update(a=61.0)
    assert await standstill.told() == "a"
    assert stalled(metrics) == 61.0
    seconds.update(b=601.0)
    assert await standstill.told() == "b"
    seconds.update(a=0.0, b=0.0)
    assert await standstill.told() == ""
    assert stalled(metrics) == 0.0


async def test_while_kafka_is_away_nothing_stands_still(asked, metrics):
    standstill = asked.of([Sign("a", lambda: 500.0)])
    asked.answers = False
    assert await standstill.told() == ""
    assert stalled(metrics) == 0.0
    asked.answers = True
    assert await standstill.told() == "a"


def test_a_pulse_that_never_began_stands_nowhere(clock):
    pulse = Pulse(clock)
    clock.advance(1000)
    assert pulse.still() == 0.0
    pulse.beat()
    clock.advance(70)
    assert pulse.still() == 70.0


# --- the connector ------------------------------------------------------------------------------


@pytest.fixture
async def make_runner(make_publisher, make_intake, origin, metrics, clock):
    running = []

    def make(client, producer=None, permits=None):
        stop = asyncio.Event()
        publisher = make_publisher(producer or RecordingProducer(), clock=clock)
        runner = Runner(
            client=client,
            origin=origin,
            intake=make_intake(),
            publisher=publisher,
            lease=HeldLease(),
            read_cursor=lambda _instance, _source: None,
            books=Books("connector-test", "holder", clock.now(), metrics),
            metrics=metrics,
            clock=clock,
            plan=Plan(tick_seconds=0.001, grace_seconds=0.01, poll_seconds=1e9),
            stop=stop,
            permits=permits,
        )
        running.append((asyncio.create_task(runner.run()), stop))
        return runner

    yield make
    for task, stop in running:
        stop.set()
        await task


async def test_a_connector_whose_network_is_silent_moves(make_runner, asked, clock, eventually):
    runner = make_runner(ScriptedClient([ScriptedClient.WAIT]))
    standstill = asked.of(runner.signs())
    await eventually(lambda: runner.health.state == "running")
    for _ in range(3):
        clock.advance(59)
        beaten = runner._pulse._at
        await eventually(lambda beaten=beaten: runner._pulse._at != beaten)
    assert await standstill.told() == ""
    assert asked.count == 0


async def test_housekeeping_that_broke_is_a_standstill(
    make_runner, asked, clock, eventually, monkeypatch
):
    """Its cursor is saved no more, and nobody would notice."""
    runner = make_runner(ScriptedClient([ScriptedClient.WAIT]))
    await eventually(lambda: runner.health.state == "running")
    broke = asyncio.Event()

    async def breaks():
        broke.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(runner, "_save_cursor", breaks)
    await broke.wait()
    clock.advance(61)
    assert await asked.of(runner.signs()).told() == HOUSE


async def test_what_kafka_does_not_acknowledge_is_a_standstill_only_while_it_answers(
    make_runner, asked, clock, arrival, eventually
):
    producer = RecordingProducer(automatic=False)
    runner = make_runner(ScriptedClient([arrival(1), ScriptedClient.WAIT]), producer)
    await eventually(lambda: producer.of("raw-events"))
    clock.advance(61)
    beaten = runner._pulse._at
    await eventually(lambda: runner._pulse._at != beaten)
    standstill = asked.of(runner.signs())
    assert await standstill.told() == PRODUCE
    asked.answers = False
    assert await standstill.told() == ""


async def test_a_round_that_says_nothing_for_an_hour_is_a_standstill(
    make_runner, asked, clock, eventually
):
    poller = ScriptedPoller({"a": [[ScriptedClient.WAIT]], "b": [[]]})
    runner = make_runner(poller)
    await eventually(lambda: poller.running == {"a"})
    for wait, told in ((ROUND_SECONDS - 1, ""), (2.0, ROUND)):
        clock.advance(wait)
        beaten = runner._pulse._at
        await eventually(lambda beaten=beaten: runner._pulse._at != beaten)
        assert await asked.of(runner.signs()).told() == told


async def test_a_round_that_waits_for_leave_moves(make_runner, asked, clock, metrics, eventually):
    """A limit may hold a round for as long as the network says."""
    permits = RuntimePermits(clock, metrics, sleep=lambda _seconds: asyncio.Event().wait())
    permits.refused("posts", 7200.0)
    leave = asyncio.create_task(permits.ask("posts"))
    poller = ScriptedPoller({"a": [[ScriptedClient.WAIT]]})
    runner = make_runner(poller, permits=permits)
    await eventually(lambda: poller.running == {"a"} and permits.waits)
    clock.advance(ROUND_SECONDS + 1)
    beaten = runner._pulse._at
    await eventually(lambda: runner._pulse._at != beaten)
    assert await asked.of(runner.signs()).told() == ""
    leave.cancel()
    permits.stop()


async def test_a_channel_that_is_due_and_not_asked_is_a_standstill(
    make_runner, asked, clock, eventually
):
    """The loop over the channels hangs, whatever its housekeeping does."""
    poller = ScriptedPoller({"a": [[]]})
    runner = make_runner(poller)
    await eventually(lambda: runner._schedule is not None and runner._schedule.next_due())
    runner._schedule._enter("a", clock.monotonic())
    clock.advance(61)
    beaten = runner._pulse._at
    await eventually(lambda: runner._pulse._at != beaten)
    assert await asked.of(runner.signs()).told() == DUE


# --- the probe ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "still", "status"),
    [("running", 0.0, 200), ("waiting", 0.0, 200), ("running", 61.0, 503), ("failed", 0.0, 503)],
)
async def test_the_probe_answers_by_state_and_standstill(
    asked, make_publisher, state, still, status
):
    metrics = Metrics("test")
    seen = service._Seen(
        metrics,
        Health(state=state, reason="why"),
        make_publisher(RecordingProducer()),
        asked.of([Sign("it stands still", lambda: still)]),
    )
    app = web.Application()
    app.add_routes(
        status_routes(metrics, lambda: service._healthy(seen), lambda: Probe(fine=True, says="ok"))
    )
    async with TestClient(TestServer(app)) as client, client.get("/healthz") as answer:
        told = (answer.status, (await answer.json())["state"])
    assert told == (status, "it stands still" if still else "why")


# --- asking Kafka -------------------------------------------------------------------------------


@pytest.fixture
async def listen():
    """A server that does with each connection what it is told."""
    servers = []

    async def start(talk):
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        servers.append(server)
        return server.sockets[0].getsockname()[1]

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


def kafka_at(*ports):
    return KafkaSettings(bootstrap=",".join(f"127.0.0.1:{port}" for port in ports))


def says(*words):
    async def talk(reader, writer):
        await reader.read(100)
        for word in words:
            writer.write(word)
        writer.close()

    return talk


async def test_kafka_that_is_not_there_does_not_answer(unused_tcp_port):
    assert not await answers(kafka_at(unused_tcp_port))


async def test_what_is_no_broker_does_not_answer(listen):
    for words in ((), (b"HTTP/1.1 400 Bad Request",), (struct.pack(">ii", 300, 8),)):
        assert not await answers(kafka_at(await listen(says(*words))))


async def test_one_broker_of_several_is_enough(listen, unused_tcp_port):
    hears = await listen(says(struct.pack(">ii", 300, 7)))
    assert await answers(kafka_at(unused_tcp_port, hears))


async def test_a_broker_that_says_nothing_is_not_waited_for(listen, monkeypatch):
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.05)
    silent, hung = asyncio.Event(), asyncio.Event()

    async def talk(reader, writer):
        silent.set()
        await reader.read()
        writer.close()
        hung.set()

    assert not await answers(kafka_at(await listen(talk)))
    await hung.wait()


def test_no_address_raises_anything():
    for bootstrap in ("", "kafka", "kafka:", "kafka:x", ":1", "kafka:99999999", "[::1]:1"):
        assert not asyncio.run(answers(KafkaSettings(bootstrap=bootstrap)))


@pytest.mark.servers
async def test_kafka_that_is_there_answers(kafka):
    assert await answers(kafka)
