"""Where partitions begin, and what the Kafka client's errors mean."""

import asyncio

import aiokafka
import pytest
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    NoError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata

from klingel.contracts.topics import Topic
from klingel.errors import InvariantViolation, SourceUnavailable
from klingel_notifier.kafka import KafkaSource
from klingel_notifier.service import Start

ALERTS = aiokafka.TopicPartition(str(Topic.ALERTS), 1)
FRESH = aiokafka.TopicPartition(str(Topic.INCIDENTS), 0)
OWN = aiokafka.TopicPartition(str(Topic.NOTIFICATIONS), 2)
ALL = {ALERTS, FRESH, OWN}
STARTS = {
    (Topic.ALERTS, 1): Start(7, 9),
    (Topic.INCIDENTS, 0): Start(3, 9),
    (Topic.NOTIFICATIONS, 2): Start(3, 9),
}


class Group:
    """A client in the group and its coordinator; both answer as told, then as they should."""

    def __init__(self, *answers, fetches=()):
        self.answers = list(answers)
        self.fetches = list(fetches)
        self.paused, self.sought = set(), {}
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    def pause(self, *places):
        """Note it."""
        self.paused |= set(places)

    def seek(self, place, offset):
        """Note it."""
        self.sought[place] = offset

    async def beginning_offsets(self, places):
        """Every log begins at 3."""
        return dict.fromkeys(places, 3)

    async def end_offsets(self, places):
        """Every log ends at 9."""
        return dict.fromkeys(places, 9)

    async def getmany(self, **_options):
        """Raise what is due."""
        if self.fetches:
            raise self.fetches.pop(0)
        return {}

    async def list_consumer_group_offsets(self, _group, partitions):
        """Answer as told."""
        self.asked.set()
        await self.go_on.wait()
        answer = self.answers.pop(0) if self.answers else {
            ALERTS: OffsetAndMetadata(7, ""),
            FRESH: OffsetAndMetadata(-1, ""),
            OWN: OffsetAndMetadata(8, ""),
        }  # fmt: skip
        if isinstance(answer, Exception):
            raise answer
        return {one: answer[one] for one in partitions if one in answer}


@pytest.fixture
def source(monkeypatch):
    """Make a source whose client is a Group."""

    def build(group, revoked=None):
        monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", lambda *_a, **_k: group)
        monkeypatch.setattr("klingel_streams.group.AIOKafkaAdminClient", lambda **_k: group)
        made = KafkaSource({}, group="g", topic_prefix="", instance=None, session_timeout_seconds=9)
        made._revoked = revoked
        return made

    return build


async def nothing():
    """Let go of nothing."""


async def test_inputs_go_on_and_our_own_topic_begins_at_its_beginning(source):
    group = Group()
    one = source(group)
    assert one.assignment() is None
    await one.on_partitions_assigned(ALL)
    assert group.paused == ALL
    assert await one.look_up() == STARTS
    assert group.sought == {ALERTS: 7, FRESH: 3, OWN: 3}
    assert await one.look_up() == {}


@pytest.mark.parametrize(
    "answer",
    [CoordinatorLoadInProgressError(), KafkaConnectionError(), NoError(), {}],
    ids=["loading", "away", "error of one partition", "error of the whole answer"],
)
async def test_silence_is_not_a_group_that_never_committed(source, answer):
    """Taken for one, it would tell everything again that ninety days hold."""
    group = Group(answer)
    one = source(group)
    await one.on_partitions_assigned(ALL)
    with pytest.raises(SourceUnavailable):
        await one.look_up()
    assert not group.sought
    assert await one.look_up() == STARTS


async def test_what_kafka_will_never_say_ends_the_worker(source):
    one = source(Group(GroupAuthorizationFailedError()))
    await one.on_partitions_assigned(ALL)
    with pytest.raises(InvariantViolation, match="GroupAuthorizationFailedError"):
        await one.look_up()


async def test_an_answer_that_a_revocation_overtook_is_void(source):
    group = Group()
    one = source(group, nothing)
    group.go_on.clear()
    await one.on_partitions_assigned(ALL)
    asking = asyncio.create_task(one.look_up())
    await group.asked.wait()
    await one.on_partitions_revoked(ALL)
    group.go_on.set()
    assert await asking == {}
    assert not group.sought


async def test_what_fails_while_letting_go_ends_the_worker(source):
    async def fail():
        raise InvariantViolation("planted")

    one = source(Group(), fail)
    await one.on_partitions_assigned(ALL)
    await one.on_partitions_revoked(ALL)
    with pytest.raises(InvariantViolation, match="planted"):
        await one.look_up()


async def test_a_position_that_is_not_set_yet_is_no_end(source):
    one = source(Group(fetches=[NoOffsetForPartitionError(ALERTS)]))
    assert await one.fetch(10, 0.01) == []
    assert await one.fetch(10, 0.01) == []


async def test_an_offset_that_retention_has_taken_stops_the_worker(source):
    one = source(Group(fetches=[OffsetOutOfRangeError({ALERTS: 5})]))
    with pytest.raises(InvariantViolation, match="alerts/1: the log no longer has"):
        await one.fetch(10, 0.01)
