"""The stage without its loop: several inputs, timers, restarts."""

from datetime import UTC, datetime

from klingel.contracts.envelope import Output
from klingel.contracts.topics import Topic
from klingel.testing.broker import InMemoryBroker
from klingel_processors.in_memory import StageInMemory

from ..contracts.counting import TimedLogic

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def said(broker: InMemoryBroker) -> list[bytes | None]:
    """Return what the stage told, in order."""
    return [message.value for message in broker.messages(Topic.SOCIAL_EVENTS)]


def test_inputs_and_timers_go_the_way_of_the_loop() -> None:
    """Both inputs are read, what is due rings once, also after a restart from the mirrors."""
    broker = InMemoryBroker(partitions=4)
    ticks: list[tuple[datetime, datetime | None, int]] = []
    stage = StageInMemory(broker, lambda _partition: TimedLogic(ticks), lambda: NOON)
    number = sum(b"k") % 4
    for topic in stage.inputs:
        broker.append(Output(topic, b"k", b"at:%d" % len(topic), partition=number))
    assert len(stage.drain()) == 2
    assert said(broker) == [b"1", b"2"]
    assert len(stage.tick(NOON)) == 2
    assert {read_to for _, read_to, _ in ticks} == {NOON}
    assert said(broker) == [b"1", b"2", b"rang", b"rang"]
    stage.restart()
    assert stage.tick() == []
    stage.replay()
    assert len(stage.drain()) == 2
    assert said(broker)[4:] == [b"3", b"4"]


def test_a_timer_after_a_restart_takes_no_place_twice() -> None:
    """The next stage would take what it causes for something that it has passed."""
    broker = InMemoryBroker(partitions=4)
    stage = StageInMemory(broker, lambda _partition: TimedLogic(), lambda: NOON)
    for second in range(3):
        broker.append(Output(Topic.RAW_EVENTS, b"k", b"at:%d" % second, partition=sum(b"k") % 4))
        stage.drain()
        stage.tick()
        stage.restart()
    found = broker.messages(Topic.SOCIAL_EVENTS)
    places = [each.header("klingel-source") for each in found if each.value == b"rang"]
    assert len(places) == len(set(places)) == 3
    assert places == sorted(places)
