"""The source's answers to what the Kafka client raises."""

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

from klingel.clock import SystemClock
from klingel.contracts.topics import Topic
from klingel.errors import InvariantViolation, SourceUnavailable
from klingel.metrics import Metrics
from klingel_indexer.bulk import Answer
from klingel_indexer.convert import INPUTS
from klingel_indexer.kafka import KafkaSource
from klingel_indexer.service import Indexer, IndexerOptions, Position
from klingel_streams.sink import KafkaSink

PLACE = aiokafka.TopicPartition("connector-status", 3)


class Raising:
    """A client whose next fetches raise, one after the other; then they are empty."""

    def __init__(self, *errors):
        self._errors = list(errors)

    async def getmany(self, **_options):
        """Raise what is due."""
        if self._errors:
            raise self._errors.pop(0)
        return {}


@pytest.fixture
def source(monkeypatch):
    def build(*errors):
        monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", lambda *_a, **_k: Raising(*errors))
        monkeypatch.setattr("klingel_streams.group.AIOKafkaAdminClient", lambda **_k: None)
        return KafkaSource(
            {}, group="g", topic_prefix="", instance=None, session_timeout_seconds=10
        )

    return build


async def test_a_new_group_waits_until_its_first_positions_are_set(source):
    """On a busy machine the client looks for them before the assignment is told; that is no end."""
    reading = source(NoOffsetForPartitionError(PLACE))
    assert await reading.fetch(10, 0.01) == []
    assert await reading.fetch(10, 0.01) == []


async def test_an_offset_that_retention_has_taken_stops_the_worker(source):
    reading = source(OffsetOutOfRangeError({PLACE: 5}))
    with pytest.raises(InvariantViolation, match="connector-status/3: the log no longer has"):
        await reading.fetch(10, 0.01)


OTHER = aiokafka.TopicPartition("cases", 0)
POSTS = (Topic.ROUTED_EVENTS, 0)


class Members:
    """A client in the group, and what it was told to do."""

    def __init__(self):
        self.paused = set()
        self.sought = {}
        self.end = 9

    def assignment(self):
        """Return both partitions."""
        return {PLACE, OTHER}

    def pause(self, *places):
        """Note it."""
        self.paused |= set(places)

    def seek(self, place, offset):
        """Note it; the group must not have taken the partition away."""
        self.sought[place] = offset

    async def beginning_offsets(self, places):
        """Say that every log begins at 3."""
        return dict.fromkeys(places, 3)

    async def end_offsets(self, places):
        """Say that every log ends where it was told to."""
        return dict.fromkeys(places, self.end)


class Coordinator:
    """Committed positions; answers as told, one after the other, then with both positions."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.held = {PLACE: OffsetAndMetadata(7, "tally"), OTHER: OffsetAndMetadata(-1, "")}
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def list_consumer_group_offsets(self, _group, partitions=None):
        """Answer as told; of the whole group, only what has a position, as Kafka does."""
        if partitions is None:
            return {one: at for one, at in self.held.items() if at.offset >= 0}
        self.asked.set()
        await self.go_on.wait()
        answer = self._answers.pop(0) if self._answers else self.held
        if isinstance(answer, Exception):
            raise answer
        return {one: answer[one] for one in partitions if one in answer}


async def nothing():
    """Let go of nothing."""


@pytest.fixture
def member(monkeypatch):
    """Make a source in a group that answers as told."""

    def build(*answers, revoked=nothing, clock=None):
        client, coordinator = Members(), Coordinator(*answers)
        monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", lambda *_a, **_k: client)
        monkeypatch.setattr("klingel_streams.group.AIOKafkaAdminClient", lambda **_k: coordinator)
        source = KafkaSource(
            {}, group="g", topic_prefix="", instance=None, session_timeout_seconds=10, clock=clock
        )
        source._revoked = revoked
        return source, client, coordinator

    return build


POSITIONS = {(Topic.CONNECTOR_STATUS, 3): Position(7, "tally"), (Topic.CASES, 0): Position(3)}


async def test_assigned_partitions_are_paused_and_begin_where_kafka_says(member):
    """The callback asks nothing: what it raised would be swallowed."""
    source, client, coordinator = member()
    assert source.assignment() is None
    await source.on_partitions_assigned({PLACE, OTHER})
    assert client.paused == {PLACE, OTHER}
    assert not coordinator.asked.is_set()
    assert await source.look_up() == POSITIONS
    assert client.sought == {PLACE: 7, OTHER: 3}
    assert source.assignment() == set(POSITIONS)
    assert await source.look_up() == {}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(CoordinatorLoadInProgressError(), id="loading"),
        pytest.param(KafkaConnectionError(), id="away"),
        pytest.param(NoError(), id="error of one partition"),
        pytest.param({}, id="error of the whole answer"),
    ],
)
async def test_what_kafka_does_not_say_for_now_can_be_asked_again(member, answer):
    """Above all, silence is not a group that never committed: that would index everything again."""
    source, client, _ = member(answer)
    await source.on_partitions_assigned({PLACE, OTHER})
    with pytest.raises(SourceUnavailable):
        await source.look_up()
    assert not client.sought
    assert await source.look_up() == POSITIONS


DENIED = OffsetAndMetadata(-1, "")


async def test_a_group_of_which_every_position_is_denied_is_asked_again(member, clock):
    """A broker may serve a group before it knows it; believed, all would be indexed again."""
    source, client, coordinator = member(clock=clock)
    known = coordinator.held
    coordinator.held = {PLACE: DENIED, OTHER: DENIED}
    await source.on_partitions_assigned({PLACE, OTHER})
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="knows no position of the group"):
            await source.look_up()
        clock.advance(2)
    assert not client.sought
    coordinator.held = known
    assert await source.look_up() == POSITIONS


async def test_a_new_group_is_believed_in_the_end(member, clock):
    """Nobody can tell it from one that was forgotten, but by asking for a while."""
    source, _, coordinator = member(clock=clock)
    coordinator.held = {PLACE: DENIED, OTHER: DENIED}
    await source.on_partitions_assigned({PLACE, OTHER})
    with pytest.raises(SourceUnavailable):
        await source.look_up()
    clock.advance(6)
    found = await source.look_up()
    assert found == {(Topic.CONNECTOR_STATUS, 3): Position(3), (Topic.CASES, 0): Position(3)}


async def test_a_new_group_with_nothing_to_read_is_believed_at_once(member, clock):
    source, client, coordinator = member(clock=clock)
    coordinator.held, client.end = {PLACE: DENIED}, 3
    await source.on_partitions_assigned({PLACE})
    assert await source.look_up() == {(Topic.CONNECTOR_STATUS, 3): Position(3)}


async def test_positions_that_kafka_refuses_end_the_worker(member):
    source, _, _ = member(GroupAuthorizationFailedError())
    await source.on_partitions_assigned({PLACE})
    with pytest.raises(InvariantViolation, match="GroupAuthorizationFailedError"):
        await source.look_up()


@pytest.mark.parametrize("again", [False, True], ids=["gone", "gone and back"])
async def test_answer_that_a_revocation_overtook_is_void(member, again):
    """Meanwhile another worker may have committed; a partition that came back is asked anew."""
    source, client, coordinator = member({PLACE: OffsetAndMetadata(1, "")})
    coordinator.go_on.clear()
    await source.on_partitions_assigned({PLACE})
    asking = asyncio.create_task(source.look_up())
    await coordinator.asked.wait()
    await source.on_partitions_revoked({PLACE})
    if again:
        await source.on_partitions_assigned({PLACE})
    coordinator.go_on.set()
    assert await asking == {}
    assert not client.sought
    later = await source.look_up()
    assert later == ({(Topic.CONNECTOR_STATUS, 3): Position(7, "tally")} if again else {})


async def test_what_fails_while_letting_go_ends_the_worker(member):
    """The client swallows it; the loop raises it."""

    async def fail():
        raise InvariantViolation("planted")

    source, _, _ = member(revoked=fail)
    await source.on_partitions_assigned({PLACE})
    await source.on_partitions_revoked({PLACE})
    with pytest.raises(InvariantViolation, match="planted"):
        await source.look_up()


class Written:
    """A transport that takes everything, one document a request."""

    def __init__(self):
        self.bodies = []
        self.some = asyncio.Event()

    async def send(self, body):
        """Take it."""
        self.bodies.append(body)
        self.some.set()
        return Answer(200, items=[{"index": {"status": 200}}])


@pytest.mark.servers
@pytest.mark.parametrize("ran_before", [False, True], ids=["new group", "group that ran before"])
async def test_coordinator_that_loads_during_a_takeover_costs_nothing(
    kafka_bootstrap, topic_prefix, build, ran_before
):
    """The real group gives the partitions, its first answer about positions is an error."""
    connection, group = {"bootstrap_servers": kafka_bootstrap}, f"{topic_prefix}indexer"
    if ran_before:
        await commit_zero(kafka_bootstrap, topic_prefix, group)
    source = KafkaSource(
        connection, group=group, topic_prefix=topic_prefix, instance=None, session_timeout_seconds=6
    )
    sink, transport = KafkaSink(connection, topic_prefix), Written()
    indexer = Indexer(
        source,
        sink,
        transport,
        options=IndexerOptions(),
        clock=SystemClock(),
        metrics=Metrics("indexer"),
    )
    await source.connect()
    await sink.start()
    answer, failed = source._admin.list_consumer_group_offsets, []

    async def loading_at_first(*args, **kwargs):
        if not failed:
            failed.append(indexer.ready)
            raise CoordinatorLoadInProgressError
        return await answer(*args, **kwargs)

    source._admin.list_consumer_group_offsets = loading_at_first
    sent = build.routed()
    await sink._producer.send_and_wait(
        topic_prefix + Topic.ROUTED_EVENTS, sent.value, key=sent.key, partition=0
    )
    await source.join(indexer.revoke)
    running = asyncio.create_task(indexer.run())
    try:
        async with asyncio.timeout(30):
            await transport.some.wait()
        assert failed == [False]
        assert indexer.ready
        assert set(indexer.progress()) == {f"{one}/{at}" for one, at in source.assignment()}
        assert {one for one, _ in source.assignment()} == set(INPUTS)
    finally:
        indexer.stop()
        await running
        await source.stop()
        await sink.stop()
    assert len(transport.bodies) == 1
    assert await committed(kafka_bootstrap, topic_prefix, group) == 1


async def commit_zero(bootstrap, prefix, group):
    """Commit the beginning of every input, as a worker did that had nothing to index."""
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group)
    places = [aiokafka.TopicPartition(prefix + topic, 0) for topic in INPUTS]
    consumer.assign(places)
    await consumer.start()
    await consumer.commit(dict.fromkeys(places, (0, "")))
    await consumer.stop()


async def committed(bootstrap, prefix, group):
    """Return the committed offset of the posts' first partition."""
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group)
    place = aiokafka.TopicPartition(prefix + POSTS[0], POSTS[1])
    consumer.assign([place])
    await consumer.start()
    found = await consumer.committed(place)
    await consumer.stop()
    return found
