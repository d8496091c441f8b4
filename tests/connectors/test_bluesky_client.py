"""The Bluesky client against a server that speaks the real protocol, over loopback."""

import asyncio
import contextlib
import itertools
from contextlib import aclosing

import pytest
from aiohttp import WSMsgType, web

from klingel.errors import ConfigurationError, CredentialsRejected, RateLimited, SourceUnavailable
from klingel_networks.arrival import Arrival, Gap
from klingel_networks.bluesky.client import BlueskyClient, BlueskyOptions, Position
from klingel_networks.contract import Delivery
from klingel_networks.registry import installed_network
from klingel_simulator.jetstream_server import V1_PATH, V2_PATH, Faults, JetstreamServer, Limits

NOW = 1_790_000_000_000_000
STEP = 1_000_000
POST = "app.bsky.feed.post"


class Bench:
    """A running Jetstream and the means to publish on it."""

    def __init__(self, server, port):
        self.server = server
        self.port = port
        self.now_us = NOW

    def publish(self, count, collection=POST):
        """Publish so many posts, a second apart."""
        for _ in range(count):
            number = self.server.log.next_seq
            self.now_us += STEP
            body = (
                b'"rev":"3mptbypluud2a","operation":"create","collection":"%b","rkey":"r%d",'
                b'"record":{"$type":"%b","text":"Hallo %d","createdAt":"2026-07-04T14:38:08Z"},'
                b'"cid":"bafy"'
            ) % (collection.encode(), number, collection.encode(), number)
            self.server.log.append("commit", "did:plc:anna", collection, body, self.now_us)
        self.server.wake()

    def client(self, path="", **options):
        """Build a client of this server."""
        url = f"ws://127.0.0.1:{self.port}{path}"
        return BlueskyClient(BlueskyOptions(**{"url": url, "overlap_events": 3} | options))

    def cursor(self, seq, host=None):
        """Build the cursor behind an event of this server."""
        place = host or f"127.0.0.1:{self.port}"
        return Position(place, seq, NOW + seq * STEP).encode()


@contextlib.asynccontextmanager
async def serving(app):
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with asyncio.timeout(20):
            yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def jetstream(limits=None, faults=None):
    bench = None
    server = JetstreamServer(
        now_us=lambda: bench.now_us + STEP, seed=1, limits=limits, faults=faults
    )
    async with serving(server.app()) as port:
        bench = Bench(server, port)
        yield bench


@pytest.fixture
async def bench():
    async with jetstream() as running:
        yield running


async def take(client, count, cursor=None):
    """Read so many arrivals and gaps."""
    found = []
    async with aclosing(client.arrivals(cursor)) as arrivals:
        async for arrival in arrivals:
            found.append(arrival)
            if len(found) == count:
                break
    return found


def seqs(found):
    return [Position.decode(item.cursor).seq for item in found if isinstance(item, Arrival)]


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "zstd"])
async def test_frames_arrive_as_sent_with_their_sequence(bench, compress):
    bench.publish(600)
    client = bench.client(compress=compress, overlap_events=0)
    found = await take(client, 5, bench.cursor(1))
    assert (client._dictionary is not None) == compress
    assert seqs(found) == [1, 2, 3, 4, 5]
    network = installed_network("bluesky")
    pieces = [piece for item in found for piece in network.explode(item.delivery)]
    ids = [network.identify(piece.native, piece.context).object_id for piece in pieces]
    assert ids == [f"bluesky:network:at://did:plc:anna/{POST}/r{at}" for at in range(1, 6)]


async def test_a_server_without_a_dictionary_is_read_uncompressed(bench):
    bench.publish(2)
    client = bench.client(compress=True, overlap_events=0)
    assert seqs(await take(client, 2, bench.cursor(1))) == [1, 2]
    assert client._dictionary is None


async def test_the_first_wire_resumes_by_time(bench):
    bench.publish(10)
    found = await take(bench.client(V1_PATH, overlap_seconds=2.0), 3, bench.cursor(8))
    times = [Position.decode(item.cursor).time_us for item in found]
    assert times == [NOW + at * STEP for at in (6, 7, 8)]


async def test_a_cursor_is_inclusive_and_overlaps(bench):
    """K6: the events before it are heard again, none after it is missed."""
    bench.publish(10)
    assert seqs(await take(bench.client(), 8, bench.cursor(6))) == [3, 4, 5, 6, 7, 8, 9, 10]


async def test_an_overlap_below_the_floor_falls_back_to_the_cursor_itself():
    async with jetstream(Limits(max_events=10)) as bench:
        bench.publish(14)
        floor = bench.server.log.floor(bench.now_us)
        found = await take(bench.client(), 14 - floor + 1, bench.cursor(floor))
        assert seqs(found) == list(range(floor, 15))


async def test_a_cursor_that_is_too_old_is_told_once_and_reading_goes_on():
    async with jetstream(Limits(max_events=10)) as bench:
        bench.publish(40)
        floor = bench.server.log.floor(bench.now_us)
        found = await take(bench.client(), 3, bench.cursor(2))
        assert [type(item) for item in found] == [Gap, Arrival, Arrival]
        assert found[0].cause == "cursor_too_old"
        assert seqs(found) == [floor, floor + 1]
        assert [item.gap_seconds for item in found[1:]] == [(floor - 2) * STEP / 1_000_000, 0.0]


def mentioned(*texts, fails=None):
    """Return what reads an account's notifications, and the times it was asked for."""
    asked = []

    async def missed(since):
        asked.append(since)
        for text in texts:
            yield Delivery(text)
        if fails is not None:
            raise fails

    return missed, asked


@pytest.mark.parametrize(
    ("fails", "outcome"),
    [
        (None, "partial"),
        (SourceUnavailable("away"), "unrecoverable"),
        (CredentialsRejected("revoked"), "unrecoverable"),
    ],
    ids=["account answers", "account away", "account revoked"],
)
async def test_what_a_gap_took_is_asked_of_the_account_and_the_gap_closed_truthfully(
    fails, outcome
):
    """K8: opened, filled with what names the brand, never called filled; the stream waits for nobody."""
    async with jetstream(Limits(max_events=10)) as bench:
        bench.publish(40)
        floor = bench.server.log.floor(bench.now_us)
        missed, asked = mentioned(b"1", b"2", fails=fails)
        client = BlueskyClient(BlueskyOptions(url=f"ws://127.0.0.1:{bench.port}"), missed)
        found = await take(client, 6, bench.cursor(2))
        gap, first, second, closed, *live = found
        assert [each.mode for each in (first, second)] == ["gap_fill"] * 2
        assert {each.cursor for each in (first, second)} == {bench.cursor(2)}
        assert (gap.key, gap.cause) == (closed.key, "cursor_too_old")
        assert (closed.outcome, closed.end) == (outcome, live[0].cursor)
        assert asked == [gap.began_at]
        assert (closed.ended_at - gap.began_at).total_seconds() == floor - 2
        assert [each.gap_seconds for each in live] == [0.0, 0.0]
        assert seqs(live) == [floor, floor + 1]


async def test_a_server_that_refuses_old_times_too_is_read_live():
    async with jetstream(Limits(max_events=10, refuse_old_cursor=True)) as bench:
        bench.publish(40)
        reading = asyncio.create_task(take(bench.client(), 2, bench.cursor(2)))
        await bench.server.first_subscriber.wait()
        bench.publish(1)
        found = await reading
        assert [type(item) for item in found] == [Gap, Arrival]
        assert seqs(found) == [41]
        assert found[1].gap_seconds > 0


async def test_a_cursor_of_another_archive_is_tried_by_time(bench):
    bench.publish(10)
    ahead = Position(f"127.0.0.1:{bench.port}", 5_000, NOW + 8 * STEP).encode()
    assert seqs(await take(bench.client(overlap_seconds=0.0), 3, ahead)) == [8, 9, 10]
    elsewhere = bench.cursor(8, host="other:443")
    assert seqs(await take(bench.client(overlap_seconds=0.0), 3, elsewhere)) == [8, 9, 10]


async def test_only_the_wanted_collections_come(bench):
    bench.publish(2)
    bench.publish(2, "app.bsky.feed.like")
    bench.publish(1)
    client = bench.client(collections=(POST,), overlap_events=0)
    assert seqs(await take(client, 3, bench.cursor(1))) == [1, 2, 5]


async def test_a_cut_connection_is_something_to_retry_and_loses_nothing():
    async with jetstream(faults=Faults(drop_every=7)) as bench:
        bench.publish(60)
        client, cursor, heard = bench.client(), bench.cursor(1), []
        for attempt in itertools.count():
            assert attempt < 200
            with contextlib.suppress(SourceUnavailable):
                async with aclosing(client.arrivals(cursor)) as arrivals:
                    async for arrival in arrivals:
                        cursor = arrival.cursor
                        heard.append(Position.decode(cursor).seq)
                        if heard[-1] == 60:
                            break
            if heard and heard[-1] == 60:
                break
        assert set(heard) == set(range(1, 61))
        assert attempt > 0


async def test_garbage_goes_on_as_it_is_and_keeps_the_cursor():
    async with jetstream(faults=Faults(garbage_every=3)) as bench:
        bench.publish(30)
        client = bench.client(overlap_events=0)
        found, cursor = [], bench.cursor(1)
        async with aclosing(client.arrivals(cursor)) as arrivals:
            async for arrival in arrivals:
                found.append(arrival)
                if b'"seq":30,' in arrival.delivery.body:
                    break
        positions = seqs(found)
        assert positions == sorted(positions)
        assert len(found) > len(set(positions))
        assert set(positions) == set(range(1, 31))


async def test_a_quiet_stream_that_answers_pings_stays_open(bench):
    """C11: liveness comes from the connection, not from content."""
    client = bench.client(deadline_seconds=0.1)
    reading = asyncio.create_task(take(client, 1))
    await bench.server.first_subscriber.wait()
    done, _ = await asyncio.wait([reading], timeout=0.4)
    assert not done
    bench.publish(1)
    assert seqs(await reading) == [1]


async def test_a_dead_connection_is_noticed_at_the_deadline():
    """K7: neither frames nor pongs: the connection is given up."""

    async def silent(request):
        ws = web.WebSocketResponse(protocols=("xrpc.v1.json",), autoping=False)
        await ws.prepare(request)
        async for message in ws:
            assert message.type is WSMsgType.PING
        return ws

    app = web.Application()
    app.router.add_get(V2_PATH, silent)
    async with serving(app) as port:
        options = BlueskyOptions(url=f"ws://127.0.0.1:{port}", deadline_seconds=0.1)
        with pytest.raises(SourceUnavailable, match="fell silent"):
            await take(BlueskyClient(options), 1)


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (429, "", RateLimited),
        (503, "", SourceUnavailable),
        (400, "InvalidRequest", ConfigurationError),
        (404, "", SourceUnavailable),
    ],
)
async def test_a_refusal_says_what_to_do(status, error, expected):
    async def refuse(_request):
        return web.json_response({"error": error}, status=status, headers={"Retry-After": "7"})

    app = web.Application()
    app.router.add_get(V2_PATH, refuse)
    async with serving(app) as port:
        client = BlueskyClient(BlueskyOptions(url=f"ws://127.0.0.1:{port}"))
        with pytest.raises(expected) as refused:
            await take(client, 1)
    if status == 429:
        assert refused.value.retry_after == 7.0


async def test_an_absent_server_is_something_to_retry(unused_tcp_port):
    client = BlueskyClient(BlueskyOptions(url=f"ws://127.0.0.1:{unused_tcp_port}"))
    with pytest.raises(SourceUnavailable, match="away"):
        await take(client, 1)


async def test_a_foreign_cursor_is_refused(bench):
    with pytest.raises(ConfigurationError, match="not one of Jetstream"):
        await take(bench.client(), 1, '{"file": "x"}')
