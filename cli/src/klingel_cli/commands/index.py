"""`klingel index`: templates, roles and keys, and deleting what is too old."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click
from elasticsearch import AsyncElasticsearch

from klingel.config.brands import applied_brand
from klingel.contracts.blobs import AgedBlobs, BlobStore
from klingel.contracts.resources import schemas_dir
from klingel.contracts.topics import Topic
from klingel.errors import ConfigurationError, InvalidMessage
from klingel.settings import KafkaSettings
from klingel_cli import topics
from klingel_cli.commands.config import in_force
from klingel_cli.erasing import log_bounds
from klingel_cli.kafka import admin
from klingel_cli.search_client import ask, of_security
from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_indexer.ageing import Aged, Cutoffs, age_documents
from klingel_indexer.convert import dead_letters_index, status_index
from klingel_indexer.roles import BRAND, make_key, put_roles, roles
from klingel_indexer.templates import FOLDER, apply_templates, check_templates
from klingel_indexer.worker import template_overrides

T = TypeVar("T")
_REFERRING: Final = frozenset({Topic.RAW_EVENTS, Topic.UNTHREADED_EVENTS, Topic.DEAD_LETTERS})
"""Topics whose records name originals that lie in the folder of blobs."""
_A_DAY: Final = timedelta(days=1)


@click.group("index")
def index_group() -> None:
    """Make and check Elasticsearch's templates; roles and keys; delete what is too old.

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


@index_group.command("roles")
@click.option("--apply", "changes", is_flag=True, help="Put the roles into Elasticsearch.")
@click.option("--brand", metavar="BRAND", help="Readers and editors see this brand alone.")
@as_json
@pass_shell
def index_roles(shell: Shell, brand: str | None, *, changes: bool, as_json: bool) -> None:
    """Say what the roles of Elasticsearch are; with --apply, put them (needs manage_security).

    Names begin with KLINGEL_ELASTICSEARCH__INDEX_PREFIX and, for one brand's readers, end in the
    brand.
    """
    elasticsearch = shell.settings.elasticsearch
    named = {
        _role_name(elasticsearch.index_prefix, name, brand): body
        for name, body in roles(elasticsearch.index_prefix, _brand(brand)).items()
        if brand is None or name in {"reader", "editor"}
    }
    if changes:
        mend = "this version of it may know other rights"
        ask(
            elasticsearch,
            lambda client: of_security(elasticsearch, put_roles(client, named), mend=mend),
        )
    if as_json:
        shell.tell({"applied" if changes else "roles": named})
        return
    for name, body in named.items():
        shell.say(f"{'applied  ' if changes else ''}{name}")
        shell.say(f"  cluster  {', '.join(body['cluster']) or '-'}")
        for each in body["indices"]:
            shell.say(f"  {', '.join(each['names'])}  {', '.join(each['privileges'])}")
        for each in body.get("applications", ()):
            shell.say(f"  {each['application']}  {', '.join(each['privileges'])}")


def _role_name(prefix: str, name: str, brand: str | None) -> str:
    return f"{prefix}{name}" if brand is None else f"{prefix}{name}-{brand}"


def _brand(brand: str | None) -> str | None:
    if brand is not None and not BRAND.fullmatch(brand):
        raise ConfigurationError("--brand: lower case, digits and hyphens, such as nordlicht")
    return brand


@index_group.command("key")
@click.argument("role", type=click.Choice(["indexer", "cli"]))
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True)
@as_json
@pass_shell
def index_key(shell: Shell, role: str, days: int, *, as_json: bool) -> None:
    """Make an API key with the rights of a role and print it, once: nobody can look it up again.

    It goes into KLINGEL_ELASTICSEARCH__API_KEY (or a file: KLINGEL_ELASTICSEARCH__API_KEY_FILE).
    """
    elasticsearch = shell.settings.elasticsearch
    prefix = elasticsearch.index_prefix
    body = roles(prefix)[role]
    mend = "a user makes keys, who may `manage_api_key`; another key does not"
    made = ask(
        elasticsearch,
        lambda client: of_security(
            elasticsearch, make_key(client, f"{prefix}{role}", body, days), mend=mend
        ),
    )
    if as_json:
        shell.tell(made)
    else:
        shell.say(made["encoded"])


@index_group.command("age")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@as_json
@pass_shell
def age_index(shell: Shell, *, dry_run: bool, as_json: bool) -> None:
    """Delete documents, media and originals that are older than they are kept; run it daily.

    The brand's file says how long: `retention.posts_days`, `cases_days` after a case has ended, and
    `warnings_days` for alerts and incidents. Dead letters and the status of connectors are of no
    brand: KLINGEL_ELASTICSEARCH__DEAD_LETTERS_DAYS and KLINGEL_ELASTICSEARCH__STATUS_DAYS.

    Media and large originals in the folder of KLINGEL_BLOBS__DIR go a day after the last record or
    document that can refer to them: the longest `posts_days` of all brands, or as long as Kafka keeps
    raw events and dead letters. A bucket deletes by a rule of its own.

    Exit 1 when there are documents of a brand whose retention is not known: it is not in force, or
    this version cannot read it. They are left, and so are media and originals.
    """
    settings, now = shell.settings, shell.now()
    elasticsearch, prefix = settings.elasticsearch, settings.elasticsearch.index_prefix
    brands, unread = _kept(shell)
    letters = now - timedelta(days=elasticsearch.dead_letters_days)
    others = {
        dead_letters_index(prefix): ("indexed_at", letters),
        status_index(prefix): ("at", now - timedelta(days=elasticsearch.status_days)),
    }
    aged, left = ask(
        elasticsearch,
        lambda client: age_documents(client, prefix, brands, others, dry_run=dry_run),
    )
    held = referring(settings.kafka)
    bound = blobs_bound(brands, held, letters, now, unknown=bool(left or unread))
    gone = AgedBlobs(0, 0)
    if bound.before is not None:
        gone = BlobStore(settings.blobs.dir).age(bound.before, dry_run=dry_run)
    if as_json:
        shell.tell(
            {
                "aged": [each._asdict() for each in aged],
                "left": left,
                "blobs": {
                    **gone._asdict(),
                    "older_than": bound.before.isoformat() if bound.before else None,
                    "left_because": bound.left_because,
                },
                "dry_run": dry_run,
            }
        )
    else:
        _say_aged(shell, aged, left, dry_run=dry_run)
        _say_blobs(shell, gone, bound, dry_run=dry_run)
    if left:
        shell.found_wrong()


def _kept(shell: Shell) -> tuple[dict[str, Cutoffs], int]:
    """Return what each brand in force keeps, and of how many that cannot be read."""
    now, cutoffs, unread = shell.now(), dict[str, Cutoffs](), 0
    for name, record in in_force(shell.settings.kafka).items():
        try:
            kept = applied_brand(record).brand.retention
        except InvalidMessage:
            unread += 1
            continue
        days = (kept.posts_days, kept.cases_days, kept.warnings_days)
        cutoffs[name] = Cutoffs(*(now - timedelta(days=each) for each in days))
    return cutoffs, unread


class BlobsBound(NamedTuple):
    """Before what media and originals go; None, and why, where none may."""

    before: datetime | None
    left_because: str | None = None


def blobs_bound(
    brands: Mapping[str, Cutoffs],
    held: Mapping[str, Mapping[str, str]],
    letters: datetime,
    now: datetime,
    *,
    unknown: bool,
) -> BlobsBound:
    """Return before what nothing can refer to a medium or an original any more.

    Args:
        brands: what each keeps.
        held: of the topics that name originals, the configuration as Kafka names it; empty where it
            is not told.
        letters: how far back index cards of dead letters go, aware.
        now: aware.
        unknown: some brand's retention is not known.
    """
    if unknown:
        return BlobsBound(None, "how long a brand keeps its posts is not known")
    if not brands:
        return BlobsBound(None, "no brand is in force")
    lasting = log_bounds(held, now)
    forever = sorted(held.keys() - lasting.keys())
    if forever:
        return BlobsBound(None, f"Kafka keeps {forever[0]} for ever, or does not say how long")
    posts = min(each.posts for each in brands.values())
    records = [now - (until - now) for until in lasting.values()]
    return BlobsBound(min([posts, letters, *records]) - _A_DAY)


def referring(kafka: KafkaSettings) -> dict[str, Mapping[str, str]]:
    """Return how Kafka keeps the topics whose records name originals; nothing where it is not told.

    Kafka does not list what one may not describe: a topic that is not told of may hold anything.
    """
    wanted = [each for each in topics.wanted(kafka) if each.spec.name in _REFERRING]
    with admin(kafka) as client:
        told = topics.describe(client, wanted)
    return {each.name: told[each.name].config if each.name in told else {} for each in wanted}


def _say_aged(shell: Shell, aged: list[Aged], left: list[str], *, dry_run: bool) -> None:
    verb = "would delete" if dry_run else "deleted"
    for each in aged:
        what = "the index" if each.whole else "of it"
        shell.say(f"{verb}  {each.name}: {what}, {each.documents:,} documents")
    for index in left:
        shell.say(f"left     {index}: the brand's retention is not known (klingel config diff)")
    if not aged and not left:
        shell.say("no document is older than its brand keeps it")


def _say_blobs(shell: Shell, gone: AgedBlobs, bound: BlobsBound, *, dry_run: bool) -> None:
    if bound.before is None:
        shell.say(f"left     media and originals: {bound.left_because}")
    elif gone.files:
        verb = "would delete" if dry_run else "deleted"
        shell.say(
            f"{verb}  media and originals stored before {bound.before:%Y-%m-%d}: "
            f"{gone.files:,} files, {gone.bytes:,} bytes"
        )
