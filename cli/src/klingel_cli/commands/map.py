"""`klingel map`: what a network's mapping makes of native deliveries, without any server."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import click

from klingel.errors import ConfigurationError
from klingel_cli.shell import Shell, pass_shell
from klingel_networks.contract import Network
from klingel_networks.mapped import map_delivery
from klingel_networks.registry import installed

_A_LINE_EACH = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
LARGEST = 64 << 20
"""Bytes of one file that is one delivery; more is a mistake."""


@click.command("map")
@click.argument("network_name", metavar="NETWORK")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE...",
)
@click.option(
    "--source",
    help="Authenticated source of the deliveries, part of their ids where the network's ids are its "
    "sources' own; the network's name by default.",
)
@click.option("--lines", is_flag=True, help="One delivery a line, whatever the file is called.")
@pass_shell
def map_command(
    shell: Shell, network_name: str, files: tuple[Path, ...], source: str | None, *, lines: bool
) -> None:
    """Map native deliveries of NETWORK to one line of JSON an object.

    Each line has `fate` (delivered, discarded or dead_lettered), and `event` or `reason`. A file
    called .jsonl, .ndjson (or these with .gz) holds one delivery a line; any other file is one
    delivery. `-` reads standard input.
    """
    registry = installed()
    manifest = registry.manifest(network_name)  # its error names the nearest network
    network = registry.network(network_name)
    if source is None and manifest.scope in {"source", "instance"}:
        source = network_name
    context = {} if source is None else {"source": source}
    for path in files:
        for body in deliveries(path, lines=lines):
            _map(shell, network, body, context)


def _map(shell: Shell, network: Network, body: bytes, context: dict[str, str]) -> None:
    try:
        mapped = map_delivery(network, body, context)
    except Exception as error:  # noqa: BLE001 - as a stage does: what our own code raises is a fate
        kind = type(error).__name__
        sentence = f"our own code raised {kind}"
        mapped = [{"fate": "dead_lettered", "reason": f"unhandled:{kind}", "sentence": sentence}]
    for told in mapped:
        shell.tell(told)


def deliveries(path: Path, *, lines: bool) -> Iterator[bytes]:
    """Yield the deliveries of a file; raises ConfigurationError when it cannot be read."""
    a_line_each = lines or path.name.lower().endswith(_A_LINE_EACH)
    try:
        with _opened(path) as file:
            if a_line_each:
                yield from (line.rstrip(b"\r\n") for line in file if line.strip())
                return
            body = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is no whole gzip file"
        raise ConfigurationError(f"{path}: {reason}; name a readable file") from None
    if len(body) > LARGEST:
        raise ConfigurationError(
            f"{path}: larger than {LARGEST >> 20} MiB; "
            "a file of many deliveries is called .jsonl, or take --lines"
        )
    yield body


def _opened(path: Path) -> BinaryIO:
    if str(path) == "-":
        return click.get_binary_stream("stdin")
    if path.name.lower().endswith(".gz"):
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")
