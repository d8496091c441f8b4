"""The web chat's fifteen minutes, through the example brand's file, understand and care."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from klingel.config.compiled import CompiledBrand
from klingel.config.loader import load_brand
from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.domain.clocks import Promises, explained_by
from klingel.domain.sla import explain
from klingel.model import Case, CaseEvent
from klingel.testing.broker import InMemoryBroker
from klingel_connectors.raw import Heard, Origin, raw_output, read_delivery
from klingel_networks.chat.replies import reply_of
from klingel_networks.chat.sessions import Talk
from klingel_networks.contract import Delivery
from klingel_networks.registry import installed_network
from klingel_processors.care.logic import CareLogic
from klingel_processors.follow import Surroundings
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.logic import UnderstandLogic, World

FILE = Path(__file__).resolve().parents[2] / "brands" / "nordlicht.yaml"
MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)  # 13:00 in Berlin
EVENING = datetime(2026, 3, 2, 18, 55, tzinfo=UTC)  # five minutes before people go home


class Talking:
    """A session of the chat `website`, heard by the example brand."""

    def __init__(self, begun: datetime) -> None:
        loaded = load_brand(FILE)
        brands = {loaded.brand.brand: CompiledBrand.compile(loaded.brand, loaded.version)}
        self.begun = self.now = begun
        self.talk = Talk("website", f"{int(begun.timestamp()):08x}-{'0' * 32}")
        self.broker = InMemoryBroker(partitions=1)
        around = Surroundings()
        self.understand = StageInMemory(
            self.broker,
            lambda partition: UnderstandLogic(
                partition,
                networks=installed_network,
                detect=lambda _text: ("de", 0.9),
                readers=lambda _model: None,
                originals=lambda _reference: b"",
                world=lambda: World(brands, around.tracking),
            ),
            lambda: self.now,
        )
        self.care = StageInMemory(
            self.broker, lambda number: CareLogic(number, brands=lambda: brands), lambda: self.now
        )
        self.numbers = iter(range(100))

    def hears(self, minute: float, native: bytes, **context: str) -> None:
        """Let the gateway's record come in so many minutes after the beginning."""
        self.now = self.begun + timedelta(minutes=minute)
        given = {"channel": self.talk.channel, "session": self.talk.session, **context}
        origin = Origin("chat", "gw-chat-website", "chat", "holder", self.talk.channel)
        (heard,) = read_delivery(
            installed_network("chat"), Delivery(native, given), origin, "live", self.now
        )
        assert isinstance(heard, Heard), heard
        self.broker.append(raw_output(heard.raw), int(self.now.timestamp() * 1000))
        self.understand.drain()
        self.care.drain()

    def asks(self, minute: float, text: str) -> None:
        """The customer writes."""
        at = int((self.begun + timedelta(minutes=minute)).timestamp() * 1000)
        said = {"id": f"{next(self.numbers):032x}", "at": at, "text": text}
        self.hears(minute, msgspec.json.encode({"say": said}))

    def answers(self, minute: float, text: str) -> None:
        """The brand replies."""
        at = self.begun + timedelta(minutes=minute)
        reply = reply_of(self.talk, text, f"r-{next(self.numbers)}", at, "Abel")
        self.hears(minute, codec.encode(reply), side="brand")

    def pass_to(self, minute: float) -> None:
        """Let time go by; everything is read."""
        self.now = self.begun + timedelta(minutes=minute)
        self.care.tick(self.now)

    @property
    def case(self) -> Case:
        """The one case."""
        cases = [codec.decode(Case, value) for value in self.broker.compacted(Topic.CASES).values()]
        (case,) = [each for each in cases if each.state != "held"]
        return case

    def clock(self, name: str) -> tuple[str, datetime]:
        """Return state and deadline of a clock."""
        (clock,) = [each for each in self.case.clocks if each.name == name]
        assert (clock.policy, clock.target_seconds) == ("messengers", 900)
        known = explained_by(clock, (promises := Promises(self.case.terms)))
        counted = explain(known, promises.get(clock.terms).calendar).to_deadline
        assert sum(each.seconds for each in counted) == 900
        return clock.state, clock.deadline

    def happened(self) -> list[str]:
        """Return the kinds of case events that tell of time."""
        kinds = {"warned", "breached", "responded"}
        events = [codec.decode(CaseEvent, each.value) for each in self._written(Topic.CASE_EVENTS)]
        return [each.kind for each in events if each.kind in kinds]

    def _written(self, topic: Topic) -> list:
        return self.broker.messages(topic)


def test_fifteen_minutes_are_counted_from_the_word_and_stopped_by_the_reply() -> None:
    talk = Talking(MONDAY)
    talk.asks(0, "Meine Rechnung ist falsch")
    assert talk.clock("first_response") == ("running", MONDAY + timedelta(minutes=15))
    talk.answers(14, "Wir sehen nach.")
    assert talk.clock("first_response")[0] == "met"
    assert (talk.case.state, talk.case.first_response_at) == (
        "waiting",
        MONDAY + timedelta(minutes=14),
    )
    talk.pass_to(60)
    assert talk.happened() == ["responded"]


def test_the_next_word_has_fifteen_minutes_of_its_own() -> None:
    talk = Talking(MONDAY)
    talk.asks(0, "Meine Rechnung ist falsch")
    talk.answers(5, "Welche?")
    talk.asks(20, "Die vom März")
    assert talk.clock("next_response") == ("running", MONDAY + timedelta(minutes=35))
    talk.pass_to(34.9)
    assert "breached" not in talk.happened()
    talk.pass_to(35.1)
    assert talk.happened()[-1] == "breached"
    assert talk.case.late == ["next_response"]


@pytest.mark.parametrize("late", [0.1, 45])
def test_without_a_reply_it_is_late_after_fifteen_minutes(late: float) -> None:
    talk = Talking(MONDAY)
    talk.asks(0, "Meine Rechnung ist falsch")
    talk.pass_to(14.9)
    assert talk.happened() in ([], ["warned"])
    talk.pass_to(15 + late)
    assert talk.happened()[-1] == "breached"
    talk.answers(15 + late + 1, "Verzeihung!")
    assert talk.clock("first_response")[0] == "met_late"


def test_the_night_does_not_count() -> None:
    """Five minutes of the evening, ten of the next morning from eight o'clock in Berlin."""
    talk = Talking(EVENING)
    talk.asks(0, "Meine Rechnung ist falsch")
    assert talk.clock("first_response") == ("running", datetime(2026, 3, 3, 7, 10, tzinfo=UTC))
