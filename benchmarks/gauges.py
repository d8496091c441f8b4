"""What processes cost while the benchmark runs: CPU, resident memory, and the machine's load."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import psutil

_EVERY_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU seconds, user and system, of a process and when they were read (epoch seconds)."""

    at: float
    cpu: float


@dataclass(slots=True)
class Gauges:
    """Reads CPU and memory of processes four times a second until closed.

    A process that ends keeps its last reading.
    """

    readings: dict[str, list[Reading]] = field(default_factory=dict)
    resident: dict[str, int] = field(default_factory=dict)
    loads: list[float] = field(default_factory=list)
    _watched: dict[str, psutil.Process] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Read in the background."""
        self._thread = threading.Thread(target=self._run, name="gauges", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def watch(self, name: str, pid: int) -> None:
        """Read a process from now on."""
        with self._lock:
            self._watched[name] = psutil.Process(pid)
        self.read()

    def read(self) -> None:
        """Read all at once."""
        with self._lock:
            for name, process in self._watched.items():
                try:
                    with process.oneshot():
                        times = process.cpu_times()
                        resident = process.memory_info().rss
                except psutil.Error:
                    continue
                reading = Reading(time.time(), times.user + times.system)
                self.readings.setdefault(name, []).append(reading)
                self.resident[name] = max(self.resident.get(name, 0), resident)
        self.loads.append(os.getloadavg()[0])

    def cpu(self, name: str, since: float, until: float) -> float | None:
        """Return the CPU seconds of a process between two times; None where it was not watched.

        The first reading is the last one before `since`, so that nothing of the work is left out.
        """
        readings = self.readings.get(name, [])
        before = [each for each in readings if each.at <= since] or readings[:1]
        inside = [each for each in readings if each.at <= until]
        if not before or not inside:
            return None
        return max(0.0, inside[-1].cpu - before[-1].cpu)

    def shares(self, since: float, until: float) -> Mapping[str, float]:
        """Return the CPU seconds of every watched process between two times."""
        return {
            name: cpu for name in self.readings if (cpu := self.cpu(name, since, until)) is not None
        }

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_SECONDS):
            self.read()
