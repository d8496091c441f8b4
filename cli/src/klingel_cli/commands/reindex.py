"""`klingel reindex`: indices made anew, from what Kafka still has and from older indices."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
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
from klingel_cli.shell import FOUND_WRONG, Failure, Shell, as_json, pass_shell
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
        """Whether all that was read is there."""
        return self.may_go_on and not self.differences

    @property
    def may_go_on(self) -> bool:
        """Whether nothing was refused: what differs then is what others write meanwhile."""
        return self.failed is None and not (self.rebuilt is not None and self.rebuilt.errors)

    @property
    def failed(self) -> Copied | None:
        """The index that could not be copied; none after it was tried."""
        return next((each for each in self.copied if each.failed), None)


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
    not be copied or written, or both differ in the end; where the new mapping refuses a document,
    nothing more is tried and the old indices are as they were.
    """
    elasticsearch = shell.settings.elasticsearch
    old, new = _prefixes(elasticsearch.index_prefix, to, old)
    if check and old is None:
        raise ConfigurationError("--check compares two prefixes; name the other one by --to")
    begun = shell.now()
    run = _Run(shell, old, new, since, begun, Suppressed() if check else _erased(shell))
    done = ask(elasticsearch, run.check if check else run.make)
    if as_json:
        shell.tell(_told(done))
    else:
        _say(shell, done)
        if old is not None and not check and since is None and done.may_go_on:
            _say_what_is_left(shell, old, new, begun)
    if done.failed is not None:
        raise Failure(_refusal(done.failed, new, live=to is None), FOUND_WRONG)
    if not done.is_well:
        shell.found_wrong()


@dataclass(frozen=True, slots=True)
class _Run:
    """One run.

    Attributes:
        shell: settings.
        old, new: prefixes; None without one to copy from.
        since: from when on Kafka is read; None reads and copies everything.
        begun: when the run began.
        erased: who and what was erased.
    """

    shell: Shell
    old: str | None
    new: str
    since: datetime | None
    begun: datetime
    erased: Suppressed

    async def check(self, client: AsyncElasticsearch) -> _Done:
        """Only compare."""
        return _Done(None, [], await _differences(client, await self._pairs(client)))

    async def make(self, client: AsyncElasticsearch) -> _Done:
        """Copy, write what Kafka has above it, and compare."""
        pairs = await self._pairs(client)
        copied, swept = [], 0
        if self.since is None and self.old is not None:
            swept = await sweep(client, self.old, self.erased)
            copied = await _copy(client, pairs)
        done = _Done(None, copied, [], swept)
        if done.failed is not None:
            return done
        rebuilt = await self._rebuild(client, self.since)
        differences = await _differences(client, pairs)
        for _ in range(0 if rebuilt.errors else _ROUNDS):
            if not differences:
                break
            # Services and the indexer go on meanwhile.
            await self._rebuild(client, self.begun - _OVERLAP)
            differences = await _differences(client, pairs)
        return done._replace(rebuilt=rebuilt, differences=differences)

    async def _pairs(self, client: AsyncElasticsearch) -> Mapping[str, str]:
        """Return each index of the old prefix and the name of the one that takes its place.

        Raises:
            ConfigurationError: the templates of the new prefix are not there.
        """
        folder = schemas_dir(self.shell.settings.schemas_dir) / FOLDER
        _refuse(await check_templates(client, folder, self.new, None), self.new)
        if self.old is None:
            return {}
        names = await indices_of(client, folder, self.old)
        return {name: target_of(name, self.old, self.new) for name in names}

    async def _rebuild(self, client: AsyncElasticsearch, since: datetime | None) -> Rebuilt:
        with reading(self.shell.settings.kafka) as log:
            ranges = await asyncio.to_thread(_ranges, log, since)
            return await rebuild(
                log.read(ranges),
                client,
                self.new,
                clock=SystemClock(),
                metrics=Metrics("reindex"),
                suppressed=self.erased,
            )


async def _copy(client: AsyncElasticsearch, pairs: Mapping[str, str]) -> list[Copied]:
    """Copy one index after the other; the first that cannot be copied is the last."""
    copied = []
    for pair in pairs.items():
        copied.append(await copy_index(client, *pair))
        if copied[-1].failed:
            break
    return copied


def _refusal(failed: Copied, new: str, *, live: bool) -> str:
    """Return what is to be said of an index that could not be copied.

    Args:
        failed: it.
        new: prefix of the indices that it was copied to.
        live: whether these are asked already, so that nobody may delete them.
    """
    why = "; ".join(failed.failed)
    if not failed.is_mapping:
        return (
            f"{failed.source} could not be copied ({why}) and goes on serving; begin anew when "
            "Elasticsearch is well"
        )
    cure = "" if live else f", delete the indices under {new}"
    return (
        f"the mapping under {new} refuses documents of {failed.source} ({why}), which goes on "
        f"serving; mend the mapping{cure} and begin anew"
    )


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
            "errors": dict(rebuilt.errors),
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
    if done.rebuilt is not None:
        found = done.rebuilt
        shell.say(
            f"read     {found.read:,} messages from Kafka: {found.written:,} documents, "
            f"{found.without:,} without one, {found.refused:,} refused (klingel dead-letters)"
        )
        for kind, count in sorted(found.errors.items()):
            shell.say(
                f"refused  Elasticsearch refuses {count:,} documents of Kafka ({kind}): the mapping "
                "does not fit them, or each is a dead letter already"
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
