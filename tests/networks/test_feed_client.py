"""The client of feeds against a web server and a hub that misbehave."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from klingel.errors import ConfigurationError, RateLimited, SourceUnavailable
from klingel.testing.clock import FixedClock
from klingel_networks.arrival import Arrival, Gap, GapClosed, Rest, Tools
from klingel_networks.feed import NETWORK
from klingel_networks.feed.client import FeedClient, FeedOptions, connect, hub_of
from klingel_networks.feed.mapping import name_of
from klingel_networks.feed.memory import Memory
from klingel_networks.feed.politeness import Host
from klingel_networks.mapped import map_delivery
from klingel_networks.registry import installed
from klingel_simulator.feed_server import FeedServer, Item


def client_of(server: FeedServer, *names: str, **more: Any) -> FeedClient:
    """Return a client of some feeds of the server."""
    return FeedClient(FeedOptions({name: f"{server.url}/{name}" for name in names}, **more))


async def round_of(client: FeedClient, name: str = "a", cursor: str | None = None) -> list[Any]:
    """Return what one round yields."""
    async with asyncio.timeout(5), aclosing(client.poll(name, cursor)) as arrivals:
        return [each async for each in arrivals]


def events(heard: list[Any]) -> list[dict[str, Any]]:
    """Return the events of a round."""
    arrived = [each for each in heard if isinstance(each, Arrival) and each.delivery is not None]
    told = [map_delivery(NETWORK, each.delivery.body, each.delivery.context) for each in arrived]
    return [one["event"] for many in told for one in many]


def cursor_of(heard: list[Any]) -> str:
    """Return the cursor behind a round that moved it."""
    return [each for each in heard if isinstance(each, Arrival)][-1].cursor


async def test_new_changed_and_vanished_entries_are_told_once() -> None:
    """History first, oldest first; what is unchanged is asked with its validators and told never."""
    async with FeedServer({"a": [Item("3", "c"), Item("2", "b"), Item("1", "a")]}) as server:
        client = client_of(server, "a", contact="https://brand.example")
        first = await round_of(client)
        assert [each["text"] for each in events(first)] == ["a", "b", "c"]
        assert {each.mode for each in first if isinstance(each, Arrival)} == {"backfill"}
        same = await round_of(client, cursor=cursor_of(first))
        assert [type(each) for each in same] == [Rest]
        assert server.asked[-1][1] is not None
        assert "https://brand.example" in server.asked[-1][2]
        server.feeds["a"] = [Item("4", "d"), Item("3", "C"), Item("1", "a")]
        second = await round_of(client, cursor=cursor_of(first))
        told = [(each["change"], each.get("text")) for each in events(second)]
        assert told == [("updated", "C"), ("created", "d"), ("deleted", None)]
        ids = {each["text"]: each["object_id"] for each in events(first)}
        assert events(second)[0]["object_id"] == ids["c"]
        assert events(second)[2]["object_id"] == ids["b"]


async def test_half_a_round_is_heard_again_as_a_whole() -> None:
    """The memory moves behind the last entry alone."""
    async with FeedServer({"a": [Item("2", "b"), Item("1", "a")]}) as server:
        heard = await round_of(client_of(server, "a"))
        arrived = [each for each in heard if isinstance(each, Arrival)]
        assert Memory.decode(arrived[0].cursor) == Memory()
        assert len(Memory.decode(arrived[-1].cursor).known) == 2


async def test_a_feed_that_renames_its_entries_is_seen_through() -> None:
    """Another guid each time, the same link."""
    async with FeedServer({"a": [Item("x1", "a", link="https://b.example/1")]}) as server:
        first = await round_of(client_of(server, "a"))
        server.feeds["a"] = [Item("x2", "a", link="https://b.example/1")]
        second = await round_of(client_of(server, "a"), cursor=cursor_of(first))
        assert events(second) == []
        server.feeds["a"] = [Item("x3", "A!", link="https://b.example/1")]
        (changed,) = events(await round_of(client_of(server, "a"), cursor=cursor_of(second)))
        assert (changed["object_id"], changed["change"]) == (
            events(first)[0]["object_id"],
            "updated",
        )


async def test_a_feed_says_when_to_come_back() -> None:
    """Its longer word counts, bounded by a day."""
    async with FeedServer({"a": []}) as server:
        server.headers = {"Cache-Control": "public, max-age=3600"}
        assert (await round_of(client_of(server, "a")))[-1] == Rest(3600.0)
        server.headers = {"Cache-Control": "max-age=99999999"}
        assert (await round_of(client_of(server, "a")))[-1] == Rest(86_400.0)
        server.headers = {}
        server.raw["a"] = b"<rss version='2.0'><channel><ttl>60</ttl></channel></rss>"
        assert (await round_of(client_of(server, "a")))[-1] == Rest(3600.0)


async def test_a_feed_that_is_gone_opens_a_gap_until_it_answers() -> None:
    """Told once; its entries come when it is back."""
    async with FeedServer({"a": [Item("1", "a")]}) as server:
        client = client_of(server, "a")
        server.status["a"] = 410
        assert isinstance((await round_of(client))[0], Gap)
        assert [type(each) for each in await round_of(client)] == [Rest]
        server.status["a"] = 200
        heard = await round_of(client)
        assert isinstance(heard[0], GapClosed)
        assert len(events(heard)) == 1


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (404, {}, SourceUnavailable),
        (500, {}, SourceUnavailable),
        (429, {"Retry-After": "7"}, RateLimited),
        (429, {}, RateLimited),
        (503, {"Retry-After": "7"}, RateLimited),
    ],
)
async def test_refusals_say_what_they_mean(
    status: int, headers: dict[str, str], error: type[Exception]
) -> None:
    """With and without a time to come back."""
    async with FeedServer({"a": []}) as server:
        server.status["a"], server.headers = status, headers
        with pytest.raises(error) as caught:
            await round_of(client_of(server, "a"))
        if error is RateLimited:
            assert caught.value.retry_after == (7 if headers else 60)


async def test_what_one_server_refuses_holds_for_its_feeds_alone() -> None:
    """Nobody is asked again before the time that it named; the feeds of others go on."""
    async with FeedServer({"a": [], "b": []}) as one, FeedServer({"c": []}) as other:
        clock = FixedClock()
        there = other.url.replace("127.0.0.1", "localhost")
        feeds = {"a": f"{one.url}/a", "b": f"{one.url}/b", "c": f"{there}/c"}
        client = FeedClient(FeedOptions(feeds), Tools(clock=clock))
        one.status["a"], one.headers = 429, {"Retry-After": "100"}
        with pytest.raises(RateLimited):
            await round_of(client, "a")
        clock.advance(40)
        assert await round_of(client, "b") == [Rest(60.0)]
        assert [name for name, _, _ in one.asked] == ["a"]
        await round_of(client, "c")
        assert [name for name, _, _ in other.asked] == ["c"]
        clock.advance(60)
        await round_of(client, "b")
        assert [name for name, _, _ in one.asked] == ["a", "b"]


async def test_a_server_is_asked_two_questions_at_once() -> None:
    """However many feeds it has."""
    names = [f"f{number}" for number in range(12)]
    async with FeedServer({name: [] for name in names}) as server:
        server.slow = asyncio.Event()
        client = client_of(server, *names)
        rounds = [asyncio.create_task(round_of(client, name)) for name in names]
        await server.until(lambda: server.under_way == 2)
        server.slow.set()
        await asyncio.gather(*rounds)
        assert (len(server.asked), server.most_under_way) == (12, 2)


@pytest.mark.parametrize(("after", "waits"), [(None, [60, 120, 240]), (7.0, [7, 7, 7])])
def test_refusals_in_a_row_wait_longer_where_no_time_is_named(after, waits) -> None:
    host = Host()
    assert [host.refused(after, 0.0) for _ in waits] == waits
    assert host.wait(1.0) == waits[-1] - 1
    assert host.wait(waits[-1]) == 0
    host.answered()
    assert host.refused(None, 1000.0) == 60


async def test_redirects_are_followed_and_end() -> None:
    """Five at most."""
    async with FeedServer({"b": [Item("1", "a")]}) as server:
        server.moved["a"] = "/b"
        assert len(events(await round_of(client_of(server, "a")))) == 1
        server.moved["b"] = "/a"
        with pytest.raises(SourceUnavailable, match="redirects"):
            await round_of(client_of(server, "a"))


async def test_what_is_no_feed_is_told_as_it_came() -> None:
    """A dead letter with a reason; the memory stays."""
    async with FeedServer({"a": [Item("1", "a")]}) as server:
        first = await round_of(client_of(server, "a"))
        server.raw["a"] = b"<html>Wartung</html>"
        heard = await round_of(client_of(server, "a"), cursor=cursor_of(first))
        (told,) = map_delivery(NETWORK, heard[0].delivery.body, heard[0].delivery.context)
        assert told["fate"] == "dead_lettered"
        assert Memory.decode(cursor_of(heard)) == Memory.decode(cursor_of(first))


async def test_a_hub_is_asked_to_push_once_a_lease() -> None:
    """Address and secret of the subscription derive from the key."""
    async with FeedServer({"a": [Item("1", "a")]}, with_hub=True) as server:
        url = f"{server.url}/a"
        name = name_of(url)
        options = FeedOptions({name: url}, callback=f"{server.url}/-/none", key=b"key")
        client = FeedClient(options)
        await round_of(client, name)
        assert hub_of(server.document("a"), "", server.url) == f"{server.url}/-/hub"
        assert hub_of(b"", '<https://hub.example/>; rel="hub"', url) == "https://hub.example/"
        assert hub_of(b"<link rel='hub' href='javascript:x'/>", "", url) is None


async def test_the_doctor_asks_every_feed() -> None:
    """And says which to mend."""
    async with FeedServer({"a": [], "b": []}) as server:
        server.status["b"] = 404
        found = await client_of(server, "a", "b").examined()
        assert [each.state for each in found] == ["ok", "failed"]


def test_settings_are_those_of_the_manifest(tmp_path) -> None:
    """Addresses inline and in a file; each wrong one gets a sentence."""
    manifest = installed().manifest("feed")
    listed = tmp_path / "feeds"
    listed.write_text("# ours\nhttps://b.example/feed\n\nhttps://a.example/feed\n", "utf-8")
    given = {"feeds": "https://a.example/feed", "feeds_file": str(listed)}
    client = connect(manifest.configure(given), Tools())
    assert len(client.channels()) == 2
    for wrong in (
        {},
        {"feeds": "ftp://x"},
        {"feeds_file": "/nowhere"},
        given | {"websub_key": "k"},
    ):
        with pytest.raises(ConfigurationError):
            connect(manifest.configure(wrong), Tools())
