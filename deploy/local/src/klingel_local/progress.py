"""Progress of a download: a bar on a terminal, else a line every few seconds."""

import threading
import time
from collections.abc import Callable
from typing import TextIO

_BAR_SECONDS = 0.1
_LINE_SECONDS = 5.0
_WIDTH = 30


class Progress:
    """Counts bytes from any thread and shows them.

    Args:
        title: What is being fetched.
        total: Expected size in bytes.
        out: Where to show it.
        now: Monotonic seconds.
    """

    def __init__(
        self,
        title: str,
        total: int,
        out: TextIO,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = title
        self._total = max(total, 1)
        self._out = out
        self._now = now
        self._done = 0
        self._terminal = out.isatty()
        self._interval = _BAR_SECONDS if self._terminal else _LINE_SECONDS
        self._shown = self._started = now()
        self._lock = threading.Lock()

    def expect(self, total: int, /) -> None:
        """Correct the expected size once it is known."""
        self._total = max(total, 1)

    def advance(self, count: int, /) -> None:
        """Count bytes that have arrived; a negative count takes lost ones back."""
        with self._lock:
            self._done += count
            if self._now() - self._shown >= self._interval:
                self._shown = self._now()
                self._show()

    def close(self) -> None:
        """Show the last state and end the line."""
        with self._lock:
            self._show()
            if self._terminal:
                self._out.write("\n")
                self._out.flush()

    def _show(self) -> None:
        share = min(self._done / self._total, 1.0)
        rate = self._done / max(self._now() - self._started, 0.001) / 1e6
        figures = f"{self._done / 1e6:.0f} of {self._total / 1e6:.0f} MB, {rate:.1f} MB/s"
        if self._terminal:
            bar = "#" * round(share * _WIDTH)
            self._out.write(f"\r{self._title} [{bar:<{_WIDTH}}] {figures} ")
        else:
            self._out.write(f"{self._title}: {figures}\n")
        self._out.flush()
