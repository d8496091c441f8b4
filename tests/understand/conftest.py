"""Understand in memory: one partition, two brands, the real generic mapping."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage
from klingel.language.sense import Reader
from klingel.model import DirectoryEntry, SocialEvent
from klingel.model.raw_event import BlobRef
from klingel.stage.fates import Fate, Outcome
from klingel.testing.broker import InMemoryBroker
from klingel_networks.registry import installed_network
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.logic import UnderstandLogic, World

from ..ringing import NOON, brand, ring

BRANDS = {name: brand(name) for name in ("nordlicht", "kuestenstrom")}


def detect(text: str) -> tuple[str, float]:
    """Stand in for the detector: its accuracy has a suite of its own."""
    return ("de", 0.9) if "hallo" in text else ("en", 0.9)


class Desk:
    """One worker of understand, what rings at it, and what it says."""

    def __init__(self) -> None:
        self.broker = InMemoryBroker(partitions=1)
        self.brands = dict(BRANDS)
        self.tracking: dict[str, frozenset[str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.readers: dict[str, Reader] = {}
        self.stage = StageInMemory(self.broker, self.logic, lambda: NOON + timedelta(minutes=1))

    def logic(self, partition: int) -> UnderstandLogic:
        """Build the logic of one partition."""
        return UnderstandLogic(
            partition,
            networks=installed_network,
            detect=detect,
            readers=self.readers.get,
            originals=self.original,
            world=lambda: World(self.brands, self.tracking),
        )

    def original(self, reference: BlobRef) -> bytes:
        """Read from the blob store."""
        if reference.sha256 not in self.blobs:
            raise InvalidMessage(ErrorType.ORIGINAL_GONE, "the original is no longer kept")
        return self.blobs[reference.sha256]

    def put(self, *outputs: Output) -> None:
        """Write records to `raw-events`."""
        for output in outputs:
            self.broker.append(output)

    def hear(self, event: dict[str, Any], **how: Any) -> Outcome:
        """Ring once and return what understand decided."""
        self.put(ring(event, **how))
        (outcome,) = self.stage.advance()
        return outcome

    def fates(self, *events: dict[str, Any], batch: int = 1000) -> list[tuple[Fate, str]]:
        """Ring several times and return fate and reason of each."""
        self.put(*(ring(event) for event in events))
        return [(outcome.fate, outcome.reason) for outcome in self.stage.drain(batch)]

    def social(self) -> list[SocialEvent]:
        """Return all social events said so far."""
        return [
            codec.decode(SocialEvent, message.value)
            for message in self.broker.messages(Topic.SOCIAL_EVENTS)
        ]

    def newest(self) -> dict[str, SocialEvent]:
        """Return the last word on each event."""
        return {event.event_id: event for event in self.social()}

    def entry(self, native_id: str) -> DirectoryEntry | None:
        """Return what the directory knows of an object."""
        value = self.stage.tables()["directory"].get(f"webhook:forum:{native_id}".encode())
        return None if value is None else codec.decode(DirectoryEntry, value)

    def letters(self) -> list[Message]:
        """Return the dead letters."""
        return self.broker.messages(Topic.DEAD_LETTERS)

    def state(self) -> Mapping[str, dict[bytes, bytes]]:
        """Return all local state."""
        return {name: dict(table._values) for name, table in self.stage.tables().items()}


@pytest.fixture
def desk() -> Desk:
    """A desk where nothing rang yet."""
    return Desk()
