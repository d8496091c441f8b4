"""What understand and its thread stage share: dedupe, hearing, enriching, telling (port `Logic`).

An object is known by its entry, an event by its mark key and the sightings of its revision. Where
these are kept, which conversation an object belongs to, and what is written to remember it, each of
the two stages says for itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import msgspec

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import (
    Message,
    Output,
    SourcePosition,
    ce_headers,
    trace_id,
    trace_of,
)
from klingel.contracts.partition import conversation_key
from klingel.contracts.suppressions import suppression_output
from klingel.contracts.topics import Topic
from klingel.domain.copies import comparable
from klingel.domain.dedupe import (
    Known,
    Sighting,
    content_at,
    content_bits,
    first_offset,
    merge_drafts,
    other_contents,
    relate,
)
from klingel.domain.direction import addressing_of, direction_of
from klingel.domain.draft import SocialDraft
from klingel.domain.enrichment import enrich
from klingel.domain.erasure import Suppressed, author_name
from klingel.domain.hearing import reasons_to_hear, rule_document
from klingel.domain.identity import content_hash, event_id, hash64, index_month
from klingel.domain.identity_links import (
    Customers,
    join,
    link_key,
    links_of,
    named_by,
    naming,
    native_of,
)
from klingel.domain.matching import RuleDocument
from klingel.domain.media import media_job
from klingel.domain.signals import is_packed, pack, records, row_of
from klingel.domain.threading import refer
from klingel.errors import InvalidMessage
from klingel.language.identify import Detector, identify_language
from klingel.language.sense import Reader, Sense, Text
from klingel.model import (
    CaseCommand,
    DirectoryEntry,
    IdentityLink,
    MediaJob,
    RawEvent,
    SocialEvent,
)
from klingel.model.directory_entry import Contribution
from klingel.model.raw_event import BlobRef
from klingel.model.social_event import Lang, Match, Origin, Reply
from klingel.stage.batch import Coordinates
from klingel.stage.fates import Fate, Outcome, Put
from klingel.stage.ports import StateView
from klingel_networks.completion import ASKED_BY_ID
from klingel_networks.contract import Network

CONTRIBUTIONS = 8
"""Contents of one revision that are merged; a further one completes nothing."""
AHEAD_BYTES = 16_384
"""Larger events are not read ahead, nor are stored originals: a batch would fill the memory."""
REVISION_DIGITS = 13  # of 2^42 - 1


@dataclass(frozen=True, slots=True)
class World:
    """What understand knows beside its own state; replaced whole when configuration changes.

    Attributes:
        brands: compiled brands, by name.
        tracking: conversation to the brands with an open case in it.
        customers: which ids are one customer.
        suppressed: who and what was erased.
    """

    brands: Mapping[str, CompiledBrand]
    tracking: Mapping[str, Collection[str]]
    customers: Customers = field(default_factory=Customers)
    suppressed: Suppressed = field(default_factory=Suppressed)


def _is_erased(suppressed: Suppressed, said: "Said") -> bool:
    """Whether an event was erased before it came; what takes words away always passes."""
    raw, draft = said.raw, said.draft
    if draft.change == "deleted":
        return False
    author = None if draft.author is None else author_name(raw.network, draft.author.id)
    return suppressed.holds(raw.object_id, author, draft.published_at, raw.received_at)


@dataclass(frozen=True, slots=True)
class Said:
    """A raw event in our words."""

    raw: RawEvent
    draft: SocialDraft
    content: str
    others: Sequence[tuple[int, "Said"]] = ()
    """Of a merge: where the other contents were seen first, and what they say."""


class Words(NamedTuple):
    """What is found in a text, once for all brands that hear it; `senses` by model."""

    lang: Lang | None
    fingerprint: str | None
    document: RuleDocument
    senses: dict[str, Sense]


class Ahead(NamedTuple):
    """What was read of an event ahead of its step."""

    said: Said
    lang: Lang | None
    senses: dict[str, Sense]


class Sightings(NamedTuple):
    """Of a revision of an object: where this event of it was seen first, and all that was seen."""

    offset: int
    seen: Sequence[Sighting]


class Place(NamedTuple):
    """The conversation of an object, what names it, and the brands with an open case in it."""

    conversation: str
    threading: str
    tracking: Collection[str]


@dataclass(frozen=True, slots=True)
class Case:
    """A raw event beside what is known of its object.

    Attributes:
        message: the event as read.
        said: the event in our words.
        ahead: what was read ahead of it.
        entry: of its object; None where nobody knows it.
        key: mark key of its revision.
        offset: where it was seen first.
        seen: of its revision.
        state: local state.
        placed: conversation, where it is decided before the event is told.
    """

    message: Message
    said: Said
    ahead: Ahead | None
    entry: DirectoryEntry | None
    key: bytes
    offset: int
    seen: Sequence[Sighting]
    state: StateView
    placed: Place | None = None


class Customer(NamedTuple):
    """Whose an event is, of the ids that are one customer.

    Attributes:
        brand: that owns the account; what it knows of its customers is nobody else's.
        present: id under which the event names him.
        named: id that names him in its conversation.
        oldest: id that names him from now on.
        others: conversations that were named by his other ids, with these.
        news: links that are not known yet.
    """

    brand: str
    present: str
    named: str
    oldest: str
    others: Mapping[str, str]
    news: Sequence[IdentityLink]


class Told(NamedTuple):
    """An event that is told.

    Args:
        whole: what it says.
        place: its conversation.
        after: what is known of its object from now on.
        hearing: brands that hear it.
        mark: whether it is to be remembered.
    """

    whole: Said
    place: Place
    after: DirectoryEntry
    hearing: frozenset[str]
    mark: bool


class Remembered(NamedTuple):
    """What remembers an event: records, changes of local state, packed rows."""

    outputs: tuple[Output, ...] = ()
    puts: tuple[Put, ...] = ()
    rows: tuple[bytes, ...] = ()


class HearingLogic(ABC):
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

    name: str
    inputs: tuple[Topic, ...]
    tables: Mapping[str, Topic]
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
        self._ahead: dict[int, Ahead] = {}

    # -- what a stage says for itself --------------------------------------------------------

    @abstractmethod
    def sightings(
        self, message: Message, object_id: str, revision: int, state: StateView
    ) -> Sightings:
        """Return what was seen of a revision."""

    @abstractmethod
    def case(
        self, message: Message, said: Said, ahead: Ahead | None, state: StateView, now: datetime
    ) -> Case:
        """Return an event beside what is known of its object; raises NotYet where it must wait."""

    @abstractmethod
    def place(self, case: Case, whole: Said) -> Place:
        """Return the conversation of an event that is told."""

    @abstractmethod
    def deleted_before(self, case: Case) -> tuple[int, int] | None:
        """Return (offset, revision) of a deletion that came before the object was ever seen."""

    @abstractmethod
    def unheard(
        self, case: Case, reason: str, *, heard: bool = False, deletion: bool = False
    ) -> Outcome:
        """Discard an event, and remember it; `heard` where its content was heard before."""

    @abstractmethod
    def remember(self, case: Case, told: Told, ordinal: int) -> Remembered:
        """Return what remembers an event that was told; the records count on from `ordinal`."""

    @property
    def world(self) -> World:
        """What is known beside local state."""
        return self._world()

    def origin(self, message: Message) -> Coordinates:
        """Return where an event lies as its connector wrote it."""
        return message.topic, message.partition, message.offset

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
        at, seen = self.sightings(message, object_id, int(digits), state)
        if all(sighting.offset == at for sighting in seen):
            return []
        own = content_at(seen, at)
        if own is None:
            own = content_bits(self.said(message).content)
        return [(self.inputs[0], self._partition, offset) for offset in other_contents(seen, own)]

    def look_over(self, messages: Sequence[Message]) -> None:
        """Read the events of a batch, then their languages, then what each model makes of them.

        The detector's tables are as large as the processor's cache: detecting between all the other
        work of each event takes twice as long. Models read many texts at once at half the cost.
        """
        self._ahead = {}
        read: dict[int, Said] = {}
        # Whatever raises here raises in the step too, and there the message gets its fate.
        for message in messages:
            if len(message.value or b"") <= AHEAD_BYTES:
                with suppress(Exception):
                    raw = codec.decode(RawEvent, message.value)
                    if raw.native is not None:
                        read[message.offset] = self._said_by(raw)
        for offset, said in read.items():
            with suppress(Exception):
                self._ahead[offset] = Ahead(said, self._language(said.draft), {})
        for model in {brand.model for brand in self.world.brands.values()}:
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
        now: datetime,
        history: Mapping[Coordinates, Message],
    ) -> Outcome:
        """Decide one raw event; raises InvalidMessage and NotYet."""
        ahead = self._ahead.pop(message.offset, None)
        said = self.said(message) if ahead is None else ahead.said
        outcome = self.decide(self.case(message, said, ahead, state, now), history)
        return self._erasing(said, outcome) if said.draft.erases else outcome

    def _erasing(self, said: Said, outcome: Outcome) -> Outcome:
        """Return the outcome of a demand for erasure, with the record that begins it.

        It begins whatever else becomes of the demand: a network may tell it twice, and it is read
        again in every replay.
        """
        raw, draft, suppressed = said.raw, said.draft, self.world.suppressed
        if draft.author is None:
            return outcome
        if not suppressed.has_key and outcome.fate is Fate.DISCARDED:
            return msgspec.structs.replace(outcome, reason="erasure_without_key")
        told = draft.published_at or draft.changed_at or raw.received_at
        at = min(told, raw.received_at)
        record = suppressed.demanded(author_name(raw.network, draft.author.id), at)
        if record is None:
            return outcome
        begun = suppression_output(record, self.source)
        return msgspec.structs.replace(outcome, outputs=(*outcome.outputs, begun))

    def decide(self, case: Case, history: Mapping[Coordinates, Message]) -> Outcome:
        """Decide an event by how it relates to what was seen of its revision."""
        said, bits = case.said, content_bits(case.said.content)
        if self.world.suppressed and _is_erased(self.world.suppressed, said):
            return self.discard(said, "erased")
        known = relate(case.seen, case.offset, bits)
        # Marks are kept for a shorter time than the directory: known is what either remembers.
        if said.raw.mode == "remap" and (known is not Known.NEW or case.entry is not None):
            known = Known.REPLAY
        if known is Known.REPLAY:
            return self._replay(case, history)
        lost = self.lost(case)
        if lost is not None:
            return lost
        if known is Known.NEW:
            # What completes an event that nobody remembers would overwrite it by an empty one.
            whole = None if said.draft.only_media else said
        else:
            whole = self._whole(case, bits, history)
        if known is Known.DUPLICATE:
            return self._duplicate(case, whole)
        if whole is None:
            return self.discard(said, "completes_nothing")
        return self._tell(case, whole)

    def tick(self, state: StateView, now: datetime, read_to: datetime | None) -> Sequence[Outcome]:
        """Return nothing: there are no timers."""
        del state, now, read_to
        return ()

    def batch_outputs(
        self, rows: Sequence[bytes], partition: int, now: datetime
    ) -> Sequence[Output]:
        """Return the batch's signals by brand, packed."""
        return [
            _signals_output(brand, value, partition, now, self.source)
            for brand, value in records(filter(is_packed, rows))
        ]

    @abstractmethod
    def restore(self, table: str, message: Message, state: StateView) -> Iterable[Put]:
        """Return what a mirrored record says of local state."""

    @property
    def source(self) -> str:
        """The `ce_source` of what this stage writes."""
        return f"klingel/{self.name}"

    # -- reading ---------------------------------------------------------------------------

    def said(self, message: Message) -> Said:
        """Read an event; raises InvalidMessage and, where its original is out of reach, RetryableError."""
        raw = codec.decode(RawEvent, message.value)
        if raw.native is None and raw.native_ref is not None:
            raw = msgspec.structs.replace(raw, native=msgspec.Raw(self._originals(raw.native_ref)))
        return self._said_by(raw)

    def _said_by(self, raw: RawEvent) -> Said:
        draft = self._networks(raw.network).to_social_event(raw)
        return Said(raw, draft, content_hash(draft))

    # -- the four relations ----------------------------------------------------------------

    def _replay(self, case: Case, history: Mapping[Coordinates, Message]) -> Outcome:
        """Say again what all contributions say, to those who heard it; leaves no mark."""
        said, offset = case.said, case.offset
        own = next((each for each in case.seen if each.offset == offset), None)
        if case.entry is None or (own is not None and not own.heard):
            return self.discard(said, self._unheard_reason(case, own))
        bits = content_bits(said.content) if own is None else own.content
        whole = self._whole(case, bits, history)
        if whole is None:
            if said.raw.mode != "remap":
                return self.discard(said, "completes_nothing")
            whole = said
        since, first = case.entry.since or {}, first_offset(case.seen, bits, offset)
        heard = [
            name
            for name in case.entry.brands
            if (at := since.get(name, 0)) <= first or at == offset
        ]
        return self._tell(case, whole, only=heard, mark=False)

    def lost(self, case: Case) -> Outcome | None:
        """Discard what tells of an object that nobody knows and that is, or was, deleted."""
        if case.entry is not None:
            return None
        if case.said.draft.change == "deleted":
            return self.unheard(case, "unknown_object", deletion=True)
        gone = self.deleted_before(case)
        if gone is not None and case.said.raw.revision <= gone[1]:
            return self.unheard(case, "deleted_before_seen")
        return None

    def _unheard_reason(self, case: Case, own: Sighting | None) -> str:
        """Return why nobody heard it the first time."""
        if own is None:
            return "not_heard"
        if own.deletion:
            return "unknown_object"
        gone = self.deleted_before(case)
        if gone is not None and gone[0] < own.offset:
            return "deleted_before_seen"
        return "not_heard"

    def _duplicate(self, case: Case, whole: Said | None) -> Outcome:
        """Match again for brands that do not hear the object yet; else it is one too many."""
        heard_by = frozenset(case.entry.brands) if case.entry is not None else frozenset()
        if whole is not None:
            outcome = self._tell(case, whole, heard_by=heard_by)
            if outcome.fate is Fate.DELIVERED:
                return outcome
        heard = any(sighting.heard for sighting in case.seen)
        return self.unheard(case, "duplicate" if heard else "not_heard", heard=heard)

    def _whole(self, case: Case, own: int, history: Mapping[Coordinates, Message]) -> Said | None:
        """Return what all contents of the revision say, None when one cannot be read any more."""
        offsets = other_contents(case.seen, own)
        if not offsets:
            return case.said
        if len(offsets) >= CONTRIBUTIONS:
            return None
        others = []
        for offset in offsets:
            other = history.get((self.inputs[0], self._partition, offset))
            if other is None:
                return None
            try:
                others.append((offset, self.said(other)))
            except InvalidMessage:  # it was valid once: its original is gone
                return None
        draft = merge_drafts([case.said.draft, *(each.draft for _, each in others)])
        return Said(_raw_of(case.said, others), draft, content_hash(draft), others)

    # -- outcomes --------------------------------------------------------------------------

    def discard(self, said: Said, reason: str) -> Outcome:
        """Discard an event without a trace of it."""
        return Outcome(Fate.DISCARDED, reason=reason, network=said.raw.network)

    def _tell(
        self,
        case: Case,
        whole: Said,
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
        world = self.world
        ahead = case.ahead if whole is case.said else None
        lang = self._language(whole.draft) if ahead is None else ahead.lang
        document = rule_document(whole.draft, raw.network, lang)
        customer, whole = self._customer(case, whole)
        place = self.place(case, whole)
        if only is None and entry is not None and entry.deleted:
            only = entry.brands  # nobody comes to know of what was deleted before
        hearing = dict(_hearing(world, whole, document, place.tracking, entry, only))
        new = {name: why for name, why in hearing.items() if name not in heard_by}
        if not new:
            return self.unheard(case, "not_heard") if mark else self.discard(whole, "not_heard")
        text = document.text
        fingerprint = comparable(text, document.terms).fingerprint if text else None
        words = Words(lang, fingerprint, document, {} if ahead is None else ahead.senses)
        after = entry_after(case, whole, place, hearing, mark=mark)
        events = [
            self._social_event(message, whole, words, after, world.brands[each], why, customer)
            for each, why in sorted(new.items())
        ]
        outputs = [
            _social_output(message, event, ordinal, self.source)
            for ordinal, event in enumerate(events)
        ]
        if customer is not None and customer.brand in new:
            outputs += self._linked(message, whole, place, customer, len(outputs))
        outputs += self._references(message, whole, events, len(outputs))
        outputs += self._media(case, whole, len(outputs))
        signals = [pack(each.brand, row) for each in events if (row := row_of(each)) is not None]
        told = Told(whole, place, after, frozenset(hearing), mark)
        remembered = self.remember(case, told, len(outputs))
        return Outcome(
            Fate.DELIVERED,
            network=raw.network,
            outputs=(*outputs, *remembered.outputs),
            puts=remembered.puts,
            rows=(*remembered.rows, *signals),
        )

    def _customer(self, case: Case, whole: Said) -> tuple[Customer | None, Said]:
        """Return whose an event is where its network has several ids for one, and the event so named.

        An object that is known stays where it is, and is his who names that conversation.
        """
        raw, draft = whole.raw, whole.draft
        brand = self._whose(whole) if draft.customer_ids else None
        if brand is None:
            return None, whole
        known = self.world.customers
        ids = draft.customer_ids
        news = [] if draft.lone_id else known.news(links_of(brand, ids, raw.received_at))
        if news:
            known = known.about(brand, [*news, *links_of(brand, ids, raw.received_at)])
        found = naming(known, brand, ids, draft.conversation_id)
        assert found is not None
        named = found.customer
        if case.entry is not None:
            conversation = case.entry.conversation_id
            named = named_by(known.ids_of(brand, named), conversation) or named
        target = draft.target
        if target == native_of(ids[0]):
            target = native_of(named)
        renamed = msgspec.structs.replace(draft, conversation_id=found.conversation, target=target)
        customer = Customer(brand, ids[0], named, found.customer, found.others, news)
        return customer, replace(whole, draft=renamed)

    def _whose(self, said: Said) -> str | None:
        """Return the brand whose customer an event names, None where that is not one alone.

        Of a lone id only a link that a person gave tells anything.
        """
        if not said.draft.lone_id:
            return self._owner(said)
        (own,) = said.draft.customer_ids
        knowing = [name for name in self.world.brands if self.world.customers.knows(name, own)]
        if len(knowing) > 1:
            owner = self._owner(said)
            return owner if owner in knowing else None
        return knowing[0] if knowing else None

    def _owner(self, said: Said) -> str | None:
        """Return the brand whose account an event came through, None where it is not one alone."""
        raw, draft = said.raw, said.draft
        owners = [
            name
            for name, brand in self.world.brands.items()
            if brand.hears_channel(raw.network, raw.channel)
            or brand.hears_channel(raw.network, draft.target)
            or brand.owns(raw.network, draft.target)
        ]
        return owners[0] if len(owners) == 1 else None

    def _linked(
        self, message: Message, said: Said, place: Place, customer: Customer, ordinal: int
    ) -> list[Output]:
        """Return what follows of several ids: cases that go on as one, links; ordinals count on."""
        raw, brand = said.raw, customer.brand
        into = said.draft.conversation_id or place.conversation
        met = bool(customer.news)
        commands = [
            join(
                brand,
                conversation,
                other,
                into,
                customer.oldest,
                cause=raw.event_id,
                at=raw.received_at,
            )
            for conversation, other in customer.others.items()
            if conversation != into
            and (
                brand in self.world.tracking.get(conversation, ())
                or (met and self.world.customers.knows(brand, other))
            )
        ]
        return [
            *(
                _command_output(message, raw, command, ordinal + at, self.source)
                for at, command in enumerate(commands)
            ),
            *(_link_output(raw, each, self.source) for each in customer.news),
        ]

    def _references(
        self, message: Message, said: Said, events: Sequence[SocialEvent], ordinal: int
    ) -> list[Output]:
        """Return what names the conversation that a customer refers to without being part of it.

        Care may read it before the event that opens the case, and then refuses it; the event itself
        tells it all the same, and whatever else refers there is told again.
        """
        raw, draft = said.raw, said.draft
        if draft.refers_to is None or draft.refers_to_customer is None:
            return []
        other = (draft.refers_to, draft.refers_to_customer)
        commands = [
            refer(
                each.brand,
                each.conversation_id,
                each.customer_id,
                other,
                cause=raw.event_id,
                at=raw.received_at,
            )
            for each in events
            if each.direction == "inbound" and each.customer_id is not None
        ]
        return [
            _command_output(message, raw, command, ordinal + at, self.source)
            for at, command in enumerate(commands)
        ]

    def _media(self, case: Case, whole: Said, ordinal: int) -> list[Output]:
        """Return the job for the media that this event is the first to tell; a replay has the same."""
        raw, offset = whole.raw, case.offset
        if raw.mode == "remap" or whole.draft.change == "deleted" or case.said.draft.only_media:
            return []
        own = content_at(case.seen, offset)
        heard = {each.content for each in case.seen if each.heard and each.offset < offset}
        if (content_bits(case.said.content) if own is None else own) in heard:
            return []
        before = [(content_at(case.seen, at), each) for at, each in whole.others if at < offset]
        asked = [medium for bits, each in before if bits in heard for medium in each.draft.media]
        told = [medium for bits, each in before if bits not in heard for medium in each.draft.media]
        entry = case.entry
        job = media_job(
            raw,
            whole.draft.kind,
            [*case.said.draft.media, *told],
            asked=asked,
            known=whole.draft.media,
            by_id=raw.network in ASKED_BY_ID,
            whole=case.said.draft.asked_by_id,
            gone=entry is not None and bool(entry.deleted) and raw.revision <= entry.revision,
        )
        return [] if job is None else [_job_output(case.message, job, ordinal, self.source)]

    def _language(self, draft: SocialDraft) -> Lang | None:
        if draft.text is None:
            return None
        return identify_language(draft.text, draft.langs, self._detect)

    def _sense(self, draft: SocialDraft, words: Words, brand: CompiledBrand) -> Sense | None:
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

    def _with_policy(self, event: SocialEvent, said: Said, brand: CompiledBrand) -> SocialEvent:
        """Return the event with what its network's rule says of a program's reply to it."""
        rule = self._networks(event.network).reply_policy
        if rule is None or event.direction != "inbound" or event.author is None:
            return event
        policy = rule(said.draft, brand.accounts.get(event.network, frozenset()))
        if policy is None or event.reply is None:
            return event
        return msgspec.structs.replace(
            event, reply=msgspec.structs.replace(event.reply, policy=policy)
        )

    def _social_event(
        self,
        message: Message,
        said: Said,
        words: Words,
        entry: DirectoryEntry,
        brand: CompiledBrand,
        why: tuple[Match, ...],
        customer: Customer | None,
    ) -> SocialEvent:
        sense = self._sense(said.draft, words, brand)
        origin = self.origin(message)
        event = _social_event(origin, said, words, entry, brand, why, sense)
        event = self._with_policy(event, said, brand)
        if customer is None or customer.brand != brand.brand:
            return event
        if event.customer_id != customer.present:
            return event
        return msgspec.structs.replace(event, customer_id=customer.named)


def _raw_of(said: Said, others: Sequence[tuple[int, Said]]) -> RawEvent:
    """Return the raw event that a merge is told as: never as the media worker's, if it can be helped.

    Who heard the event, when and through which account is how it may be answered.
    """
    if not said.draft.only_media:
        return said.raw
    return next((each.raw for _, each in others if not each.draft.only_media), said.raw)


def _social_output(message: Message, event: SocialEvent, ordinal: int, source: str) -> Output:
    return Output(
        topic=Topic.SOCIAL_EVENTS,
        key=event.event_id.encode(),
        value=codec.encode(event),
        headers=ce_headers(
            Topic.SOCIAL_EVENTS,
            event_id=event.event_id,
            source=source,
            subject=event.object_id,
            time=event.received_at,
            trace=trace_of(message, event.object_id),
            caused_by=SourcePosition(message.topic, message.partition, message.offset, ordinal),
        ),
        partition_key=conversation_key(event.brand, event.conversation_id),
    )


def _command_output(
    message: Message, raw: RawEvent, command: CaseCommand, ordinal: int, source: str
) -> Output:
    return Output(
        topic=Topic.CASE_COMMANDS,
        key=command.command_id.encode(),
        value=codec.encode(command),
        headers=ce_headers(
            Topic.CASE_COMMANDS,
            event_id=command.command_id,
            source=source,
            subject=command.conversation_id,
            time=command.at,
            trace=trace_id(raw.object_id),
            caused_by=SourcePosition(message.topic, message.partition, message.offset, ordinal),
        ),
        partition_key=conversation_key(command.brand, command.conversation_id),
    )


def _link_output(raw: RawEvent, known: IdentityLink, source: str) -> Output:
    key = link_key(known)
    return Output(
        topic=Topic.IDENTITY_LINKS,
        key=key,
        value=codec.encode(known),
        headers=ce_headers(
            Topic.IDENTITY_LINKS,
            event_id=key.decode(),
            source=source,
            subject=key.decode(),
            time=known.first_seen,
            trace=trace_id(raw.object_id),
        ),
    )


def _job_output(message: Message, job: MediaJob, ordinal: int, source: str) -> Output:
    return Output(
        topic=Topic.MEDIA_JOBS,
        key=job.object_id.encode(),
        value=codec.encode(job),
        headers=ce_headers(
            Topic.MEDIA_JOBS,
            event_id=f"{event_id(job.object_id, job.revision)}#0",
            source=source,
            subject=job.object_id,
            time=job.requested_at,
            trace=trace_of(message, job.object_id),
            caused_by=SourcePosition(message.topic, message.partition, message.offset, ordinal),
        ),
    )


def _text(draft: SocialDraft, lang: Lang | None) -> Text:
    return Text(draft.text or "", draft.kind, lang.code if lang is not None else None)


def _signals_output(brand: str, value: bytes, partition: int, now: datetime, source: str) -> Output:
    identity = f"signals/{brand}/{partition}/{hash64(value.decode())}"
    return Output(
        topic=Topic.BRAND_SIGNALS,
        key=brand.encode(),
        value=value,
        headers=ce_headers(
            Topic.BRAND_SIGNALS,
            event_id=identity,
            source=source,
            subject=brand,
            time=now,
            trace=trace_id(identity),
        ),
    )


def _hearing(
    world: World,
    said: Said,
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


def entry_after(
    case: Case,
    whole: Said,
    place: Place,
    hearing: Mapping[str, tuple[Match, ...]],
    *,
    mark: bool,
) -> DirectoryEntry:
    """Return what is known of an object once these brands have heard this event of it."""
    raw, draft, entry = whole.raw, whole.draft, case.entry
    own = Contribution(revision=raw.revision, offset=case.offset, content=case.said.content)
    brands = {name: str(why[0].how) for name, why in hearing.items()}
    if entry is None:
        return DirectoryEntry(
            object_id=raw.object_id,
            revision=raw.revision,
            index=index_month(draft.published_at, raw.received_at),
            conversation_id=place.conversation,
            threading=place.threading,  # type: ignore[arg-type] # one of the schema's words
            brands=brands,
            contributions=[own],
            content_hash=whole.content,
            deleted=True if draft.change == "deleted" else None,
            kind=draft.kind,
        )
    newest = raw.revision >= entry.revision
    contributions, since = entry.contributions, entry.since
    late = {name: case.offset for name in brands if name not in entry.brands}
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


def _social_event(
    origin: Coordinates,
    said: Said,
    words: Words,
    entry: DirectoryEntry,
    brand: CompiledBrand,
    why: tuple[Match, ...],
    sense: Sense | None,
) -> SocialEvent:
    raw, draft = said.raw, said.draft
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
        origin=Origin(topic=origin[0], partition=origin[1], offset=origin[2], mode=raw.mode),
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
        author=draft.author,
        customer_id=f"{raw.network}:{draft.author.id}" if draft.author else None,
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
        refers_to=draft.refers_to,
        natures=list(draft.natures) or None,
        reply=_reply(raw, draft),
        url=draft.url,
        index=entry.index,
        content_hash=said.content,
        fingerprint=words.fingerprint,
        mapping=draft.mapping,
        config_version=brand.version,
    )


def _reply(raw: RawEvent, draft: SocialDraft) -> Reply:
    return Reply(
        channel=raw.channel or raw.connector,
        target=raw.object_id,
        permalink=draft.url,
        window_until=draft.window_until,
    )
