"""Cases for people: found in Elasticsearch, commanded through Kafka, outcomes waited for.

A command goes to the partition of its conversation, and what becomes of it is read from the same
partition of `case-events` and `cases`: the two are written there by the one worker that decides.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from elasticsearch import AsyncElasticsearch, NotFoundError

from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.outputs import command_output
from klingel.contracts.partition import conversation_key, partition_for
from klingel.contracts.topics import Topic
from klingel.domain.commands import Refusal
from klingel.errors import ConfigurationError, InvalidMessage, SourceUnavailable
from klingel.model import Case, CaseCommand, CaseEvent
from klingel.settings import ElasticsearchSettings, KafkaSettings
from klingel_cli.kafka import SOURCE, Slot, publish, reading
from klingel_cli.search_client import ask, expect_indices
from klingel_indexer.convert import (
    case_events_index,
    cases_index,
    document_id,
    incidents_index,
)

Json = dict[str, Any]

OPEN: Final = ("open", "waiting", "snoozed")
"""States of a case that is not over."""
_PAUSE_SECONDS: Final = 0.25
_PAGE: Final = 1000

REFUSALS: Final[Mapping[str, str]] = {
    Refusal.UNKNOWN_CASE: "no such case is known; see klingel case list",
    Refusal.CASE_CLOSED: "the case is closed; klingel case reopen opens it again",
    Refusal.CASE_OPEN: "the case is open already",
    Refusal.UNKNOWN_QUEUE: "the brand has no such queue; see klingel config diff",
    Refusal.UNKNOWN_POST: "the post does not lie in this case; its id is <network>:<scope>:<id>",
    Refusal.NOTHING_ASKED: "the command does not say what it wants",
    Refusal.SAME_CASE: "a case is not merged into itself",
    Refusal.SAME_CONVERSATION: "two customers of one conversation stay two",
    Refusal.NEWER_OPEN: "the customer has a later case here that is open; see klingel case list",
    Refusal.UNKNOWN_KIND: "there is no such command",
    Refusal.IN_THE_PAST: "the time until which it would sleep is over",
}
"""One sentence for each reason for which care takes no command."""


class Place(NamedTuple):
    """Which case a command is about.

    Attributes:
        brand: brand.
        conversation_id: conversation.
        case_id: case; None where the customer's newest is meant.
        customer_id: customer, where known.
        case: as it is indexed; None where Elasticsearch was not asked.
    """

    brand: str
    conversation_id: str
    case_id: str | None
    customer_id: str | None
    case: Case | None = None


class Took(NamedTuple):
    """What care made of a command.

    Attributes:
        refused: why it was not taken; None where it was.
        happened: kinds of case events that it caused, in their order.
    """

    refused: str | None
    happened: tuple[str, ...]


# -- what is indexed -----------------------------------------------------------------------------


def search(
    elasticsearch: ElasticsearchSettings, index: str, body: Json, *, expected: bool = False
) -> Json:
    """Ask an index of ours; one that does not exist yet holds nothing.

    Args:
        elasticsearch: address, credential and prefix.
        index: name or pattern without the prefix.
        body: of the search.
        expected: whether there has to be an index of ours, whatever it holds.

    Raises:
        Failure: there is none although it was expected.
        SourceUnavailable, CredentialsRejected, ConfigurationError: see `ask`.
    """
    pattern = f"{elasticsearch.index_prefix}{index}"

    async def find(client: AsyncElasticsearch) -> Json:
        answer = await client.search(
            index=pattern, ignore_unavailable=True, allow_no_indices=True, **body
        )
        if expected and not answer["_shards"]["total"]:
            await expect_indices(client, elasticsearch)
        return dict(answer.body)

    return ask(elasticsearch, find)


def read_case(elasticsearch: ElasticsearchSettings, case_id: str) -> Case | None:
    """Return a case as it is indexed, None where there is none.

    Raises:
        ConfigurationError: that is no id of a case, or another version wrote the document.
        SourceUnavailable, CredentialsRejected: see `ask`.
    """
    found = _document(elasticsearch, case_id, case_id.partition(":")[0], cases_index)
    if found is None:
        return None
    try:
        return codec.decode(Case, msgspec.json.encode(found))
    except InvalidMessage:
        raise ConfigurationError(
            "the case was indexed by another version and cannot be read by this one"
        ) from None


def read_incident(elasticsearch: ElasticsearchSettings, brand: str, identity: str) -> Json | None:
    """Return an incident as it is indexed, None where there is none."""
    return _document(elasticsearch, identity, brand, incidents_index)


def timeline(elasticsearch: ElasticsearchSettings, case: Case) -> list[Json]:
    """Return the case events of a case, in the order of their times, at most the newest 1,000."""
    # The index of the brand, by its name: what is asked is one term.
    index = case_events_index("", case.brand)
    found = search(
        elasticsearch,
        index,
        {
            "query": {"term": {"case_id": case.case_id}},
            "size": _PAGE,
            "sort": [{"at": "desc"}, {"recorded_at": "desc"}, {"case_event_id": "asc"}],
        },
    )
    return [hit["_source"] for hit in reversed(found["hits"]["hits"])]


def members(
    elasticsearch: ElasticsearchSettings, brand: str, incident: str
) -> Iterator[tuple[str, str, int]]:
    """Yield (case id, conversation id, revision) of the open cases of an incident."""
    after: list[Any] | None = None
    while True:
        body: Json = {
            "query": {
                "bool": {
                    "filter": [{"term": {"incident": incident}}, {"terms": {"state": list(OPEN)}}]
                }
            },
            "size": _PAGE,
            "sort": [{"case_id": {"order": "asc", "unmapped_type": "keyword"}}],
            "source": ["case_id", "conversation_id", "revision"],
        }
        if after is not None:
            body["search_after"] = after
        hits = search(elasticsearch, cases_index("", brand), body)["hits"]["hits"]
        for hit in hits:
            source = hit["_source"]
            yield source["case_id"], source["conversation_id"], source["revision"]
        if len(hits) < _PAGE:
            return
        after = hits[-1]["sort"]


def _document(
    elasticsearch: ElasticsearchSettings,
    identity: str,
    brand: str,
    index: Callable[[str, str], str],
) -> Json | None:
    if not identity:
        raise ConfigurationError("an id is not empty")
    try:
        name, document = index(elasticsearch.index_prefix, brand), document_id(identity)
    except (InvalidMessage, UnicodeEncodeError):
        raise ConfigurationError(_BRAND) from None

    async def get(client: AsyncElasticsearch) -> Json | None:
        try:
            answer = await client.get(index=name, id=document)
        except NotFoundError:
            return None
        return dict(answer.body["_source"])

    return ask(elasticsearch, get)


_BRAND = (
    "the name of a brand is of a-z, 0-9 and -; a case id is <brand>:<conversation>:<customer>#n"
)


# -- commands ------------------------------------------------------------------------------------


def place_of(
    elasticsearch: ElasticsearchSettings,
    case_id: str | None,
    brand: str | None,
    conversation: str | None,
    customer: str | None,
) -> Place:
    """Return which case is meant; Elasticsearch is asked only where no conversation is given.

    Args:
        elasticsearch: where cases are indexed.
        case_id: the case; None where brand, conversation and customer tell it.
        brand: brand, where the case id does not tell it.
        conversation: conversation of the case.
        customer: customer of the case.

    Raises:
        ConfigurationError: that tells no case, or none that is indexed.
    """
    if case_id is None:
        if brand is None or conversation is None or customer is None:
            raise ConfigurationError(
                "name the case: its id, or --brand, --conversation and --customer"
            )
        return Place(brand, conversation, None, customer)
    named = case_id.partition(":")[0]
    if brand not in {None, named}:
        raise ConfigurationError(f"the case is one of {named}, not of {brand}")
    if conversation is not None:
        begin = f"{named}:{conversation}:"
        rest, _, generation = case_id.removeprefix(begin).rpartition("#")
        if not case_id.startswith(begin) or not rest or not generation.isdecimal():
            raise ConfigurationError(
                "the case does not lie in this conversation; a case id is "
                "<brand>:<conversation>:<customer>#<generation>"
            )
        return Place(named, conversation, case_id, rest)
    case = read_case(elasticsearch, case_id)
    if case is None:
        raise ConfigurationError(
            "no such case is indexed; see klingel case list, or name its --conversation"
        )
    return Place(case.brand, case.conversation_id, case.case_id, case.customer_id, case)


def command_of(kind: str, place: Place, by: str, at: datetime, **parts: Any) -> CaseCommand:
    """Return a command, checked against its shape.

    Args:
        kind: what is wanted.
        place: of which case.
        by: who gives it.
        at: when.
        parts: what the kind needs; `command_id` where it is not to be a random one.

    Raises:
        ConfigurationError: a part of it is not what it may be.
    """
    content = {
        "command_id": f"cli-{uuid.uuid4().hex}",
        "brand": place.brand,
        "conversation_id": place.conversation_id,
        "case_id": place.case_id,
        "customer_id": place.customer_id if place.case_id is None else None,
        "kind": kind,
        "at": at,
        "by": by,
        **parts,
    }
    given = {name: value for name, value in content.items() if value is not None}
    try:
        return codec.decode(CaseCommand, msgspec.json.encode(given))
    except InvalidMessage as error:
        where = f"{error.path}: " if error.path else ""
        raise ConfigurationError(f"{where}{error}") from None
    except UnicodeEncodeError:
        raise ConfigurationError("an argument is no text in UTF-8") from None


def give(kafka: KafkaSettings, commands: Sequence[CaseCommand]) -> None:
    """Publish commands; returns once all are acknowledged. See `publish` for what is raised."""
    publish(kafka, [command_output(command, SOURCE) for command in commands])


def give_and_wait(kafka: KafkaSettings, command: CaseCommand, seconds: float) -> Took:
    """Publish a command and wait for what care makes of it.

    Raises:
        SourceUnavailable: nothing was heard of it in time; it may still be taken.
    """
    place = conversation_key(command.brand, command.conversation_id)
    with reading(kafka) as log:
        slots: list[Slot] = [
            (topic, partition_for(place, len(log.slots(topic))))
            for topic in (Topic.CASE_EVENTS, Topic.CASES)
        ]
        starts = log.ends(slots)
        give(kafka, [command])
        deadline = time.monotonic() + seconds
        taken, happened = False, list[str]()
        for messages in log.follow(starts, _PAUSE_SECONDS):
            for message in messages:
                refused, known = _heard(message, command.command_id, happened)
                if refused is not None:
                    return Took(refused, ())
                taken = taken or known
            # The two partitions come one by one: what happened may stand behind what came of it.
            if taken and not messages:
                return Took(None, tuple(happened))
            if time.monotonic() >= deadline:
                break
    if taken:
        return Took(None, tuple(happened))
    raise SourceUnavailable(
        f"care did not take the command {command.command_id} within {seconds:g} s; it may still "
        "do so, see klingel case show and klingel status"
    )


def _heard(message: Message, command_id: str, happened: list[str]) -> tuple[str | None, bool]:
    """Return why a command is refused, and whether a case knows it; note what it caused."""
    try:
        if message.topic is Topic.CASE_EVENTS:
            event = codec.decode(CaseEvent, message.value)
            if event.cause == command_id:
                if event.kind == "refused":
                    return event.detail or "refused", False
                happened.append(event.kind)
            return None, False
        case = codec.decode(Case, message.value) if message.value is not None else None
    except InvalidMessage:  # written by another version: of somebody else's command
        return None, False
    if case is None:
        return None, False
    known = {*(case.commands or ()), *(each.id for each in case.applied or ())}
    return None, command_id in known


# -- for people ----------------------------------------------------------------------------------


def printable(text: object) -> str:
    """Return a line in which what is not printable is written out: ids come from networks."""
    line = str(text)
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def spoken(seconds: float) -> str:
    """Return a duration as people say it: `45s`, `12m`, `3h 05m`, `2d 4h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def since(at: datetime | None, now: datetime) -> str | None:
    """Return how long ago that was, None where it was not."""
    return None if at is None else spoken(max(timedelta(0), now - at).total_seconds())
