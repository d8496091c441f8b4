"""The live demo: rings until Ctrl-C, and shows what happens."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live

from klingel_cli.demo.board import Surroundings, draw, in_one_line
from klingel_cli.demo.index import Index, Sightings
from klingel_cli.demo.observe import Observer, Snapshot
from klingel_cli.demo.processes import SOURCE, Fleet
from klingel_cli.demo.rehearsal import (
    Recording,
    Say,
    Traffic,
    replay_calm_day,
    ring_recorded,
    ring_simulated,
)

_LOOK_SECONDS: Final = 1.0
_LINE_SECONDS: Final = 5.0
_WINDOW: Final = 5_000
_LAG: Final = "klingel_lag_messages"
_HEARERS: Final = ("understand-0", "care-0")


def show(
    fleet: Fleet,
    index: Index,
    source: Traffic | Recording | None,
    brand: Path,
    name: str,
    console: Console,
) -> None:
    """Ring and show it until KeyboardInterrupt.

    Args:
        fleet: with its services ready.
        index: of the fleet's prefix.
        source: who rings; None listens to the public network live.
        brand: its file, put in force once a calm day is over.
        name: of the brand, for the title.
        console: of the operator.
    """
    sightings = Sightings(index, window=_WINDOW)
    sightings.start()
    began_at, places = datetime.now(UTC), addresses(fleet)
    play = _Play(fleet, source, brand)

    def around() -> Surroundings:
        title = f"{play.who} for {name}"
        return Surroundings(title, began_at, places, str(fleet.folder / "logs"))

    try:
        play.begin()
        _follow(Observer(fleet, index, sightings).look, around, play.go_on, console)
    finally:
        sightings.stop()


class _Play:
    """Who rings, one after the other: a calm day where one is wanted, then the source itself."""

    def __init__(self, fleet: Fleet, source: Traffic | Recording | None, brand: Path) -> None:
        self._fleet = fleet
        self._source = source
        self._brand = brand
        self._is_calm = isinstance(source, Traffic) and source.calm_day
        self.who = ""

    def begin(self) -> None:
        """Let the first one ring; raises FleetError."""
        if self._is_calm and isinstance(self._source, Traffic):
            self.who = "first a calm day is replayed: early warning learns what is usual,"
            replay_calm_day(self._fleet, self._source)
        else:
            self._ring()

    def go_on(self) -> None:
        """Let the next one ring once the one before is through; raises FleetError."""
        if not self._is_calm or self._fleet["replay-0"].running:
            return
        if "watch-0" not in self._fleet.children:
            if self._has_read(*_HEARERS):
                self._fleet.start("watch")
        elif self._fleet.readiness("watch-0").ready and self._has_read("watch-0"):
            self._is_calm = False
            self._fleet.klingel("config", "apply", str(self._brand))
            self._ring()

    def _has_read(self, *names: str) -> bool:
        """Whether nothing waits for these processes; not while one of them does not tell."""
        for name in names:
            lags = [each.value for each in self._fleet.metrics(name) if each.name == _LAG]
            if not lags or any(lags):
                return False
        return True

    def _ring(self) -> None:
        self.who = _who(self._source)
        if self._source is None:
            self._fleet.start("bluesky")
        elif isinstance(self._source, Traffic):
            ring_simulated(self._fleet, self._source)
        else:
            ring_recorded(self._fleet, self._source)


def _follow(
    look: Callable[[], Snapshot],
    around: Callable[[], Surroundings],
    go_on: Callable[[], None],
    console: Console,
) -> None:
    if not console.is_terminal:
        while True:
            console.print(in_one_line(look()), soft_wrap=True)
            go_on()
            time.sleep(_LINE_SECONDS)
    with Live(
        console=console, auto_refresh=False, screen=True, vertical_overflow="ellipsis"
    ) as live:
        while True:
            board = draw(look(), around(), console.width, console.height)
            live.update(board, refresh=True)
            go_on()
            time.sleep(_LOOK_SECONDS)


def _who(source: Traffic | Recording | None) -> str:
    if source is None:
        return "the public Bluesky rings"
    return "simulated networks ring" if isinstance(source, Traffic) else "recorded events ring"


def addresses(fleet: Fleet) -> Sequence[tuple[str, str]]:
    """Return what one may open or post to, by name."""
    gateway = fleet["gateway-0"].port
    return (
        ("Elasticsearch", f"{fleet.servers.elasticsearch_url}/_cat/indices?v&s=index"),
        ("Kafka", fleet.servers.bootstrap),
        ("contact form", f"http://127.0.0.1:{gateway}/form/{SOURCE}"),
        ("Kibana", "with Docker: docker compose up"),
        ("your commands", f". {environment_file(fleet)}; klingel search nordbox; klingel status"),
    )


def environment_file(fleet: Fleet) -> Path:
    """Return where the settings lie with which further commands reach this demo."""
    return fleet.folder / "environment"


def write_environment(fleet: Fleet) -> None:
    """Write the settings for a shell to read; it may hold a password, so nobody else may."""
    path = environment_file(fleet)
    path.touch(mode=0o600)
    lines = (f"export {name}='{value}'\n" for name, value in fleet.environ().items())
    path.write_text("".join(lines), encoding="utf-8")


def stop(fleet: Fleet, say: Say) -> bool:
    """Stop every process, the sources first; return whether all ended well."""
    running = [name for name, child in fleet.children.items() if child.running]
    if running:
        say(f"Stopping {', '.join(reversed(running))}.")
    told = fleet.stop_all()
    for sentence in told:
        say(sentence)
    return not told
