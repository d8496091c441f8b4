"""`klingel kibana`: give Kibana its data views, saved searches and dashboards."""

import re
from pathlib import Path

import click

from klingel.settings import SPACE
from klingel_cli.kibana.client import import_objects
from klingel_cli.kibana.definitions import Definitions, definitions_dir, load
from klingel_cli.kibana.objects import ndjson, saved_objects
from klingel_cli.shell import Shell, as_json, pass_shell


@click.group("kibana")
def kibana_group() -> None:
    """Give Kibana its data views, saved searches and dashboards.

    They follow from short definitions (`deploy/kibana`). Applying again overwrites, never adds.
    """


def _space(_ctx: click.Context, _param: click.Parameter, name: str | None) -> str | None:
    """Refuse what is no name of a space: it becomes part of an address."""
    if name is not None and not re.fullmatch(SPACE, name):
        raise click.BadParameter("small letters, digits, - and _")
    return name


from_folder = click.option(
    "--from",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of definitions; else those of this version.",
)
in_space = click.option(
    "--space",
    metavar="NAME",
    callback=_space,
    help="Space of Kibana; else KLINGEL_KIBANA__SPACE.",
)


@kibana_group.command("apply")
@from_folder
@in_space
@as_json
@pass_shell
def apply_kibana(shell: Shell, folder: Path | None, space: str | None, *, as_json: bool) -> None:
    """Import all objects into Kibana; exit 1 when it does not take one."""
    kibana = shell.settings.kibana
    space = space or kibana.space
    definitions = load(definitions_dir(folder))
    done = import_objects(kibana, space, _objects(shell, definitions, space))
    if as_json:
        shell.tell({"imported": done.taken, "errors": list(done.errors)})
    else:
        for sentence in done.errors:
            shell.say(f"not taken  {sentence}")
        names = ", ".join(board.title for board in definitions.dashboards)
        shell.say(f"{done.taken} objects in the space {space} at {kibana.url}; dashboards: {names}")
    if done.errors:
        shell.found_wrong()


@kibana_group.command("show")
@from_folder
@in_space
@pass_shell
def show_kibana(shell: Shell, folder: Path | None, space: str | None) -> None:
    """Print all objects as NDJSON, as Kibana's own import by hand takes it."""
    space = space or shell.settings.kibana.space
    shell.say(_objects(shell, load(definitions_dir(folder)), space).decode().rstrip("\n"))


def _objects(shell: Shell, definitions: Definitions, space: str) -> bytes:
    prefix = shell.settings.elasticsearch.index_prefix
    return ndjson(saved_objects(definitions, prefix, space))
