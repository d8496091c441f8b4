"""What becomes of a message in Elasticsearch: which document, which index, which version.

Pure. Nothing is decoded that need not be: the social event goes from topic to index as the bytes
that it is, and only its head is read. Index names and versions: design section 8.

Null values, by topic:
    routed-events, case-events: never written; a dead letter.
    cases: the closing record expired. The case stays in its index, which is aged by a command.
    escalations, alerts, incidents: the document is removed, where key or subject tell its brand.
    connector-status: the instance was forgotten; its last status stays, with its time.
    dead-letters: the dead letter of a null value; indexed without one.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from klingel.contracts.codec import safe_sentence
from klingel.contracts.envelope import ERASED_HEADER, TRACE_HEADER, Message, incoming_trace
from klingel.contracts.topics import Topic
from klingel.domain.identity import deterministic_id, document_version
from klingel.errors import ErrorType, InvalidMessage
from klingel.model.base import Record
from klingel.stage.fates import Fate, Outcome

ID_BYTES = 512
"""Elasticsearch refuses a longer `_id`."""
REMOVED_VERSION = 2**62
"""Version of a removal: no revision reaches it, so no older write comes after it."""

INPUTS = (
    Topic.ROUTED_EVENTS,
    Topic.CASES,
    Topic.CASE_EVENTS,
    Topic.ESCALATIONS,
    Topic.ALERTS,
    Topic.INCIDENTS,
    Topic.DEAD_LETTERS,
    Topic.CONNECTOR_STATUS,
)

Op = Literal["index", "create", "delete"]
R = TypeVar("R", bound=Record)

_BRAND = re.compile(r"[a-z0-9][a-z0-9-]{0,59}\Z")
_MONTH = re.compile(r"(?:[0-9]{4}\.[0-9]{2}|undated)\Z")
_CONNECT = "__connect.errors."
_DIGITS = 18
"""Of a version at most; Elasticsearch takes 63 bits."""


class Write(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One document to be written, or removed.

    Attributes:
        index: physical index.
        id: `_id`.
        op: `create` for what is only ever added, `delete` for what is gone, else `index`.
        version: external version; None for `create`.
        body: the document, JSON on one line; empty for `delete`.
        network: for the ledger; empty where the topic has none.
        published_at, received_at: for latency; None where the topic has none.
        breach: clock whose promise was missed; empty for all else.
        demanded_at: when a deletion was demanded; None for all else.
    """

    index: str
    id: str
    op: Op
    body: bytes
    version: int | None = None
    network: str = ""
    published_at: datetime | None = None
    received_at: datetime | None = None
    breach: str = ""
    demanded_at: datetime | None = None


class _EventHead(Record, frozen=True):
    brand: str
    index: str
    object_id: Annotated[str, Meta(min_length=1)]
    revision: Annotated[int, Meta(ge=0, le=2**42 - 1)]
    change: Literal["created", "updated", "deleted", "completed"]
    network: str
    received_at: datetime
    direction: str
    config_version: str
    published_at: datetime | None = None
    changed_at: datetime | None = None


class _DeletedEvent(Record, frozen=True):
    event_id: str
    kind: str
    conversation_id: str
    received_at: Raw
    changed_at: Raw | UnsetType = UNSET


class _Decision(Record, frozen=True):
    number: Annotated[int, Meta(ge=0, le=2**20 - 1)]
    direction: str
    config_version: str
    triage: Raw
    routed_at: Raw
    case_id: Raw | UnsetType = UNSET
    queue: Raw | UnsetType = UNSET
    priority: Raw | UnsetType = UNSET
    rule: Raw | UnsetType = UNSET
    explain: Raw | UnsetType = UNSET
    overruled_tone: str | UnsetType = UNSET
    overruled_intents: list[str] | UnsetType = UNSET
    overruled_by: str | UnsetType = UNSET
    outreach: Raw | UnsetType = UNSET
    out_of_hours: Raw | UnsetType = UNSET


class _Routed(Record, frozen=True):
    event: Raw
    decision: _Decision


class _Added(Record, frozen=True):
    """What the document has beyond the event."""

    decision: int
    document_version: int
    indexed_at: str
    triage: Raw
    routed_at: Raw
    case_id: Raw | UnsetType = UNSET
    queue: Raw | UnsetType = UNSET
    priority: Raw | UnsetType = UNSET
    rule: Raw | UnsetType = UNSET
    explain: Raw | UnsetType = UNSET
    overruled_tone: str | UnsetType = UNSET
    overruled_intents: list[str] | UnsetType = UNSET
    overruled_by: str | UnsetType = UNSET
    outreach: Raw | UnsetType = UNSET
    out_of_hours: Raw | UnsetType = UNSET
    trace_id: str | UnsetType = UNSET


class _ClockHead(Record, frozen=True):
    name: str
    state: str
    deadline: Raw
    business_seconds: Raw | UnsetType = UNSET
    wall_seconds: Raw | UnsetType = UNSET


class _CaseHead(Record, frozen=True):
    brand: str
    case_id: Annotated[str, Meta(min_length=1)]
    revision: Annotated[int, Meta(ge=0)]
    state: str
    network: str = ""
    clocks: tuple[_ClockHead, ...] = ()


class _EscalationHead(Record, frozen=True):
    brand: str
    escalation_id: Annotated[str, Meta(min_length=1)]
    revision: Annotated[int, Meta(ge=0)]
    network: str = ""


class _AlertHead(Record, frozen=True):
    brand: str
    alert_id: Annotated[str, Meta(min_length=1)]
    revision: Annotated[int, Meta(ge=0)]
    network: str = ""


class _IncidentHead(Record, frozen=True):
    brand: str
    incident_id: Annotated[str, Meta(min_length=1)]
    revision: Annotated[int, Meta(ge=0)]


class _CaseEventHead(Record, frozen=True):
    brand: str
    case_event_id: Annotated[str, Meta(min_length=1)]
    kind: str = ""
    clock: Literal["", "first_response", "next_response", "resolution"] = ""


class _StatusHead(Record, frozen=True):
    instance: Annotated[str, Meta(min_length=1)]
    network: str
    at: datetime


_ROUTED = msgspec.json.Decoder(_Routed)
_EVENT = msgspec.json.Decoder(_EventHead)
_DELETED = msgspec.json.Decoder(_DeletedEvent)
_CASE = msgspec.json.Decoder(_CaseHead)
_CASE_EVENT = msgspec.json.Decoder(_CaseEventHead)
_ESCALATION = msgspec.json.Decoder(_EscalationHead)
_ALERT = msgspec.json.Decoder(_AlertHead)
_INCIDENT = msgspec.json.Decoder(_IncidentHead)
_STATUS = msgspec.json.Decoder(_StatusHead)
_BREACHED = "breached"
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_ENCODER = msgspec.json.Encoder()


def document_id(identity: str) -> str:
    """Return `_id` of an identity: itself, or `blake2b:<hex>` where it has more than 512 bytes.

    The document carries the whole identity as a field in either case.
    """
    encoded = identity.encode()
    if len(encoded) <= ID_BYTES:
        return identity
    return f"blake2b:{blake2b(encoded, digest_size=32).hexdigest()}"


def convert(message: Message, prefix: str, indexed_at: str) -> Write | Outcome:
    """Return the document of a message, or its fate where there is none.

    Args:
        message: from one of INPUTS.
        prefix: of every index name, such as `klingel-`.
        indexed_at: RFC 3339, written into the document.

    Raises:
        InvalidMessage: it can never become a document.
    """
    return _CONVERTERS[message.topic](message, prefix, indexed_at)


@lru_cache(maxsize=4096)
def events_index(prefix: str, brand: str, month: str) -> str:
    """Return the index of a brand's posts of a month; raises InvalidMessage for a bad name."""
    if not _MONTH.match(month):
        raise InvalidMessage(ErrorType.INVALID_FIELD, "not a month of an index", path="index")
    return f"{prefix}events-{_brand(brand)}-{month}"


def cases_index(prefix: str, brand: str) -> str:
    """Return the index of a brand's cases."""
    return f"{prefix}cases-{_brand(brand)}"


def case_events_index(prefix: str, brand: str) -> str:
    """Return the index of what happened to a brand's cases."""
    return f"{prefix}case-events-{_brand(brand)}"


def escalations_index(prefix: str, brand: str) -> str:
    """Return the index of who was told of a brand's cases."""
    return f"{prefix}escalations-{_brand(brand)}"


def alerts_index(prefix: str, brand: str) -> str:
    """Return the index of a brand's early warnings."""
    return f"{prefix}alerts-{_brand(brand)}"


def incidents_index(prefix: str, brand: str) -> str:
    """Return the index of a brand's incidents."""
    return f"{prefix}incidents-{_brand(brand)}"


def dead_letters_index(prefix: str) -> str:
    """Return the index of the dead letters of all brands."""
    return f"{prefix}dead-letters"


def status_index(prefix: str) -> str:
    """Return the index of connector status."""
    return f"{prefix}status"


def _brand(brand: str) -> str:
    if not _BRAND.match(brand):
        raise InvalidMessage(ErrorType.INVALID_FIELD, "not the name of a brand", path="brand")
    return brand


def _read(decoder: msgspec.json.Decoder[R], value: bytes | Raw) -> R:
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        raise InvalidMessage(ErrorType.SCHEMA, safe_sentence(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidMessage(ErrorType.MALFORMED_JSON, safe_sentence(error)) from None
    except RecursionError:
        raise InvalidMessage(ErrorType.TOO_DEEP, "the message is nested too deeply") from None


def _value(message: Message) -> bytes:
    if message.value is None:
        raise InvalidMessage(ErrorType.MISSING_FIELD, "the message has no value")
    return message.value


def _one_line(document: bytes) -> bytes:
    """Return the document without line breaks, which would end it in a bulk body."""
    return document if b"\n" not in document else msgspec.json.format(document, indent=-1)


def _spliced(document: bytes, added: bytes) -> bytes:
    """Return two JSON objects as one; they share no name and the first one is not empty."""
    if not document.endswith(b"}"):
        document = document.rstrip()
    return _one_line(b"".join((memoryview(document)[:-1], b",", memoryview(added)[1:])))


def _convert_routed(message: Message, prefix: str, indexed_at: str) -> Write:
    routed = _read(_ROUTED, _value(message))
    event = _read(_EVENT, routed.event)
    decision = routed.decision
    version = document_version(event.revision, decision.number)
    if event.change == "deleted":
        body = _emptied(routed.event, event, version, indexed_at)
    else:
        trace = incoming_trace(message.header(TRACE_HEADER))
        body = _merged(routed.event, event, decision, version, indexed_at, trace)
    return Write(
        index=events_index(prefix, event.brand, event.index),
        id=document_id(event.object_id),
        op="index",
        version=version,
        body=body,
        network=event.network,
        published_at=event.published_at,
        received_at=event.received_at,
        demanded_at=_demanded_at(event) if event.change == "deleted" else None,
    )


def _demanded_at(event: _EventHead) -> datetime:
    """Return when a deletion was made: by the network, where it says so and not of the future."""
    made = event.changed_at
    return event.received_at if made is None else min(made, event.received_at)


def _merged(
    raw: Raw,
    event: _EventHead,
    decision: _Decision,
    version: int,
    indexed_at: str,
    trace: str | None,
) -> bytes:
    added = _Added(
        decision=decision.number,
        document_version=version,
        indexed_at=indexed_at,
        triage=decision.triage,
        routed_at=decision.routed_at,
        case_id=decision.case_id,
        queue=decision.queue,
        priority=decision.priority,
        rule=decision.rule,
        explain=decision.explain,
        overruled_tone=decision.overruled_tone,
        overruled_intents=decision.overruled_intents,
        overruled_by=decision.overruled_by,
        outreach=decision.outreach,
        out_of_hours=decision.out_of_hours,
        trace_id=UNSET if trace is None else trace,
    )
    document = bytes(raw)
    # Both halves name direction and configuration, and a document may name a field once. They
    # seldom differ; where they do, the decision is right. So it is where a person overruled.
    overruled = decision.overruled_by is not UNSET
    differs = (decision.direction, decision.config_version) != (
        event.direction,
        event.config_version,
    )
    if differs or overruled:
        fields = _FIELDS.decode(document)
        fields["direction"] = Raw(_ENCODER.encode(decision.direction))
        fields["config_version"] = Raw(_ENCODER.encode(decision.config_version))
        if overruled:
            fields["enrichment"] = _overruled(fields.get("enrichment"), decision)
        document = _ENCODER.encode(fields)
    return _spliced(document, _ENCODER.encode(added))


def _overruled(enrichment: Raw | None, decision: _Decision) -> Raw:
    """Return what a model found with what a person decided in its place.

    The model's probabilities of tone stay; an intent that a person named has no score.
    """
    found = _FIELDS.decode(enrichment) if enrichment is not None else {}
    if decision.overruled_tone is not UNSET:
        tone = _FIELDS.decode(found["tone"]) if "tone" in found else {}
        tone["label"] = Raw(_ENCODER.encode(decision.overruled_tone))
        found["tone"] = Raw(_ENCODER.encode(tone))
    if decision.overruled_intents is not UNSET:
        named = [{"name": name} for name in decision.overruled_intents]
        found["intents"] = Raw(_ENCODER.encode(named))
    return Raw(_ENCODER.encode(found))


def _emptied(raw: Raw, event: _EventHead, version: int, indexed_at: str) -> bytes:
    """Return what remains of a deleted post: enough to hold its place against older writes."""
    deleted = _read(_DELETED, raw)
    return _ENCODER.encode(
        {
            "object_id": event.object_id,
            "event_id": deleted.event_id,
            "brand": event.brand,
            "network": event.network,
            "kind": deleted.kind,
            "change": event.change,
            "revision": event.revision,
            "conversation_id": deleted.conversation_id,
            "index": event.index,
            "deleted_at": deleted.received_at
            if deleted.changed_at is UNSET
            else deleted.changed_at,
            "document_version": version,
            "indexed_at": indexed_at,
        }
    )


def _convert_case(message: Message, prefix: str, indexed_at: str) -> Write | Outcome:
    if message.value is None:
        return _case_gone(message, prefix)
    case = _read(_CASE, message.value)
    if case.state == "held":
        return Outcome(Fate.DISCARDED, reason="held", network=case.network)
    return Write(
        index=cases_index(prefix, case.brand),
        id=document_id(case.case_id),
        op="index",
        version=case.revision,
        body=_spliced(
            message.value,
            _ENCODER.encode(
                {
                    "document_version": case.revision,
                    "indexed_at": indexed_at,
                    **_measured(case.clocks),
                }
            ),
        ),
        network=case.network,
    )


def _case_gone(message: Message, prefix: str) -> Write | Outcome:
    """Return the removal of an erased case; what time has forgotten stays."""
    revision = message.header(ERASED_HEADER) or b""
    case_id = (message.key or b"").decode("utf-8", "replace")
    brand = case_id.partition(":")[0]
    if not revision.isdigit() or not _BRAND.match(brand):
        return Outcome(Fate.DISCARDED, reason="tombstone")
    return Write(
        index=cases_index(prefix, brand),
        id=document_id(case_id),
        op="delete",
        version=int(revision[:_DIGITS]),
        body=b"",
    )


_MEASURED = ("first_response", "resolution")


def _measured(clocks: Sequence[_ClockHead]) -> dict[str, str | Raw]:
    """Return what the newest clock of each name measured, as fields of the case itself.

    Elasticsearch keeps the fields of a list of objects apart from each other: which duration is
    whose could not be asked there.
    """
    fields: dict[str, str | Raw] = {}
    for clock in clocks:
        if clock.name not in _MEASURED:
            continue
        for part in ("state", "deadline", "business_seconds", "wall_seconds"):
            name, value = f"{clock.name}_{part}", getattr(clock, part)
            if value is not UNSET:
                fields[name] = value
            else:
                fields.pop(name, None)
    return fields


def _convert_escalation(message: Message, prefix: str, indexed_at: str) -> Write | Outcome:
    if message.value is None:
        return _removal(*_escalation_of(message.key), escalations_index, prefix)
    head = _read(_ESCALATION, message.value)
    return _versioned(
        message.value,
        escalations_index(prefix, head.brand),
        head.escalation_id,
        head.revision,
        indexed_at,
        head.network,
    )


def _convert_alert(message: Message, prefix: str, indexed_at: str) -> Write | Outcome:
    if message.value is None:
        return _removal(*_of_brand(message), alerts_index, prefix)
    head = _read(_ALERT, message.value)
    index = alerts_index(prefix, head.brand)
    return _versioned(message.value, index, head.alert_id, head.revision, indexed_at, head.network)


def _convert_incident(message: Message, prefix: str, indexed_at: str) -> Write | Outcome:
    if message.value is None:
        return _removal(*_of_brand(message), incidents_index, prefix)
    head = _read(_INCIDENT, message.value)
    index = incidents_index(prefix, head.brand)
    return _versioned(message.value, index, head.incident_id, head.revision, indexed_at)


def _versioned(
    value: bytes, index: str, identity: str, revision: int, indexed_at: str, network: str = ""
) -> Write:
    added = {"document_version": revision, "indexed_at": indexed_at}
    return Write(
        index=index,
        id=document_id(identity),
        op="index",
        version=revision,
        body=_spliced(value, _ENCODER.encode(added)),
        network=network,
    )


def _removal(
    identity: str, brand: str, index: Callable[[str, str], str], prefix: str
) -> Write | Outcome:
    """Return the removal of a document; nothing where its brand is not told."""
    if not identity or not _BRAND.match(brand):
        return Outcome(Fate.DISCARDED, reason="tombstone")
    return Write(
        index=index(prefix, brand),
        id=document_id(identity),
        op="delete",
        version=REMOVED_VERSION,
        body=b"",
    )


def _escalation_of(key: bytes | None) -> tuple[str, str]:
    """Return id and brand of an escalation by its record's key, `case|target|level`."""
    parts = (key or b"").decode("utf-8", "replace").rsplit("|", 2)
    if len(parts) < 3:
        return "", ""
    return deterministic_id(*parts), parts[0].partition(":")[0]


def _of_brand(message: Message) -> tuple[str, str]:
    """Return id and brand of a record whose key is its id; the brand begins its subject."""
    subject = (message.header("ce_subject") or b"").decode("utf-8", "replace")
    brand, _, rest = subject.partition("/")
    identity = (message.key or b"").decode("utf-8", "replace")
    return identity, brand if rest == identity else ""


def _convert_case_event(message: Message, prefix: str, indexed_at: str) -> Write:
    value = _value(message)
    head = _read(_CASE_EVENT, value)
    return Write(
        index=case_events_index(prefix, head.brand),
        id=document_id(head.case_event_id),
        op="create",
        body=_spliced(value, _ENCODER.encode({"indexed_at": indexed_at})),
        breach=head.clock if head.kind == _BREACHED else "",
    )


def _convert_status(message: Message, prefix: str, indexed_at: str) -> Write | Outcome:
    if message.value is None:
        return Outcome(Fate.DISCARDED, reason="tombstone")
    status = _read(_STATUS, message.value)
    return Write(
        index=status_index(prefix),
        id=document_id(status.instance),
        op="index",
        version=max(0, int(status.at.timestamp() * 1000)),
        body=_spliced(message.value, _ENCODER.encode({"indexed_at": indexed_at})),
        network=status.network,
    )


# Header of a dead letter to the document's field: schemas/index/dead-letters.yaml.
_LETTER_WORDS = {
    _CONNECT + "topic": "topic",
    _CONNECT + "connector.name": "connector",
    _CONNECT + "task.id": "task",
    _CONNECT + "stage": "stage",
    _CONNECT + "class.name": "component",
    _CONNECT + "exception.class.name": "error_class",
    _CONNECT + "exception.message": "message",
    "x-dlq-kind": "kind",
    "x-dlq-service": "service",
    "x-dlq-first-failed-at": "first_failed_at",
    "x-dlq-sha256": "sha256",
    "x-dlq-ref": "ref",
    "x-dlq-network": "network",
}
_LETTER_NUMBERS = {
    _CONNECT + "partition": "partition",
    _CONNECT + "offset": "offset",
    "x-dlq-attempt": "attempt",
    "x-dlq-size": "size",
}
_NUMBER = re.compile(r"-?[0-9]{1,18}\Z")


def _convert_dead_letter(message: Message, prefix: str, indexed_at: str) -> Write:
    """Return the index card of a dead letter: its headers and size, never its bytes.

    The id also holds the record's own time, so that the letters of a re-created topic, whose
    offsets start anew, are new documents.
    """
    document: dict[str, Any] = {
        "dead_letter_partition": message.partition,
        "dead_letter_offset": message.offset,
        "indexed_at": indexed_at,
    }
    if message.value is not None:
        document["size"] = len(message.value)
    for name, content in message.headers:
        text = content.decode("utf-8", "replace")
        if name in _LETTER_WORDS:
            document[_LETTER_WORDS[name]] = text
        elif name in _LETTER_NUMBERS and _NUMBER.match(text):
            document[_LETTER_NUMBERS[name]] = int(text)
    identity = f"{message.topic}/{message.partition}/{message.offset}/{message.timestamp_ms}"
    return Write(
        index=dead_letters_index(prefix),
        id=identity,
        op="create",
        body=_ENCODER.encode(document),
        network=document.get("network", ""),
    )


_CONVERTERS: dict[Topic, Callable[[Message, str, str], Write | Outcome]] = {
    Topic.ROUTED_EVENTS: _convert_routed,
    Topic.CASES: _convert_case,
    Topic.CASE_EVENTS: _convert_case_event,
    Topic.ESCALATIONS: _convert_escalation,
    Topic.ALERTS: _convert_alert,
    Topic.INCIDENTS: _convert_incident,
    Topic.DEAD_LETTERS: _convert_dead_letter,
    Topic.CONNECTOR_STATUS: _convert_status,
}
