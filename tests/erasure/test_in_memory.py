"""What was erased stays erased through every replay; what comes later is heard (I11)."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, Suppressed, author_name, erasing
from klingel.model import SocialEvent
from klingel.stage.fates import Fate
from klingel.testing.broker import InMemoryBroker
from klingel_connectors.raw import raw_output
from klingel_indexer.convert import Write, convert
from klingel_networks.registry import installed_network
from klingel_processors.care.logic import CareLogic
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.logic import UnderstandLogic, World

from ..ringing import NOON, brand, generic, ring

KEY = Key("a key of this test's own")
SECRETS = ("Anna", "anna", "Geheimes Wort")
BRANDS = {"nordlicht": brand("nordlicht", triage={"open_indirect": True})}


class House:
    """Understand and care over one broker, and what an indexer would make of what they write.

    Args:
        broker: with what was said before; an empty one otherwise.
        suppressed: who was erased before.
    """

    def __init__(
        self, broker: InMemoryBroker | None = None, suppressed: Suppressed | None = None
    ) -> None:
        self.broker = broker or InMemoryBroker(partitions=1)
        self.suppressed = Suppressed(KEY) if suppressed is None else suppressed
        self.now = NOON + timedelta(minutes=10)
        self.understand = StageInMemory(self.broker, self._understand, lambda: self.now)
        self.care = StageInMemory(self.broker, self._care, lambda: self.now)

    def _understand(self, partition: int) -> UnderstandLogic:
        return UnderstandLogic(
            partition,
            networks=installed_network,
            detect=lambda _text: ("de", 0.9),
            readers=lambda _model: None,
            originals=lambda _reference: b"",
            world=lambda: World(BRANDS, {}, suppressed=self.suppressed),
        )

    def _care(self, partition: int) -> CareLogic:
        return CareLogic(partition, brands=lambda: BRANDS, suppressed=self.suppressed)

    def say(self, native_id: str, text: str, at: datetime = NOON, **more: Any) -> None:
        """Let somebody ring."""
        event = generic(native_id, text, published_at=f"{at:%Y-%m-%dT%H:%M:%SZ}", **more)
        self.broker.append(ring(event, received_at=at + timedelta(seconds=5)))

    def run(self) -> list[tuple[Fate, str]]:
        """Let both stages read to the end and time pass."""
        told = [(each.fate, each.reason) for each in self.understand.drain()]
        told += [(each.fate, each.reason) for each in self.care.drain()]
        for _ in range(3):
            self.care.tick(self.now)
        return told

    def erase(self, author: str, *objects: str) -> None:
        """Erase somebody as the command does: first who, then what they said."""
        record = KEY.suppression("author", author, self.now)
        self.suppressed.take(record.subject.encode(), record)
        for each in objects:
            self.broker.append(raw_output(erasing(each, "webhook", "post", self.now)))
        self.run()

    def documents(self) -> dict[tuple[str, str], bytes]:
        """Return the newest documents of posts and cases, written in the order of their topics."""
        found: dict[tuple[str, str], tuple[int, bytes]] = {}
        for message in self.broker.messages(Topic.ROUTED_EVENTS):
            write = convert(message, "kl-", "2026-03-02T12:00:00Z")
            assert isinstance(write, Write)
            place, version = (write.index, write.id), write.version or 0
            if place not in found or found[place][0] <= version:
                found[place] = version, write.body or b""
        return {place: body for place, (_, body) in found.items()}

    def cases(self) -> dict[bytes, bytes]:
        """Return the cases that there are."""
        newest = self.broker.compacted(Topic.CASES)
        return {key: value for key, value in newest.items() if value is not None}

    def authors(self) -> set[str]:
        """Return whom care knows customers by."""
        return {codec.decode(dict, value)["customer_id"] for value in self.cases().values()}


@pytest.fixture
def house() -> House:
    made = House()
    made.say("a1", "Nordlicht: Geheimes Wort, seit Tagen kein Internet!", author=ANNA)
    made.say("a2", "nordlicht, noch ein Geheimes Wort", author=ANNA)
    made.say("b1", "nordlicht: bei mir geht es auch nicht!", author={"id": "bert"})
    made.run()
    return made


ANNA = {"id": "anna", "name": "Anna"}
OBJECTS = ("webhook:forum:a1", "webhook:forum:a2")


def anna(house: House) -> str:
    """Return whom an erasure of Anna names."""
    events = [
        codec.decode(SocialEvent, each.value)
        for each in house.broker.messages(Topic.SOCIAL_EVENTS)
        if each.value is not None
    ]
    (author,) = {
        author_name(each.network, each.author.id)
        for each in events
        if each.author is not None and each.author.name == "Anna"
    }
    return author


def traces(house: House) -> list[bytes]:
    """Return documents and cases in which somebody erased can be read."""
    held = [*house.documents().values(), *house.cases().values(), *house.cases()]
    return [each for each in held if any(word.encode() in each for word in SECRETS)]


def test_before_it_everything_is_there(house):
    assert len(house.cases()) >= 2
    assert len(traces(house)) >= 4


def test_an_erased_author_is_nowhere_and_others_are_where_they_were(house):
    others = {key: value for key, value in house.cases().items() if b"bert" in key}
    assert others
    house.erase(anna(house), *OBJECTS)
    assert traces(house) == []
    assert {key: house.cases()[key] for key in others} == others


def test_a_replay_from_the_oldest_offset_brings_nobody_back(house):
    house.erase(anna(house), *OBJECTS)
    before = house.documents()
    for _ in range(2):
        house.understand.replay()
        house.care.replay()
        told = house.run()
        assert (Fate.DISCARDED, "erased") in told
        assert traces(house) == []
        assert house.documents() == before


def test_a_house_that_lost_all_its_state_hears_nobody_again(house):
    """Only what connectors wrote is left, and who was erased."""
    author = anna(house)
    house.erase(author, *OBJECTS)
    bare = InMemoryBroker(partitions=1)
    for message in house.broker.messages(Topic.RAW_EVENTS):
        bare.append(raw_of(message))
    anew = House(bare, house.suppressed)
    anew.run()
    assert traces(anew) == []
    assert anew.authors() == {each for each in house.authors() if each != author}


def raw_of(message: Any) -> Any:
    from klingel.contracts.envelope import Output  # noqa: PLC0415 - the one use

    return Output(message.topic, message.key, message.value, message.headers)


def test_what_the_person_says_afterwards_is_heard(house):
    author = anna(house)
    house.erase(author, *OBJECTS)
    assert author not in house.authors()
    house.now += timedelta(minutes=5)
    house.say("a3", "nordlicht: neues Anliegen, bitte melden!", house.now, author=ANNA)
    house.run()
    assert author in house.authors()
    for stage in (house.understand, house.care):
        stage.replay()
    house.run()
    assert author in house.authors()
    assert not any(b"Geheimes" in each for each in house.documents().values())


def test_what_was_said_before_is_not_heard_however_late_it_comes(house):
    """A re-import, a gap that is filled, history."""
    house.erase(anna(house), *OBJECTS)
    house.now += timedelta(days=1)
    house.say("a0", "nordlicht: Geheimes Wort von gestern", NOON - timedelta(days=3), author=ANNA)
    assert (Fate.DISCARDED, "erased") in house.run()
    assert traces(house) == []


def test_one_object_is_erased_and_the_rest_of_its_author_stays(house):
    record = KEY.suppression("object", OBJECTS[0], house.now)
    house.suppressed.take(record.subject.encode(), record)
    house.broker.append(raw_output(erasing(OBJECTS[0], "webhook", "post", house.now)))
    house.run()
    texts = b" ".join(house.documents().values())
    assert b"seit Tagen" not in texts
    assert b"noch ein Geheimes Wort" in texts
    house.understand.replay()
    house.care.replay()
    house.run()
    assert b"seit Tagen" not in b" ".join(house.documents().values())


def test_many_cases_of_one_author_go_however_many_there_are():
    made = House()
    for number in range(40):
        made.say(f"m{number}", f"nordlicht: Geheimes Wort {number}!", author=ANNA)
    made.say("b1", "nordlicht: bei mir auch!", author={"id": "bert"})
    made.run()
    author = anna(made)
    assert len(made.cases()) > 40
    made.erase(author)
    assert author not in made.authors()
    assert made.authors()
