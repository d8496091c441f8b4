"""I14: whatever is said to one brand leaves no trace in another's cases, events or decisions."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import Case, RoutedEvent, SocialEvent
from klingel.testing.broker import InMemoryBroker
from klingel_networks.registry import installed_network
from klingel_processors.care.logic import CareLogic
from klingel_processors.follow import Surroundings
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.logic import UnderstandLogic, World

from ..ringing import NOON, brand, generic, ring

OURS, THEIRS = "nord", "nord-2"
"""The one is the beginning of the other: no id may be read as the other's."""
SHOP = {OURS: "shop", THEIRS: "shop-2"}
BRANDS = {
    name: brand(
        name,
        accounts=[{"network": "webhook", "id": f"{SHOP[name]}:team"}],
        channels=[{"network": "webhook", "id": SHOP[name]}],
        listening=[{"id": "name", "query": f'"{name} hotline"'}],
        cases={"close_when": "answered"},
    )
    for name in (OURS, THEIRS)
}
NATIVE = ("1", "2", "3")
PEOPLE = ("anna", "ben", "team")
# What somebody at their source may try, to be taken for somebody, or something, of ours.
FORGED = (
    *PEOPLE,
    "shop:team",
    "shop:anna",
    "webhook:shop:anna",
    "1:webhook:shop:anna",
    "2:webhook:shop:anna#1",
)


class House:
    """Both stages over one broker, for some brands."""

    def __init__(self) -> None:
        self.broker = InMemoryBroker(partitions=2)
        self.around = Surroundings()
        now = lambda: NOON + timedelta(hours=6)  # noqa: E731 - a clock that stands
        self.stages = (
            StageInMemory(self.broker, self._understand, now),
            StageInMemory(self.broker, self._care, now),
        )

    def _understand(self, partition: int) -> UnderstandLogic:
        return UnderstandLogic(
            partition,
            networks=installed_network,
            detect=lambda _text: ("de", 0.9),
            readers=lambda _model: None,
            originals=lambda _ref: b"",
            world=lambda: World(BRANDS, self.around.tracking),
        )

    def _care(self, partition: int) -> CareLogic:
        return CareLogic(partition, brands=lambda: BRANDS)

    def hear(self, said: Iterable[tuple[str, dict[str, Any]]]) -> "House":
        """Ring (brand whose source it is, event), and let both stages work after each."""
        for name, event in said:
            self.broker.append(ring(event, channel=SHOP[name], source=SHOP[name]))
            for stage in self.stages:
                stage.drain()
            for message in self.broker.messages(Topic.TRACKED_CONVERSATIONS):
                self.around.take(message)
        return self

    def known_of(self, name: str) -> tuple[dict[str, Any], dict[str, Any], int]:
        """Return what a brand has: its cases, its events with their decisions, its case events.

        Offsets are left out: two brands share the input.
        """
        cases = {}
        for value in self.broker.compacted(Topic.CASES).values():
            case = codec.decode(Case, value)
            if case.brand == name:
                facts = [(each.object, each.content, each.direction) for each in case.facts]
                cases[case.case_id] = (case.customer_id, case.state, case.queue, facts)
        events = {}
        for message in self.broker.messages(Topic.ROUTED_EVENTS):
            routed = codec.decode(RoutedEvent, message.value)
            event = codec.decode(SocialEvent, bytes(routed.event))
            if event.brand == name:
                decision = routed.decision
                events[event.event_id] = (event.text, decision.triage, decision.case_id)
        happened = [
            message
            for message in self.broker.messages(Topic.CASE_EVENTS)
            if (message.key or b"").startswith(f"{name}:".encode())
        ]
        return cases, events, len(happened)


@st.composite
def ours(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Somebody says something at our own source."""
    return OURS, _said(draw, NATIVE, PEOPLE, f"{OURS} hotline geht nicht")


@st.composite
def theirs(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Somebody at another brand's source tries to get into our cases."""
    event = _said(draw, (*NATIVE, *FORGED), FORGED, f"{THEIRS} hotline geht nicht")
    event["target"] = draw(st.sampled_from(FORGED))
    event["direction"] = draw(st.sampled_from(["inbound", "outbound", "third_party"]))
    return THEIRS, event


def _said(draw: st.DrawFn, objects: Any, people: Any, text: str) -> dict[str, Any]:
    change = draw(st.sampled_from(["created", "created", "created", "updated", "deleted"]))
    return generic(
        draw(st.sampled_from(objects)),
        text,
        author={"id": draw(st.sampled_from(people))},
        conversation_id=draw(st.sampled_from([None, *objects])),
        in_reply_to=draw(st.sampled_from([None, *objects])),
        change=change,
        revision={"updated": 5, "deleted": 9}.get(change),
    )


@given(st.lists(ours(), min_size=1, max_size=6), st.lists(theirs(), max_size=6), st.randoms())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_said_to_another_brand_changes_nothing_of_ours(said, foreign, chance) -> None:
    """The same of ours, with and without the other's traffic in between."""
    alone = House().hear(said).known_of(OURS)
    mixed, left, right = [], list(said), list(foreign)
    while left or right:
        mixed.append((left if left and (not right or chance.random() < 0.5) else right).pop(0))
    assert House().hear(mixed).known_of(OURS) == alone


def test_ours_is_heard_at_all_and_so_is_theirs() -> None:
    """Else the law above would hold of two houses in which nothing happens."""
    question = generic("1", f"{OURS} hotline geht nicht", conversation_id="1")
    answer = generic("2", "Wir", author={"id": "team"}, conversation_id="1", in_reply_to="1")
    house = House().hear([(OURS, question), (THEIRS, question), (OURS, answer)])
    for name, state in ((OURS, "closed"), (THEIRS, "open")):
        cases, events, happened = house.known_of(name)
        assert [case[1] for case in cases.values()] == [state]
        assert events
        assert happened
