"""From what rings to cases: order of arrival, cuts, partitions, restarts and replays decide nothing.

Understand, thread and care over logs in memory, on sources that name only the parent. What is left
out of the comparison are names, merge histories, revisions and positions, which may differ.
"""

import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import Case
from klingel.testing.broker import InMemoryBroker
from klingel_networks.registry import installed_network
from klingel_processors.care.logic import CareLogic
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.hearing import World
from klingel_processors.understand.logic import UnderstandLogic
from klingel_processors.understand.thread import ThreadLogic

from ..ringing import CHANNEL, NOON, brand, generic, gone, ring

BRAND = brand(
    channels=[{"network": "webhook", "id": CHANNEL}],
    calendars=[{"id": "day", "zone": "Europe/Berlin", "hours": {"mon-fri": ["08:00-20:00"]}}],
    sla=[{"id": "all", "first_response": "60m", "next_response": "30m", "resolution": "2d"}],
    queues=[{"id": "first"}, {"id": "bills"}],
    routing=[{"id": "bills", "when": "rechnung", "queue": "bills", "priority": 20}],
)
BRANDS = {BRAND.brand: BRAND}
RECEIVED = NOON + timedelta(hours=6)
END = NOON + timedelta(days=6)
TEXTS = ("kein netz", "die rechnung ist falsch", "hallo?")
PEOPLE = ("anna", "ben", "nordlicht-team")


class House:
    """All three stages over one log; all of it was received hours ago, so nothing waits."""

    def __init__(self, partitions: int) -> None:
        self.broker = InMemoryBroker(partitions=partitions)
        self.now = RECEIVED + timedelta(minutes=10)
        parts: dict[str, Any] = {
            "networks": installed_network,
            "detect": lambda _text: ("de", 0.9),
            "readers": lambda _model: None,
            "originals": lambda _reference: b"",
            "world": lambda: World(BRANDS, {}),
        }
        stages = (
            lambda number: UnderstandLogic(number, **parts),
            lambda number: ThreadLogic(number, **parts),
            lambda number: CareLogic(number, brands=lambda: BRANDS),
        )
        self.stages = [StageInMemory(self.broker, each, lambda: self.now) for each in stages]

    def hear(self, event: dict[str, Any]) -> None:
        """Let an event ring; nobody reads it yet."""
        self.broker.append(ring(event, channel=CHANNEL, received_at=RECEIVED))

    def work(self) -> None:
        """Let all stages read whatever lies there, and what they send each other."""
        while sum(len(stage.drain()) for stage in self.stages):
            pass

    def end(self) -> list[dict[str, Any]]:
        """Let a week pass; return the cases."""
        self.work()
        self.now = END
        while self.stages[-1].tick(END):
            self.work()
        assert not self.broker.messages(Topic.DEAD_LETTERS)
        found = [codec.decode(Case, value) for value in self.broker.compacted(Topic.CASES).values()]
        return sorted(
            (
                essence(case)
                for case in found
                if case.customer_id is not None
                and case.state not in ("merged", "held")
                and case.closed_because != "withdrawn"
            ),
            key=lambda content: msgspec.json.encode(content, order="deterministic"),
        )


def essence(case: Case) -> dict[str, Any]:
    """Return what a case is, but for names, revisions, positions and when things were noticed."""
    content = msgspec.to_builtins(case)
    for name in ("case_id", "revision", "conversation_id", "terms", "explain", "merged_from"):
        content.pop(name, None)
    content["facts"].sort(key=lambda fact: fact["object"])
    for fact in content["facts"]:
        for name in ("origin", "decision", "customer"):
            fact.pop(name, None)
        if fact.get("opening"):
            fact["opening"].pop("offset", None)
    for fired in content.get("fired") or ():
        fired.pop("fired_at")
        fired.pop("id")
    for escalation in content.get("escalations") or ():
        for name in ("revision", "cause"):
            escalation.pop(name, None)
    return content


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Posts that answer one another, some of the brand, some edited or deleted."""
    events: list[dict[str, Any]] = []
    names: list[str] = []
    for number in range(draw(st.integers(1, 7))):
        at = NOON + timedelta(minutes=number * 7 + draw(st.integers(0, 5)))
        parent = draw(st.sampled_from([*names, "y", "z"]))
        author = draw(st.sampled_from(PEOPLE))
        post = generic(
            str(number),
            draw(st.sampled_from(TEXTS)),
            author={"id": author},
            published_at=at.isoformat(),
            in_reply_to=parent,
        )
        names.append(str(number))
        events.append(post)
        then = {"change": "updated", "revision": 1, "changed_at": (at + timedelta(1)).isoformat()}
        if draw(st.integers(0, 4)) == 0:
            events.append(post | then | {"text": draw(st.sampled_from(TEXTS))})
        if draw(st.integers(0, 5)) == 0:
            later = (at + timedelta(minutes=draw(st.sampled_from([1, 90])))).isoformat()
            events.append(gone(str(number), revision=9, changed_at=later))
    return events


def order_of(events: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """Return any order, some twice, but that nothing is deleted before anybody heard it."""
    arriving = [*events, *chance.choices(events, k=chance.randint(0, 3))]
    chance.shuffle(arriving)
    heard: set[str] = set()
    early: list[dict[str, Any]] = []
    order: list[dict[str, Any]] = []
    for event in arriving:
        if event.get("change") == "deleted" and event["id"] not in heard:
            early.append(event)
            continue
        heard.add(event["id"])
        order.append(event)
    return order + early


def ring_in_some_order(house: House, events: list[dict[str, Any]], chance: random.Random) -> None:
    """Ring, with batches cut anywhere and workers that start anew."""
    for event in order_of(events, chance):
        house.hear(event)
        for stage in house.stages:
            if chance.random() < 0.5:
                stage.advance(chance.randint(1, 3))
            if chance.random() < 0.1:
                stage.restart()
    house.work()


@pytest.mark.exhaustive
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.randoms(use_true_random=False), st.sampled_from([1, 2, 4]), st.booleans())
def test_the_same_posts_come_to_the_same_cases(
    events: list[dict[str, Any]], chance: random.Random, partitions: int, replayed: bool
) -> None:
    expected = House(1)
    for event in events:
        expected.hear(event)
    owed = expected.end()
    house = House(partitions)
    ring_in_some_order(house, events, chance)
    if replayed:
        for stage in house.stages:
            stage.replay()
        house.work()
    assert house.end() == owed
