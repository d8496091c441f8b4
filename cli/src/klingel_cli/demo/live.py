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
from klingel_cli.demo.rehearsal import Recording, Say, Traffic, ring_recorded, ring_simulated

_LOOK_SECONDS: Final = 1.0
_LINE_SECONDS: Final = 5.0
_WINDOW: Final = 5_000


def show(
    fleet: Fleet, index: Index, source: Traffic | Recording | None, brand: str, console: Console
) -> None:
    """Ring and show it until KeyboardInterrupt.

    Args:
        fleet: with its services ready.
        index: of the fleet's prefix.
        source: who rings; None listens to the public network live.
        brand: for the title.
        console: of the operator.
    """
    sightings = Sightings(index, window=_WINDOW)
    sightings.start()
    try:
        if source is None:
            fleet.start("bluesky")
        elif isinstance(source, Traffic):
            ring_simulated(fleet, source)
        else:
            ring_recorded(fleet, source)
        around = Surroundings(
            title=f"{_who(source)} for {brand}",
            began_at=datetime.now(UTC),
            addresses=addresses(fleet),
            logs=str(fleet.folder / "logs"),
        )
        _follow(Observer(fleet, index, sightings).look, around, console)
    finally:
        sightings.stop()


def _follow(look: Callable[[], Snapshot], around: Surroundings, console: Console) -> None:
    if not console.is_terminal:
        while True:
            console.print(in_one_line(look()), soft_wrap=True)
            time.sleep(_LINE_SECONDS)
    with Live(
        console=console, auto_refresh=False, screen=True, vertical_overflow="ellipsis"
    ) as live:
        while True:
            live.update(draw(look(), around, console.width), refresh=True)
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
