"""`klingel index`: put the templates, say what is wrong with them, delete what is too old."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
from elasticsearch import AsyncElasticsearch

from klingel.config.brands import applied_brand
from klingel.contracts.resources import schemas_dir
from klingel.errors import InvalidMessage
from klingel_cli.commands.config import in_force
from klingel_cli.search_client import ask
from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_indexer.ageing import Aged, age_posts
from klingel_indexer.templates import FOLDER, apply_templates, check_templates
from klingel_indexer.worker import template_overrides

T = TypeVar("T")


@click.group("index")
def index_group() -> None:
    """Make and check Elasticsearch's templates; delete posts that are too old.

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
    done = _with_templates(shell, refresh_interval, apply_templates)
    if as_json:
        shell.tell({"applied": done})
    else:
        for name in done:
            shell.say(f"applied  {name}")
        shell.say(f"{len(done)} templates and indices at {shell.settings.elasticsearch.url}")


@index_group.command("check")
@refresh_interval
@as_json
@pass_shell
def check_index(shell: Shell, refresh_interval: str | None, *, as_json: bool) -> None:
    """Say which template is missing or differs; exit 1 when one does."""
    found = _with_templates(shell, refresh_interval, check_templates)
    if as_json:
        shell.tell({"differences": found})
    else:
        for sentence in found:
            shell.say(f"{sentence}; `klingel index apply` mends it")
        if not found:
            url = shell.settings.elasticsearch.url
            shell.say(f"the templates at {url} are as they shall be")
    if found:
        shell.found_wrong()


def _with_templates(
    shell: Shell,
    refresh_interval: str | None,
    work: Callable[[AsyncElasticsearch, Path, str, dict[str, Any]], Awaitable[T]],
) -> T:
    """Do something with the generated templates and the settings of every index."""
    elasticsearch = shell.settings.elasticsearch
    folder = schemas_dir(shell.settings.schemas_dir) / FOLDER
    overrides = template_overrides(elasticsearch)
    if refresh_interval is not None:
        overrides["refresh_interval"] = refresh_interval
    return ask(
        elasticsearch, lambda client: work(client, folder, elasticsearch.index_prefix, overrides)
    )


@index_group.command("age")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@as_json
@pass_shell
def age_index(shell: Shell, *, dry_run: bool, as_json: bool) -> None:
    """Delete posts that are older than their brand keeps them (retention.posts_days); run it daily.

    Exit 1 when there are posts of a brand whose retention is not known: it is not in force, or this
    version cannot read it. They are left.
    """
    now, cutoffs = shell.now(), {}
    for name, record in in_force(shell.settings.kafka).items():
        try:
            kept = applied_brand(record).brand.retention.posts_days
        except InvalidMessage:
            continue
        cutoffs[name] = now - timedelta(days=kept)
    elasticsearch = shell.settings.elasticsearch
    aged, left = ask(
        elasticsearch,
        lambda client: age_posts(client, elasticsearch.index_prefix, cutoffs, dry_run=dry_run),
    )
    if as_json:
        shell.tell({"aged": [each._asdict() for each in aged], "left": left, "dry_run": dry_run})
    else:
        _say_aged(shell, aged, left, dry_run=dry_run)
    if left:
        shell.found_wrong()


def _say_aged(shell: Shell, aged: list[Aged], left: list[str], *, dry_run: bool) -> None:
    verb = "would delete" if dry_run else "deleted"
    for each in aged:
        what = "the index" if each.whole else "of it"
        shell.say(f"{verb}  {each.name}: {what}, {each.documents:,} posts")
    for index in left:
        shell.say(f"left     {index}: the brand's retention is not known (klingel config diff)")
    if not aged and not left:
        shell.say("no post is older than its brand keeps it")
