"""Care in memory: one partition and the builders of conversations."""

from datetime import timedelta

import pytest

from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output, ce_headers, trace_id
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.model import RoutedEvent, SocialEvent
from klingel.stage.fates import Outcome
from klingel.testing.broker import InMemoryBroker
from klingel.testing.conversations import NOON, compiled_brand
from klingel_processors.care.logic import CareLogic
from klingel_processors.testing import StageInMemory

BRAND = compiled_brand(cases={"close_when": "answered"})


def social(event: SocialEvent) -> Output:
    """Return the record of `social-events` that understand writes."""
    return Output(
        topic=Topic.SOCIAL_EVENTS,
        key=event.event_id.encode(),
        value=codec.encode(event),
        headers=ce_headers(
            Topic.SOCIAL_EVENTS,
            event_id=event.event_id,
            source="klingel/understand",
            subject=event.object_id,
            time=event.received_at,
            trace=trace_id(event.object_id),
        ),
        partition_key=conversation_key(event.brand, event.conversation_id),
    )


class Desk:
    """One worker of care."""

    def __init__(self) -> None:
        self.broker = InMemoryBroker(partitions=1)
        self.brands = {"nordlicht": BRAND}
        self.now = NOON + timedelta(hours=1)
        self.stage = StageInMemory(self.broker, self.logic, lambda: self.now)

    def logic(self, partition: int) -> CareLogic:
        """Build the logic of one partition."""
        return CareLogic(partition, brands=lambda: self.brands)

    def hear(self, event: SocialEvent) -> Outcome:
        """Fold one event and return what care decided."""
        self.broker.append(social(event), int(NOON.timestamp() * 1000))
        (outcome,) = self.stage.advance()
        return outcome

    def routed(self) -> list[RoutedEvent]:
        """Return the routed events."""
        return [
            codec.decode(RoutedEvent, message.value)
            for message in self.broker.messages(Topic.ROUTED_EVENTS)
        ]

    def written(self, topic: Topic) -> list[Message]:
        """Return the records of a topic."""
        return self.broker.messages(topic)

    def state(self) -> dict[bytes, bytes]:
        """Return the local state."""
        return dict(self.stage.tables()["cases"]._values)


@pytest.fixture
def desk() -> Desk:
    """A desk where nothing was said yet."""
    return Desk()
