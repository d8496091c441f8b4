"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

import aiohttp

from klingel.errors import SourceUnavailable

EVENT_BYTES: Final = 8 << 20


class Event(NamedTuple):
    """One event: its name and its data, as received."""

    name: str
    data: bytes


class Reader:
    """Reads a stream of events.

    Args:
        content: of the response.
        deadline_seconds: without any line for so long, comments included, the stream is dead.
    """

    def __init__(self, content: aiohttp.StreamReader, deadline_seconds: float) -> None:
        self._content = content
        self._deadline_seconds = deadline_seconds

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield whole events; half of one at the end of the stream is none.

        Raises:
            SourceUnavailable: silent for too long, or an event larger than EVENT_BYTES.
        """
        name, data, size = "message", list[bytes](), 0
        async for line in self._lines():
            if not line:
                if data:
                    yield Event(name, b"\n".join(data))
                elif name != "message":
                    yield Event(name, b"")
                name, data, size = "message", [], 0
                continue
            size += len(line)
            if size > EVENT_BYTES:
                raise SourceUnavailable("the stream sent an event larger than 8 MB")
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                name = value.decode("utf-8", "replace")[:64]
            elif field == b"data":
                data.append(value)

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        """Yield lines without their ends; the last one only when it was ended."""
        rest = b""
        while True:
            try:
                async with asyncio.timeout(self._deadline_seconds):
                    chunk = await self._content.readany()
            except TimeoutError:
                raise SourceUnavailable("the stream fell silent") from None
            if not chunk and self._content.at_eof():
                return
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > EVENT_BYTES:
                raise SourceUnavailable("the stream sent a line larger than 8 MB")
            for line in lines:
                yield line.removesuffix(b"\r")
