"""`klingel topics`: make the topics, say what is wrong with them, and who may do what."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from klingel.contracts.access import Right
from klingel.settings import KafkaSettings
from klingel_cli import rights, topics
from klingel_cli.kafka import admin, reading
from klingel_cli.shell import Seconds, Shell, as_json, pass_shell
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

    Run it as often as you like. Topics never lose partitions, and get more only while all of those
    that would are empty: keys would lie elsewhere, and what belongs together would part.
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
        resized = [each for each in found if each.what == "partitions"]
        refused = [] if _may_grow(kafka, wanted, resized) else resized
        for each in resized if not refused else ():
            topics.grow(client, wanted[each.topic])
        altered = [each for each in found if each.what not in {"missing", "partitions"}]
        for name in dict.fromkeys(each.topic for each in altered):
            config = {each.what: each.wanted for each in altered if each.topic == name}
            topics.configure(client, name, config)
        topics.wait_until_seen(client, [*wanted.values()], set(refused))
    done = [each for each in found if each not in refused]
    if as_json:
        shell.tell({"topics": len(wanted), "changed": _told(done), "refused": _told(refused)})
    else:
        _say(shell, kafka, done, refused, len(wanted))
    if refused:
        shell.found_wrong()


def _may_grow(
    kafka: KafkaSettings, wanted: Mapping[str, Wanted], resized: list[Difference]
) -> bool:
    """Whether all of these topics may grow: one alone would part from those it lies beside."""
    if not resized:
        return True
    if any(int(each.wanted) < int(each.held) for each in resized):
        return False
    with reading(kafka) as log:
        slots = [slot for each in resized for slot in log.slots(wanted[each.topic].spec.name)]
        return topics.is_empty(log.begins(slots), log.ends(slots))


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
            "topics never shrink, and grow only while all of them are empty"
        )
    unchanged = count - len({each.topic for each in (*done, *refused)})
    shell.say(f"{count} topics at {kafka.bootstrap}; {unchanged} were right already")


@topics_group.command("check")
@click.option(
    "--wait",
    "seconds",
    type=Seconds(0, 3600),
    default=0,
    help="Seconds to wait until all is right, as where others make the topics.",
)
@as_json
@pass_shell
def check_topics(shell: Shell, seconds: float, *, as_json: bool) -> None:
    """Say what is missing or differs; exit 1 when something does."""
    kafka = shell.settings.kafka
    wanted = topics.wanted(kafka)

    def look() -> list[Difference]:
        with admin(kafka) as client:
            return topics.differences(wanted, topics.describe(client, wanted))

    found = topics.until_right(look, seconds)
    if as_json:
        shell.tell({"topics": len(wanted), "differences": _told(found)})
    else:
        for each in found:
            shell.say(each.sentence())
        if not found:
            shell.say(f"{len(wanted)} topics at {kafka.bootstrap} are as they shall be")
    if found:
        shell.found_wrong()


@topics_group.command("rights")
@click.option("--apply", "changes", is_flag=True, help="Make Kafka's access lists so.")
@click.option(
    "--users",
    default="klingel-",
    show_default=True,
    metavar="PREFIX",
    help="What stands before a service in the name of its user.",
)
@as_json
@pass_shell
def topic_rights(shell: Shell, users: str, *, changes: bool, as_json: bool) -> None:
    """Say what each service's user may do in Kafka: what its topics' files say, and nothing else.

    With --apply, lines that are missing are made first, then surplus ones of these users are taken
    away; that needs a user who may alter the cluster. Users and passwords themselves are made by
    whoever runs Kafka.
    """
    kafka = shell.settings.kafka
    of_users = rights.wanted(kafka, users)
    if not changes:
        _say_rights(shell, of_users, as_json=as_json)
        return
    wanted = rights.entries(of_users)
    with admin(kafka) as client:
        held = rights.held(client, [*of_users])
        rights.grant(client, wanted - held)
        rights.withdraw(client, held - wanted)
    if as_json:
        made, gone = sorted(wanted - held), sorted(held - wanted)
        shell.tell({"granted": [*map(asdict, made)], "withdrawn": [*map(asdict, gone)]})
        return
    for entry in sorted(wanted - held):
        shell.say(f"granted    {entry.sentence()}")
    for entry in sorted(held - wanted):
        shell.say(f"withdrawn  {entry.sentence()}")
    right = len(wanted & held)
    shell.say(f"{len(of_users)} users at {kafka.bootstrap}; {right} lines were right already")


def _say_rights(shell: Shell, of_users: Mapping[str, Sequence[Right]], *, as_json: bool) -> None:
    if as_json:
        told = {user: [asdict(each) for each in rights] for user, rights in of_users.items()}
        shell.tell({"users": told})
        return
    for user, of_user in of_users.items():
        shell.say(user)
        for right in of_user:
            name = f"{right.name}…" if right.pattern == "prefix" else right.name
            shell.say(f"  {right.resource:15}  {name:32}  {', '.join(right.operations)}")


def _told(found: list[Difference]) -> list[dict[str, Any]]:
    return [
        {"topic": each.topic, "what": each.what, "held": each.held, "wanted": each.wanted}
        for each in found
    ]
