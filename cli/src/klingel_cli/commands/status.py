"""`klingel status`: who works, what waits, what the connectors say."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import click

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import ConnectorStatus, LedgerLine
from klingel.settings import KafkaSettings
from klingel.stage.audit import CHAIN
from klingel.stage.timers import timers_of
from klingel_cli.books import RUNNING, Books, read_books
from klingel_cli.commands.dead_letters import read_all
from klingel_cli.kafka import reading
from klingel_cli.shell import Shell, as_json, pass_shell


@click.command("status")
@as_json
@pass_shell
def status(shell: Shell, *, as_json: bool) -> None:
    """Show the services' last words, what waits, the connectors and the dead letters."""
    kafka = shell.settings.kafka
    now = shell.now()
    books = read_books(kafka, now)
    found: dict[str, Any] = {
        "services": services(line for line in books.lines if line.holder != RUNNING),
        "queues": queues(books),
        "connectors": connectors(kafka),
        "dead_letters": dict(Counter(letter.kind for letter in read_all(kafka)).most_common()),
    }
    if as_json:
        shell.tell(found)
    else:
        _show(shell, found, now)


def services(lines: Iterable[LedgerLine]) -> list[dict[str, Any]]:
    """Return for each stage that wrote lines its newest one's time and its latest workers."""
    newest: dict[str, datetime] = {}
    holders: dict[str, dict[tuple[str, int], str]] = {}
    for line in lines:
        newest[line.stage] = max(newest.get(line.stage, line.written_at), line.written_at)
        of = holders.setdefault(line.stage, {})
        of[line.topic, line.partition] = line.holder or ""
    order = {stage: place for place, stage in enumerate(CHAIN)}
    return [
        {
            "stage": stage,
            "last_line_at": newest[stage],
            "workers": sorted(set(holders[stage].values())),
        }
        for stage in sorted(newest, key=lambda stage: (order.get(stage, -1), stage))
    ]


def queues(books: Books) -> list[dict[str, Any]]:
    """Return for each stage and input topic how many messages wait."""
    return [
        {
            "stage": each.stage,
            "topic": each.topic,
            "partitions": sum(slot[0] == each.topic for slot in books.ends),
            "waiting": each.waiting,
        }
        for each in books.audit().totals
        if each.topic != timers_of(each.stage)
    ]


def connectors(kafka: KafkaSettings) -> list[dict[str, Any]]:
    """Return the newest status of each connector instance."""
    newest: dict[bytes, ConnectorStatus] = {}
    with reading(kafka) as log:
        for message in log.read_whole(Topic.CONNECTOR_STATUS):
            key = message.key or b""
            newest.pop(key, None)
            if message.value is not None:
                newest[key] = codec.decode(ConnectorStatus, message.value)
    return [
        {
            "instance": each.instance,
            "network": each.network,
            "state": each.state,
            "at": each.at,
            "credential": each.credential,
            "last_event_at": each.last_event_at,
            "published": each.published,
            "refused": each.refused,
            "lag_seconds": each.lag_seconds,
            "reason": each.reason,
        }
        for _, each in sorted(newest.items())
    ]


def _show(shell: Shell, found: Mapping[str, Any], now: datetime) -> None:
    if found["services"]:
        shell.table(
            ("service", "last line", "workers"),
            [
                (each["stage"], _ago(each["last_line_at"], now), ", ".join(each["workers"]))
                for each in found["services"]
            ],
        )
    else:
        shell.say("no service has written a line yet")
    shell.say("")
    shell.table(
        ("stage", "topic", "#partitions", "#waiting"),
        [
            (each["stage"], each["topic"], each["partitions"], each["waiting"])
            for each in found["queues"]
        ],
    )
    shell.say("")
    if found["connectors"]:
        shell.table(
            ("connector", "network", "state", "said", "credential", "#published", "why"),
            [
                (
                    each["instance"],
                    each["network"],
                    each["state"],
                    _ago(each["at"], now),
                    each["credential"],
                    each["published"],
                    each["reason"],
                )
                for each in found["connectors"]
            ],
        )
    else:
        shell.say("no connector has told its state yet")
    shell.say("")
    letters = found["dead_letters"]
    if letters:
        shell.table(("dead letters", "#count"), list(letters.items()))
    else:
        shell.say("no dead letters")


def _ago(at: datetime, now: datetime) -> str:
    seconds = max(0.0, (now - at).total_seconds())
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name} ago"
    return f"{seconds:.0f} s ago"
