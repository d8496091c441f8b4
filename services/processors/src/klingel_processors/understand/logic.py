"""The decisions of understand, for one partition of `raw-events` (port `Logic`).

Local tables: `marks` (object and revision → sightings; mirrored by `understand-marks`) and
`directory` (object → what later edits and deletions need; mirrored by `object-directory`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output, SourcePosition, ce_headers, trace_id
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.domain.dedupe import (
    Known,
    Sighting,
    add_sighting,
    content_bits,
    deletion_key,
    mark_key,
    merge_drafts,
    pack_row,
    read_sightings,
    relate,
    unpack_rows,
)
from klingel.domain.direction import addressing_of, direction_of
from klingel.domain.draft import SocialDraft
from klingel.domain.hearing import reasons_to_hear, rule_document
from klingel.domain.identity import content_hash, event_id, hash64, index_month
from klingel.domain.rule_text import fold, terms_of
from klingel.language.identify import Detector, identify_language
from klingel.model import DirectoryEntry, MarkBatch, RawEvent, SocialEvent
from klingel.model.directory_entry import Contribution
from klingel.model.raw_event import BlobRef
from klingel.model.social_event import Lang, Match, Origin, Reply
from klingel.stage.batch import Coordinates
from klingel.stage.fates import Fate, Outcome, Put
from klingel.stage.ports import StateView
from klingel_networks.contract import Network

NAME = "understand"
SOURCE = f"klingel/{NAME}"
CONTRIBUTIONS = 8

MARKS = "marks"
DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class World:
    """What understand knows beside its own state; replaced whole when configuration changes.

    Attributes:
        brands: compiled brands, by name.
        tracking: conversation to the brands with an open case in it.
    """

    brands: Mapping[str, CompiledBrand]
    tracking: Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class _Said:
    """A raw event in our words."""

    raw: RawEvent
    draft: SocialDraft
    content: str


class UnderstandLogic:
    """Decides raw events of one partition.

    Args:
        partition: number of the partition.
        networks: finds a network's pure half by name; raises InvalidMessage for an unknown one.
        detect: language detector.
        originals: reads an original from the blob store; raises InvalidMessage (original_gone) or
            RetryableError.
        world: current brands and tracked conversations.
    """

    name = NAME
    input = Topic.RAW_EVENTS
    tables: Mapping[str, Topic] = {
        MARKS: Topic.UNDERSTAND_MARKS,
        DIRECTORY: Topic.OBJECT_DIRECTORY,
    }

    def __init__(
        self,
        partition: int,
        *,
        networks: Callable[[str], Network],
        detect: Detector,
        originals: Callable[[BlobRef], bytes],
        world: Callable[[], World],
    ) -> None:
        self._partition = partition
        self._networks = networks
        self._detect = detect
        self._originals = originals
        self._world = world

    # -- port Logic ------------------------------------------------------------------------

    def source_of(self, message: Message) -> str:
        """Return the connector's `ce_source`."""
        return (message.header("ce_source") or b"").decode("utf-8", "replace")

    def needs(self, message: Message, state: StateView) -> Sequence[Coordinates]:
        """Return the other contributions to this object's revision, as far as they differ.

        Whether they differ is told by the sightings alone, so that the common case, an object
        never seen before, costs one look-up by the identity in the headers.
        """
        identity = (message.header("ce_id") or b"").decode("utf-8", "replace")
        object_id, _, revision = identity.rpartition("@")
        if not revision.isdigit():
            return ()
        seen = read_sightings(state.get(MARKS, mark_key(object_id, int(revision))))
        return [
            (Topic.RAW_EVENTS, self._partition, sighting.offset)
            for sighting in seen
            if sighting.offset != message.offset
        ]

    def step(
        self,
        message: Message,
        state: StateView,
        now: datetime,  # noqa: ARG002 - the port's; understand decides by the event's own times
        history: Mapping[Coordinates, Message],
    ) -> Outcome:
        """Decide one raw event; raises InvalidMessage."""
        said = self._said(message)
        raw, bits = said.raw, content_bits(said.content)
        seen = read_sightings(state.get(MARKS, mark_key(raw.object_id, raw.revision)))
        known = relate(seen, message.offset, bits)
        if raw.mode == "remap" and known is not Known.NEW:
            known = Known.REPLAY
        entry = self._entry(state, raw.object_id)
        if known is Known.NEW:
            return self._new(message, said, entry, state)
        if known is Known.DUPLICATE:
            return self._duplicate(message, said, entry, seen, state)
        return self._several(message, said, entry, seen, known, history, state)

    def batch_outputs(
        self, rows: Sequence[bytes], partition: int, now: datetime
    ) -> Sequence[Output]:
        """Return the batch's marks as one record."""
        if not rows:
            return ()
        identity = f"marks/{partition}/{hash64(*(row.hex() for row in rows))}"
        return (
            Output(
                topic=Topic.UNDERSTAND_MARKS,
                key=str(partition).encode(),
                value=codec.encode(MarkBatch(partition=partition, rows=b"".join(rows))),
                headers=ce_headers(
                    Topic.UNDERSTAND_MARKS,
                    event_id=identity,
                    source=SOURCE,
                    subject=f"marks/{partition}",
                    time=now,
                    trace=trace_id(identity),
                ),
                partition=partition,
            ),
        )

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
                yield Put(MARKS, gone, sighting.offset.to_bytes(8, "big"))
        for key, value in grown.items():
            yield Put(MARKS, key, value)

    # -- reading ---------------------------------------------------------------------------

    def _said(self, message: Message) -> _Said:
        raw = codec.decode(RawEvent, message.value)
        if raw.native is None and raw.native_ref is not None:
            raw = msgspec.structs.replace(raw, native=msgspec.Raw(self._originals(raw.native_ref)))
        draft = self._networks(raw.network).to_social_event(raw)
        return _Said(raw, draft, content_hash(draft))

    @staticmethod
    def _entry(state: StateView, object_id: str) -> DirectoryEntry | None:
        value = state.get(DIRECTORY, object_id.encode())
        return None if value is None else codec.decode(DirectoryEntry, value)

    # -- the four relations ----------------------------------------------------------------

    def _new(
        self, message: Message, said: _Said, entry: DirectoryEntry | None, state: StateView
    ) -> Outcome:
        deletion = said.draft.change == "deleted"
        if deletion and entry is None:
            return self._unheard(message, said, state, "unknown_object", deletion=True)
        if entry is None and state.get(MARKS, deletion_key(said.raw.object_id)) is not None:
            return self._unheard(message, said, state, "deleted_before_seen")
        return self._tell(message, said, entry, state, heard_by=frozenset())

    def _duplicate(
        self,
        message: Message,
        said: _Said,
        entry: DirectoryEntry | None,
        seen: Sequence[Sighting],
        state: StateView,
    ) -> Outcome:
        """Match again for brands that do not hear the object yet; else it is one too many."""
        if said.draft.change == "deleted" and entry is None:
            return self._unheard(message, said, state, "unknown_object", deletion=True)
        heard_by = frozenset(entry.brands) if entry else frozenset()
        outcome = self._tell(message, said, entry, state, heard_by=heard_by)
        if outcome.fate is Fate.DELIVERED:
            return outcome
        reason = "duplicate" if any(sighting.heard for sighting in seen) else outcome.reason
        return self._unheard(message, said, state, reason, heard=bool(heard_by))

    def _several(
        self,
        message: Message,
        said: _Said,
        entry: DirectoryEntry | None,
        seen: Sequence[Sighting],
        known: Known,
        history: Mapping[Coordinates, Message],
        state: StateView,
    ) -> Outcome:
        """A replay, or another content at the same revision: what all contributions say."""
        replay = known is Known.REPLAY
        if replay and entry is None:
            own = next((s for s in seen if s.offset == message.offset), None)
            gone = own is not None and own.deletion
            return self._outcome(said, "unknown_object" if gone else "not_heard")
        told = [said]
        for sighting in seen:
            if sighting.offset == message.offset:
                continue
            other = history.get((Topic.RAW_EVENTS, self._partition, sighting.offset))
            if other is None:
                if replay:
                    continue
                return self._unheard(message, said, state, "completes_nothing")
            told.append(self._said(other))
        draft = merge_drafts([one.draft for one in told])
        whole = _Said(said.raw, draft, content_hash(draft))
        return self._tell(
            message,
            whole,
            entry,
            state,
            heard_by=frozenset(),
            mark=not replay,
            content=said.content,
        )

    # -- outcomes --------------------------------------------------------------------------

    def _outcome(self, said: _Said, reason: str) -> Outcome:
        return Outcome(Fate.DISCARDED, reason=reason, network=said.raw.network)

    def _mark(
        self,
        message: Message,
        said: _Said,
        content: str,
        state: StateView,
        *,
        heard: bool,
        deletion: bool = False,
    ) -> tuple[tuple[Put, ...], tuple[bytes, ...]]:
        sighting = Sighting(message.offset, content_bits(content), heard, deletion)
        key = mark_key(said.raw.object_id, said.raw.revision)
        puts = [Put(MARKS, key, add_sighting(state.get(MARKS, key), sighting))]
        if deletion and not heard:
            gone = deletion_key(said.raw.object_id)
            puts.append(Put(MARKS, gone, message.offset.to_bytes(8, "big")))
        row = pack_row(said.raw.object_id, said.raw.revision, sighting)
        return tuple(puts), (row,)

    def _unheard(
        self,
        message: Message,
        said: _Said,
        state: StateView,
        reason: str,
        *,
        heard: bool = False,
        deletion: bool = False,
    ) -> Outcome:
        puts, rows = self._mark(message, said, said.content, state, heard=heard, deletion=deletion)
        return Outcome(
            Fate.DISCARDED, reason=reason, network=said.raw.network, puts=puts, rows=rows
        )

    def _tell(
        self,
        message: Message,
        said: _Said,
        entry: DirectoryEntry | None,
        state: StateView,
        *,
        heard_by: frozenset[str],
        mark: bool = True,
        content: str | None = None,
    ) -> Outcome:
        """Emit one social event for each brand that hears it and is not in `heard_by`."""
        raw, draft = said.raw, said.draft
        world = self._world()
        lang = self._language(draft)
        document = rule_document(draft, raw.network, lang)
        conversation, threading = _conversation(raw, draft, entry)
        hearing = dict(
            _hearing(world, draft, raw, document, world.tracking.get(conversation, ()), entry)
        )
        new = {name: why for name, why in hearing.items() if name not in heard_by}
        if not new:
            if not mark:
                return self._outcome(said, "not_heard")
            return self._unheard(message, said, state, "not_heard")
        after = _directory_entry(message, said, entry, conversation, threading, hearing, content)
        outputs = [
            self._social_output(message, said, lang, after, world.brands[name], why, ordinal)
            for ordinal, (name, why) in enumerate(sorted(new.items()))
        ]
        puts: tuple[Put, ...] = ()
        rows: tuple[bytes, ...] = ()
        if mark:
            puts, rows = self._mark(message, said, content or said.content, state, heard=True)
        if after != entry:
            output = _directory_output(message, raw, after)
            outputs.append(output)
            puts += (Put(DIRECTORY, output.key, output.value),)
        return Outcome(
            Fate.DELIVERED, network=raw.network, outputs=tuple(outputs), puts=puts, rows=rows
        )

    def _language(self, draft: SocialDraft) -> Lang | None:
        if draft.text is None:
            return None
        return identify_language(draft.text, draft.langs, self._detect)

    def _social_output(
        self,
        message: Message,
        said: _Said,
        lang: Lang | None,
        entry: DirectoryEntry,
        brand: CompiledBrand,
        why: tuple[Match, ...],
        ordinal: int,
    ) -> Output:
        event = _social_event(message, said, lang, entry, brand, why)
        return Output(
            topic=Topic.SOCIAL_EVENTS,
            key=event.event_id.encode(),
            value=codec.encode(event),
            headers=ce_headers(
                Topic.SOCIAL_EVENTS,
                event_id=event.event_id,
                source=SOURCE,
                subject=event.object_id,
                time=event.received_at,
                trace=trace_id(event.object_id),
                caused_by=SourcePosition(message.topic, message.partition, message.offset, ordinal),
            ),
            partition_key=conversation_key(event.brand, event.conversation_id),
        )


def _conversation(
    raw: RawEvent, draft: SocialDraft, entry: DirectoryEntry | None
) -> tuple[str, str]:
    """Return conversation and where it comes from; the first sight decides for ever."""
    if entry is not None:
        return entry.conversation_id, entry.threading or "directory"
    if draft.conversation_id is not None:
        return draft.conversation_id, draft.threading
    return raw.object_id, "parent_only" if draft.threading == "parent_only" else "root"


def _hearing(
    world: World,
    draft: SocialDraft,
    raw: RawEvent,
    document: object,
    tracking: Collection[str],
    entry: DirectoryEntry | None,
) -> Iterable[tuple[str, tuple[Match, ...]]]:
    """Yield (brand, why); who heard the object before hears whatever happens to it."""
    before = entry.brands if entry is not None else {}
    for name, brand in world.brands.items():
        why = reasons_to_hear(brand, draft, raw, document, tracking)  # type: ignore[arg-type] # RuleDocument
        if not why and name in before:
            why = (Match(how="directory"),)
        if why:
            yield name, why


def _directory_entry(
    message: Message,
    said: _Said,
    entry: DirectoryEntry | None,
    conversation: str,
    threading: str,
    hearing: Mapping[str, tuple[Match, ...]],
    content: str | None,
) -> DirectoryEntry:
    raw, draft = said.raw, said.draft
    own = Contribution(
        revision=raw.revision, offset=message.offset, content=content or said.content
    )
    brands = {name: str(why[0].how) for name, why in hearing.items()}
    if entry is None:
        return DirectoryEntry(
            object_id=raw.object_id,
            revision=raw.revision,
            index=index_month(draft.published_at, raw.received_at),
            conversation_id=conversation,
            threading=threading,  # type: ignore[arg-type] # one of the schema's words
            brands=brands,
            contributions=[own],
            content_hash=said.content,
            deleted=True if draft.change == "deleted" else None,
            kind=draft.kind,
            author_id=draft.author.id if draft.author else None,
            in_reply_to=draft.in_reply_to,
            published_at=draft.published_at,
        )
    newest = raw.revision >= entry.revision
    others = [one for one in entry.contributions if one.offset != own.offset]
    return msgspec.structs.replace(
        entry,
        revision=max(raw.revision, entry.revision),
        brands={**brands, **entry.brands},
        contributions=sorted([*others, own], key=lambda one: one.offset)[-CONTRIBUTIONS:],
        content_hash=said.content if newest else entry.content_hash,
        deleted=(True if draft.change == "deleted" else None) if newest else entry.deleted,
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
            trace=trace_id(entry.object_id),
        ),
        partition=message.partition,
    )


def _social_event(
    message: Message,
    said: _Said,
    lang: Lang | None,
    entry: DirectoryEntry,
    brand: CompiledBrand,
    why: tuple[Match, ...],
) -> SocialEvent:
    raw, draft = said.raw, said.draft
    author = draft.author
    return SocialEvent(
        event_id=event_id(raw.object_id, raw.revision, brand.brand),
        object_id=raw.object_id,
        kind=draft.kind if draft.change != "deleted" else (entry.kind or draft.kind),
        change=draft.change,
        revision=raw.revision,
        brand=brand.brand,
        matches=list(why),
        network=raw.network,
        label=draft.label,
        channel=raw.channel,
        connector=raw.connector,
        origin=Origin(
            topic=message.topic, partition=message.partition, offset=message.offset, mode=raw.mode
        ),
        direction=direction_of(draft, brand),
        addressing=addressing_of(draft, brand, channel=raw.channel),
        visibility=draft.visibility,
        published_at=draft.published_at,
        changed_at=draft.changed_at,
        received_at=raw.received_at,
        conversation_id=entry.conversation_id,
        threading=entry.threading or "directory",
        in_reply_to=draft.in_reply_to,
        quotes=draft.quotes,
        reposts=draft.reposts,
        target=draft.target,
        author=author,
        customer_id=f"{raw.network}:{author.id}" if author else None,
        text=draft.text,
        lang=lang,
        media=list(draft.media) or None,
        links=list(draft.links) or None,
        hashtags=list(draft.hashtags) or None,
        mentions=list(draft.mentions) or None,
        metrics=draft.metrics or None,
        reply=Reply(
            channel=raw.channel or raw.connector, target=raw.object_id, permalink=draft.url
        ),
        url=draft.url,
        index=entry.index,
        content_hash=said.content,
        fingerprint=hash64(*terms_of(fold(draft.text))) if draft.text else None,
        mapping=draft.mapping,
        config_version=brand.version,
    )
