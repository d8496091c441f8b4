"""X rings at the gateway: challenge, signature, and what becomes of each object."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from klingel.clock import SystemClock
from klingel.contracts import codec
from klingel.contracts.blobs import BlobStore
from klingel.contracts.topics import Topic
from klingel.metrics import Metrics
from klingel.model import RawEvent
from klingel.settings import KafkaSettings
from klingel_connectors.books import Books
from klingel_connectors.gateway import Doors, Gateway
from klingel_connectors.hooks import Hook
from klingel_connectors.intake import TOPICS, Intake
from klingel_connectors.publisher import Bounds, Publisher
from klingel_connectors.purse import Purse
from klingel_connectors.raw import Origin
from klingel_connectors.settings import GatewaySettings, HookSettings
from klingel_connectors.testing import NobodyErased, RecordingProducer
from klingel_networks.contract import Delivery
from klingel_networks.registry import installed
from klingel_networks.x import FAMILY, NETWORK
from klingel_networks.x.charges import charges
from klingel_simulator.x_activity import Webhook, direct_message, event, signed

SECRET = b"a client secret of X"
BRAND, CUSTOMER = "1111111111111111111", "2222222222222222222"
POST = {
    "id": "2080765813578191303",
    "text": "hey @ExampleUser",
    "author_id": CUSTOMER,
    "conversation_id": "2080765813578191303",
    "edit_history_tweet_ids": ["2080765813578191303"],
    "entities": {"mentions": [{"username": "ExampleUser", "id": BRAND}]},
}


def test_the_family_is_installed():
    """Entry point, manifest and network agree."""
    assert installed().manifest("x").family == FAMILY.name == "x"
    assert FAMILY.endpoint.signature == FAMILY.endpoint.handshake == "x"


@pytest.fixture
def purse():
    """What the gateway counts."""
    return Purse(SystemClock(), Metrics("test"), unit=FAMILY.unit, app="x")


@pytest.fixture
async def rung(tmp_path, purse):
    """A gateway behind a real port: its producer, and a webhook of the stand-in that rings there."""
    producer = RecordingProducer()
    publisher = Publisher(
        KafkaSettings(),
        client_id="test",
        topics=TOPICS,
        clock=SystemClock(),
        bounds=Bounds(),
        connect=lambda: producer,
        sleep=lambda _seconds: asyncio.sleep(0),
    )
    await publisher.start()
    metrics = Metrics("test")
    intake = Intake(
        NETWORK,
        Origin("x", "x-hook", "x"),
        version="1",
        blobs=BlobStore(tmp_path),
        suppressions=NobodyErased(),
        books=Books("connector-x", "test", SystemClock().now(), metrics),
        metrics=metrics,
        clock=SystemClock(),
    )
    settings = GatewaySettings(
        webhooks={}, hooks={"x": HookSettings("x", "", (SECRET,))}, hook_base="https://h.example"
    )
    hooks = {"x": Hook(FAMILY, (SECRET,), b"", {"x": intake})}
    gateway = Gateway(
        settings, Doors({}, {}, hooks), publisher, metrics, SystemClock(), purses={"x": purse}
    )
    app = web.Application()
    app.add_routes(gateway.routes())
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield producer, Webhook(str(server.make_url("/hook/x")), SECRET), session
    await publisher.close(0.0)


def stored(producer: RecordingProducer) -> list[RawEvent]:
    """Return the raw events that the producer took."""
    return [codec.decode(RawEvent, each["value"]) for each in producer.of(Topic.RAW_EVENTS)]


async def test_the_challenge_is_answered_under_the_apps_secret(rung):
    """CRC: the right answer keeps the webhook valid."""
    _, webhook, session = rung
    assert await webhook.challenge(session, "a token of X")
    assert webhook.valid


async def test_everything_that_rings_is_stored_before_it_is_answered(rung):
    """A mention, two messages, a deletion, what nobody knows: each its object, its channel."""
    producer, webhook, session = rung
    messages = direct_message("7", CUSTOMER, BRAND, "hallo", 1784928224372)
    messages["direct_message_events"] *= 2
    messages["direct_message_events"][1] = messages["direct_message_events"][0] | {"id": "8"}
    bodies = [
        event("post.mention.create", POST, user_id=BRAND, uuid=1),
        event("dm.received", messages, user_id=BRAND, uuid=2),
        event("post.delete", {"id": POST["id"], "author_id": CUSTOMER}, user_id=BRAND, uuid=3),
        event("something.new", {"a": [1]}, user_id=BRAND, uuid=-4),
    ]
    for body in bodies:
        assert await webhook.ring(session, body) == 200
    raws = stored(producer)
    assert [(raw.object_id.removeprefix("x:network:"), raw.kind, raw.change) for raw in raws] == [
        (POST["id"], "post", "created"),
        ("dm/7", "direct_message", "created"),
        ("dm/8", "direct_message", "created"),
        (POST["id"], "post", "deleted"),
        ("event/-4", "unknown", "created"),
    ]
    assert {raw.channel for raw in raws} == {BRAND}
    assert bytes(raws[0].native) == bodies[0]
    assert [NETWORK.to_social_event(raw).text for raw in raws[:3]] == [
        POST["text"],
        "hallo",
        "hallo",
    ]


async def test_a_delivery_that_is_repeated_is_the_same_event(rung):
    """X delivers twice now and then: equal ids, so dedupe drops the second."""
    producer, webhook, session = rung
    for uuid in (1, 1, 2):
        body = event("post.create", POST, user_id=BRAND, uuid=uuid)
        assert await webhook.ring(session, body) == 200
    assert len({raw.event_id for raw in stored(producer)}) == 1
    assert len(stored(producer)) == 3


async def test_a_wrong_signature_stores_nothing_and_an_unreadable_body_is_a_letter(rung):
    """Missing, cut, of another secret, of a re-serialised body: 401. Signed nonsense: 200 and kept."""
    producer, webhook, session = rung
    body = event("post.create", POST, user_id=BRAND, uuid=1)
    again = json.dumps(json.loads(body)).encode()
    right = signed(SECRET, body)
    for wrong in ("", right[:-1], signed(b"another", body), right.replace("sha256", "sha1")):
        assert await webhook.ring(session, body, signature=wrong) == 401
    assert await webhook.ring(session, again, signature=right) == 401
    assert producer.sent == []
    assert await webhook.ring(session, b'{"data": {"text": "hal') == 200
    assert await webhook.ring(session, b"") == 200
    assert len(producer.of(Topic.DEAD_LETTERS)) == 2


# --- cost ----------------------------------------------------------------------------------------


async def test_what_rings_is_counted_once_a_day_and_only_when_it_is_signed(rung, purse):
    """A post by two events, a message twice, what has no price, what nobody signed."""
    _, webhook, session = rung
    message = direct_message("7", CUSTOMER, BRAND, "hallo", 1784928224372)
    assert purse.spent() is None
    for kind, payload, uuid in (
        ("post.create", POST, 1),
        ("post.mention.create", POST, 2),
        ("post.delete", {"id": POST["id"]}, 3),
        ("dm.received", message, 4),
        ("dm.received", message, 4),
        ("like.create", {"id": "1"}, 5),
    ):
        assert await webhook.ring(session, event(kind, payload, user_id=BRAND, uuid=uuid)) == 200
    forged = Webhook(webhook._url, b"another secret")
    assert await forged.ring(session, event("post.create", POST, user_id=BRAND, uuid=9)) == 401
    spent = purse.spent()
    assert spent.items == {"webhook/dm.received": 0.01, "webhook/post": 0.005}
    assert (spent.units, spent.unit) == (pytest.approx(0.015), "US dollars")


ONE_POST = ("webhook/post", 0.005, f"post/{POST['id']}")
ONE_MESSAGE = ("webhook/dm.received", 0.010, "event/7")


@pytest.mark.parametrize(
    ("kinds", "cost"),
    [
        (("post.create", "PostCreate", "postcreate", "TweetCreate", "POST.CREATE"), [ONE_POST]),
        (("post.mention.create", "PostMentionCreate", "postmentioncreate"), [ONE_POST]),
        (("dm.received", "DmReceived", "dmreceived", "DirectMessageReceived"), [ONE_MESSAGE]),
        (("post.delete", "PostDelete", "tweetdelete", "post.mention.delete"), []),
        (("dm.sent", "DmSent", "dmsent", "like.create", "LikeCreate", "chat.received", ""), []),
    ],
)
def test_an_event_costs_the_same_however_its_name_is_written(kinds, cost):
    """By the names that the mapping takes."""
    for kind in kinds:
        body = event(kind, POST, user_id=BRAND, uuid=7)
        assert [tuple(each) for each in charges(Delivery(body))] == cost, kind


@pytest.mark.parametrize(
    "joined",
    [
        lambda bodies: b"[" + b",".join(bodies) + b"]",
        lambda bodies: b'{"data":[' + b",".join(_inner(each) for each in bodies) + b"]}",
        b"\n".join,
        lambda bodies: b"[" + b",".join(_inner(each) for each in bodies) + b"]",
    ],
    ids=["array", "list of events", "lines", "array of bare events"],
)
def test_several_deliveries_in_one_cost_what_they_cost_alone(joined):
    """Whatever the mapping cuts into several events; what is none of them costs nothing."""
    bodies = [
        event("post.create", POST, user_id=BRAND, uuid=1),
        event("like.create", {"id": "1"}, user_id=BRAND, uuid=2),
        b'{"data":{"event_type":3}}',
        event("DmReceived", {}, user_id=BRAND, uuid=7),
    ]
    assert [tuple(each) for each in charges(Delivery(joined(bodies)))] == [ONE_POST, ONE_MESSAGE]


def _inner(body: bytes) -> bytes:
    return json.dumps(json.loads(body)["data"]).encode()


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_body_raises_where_it_is_counted(body):
    assert charges(Delivery(body)) == ()


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["data", "event_type", "event_uuid", "payload", "id"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_no_shape_raises_where_it_is_counted(value):
    for each in charges(Delivery(json.dumps(value).encode())):
        assert each.units > 0
