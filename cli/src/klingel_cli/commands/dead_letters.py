"""`klingel dead-letters`: see what could not be read, why, and send it again."""

from collections.abc import Iterable
from typing import Any

import click

from klingel.contracts.blobs import BlobStore
from klingel.contracts.topics import Topic
from klingel.errors import ConfigurationError, InvalidMessage
from klingel.settings import KafkaSettings
from klingel_cli.dead_letters import KeptDeadLetter, escaped, parse_ids
from klingel_cli.kafka import publish, reading
from klingel_cli.shell import FOUND_WRONG, Failure, Shell, as_json, pass_shell

_OWN = ("__connect.errors.", "x-dlq-")
_BATCH = 500


@click.group(Topic.DEAD_LETTERS.value)
def dead_letters() -> None:
    """See what could not be read, why, and send it again.

    A dead letter's id is its place in the topic: <partition>/<offset>.
    """


kind_option = click.option("--kind", help="Only of this kind, such as malformed_json.")


@dead_letters.command("list")
@kind_option
@click.option("--size", type=click.IntRange(1, 100_000), default=50, help="At most; 50 by default.")
@as_json
@pass_shell
def list_letters(shell: Shell, kind: str | None, size: int, *, as_json: bool) -> None:
    """List dead letters, the newest first."""
    letters = [each for each in read_all(shell.settings.kafka) if kind in {None, each.kind}]
    letters.sort(key=lambda letter: letter.message.timestamp_ms, reverse=True)
    if as_json:
        for letter in letters[:size]:
            shell.tell(_told(letter))
        return
    if not letters:
        shell.say("no dead letters" + (f" of the kind {kind}" if kind else ""))
        return
    shell.table(
        ("id", "first failed", "stage", "kind", "#bytes", "from", "why"),
        [
            (
                letter.id,
                letter.word("x-dlq-first-failed-at")[:19].replace("T", " "),
                letter.word("__connect.errors.stage"),
                letter.kind,
                letter.size,
                letter.origin,
                letter.word("__connect.errors.exception.message"),
            )
            for letter in letters[:size]
        ],
    )
    if len(letters) > size:
        shell.say(f"\n{size} of {len(letters):,}; --size shows more")


def _told(letter: KeptDeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "kind": letter.kind,
        "stage": letter.word("__connect.errors.stage"),
        "from": letter.origin,
        "sentence": letter.word("__connect.errors.exception.message"),
        "first_failed_at": letter.word("x-dlq-first-failed-at"),
        "attempt": letter.word("x-dlq-attempt"),
        "network": letter.word("x-dlq-network"),
        "size": letter.size,
    }


@dead_letters.command("show")
@click.argument("letter_id", metavar="ID")
@as_json
@pass_shell
def show_letter(shell: Shell, letter_id: str, *, as_json: bool) -> None:
    """Show why, all headers and the original bytes of one dead letter.

    The bytes are somebody's words, and hostile until proven otherwise: what is not printable is
    escaped.
    """
    letter = read_some(shell.settings.kafka, [letter_id])[0]
    value = letter.message.value
    if as_json:
        headers = {name: escaped(content) for name, content in letter.message.headers}
        body = None if value is None else escaped(value)
        key = escaped(letter.message.key or b"")
        shell.tell(_told(letter) | {"headers": headers, "key": key, "value": body})
        return
    shell.say(f"dead letter {letter.id}: {letter.word('__connect.errors.exception.message')}\n")
    for name, content in letter.message.headers:
        if name.startswith(_OWN):
            shell.say(f"  {name:38}  {escaped(content)}")
    shell.say(f"\noriginal key: {escaped(letter.message.key or b'') or '(none)'}")
    for name, content in letter.original_headers:
        shell.say(f"  {name:38}  {escaped(content)}")
    shell.say(_title(letter))
    if value is not None:
        shell.say(escaped(value))


def _title(letter: KeptDeadLetter) -> str:
    if letter.message.value is None:
        return "\noriginal value: none (a tombstone)"
    if not letter.cut:
        return f"\noriginal value, {letter.size:,} bytes:"
    kept = "the whole is in the blob store" if letter.reference else "the rest is kept nowhere"
    held = len(letter.message.value)
    return f"\noriginal value, the first {held:,} of {letter.size:,} bytes ({kept}):"


@dead_letters.command("redrive")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--all", "every", is_flag=True, help="All of one --kind.")
@kind_option
@as_json
@pass_shell
def redrive(
    shell: Shell, ids: tuple[str, ...], kind: str | None, *, every: bool, as_json: bool
) -> None:
    """Send dead letters again to the topic they came from, as they were.

    Doing it twice changes nothing: what was said has its identity. Exit 1 when one of them cannot
    be sent again; the others are.
    """
    if every == bool(ids):
        raise click.UsageError("Name dead letters by ID, or all of one kind: --all --kind KIND.")
    if every and kind is None:
        raise click.UsageError("--all needs a --kind: mend one cause, then redrive what it left.")
    kafka = shell.settings.kafka
    if every:
        letters = [each for each in read_all(kafka) if each.kind == kind]
    else:
        letters = [each for each in read_some(kafka, ids) if kind in {None, each.kind}]
    blobs = BlobStore(shell.settings.blobs.dir)
    sent: list[KeptDeadLetter] = []
    refused: list[tuple[KeptDeadLetter, str]] = []
    for start in range(0, len(letters), _BATCH):
        outputs = []
        for letter in letters[start : start + _BATCH]:
            try:
                outputs.append(letter.again(blobs.get))
            except InvalidMessage as error:
                refused.append((letter, str(error)))
            else:
                sent.append(letter)
        publish(kafka, outputs)
    _report(shell, sent, refused, as_json=as_json)
    if refused:
        shell.found_wrong()


def _report(
    shell: Shell,
    sent: list[KeptDeadLetter],
    refused: list[tuple[KeptDeadLetter, str]],
    *,
    as_json: bool,
) -> None:
    if as_json:
        shell.tell(
            {
                "sent": [letter.id for letter in sent],
                "refused": [{"id": letter.id, "sentence": why} for letter, why in refused],
            }
        )
        return
    for letter in sent:
        shell.say(f"sent     {letter.id} to {letter.origin.partition('/')[0]}")
    for letter, why in refused:
        shell.say(f"refused  {letter.id}: {why}")
    shell.say(f"{len(sent):,} sent again, {len(refused):,} refused")


def read_all(kafka: KafkaSettings) -> list[KeptDeadLetter]:
    """Read every dead letter that is kept; raises KafkaError."""
    with reading(kafka) as log:
        return [KeptDeadLetter(message) for message in log.read_whole(Topic.DEAD_LETTERS)]


def read_some(kafka: KafkaSettings, ids: Iterable[str]) -> list[KeptDeadLetter]:
    """Read dead letters by id, in the order asked for.

    Raises:
        ConfigurationError: not an id, or no such partition.
        Failure: there is none at that place (any more).
    """
    places = parse_ids(ids)
    found: dict[tuple[int, int], KeptDeadLetter] = {}
    with reading(kafka) as log:
        slots = log.slots(Topic.DEAD_LETTERS)
        ends, begins = log.ends(slots), log.begins(slots)
        for partition, offset in places:
            slot = (Topic.DEAD_LETTERS, partition)
            if slot not in ends:
                raise ConfigurationError(f"dead-letters has no partition {partition}")
            if not begins[slot] <= offset < ends[slot]:
                raise _not_there(partition, offset)
            for message in log.read({slot: (offset, offset + 1)}):
                found[partition, message.offset] = KeptDeadLetter(message)
    for partition, offset in places:
        if (partition, offset) not in found:
            raise _not_there(partition, offset)
    return [found[place] for place in places]


def _not_there(partition: int, offset: int) -> Failure:
    return Failure(
        f"there is no dead letter {partition}/{offset} (any more); "
        "`klingel dead-letters list` shows those that are kept",
        FOUND_WRONG,
    )
