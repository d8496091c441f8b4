"""Hears an account of a Mastodon instance: server-sent events, made whole by REST.

Sources: https://docs.joinmastodon.org/methods/streaming/, /methods/timelines/,
/methods/notifications/, /methods/statuses/#context, /api/rate-limits/.

- The stream is at most once: what happens while it is down is never sent again. So each connection
  first opens the streams, then reads by `min_id` what lies behind the cursor, then what the streams
  have brought meanwhile. What comes twice is known as a double later.
- `:thump` comes every 15 s; a stream that is silent for three of them is dead.
- An answer tells its parent but not the first status of its thread: the context call does, once a
  thread.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

import aiohttp
import msgspec
from pydantic import SecretStr
from yarl import URL

from klingel.errors import ConfigurationError, CredentialsRejected, RateLimited, SourceUnavailable
from klingel_networks.arrival import (
    Arrival,
    Finding,
    Gap,
    GapClosed,
    GapOutcome,
    Mode,
    Options,
    Quota,
    Report,
    Tools,
)
from klingel_networks.contract import Delivery
from klingel_networks.mastodon.position import HOME, NOTIFICATIONS, Position, id_of
from klingel_networks.mastodon.sse import Event, Reader

PAGE: Final = 40
PAGES: Final = 250
"""Pages of one timeline that fill a gap: 10,000 statuses; a longer gap is told as partial."""
BODY_BYTES: Final = 8 << 20
HASHTAGS_MAX: Final = 20
ROOTS: Final = 10_000
"""Threads of which the first status is remembered."""
CONTEXT_SECONDS: Final = 5.0
BUCKET: Final = "api"
_STATUS_EVENTS: Final = frozenset({"update", "status.update"})
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class MastodonOptions:
    """Which account and hashtags to hear, and how long to wait.

    Attributes:
        instance: address of the instance.
        access_token: of the brand's account.
        hashtags: followed beside the account's own stream.
        deadline_seconds: a stream without any line for so long is dead.
    """

    instance: str
    access_token: str
    hashtags: tuple[str, ...] = ()
    deadline_seconds: float = 45.0

    def __post_init__(self) -> None:
        """Refuse what cannot be heard."""
        if URL(self.instance).scheme not in {"http", "https"} or not URL(self.instance).host:
            raise ConfigurationError(
                "mastodon.instance is no address, such as https://social.example"
            )
        if len(self.hashtags) > HASHTAGS_MAX:
            raise ConfigurationError(f"mastodon.hashtags names more than {HASHTAGS_MAX} hashtags")

    @property
    def host(self) -> str:
        """The instance's name in ids: its host, and its port where it is not the usual one."""
        url = URL(self.instance)
        return f"{url.host}" if url.is_default_port() else f"{url.host}-{url.port}"


class _Seen(msgspec.Struct):
    """The parts of an object that move the cursor or find its thread."""

    id: str | None = None
    in_reply_to_id: str | None = None
    status: "_Seen | None" = None


class _Within(msgspec.Struct):
    """The part of a context that names the first status."""

    ancestors: list[_Seen] = []


_SEEN = msgspec.json.Decoder(_Seen)
_PAGE = msgspec.json.Decoder(list[msgspec.Raw])
_CONTEXT = msgspec.json.Decoder(_Within)


class _Line(NamedTuple):
    """An event of one of the streams."""

    timeline: str
    event: Event


def connect(options: Options, tools: Tools) -> "MastodonClient":
    """Return the client of the manifest's settings."""
    token = options["access_token"]
    assert isinstance(token, SecretStr)
    named = str(options.get("hashtags") or "").split(",")
    hashtags = tuple(dict.fromkeys(tag.strip().removeprefix("#").lower() for tag in named))
    return MastodonClient(
        MastodonOptions(
            str(options["instance"]).rstrip("/"),
            token.get_secret_value(),
            tuple(tag for tag in hashtags if tag),
        ),
        tools,
    )


class MastodonClient:
    """One account on one instance; reads until a stream ends, then raises SourceUnavailable."""

    def __init__(self, options: MastodonOptions, tools: Tools | None = None) -> None:
        self.source = options.host
        self._options = options
        self._tools = tools or Tools()
        self._roots: OrderedDict[str, str] = OrderedDict()

    @property
    def _timelines(self) -> dict[str, tuple[str, Mapping[str, str]]]:
        """Path of each timeline of statuses and the query of its stream."""
        found: dict[str, tuple[str, Mapping[str, str]]] = {HOME: ("/api/v1/timelines/home", {})}
        for tag in self._options.hashtags:
            found[f"tag:{tag}"] = (f"/api/v1/timelines/tag/{tag}", {"tag": tag})
        return found

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._options.access_token}"},
            timeout=aiohttp.ClientTimeout(total=None, connect=self._options.deadline_seconds),
            max_line_size=64 << 10,
        )

    async def arrivals(self, cursor: str | None) -> AsyncGenerator[Arrival | Report, None]:
        """Yield what was missed since the cursor, then what the streams bring.

        Raises:
            SourceUnavailable: a stream ended, broke or fell silent.
            RateLimited: the instance says when to come back.
            CredentialsRejected: the token is revoked or lacks a scope.
        """
        position = Position() if cursor is None else Position.decode(cursor)
        try:
            async with self._session() as session, AsyncExitStack() as streams:
                opened = [
                    (
                        name,
                        await streams.enter_async_context(await self._open(session, name, query)),
                    )
                    for name, (_, query) in self._timelines.items()
                ]
                async with aclosing(self._filled(session, position)) as missed:
                    async for each in missed:
                        if isinstance(each, Arrival):
                            position = Position.decode(each.cursor)
                        yield each
                async with aclosing(self._merged(opened)) as lines:
                    async for line in lines:
                        position, arrival = await self._live(session, line, position)
                        if arrival is not None:
                            yield arrival
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SourceUnavailable(f"the instance is away ({type(error).__name__})") from None
        raise SourceUnavailable("the instance ended the stream")

    # ------------------------------------------------------------------ the streams

    async def _open(
        self, session: aiohttp.ClientSession, name: str, query: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        path = "/api/v1/streaming/user" if name == HOME else "/api/v1/streaming/hashtag"
        response = await session.get(
            self._options.instance + path, params=query, headers={"Accept": "text/event-stream"}
        )
        if response.status != _OK:
            response.close()
            raise self._refusal(response)
        return response

    async def _merged(
        self, opened: list[tuple[str, aiohttp.ClientResponse]]
    ) -> AsyncGenerator[_Line, None]:
        """Yield the events of all streams as they come; ends when one of them ends."""
        waiting: dict[asyncio.Task[Event | None], tuple[str, AsyncIterator[Event]]] = {}
        for name, response in opened:
            events: AsyncIterator[Event] = Reader(
                response.content, self._options.deadline_seconds
            ).events()
            waiting[asyncio.create_task(_next(events))] = (name, events)
        try:
            while True:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    name, events = waiting.pop(task)
                    event = task.result()
                    if event is None:
                        return
                    waiting[asyncio.create_task(_next(events))] = (name, events)
                    yield _Line(name, event)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _live(
        self, session: aiohttp.ClientSession, line: _Line, position: Position
    ) -> tuple[Position, Arrival | None]:
        """Return the position behind an event, and its arrival where it holds an object."""
        name, data = line.event
        if not data:
            return position, None  # filters_changed and the like
        context = {"source": self._options.host, "event": name}
        if name in _STATUS_EVENTS:
            seen = _read(data)
            position = _moved(position, line.timeline, seen)
            context |= await self._root(session, seen)
        elif name == "notification":
            seen = _read(data)
            position = _moved(position, NOTIFICATIONS, seen)
            context |= await self._root(session, seen.status)
        return position, Arrival(Delivery(data, context), position.encode())

    # ------------------------------------------------------------------ the past

    async def _filled(
        self, session: aiohttp.ClientSession, position: Position
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Yield what lies between the position and now, a gap around it; or note where now is."""
        timelines = {name: path for name, (path, _) in self._timelines.items()}
        timelines[NOTIFICATIONS] = "/api/v1/notifications"
        known = {name: path for name, path in timelines.items() if name in position.seen}
        if known:
            position = position.filling()
            key = f"mastodon/{position.since}"
            yield Gap(
                "disconnected",
                "the stream was away; what it did not bring is read from the timelines",
                key=key,
                start=str(position.since),
            )
            outcome: GapOutcome = "filled"
            for name, path in known.items():
                async with aclosing(self._behind(session, name, path, position)) as missed:
                    async for arrival in missed:
                        if arrival is None:
                            outcome = "partial"
                        else:
                            position = Position.decode(arrival.cursor)
                            yield arrival
            position = position.filled()
            yield GapClosed(key, outcome, end=position.encode())
        for name in timelines.keys() - known.keys():
            newest = await self._page(session, timelines[name], {"limit": "1"})
            position = _moved(position, name, _read(newest[0]) if newest else _Seen(id="0"))
        yield Arrival(None, position.encode())

    async def _behind(
        self, session: aiohttp.ClientSession, name: str, path: str, position: Position
    ) -> AsyncGenerator[Arrival | None, None]:
        """Yield a timeline behind the position, oldest first; None when it was not read whole."""
        after = position.fill_from(name)
        for _ in range(PAGES):
            page = await self._page(session, path, {"min_id": str(after), "limit": str(PAGE)})
            if not page:
                return
            greatest = after
            for native in reversed(page):  # the newest stands first
                seen = _read(native)
                number = id_of(seen.id)
                if number is not None:
                    greatest = number if greatest is None else max(greatest, number)
                position = _moved(position, name, seen)
                thread = seen.status if name == NOTIFICATIONS else seen
                context = {"source": self._options.host, **await self._root(session, thread)}
                yield Arrival(Delivery(native, context), position.encode(), mode=_FILL)
            if greatest == after:
                return
            after = greatest
        yield None

    async def _page(
        self, session: aiohttp.ClientSession, path: str, query: Mapping[str, str]
    ) -> list[bytes]:
        body = await self._get(session, path, query)
        try:
            return [bytes(each) for each in _PAGE.decode(body)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise SourceUnavailable("the instance's answer is no page of objects") from None

    async def _get(
        self, session: aiohttp.ClientSession, path: str, query: Mapping[str, str]
    ) -> bytes:
        await self._tools.permits.ask(BUCKET)
        async with session.get(
            self._options.instance + path,
            params=query,
            timeout=aiohttp.ClientTimeout(total=self._options.deadline_seconds),
        ) as response:
            self._hear_limits(response)
            if response.status != _OK:
                raise self._refusal(response)
            body = b""
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > BODY_BYTES:
                    raise SourceUnavailable("the instance's answer is larger than 8 MB")
            return body

    async def _root(self, session: aiohttp.ClientSession, seen: _Seen | None) -> dict[str, str]:
        """Return the first status of a thread, remembered; nothing where it cannot be told."""
        if seen is None or seen.id is None:
            return {}
        if seen.in_reply_to_id is None:
            self._remember(seen.id, seen.id)
            return {}
        root = self._roots.get(seen.id) or self._roots.get(seen.in_reply_to_id)
        if root is None:
            root = await self._asked(session, seen.id)
        if root is None:
            return {}
        self._remember(seen.id, root)
        return {"root": root}

    async def _asked(self, session: aiohttp.ClientSession, own_id: str) -> str | None:
        """Ask for the thread of a status: without an answer its parent alone is known."""
        if id_of(own_id) is None:
            return None
        try:
            async with asyncio.timeout(CONTEXT_SECONDS):
                body = await self._get(session, f"/api/v1/statuses/{own_id}/context", {})
            first = _CONTEXT.decode(body).ancestors
        except (SourceUnavailable, RateLimited, CredentialsRejected, ConfigurationError):
            return None
        except (TimeoutError, aiohttp.ClientError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        root = first[0].id if first else None
        return root if id_of(root) is not None else None

    def _remember(self, own_id: str, root: str) -> None:
        self._roots[own_id] = root
        self._roots.move_to_end(own_id)
        if len(self._roots) > ROOTS:
            self._roots.popitem(last=False)

    # ------------------------------------------------------------------ what the instance wants

    def _hear_limits(self, response: aiohttp.ClientResponse) -> None:
        told = response.headers
        left, limit = told.get("X-RateLimit-Remaining", ""), told.get("X-RateLimit-Limit", "")
        if not left.isdigit():
            return
        self._tools.permits.heard(
            Quota(
                BUCKET,
                int(left),
                int(limit) if limit.isdigit() else None,
                self._seconds_until(told.get("X-RateLimit-Reset")),
            )
        )

    def _seconds_until(self, reset: str | None) -> float | None:
        """Return the seconds until an ISO time; None where it is none."""
        try:
            at = datetime.fromisoformat(reset or "")
        except ValueError:
            return None
        if at.tzinfo is None:
            return None
        return max(0.0, (at - self._tools.clock.now()).total_seconds())

    def _refusal(self, response: aiohttp.ClientResponse) -> Exception:
        """Return what an answer other than 200 means."""
        status = response.status
        if status == 401:
            return CredentialsRejected("the instance no longer knows the token; make a new one")
        if status == 403:
            return CredentialsRejected(
                "the token lacks a scope: read:statuses, read:notifications, read:accounts"
            )
        if status == 429:
            wish = response.headers.get("Retry-After", "")
            after = float(wish) if wish.isdigit() else None
            if after is None:
                after = self._seconds_until(response.headers.get("X-RateLimit-Reset"))
            seconds = self._tools.permits.refused(BUCKET, after)
            return RateLimited("the instance wants fewer calls", retry_after=seconds)
        return SourceUnavailable(f"the instance answers {status}")

    # ------------------------------------------------------------------ the doctor

    async def examined(self) -> list[Finding]:
        """Look at token, scopes, clock and stream."""
        findings = []
        async with self._session() as session:
            for check, path, remedy in _CHECKS:
                findings.append(await self._check(session, check, path, remedy))
        return findings

    async def _check(
        self, session: aiohttp.ClientSession, check: str, path: str, remedy: str
    ) -> Finding:
        try:
            async with session.get(
                self._options.instance + path,
                params={"limit": "1"},
                timeout=aiohttp.ClientTimeout(total=10),
            ) as response:
                status, date = response.status, response.headers.get("Date")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            sentence = f"the instance does not answer ({type(error).__name__})"
            return Finding(check, "failed", sentence, "check instance and the way there")
        if status != _OK:
            return Finding(check, "failed", f"the instance answers {status}", remedy)
        if check == "clock":
            return self._clock_finding(date)
        return Finding(check, "ok", "the instance grants it")

    def _clock_finding(self, date: str | None) -> Finding:
        try:
            away = (self._tools.clock.now() - parsedate_to_datetime(date or "")).total_seconds()
        except (ValueError, TypeError):
            return Finding("clock", "unknown", "the instance tells no time", "nothing to do")
        if abs(away) > _SKEW_SECONDS:
            sentence = f"our clock and the instance's differ by {abs(away):.0f} s"
            return Finding("clock", "warning", sentence, "let this machine follow a time server")
        return Finding("clock", "ok", "our clock and the instance's agree")


_FILL: Mode = "gap_fill"
_SKEW_SECONDS: Final = 30.0
_CHECKS: Final = (
    ("clock", "/api/v2/instance", "check instance: it is no address of a Mastodon server"),
    (
        "credentials",
        "/api/v1/accounts/verify_credentials",
        "make a new token under Settings, Development, and set access_token",
    ),
    ("permissions: read:statuses", "/api/v1/timelines/home", "tick read:statuses for the token"),
    (
        "permissions: read:notifications",
        "/api/v1/notifications",
        "tick read:notifications for the token",
    ),
    ("stream", "/api/v1/streaming/health", "ask the instance whether its streaming service runs"),
)


async def _next(events: AsyncIterator[Event]) -> Event | None:
    return await anext(events, None)


def _read(native: bytes) -> _Seen:
    """Return what moves the cursor; what cannot be read moves nothing: the mapping refuses it."""
    try:
        return _SEEN.decode(native)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Seen()


def _moved(position: Position, timeline: str, seen: _Seen) -> Position:
    number = id_of(seen.id)
    return position if number is None else position.after(timeline, number)


async def examine(options: Options, tools: Tools) -> list[Finding]:
    """Look at token, scopes, clock and stream of an instance."""
    client = connect(options, tools)
    return await client.examined()
