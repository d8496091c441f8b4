"""`klingel topics`: make the topics, or say what is wrong with them."""

from typing import Any

import click
from kafka.admin import KafkaAdminClient

from klingel.settings import KafkaSettings
from klingel_cli import topics
from klingel_cli.kafka import admin, reading
from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_cli.topics import Difference, Wanted


@click.group("topics")
def topics_group() -> None:
    """Make and check Kafka's topics.

    What each topic shall be stands in schemas/topics; the number of partitions and replicas of
    those that name none comes from KLINGEL_KAFKA__PARTITIONS and KLINGEL_KAFKA__REPLICATION.
    """


@topics_group.command("apply")
@as_json
@pass_shell
def apply_topics(shell: Shell, *, as_json: bool) -> None:
    """Make what is missing, set what differs.

    Run it as often as you like. A topic never loses partitions, and gets more only while it is
    empty: keys would lie elsewhere, and what belongs together would part.
    """
    kafka = shell.settings.kafka
    wanted = {topic.name: topic for topic in topics.wanted(kafka)}
    with admin(kafka) as client:
        found = topics.differences(
            list(wanted.values()), topics.describe(client, [*wanted.values()])
        )
        missing = [wanted[each.topic] for each in found if each.what == "missing"]
        if missing:
            topics.create(client, missing)
        refused = [
            each
            for each in found
            if each.what == "partitions" and not _grown(kafka, client, wanted[each.topic], each)
        ]
        altered = [each for each in found if each.what not in {"missing", "partitions"}]
        for name in dict.fromkeys(each.topic for each in altered):
            config = {each.what: each.wanted for each in altered if each.topic == name}
            topics.configure(client, name, config)
    done = [each for each in found if each not in refused]
    if as_json:
        shell.tell({"topics": len(wanted), "changed": _told(done), "refused": _told(refused)})
    else:
        _say(shell, kafka, done, refused, len(wanted))
    if refused:
        shell.found_wrong()


def _grown(
    kafka: KafkaSettings, client: KafkaAdminClient, topic: Wanted, difference: Difference
) -> bool:
    if int(difference.wanted) < int(difference.held):
        return False
    with reading(kafka) as log:
        slots = log.slots(topic.spec.name)
        if not topics.is_empty(log.begins(slots), log.ends(slots)):
            return False
    topics.grow(client, topic)
    return True


def _say(
    shell: Shell,
    kafka: KafkaSettings,
    done: list[Difference],
    refused: list[Difference],
    count: int,
) -> None:
    for each in done:
        if each.what == "missing":
            shell.say(f"made     {each.topic}")
        else:
            shell.say(f"changed  {each.topic}: {each.what} {each.held or '-'} -> {each.wanted}")
    for each in refused:
        shell.say(
            f"refused  {each.topic}: has {each.held} partitions, wanted are {each.wanted}; "
            "a topic never shrinks, and grows only while it is empty"
        )
    unchanged = count - len({each.topic for each in (*done, *refused)})
    shell.say(f"{count} topics at {kafka.bootstrap}; {unchanged} were right already")


@topics_group.command("check")
@as_json
@pass_shell
def check_topics(shell: Shell, *, as_json: bool) -> None:
    """Say what is missing or differs; exit 1 when something does."""
    kafka = shell.settings.kafka
    wanted = topics.wanted(kafka)
    with admin(kafka) as client:
        found = topics.differences(wanted, topics.describe(client, wanted))
    if as_json:
        shell.tell({"topics": len(wanted), "differences": _told(found)})
    else:
        for each in found:
            shell.say(each.sentence())
        if not found:
            shell.say(f"{len(wanted)} topics at {kafka.bootstrap} are as they shall be")
    if found:
        shell.found_wrong()


def _told(found: list[Difference]) -> list[dict[str, Any]]:
    return [
        {"topic": each.topic, "what": each.what, "held": each.held, "wanted": each.wanted}
        for each in found
    ]
