"""A Mastodon instance for one account: streaming, timelines, notifications, contexts. Shell.

Speaks what https://docs.joinmastodon.org/methods/ publishes: server-sent events with `:thump`,
pages by `min_id` (newest first), `X-RateLimit` headers. It misbehaves on command.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from aiohttp import web

_PAGE: Final = 40
_SNOWFLAKE_BITS: Final = 16
HOME: Final = "home"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Misbehaviour:
    """What goes wrong from now on.

    Attributes:
        revoked: the token is no longer known.
        missing_scope: no call is permitted.
        refuse_calls: so many calls are answered with 429.
        with_reset: whether such an answer says when to come back.
        silent: streams stay open and say nothing, not even `:thump`.
        half_a_line: the next event ends in its middle, and the stream with it.
        garbage: the next event is no JSON.
        broken: calls are answered with 503.
    """

    revoked: bool = False
    missing_scope: bool = False
    refuse_calls: int = 0
    with_reset: bool = True
    silent: bool = False
    half_a_line: bool = False
    garbage: bool = False
    broken: bool = False


@dataclass
class MastodonServer:
    """One instance, kept in memory.

    Attributes:
        token: of the account.
        thump_seconds: between two signs of life.
        wrong: what goes wrong.
        calls: paths that were asked for, in order.
        now: tells the time.
    """

    token: str = "canary-7f3a"  # noqa: S105 - of a stand-in
    thump_seconds: float = 15.0
    wrong: Misbehaviour = field(default_factory=Misbehaviour)
    calls: list[str] = field(default_factory=list)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    url: str = ""

    def __post_init__(self) -> None:
        """Begin with nothing said."""
        self._timelines: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._statuses: dict[str, dict[str, Any]] = {}
        self._streams: dict[str, set[asyncio.Queue[bytes | None]]] = defaultdict(set)
        self._runner: web.AppRunner | None = None
        self._number = 0
        self.connected = asyncio.Event()

    # ------------------------------------------------------------------ what happens there

    def next_id(self, at: datetime) -> str:
        """Return an id that grows with time, as the network's own do."""
        self._number = (self._number + 1) % (1 << _SNOWFLAKE_BITS)
        return str((int(at.timestamp() * 1000) << _SNOWFLAKE_BITS) + self._number)

    def publish(self, status: dict[str, Any], timeline: str = HOME) -> None:
        """Put a status into a timeline and tell the streams."""
        self._statuses[status["id"]] = status
        self._timelines[timeline].append(status)
        self._send(timeline, "update", status)

    def notify(self, notification: dict[str, Any]) -> None:
        """Put a notification into the account's list and tell its stream."""
        status = notification.get("status")
        if status is not None:
            self._statuses[status["id"]] = status
        self._timelines["notifications"].append(notification)
        self._send(HOME, "notification", notification)

    def edit(self, status: dict[str, Any], timeline: str = HOME) -> None:
        """Replace a status and tell the streams."""
        self._statuses[status["id"]] = status
        kept = self._timelines[timeline]
        kept[:] = [status if each["id"] == status["id"] else each for each in kept]
        self._send(timeline, "status.update", status)

    def delete(self, own_id: str, timeline: str = HOME) -> None:
        """Delete a status and tell the streams."""
        self._statuses.pop(own_id, None)
        kept = self._timelines[timeline]
        kept[:] = [each for each in kept if each["id"] != own_id]
        self._tell(timeline, b"event: delete\ndata: " + own_id.encode() + b"\n\n")

    def cut(self) -> None:
        """End every stream."""
        for queues in self._streams.values():
            for queue in queues:
                queue.put_nowait(None)

    def _send(self, timeline: str, event: str, tree: dict[str, Any]) -> None:
        data = json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
        if self.wrong.garbage:
            self.wrong.garbage = False
            data = b'{"id":"1",'
        self._tell(timeline, b"event: " + event.encode() + b"\ndata: " + data + b"\n\n")

    def _tell(self, timeline: str, frame: bytes) -> None:
        for queue in self._streams[timeline]:
            if self.wrong.half_a_line:
                queue.put_nowait(frame[: len(frame) // 2])
                queue.put_nowait(None)
            elif not self.wrong.silent:
                queue.put_nowait(frame)
        self.wrong.half_a_line = False

    # ------------------------------------------------------------------ the interface

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        app = web.Application(middlewares=[self._guarded])
        app.router.add_get("/api/v1/streaming/health", self._health)
        app.router.add_get("/api/v1/streaming/user", self._user)
        app.router.add_get("/api/v1/streaming/hashtag", self._hashtag)
        app.router.add_get("/api/v1/timelines/home", self._home)
        app.router.add_get("/api/v1/timelines/tag/{tag}", self._tag)
        app.router.add_get("/api/v1/notifications", self._notifications)
        app.router.add_get("/api/v1/statuses/{id}/context", self._context)
        app.router.add_get("/api/v1/accounts/verify_credentials", self._account)
        app.router.add_get("/api/v2/instance", self._account)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None  # noqa: SLF001 - aiohttp tells the port nowhere else
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # noqa: SLF001
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every stream and stop listening."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.calls.append(request.path)
        wrong = self.wrong
        if wrong.broken:
            return web.Response(status=503)
        if wrong.revoked or request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"error": "The access token was revoked"}, status=401)
        if wrong.missing_scope:
            return web.json_response({"error": "outside the authorized scopes"}, status=403)
        if wrong.refuse_calls and "/streaming/" not in request.path:
            wrong.refuse_calls -= 1
            reset = (self.now() + timedelta(seconds=60)).isoformat()
            headers = {"X-RateLimit-Reset": reset} if wrong.with_reset else {}
            return web.json_response({"error": "Too many requests"}, status=429, headers=headers)
        return await handler(request)

    async def _health(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text="OK")

    async def _account(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"id": "1", "acct": "nordlicht"})

    async def _user(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request, HOME)

    async def _hashtag(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request, f"tag:{request.query['tag']}")

    async def _stream(self, request: web.Request, timeline: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._streams[timeline].add(queue)
        self.connected.set()
        try:
            await response.write(b":)\n")
            while True:
                try:
                    async with asyncio.timeout(self.thump_seconds):
                        frame = await queue.get()
                except TimeoutError:
                    frame = b"" if self.wrong.silent else b":thump\n"
                if frame is None:
                    if request.transport is not None:
                        request.transport.close()
                    return response
                if frame:
                    await response.write(frame)
        finally:
            self._streams[timeline].discard(queue)

    async def _home(self, request: web.Request) -> web.StreamResponse:
        return self._answer(request, self._timelines[HOME])

    async def _tag(self, request: web.Request) -> web.StreamResponse:
        return self._answer(request, self._timelines[f"tag:{request.match_info['tag']}"])

    async def _notifications(self, request: web.Request) -> web.StreamResponse:
        return self._answer(request, self._timelines["notifications"])

    def _answer(self, request: web.Request, said: list[dict[str, Any]]) -> web.Response:
        ordered = sorted(said, key=lambda each: int(each["id"]))
        limit = min(int(request.query.get("limit", "20")), _PAGE)
        if "min_id" in request.query:
            after = int(request.query["min_id"])
            page = [each for each in ordered if int(each["id"]) > after][:limit]
        else:
            page = ordered[-limit:]
        headers = {"X-RateLimit-Limit": "300", "X-RateLimit-Remaining": "299"}
        return web.json_response(page[::-1], headers=headers)

    async def _context(self, request: web.Request) -> web.StreamResponse:
        found, at = [], self._statuses.get(request.match_info["id"])
        if at is None:
            return web.json_response({"error": "Record not found"}, status=404)
        while at is not None and (parent := at.get("in_reply_to_id")) is not None:
            at = self._statuses.get(parent)
            if at is not None:
                found.append(at)
        return web.json_response({"ancestors": found[::-1], "descendants": []})
