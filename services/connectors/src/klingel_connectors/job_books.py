"""The books of the media worker over one partition of `media-jobs`; pure.

Jobs end in another order than they came in. Counted is only the contiguous prefix of those that are
done, and what is counted travels as metadata of the committed offset, as in the stages
(`klingel.stage.ledger`): so that `klingel audit` finds each job that understand wrote again.
"""

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from klingel.contracts.envelope import Headers, Message
from klingel.contracts.topics import Topic
from klingel.model import LedgerLine
from klingel.stage.fates import Outcome
from klingel.stage.ledger import Tally

STAGE = "media"


class Standing(NamedTuple):
    """Where the worker's group stands in a partition, or begins where it never committed.

    Attributes:
        partition: number.
        offset: of the next job.
        metadata: as committed with it; empty before the first commit.
    """

    partition: int
    offset: int
    metadata: str


class Entry:
    """One job that was read; done once it has its outcome."""

    __slots__ = ("message", "outcome")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.outcome: Outcome | None = None


class Progress(NamedTuple):
    """What is to be committed, and the line that is to be written before it where one is due."""

    offset: int
    metadata: str
    line: LedgerLine | None


class JobBooks:
    """Counts the jobs of one partition in the order in which they lie there.

    Args:
        standing: where the group stands.
        holder: who counts.
    """

    def __init__(self, standing: Standing, holder: str) -> None:
        self._holder = holder
        self._tally = Tally.resume(
            STAGE, Topic.MEDIA_JOBS, standing.partition, standing.offset, standing.metadata
        )
        self._counted = standing.offset
        self._told = True
        self._next = standing.offset
        self._entries: deque[Entry] = deque()

    @property
    def next(self) -> int:
        """Offset behind the last job that was read."""
        return self._next

    def read(self, offset: int, headers: Headers) -> Entry:
        """Note a job that was read; offsets rise."""
        partition = self._tally.partition
        entry = Entry(Message(Topic.MEDIA_JOBS, partition, offset, None, None, headers, 0))
        self._entries.append(entry)
        self._next = offset + 1
        return entry

    def progress(self, now: datetime, *, line_due: bool) -> Progress | None:
        """Count the prefix that is done; None where all of that is committed.

        What is returned is to be committed, then `committed` called: a commit that fails is tried
        again, and a worker that dies before it leaves the books as they were.

        Args:
            now: of the line.
            line_due: whether a line is to be written, if there is anything to tell.
        """
        done = list(self._done())
        if done:
            self._tally = self._tally.plus(done)
            self._counted = done[-1][0].offset + 1
            self._told = False
        line = None
        if not self._tally.empty and (line_due or self._tally.crowded):
            line = self._tally.line(self._counted, self._holder, now)
            self._tally = self._tally.closed(self._counted)
            self._told = False
        if self._told:
            return None
        return Progress(self._counted, self._tally.metadata(), line)

    def committed(self) -> None:
        """Take the last progress as committed."""
        self._told = True

    def _done(self) -> Iterator[tuple[Message, Outcome]]:
        while self._entries and self._entries[0].outcome is not None:
            entry = self._entries.popleft()
            assert entry.outcome is not None
            yield entry.message, entry.outcome
