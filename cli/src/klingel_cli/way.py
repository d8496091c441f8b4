"""The way of one event through the topics into the index, step by step, to where it ends."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from elasticsearch import AsyncElasticsearch

from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.partition import conversation_key, partition_for
from klingel.contracts.topics import Topic
from klingel.domain.threading import source_instance
from klingel.errors import ConfigurationError, InvalidMessage
from klingel.model import RawEvent, RoutedEvent, SocialEvent
from klingel.settings import KafkaSettings, Settings
from klingel_cli.books import Position, positions
from klingel_cli.dead_letters import KeptDeadLetter
from klingel_cli.kafka import Log, Slot, admin, reading, when_ready
from klingel_cli.search_client import ask

_ID = re.compile(
    r"(?:(?P<brand>[a-z0-9][a-z0-9-]{0,59})/)?(?P<object>[^@].*)@(?P<revision>\d{1,13})"
)

State = Literal["found", "missing", "waiting", "ended", "dead_lettered", "expired"]


@dataclass(frozen=True, slots=True)
class EventId:
    """What was asked for; `brand` is None for a raw event, which every brand may have heard."""

    object_id: str
    revision: int
    brand: str | None

    @property
    def raw(self) -> str:
        """Its id in raw-events."""
        return f"{self.object_id}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way.

    Attributes:
        name: `raw event`, `social event`, `routing decision` or `document`.
        state: what became of it there.
        where: topic/partition/offset, or index and id.
        sentence: what is to be said of it.
        details: named facts, in order; never what somebody wrote.
        brand: whose; None for the raw event.
    """

    name: str
    state: State
    where: str = ""
    sentence: str = ""
    details: tuple[tuple[str, object], ...] = ()
    brand: str | None = None


@dataclass(slots=True)
class _Found:
    """What the logs hold of the event."""

    raw: list[Message] = field(default_factory=list)
    unthreaded: list[Message] = field(default_factory=list)
    social: dict[str, list[Message]] = field(default_factory=dict)
    routed: dict[str, list[Message]] = field(default_factory=dict)
    letters: list[KeptDeadLetter] = field(default_factory=list)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)


def parse_event_id(text: str) -> EventId:
    """Read an event id of either form; raises ConfigurationError, which says how one looks."""
    match = _ID.fullmatch(text)
    if match is None or ":" not in match["object"]:
        raise ConfigurationError(
            "an event id is <network>:<scope>:<native id>@<revision>, "
            "with <brand>/ before it where one brand's is meant"
        )
    return EventId(match["object"], int(match["revision"]), match["brand"])


def follow(settings: Settings, wanted: EventId) -> list[Step]:
    """Follow an event from its raw offset to its document.

    The documents tell where the rest lies; without any, the partition of the object is searched.

    Raises:
        KafkaError, SourceUnavailable: Kafka or Elasticsearch is away.
    """
    documents = _documents(settings, wanted)
    return when_ready(lambda: _followed(settings.kafka, wanted, documents))


def _followed(
    kafka: KafkaSettings, wanted: EventId, documents: dict[str, dict[str, Any]]
) -> list[Step]:
    found = _Found(documents=documents)
    with admin(kafka) as client, reading(kafka) as log:
        held = {
            stage: positions(client, kafka, stage)
            for stage in ("understand", "thread", "care", "indexer")
        }
        _read_raw(log, wanted, found)
        _read_unthreaded(log, wanted, found)
        _read_social(log, wanted, found)
        _read_routed(log, wanted, found)
        _read_letters(log, found)
    return list(_steps(wanted, found, held))


def _documents(settings: Settings, wanted: EventId) -> dict[str, dict[str, Any]]:
    """Return the brands' documents of the object, each with `_index` and `_id`."""
    asked: list[dict[str, Any]] = [{"term": {"object_id": wanted.object_id}}]
    if wanted.brand is not None:
        asked.append({"term": {"brand": wanted.brand}})

    async def search(client: AsyncElasticsearch) -> Any:
        return await client.search(
            index=f"{settings.elasticsearch.index_prefix}events-*",
            query={"bool": {"filter": asked}},
            size=1000,
            source_excludes=["text", "text_public", "author"],
            ignore_unavailable=True,
            allow_no_indices=True,
        )

    hits = ask(settings.elasticsearch, search)["hits"]["hits"]
    return {
        hit["_source"]["brand"]: hit["_source"] | {"_index": hit["_index"], "_id": hit["_id"]}
        for hit in hits
    }


def _read_raw(log: Log, wanted: EventId, found: _Found) -> None:
    slots = log.slots(Topic.RAW_EVENTS)
    ends = log.ends(slots)
    slot = slots[partition_for(wanted.object_id.encode(), len(slots))]
    places = {
        document["origin"]["offset"]
        for document in found.documents.values()
        if document.get("revision") == wanted.revision and "origin" in document
    }
    ranges = [(offset, offset + 1) for offset in sorted(places)] or [(0, ends[slot])]
    for place in ranges:
        found.raw += [
            message
            for message in log.read({slot: place})
            if message.key == wanted.object_id.encode() and _is_of(message, wanted)
        ]


def _is_of(message: Message, wanted: EventId) -> bool:
    identity = message.header("ce_id")
    if identity is not None:
        return identity == wanted.raw.encode()
    try:
        return codec.decode(RawEvent, message.value).event_id == wanted.raw
    except InvalidMessage:
        return False


def _read_unthreaded(log: Log, wanted: EventId, found: _Found) -> None:
    """Read what understand sent on to the thread stage; it lies where its source does."""
    slots = log.slots(Topic.UNTHREADED_EVENTS)
    ends = log.ends(slots)
    key = source_instance(wanted.object_id).encode()
    slot = slots[partition_for(key, len(slots))]
    found.unthreaded += [
        message
        for message in log.read({slot: (0, ends[slot])})
        if message.key == key and _is_of(message, wanted)
    ]


def _read_social(log: Log, wanted: EventId, found: _Found) -> None:
    slots = log.slots(Topic.SOCIAL_EVENTS)
    ends = log.ends(slots)
    near = {slots[_partition(document, len(slots))] for document in found.documents.values()}
    for message in log.read({slot: (0, ends[slot]) for slot in (near or slots)}):
        brand = _brand_of(message, wanted)
        if brand is not None:
            found.social.setdefault(brand, []).append(message)


def _partition(document: dict[str, Any], count: int) -> int:
    return partition_for(conversation_key(document["brand"], document["conversation_id"]), count)


def _brand_of(message: Message, wanted: EventId) -> str | None:
    """Return whose event a record of social-events or routed-events is, when it is this one."""
    brand, slash, raw = (message.key or b"").decode("utf-8", "replace").partition("/")
    if not slash or raw != wanted.raw or wanted.brand not in {None, brand}:
        return None
    return brand


def _read_routed(log: Log, wanted: EventId, found: _Found) -> None:
    """Read the decisions; they lie in the partition of their social event."""
    slots = log.slots(Topic.ROUTED_EVENTS)
    ends = log.ends(slots)
    numbers = {message.partition for of in found.social.values() for message in of}
    numbers |= {_partition(document, len(slots)) for document in found.documents.values()}
    ranges = {slot: (0, ends[slot]) for slot in slots if slot[1] in numbers}
    for message in log.read(ranges):
        brand = _brand_of(message, wanted)
        if brand is not None:
            found.routed.setdefault(brand, []).append(message)


def _read_letters(log: Log, found: _Found) -> None:
    places = {
        f"{message.topic}/{message.partition}/{message.offset}"
        for of in ([found.raw, found.unthreaded], found.social.values(), found.routed.values())
        for messages in of
        for message in messages
    }
    if places:
        letters = map(KeptDeadLetter, log.read_whole(Topic.DEAD_LETTERS))
        found.letters = [letter for letter in letters if letter.origin in places]


def _steps(wanted: EventId, found: _Found, held: dict[str, dict[Slot, Position]]) -> Iterable[Step]:
    yield from _raw_steps(wanted, found)
    brands = sorted({*found.social, *found.routed, *found.documents})
    if not brands and found.unthreaded:
        yield _ended(
            "social event",
            found.unthreaded[-1],
            found,
            held["thread"],
            "thread passed it and published nothing: no brand hears it, or it repeats what was known",
        )
    elif not brands and found.raw:
        yield _ended(
            "social event",
            found.raw[-1],
            found,
            held["understand"],
            "understand passed it and published nothing: no brand hears it, or it repeats what was "
            "known",
        )
    for brand in brands:
        yield from _brand_steps(wanted, brand, found, held)


def _raw_steps(wanted: EventId, found: _Found) -> Iterable[Step]:
    for message in found.raw:
        try:
            raw = codec.decode(RawEvent, message.value)
        except InvalidMessage as error:
            yield Step("raw event", "found", _where(message), f"it is no raw event: {error}")
            continue
        yield Step(
            "raw event",
            "found",
            _where(message),
            details=(
                ("connector", raw.connector),
                ("received", _time(raw.received_at)),
                ("kind", raw.kind),
                ("change", raw.change),
                ("mode", raw.mode),
            ),
        )
    if found.raw:
        return
    if found.social or found.documents:
        yield Step("raw event", "expired", sentence="no longer kept in raw-events")
    else:
        yield Step(
            "raw event",
            "missing",
            sentence=f"no connector published revision {wanted.revision} of this object, or it is "
            "no longer kept",
        )


def _brand_steps(
    wanted: EventId, brand: str, found: _Found, held: dict[str, dict[Slot, Position]]
) -> Iterable[Step]:
    document = found.documents.get(brand)
    social, routed = found.social.get(brand, []), found.routed.get(brand, [])
    indexed = document is not None and document.get("revision", -1) >= wanted.revision
    if social:
        yield _social_step(brand, social[-1])
    elif routed or (document or {}).get("revision") == wanted.revision:
        yield Step("social event", "expired", sentence="no longer kept", brand=brand)
    else:
        yield Step(
            "social event",
            "missing",
            sentence="this brand has another revision of the object, not this one",
            brand=brand,
        )
    if routed:
        yield _routed_step(brand, routed[-1])
    elif social:
        sentence = "care passed it and changed nothing: it repeats what the case knew"
        if not indexed:
            yield _ended("routing decision", social[-1], found, held["care"], sentence, brand)
        else:
            yield Step("routing decision", "expired", sentence="no longer kept", brand=brand)
    if document is not None:
        yield _document_step(wanted, brand, document)
    elif routed:
        sentence = "the indexer passed it, but the index has no such document: it was deleted there"
        yield _ended("document", routed[-1], found, held["indexer"], sentence, brand)


def _social_step(brand: str, message: Message) -> Step:
    event = codec.decode(SocialEvent, message.value)
    why = [match.how + (f" {match.rule}" if match.rule else "") for match in event.matches]
    return Step(
        "social event",
        "found",
        _where(message),
        details=(
            ("heard by", ", ".join(why)),
            ("direction", f"{event.direction}, {event.addressing}"),
            ("language", event.lang.code if event.lang else None),
            ("conversation", event.conversation_id),
            ("published", _time(event.published_at) if event.published_at else None),
        ),
        brand=brand,
    )


def _routed_step(brand: str, message: Message) -> Step:
    decision = codec.decode(RoutedEvent, message.value).decision
    return Step(
        "routing decision",
        "found",
        _where(message),
        details=(
            ("triage", decision.triage),
            ("case", decision.case_id),
            ("queue", decision.queue),
            ("priority", decision.priority),
            ("rule", decision.rule),
            ("decided", _time(decision.routed_at)),
            *(("because", line) for line in decision.explain or ()),
        ),
        brand=brand,
    )


def _document_step(wanted: EventId, brand: str, document: dict[str, Any]) -> Step:
    newest = document.get("revision")
    sentence = ""
    if newest != wanted.revision:
        older = newest is not None and newest < wanted.revision
        sentence = f"it holds revision {newest}, " + (
            "which is older: this one has not arrived" if older else "which replaced this one"
        )
    elif document.get("change") == "deleted":
        sentence = "the post was deleted; the document holds its place"
    return Step(
        "document",
        "found",
        f"{document['_index']} {document['_id']}",
        sentence,
        details=(
            ("version", document.get("document_version")),
            ("indexed", document.get("indexed_at")),
            ("queue", document.get("queue")),
        ),
        brand=brand,
    )


def _ended(
    name: str,
    cause: Message,
    found: _Found,
    held: dict[Slot, Position],
    otherwise: str,
    brand: str | None = None,
) -> Step:
    """Say why a message led to nothing: dead letter, still waiting, or passed on purpose."""
    for letter in found.letters:
        if letter.origin == _where(cause):
            sentence = letter.word("__connect.errors.exception.message")
            return Step(
                name,
                "dead_lettered",
                f"dead-letters/{letter.id}",
                f"{letter.word('__connect.errors.stage')} could not read it: {sentence}",
                brand=brand,
            )
    position = held.get((cause.topic, cause.partition))
    if position is None or cause.offset >= position.offset:
        reached = 0 if position is None else position.offset
        return Step(
            name,
            "waiting",
            _where(cause),
            f"it waits: {cause.topic}/{cause.partition} is done up to {reached}",
            brand=brand,
        )
    return Step(name, "ended", _where(cause), otherwise, brand=brand)


def _where(message: Message) -> str:
    return f"{message.topic}/{message.partition}/{message.offset}"


def _time(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
