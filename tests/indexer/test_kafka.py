"""The source's answers to what the Kafka client raises."""

import aiokafka
import pytest
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from klingel.errors import InvariantViolation
from klingel_indexer.kafka import KafkaSource

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
        monkeypatch.setattr("klingel_indexer.kafka.AIOKafkaAdminClient", lambda **_k: None)
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
