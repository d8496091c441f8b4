"""The decisions of care, for one partition of `social-events` (port `Logic`).

One local table, `cases`, mirrors the topic of that name: `c<case id>` holds a record, `v<brand>|
<conversation>` the ids of a conversation's records. The case record is at once output, changelog
and the mark by which a repeated fact is known.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import msgspec

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import (
    QUEUE_HEADER,
    Message,
    Output,
    SourcePosition,
    ce_headers,
    trace_id,
)
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.domain.cases import FoldOutcome, fold_event, tracked_of
from klingel.domain.conversation import ConversationState
from klingel.domain.routing import route
from klingel.errors import ErrorType, InvalidMessage, InvariantViolation, SourceUnavailable
from klingel.model import Case, RoutedEvent, SocialEvent
from klingel.model.base import Record
from klingel.stage.batch import Coordinates
from klingel.stage.fates import Fate, Outcome, Put
from klingel.stage.ports import StateView

NAME = "care"
SOURCE = f"klingel/{NAME}"
CASES = "cases"
_CONFIG_LAG = timedelta(seconds=60)
_IDS = msgspec.json.Decoder(list[str])


class CareLogic:
    """Decides social events of one partition.

    Args:
        partition: number of the partition.
        brands: current brands, by name.
    """

    name = NAME
    inputs: tuple[Topic, ...] = (Topic.SOCIAL_EVENTS,)
    tables: Mapping[str, Topic] = {CASES: Topic.CASES}
    wants_time = False

    def __init__(
        self, partition: int, *, brands: Callable[[], Mapping[str, CompiledBrand]]
    ) -> None:
        self._partition = partition
        self._brands = brands

    def source_of(self, message: Message) -> str:
        """Return the event's network, as its `ce_subject` begins."""
        subject = message.header("ce_subject") or b""
        return subject.partition(b":")[0].decode("utf-8", "replace")

    def needs(self, message: Message, state: StateView) -> Sequence[Coordinates]:
        """Return nothing: the fold needs its own records alone."""
        del message, state
        return ()

    def look_over(self, messages: Sequence[Message]) -> None:
        """Nothing of it is cheaper in a row."""

    def step(
        self,
        message: Message,
        state: StateView,
        now: datetime,
        history: Mapping[Coordinates, Message],
    ) -> Outcome:
        """Fold one social event; raises InvalidMessage."""
        del history
        event = codec.decode(SocialEvent, message.value)
        brand = self._brand(event, message, now)
        before = load_conversation(state, event.brand, event.conversation_id)
        folded = fold_event(
            before,
            event,
            (message.partition, message.offset),
            partial(route, brand=brand),
            brand,
            now,
        )
        if folded.repeated:
            return Outcome(Fate.REPEATED, reason=folded.decision.triage, network=event.network)
        return Outcome(
            Fate.DELIVERED,
            reason=folded.decision.triage,
            network=event.network,
            outputs=tuple(_outputs(message, event, before, folded, now)),
            puts=tuple(_puts(event, before, folded)),
        )

    def tick(self, state: StateView, now: datetime, read_to: datetime | None) -> Sequence[Outcome]:
        """Return nothing: there are no timers."""
        del state, now, read_to
        return ()

    def batch_outputs(
        self, rows: Sequence[bytes], partition: int, now: datetime
    ) -> Sequence[Output]:
        """Return nothing: the case records are the marks."""
        del rows, partition, now
        return ()

    def restore(self, table: str, message: Message, state: StateView) -> Iterable[Put]:
        """Return what a record of `cases` says of local state."""
        if table != CASES or message.key is None:
            raise InvariantViolation("a record of cases has no key")
        key = b"c" + message.key
        stored = state.get(CASES, key)
        yield Put(CASES, key, message.value)
        known = message.value or stored
        if known is None:
            return
        case = codec.decode(Case, known)
        index = _index_key(case.brand, case.conversation_id)
        ids = _ids(state.get(CASES, index))
        after = {one for one in ids if one != case.case_id}
        if message.value is not None:
            after.add(case.case_id)
        yield Put(CASES, index, _pack(sorted(after)))

    def _brand(self, event: SocialEvent, message: Message, now: datetime) -> CompiledBrand:
        brand = self._brands().get(event.brand)
        if brand is not None:
            return brand
        # The broker's time: what an event says of its own may lie in the future.
        if now.timestamp() - message.timestamp_ms / 1000 < _CONFIG_LAG.total_seconds():
            raise SourceUnavailable("the brand's configuration has not arrived yet")
        raise InvalidMessage(
            ErrorType.UNKNOWN_BRAND, "no configuration is in force for the brand", path="brand"
        )


def load_conversation(state: StateView, brand: str, conversation_id: str) -> ConversationState:
    """Read all records of a conversation."""
    ids = _ids(state.get(CASES, _index_key(brand, conversation_id)))
    if not ids:
        return ConversationState()
    return ConversationState.of(
        codec.decode(Case, state.get(CASES, b"c" + case_id.encode())) for case_id in ids
    )


def _index_key(brand: str, conversation_id: str) -> bytes:
    return b"v" + conversation_key(brand, conversation_id)


def _ids(value: bytes | None) -> list[str]:
    return [] if value is None else _IDS.decode(value)


def _pack(ids: Sequence[str]) -> bytes | None:
    return msgspec.json.encode(ids) if ids else None


def _puts(event: SocialEvent, before: ConversationState, folded: FoldOutcome) -> Iterable[Put]:
    for case in folded.changed:
        yield Put(CASES, b"c" + case.case_id.encode(), codec.encode(case))
    for case_id in folded.removed:
        yield Put(CASES, b"c" + case_id.encode(), None)
    ids_before = {record.case_id for record in before.records()}
    ids_after = {record.case_id for record in folded.state.records()}
    if ids_before != ids_after:
        index = _index_key(event.brand, event.conversation_id)
        yield Put(CASES, index, _pack(sorted(ids_after)))


def _outputs(
    message: Message,
    event: SocialEvent,
    before: ConversationState,
    folded: FoldOutcome,
    now: datetime,
) -> Iterable[Output]:
    """Yield what the difference of before and after says, the routed event first."""
    place = conversation_key(event.brand, event.conversation_id)
    trace = trace_id(event.object_id)
    ordinal = 0

    def output(
        topic: Topic,
        key: str,
        record: Record | None,
        identity: str,
        *extra: tuple[str, bytes],
    ) -> Output:
        nonlocal ordinal
        position = SourcePosition(message.topic, message.partition, message.offset, ordinal)
        ordinal += 1
        return Output(
            topic=topic,
            key=key.encode(),
            value=None if record is None else codec.encode(record),
            headers=ce_headers(
                topic,
                event_id=identity,
                source=SOURCE,
                subject=event.object_id if topic is Topic.ROUTED_EVENTS else key,
                time=now,
                trace=trace,
                caused_by=position,
                extra=extra,
            ),
            partition_key=place,
        )

    decision = folded.decision
    assert message.value is not None
    routed = RoutedEvent(event=msgspec.Raw(message.value), decision=decision)
    queue = ((QUEUE_HEADER, decision.queue.encode()),) if decision.queue else ()
    yield output(
        Topic.ROUTED_EVENTS, event.event_id, routed, f"{event.event_id}.{decision.number}", *queue
    )
    for happened in folded.case_events:
        yield output(Topic.CASE_EVENTS, happened.case_id, happened, happened.case_event_id)
    for case in folded.changed:
        yield output(Topic.CASES, case.case_id, case, f"{case.case_id}.{case.revision}")
    for case_id in folded.removed:
        yield output(Topic.CASES, case_id, None, f"{case_id}.removed.{event.event_id}")
    tracked_before, tracked = tracked_of(before), tracked_of(folded.state)
    if tracked != tracked_before:
        identity = f"{place.decode()}.{event.event_id}"
        yield output(Topic.TRACKED_CONVERSATIONS, place.decode(), tracked, identity)
