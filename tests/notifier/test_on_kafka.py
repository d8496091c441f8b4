"""Real workers on a real Kafka, killed and frozen while they tell: 0 lost, one content a key."""

import asyncio
import json
import os
import random
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiokafka
import pytest

from klingel.config.escalations import Target
from klingel.contracts import codec
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.model import Notification

from .conftest import BRAND, SECRET, Receiver, as_output, brand_config, escalation
from .test_signing import verified

pytestmark = pytest.mark.servers

SESSION_SECONDS = 6.0
"""Kafka's own lower bound."""
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


async def until(condition, seconds=90):
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.05)


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
    made = {"kind": "webhook", "url_setting": "hook", "secret_setting": "secret"}
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


async def test_killed_again_and_again_nothing_is_lost_and_no_key_has_two_contents(
    kafka_bootstrap, topic_prefix, receiver, producer, fleet, request
):
    seed = request.config.getoption("--fault-seed") or random.randrange(1 << 30)
    print(f"seed {seed}: repeat with --fault-seed {seed}")  # noqa: T201 - printed when it fails
    chance = random.Random(seed)
    receiver.chance = lambda: chance.choices([200, 500, 503, "cut", "half"], [12, 1, 1, 2, 1])[0]
    hours = target("night", quiet="never")
    gone = target("gone", url_setting="gone")
    await configure(
        producer, topic_prefix, target("hook", digest_window="1s"), hours, gone,
        calendars=[NEVER_NOW],
    )  # fmt: skip
    for name in ("one", "two"):
        await fleet.start(name)
    newest: dict[str, int] = {}
    targets = ["hook", "hook", "hook", "night", "gone"]
    revisions: dict[int, int] = defaultdict(int)
    kills = 0
    for step in range(240):
        number = chance.randrange(80)
        revisions[number] += 1
        record = escalation(
            number, revision=revisions[number], target=targets[number % len(targets)]
        )
        await write(producer, topic_prefix, record)
        if record.target != "gone":
            newest[record.escalation_id] = record.revision
        if step % 40 == 20:
            victim = chance.choice(("one", "two"))
            before = len(receiver.requests)
            # In the middle of its work: at least one request after the last one killed.
            await until(lambda before=before: len(receiver.requests) > before)
            await fleet.kill(victim)
            kills += 1
            await fleet.start(victim)
    receiver.chance = None
    night = {identity for identity in newest if int(identity, 16) % len(targets) == 3}
    day = set(newest) - night
    await until(lambda: all(newest[each] in told(receiver)[each] for each in day))
    assert not night & set(told(receiver)), "told in quiet hours"
    # The hours change: what was held by workers that are long dead goes out, no restart needed.
    await configure(producer, topic_prefix, target("hook"), target("night"), gone)
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
    repeats = len(receiver.keys) - len(set(receiver.keys))
    printed = [line for line in fleet.log() if line["event"] == "sent_again"]
    print(f"{kills} kills, {len(newest)} matters, {repeats} repeats, {len(printed)} printed")  # noqa: T201 - as above
    assert kills == 6
    # Each that came twice was printed by whoever sent it again, or was cut off by a kill.
    repeated = {key for key in receiver.keys if receiver.keys.count(key) > 1}
    answered = {
        headers["idempotency-key"]
        for status, (_, headers, _) in zip(receiver.answers, receiver.requests, strict=False)
        if status == 503
    }
    assert repeated <= {line["notification"] for line in printed} | answered
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
    await until(lambda: len(receiver.requests) == 1)
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
