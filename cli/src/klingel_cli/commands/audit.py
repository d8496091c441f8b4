"""`klingel audit`: prove from the ledger that nothing was lost and nothing counted twice."""

import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

import click
from kafka.errors import KafkaError

from klingel.clock import SystemClock
from klingel.errors import ConfigurationError, SourceUnavailable
from klingel.metrics import Metrics
from klingel.stage.audit import AuditReport, Problem
from klingel_cli.auditing import COMPONENT, Auditor, Pages, Row
from klingel_cli.books import Books, keep_checkpoints, located, read_books
from klingel_cli.search_client import ask
from klingel_cli.shell import Shell, as_json, pass_shell

_ATTEMPTS = 3
_SETTLE_SECONDS = 1.0
_COLUMNS = (
    "stage",
    "topic",
    "#received",
    "#delivered",
    "#repeated",
    "#discarded",
    "#dead-lettered",
    "#waiting",
    "#redone",
    "#outside",
)


@click.command("audit")
@click.option(
    "--every",
    type=click.IntRange(min=10),
    metavar="SECONDS",
    help="Audit again and again as a service: metrics, probes and the figures for Kibana.",
)
@click.option(
    "--full",
    is_flag=True,
    help="Read every line that the ledger has, and compare the checkpoints with them.",
)
@as_json
@pass_shell
def audit_command(shell: Shell, every: int | None, *, full: bool, as_json: bool) -> None:
    """Prove from the ledger that every message has its fate, from raw-events to the index.

    No offset skipped, none counted twice, and what one stage emitted the next one received. Exit 1
    when something does not add up; the first offset that does not is named. With --every it does
    not end: it serves /metrics, /healthz and /readyz (KLINGEL_HTTP__PORT) and keeps the figures in
    the index that Kibana's page Completeness shows; and it writes checkpoints, with which every later
    audit begins. --full begins with the oldest line that there is.
    """
    if every is not None:
        if full:
            raise click.UsageError("--full reads everything: not again and again, with --every")
        _go_on(shell, every)
        return
    books, report = settled(shell, full=full)
    problems = [located(shell.settings.kafka, books, each) for each in report.problems]
    if as_json:
        shell.tell(_told(report, problems, whole=books.whole))
    else:
        _show(shell, report, problems, whole=books.whole)
    if problems:
        shell.found_wrong()


def _go_on(shell: Shell, every: int) -> None:
    """Audit until a signal ends it."""
    stopping = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stopping.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    kafka, found = shell.settings.kafka, list[Books]()

    def audit() -> AuditReport:
        books, report = settled(shell)
        found[:] = [books]
        return report

    def keep(rows: list[Row]) -> None:
        try:
            keep_checkpoints(kafka, found.pop())
        finally:  # the figures do not wait for the checkpoints, nor these for the figures
            _keep(shell, rows)

    auditor = Auditor(
        audit,
        keep,
        Metrics(COMPONENT),
        SystemClock(),
        shell.say,
        (KafkaError,),
    )
    try:
        with Pages(auditor, shell.settings.http):
            auditor.run(every, stopping)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _keep(shell: Shell, rows: list[Row]) -> None:
    """Write the figures of an audit over those of the one before."""
    elasticsearch = shell.settings.elasticsearch
    index = f"{elasticsearch.index_prefix}audit"
    actions: list[Mapping[str, Any]] = []
    for row in rows:
        actions += [{"index": {"_index": index, "_id": row.id}}, row.document]
    try:
        answer = ask(elasticsearch, lambda client: client.bulk(operations=actions))
    except ConfigurationError as error:  # the next round asks again
        raise SourceUnavailable(str(error)) from None
    if answer["errors"]:
        raise SourceUnavailable(
            f"Elasticsearch at {elasticsearch.url} does not take the figures; "
            "run `klingel index apply`"
        )


def settled(shell: Shell, *, full: bool = False) -> tuple[Books, AuditReport]:
    """Read and check the books, all of them or what came since the checkpoints.

    A transaction becomes visible in its partitions one after the other. So what does not add up is
    looked at again, and only what stays is a problem.
    """
    attempt = 1
    while True:
        books = read_books(shell.settings.kafka, shell.now(), full=full)
        report = books.audit()
        if report.clean or attempt == _ATTEMPTS:
            return books, report
        attempt += 1
        time.sleep(_SETTLE_SECONDS)


def _show(shell: Shell, report: AuditReport, problems: list[Problem], *, whole: bool) -> None:
    shell.table(
        _COLUMNS,
        [
            (
                each.stage,
                each.topic,
                each.received,
                each.fates["delivered"],
                each.fates["repeated"],
                each.fates["discarded"],
                each.fates["dead_lettered"],
                each.waiting,
                each.redone,
                each.outside,
            )
            for each in report.totals
        ],
    )
    if not whole:
        shell.say(
            "\nretention has taken the first lines of the ledger: "
            "the sums between stages were not compared"
        )
    if not problems:
        waiting = sum(report.waiting.values())
        tail = f"; {waiting:,} messages wait" if waiting else ""
        shell.say(f"\neverything adds up{tail}")
        return
    shell.say(f"\n{len(problems):,} things do not add up, the first one first:")
    for problem in problems:
        shell.say(f"  {_where(problem)}: {problem.sentence}")


def _where(problem: Problem) -> str:
    place = f"{problem.stage} {problem.topic}"
    if problem.partition is not None:
        place += f"/{problem.partition}"
    return place if problem.offset is None else f"{place} at offset {problem.offset}"


def _told(report: AuditReport, problems: list[Problem], *, whole: bool) -> dict[str, object]:
    return {
        "clean": not problems,
        "whole": whole,
        "problems": [
            {
                "kind": each.kind,
                "stage": each.stage,
                "topic": each.topic,
                "partition": each.partition,
                "offset": each.offset,
                "sentence": each.sentence,
            }
            for each in problems
        ],
        "totals": [
            {
                "stage": each.stage,
                "topic": each.topic,
                "received": each.received,
                "redone": each.redone,
                "outside": each.outside,
                "waiting": each.waiting,
                "fates": dict(each.fates),
                "emitted": dict(each.emitted),
            }
            for each in report.totals
        ],
    }
