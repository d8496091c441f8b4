"""A stage simple enough to know its answer: it counts how often it saw each key."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from klingel.contracts.envelope import Message, Output, SourcePosition
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
