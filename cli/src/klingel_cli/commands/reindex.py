"""`klingel reindex`: indices made anew, from what Kafka still has and from older indices."""

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from elasticsearch import AsyncElasticsearch

from klingel.clock import SystemClock
from klingel.contracts.resources import schemas_dir
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Suppressed
from klingel.errors import ConfigurationError
from klingel.metrics import Metrics
from klingel_cli.commands.remap import Moment
from klingel_cli.erasing import known_erased
from klingel_cli.kafka import Log, Slot, reading
from klingel_cli.search_client import ask
from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_indexer.convert import INPUTS
from klingel_indexer.erased import sweep
from klingel_indexer.rebuilding import (
    Copied,
    Difference,
    Rebuilt,
    compare,
    copy_index,
    indices_of,
    rebuild,
    target_of,
)
from klingel_indexer.templates import FOLDER, check_templates

_PREFIX: Final = re.compile("[a-z0-9-]+")
"""As KLINGEL_ELASTICSEARCH__INDEX_PREFIX may be, but for an empty one: here that is most likely a
variable of a script that is not set."""

_ROUNDS: Final = 5
"""So often what was written during the run is read once more, where the two differ."""
_OVERLAP: Final = timedelta(minutes=1)
"""By so much before the run it begins: clocks differ."""


class _Done(NamedTuple):
    """What a run did and what it found."""

    rebuilt: Rebuilt | None
    copied: list[Copied]
    differences: list[Difference]
    erased: int = 0

    @property
    def is_well(self) -> bool:
        """Whether all that could be written is there."""
        return not self.differences and not any(each.failed for each in self.copied)


@click.command("reindex")
@click.option("--to", "to", metavar="PREFIX", help="Write indices of this prefix; ours by default.")
@click.option("--from", "old", metavar="PREFIX", help="Copy these too; ours when --to is another.")
@click.option("--since", type=Moment(), help="Only what was written to Kafka since; copy nothing.")
@click.option("--check", is_flag=True, help="Only compare the indices of both prefixes.")
@as_json
@pass_shell
def reindex(
    shell: Shell,
    to: str | None,
    old: str | None,
    since: datetime | None,
    *,
    check: bool,
    as_json: bool,
) -> None:
    """Make all indices anew from Kafka and, for what it has no more, from older indices.

    Nothing has to stand still: of two versions of a document the higher stands, so an indexer may
    write to the same indices, and doing it twice changes nothing more. With --to, the new indices
    come to stand beside the old ones, and what is left to do is printed. What was erased is not
    written again, and goes from older indices before they are copied. Exit 1 when something could
    not be copied, or both differ in the end.
    """
    elasticsearch = shell.settings.elasticsearch
    old, new = _prefixes(elasticsearch.index_prefix, to, old)
    if check and old is None:
        raise ConfigurationError("--check compares two prefixes; name the other one by --to")
    folder = schemas_dir(shell.settings.schemas_dir) / FOLDER
    begun = shell.now()
    erased = Suppressed() if check else _erased(shell)

    async def work(client: AsyncElasticsearch) -> _Done:
        _refuse(await check_templates(client, folder, new, None), new)
        pairs = {} if old is None else await _pairs(client, folder, old, new)
        copied, rebuilt, swept = [], None, 0
        if not check:
            if since is None:
                swept = 0 if old is None else await sweep(client, old, erased)
                copied = [await copy_index(client, *pair) for pair in pairs.items()]
            rebuilt = await _rebuild(shell, client, new, since, erased)
        differences = await _differences(client, pairs)
        for _ in range(0 if check else _ROUNDS):
            if not differences:
                break
            # Services and the indexer go on meanwhile.
            await _rebuild(shell, client, new, begun - _OVERLAP, erased)
            differences = await _differences(client, pairs)
        return _Done(rebuilt, copied, differences, swept)

    done = ask(elasticsearch, work)
    if as_json:
        shell.tell(_told(done))
    else:
        _say(shell, done)
        if old is not None and not check and since is None:
            _say_what_is_left(shell, old, new, begun)
    if not done.is_well:
        shell.found_wrong()


async def _differences(client: AsyncElasticsearch, pairs: Mapping[str, str]) -> list[Difference]:
    found = [await compare(client, *pair) for pair in pairs.items()]
    return [each for each in found if each is not None]


def _prefixes(ours: str, to: str | None, old: str | None) -> tuple[str | None, str]:
    """Return the prefix to copy from, None without one, and the one to write to."""
    for option, prefix in (("--to", to), ("--from", old)):
        if prefix is not None and not _PREFIX.fullmatch(prefix):
            raise ConfigurationError(
                f"{option}: a prefix is lower-case letters, digits and hyphens, such as klingel2-"
            )
    new = ours if to is None else to
    if old is None and new != ours:
        old = ours
    if old == new:
        raise ConfigurationError("--from and --to name the same indices")
    return old, new


def _erased(shell: Shell) -> Suppressed:
    with reading(shell.settings.kafka) as log:
        return known_erased(log.read_whole(Topic.SUPPRESSIONS), shell.settings.erasure)


def _refuse(differences: list[str], prefix: str) -> None:
    if differences:
        raise ConfigurationError(
            f"{differences[0]}; KLINGEL_ELASTICSEARCH__INDEX_PREFIX={prefix} klingel index apply"
        )


async def _pairs(client: AsyncElasticsearch, folder: Path, old: str, new: str) -> Mapping[str, str]:
    """Return each index of the old prefix and the name of the one that takes its place."""
    return {name: target_of(name, old, new) for name in await indices_of(client, folder, old)}


async def _rebuild(
    shell: Shell,
    client: AsyncElasticsearch,
    prefix: str,
    since: datetime | None,
    erased: Suppressed,
) -> Rebuilt:
    with reading(shell.settings.kafka) as log:
        ranges = await asyncio.to_thread(_ranges, log, since)
        return await rebuild(
            log.read(ranges),
            client,
            prefix,
            clock=SystemClock(),
            metrics=Metrics("reindex"),
            suppressed=erased,
        )


def _ranges(log: Log, since: datetime | None) -> dict[Slot, tuple[int, int]]:
    """Return what of each input is to be read: all of it, or what was written since."""
    slots = [slot for topic in INPUTS for slot in log.slots(topic)]
    ends = log.ends(slots)
    if since is None:
        return {slot: (0, end) for slot, end in ends.items()}
    starts = log.first_since(slots, since)
    return {slot: (start, ends[slot]) for slot, start in starts.items() if start is not None}


def _told(done: _Done) -> dict[str, Any]:
    rebuilt = done.rebuilt
    return {
        "kafka": None
        if rebuilt is None
        else {
            "read": rebuilt.read,
            "written": rebuilt.written,
            "without": rebuilt.without,
            "refused": rebuilt.refused,
        },
        "copied": [
            {
                "from": each.source,
                "to": each.target,
                "documents": each.documents,
                "written": each.written,
                "older": each.older,
                "failed": each.failed,
            }
            for each in done.copied
        ],
        "erased": done.erased,
        "differences": [each._asdict() for each in done.differences],
    }


def _say(shell: Shell, done: _Done) -> None:
    if done.erased:
        shell.say(f"erased   {done.erased:,} documents of older indices tell of nobody erased now")
    for each in done.copied:
        shell.say(
            f"copied   {each.source} to {each.target}: {each.written:,} of {each.documents:,} "
            f"documents, {each.older:,} there already"
        )
        for failure in each.failed:
            shell.say(f"failed   {each.source}: Elasticsearch refuses a document: {failure}")
    if done.rebuilt is not None:
        found = done.rebuilt
        shell.say(
            f"read     {found.read:,} messages from Kafka: {found.written:,} documents, "
            f"{found.without:,} without one, {found.refused:,} refused (klingel dead-letters)"
        )
    for difference in done.differences:
        shell.say(f"differs  {difference.sentence()}")


def _say_what_is_left(shell: Shell, old: str, new: str, begun: datetime) -> None:
    at = begun.isoformat(timespec="seconds")
    setting = "KLINGEL_ELASTICSEARCH__INDEX_PREFIX"
    shell.say("")
    shell.say("what is left, in this order:")
    shell.say(f"  1. set {setting}={new} for the indexer and let it restart")
    shell.say(f"  2. {setting}={old} klingel reindex --to {new} --since {at}")
    shell.say(f"  3. set {setting}={new} for the command and for Kibana (klingel kibana apply)")
    shell.say(f"  4. delete the indices and templates of {old} when nobody asks them any more")
