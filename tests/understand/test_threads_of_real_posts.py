"""Real conversations whose posts name only their parents: grouped, and answered in time.

The posts come in the order of their file and in shuffled orders, through understand, thread and
care. The oracle knows parents, authors and times, and nothing of the code.
"""

import gzip
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import Case, CaseCommand, SocialEvent
from klingel.testing.broker import InMemoryBroker
from klingel_networks.registry import installed_network
from klingel_processors.care.logic import CareLogic
from klingel_processors.follow import Surroundings
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.hearing import World
from klingel_processors.understand.logic import UnderstandLogic
from klingel_processors.understand.thread import ThreadLogic

from ..ringing import CHANNEL, SOURCE, brand, generic, ring
from .conftest import detect

SHUFFLES = 20
FEW_SHUFFLES = 3
SEED = 20_171_204
MOST_AT_ONCE = 300
A_SECOND = 40
"""Posts that arrive in a second."""


class Post(NamedTuple):
    """One post of the file."""

    id: str
    author: str
    inbound: bool
    at: datetime
    parent: str | None
    text: str


class Talk(NamedTuple):
    """What is owed: conversations, and of each customer in one when it began and was answered."""

    conversations: set[frozenset[str]]
    cases: dict[tuple[frozenset[str], str], tuple[datetime, datetime | None]]


@pytest.fixture(scope="module")
def posts(shared_data: Path) -> list[Post]:
    """The posts in the order of their file."""
    with gzip.open(shared_data / "nc/text/twcs_threads.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        Post(
            row["id"],
            row["meta"]["author"],
            row["meta"]["inbound"],
            datetime.strptime(row["meta"]["created_at"], "%a %b %d %H:%M:%S %z %Y"),
            row["meta"].get("in_reply_to"),
            row["text"],
        )
        for row in rows
    ]


def began(posts: Sequence[Post]) -> datetime:
    """Return when the first post is received: after the last was written."""
    return max(post.at for post in posts) + timedelta(hours=1)


def oracle(posts: Sequence[Post], oldest: datetime) -> Talk:
    """Say what must come out: by parents, authors and times alone."""
    by_id = {post.id: post for post in posts}

    def top(name: str) -> str:
        while name in by_id and by_id[name].parent is not None:
            name = by_id[name].parent or ""
        return name

    groups: dict[str, list[Post]] = defaultdict(list)
    for post in posts:
        groups[top(post.id)].append(post)
    talk = Talk(set(), {})
    for group in groups.values():
        name = frozenset(post.id for post in group)
        talk.conversations.add(name)
        customers = {post.author for post in group if post.inbound and post.at >= oldest}
        for customer in customers:
            mine = [p.at for p in group if p.author == customer and p.at >= oldest]
            opened = min(mine)
            answers = [
                p.at
                for p in group
                if not p.inbound and p.at >= opened and _whom(p, by_id, customers) == customer
            ]
            talk.cases[name, customer] = (opened, min(answers, default=None))
    return talk


def _whom(post: Post, by_id: Mapping[str, Post], customers: set[str]) -> str | None:
    """Return the customer that a brand's post answers: up the chain to the first who is none."""
    parent = by_id.get(post.parent or "")
    if parent is None:
        return next(iter(customers)) if len(customers) == 1 else None
    return parent.author if parent.inbound else _whom(parent, by_id, customers)


class House:
    """Understand, thread and care over one log."""

    def __init__(self, carrier: CompiledBrand, now: datetime) -> None:
        self.broker = InMemoryBroker(partitions=4)
        self.now = now
        self.around = Surroundings()
        self.around.brands.by_name = {carrier.brand: carrier}
        self.followed: dict[int, int] = defaultdict(int)
        parts: dict[str, Any] = {
            "networks": installed_network,
            "detect": detect,
            "readers": lambda _model: None,
            "originals": lambda _reference: b"",
            "world": lambda: World(self.around.brands.by_name, self.around.tracking),
        }
        brands = self.around.brands.by_name
        self.understand = self._stage(lambda number: UnderstandLogic(number, **parts))
        self.thread = self._stage(lambda number: ThreadLogic(number, **parts))
        self.care = self._stage(lambda number: CareLogic(number, brands=lambda: brands))

    def _stage(self, logic: Any) -> StageInMemory:
        return StageInMemory(self.broker, logic, lambda: self.now)

    def work(self) -> None:
        """Let all of them take what need not wait."""
        self.understand.drain()
        self.thread.drain()
        self.care.drain()
        for number in range(self.broker.partitions):
            found = self.broker.messages(Topic.TRACKED_CONVERSATIONS, number)
            for message in found[self.followed[number] :]:
                self.around.take(message)
            self.followed[number] = len(found)

    def wait_out(self) -> None:
        """Let the time pass until nothing waits any more."""
        while self.thread.waits_until is not None:
            self.now = max(self.now, self.thread.waits_until)
            self.work()


def ring_all(house: House, posts: Sequence[Post], chance: random.Random) -> None:
    """Let posts arrive, some at once; the stages work in between, as time goes by."""
    at = 0
    start = house.now
    while at < len(posts):
        some = posts[at : at + chance.randint(1, MOST_AT_ONCE)]
        for number, post in enumerate(some, at):
            event = generic(
                post.id,
                post.text,
                author={"id": post.author},
                published_at=f"{post.at:%Y-%m-%dT%H:%M:%SZ}",
                in_reply_to=post.parent,
            )
            house.now = start + timedelta(seconds=number / A_SECOND)
            house.broker.append(ring(event, channel=CHANNEL, received_at=house.now))
        at += len(some)
        house.work()
    house.wait_out()


def native(object_id: str) -> str:
    """Return a post's own id."""
    return object_id.rpartition(":")[2]


def found_in(house: House) -> Talk:
    """Read what came out; what was merged counts as one."""
    into: dict[str, str] = {}
    for message in house.broker.messages(Topic.CASE_COMMANDS):
        command = codec.decode(CaseCommand, message.value)
        if command.facts is None:
            assert command.kind == "merge"
            assert command.into_conversation_id is not None
            assert into.setdefault(command.conversation_id, command.into_conversation_id) == (
                command.into_conversation_id
            )

    def final(conversation: str) -> str:
        passed = {conversation}
        while conversation in into:
            conversation = into[conversation]
            assert conversation not in passed, "merged in a circle"
            passed.add(conversation)
        return conversation

    groups: dict[str, set[str]] = defaultdict(set)
    for message in house.broker.messages(Topic.SOCIAL_EVENTS):
        event = codec.decode(SocialEvent, message.value)
        groups[final(event.conversation_id)].add(native(event.object_id))
    named = {name: frozenset(group) for name, group in groups.items()}
    talk = Talk(set(named.values()), {})
    for value in house.broker.compacted(Topic.CASES).values():
        case = codec.decode(Case, value)
        if case.customer_id is None or case.state in {"merged", "held"}:
            continue
        key = named[final(case.conversation_id)], native(case.customer_id)
        assert key not in talk.cases, "two cases of one customer in one conversation"
        assert case.opened_at is not None
        talk.cases[key] = (case.opened_at, case.first_response_at)
    return talk


@pytest.fixture(scope="module")
def carrier(posts: Sequence[Post]) -> CompiledBrand:
    """One brand that every account of the file speaks for, and that hears all of it."""
    accounts = sorted({post.author for post in posts if not post.inbound})
    return brand(
        "carrier",
        accounts=[{"network": "webhook", "id": f"{SOURCE}:{account}"} for account in accounts],
        channels=[{"network": "webhook", "id": CHANNEL}],
        sla=[{"id": "all", "first_response": "60m"}],
        cases={"close_when": "never", "max_open_age_days": 90},
    )


def check(
    posts: Sequence[Post], arriving: Sequence[Post], carrier: CompiledBrand, seed: int
) -> int:
    print(f"seed {seed}")  # noqa: T201 - the run can be repeated by it
    house = House(carrier, began(posts))
    ring_all(house, arriving, random.Random(seed))
    assert not house.broker.messages(Topic.DEAD_LETTERS)
    owed = oracle(posts, house.now - timedelta(days=90))
    found = found_in(house)
    assert found.conversations == owed.conversations
    assert found.cases == owed.cases
    commands = house.broker.messages(Topic.CASE_COMMANDS)
    return sum(codec.decode(CaseCommand, each.value).facts is None for each in commands)


def test_the_file_is_what_it_is_said_to_be(posts: Sequence[Post]) -> None:
    talk = oracle(posts, datetime.min.replace(tzinfo=posts[0].at.tzinfo))
    several = [
        sum(conversation == of for of, _ in talk.cases) > 1 for conversation in talk.conversations
    ]
    assert (len(posts), len(talk.conversations), sum(several)) == (2442, 656, 58)


@pytest.mark.exhaustive
def test_posts_in_the_order_of_their_file(posts: Sequence[Post], carrier: CompiledBrand) -> None:
    check(posts, posts, carrier, SEED)


def _shuffles() -> Iterator[Any]:
    """Number the shuffles; most are left to `make test`: each takes three seconds of a core."""
    for number in range(SHUFFLES):
        yield pytest.param(number, marks=[pytest.mark.servers] if number >= FEW_SHUFFLES else [])


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", [*_shuffles()])
def test_shuffled_posts(posts: Sequence[Post], carrier: CompiledBrand, number: int) -> None:
    seed = SEED + number
    shuffled = list(posts)
    random.Random(seed).shuffle(shuffled)
    assert check(posts, shuffled, carrier, seed) > 0, "nothing had to be merged"
