"""Visitors of the web chat: pages as page.html is one, over real websockets.

What a visitor says is kept with its id and time until it is acknowledged; one message is under way
at a time; after a cut the session goes on at whichever gateway answers next. Of replies only those
with a greater number than any before are shown.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import aiohttp

REPLACED = 4001
ENDED = 4002
_FIRST_WAIT = 0.05
_LONGEST_WAIT = 1.0


@dataclass(slots=True)
class Said:
    """What a visitor says.

    Attributes:
        id: made by the page.
        text: as typed.
        at: ms since 1970 by the gateway's clock; 0 until it is first sent.
        state: `waiting`, `sent` or `refused`.
    """

    id: str
    text: str
    at: int = 0
    state: str = "waiting"


@dataclass(frozen=True, slots=True)
class Heard:
    """A reply as it was shown."""

    number: int
    text: str
    name: str


class Visitor:
    """One page with its session.

    Args:
        client: opens the connections.
        gateways: addresses of gateways, such as http://127.0.0.1:8080; tried in turn.
        base: the chat's public address, which every page comes from.
        channel: the chat.
        rng: makes ids and the jitter of coming back.
        now_ms: the page's clock.
        address: under which it is counted, where the gateways believe a proxy; None for its own.
    """

    def __init__(
        self,
        client: aiohttp.ClientSession,
        gateways: Sequence[str],
        base: str,
        channel: str,
        rng: Random,
        now_ms: Callable[[], int],
        *,
        address: str | None = None,
    ) -> None:
        self._client = client
        self._gateways = list(gateways)
        self._base = base
        self._channel = channel
        self._rng = rng
        self._now_ms = now_ms
        self._address = address
        self._token = ""
        self._skew = 0
        self._last = 0
        self._seen = -1
        self._again: set[asyncio.Task[None]] = set()
        self._turn = rng.randrange(len(self._gateways))
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._changed = asyncio.Condition()
        self.said: list[Said] = []
        self.heard: list[Heard] = []
        self.sessions: list[str] = []
        self.resumed = 0

    @property
    def conversation_id(self) -> str:
        """Of the session that goes on now; raises IndexError before there is one."""
        return f"chat:{self._channel}:{self.sessions[-1]}"

    @property
    def gateway(self) -> str:
        """Address of the gateway that it is connected to, or tries next."""
        return self._gateways[self._turn % len(self._gateways)]

    async def say(self, text: str) -> Said:
        """Type something; it is sent when what was typed before is durable."""
        said = Said(f"{self._rng.getrandbits(128):032x}", text)
        self.said.append(said)
        if [each for each in self.said if each.state == "waiting"] == [said]:
            await self._push()
        return said

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is asked after whatever happens to the page."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def cut(self) -> None:
        """Lose the connection, as a page without a network does; the next gateway is tried."""
        if self._socket is not None:
            await self._socket.close()

    async def run(self) -> None:
        """Be there until cancelled, or until the session goes on in another window."""
        wait = _FIRST_WAIT
        while True:
            before = len(self.sessions) + self.resumed
            code = None
            with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
                code = await self._connected()
            self._socket = None
            if code == REPLACED:
                return
            if code == ENDED:
                self._token, self._seen = "", -1
            if len(self.sessions) + self.resumed > before:
                wait = _FIRST_WAIT
            self._turn += 1
            await asyncio.sleep(wait * (1 + self._rng.random() / 4))
            wait = min(wait * 2, _LONGEST_WAIT)

    # ------------------------------------------------------------------ one connection

    async def _connected(self) -> int | None:
        headers = {"Origin": self._base}
        if self._address is not None:
            headers["X-Forwarded-For"] = self._address
        url = f"{self.gateway}/chat/{self._channel}/socket"
        quick = aiohttp.ClientWSTimeout(ws_close=0.5)
        async with self._client.ws_connect(url, headers=headers, timeout=quick) as socket:
            resume = {"resume": {"token": self._token, "seen": self._seen}}
            await socket.send_json(resume if self._token else {"hello": {}})
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                await self._take(socket, json.loads(message.data))
                async with self._changed:
                    self._changed.notify_all()
            return socket.close_code

    async def _take(self, socket: aiohttp.ClientWebSocketResponse, told: dict[str, Any]) -> None:
        if "welcome" in told:
            welcome = told["welcome"]
            self._skew = welcome["now"] - self._now_ms()
            if self._token != welcome["token"]:
                self._token = welcome["token"]
                self.sessions.append(self._token.partition(".")[0])
            else:
                self.resumed += 1
            self._socket = socket
            await self._push()
        elif "ack" in told:
            await self._settle(told["ack"], "sent")
        elif "refused" in told:
            await self._settle(told["refused"]["id"], "refused")
        elif "wait" in told:
            again = asyncio.create_task(self._push_after(told["wait"]["seconds"]))
            self._again.add(again)
            again.add_done_callback(self._again.discard)
        elif "reply" in told:
            reply = told["reply"]
            if reply["n"] > self._seen:
                self._seen = reply["n"]
                self.heard.append(Heard(reply["n"], reply["text"], reply["name"]))
                await socket.send_json({"seen": reply["n"]})

    async def _settle(self, identity: str, state: str) -> None:
        for each in self.said:
            if each.id == identity and each.state == "waiting":
                each.state = state
                await self._push()
                return

    async def _push_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._push()

    async def _push(self) -> None:
        """Send the first message that is not durable."""
        due = next((each for each in self.said if each.state == "waiting"), None)
        socket = self._socket
        if due is None or socket is None or socket.closed:
            return
        if not due.at:
            due.at = self._last = max(self._last + 1, self._now_ms() + self._skew)
        with contextlib.suppress(ConnectionError):
            await socket.send_json({"say": {"id": due.id, "at": due.at, "text": due.text}})
