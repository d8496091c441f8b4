"""The logs and tables of stages that run in one process, without servers, and are gone with it.

What a stage needs of Kafka when it is alone: logs in order, the last value of a key, positions that
are kept together with what was written. A backtest runs on it; `klingel.testing.broker` adds what
only tests want: groups, fencing, faults.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from klingel.contracts.envelope import Message, Output
from klingel.contracts.partition import partition_for
from klingel.contracts.topics import Topic
from klingel.stage.ports import Committed, Written


class InMemoryLogs:
    """Logs and committed positions of groups.

    Transactions occupy an offset for their marker, as Kafka's do, so that offsets have gaps here too.

    Args:
        partitions: of every topic.
    """

    def __init__(self, partitions: int = 1) -> None:
        self.partitions = partitions
        self._logs: dict[tuple[Topic, int], list[Message | None]] = defaultdict(list)
        self.beside: dict[tuple[str, int], list[Output]] = {}
        """Records of topics that are none of ours, by topic and partition."""
        self._committed: dict[tuple[str, Topic, int], Committed] = {}

    def append(self, output: Output, timestamp_ms: int = 0) -> Written:
        """Write one record outside any transaction, as a connector does."""
        return self._append(output, timestamp_ms)

    def messages(self, topic: Topic, partition: int | None = None) -> list[Message]:
        """Return the committed messages of a topic, partition by partition."""
        numbers = range(self.partitions) if partition is None else (partition,)
        return [
            message
            for number in numbers
            for message in self._logs[topic, number]
            if message is not None
        ]

    def compacted(self, topic: Topic) -> dict[bytes, bytes]:
        """Return what compaction would leave: the last value of each key, without tombstones."""
        newest: dict[bytes, bytes | None] = {}
        for message in self.messages(topic):
            newest[message.key or b""] = message.value
        return {key: value for key, value in newest.items() if value is not None}

    def committed(self, group: str, topic: Topic, partition: int) -> Committed | None:
        """Return a group's committed position."""
        return self._committed.get((group, topic, partition))

    def reset(self, group: str, topic: Topic, offset: int = 0) -> None:
        """Set a group back, as an operator does to replay; the running line is kept."""
        for partition in range(self.partitions):
            known = self._committed.get((group, topic, partition))
            if known is not None:
                self._committed[group, topic, partition] = Committed(offset, "")

    def end(self, topic: Topic, partition: int) -> int:
        """Return the offset behind the last record or marker."""
        return len(self._logs[topic, partition])

    def read(self, topic: Topic, partition: int, start: int, stop: int) -> list[Message]:
        """Return the messages of [start, stop)."""
        return [message for message in self._logs[topic, partition][start:stop] if message]

    def write(
        self,
        outputs: Sequence[Output],
        positions: Mapping[tuple[str, Topic, int], Committed],
    ) -> list[Written]:
        """Write outputs and positions (of group, topic, partition) as one."""
        written = [self._append(output, 0) for output in outputs]
        for place in {(one.topic, one.partition) for one in written}:
            self._logs[place].append(None)  # the transaction's marker
        self._committed.update(positions)
        return written

    def _append(self, output: Output, timestamp_ms: int) -> Written:
        partition = output.partition
        if partition is None:
            partition = partition_for(output.partition_key or output.key, self.partitions)
        if output.instead is not None:
            beside = self.beside.setdefault((output.instead, partition), [])
            beside.append(output)
            return Written(output.topic, partition, len(beside) - 1)
        log = self._logs[output.topic, partition]
        log.append(
            Message(
                output.topic,
                partition,
                len(log),
                output.key,
                output.value,
                output.headers,
                timestamp_ms,
            )
        )
        return Written(output.topic, partition, len(log) - 1)


class InMemoryTable:
    """A local table (port `StateTable`) that is gone with its process."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] | None = None
        """In order; None until somebody scans."""
        self._position = 0
        self._cluster: str | None = None

    def get(self, key: bytes) -> bytes | None:
        """Return the value."""
        return self._values.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """Return the first entries of a range, in key order."""
        if self._keys is None:
            self._keys = sorted(self._values)
        first = bisect_left(self._keys, start)
        last = min(bisect_left(self._keys, stop), first + limit)
        return [(key, self._values[key]) for key in self._keys[first:last]]

    def position(self) -> int:
        """Return the offset up to which the table is complete."""
        return self._position

    def apply(self, puts: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        """Apply changes and position."""
        for key, value in puts:
            if self._keys is not None and (key in self._values) is (value is None):
                self._keep_order(self._keys, key, there=value is not None)
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        self._position = position

    def _keep_order(self, keys: list[bytes], key: bytes, *, there: bool) -> None:
        # Who scans, scans often: all keys are sorted once.
        if there:
            insort(keys, key)
        else:
            del keys[bisect_left(keys, key)]

    @contextmanager
    def filling(self, records: int) -> Iterator[None]:
        """Nothing is left until later."""
        del records
        yield

    def belong(self, cluster: str) -> None:
        """Note whose log this mirrors."""
        if self._cluster != cluster and self._position:
            self.wipe()
        self._cluster = cluster

    def wipe(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._keys = None
        self._position = 0

    def close(self) -> None:
        """Let go; there is nothing to let go of."""
