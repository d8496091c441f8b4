"""What Kafka and Elasticsearch have in common as plain processes."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from klingel_local import processes
from klingel_local.errors import MissingError, StartError
from klingel_local.machine import is_free, read_available_memory

_POLL_SECONDS = 0.05
_STOP_SECONDS = 30.0
_PORT_SECONDS = 3.0
_LOG_LIMIT = 50_000_000
_LOG_TAIL = 1_500


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """State of one server.

    Attributes:
        running: Whether a process of it lives.
        ready: Whether it answers.
        pid: Number of the process that serves; `None` while it is down.
    """

    running: bool
    ready: bool
    pid: int | None


ConfigT = TypeVar("ConfigT")
ToolsT = TypeVar("ToolsT")


class Server(ABC, Generic[ConfigT, ToolsT]):
    """One server of an instance, found by its marker and driven by signals.

    Args:
        config: Its ports, folder and heap.
        mark: The argument that all its processes carry.
        tools: Gives what it is run with; asked at each start.
        log: Where its output goes.
        changed: Called after a start or an end.

    Attributes:
        title: What messages call it.
        start_seconds: How long it may take to become ready.
    """

    title: ClassVar[str]
    start_seconds: ClassVar[float]

    def __init__(
        self,
        config: ConfigT,
        mark: str,
        tools: Callable[[], ToolsT],
        log: Path,
        changed: Callable[[], None],
    ) -> None:
        self.log = log
        self._config = config
        self._mark = mark
        self._tools = tools
        self._changed = changed

    @property
    @abstractmethod
    def _ports(self) -> tuple[int, ...]:
        """The ports that it listens on."""

    @abstractmethod
    def _launch(self) -> None:
        """Write the configuration and spawn the process."""

    @abstractmethod
    def _answers(self) -> bool:
        """Ask the server whether it serves; may raise `OSError` while it does not."""

    @abstractmethod
    def _memory(self) -> int:
        """Return the bytes of memory that it will take."""

    @property
    def running(self) -> bool:
        """Whether a process of it lives."""
        return bool(processes.find(self._mark))

    @property
    def pid(self) -> int | None:
        """Number of the process that serves, the youngest of its family; `None` while down."""
        family = processes.find(self._mark)
        return family[-1].pid if family else None

    def status(self) -> ServerStatus:
        """Return its state."""
        pid = self.pid
        return ServerStatus(pid is not None, pid is not None and self._ready(), pid)

    def start(self) -> bool:
        """Start it on its ports and data, and wait until it answers.

        Returns:
            Whether it had to be started; `False` where it was running already.

        Raises:
            MissingError: memory or a port is missing.
            StartError: it ended or stayed silent.
        """
        fresh = self.begin()
        self.wait()
        return fresh

    def begin(self) -> bool:
        """Start it without waiting.

        Returns:
            Whether it had to be started.

        Raises:
            MissingError: memory or a port is missing.
            StartError: it could not be started at all.
        """
        if self.running:
            return False
        self._require_ports()
        self._require_memory()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".old.log"))
        self._launch()
        return True

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            StartError: it ended or stayed silent.
        """
        deadline = time.monotonic() + self.start_seconds
        while not self._ready():
            if not self.running:
                raise StartError(f"{self.title} ended while starting: {self._last_words()}")
            if time.monotonic() > deadline:
                raise StartError(
                    f"{self.title} did not answer within {self.start_seconds:.0f} s: "
                    f"{self._last_words()}"
                )
            time.sleep(_POLL_SECONDS)
        self._changed()

    def stop(self) -> bool:
        """End it in an orderly way; after 30 s it is killed.

        Returns:
            Whether there was something to end.
        """
        if not self.running:
            return False
        if not processes.terminate(self._mark, _STOP_SECONDS):
            processes.kill(self._mark)
        self._changed()
        return True

    def kill(self) -> None:
        """End all its processes at once (SIGKILL) and wait until they are gone."""
        processes.kill(self._mark)
        self._changed()

    def _require_ports(self) -> None:
        """Wait a moment for ports that a process which ended by itself may still hold."""
        deadline = time.monotonic() + _PORT_SECONDS
        for port in self._ports:
            while not is_free(port):
                if time.monotonic() > deadline:
                    raise MissingError(
                        f"Port {port} of {self.title} is taken by another program: end that, "
                        "or run `up`, which chooses another port."
                    )
                time.sleep(_POLL_SECONDS)

    def _require_memory(self) -> None:
        available = read_available_memory()
        if available is not None and available < self._memory():
            raise MissingError(
                f"{self.title} needs {self._memory() / 1e6:,.0f} MB of memory, "
                f"{available / 1e6:,.0f} MB are free: end other programs, or set a smaller heap."
            )

    def _ready(self) -> bool:
        try:
            return self._answers()
        except OSError:
            return False

    def _last_words(self) -> str:
        try:
            text = self.log.read_bytes()[-_LOG_TAIL:].decode("utf-8", errors="replace")
        except OSError:
            text = ""
        return f"see {self.log}, which ends with\n{text.strip()}"
