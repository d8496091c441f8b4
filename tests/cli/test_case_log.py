"""The log that commands read: offsets of all partitions, also of those whose leader is not known."""

from datetime import UTC, datetime

import pytest
from kafka import TopicPartition

from klingel.contracts.topics import Topic
from klingel_cli.kafka import Log

SLOTS = [(Topic.CASES, 0), (Topic.CASES, 1)]


class Forgetful:
    """A client that knows one leader only, until it is asked for the other alone."""

    def __init__(self, *, time: int | None = 5) -> None:
        self.asked: list[list[TopicPartition]] = []
        self._time = time

    def end_offsets(self, places):
        """Stumble as kafka-python does."""
        self.asked.append(places)
        if len(places) > 1:
            raise KeyError(places[1])
        return {place: 10 + place.partition for place in places}

    beginning_offsets = end_offsets

    def offsets_for_times(self, asked):
        """Leave out what is not known, as kafka-python does: None, as where there is nothing."""
        self.asked.append(list(asked))
        found = dict.fromkeys(asked)
        for place in asked:
            if place.partition == 0 or len(asked) == 1:
                known = None if self._time is None else At(self._time + place.partition)
                found[place] = known
        return found


class At:
    """An offset as the client gives it."""

    def __init__(self, offset: int) -> None:
        self.offset = offset


@pytest.mark.parametrize("name", ["ends", "begins"])
def test_a_partition_that_the_client_left_out_is_asked_for_alone(name) -> None:
    log = Log(client := Forgetful(), "")
    assert getattr(log, name)(SLOTS) == {SLOTS[0]: 10, SLOTS[1]: 11}
    assert [len(places) for places in client.asked] == [2, 1, 1]


@pytest.mark.parametrize(("time", "found"), [(5, (5, 6)), (None, (None, None))])
def test_a_partition_left_out_is_not_taken_for_one_without_records(time, found) -> None:
    """Else `klingel remap` would pass over it."""
    log = Log(Forgetful(time=time), "")
    asked = log.first_since(SLOTS, datetime(2026, 3, 2, tzinfo=UTC))
    assert tuple(asked[slot] for slot in SLOTS) == found
