"""The web chat behind the gateway: its page, its websocket, and the way of a reply.

    GET /chat/<channel>           the page to embed
    GET /chat/<channel>/socket    websocket; the words are those of klingel_networks.chat.frames

A message of a customer is durable before the page is told so; until then the page keeps it and says
it again, the same. A reply is durable as an outbound event before it is shown, and stays here for as
long as its session can be resumed: the page says which it has.
"""

import asyncio
import base64
import contextlib
import hashlib
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import msgspec
import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from klingel.clock import Clock
from klingel.errors import InvalidMessage, RetryableError
from klingel.metrics import Metric, Metrics
from klingel.stage.guard import BrakePulled
from klingel_connectors.chat_sessions import (
    Addresses,
    Replies,
    Told,
    address_of,
    believed,
    session_id,
    session_of,
    token_of,
)
from klingel_connectors.chat_settings import ChatSettings
from klingel_connectors.intake import Intake
from klingel_connectors.publisher import Publisher
from klingel_connectors.raw import TurnedAway
from klingel_connectors.submissions import Allowance
from klingel_networks.chat.frames import FRAME_BYTES, Say, check_said, read_frame
from klingel_networks.chat.sessions import is_open
from klingel_networks.contract import Delivery

REPLACED = 4001
"""Close code: the session goes on in another connection."""
ENDED = 4002
"""Close code: the session's time is over, or the token is none of ours."""
_AGAIN_SECONDS = 3
_CLOSE_SECONDS = 2.0
_MOST_REFUSALS = 50
_MOST_KNOWN = 2_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INLINE = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


def page() -> bytes:
    """Return the page: one file, whole."""
    return (files("klingel_networks.chat") / "page.html").read_bytes()


def policy(content: bytes, origins: tuple[str, ...]) -> str:
    """Return the Content-Security-Policy of the page: its own script and style, nothing else."""
    allowed: dict[bytes, list[str]] = {b"script": [], b"style": []}
    for kind, inline in _INLINE.findall(content):
        digest = base64.b64encode(hashlib.sha256(inline).digest()).decode()
        allowed[kind].append(f"'sha256-{digest}'")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(allowed[b'script'])}",
            f"style-src {' '.join(allowed[b'style'])}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            f"frame-ancestors {' '.join(origins)}",
        )
    )


class _Line:
    """One connection that belongs to a session."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        channel: str,
        session: str,
        settings: ChatSettings,
        *,
        resumed: bool,
    ) -> None:
        self.socket = socket
        self.channel = channel
        self.session = session
        self.resumed = resumed
        self.news = asyncio.Event()
        self.allowance = Allowance(settings.say_rate, settings.say_burst)
        self.frames = Allowance(settings.frame_rate, settings.frame_burst)
        self.acknowledged: set[str] = set()
        self.refusals = 0
        self.left: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def leave(self, code: int) -> None:
        """Ask for the end of the connection, with this close code."""
        if not self.left.done():
            self.left.set_result(code)


class NotTakenError(Exception):
    """A message could not be made durable now."""


class Chat:
    """Serves the chats; owns no socket of its own.

    Args:
        settings: whose chats, and within what bounds.
        intakes: by channel.
        publisher: shared with the gateway.
        metrics: counts.
        clock: time.
        random: returns that many bytes that nobody can guess.
    """

    def __init__(
        self,
        settings: ChatSettings,
        intakes: Mapping[str, Intake],
        publisher: Publisher,
        metrics: Metrics,
        clock: Clock,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._settings = settings
        self._intakes = intakes
        self._publisher = publisher
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._replies = Replies(settings.hours)
        self._lines: dict[str, _Line] = {}
        self._open = 0
        self._of_address: dict[str, int] = {}
        self._addresses = Addresses(settings.session_rate, settings.session_burst)
        self._page = page()
        self._headers = {
            "Content-Security-Policy": policy(self._page, settings.origins),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }
        self._log = structlog.get_logger()
        self.broken = ""

    def routes(self) -> list[web.RouteDef]:
        """Build the routes."""
        return [
            web.get("/chat/{channel}", self._get_page),
            web.get("/chat/{channel}/socket", self._get_socket),
        ]

    async def close(self, _app: web.Application | None = None) -> None:
        """End every connection; pages come back by themselves."""
        for line in list(self._lines.values()):
            line.leave(WSCloseCode.GOING_AWAY)

    @property
    def channels(self) -> Collection[str]:
        """Chats that are served here."""
        return self._intakes.keys()

    def deliver(self, session: str, told: Told) -> None:
        """Show a reply whose event is durable, now or when its session is resumed."""
        dropped = self._replies.add(session, told, self._clock.now())
        if dropped:
            self._metrics.count(Metric.REFUSED, dropped, reason="chat_session_over")
        line = self._lines.get(session)
        if line is not None:
            line.news.set()

    def measure(self) -> None:
        """Say how many are here, and how many replies nobody has seen."""
        told = sum(self._replies.unseen_of(session) for session in self._lines)
        self._metrics.set(Metric.CHAT_SESSIONS, len(self._lines))
        self._metrics.set(Metric.CHAT_REPLIES, told, state="told")
        self._metrics.set(Metric.CHAT_REPLIES, self._replies.unseen - told, state="kept")

    # --- page and socket -----------------------------------------------------------------------

    async def _get_page(self, request: web.Request) -> web.Response:
        if request.match_info["channel"] not in self._intakes:
            raise web.HTTPNotFound
        return web.Response(body=self._page, content_type="text/html", headers=self._headers)

    async def _get_socket(self, request: web.Request) -> web.StreamResponse:
        channel = request.match_info["channel"]
        if channel not in self._intakes:
            raise web.HTTPNotFound
        origin = request.headers.get("Origin", "").lower()
        if origin != self._settings.base:
            self._refuse("chat_origin")
            raise web.HTTPForbidden
        address = address_of(
            request.remote,
            ",".join(request.headers.getall("X-Forwarded-For", [])),
            self._settings.proxies,
        )
        here = self._of_address.get(address, 0)
        if self._open >= self._settings.most_open or here >= self._settings.most_of_address:
            self._refuse("chat_full")
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "5"})
        socket = web.WebSocketResponse(
            timeout=_CLOSE_SECONDS,
            heartbeat=self._settings.heartbeat_seconds,
            max_msg_size=FRAME_BYTES,
            compress=False,
        )
        self._open += 1
        self._of_address[address] = here + 1
        try:
            await socket.prepare(request)
            await self._serve(socket, channel, address)
        finally:
            self._open -= 1
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]
        return socket

    async def _serve(self, socket: web.WebSocketResponse, channel: str, address: str) -> None:
        try:
            async with asyncio.timeout(self._settings.hello_seconds):
                found = await self._welcomed(socket, channel, address)
        except TimeoutError:
            await self._end(socket, WSCloseCode.POLICY_VIOLATION, "chat_silent")
            return
        if found is None:
            return
        line, seen = found
        before = self._lines.get(line.session)
        self._lines[line.session] = line
        self._shown(line.session, seen)
        if before is not None:
            before.leave(REPLACED)
        outcome = "replaced" if before is not None else "resumed" if line.resumed else "new"
        self._metrics.count(Metric.CHAT_CONNECTIONS, outcome=outcome)
        telling = asyncio.create_task(self._tell(line, seen))
        try:
            await self._until_left(line)
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await telling
            if self._lines.get(line.session) is line:
                del self._lines[line.session]

    async def _welcomed(
        self, socket: web.WebSocketResponse, channel: str, address: str
    ) -> tuple[_Line, int] | None:
        """Take the first frame: a new session, or one that goes on."""
        message = await socket.receive()
        if message.type is not WSMsgType.TEXT:
            await self._end(socket, _code_of(message.type), "chat_frame")
            return None
        try:
            frame = read_frame(message.data.encode())
        except (InvalidMessage, UnicodeEncodeError):
            await self._end(socket, WSCloseCode.POLICY_VIOLATION, "chat_frame")
            return None
        now = self._clock.now()
        seen = -1
        if frame.resume is not None:
            token = frame.resume.token
            session = session_of(self._settings.key, channel, token, now, self._settings.hours)
            if session is None:
                await self._end(socket, ENDED, "chat_session")
                return None
            seen = frame.resume.seen
        elif frame.hello is not None:
            if self._addresses.take(address, self._clock.monotonic()):
                await self._end(socket, WSCloseCode.TRY_AGAIN_LATER, "chat_rate")
                return None
            session = session_id(now, self._random(16))
        else:
            await self._end(socket, WSCloseCode.POLICY_VIOLATION, "chat_frame")
            return None
        resumed = frame.resume is not None
        line = _Line(socket, channel, session, self._settings, resumed=resumed)
        await _send(
            socket,
            welcome={
                "token": token_of(self._settings.key, channel, session),
                "now": _ms(now),
                "resumed": resumed,
            },
        )
        return line, seen

    async def _until_left(self, line: _Line) -> None:
        """Listen until the page leaves, or somebody wants the connection to end.

        Only who listens may close: another task's close would wait for an answer that the listener
        takes away.
        """
        listening = asyncio.create_task(self._listen(line))
        try:
            ends: list[asyncio.Future[Any]] = [listening, line.left]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await listening
        if line.left.done():
            await line.socket.close(code=line.left.result(), drain=False)

    # --- what the page says ----------------------------------------------------------------------

    async def _listen(self, line: _Line) -> None:
        socket = line.socket
        async for message in socket:
            if line.frames.take(self._clock.monotonic()):
                await self._end(socket, WSCloseCode.POLICY_VIOLATION, "chat_rate")
                return
            if message.type is not WSMsgType.TEXT:
                await self._end(socket, _code_of(message.type), "chat_frame")
                return
            try:
                native = message.data.encode()
                frame = read_frame(native)
            except (InvalidMessage, UnicodeEncodeError):
                await self._end(socket, WSCloseCode.POLICY_VIOLATION, "chat_frame")
                return
            if frame.seen is not None:
                self._shown(line.session, frame.seen)
            if frame.say is not None:
                await self._say(line, native, frame.say)
            if line.refusals > _MOST_REFUSALS:
                await self._end(socket, WSCloseCode.POLICY_VIOLATION, "chat_rate")
                return

    async def _say(self, line: _Line, native: bytes, said: Say) -> None:
        """Make a message durable, then tell the page; repeat the answer to one that is known."""
        if said.id in line.acknowledged:
            await _send(line.socket, ack=said.id)
            return
        now = self._clock.now()
        if not is_open(line.session, now, self._settings.hours):
            await self._end(line.socket, ENDED, "chat_session")
            return
        wait = line.allowance.take(self._clock.monotonic())
        if wait:
            line.refusals += 1
            self._refuse("chat_rate")
            await _send(line.socket, wait={"id": said.id, "seconds": max(1, round(wait + 0.5))})
            return
        try:
            check_said(said)
            context = {"channel": line.channel, "session": line.session}
            if not believed(said.at, line.session, now):
                context["at"] = str(_ms(now))
            await self._stored(line.channel, Delivery(native, context), now)
        except InvalidMessage as error:
            line.refusals += 1
            self._refuse(str(error.error_type))
            await _send(line.socket, refused={"id": said.id, "why": str(error.error_type)})
        except NotTakenError:
            await _send(line.socket, wait={"id": said.id, "seconds": _AGAIN_SECONDS})
        else:
            if len(line.acknowledged) >= _MOST_KNOWN:
                line.acknowledged.clear()  # an older one, said again, is stored again: the same
            line.acknowledged.add(said.id)
            await _send(line.socket, ack=said.id)

    async def _stored(self, channel: str, delivery: Delivery, now: datetime) -> None:
        """Return once the message is acknowledged by Kafka (I1).

        Raises:
            InvalidMessage: it can never be stored; nothing was.
            NotTakenError: not now.
        """
        if self._publisher.waiting_for(self._settings.wait_seconds):
            raise NotTakenError
        try:
            async with asyncio.timeout(self._settings.wait_seconds):
                await self.stored(channel, delivery, now)
        except BrakePulled as error:
            self.broken = str(error)
            raise NotTakenError from None
        except (TimeoutError, RetryableError):
            raise NotTakenError from None

    async def stored(
        self, channel: str | None, delivery: Delivery, now: datetime, *, letters: bool = False
    ) -> None:
        """Publish what is said in a chat and wait for the acknowledgement.

        Args:
            channel: whose intake; None for any, of what names none.
            delivery: one frame, or one record of `chat-outbox`.
            now: aware UTC.
            letters: keep what is no valid object as a dead letter; there is nobody to tell.

        Raises:
            InvalidMessage: it is no valid object, or can never be stored.
            BrakePulled, RetryableError: as Intake.
        """
        intake = self._intakes[channel or next(iter(self._intakes))]
        results = intake.read(delivery, "live", now)
        for result in results:
            if isinstance(result, TurnedAway) and not letters:
                if isinstance(result.error, InvalidMessage):
                    raise result.error
                raise NotTakenError
        for record in await intake.records(results):
            waiting: asyncio.Future[InvalidMessage | None] = (
                asyncio.get_running_loop().create_future()
            )

            def done(
                error: InvalidMessage | None,
                waiting: "asyncio.Future[InvalidMessage | None]" = waiting,
            ) -> None:
                if not waiting.done():
                    waiting.set_result(error)

            await self._publisher.publish(record.output, done)
            error = await waiting
            intake.settled(record, error)
            if error is not None:
                raise error

    # --- what the page is told ---------------------------------------------------------------------

    async def _tell(self, line: _Line, seen: int) -> None:
        """Send what the page has not, in order, as it comes."""
        while True:
            line.news.clear()
            for told in self._replies.after(line.session, seen):
                said = {"n": told.number, "at": told.at_ms, "text": told.text, "name": told.name}
                await _send(line.socket, reply=said)
                seen = told.number
            await line.news.wait()

    def _shown(self, session: str, number: int) -> None:
        news = self._replies.shown(session, number)
        if news:
            self._metrics.count(Metric.CHAT_SHOWN, news)

    async def _end(self, socket: web.WebSocketResponse, code: int, reason: str) -> None:
        self._refuse(reason)
        await socket.close(code=code)

    def _refuse(self, reason: str) -> None:
        self._metrics.count(Metric.REFUSED, reason=reason)


def _code_of(kind: WSMsgType) -> int:
    """Return the close code for what is no frame of ours."""
    if kind is WSMsgType.BINARY:
        return WSCloseCode.UNSUPPORTED_DATA
    return WSCloseCode.POLICY_VIOLATION


async def _send(socket: web.WebSocketResponse, **said: object) -> None:
    """Send a frame; a connection that is gone is noticed by whoever listens to it."""
    with contextlib.suppress(ConnectionError, RuntimeError):
        await socket.send_str(msgspec.json.encode(said).decode())


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
