"""`klingel index`: put the templates, or say what is wrong with them."""

import click

from klingel.contracts.resources import schemas_dir
from klingel_cli.search_client import ask
from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_indexer.templates import FOLDER, apply_templates, check_templates
from klingel_indexer.worker import template_overrides


@click.group("index")
def index_group() -> None:
    """Make and check Elasticsearch's templates.

    Indices come into being by their template at the first write of a month; the indexer waits
    until the templates are there.
    """


refresh_interval = click.option(
    "--refresh-interval",
    metavar="TIME",
    help="How soon a document is searchable, such as 1s; else "
    "KLINGEL_ELASTICSEARCH__REFRESH_INTERVAL.",
)


@index_group.command("apply")
@refresh_interval
@as_json
@pass_shell
def apply_index(shell: Shell, refresh_interval: str | None, *, as_json: bool) -> None:
    """Put all templates and bring existing indices up to them."""
    elasticsearch = shell.settings.elasticsearch
    folder = schemas_dir(shell.settings.schemas_dir) / FOLDER
    overrides = template_overrides(elasticsearch)
    if refresh_interval is not None:
        overrides["refresh_interval"] = refresh_interval
    done = ask(
        elasticsearch,
        lambda client: apply_templates(client, folder, elasticsearch.index_prefix, overrides),
    )
    if as_json:
        shell.tell({"applied": done})
    else:
        for name in done:
            shell.say(f"applied  {name}")
        shell.say(f"{len(done)} templates and indices at {elasticsearch.url}")


@index_group.command("check")
@refresh_interval
@as_json
@pass_shell
def check_index(shell: Shell, refresh_interval: str | None, *, as_json: bool) -> None:
    """Say which template is missing or differs; exit 1 when one does."""
    elasticsearch = shell.settings.elasticsearch
    folder = schemas_dir(shell.settings.schemas_dir) / FOLDER
    overrides = template_overrides(elasticsearch)
    if refresh_interval is not None:
        overrides["refresh_interval"] = refresh_interval
    found = ask(
        elasticsearch,
        lambda client: check_templates(client, folder, elasticsearch.index_prefix, overrides),
    )
    if as_json:
        shell.tell({"differences": found})
    else:
        for sentence in found:
            shell.say(f"{sentence}; `klingel index apply` mends it")
        if not found:
            shell.say(f"the templates at {elasticsearch.url} are as they shall be")
    if found:
        shell.found_wrong()
