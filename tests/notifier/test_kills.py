"""Killed at any write, whatever the receiver answers: nothing is lost, no key has two contents."""

import asyncio
import json
import random
from collections import defaultdict
from datetime import timedelta

import pytest

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.domain.notifications import Backoff
from klingel.model import Notification
from klingel.testing.broker import InMemoryBroker
from klingel.testing.clock import FixedClock
from klingel_notifier.letters import webhook_body
from klingel_notifier.senders import Accepted, Failed, Refused
from klingel_notifier.service import NotifierOptions

from .conftest import NOON, Killed, Running, as_output, brand_config, escalation, hook

SEEDS = 40
MATTERS = 12


class Notebook:
    """A receiver that accepts, refuses or is silent by chance, and keeps all that it got."""

    def __init__(self, chance):
        self.chance = chance
        self.bodies = defaultdict(set)
        self.keys = defaultdict(set)
        self.attempts = []
        self.accepted = []
        self.calm = False

    def build(self, _target):
        """Be the sender of every target."""
        return self

    async def send(self, letter):
        """Keep what came, then answer."""
        await asyncio.sleep(0)
        body = webhook_body(letter)
        told = json.loads(body)
        items = told["data"]["items"] if told["type"] == "digest" else [told]
        members = [(each["data"]["escalation_id"], each["data"]["revision"]) for each in items]
        dice = 0.0 if self.calm else self.chance.random()
        if dice > 0.9:
            return Failed("unreachable")
        self.bodies[letter.key].add(body)
        for member in members:
            self.keys[member].add(letter.key)
        self.attempts += members
        if dice > 0.65:
            self.accepted += members  # it has it, and nobody hears of that
            return Failed("no_answer", unsure=True)
        if dice > 0.45:
            return Refused("HTTP 410")
        self.accepted += members
        return Accepted()


class World:
    """What outlives every kill: the log, the receiver, the time."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.broker = InMemoryBroker(partitions=2)
        self.clock = FixedClock(NOON)
        self.book = Notebook(self.chance)
        self.kills = 0
        self.running = self.start()

    def start(self):
        """Start a notifier where the last one left off."""
        from klingel.settings import NotifierSettings  # noqa: PLC0415 - only here
        from klingel_notifier.addresses import Addresses  # noqa: PLC0415 - only here

        targets = [hook(digest_from=3, digest_window="10s"), hook(id="other")]
        made = Running(
            self.broker,
            self.clock,
            Addresses({}),
            None,
            NotifierSettings(),
            None,
            NotifierOptions(commit_seconds=0, backoff=Backoff(first=1, longest=20)),
        )
        made.targets._build = self.book.build
        made.targets.take(brand_config(*targets))
        if not self.book.calm:
            made.sink.lives = self.chance.randrange(1, 25)
        return made

    async def go_on(self, seconds):
        """Let time pass; who is killed is followed by the next one."""
        self.clock.advance(seconds)
        for _ in range(200):
            try:
                await self.running.settle()
            except Killed:
                self.kills += 1
                turns = set(self.running.notifier._turns)
                for turn in turns:
                    turn.cancel()
                await asyncio.gather(*turns, return_exceptions=True)
                self.running = self.start()
            else:
                return
        pytest.fail("killed for ever")


def buried(broker):
    """Return what lies in the dead letters."""
    entries = [
        codec.decode(Notification, each.value) for each in broker.messages(Topic.DEAD_LETTERS)
    ]
    return {(each.matter.partition("/")[2], each.revision) for each in entries}


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_nothing_is_lost_and_no_key_has_two_contents(seed):
    print(f"seed {seed}")  # noqa: T201 - printed when it fails
    world = World(seed)
    newest = {}
    for _ in range(world.chance.randrange(5, 30)):
        number = world.chance.randrange(MATTERS)
        _, revision = newest.get(number, (None, 0))
        state = world.chance.choices(["raised", "acknowledged", "withdrawn"], [6, 2, 1])[0]
        record = escalation(
            number,
            revision=revision + 1,
            state=state,
            target="other" if number % 4 == 0 else "hook",
            recorded_at=world.clock.now() + timedelta(seconds=number),
        )
        newest[number] = (record, revision + 1)
        world.broker.append(as_output(record))
        if world.chance.random() < 0.2:  # an old one comes once more
            old = escalation(number, revision=1, target=record.target)
            if revision:
                world.broker.append(as_output(old))
        if world.chance.random() < 0.6:
            await world.go_on(world.chance.choice([0, 1, 15, 120]))
    world.book.calm = True
    world.running.sink.lives = None
    for _ in range(8):
        await world.go_on(60)
    assert all(len(bodies) == 1 for bodies in world.book.bodies.values())
    assert all(len(keys) == 1 for keys in world.book.keys.values()), "begun under two keys"
    dead = buried(world.broker)
    for record, revision in newest.values():
        told = [found for matter, found in world.book.accepted if matter == record.escalation_id]
        tried = [found for matter, found in world.book.attempts if matter == record.escalation_id]
        assert tried == sorted(tried), "an older revision went out after a newer one"
        found_its_end = revision in told or (record.escalation_id, revision) in dead
        left_out = record.state == "withdrawn"
        assert found_its_end or left_out
    waiting = [
        addressee
        for addressee in world.running.notifier._addressees()
        if addressee.waiting or addressee.batch
    ]
    assert waiting == []


async def test_the_seeds_kill_and_repeat():
    """The test above proves nothing where nobody was killed and nothing came twice."""
    kills = repeats = 0
    for seed in range(12):
        world = World(seed)
        for number in range(MATTERS):
            world.broker.append(as_output(escalation(number, target="hook")))
            await world.go_on(5)
        kills += world.kills
        repeats += len(world.book.attempts) - len(set(world.book.attempts))
    assert kills > 24
    assert repeats > 24
