"""The decisions of understand, for one partition of `raw-events` (port `Logic`).

Local tables: `marks` (object and revision → sightings; mirrored by `understand-marks`) and
`directory` (object → what later edits and deletions need; mirrored by `object-directory`).

What names only its parent is not told here: all of it goes on to `unthreaded-events`, where one
worker sees all objects of a source (`klingel_processors.understand.thread`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from klingel.contracts import codec
from klingel.contracts.envelope import (
    Message,
    Output,
    ce_headers,
    trace_id,
    trace_of,
)
from klingel.contracts.topics import Topic
from klingel.domain.dedupe import (
    Sighting,
    add_sighting,
    content_bits,
    deletion_key,
    latest_deletion,
    mark_key,
    pack_row,
    read_deletion,
    read_sightings,
    unpack_rows,
)
from klingel.domain.encounter import Encounter, Place, Said
from klingel.domain.identity import event_id, hash64, index_month
from klingel.domain.signals import is_packed
from klingel.domain.threading import source_instance
from klingel.model import DirectoryEntry, MarkBatch, RawEvent
from klingel.stage.batch import Coordinates
from klingel.stage.fates import Fate, Outcome, Put
from klingel.stage.ports import StateView
from klingel_processors.understand.hearing import (
    Hearing,
    HearingLogic,
    Remembered,
    Sightings,
    Told,
    World,
    caused_by,
)
from klingel_processors.understand.reading import Ahead

__all__ = ["DIRECTORY", "MARKS", "NAME", "UnderstandLogic", "World"]

NAME = "understand"
SOURCE = f"klingel/{NAME}"
ROWS_A_RECORD = 1000

MARKS = "marks"
DIRECTORY = "directory"


class UnderstandLogic(HearingLogic):
    """Decides raw events of one partition; see HearingLogic for its arguments."""

    name = NAME
    inputs: tuple[Topic, ...] = (Topic.RAW_EVENTS,)
    tables: Mapping[str, Topic] = {
        MARKS: Topic.UNDERSTAND_MARKS,
        DIRECTORY: Topic.OBJECT_DIRECTORY,
    }

    def sightings(
        self, message: Message, object_id: str, revision: int, state: StateView
    ) -> Sightings:
        """Return what the marks say of a revision."""
        seen = read_sightings(state.get(MARKS, mark_key(object_id, revision)))
        return Sightings(message.offset, seen)

    def hearing(
        self, message: Message, said: Said, ahead: Ahead | None, state: StateView, now: datetime
    ) -> Hearing:
        """Return an event beside marks and directory."""
        del now  # understand decides by the event's own times
        object_id, revision = said.raw.object_id, said.raw.revision
        key = mark_key(object_id, revision)
        seen = read_sightings(state.get(MARKS, key))
        value = state.get(DIRECTORY, object_id.encode())
        entry = None if value is None else codec.decode(DirectoryEntry, value)
        return Hearing(message, Encounter(said, entry, message.offset, seen), ahead, key, state)

    def decide(self, one: Hearing, history: Mapping[Coordinates, Message]) -> Outcome:
        """Send on what names only its parent; decide the rest here."""
        own = one.encounter.own
        discarded = own is not None and not own.heard
        if discarded or not self._names_only_its_parent(one.encounter):
            return super().decide(one, history)
        return self.lost(one) or self._send_on(one)

    @staticmethod
    def _names_only_its_parent(encounter: Encounter) -> bool:
        """Whether an object is the thread stage's; the first sight decides for ever.

        What brands heard here, before there was that stage, stays here.
        """
        entry = encounter.entry
        if entry is None:
            return encounter.said.draft.threading == "parent_only"
        return entry.threading == "parent_only" and not entry.brands

    def _send_on(self, one: Hearing) -> Outcome:
        """Give an event to the thread stage, as it came; nothing of it is remembered here.

        Whether it repeats what was seen is decided there, once.
        """
        message, encounter = one.message, one.encounter
        raw, draft = encounter.said.raw, encounter.said.draft
        assert message.value is not None
        outputs = [_unthreaded_output(message, raw)]
        puts: tuple[Put, ...] = ()
        if encounter.entry is None:
            entry = DirectoryEntry(
                object_id=raw.object_id,
                revision=raw.revision,
                index=index_month(draft.published_at, raw.received_at),
                conversation_id=raw.object_id,
                threading="parent_only",
                brands={},
                contributions=[],
                kind=draft.kind,
            )
            outputs.append(_directory_output(message, raw, entry))
            puts = (Put(DIRECTORY, outputs[-1].key, outputs[-1].value),)
        return Outcome(Fate.DELIVERED, network=raw.network, outputs=tuple(outputs), puts=puts)

    def place(self, one: Hearing, whole: Said) -> Place:
        """Return the network's own conversation; the first sight decides for ever."""
        entry, draft = one.encounter.entry, whole.draft
        if entry is not None:
            conversation, threading = entry.conversation_id, entry.threading or "directory"
        elif draft.conversation_id is not None:
            conversation, threading = draft.conversation_id, draft.threading
        else:
            conversation, threading = whole.raw.object_id, "root"
        return Place(conversation, threading, self.world.tracking.get(conversation, ()))

    def deleted_before(self, one: Hearing) -> tuple[int, int] | None:
        """Return the newest deletion of an object that nobody knew."""
        gone = one.state.get(MARKS, deletion_key(one.key))
        return None if gone is None else read_deletion(gone)

    def unheard(
        self, one: Hearing, reason: str, *, heard: bool = False, deletion: bool = False
    ) -> Outcome:
        """Discard an event and mark it."""
        puts, rows = _mark(one, heard=heard, deletion=deletion)
        network = one.encounter.said.raw.network
        return Outcome(Fate.DISCARDED, reason=reason, network=network, puts=puts, rows=rows)

    def remember(self, one: Hearing, told: Told, ordinal: int) -> Remembered:
        """Return mark and entry."""
        del ordinal  # mirrors are nobody's input
        puts, rows = _mark(one, heard=True) if told.mark else ((), ())
        if told.after == one.encounter.entry:
            return Remembered((), puts, rows)
        output = _directory_output(one.message, told.whole.raw, told.after)
        return Remembered((output,), (*puts, Put(DIRECTORY, output.key, output.value)), rows)

    def batch_outputs(
        self, rows: Sequence[bytes], partition: int, now: datetime
    ) -> Sequence[Output]:
        """Return the batch's marks and its signals by brand, packed."""
        marks = [row for row in rows if not is_packed(row)]
        outputs = [
            _marks_output(b"".join(marks[at : at + ROWS_A_RECORD]), partition, now)
            for at in range(0, len(marks), ROWS_A_RECORD)
        ]
        return [*outputs, *super().batch_outputs(rows, partition, now)]

    def restore(self, table: str, message: Message, state: StateView) -> Iterable[Put]:
        """Return what a mirrored record says of local state."""
        if table == DIRECTORY:
            assert message.key is not None
            yield Put(DIRECTORY, message.key, message.value)
            return
        grown: dict[bytes, bytes] = {}
        for key, gone, sighting in unpack_rows(codec.decode(MarkBatch, message.value).rows):
            before = grown.get(key) or state.get(MARKS, key)
            grown[key] = add_sighting(before, sighting)
            if sighting.deletion and not sighting.heard:
                before = grown.get(gone) or state.get(MARKS, gone)
                grown[gone] = latest_deletion(before, key, sighting.offset)
        for key, value in grown.items():
            yield Put(MARKS, key, value)


def _mark(
    one: Hearing, *, heard: bool, deletion: bool = False
) -> tuple[tuple[Put, ...], tuple[bytes, ...]]:
    key, offset, state = one.key, one.message.offset, one.state
    sighting = Sighting(offset, content_bits(one.encounter.said.content), heard, deletion)
    puts = [Put(MARKS, key, add_sighting(state.get(MARKS, key), sighting))]
    if deletion and not heard:
        gone = deletion_key(key)
        known = state.get(MARKS, gone)
        puts.append(Put(MARKS, gone, latest_deletion(known, key, offset)))
    return tuple(puts), (pack_row(key, sighting),)


def _unthreaded_output(message: Message, raw: RawEvent) -> Output:
    return Output(
        topic=Topic.UNTHREADED_EVENTS,
        key=source_instance(raw.object_id).encode(),
        value=message.value,
        headers=ce_headers(
            Topic.UNTHREADED_EVENTS,
            event_id=raw.event_id,
            source=SOURCE,
            subject=raw.object_id,
            time=raw.received_at,
            trace=trace_of(message, raw.object_id),
            caused_by=caused_by(message, 0),
        ),
    )


def _marks_output(rows: bytes, partition: int, now: datetime) -> Output:
    identity = f"marks/{partition}/{hash64(rows.hex())}"
    return Output(
        topic=Topic.UNDERSTAND_MARKS,
        key=str(partition).encode(),
        value=codec.encode(MarkBatch(partition=partition, rows=rows)),
        headers=ce_headers(
            Topic.UNDERSTAND_MARKS,
            event_id=identity,
            source=SOURCE,
            subject=f"marks/{partition}",
            time=now,
            trace=trace_id(identity),
        ),
        partition=partition,
    )


def _directory_output(message: Message, raw: RawEvent, entry: DirectoryEntry) -> Output:
    identity = event_id(raw.object_id, raw.revision)
    return Output(
        topic=Topic.OBJECT_DIRECTORY,
        key=entry.object_id.encode(),
        value=codec.encode(entry),
        headers=ce_headers(
            Topic.OBJECT_DIRECTORY,
            event_id=f"{identity}#{message.offset}",
            source=SOURCE,
            subject=entry.object_id,
            time=raw.received_at,
            trace=trace_of(message, entry.object_id),
        ),
        partition=message.partition,
    )
