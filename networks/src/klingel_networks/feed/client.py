"""Polls feeds politely, and asks their hubs to push.

Sources: RFC 9110 (conditional requests, Retry-After), https://www.rssboard.org/rss-specification
(ttl), https://www.w3.org/TR/websub/.

A feed is asked with the validators of its last answer, not before its own word on freshness, and its
entries are compared with those it told last; a feed that was never heard tells its entries as history.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urljoin

import aiohttp
from pydantic import SecretStr
from yarl import URL

from klingel.errors import ConfigurationError, InvalidMessage, RateLimited, SourceUnavailable
from klingel_networks.arrival import (
    Arrival,
    Finding,
    Gap,
    GapClosed,
    Mode,
    Options,
    Report,
    Rest,
    Tools,
)
from klingel_networks.contract import Delivery
from klingel_networks.feed.cutting import Piece, cut
from klingel_networks.feed.mapping import (
    ENTRY,
    NOTICED,
    SAME_AS,
    VANISHED,
    content_of,
    entry_of,
    key_of,
    name_of,
    vanished,
)
from klingel_networks.feed.memory import Memory, Seen, compare, short
from klingel_networks.feed.politeness import Host
from klingel_networks.feed.reading import DOCUMENT_BYTES
from klingel_networks.websub import subscription_id, subscription_secret

DAY: Final = 86_400.0
GONE_KEY: Final = "gone"
_HUB: Final = re.compile(rb"<(?:[A-Za-z]{1,20}:)?link\b([^>]{0,2000})>")
_REL_HUB: Final = re.compile(rb"\brel\s*=\s*[\"']hub[\"']")
_HREF: Final = re.compile(rb"\bhref\s*=\s*[\"']([^\"'<>\s]{1,2000})[\"']")
_LINK_HEADER: Final = re.compile(r"<([^<>\s]{1,2000})>\s*;[^,]{0,500}\brel=\"?hub\"?")
_TTL: Final = re.compile(rb"<ttl>\s*([0-9]{1,5})\s*</ttl>")
_MAX_AGE: Final = re.compile(r"\bmax-age=([0-9]{1,8})\b")
_LEASE_SECONDS: Final = 2 * DAY
_TURN_SECONDS: Final = 5.0
"""So long a round waits for its turn at a busy server; then it makes room for another's."""


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """Which feeds to hear, and how politely.

    Attributes:
        feeds: address by name.
        every_seconds: between two questions to one feed; its own word may make it longer.
        deadline_seconds: for one answer.
        contact: told in User-Agent, so that who runs a feed can reach us.
        callback: public address under which the gateway serves `/hook/feed`; empty: nobody pushes.
        key: from which addresses and secrets of subscriptions derive.
    """

    feeds: Mapping[str, str]
    every_seconds: float = 900.0
    deadline_seconds: float = 30.0
    contact: str = ""
    callback: str = ""
    key: bytes = b""

    @property
    def agent(self) -> str:
        """The User-Agent."""
        return f"klingel/1 (+{self.contact})" if self.contact else "klingel/1"


def connect(options: Options, tools: Tools) -> "FeedClient":
    """Return the client of the manifest's settings."""
    key = options.get("websub_key")
    secret = key.get_secret_value().encode() if isinstance(key, SecretStr) else b""
    callback = str(options.get("websub_callback") or "").rstrip("/")
    if bool(secret) != bool(callback):
        raise ConfigurationError("feed.websub_key and feed.websub_callback belong together")
    addresses = _addresses(options)
    return FeedClient(
        FeedOptions(
            {name_of(url): url for url in addresses},
            every_seconds=float(str(options["every_seconds"])),
            contact=str(options.get("contact") or ""),
            callback=callback,
            key=secret,
        ),
        tools,
    )


def _addresses(options: Options) -> list[str]:
    """Return the addresses of the settings; raises ConfigurationError."""
    told = str(options.get("feeds") or "").replace(",", " ").split()
    path = options.get("feeds_file")
    if path:
        try:
            lines = Path(str(path)).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"feed.feeds_file: {type(error).__name__}") from None
        told += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    for number, url in enumerate(told, 1):
        try:
            parsed = URL(url)
        except ValueError:
            parsed = URL()
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ConfigurationError(f"feed.feeds: entry {number} is no http(s) address")
    if not told:
        raise ConfigurationError("feed.feeds and feed.feeds_file name no feed")
    return list(dict.fromkeys(told))


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    url: str
    body: bytes


class FeedClient:
    """Many feeds; each is a channel."""

    source = "feeds"

    def __init__(self, options: FeedOptions, tools: Tools | None = None) -> None:
        self._options = options
        self._tools = tools or Tools()
        self._names = tuple(options.feeds)
        self._hosts: dict[str, Host] = {}
        self._gone: set[str] = set()
        self._subscribed: dict[str, float] = {}
        self._hubs: dict[str, str] = {}

    def channels(self) -> Sequence[str]:
        """Return the names of the feeds."""
        return self._names

    async def poll(
        self, channel: str, cursor: str | None
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Yield what is new, changed or gone in one feed, when its server has a turn for us.

        Raises:
            SourceUnavailable: the feed is away, or answers with something else.
            RateLimited: its server wants fewer questions.
        """
        host = self._hosts.setdefault(URL(self._options.feeds[channel]).host or "", Host())
        wait = host.wait(self._tools.clock.monotonic())
        if wait:
            yield Rest(wait)
            return
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await host.turn.acquire()
        except TimeoutError:
            yield Rest(0.0)
            return
        try:
            answer, memory = await self._answer(channel, cursor, host)
        finally:
            host.turn.release()
        async with aclosing(self._told(channel, cursor, memory, answer)) as reports:
            async for told in reports:
                yield told

    async def _answer(self, channel: str, cursor: str | None, host: Host) -> tuple[_Answer, Memory]:
        """Ask for a feed; returns the answer and what is remembered of the feed."""
        memory = Memory() if cursor is None else Memory.decode(cursor)
        asked = memory
        if self._options.callback and channel not in self._hubs:
            # Which hub it has stands in the document; what is told of it anew is no news.
            asked = Memory()
        return await self._asked(self._options.feeds[channel], asked, host), memory

    async def _told(
        self, channel: str, cursor: str | None, memory: Memory, answer: _Answer
    ) -> AsyncGenerator[Arrival | Report, None]:
        if answer.status == 410:
            if channel not in self._gone:
                self._gone.add(channel)
                sentence = "the feed is gone for good (410); take it out of the list"
                yield Gap("dropped_by_network", sentence, key=GONE_KEY)
            yield Rest(7 * DAY)
            return
        if answer.status == 304:
            await self._subscribe(channel, answer)
            yield Rest(self._rest(answer))
            return
        if self._gone and channel in self._gone:
            self._gone.discard(channel)
            yield GapClosed(GONE_KEY, "unrecoverable")
        mode: Mode = "backfill" if cursor is None else "live"
        context = {
            "source": channel,
            "url": answer.url[:2000],
            "content_type": answer.headers.get("Content-Type", "")[:200],
        }
        try:
            arrivals, known = self._news(answer.body, context, memory)
        except InvalidMessage:
            # Told as it came: the runner's edge makes it a dead letter with its reason.
            yield Arrival(Delivery(answer.body, context), memory.encode(), mode=mode)
            yield Rest(self._rest(answer))
            return
        after = replace(
            known,
            etag=answer.headers.get("ETag", ""),
            modified=answer.headers.get("Last-Modified", ""),
        ).encode()
        if not arrivals and after != cursor:
            yield Arrival(None, after)
        for delivery in arrivals:
            # The cursor of the round goes with its last delivery: half a round is heard again.
            last = delivery is arrivals[-1]
            yield Arrival(delivery, after if last else memory.encode(), mode=mode)
        await self._subscribe(channel, answer)
        yield Rest(self._rest(answer))

    # ------------------------------------------------------------------ what it tells

    def _news(
        self, body: bytes, context: Mapping[str, str], memory: Memory
    ) -> tuple[list[Delivery], Memory]:
        """Return the deliveries of a document, oldest first, and what to remember of it."""
        pieces = cut(body, context)
        seen, unnamed = list[Seen](), list[int]()
        for at, piece in enumerate(pieces):
            try:
                entry = piece.entry or entry_of(piece.native, piece.context)
                link = short(entry.link) if entry.link else short(None)
                seen.append(Seen(at, key_of(entry), short(content_of(entry)), link))
            except InvalidMessage:
                unnamed.append(at)
        news = compare(memory.known, seen)
        noticed = str(int(self._tools.clock.now().timestamp() * 1000))
        changed = dict(news.changed)
        told: list[Delivery] = []
        for at in sorted({*news.new, *changed, *unnamed}, reverse=True):
            more = {ENTRY: "1"}
            if at in changed:
                more |= {SAME_AS: changed[at], NOTICED: noticed}
            told.append(_delivery(pieces[at], more))
        told += [
            Delivery(vanished(key), {"source": context["source"], VANISHED: key})
            for key in news.vanished
        ]
        return told, Memory(known=news.known)

    def _rest(self, answer: _Answer) -> float:
        """Return the seconds until the next question: ours, or the feed's own longer word."""
        wishes = [self._options.every_seconds]
        ttl = _TTL.search(answer.body[:65_536])
        if ttl is not None:
            wishes.append(60.0 * int(ttl[1]))
        age = _MAX_AGE.search(answer.headers.get("Cache-Control", ""))
        if age is not None:
            wishes.append(float(age[1]))
        return min(DAY, max(wishes))

    # ------------------------------------------------------------------ the wire

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers={"User-Agent": self._options.agent},
            timeout=aiohttp.ClientTimeout(total=self._options.deadline_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def _asked(self, url: str, memory: Memory, host: Host) -> _Answer:
        headers = {
            "Accept": "application/atom+xml, application/rss+xml, application/feed+json, */*"
        }
        if memory.etag:
            headers["If-None-Match"] = memory.etag
        if memory.modified:
            headers["If-Modified-Since"] = memory.modified
        try:
            async with (
                self._session() as session,
                session.get(url, headers=headers, max_redirects=5) as response,
            ):
                body = b""
                if response.status == 200:
                    async for chunk in response.content.iter_any():
                        body += chunk
                        if len(body) > DOCUMENT_BYTES:
                            raise SourceUnavailable("the feed is larger than 8 MiB")
                answer = _Answer(response.status, response.headers, str(response.url), body)
        except aiohttp.TooManyRedirects:
            raise SourceUnavailable("the feed redirects without end") from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise SourceUnavailable(f"the feed is away ({type(error).__name__})") from None
        if answer.status in {429, 503}:
            wish = answer.headers.get("Retry-After", "")
            after = float(wish) if wish.isascii() and wish.isdigit() else None
            seconds = host.refused(after, self._tools.clock.monotonic())
            raise RateLimited("the feed's server wants fewer questions", retry_after=seconds)
        if answer.status not in {200, 304, 410}:
            raise SourceUnavailable(f"the feed's server answers {answer.status}")
        host.answered()
        return answer

    async def _subscribe(self, channel: str, answer: _Answer) -> None:
        """Ask the feed's hub to push, again when half of the lease is over; a refusal hurts nobody.

        A feed that has not changed answers without its document: its hub is the one it named last.
        """
        options, now = self._options, self._tools.clock.monotonic()
        if not options.callback:
            return
        told = hub_of(answer.body, answer.headers.get("Link", ""), answer.url)
        if told is not None or answer.status == 200:
            self._hubs[channel] = told or ""
        hub = self._hubs.get(channel)
        if not hub or now - self._subscribed.get(channel, -DAY) < _LEASE_SECONDS / 2:
            return
        topic = options.feeds[channel]
        subscription = subscription_id(options.key, topic)
        form = {
            "hub.mode": "subscribe",
            "hub.topic": topic,
            "hub.callback": f"{options.callback}/{subscription}",
            "hub.lease_seconds": str(int(_LEASE_SECONDS)),
            "hub.secret": subscription_secret(options.key, subscription),
        }
        try:
            async with self._session() as session, session.post(hub, data=form) as response:
                if response.status in {202, 204}:
                    self._subscribed[channel] = now
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return  # it is polled all the same

    async def examined(self) -> list[Finding]:
        """Ask every feed once, the first hundred."""
        findings = []
        for name, url in list(self._options.feeds.items())[:100]:
            try:
                answer = await self._asked(url, Memory(), Host())
                count = len(cut(answer.body, {"source": name, "url": answer.url}))
            except (SourceUnavailable, RateLimited, InvalidMessage) as error:
                remedy = "open its address in a browser; mend it or take it out of the list"
                findings.append(Finding(f"feed {name}", "failed", str(error), remedy))
            else:
                findings.append(Finding(f"feed {name}", "ok", f"it tells {count} entries"))
        return findings


async def examine(options: Options, tools: Tools) -> list[Finding]:
    """Ask every feed once."""
    return await connect(options, tools).examined()


def hub_of(body: bytes, header: str, base: str) -> str | None:
    """Return the address of a feed's hub: from the header, else from the document's head."""
    told = _LINK_HEADER.search(header)
    if told is not None:
        return _web(told[1], base)
    for link in _HUB.finditer(body[:65_536]):
        if _REL_HUB.search(link[1]):
            href = _HREF.search(link[1])
            if href is not None:
                return _web(href[1].decode("latin-1"), base)
    return None


def _web(link: str, base: str) -> str | None:
    try:
        url = urljoin(base, link)
    except ValueError:
        return None
    return url if url.startswith(("http://", "https://")) else None


def _delivery(piece: Piece, more: Mapping[str, str]) -> Delivery:
    return Delivery(piece.native, {**piece.context, **more})
