"""The Jetstream server over loopback: nothing lost between truth and client, faults, refusals."""

import asyncio
import contextlib
import itertools
import json

import aiohttp
import pytest
import zstandard
from aiohttp import WSCloseCode, WSMsgType, web

from klingel_simulator.jetstream import NSID, SUBPROTOCOL
from klingel_simulator.jetstream_server import (
    DICTIONARY_ID,
    DICTIONARY_PATH,
    V1_PATH,
    V2_PATH,
    Faults,
    JetstreamServer,
    Limits,
)
from klingel_simulator.jetstream_source import JetstreamSource
from klingel_simulator.traffic import BLUESKY, Traffic
from klingel_simulator.truth import TruthFile

NOW = 1_790_000_000_000_000
EVENTS = 1_500
END = "did:plc:end"


class Bench:
    """A running server with its source, and an HTTP session to it."""

    def __init__(self, server, address, session, truth_path):
        self.server = server
        self.address = address
        self.session = session
        self.truth_path = truth_path
        ticks = itertools.count()
        self.now_us = lambda: NOW + next(ticks) * 150

    async def ring(self, events=EVENTS, seed=21, rate=0):
        """Publish a traffic and one last event by ``END``; return the truth."""
        with TruthFile(self.truth_path) as truth:
            traffic = Traffic(seed, count=events, dialect=BLUESKY)
            await JetstreamSource(traffic, self.server, truth, now_us=self.now_us).run(rate)
        self.server.log.append("identity", END, "", b'"identity":{}', self.now_us())
        self.server.wake()
        self.server.finished = True
        return [json.loads(line) for line in self.truth_path.read_text().splitlines()]

    def connect(self, path, **options):
        """Open a websocket on one of the paths."""
        return self.session.ws_connect(self.address + path, **options)


@contextlib.asynccontextmanager
async def running(tmp_path, limits=None, faults=None, now_us=lambda: NOW + 3_600_000_000):
    server = JetstreamServer(now_us=now_us, seed=1, limits=limits, faults=faults)
    runner = web.AppRunner(server.app(), shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            yield Bench(server, address, session, tmp_path / "truth.ndjson")
    finally:
        await runner.cleanup()


@pytest.fixture
async def bench(tmp_path):
    async with running(tmp_path) as bench:
        yield bench


def to_row(commit, did):
    operations = {"create": "created", "update": "updated", "delete": "deleted"}
    uri = f"at://{did}/{commit['collection']}/{commit['rkey']}"
    if commit["collection"] == "app.bsky.feed.like" and "record" in commit:
        uri = f"{commit['record']['subject']['uri']}/reaction/{did}/like"
    return f"bluesky:network:{uri}", operations[commit["operation"]]


def truth_rows(truth):
    return [(line["object_id"], line["event"]) for line in truth]


def seq_of(event):
    return event.get("seq", event.get("cursor"))


def rows_of(events):
    """Read (object id, event) of the commits among events of either wire."""
    commits = [(e.get("commit", e), e["did"]) for e in events if "commit" in e or "rkey" in e]
    return [to_row(commit, did) for commit, did in commits]


async def read_all(ws):
    """Read events of either wire until the last one or the end of the connection."""
    events = []
    async for message in ws:
        if message.type is not WSMsgType.TEXT:
            continue
        with contextlib.suppress(ValueError):
            event = json.loads(message.data)
            if isinstance(event, dict) and event.get("$type") == "message":
                event = event["payload"]
            if isinstance(event, dict) and isinstance(seq_of(event), int):
                events.append(event)
                if event["did"] == END:
                    break
    return events


@pytest.mark.parametrize("path", [V1_PATH, V2_PATH])
async def test_a_replay_delivers_exactly_the_truth_in_order(bench, path):
    truth = await bench.ring()
    async with bench.connect(f"{path}?cursor=1") as ws:
        events = await read_all(ws)
    assert [seq_of(e) for e in events] == list(range(1, bench.server.log.next_seq))
    assert rows_of(events) == truth_rows(truth)


@pytest.mark.parametrize("deflate", [0, 15])
async def test_a_live_subscriber_receives_everything_from_its_connection_on(bench, deflate):
    path = f"{V1_PATH}?wantedCollections=app.bsky.feed.post"
    async with bench.connect(path, compress=deflate) as ws:
        assert bool(ws.compress) == bool(deflate)
        await bench.server.first_subscriber.wait()
        source = asyncio.create_task(bench.ring(rate=5_000))
        events = await read_all(ws)
        truth = await source
    rows = truth_rows(truth)
    wanted = [r for r in rows if "/app.bsky.feed.post/" in r[0] and "/reaction/" not in r[0]]
    assert rows_of(events) == wanted
    assert [seq_of(e) for e in events] == sorted({seq_of(e) for e in events})


@pytest.mark.exhaustive
async def test_a_subscriber_that_joins_in_the_middle_meets_no_gap_at_the_cutover(bench):
    async with bench.connect(V1_PATH) as early:
        await bench.server.first_subscriber.wait()
        source = asyncio.create_task(bench.ring(rate=600))  # rings still at the cutover
        for _ in range(EVENTS // 3):
            await early.receive()
    async with bench.connect(f"{V2_PATH}?cursor=1") as ws:
        assert not source.done()
        events = await read_all(ws)
    await source
    assert [seq_of(e) for e in events] == list(range(1, bench.server.log.next_seq))


@pytest.mark.parametrize("path", [V1_PATH, V2_PATH])
async def test_resuming_through_drops_garbage_and_repeats_loses_nothing(tmp_path, path):
    faults = Faults(drop_every=200, garbage_every=150, repeat_at_cutover=25)
    async with running(tmp_path, faults=faults) as bench:
        source = asyncio.create_task(bench.ring(rate=4_000))
        seen: dict[int, dict] = {}
        connections = 0
        ended = False
        while not ended:
            connections += 1
            with contextlib.suppress(aiohttp.ClientError):
                async with bench.connect(f"{path}?cursor={max(seen, default=1)}") as ws:
                    for event in await read_all(ws):
                        seen[seq_of(event)] = event
                        ended = ended or event["did"] == END
        truth = await source
    assert set(rows_of(seen.values())) == set(truth_rows(truth))
    assert sorted(seen) == list(range(1, bench.server.log.next_seq))
    assert connections > 3


async def test_a_cutover_repeats_the_last_events_when_asked(tmp_path):
    async with running(tmp_path, faults=Faults(repeat_at_cutover=25)) as bench:
        await bench.ring(events=100)
        end = bench.server.log.next_seq
        async with bench.connect(f"{V1_PATH}?cursor={end - 10}") as ws:
            seqs = [json.loads((await ws.receive()).data)["cursor"] for _ in range(35)]
    assert seqs == [*range(end - 10, end), *range(end - 25, end)]


async def test_a_stalled_connection_stays_open_and_goes_on_when_resumed(tmp_path):
    async with running(tmp_path, faults=Faults(stall_every=1, stall_seconds=600)) as bench:
        await bench.ring(events=50)
        async with bench.connect(f"{V1_PATH}?cursor=1") as ws:
            await bench.server.first_subscriber.wait()
            await ws.ping()
            with pytest.raises(TimeoutError):
                await ws.receive(timeout=0.05)
            async with bench.session.post(
                f"{bench.address}/control/faults", json={"stall_every": 0}
            ) as answer:
                assert (await answer.json())["stall_every"] == 0
            async with bench.session.post(f"{bench.address}/control/resume") as answer:
                assert (await answer.json())["resumed"] == 1
            assert len(await read_all(ws)) == bench.server.log.next_seq - 1


@pytest.mark.parametrize("deaf", [0, 1])
async def test_a_stalled_connection_answers_pings_unless_it_is_deaf(tmp_path, deaf):
    faults = Faults(stall_every=1, stall_seconds=600, deaf_stalls=deaf)
    async with running(tmp_path, faults=faults) as bench:
        await bench.ring(events=50)
        async with bench.connect(f"{V2_PATH}?cursor=1", autoping=False) as ws:
            await bench.server.first_subscriber.wait()
            (sub,) = bench.server._subscribers
            await sub.stalled.wait()
            await ws.ping(b"late")
            if deaf:
                with pytest.raises(TimeoutError):
                    await ws.receive(timeout=0.05)
            else:
                message = await ws.receive()
                assert message.type is WSMsgType.PONG
                assert message.data == b"late"


async def test_control_drops_every_connection_and_tells_the_state(bench):
    await bench.ring(events=100)
    async with bench.connect(V1_PATH) as ws:
        await bench.server.first_subscriber.wait()
        async with bench.session.get(f"{bench.address}/control/status") as answer:
            status = await answer.json()
        assert status["subscribers"] == 1
        assert status["next_seq"] == bench.server.log.next_seq
        assert status["finished"]
        async with bench.session.post(f"{bench.address}/control/drop") as answer:
            assert (await answer.json()) == {"dropped": 1}
        message = await ws.receive()
        assert message.type in {WSMsgType.CLOSED, WSMsgType.ERROR}
        assert ws.close_code == WSCloseCode.ABNORMAL_CLOSURE
    for wrong in ({"colour": 1}, {"drop_every": -1}, {"drop_every": True}, [1]):
        async with bench.session.post(f"{bench.address}/control/faults", json=wrong) as answer:
            assert answer.status == 400


async def test_zstd_frames_of_the_first_wire_need_no_dictionary(bench):
    await bench.ring(events=60)
    async with bench.connect(f"{V1_PATH}?cursor=1&compress=true") as ws:
        message = await ws.receive()
    assert message.type is WSMsgType.BINARY
    event = json.loads(zstandard.ZstdDecompressor().decompress(message.data))
    assert event["cursor"] == 1


async def test_zstd_frames_of_the_second_wire_use_the_dictionary_that_is_served(bench):
    await bench.ring(events=300)
    async with bench.session.get(bench.address + DICTIONARY_PATH) as answer:
        dictionary = zstandard.ZstdCompressionDict(await answer.read())
    assert dictionary.dict_id() == DICTIONARY_ID
    async with bench.connect(f"{V2_PATH}?cursor=1&zstdDictionary={DICTIONARY_ID}") as ws:
        message = await ws.receive()
    frame = zstandard.ZstdDecompressor(dict_data=dictionary).decompress(message.data)
    assert json.loads(frame)["payload"]["seq"] == 1


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        (f"{V2_PATH}?cursor=3", 400, "CursorTooOld"),
        (f"{V2_PATH}?cursor=x", 400, "InvalidRequest"),
        (f"{V2_PATH}?kinds=likes", 400, "InvalidRequest"),
        (f"{V2_PATH}?zstdDictionary=5", 400, "UnknownZstdDictionary"),
        (f"{DICTIONARY_PATH}?id=5", 400, "DictionaryNotFound"),
    ],
)
async def test_refusals_come_before_the_upgrade_and_name_the_error(tmp_path, path, status, name):
    async with running(tmp_path, limits=Limits(max_events=100)) as bench:
        await bench.ring(events=400)
        async with bench.session.get(bench.address + path) as answer:
            assert answer.status == status
            assert (await answer.json())["error"] == name


async def test_the_first_wire_clamps_an_old_cursor_unless_told_to_refuse_it(tmp_path):
    async with running(tmp_path, limits=Limits(max_events=100)) as bench:
        await bench.ring(events=400)
        async with bench.connect(f"{V1_PATH}?cursor=3") as ws:
            event = json.loads((await ws.receive()).data)
        assert event["cursor"] == bench.server.log.floor(NOW)
    strict = Limits(max_events=100, refuse_old_cursor=True)
    async with running(tmp_path, limits=strict) as bench:
        await bench.ring(events=400)
        for cursor in ("3", str(NOW - 1_000_000)):
            async with bench.session.get(f"{bench.address}{V1_PATH}?cursor={cursor}") as answer:
                assert answer.status == 400
                assert (await answer.json())["error"] == "CursorTooOld"


async def test_the_second_wire_announces_a_clamped_time_and_a_future_seq(tmp_path):
    async with running(tmp_path, limits=Limits(max_events=100)) as bench:
        await bench.ring(events=400)
        for cursor, name in ((NOW - 1, "OutdatedCursor"), (10**9, "FutureCursor")):
            async with bench.connect(f"{V2_PATH}?cursor={cursor}") as ws:
                payload = json.loads((await ws.receive()).data)["payload"]
            assert payload["$type"] == f"{NSID}#info"
            assert payload["name"] == name


async def test_require_hello_waits_for_options_which_then_filter(bench):
    await bench.ring(events=300)
    async with bench.connect(f"{V1_PATH}?cursor=1&requireHello=true") as ws:
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.05)
        options = {"wantedCollections": ["app.bsky.feed.repost"]}
        await ws.send_json({"type": "options_update", "payload": options})
        kinds = set()
        while "commit" not in kinds:
            event = json.loads((await ws.receive()).data)
            kinds.add(event["kind"])
        assert event["commit"]["collection"] == "app.bsky.feed.repost"


async def test_the_second_wire_speaks_its_subprotocol_and_takes_no_messages(bench):
    async with bench.connect(V2_PATH, protocols=(SUBPROTOCOL,)) as ws:
        assert ws.protocol == SUBPROTOCOL
        await ws.send_str("hello")
        message = await ws.receive()
        assert message.type is WSMsgType.CLOSE
        assert message.data == WSCloseCode.POLICY_VIOLATION


async def test_events_above_the_size_limit_are_skipped(bench):
    await bench.ring(events=300)
    async with bench.connect(f"{V1_PATH}?cursor=1&maxMessageSizeBytes=900") as ws:
        kept = {seq_of(e) for e in await read_all(ws)}
    large = set()
    async with bench.connect(f"{V1_PATH}?cursor=1") as ws:
        async for message in ws:
            event = json.loads(message.data)
            if len(message.data.encode()) > 900:
                large.add(seq_of(event))
            if event["did"] == END:
                break
    assert large
    assert kept == set(range(1, bench.server.log.next_seq)) - large


async def test_a_reader_that_stops_reading_is_cut_and_can_resume(tmp_path):
    limits = Limits(slow_max_lag=50, slow_min_rate=1e9, slow_window_seconds=0.0)
    async with running(tmp_path, limits=limits) as bench:
        await bench.ring(events=1_200)
        async with bench.connect(f"{V2_PATH}?cursor=1") as ws:
            frames = [json.loads(m.data) async for m in ws if m.type is WSMsgType.TEXT]
            assert ws.close_code == WSCloseCode.POLICY_VIOLATION
    assert frames[-1]["$type"] == "error"
    assert frames[-1]["error"] == "ConsumerTooSlow"
    resume = int(frames[-1]["message"].rpartition("=")[2])
    assert resume == frames[-2]["payload"]["seq"] + 1


async def test_stopping_the_server_says_goodbye(tmp_path):
    async with running(tmp_path) as bench:
        ws = await bench.connect(V1_PATH)
        await bench.server.first_subscriber.wait()
        closing = asyncio.create_task(bench.server._say_goodbye(web.Application()))
        message = await ws.receive()
        assert message.type is WSMsgType.CLOSE
        assert message.data == WSCloseCode.GOING_AWAY
        await closing
