"""The decisions of watch, for one partition of `brand-signals` (port `Logic`).

One local table, `state`, mirrors `watch-state`: a brand's snapshot, the rows since then and the
posts among which incidents are looked for (`klingel_processors.watch.memory`). What a brand's rows
come to is remembered in this process; what is stored of it is written at the end of a batch, of many
small brands together (`klingel_processors.watch.shared`). Whenever a batch is not committed, the
partition is opened anew with another logic.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache, partial

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import (
    Headers,
    Message,
    Output,
    SourcePosition,
    ce_headers,
    timer_headers,
    trace_id,
)
from klingel.contracts.topics import Topic
from klingel.domain.alerting import AlertPolicy
from klingel.domain.erasure import Suppressed
from klingel.domain.incidents import IncidentRules
from klingel.domain.silences import Connector, Gap, SilenceRules
from klingel.errors import ErrorType, InvalidMessage, InvariantViolation, SourceUnavailable
from klingel.model import WatchState
from klingel.stage.batch import Coordinates
from klingel.stage.fates import Fate, Outcome, Put
from klingel.stage.ports import StateView
from klingel_processors.watch.memory import BrandMemory, Rules, Says, Stored
from klingel_processors.watch.records import Spare, records
from klingel_processors.watch.rows import Told, read
from klingel_processors.watch.shared import LEAST_BRANDS, Batches, Happened, batch_key

NAME = "watch"
SOURCE = f"klingel/{NAME}"
STATE = "state"
TICK_SECONDS = 5.0
"""How often time alone is looked at, a brand."""
BRANDS_A_TICK = 100
"""Brands of which one tick tells something."""
LOADED_A_TICK = 20
"""Brands that one tick reads back after a start."""
_CONFIG_LAG = timedelta(seconds=60)
_PIECES = 1_000_000
NO_RULES = Rules("", AlertPolicy(), IncidentRules(), SilenceRules())
"""Of a brand that is none any more: its rows are stored as they came."""
_FATES = {
    "new": (Fate.DELIVERED, ""),
    "repeated": (Fate.REPEATED, "known_rows"),
    "late": (Fate.DISCARDED, "too_late"),
}
_LETTER = {"snapshot": "s", "rows": "r", "posts": "p"}
_trace_of = lru_cache(10_000)(trace_id)
"""Every record of a brand's state has the brand's."""


class WatchLogic:
    """Decides the signals of one partition, and what time makes of its brands.

    Args:
        partition: number of the partition.
        brands: current brands, by name.
        connectors: what those that listen say of themselves; asked at every tick.
        gaps: what their ledger says they did not hear; asked at every tick.
        suppressed: who and what was erased: no example of an alert or incident.
    """

    name = NAME
    inputs: tuple[Topic, ...] = (Topic.BRAND_SIGNALS,)
    tables: Mapping[str, Topic] = {STATE: Topic.WATCH_STATE}
    wants_time = True

    def __init__(
        self,
        partition: int,
        *,
        brands: Callable[[], Mapping[str, CompiledBrand]],
        connectors: Callable[[], Sequence[Connector]] = tuple,
        gaps: Callable[[], Sequence[Gap]] = tuple,
        suppressed: Suppressed | None = None,
    ) -> None:
        self._partition = partition
        self._brands = brands
        self._connectors = connectors
        self._gaps = gaps
        self._spare = (Suppressed() if suppressed is None else suppressed).spared
        self._memories: dict[str, BrandMemory] = {}
        self._rules: dict[str, Rules] = {}
        self._read: dict[int, Told] = {}
        self._batches = Batches()
        self._touched: dict[str, None] = {}
        self._caused: tuple[Message, int] | None = None
        """The newest message that was decided, and how many records it causes."""
        self._load_from: bytes | None = b"s|"

    # -- port Logic ------------------------------------------------------------------------

    def source_of(self, message: Message) -> str:
        """Return the stage that told it, as its `ce_source` ends."""
        source = (message.header("ce_source") or b"").decode("utf-8", "replace")
        return source.rpartition("/")[2]

    def needs(self, message: Message, state: StateView) -> Sequence[Coordinates]:
        """Return nothing: what is remembered suffices."""
        del message, state
        return ()

    def look_over(self, messages: Sequence[Message]) -> None:
        """Read the records of a batch."""
        self._read, self._touched = {}, {}
        for message in messages:
            # What is wrong with it is said by its step.
            with suppress(InvalidMessage):
                signals = read(message.value)
                self._read[message.offset] = signals

    def step(
        self,
        message: Message,
        state: StateView,
        now: datetime,
        history: Mapping[Coordinates, Message],
    ) -> Outcome:
        """Decide one record of rows; raises InvalidMessage."""
        del history
        signals = self._read.pop(message.offset, None) or read(message.value)
        assert message.value is not None
        brand = self._brand(signals.brand, message, now)
        try:
            memory = self._memory(brand, state)
            says, heard = memory.hear(message.value, signals.rows, now.timestamp())
        except Exception:
            self._forget(brand.brand)
            raise
        outputs: Sequence[Output] = ()
        if says:
            headers = partial(_message_headers, message, now)
            outputs = _said(says, brand, headers, self._spare)
        self._touched[brand.brand] = None
        self._caused = message, len(outputs)
        fate, reason = _FATES[heard]
        return Outcome(fate, reason=reason, outputs=tuple(outputs))

    def tick(self, state: StateView, now: datetime, read_to: datetime | None) -> Sequence[Outcome]:
        """Return what time makes of the brands, one outcome for each of which it makes something."""
        self._load_more(state)
        if read_to is None:
            return ()
        outcomes: list[Outcome] = []
        touched: dict[str, None] = {}
        at, read = now.timestamp(), read_to.timestamp()
        for name, memory in list(self._memories.items()):
            brand = self._brands().get(name)
            if brand is None or at - memory.ticked_at < TICK_SECONDS:
                continue
            memory.ticked_at = at
            says = self._pass_time(brand, memory, now, read)
            if says is None:
                continue
            touched[name] = None
            if says:
                headers = partial(_timer_headers, f"{name}.{int(read * 1000)}", now)
                outputs = _said(says, brand, headers, self._spare)
                outcomes.append(Outcome(Fate.DELIVERED, reason="time", outputs=tuple(outputs)))
            if len(touched) >= BRANDS_A_TICK:
                break
        if touched:
            headers = partial(_timer_headers, f"{self._partition}.{int(read * 1000)}", now)
            outputs = self._stored(touched, state, headers, 0)
            puts = _puts(outputs)
            stored = Outcome(Fate.DELIVERED, reason="time", outputs=tuple(outputs), puts=puts)
            outcomes.append(stored)
        return outcomes

    def batch_outputs(
        self, rows: Sequence[bytes], partition: int, now: datetime
    ) -> Sequence[Output]:
        """Return nothing: see `batch_state`."""
        del rows, partition, now
        return ()

    def batch_state(
        self, state: StateView, now: datetime
    ) -> tuple[Sequence[Output], Sequence[Put]]:
        """Return what is stored of the brands that a batch was about."""
        touched, self._touched = self._touched, {}
        if self._caused is None or not touched:
            return (), ()
        message, first = self._caused
        headers = partial(_message_headers, message, now)
        outputs = self._stored(touched, state, headers, first)
        return outputs, _puts(outputs)

    def restore(self, table: str, message: Message, state: StateView) -> Iterable[Put]:
        """Return what a record of `watch-state` says of local state."""
        del state
        if table != STATE or message.key is None:
            raise InvariantViolation("a record of watch-state has no key")
        yield Put(STATE, message.key, message.value)

    # -- brands ----------------------------------------------------------------------------

    def _brand(self, name: str, message: Message, now: datetime) -> CompiledBrand:
        brand = self._brands().get(name)
        if brand is not None:
            return brand
        # The broker's time: what a record says of its own may lie in the future.
        if now.timestamp() - message.timestamp_ms / 1000 < _CONFIG_LAG.total_seconds():
            raise SourceUnavailable("the brand's configuration has not arrived yet")
        raise InvalidMessage(
            ErrorType.UNKNOWN_BRAND, "no configuration is in force for the brand", path="brand"
        )

    def _memory(self, brand: CompiledBrand, state: StateView) -> BrandMemory:
        memory = self._memories.get(brand.brand)
        if memory is not None and memory.rules.version == brand.version:
            return memory
        rules = self._rules.get(brand.brand)
        if rules is None or rules.version != brand.version:
            rules = self._rules[brand.brand] = Rules.of(brand)
        if memory is None:
            memory = self._memories[brand.brand] = self._load(brand.brand, rules, state)
        memory.follow(rules)
        return memory

    def _load(self, brand: str, rules: Rules, state: StateView) -> BrandMemory:
        shared = self._batches.of(brand, state, STATE)
        memory = load(state, brand, rules, shared)
        if not memory.shares:
            self._batches.stored(brand, memory.number)
        return memory

    def _forget(self, brand: str) -> None:
        """Let a brand be read back from what is stored: what is remembered may be half of it."""
        self._memories.pop(brand, None)
        self._touched.pop(brand, None)
        self._batches.forget_read()

    def _load_more(self, state: StateView) -> None:
        """Read back brands of which no row has come since the start: their time passes too."""
        if self._load_from is None:
            return
        found = state.scan(STATE, self._load_from, b"s}", LOADED_A_TICK)
        for key, _ in found:
            brand = self._brands().get(key[2:].decode())
            if brand is not None:
                self._memory(brand, state)
        self._load_from = found[-1][0] + b"\0" if len(found) == LOADED_A_TICK else None
        if self._load_from is None:
            self._batches.forget_read()

    def _pass_time(
        self, brand: CompiledBrand, memory: BrandMemory, now: datetime, read_to: float
    ) -> list[Says] | None:
        """Return what time makes of a brand; None where nothing of it has to be stored either."""
        try:
            says = memory.pass_time(now.timestamp(), read_to, self._connectors(), self._gaps())
        except Exception:
            self._forget(brand.brand)
            raise
        return says if says or memory.has_news else None

    # -- state -----------------------------------------------------------------------------

    def _stored(
        self,
        touched: Iterable[str],
        state: StateView,
        headers: Callable[[int, Topic, str, str], Headers],
        first: int,
    ) -> list[Output]:
        """Return the records that bring what is stored of some brands up to date."""
        self._batches.open(state, STATE)
        memories = {name: self._memories[name] for name in touched}
        small = {name: memory for name, memory in memories.items() if not memory.is_due()}
        if len(small) < LEAST_BRANDS:
            small = {}
        pieces: list[tuple[str, Stored]] = []
        for name, memory in memories.items():
            if name not in small:
                pieces += self._pieces(name, memory)
        shared = [(name, memory.share()) for name, memory in small.items()]
        batches = self._batches.add((name, news) for name, news in shared if news)
        batches += self._batches.removed()
        while (oldest := self._batches.waits_for()) is not None:
            memory = self._memories.get(oldest) or self._unheard(oldest, state)
            pieces += self._pieces(oldest, memory)
            batches += self._batches.removed()
        pieces += [("", each) for each in batches]
        return [
            self._output(brand, piece, headers, ordinal)
            for ordinal, (brand, piece) in enumerate(pieces, first)
        ]

    def _pieces(self, name: str, memory: BrandMemory) -> list[tuple[str, Stored]]:
        """Return the pieces that a brand of its own stores, and that no batch need hold it."""
        pieces = memory.store(self._batches.number)
        self._batches.stored(name, memory.number)
        return [(name, each) for each in pieces]

    def _unheard(self, name: str, state: StateView) -> BrandMemory:
        """Return what is remembered of a brand that is not read back yet, or is none any more."""
        brand = self._brands().get(name)
        if brand is not None:
            return self._memory(brand, state)
        return self._load(name, NO_RULES, state)

    def _output(
        self,
        brand: str,
        piece: Stored,
        headers: Callable[[int, Topic, str, str], Headers],
        ordinal: int,
    ) -> Output:
        key = state_key(brand, piece)
        identity = f"{key}.{piece.number}" + ("" if piece.data is not None else ".removed")
        return Output(
            topic=Topic.WATCH_STATE,
            key=key.encode(),
            value=_state_value(brand, key, piece),
            headers=headers(ordinal, Topic.WATCH_STATE, identity, brand or NAME),
            partition=self._partition,
        )


def load(
    state: StateView, brand: str, rules: Rules, shared: Sequence[Happened] = ()
) -> BrandMemory:
    """Return what is remembered of a brand, as it is stored.

    Args:
        state: see `StateView`.
        brand: name of the brand.
        rules: of its configuration.
        shared: what batches hold for it.

    Raises:
        InvariantViolation: torn, or written by another version.
    """
    value = state.get(STATE, f"s|{brand}".encode())
    if value is None:
        return BrandMemory(brand, rules)
    snapshot = codec.decode(WatchState, value)

    def pieces(letter: str, first: int = 0) -> list[tuple[int, bytes]]:
        start, stop = f"{letter}|{brand}|{first:010}".encode(), f"{letter}|{brand}}}".encode()
        found = state.scan(STATE, start, stop, _PIECES)
        read = [codec.decode(WatchState, each) for _, each in found]
        return [(each.number, each.data) for each in read]

    return BrandMemory.restore(
        brand,
        rules,
        (snapshot.number, snapshot.data),
        pieces("p"),
        pieces("r", snapshot.number),
        shared,
    )


def state_key(brand: str, piece: Stored) -> str:
    """Return the key of a piece; a brand has one snapshot, and a batch is none of a brand's."""
    if piece.kind == "batch":
        return batch_key(piece.number)
    letter = _LETTER[piece.kind]
    return f"s|{brand}" if letter == "s" else f"{letter}|{brand}|{piece.number:010}"


def _state_value(brand: str, key: str, piece: Stored) -> bytes | None:
    if piece.data is None:
        return None
    return codec.encode(
        WatchState(
            key=key,
            brand=brand or NAME,
            kind=piece.kind,  # type: ignore[arg-type] # one of the schema's words
            number=piece.number,
            data=piece.data,
        )
    )


def _puts(outputs: Iterable[Output]) -> tuple[Put, ...]:
    return tuple([Put(STATE, each.key, each.value) for each in outputs])


def _said(
    says: Iterable[Says],
    brand: CompiledBrand,
    headers: Callable[[int, Topic, str, str], Headers],
    spare: Spare,
) -> list[Output]:
    outputs: list[Output] = []
    for each in says:
        outputs += records(each, brand, partial(headers, len(outputs)), spare)
    return outputs


def _message_headers(
    message: Message, now: datetime, ordinal: int, topic: Topic, identity: str, subject: str
) -> Headers:
    return ce_headers(
        topic,
        event_id=identity,
        source=SOURCE,
        subject=subject,
        time=now,
        trace=_trace_of(subject),
        caused_by=SourcePosition(message.topic, message.partition, message.offset, ordinal),
    )


def _timer_headers(
    cause: str, now: datetime, ordinal: int, topic: Topic, identity: str, subject: str
) -> Headers:
    del ordinal
    return timer_headers(
        topic,
        event_id=identity,
        source=SOURCE,
        subject=subject,
        time=now,
        trace=_trace_of(subject),
        cause=cause,
    )
