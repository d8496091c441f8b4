"""What care writes: the difference of a conversation before and after, in a fixed order.

Everything that is caused stands before the case record, which is the mark of it all.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import msgspec

from klingel.contracts import codec
from klingel.contracts.envelope import (
    CAUSE_HEADER,
    ERASED_HEADER,
    QUEUE_HEADER,
    Message,
    Output,
    SourcePosition,
    ce_headers,
    trace_id,
    trace_of,
)
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic, queue_topic
from klingel.domain.cases import Change, tracked_of
from klingel.domain.conversation import ConversationState
from klingel.model import Case, CaseEvent, Escalation, RoutedEvent
from klingel.model.base import Record

_Extra = tuple[tuple[str, bytes], ...]
# Looked up for every event: an enumeration gives its members at ten times the cost.
_SOCIAL, _ROUTED, _COMMANDS = Topic.SOCIAL_EVENTS, Topic.ROUTED_EVENTS, Topic.CASE_COMMANDS
_HAPPENED, _CASES, _TRACKED = Topic.CASE_EVENTS, Topic.CASES, Topic.TRACKED_CONVERSATIONS


class Outputs:
    """The records of one message or timer, in the order in which they are written.

    Args:
        message: that caused them; None where a timer did.
        timer: id of the timer; empty where a message caused them.
        source: who writes them, as `ce_source`.
        subject: what it is about; everything said of it shares a trace.
        now: when it was decided.
        partition: where all but commands to others go: its topics lie together.
    """

    __slots__ = ("_message", "_now", "_partition", "_source", "_timer", "_trace", "_written")

    def __init__(
        self,
        message: Message | None,
        timer: str,
        source: str,
        subject: str,
        now: datetime,
        partition: int,
    ) -> None:
        self._message = message
        self._timer = timer
        self._source = source
        # A command is about a case: what it causes belongs to no sender's trace.
        told = message is not None and message.topic is _SOCIAL
        self._trace = trace_of(message, subject) if told and message else trace_id(subject)
        self._now = now
        self._partition = partition
        self._written: list[Output] = []

    @classmethod
    def of_message(cls, message: Message, source: str, subject: str, now: datetime) -> "Outputs":
        """Return the outputs of a message, each with its source position."""
        return cls(message, "", source, subject, now, message.partition)

    @classmethod
    def of_timer(
        cls, timer: str, source: str, subject: str, now: datetime, partition: int
    ) -> "Outputs":
        """Return the outputs of a timer; whoever runs the timers adds their source position."""
        return cls(None, timer, source, subject, now, partition)

    @property
    def _cause(self) -> str:
        """Id of what caused them."""
        message = self._message
        if message is None:
            return self._timer
        return f"{message.topic}.{message.partition}.{message.offset}"

    @property
    def all(self) -> tuple[Output, ...]:
        """What was written."""
        return tuple(self._written)

    def routed(
        self,
        event_id: str,
        object_id: str,
        routed: RoutedEvent,
        place: bytes,
        queues: Collection[str],
    ) -> None:
        """Write a social event with its decision, once more where its queue has a topic.

        Args:
            event_id: of the event.
            object_id: its object.
            routed: the event with its decision.
            place: partition key of the conversation.
            queues: of the brand, those that have a topic of their own.
        """
        decision = routed.decision
        queue = ((QUEUE_HEADER, decision.queue.encode()),) if decision.queue else ()
        identity = f"{event_id}.{decision.number}"
        self._write(_ROUTED, event_id, routed, identity, place, object_id, queue)
        if decision.queue in queues:
            again = self._written[-1]
            brand = event_id.partition("/")[0]
            own = queue_topic(brand, decision.queue or "")
            self._written.append(msgspec.structs.replace(again, instead=own))

    def change(
        self, place: bytes, before: ConversationState, change: Change, records: Sequence[bytes]
    ) -> None:
        """Write what became of a conversation.

        Args:
            place: partition key of the conversation.
            before: its state before.
            change: what became of it.
            records: the changed records, encoded.
        """
        self.events(place, change.case_events, change.escalations)
        for command in change.commands:
            there = conversation_key(command.brand, command.conversation_id)
            self._write(Topic.CASE_COMMANDS, command.command_id, command, command.command_id, there)
        if not change.changed and not change.removed:
            return
        self.tracking(place, before, change.state)
        for case, encoded in zip(change.changed, records, strict=True):
            self.case(place, case, encoded)
        for case_id in change.removed:
            self.forgotten(place, case_id)

    def tracking(self, place: bytes, before: ConversationState, after: ConversationState) -> None:
        """Write whether a conversation is tracked, where that changed."""
        if before.tracked().since == after.tracked().since:
            return
        key = place.decode()
        identity = f"{key}.{self._cause}"
        self._write(_TRACKED, key, tracked_of(after), identity, place)

    def events(
        self, place: bytes, happened: Iterable[CaseEvent], escalations: Iterable[Escalation]
    ) -> None:
        """Write what happened to cases, and who is told."""
        for each in happened:
            self._write(_HAPPENED, each.case_id, each, each.case_event_id, place)
        for escalation in escalations:
            key = f"{escalation.case_id}|{escalation.target}|{escalation.level}"
            identity = f"{escalation.escalation_id}.{escalation.revision}"
            self._write(Topic.ESCALATIONS, key, escalation, identity, place)

    def case(self, place: bytes, case: Case, encoded: bytes) -> None:
        """Write the record of a case, which is encoded already."""
        self._write(_CASES, case.case_id, encoded, f"{case.case_id}.{case.revision}", place)

    def forgotten(self, place: bytes, case_id: str, erased: int | None = None) -> None:
        """Write that a record is gone; with the revision behind its last where it was erased.

        What time forgets stays in the index; what a person wants forgotten goes there too.
        """
        extra = () if erased is None else ((ERASED_HEADER, str(erased).encode()),)
        identity = f"{case_id}.removed.{self._cause}"
        self._write(Topic.CASES, case_id, None, identity, place, extra=extra)

    def untold(self, place: bytes, case: Case) -> None:
        """Write that what was told of an erased case is gone, one record for each target and level."""
        for each in case.escalations or ():
            for target in each.targets or ():
                key = f"{case.case_id}|{target}|{each.level}"
                identity = f"{key}.removed.{self._cause}"
                self._write(Topic.ESCALATIONS, key, None, identity, place)

    def _write(
        self,
        topic: Topic,
        key: str,
        record: Record | bytes | None,
        identity: str,
        place: bytes,
        subject: str | None = None,
        extra: _Extra = (),
    ) -> None:
        written = self._written
        message = self._message
        caused_by = None
        if message is None:  # as `timer_headers`: whoever runs the timers adds the position
            extra = ((CAUSE_HEADER, self._timer.encode()), *extra)
        else:
            ordinal = len(written)
            caused_by = SourcePosition(message.topic, message.partition, message.offset, ordinal)
        headers = ce_headers(
            topic,
            event_id=identity,
            source=self._source,
            subject=subject or key,
            time=self._now,
            trace=self._trace,
            caused_by=caused_by,
            extra=extra,
        )
        value = codec.encode(record) if isinstance(record, Record) else record
        partition = None if topic is _COMMANDS else self._partition
        written.append(Output(topic, key.encode(), value, headers, place, partition))
