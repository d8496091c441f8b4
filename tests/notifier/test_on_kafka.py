"""Real workers on a real Kafka, killed and frozen while they tell: 0 lost, one content a key."""

import asyncio
import json
import os
import random
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import aiokafka
import pytest

from klingel.config.escalations import Target
from klingel.contracts import codec
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.model import Notification

from .. import waiting
from .conftest import BRAND, SECRET, Receiver, as_output, brand_config, escalation
from .test_signing import verified

pytestmark = pytest.mark.servers

SESSION_SECONDS = 6.0
"""Kafka's own lower bound."""
KILLS = 5
until = partial(waiting.until, seconds=90, pace=0.05)
NEVER_NOW = {"id": "never", "zone": "Etc/UTC", "hours": {"mon": ["00:00-00:01"]}}


class Fleet:
    """Workers as processes, each with a static name, so that a restart takes over at once."""

    def __init__(self, bootstrap: str, prefix: str, settings: Mapping[str, str], logs: Any) -> None:
        self._environ = {
            "PATH": os.environ["PATH"],
            "KLINGEL_KAFKA__BOOTSTRAP": bootstrap,
            "KLINGEL_KAFKA__TOPIC_PREFIX": prefix,
            "KLINGEL_KAFKA__SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
            "KLINGEL_NOTIFIER__FIRST_PAUSE_SECONDS": "0.05",
            "KLINGEL_NOTIFIER__LONGEST_PAUSE_SECONDS": "0.4",
            "KLINGEL_NOTIFIER__CIRCUIT_SECONDS": "0.3",
            "KLINGEL_NOTIFIER__TIMEOUT_SECONDS": "1",
            "KLINGEL_NOTIFIER__SEED": "7",
            **settings,
        }
        self._logs = logs
        self.running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str) -> None:
        """Start a worker."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self.running[name] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "klingel_notifier",
                "run",
                env={**self._environ, "KLINGEL_NOTIFIER__INSTANCE": name},
                stdout=log,
                stderr=log,
            )

    async def kill(self, name: str) -> None:
        """Kill -9."""
        self.running[name].kill()
        await self.running[name].wait()

    async def stop(self) -> dict[str, int]:
        """Stop all in an orderly way; return exit codes."""
        for process in self.running.values():
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        return {name: await process.wait() for name, process in self.running.items()}

    def log(self) -> list[dict[str, Any]]:
        """Return what all of them logged."""
        lines = [
            line
            for path in sorted(self._logs.glob("*.log"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.fixture
async def producer(kafka_bootstrap) -> AsyncIterator[aiokafka.AIOKafkaProducer]:
    made = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def fleet(kafka_bootstrap, topic_prefix, receiver, tmp_path) -> AsyncIterator[Fleet]:
    settings = {
        "KLINGEL_NOTIFIER__TARGETS__HOOK": receiver.url,
        "KLINGEL_NOTIFIER__TARGETS__SECRET": SECRET,
        "KLINGEL_NOTIFIER__TARGETS__GONE": "http://127.0.0.1:9/",
    }
    made = Fleet(kafka_bootstrap, topic_prefix, settings, tmp_path)
    yield made
    await made.stop()


async def write(producer, prefix, record):
    """Write a record as care does."""
    output = as_output(record)
    count = len(await producer.partitions_for(prefix + output.topic))
    await producer.send_and_wait(
        prefix + output.topic,
        output.value,
        key=output.key,
        partition=partition_for(output.partition_key, count),
    )


async def configure(producer, prefix, *targets, calendars=()):
    """Apply a brand file."""
    message = brand_config(*targets, calendars=calendars)
    await producer.send_and_wait(prefix + Topic.BRAND_CONFIG, message.value, key=message.key)


def told(receiver: Receiver) -> dict[str, list[int]]:
    """Return the revisions that the receiver has accepted, by escalation, in their order."""
    found: dict[str, list[int]] = defaultdict(list)
    for status, (_, headers, body) in zip(receiver.answers, receiver.requests, strict=False):
        assert verified(SECRET, headers, body)
        if status != 200:
            continue
        letter = json.loads(body)
        items = letter["data"]["items"] if letter["type"] == "digest" else [letter]
        for item in items:
            found[item["data"]["escalation_id"]].append(item["data"]["revision"])
    return found


def target(identity: str, **fields: Any) -> Target:
    """Return a webhook that gets everything one by one, unless told otherwise."""
    made = {
        "kind": "webhook", "url_setting": "hook", "secret_setting": "secret",
        "digest_from": 100, "digest_window": "10m",
    }  # fmt: skip
    return Target(**({"id": identity} | made | fields))


async def read_all(bootstrap, topic):
    """Return every record of a topic."""
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        parts = await consumer._client._wait_on_metadata(topic)
        places = [aiokafka.TopicPartition(topic, number) for number in parts]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        found = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
        return found
    finally:
        await consumer.stop()


class Rush:
    """Escalations that come all the time, and a hand that kills when a request has just come."""

    targets = ("hook", "other", "hook", "night", "gone")

    def __init__(self, fleet: Fleet, chance: random.Random, write: Any) -> None:
        self.fleet = fleet
        self.chance = chance
        self.write = write
        self.newest: dict[str, int] = {}
        self.kills = 0
        self.killed: list[str] = []

    async def kill_in_the_middle(self) -> None:
        """Kill whoever works, while a request is there and not answered."""
        if self.kills == KILLS or self.killed or self.chance.random() > 0.2:
            return
        self.kills += 1
        for name, process in self.fleet.running.items():
            process.kill()
            self.killed.append(name)

    async def run(self) -> None:
        """Write until the last kill, and start whoever was killed."""
        revisions: dict[int, int] = defaultdict(int)
        while self.kills < KILLS or self.killed:
            number = self.chance.randrange(80)
            revisions[number] += 1
            told = self.targets[number % len(self.targets)]
            record = escalation(number, revision=revisions[number], target=told)
            await self.write(record)
            if told != "gone":
                self.newest[record.escalation_id] = record.revision
            for name in self.killed:
                await self.fleet.running[name].wait()
                await self.fleet.start(name)
            self.killed.clear()
            await asyncio.sleep(0.02)  # what is written must be told while others are killed


async def settled(bootstrap, prefix):
    """Wait until something is told, written down, and nothing is in the air."""
    async with asyncio.timeout(60):
        while True:
            found = await read_all(bootstrap, prefix + Topic.NOTIFICATIONS)
            entries = [codec.decode(Notification, each.value) for each in found]
            air = [each.members for each in entries if each.entry == "sending"]
            if any(each.entry == "settled" for each in entries) and air[-1] is None:
                return


async def test_killed_again_and_again_nothing_is_lost_and_no_key_has_two_contents(
    kafka_bootstrap, topic_prefix, receiver, producer, fleet, request
):
    seed = request.config.getoption("--fault-seed") or random.randrange(1 << 30)
    print(f"seed {seed}: repeat with --fault-seed {seed}")  # noqa: T201 - printed when it fails
    chance = random.Random(seed)
    receiver.chance = lambda: chance.choices([200, 500, 503, "cut", "half"], [12, 1, 1, 2, 1])[0]
    gone, others = (
        target("gone", url_setting="gone"),
        [target("hook"), target("other", digest_from=3, digest_window="1s")],
    )
    held = target("night", quiet="never")
    await configure(producer, topic_prefix, gone, held, *others, calendars=[NEVER_NOW])
    for name in ("one", "two"):
        await fleet.start(name)
    rush = Rush(fleet, chance, lambda record: write(producer, topic_prefix, record))
    receiver.before_answer = rush.kill_in_the_middle
    async with asyncio.timeout(150):
        await rush.run()
    receiver.chance = receiver.before_answer = None
    newest = rush.newest
    night = {each for each in newest if int(each, 16) % len(rush.targets) == 3}
    await until(lambda: all(newest[each] in told(receiver)[each] for each in set(newest) - night))
    assert night
    assert not night & set(told(receiver)), "told in quiet hours"
    # The hours change: what workers held that are long dead goes out; no restart is needed.
    await configure(producer, topic_prefix, gone, target("night"), *others)
    await until(lambda: all(newest[each] in told(receiver)[each] for each in newest))
    assert await fleet.stop() == {"one": 0, "two": 0}
    assert {len(bodies) for bodies in receiver.contents().values()} == {1}
    found = told(receiver)
    assert all(max(found[each]) == newest[each] for each in newest)
    entries = [
        codec.decode(Notification, each.value)
        for each in await read_all(kafka_bootstrap, topic_prefix + Topic.NOTIFICATIONS)
    ]
    assert {each.brand for each in entries} == {BRAND}
    assert await read_all(kafka_bootstrap, topic_prefix + Topic.DEAD_LETTERS) == []
    repeated = {key for key in receiver.keys if receiver.keys.count(key) > 1}
    printed = {line["notification"] for line in fleet.log() if line["event"] == "sent_again"}
    print(f"{rush.kills} kills, {len(newest)} matters, {len(receiver.keys)} requests")  # noqa: T201 - as above
    print(f"{len(repeated)} keys came more than once, {len(printed)} printed")  # noqa: T201 - as above
    assert len(receiver.keys) - len(set(receiver.keys)) >= KILLS, "a kill left no request behind"
    # Where the receiver said for sure that it is busy, nothing is in doubt, and nothing printed.
    answers = zip(receiver.answers, receiver.keys, strict=False)
    assert repeated <= printed | {key for status, key in answers if status == 503}
    text = json.dumps(fleet.log())
    assert SECRET not in text
    assert receiver.url not in text


async def test_a_frozen_worker_that_wakes_up_tells_nothing_else(
    kafka_bootstrap, topic_prefix, receiver, producer, fleet
):
    """Its partitions are another's by then; whatever it still sends is what was sent before."""
    await configure(producer, topic_prefix, target("hook"))
    await fleet.start("one")
    await write(producer, topic_prefix, escalation(0, target="hook"))
    await settled(kafka_bootstrap, topic_prefix)
    os.kill(fleet.running["one"].pid, signal.SIGSTOP)
    for number in range(1, 6):
        await write(producer, topic_prefix, escalation(number, target="hook"))
    await fleet.start("two")
    wanted = {f"{number:032x}" for number in range(6)}
    await until(lambda: set(told(receiver)) == wanted)
    os.kill(fleet.running["one"].pid, signal.SIGCONT)
    await write(producer, topic_prefix, escalation(6, target="hook"))
    await until(lambda: f"{6:032x}" in told(receiver))
    codes = await fleet.stop()
    assert set(codes.values()) <= {0, 1}
    assert {len(bodies) for bodies in receiver.contents().values()} == {1}
    assert len(receiver.keys) == len(set(receiver.keys))
