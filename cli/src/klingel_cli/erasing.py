"""What an erasure has to reach, and what it sends there."""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_scan

from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output
from klingel.contracts.outputs import raw_output
from klingel.contracts.shown import Notes, end_shown, shown
from klingel.contracts.suppressions import (
    done_output,
    nobody_yet,
    suppression_output,
    take_suppression,
)
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, Suppressed, erasing
from klingel.domain.erasure import Subject as Kind
from klingel.errors import ConfigurationError, InvalidMessage
from klingel.model import IdentityLink, Suppression
from klingel.settings import ErasureSettings
from klingel_cli.commands.customer import link_output
from klingel_cli.kafka import SOURCE
from klingel_indexer.erased import without_erased

Json = dict[str, Any]
SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FIELDS: Final = ["object_id", "kind", "channel", "case_id", "media.sha256"]
_LOOKED: Final = "shown/looked"
"""Note in the store: until when media of deleted posts are removed."""
_OVERLAP: Final = timedelta(hours=1)
_FIRST_LOOK: Final = timedelta(days=2)
_IDS_AT_ONCE: Final = 500
_LONGEST_ID: Final = 1024
_PEOPLE_AT_ONCE: Final = 2000


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom or what an erasure is about.

    Attributes:
        kind: what `name` is.
        name: `<network>:<author id>`, an object id or a case id.
        until: what an author said later stays, and their cases that were opened later; None erases
            all that is found.
    """

    kind: Kind
    name: str
    until: datetime | None = None

    @property
    def posts(self) -> Json:
        """The question for its posts."""
        if self.kind == "author":
            network, _, author = self.name.partition(":")
            return self._until(_all_of({"network": network, "author.id": author}), _said_after)
        if self.kind == "case":
            return _all_of({"case_id": self.name, "direction": "inbound"})
        return _all_of({"object_id": self.name})

    @property
    def cases(self) -> Json | None:
        """The question for its cases; None for an object, which has none."""
        if self.kind == "object":
            return None
        field = "customer_id" if self.kind == "author" else "case_id"
        return self._until(_all_of({field: self.name}), _opened_after)

    def _until(self, question: Json, later: Callable[[datetime], Json]) -> Json:
        if self.until is not None:
            question["bool"]["must_not"] = [later(self.until)]
        return question


def _opened_after(until: datetime) -> Json:
    return {"range": {"opened_at": {"gt": until.isoformat()}}}


def _said_after(until: datetime) -> Json:
    """Return the question for posts after an instant: by the earlier of publication and receipt."""
    at = until.isoformat()
    published = {"range": {"published_at": {"lte": at}}}
    return {
        "bool": {
            "filter": [{"range": {"received_at": {"gt": at}}}],
            "must_not": [published],
        }
    }


_FOR_EVER_MS: Final = 1000 * 365 * 86_400_000
"""A thousand years: Kafka's largest number says for ever, too, and no calendar holds it."""


def log_bounds(held: Mapping[str, Mapping[str, str]], now: datetime) -> dict[str, datetime]:
    """Return by when each topic has nothing more of what it held at an erasure.

    Kafka drops whole segments, each when its newest record is old enough: the oldest record of the
    one that is being written may stay as long again as segments are written.

    Args:
        held: of each topic that deletes by time, its configuration as Kafka names it.
        now: of the erasure.

    Returns:
        By name; a topic is left out that keeps for ever, or of which it is not said.
    """
    bounds: dict[str, datetime] = {}
    for name, config in held.items():
        lasting = [int(config.get(each, "-1")) for each in ("retention.ms", "segment.ms")]
        if min(lasting) >= 0 and sum(lasting) <= _FOR_EVER_MS:
            bounds[name] = now + timedelta(milliseconds=sum(lasting))
    return bounds


@dataclass(frozen=True, slots=True)
class Reach:
    """What lies in the index of a subject.

    Attributes:
        objects: object id to kind and channel.
        cases: ids.
        media: hashes of stored media.
    """

    objects: Mapping[str, tuple[str, str | None]]
    cases: frozenset[str]
    media: frozenset[str]


async def reach(client: AsyncElasticsearch, prefix: str, subject: Subject) -> Reach:
    """Look for all that is to go; raises ApiError and TransportError.

    What happened to cases is asked too: a replay brings that back, and its cases no more.
    """
    objects: dict[str, tuple[str, str | None]] = {}
    cases: set[str] = set()
    media: set[str] = set()
    if subject.kind == "object":
        objects[subject.name] = ("unknown", None)
    async for source in _found(client, f"{prefix}events-*", subject.posts, _FIELDS):
        objects[source["object_id"]] = (source.get("kind", "unknown"), source.get("channel"))
        media |= {each["sha256"] for each in source.get("media", ()) if "sha256" in each}
    if subject.cases is not None:
        for kind in (Topic.CASES, Topic.CASE_EVENTS, Topic.ESCALATIONS):
            async for source in _found(client, f"{prefix}{kind}-*", subject.cases, ["case_id"]):
                cases.add(source["case_id"])
    if subject.kind == "case":
        cases.add(subject.name)
    return Reach(objects, frozenset(cases), frozenset(media))


async def others_hold(
    client: AsyncElasticsearch, prefix: str, media: str, objects: Sequence[str]
) -> bool:
    """Whether anything else in the index has the same medium."""
    question = {
        "bool": {
            "filter": [{"term": {"media.sha256": media}}],
            "must_not": [{"terms": {"object_id": list(objects)}}],
        }
    }
    found = await client.count(index=f"{prefix}events-*", query=question)
    return bool(found["count"])


class MediaStore(Notes, Protocol):
    """Where media lie, with what objects showed them."""

    async def forget(self, sha256: str) -> bool:
        """Remove what has this hash; returns whether it was there."""
        ...


async def forget_of_deleted(
    client: AsyncElasticsearch, prefix: str, store: MediaStore, now: datetime
) -> int:
    """Remove media that only posts showed which are deleted since the last look; returns how many.

    Elasticsearch says positively that a post is deleted: of an index that was lost nothing goes.

    Raises:
        ApiError, TransportError: of Elasticsearch.
        SourceUnavailable, CredentialsRejected: of the store.
    """
    gone = 0
    since = _looked(await store.noted(_LOOKED), now)
    async for object_id in deleted_since(client, prefix, since):
        media = await shown(store, object_id)
        for each in sorted(media):
            if not await others_hold(client, prefix, each, [object_id]):
                gone += await store.forget(each)
        if media:
            await end_shown(store, object_id)
    await store.note(_LOOKED, now.isoformat().encode())
    return gone


def _looked(noted: bytes | None, now: datetime) -> datetime:
    """Return since when to look: with some overlap, as what is fetched late is noted late."""
    try:
        last = datetime.fromisoformat((noted or b"").decode())
        return min(last, now) - _OVERLAP
    except (ValueError, TypeError):
        return now - _FIRST_LOOK


async def deleted_since(
    client: AsyncElasticsearch, prefix: str, since: datetime
) -> AsyncIterator[str]:
    """Yield the ids of posts of whose deletion the index knows since an instant."""
    question = {
        "bool": {
            "filter": [
                {"term": {"change": "deleted"}},
                {"range": {"indexed_at": {"gte": since.isoformat()}}},
            ]
        }
    }
    async for source in _found(client, f"{prefix}events-*", question, ["object_id"]):
        yield source["object_id"]


async def left(client: AsyncElasticsearch, prefix: str, subject: Subject) -> int:
    """Return how many documents of posts and cases still tell of a subject."""
    posts = subject.posts
    posts["bool"].setdefault("must_not", []).append({"term": {"change": "deleted"}})
    await client.indices.refresh(index=f"{prefix}*")
    found = int((await client.count(index=f"{prefix}events-*", query=posts))["count"])
    if subject.cases is not None:
        asked = await client.count(index=f"{prefix}cases-*", query=subject.cases)
        found += int(asked["count"])
    return found


async def forget_cases(
    client: AsyncElasticsearch, prefix: str, cases: Sequence[str], until: datetime
) -> int:
    """Delete what the index tells of cases beside themselves; returns how many documents.

    A case that the customer opened again afterwards may have the id of an erased one: what is told
    of it stays.
    """
    gone = 0
    kinds = (Topic.CASE_EVENTS, Topic.ESCALATIONS)
    indices = ",".join(f"{prefix}{kind}-*" for kind in kinds)
    for start in range(0, len(cases), _IDS_AT_ONCE):
        done = await client.delete_by_query(
            index=indices,
            query={
                "bool": {
                    "filter": [{"terms": {"case_id": list(cases[start : start + _IDS_AT_ONCE])}}],
                    "must_not": [_opened_after(until)],
                }
            },
            conflicts="proceed",
            refresh=True,
            ignore_unavailable=True,
        )
        gone += int(done["deleted"])
    return gone


async def named(
    client: AsyncElasticsearch, prefix: str, key: Key, wanted: Mapping[str, Suppression]
) -> list[Subject]:
    """Return the people in the index whom suppressions name.

    A suppression holds a hash, from which nobody can be told: so everybody who said something, and
    every customer, is hashed.

    Args:
        client: of Elasticsearch.
        prefix: of every index name.
        key: by which they were hashed.
        wanted: suppressions of authors, by subject.
    """
    found: dict[str, Subject] = {}
    asked: list[tuple[str, tuple[str, ...]]] = [(f"{prefix}events-*", ("network", "author.id"))]
    asked += [
        (f"{prefix}{kind}-*", ("customer_id",))
        for kind in (Topic.CASES, Topic.CASE_EVENTS, Topic.ESCALATIONS)
    ]
    for index, fields in asked if wanted else ():
        async for values in _distinct(client, index, fields):
            name = ":".join(values)
            record = wanted.get(key.hash("author", name))
            if record is not None:
                found[name] = Subject("author", name, record.erased_at)
    return [found[name] for name in sorted(found)]


async def _distinct(
    client: AsyncElasticsearch, index: str, fields: Sequence[str]
) -> AsyncIterator[tuple[str, ...]]:
    """Yield each combination of values that documents have in fields."""
    sources = [{field: {"terms": {"field": field}}} for field in fields]
    after: Json | None = None
    while True:
        pages: Json = {"size": _PEOPLE_AT_ONCE, "sources": sources}
        if after is not None:
            pages["after"] = after
        answer = await client.search(
            index=index, size=0, aggs={"people": {"composite": pages}}, allow_no_indices=True
        )
        people = answer.body.get("aggregations", {}).get("people", {})
        for bucket in people.get("buckets", ()):
            yield tuple(str(bucket["key"][field]) for field in fields)
        after = people.get("after_key")
        if after is None:
            return


def known_erased(messages: Iterable[Message], erasure: ErasureSettings) -> Suppressed:
    """Return who was erased until now.

    Args:
        messages: all of `suppressions`.
        erasure: the deployment's key.

    Raises:
        ConfigurationError: some were told with another key, or none is set.
    """
    suppressed = nobody_yet(erasure)
    for message in messages:
        take_suppression(suppressed, message)
    if suppressed.strange:
        raise ConfigurationError(
            "somebody was erased with another KLINGEL_ERASURE__KEY than ours: nobody could tell who"
        )
    return suppressed


def told(key: Key, subject: Subject, found: Reach, now: datetime) -> list[Suppression]:
    """Return what is sent first: who and what was erased.

    Also each object: it is known by itself when it comes again, and where only its id stands.
    """
    names: list[tuple[Kind, str]] = [(subject.kind, subject.name)]
    names += [("object", each) for each in sorted(found.objects) if each != subject.name]
    at = now if subject.until is None else subject.until
    records = [key.suppression(kind, name, now) for kind, name in names]
    return [msgspec.structs.replace(records[0], erased_at=at), *records[1:]]


def suppressions(records: Iterable[Suppression]) -> list[Output]:
    """Return the records that tell of erasures."""
    return [suppression_output(each, SOURCE) for each in records]


def done(records: Iterable[Suppression], now: datetime) -> list[Output]:
    """Return the records that tell that erasures are carried out."""
    return [done_output(each, now, SOURCE) for each in records]


def examples_gone(messages: Iterable[Message], suppressed: Suppressed) -> list[Output]:
    """Return alerts or incidents anew whose examples were erased, without those.

    Their revision stays: nothing else changed, and nobody is told again. Where what was written last
    is older than another record, that one is written again: Kafka keeps the last.

    Args:
        messages: of a topic, of each key in the order of their writing.
        suppressed: who and what was erased.
    """
    newest: dict[bytes, tuple[int, Message]] = {}
    last: dict[bytes, Message] = {}
    for message in messages:
        key = message.key or b""
        last[key] = message
        if message.value is None:
            newest.pop(key, None)
            continue
        revision = _revision(message.value)
        if key not in newest or newest[key][0] <= revision:
            newest[key] = revision, message
    outputs: list[Output] = []
    for key, (_, message) in newest.items():
        assert message.value is not None
        spared = without_erased(message.value, suppressed)
        if spared is None and last[key] is message:
            continue
        value = message.value if spared is None else spared
        outputs.append(
            Output(message.topic, key, value, message.headers, partition=message.partition)
        )
    return outputs


class _Revised(msgspec.Struct, frozen=True):
    revision: int = 0


_REVISED = msgspec.json.Decoder(_Revised)


def _revision(value: bytes) -> int:
    try:
        return _REVISED.decode(value).revision
    except msgspec.MsgspecError:
        return 0


def deletions(found: Reach, now: datetime) -> list[Output]:
    """Return what takes the objects' words away."""
    return [
        raw_output(erasing(each, each.partition(":")[0], kind, now, channel), SOURCE)
        for each, (kind, channel) in sorted(found.objects.items())
    ]


def links_gone(messages: Iterable[Message], subject: Subject) -> list[Output]:
    """Return what ends every link of an author, also those that people gave or took back.

    Other ids stay in links with each other.

    Args:
        messages: of `identity-links`, of each key in the order of their writing.
        subject: only an author has links.
    """
    ended: dict[bytes, Output] = {}
    for message in messages if subject.kind == "author" else ():
        key = message.key or b""
        ended.pop(key, None)
        try:
            known = None if message.value is None else codec.decode(IdentityLink, message.value)
        except InvalidMessage:
            continue  # nobody can read an id in it: understand leaves it out too
        if known is not None and subject.name in (known.one, known.other):
            ended[key] = msgspec.structs.replace(link_output(known), key=key, value=None)
    return [ended[key] for key in sorted(ended)]


def _all_of(terms: Mapping[str, str]) -> Json:
    return {"bool": {"filter": [{"term": {name: value}} for name, value in terms.items()]}}


async def _found(client: AsyncElasticsearch, index: str, question: Json, fields: list[str]) -> Any:
    scan = async_scan(
        client,
        index=index,
        query={"query": question, "_source": fields},
        size=1000,
        allow_no_indices=True,
    )
    async for hit in scan:
        yield hit["_source"]
