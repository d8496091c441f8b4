"""The decisions of thread, for one partition of `unthreaded-events` (port `Logic`).

Here lies what names only its parent, all objects of a source together: they get their conversation,
and then they are told as understand tells the rest. Local table: `links` (object → conversation,
brands, sightings; mirrored by `conversation-links`).

What answers an object that nobody has named yet waits for it, up to five seconds: the batch ends
before it, and nothing is remembered. Then it talks under its parent's id. When the parent comes and
belongs elsewhere, a command merges the two conversations.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from klingel.contracts import codec
from klingel.contracts.envelope import (
    SOURCE_HEADER,
    Message,
    Output,
    SourcePosition,
    ce_headers,
    trace_id,
)
from klingel.contracts.topics import Topic
from klingel.domain.dedupe import SIGHTINGS, Sighting, content_bits, mark_key
from klingel.domain.encounter import Encounter, Place, Said, entry_after
from klingel.domain.threading import goes_on_in, merge, place, waits_until
from klingel.model import ConversationLink, DirectoryEntry
from klingel.model.conversation_link import Contribution
from klingel.stage.batch import Coordinates
from klingel.stage.fates import Fate, NotYet, Outcome, Put
from klingel.stage.ports import StateView
from klingel_processors.understand.hearing import (
    Hearing,
    HearingLogic,
    Remembered,
    Sightings,
    Told,
)
from klingel_processors.understand.reading import AHEAD_BYTES, Ahead

NAME = "thread"
LINKS = "links"


class _Merge(NamedTuple):
    brand: str
    conversation: str
    into: str


class ThreadLogic(HearingLogic):
    """Decides events of one partition; see HearingLogic for its arguments."""

    name = NAME
    inputs: tuple[Topic, ...] = (Topic.UNTHREADED_EVENTS,)
    tables: Mapping[str, Topic] = {LINKS: Topic.CONVERSATION_LINKS}

    def __init__(self, partition: int, **world: Any) -> None:
        super().__init__(partition, **world)
        self._read: dict[int, Said] = {}
        self._lying_ahead: dict[str, str | None] = {}

    def source_of(self, message: Message) -> str:
        """Return the source instance, which is the key."""
        return (message.key or b"").decode("utf-8", "replace")

    def origin(self, message: Message) -> Coordinates:
        """Return where the event lies in `raw-events`."""
        header = message.header(SOURCE_HEADER)
        if header is None:  # no stage wrote it
            return super().origin(message)
        at = SourcePosition.decode(header)
        return Topic(at.topic), at.partition, at.offset

    def look_over(self, messages: Sequence[Message]) -> None:
        """Note which objects lie ahead, and whom they answer.

        While a message waits, those behind it are looked over again and again: each is read once.
        """
        read: dict[int, Said] = {}
        self._lying_ahead = {}
        for message in messages:
            if len(message.value or b"") > AHEAD_BYTES:
                continue
            with suppress(Exception):  # whatever raises here raises in the step too
                said = read[message.offset] = self.said(message)
                if said.draft.change != "deleted":
                    self._lying_ahead.setdefault(said.raw.object_id, said.draft.in_reply_to)
        self._read = read

    def said(self, message: Message) -> Said:
        """Read an event, unless it was looked over."""
        return self._read.get(message.offset) or super().said(message)

    # -- what is known ---------------------------------------------------------------------

    def sightings(
        self, message: Message, object_id: str, revision: int, state: StateView
    ) -> Sightings:
        """Return what the link says of a revision.

        An event that understand sent on again lies elsewhere, and is seen where it was seen first.
        """
        link = _link(state, object_id)
        seen = [each for each in _contributions(link) if each.revision == revision]
        topic, _, origin = self.origin(message)
        at = message.offset
        if topic is Topic.RAW_EVENTS:
            at = next((each.offset for each in seen if each.origin == origin), at)
        return Sightings(
            at,
            tuple(
                Sighting(
                    each.offset, content_bits(each.content), heard=bool(each.heard), deletion=False
                )
                for each in seen
            ),
        )

    def hearing(
        self, message: Message, said: Said, ahead: Ahead | None, state: StateView, now: datetime
    ) -> Hearing:
        """Return an event beside its object's link, and its conversation at the first sight.

        Raises:
            NotYet: what lies above it may still come.
        """
        raw = said.raw
        self._lying_ahead.pop(raw.object_id, None)
        link = _link(state, raw.object_id)
        at, seen = self.sightings(message, raw.object_id, raw.revision, state)
        placed = None
        if (link is None or link.awaited) and said.draft.change != "deleted":
            placed = self._thread(said, state, now)
        key = mark_key(raw.object_id, raw.revision)
        encounter = Encounter(said, _entry(link), at, seen)
        return Hearing(message, encounter, ahead, key, state, placed)

    def _thread(self, said: Said, state: StateView, now: datetime) -> Place:
        """Give an object its conversation."""
        raw = said.raw

        def known(object_id: str) -> str | None:
            return self._conversation(state, object_id)

        placed = place(raw.object_id, said.draft.in_reply_to, known, self._lying_ahead)
        if not placed.sure:
            until = waits_until(raw.mode, raw.received_at, now)
            if until is not None:
                raise NotYet(until)
        # What was said under its own id until now has its cases there.
        tracking = self._tracking((placed.conversation, raw.object_id))
        return Place(placed.conversation, "parent_only", tracking)

    def _conversation(self, state: StateView, object_id: str) -> str | None:
        """Return the conversation of an object, as `klingel.domain.threading.Links`.

        A conversation with an open case is known, though its first object went another way.
        """
        link = _link(state, object_id)
        if link is not None:
            return link.conversation_id
        return object_id if object_id in self.world.tracking else None

    def _goes_on_in(self, state: StateView, conversation: str) -> str:
        return goes_on_in(conversation, lambda object_id: self._conversation(state, object_id))

    def _tracking(self, conversations: Iterable[str]) -> Collection[str]:
        tracking = self.world.tracking
        return {brand for each in conversations for brand in tracking.get(each, ())}

    # -- what is remembered ----------------------------------------------------------------

    def place(self, one: Hearing, whole: Said) -> Place:
        """Return the conversation; the first sight decides for ever."""
        del whole
        if one.placed is not None:
            return one.placed
        entry = one.encounter.entry
        assert entry is not None  # a deletion of what nobody knows is lost
        conversation = entry.conversation_id
        tracking = self._tracking((conversation, self._goes_on_in(one.state, conversation)))
        return Place(conversation, entry.threading or "parent_only", tracking)

    def deleted_before(self, one: Hearing) -> None:
        """Return None: what was deleted before it was seen does not come here."""
        del one

    def unheard(
        self, one: Hearing, reason: str, *, heard: bool = False, deletion: bool = False
    ) -> Outcome:
        """Discard an event; what answers it is of its conversation all the same."""
        remembered, said = Remembered(), one.encounter.said
        if not deletion:
            where = self.place(one, said)
            after = one.encounter.entry or entry_after(one.encounter, said, where, {}, mark=True)
            told = Told(said, where, after, frozenset(), mark=True)
            remembered = self._remembered(one, told, heard=heard, ordinal=0)
        return Outcome(
            Fate.DISCARDED,
            reason=reason,
            network=said.raw.network,
            outputs=remembered.outputs,
            puts=remembered.puts,
        )

    def remember(self, one: Hearing, told: Told, ordinal: int) -> Remembered:
        """Return link and merges."""
        return self._remembered(one, told, heard=True, ordinal=ordinal)

    def _remembered(self, one: Hearing, told: Told, *, heard: bool, ordinal: int) -> Remembered:
        whole, after = told.whole, told.after
        entry, state = one.encounter.entry, one.state
        before = _link(state, after.object_id)
        seen = list(_contributions(before))
        if told.mark:
            seen.append(self._seen(one, heard=heard))
        links = [_link_after(after, seen[-SIGHTINGS:])]
        brands = {
            name: how
            for name, how in after.brands.items()
            if entry is None or name not in entry.brands
        }
        into = self._goes_on_in(state, after.conversation_id)
        merges = [_Merge(name, after.conversation_id, into) for name in brands]
        if before is not None and before.awaited:
            # Others were told under its id.
            brands = {**before.brands, **brands}
            merges += [_Merge(name, after.object_id, into) for name in before.brands]
        top = _link(state, into)
        if into != after.object_id and (top is None or (top.awaited and brands)):
            known = top.brands if top is not None else {}
            links.append(
                ConversationLink(
                    object_id=into, conversation_id=into, awaited=True, brands={**brands, **known}
                )
            )
        commands = [
            merge(*each, cause=whole.raw.event_id, at=whole.raw.received_at)
            for each in merges
            if each.conversation != each.into
        ]
        outputs = self.commanded(one.message, whole.raw, commands, ordinal)
        puts = []
        for link in links:
            if link != _link(state, link.object_id):
                output = _link_output(one.message, whole, link)
                outputs.append(output)
                puts.append(Put(LINKS, output.key, output.value))
        return Remembered(tuple(outputs), tuple(puts))

    def _seen(self, one: Hearing, *, heard: bool) -> Contribution:
        topic, _, origin = self.origin(one.message)
        return Contribution(
            revision=one.encounter.said.raw.revision,
            offset=one.encounter.offset,
            origin=origin if topic is Topic.RAW_EVENTS else None,
            content=one.encounter.said.content,
            heard=heard,
        )

    def restore(self, table: str, message: Message, state: StateView) -> Iterable[Put]:
        """Return what a mirrored record says of local state."""
        del state
        assert message.key is not None
        yield Put(table, message.key, message.value)


def _link(state: StateView, object_id: str) -> ConversationLink | None:
    value = state.get(LINKS, object_id.encode())
    return None if value is None else codec.decode(ConversationLink, value)


def _contributions(link: ConversationLink | None) -> Sequence[Contribution]:
    return (link.contributions or ()) if link is not None else ()


def _entry(link: ConversationLink | None) -> DirectoryEntry | None:
    """Return what a link says of an object that was seen."""
    if link is None or link.awaited:
        return None
    return DirectoryEntry(
        object_id=link.object_id,
        revision=link.revision or 0,
        index=link.index or "undated",
        conversation_id=link.conversation_id,
        threading=link.threading,
        brands=link.brands,
        since=link.since,
        contributions=[],
        content_hash=link.content_hash,
        deleted=link.deleted,
        kind=link.kind,
    )


def _link_after(after: DirectoryEntry, seen: list[Contribution]) -> ConversationLink:
    """Return an object's link once this event of it was seen."""
    return ConversationLink(
        object_id=after.object_id,
        conversation_id=after.conversation_id,
        brands=after.brands,
        revision=after.revision,
        index=after.index,
        threading=after.threading,
        since=after.since,
        contributions=seen,
        content_hash=after.content_hash,
        deleted=after.deleted,
        kind=after.kind,
    )


def _link_output(message: Message, cause: Said, link: ConversationLink) -> Output:
    return Output(
        topic=Topic.CONVERSATION_LINKS,
        key=link.object_id.encode(),
        value=codec.encode(link),
        headers=ce_headers(
            Topic.CONVERSATION_LINKS,
            event_id=f"{link.object_id}#{message.offset}",
            source=f"klingel/{NAME}",
            subject=link.object_id,
            time=cause.raw.received_at,
            trace=trace_id(link.object_id),
        ),
        partition=message.partition,
    )
