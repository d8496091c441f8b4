"""`klingel import`: history into the platform, and from when on it may still open cases."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click
from msgspec import structs

from klingel.contracts.envelope import Output
from klingel.contracts.outputs import raw_output
from klingel.domain.identity import FIRST_BELIEVED
from klingel.errors import ConfigurationError
from klingel.model import RawEvent
from klingel_cli.backtesting import Heard, read_events
from klingel_cli.commands.map import deliveries
from klingel_cli.commands.remap import Moment
from klingel_cli.kafka import SOURCE, publish
from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_networks.registry import installed

_BATCH = 1000
LARGEST_BYTES = 512 * 1024
"""Of one native object; larger ones need the blob store, which connectors write."""


@click.command("import")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE...",
)
@click.option("--network", default="webhook", show_default=True, help="Whose deliveries they are.")
@click.option(
    "--source",
    help="Authenticated source of the deliveries, part of their ids; needed where an id is its "
    "source's own, as of webhook.",
)
@click.option(
    "--open-since",
    type=Moment(),
    help="What was said from this time on may open cases; without it nothing of the import does.",
)
@click.option("--dry-run", is_flag=True, help="Count alone, and send nothing.")
@as_json
@pass_shell
def import_command(
    shell: Shell,
    files: tuple[Path, ...],
    network: str,
    source: str | None,
    open_since: datetime | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send recorded deliveries the way of live ones: indexed, threaded, understood.

    History opens no case (mode `backfill`), but for what was said since --open-since, which counts
    like something a connector fetched later (mode `gap_fill`); older than the brand's
    max_open_age_days it opens nothing either way. Importing the same twice changes nothing.
    """
    installed().manifest(network)  # its error names the nearest network
    known = installed().network(network)
    now = shell.now()
    if open_since is not None and open_since > now:
        raise ConfigurationError("--open-since lies in the future")
    _check_source(network, source)
    heard = Heard()
    bodies = (body for path in files for body in deliveries(path, lines=path.suffix != ".json"))
    counts: Counter[str] = Counter({"backfill": 0, "gap_fill": 0, "too_large": 0})
    batch: list[Output] = []
    events = read_events(bodies, known, source, heard)
    for output in _outputs(events, open_since, now, counts):
        if dry_run:
            continue
        batch.append(output)
        if len(batch) >= _BATCH:
            publish(shell.settings.kafka, batch)
            batch.clear()
    publish(shell.settings.kafka, batch)
    _tell(shell, network, heard.refused, counts, dry_run=dry_run, as_json=as_json)
    if heard.refused or counts["too_large"]:
        shell.found_wrong()


def _check_source(network: str, source: str | None) -> None:
    """Raise ConfigurationError where ids need a source: another one makes other events of them."""
    if source is None and installed().manifest(network).scope in {"source", "instance"}:
        raise ConfigurationError(
            f"--source is missing: an id of {network} is its source's own; name the one that rings "
            "live, so that nothing is heard twice"
        )


def _tell(
    shell: Shell,
    network: str,
    reasons: Counter[str],
    counts: Counter[str],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    refused = sum(reasons.values())
    if as_json:
        told = {"network": network, "dry_run": dry_run, "refused": refused, "reasons": reasons}
        shell.tell({**told, **counts})
        return
    would = "would be sent" if dry_run else "sent"
    shell.say(
        f"{counts['backfill']:,} events {would} as history, {counts['gap_fill']:,} that may open cases"
    )
    if refused or counts["too_large"]:
        why = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
        shell.say(
            f"{refused:,} cannot be read{f' ({why})' if why else ''}, {counts['too_large']:,} are "
            f"larger than {LARGEST_BYTES:,} bytes; they are left out"
        )


def _outputs(
    events: list[RawEvent], open_since: datetime | None, now: datetime, counts: Counter[str]
) -> Iterator[Output]:
    for raw in events:
        if raw.native is not None and len(bytes(raw.native)) > LARGEST_BYTES:
            counts["too_large"] += 1
            continue
        # What tells no time of its own was given that of the one before it, or none at all.
        fresh = open_since is not None and raw.received_at >= max(open_since, FIRST_BELIEVED)
        mode = "gap_fill" if fresh else "backfill"
        counts[mode] += 1
        told = structs.replace(raw, mode=mode, received_at=now, connector="import")
        yield raw_output(told, SOURCE)
