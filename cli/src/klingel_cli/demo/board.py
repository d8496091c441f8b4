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
_LEAST_POSTS = 2
_WIDE_ALONE = frozenset({"network", "#priority", "wants"})
_SEVERE = 7
_SOON = timedelta(minutes=15)

WIDE = 132
"""Columns from which on queues and promises stand side by side, and stages tell their address."""


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


def draw(
    snapshot: Snapshot, around: Surroundings, width: int = 120, height: int | None = None
) -> RenderableType:
    """Return the whole board.

    Args:
        snapshot: what it shows.
        around: what stands still.
        width: columns of the terminal; from WIDE on queues and promises stand side by side.
        height: its lines, to which the newest posts give way; None for no end of them.
    """
    parts: list[RenderableType] = [
        Text(
            f"klingel  {around.title}  since {_span(snapshot.at - around.began_at)}  "
            "Ctrl-C stops everything",
            style="bold",
            no_wrap=True,
            overflow="ellipsis",
        ),
        *(Text(f"! {sentence}", style="bold red") for sentence in snapshot.fallen),
    ]
    if snapshot.trouble:
        parts.append(Text(f"! {snapshot.trouble}", style="bold red"))
    parts += [
        Text(),
        _stages(snapshot, width),
        Text(),
        Text(latency(snapshot), style="bold"),
        Text(f"by network: {_networks(snapshot)}", no_wrap=True, overflow="ellipsis"),
        Text(f"dead letters: {_letters(snapshot)}"),
        Text(),
        *_beside(_queues(snapshot), _due(snapshot), width),
        Text(),
        _matters(snapshot, width),
        Text(),
        _told(snapshot, width),
        Text(),
    ]
    footer = 1 + len(around.addresses) + 1
    lines = sum(_lines(part) for part in parts) + 1 + footer
    rows = len(snapshot.posts) if height is None else max(_LEAST_POSTS, height - lines)
    parts += [
        _posts(snapshot, width, rows),
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
    care = snapshot.care
    promises = (
        f"{care.late:,} late, {len(care.alerts)} alerts, {len(care.incidents)} incidents, "
        f"{snapshot.told.count:,} told"
    )
    letters = f"dead letters: {_letters(snapshot)}"
    heard = f"by network: {_networks(snapshot)}"
    return f"{rates}; {latency(snapshot)}; {heard}; {promises}; {letters}.{fallen}"


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


def _lines(part: RenderableType) -> int:
    """Return how many lines a part takes, none of which is wrapped."""
    if not isinstance(part, Table):
        return 1
    if part.show_header:
        return part.row_count + 1
    return max(_lines(cell) for column in part.columns for cell in column.cells)


def _beside(left: Table, right: Table, width: int) -> Sequence[RenderableType]:
    """Return two tables side by side where there is room, else one below the other."""
    if width < WIDE:
        return left, Text(), right
    both = Table.grid(padding=(0, 4, 0, 0))
    both.add_row(left, right)
    return (both,)


def _stages(snapshot: Snapshot, width: int) -> Table:
    columns = ["", "state", "#events/s", "#total", "#waiting", "#oldest", "#memory"]
    table = _table(*columns, *(["address"] if width >= WIDE else []))
    for row in snapshot.stages:
        fine = row.state in {"ready", "running", "finished"}
        style = "bold red" if row.fallen else ("green" if fine else "yellow")
        cells: list[RenderableType] = [
            Text(row.name),
            Text(shortened(row.state, 60), style=style),
            "" if row.per_second is None else f"{row.per_second:,.0f}",
            "" if row.total is None else f"{row.total:,}",
            "" if row.waiting is None else f"{row.waiting:,}",
            "" if row.oldest_seconds is None else f"{row.oldest_seconds:,.1f} s",
            "" if row.resident_bytes is None else f"{row.resident_bytes / _MEGA:,.0f} MB",
            Text(row.address, style="dim"),
        ]
        table.add_row(*cells[: len(table.columns)])
    return table


def _queues(snapshot: Snapshot) -> Table:
    table = _table("queue", "#open cases", "#waiting for us", "#oldest waits")
    for row in snapshot.queues:
        oldest = "" if row.oldest is None else _span(snapshot.at - row.oldest)
        table.add_row(Text(row.queue), f"{row.cases:,}", f"{row.waiting:,}", oldest)
    if not snapshot.queues:
        table.add_row("no case yet", "", "", "")
    return table


def _due(snapshot: Snapshot) -> Table:
    care = snapshot.care
    table = _table(f"due next ({care.late:,} late)", "queue", "network", "clock", "#prio", "agent")
    for row in care.due:
        left = row.due_at - snapshot.at
        late = left < timedelta()
        due = f"late by {_span(-left)}" if late else f"in {_span(left)}"
        soon = left < _SOON
        table.add_row(
            Text(due, style="bold red" if late else ("yellow" if soon else "")),
            Text(shortened(row.queue, 20)),
            Text(shortened(row.network, 12)),
            Text(row.clock.replace("_", " ")),
            f"{row.priority:,}",
            Text(shortened(row.assignee, 12) or "-"),
        )
    if not care.due:
        table.add_row("no clock runs")
    return table


def _matters(snapshot: Snapshot, width: int) -> Table:
    """Return the alerts and incidents that stand, each with what it rests on."""
    columns = ["brewing", "what", "#severity", "#authors"]
    is_wide = width >= WIDE
    table = _table(*columns, *(["since"] if is_wide else []), "terms")
    room = max(20, width - (94 if is_wide else 66))

    def add(
        kind: Text, what: str, severity: str, authors: int, since: datetime, terms: str
    ) -> None:
        at = [f"{since:%H:%M:%S}"] if is_wide else []
        words = Text(shortened(terms, room))
        table.add_row(kind, Text(shortened(what, 40)), severity, f"{authors:,}", *at, words)

    for alert in snapshot.care.alerts:
        style = "bold red" if alert.severity >= _SEVERE else "yellow"
        what = f"{alert.kind.replace('_', ' ')}: {alert.topic or 'the whole brand'}"
        terms = ", ".join(alert.terms)
        kind = Text("alert", style=style)
        add(kind, what, str(alert.severity), alert.authors, alert.since, terms)
    for incident in snapshot.care.incidents:
        kind = Text("incident", style="bold red")
        what = f"{incident.kind.replace('_', ' ')} ({incident.lang}), {incident.count:,} posts"
        add(kind, what, "", incident.authors, incident.since, ", ".join(incident.terms))
    if not table.row_count:
        table.add_row("nothing")
    return table


def _told(snapshot: Snapshot, width: int) -> Table:
    told = snapshot.told
    table = _table(f"told last ({told.count:,} so far)", "what")
    for row in told.newest:
        where = shortened(row.where, 28)
        table.add_row(Text(where), Text(shortened(row.title, max(20, width - 32))))
    if not told.newest:
        table.add_row("nobody yet")
    return table


def _posts(snapshot: Snapshot, width: int, rows: int) -> Table:
    is_wide = width >= WIDE
    names = ("routed last", "network", "queue", "#priority", "tone", "wants", "text")
    shown = [name for name in names if is_wide or name not in _WIDE_ALONE]
    table = _table(*shown)
    room = max(20, width - (84 if is_wide else 42))
    for row in snapshot.posts[:rows]:
        cells: dict[str, RenderableType] = {
            "routed last": f"{row.at:%H:%M:%S}",
            "network": Text(row.network),
            "queue": Text(row.queue),
            "#priority": str(row.priority),
            "tone": Text(row.tone),
            "wants": Text(", ".join(row.intents)),
            "text": Text(shortened(row.text, room)),
        }
        table.add_row(*(cells[name] for name in shown))
    if not snapshot.posts:
        table.add_row("nothing yet")
    return table


def _letters(snapshot: Snapshot) -> str:
    if not snapshot.dead_letters:
        return "none"
    of = sorted(snapshot.dead_letters.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {kind}" for kind, count in of)


def _networks(snapshot: Snapshot) -> str:
    """Say how many posts of each network are searchable, most first."""
    rows = sorted(snapshot.networks.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count:,}" for name, count in rows) or "nothing yet"


def _span(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
