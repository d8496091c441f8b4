"""Following compacted topics: all is read, once, and an idle reader asks seldom."""

import threading
from typing import NamedTuple

import pytest
from kafka import TopicPartition
from kafka import errors as kafka_errors

from klingel.contracts.topics import Topic
from klingel.settings import KafkaSettings
from klingel_connectors.followed import Following

KAFKA = KafkaSettings(bootstrap="kafka.invalid:9092")
PLACE = TopicPartition(str(Topic.SUPPRESSIONS), 0)
LEFT, RETRY = 2.0, 1.0


class Record(NamedTuple):
    """What a consumer gives."""

    offset: int


class Consumer:
    """Gives its rounds one by one: the offsets of a batch, or what poll raises."""

    def __init__(self, rounds, at_start=0):
        self.rounds = list(rounds)
        self.at_start = at_start
        self.read = 0
        self.closed = False

    def partitions_for_topic(self, _topic):
        """Return the one there is."""
        return {0}

    def assign(self, places):
        """Take it."""
        assert places == [PLACE]

    def seek_to_beginning(self, *places):
        """Begin."""
        assert places == (PLACE,)

    def end_offsets(self, places):
        """Return what is there at the start."""
        return dict.fromkeys(places, self.at_start)

    def position(self, _place):
        """Return how many were read."""
        return self.read

    def poll(self, timeout_ms):
        """Return the next round, or raise it."""
        told = self.rounds.pop(0)
        if isinstance(told, Exception):
            raise told
        self.read += len(told)
        return {PLACE: [Record(offset) for offset in told]} if told else {}

    def close(self, timeout_ms):
        """Let go."""
        self.closed = True


class Followed:
    """A following over consumers of ours: what it took, when it renewed, how long it waited."""

    def __init__(self, *consumers, changes=()):
        self.consumers = list(consumers)
        self.taken, self.waits, self.renewed = [], [], []
        self._changes = changes
        self._over = threading.Event()
        self.following = Following(
            KAFKA,
            (Topic.SUPPRESSIONS,),
            name="test",
            take=self._take,
            renew=lambda: self.renewed.append(len(self.taken)),
            connect=self._connect,
            wait=self._wait,
        )

    def run(self):
        """Follow until all rounds are over."""
        self.following.start()
        assert self._over.wait(30.0)
        self.following.stop()
        return self

    def _connect(self, **_options):
        self._open = self.consumers.pop(0)
        return self._open

    def _take(self, _topic, record):
        self.taken.append(record.offset)
        return record.offset in self._changes

    def _wait(self, seconds):
        self.waits.append(seconds)
        if not self._open.rounds and not self.consumers:
            self.following._stopping.set()
            self._over.set()


def test_it_waits_only_when_nothing_came():
    """A long erasure is many records: none waits for a round of its own."""
    found = Followed(Consumer([[0], [], [1, 2], [3], [4], [], []], at_start=1)).run()
    assert found.taken == [0, 1, 2, 3, 4]
    assert found.waits == [LEFT, LEFT, LEFT, RETRY]


def test_what_was_there_at_the_start_is_read_without_waiting_and_told_once():
    found = Followed(Consumer([[0, 1], [], [2], []], at_start=3)).run()
    assert found.renewed == [3]
    assert found.waits[0] == LEFT


@pytest.mark.parametrize(("changes", "renewed"), [((), [1]), ((1,), [1, 2])])
def test_it_renews_where_something_changed(changes, renewed):
    assert Followed(Consumer([[0], [1], []], at_start=1), changes=changes).run().renewed == renewed


def test_kafka_away_is_waited_for_and_all_is_read_again():
    first = Consumer([[0], kafka_errors.KafkaConnectionError()], at_start=1)
    found = Followed(first, Consumer([[0, 1], []], at_start=2)).run()
    assert first.closed
    assert found.taken == [0, 0, 1]
    assert found.waits[0] == RETRY
