"""Publisher, cursor, lease, filter and whole connectors against the real Kafka."""

import asyncio
import base64
import hashlib
import hmac
import json

import aiohttp
import pytest

from klingel.clock import SystemClock
from klingel.contracts import codec
from klingel.contracts.envelope import Output
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import BrandConfig, ConnectorCursor, ConnectorStatus, LedgerLine, RawEvent
from klingel.settings import Settings
from klingel_connectors.cursor import cursor_output, read_cursor, saved_cursor
from klingel_connectors.filters import BrandFilter
from klingel_connectors.lease import Lease
from klingel_connectors.publisher import Bounds, Publisher
from klingel_connectors.runner import Plan
from klingel_connectors.service import Job, run_connector, run_gateway
from klingel_connectors.settings import GatewaySettings
from klingel_networks.registry import installed_network
from klingel_networks.replay.client import ReplayClient, ReplayOptions

from ..waiting import until

pytestmark = pytest.mark.servers
TOPICS = (Topic.RAW_EVENTS, Topic.CONNECTOR_CURSORS, Topic.BRAND_CONFIG)


@pytest.fixture
async def publisher(kafka):
    made = Publisher(
        kafka, client_id="test", topics=TOPICS, clock=SystemClock(), bounds=Bounds(500, 1 << 20)
    )
    await made.start()
    yield made
    await made.close(5)


def output(number, size=200, topic=Topic.RAW_EVENTS, **more):
    return Output(
        topic, f"k{number}".encode(), b"%d " % number + b"x" * size, (("h", b"1"),), **more
    )


async def test_the_publisher_keeps_its_bounds_and_loses_nothing(publisher, read):
    highest = 0
    for number in range(5_000):
        await publisher.publish(output(number), lambda _error: None)
        highest = max(highest, publisher.in_flight)
    assert await publisher.flush(30)
    assert highest <= 500
    records = read(Topic.RAW_EVENTS)
    assert len(records) == 5_000
    assert {bytes(record.key) for record in records} == {b"k%d" % at for at in range(5_000)}
    assert all(record.partition == partition_for(bytes(record.key), 4) for record in records)
    assert list(records[0].headers) == [("h", b"1")]


async def test_a_record_above_the_request_size_is_refused_alone(publisher, read):
    with pytest.raises(InvalidMessage) as refused:
        await publisher.deliver([output(1), output(2, size=2 << 20), output(3)])
    assert refused.value.error_type is ErrorType.TOO_LARGE
    assert sorted(bytes(record.key) for record in read(Topic.RAW_EVENTS)) == [b"k1", b"k3"]


async def test_a_topic_first_written_later_is_looked_up(publisher, read):
    await publisher.deliver([output(1, topic=Topic.DEAD_LETTERS)])
    assert len(read(Topic.DEAD_LETTERS)) == 1


async def test_a_saved_cursor_is_read_back_and_a_stale_epoch_ignored(publisher, kafka):
    now = SystemClock().now()

    def save(instance, cursor, epoch):
        return cursor_output(saved_cursor(instance, "s", cursor, "h", epoch, now, finished=False))

    assert await asyncio.to_thread(read_cursor, kafka, "one", "s") is None
    await publisher.deliver([save("one", "1", 1), save("two", "9", 1)])
    await publisher.deliver([save("one", "2", 2)])
    await publisher.deliver([save("one", "stale", 1)])
    stored = await asyncio.to_thread(read_cursor, kafka, "one", "s")
    assert (stored.cursor, stored.epoch) == ("2", 2)
    assert (await asyncio.to_thread(read_cursor, kafka, "two", "s")).cursor == "9"


async def test_two_holders_never_hold_the_lease_together(kafka):
    """K7: the second takes over when the first leaves."""
    first, second = Lease(kafka, "i", "first"), Lease(kafka, "i", "second")
    async with asyncio.timeout(40):
        first.start()
        await first.held.wait()
        before = first.generation
        second.start()
        # the newcomer makes the group decide anew: exactly one of them is given it
        await until(
            lambda: any(
                each.held.is_set() and each.generation > before for each in (first, second)
            ),
            seconds=40,
            pace=0.01,
        )
        assert first.held.is_set() != second.held.is_set()
        owner, other = (first, second) if first.held.is_set() else (second, first)
        generation = owner.generation
        await owner.stop()
        await other.held.wait()
        assert not owner.held.is_set()
        assert other.generation > generation
        await other.stop()


async def test_the_filter_follows_the_brands(publisher, kafka, eventually):
    filtering = BrandFilter(
        kafka, installed_network("replay"), name="shop", channel=None, client_id="t"
    )
    config = {
        "brand": "nordlicht",
        "name": "Nordlicht",
        "listening": [{"id": "name", "query": "nordlicht"}],
        "queues": [{"id": "care"}],
    }
    record = BrandConfig(
        brand="nordlicht", version="0" * 16, applied_at=SystemClock().now(), config=config
    )
    filtering.start()
    try:
        assert filtering._wanted.everything
        await publisher.deliver([Output(Topic.BRAND_CONFIG, b"nordlicht", codec.encode(record))])
        await eventually(lambda: not filtering._wanted.everything)
        assert filtering._wanted.rules.may_match("Nordlicht wieder weg")
        await publisher.deliver([Output(Topic.BRAND_CONFIG, b"nordlicht", None)])
        await eventually(lambda: filtering._wanted.everything)
    finally:
        await asyncio.to_thread(filtering.stop)


@pytest.fixture
def run_replay(kafka, tmp_path):
    """Run a replay connector to its end, or until so many raw events were sent."""

    async def run(*files, stop_when=None, **options):
        clock, stop = SystemClock(), asyncio.Event()
        job = Job(
            connector="replay",
            network=installed_network("replay"),
            connect=lambda tools: ReplayClient(
                ReplayOptions(files=files, context={"source": "s"}, **options), tools.clock
            ),
            instance="replay-1",
            holder="pod-0",
            static_holder=True,
            plan=Plan(exit_when_finished=True, tick_seconds=0.05),
        )
        settings = Settings.model_validate({"kafka": kafka, "blobs": {"dir": tmp_path / "blobs"}})
        running = asyncio.create_task(run_connector(settings, job, clock, stop))
        async with asyncio.timeout(60):
            if stop_when is not None:
                await until(lambda: asyncio.to_thread(stop_when), seconds=60, pace=0.05)
                stop.set()
            await running

    return run


async def test_replay_stopped_and_resumed_publishes_every_line_once(
    run_replay, read, tmp_path, generic
):
    """Clean stops: the cursor stands exactly behind what was acknowledged."""
    path = tmp_path / "events.ndjson"
    lines = [json.dumps(generic(at)) for at in range(600)]
    lines[300] = "{broken"
    path.write_text("\n".join(lines))
    await run_replay(path, rate=200.0, stop_when=lambda: len(read(Topic.RAW_EVENTS)) > 50)
    first = len(read(Topic.RAW_EVENTS))
    assert 50 < first < 599
    await run_replay(path)
    raw = [codec.decode(RawEvent, record.value) for record in read(Topic.RAW_EVENTS)]
    assert len(raw) == 599
    assert {event.object_id for event in raw} == {
        f"replay:s:{at}" for at in range(600) if at != 300
    }
    (letter,) = read(Topic.DEAD_LETTERS)
    assert letter.value == b"{broken"
    cursors = [codec.decode(ConnectorCursor, r.value) for r in read(Topic.CONNECTOR_CURSORS)]
    assert cursors[-1].finished
    assert json.loads(cursors[-1].cursor) == {"file": "events.ndjson", "line": 600}
    assert cursors[-1].epoch > cursors[0].epoch
    states = [codec.decode(ConnectorStatus, r.value).state for r in read(Topic.CONNECTOR_STATUS)]
    assert states[-1] == "finished"
    assert "stopped" in states


async def test_the_gateway_answers_503_until_its_topics_exist_then_stores(kafka, read, generic):
    """It listens at once, says what it waits for, and loses nothing of what it accepted."""
    key, listening, stop = bytes(32), asyncio.get_running_loop().create_future(), asyncio.Event()
    running = asyncio.create_task(
        run_gateway(
            Settings.model_validate({"kafka": kafka}),
            GatewaySettings(webhooks={"shop": (key,)}, wait_seconds=2.0),
            installed_network("webhook"),
            "holder",
            SystemClock(),
            stop,
            on_listening=listening.set_result,
        )
    )
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        address = f"http://127.0.0.1:{await listening}"
        accepted = set()
        while len(accepted) < 200:
            batch = [generic(f"{len(accepted)}-{at}") for at in range(20)]
            body = json.dumps(batch).encode()
            async with session.post(
                f"{address}/webhook/shop", data=body, headers=_signed(key, body)
            ) as answer:
                assert answer.status in {202, 503}
                if answer.status == 202:
                    accepted.update((await answer.json())["ids"])
                else:
                    assert answer.headers["Retry-After"]
                    await asyncio.sleep(0.05)  # as the sender is asked to, only sooner
        async with session.get(f"{address}/readyz") as answer:
            assert answer.status == 200
        stop.set()
        await running
    assert {bytes(record.key).decode() for record in read(Topic.RAW_EVENTS)} == accepted
    lines = [codec.decode(LedgerLine, record.value) for record in read(Topic.STAGE_LEDGER)]
    assert {line.stage for line in lines} == {"connector-webhook"}
    assert sum(line.fates["delivered"] for line in lines) == len(accepted)


def _signed(key, body):
    at = str(int(SystemClock().now().timestamp()))
    digest = hmac.new(key, f"m.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": "m",
        "webhook-timestamp": at,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
