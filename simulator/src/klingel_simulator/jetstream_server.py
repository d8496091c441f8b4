"""The Jetstream server: websockets over one log, with faults on demand. Shell."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any, Final

import zstandard
from aiohttp import WSCloseCode, WSMsgType, web

from klingel_simulator.jetstream import (
    NSID,
    SUBPROTOCOL,
    Entry,
    EventLog,
    Filter,
    RefusedError,
    SlowReader,
    Start,
    parse_filter_v1,
    parse_filter_v2,
    parse_options_update,
    resolve_cursor,
    to_error_frame,
    to_frame_v1,
    to_frame_v2,
    to_info_frame,
)

V1_PATH: Final = "/subscribe"
V2_PATH: Final = f"/xrpc/{NSID}"
DICTIONARY_PATH: Final = "/xrpc/network.bsky.jetstream.getZstdDictionary"
DICTIONARY_ID: Final = 771_100_001
MAX_SUBSCRIBER_MESSAGE_BYTES: Final = 10_000_000
_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, by mean distance in frames (0: never) or by switch.

    ``drop_every``: the connection is cut without a close frame. ``stall_every``: nothing is sent
    for ``stall_seconds`` while the connection stays open; it answers pings unless ``deaf_stalls``
    is 1. ``garbage_every``: a
    frame that is not of the protocol. ``repeat_at_cutover``: so many frames are sent again when a
    replay reaches the live end.
    """

    drop_every: int = 0
    stall_every: int = 0
    stall_seconds: float = 30.0
    deaf_stalls: int = 0
    garbage_every: int = 0
    repeat_at_cutover: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the service, in its own defaults but for the size of the log."""

    max_events: int = 400_000
    look_back_seconds: float = 36 * 3600
    slow_max_lag: int = 100_000
    slow_min_rate: float = 100.0
    slow_window_seconds: float = 30.0
    write_timeout_seconds: float = 5.0
    ping_seconds: float = 30.0
    refuse_old_cursor: bool = False


def to_faults(current: Faults, changes: dict[str, Any]) -> Faults:
    """Apply a control request to the faults; raises ``ValueError`` with one sentence."""
    known = {field.name for field in fields(Faults)}
    for name, value in changes.items():
        if name not in known:
            raise ValueError(f"unknown fault {name!r}, known: {sorted(known)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ValueError(f"{name} must be a non-negative number")
    return replace(current, **changes)


class _Subscriber:
    """One connection: its filter, position and way of writing."""

    def __init__(self, ws: web.WebSocketResponse, wanted: Filter, *, second: bool) -> None:
        self.ws = ws
        self.filter = wanted
        self.second = second
        self.position = 0
        self.hello = asyncio.Event()
        self.closed = asyncio.Event()
        self.resumed = asyncio.Event()
        self.stalled = asyncio.Event()
        self.transport: asyncio.BaseTransport | None = None
        self.compressor: zstandard.ZstdCompressor | None = None

    async def write(self, frame: bytes) -> None:
        if self.compressor is not None:
            await self.ws.send_frame(self.compressor.compress(frame), WSMsgType.BINARY)
        else:
            await self.ws.send_frame(frame, WSMsgType.TEXT)

    def cut(self) -> None:
        """Break the connection without a close frame."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
        self.closed.set()


class JetstreamServer:
    """Serves a log on both wires; ``app()`` is an aiohttp application.

    Control, for tests and fault runs, on the same port: ``GET /control/status``,
    ``POST /control/faults`` (a JSON object of ``Faults`` fields), ``POST /control/drop`` (cut every
    connection now), ``POST /control/resume`` (end every stall).
    """

    def __init__(
        self,
        *,
        now_us: Callable[[], int],
        seed: int = 0,
        limits: Limits | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.faults = faults or Faults()
        self.log = EventLog(
            max_events=self.limits.max_events, look_back_seconds=self.limits.look_back_seconds
        )
        self.finished = False
        self.first_subscriber = asyncio.Event()
        self._now_us = now_us
        self._rng = Random(f"faults/{seed}")  # noqa: S311 seeded faults, not cryptography
        self._subscribers: set[_Subscriber] = set()
        self._grown = asyncio.Event()
        self._advanced = asyncio.Event()
        self._dictionary: zstandard.ZstdCompressionDict | None = None

    def app(self) -> web.Application:
        """Build the application."""
        app = web.Application()
        app.router.add_get(V1_PATH, self._subscribe_v1)
        app.router.add_get(V2_PATH, self._subscribe_v2)
        app.router.add_get(DICTIONARY_PATH, self._get_dictionary)
        app.router.add_get("/control/status", self._get_status)
        app.router.add_post("/control/faults", self._post_faults)
        app.router.add_post("/control/drop", self._post_drop)
        app.router.add_post("/control/resume", self._post_resume)
        app.on_shutdown.append(self._say_goodbye)
        return app

    # --- for the source ------------------------------------------------------------------------

    def wake(self) -> None:
        """Tell waiting subscribers that the log has grown."""
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def wait_for_lead(self, max_lead: int) -> None:
        """Wait until no connected subscriber is more than ``max_lead`` events behind."""
        while self._subscribers and self._lead() > max_lead:
            self._advanced.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._advanced.wait(), 0.5)

    def _lead(self) -> int:
        return self.log.next_seq - min(sub.position for sub in self._subscribers)

    # --- subscriptions ---------------------------------------------------------------------------

    async def _subscribe_v1(self, request: web.Request) -> web.StreamResponse:
        query = list(request.query.items())
        compressed = request.query.get("compress") == "true" or "zstd" in request.headers.get(
            "Socket-Encoding", ""
        )
        deflate = "permessage-deflate" in request.headers.get("Sec-WebSocket-Extensions", "")
        if compressed and deflate:
            return web.Response(status=400, text="choose zstd or permessage-deflate, not both")
        try:
            wanted = parse_filter_v1(query)
            start = self._resolve(request.query.get("cursor", ""), refuse=False)
        except RefusedError as error:
            if error.name == "CursorTooOld":
                return _refusal(error)
            return web.Response(status=error.status, text=error.message)
        ws = web.WebSocketResponse(
            compress=not compressed,
            max_msg_size=MAX_SUBSCRIBER_MESSAGE_BYTES,
            timeout=2.0,
            autoping=False,
        )
        sub = _Subscriber(ws, wanted, second=False)
        if compressed:
            sub.compressor = zstandard.ZstdCompressor(level=1)
        if request.query.get("requireHello") != "true":
            sub.hello.set()
        return await self._serve(request, sub, start)

    async def _subscribe_v2(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = parse_filter_v2(list(request.query.items()))
            dictionary = self._chosen_dictionary(request.query.get("zstdDictionary", ""))
            start = self._resolve(request.query.get("cursor", ""), refuse=True)
        except RefusedError as error:
            return _refusal(error)
        ws = web.WebSocketResponse(
            compress=False, protocols=(SUBPROTOCOL,), timeout=2.0, autoping=False
        )
        sub = _Subscriber(ws, wanted, second=True)
        if dictionary is not None:
            sub.compressor = zstandard.ZstdCompressor(level=1, dict_data=dictionary)
        sub.hello.set()
        return await self._serve(request, sub, start)

    def _resolve(self, cursor: str, *, refuse: bool) -> Start:
        strict = self.limits.refuse_old_cursor
        return resolve_cursor(
            cursor,
            self.log,
            self._now_us(),
            refuse_old=refuse or strict,
            refuse_old_times=strict,
        )

    async def _serve(
        self, request: web.Request, sub: _Subscriber, start: Start
    ) -> web.StreamResponse:
        await sub.ws.prepare(request)
        sub.transport = request.transport
        sub.position = start.seq
        self._subscribers.add(sub)
        reader = asyncio.create_task(self._listen(sub))
        try:
            await _first_of(sub.hello, sub.closed)
            self.first_subscriber.set()
            if sub.second and start.notice:
                await sub.write(to_info_frame(*start.notice))
            await self._pump(sub, replaying=start.replays)
        except (ConnectionError, TimeoutError):
            sub.cut()
        finally:
            self._subscribers.discard(sub)
            self._advanced.set()
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
        return sub.ws

    async def _listen(self, sub: _Subscriber) -> None:
        """Read what the client sends: options on the first wire, nothing on the second."""
        async for message in sub.ws:
            if message.type in {WSMsgType.PING, WSMsgType.PONG}:
                deaf = sub.stalled.is_set() and self.faults.deaf_stalls
                if message.type is WSMsgType.PING and not deaf:
                    await sub.ws.pong(message.data)
                continue
            if sub.second:
                await sub.ws.close(code=WSCloseCode.POLICY_VIOLATION, message=b"server-push only")
                break
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                update = parse_options_update(message.data)
            except RefusedError as error:
                reason = error.message.encode("utf-8")[:120]
                await sub.ws.close(code=WSCloseCode.POLICY_VIOLATION, message=reason)
                break
            except ValueError:
                await sub.ws.close(code=WSCloseCode.INVALID_TEXT, message=b"bad message")
                break
            if update is not None:
                sub.filter = update
                sub.hello.set()
        sub.closed.set()

    async def _pump(self, sub: _Subscriber, *, replaying: bool) -> None:
        """Send the log from the subscriber's position on, waiting at its end."""
        clock = asyncio.get_running_loop().time
        limits = self.limits
        slow = SlowReader(
            max_lag=limits.slow_max_lag,
            min_rate=limits.slow_min_rate,
            window_seconds=limits.slow_window_seconds,
        )
        while not sub.closed.is_set():
            grown = self._grown
            batch = self.log.read(sub.position, _BATCH)
            lag = self.log.next_seq - sub.position
            if batch is None or slow.observe(sub.position, lag, clock()):
                await self._drop_slow(sub, lag)
                return
            if not batch:
                if replaying:
                    replaying = False
                    await self._repeat(sub)
                await self._idle(sub, grown)
                continue
            async with asyncio.timeout(limits.write_timeout_seconds) as patience:
                for entry in batch:
                    sub.position = entry.seq + 1
                    if not await self._deliver(sub, entry, patience):
                        return
            self._advanced.set()

    async def _deliver(self, sub: _Subscriber, entry: Entry, patience: asyncio.Timeout) -> bool:
        wanted = sub.filter
        if not wanted.wants(entry):
            return True
        frame = to_frame_v2(entry) if sub.second else to_frame_v1(entry)
        if wanted.max_bytes and len(frame) > wanted.max_bytes:
            return True
        faults = self.faults
        if faults != _NONE:
            if self._strikes(faults.drop_every):
                sub.cut()
                return False
            if self._strikes(faults.stall_every):
                patience.reschedule(None)
                await self._stall(sub, faults.stall_seconds)
                now = asyncio.get_running_loop().time()
                patience.reschedule(now + self.limits.write_timeout_seconds)
            if self._strikes(faults.garbage_every):
                await self._send_garbage(sub)
        if sub.closed.is_set():
            return False
        await sub.write(frame)
        return True

    def _strikes(self, every: int) -> bool:
        return bool(every) and self._rng.random() * every < 1

    async def _stall(self, sub: _Subscriber, seconds: float) -> None:
        sub.resumed.clear()
        sub.stalled.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_first_of(sub.resumed, sub.closed), seconds)
        sub.stalled.clear()

    async def _send_garbage(self, sub: _Subscriber) -> None:
        choices: tuple[tuple[bytes, WSMsgType], ...] = (
            (b"{", WSMsgType.TEXT),
            (b"null", WSMsgType.TEXT),
            (b'{"kind":"commit"}', WSMsgType.TEXT),
            (b'{"did":1,"time_us":"x","kind":[],"commit":null}', WSMsgType.TEXT),
            (self._rng.randbytes(64), WSMsgType.BINARY),
        )
        frame, kind = self._rng.choice(choices)
        await sub.ws.send_frame(frame, kind)

    async def _repeat(self, sub: _Subscriber) -> None:
        count = self.faults.repeat_at_cutover
        if not count:
            return
        first = max(self.log.floor(self._now_us()), sub.position - count)
        for entry in self.log.read(first, count) or ():
            if sub.filter.wants(entry):
                await sub.write(to_frame_v2(entry) if sub.second else to_frame_v1(entry))

    async def _idle(self, sub: _Subscriber, grown: asyncio.Event) -> None:
        try:
            await asyncio.wait_for(_first_of(grown, sub.closed), self.limits.ping_seconds)
        except TimeoutError:
            await sub.ws.ping()

    async def _drop_slow(self, sub: _Subscriber, lag: int) -> None:
        message = f"{lag} events behind the tip; reconnect with cursor={sub.position}"
        if sub.second:
            await sub.write(to_error_frame("ConsumerTooSlow", message))
        await sub.ws.close(code=WSCloseCode.POLICY_VIOLATION, message=b"ConsumerTooSlow")

    async def _say_goodbye(self, _app: web.Application) -> None:
        subscribers = list(self._subscribers)
        for sub in subscribers:
            sub.closed.set()
        await asyncio.gather(
            *(sub.ws.close(code=WSCloseCode.GOING_AWAY, message=b"stopping") for sub in subscribers)
        )

    # --- dictionary --------------------------------------------------------------------------

    def _trained(self) -> zstandard.ZstdCompressionDict:
        if self._dictionary is None:
            entries = self.log.read(self._oldest(), 2_000) or ()
            samples: list[bytes | bytearray | memoryview[int]] = [to_frame_v2(e) for e in entries]
            if len(samples) < 50:
                raise RefusedError("ServiceUnavailable", "too few events for a dictionary yet", 503)
            self._dictionary = zstandard.train_dictionary(
                16_384, samples, dict_id=DICTIONARY_ID, level=1
            )
        return self._dictionary

    def _oldest(self) -> int:
        return self.log.floor(self._now_us())

    def _chosen_dictionary(self, raw: str) -> zstandard.ZstdCompressionDict | None:
        if not raw:
            return None
        if not raw.isdecimal() or not int(raw):
            raise RefusedError("InvalidRequest", "zstdDictionary must be a positive integer")
        if int(raw) != DICTIONARY_ID:
            raise RefusedError(
                "UnknownZstdDictionary",
                f"unknown zstd dictionary id; current dictionary id is {DICTIONARY_ID}",
            )
        return self._trained()

    async def _get_dictionary(self, request: web.Request) -> web.Response:
        if request.query.get("id", str(DICTIONARY_ID)) != str(DICTIONARY_ID):
            return _refusal(RefusedError("DictionaryNotFound", "no dictionary with this id"))
        try:
            raw = self._trained().as_bytes()
        except RefusedError as error:
            return _refusal(error)
        return web.Response(body=raw, content_type="application/octet-stream")

    # --- control -----------------------------------------------------------------------------

    async def _get_status(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "next_seq": self.log.next_seq,
                "floor_seq": self._oldest(),
                "subscribers": len(self._subscribers),
                "positions": sorted(sub.position for sub in self._subscribers),
                "finished": self.finished,
            }
        )

    async def _post_faults(self, request: web.Request) -> web.Response:
        try:
            changes = await request.json()
            if not isinstance(changes, dict):
                raise ValueError("faults must be a JSON object")  # noqa: TRY004, TRY301 one answer for all
            self.faults = to_faults(self.faults, changes)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({name: getattr(self.faults, name) for name in _FAULT_NAMES})

    async def _post_drop(self, _request: web.Request) -> web.Response:
        dropped = len(self._subscribers)
        for sub in self._subscribers:
            sub.cut()
        return web.json_response({"dropped": dropped})

    async def _post_resume(self, _request: web.Request) -> web.Response:
        for sub in self._subscribers:
            sub.resumed.set()
        return web.json_response({"resumed": len(self._subscribers)})


_NONE: Final = Faults()
_FAULT_NAMES: Final = tuple(field.name for field in fields(Faults))


def _refusal(error: RefusedError) -> web.Response:
    body = json.dumps({"error": error.name, "message": error.message})
    return web.Response(status=error.status, text=body, content_type="application/json")


async def _first_of(one: asyncio.Event, other: asyncio.Event) -> None:
    """Wait until either event is set."""
    if one.is_set() or other.is_set():
        return
    waiters = [asyncio.ensure_future(one.wait()), asyncio.ensure_future(other.wait())]
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
