"""The host of one Bluesky account: sessions, notifications, direct messages. Shell.

Speaks what the lexicons `com.atproto.server`, `app.bsky.notification` and `chat.bsky.convo` publish:
XRPC over HTTP, errors by name, `RateLimit` headers, messages behind the `atproto-proxy` header. It
misbehaves on command.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from aiohttp import web

CHAT_SERVICE: Final = "did:web:api.bsky.chat#bsky_chat"
_PAGE_MOST: Final = 100
_LOG_PAGE: Final = 50
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Misbehaviour:
    """What goes wrong from now on.

    Attributes:
        expired: access tokens given so far are no longer good; renewals are.
        renewal_refused: renewals are not good either.
        revoked: the app password is not known, nor any token made from it.
        no_messages: the app password does not allow direct messages.
        refuse_calls: so many calls are answered with 429.
        with_reset: whether such an answer says when to come back.
        broken: calls are answered with 503.
        stalls: calls are not answered at all.
        half_closed: so many answers end in their middle.
        forgotten: the log knows no cursor before this one.
    """

    expired: bool = False
    renewal_refused: bool = False
    revoked: bool = False
    no_messages: bool = False
    refuse_calls: int = 0
    with_reset: bool = True
    broken: bool = False
    stalls: bool = False
    half_closed: int = 0
    forgotten: str = ""


@dataclass
class BlueskyHost:
    """One account, kept in memory.

    Attributes:
        did: of the account.
        password: its app password.
        wrong: what goes wrong.
        calls: methods that were asked for, in order.
        now: tells the time.
    """

    did: str = "did:plc:" + "n" * 24
    password: str = "canary-app-pass"  # noqa: S105 - of a stand-in
    wrong: Misbehaviour = field(default_factory=Misbehaviour)
    calls: list[str] = field(default_factory=list)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    url: str = ""

    def __post_init__(self) -> None:
        """Begin with nothing said."""
        self._notifications: list[dict[str, Any]] = []
        self._log: list[dict[str, Any]] = []
        self._convos: dict[str, list[dict[str, Any]]] = {}
        self._members: dict[str, list[dict[str, Any]]] = {}
        self._generation = 0
        self._revs = 0
        self._runner: web.AppRunner | None = None
        self._release = asyncio.Event()

    # ------------------------------------------------------------------ what happens there

    def notify(self, notification: dict[str, Any]) -> None:
        """Tell the account something; the newest stands first."""
        self._notifications.insert(0, notification)
        self._notifications.sort(key=lambda each: str(each["indexedAt"]), reverse=True)

    def say(self, convo: str, sender: str, text: str, at: datetime) -> dict[str, Any]:
        """Put a message into a conversation; return its view."""
        rev = self._next_rev()
        message = {
            "$type": "chat.bsky.convo.defs#messageView",
            "id": f"m{rev}",
            "rev": rev,
            "text": text,
            "sender": {"did": sender},
            "sentAt": _time(at),
        }
        self._convos.setdefault(convo, []).append(message)
        if sender != self.did or convo not in self._members:
            self._members[convo] = [
                {"did": self.did, "handle": "nordlicht.example"},
                {"did": sender, "handle": "erika.example", "displayName": "Erika"},
            ]
        self._write("CreateMessage", convo, rev, message=message)
        return message

    def delete(self, convo: str, message: dict[str, Any]) -> None:
        """Take a message back."""
        rev = self._next_rev()
        gone = {key: message[key] for key in ("id", "sender", "sentAt")}
        gone |= {"$type": "chat.bsky.convo.defs#deletedMessageView", "rev": rev}
        kept = self._convos[convo]
        kept[:] = [gone if each["id"] == message["id"] else each for each in kept]
        self._write("DeleteMessage", convo, rev, message=gone)

    def react(self, convo: str, message: dict[str, Any], emoji: str, at: datetime) -> None:
        """Put an emoji on a message, as its sender."""
        reaction = {"value": emoji, "sender": message["sender"], "createdAt": _time(at)}
        self._write("AddReaction", convo, self._next_rev(), message=message, reaction=reaction)

    def _next_rev(self) -> str:
        self._revs += 1
        return f"2222{self._revs:09d}"

    def _write(self, shape: str, convo: str, rev: str, **more: Any) -> None:
        kind = f"chat.bsky.convo.defs#log{shape}"
        profiles = self._members.get(convo, [])
        self._log.append(
            {"$type": kind, "rev": rev, "convoId": convo, **more, "relatedProfiles": profiles}
        )

    # ------------------------------------------------------------------ the interface

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        app = web.Application(middlewares=[self._guarded])
        app.router.add_post("/xrpc/com.atproto.server.createSession", self._create)
        app.router.add_post("/xrpc/com.atproto.server.refreshSession", self._refresh)
        for name, handler in (
            ("app.bsky.notification.listNotifications", self._list_notifications),
            ("chat.bsky.convo.getLog", self._get_log),
            ("chat.bsky.convo.listConvos", self._list_convos),
            ("chat.bsky.convo.getConvo", self._get_convo),
            ("chat.bsky.convo.getMessages", self._get_messages),
        ):
            app.router.add_get(f"/xrpc/{name}", handler)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answer who still waits, and stop listening."""
        self._release.set()
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        method = request.path.rpartition("/")[2]
        self.calls.append(method)
        wrong = self.wrong
        if wrong.stalls:
            await self._release.wait()
        if wrong.broken:
            return web.Response(status=503)
        if wrong.refuse_calls:
            wrong.refuse_calls -= 1
            reset = int(self.now().timestamp()) + 30
            headers = {"RateLimit-Reset": str(reset)} if wrong.with_reset else {}
            return web.json_response({"error": "RateLimitExceeded"}, status=429, headers=headers)
        if not method.startswith("com.atproto.server."):
            refused = self._refused(request, method)
            if refused is not None:
                return refused
        answer = await handler(request)
        if wrong.half_closed and isinstance(answer, web.Response):
            wrong.half_closed -= 1
            return await self._half(request, answer)
        return answer

    async def _half(self, request: web.Request, answer: web.Response) -> web.StreamResponse:
        """Send half of an answer and close the connection."""
        body = answer.body
        assert isinstance(body, bytes)
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    def _refused(self, request: web.Request, method: str) -> web.Response | None:
        wrong = self.wrong
        given = request.headers.get("Authorization", "")
        if wrong.expired or wrong.revoked:
            self._generation += 1
            wrong.expired = False
        if not given.startswith("Bearer access-"):
            return _error(401, "AuthMissing")
        if given != f"Bearer access-{self._generation}":
            return _error(400, "ExpiredToken")
        if method.startswith("chat."):
            if request.headers.get("atproto-proxy") != CHAT_SERVICE:
                return _error(501, "MethodNotImplemented")
            if wrong.no_messages:
                return _error(401, "InvalidToken")
        return None

    async def _create(self, request: web.Request) -> web.StreamResponse:
        given = await request.json()
        if self.wrong.revoked or given.get("password") != self.password:
            return _error(401, "AuthenticationRequired")
        return self._session()

    async def _refresh(self, request: web.Request) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        refused = self.wrong.renewal_refused or self.wrong.revoked
        if refused or not given.startswith("Bearer renewal-"):
            return _error(400, "ExpiredToken")
        return self._session()

    def _session(self) -> web.Response:
        hosting = {
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": self.url,
        }
        return web.json_response(
            {
                "did": self.did,
                "handle": "nordlicht.example",
                "accessJwt": f"access-{self._generation}",
                "refreshJwt": f"renewal-{self._generation}",
                "didDoc": {"id": self.did, "service": [hosting]},
                "active": True,
            }
        )

    async def _list_notifications(self, request: web.Request) -> web.StreamResponse:
        reasons = request.query.getall("reasons", [])
        kept = [each for each in self._notifications if not reasons or each["reason"] in reasons]
        limit = min(int(request.query.get("limit", "50")), _PAGE_MOST)
        start = int(request.query.get("cursor", "0"))
        told: dict[str, Any] = {"notifications": kept[start : start + limit]}
        if start + limit < len(kept):
            told["cursor"] = str(start + limit)
        left = {"RateLimit-Limit": "3000", "RateLimit-Remaining": "2999"}
        return web.json_response(told, headers=left)

    async def _get_log(self, request: web.Request) -> web.StreamResponse:
        cursor = request.query.get("cursor")
        if cursor is None:
            return web.json_response({"logs": [], "cursor": f"2222{self._revs:09d}"})
        if cursor < self.wrong.forgotten:
            return _error(400, "InvalidRequest")
        behind = [each for each in self._log if each["rev"] > cursor][:_LOG_PAGE]
        end = behind[-1]["rev"] if behind else cursor
        return web.json_response({"logs": behind, "cursor": end})

    async def _list_convos(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"convos": [self._view(each) for each in self._convos]})

    async def _get_convo(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"convo": self._view(request.query["convoId"])})

    def _view(self, convo: str) -> dict[str, Any]:
        return {
            "id": convo,
            "rev": "2222000000000",
            "members": self._members.get(convo, []),
            "muted": False,
            "unreadCount": 0,
        }

    async def _get_messages(self, request: web.Request) -> web.StreamResponse:
        limit = min(int(request.query.get("limit", "50")), _PAGE_MOST)
        said = self._convos.get(request.query["convoId"], [])
        return web.json_response({"messages": said[::-1][:limit]})


def _error(status: int, name: str) -> web.Response:
    return web.json_response({"error": name, "message": "as the protocol words it"}, status=status)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def notification_of(
    number: int, at: datetime, *, reason: str = "mention", text: str = "Hallo"
) -> dict[str, Any]:
    """Return a notification of a post that names the account."""
    author = "did:plc:" + "e" * 24
    return {
        "uri": f"at://{author}/app.bsky.feed.post/3k{number:011d}",
        "cid": "bafyreib",
        "author": {"did": author, "handle": "erika.example", "displayName": "Erika"},
        "reason": reason,
        "record": {
            "$type": "app.bsky.feed.post",
            "text": f"{text} {number}",
            "createdAt": _time(at - timedelta(seconds=1)),
        },
        "isRead": False,
        "indexedAt": _time(at),
    }
