"""Polling, gaps, media and the gateway's answers against the real Kafka."""

import argparse
import asyncio
import json
from datetime import timedelta
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from kafka import KafkaProducer

from klingel.clock import SystemClock
from klingel.contracts import codec
from klingel.contracts.suppressions import suppression_output
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, author_name
from klingel.errors import SourceUnavailable
from klingel.metrics import Metrics
from klingel.model import ConnectorStatus, MediaJob, RawEvent
from klingel.model.media_job import MediumToFetch
from klingel.settings import Settings
from klingel_connectors.cursor import read_cursors
from klingel_connectors.fetch import FetchBounds
from klingel_connectors.media import job_output
from klingel_connectors.permits import RuntimePermits
from klingel_connectors.purse import Purse
from klingel_connectors.runner import Plan
from klingel_connectors.service import Job, run_connector, run_gateway, run_media
from klingel_connectors.settings import GatewaySettings, HookSettings, MediaSettings
from klingel_connectors.shared import Shared
from klingel_connectors.testing import ScriptedPoller
from klingel_networks.arrival import Arrival, Attendance, Gap, GapClosed
from klingel_networks.contract import Delivery
from klingel_networks.registry import installed_network
from klingel_simulator.x_activity import Webhook, event, job_status

from ..waiting import until

pytestmark = pytest.mark.servers
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture
def settings(kafka, tmp_path):
    return Settings.model_validate(
        {
            "kafka": kafka,
            "blobs": {"dir": tmp_path / "blobs"},
            "http": {"host": "127.0.0.1", "port": 0},
            "erasure": {"key": "a key that stands for ever"},
        }
    )


def heard(generic, number, mode="live"):
    """Return an arrival."""
    body = json.dumps(generic(number)).encode()
    return Arrival(Delivery(body, {"source": "src"}), cursor=str(number), mode=mode)


@pytest.fixture
def run_poller(settings):
    """Run a poller as a process would, until something holds."""

    async def run(poller, holds):
        stop = asyncio.Event()
        job = Job(
            connector="poller",
            network=installed_network("replay"),
            connect=lambda _tools: poller,
            instance="poller-1",
            holder="pod-0",
            static_holder=True,
            plan=Plan(tick_seconds=0.05, poll_seconds=0.05, back_off=(0.05,)),
        )
        running = asyncio.create_task(run_connector(settings, job, SystemClock(), stop))
        await until(lambda: holds() or running.done(), seconds=60, pace=0.05)
        stop.set()
        await running

    return run


async def test_channels_resume_and_a_gap_is_closed_by_the_next_process(
    run_poller, kafka, read, generic
):
    """Killed between the opening of a gap and its end: one entry, closed by who comes next."""
    gap = Gap("disconnected", "the network was away", key="g", start="2")
    first = ScriptedPoller(
        {
            "a": [[heard(generic, 1), heard(generic, 2), gap, SourceUnavailable("away")]],
            "b": [[heard(generic, 10)]],
        }
    )
    await run_poller(first, lambda: ("b", "10") in first.asked and ("a", "2") in first.asked)
    stored = await asyncio.to_thread(read_cursors, kafka, "poller-1")
    assert {source: each.cursor for source, each in stored.items()} == {
        "script/a": "2",
        "script/b": "10",
    }
    filled = [heard(generic, 3, "gap_fill"), GapClosed("g", "filled"), heard(generic, 4)]
    second = ScriptedPoller({"a": [filled], "b": [[heard(generic, 11)]]})
    await run_poller(second, lambda: ("a", "4") in second.asked and ("b", "11") in second.asked)
    assert second.asked[:2] == [("a", "2"), ("b", "10")]
    ids = [codec.decode(RawEvent, each.value).object_id for each in read(Topic.RAW_EVENTS)]
    assert sorted(ids) == sorted(f"replay:src:{number}" for number in (1, 2, 3, 4, 10, 11))
    told = [
        (each.key, codec.decode(ConnectorStatus, each.value).gap)
        for each in read(Topic.CONNECTOR_STATUS)
        if b"/gap/" in each.key
    ]
    assert len({key for key, _ in told}) == 1
    assert [gap.outcome for _, gap in told] == ["open", "filled"]
    assert told[-1][1].recovered == 1


async def test_a_backfill_does_not_write_what_was_erased(
    run_poller, settings, kafka, read, generic
):
    """K14, I11: the topic is read to its end before the first of it is written."""
    key = Key(settings.erasure.key.get_secret_value())
    told = key.suppression("author", author_name("replay", "src:a1"), SystemClock().now())
    output = suppression_output(told, "test")
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    name = kafka.topic_prefix + output.topic
    producer.send(name, key=output.key, value=output.value).get(10)
    producer.close()
    later = told.erased_at + timedelta(seconds=1)
    again = json.dumps(generic(3, published_at=later.isoformat())).encode()
    other = json.dumps(generic(4, author={"id": "a2"})).encode()
    script = [heard(generic, 1, "backfill"), heard(generic, 2, "gap_fill")] + [
        Arrival(Delivery(body, {"source": "src"}), cursor="4", mode="backfill")
        for body in (again, other)
    ]
    poller = ScriptedPoller({"a": [script]})
    await run_poller(poller, lambda: ("a", "4") in poller.asked)
    ids = [codec.decode(RawEvent, each.value).object_id for each in read(Topic.RAW_EVENTS)]
    assert sorted(ids) == ["replay:src:3", "replay:src:4"]


async def test_a_media_job_becomes_a_completion(settings, kafka, read, tmp_path):
    """From the topic of jobs to the completed event, the bytes under their hash."""

    async def picture(_request):
        return web.Response(body=PNG)

    app = web.Application()
    app.router.add_get("/a", picture)
    host = TestServer(app)
    await host.start_server()
    now = SystemClock().now()
    job = MediaJob(
        object_id="webhook:shop:1",
        revision=0,
        network="webhook",
        kind="post",
        mode="live",
        requested_at=now,
        media=[MediumToFetch(kind="image", id="a", url=f"http://127.0.0.1:{host.port}/a")],
    )
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    output = job_output(job, "test", now)
    name = kafka.topic_prefix + output.topic
    producer.send(name, key=output.key, value=output.value).get(10)
    producer.close()
    stop = asyncio.Event()
    bounds = FetchBounds(ports=frozenset({host.port}), allowed=lambda address: True)
    running = asyncio.create_task(
        run_media(settings, MediaSettings(), {}, "h", SystemClock(), stop, bounds=bounds)
    )
    try:
        found = await until(lambda: asyncio.to_thread(read, Topic.RAW_EVENTS), seconds=60, pace=0.2)
    finally:
        stop.set()
        await running
        await host.close()
    (raw,) = [codec.decode(RawEvent, each.value) for each in found]
    assert (raw.event_id, raw.change, raw.context) == (
        "webhook:shop:1@0",
        "completed",
        {"via": "media"},
    )
    (medium,) = json.loads(bytes(raw.native))["media"]
    digest = medium["sha256"]
    assert (tmp_path / "blobs" / digest[:2] / digest).read_bytes() == PNG


def test_what_was_answered_survives_the_gateways_death(kafka, tmp_path):
    """Killed under load, twice here and a hundred times by `benchmarks/gateway.py --kills 100`."""
    path = Path(__file__).parents[2] / "benchmarks" / "gateway.py"
    spec = spec_from_file_location("benchmark_of_the_gateway", path)
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    given = argparse.Namespace(kafka=kafka.bootstrap, kills=2, connections=16)
    assert benchmark.kills(given, str(tmp_path))


async def test_what_a_media_worker_spends_is_told_and_remembered(settings, kafka, read):
    """K9: a worker that is started anew has no new budget."""

    async def worked(permits, enough):
        stop = asyncio.Event()
        running = asyncio.create_task(
            run_media(settings, MediaSettings(), {}, "h", SystemClock(), stop, permits=(permits,))
        )
        try:
            await until(enough, seconds=60, pace=0.2)
        finally:
            stop.set()
            await running

    def permits():
        return RuntimePermits(SystemClock(), Metrics("media"), budget=5.0, unit="USD", app="x")

    def told():
        return [codec.decode(ConnectorStatus, each.value) for each in read(Topic.CONNECTOR_STATUS)]

    first, second = permits(), permits()
    first.spend("media/lookup", 2.0)
    await worked(first, lambda: asyncio.to_thread(told))
    assert told()[-1].spent.units == 2.0
    await worked(second, lambda: second.left() == 3.0)
    # And what it spends is missing from what another service may: one budget (ADR 0016).
    connector = Purse(SystemClock(), Metrics("x"), budget=5.0, unit="USD", app="x")
    shared = Shared({"x"})
    connector.join("x", "h", partial(shared.spending, "x"))
    shared.start(kafka, "x")
    await asyncio.to_thread(shared.known)
    assert connector.left() == 3.0
    second.spend("media/lookup", 1.0)
    await worked(second, lambda: connector.left() == 2.0)
    await asyncio.to_thread(shared.stop)
    assert (await asyncio.to_thread(told))[-1].spent.shared is None


async def test_a_gateway_tells_who_waits_for_it_that_it_was_there(settings, kafka):
    """Its life, what X told of a replay, and what it spent: read by the connector's follower."""
    key = b"a client secret of X"
    own = GatewaySettings(
        webhooks={},
        hooks={"x": HookSettings("x", "", (key,))},
        hook_base="https://hooks.example",
    )
    shared = Shared({"x"})
    shared.start(kafka, "x")
    await asyncio.to_thread(shared.known)
    assert shared.attendance("x") == Attendance()

    async def lived(*bodies):
        stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
        running = asyncio.create_task(
            run_gateway(
                settings,
                own,
                installed_network("webhook"),
                "h",
                SystemClock(),
                stop,
                on_listening=listening.set_result,
            )
        )
        before = {each.at for each in shared.attendance("x").lives}
        async with asyncio.timeout(60), ClientSession() as session:
            rings = Webhook(f"http://127.0.0.1:{await listening}/hook/x", key)
            for body in bodies:
                await until(lambda body=body: _taken(rings, session, body), seconds=30, pace=0.2)
            await until(
                lambda: {each.at for each in shared.attendance("x").lives} - before,
                seconds=30,
                pace=0.2,
            )
            stop.set()
            await running

    post = {"id": "2080765813578191303", "text": "hallo", "author_id": "22"}
    began = SystemClock().now()
    await lived(
        event("post.create", post, user_id="11", uuid=1), job_status("7", "1095", "Complete")
    )
    (life,) = shared.attendance("x").lives
    assert life.since <= life.at
    assert (life.at - began).total_seconds() < 60
    await until(lambda: shared.attendance("x").replays, seconds=30)
    told = {job: end.state for job, end in shared.attendance("x").replays.items()}
    assert told == {"1095": "Complete"}
    await until(lambda: shared.spending("x"), seconds=30)
    assert [each.units for each in shared.spending("x").values()] == [0.005]
    await lived()
    (again,) = shared.attendance("x").lives
    assert again.since > life.at  # the silence between them is known
    await asyncio.to_thread(shared.stop)


async def _taken(rings, session, body):
    return await rings.ring(session, body) == 200
