"""What an erasure has to reach, and what it sends there."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_scan

from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output, ce_headers, trace_id
from klingel.contracts.suppressions import suppression_output
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, erasing
from klingel.domain.erasure import Subject as Kind
from klingel.errors import InvalidMessage
from klingel.model import IdentityLink, RawEvent
from klingel_cli.commands.customer import link_output

Json = dict[str, Any]
SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FIELDS: Final = ["object_id", "kind", "channel", "case_id", "media.sha256"]
_IDS_AT_ONCE: Final = 500
_LONGEST_ID: Final = 1024
_SOURCE: Final = "klingel/cli"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom or what an erasure is about.

    Attributes:
        kind: what `name` is.
        name: `<network>:<author id>`, an object id or a case id.
    """

    kind: Kind
    name: str

    @property
    def posts(self) -> Json:
        """The question for its posts."""
        if self.kind == "author":
            network, _, author = self.name.partition(":")
            return _all_of({"network": network, "author.id": author})
        if self.kind == "case":
            return _all_of({"case_id": self.name, "direction": "inbound"})
        return _all_of({"object_id": self.name})

    @property
    def cases(self) -> Json | None:
        """The question for its cases; None for an object, which has none."""
        if self.kind == "object":
            return None
        field = "customer_id" if self.kind == "author" else "case_id"
        return _all_of({field: self.name})


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
        for kind in (Topic.CASES, Topic.CASE_EVENTS):
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


async def left(client: AsyncElasticsearch, prefix: str, subject: Subject) -> int:
    """Return how many documents of posts and cases still tell of a subject."""
    posts = subject.posts
    posts["bool"]["must_not"] = [{"term": {"change": "deleted"}}]
    await client.indices.refresh(index=f"{prefix}*")
    found = int((await client.count(index=f"{prefix}events-*", query=posts))["count"])
    if subject.cases is not None:
        asked = await client.count(index=f"{prefix}cases-*", query=subject.cases)
        found += int(asked["count"])
    return found


async def forget_cases(client: AsyncElasticsearch, prefix: str, cases: Sequence[str]) -> int:
    """Delete what the index tells of cases beside themselves; returns how many documents."""
    gone = 0
    kinds = (Topic.CASE_EVENTS, Topic.ESCALATIONS)
    indices = ",".join(f"{prefix}{kind}-*" for kind in kinds)
    for start in range(0, len(cases), _IDS_AT_ONCE):
        done = await client.delete_by_query(
            index=indices,
            query={"terms": {"case_id": list(cases[start : start + _IDS_AT_ONCE])}},
            conflicts="proceed",
            refresh=True,
            ignore_unavailable=True,
        )
        gone += int(done["deleted"])
    return gone


def told(key: Key, subject: Subject, found: Reach, now: datetime) -> list[Output]:
    """Return what is sent first: who and what was erased.

    Of a case also its objects: each is known by itself when it comes again.
    """
    names: list[tuple[Kind, str]] = [(subject.kind, subject.name)]
    if subject.kind == "case":
        names += [("object", each) for each in sorted(found.objects)]
    return [suppression_output(key.suppression(kind, name, now), _SOURCE) for kind, name in names]


def deletions(found: Reach, now: datetime) -> list[Output]:
    """Return what takes the objects' words away."""
    return [
        _raw(erasing(each, each.partition(":")[0], kind, now, channel), now)
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


def _raw(raw: RawEvent, now: datetime) -> Output:
    return Output(
        topic=Topic.RAW_EVENTS,
        key=raw.object_id.encode(),
        value=codec.encode(raw),
        headers=ce_headers(
            Topic.RAW_EVENTS,
            event_id=raw.event_id,
            source=_SOURCE,
            subject=raw.object_id,
            time=now,
            trace=trace_id(raw.event_id),
        ),
    )


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
