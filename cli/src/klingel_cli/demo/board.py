"""The live board: a snapshot as something that rich can draw; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from klingel_cli.demo.observe import Snapshot

_CONTROL = dict.fromkeys((*range(32), 127), " ")
_MEGA = 1_000_000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What does not change while the board stands.

    Attributes:
        title: what rings, for whom.
        began_at: when it began.
        addresses: name and address, to open.
        logs: folder of the logs.
    """

    title: str
    began_at: datetime
    addresses: Sequence[tuple[str, str]]
    logs: str


def draw(snapshot: Snapshot, around: Surroundings, width: int = 120) -> RenderableType:
    """Return the whole board."""
    parts: list[RenderableType] = [
        Text(
            f"klingel  {around.title}  since {_span(snapshot.at - around.began_at)}  "
            "Ctrl-C stops everything",
            style="bold",
        ),
        *(Text(f"! {sentence}", style="bold red") for sentence in snapshot.fallen),
    ]
    if snapshot.trouble:
        parts.append(Text(f"! {snapshot.trouble}", style="bold red"))
    parts += [
        Text(),
        _stages(snapshot),
        Text(),
        Text(latency(snapshot), style="bold"),
        Text(f"dead letters: {_letters(snapshot)}"),
        Text(),
        _queues(snapshot),
        Text(),
        _posts(snapshot, width),
        Text(),
        *(Text(f"{name:<15}{address}", style="dim") for name, address in around.addresses),
        Text(f"{'logs':<15}{around.logs}", style="dim"),
    ]
    return Group(*parts)


def in_one_line(snapshot: Snapshot) -> str:
    """Return the board in one line, where there is no terminal to draw it on."""
    rates = ", ".join(
        f"{row.name} {row.per_second:.0f}/s"
        for row in snapshot.stages
        if row.per_second is not None
    )
    fallen = "".join(f" {sentence}." for sentence in snapshot.fallen)
    return f"{rates}; {latency(snapshot)}; dead letters: {_letters(snapshot)}.{fallen}"


def latency(snapshot: Snapshot) -> str:
    """Say how long it takes from received to searchable."""
    if snapshot.p50_seconds is None or snapshot.p99_seconds is None:
        return "received → searchable: nothing searchable yet"
    return (
        f"received → searchable: p50 {snapshot.p50_seconds:.1f} s, "
        f"p99 {snapshot.p99_seconds:.1f} s, {snapshot.searchable:,} so far"
    )


def shortened(text: str, length: int) -> str:
    """Return a post's text in one line of at most so many characters."""
    line = " ".join(text.translate(_CONTROL).split())
    line = "".join(character if character.isprintable() else "·" for character in line)
    return line if len(line) <= length else line[: max(0, length - 1)] + "…"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(
            name.removeprefix("#"),
            justify="right" if name.startswith("#") else "left",
            no_wrap=True,
        )
    return table


def _stages(snapshot: Snapshot) -> Table:
    table = _table("", "state", "#events/s", "#total", "#waiting", "#oldest", "#memory", "address")
    for row in snapshot.stages:
        fine = row.state in {"ready", "running", "finished"}
        style = "bold red" if row.fallen else ("green" if fine else "yellow")
        table.add_row(
            Text(row.name),
            Text(shortened(row.state, 60), style=style),
            "" if row.per_second is None else f"{row.per_second:,.0f}",
            "" if row.total is None else f"{row.total:,}",
            "" if row.waiting is None else f"{row.waiting:,}",
            "" if row.oldest_seconds is None else f"{row.oldest_seconds:,.1f} s",
            "" if row.resident_bytes is None else f"{row.resident_bytes / _MEGA:,.0f} MB",
            Text(row.address, style="dim"),
        )
    return table


def _queues(snapshot: Snapshot) -> Table:
    table = _table("queue", "#open cases", "#waiting for us", "#oldest waits")
    for row in snapshot.queues:
        oldest = "" if row.oldest is None else _span(snapshot.at - row.oldest)
        table.add_row(Text(row.queue), f"{row.cases:,}", f"{row.waiting:,}", oldest)
    if not snapshot.queues:
        table.add_row("no case yet", "", "", "")
    return table


def _posts(snapshot: Snapshot, width: int) -> Table:
    table = _table("routed last", "network", "queue", "#priority", "tone", "wants", "text")
    for row in snapshot.posts:
        table.add_row(
            f"{row.at:%H:%M:%S}",
            Text(row.network),
            Text(row.queue),
            str(row.priority),
            Text(row.tone),
            Text(", ".join(row.intents)),
            Text(shortened(row.text, max(20, width - 84))),
        )
    if not snapshot.posts:
        table.add_row("nothing yet", "", "", "", "", "", "")
    return table


def _letters(snapshot: Snapshot) -> str:
    if not snapshot.dead_letters:
        return "none"
    of = sorted(snapshot.dead_letters.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {kind}" for kind, count in of)


def _span(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
