"""`klingel erase`: a person, an object or a case goes, everywhere, and stays gone."""

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import click
from elasticsearch import AsyncElasticsearch

from klingel.clock import SystemClock
from klingel.contracts.blobs import BlobStore
from klingel.contracts.envelope import Output
from klingel.contracts.shown import Folder
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, Suppressed
from klingel.domain.erasure import Subject as Kind
from klingel.errors import ConfigurationError
from klingel.settings import KafkaSettings
from klingel_cli import erasing, topics
from klingel_cli.erasing import Reach, Subject
from klingel_cli.kafka import Log, admin, publish, reading
from klingel_cli.search_client import ask
from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_networks.object_store import S3Settings, S3Store, s3_settings

_LOOK_SECONDS: Final = 0.5
_LOOKS: Final = 3
"""At alerts and incidents: what watch writes meanwhile is met by the next."""
_SETTLED: Final = timedelta(seconds=30)
"""After a demand nothing of before it is on its way any more: every stage has read it."""
_WITHOUT_WORDS: Final = frozenset(
    {Topic.STAGE_LEDGER, Topic.UNDERSTAND_MARKS, Topic.CONNECTOR_LEASES, Topic.CONNECTOR_STATUS}
)
"""Topics that delete by time and hold nothing of a person."""
_NO_KEY: Final = (
    "klingel: KLINGEL_ERASURE__KEY is not set: whom networks demand to erase is not erased, and only "
    "media of deleted posts go"
)
NOT_REACHED: Final = (
    "files that people saved from klingel search, klingel backtest or Kibana",
    "snapshots of Elasticsearch and backups of Kafka's and the processors' disks",
    "indices of other prefixes: klingel reindex takes out what was erased before it copies",
    "what the notifier told others: chats, tickets, mails",
)
"""Copies that klingel does not know of, named in the report so that somebody looks."""


@click.command("erase")
@click.option("--author", metavar="NETWORK:ID", help="A person, by the id a network gave them.")
@click.option("--object", "object_id", metavar="OBJECT_ID", help="One post, mail or message.")
@click.option(
    "--case", "case_id", metavar="CASE_ID", help="A case, and what its customer said in it."
)
@click.option(
    "--demanded", is_flag=True, help="What networks demanded, and what earlier runs left."
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
    demanded: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Erase a person, an object or a case; what the person says afterwards is heard.

    First it is told who was erased, as a hash that only KLINGEL_ERASURE__KEY makes: from then on
    nothing of before is heard again, through replays, imports and reindexing. Then the words go: by
    a deletion of each object, which every stage and the index follow, by the end of the cases, with
    the stored media that nothing else shows, as examples of alerts and incidents, and with the links
    to other ids of the person. Erase those too: `klingel customer show` tells them, before.

    With --demanded, run every hour: networks tell that a person is to be erased, and understand
    writes down who, as that hash. Everybody in the index is hashed to find whom it means, and what
    they said until then goes the same way. So do media of posts that their networks deleted since the
    last run, unless another post shows them.

    The report names nobody: its subject is the hash. It says by when each topic that deletes by age
    has nothing more of it, and what no command reaches. Running it again is harmless. Exit 1 when
    something is still to be found after --wait: run it again.
    """
    subject = None if demanded else _subject(author, object_id, case_id)
    if demanded and (author or object_id or case_id):
        raise click.UsageError("--demanded goes alone: the networks named whom.")
    secret = shell.settings.erasure.key
    if secret is None and subject is not None:
        raise ConfigurationError(
            "KLINGEL_ERASURE__KEY is not set: nobody could tell who was erased"
        )
    if secret is None:
        # The hourly run of a house that erases nobody has its media to remove all the same.
        click.echo(_NO_KEY, err=True)
    key = Key("" if secret is None else secret.get_secret_value())
    work = _Erasure(shell, key, shell.now(), wait, dry_run=dry_run)
    if subject is not None:
        report = work.erase(subject)
        left = report.get("left", 0)
    else:
        report = work.erase_demanded()
        left = sum(each.get("left", 0) for each in report["erased"])
    _say(shell, report, as_json=as_json)
    if left:
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


@dataclass(frozen=True, slots=True)
class _Erasure:
    """One run.

    Attributes:
        shell: settings and clock.
        key: by which people are hashed.
        now: when it began.
        wait: seconds until nothing may be found any more.
        dry_run: only look.
    """

    shell: Shell
    key: Key
    now: datetime
    wait: float
    dry_run: bool

    def erase(self, subject: Subject) -> dict[str, Any]:
        """Erase somebody or something; returns the report."""
        subject = replace(subject, until=subject.until or self.now)
        begun = time.monotonic()
        where = self.shell.settings.elasticsearch
        found = ask(where, lambda client: erasing.reach(client, where.index_prefix, subject))
        report: dict[str, Any] = {
            "subject": self.key.hash(subject.kind, subject.name),
            "kind": subject.kind,
            "key_id": self.key.id,
            "erased_at": str((subject.until or self.now).isoformat()),
            "objects": len(found.objects),
            "cases": len(found.cases),
            "media": len(found.media),
            "dry_run": self.dry_run,
        }
        if self.dry_run:
            return report | {"links": len(self._links(subject))}
        report |= self._carry_out(subject, found)
        report["seconds"] = round(time.monotonic() - begun, 1)
        return report | self._bounds()

    def erase_demanded(self) -> dict[str, Any]:
        """Erase whom suppressions name that nobody carried out yet; returns the report."""
        where = self.shell.settings.elasticsearch
        with reading(self.shell.settings.kafka) as log:
            suppressed = self._known(log)
        wanted = suppressed.undone
        people = ask(
            where, lambda client: erasing.named(client, where.index_prefix, self.key, wanted)
        )
        reports = [self.erase(subject) for subject in people]
        carried = {each["subject"] for each in reports}
        nobody = [
            record
            for name, record in sorted(wanted.items())
            if name not in carried and record.erased_at + _SETTLED <= self.now
        ]
        if not self.dry_run and suppressed:
            self._end_examples()
            self._publish(erasing.done(nobody, self.shell.now()))
        return {
            "erased": reports,
            "without_trace": len(nobody),
            "media_of_deleted": 0 if self.dry_run else _forget_of_deleted(self.shell, self.now),
            "dry_run": self.dry_run,
        }

    def _carry_out(self, subject: Subject, found: Reach) -> dict[str, int]:
        """Erase what was found; returns what of it went, and what is left."""
        where = self.shell.settings.elasticsearch
        told = erasing.told(self.key, subject, found, self.now)
        self._publish(erasing.suppressions(told))
        self._publish(erasing.deletions(found, self.now))
        media = _forget_media(self.shell, found)
        left = self._await_end(subject)
        cases, until = sorted(found.cases), subject.until or self.now
        records = ask(
            where,
            lambda client: erasing.forget_cases(client, where.index_prefix, cases, until),
        )
        examples = self._end_examples()
        # Last: by now no stage tells a link of what was said before.
        links = self._links(subject)
        self._publish(links)
        if subject.kind == "author" and not left:
            self._publish(erasing.done(told[:1], self.shell.now()))
        return {
            "media_removed": media,
            "left": left,
            "records_of_cases": records,
            "examples": examples,
            "links": len(links),
        }

    def _publish(self, outputs: list[Output]) -> None:
        publish(self.shell.settings.kafka, outputs)

    def _known(self, log: Log) -> Suppressed:
        """Return who was erased until now; raises ConfigurationError."""
        return erasing.known_erased(log.read_whole(Topic.SUPPRESSIONS), self.shell.settings.erasure)

    def _end_examples(self) -> int:
        """Take erased posts out of alerts and incidents; returns out of how many."""
        mended = set[bytes]()
        with reading(self.shell.settings.kafka) as log:
            suppressed = self._known(log)
            for _ in range(_LOOKS):
                outputs = _examples(log, suppressed)
                self._publish(outputs)
                mended |= {each.key for each in outputs}
                if not outputs:
                    break
        return len(mended)

    def _links(self, subject: Subject) -> list[Output]:
        """Return what ends the links of a subject, as they are now."""
        with reading(self.shell.settings.kafka) as log:
            return erasing.links_gone(log.read_whole(Topic.IDENTITY_LINKS), subject)

    def _await_end(self, subject: Subject) -> int:
        """Return how many documents tell of the subject when time is up; 0 ends the waiting."""
        where = self.shell.settings.elasticsearch
        deadline = time.monotonic() + self.wait
        while True:
            held = ask(where, lambda client: erasing.left(client, where.index_prefix, subject))
            if not held or time.monotonic() >= deadline:
                return held
            time.sleep(_LOOK_SECONDS)

    def _bounds(self) -> dict[str, Any]:
        """Return until when topics hold what was said before, and what no command reaches."""
        bounds = erasing.log_bounds(_held(self.shell.settings.kafka), self.now)
        return {
            "in_topics_until": {name: bounds[name].isoformat() for name in sorted(bounds)},
            "complete_at": max(bounds.values(), default=self.now).isoformat(),
            "not_reached": list(NOT_REACHED),
        }


def _held(kafka: KafkaSettings) -> dict[str, Mapping[str, str]]:
    """Return how Kafka keeps the topics that delete by time and tell of people."""
    wanted = [
        each
        for each in topics.wanted(kafka)
        if "delete" in each.spec.cleanup and each.spec.name not in _WITHOUT_WORDS
    ]
    with admin(kafka) as client:
        return {name: each.config for name, each in topics.describe(client, wanted).items()}


def _examples(log: Log, suppressed: Suppressed) -> list[Output]:
    return [
        output
        for topic in (Topic.ALERTS, Topic.INCIDENTS)
        for output in erasing.examples_gone(log.read_whole(topic), suppressed)
    ]


def _forget_media(shell: Shell, found: Reach) -> int:
    """Remove stored media that nothing else shows; returns how many.

    From the folder and, where media lie in one, from the bucket: what came before it was set is in
    the folder still.
    """
    where, objects = shell.settings.elasticsearch, sorted(found.objects)

    def shared(media: str) -> bool:
        return ask(
            where,
            lambda client: erasing.others_hold(client, where.index_prefix, media, objects),
        )

    media: Iterable[str] = filter(erasing.SHA256.fullmatch, sorted(found.media))
    alone = [each for each in media if not shared(each)]
    blobs = BlobStore(shell.settings.blobs.dir)
    gone = {each for each in alone if blobs.forget(each)}
    bucket = s3_settings(os.environ)
    if bucket is not None:
        gone |= asyncio.run(_forget_in(bucket, alone))
    return len(gone)


def _forget_of_deleted(shell: Shell, now: datetime) -> int:
    """Remove media of posts that their networks deleted, unless another shows them; returns how many."""
    where, bucket = shell.settings.elasticsearch, s3_settings(os.environ)
    prefix = where.index_prefix
    folder = Folder(BlobStore(shell.settings.blobs.dir))
    gone = ask(where, lambda client: erasing.forget_of_deleted(client, prefix, folder, now))
    if bucket is None:
        return gone

    async def of_bucket(client: AsyncElasticsearch) -> int:
        store = S3Store(bucket, SystemClock())
        try:
            return await erasing.forget_of_deleted(client, prefix, store, now)
        finally:
            await store.close()

    return gone + ask(where, of_bucket)


async def _forget_in(bucket: S3Settings, media: Iterable[str]) -> set[str]:
    """Remove media from a bucket; returns those that were there."""
    store = S3Store(bucket, SystemClock())
    try:
        return {each for each in media if await store.forget(each)}
    finally:
        await store.close()


def _say(shell: Shell, report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        shell.tell(report)
        return
    reports = report.get("erased", [report])
    for each in reports:
        _say_one(shell, each)
    if "erased" in report:
        shell.say(
            f"{len(reports):,} people whom networks named, {report['without_trace']:,} demands for "
            "whom the index holds nothing"
        )
        shell.say(f"{report['media_of_deleted']:,} media of posts that networks deleted removed")
    complete = [each["complete_at"] for each in reports if "complete_at" in each]
    if complete:
        shell.say(f"topics that delete by age hold what was said until {max(complete)} at most")
        for sentence in NOT_REACHED:
            shell.say(f"not reached: {sentence}")


def _say_one(shell: Shell, report: dict[str, Any]) -> None:
    verb = "would erase" if report["dry_run"] else "erased"
    shell.say(
        f"{verb} {report['kind']} {report['subject'][:16]}…: {report['objects']:,} objects, "
        f"{report['cases']:,} cases, {report['media']:,} media, {report['links']:,} links"
    )
    if report["dry_run"]:
        return
    shell.say(
        f"{report['media_removed']:,} media, {report['records_of_cases']:,} records of cases and "
        f"examples of {report['examples']:,} alerts and incidents removed, {report['left']:,} "
        f"documents left after {report['seconds']} s"
    )
