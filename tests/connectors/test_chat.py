"""The web chat over real websockets: durable before it is told, resumed without loss or repeat."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from aiohttp import ClientSession, ClientWSTimeout, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestServer, unused_port

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.errors import ConfigurationError
from klingel.model import RawEvent
from klingel.testing.clock import FixedClock
from klingel_connectors.chat import ENDED, REPLACED, Chat, page, policy
from klingel_connectors.chat_outbox import Outbox
from klingel_connectors.chat_sessions import (
    Addresses,
    Replies,
    Told,
    address_of,
    session_id,
    session_of,
    token_of,
)
from klingel_connectors.chat_settings import ChatSettings, chat_settings
from klingel_connectors.raw import Origin
from klingel_connectors.testing import RecordingProducer
from klingel_networks.registry import installed_network

KEY = b"0123456789abcdef"
SHOP = "https://www.example"
GIVEN = {
    "KLINGEL_CHAT_CHANNELS": "website, shop",
    "KLINGEL_CHAT_BASE": "https://chat.example/",
    "KLINGEL_CHAT_ORIGINS": SHOP,
    "KLINGEL_CHAT_KEY": KEY.decode(),
}


class Page:
    """One connection, as the page speaks."""

    def __init__(self, socket):
        self.socket = socket

    async def send(self, **frame):
        """Send a frame."""
        await self.socket.send_str(json.dumps(frame))

    async def say(self, number, text="hallo", at=0):
        """Say something."""
        await self.send(say={"id": f"{number:032x}", "at": at, "text": text})

    async def told(self):
        """Return the next frame."""
        message = await asyncio.wait_for(self.socket.receive(), 5)
        assert message.type is WSMsgType.TEXT, (message.type, self.socket.close_code)
        return json.loads(message.data)

    async def closed(self):
        """Return the code with which the gateway ends."""
        while (await asyncio.wait_for(self.socket.receive(), 5)).type is WSMsgType.TEXT:
            pass
        return self.socket.close_code


class Bench:
    """A chat behind a real port."""

    def __init__(self, chat, producer, base, clock, client):
        self.chat = chat
        self.producer = producer
        self.base = base
        self.clock = clock
        self.client = client

    async def open(self, **frame):
        """Connect and say hello, or `frame`; returns the page and the welcome's token."""
        socket = await self.connect()
        side = Page(socket)
        await side.send(**(frame or {"hello": {}}))
        return side, (await side.told())["welcome"]["token"]

    async def connect(self, origin=None):
        """Open the websocket alone."""
        return await self.client.ws_connect(
            f"{self.base}/chat/website/socket",
            headers={"Origin": origin or self.base},
            timeout=ClientWSTimeout(ws_close=0.1),
        )

    def stored(self):
        """Raw events that the producer took."""
        return [
            codec.decode(RawEvent, record["value"]) for record in self.producer.of(Topic.RAW_EVENTS)
        ]


@pytest.fixture
async def make_chat(make_publisher, make_intake, metrics):
    ends = []

    async def make(producer=None, port=0, **more):
        producer = producer or RecordingProducer()
        clock = FixedClock()
        publisher = make_publisher(producer)
        await publisher.start()
        port = port or unused_port()
        base = f"http://127.0.0.1:{port}"
        settings = ChatSettings(("website",), base, (SHOP,), KEY, **more)
        origin = Origin("chat", "gw-chat-website", "chat", "holder", "website")
        intake = make_intake(network=installed_network("chat"), origin=origin)
        chat = Chat(settings, {"website": intake}, publisher, metrics, clock)
        app = web.Application()
        app.add_routes(chat.routes())
        app.on_shutdown.append(chat.close)
        server = TestServer(app, port=port)
        await server.start_server()
        client = ClientSession()
        ends.extend((client.close, server.close))
        bench = Bench(chat, producer, base, clock, client)
        bench.stop = server.close
        return bench

    yield make
    for end in ends:
        await end()


@pytest.fixture
async def bench(make_chat):
    return await make_chat()


async def test_a_message_is_acknowledged_only_once_it_is_durable(make_chat, eventually):
    """I1."""
    bench = await make_chat(RecordingProducer(automatic=False))
    side, token = await bench.open()
    await side.say(1, "Wo bleibt mein Techniker?")
    await eventually(lambda: bench.producer.sent)
    listening = asyncio.create_task(side.told())
    await bench.open()  # somebody else is welcomed meanwhile: the gateway does answer
    assert not listening.done()
    bench.producer.acknowledge()
    assert await listening == {"ack": f"{1:032x}"}
    (raw,) = bench.stored()
    session = token.partition(".")[0]
    assert raw.object_id == f"chat:website:{session}/{1:032x}"
    assert raw.channel == "website"
    assert token not in codec.encode(raw).decode()


async def test_after_a_cut_nothing_is_lost_or_doubled(make_chat, eventually):
    """The connection dies before the acknowledgement; the page says it again in another one."""
    bench = await make_chat(RecordingProducer(automatic=False))
    side, token = await bench.open()
    await side.say(1)
    await eventually(lambda: bench.producer.sent)
    await side.socket.close()
    bench.producer.automatic = True
    bench.producer.acknowledge()
    again, same = await bench.open(resume={"token": token, "seen": -1})
    assert same == token
    await again.say(1)
    await again.say(2)
    assert [await again.told(), await again.told()] == [{"ack": f"{n:032x}"} for n in (1, 2)]
    ids = [raw.event_id for raw in bench.stored()]
    assert len(set(ids)) == 2
    assert ids[0] == ids[-2]


async def test_a_session_goes_on_at_another_gateway(make_chat):
    """Nothing about a session is kept by the gateway that began it."""
    first = await make_chat()
    side, token = await first.open()
    await side.say(1)
    await side.told()
    await first.stop()
    second = await make_chat()
    again, _ = await second.open(resume={"token": token, "seen": -1})
    await again.say(1)
    await again.told()
    assert first.stored()[0].event_id == second.stored()[0].event_id


async def test_replies_come_in_order_and_what_the_page_has_not_comes_after_a_cut(bench):
    side, token = await bench.open()
    session = token.partition(".")[0]
    for number in (3, 5):
        bench.chat.deliver(session, Told(number, 0, f"t{number}", "Abel"))
    assert [(await side.told())["reply"]["n"] for _ in range(2)] == [3, 5]
    await side.socket.close()
    bench.chat.deliver(session, Told(9, 0, "t9", ""))
    bench.chat.deliver(session, Told(9, 0, "t9", ""))
    again, _ = await bench.open(resume={"token": token, "seen": 3})
    assert [(await again.told())["reply"]["n"] for _ in range(2)] == [5, 9]
    await again.say(1)
    assert "ack" in await again.told()


async def test_sessions_and_replies_are_counted(make_chat, metrics, eventually):
    """Told to a page, kept for one that is away, shown: each reply is in one of the three."""
    bench = await make_chat()
    side, token = await bench.open()
    session = token.partition(".")[0]

    def gauges():
        bench.chat.measure()
        found = {
            (
                name.removeprefix("klingel_chat_"),
                labels.get("state") or labels.get("outcome"),
            ): value
            for name, labels, value in metrics.samples()
            if name.startswith("klingel_chat_") and "_created" not in name
        }
        return {key: int(value) for key, value in found.items() if value}

    assert gauges() == {("sessions", None): 1, ("connections_total", "new"): 1}
    for number in (3, 5):
        bench.chat.deliver(session, Told(number, 0, "t", ""))
    assert gauges()["replies", "told"] == 2
    await side.send(seen=3)
    await eventually(lambda: gauges().get(("replies_shown_total", None)) == 1)
    await side.send(seen=2**40)  # no page has seen what there is not
    await eventually(lambda: gauges().get(("replies_shown_total", None)) == 2)
    bench.chat.deliver(session, Told(9, 0, "t", ""))
    assert gauges()["replies", "told"] == 1
    await side.socket.close()
    await eventually(lambda: ("sessions", None) not in gauges())
    assert gauges()["replies", "kept"] == 1
    again, _ = await bench.open(resume={"token": token, "seen": 9})
    await bench.open(resume={"token": token, "seen": 9})
    assert await again.closed() == REPLACED
    assert gauges() == {
        ("sessions", None): 1,
        ("connections_total", "new"): 1,
        ("connections_total", "resumed"): 1,
        ("connections_total", "replaced"): 1,
        ("replies_shown_total", None): 3,
    }


async def test_two_windows_of_a_session_lose_nothing_and_the_newer_one_goes_on(bench):
    side, token = await bench.open()
    other, _ = await bench.open(resume={"token": token, "seen": -1})
    assert await side.closed() == REPLACED
    await other.say(7)
    assert await other.told() == {"ack": f"{7:032x}"}


async def test_typing_is_ignored(bench):
    side, _ = await bench.open()
    await side.send(typing=True)
    await side.say(1)
    assert "ack" in await side.told()
    assert len(bench.stored()) == 1


async def test_kafka_away_is_said_and_the_same_message_is_taken_later(make_chat):
    bench = await make_chat(RecordingProducer(automatic=False), wait_seconds=0.05)
    side, _ = await bench.open()
    await side.say(1)
    assert (await side.told())["wait"]["id"] == f"{1:032x}"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x00\x01", 1003),
        ("x" * 70_000, 1009),
        ("{", 1008),
        ('{"say": {"id": "1", "at": 1, "text": "t"}}', 1008),
    ],
)
async def test_hostile_frames_end_the_connection(bench, frame, code):
    side, _ = await bench.open()
    await (side.socket.send_bytes if isinstance(frame, bytes) else side.socket.send_str)(frame)
    assert await side.closed() == code
    assert not bench.stored()


@pytest.mark.parametrize("text", ["a\x00b", " ", "x" * 4_001])
async def test_texts_that_cannot_be_taken_are_refused_and_the_session_goes_on(bench, text):
    side, _ = await bench.open()
    await side.say(1, text)
    assert (await side.told())["refused"]["id"] == f"{1:032x}"
    await side.say(2)
    assert "ack" in await side.told()


async def test_a_page_cannot_speak_as_the_brand(bench):
    side, token = await bench.open()
    session = token.partition(".")[0]
    await side.send(
        say={"id": "0" * 32, "at": 0, "text": "x"},
        reply_id="r-1",
        channel="website",
        session=session,
        text="y",
        written_at="2026-01-01T00:00:00Z",
    )
    await side.told()
    (raw,) = bench.stored()
    assert installed_network("chat").to_social_event(raw).direction == "inbound"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", SHOP])
async def test_only_the_gateways_own_page_opens_the_socket(bench, origin):
    with pytest.raises(WSServerHandshakeError) as refused:
        await bench.connect(origin)
    assert refused.value.status == 403


async def test_a_session_cannot_be_forged_from_its_id(bench):
    _, token = await bench.open()
    session, _, tag = token.partition(".")
    for forged in (session, f"{session}.", f"{session}.{tag[:-1]}0x", "0" * 73, "é"):
        side = Page(await bench.connect())
        await side.send(resume={"token": forged, "seen": -1})
        assert await side.closed() == ENDED


async def test_a_flood_is_slowed_and_then_ended(make_chat):
    bench = await make_chat(say_burst=2.0, frame_burst=5.0)
    side, _ = await bench.open()
    for number in range(3):
        await side.say(number)
    assert [next(iter(await side.told())) for _ in range(3)] == ["ack", "ack", "wait"]
    for number in range(4):
        await side.say(number)
    assert await side.closed() == 1008
    assert len(bench.stored()) == 2


async def test_one_address_cannot_take_all(make_chat):
    bench = await make_chat(session_burst=2.0, most_of_address=2)
    sides = [await bench.open() for _ in range(2)]
    with pytest.raises(WSServerHandshakeError):
        await bench.connect()
    await sides[0][0].socket.close()
    side = Page(await bench.connect())
    await side.send(hello={})
    assert await side.closed() == 1013


async def test_the_page_allows_its_own_script_alone(bench):
    async with bench.client.get(f"{bench.base}/chat/website") as answer:
        body = await answer.read()
        told = answer.headers["Content-Security-Policy"]
    assert told == policy(body, (SHOP,))
    assert "unsafe" not in told
    assert f"frame-ancestors {SHOP}" in told
    assert b"innerHTML" not in body
    assert page() == body


class Records:
    """A consumer's records of one partition."""

    def __init__(self):
        self.committed = []

    def commit(self, offsets):
        """Note what is committed."""
        self.committed += [each.offset for each in offsets.values()]


async def test_a_reply_is_an_outbound_event_before_it_is_shown(bench, kafka):
    side, token = await bench.open()
    session = token.partition(".")[0]
    reply = {
        "channel": "website",
        "session": session,
        "reply_id": "r-1",
        "text": "Er kommt um 14 Uhr.",
        "written_at": "2026-11-20T12:01:00Z",
    }
    values = [
        json.dumps(reply).encode(),
        b"{",
        json.dumps(reply | {"channel": "others"}).encode(),
        json.dumps(reply | {"reply_id": "r-2"}).encode(),
    ]
    polled = {
        ("chat-outbox", 0): [
            SimpleNamespace(value=value, offset=at) for at, value in enumerate(values)
        ]
    }
    outbox, records = Outbox(kafka, "gw", bench.chat, 24, bench.clock), Records()
    await outbox._take(records, polled)
    assert records.committed == [4]
    assert [(await side.told())["reply"]["n"] for _ in range(2)] == [0, 3]
    network = installed_network("chat")
    drafts = [network.to_social_event(raw) for raw in bench.stored()]
    assert [draft.direction for draft in drafts] == ["outbound", "outbound"]
    assert len(bench.producer.of(Topic.DEAD_LETTERS)) == 1
    await outbox._take(records, polled)  # as after a restart
    assert len(bench.stored()) == 2


def test_a_session_ends_with_its_time():
    clock = FixedClock()
    session = session_id(clock.now(), bytes(16))
    token = token_of(KEY, "website", session)
    assert session_of(KEY, "website", token, clock.now(), 1) == session
    assert session_of(KEY, "shop", token, clock.now(), 1) is None
    assert session_of(b"another key 16 b", "website", token, clock.now(), 1) is None
    clock.advance(3600)
    assert session_of(KEY, "website", token, clock.now(), 1) is None


def test_replies_are_bounded_by_bytes_and_time():
    clock = FixedClock()
    replies = Replies(1, most_bytes=5_000)
    sessions = [session_id(clock.now(), bytes([n]) * 16) for n in range(20)]
    dropped = sum(
        replies.add(s, Told(n, 0, "x" * 100, ""), clock.now()) for n, s in enumerate(sessions)
    )
    assert replies.bytes <= 5_000
    assert dropped == 20 - replies.bytes // 600
    assert replies.after(sessions[0], -1) == []
    assert [told.number for told in replies.after(sessions[-1], -1)] == [19]
    assert replies.unseen == 20 - dropped
    clock.advance(3600)
    assert replies.expire(clock.now()) == 20 - dropped
    assert (replies.bytes, replies.unseen) == (0, 0)


def test_addresses_are_counted_each_and_forgotten_in_turn():
    addresses = Addresses(1.0, 1.0, most=2)
    assert addresses.take("a", 0.0) == 0
    assert addresses.take("a", 0.0) > 0
    assert addresses.take("b", 0.0) == addresses.take("c", 0.0) == 0
    assert addresses.take("a", 0.0) == 0


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ("", 0, "10.0.0.1"),
        ("1.1.1.1", 0, "10.0.0.1"),
        ("6.6.6.6, 1.1.1.1", 1, "1.1.1.1"),
        ("1.1.1.1", 2, "10.0.0.1"),
    ],
)
def test_only_our_own_proxies_are_believed(forwarded, proxies, address):
    assert address_of("10.0.0.1", forwarded, proxies) == address


def test_settings_are_read():
    found = chat_settings(GIVEN)
    assert (found.channels, found.base) == (("website", "shop"), "https://chat.example")
    assert chat_settings({}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KLINGEL_CHAT_CHANNELS", "a/b"),
        ("KLINGEL_CHAT_BASE", ""),
        ("KLINGEL_CHAT_ORIGINS", ""),
        ("KLINGEL_CHAT_ORIGINS", "https://a b"),
        ("KLINGEL_CHAT_KEY", "short"),
        ("KLINGEL_CHAT_KEY_FILE", "/nowhere"),
        ("KLINGEL_CHAT_HOURS", "25"),
        ("KLINGEL_CHAT_PROXIES", "x"),
        ("KLINGEL_CHAT_COLOUR", "red"),
    ],
)
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(ConfigurationError, match=name) as refused:
        chat_settings(GIVEN | {name: value})
    assert KEY.decode() not in str(refused.value)
