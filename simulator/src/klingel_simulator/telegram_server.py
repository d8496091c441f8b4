"""The Bot API for one bot: updates that are forgotten once they are confirmed. Shell.

https://core.telegram.org/bots/api#getting-updates. It misbehaves on command.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Final, Self

from aiohttp import web

_MOST: Final = 100


@dataclass(slots=True)
class Misbehaviour:
    """What goes wrong from now on.

    Attributes:
        revoked: the token is no longer known.
        refuse_calls: so many calls are answered with 429.
        retry_after: what such an answer says; None for nothing.
        taken: somebody else polls.
        broken: answers 502 with a page.
        half: answers end in their middle.
    """

    revoked: bool = False
    refuse_calls: int = 0
    retry_after: int | None = 3
    taken: bool = False
    broken: bool = False
    half: bool = False


@dataclass
class TelegramServer:
    """One bot, kept in memory.

    Attributes:
        token: of the bot.
        wrong: what goes wrong.
        webhook: address that is set; polling is refused while there is one.
        asked: offsets that were asked for, in order.
    """

    token: str = "42:canary-9d1e"  # noqa: S105 - of a stand-in
    wrong: Misbehaviour = field(default_factory=Misbehaviour)
    webhook: str = ""
    asked: list[int | None] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        """Begin with nothing said."""
        self._updates: list[dict[str, Any]] = []
        self._next = 1000
        self._news = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def tell(self, **update: Any) -> int:
        """Let something happen; returns the update's number."""
        async with self._news:
            number, self._next = self._next, self._next + 1
            self._updates.append({"update_id": number, **update})
            self._news.notify_all()
        return number

    def drop(self, count: int) -> None:
        """Forget the oldest updates, as after 24 hours."""
        del self._updates[:count]

    @property
    def waiting(self) -> list[int]:
        """Numbers of the updates that are not confirmed."""
        return [update["update_id"] for update in self._updates]

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/bot{token}/{method}", self._called)
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
        if self._runner is not None:
            await self._runner.cleanup()

    async def _called(self, request: web.Request) -> web.StreamResponse:
        trouble = self._trouble(request.match_info["token"])
        if trouble is not None:
            return trouble
        parameters = dict(await request.post())
        method = request.match_info["method"]
        if method == "getUpdates":
            return await self._polled(parameters)
        if method == "getFile":
            wanted = str(parameters.get("file_id"))
            if wanted == "gone":
                return _refused(400, "Bad Request: wrong file_id")
            return _answer({"file_path": f"photos/{wanted}.jpg"})
        me = {"id": 42, "is_bot": True, "can_read_all_group_messages": True}
        info = {"url": self.webhook, "pending_update_count": len(self._updates)}
        return _answer({"getMe": me, "getWebhookInfo": info}[method])

    def _trouble(self, token: str) -> web.Response | None:
        wrong = self.wrong
        if wrong.broken:
            return web.Response(status=502, text="<html>Bad Gateway</html>")
        if wrong.revoked or token != self.token:
            return _refused(401, "Unauthorized")
        if wrong.refuse_calls:
            wrong.refuse_calls -= 1
            more = {} if wrong.retry_after is None else {"retry_after": wrong.retry_after}
            return _refused(429, "Too Many Requests", **more)
        return None

    async def _polled(self, parameters: dict[str, Any]) -> web.StreamResponse:
        if self.webhook:
            return _refused(409, "Conflict: can't use getUpdates method while webhook is active")
        if self.wrong.taken:
            return _refused(409, "Conflict: terminated by other getUpdates request")
        offset = int(parameters["offset"]) if "offset" in parameters else None
        self.asked.append(offset)
        if offset is not None:
            self._updates = [each for each in self._updates if each["update_id"] >= offset]
        try:
            async with asyncio.timeout(float(parameters.get("timeout", 0))), self._news:
                await self._news.wait_for(lambda: self._updates)
        except TimeoutError:
            return _answer([])
        answer = _answer(self._updates[:_MOST])
        if self.wrong.half:
            self.wrong.half = False
            body = answer.body
            assert isinstance(body, bytes)
            return web.Response(body=body[: len(body) // 2], content_type="application/json")
        return answer


def _answer(result: Any) -> web.Response:
    text = json.dumps({"ok": True, "result": result}, ensure_ascii=False)
    return web.Response(text=text, content_type="application/json")


def _refused(status: int, description: str, **parameters: Any) -> web.Response:
    told = {"ok": False, "error_code": status, "description": description}
    if parameters:
        told["parameters"] = parameters
    return web.json_response(told, status=status)
