"""Each scenario of this folder through understand and care: see README.md."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import Case, RoutedEvent, SocialEvent
from klingel.stage.fates import Fate, Outcome
from klingel.testing.broker import InMemoryBroker
from klingel_networks.registry import installed_network
from klingel_processors.care.logic import CareLogic
from klingel_processors.follow import Surroundings
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.logic import UnderstandLogic, World

from ..ringing import NOON, SOURCE, brand, generic, gone, ring

STANDARD: dict[str, Any] = {
    "queues": [{"id": "first-line"}, {"id": "billing"}, {"id": "praise"}],
    "routing": [
        {"id": "bill", "when": "rechnung OR gebühr", "queue": "billing", "priority": 10},
        {"id": "thanks", "when": "danke OR super", "queue": "praise"},
    ],
}
Scenario = Mapping[str, Any]


class House:
    """Both workers on one broker, and what rings."""

    def __init__(self, scenario: Scenario) -> None:
        self.broker = InMemoryBroker(partitions=2)
        self.brands = dict(map(compiled, scenario.get("brands") or [{"brand": "nordlicht"}]))
        self.around = Surroundings()
        self.understand = StageInMemory(self.broker, self._understand, self._now)
        self.care = StageInMemory(self.broker, self._care, self._now)

    def _now(self) -> datetime:
        return NOON + timedelta(hours=6)

    def _understand(self, partition: int) -> UnderstandLogic:
        return UnderstandLogic(
            partition,
            networks=installed_network,
            detect=lambda _text: ("de", 0.9),
            readers=lambda _model: None,
            originals=lambda _reference: b"",
            world=lambda: World(self.brands, self.around.tracking),
        )

    def _care(self, partition: int) -> CareLogic:
        return CareLogic(partition, brands=lambda: self.brands)

    def work(self) -> tuple[list[Outcome], list[Outcome]]:
        """Let both work until nothing is left, and understand learn what care tracks."""
        told, decided = self.understand.drain(), self.care.drain()
        tracked = self.broker.messages(Topic.TRACKED_CONVERSATIONS)
        for message in tracked:
            self.around.take(message)
        return told, decided

    def cases(self) -> dict[str, dict[str, Case]]:
        """Return the cases, by brand and customer."""
        found: dict[str, dict[str, Case]] = {}
        for value in self.broker.compacted(Topic.CASES).values():
            case = codec.decode(Case, value)
            if case.state != "held":
                customer = case.customer_id.removeprefix(f"webhook:{SOURCE}:")
                found.setdefault(case.brand, {})[customer] = case
        return found

    def posts(self) -> dict[tuple[str, str], SocialEvent]:
        """Return each post as the index ends with it: the greatest document version wins."""
        newest: dict[tuple[str, str], tuple[int, int, SocialEvent]] = {}
        for message in self.broker.messages(Topic.ROUTED_EVENTS):
            routed = codec.decode(RoutedEvent, message.value)
            event = codec.decode(SocialEvent, bytes(routed.event))
            place = (event.brand, event.object_id.rpartition(":")[2])
            version = (event.revision, routed.decision.number, event)
            if place not in newest or version[:2] >= newest[place][:2]:
                newest[place] = version
        return {place: version[2] for place, version in newest.items()}

    def triage_of_last(self, decided: list[Outcome]) -> dict[str, str]:
        """Return brand to triage of what was just decided."""
        found = {}
        for outcome in decided:
            for output in outcome.outputs:
                if output.topic is Topic.ROUTED_EVENTS:
                    routed = codec.decode(RoutedEvent, output.value)
                    event = codec.decode(SocialEvent, bytes(routed.event))
                    found[event.brand] = routed.decision.triage
            if outcome.fate is Fate.REPEATED:
                found["nordlicht"] = outcome.reason
        return found


def compiled(parts: Mapping[str, Any]) -> tuple[str, CompiledBrand]:
    """Compile a brand of a scenario."""
    own = {name: value for name, value in parts.items() if name != "brand"}
    return parts["brand"], brand(parts["brand"], **{**STANDARD, **own})


def at(time: str) -> datetime:
    """Return a time of the scenario's day."""
    hour, minute = time.split(":")
    return NOON.replace(hour=int(hour), minute=int(minute))


def native(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return the generic event of a step."""
    if "deletes" in step:
        return gone(step["id"])
    return generic(
        step["id"],
        step["text"],
        author={"id": step["says"]},
        published_at=at(step["at"]).isoformat(),
        conversation_id=step.get("conversation", "talk"),
        in_reply_to=step.get("answers"),
        target=step.get("to"),
        kind=step.get("kind"),
        **({"change": "updated", "revision": step["edit"]} if "edit" in step else {}),
    )


def hear(house: House, step: Mapping[str, Any]) -> tuple[list[Outcome], list[Outcome]]:
    """Ring with one step and let the house work."""
    time = at(step["at"]) if "at" in step else NOON + timedelta(hours=5)
    house.broker.append(ring(native(step), received_at=time + timedelta(seconds=5)))
    return house.work()


def seen(value: object) -> object:
    """Return a field of a case as scenarios spell it."""
    return f"{value:%H:%M}" if isinstance(value, datetime) else value


def assert_ends(house: House, scenario: Scenario) -> None:
    """Compare cases and texts with what the scenario says."""
    found = house.cases()
    if "cases" in scenario:
        expected = {
            (name, customer): fields
            for name, customers in scenario["cases"].items()
            for customer, fields in customers.items()
        }
        assert {(name, one) for name, ones in found.items() for one in ones} == set(expected)
        for (name, customer), fields in expected.items():
            case = found[name][customer]
            known = {**msgspec.structs.asdict(case), **(case.counts or {})}
            assert {field: seen(known[field]) for field in fields} == fields, customer
    posts = house.posts()
    for name, texts in (scenario.get("texts") or {}).items():
        assert {native_id: posts[name, native_id].text for native_id in texts} == texts
    assert house.broker.messages(Topic.DEAD_LETTERS) == []


def told(fate: Outcome) -> str:
    """Return a fate as scenarios spell it."""
    return "told" if fate.fate is Fate.DELIVERED else fate.reason


@pytest.mark.parametrize("restarting", [False, True], ids=["steady", "restarting"])
def test_scenario(scenario: Scenario, restarting: bool) -> None:
    """Each step has its fate and triage; the end is as the scenario says."""
    house = House(scenario)
    for step in scenario["heard"]:
        (fate,), decided = hear(house, step)
        assert told(fate) == step["fate"], step
        triage = step.get("triage", {})
        expected = triage if isinstance(triage, dict) else {"nordlicht": triage}
        assert house.triage_of_last(decided) == expected, step
        if restarting:
            house.understand.restart()
            house.care.restart()
    assert_ends(house, scenario)


def test_scenario_replayed(scenario: Scenario) -> None:
    """Everything heard once more changes nothing (I5)."""
    house = House(scenario)
    for step in scenario["heard"]:
        hear(house, step)
    cases = house.broker.compacted(Topic.CASES)
    posts = {place: event.content_hash for place, event in house.posts().items()}
    house.understand.replay()
    house.work()
    house.care.replay()
    house.work()
    assert house.broker.compacted(Topic.CASES) == cases
    assert {place: event.content_hash for place, event in house.posts().items()} == posts
    assert_ends(house, scenario)
