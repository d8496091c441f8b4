"""Cases under commands, timers and merges: whatever comes in which order, the same cases come of it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, get_args
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from klingel.config.compiled import CompiledBrand
from klingel.domain import conversation
from klingel.domain.cases import ConversationState, fold_command, fold_event, pass_time, wake
from klingel.domain.routing import Routing, route
from klingel.domain.threading import BY
from klingel.domain.timers import due_at, fire
from klingel.model.case import Case
from klingel.model.case_command import CaseCommand
from klingel.model.social_event import SocialEvent
from klingel.testing.conversations import (
    NOON,
    ROOT,
    answered,
    compiled_brand,
    deleted,
    said,
)

from .test_cases_fold import CUSTOMERS, conversations, orders

END = NOON + timedelta(days=30)
BRAND = compiled_brand(
    calendars=[
        {"id": "day", "zone": "Europe/Berlin", "hours": {"mon-fri": ["08:00-20:00"]}},
    ],
    sla=[
        {
            "id": "all",
            "first_response": "60m",
            "next_response": "30m",
            "resolution": "3d",
            "pause_when": ["waiting", "snoozed"],
        }
    ],
    escalation=[
        {"id": "lead", "on": ["warned"], "raise_after": "2h", "raise_to": "head"},
        {"id": "head", "on": ["breached"], "queue": "second"},
    ],
    queues=[{"id": "first"}, {"id": "second"}],
    cases={"close_when": "never", "reopen_within_days": 1},
    triage={"utterance_seconds": 3600},
)
PARTS = (ROOT, "bluesky:network:part", "bluesky:network:third")
Arrival = tuple[int, SocialEvent] | CaseCommand
Kind = Literal["close", "reopen", "snooze", "assign", "acknowledge", "override", "split"]


class World:
    """All conversations of a brand, folded one input after the other."""

    def __init__(self, brand: CompiledBrand = BRAND) -> None:
        self.brand = brand
        self.states: dict[str, ConversationState] = {}
        self.queue: list[CaseCommand] = []
        self.count = 0

    def state(self, conversation: str = ROOT) -> ConversationState:
        """Return a conversation."""
        return self.states.get(conversation, ConversationState())

    def hear(self, event: SocialEvent, offset: int) -> None:
        """Fold an event."""
        folded = fold_event(
            self.state(event.conversation_id), event, (0, offset), self._route, self.brand, END
        )
        self.states[event.conversation_id] = folded.change.state
        self.queue += folded.change.commands

    def order(self, command: CaseCommand) -> str:
        """Fold a command."""
        state = self.state(command.conversation_id)
        folded = fold_command(state, command, self.brand, END)
        self.states[command.conversation_id] = folded.change.state
        self.queue += folded.change.commands
        return folded.result

    def settle(self) -> None:
        """Let conversations read what others sent them, until nobody sends anything."""
        for _ in range(1000):
            if not self.queue:
                return
            self.order(self.queue.pop(0))
        raise AssertionError("they never come to an end")

    def pass_to(self, now: datetime) -> None:
        """Fire everything that is due by `now`."""
        for name in list(self.states):
            for _ in range(100):
                if not self._fire_one(name, now):
                    break

    def _fire_one(self, conversation: str, now: datetime) -> bool:
        state = self.state(conversation)
        for case in state.cases.values():
            due = due_at(case, self.brand.max_open_age)
            if due is None or due > now:
                continue
            firing = fire(case, now, now, self.brand)
            if firing is None or firing.case is None:
                continue
            if firing.wakes:
                self.states[conversation] = wake(state, firing, self.brand, now).state
            else:
                after, _, _ = pass_time(case, firing, self.brand, now)
                assert after is not None
                self.states[conversation] = state.replaced(after)
            return True
        return False

    def _route(self, event: SocialEvent, again: bool) -> Routing:
        return route(event, self.brand, again=again)


def essence(case: Case) -> dict[str, Any]:
    """Return what a case is, but for names, revisions, positions and when things were noticed."""
    content = msgspec.to_builtins(case)
    for name in ("case_id", "revision", "conversation_id", "terms", "explain"):
        content.pop(name, None)
    for fact in content["facts"]:
        for name in ("origin", "decision", "customer"):
            fact.pop(name, None)
        if fact.get("opening"):
            fact["opening"].pop("offset", None)
    for fired in content.get("fired") or ():
        fired.pop("fired_at")
        fired.pop("id")
    for escalation in content.get("escalations") or ():
        escalation.pop("revision", None)
        escalation.pop("cause", None)
    return content


def cases_of(world: World, conversation: str = ROOT) -> list[dict[str, Any]]:
    """Return the cases of a conversation that go on there."""
    cases = world.state(conversation).cases.values()
    return [essence(case) for case in sorted(cases, key=lambda case: case.case_id)]


@st.composite
def scattered(draw: st.DrawFn) -> list[SocialEvent]:
    """The events of one conversation, each object in one of three that are not yet known as one."""
    events = draw(conversations())
    home = {
        name: draw(st.sampled_from(PARTS))
        for name in sorted({event.object_id for event in events})
        if name != ROOT
    }
    return [replace(event, conversation_id=home.get(event.object_id, ROOT)) for event in events]


@st.composite
def arrivals(draw: st.DrawFn, inputs: Sequence[Arrival]) -> list[Arrival]:
    """Any order of arrival, but that nothing is read anew before it was read."""
    order = draw(st.permutations(inputs))
    first: dict[str, int] = {}
    for at, each in enumerate(order):
        if isinstance(each, CaseCommand):
            continue
        event = each[1]
        if event.event_id not in first:
            first[event.event_id] = at
        elif event.origin.mode != "remap":
            earlier = first[event.event_id]
            order[earlier], order[at] = order[at], order[earlier]
    return order


def merge(source: str, target: str) -> CaseCommand:
    return CaseCommand(
        command_id=f"merge-{source}",
        brand="nordlicht",
        conversation_id=source,
        kind="merge",
        at=END,
        by=BY,
        into_conversation_id=target,
    )


MERGES = (merge(PARTS[2], PARTS[1]), merge(PARTS[1], PARTS[0]))


@pytest.mark.exhaustive
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=scattered(), data=st.data())
def test_what_is_found_to_be_one_conversation_gives_the_cases_of_one(
    events: list[SocialEvent], data: st.DataObject
) -> None:
    """Links that come late, in any order, between any two events: the same cases in the end."""
    together = World()
    for offset, event in enumerate(events):
        together.hear(replace(event, conversation_id=ROOT), offset)
    apart = World()
    for each in data.draw(arrivals([*enumerate(events), *MERGES])):
        if isinstance(each, CaseCommand):
            apart.order(each)
        else:
            apart.hear(each[1], each[0])
        if data.draw(st.booleans()):
            apart.settle()
    apart.settle()
    assert cases_of(apart) == cases_of(together)
    for part in PARTS[1:]:
        assert {case.state for case in apart.state(part).cases.values()} <= {"merged"}


@pytest.mark.exhaustive
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=conversations(), data=st.data())
def test_commands_find_their_place_whatever_arrives_after_them(
    events: list[SocialEvent], data: st.DataObject
) -> None:
    """What people said of a case holds at its time, also when earlier words come to light later."""
    known = data.draw(st.integers(1, len(events)))
    commands: list[CaseCommand] = []
    one = World()
    for offset, event in enumerate(events[:known]):
        one.hear(event, offset)
    for number, case in enumerate(
        sorted(one.state().cases.values(), key=lambda each: each.case_id)
    ):
        kind: Kind = data.draw(
            st.sampled_from(["close", "reopen", "snooze", "assign", "acknowledge"])
        )
        at = NOON + timedelta(minutes=data.draw(st.integers(0, 60 * 80)))
        command = CaseCommand(
            command_id=f"c{number}",
            brand="nordlicht",
            conversation_id=ROOT,
            case_id=case.case_id,
            kind=kind,
            at=at,
            by="maike",
            assignee="mk" if kind == "assign" else None,
            until=at + timedelta(hours=5) if kind == "snooze" else None,
        )
        if one.order(command) == "applied":
            commands.append(command)
    other = World()
    other.states = dict(one.states)
    rest = list(enumerate(events))[known:]
    for offset, event in rest:
        one.hear(event, offset)
    for offset, event in data.draw(orders(rest)):
        other.hear(event, offset)
    for command in commands:
        assert other.order(command) == "repeated"
    assert cases_of(other) == cases_of(one)


@pytest.mark.exhaustive
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=conversations(), data=st.data())
def test_timers_say_the_same_in_the_end_whenever_they_fire(
    events: list[SocialEvent], data: st.DataObject
) -> None:
    """Warned and breached in between or only at the end: late is what the facts say is late."""
    late = World()
    for offset, event in enumerate(events):
        late.hear(event, offset)
    late.pass_to(END)
    early = World()
    for offset, event in enumerate(events):
        early.hear(event, offset)
        if data.draw(st.booleans()):
            early.pass_to(NOON + timedelta(minutes=data.draw(st.integers(0, 60 * 80))))
    early.pass_to(END)
    for name in ("clocks", "late", "state", "turns", "due_at"):
        told = [getattr(case, name) for case in _sorted(early)]
        assert told == [getattr(case, name) for case in _sorted(late)], name
    for case in _sorted(early):
        ids = [fired.id for fired in case.fired or ()]
        assert len(ids) == len(set(ids))


@st.composite
def orders_of_people(draw: st.DrawFn) -> list[CaseCommand]:
    """What people want of customers' cases, known or not, at any time."""
    commands: list[CaseCommand] = []
    for number in range(draw(st.integers(1, 4))):
        kind: Kind = draw(st.sampled_from(get_args(Kind)))
        at = NOON + timedelta(minutes=draw(st.integers(0, 60 * 80)))
        split = f"bluesky:network:w{draw(st.integers(0, 5))}"
        commands.append(
            CaseCommand(
                command_id=f"p{number}",
                brand="nordlicht",
                conversation_id=ROOT,
                customer_id=draw(st.sampled_from(CUSTOMERS)),
                object_id=split if kind == "split" else None,
                kind=kind,
                at=at,
                by="maike",
                assignee="mk" if kind == "assign" else None,
                until=at + timedelta(hours=3) if kind == "snooze" else None,
                queue="second" if kind == "override" else None,
            )
        )
    return commands


def folded(inputs: Sequence[Arrival]) -> World:
    """Return the world after some inputs."""
    world = World()
    for each in inputs:
        if isinstance(each, CaseCommand):
            world.order(each)
        else:
            world.hear(each[1], each[0])
    return world


@pytest.mark.exhaustive
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=conversations(), commands=orders_of_people(), data=st.data())
def test_folding_only_what_commands_and_words_reach_gives_the_same_as_folding_all(
    events: list[SocialEvent], commands: list[CaseCommand], data: st.DataObject
) -> None:
    """A conversation of thousands decides as one of three does."""
    inputs = data.draw(arrivals([*enumerate(events), *commands]))
    with patch.object(conversation, "SMALL", 10**9):
        everything = folded(inputs)
    with patch.object(conversation, "SMALL", 0):
        reached = folded(inputs)
    assert cases_of(reached) == cases_of(everything)


@pytest.mark.exhaustive
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=conversations(), commands=orders_of_people(), data=st.data())
def test_reading_words_and_commands_anew_in_any_mixture_changes_nothing(
    events: list[SocialEvent], commands: list[CaseCommand], data: st.DataObject
) -> None:
    """The two topics are read side by side: a command that was refused may come after its case."""
    inputs = data.draw(arrivals([*enumerate(events), *commands]))
    world = folded(inputs)
    before = dict(world.states)
    for each in data.draw(st.permutations(inputs)):
        if isinstance(each, CaseCommand):
            assert world.order(each) == "repeated"
        else:
            world.hear(each[1], each[0])
    assert world.states == before


OWN = {PARTS[0]: "rosa", PARTS[1]: "paul", PARTS[2]: "tina"}
"""Who speaks in one conversation alone: a merge of their cases means the same at any time."""


@st.composite
def merges(draw: st.DrawFn, *, threads: bool) -> list[CaseCommand]:
    """Merges of conversations, in circles too, and of cases.

    Args:
        draw: draws.
        threads: whether some follow what a thread tells, not the order of ids.
    """
    commands: list[CaseCommand] = []
    left = sorted(PARTS)[1:]
    for number in range(draw(st.integers(1, 5))):
        whole = not left or draw(st.booleans())
        source, target = draw(st.permutations(PARTS))[:2]
        if not whole:
            source = left.pop(draw(st.integers(0, len(left) - 1)))
            target = draw(st.sampled_from([part for part in PARTS if part < source]))
        upwards = PARTS.index(source) > PARTS.index(target)
        commands.append(
            CaseCommand(
                command_id=f"m{number}",
                brand="nordlicht",
                conversation_id=source,
                customer_id=None if whole else OWN[source],
                kind="merge",
                at=END + timedelta(seconds=draw(st.integers(0, 3))),
                by=BY if threads and whole and upwards else "maike",
                into_conversation_id=target,
                into_customer_id=None if whole else draw(st.sampled_from(CUSTOMERS)),
            )
        )
    return commands


def matters(world: World) -> set[tuple[str, str, frozenset[str]]]:
    """Return what goes on where: conversation, customer and the objects of its cases."""
    found: dict[tuple[str, str], set[str]] = {}
    for state in world.states.values():
        for case in state.cases.values():
            if case.state != "merged":
                place = case.conversation_id, case.customer_id
                found.setdefault(place, set()).update(fact.object for fact in case.facts)
    return {(*place, frozenset(objects)) for place, objects in found.items()}


def merged(commands: Sequence[CaseCommand], settles: Sequence[bool]) -> World:
    """Return what becomes of three conversations under merges, which are read at once or later."""
    world = World()
    people = ((part, one) for part in PARTS for one in (*CUSTOMERS, OWN[part]))
    for minute, (part, one) in enumerate(people):
        world.hear(said(f"{part[-5:]}-{one}", one, minute, conversation=part), minute)
    for command, settles_now in zip(commands, settles, strict=True):
        world.order(command)
        if settles_now:
            world.settle()
    world.settle()
    return world


@st.composite
def further_words(draw: st.DrawFn) -> list[SocialEvent]:
    """What is said where merges have been: words, answers to them or to nobody, deletions."""
    events: list[SocialEvent] = []
    for number in range(draw(st.integers(1, 5))):
        part = draw(st.sampled_from(PARTS))
        one = draw(st.sampled_from([*CUSTOMERS, OWN[part]]))
        minute = 30 + draw(st.integers(0, 600))
        parent = draw(st.sampled_from([None, f"{part[-5:]}-{one}"]))
        name = f"further{number}"
        if draw(st.booleans()):
            events.append(said(name, one, minute, conversation=part, in_reply_to=parent))
        else:
            events.append(answered(name, minute, conversation=part, in_reply_to=parent))
        if draw(st.integers(0, 3)) == 0:
            gone = deleted(name, minute + 5)
            events.append(replace(gone, conversation_id=part))
    return events


@pytest.mark.exhaustive
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(commands=merges(threads=True), events=further_words())
def test_what_is_sent_on_reaches_the_same_in_a_conversation_of_thousands(
    commands: list[CaseCommand], events: list[SocialEvent]
) -> None:
    """Only whom a few facts can change is folded anew."""

    def told(small: int) -> list[list[dict[str, Any]]]:
        with patch.object(conversation, "SMALL", small):
            world = merged(commands, [False] * len(commands))
            for offset, event in enumerate(events):
                world.hear(event, 100 + offset)
                world.settle()
        return [cases_of(world, part) for part in PARTS]

    assert told(0) == told(10**9)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), threads=st.booleans())
def test_whatever_merges_into_whatever_goes_on_in_one_place(
    data: st.DataObject, threads: bool
) -> None:
    """No word is lost, none counts twice, and people's merges commute."""
    commands = data.draw(merges(threads=threads))
    settles = data.draw(st.lists(st.booleans(), min_size=len(commands), max_size=len(commands)))
    one = matters(merged(commands, settles))
    objects = [each for _, _, among in one for each in among]
    assert len(objects) == len(set(objects)) == len(PARTS) * (len(CUSTOMERS) + 1)
    if not threads:
        assert matters(merged(data.draw(st.permutations(commands)), settles)) == one


def _sorted(world: World) -> list[Case]:
    cases = world.state().cases.values()
    return sorted(cases, key=lambda case: case.case_id)
