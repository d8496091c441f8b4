"""WebSub whole: the client subscribes, the gateway answers the hub, what it pushes is what is polled."""

from contextlib import aclosing
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import RawEvent
from klingel.testing.clock import FixedClock
from klingel_connectors.gateway import Doors, Gateway
from klingel_connectors.hooks import Hook
from klingel_connectors.raw import Origin
from klingel_connectors.settings import GatewaySettings, HookSettings
from klingel_connectors.testing import RecordingProducer
from klingel_networks.arrival import Arrival, Tools
from klingel_networks.feed import FAMILY, NETWORK
from klingel_networks.feed.client import FeedClient, FeedOptions
from klingel_networks.feed.mapping import name_of
from klingel_networks.mapped import map_delivery
from klingel_simulator.feed_server import FeedServer, Item

KEY = b"0123456789abcdef"
DAY = 86_400


@pytest.fixture
async def gateway(make_publisher, make_intake, metrics):
    """A gateway that takes pushes: its address, and what it stored."""
    producer = RecordingProducer()
    publisher = make_publisher(producer)
    await publisher.start()
    intake = make_intake(network=NETWORK, origin=Origin("feed", "gw-hook-feed", "feed"))
    settings = GatewaySettings(webhooks={}, hooks={"feed": HookSettings("feed", "", (KEY,))})
    hooks = {"feed": Hook(FAMILY, (KEY,), b"", {"feed": intake})}
    app = web.Application()
    app.add_routes(
        Gateway(settings, Doors({}, {}, hooks), publisher, metrics, FixedClock()).routes()
    )
    server = TestServer(app)
    await server.start_server()

    def stored():
        records = producer.of(Topic.RAW_EVENTS)
        return [codec.decode(RawEvent, each["value"]) for each in records]

    yield SimpleNamespace(address=str(server.make_url("/hook/feed")), stored=stored)
    await server.close()


@pytest.fixture
async def feeds():
    async with FeedServer({"a": [Item("2", "b"), Item("1", "a")]}, with_hub=True) as server:
        yield server


class Reader:
    """The polling client of one feed, which keeps its cursor as the runner would."""

    def __init__(self, feeds, gateway, key=KEY):
        self.url = f"{feeds.url}/a"
        self.name = name_of(self.url)
        self.clock = FixedClock()
        self.options = FeedOptions({self.name: self.url}, callback=gateway.address, key=key)
        self.cursor = None
        self.restart()

    def restart(self):
        """Forget all but the cursor."""
        self.client = FeedClient(self.options, Tools(clock=self.clock))

    async def round(self):
        """Poll once; returns the ids of what is told."""
        told = []
        async with aclosing(self.client.poll(self.name, self.cursor)) as heard:
            async for each in heard:
                if isinstance(each, Arrival):
                    self.cursor = each.cursor
                    if each.delivery is not None:
                        told.append(each.delivery)
        events = [map_delivery(NETWORK, each.body, each.context) for each in told]
        return [one["event"]["object_id"] for many in events for one in many]


async def test_what_a_hub_pushes_is_what_is_polled(feeds, gateway):
    reader = Reader(feeds, gateway)
    polled = await reader.round()
    assert len(feeds.subscriptions) == 1
    feeds.feeds["a"].insert(0, Item("3", "c"))
    assert await feeds.push("a") == [200]
    pushed = [raw.object_id for raw in gateway.stored()]
    (news,) = await reader.round()
    assert set(pushed) == {*polled, news}


async def test_a_push_that_is_not_signed_as_agreed_is_stored_nowhere(feeds, gateway):
    await Reader(feeds, gateway).round()
    assert await feeds.push("a", forged=True) == [401]
    assert gateway.stored() == []


async def test_another_key_subscribes_nothing(feeds, gateway):
    """The gateway answers no hub for a subscription that is none of ours."""
    await Reader(feeds, gateway, b"another key 16 b").round()
    assert (feeds.subscriptions, feeds.refused) == ([], 1)


async def test_the_lease_is_renewed_at_its_half_also_by_a_feed_that_does_not_change(feeds, gateway):
    reader = Reader(feeds, gateway)
    await reader.round()
    reader.clock.advance(DAY - 1)
    assert await reader.round() == []
    assert len(feeds.subscriptions) == 1
    reader.clock.advance(1)
    assert await reader.round() == []
    assert feeds.asked[-1][1] is not None  # asked with the validators: nothing was sent again
    assert len(feeds.subscriptions) == 2


async def test_a_new_process_subscribes_though_the_feed_has_not_changed(feeds, gateway):
    reader = Reader(feeds, gateway)
    await reader.round()
    reader.restart()
    assert await reader.round() == []
    assert len(feeds.subscriptions) == 2
    assert await reader.round() == []
    assert feeds.asked[-1][1] is not None


@pytest.mark.parametrize("status", [404, 500])
async def test_without_its_hub_a_feed_is_polled_and_the_hub_is_asked_again(feeds, gateway, status):
    feeds.hub_status = status
    reader = Reader(feeds, gateway)
    assert len(await reader.round()) == 2
    feeds.feeds["a"].insert(0, Item("3", "c"))
    assert len(await reader.round()) == 1
    assert feeds.subscriptions == []
    feeds.hub_status = 202
    assert await reader.round() == []
    assert len(feeds.subscriptions) == 1


async def test_a_feed_that_names_its_hub_no_more_is_left_alone(feeds, gateway):
    reader = Reader(feeds, gateway)
    await reader.round()
    feeds.with_hub = False
    feeds.feeds["a"].insert(0, Item("3", "c"))
    reader.clock.advance(DAY)
    assert len(await reader.round()) == 1
    assert len(feeds.subscriptions) == 1
