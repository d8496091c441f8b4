"""An attachment that X tells by its key alone is had by a lookup, over real sockets."""

from datetime import UTC, datetime

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from klingel.errors import CredentialsRejected, InvalidMessage, RateLimited
from klingel_networks.arrival import Away, Tools, Unbounded
from klingel_networks.registry import installed
from klingel_networks.x.client import addresses
from klingel_networks.x.media import ITEM, PostMedia, address_in
from klingel_simulator.x_server import TOKEN, XLimits, XServer, snowflake

KEY, FILM = "3_1460323737035677698", "7_1460323737035677699"
AT = "https://pbs.twimg.com/media/F.jpg"
PRICE = 0.005


class Spending(Unbounded):
    """Notes what is spent."""

    def __init__(self) -> None:
        self.spent: list[tuple[str, float]] = []
        self.rest: float | None = None

    def left(self, item: str = "") -> float | None:
        """Return what is left."""
        return self.rest

    def spend(self, item: str, units: float) -> None:
        """Note it."""
        self.spent.append((item, units))


class Bench:
    """The stand-in with a post that has two attachments, and who asks for them."""

    def __init__(self, server: XServer, endpoint: str) -> None:
        self.server = server
        self.permits = Spending()
        self.post = snowflake(datetime.now(UTC), 1)
        keys = {"media_keys": [KEY, FILM]}
        server.say({"id": self.post, "text": "so sieht es aus", "attachments": keys})
        server.media[KEY] = {"media_key": KEY, "type": "photo", "url": AT}
        server.media[FILM] = {
            "media_key": FILM,
            "type": "video",
            "preview_image_url": "https://pbs.twimg.com/preview.jpg",
            "variants": [
                {"content_type": "application/x-mpegURL", "url": "https://video.example/a.m3u8"},
                {"bit_rate": 256_000, "url": "https://video.example/small.mp4"},
                {"bit_rate": 832_000, "url": "https://video.example/large.mp4"},
            ],
        }
        options = {"bearer_token": SecretStr(TOKEN), "endpoint": endpoint, "price": str(PRICE)}
        self.media = addresses(options, Tools(permits=self.permits))

    async def ask(self, key: str | None = KEY, post: str | None = None) -> str:
        """Return the address of an attachment."""
        told = await self.media.address(f"x:network:{post or self.post}", key, None)
        assert not told.headers, "the token is for the API, never for the host of the bytes"
        return told.url


@pytest.fixture
async def bench():
    server = XServer(lambda: datetime.now(UTC), XLimits(heartbeat_seconds=0.1))
    async with TestServer(server.app(), shutdown_timeout=0.1) as running:
        yield Bench(server, str(running.make_url("")).rstrip("/"))


async def test_an_attachment_is_found_by_its_key_and_paid_for(bench) -> None:
    assert await bench.ask() == AT
    assert await bench.ask(FILM) == "https://video.example/large.mp4"
    assert bench.permits.spent == [(ITEM, PRICE)] * 2


@pytest.mark.parametrize(
    ("key", "post"),
    [
        ("3_999", None),
        (KEY, "1111111111111111111"),
        (None, None),
        (KEY, "dm/1585321444547837956"),
        (KEY, "object/~abc"),
        (KEY, "1,2"),
    ],
    ids=["other key", "gone", "no key", "direct message", "no post", "two"],
)
async def test_what_x_does_not_show_is_gone_and_asked_for_once_at_most(bench, key, post) -> None:
    """Of what is no post X is not asked at all."""
    with pytest.raises(InvalidMessage):
        await bench.ask(key, post)
    assert bench.permits.spent == []


async def test_what_the_budget_does_not_carry_is_not_asked_for(bench) -> None:
    """K9: tried again later, and neither asked nor paid for now."""
    bench.permits.rest = PRICE / 2
    bench.server.refuse("GET /2/tweets", web.Response(status=503))
    with pytest.raises(RateLimited):
        await bench.ask()
    assert bench.permits.spent == []
    bench.permits.rest = PRICE
    with pytest.raises(Away):
        await bench.ask()
    assert await bench.ask() == AT
    assert bench.permits.spent == [(ITEM, PRICE)]


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (401, CredentialsRejected),
        (403, CredentialsRejected),
        (404, CredentialsRejected),
        (429, RateLimited),
        (503, Away),
    ],
)
async def test_trouble_is_told_as_the_worker_knows_it(bench, status, raised) -> None:
    """Nothing else may be raised: it would end the worker."""
    refusal = web.Response(status=status)
    bench.server.refuse("GET /2/tweets", refusal)
    with pytest.raises(raised):
        await bench.ask()
    assert await bench.ask() == AT


async def test_x_that_is_not_there_is_away(unused_tcp_port) -> None:
    media = PostMedia(f"http://127.0.0.1:{unused_tcp_port}", TOKEN, PRICE, Tools())
    with pytest.raises(Away):
        await media.address("x:network:1", KEY, None)


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"[]",
        b"{broken",
        b'{"includes":{"media":{}}}',
        b'{"includes":null}',
        msgspec.json.encode({"includes": {"media": [{"media_key": KEY, "url": "javascript:1"}]}}),
        msgspec.json.encode({"includes": {"media": [{"media_key": KEY}]}}),
    ],
)
def test_a_page_that_tells_no_address_tells_none(page: bytes) -> None:
    assert address_in(page, KEY) is None


def test_x_is_asked_by_key() -> None:
    assert installed().network("x").media_by_id
