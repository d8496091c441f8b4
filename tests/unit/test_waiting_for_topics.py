"""A stage does not start where topics that must lie together do not."""

from types import SimpleNamespace

import pytest

from klingel.contracts.topics import Topic
from klingel.errors import ConfigurationError, SourceUnavailable
from klingel_processors.app import wait_for_topics

from ..contracts.counting import TimedLogic


class Counts:
    """A log that knows how many partitions topics have; the first answers are denied."""

    def __init__(self, counts: dict[Topic, int], denials: int = 0) -> None:
        self._counts = counts
        self._denials = denials

    async def partitions(self, topic: Topic) -> int:
        """Return the number."""
        if self._denials:
            self._denials -= 1
            raise SourceUnavailable("not there yet")
        return self._counts[topic]


def counts(**changed: int) -> dict[Topic, int]:
    """Return 24 partitions of each topic, but for those that are named otherwise."""
    topics = (*TimedLogic.inputs, *TimedLogic.tables.values())
    return {topic: changed.get(topic.name, 24) for topic in topics}


@pytest.mark.parametrize("odd", ["RAW_EVENTS", "CASE_COMMANDS", "OBJECT_DIRECTORY"])
async def test_unequal_counts_of_inputs_or_mirrors_are_refused(odd: str) -> None:
    with pytest.raises(ConfigurationError, match=r"equal partition counts: .* has 23"):
        await wait_for_topics(Counts(counts(**{odd: 23})), TimedLogic, retry_seconds=0)


async def test_topics_that_are_not_there_yet_are_waited_for() -> None:
    log = SimpleNamespace(partitions=Counts(counts(), denials=2).partitions)
    await wait_for_topics(log, TimedLogic, retry_seconds=0)
