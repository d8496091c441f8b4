"""Care in memory: one partition and the builders of conversations."""

from datetime import timedelta

import pytest

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output
from klingel.contracts.outputs import command_output, social_output
from klingel.contracts.topics import Topic
from klingel.model import Case, CaseCommand, CaseEvent, RoutedEvent, SocialEvent
from klingel.stage.fates import Outcome
from klingel.testing.broker import InMemoryBroker
from klingel.testing.conversations import NOON, ROOT, compiled_brand
from klingel_processors.care.logic import CareLogic
from klingel_processors.in_memory import StageInMemory

BRAND = compiled_brand(cases={"close_when": "answered"})


def social(event: SocialEvent) -> Output:
    """Return the record of `social-events` that understand writes."""
    return social_output(event, "klingel/understand")


def commanded(command: CaseCommand) -> Output:
    """Return the record of `case-commands` that somebody gives."""
    return command_output(command, "klingel/cli")


class Desk:
    """One worker of care."""

    def __init__(self, brand: CompiledBrand = BRAND) -> None:
        self.broker = InMemoryBroker(partitions=1)
        self.brands = {"nordlicht": brand}
        self.given = 0
        self.now = NOON + timedelta(hours=1)
        self.stage = StageInMemory(self.broker, self.logic, lambda: self.now)

    def logic(self, partition: int) -> CareLogic:
        """Build the logic of one partition."""
        return CareLogic(partition, brands=lambda: self.brands)

    def hear(self, event: SocialEvent) -> Outcome:
        """Fold one event and return what care decided."""
        self.broker.append(social(event), int(NOON.timestamp() * 1000))
        outcome, *_ = self.stage.advance()
        return outcome

    def order(self, kind: str, customer: str = "anna", **parts: object) -> Outcome:
        """Give a command about a customer's newest case and return what care decided."""
        self.given += 1
        if customer:
            parts = {"customer_id": customer, **parts}
        command = CaseCommand(
            command_id=str(parts.pop("command_id", f"c-{self.given}")),
            brand="nordlicht",
            conversation_id=str(parts.pop("conversation", ROOT)),
            kind=kind,  # type: ignore[arg-type]  # a wrong one is refused by the shape
            at=parts.pop("at", self.now),  # type: ignore[arg-type]  # a time
            by=str(parts.pop("by", "maike")),
            **parts,  # type: ignore[arg-type]  # the shape's own
        )
        self.broker.append(commanded(command), int(command.at.timestamp() * 1000))
        outcome, *_ = self.stage.advance()
        return outcome

    def pass_to(self, minute: float, *, read: bool = True) -> list[Outcome]:
        """Let time go by to so many minutes after noon; all was read up to then, or nothing."""
        self.now = NOON + timedelta(minutes=minute)
        return self.stage.tick(self.now if read else None)

    def case(self, customer: str = "anna", generation: int = 1) -> Case:
        """Return a case as it was written last."""
        identity = f"nordlicht:{ROOT}:{customer}#{generation}"
        value = self.broker.compacted(Topic.CASES)[identity.encode()]
        return codec.decode(Case, value)

    def happened(self) -> list[str]:
        """Return the kinds of all case events, in order."""
        return [
            codec.decode(CaseEvent, message.value).kind
            for message in self.broker.messages(Topic.CASE_EVENTS)
        ]

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
