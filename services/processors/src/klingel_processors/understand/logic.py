"""The decisions of understand, for one partition of `raw-events` (port `Logic`).

Local tables: `marks` (object and revision → sightings; mirrored by `understand-marks`) and
`directory` (object → what later edits and deletions need; mirrored by `object-directory`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import msgspec

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output, SourcePosition, ce_headers, trace_id
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.domain.copies import comparable
from klingel.domain.dedupe import (
    Known,
    Sighting,
    add_sighting,
    content_at,
    content_bits,
    deletion_key,
    first_offset,
    latest_deletion,
    mark_key,
    merge_drafts,
    other_contents,
    pack_row,
    read_deletion,
    read_sightings,
    relate,
    unpack_rows,
)
from klingel.domain.direction import addressing_of, direction_of
from klingel.domain.draft import SocialDraft
from klingel.domain.enrichment import enrich
from klingel.domain.hearing import reasons_to_hear, rule_document
from klingel.domain.identity import content_hash, event_id, hash64, index_month
from klingel.domain.matching import RuleDocument
from klingel.domain.signals import is_packed, pack, records, row_of
from klingel.errors import InvalidMessage
from klingel.language.identify import Detector, identify_language
from klingel.language.sense import Reader, Sense, Text
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
"""Contents of one revision that are merged; a further one completes nothing."""
ROWS_A_RECORD = 1000
AHEAD_BYTES = 16_384
"""Larger events are not read ahead, nor are stored originals: a batch would fill the memory."""
REVISION_DIGITS = 13  # of 2^42 - 1

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


class _Words(NamedTuple):
    """What is found in a text, once for all brands that hear it; `senses` by model."""

    lang: Lang | None
    fingerprint: str | None
    document: RuleDocument
    senses: dict[str, Sense]


class _Ahead(NamedTuple):
    """What was read of an event ahead of its step."""

    said: _Said
    lang: Lang | None
    senses: dict[str, Sense]


@dataclass(frozen=True, slots=True)
class _Case:
    """A raw event beside what is known of its object; `ahead` what was read ahead of it."""

    message: Message
    said: _Said
    ahead: _Ahead | None
    entry: DirectoryEntry | None
    key: bytes
    seen: Sequence[Sighting]
    state: StateView


class UnderstandLogic:
    """Decides raw events of one partition.

    Args:
        partition: number of the partition.
        networks: finds a network's pure half by name; raises InvalidMessage for an unknown one.
        detect: language detector.
        readers: finds a brand's model by its name; None where it is missing and may be.
        originals: reads an original from the blob store; raises InvalidMessage (original_gone) or
            RetryableError.
        world: current brands and tracked conversations.
    """

    name = NAME
    inputs: tuple[Topic, ...] = (Topic.RAW_EVENTS,)
    tables: Mapping[str, Topic] = {
        MARKS: Topic.UNDERSTAND_MARKS,
        DIRECTORY: Topic.OBJECT_DIRECTORY,
    }
    wants_time = False

    def __init__(
        self,
        partition: int,
        *,
        networks: Callable[[str], Network],
        detect: Detector,
        readers: Callable[[str], Reader | None],
        originals: Callable[[BlobRef], bytes],
        world: Callable[[], World],
    ) -> None:
        self._partition = partition
        self._networks = networks
        self._detect = detect
        self._readers = readers
        self._originals = originals
        self._world = world
        self._ahead: dict[int, _Ahead] = {}

    # -- port Logic ------------------------------------------------------------------------

    def source_of(self, message: Message) -> str:
        """Return the connector's `ce_source`."""
        return (message.header("ce_source") or b"").decode("utf-8", "replace")

    def needs(self, message: Message, state: StateView) -> Sequence[Coordinates]:
        """Return where the other contents of this object's revision lie.

        The common case, an object never seen before, costs one look-up by the identity in the
        headers. What raises here raises in `step` too, and there becomes a dead letter.
        """
        identity = (message.header("ce_id") or b"").decode("utf-8", "replace")
        object_id, _, digits = identity.rpartition("@")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= REVISION_DIGITS):
            return []
        seen = read_sightings(state.get(MARKS, mark_key(object_id, int(digits))))
        if all(sighting.offset == message.offset for sighting in seen):
            return []
        own = content_at(seen, message.offset)
        if own is None:
            own = content_bits(self._said(message).content)
        return [(Topic.RAW_EVENTS, self._partition, offset) for offset in other_contents(seen, own)]

    def look_over(self, messages: Sequence[Message]) -> None:
        """Read the events of a batch, then their languages, then what each model makes of them.

        The detector's tables are as large as the processor's cache: detecting between all the other
        work of each event takes twice as long. Models read many texts at once at half the cost.
        """
        self._ahead = {}
        read: dict[int, _Said] = {}
        # Whatever raises here raises in the step too, and there the message gets its fate.
        for message in messages:
            if len(message.value or b"") <= AHEAD_BYTES:
                with suppress(Exception):
                    raw = codec.decode(RawEvent, message.value)
                    if raw.native is not None:
                        read[message.offset] = self._said_by(raw)
        for offset, said in read.items():
            with suppress(Exception):
                self._ahead[offset] = _Ahead(said, self._language(said.draft), {})
        for model in {brand.model for brand in self._world().brands.values()}:
            if model is not None:
                with suppress(Exception):
                    self._read_ahead(model)

    def _read_ahead(self, model: str) -> None:
        reader = self._readers(model)
        if reader is None:
            return
        read = [each for each in self._ahead.values() if each.said.draft.text]
        texts = [_text(each.said.draft, each.lang) for each in read]
        for each, sense in zip(read, reader.read(texts), strict=True):
            each.senses[model] = sense

    def step(
        self,
        message: Message,
        state: StateView,
        now: datetime,  # noqa: ARG002 - the port's; understand decides by the event's own times
        history: Mapping[Coordinates, Message],
    ) -> Outcome:
        """Decide one raw event; raises InvalidMessage."""
        ahead = self._ahead.pop(message.offset, None)
        said = self._said(message) if ahead is None else ahead.said
        raw, bits = said.raw, content_bits(said.content)
        key = mark_key(raw.object_id, raw.revision)
        seen = read_sightings(state.get(MARKS, key))
        known = relate(seen, message.offset, bits)
        entry = self._entry(state, raw.object_id)
        # Marks are kept for a shorter time than the directory: known is what either remembers.
        if raw.mode == "remap" and (known is not Known.NEW or entry is not None):
            known = Known.REPLAY
        case = _Case(message, said, ahead, entry, key, seen, state)
        if known is Known.REPLAY:
            return self._replay(case, history)
        lost = self._lost(case)
        if lost is not None:
            return lost
        if known is Known.NEW:
            return self._tell(case, said)
        whole = self._whole(case, bits, history)
        if known is Known.DUPLICATE:
            return self._duplicate(case, whole)
        if whole is None:
            return self._outcome(said, "completes_nothing")
        return self._tell(case, whole)

    def tick(self, state: StateView, now: datetime, read_to: datetime | None) -> Sequence[Outcome]:
        """Return nothing: there are no timers."""
        del state, now, read_to
        return ()

    def batch_outputs(
        self, rows: Sequence[bytes], partition: int, now: datetime
    ) -> Sequence[Output]:
        """Return the batch's marks and its signals by brand, packed."""
        marks = [row for row in rows if not is_packed(row)]
        outputs = [
            _marks_output(b"".join(marks[at : at + ROWS_A_RECORD]), partition, now)
            for at in range(0, len(marks), ROWS_A_RECORD)
        ]
        for brand, value in records(filter(is_packed, rows)):
            outputs.append(_signals_output(brand, value, partition, now))
        return outputs

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

    # -- reading ---------------------------------------------------------------------------

    def _said(self, message: Message) -> _Said:
        raw = codec.decode(RawEvent, message.value)
        if raw.native is None and raw.native_ref is not None:
            raw = msgspec.structs.replace(raw, native=msgspec.Raw(self._originals(raw.native_ref)))
        return self._said_by(raw)

    def _said_by(self, raw: RawEvent) -> _Said:
        draft = self._networks(raw.network).to_social_event(raw)
        return _Said(raw, draft, content_hash(draft))

    @staticmethod
    def _entry(state: StateView, object_id: str) -> DirectoryEntry | None:
        value = state.get(DIRECTORY, object_id.encode())
        return None if value is None else codec.decode(DirectoryEntry, value)

    # -- the four relations ----------------------------------------------------------------

    def _replay(self, case: _Case, history: Mapping[Coordinates, Message]) -> Outcome:
        """Say again what all contributions say, to those who heard it; leaves no mark."""
        said, offset = case.said, case.message.offset
        own = next((each for each in case.seen if each.offset == offset), None)
        if case.entry is None or (own is not None and not own.heard):
            return self._outcome(said, self._unheard_reason(case, own))
        bits = content_bits(said.content) if own is None else own.content
        whole = self._whole(case, bits, history)
        if whole is None:
            if said.raw.mode != "remap":
                return self._outcome(said, "completes_nothing")
            whole = said
        since, first = case.entry.since or {}, first_offset(case.seen, bits, offset)
        heard = [
            name
            for name in case.entry.brands
            if (at := since.get(name, 0)) <= first or at == offset
        ]
        return self._tell(case, whole, only=heard, mark=False)

    def _lost(self, case: _Case) -> Outcome | None:
        """Discard what tells of an object that nobody knows and that is, or was, deleted."""
        if case.entry is not None:
            return None
        if case.said.draft.change == "deleted":
            return self._unheard(case, "unknown_object", deletion=True)
        gone = case.state.get(MARKS, deletion_key(case.key))
        if gone is not None and case.said.raw.revision <= read_deletion(gone)[1]:
            return self._unheard(case, "deleted_before_seen")
        return None

    @staticmethod
    def _unheard_reason(case: _Case, own: Sighting | None) -> str:
        """Return why nobody heard it the first time."""
        if own is None:
            return "not_heard"
        if own.deletion:
            return "unknown_object"
        gone = case.state.get(MARKS, deletion_key(case.key))
        if gone is not None and read_deletion(gone)[0] < own.offset:
            return "deleted_before_seen"
        return "not_heard"

    def _duplicate(self, case: _Case, whole: _Said | None) -> Outcome:
        """Match again for brands that do not hear the object yet; else it is one too many."""
        heard_by = frozenset(case.entry.brands) if case.entry is not None else frozenset()
        if whole is not None:
            outcome = self._tell(case, whole, heard_by=heard_by)
            if outcome.fate is Fate.DELIVERED:
                return outcome
        heard = any(sighting.heard for sighting in case.seen)
        return self._unheard(case, "duplicate" if heard else "not_heard", heard=heard)

    def _whole(self, case: _Case, own: int, history: Mapping[Coordinates, Message]) -> _Said | None:
        """Return what all contents of the revision say, None when one cannot be read any more."""
        offsets = other_contents(case.seen, own)
        if not offsets:
            return case.said
        if len(offsets) >= CONTRIBUTIONS:
            return None
        drafts = [case.said.draft]
        for offset in offsets:
            other = history.get((Topic.RAW_EVENTS, self._partition, offset))
            if other is None:
                return None
            try:
                drafts.append(self._said(other).draft)
            except InvalidMessage:  # it was valid once: its original is gone
                return None
        draft = merge_drafts(drafts)
        return _Said(case.said.raw, draft, content_hash(draft))

    # -- outcomes --------------------------------------------------------------------------

    def _outcome(self, said: _Said, reason: str) -> Outcome:
        return Outcome(Fate.DISCARDED, reason=reason, network=said.raw.network)

    @staticmethod
    def _mark(
        case: _Case, *, heard: bool, deletion: bool = False
    ) -> tuple[tuple[Put, ...], tuple[bytes, ...]]:
        key, offset = case.key, case.message.offset
        sighting = Sighting(offset, content_bits(case.said.content), heard, deletion)
        puts = [Put(MARKS, key, add_sighting(case.state.get(MARKS, key), sighting))]
        if deletion and not heard:
            gone = deletion_key(key)
            known = case.state.get(MARKS, gone)
            puts.append(Put(MARKS, gone, latest_deletion(known, key, offset)))
        return tuple(puts), (pack_row(key, sighting),)

    def _unheard(
        self, case: _Case, reason: str, *, heard: bool = False, deletion: bool = False
    ) -> Outcome:
        puts, rows = self._mark(case, heard=heard, deletion=deletion)
        return Outcome(
            Fate.DISCARDED, reason=reason, network=case.said.raw.network, puts=puts, rows=rows
        )

    def _tell(
        self,
        case: _Case,
        whole: _Said,
        *,
        heard_by: frozenset[str] = frozenset(),
        only: Collection[str] | None = None,
        mark: bool = True,
    ) -> Outcome:
        """Emit one social event for each brand that hears it.

        Args:
            case: the raw event.
            whole: what is told: it, or the merge with its other contents.
            heard_by: brands that have it already.
            only: brands that may hear it; None for all.
            mark: whether to remember it.
        """
        message, entry, raw = case.message, case.entry, whole.raw
        world = self._world()
        ahead = case.ahead if whole is case.said else None
        lang = self._language(whole.draft) if ahead is None else ahead.lang
        document = rule_document(whole.draft, raw.network, lang)
        conversation, threading = _conversation(raw, whole.draft, entry)
        tracking = world.tracking.get(conversation, ())
        if only is None and entry is not None and entry.deleted:
            only = entry.brands  # nobody comes to know of what was deleted before
        hearing = dict(_hearing(world, whole, document, tracking, entry, only))
        new = {name: why for name, why in hearing.items() if name not in heard_by}
        if not new:
            return self._unheard(case, "not_heard") if mark else self._outcome(whole, "not_heard")
        text = document.text
        fingerprint = comparable(text, document.terms).fingerprint if text else None
        words = _Words(lang, fingerprint, document, {} if ahead is None else ahead.senses)
        after = _directory_entry(case, whole, conversation, threading, hearing, mark=mark)
        events = [
            self._social_event(message, whole, words, after, world.brands[name], why)
            for name, why in sorted(new.items())
        ]
        outputs = [_social_output(message, event, ordinal) for ordinal, event in enumerate(events)]
        puts, rows = self._mark(case, heard=True) if mark else ((), ())
        rows += tuple(
            [pack(each.brand, row) for each in events if (row := row_of(each)) is not None]
        )
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

    def _sense(self, draft: SocialDraft, words: _Words, brand: CompiledBrand) -> Sense | None:
        """Return what the brand's model makes of the words; None without model or words."""
        if brand.model is None or not draft.text:
            return None
        sense = words.senses.get(brand.model)
        if sense is None:
            reader = self._readers(brand.model)
            if reader is None:
                return None
            (sense,) = reader.read([_text(draft, words.lang)])
            words.senses[brand.model] = sense
        return sense

    def _social_event(
        self,
        message: Message,
        said: _Said,
        words: _Words,
        entry: DirectoryEntry,
        brand: CompiledBrand,
        why: tuple[Match, ...],
    ) -> SocialEvent:
        sense = self._sense(said.draft, words, brand)
        return _social_event(message, said, words, entry, brand, why, sense)


def _social_output(message: Message, event: SocialEvent, ordinal: int) -> Output:
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


def _text(draft: SocialDraft, lang: Lang | None) -> Text:
    return Text(draft.text or "", draft.kind, lang.code if lang is not None else None)


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


def _signals_output(brand: str, value: bytes, partition: int, now: datetime) -> Output:
    identity = f"signals/{brand}/{partition}/{hash64(value.decode())}"
    return Output(
        topic=Topic.BRAND_SIGNALS,
        key=brand.encode(),
        value=value,
        headers=ce_headers(
            Topic.BRAND_SIGNALS,
            event_id=identity,
            source=SOURCE,
            subject=brand,
            time=now,
            trace=trace_id(identity),
        ),
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
    said: _Said,
    document: RuleDocument,
    tracking: Collection[str],
    entry: DirectoryEntry | None,
    only: Collection[str] | None,
) -> Iterable[tuple[str, tuple[Match, ...]]]:
    """Yield (brand, why); who heard the object before hears whatever happens to it."""
    before = entry.brands if entry is not None else {}
    for name, brand in world.brands.items():
        if only is not None and name not in only:
            continue
        why = reasons_to_hear(brand, said.draft, said.raw, document, tracking)
        if not why and name in before:
            why = (Match(how="directory"),)
        if why:
            yield name, why


def _directory_entry(
    case: _Case,
    whole: _Said,
    conversation: str,
    threading: str,
    hearing: Mapping[str, tuple[Match, ...]],
    *,
    mark: bool,
) -> DirectoryEntry:
    raw, draft, entry = whole.raw, whole.draft, case.entry
    own = Contribution(revision=raw.revision, offset=case.message.offset, content=case.said.content)
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
            content_hash=whole.content,
            deleted=True if draft.change == "deleted" else None,
            kind=draft.kind,
        )
    newest = raw.revision >= entry.revision
    contributions, since = entry.contributions, entry.since
    late = {name: case.message.offset for name in brands if name not in entry.brands}
    if late:
        since = {**(since or {}), **late}
    if mark:
        contributions = sorted([*contributions, own], key=lambda one: one.offset)[-CONTRIBUTIONS:]
    return msgspec.structs.replace(
        entry,
        revision=max(raw.revision, entry.revision),
        brands={**entry.brands, **{name: brands[name] for name in late}},
        since=since,
        contributions=contributions,
        content_hash=whole.content if newest else entry.content_hash,
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
    words: _Words,
    entry: DirectoryEntry,
    brand: CompiledBrand,
    why: tuple[Match, ...],
    sense: Sense | None,
) -> SocialEvent:
    raw, draft = said.raw, said.draft
    author = draft.author
    direction = direction_of(draft, brand, channel=raw.channel)
    found = enrich(brand, draft, words.document, direction, sense)
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
        origin=_origin(message, raw),
        direction=direction,
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
        text_public=found.text_public,
        lang=words.lang,
        signature=found.signature,
        enrichment=found.enrichment,
        media=list(draft.media) or None,
        links=list(draft.links) or None,
        hashtags=list(draft.hashtags) or None,
        mentions=list(draft.mentions) or None,
        metrics=draft.metrics or None,
        reply=_reply(raw, draft),
        url=draft.url,
        index=entry.index,
        content_hash=said.content,
        fingerprint=words.fingerprint,
        mapping=draft.mapping,
        config_version=brand.version,
    )


def _origin(message: Message, raw: RawEvent) -> Origin:
    return Origin(
        topic=message.topic, partition=message.partition, offset=message.offset, mode=raw.mode
    )


def _reply(raw: RawEvent, draft: SocialDraft) -> Reply:
    return Reply(channel=raw.channel or raw.connector, target=raw.object_id, permalink=draft.url)
