"""From an escalation, an alert or an incident to what each of its targets is to be told.

Pure: one `wanted` entry a target. The input may be committed once they are acknowledged.
"""

from datetime import datetime
from typing import Final

import msgspec

from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output, SourcePosition, ce_headers, trace_id
from klingel.contracts.topics import Topic
from klingel.domain.notices import Noticed, NoticeKind, identity_of, targets_of
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import Alert, Escalation, Incident, Notification
from klingel.stage.fates import Fate, Outcome

SHAPES: Final[dict[NoticeKind, type[Noticed]]] = {
    "escalation": Escalation,
    "alert": Alert,
    "incident": Incident,
}
KINDS: Final[dict[Topic, NoticeKind]] = {
    Topic.ESCALATIONS: "escalation",
    Topic.ALERTS: "alert",
    Topic.INCIDENTS: "incident",
}
"""Inputs, and what kind of record lies in each."""
BATCH: Final = "batch"
"""Matter of the entry that says what is in the air."""


def matter_of(record: Noticed) -> str:
    """Return what stands for a record in the entries' keys."""
    return "/".join(identity_of(record))


def record_of(matter: str, value: bytes) -> Noticed:
    """Read the record of an entry.

    Raises:
        InvalidMessage: it has not the shape of its kind, or the matter names none.
    """
    shape = SHAPES.get(matter.partition("/")[0])  # type: ignore[call-overload]  # any word may stand there
    if shape is None:
        raise InvalidMessage(ErrorType.INVALID_FIELD, "it is of no known kind", path="matter")
    record: Noticed = codec.decode(shape, value)
    return record


def entry_output(entry: Notification, caused_by: SourcePosition | None = None) -> Output:
    """Return the record of an entry; all entries of a target lie in one partition, in order."""
    place = f"{entry.brand}|{entry.target}"
    subject = f"{place}|{entry.matter}"
    return Output(
        topic=Topic.NOTIFICATIONS,
        key=f"{entry.entry}|{subject}".encode(),
        value=codec.encode(entry),
        headers=ce_headers(
            Topic.NOTIFICATIONS,
            event_id=f"{entry.entry}|{subject}@{entry.revision or 0}",
            source="klingel/notifier",
            subject=subject,
            time=entry.at,
            trace=trace_id(entry.matter),
            caused_by=caused_by,
        ),
        partition_key=place.encode(),
    )


def take_in(message: Message, now: datetime) -> Outcome:
    """Decide one message of an input.

    Raises:
        InvalidMessage: it is no record of its topic.
    """
    if message.value is None:
        return Outcome(Fate.DISCARDED, reason="tombstone")
    record: Noticed = codec.decode(SHAPES[KINDS[message.topic]], message.value)
    targets = targets_of(record)
    if not targets:
        return Outcome(Fate.DISCARDED, reason="no_target")
    # Written anew: what a record holds beside its shape is passed on to nobody.
    raw = msgspec.Raw(codec.encode(record))
    outputs = tuple(
        entry_output(
            Notification(
                entry="wanted",
                brand=record.brand,
                target=target,
                matter=matter_of(record),
                at=now,
                revision=record.revision,
                record=raw,
            ),
            SourcePosition(str(message.topic), message.partition, message.offset, ordinal),
        )
        for ordinal, target in enumerate(targets)
    )
    return Outcome(Fate.DELIVERED, outputs=outputs)
