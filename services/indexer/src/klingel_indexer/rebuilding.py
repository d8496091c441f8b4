"""Indices made anew: from what Kafka still has, and from older indices for what it has no more.

Both write with the version that every document has had since it was first written, and of two
versions the higher stands (`external_gte`). So it does not matter in which order the two are done,
how often, or what an indexer writes to the same indices meanwhile.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from elasticsearch import AsyncElasticsearch, NotFoundError

from klingel.clock import Clock
from klingel.contracts.envelope import Message, rfc3339
from klingel.domain.erasure import Suppressed
from klingel.errors import InvalidMessage, SourceUnavailable
from klingel.metrics import Metrics
from klingel_indexer.bulk import (
    BulkLimits,
    BulkWriter,
    ElasticsearchTransport,
    Item,
    Settled,
)
from klingel_indexer.convert import Write, convert
from klingel_indexer.erased import passed
from klingel_indexer.templates import JSON_HEADERS, existing_indices, read_templates

_READ: Final = 2000
"""Messages taken in at once."""

_PAGE: Final = 5000
"""Documents of one page of a comparison."""

_KEEP: Final = "5m"
"""How long Elasticsearch keeps a view of an index open between two pages."""

_UNFIT: Final = 400
"""Status of a document that its index can never take."""

_FIELD: Final = re.compile(r"failed to parse field \[([a-z_.]{1,100})\] of type \[([a-z_]{1,40})\]")
"""A field of the mapping and its type: names of ours. What else the sentence says is the document's."""

Sleep = Callable[[float], Any]


@dataclass(slots=True)
class Rebuilt:
    """What became of the messages that were read.

    Attributes:
        read: messages.
        written: documents that the index holds now, in this version or a higher one.
        without: messages that have no document, or must have none since what they tell is erased.
        refused: documents that Elasticsearch refuses, and messages that cannot be read; each had
            its dead letter when it was first read, unless the mapping is another since.
        errors: of the documents, how many by Elasticsearch's error type.
    """

    read: int = 0
    written: int = 0
    without: int = 0
    refused: int = 0
    errors: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Copied:
    """What became of an older index.

    Attributes:
        source, target: names.
        documents: in the source.
        written: of them, new or newer in the target.
        older: of them, the target holds this version or a higher one.
        failed: Elasticsearch's error types, with the field where it names one, and without a word
            of a document.
        is_mapping: whether the documents do not fit, so that trying again cannot help.
    """

    source: str
    target: str
    documents: int = 0
    written: int = 0
    older: int = 0
    failed: list[str] = field(default_factory=list)
    is_mapping: bool = False


class Contents(NamedTuple):
    """How many documents an index holds, and a sum over their ids and versions."""

    documents: int
    digest: int


class Difference(NamedTuple):
    """Two indices that do not hold the same."""

    source: str
    target: str
    here: int
    there: int

    def sentence(self) -> str:
        """Return it for people."""
        if self.here == self.there:
            return f"{self.target}: {self.there:,} documents, some in other versions"
        return f"{self.target}: {self.there:,} documents, {self.source} has {self.here:,}"


async def rebuild(
    messages: Iterable[Message],
    client: AsyncElasticsearch,
    prefix: str,
    *,
    clock: Clock,
    metrics: Metrics,
    suppressed: Suppressed | None = None,
    limits: BulkLimits | None = None,
) -> Rebuilt:
    """Write the documents of messages, but for what was erased.

    Args:
        messages: of the indexer's inputs, of each partition in offset order; read in a thread.
        client: of Elasticsearch, where the templates are.
        prefix: of every index name.
        clock: time.
        metrics: where counts go.
        suppressed: who and what was erased.
        limits: sizes and waits; while Elasticsearch is away nothing is read.
    """
    done, erased = Rebuilt(), Suppressed() if suppressed is None else suppressed
    limits = limits or BulkLimits()

    async def settled(ends: Sequence[Settled]) -> None:
        succeeded = sum(end.verdict.succeeded for end in ends)
        done.written += succeeded
        done.refused += len(ends) - succeeded
        done.errors.update(end.error_type for end in ends if not end.verdict.succeeded)

    writer = BulkWriter(
        ElasticsearchTransport(client), settled, clock=clock, limits=limits, metrics=metrics
    )
    try:
        async for some in _in_thread(iter(messages)):
            at = rfc3339(clock.now())
            done.read += len(some)
            for message in some:
                allowed = passed(message, erased)
                if allowed is None:
                    done.without += 1
                else:
                    _take(allowed, prefix, at, writer, done)
            while not writer.room:
                await writer.progress(limits.longest_wait_seconds)
                writer.check()
        while not await writer.drain(limits.longest_wait_seconds):
            pass
    finally:
        await writer.close()
    return done


def _take(message: Message, prefix: str, at: str, writer: BulkWriter, done: Rebuilt) -> None:
    try:
        result = convert(message, prefix, at)
    except InvalidMessage:
        done.refused += 1
        return
    if isinstance(result, Write):
        writer.add(Item(result, None))
    else:
        done.without += 1


async def _in_thread(messages: Iterator[Message]) -> AsyncIterator[list[Message]]:
    while some := await asyncio.to_thread(lambda: list(islice(messages, _READ))):
        yield some


async def indices_of(client: AsyncElasticsearch, folder: Path, prefix: str) -> list[str]:
    """Return the indices that stand under a prefix: by the templates, since names overlap."""
    templates = read_templates(folder, prefix, {}).indices.values()
    patterns = sorted(pattern for each in templates for pattern in each["index_patterns"])
    return await existing_indices(client, patterns)


def target_of(index: str, old: str, new: str) -> str:
    """Return the name under which an index of the prefix `old` stands under `new`."""
    return new + index.removeprefix(old)


async def copy_index(
    client: AsyncElasticsearch, source: str, target: str, *, sleep: Sleep = asyncio.sleep
) -> Copied:
    """Let Elasticsearch copy an index, every document in its version; waits until it is done."""
    body = {
        "conflicts": "proceed",
        "source": {"index": source, "size": _PAGE},
        "dest": {"index": target, "version_type": "external_gte"},
    }
    begun = await client.perform_request(
        "POST",
        "/_reindex",
        params={"wait_for_completion": "false", "refresh": "true"},
        headers=JSON_HEADERS,
        body=body,
    )
    task, pause = begun.body["task"], 0.05
    while True:
        found = await client.perform_request("GET", f"/_tasks/{task}", headers=JSON_HEADERS)
        if found.body["completed"]:
            break
        await sleep(pause)
        pause = min(2.0, pause * 2)
    error = found.body.get("error")
    if error is not None:
        return Copied(source, target, failed=[str(error.get("type", "unknown"))])
    response: Mapping[str, Any] = found.body["response"]
    failures = [(each.get("status", 0), each.get("cause") or {}) for each in response["failures"]]
    return Copied(
        source,
        target,
        documents=response["total"],
        written=response["created"] + response["updated"],
        older=response["version_conflicts"],
        failed=sorted({_failure(cause) for _, cause in failures}),
        is_mapping=any(status == _UNFIT for status, _ in failures),
    )


def _failure(cause: Mapping[str, Any]) -> str:
    """Return the type of an error, and which field did not fit where it says so."""
    kind = str(cause.get("type", "unknown"))
    named = _FIELD.search(str(cause.get("reason", "")))
    return kind if named is None else f"{kind}, the field {named[1]} of the type {named[2]}"


async def contents(client: AsyncElasticsearch, index: str) -> Contents:
    """Return what an index holds, so that two can be compared; nothing where there is none.

    Raises:
        SourceUnavailable: Elasticsearch answers with a part of it only.
    """
    try:
        await client.perform_request("POST", f"/{index}/_refresh", headers=JSON_HEADERS)
    except NotFoundError:
        return Contents(0, 0)
    opened = await client.perform_request(
        "POST", f"/{index}/_pit", params={"keep_alive": _KEEP}, headers=JSON_HEADERS
    )
    view, documents, digest = opened.body["id"], 0, 0
    after: list[Any] | None = None
    try:
        while True:
            body: dict[str, Any] = {
                "size": _PAGE,
                "_source": False,
                "version": True,
                "track_total_hits": False,
                "pit": {"id": view, "keep_alive": _KEEP},
                "sort": ["_shard_doc"],
            }
            if after is not None:
                body["search_after"] = after
            page = await client.perform_request("POST", "/_search", headers=JSON_HEADERS, body=body)
            if page.body["_shards"]["failed"] or page.body["timed_out"]:
                raise SourceUnavailable(f"Elasticsearch reads {index} in part only")
            hits = page.body["hits"]["hits"]
            view = page.body.get("pit_id", view)
            for hit in hits:
                told = f"{hit['_id']}|{hit['_version']}".encode()
                digest += int.from_bytes(blake2b(told, digest_size=8).digest(), "big")
            documents += len(hits)
            if len(hits) < _PAGE:
                return Contents(documents, digest % (1 << 64))
            after = hits[-1]["sort"]
    finally:
        await client.perform_request("DELETE", "/_pit", headers=JSON_HEADERS, body={"id": view})


async def compare(client: AsyncElasticsearch, source: str, target: str) -> Difference | None:
    """Return how two indices differ, None when both hold the same documents and versions."""
    here, there = await contents(client, source), await contents(client, target)
    if here == there:
        return None
    return Difference(source, target, here.documents, there.documents)
