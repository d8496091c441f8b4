"""HTTP downloads that go on where a broken connection stopped, and that take parts of a file."""

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from klingel_local.errors import FetchError

_CHUNK = 1 << 18
_TIMEOUT_SECONDS = 30.0
_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.5
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class Meter(Protocol):
    """Told how many bytes are expected and how many arrived."""

    def expect(self, total: int, /) -> None:
        """Correct the expected number of bytes."""

    def advance(self, count: int, /) -> None:
        """Count bytes; a negative number takes back what has to be fetched again."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `end` of a file, `end` excluded."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Probe:
    """What a server says about a file.

    Attributes:
        size: Bytes, or `None` where the server does not say.
        ranges: Whether parts can be asked for.
    """

    size: int | None
    ranges: bool


class RemoteFile:
    """One file behind an http address.

    Args:
        address: The http(s) address.
        label: How messages call the file; an address may hold secrets, so it is never shown.
        pause: Waits a number of seconds between attempts.
    """

    def __init__(
        self, address: str, label: str, pause: Callable[[float], object] = time.sleep
    ) -> None:
        self._address = address
        self._label = label
        self._pause = pause

    def probe(self) -> Probe:
        """Ask for one byte to learn the size and whether ranges are served.

        Raises:
            FetchError: the repository cannot be reached or does not have the file.
        """
        for attempt in range(_ATTEMPTS):
            try:
                with self._open(Span(0, 1)) as answer:
                    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range") or "")
                    if answer.status == http.client.PARTIAL_CONTENT and match:
                        return Probe(int(match[3]), ranges=True)
                    length = answer.headers.get("Content-Length")
                    return Probe(int(length) if length else None, ranges=False)
            except (OSError, http.client.HTTPException) as error:
                self._give_up_or_wait(error, attempt)
        raise AssertionError("unreachable: the last attempt gives up")

    def fill(self, target: BinaryIO, span: Span, meter: Meter) -> None:
        """Write a span of the file to the same place of `target`, across broken connections.

        Raises:
            FetchError: several attempts in a row brought nothing.
        """
        position, attempt = span.start, 0
        while position < span.end:
            before = position
            try:
                with self._open(Span(position, span.end)) as answer:
                    self._check_range(answer, position)
                    target.seek(position)
                    while chunk := answer.read(min(_CHUNK, span.end - position)):
                        target.write(chunk)
                        position += len(chunk)
                        meter.advance(len(chunk))
                if position < span.end:
                    raise http.client.IncompleteRead(b"", span.end - position)
            except (OSError, http.client.HTTPException) as error:
                attempt = 0 if position > before else attempt
                self._give_up_or_wait(error, attempt)
                attempt += 1

    def fetch(self, target: BinaryIO, meter: Meter) -> int:
        """Write the whole file to `target`, resuming where the server allows it.

        Returns:
            Number of bytes.

        Raises:
            FetchError: several attempts in a row brought nothing.
        """
        position, expected, attempt = 0, None, 0
        while expected is None or position < expected:
            before = position
            try:
                with self._open(Span(position, -1) if position else None) as answer:
                    if position and answer.status != http.client.PARTIAL_CONTENT:
                        meter.advance(-position)
                        position = before = 0
                    target.seek(position)
                    target.truncate()
                    length = answer.headers.get("Content-Length")
                    expected = position + int(length) if length else None
                    while chunk := answer.read(_CHUNK):
                        target.write(chunk)
                        position += len(chunk)
                        meter.advance(len(chunk))
                if expected is None:
                    return position
                if position < expected:
                    raise http.client.IncompleteRead(b"", expected - position)
            except (OSError, http.client.HTTPException) as error:
                attempt = 0 if position > before else attempt
                self._give_up_or_wait(error, attempt)
                attempt += 1
        return position

    def _open(self, span: Span | None) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._address)  # noqa: S310 - scheme checked on entry
        if span is not None:
            last = "" if span.end < 0 else span.end - 1
            request.add_header("Range", f"bytes={span.start}-{last}")
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)  # noqa: S310 - as above
        if not isinstance(answer, http.client.HTTPResponse):
            raise FetchError(f"The repository did not answer over http for {self._label}.")
        return answer

    def _check_range(self, answer: http.client.HTTPResponse, start: int) -> None:
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range") or "")
        if answer.status != http.client.PARTIAL_CONTENT or not match or int(match[1]) != start:
            raise FetchError(f"The repository stopped serving parts of {self._label}: try again.")

    def _give_up_or_wait(self, error: Exception, attempt: int) -> None:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            if error.code not in _TRANSIENT:
                raise FetchError(
                    f"The artifact repository answered {error.code} for {self._label}: "
                    "set KLINGEL_MAVEN_REPOSITORY to one that serves it."
                ) from error
        if attempt + 1 >= _ATTEMPTS:
            raise FetchError(
                f"The artifact repository cannot be reached for {self._label} "
                f"({_reason(error)}): check the network, or set KLINGEL_MAVEN_REPOSITORY "
                "to a mirror."
            ) from error
        self._pause(_FIRST_PAUSE_SECONDS * 2**attempt)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"status {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
