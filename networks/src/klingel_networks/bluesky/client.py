"""Reads Jetstream, Bluesky's public stream, over a websocket; both of its wires.

Source: bluesky-social/jetstream, `docs/README.md` section 5 and the lexicons
`network.bsky.jetstream.subscribeEvents` and `getZstdDictionary`.

- An address that ends in `/subscribe` speaks the first wire (cursor: epoch microseconds), a bare host
  the second (`subscribeEvents`: cursor by sequence, loud errors).
- A cursor is inclusive: the last event is heard again after a reconnect, and we step back a little
  further. Doubles are the platform's daily bread.
- A cursor below the server's floor is refused with `CursorTooOld`. What lies between is gone for this
  channel: a gap is told, and reading goes on from the oldest event that is still kept.
- Liveness is judged by any frame of the websocket, pings and pongs included: a quiet stream is not a
  dead one. After half the deadline we ping; after all of it the connection is opened anew.
"""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import msgspec
import zstandard
from pydantic import SecretStr
from yarl import URL

from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    RateLimited,
    RetryableError,
    SourceUnavailable,
)
from klingel_networks.arrival import (
    Arrival,
    Finding,
    Gap,
    GapClosed,
    GapOutcome,
    Options,
    Report,
    Tools,
)
from klingel_networks.bluesky.account import BlueskyAccount
from klingel_networks.bluesky.session import AccountOptions
from klingel_networks.contract import Delivery
from klingel_networks.examining import clock_finding

JETSTREAM = "wss://jetstream.us-west.bsky.network"
_SECOND_WIRE = "/xrpc/network.bsky.jetstream.subscribeEvents"
SUBPROTOCOL = "xrpc.v1.json"
COLLECTIONS = ("app.bsky.feed.post", "app.bsky.feed.repost")
FRAME_BYTES = 8 << 20
"""Records are below 1 MiB; what is far larger is not of this protocol."""

LIVE = 0
"""No cursor: only what happens from now on."""

_DICTIONARY = "/xrpc/network.bsky.jetstream.getZstdDictionary"
_TIME_CURSOR = 1_000_000_000_000_000
_OK = 200
_TOO_MANY = 429
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONTROL = (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG)


@dataclass(frozen=True, slots=True)
class BlueskyOptions:
    """What to hear, and how long to wait for it.

    Attributes:
        url: address of the stream, or of its host alone.
        collections: record collections; identity and account events come always.
        overlap_events: how far before the last event to resume (second wire).
        overlap_seconds: the same in time (first wire, and another host).
        deadline_seconds: without any frame for so long the connection is dead.
        compress: ask for the server's zstd dictionary (second wire).
    """

    url: str = JETSTREAM
    collections: tuple[str, ...] = COLLECTIONS
    overlap_events: int = 20
    overlap_seconds: float = 5.0
    deadline_seconds: float = 30.0
    compress: bool = False

    @property
    def address(self) -> URL:
        """The address to subscribe at: a bare host speaks the second wire."""
        url = URL(self.url)
        return url.with_path(_SECOND_WIRE) if url.path in {"", "/"} else url

    @property
    def first_wire(self) -> bool:
        """Whether the address speaks the frozen first wire."""
        return self.address.path.endswith("/subscribe")


@dataclass(frozen=True, slots=True)
class Position:
    """Where we are: the host's sequence (0 on the first wire) and the time, epoch microseconds."""

    host: str
    seq: int
    time_us: int

    def encode(self) -> str:
        """Return the cursor."""
        return f"{self.host}|{self.seq}|{self.time_us}"

    @classmethod
    def decode(cls, cursor: str) -> "Position":
        """Read a cursor; raises ConfigurationError, since only we wrote it."""
        try:
            host, seq, time_us = cursor.split("|")
            return cls(host, int(seq), int(time_us))
        except ValueError:
            raise ConfigurationError("the stored cursor is not one of Jetstream") from None


class _Message(msgspec.Struct):
    """The parts of a frame that move the cursor, of both wires; all else is the mapping's."""

    type: str | None = msgspec.field(default=None, name="$type")
    payload: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    error: str | None = None
    time_us: int | None = None


class _Payload(msgspec.Struct):
    type: str = msgspec.field(default="", name="$type")
    seq: int | None = None
    time: str | None = None
    witnessed_at: str | None = msgspec.field(default=None, name="witnessedAt")
    name: str | None = None


@dataclass(slots=True)
class _Hole:
    """Whether this connection lost something, and whether reading is behind it."""

    closed: bool
    gap: Gap | None = None

    def is_passed(self, arrival: Arrival | Gap) -> bool:
        """Whether an arrival is an ordinary one."""
        return isinstance(arrival, Arrival) and (self.closed or self.gap is None)


class _CursorTooOld(Exception):
    """The server no longer keeps what we ask for."""


class _CursorFromElsewhere(Exception):
    """The server has not come as far as our cursor: it is another archive's."""


Missed = Callable[[datetime], AsyncGenerator[Delivery, None]]
"""Yields what names the brand since a time, from elsewhere."""


class BlueskyClient:
    """One subscription; reads until the connection ends, then raises SourceUnavailable.

    Args:
        options: what to hear.
        missed: reads what a gap took, where an account can be asked; it cannot know all of it.
    """

    def __init__(self, options: BlueskyOptions, missed: Missed | None = None) -> None:
        self.source = "jetstream"
        self._missed = missed
        self._options = options
        self._host = URL(options.url).host or ""
        self._port = URL(options.url).port
        self._place = f"{self._host}:{self._port}"
        self._dictionary: tuple[int, zstandard.ZstdDecompressor] | None = None

    async def arrivals(self, cursor: str | None) -> AsyncGenerator[Arrival | Report, None]:
        """Yield frames after the cursor.

        Raises:
            SourceUnavailable: the connection ended, broke or fell silent.
            RateLimited: the server says when to come back.
            ConfigurationError: it refuses what we ask for.
        """
        position = None if cursor is None else Position.decode(cursor)
        timeout = aiohttp.ClientTimeout(total=None, connect=self._options.deadline_seconds)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                if self._options.compress and not self._options.first_wire:
                    await self._fetch_dictionary(session)
                async with aclosing(self._resumed(session, position)) as arrivals:
                    async for arrival in arrivals:
                        yield arrival
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SourceUnavailable(f"Jetstream is away ({type(error).__name__})") from None
        raise SourceUnavailable("Jetstream ended the connection")

    async def _resumed(
        self, session: aiohttp.ClientSession, position: Position | None
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Subscribe at the best cursor that the server still accepts; tell a gap, and its length, once."""
        hole = _Hole(closed=position is None)  # what began just now has lost nothing
        for asked in self._cursors(position):
            try:
                async with aclosing(self._subscribed(session, asked, position)) as arrivals:
                    async for arrival in arrivals:
                        if hole.is_passed(arrival):
                            yield arrival
                            continue
                        async with aclosing(self._at_hole(hole, position, arrival)) as told:
                            async for each in told:
                                yield each
            except _CursorTooOld:
                exact = position is None or asked == position.seq or asked >= _TIME_CURSOR
                if exact and hole.gap is None:
                    gap = Gap(
                        "cursor_too_old",
                        "Jetstream no longer keeps what followed our cursor; "
                        "reading goes on from the oldest event it has",
                    )
                    hole.gap = self._opened(position, gap)
                    yield hole.gap
            except _CursorFromElsewhere:
                continue
            else:
                return
        raise SourceUnavailable("Jetstream accepts none of our cursors")

    async def _at_hole(
        self, hole: _Hole, position: Position | None, arrival: Arrival | Gap
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Tell a gap that has just shown itself, or what fills it before the first event behind it."""
        if isinstance(arrival, Gap):
            if hole.gap is None:
                hole.gap = self._opened(position, arrival)
                yield hole.gap
            return
        hole.closed = True
        if hole.gap is None or position is None:
            yield arrival
        elif not hole.gap.key:
            yield replace(arrival, gap_seconds=_seconds_between(position, arrival))
        else:
            async with aclosing(self._filled(hole.gap, position, arrival)) as filled:
                async for each in filled:
                    yield each
            yield arrival

    def _opened(self, position: Position | None, gap: Gap) -> Gap:
        """Return the gap as it is told: with its beginning, and open where it can be filled."""
        gap = _since(position, gap)
        if self._missed is None or gap.began_at is None or position is None:
            return gap
        return replace(gap, key=f"jetstream {position.encode()}"[:200])

    async def _filled(
        self, gap: Gap, position: Position, behind: Arrival
    ) -> AsyncGenerator[Arrival | Report, None]:
        """Yield what an account was told of meanwhile, then the end of the gap: never all of it."""
        outcome: GapOutcome = "partial"
        if self._missed is not None and gap.began_at is not None:
            try:
                async with aclosing(self._missed(gap.began_at)) as missed:
                    async for delivery in missed:
                        yield Arrival(delivery, position.encode(), mode="gap_fill")
            except (RetryableError, CredentialsRejected):
                # The stream does not wait for an account.
                outcome = "unrecoverable"
        time_us = Position.decode(behind.cursor).time_us
        ended_at = _EPOCH + timedelta(microseconds=time_us) if time_us else None
        yield GapClosed(gap.key, outcome, end=behind.cursor, ended_at=ended_at)

    def _cursors(self, position: Position | None) -> list[int]:
        """Return what to ask for, best first: with overlap, exactly, by time; LIVE asks nothing."""
        if position is None:
            return [LIVE]
        overlap_us = int(self._options.overlap_seconds * 1_000_000)
        by_time = max(_TIME_CURSOR, position.time_us - overlap_us)
        if self._options.first_wire or position.host != self._place or not position.seq:
            return [by_time, LIVE]
        return [max(1, position.seq - self._options.overlap_events), position.seq, by_time, LIVE]

    async def _subscribed(
        self, session: aiohttp.ClientSession, cursor: int, position: Position | None
    ) -> AsyncGenerator[Arrival | Gap, None]:
        ws = await self._connect(session, cursor)
        last = position or Position(self._place, 0, 0)
        try:
            while (body := await self._frame(ws)) is not None:
                found = self._read(body, last)
                if isinstance(found, Position):
                    last = found
                    yield Arrival(Delivery(body), found.encode())
                elif found is not None:
                    yield found
        finally:
            await ws.close()

    async def _connect(
        self, session: aiohttp.ClientSession, cursor: int
    ) -> aiohttp.ClientWebSocketResponse:
        options = self._options
        name = "wantedCollections" if options.first_wire else "collections"
        query = [(name, collection) for collection in options.collections]
        if cursor != LIVE:
            query.append(("cursor", str(cursor)))
        if self._dictionary is not None:
            query.append(("zstdDictionary", str(self._dictionary[0])))
        try:
            return await session.ws_connect(
                options.address.extend_query(query),
                protocols=() if options.first_wire else (SUBPROTOCOL,),
                autoping=False,
                max_msg_size=FRAME_BYTES,
                compress=0,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise await self._refusal(session, query, error) from None

    async def _refusal(
        self,
        session: aiohttp.ClientSession,
        query: list[tuple[str, str]],
        error: aiohttp.WSServerHandshakeError,
    ) -> Exception:
        """Ask once more without upgrade: the refusal's name stands in the body."""
        if error.status == _TOO_MANY:
            wish = "" if error.headers is None else error.headers.get("Retry-After", "")
            after = float(wish) if wish.isdigit() else None
            return RateLimited("Jetstream wants fewer connections", retry_after=after)
        if error.status >= 500:
            return SourceUnavailable(f"Jetstream answers {error.status}")
        name = await self._error_name(session, query)
        if name == "CursorTooOld":
            return _CursorTooOld()
        if name == "UnknownZstdDictionary":
            self._dictionary = None
            return SourceUnavailable("Jetstream has a new zstd dictionary")
        if name == "InvalidRequest":
            return ConfigurationError(
                "Jetstream refuses the subscription: check collections and url"
            )
        return SourceUnavailable(f"Jetstream answers {error.status}")

    async def _error_name(
        self, session: aiohttp.ClientSession, query: list[tuple[str, str]]
    ) -> str:
        url = self._options.address.extend_query(query)
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Protocol": SUBPROTOCOL,
        }
        scheme = "https" if url.scheme == "wss" else "http"
        async with session.get(url.with_scheme(scheme), headers=headers) as response:
            if response.status < 400:
                return ""
            try:
                answer = json.loads(await _bounded(response))
            except ValueError:
                return ""
        return str(answer.get("error", "")) if isinstance(answer, dict) else ""

    async def _frame(self, ws: aiohttp.ClientWebSocketResponse) -> bytes | None:
        """Return the next data frame, None when the connection ended; keeps watch meanwhile."""
        half = self._options.deadline_seconds / 2
        silent = 0
        while True:
            try:
                message: Any = await ws.receive(timeout=half)
            except TimeoutError:
                silent += 1
                if silent > 1:
                    raise SourceUnavailable("Jetstream fell silent") from None
                await ws.ping()
                continue
            silent = 0
            if message.type is aiohttp.WSMsgType.TEXT:
                return str(message.data).encode("utf-8", "surrogatepass")
            if message.type is aiohttp.WSMsgType.BINARY:
                return self._decompressed(bytes(message.data))
            if message.type is aiohttp.WSMsgType.PING:
                await ws.pong(message.data)
            if message.type not in _CONTROL:
                return None

    def _decompressed(self, frame: bytes) -> bytes:
        if self._dictionary is None:
            return frame
        try:
            return self._dictionary[1].decompress(frame, max_output_size=FRAME_BYTES)
        except zstandard.ZstdError:
            return frame

    async def _fetch_dictionary(self, session: aiohttp.ClientSession) -> None:
        """Fetch the dictionary once; a server without one is read uncompressed."""
        if self._dictionary is not None:
            return
        url = self._options.address
        scheme = "https" if url.scheme == "wss" else "http"
        async with session.get(url.with_scheme(scheme).with_path(_DICTIONARY)) as response:
            content = await _bounded(response) if response.status == _OK else b""
        dictionary = zstandard.ZstdCompressionDict(content)
        if not dictionary.dict_id():
            return
        self._dictionary = (
            dictionary.dict_id(),
            zstandard.ZstdDecompressor(dict_data=dictionary),
        )

    def _read(self, body: bytes, last: Position) -> Position | Gap | None:
        """Learn the position of a frame; None for a notice that needs nothing.

        What we cannot read keeps the last position and goes on as it is: the mapping refuses it.
        """
        try:
            message = msgspec.json.decode(body, type=_Message)
            if message.type == "error":
                raise SourceUnavailable(f"Jetstream ended the stream: {_named(message.error)}")
            if not bytes(message.payload):
                if not self._options.first_wire or message.time_us is None:
                    return last
                return Position(self._place, 0, message.time_us)
            payload = msgspec.json.decode(message.payload, type=_Payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return last
        if payload.type.endswith("#info"):
            return self._notice(payload)
        time_us = _micros(payload.witnessed_at or payload.time) or last.time_us
        return Position(self._place, payload.seq or last.seq, time_us)

    @staticmethod
    def _notice(payload: _Payload) -> Gap | None:
        if payload.name == "FutureCursor":
            raise _CursorFromElsewhere
        if payload.name == "OutdatedCursor":
            return Gap(
                "outdated_cursor",
                "Jetstream keeps less than our cursor asks for; reading goes on from its oldest event",
            )
        return None


def _since(position: Position | None, gap: Gap) -> Gap:
    """Return the gap with the place and the time behind which it begins."""
    if position is None:
        return gap
    began = _EPOCH + timedelta(microseconds=position.time_us) if position.time_us else None
    return replace(gap, start=position.encode(), began_at=began)


def account_of(options: Options, tools: Tools) -> BlueskyAccount | None:
    """Return the client of the account that the settings name, None where they name none.

    Raises:
        ConfigurationError: half of what is needed is missing.
    """
    identifier, password = str(options.get("identifier") or ""), options.get("app_password")
    secret = password if isinstance(password, SecretStr) else SecretStr("")
    if not identifier and not secret.get_secret_value():
        return None
    return BlueskyAccount(
        AccountOptions(
            service=str(options["service"]),
            identifier=identifier,
            password=secret,
            direct_messages=bool(options["direct_messages"]),
        ),
        tools,
    )


def connect(options: Options, tools: Tools) -> BlueskyClient:
    """Return the client of the stream of the manifest's settings."""
    return connect_stream(options, tools)


def connect_stream(options: Options, tools: Tools, **more: Any) -> BlueskyClient:
    """Return the client of the stream; what a gap took is asked of the account, where one is set.

    Args:
        options: values of the manifest's settings.
        tools: limits and time.
        more: of BlueskyOptions, what is no setting of the manifest.
    """
    account = account_of(options, tools)
    collections = str(options["collections"]).split(",")
    return BlueskyClient(
        BlueskyOptions(
            url=str(options["endpoint"]),
            collections=tuple(name.strip() for name in collections if name.strip()),
            **more,
        ),
        None if account is None else account.news_since,
    )


def connect_account(options: Options, tools: Tools) -> BlueskyAccount:
    """Return the client of the account; raises ConfigurationError where none is set."""
    account = account_of(options, tools)
    if account is None:
        raise ConfigurationError(
            "bluesky.identifier and bluesky.app_password are needed to read an account"
        )
    return account


async def examine(options: Options, tools: Tools) -> list[Finding]:
    """Ask the instance over HTTP, and the account where one is set.

    Raises:
        SourceUnavailable: the instance does not answer.
    """
    account = account_of(options, tools)
    return [
        *await _examine_stream(options, tools),
        *([] if account is None else await account.examined()),
    ]


async def _examine_stream(options: Options, tools: Tools) -> list[Finding]:
    url = URL(str(options["endpoint"]))
    url = url.with_scheme("https" if url.scheme == "wss" else "http").with_path("/")
    timeout = aiohttp.ClientTimeout(total=20)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            return [
                Finding("subscription", "ok", "the instance answers; it needs no account"),
                clock_finding(answer.headers.get("Date", ""), tools.clock.now()),
            ]
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise SourceUnavailable(f"Jetstream is away ({type(error).__name__})") from None


def _seconds_between(position: Position, behind: Arrival) -> float:
    """Return the network's time between two positions; 0 where one of them tells no time."""
    time_us = Position.decode(behind.cursor).time_us
    if not position.time_us or not time_us:
        return 0.0
    return max(0.0, (time_us - position.time_us) / 1_000_000)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read a body that is small by protocol; a larger one is cut off and void."""
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > FRAME_BYTES:
            return b""
    return body


_ERRORS = ("ConsumerTooSlow", "CursorTooOld", "UnknownZstdDictionary")


def _named(error: str | None) -> str:
    """Return the name of an error frame when it is of the protocol."""
    return error if error in _ERRORS else "unknown error"


def _micros(text: str | None) -> int:
    """Return RFC 3339 as epoch microseconds, 0 when it is none."""
    if text is None:
        return 0
    try:
        at = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return 0
    if at.tzinfo is None:
        return 0
    return (at - _EPOCH) // timedelta(microseconds=1)
