"""The whole way in one process, in event time: what klingel would have done with what is long over.

The stages are those that run in production, decided message by message on a log in memory; nothing
tells the time but the events. So the same input and brand give the same report, on any machine.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from klingel.config.compiled import CompiledBrand
from klingel.config.loader import LoadedBrand
from klingel.contracts.envelope import Message
from klingel.contracts.outputs import raw_output
from klingel.contracts.topics import Topic
from klingel.errors import ConfigurationError, InvalidMessage
from klingel.language.identify import load_detector
from klingel.model import RawEvent
from klingel.stage.fates import Fate, Outcome
from klingel.stage.in_memory import InMemoryLogs
from klingel_networks.contract import Delivery, Network, Refused
from klingel_networks.mapped import raw_event
from klingel_networks.registry import installed
from klingel_processors.care.logic import CareLogic
from klingel_processors.care.records import CASES, first_due
from klingel_processors.follow import Surroundings
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.logic import UnderstandLogic, World
from klingel_processors.understand.models import Models
from klingel_processors.understand.thread import ThreadLogic
from klingel_processors.watch.logic import WatchLogic

MOST_EVENTS = 2_000_000
_BEGINNING = datetime(2006, 1, 1, tzinfo=UTC)
_TICKS = 100_000
_LOOK = timedelta(minutes=5)
_LONGEST_SILENCE = timedelta(days=14)


class Clock:
    """Event time: it stands until somebody moves it, and never goes back."""

    def __init__(self) -> None:
        self.time = _BEGINNING

    def now(self) -> datetime:
        """Return the time."""
        return self.time

    def move_to(self, at: datetime) -> None:
        """Go on to `at`; what lies before stays where it is."""
        self.time = max(self.time, at)


@dataclass(slots=True)
class Heard:
    """What became of the input.

    Attributes:
        read: objects that were read.
        refused: objects that no mapping could read, by reason.
        fates: of the messages of each stage, by (stage, fate, reason).
        first: event time of the first object.
        last: of the last.
    """

    read: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    fates: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None


class Backtest:
    """One brand's stages over one log in memory.

    Args:
        brand: the brand file.
        models: folder of models that a brand names beside the shipped one; None where there is none.
    """

    def __init__(self, brand: LoadedBrand, models: Path | None = None) -> None:
        self.brand = CompiledBrand.compile(brand.brand, brand.version)
        self.broker = InMemoryLogs()
        self.heard = Heard()
        self._clock = Clock()
        self._around = Surroundings()
        self._around.brands.by_name = {self.brand.brand: self.brand}
        self._tracked = 0
        self._stages = self._build(models)

    def _build(self, models: Path | None) -> tuple[StageInMemory, ...]:
        detect, known = load_detector(), Models(models)
        known.check([self.brand])

        world: dict[str, Any] = {
            "networks": installed().network,
            "detect": detect,
            "readers": known.reader,
            "originals": _gone,
            "world": lambda: World(self._around.brands.by_name, self._around.tracking),
        }

        def understand(partition: int) -> UnderstandLogic:
            return UnderstandLogic(partition, **world)

        def thread(partition: int) -> ThreadLogic:
            return ThreadLogic(partition, **world)

        def care(partition: int) -> CareLogic:
            return CareLogic(partition, brands=lambda: self._around.brands.by_name)

        def watch(partition: int) -> WatchLogic:
            return WatchLogic(partition, brands=lambda: self._around.brands.by_name)

        now = self._clock.now
        self._care = StageInMemory(self.broker, care, now)
        return (
            StageInMemory(self.broker, understand, now),
            StageInMemory(self.broker, thread, now),
            self._care,
            StageInMemory(self.broker, watch, now),
        )

    def run(self, events: Iterable[RawEvent]) -> None:
        """Take the events, in the order of their receipt, through all stages.

        Args:
            events: raw events, ascending by `received_at`.
        """
        for raw in events:
            self.heard.read += 1
            self.heard.first = self.heard.first or raw.received_at
            self.heard.last = raw.received_at
            self._pass_time(raw.received_at)
            self.broker.append(raw_output(raw, "klingel/backtest"), _milliseconds(raw.received_at))
            self._advance()
        while self._waiting is not None:
            self._decide_waiting()

    @property
    def _waiting(self) -> datetime | None:
        """When the first message that waits for another has to be decided."""
        return min((at for each in self._stages if (at := each.waits_until)), default=None)

    def _decide_waiting(self) -> None:
        at = self._waiting
        if at is not None:
            self._clock.move_to(at)
            self._advance()

    def _advance(self) -> None:
        """Let every stage take what lies ahead, until nothing does."""
        moved = True
        while moved:
            moved = False
            for stage in self._stages:
                outcomes = stage.advance()
                self._count(stage, outcomes)
                moved = moved or bool(outcomes)
            self._follow()

    def _pass_time(self, until: datetime) -> None:
        """Decide what waited until then, and fire what was due, each at its own time."""
        while (at := self._next_moment(until)) is not None:
            waiting = self._waiting
            self._clock.move_to(at)
            if waiting is None or waiting > at:
                self._tick(at)
            self._advance()
        self._clock.move_to(until)
        self._tick(until)
        self._advance()

    def _next_moment(self, until: datetime) -> datetime | None:
        """Return when something happens by itself before `until`; None where nothing does."""
        now = self._clock.now()
        moments = [at for at in (self._waiting, self._next_timer()) if at is not None]
        # Silence is looked at every so often, as long as the input goes on.
        if self.heard.read > 1 and until - now <= _LONGEST_SILENCE:
            moments.append(now + _LOOK)
        moments = [at for at in moments if now < at < until]
        return min(moments, default=None)

    def _next_timer(self) -> datetime | None:
        """Return when the next timer of a case is due."""
        return first_due(self._care.tables()[CASES])

    def _tick(self, now: datetime) -> None:
        for stage in self._stages:
            for _ in range(_TICKS):
                if not stage.tick(now):
                    break

    def _follow(self) -> None:
        """Take up which conversations are tracked, as understand does."""
        end = self.broker.end(Topic.TRACKED_CONVERSATIONS, 0)
        for message in self.broker.read(Topic.TRACKED_CONVERSATIONS, 0, self._tracked, end):
            self._around.take(message)
        self._tracked = end

    def _count(self, stage: StageInMemory, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            told = outcome.reason if outcome.fate is not Fate.REPEATED else ""
            self.heard.fates[stage.name, outcome.fate.value, told] += 1

    def records(self, topic: Topic) -> Iterator[Message]:
        """Give all records of a topic, in order."""
        yield from self.broker.messages(topic)

    def newest(self, topic: Topic) -> Mapping[bytes, bytes]:
        """Return the last record of each key of a compacted topic."""
        return self.broker.compacted(topic)


def _gone(_reference: object) -> bytes:
    raise ConfigurationError("an original in the blob store cannot be read back without it")


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def read_events(
    deliveries: Iterable[bytes], network: Network, source: str | None, heard: Heard
) -> list[RawEvent]:
    """Return the raw events of deliveries in the order in which they happened.

    An object is taken as received when it was published, an edit or a deletion when it was made;
    one that tells no time, when the one before it in the file was.

    Args:
        deliveries: bodies, in the order of the files.
        network: whose mapping reads them.
        source: authenticated source of the deliveries, where the network's ids need one.
        heard: counts what cannot be read.

    Raises:
        ConfigurationError: there are more than `MOST_EVENTS`.
    """
    context = {} if source is None else {"source": source}
    found: list[RawEvent] = []
    at = _BEGINNING
    for body in deliveries:
        for raw in _raw_events(network, body, context, heard):
            at = _time_of(network, raw) or at
            found.append(msgspec.structs.replace(raw, received_at=at))
            if len(found) > MOST_EVENTS:
                raise ConfigurationError(f"more than {MOST_EVENTS:,} events; split the input")
    found.sort(key=lambda raw: raw.received_at)
    return found


def _raw_events(
    network: Network, body: bytes, context: Mapping[str, str], heard: Heard
) -> Iterator[RawEvent]:
    try:
        pieces = network.explode(Delivery(body, context))
    except InvalidMessage as error:
        heard.refused[str(error.error_type)] += 1
        return
    for piece in pieces:
        if isinstance(piece, Refused):
            heard.refused[str(piece.error.error_type)] += 1
            continue
        try:
            identity = network.identify(piece.native, piece.context)
        except InvalidMessage as error:
            heard.refused[str(error.error_type)] += 1
            continue
        yield raw_event(network.name, piece, identity, connector="backtest")


def _time_of(network: Network, raw: RawEvent) -> datetime | None:
    """Return when an object was published, or changed; None where it does not tell."""
    try:
        draft = network.to_social_event(raw)
    except InvalidMessage:  # understand says why
        return None
    at = draft.changed_at if raw.change in {"updated", "deleted"} else None
    at = at or draft.published_at
    return None if at is None else at.astimezone(UTC)


def spread(values: list[float]) -> dict[str, float | int]:
    """Return count, median and 90th percentile of durations."""
    if not values:
        return {"count": 0}
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return {"count": len(ordered), "median_seconds": at(0.5), "p90_seconds": at(0.9)}
