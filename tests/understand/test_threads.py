"""What names only its parent: sent on, threaded, told; whatever order it comes in."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.model import CaseCommand, ConversationLink, SocialEvent
from klingel.stage.fates import Fate, Outcome
from klingel.testing.broker import InMemoryBroker
from klingel_networks.registry import installed_network
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.hearing import World
from klingel_processors.understand.logic import UnderstandLogic
from klingel_processors.understand.thread import ThreadLogic

from ..ringing import NOON, SOURCE, generic, gone, ring
from .conftest import BRANDS, detect

LATE = NOON + timedelta(minutes=1)
QUIET = "kein netz"


def conversation(native_id: str) -> str:
    """Return the conversation that is named after an object."""
    return f"webhook:{SOURCE}:{native_id}"


class House:
    """Understand and thread over one log."""

    def __init__(self, partitions: int = 1) -> None:
        self.broker = InMemoryBroker(partitions=partitions)
        self.brands = dict(BRANDS)
        self.tracking: dict[str, frozenset[str]] = {}
        self.now = LATE
        self.detector = detect
        self.understand = StageInMemory(self.broker, self._understand, lambda: self.now)
        self.thread = StageInMemory(self.broker, self._thread, lambda: self.now)

    def _understand(self, partition: int) -> UnderstandLogic:
        return UnderstandLogic(partition, **self._parts())

    def _thread(self, partition: int) -> ThreadLogic:
        return ThreadLogic(partition, **self._parts())

    def _detect(self, text: str) -> tuple[str, float]:
        return self.detector(text)

    def _parts(self) -> dict[str, Any]:
        return {
            "networks": installed_network,
            "detect": self._detect,
            "readers": lambda _model: None,
            "originals": lambda _reference: b"",
            "world": lambda: World(self.brands, self.tracking),
        }

    def hear(self, *events: Mapping[str, Any], **how: Any) -> list[tuple[Fate, str]]:
        """Ring, let both work, and return what thread decided."""
        for event in events:
            self.broker.append(ring(dict(event), **how))
        self.understand.drain()
        return fates(self.thread.drain())

    def wait_out(self) -> None:
        """Let the time pass until nothing waits."""
        while self.thread.waits_until is not None:
            assert self.thread.waits_until > self.now
            self.now = self.thread.waits_until
            self.thread.drain()

    def told(self) -> dict[str, str]:
        """Return the conversation of each event, as it was told last."""
        return {event.event_id: event.conversation_id for event in self.social()}

    def social(self) -> list[SocialEvent]:
        """Return all social events said so far."""
        return [
            codec.decode(SocialEvent, message.value)
            for message in self.broker.messages(Topic.SOCIAL_EVENTS)
        ]

    def commands(self) -> list[CaseCommand]:
        """Return the commands."""
        return [
            codec.decode(CaseCommand, message.value)
            for message in self.broker.messages(Topic.CASE_COMMANDS)
        ]

    def merges(self) -> list[tuple[str, str, str]]:
        """Return brand, conversation that gives up and the one that goes on, of each merge."""
        return [
            (each.brand, each.conversation_id, each.into_conversation_id or "")
            for each in self.commands()
        ]

    def unthreaded(self) -> list[Message]:
        """Return what understand sent on."""
        return self.broker.messages(Topic.UNTHREADED_EVENTS)

    def link(self, native_id: str) -> ConversationLink | None:
        """Return what thread knows of an object."""
        value = self.thread.tables()["links"].get(conversation(native_id).encode())
        return None if value is None else codec.decode(ConversationLink, value)

    def state(self) -> list[dict[bytes, bytes]]:
        """Return the local state of thread."""
        return [
            dict(self.thread.tables(number)["links"]._values)
            for number in range(self.broker.partitions)
        ]


def fates(outcomes: Sequence[Outcome]) -> list[tuple[Fate, str]]:
    """Return fate and reason of each."""
    return [(outcome.fate, outcome.reason) for outcome in outcomes]


def reply(native_id: str, parent: str, text: str | None = "hallo nordlicht", **more: Any) -> dict:
    """Build an event that names only its parent."""
    return generic(native_id, text, in_reply_to=parent, **more)


@pytest.fixture
def house() -> House:
    """A house where nothing rang yet; whatever rings was received a minute ago."""
    return House()


DELIVERED = (Fate.DELIVERED, "")


def test_what_names_only_its_parent_is_sent_on_as_it_came(house: House) -> None:
    """By its source, so that one worker sees all objects of it; nobody hears it from understand."""
    house.broker.append(ring(reply("2", "1")))
    house.broker.append(ring(generic("1"), source="else"))
    assert fates(house.understand.drain()) == [DELIVERED] * 2
    (sent,) = house.unthreaded()
    (raw, _) = house.broker.messages(Topic.RAW_EVENTS)
    assert (sent.key, sent.value) == (b"webhook:forum", raw.value)
    assert sent.header("klingel-source") == b"raw-events/0/0/0"
    assert [event.object_id for event in house.social()] == ["webhook:else:1"]


def test_an_object_that_others_do_not_answer_stays_with_understand(house: House) -> None:
    """A root, and what names its conversation beside its parent."""
    assert house.hear(generic("1"), reply("2", "1", conversation_id="1")) == []
    assert len(house.told()) == 2


def test_a_reply_talks_in_the_conversation_of_what_it_answers(house: House) -> None:
    house.hear(generic("1"), reply("2", "1"), reply("3", "2"), reply("4", "3"))
    assert set(house.told().values()) == {conversation("1")}
    (event,) = [each for each in house.social() if each.object_id.endswith(":3")]
    assert event.threading == "parent_only"
    assert (event.in_reply_to, event.origin.topic) == (conversation("2"), "raw-events")
    assert event.origin.offset == 2
    assert house.merges() == []


def test_a_reply_to_what_nobody_knows_waits_and_then_talks_under_its_id(house: House) -> None:
    """Five seconds from its receipt; until then nothing of it or of what lies behind is passed."""
    house.now = NOON + timedelta(seconds=6)
    assert house.hear(reply("3", "2"), generic("x"), reply("x2", "x")) == []
    assert house.thread.waits_until == NOON + timedelta(seconds=10)
    assert house.broker.messages(Topic.CONVERSATION_LINKS) == []
    house.now = NOON + timedelta(seconds=9.9)
    assert house.thread.drain() == []
    house.wait_out()
    assert house.now == NOON + timedelta(seconds=10)
    told = house.told()
    assert told["nordlicht/webhook:forum:3@0"] == conversation("2")
    assert told["nordlicht/webhook:forum:x2@0"] == conversation("x")


def test_a_parent_that_comes_in_time_needs_no_merge(house: House) -> None:
    house.hear(reply("1", "0"))
    house.now = NOON + timedelta(seconds=6)
    assert house.hear(reply("3", "2")) == []
    house.now = NOON + timedelta(seconds=7)
    house.hear(reply("2", "1"))
    assert set(house.told().values()) == {conversation("0")}
    assert len(house.told()) == 3
    assert house.merges() == []


def test_a_chain_that_lies_ahead_is_known_whole(house: House) -> None:
    """The last first; the first of them answers what is known."""
    house.hear(reply("1", "0"))
    house.now = NOON + timedelta(seconds=6)
    house.hear(reply("4", "3"), reply("3", "2"), reply("2", "1"))
    assert house.thread.waits_until is None
    assert set(house.told().values()) == {conversation("0")}
    assert house.merges() == []


def test_a_conversation_with_an_open_case_is_known(house: House) -> None:
    """Its root went another way; nothing of it lies in this stage."""
    house.now = NOON + timedelta(seconds=6)
    house.tracking[conversation("1")] = frozenset({"nordlicht"})
    assert house.hear(reply("2", "1", QUIET)) == [DELIVERED]
    (event,) = house.social()
    assert [match.how for match in event.matches] == ["tracked"]


@pytest.mark.parametrize(
    ("mode", "received"), [("backfill", NOON), ("remap", NOON), ("live", NOON + timedelta(hours=1))]
)
def test_what_is_not_fresh_waits_for_nothing(house: House, mode: str, received: datetime) -> None:
    """Nor does what was received in the future, by a clock that is wrong."""
    house.now = NOON + timedelta(seconds=1)
    assert house.hear(reply("2", "1"), mode=mode, received_at=received) == [DELIVERED]


def test_siblings_share_a_conversation_and_the_second_does_not_wait(house: House) -> None:
    house.hear(reply("2", "1"))
    house.now = NOON + timedelta(seconds=6)
    assert house.hear(reply("3", "1")) == [DELIVERED]
    assert set(house.told().values()) == {conversation("1")}


def test_a_parent_that_comes_too_late_merges(house: House) -> None:
    """What was told under its id goes on where it belongs; later replies go there at once."""
    house.hear(reply("3", "2"))
    house.hear(reply("2", "1"))
    assert house.merges() == [("nordlicht", conversation("2"), conversation("1"))]
    (command,) = house.commands()
    assert (command.kind, command.by, command.case_id) == ("merge", "understand", None)
    assert command.cause == "webhook:forum:2@0"
    house.hear(reply("4", "3"))
    house.hear(reply("3", "2", "edited", change="updated", revision=5))
    told = house.told()
    assert told["nordlicht/webhook:forum:4@0"] == conversation("1")
    assert told["nordlicht/webhook:forum:3@5"] == conversation("2")
    assert len(house.commands()) == 1


def test_conversations_that_nobody_heard_merge_for_nobody(house: House) -> None:
    house.hear(reply("3", "2", QUIET))
    house.hear(reply("2", "1"))
    assert house.merges() == []


def test_a_parent_that_nobody_hears_merges_all_the_same(house: House) -> None:
    """Step by step: the brand that heard the lowest follows it to the top."""
    house.hear(reply("4", "3"))
    house.hear(reply("3", "2", QUIET))
    house.hear(reply("2", "1", QUIET))
    assert house.merges() == [
        ("nordlicht", conversation("3"), conversation("2")),
        ("nordlicht", conversation("2"), conversation("1")),
    ]
    assert list(house.told().values()) == [conversation("3")]


def test_a_brand_that_comes_to_hear_later_follows_too(house: House) -> None:
    """By an edit, in a conversation that was merged before for another brand."""
    house.hear(reply("3", "2"))
    house.hear(reply("2", "1", QUIET))
    house.hear(reply("3", "2", "kuestenstrom!", change="updated", revision=1))
    house.hear(reply("1", "0", QUIET))
    assert set(house.merges()) == {
        ("nordlicht", conversation("2"), conversation("1")),
        ("kuestenstrom", conversation("2"), conversation("1")),
        ("nordlicht", conversation("1"), conversation("0")),
        ("kuestenstrom", conversation("1"), conversation("0")),
    }


def test_who_has_a_case_under_the_parents_id_hears_the_parent(house: House) -> None:
    house.hear(reply("3", "2"))
    house.tracking[conversation("2")] = frozenset({"nordlicht"})
    assert house.hear(reply("2", "1", QUIET)) == [DELIVERED]
    assert house.told()["nordlicht/webhook:forum:2@0"] == conversation("1")


def test_who_has_a_case_where_a_conversation_goes_on_hears_edits(house: House) -> None:
    house.hear(reply("3", "2", QUIET))
    house.hear(reply("2", "1", QUIET))
    house.tracking[conversation("1")] = frozenset({"nordlicht"})
    assert house.hear(reply("3", "2", "edited", change="updated", revision=1)) == [DELIVERED]
    assert list(house.told().values()) == [conversation("2")]
    assert house.merges() == [("nordlicht", conversation("2"), conversation("1"))]


def test_what_became_a_dead_letter_is_no_way_to_its_parent(house: House) -> None:
    """Where a batch is cut must not matter: an object that was never decided is not known."""

    def broken(text: str) -> tuple[str, float]:
        if "boom" in text:
            raise ZeroDivisionError
        return "de", 0.9

    house.detector = broken
    house.hear(reply("1", "0"))
    house.hear(reply("2", "1", "boom nordlicht"), reply("3", "2"))
    assert len(house.broker.messages(Topic.DEAD_LETTERS)) == 1
    assert house.told()["nordlicht/webhook:forum:3@0"] == conversation("2")


@pytest.mark.parametrize(
    "events",
    [
        [reply("1", "1")],
        [reply("1", "2"), reply("2", "1")],
        [reply("1", "2"), reply("2", "3"), reply("3", "1")],
        [reply("9", "1"), reply("1", "2"), reply("2", "3"), reply("3", "1"), reply("8", "3")],
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_source_whose_objects_answer_each_other_in_a_circle(
    house: House, events: list[dict[str, Any]], at_once: bool
) -> None:
    """They are one conversation; no merge leads back to where it began."""
    for some in [events] if at_once else [[event] for event in events]:
        house.hear(*some)
    assert len({final(house.merges(), "nordlicht", at) for at in house.told().values()}) == 1
    assert len(house.told()) == len(events)


def test_edits_and_deletions_go_the_same_way(house: House) -> None:
    """They need not name the parent; conversation, brands and index are those of the first sight."""
    house.hear(reply("2", "1", kind="review"))
    house.hear(generic("2", "edited", change="updated", revision=4), gone("2"))
    first, edit, deletion = house.social()
    assert (edit.change, deletion.change) == ("updated", "deleted")
    assert {each.conversation_id for each in (first, edit, deletion)} == {conversation("1")}
    assert {each.index for each in (first, edit, deletion)} == {"2026.03"}
    assert (deletion.kind, deletion.text) == ("review", None)
    link = house.link("2")
    assert link is not None
    assert link.deleted


def test_a_deletion_before_the_first_sight_is_lost_with_what_follows(house: House) -> None:
    assert house.hear(gone("2"), reply("2", "1")) == []
    assert house.told() == {}


def test_what_was_discarded_before_the_first_sight_stays_so_on_a_replay(house: House) -> None:
    """A deletion, the creation before it, and then an edit that is younger than both."""
    edit = reply("2", "1", "nordlicht, edited", change="updated", revision=5)
    assert house.hear(gone("2", revision=2), reply("2", "1"), edit) == [DELIVERED]
    house.understand.replay()
    house.understand.drain()
    assert len(house.unthreaded()) == 2
    house.thread.drain()
    assert list(house.told()) == ["nordlicht/webhook:forum:2@5"]


def test_the_deletion_of_what_is_only_named_tells_nothing(house: House) -> None:
    house.hear(reply("2", "1"))
    assert house.hear(gone("1")) == []
    assert len(house.told()) == 1


def test_a_duplicate_is_counted_here_and_told_to_brands_that_hear_it_only_now(house: House) -> None:
    again = reply("2", "1", metrics={"likes": 7})
    assert house.hear(reply("2", "1"), again) == [DELIVERED, (Fate.DISCARDED, "duplicate")]
    house.tracking[conversation("1")] = frozenset({"kuestenstrom"})
    assert house.hear(again) == [DELIVERED]
    assert [event.brand for event in house.social()] == ["nordlicht", "kuestenstrom"]


@pytest.mark.parametrize("batch", [1, 1000])
def test_what_completes_an_event_is_merged_with_it(house: House, batch: int) -> None:
    for event in (reply("2", "1"), reply("2", "1", None, media=[{"kind": "image", "id": "m"}])):
        house.broker.append(ring(event | {"text": event.get("text", "hallo nordlicht!")}))
    house.understand.drain()
    house.thread.drain(batch)
    _, whole = house.social()
    assert [medium.id for medium in whole.media or ()] == ["m"]


HISTORY = [
    reply("4", "3"),
    reply("3", "2", "kuestenstrom"),
    reply("2", "1", QUIET),
    reply("3", "2", "kuestenstrom", metrics={"likes": 1}),
    reply("3", "2", "nordlicht, edited", change="updated", revision=2),
    gone("4"),
    reply("5", "4"),
    reply("5", "4", "hallo nordlicht, kuestenstrom"),
]


@pytest.mark.parametrize("stage", ["understand", "thread"])
@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_a_replay_changes_nothing(house: House, stage: str, batch: int) -> None:
    """Of raw events or of this stage's own input, in any cut; nor do cases that were opened since."""
    for event in HISTORY:
        house.hear(event)
    told, state, merges = house.told(), house.state(), set(house.merges())
    assert merges
    texts = {event.event_id: event.text for event in house.social()}
    house.tracking[conversation("1")] = frozenset({"nordlicht", "kuestenstrom"})
    getattr(house, stage).replay()
    house.understand.drain(batch)
    house.thread.drain(batch)
    assert house.told() == told
    assert {event.event_id: event.text for event in house.social()} == texts
    assert house.state() == state
    assert set(house.merges()) == merges
    assert len({each.command_id for each in house.commands()}) == len(merges)


def test_state_comes_back_from_its_mirror(house: House) -> None:
    for event in HISTORY:
        house.hear(event)
    state = house.state()
    house.thread.restart()
    assert house.state() == state


def test_what_brands_heard_before_this_stage_was_stays_with_understand(house: House) -> None:
    """An entry of an earlier version holds brands."""
    house.hear(reply("2", "1"))
    value = house.understand.tables()["directory"].get(b"webhook:forum:2")
    assert value is not None
    house.understand.tables()["directory"].apply(
        [(b"webhook:forum:2", value.replace(b'"brands":{}', b'"brands":{"nordlicht":"rule"}'))], 9
    )
    before = len(house.unthreaded())
    assert house.hear(gone("2")) == []
    assert len(house.unthreaded()) == before
    assert house.social()[-1].change == "deleted"


def final(merges: Sequence[tuple[str, str, str]], name: str, at: str) -> str:
    """Follow a brand's merges to where a conversation goes on."""
    into = {source: target for brand_, source, target in merges if brand_ == name}
    passed = set()
    while at in into:
        assert at not in passed, "merged in a circle"
        passed.add(at)
        at = into[at]
    return at


TEXTS = ["hallo nordlicht", "kuestenstrom!", "nordlicht oder kuestenstrom", QUIET]


@st.composite
def forests(draw: st.DrawFn) -> list[tuple[dict[str, Any], str]]:
    """Objects that answer one another or something that never comes, each with its top."""
    tops: dict[str, str] = {}
    events = []
    for number in range(draw(st.integers(1, 9))):
        name = str(number)
        parent = draw(st.sampled_from([*tops, "y", "z"]))
        tops[name] = tops.get(parent, parent)
        event = reply(name, parent, draw(st.sampled_from(TEXTS)))
        events.append((event, tops[name]))
    return events


@pytest.mark.exhaustive
@settings(max_examples=150)
@given(
    forests(),
    st.randoms(use_true_random=False),
    st.sampled_from([1, 3]),
    st.booleans(),
)
def test_who_belongs_together_is_the_same_whatever_comes_first(
    forest: list[tuple[dict[str, Any], str]],
    chance: random.Random,
    partitions: int,
    in_time: bool,
) -> None:
    """For any order, cut and restart; in time or too late: each brand's events of one top, and no more."""
    house = House(partitions)
    arriving = list(forest)
    chance.shuffle(arriving)
    for event, _ in arriving:
        house.now = house.now if in_time else LATE + timedelta(hours=1)
        house.broker.append(ring(event, received_at=house.now if in_time else NOON))
        if chance.random() < 0.5:
            house.understand.drain(chance.randint(1, 4))
            house.thread.drain(chance.randint(1, 4))
        if chance.random() < 0.2:
            house.thread.restart()
        house.now += timedelta(seconds=chance.choice([0, 1, 6]))
    house.understand.drain()
    house.thread.drain()
    house.wait_out()
    tops = {conversation(event["id"]): top for event, top in forest}
    for name in BRANDS:
        groups: dict[str, set[str]] = defaultdict(set)
        owed: dict[str, set[str]] = defaultdict(set)
        for event in house.social():
            if event.brand == name:
                at = final(house.merges(), name, event.conversation_id)
                groups[at].add(event.object_id)
        for event, top in forest:
            if name in event["text"]:
                owed[top].add(conversation(event["id"]))
        assert {frozenset(each) for each in groups.values()} == {
            frozenset(each) for each in owed.values()
        }
        assert all(tops[next(iter(each))] for each in groups.values())
