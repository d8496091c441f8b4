"""What was erased is written to no index again (I11): replays, reindexing, older indices.

A replay of a topic brings back what it held, also of people who are erased since. Deletions and
tombstones take it away again where they lie in the same topic; where they do not, as in
`case-events`, and where retention took them first, only the suppression still knows. So each message
is asked before it becomes a document, and so are the documents of older indices before they are
copied.
"""

from collections.abc import AsyncIterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_scan

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Suppressed, author_name
from klingel.model.base import Record

_SCAN: Final = 2000
_CONFLICT: Final = 400


class _Author(Record, frozen=True):
    id: str


class _Post(Record, frozen=True):
    object_id: str
    network: str
    received_at: datetime | None = None
    published_at: datetime | None = None
    change: str = "created"
    author: _Author | None = None

    def holds(self, suppressed: Suppressed) -> bool:
        if self.change == "deleted" or self.received_at is None:
            return False
        author = None if self.author is None else author_name(self.network, self.author.id)
        return suppressed.holds(self.object_id, author, self.published_at, self.received_at)


class _Routed(Record, frozen=True):
    event: _Post

    def holds(self, suppressed: Suppressed) -> bool:
        return self.event.holds(suppressed)


class _OfCase(Record, frozen=True):
    """A case, what happened to it, or who was told of it.

    Records of before `opened_at` tell the case's opening by their own time, which lies after it: of
    two sides of an erasure the later is the one on which a case may stay.
    """

    case_id: str
    brand: str = ""
    conversation_id: str = ""
    customer_id: str = ""
    opened_at: datetime | None = None
    at: datetime | None = None

    def holds(self, suppressed: Suppressed) -> bool:
        customer = self.customer_id or self._customer
        return suppressed.holds_case(self.case_id, customer, self.opened_at or self.at)

    @property
    def _customer(self) -> str:
        """The customer that the case's id ends with: `<brand>:<conversation>:<customer>#<n>`."""
        begin = f"{self.brand}:{self.conversation_id}:"
        if not self.case_id.startswith(begin):
            return ""
        return self.case_id[len(begin) :].rpartition("#")[0]


_READS: Final[dict[Topic, Any]] = {
    Topic.ROUTED_EVENTS: msgspec.json.Decoder(_Routed),
    Topic.CASES: msgspec.json.Decoder(_OfCase),
    Topic.CASE_EVENTS: msgspec.json.Decoder(_OfCase),
    Topic.ESCALATIONS: msgspec.json.Decoder(_OfCase),
}


def is_erased(message: Message, suppressed: Suppressed) -> bool:
    """Whether a message must not become a document; what takes something away always may.

    Args:
        message: of one of the indexer's inputs.
        suppressed: who and what was erased.
    """
    decoder = _READS.get(message.topic)
    if decoder is None or message.value is None or not suppressed:
        return False
    try:
        return bool(decoder.decode(message.value).holds(suppressed))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False  # what is wrong with it is said by `convert`


class _Evidence(Record, frozen=True):
    events: tuple[str, ...] = ()


class _Warning(Record, frozen=True):
    """An alert or incident; its examples are ids of events."""

    evidence: _Evidence | None = None
    samples: tuple[str, ...] = ()


_WARNING: Final = msgspec.json.Decoder(_Warning)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER: Final = msgspec.json.Encoder()


def without_erased(value: bytes, suppressed: Suppressed) -> bytes | None:
    """Return an alert or incident without the examples that were erased; None where it has none.

    Args:
        value: the record.
        suppressed: who and what was erased.
    """
    try:
        told = _WARNING.decode(value)
        whole = _FIELDS.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # what is wrong with it is said by `convert`
    samples, examples = told.samples, told.evidence.events if told.evidence is not None else ()
    kept, spared = suppressed.spared(samples), suppressed.spared(examples)
    if (len(kept), len(spared)) == (len(samples), len(examples)):
        return None
    if len(kept) < len(samples):
        whole["samples"] = _raw(kept)
    if len(spared) < len(examples):
        evidence = _FIELDS.decode(whole["evidence"])
        whole["evidence"] = _raw(evidence | {"events": _raw(spared)})
    return _ENCODER.encode(whole)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_ENCODER.encode(value))


def passed(message: Message, suppressed: Suppressed) -> Message | None:
    """Return a message as it may become a document; None where it must not become one."""
    if message.value is None or not suppressed:
        return message
    if message.topic in _WARNINGS:
        value = without_erased(message.value, suppressed)
        return message if value is None else msgspec.structs.replace(message, value=value)
    return None if is_erased(message, suppressed) else message


_WARNINGS: Final = frozenset({Topic.ALERTS, Topic.INCIDENTS})
_DOCUMENTS: Final[dict[Topic, tuple[str, Any, list[str]]]] = {
    Topic.ROUTED_EVENTS: (
        "events",
        msgspec.json.Decoder(_Post),
        ["object_id", "network", "received_at", "published_at", "change", "author.id"],
    ),
    **{
        topic: (
            str(topic),
            _READS[topic],
            ["case_id", "brand", "conversation_id", "customer_id", "opened_at", "at"],
        )
        for topic in (Topic.CASES, Topic.CASE_EVENTS, Topic.ESCALATIONS)
    },
    **{topic: (str(topic), _WARNING, []) for topic in _WARNINGS},
}


async def sweep(client: AsyncElasticsearch, prefix: str, suppressed: Suppressed) -> int:
    """Take what was erased out of indices; returns how many documents lost it.

    Looks at every document, and is meant for indices that no indexer follows any more: before they
    are copied. What changes meanwhile is left, and met by the next sweep.

    Args:
        client: of Elasticsearch.
        prefix: of every index name.
        suppressed: who and what was erased.

    Raises:
        ApiError, TransportError: Elasticsearch refuses, or is away.
    """
    gone = 0
    for topic in _DOCUMENTS if suppressed else ():
        found: list[dict[str, Any]] = []
        async for hit in _all_of(client, prefix, topic):
            found += _mended(topic, hit, suppressed)
            if len(found) >= _SCAN:
                gone += await _carry_out(client, found)
                found = []
        gone += await _carry_out(client, found)
    return gone


def _all_of(client: AsyncElasticsearch, prefix: str, topic: Topic) -> AsyncIterable[Any]:
    kind, _, fields = _DOCUMENTS[topic]
    query = {
        "query": {"match_all": {}},
        "seq_no_primary_term": True,
        "version": True,
        **({"_source": fields} if fields else {}),
    }
    index = f"{prefix}{kind}-*"
    return async_scan(client, index=index, query=query, size=_SCAN, allow_no_indices=True)


def _mended(topic: Topic, hit: Mapping[str, Any], suppressed: Suppressed) -> list[dict[str, Any]]:
    """Return the lines of a bulk request that take out of a document what was erased."""
    place = {"_index": hit["_index"], "_id": hit["_id"]}
    unchanged = {"if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}
    source = _ENCODER.encode(hit["_source"])
    if topic in _WARNINGS:
        value = without_erased(source, suppressed)
        if value is None:
            return []
        # Its version stays: whatever is told later of it has a greater one.
        kept = {"version": hit["_version"], "version_type": "external_gte"}
        return [{"index": place | kept}, msgspec.json.decode(value)]
    _, decoder, _ = _DOCUMENTS[topic]
    try:
        holds = decoder.decode(source).holds(suppressed)
    except msgspec.MsgspecError:
        return []
    return [{"delete": place | unchanged}] if holds else []


async def _carry_out(client: AsyncElasticsearch, lines: Sequence[dict[str, Any]]) -> int:
    if not lines:
        return 0
    answer = await client.bulk(operations=lines, refresh=True)
    return sum(next(iter(item.values()))["status"] < _CONFLICT for item in answer["items"])
