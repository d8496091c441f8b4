"""`klingel erase`: a person, an object or a case goes, everywhere, and stays gone."""

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import click

from klingel.contracts.blobs import BlobStore
from klingel.contracts.envelope import Output
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key
from klingel.domain.erasure import Subject as Kind
from klingel.errors import ConfigurationError
from klingel_cli import erasing
from klingel_cli.erasing import Reach, Subject
from klingel_cli.kafka import publish, reading
from klingel_cli.search_client import ask
from klingel_cli.shell import Shell, as_json, pass_shell

_LOOK_SECONDS: Final = 0.5


@click.command("erase")
@click.option("--author", metavar="NETWORK:ID", help="A person, by the id a network gave them.")
@click.option("--object", "object_id", metavar="OBJECT_ID", help="One post, mail or message.")
@click.option(
    "--case", "case_id", metavar="CASE_ID", help="A case, and what its customer said in it."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--wait",
    type=click.FloatRange(0, 86_400),
    default=60.0,
    show_default=True,
    help="Seconds until nothing may be found any more.",
)
@as_json
@pass_shell
def erase(
    shell: Shell,
    author: str | None,
    object_id: str | None,
    case_id: str | None,
    wait: float,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Erase a person, an object or a case; what the person says afterwards is heard.

    First it is told who was erased, as a hash that only KLINGEL_ERASURE__KEY makes: from then on
    nothing of before is heard again, through replays, imports and reindexing. Then the words go: by
    a deletion of each object, which every stage and the index follow, by the end of the cases, with
    the stored media that nothing else shows, and with the links to other ids of the person. Erase
    those too: `klingel customer show` tells them, before. Topics that delete by age hold words until
    then (docs/security.md says how long).

    The report names nobody: its subject is the hash. Running it again is harmless. Exit 1 when
    something is still to be found after --wait: run it again.
    """
    subject = _subject(author, object_id, case_id)
    secret = shell.settings.erasure.key
    if secret is None:
        raise ConfigurationError(
            "KLINGEL_ERASURE__KEY is not set: nobody could tell who was erased"
        )
    key, now = Key(secret.get_secret_value()), shell.now()
    where = shell.settings.elasticsearch
    begun = time.monotonic()
    found = ask(where, lambda client: erasing.reach(client, where.index_prefix, subject))
    report: dict[str, Any] = {
        "subject": key.hash(subject.kind, subject.name),
        "kind": subject.kind,
        "key_id": key.id,
        "erased_at": now.isoformat(),
        "objects": len(found.objects),
        "cases": len(found.cases),
        "media": len(found.media),
        "dry_run": dry_run,
    }
    if dry_run:
        report["links"] = len(_links(shell, subject))
    else:
        report |= _carry_out(shell, key, subject, found, now, wait)
        report["seconds"] = round(time.monotonic() - begun, 1)
    _say(shell, report, as_json=as_json)
    if report.get("left"):
        shell.found_wrong()


def _subject(author: str | None, object_id: str | None, case_id: str | None) -> Subject:
    named: dict[Kind, str | None] = {"author": author, "object": object_id, "case": case_id}
    given = [Subject(kind, name) for kind, name in named.items() if name is not None]
    if len(given) != 1:
        raise click.UsageError(
            "Name one: --author NETWORK:ID, --object OBJECT_ID or --case CASE_ID."
        )
    (subject,) = given
    network, colon, rest = subject.name.partition(":")
    if not (network and colon and rest):
        raise click.UsageError(
            f"--{subject.kind} is no id of that kind: one begins with its "
            f"{'brand' if subject.kind == 'case' else 'network'} and a colon."
        )
    return subject


def _carry_out(
    shell: Shell, key: Key, subject: Subject, found: Reach, now: datetime, wait: float
) -> dict[str, int]:
    """Erase what was found; returns what of it went, and what is left."""
    kafka, where = shell.settings.kafka, shell.settings.elasticsearch
    publish(kafka, erasing.told(key, subject, found, now))
    publish(kafka, erasing.deletions(found, now))
    media = _forget_media(shell, found)
    left = _await_end(shell, subject, wait)
    records = ask(
        where,
        lambda client: erasing.forget_cases(client, where.index_prefix, sorted(found.cases)),
    )
    # Last: by now no stage tells a link of what was said before.
    links = _links(shell, subject)
    publish(kafka, links)
    return {
        "media_removed": media,
        "left": left,
        "records_of_cases": records,
        "links": len(links),
    }


def _links(shell: Shell, subject: Subject) -> list[Output]:
    """Return what ends the links of a subject, as they are now."""
    with reading(shell.settings.kafka) as log:
        return erasing.links_gone(log.read_whole(Topic.IDENTITY_LINKS), subject)


def _forget_media(shell: Shell, found: Reach) -> int:
    """Remove stored media that nothing else shows; returns how many."""
    where, objects = shell.settings.elasticsearch, sorted(found.objects)
    blobs = BlobStore(shell.settings.blobs.dir)

    def shared(media: str) -> bool:
        return ask(
            where,
            lambda client: erasing.others_hold(client, where.index_prefix, media, objects),
        )

    wanted: Iterable[str] = filter(erasing.SHA256.fullmatch, sorted(found.media))
    return sum(blobs.forget(each) for each in wanted if not shared(each))


def _await_end(shell: Shell, subject: Subject, wait: float) -> int:
    """Return how many documents still tell of the subject when time is up; 0 ends the waiting."""
    where, deadline = shell.settings.elasticsearch, time.monotonic() + wait
    while True:
        held = ask(where, lambda client: erasing.left(client, where.index_prefix, subject))
        if not held or time.monotonic() >= deadline:
            return held
        time.sleep(_LOOK_SECONDS)


def _say(shell: Shell, report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        shell.tell(report)
        return
    verb = "would erase" if report["dry_run"] else "erased"
    shell.say(
        f"{verb} {report['kind']} {report['subject'][:16]}…: {report['objects']:,} objects, "
        f"{report['cases']:,} cases, {report['media']:,} media, {report['links']:,} links"
    )
    if report["dry_run"]:
        return
    shell.say(
        f"{report['media_removed']:,} media and {report['records_of_cases']:,} records of cases "
        f"removed, {report['left']:,} documents left after {report['seconds']} s"
    )
