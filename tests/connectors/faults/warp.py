"""A loop in which nothing waits, and a wire that breaks: for faults that last minutes.

The sockets are real and so is what is written to them; only waiting is not. When nothing has come
for a moment and all that is left is to wait, the loop's clock jumps to the next thing that is due.
Deadlines, back-off tables and pauses are so the ones of production, and take no time.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

QUIET_SECONDS = 0.0005
"""Real time without a byte after which everybody is taken to wait."""
T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Waits for sockets, never for time."""

    skipped = 0.0
    busy = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return what is ready; where nothing is, let the time pass."""
        events = super().select(0)
        if events or timeout is None or timeout <= 0:
            return events if events or timeout is not None else super().select(None)
        events = super().select(min(timeout, QUIET_SECONDS))
        if not events and not self.busy:
            self.skipped += timeout
        return events


class WarpLoop(asyncio.SelectorEventLoop):
    """The loop; its time is real time and what was skipped."""

    def __init__(self) -> None:
        self._waiting = _Selector()
        super().__init__(self._waiting)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        """Run something in a thread; no time is skipped while it works."""
        working = super().run_in_executor(executor, func, *args)
        self._waiting.busy += 1
        working.add_done_callback(self._done)
        return working

    def _done(self, _: object) -> None:
        self._waiting.busy -= 1

    def time(self) -> float:
        """Return seconds."""
        return super().time() + self._waiting.skipped


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario to its end, tasks included."""
    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        return runner.run(scenario)


class LoopClock:
    """A clock that goes by the loop's time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._start = datetime.now(UTC).replace(microsecond=0)

    def now(self) -> datetime:
        """Return the time of day, aware UTC."""
        return self._start + timedelta(seconds=self._loop.time() - self._began)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._loop.time()


class Wire:
    """Passes bytes on between a client and a stand-in, and breaks on command.

    Attributes:
        stalled: nothing passes any more to the client; the connections stay open.
        half: so many of the next answers end in their middle, and the connection with them.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.half = 0
        self._target = port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End every connection and stop listening."""
        if self._server is not None:
            self._server.close()
        self.mend()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stall(self) -> None:
        """Let nothing through to the client."""
        self._flowing.clear()

    def mend(self) -> None:
        """Let everything through again."""
        self._flowing.set()

    def cut(self) -> None:
        """End every connection at once."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        for task in (
            asyncio.create_task(self._passed(reader, back, answers=False)),
            asyncio.create_task(self._passed(there, writer, answers=True)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _passed(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while chunk := await reader.read(1 << 16):
                if answers:
                    await self._flowing.wait()
                    if self.half:
                        self.half -= 1
                        writer.write(chunk[: len(chunk) // 2])
                        await writer.drain()
                        break
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass  # the other side is gone: this one goes, too
        finally:
            self._writers.discard(writer)
            writer.close()
