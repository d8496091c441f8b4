"""What understand and its thread stage share: dedupe, hearing, enriching, telling (port `Logic`).

An object is known by its entry, an event by its mark key and the sightings of its revision. Where
these are kept, which conversation an object belongs to, and what is written to remember it, each of
the two stages says for itself. What follows from what is known is decided in `klingel.domain`
(`encounter`, `hearing`, `customer_of`, `media`, `social_events`); here it is looked up, put in its order
and written down.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import msgspec

from klingel.config.compiled import CompiledBrand
from klingel.contracts.envelope import (
    Message,
    Output,
    SourcePosition,
    ce_headers,
    trace_id,
    trace_of,
)
from klingel.contracts.outputs import command_output, link_output, media_job_output, social_output
from klingel.contracts.suppressions import suppression_output
from klingel.contracts.topics import Topic
from klingel.domain.customer_of import Customer, customer_of, joins, references
from klingel.domain.dedupe import Known, Sighting, content_at, content_bits, other_contents
from klingel.domain.encounter import (
    CONTRIBUTIONS,
    Encounter,
    Place,
    Said,
    demand_of,
    entry_after,
    heard_then,
    lost_because,
    relation_of,
    unheard_because,
)
from klingel.domain.erasure import Suppressed, erased_before
from klingel.domain.hearing import rule_document, who_hears
from klingel.domain.identity import hash64
from klingel.domain.identity_links import Customers
from klingel.domain.media import job_of
from klingel.domain.signals import is_packed, pack, records, row_of
from klingel.domain.social_events import Words, social_event, with_reply_policy
from klingel.errors import InvalidMessage
from klingel.language.identify import Detector
from klingel.language.sense import Reader, Sense
from klingel.model import CaseCommand, DirectoryEntry, RawEvent, SocialEvent
from klingel.model.raw_event import BlobRef
from klingel.model.social_event import Match, Origin
from klingel.stage.batch import Coordinates
from klingel.stage.fates import Fate, Outcome, Put
from klingel.stage.ports import StateView
from klingel_networks.contract import Network
from klingel_processors.understand.reading import Ahead, EventReader

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


class Hearing(NamedTuple):
    """One event while it is heard.

    Attributes:
        message: the event as read.
        encounter: the event beside what is known of its object.
        ahead: what was read ahead of it.
        key: mark key of its revision.
        state: local state.
        placed: conversation, where it is decided before the event is told.
    """

    message: Message
    encounter: Encounter
    ahead: Ahead | None
    key: bytes
    state: StateView
    placed: Place | None = None


class Sightings(NamedTuple):
    """Of a revision of an object: where this event of it was seen first, and all that was seen."""

    offset: int
    seen: Sequence[Sighting]


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
        self._reader = EventReader(
            networks=networks, detect=detect, readers=readers, originals=originals
        )
        self._world = world

    # -- what a stage says for itself --------------------------------------------------------

    @abstractmethod
    def sightings(
        self, message: Message, object_id: str, revision: int, state: StateView
    ) -> Sightings:
        """Return what was seen of a revision."""

    @abstractmethod
    def hearing(
        self, message: Message, said: Said, ahead: Ahead | None, state: StateView, now: datetime
    ) -> Hearing:
        """Return an event beside what is known of its object; raises NotYet where it must wait."""

    @abstractmethod
    def place(self, one: Hearing, whole: Said) -> Place:
        """Return the conversation of an event that is told."""

    @abstractmethod
    def deleted_before(self, one: Hearing) -> tuple[int, int] | None:
        """Return (offset, revision) of a deletion that came before the object was ever seen."""

    @abstractmethod
    def unheard(
        self, one: Hearing, reason: str, *, heard: bool = False, deletion: bool = False
    ) -> Outcome:
        """Discard an event, and remember it; `heard` where its content was heard before."""

    @abstractmethod
    def remember(self, one: Hearing, told: Told, ordinal: int) -> Remembered:
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
        """Read ahead what can be read of a whole batch at once."""
        models = {brand.model for brand in self.world.brands.values()}
        self._reader.read_ahead(messages, [model for model in models if model is not None])

    def step(
        self,
        message: Message,
        state: StateView,
        now: datetime,
        history: Mapping[Coordinates, Message],
    ) -> Outcome:
        """Decide one raw event; raises InvalidMessage and NotYet."""
        ahead = self._reader.taken(message)
        said = self.said(message) if ahead is None else ahead.said
        outcome = self.decide(self.hearing(message, said, ahead, state, now), history)
        return self._erasing(said, outcome) if said.draft.erases else outcome

    def _erasing(self, said: Said, outcome: Outcome) -> Outcome:
        """Return the outcome of a demand for erasure, with the record that begins it.

        It begins whatever else becomes of the demand: a network may tell it twice, and it is read
        again in every replay.
        """
        suppressed = self.world.suppressed
        if said.draft.author is None:
            return outcome
        if not suppressed.has_key and outcome.fate is Fate.DISCARDED:
            return msgspec.structs.replace(outcome, reason="erasure_without_key")
        record = demand_of(said, suppressed)
        if record is None:
            return outcome
        begun = suppression_output(record, self.source)
        return msgspec.structs.replace(outcome, outputs=(*outcome.outputs, begun))

    def decide(self, one: Hearing, history: Mapping[Coordinates, Message]) -> Outcome:
        """Decide an event by how it relates to what was seen of its revision."""
        said, suppressed = one.encounter.said, self.world.suppressed
        if suppressed and erased_before(suppressed, said.raw, said.draft):
            return self.discard(said, "erased")
        known = relation_of(one.encounter)
        if known is Known.REPLAY:
            return self._replay(one, history)
        lost = self.lost(one)
        if lost is not None:
            return lost
        if known is Known.NEW:
            # What completes an event that nobody remembers would overwrite it by an empty one.
            whole = None if said.draft.only_media else said
        else:
            whole = self._whole(one.encounter, history)
        if known is Known.DUPLICATE:
            return self._duplicate(one, whole)
        if whole is None:
            return self.discard(said, "completes_nothing")
        return self._tell(one, whole)

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

    def said(self, message: Message) -> Said:
        """Read an event; raises InvalidMessage and, where its original is out of reach, RetryableError."""
        return self._reader.said(message)

    # -- the four relations ----------------------------------------------------------------

    def _replay(self, one: Hearing, history: Mapping[Coordinates, Message]) -> Outcome:
        """Say again what all contributions say, to those who heard it; leaves no mark."""
        encounter = one.encounter
        said, entry, own = encounter.said, encounter.entry, encounter.own
        if entry is None or (own is not None and not own.heard):
            return self.discard(said, unheard_because(own, self.deleted_before(one)))
        whole = self._whole(encounter, history)
        if whole is None:
            if said.raw.mode != "remap":
                return self.discard(said, "completes_nothing")
            whole = said
        return self._tell(one, whole, only=heard_then(encounter, entry), mark=False)

    def lost(self, one: Hearing) -> Outcome | None:
        """Discard what tells of an object that nobody knows and that is, or was, deleted."""
        if one.encounter.entry is not None:
            return None
        said = one.encounter.said
        reason = lost_because(said, self.deleted_before(one))
        if reason is None:
            return None
        return self.unheard(one, reason, deletion=said.draft.change == "deleted")

    def _duplicate(self, one: Hearing, whole: Said | None) -> Outcome:
        """Match again for brands that do not hear the object yet; else it is one too many."""
        entry = one.encounter.entry
        if whole is not None:
            heard_by = frozenset(entry.brands) if entry is not None else frozenset()
            outcome = self._tell(one, whole, heard_by=heard_by)
            if outcome.fate is Fate.DELIVERED:
                return outcome
        heard = any(sighting.heard for sighting in one.encounter.seen)
        return self.unheard(one, "duplicate" if heard else "not_heard", heard=heard)

    def _whole(self, encounter: Encounter, history: Mapping[Coordinates, Message]) -> Said | None:
        """Return what all contents of the revision say, None when one cannot be read any more.

        What withholds the words needs none of the others: it takes them away, however late it comes.
        """
        offsets = other_contents(encounter.seen, encounter.bits)
        if not offsets:
            return encounter.said
        alone = encounter.said if encounter.said.draft.withheld else None
        if len(offsets) >= CONTRIBUTIONS:
            return alone
        others = []
        for offset in offsets:
            other = history.get((self.inputs[0], self._partition, offset))
            if other is None:
                return alone
            try:
                others.append((offset, self.said(other)))
            except InvalidMessage:  # it was valid once: its original is gone
                return alone
        return Said.merged(encounter.said, others)

    # -- outcomes --------------------------------------------------------------------------

    def discard(self, said: Said, reason: str) -> Outcome:
        """Discard an event without a trace of it."""
        return Outcome(Fate.DISCARDED, reason=reason, network=said.raw.network)

    def _tell(
        self,
        one: Hearing,
        whole: Said,
        *,
        heard_by: frozenset[str] = frozenset(),
        only: Collection[str] | None = None,
        mark: bool = True,
    ) -> Outcome:
        """Emit one social event for each brand that hears it.

        Args:
            one: the raw event.
            whole: what is told: it, or the merge with its other contents.
            heard_by: brands that have it already.
            only: brands that may hear it; None for all.
            mark: whether to remember it.
        """
        encounter, raw, world = one.encounter, whole.raw, self.world
        entry = encounter.entry
        ahead = one.ahead if whole is encounter.said else None
        lang = self._reader.language(whole.draft) if ahead is None else ahead.lang
        document = rule_document(whole.draft, raw.network, lang)
        customer, draft = customer_of(world.brands, world.customers, raw, whole.draft, entry)
        whole = whole if customer is None else replace(whole, draft=draft)
        place = self.place(one, whole)
        if only is None and entry is not None and entry.deleted:
            only = entry.brands  # nobody comes to know of what was deleted before
        before = entry.brands if entry is not None else ()
        hearing = dict(
            who_hears(world.brands, draft, raw, document, place.tracking, before=before, only=only)
        )
        new = {name: why for name, why in hearing.items() if name not in heard_by}
        if not new:
            return self.unheard(one, "not_heard") if mark else self.discard(whole, "not_heard")
        words, senses = Words.of(document, lang), {} if ahead is None else ahead.senses
        told = Told(
            whole,
            place,
            entry_after(encounter, whole, place, hearing, mark=mark),
            frozenset(hearing),
            mark,
        )
        events = [
            self._social_event(one, told, words, senses, world.brands[name], why, customer)
            for name, why in sorted(new.items())
        ]
        outputs = self._outputs(one, told, events, customer)
        signals = [pack(each.brand, row) for each in events if (row := row_of(each)) is not None]
        remembered = self.remember(one, told, len(outputs))
        return Outcome(
            Fate.DELIVERED,
            network=raw.network,
            outputs=(*outputs, *remembered.outputs),
            puts=remembered.puts,
            rows=(*remembered.rows, *signals),
        )

    def _social_event(
        self,
        one: Hearing,
        told: Told,
        words: Words,
        senses: dict[str, Sense],
        brand: CompiledBrand,
        why: tuple[Match, ...],
        customer: Customer | None,
    ) -> SocialEvent:
        whole, (topic, partition, offset) = told.whole, self.origin(one.message)
        event = social_event(
            whole,
            words,
            told.after,
            brand,
            why,
            origin=Origin(topic=topic, partition=partition, offset=offset, mode=whole.raw.mode),
            sense=self._reader.sense(whole.draft, words.lang, brand, senses),
            customer=customer,
        )
        rule = self._reader.reply_policy(event.network)
        return with_reply_policy(event, whole.draft, rule, brand)

    def _outputs(
        self, one: Hearing, told: Told, events: Sequence[SocialEvent], customer: Customer | None
    ) -> list[Output]:
        """Return what is written of an event: what brands hear, what follows for cases, its media."""
        message, whole, world = one.message, told.whole, self.world
        raw, draft = whole.raw, whole.draft
        trace = trace_of(message, raw.object_id)
        outputs: list[Output] = []
        for event in events:
            at = caused_by(message, len(outputs))
            outputs.append(social_output(event, self.source, trace=trace, caused_by=at))
        if customer is not None and any(each.brand == customer.brand for each in events):
            into = draft.conversation_id or told.place.conversation
            commands = joins(customer, world.customers, world.tracking, into, raw)
            outputs += self.commanded(message, raw, commands, len(outputs))
            outputs += [
                link_output(each, self.source, about=raw.object_id) for each in customer.news
            ]
        commands = references(raw, draft, events)
        outputs += self.commanded(message, raw, commands, len(outputs))
        job = job_of(one.encounter, whole, by_id=self._reader.has_media_by_id(raw.network))
        if job is not None:
            at = caused_by(message, len(outputs))
            outputs.append(
                media_job_output(job, self.source, time=job.requested_at, trace=trace, caused_by=at)
            )
        return outputs

    def commanded(
        self, message: Message, raw: RawEvent, commands: Sequence[CaseCommand], ordinal: int
    ) -> list[Output]:
        """Return the records of what is commanded because of an event; ordinals count on."""
        return [
            command_output(
                command,
                self.source,
                about=raw.object_id,
                caused_by=caused_by(message, ordinal + at),
            )
            for at, command in enumerate(commands)
        ]


def caused_by(message: Message, ordinal: int) -> SourcePosition:
    """Return the position of a record that a message causes, as the so manieth."""
    return SourcePosition(message.topic, message.partition, message.offset, ordinal)


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
