"""A stage simple enough to know its answer: it counts how often it saw each key."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from klingel.contracts.envelope import Message, Output, SourcePosition, timer_headers
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage
from klingel.stage.batch import Coordinates
from klingel.stage.fates import Fate, Outcome, Put
from klingel.stage.ports import StateView


class CountingLogic:
    """For each message, an output with the running count of its key; state mirrors the count.

    Values steer it: `bad` is invalid, `boom` raises, `huge` causes a record that no broker takes,
    `back:<offset>` asks for an earlier message, anything else counts.
    """

    name = "counting"
    inputs: tuple[Topic, ...] = (Topic.RAW_EVENTS,)
    tables: Mapping[str, Topic] = {"counts": Topic.OBJECT_DIRECTORY}
    wants_time = False

    def source_of(self, message: Message) -> str:
        """Every key is a source of its own."""
        return (message.key or b"").decode()

    def needs(self, message: Message, state: StateView) -> Sequence[Coordinates]:
        """Read back the message at the offset that the value names."""
        del state
        value = message.value or b""
        if value.startswith(b"back:"):
            return [(Topic.RAW_EVENTS, message.partition, int(value[5:]))]
        return ()

    def look_over(self, messages: Sequence[Message]) -> None:
        """Nothing is cheaper in a row."""

    def step(
        self,
        message: Message,
        state: StateView,
        now: datetime,
        history: Mapping[Coordinates, Message],
    ) -> Outcome:
        """Count."""
        del now
        key = message.key or b""
        if message.value == b"bad":
            raise InvalidMessage(ErrorType.INVALID_FIELD, "the value is bad")
        if message.value == b"boom":
            raise ZeroDivisionError
        told = b""
        for coordinates in self.needs(message, state):
            told = b":" + (history[coordinates].key or b"")
        count = int(state.get("counts", key) or b"0") + 1
        value = str(count).encode()
        if message.value == b"huge":
            value += b":" + b"x" * 2_000_000
        position = SourcePosition(message.topic, message.partition, message.offset, 0)
        return Outcome(
            Fate.DELIVERED,
            network="suite",
            outputs=(
                Output(
                    Topic.SOCIAL_EVENTS, key, value + told, (("klingel-source", position.encode()),)
                ),
                Output(Topic.OBJECT_DIRECTORY, key, value, partition=message.partition),
            ),
            puts=(Put("counts", key, value),),
        )

    def tick(self, state: StateView, now: datetime, read_to: datetime | None) -> Sequence[Outcome]:
        """There are no timers."""
        del state, now, read_to
        return ()

    def batch_outputs(
        self, rows: Sequence[bytes], partition: int, now: datetime
    ) -> Sequence[Output]:
        """Nothing remembers the batch."""
        del rows, partition, now
        return ()

    def restore(self, table: str, message: Message, state: StateView) -> Iterable[Put]:
        """The mirror holds the newest count of each key."""
        del state
        yield Put(table, message.key or b"", message.value)


class TimedLogic(CountingLogic):
    """Counts over two inputs, and rings for each key at the time that a message names.

    `at:<seconds since the epoch>` sets a timer beside counting. A timer that is due rings: an
    output with the value `rang`, and the timer is gone from local state and from its mirror. A
    message `jam` sets one on which `tick` raises until a message `clear` of the same key.

    Args:
        ticks: what `tick` was told, one after the other: (now, read_to, keys seen).
    """

    inputs = (Topic.RAW_EVENTS, Topic.CASE_COMMANDS)
    wants_time = True
    at_once = 2

    def __init__(self, ticks: list[tuple[datetime, datetime | None, int]] | None = None) -> None:
        self.ticks = [] if ticks is None else ticks

    def step(
        self,
        message: Message,
        state: StateView,
        now: datetime,
        history: Mapping[Coordinates, Message],
    ) -> Outcome:
        """Count, and set a timer when told to."""
        counted = super().step(message, state, now, history)
        command, _, argument = (message.value or b"").partition(b":")
        key = message.key or b""
        if command == b"at":
            return _with(counted, b"t%015d" % int(argument) + key, b"1", message.partition)
        if command in {b"jam", b"clear"}:
            value = b"1" if command == b"jam" else None
            return _with(counted, b"t-jam" + key, value, message.partition)
        return counted

    def tick(self, state: StateView, now: datetime, read_to: datetime | None) -> Sequence[Outcome]:
        """Ring for what is due, some at once."""
        self.ticks.append((now, read_to, len(state.scan("counts", b"k", b"l", 1000))))
        if state.scan("counts", b"t-", b"t.", 1):
            raise ZeroDivisionError
        stop = b"t%015d" % (int(now.timestamp()) + 1)
        return [
            _rang(key, self.name, now) for key, _ in state.scan("counts", b"t", stop, self.at_once)
        ]


def _with(outcome: Outcome, key: bytes, value: bytes | None, partition: int) -> Outcome:
    mirrored = Output(Topic.OBJECT_DIRECTORY, key, value, partition=partition)
    return Outcome(
        outcome.fate,
        network=outcome.network,
        outputs=(*outcome.outputs, mirrored),
        puts=(*outcome.puts, Put("counts", key, value)),
    )


def number_of(key: str) -> int:
    """Return the partition that the suite gives a key."""
    return sum(key.encode()) % 4


def _rang(key: bytes, name: str, now: datetime) -> Outcome:
    whom = key[16:]
    headers = timer_headers(
        Topic.SOCIAL_EVENTS,
        event_id=f"rang/{key.decode()}",
        source=f"klingel/{name}",
        subject=whom.decode(),
        time=now,
        trace="0" * 32,
        cause=key.decode(),
    )
    return Outcome(
        Fate.DELIVERED,
        outputs=(
            Output(Topic.SOCIAL_EVENTS, whom, b"rang", headers),
            Output(Topic.OBJECT_DIRECTORY, key, None, partition=number_of(whom.decode())),
        ),
        puts=(Put("counts", key, None),),
    )
