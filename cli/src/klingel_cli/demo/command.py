"""The command itself."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from klingel.config.loader import load_brand
from klingel_cli.demo.check import Result, check
from klingel_cli.demo.index import Index
from klingel_cli.demo.live import show, stop, write_environment
from klingel_cli.demo.processes import Fleet, FleetError
from klingel_cli.demo.rehearsal import (
    AT_A_CALM_DAY,
    SERVICES,
    Recording,
    Traffic,
    brand_file,
    calm_brand,
    demo_folder,
    furnish,
    open_services,
    stage_set,
)
from klingel_cli.demo.signals import ended_by_signals, undisturbed
from klingel_cli.shell import FOUND_WRONG, WRONG_USAGE, Failure, Number, Seconds, Shell, pass_shell
from klingel_local.errors import LocalStackError

_BLUESKY_SHARE = 2 / 3
_NETWORKS_SHARE = 1 / 30
"""Of X, WhatsApp, Facebook and mail, beside the others."""
_OVERDUE_OF_FEW = 0.4
_OVERDUE_OF_MANY = 0.02


@click.command("demo")
@click.option("--check", "is_check", is_flag=True, help="Ring for a bounded time, judge, end.")
@click.option(
    "--input",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Ring with recorded events (NDJSON, plain or .gz) instead of the simulated networks.",
)
@click.option(
    "--network",
    type=click.Choice(["bluesky"]),
    help="Listen live to this network; with --input: whose deliveries the files hold.",
)
@click.option(
    "--brand",
    "brand_path",
    type=click.Path(path_type=Path),
    help="Brand file; brands/nordlicht.yaml without it.",
)
@click.option(
    "--events",
    type=click.IntRange(30, 10_000_000),
    default=9_000,
    show_default=True,
    help="Of the simulated networks, with --check; without, they ring without end.",
)
@click.option(
    "--rate",
    type=Number(0, 100_000),
    help="Events a second, 0 as fast as they come; 300 with --check, else 100.",
)
@click.option(
    "--calm-day/--no-calm-day",
    default=True,
    help="First replay a day without a crisis (3 minutes; a brief one with --check), so that early "
    "warning knows what is usual; without it the networks ring at once, and of the brand alone.",
)
@click.option("--seed", default=7, show_default=True, help="Same seed, same traffic.")
@click.option(
    "--timeout",
    "seconds",
    type=Seconds(1, 86_400),
    default=300.0,
    show_default=True,
    help="Bound of each wait, seconds.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where everything lies; .klingel/demo of the checkout without it. It is wiped.",
)
@pass_shell
def demo(
    shell: Shell,
    *,
    is_check: bool,
    files: tuple[Path, ...],
    network: str | None,
    brand_path: Path | None,
    events: int,
    rate: float | None,
    calm_day: bool,
    seed: int,
    seconds: float,
    folder: Path | None,
) -> None:
    """Ring: real Kafka, real Elasticsearch, every service, an example brand, a live board.

    Ctrl-C stops everything. With --check it rings for a bounded time without a terminal, waits
    until all is indexed, and prints one line of JSON; exit 1 when anything was lost or doubled, or
    when one of the things that the example brand must come to was not seen: running clocks, a
    warning, a breach, an escalation that the receiver got, an alert with evidence, an incident.
    """
    brand = brand_path or brand_file()
    name = load_brand(brand).brand.brand
    pace = rate if rate is not None else (300.0 if is_check else 100.0)
    source = _source(
        files, network, events if is_check else 0, pace, seed, is_example=brand_path is None
    )
    if isinstance(source, Traffic) and calm_day and not is_check and pace > 0:
        source = replace(source, overdue=_OVERDUE_OF_FEW, calm_day=True)
    if isinstance(source, Traffic) and calm_day and is_check and source.networks is not None:
        source = replace(source, brief_day=True)
    if is_check and source is None:
        raise Failure("--check judges what was sent; a live network keeps no list", WRONG_USAGE)
    where = (folder or demo_folder()).absolute()
    result = None
    try:
        with ended_by_signals(), stage_set(where, _say) as stack:
            fleet = Fleet(stack, where)
            try:
                result = _run(shell, fleet, brand, name, source, seconds if is_check else None)
            finally:
                with undisturbed():
                    well = stop(fleet, _say)
    except (FleetError, LocalStackError) as error:
        raise Failure(str(error), FOUND_WRONG) from None
    if result is not None:
        _tell(shell, result)
    elif not well:
        shell.found_wrong()


def _run(
    shell: Shell,
    fleet: Fleet,
    brand: Path,
    name: str,
    source: Traffic | Recording | None,
    seconds: float | None,
) -> Result | None:
    """Open everything and ring: within `seconds` and judged, or shown until Ctrl-C."""
    furnish(fleet, brand, _say)
    services: tuple[str, ...] = SERVICES
    if isinstance(source, Traffic) and (source.calm_day or source.brief_day):
        fleet.klingel("config", "apply", str(calm_brand(fleet, brand)))
        services = AT_A_CALM_DAY
    write_environment(fleet)
    open_services(fleet, _say, brand, services)
    index = Index(fleet.servers, fleet.read_settings().elasticsearch.index_prefix)
    try:
        if seconds is not None:
            assert source is not None
            return check(fleet, index, source, brand, seconds, _say)
        with suppress(KeyboardInterrupt):
            show(fleet, index, source, brand, name, shell.out)
        return None
    finally:
        index.close()


def _source(
    files: tuple[Path, ...],
    network: str | None,
    events: int,
    rate: float,
    seed: int,
    *,
    is_example: bool,
) -> Traffic | Recording | None:
    """Return who rings; None for a live network. Only the example brand has the accounts of all."""
    if files:
        return Recording(files, network or "replay", rate)
    if network:
        return None
    bluesky, networks = round(events * _BLUESKY_SHARE), round(events * _NETWORKS_SHARE)
    overdue = _OVERDUE_OF_FEW if events else _OVERDUE_OF_MANY
    return Traffic(seed, bluesky, events - bluesky, networks if is_example else None, rate, overdue)


def _tell(shell: Shell, result: Result) -> None:
    for sentence in result.sentences():
        _say(sentence)
    click.echo(json.dumps(result.told()))
    if not result.passed:
        shell.found_wrong()


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)
