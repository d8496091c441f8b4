"""The way of an event that names only its parent, without servers."""

from collections.abc import Iterator, Mapping, Sequence

import pytest

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.testing.broker import InMemoryBroker
from klingel_cli.books import Position
from klingel_cli.way import EventId, _Found, _read_raw, _read_unthreaded, _steps
from klingel_networks.registry import installed_network
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.logic import UnderstandLogic, World

from ..ringing import NOON, brand, generic, ring

Slot = tuple[Topic, int]


class LogInMemory:
    """The log as commands read it."""

    def __init__(self, broker: InMemoryBroker) -> None:
        self._broker = broker

    def slots(self, topic: Topic) -> list[Slot]:
        """Return the partitions of a topic."""
        return [(topic, number) for number in range(self._broker.partitions)]

    def ends(self, slots: Sequence[Slot]) -> dict[Slot, int]:
        """Return where they end."""
        return {slot: self._broker.end(*slot) for slot in slots}

    def read(self, ranges: Mapping[Slot, tuple[int, int]]) -> Iterator[Message]:
        """Return the messages of some ranges."""
        for slot, (start, stop) in ranges.items():
            yield from self._broker.read(*slot, start, stop)


@pytest.mark.parametrize(("passed", "state"), [(0, "waiting"), (1, "ended")])
def test_what_was_sent_on_waits_in_thread_or_ended_there(passed: int, state: str) -> None:
    broker = InMemoryBroker()
    brands = {"nordlicht": brand()}
    stage = StageInMemory(
        broker,
        lambda number: UnderstandLogic(
            number,
            networks=installed_network,
            detect=lambda _text: ("de", 0.9),
            readers=lambda _model: None,
            originals=lambda _reference: b"",
            world=lambda: World(brands, {}),
        ),
        lambda: NOON,
    )
    broker.append(ring(generic("2", "kein netz", in_reply_to="1")))
    stage.drain()
    wanted, found, log = EventId("webhook:forum:2", 0, None), _Found(), LogInMemory(broker)
    _read_raw(log, wanted, found)  # type: ignore[arg-type]  # the part of a log that it reads
    _read_unthreaded(log, wanted, found)  # type: ignore[arg-type]  # likewise
    (sent,) = found.unthreaded
    held = {("unthreaded-events", sent.partition): Position(passed, "")}
    raw, last = _steps(wanted, found, {"understand": {}, "thread": held, "care": {}, "indexer": {}})
    assert (raw.name, raw.state) == ("raw event", "found")
    assert last.state == state
    assert last.where == f"unthreaded-events/{sent.partition}/0"
    assert "understand" not in last.sentence
