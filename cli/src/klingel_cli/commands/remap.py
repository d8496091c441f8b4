"""`klingel remap`: raw events again through the present mappings, rules of reading and models."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import click
from msgspec import structs

from klingel.contracts import codec
from klingel.contracts.envelope import SOURCE_HEADER, Message, Output
from klingel.contracts.topics import Topic
from klingel.errors import ConfigurationError, InvalidMessage
from klingel.model import RawEvent
from klingel_cli.kafka import Log, Slot, publish, reading
from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_networks.registry import installed

_BATCH = 1000


class Moment(click.ParamType):
    """A time as RFC 3339, with its offset from UTC."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return an aware time."""
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            self.fail(
                "a time looks like 2026-03-18T07:40:00Z or 2026-03-18T08:40:00+01:00", param, ctx
            )
        return at


@click.command("remap")
@click.option("--from", "since", type=Moment(), required=True, help="First time of receipt.")
@click.option("--to", "until", type=Moment(), help="Time of receipt to stop at; now by default.")
@click.option("--network", required=True, help="Whose events.")
@click.option("--dry-run", is_flag=True, help="Count alone, and send nothing.")
@as_json
@pass_shell
def remap(
    shell: Shell,
    since: datetime,
    until: datetime | None,
    network: str,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send raw events again through the present mappings, rules of reading and models.

    What they come to replaces the documents that stand in the index, with a higher version; the
    brands that heard an event hear it again, and no other. Nothing of it opens or closes a case;
    the queue of an open one follows the present routing rules. Doing it twice changes nothing more.
    """
    known = installed().names
    if network not in known:
        raise ConfigurationError(
            f"there is no network {network}; there are {', '.join(sorted(known))}"
        )
    now = shell.now()
    until = until or now
    if not since < until:
        raise ConfigurationError("--from lies before --to and before now")
    kafka = shell.settings.kafka
    counts: Counter[str] = Counter({"sent": 0, "unreadable": 0})
    batch: list[Output] = []
    with reading(kafka) as log:
        for output in _told_again(log, network, since, until, counts):
            if dry_run:
                continue
            batch.append(output)
            if len(batch) >= _BATCH:
                publish(kafka, batch)
                batch.clear()
        publish(kafka, batch)
    if as_json:
        shell.tell({"network": network, "dry_run": dry_run, **counts})
        return
    would = "would be sent" if dry_run else "sent"
    shell.say(f"{counts['sent']:,} events of {network} {would} again")
    if counts["unreadable"]:
        shell.say(f"{counts['unreadable']:,} records cannot be read; see klingel dead-letters")


def _told_again(
    log: Log, network: str, since: datetime, until: datetime, counts: Counter[str]
) -> Iterator[Output]:
    """Yield what is to be sent, and count it, beside what cannot be read."""
    # Ends are taken once: what is sent from here on lies behind them.
    for message in _received_since(log, since):
        try:
            output = again(message, network, since, until)
        except InvalidMessage:  # its dead letter was written when it was first read
            counts["unreadable"] += 1
            continue
        if output is not None:
            counts["sent"] += 1
            yield output


def _received_since(log: Log, since: datetime) -> Iterator[Message]:
    """Yield what was written at that time or later; it was received before it was written."""
    slots = log.slots(Topic.RAW_EVENTS)
    starts, ends = log.first_since(slots, since), log.ends(slots)
    ranges: dict[Slot, tuple[int, int]] = {
        slot: (start, ends[slot]) for slot, start in starts.items() if start is not None
    }
    return log.read(ranges)


def again(message: Message, network: str, since: datetime, until: datetime) -> Output | None:
    """Return the record that makes understand read a raw event anew, None for one not asked for.

    It differs from the original in its mode alone. What an earlier remap sent is not sent again:
    its original is.

    Args:
        message: a record of raw-events.
        network: whose events are asked for.
        since: first time of receipt.
        until: time of receipt to stop before.

    Raises:
        InvalidMessage: no raw event.
    """
    raw = codec.decode(RawEvent, message.value)
    if raw.network != network or raw.mode == "remap" or not since <= raw.received_at < until:
        return None
    return Output(
        topic=Topic.RAW_EVENTS,
        key=message.key or raw.object_id.encode(),
        value=codec.encode(structs.replace(raw, mode="remap")),
        headers=tuple(header for header in message.headers if header[0] != SOURCE_HEADER),
        partition=message.partition,
    )
