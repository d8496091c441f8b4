"""Reads recorded deliveries from files: NDJSON, plain or gzip, one delivery a line.

A line is a generic event, or any other network's native delivery. It is passed on as it stands,
broken ones too: what is wrong with a line is the mapping's to say, and the channel goes on.

Times. At a given rate an event is received now. At recorded times the intervals of the recording
are kept and `received_at` is the recorded time. `shift_to_now` moves the times of generic events by
one constant, so that the newest of all files is published now; a native delivery is never rewritten.
"""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from klingel.clock import Clock
from klingel.contracts.envelope import rfc3339
from klingel.errors import ConfigurationError
from klingel_networks.arrival import Arrival, Gap, Mode
from klingel_networks.contract import Delivery

LINE_BYTES = 16 << 20
"""A longer line is cut there; its rest is a line of its own, and neither is JSON."""

_BURST = 64
_TIME_FIELD = b'"published_at"'
_LONGEST_SLEEP = 3600.0

Sleep = Callable[[float], Awaitable[None]]


class _Generic(msgspec.Struct):
    published_at: str


class _Payload(msgspec.Struct):
    time: str | None = None


class _Cursor(msgspec.Struct):
    file: str
    line: int


class _Native(msgspec.Struct):
    """Where recorded natives carry their time: Jetstream's both wires."""

    time_us: int | None = None
    payload: _Payload | None = None


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay and how.

    Attributes:
        files: in this order.
        network: whose deliveries the lines are; `replay` for generic events.
        context: what the network's mapping needs beside the line.
        rate: events a second; None as fast as they are taken.
        recorded_times: keep the recorded intervals and set `received_at`.
        shift_to_now: move the times of generic events; excludes `recorded_times`.
        mode: `live` or `backfill`.
    """

    files: tuple[Path, ...]
    network: str = "replay"
    context: Mapping[str, str] | None = None
    rate: float | None = None
    recorded_times: bool = False
    shift_to_now: bool = False
    mode: Mode = "live"


class ReplayClient:
    """Reads files; resumes at the line behind the cursor.

    Args:
        options: what and how.
        clock: for pace and shift.
        sleep: waits so many seconds.

    Raises:
        ConfigurationError: options that exclude each other, or a file that is not there.
    """

    def __init__(self, options: ReplayOptions, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        _check(options)
        self.source = "files"
        self._options = options
        self._clock = clock
        self._sleep = sleep

    async def arrivals(self, cursor: str | None) -> AsyncIterator[Arrival | Gap]:
        """Yield the lines after the cursor; ends after the last.

        Raises:
            ConfigurationError: the cursor names a file that is not among these.
        """
        options = self._options
        start_file, start_line = _position(cursor, options.files)
        shift = await asyncio.to_thread(self._shift) if options.shift_to_now else None
        pace = _Pace(options, self._clock, self._sleep)
        for number, path in enumerate(options.files):
            if number < start_file:
                continue
            skip = start_line if number == start_file else 0
            for line_number, line in _lines(path, skip):
                received_at = await pace.wait(line)
                body = line if shift is None else shifted(line, shift)
                yield Arrival(
                    Delivery(body, dict(options.context or {})),
                    cursor=to_cursor(path, line_number),
                    received_at=received_at,
                    mode=options.mode,
                )

    def _shift(self) -> timedelta:
        newest: datetime | None = None
        for path in self._options.files:
            for _, line in _lines(path, 0):
                at = published_at(line)
                if at is not None and (newest is None or at > newest):
                    newest = at
        return timedelta() if newest is None else self._clock.now() - newest


class _Pace:
    """Waits before each line, as the options say."""

    def __init__(self, options: ReplayOptions, clock: Clock, sleep: Sleep) -> None:
        self._options = options
        self._clock = clock
        self._sleep = sleep
        self._count = 0
        self._began = clock.monotonic()
        self._first: datetime | None = None

    async def wait(self, line: bytes) -> datetime | None:
        """Wait until the line is due; returns its recorded time where that is wanted."""
        if self._options.recorded_times:
            return await self._recorded(line)
        self._count += 1
        rate = self._options.rate
        ahead = 0.0
        if rate is not None:
            ahead = self._began + self._count / rate - self._clock.monotonic()
        # short sleeps are not exact: below 5 ms a burst is sent at once
        if ahead > 0.005:
            await self._sleep(ahead)
        elif self._count % _BURST == 0:
            await self._sleep(0)
        return None

    async def _recorded(self, line: bytes) -> datetime | None:
        at = recorded_at(line)
        if at is None:
            return None
        if self._first is None:
            self._first = at
            self._began = self._clock.monotonic()
        due = self._began + (at - self._first).total_seconds()
        ahead = min(due - self._clock.monotonic(), _LONGEST_SLEEP)
        await self._sleep(max(0.0, ahead))
        return at


def _check(options: ReplayOptions) -> None:
    if not options.files:
        raise ConfigurationError("replay needs at least one file")
    for path in options.files:
        if not path.is_file():
            raise ConfigurationError(f"{path}: no such file")
    if options.shift_to_now and options.recorded_times:
        raise ConfigurationError(
            "--shift-to-now and --recorded-times exclude each other: times are either moved or kept"
        )
    if options.recorded_times and options.rate is not None:
        raise ConfigurationError(
            "--rate and --recorded-times exclude each other: the recording sets the pace"
        )
    if options.shift_to_now and options.network != "replay":
        raise ConfigurationError(
            "--shift-to-now rewrites generic events alone; native deliveries stay as recorded"
        )
    if options.rate is not None and options.rate <= 0:
        raise ConfigurationError("--rate must be above 0")
    names = [path.name for path in options.files]
    if len(set(names)) != len(names):
        raise ConfigurationError("two of the files have the same name; the cursor needs different")


def to_cursor(path: Path, line: int) -> str:
    """Return the position behind a line (counted from 1): the file's name and the line."""
    return msgspec.json.encode(_Cursor(path.name, line)).decode()


def _position(cursor: str | None, files: Sequence[Path]) -> tuple[int, int]:
    if cursor is None:
        return 0, 0
    try:
        data = json.loads(cursor)
        name, line = str(data["file"]), int(data["line"])
    except (ValueError, TypeError, KeyError):
        raise ConfigurationError("the stored cursor is not one of replay") from None
    for number, path in enumerate(files):
        if path.name == name:
            return number, line
    raise ConfigurationError(
        f"the stored cursor stands in {name}, which is not among the files; "
        "name the same files, or another --instance to begin anew"
    )


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


def _lines(path: Path, skip: int) -> Iterator[tuple[int, bytes]]:
    """Yield (line number, line without its end); empty lines are counted, never yielded."""
    number = 0
    try:
        with _open(path) as file:
            while line := file.readline(LINE_BYTES):
                number += 1
                if number <= skip:
                    continue
                body = line.rstrip(b"\r\n")
                if body.strip():
                    yield number, body
    except (OSError, EOFError) as error:
        raise ConfigurationError(
            f"{path.name}: cannot be read beyond line {number} ({type(error).__name__})"
        ) from None


def published_at(line: bytes) -> datetime | None:
    """Return the time of a generic event; None where it has none that we can read."""
    try:
        return _aware(msgspec.json.decode(line, type=_Generic).published_at)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def recorded_at(line: bytes) -> datetime | None:
    """Return when a recorded delivery happened: `published_at`, `time_us` or `payload.time`."""
    at = published_at(line)
    if at is not None:
        return at
    try:
        native = msgspec.json.decode(line, type=_Native)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if native.time_us is not None and 0 < native.time_us < 253_402_300_800_000_000:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=native.time_us)
    if native.payload is not None and native.payload.time is not None:
        return _aware(native.payload.time)
    return None


def _aware(text: str) -> datetime | None:
    try:
        at = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    return None if at.tzinfo is None else at.astimezone(UTC)


def shifted(line: bytes, shift: timedelta) -> bytes:
    """Return a generic event with its `published_at` moved; every other byte stays.

    A line whose time cannot be read, or stands there twice, stays as it is: the mapping refuses it.
    """
    at = published_at(line)
    if at is None or line.count(_TIME_FIELD) != 1:
        return line
    try:
        moved = rfc3339(at + shift)
    except OverflowError:
        return line
    pattern = re.escape(_TIME_FIELD) + rb'(\s*:\s*)"[^"]*"'
    value = moved.encode()
    return re.sub(
        pattern, lambda found: _TIME_FIELD + found[1] + b'"' + value + b'"', line, count=1
    )
