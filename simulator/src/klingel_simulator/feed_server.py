"""A web server with feeds, and a WebSub hub beside it. Shell.

RFC 9110 for validators, https://www.w3.org/TR/websub/ for the hub. It misbehaves on command.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self
from xml.sax.saxutils import escape

import aiohttp
from aiohttp import web

_CHALLENGE: Final = "challenge-4711"


@dataclass(frozen=True, slots=True)
class Item:
    """An entry as the feed tells it."""

    guid: str
    title: str
    link: str = ""
    text: str = ""


@dataclass(slots=True)
class Subscription:
    """A verified subscription at the hub."""

    topic: str
    callback: str
    secret: str


@dataclass
class FeedServer:
    """Feeds by name, under `/<name>`.

    Attributes:
        feeds: entries by name, newest first.
        status: answer of a feed instead of its document; 200 for the document.
        headers: further headers of every document.
        raw: bytes of a feed instead of its document.
        moved: feeds that redirect, to where.
        with_hub: whether documents name the hub.
        asked: name, If-None-Match and User-Agent of every question.
        hub_status: answer of the hub to whoever subscribes.
        subscriptions: those that answered the hub's question, each lease once.
        refused: how many did not.
        slow: answers wait for it, where it is set.
        under_way, most_under_way: questions now, and at most.
    """

    feeds: dict[str, list[Item]] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    with_hub: bool = False
    hub_status: int = 202
    refused: int = 0
    slow: asyncio.Event | None = None
    under_way: int = 0
    most_under_way: int = 0
    asked: list[tuple[str, str | None, str]] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._begun = asyncio.Condition()
        app = web.Application()
        app.router.add_post("/-/hub", self._hub)
        app.router.add_get("/{name}", self._feed)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None  # noqa: SLF001 - aiohttp tells the port nowhere else
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # noqa: SLF001
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    def document(self, name: str) -> bytes:
        """Return a feed as RSS 2.0."""
        hub = f'<atom:link rel="hub" href="{self.url}/-/hub"/>' if self.with_hub else ""
        items = "".join(
            f"<item><guid isPermaLink='false'>{escape(one.guid)}</guid>"
            f"<title>{escape(one.title)}</title><description>{escape(one.text)}</description>"
            f"<link>{escape(one.link)}</link></item>"
            for one in self.feeds[name]
        )
        return (
            '<?xml version="1.0" encoding="utf-8"?>'
            '<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel>'
            f"{hub}<title>{escape(name)}</title>{items}</channel></rss>"
        ).encode()

    async def push(self, name: str, *, forged: bool = False) -> list[int]:
        """Let the hub deliver a feed, signed, once a subscription; returns the answers."""
        body = self.document(name)
        answers = []
        topic = f"{self.url}/{name}"
        subscribed = {one.callback: one for one in self.subscriptions if one.topic == topic}
        async with aiohttp.ClientSession() as session:
            for one in subscribed.values():
                body += b" " * forged
                signed = body[:-1] if forged else body
                mac = hmac.new(one.secret.encode(), signed, hashlib.sha256).hexdigest()
                headers = {
                    "Content-Type": "application/rss+xml",
                    "X-Hub-Signature": f"sha256={mac}",
                    "Link": f'<{self.url}/-/hub>; rel="hub", <{one.topic}>; rel="self"',
                }
                async with session.post(one.callback, data=body, headers=headers) as response:
                    answers.append(response.status)
        return answers

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is asked whenever a question begins."""
        async with self._begun:
            await self._begun.wait_for(condition)

    async def _feed(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            async with self._begun:
                self._begun.notify_all()
            if self.slow is not None:
                await self.slow.wait()
            return self._answer(request)
        finally:
            self.under_way -= 1

    def _answer(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        self.asked.append(
            (name, request.headers.get("If-None-Match"), request.headers.get("User-Agent", ""))
        )
        if name in self.moved:
            return web.Response(status=301, headers={"Location": self.moved[name]})
        status = self.status.get(name, 200)
        if status != 200:
            return web.Response(status=status, headers=self.headers)
        body = self.raw.get(name)
        if body is None:
            body = self.document(name)
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag, **self.headers})
        headers = {"ETag": etag, **self.headers}
        return web.Response(body=body, content_type="application/rss+xml", headers=headers)

    async def _hub(self, request: web.Request) -> web.StreamResponse:
        if self.hub_status != 202:
            return web.Response(status=self.hub_status)
        form = {name: str(value) for name, value in (await request.post()).items()}
        wanted = Subscription(form["hub.topic"], form["hub.callback"], form["hub.secret"])
        query = {
            "hub.mode": form["hub.mode"],
            "hub.topic": wanted.topic,
            "hub.challenge": _CHALLENGE,
            "hub.lease_seconds": form["hub.lease_seconds"],
        }
        async with (
            aiohttp.ClientSession() as session,
            session.get(wanted.callback, params=query) as answer,
        ):
            if answer.status == 200 and await answer.text() == _CHALLENGE:
                self.subscriptions.append(wanted)
            else:
                self.refused += 1
        return web.Response(status=202)
