"""Sums of the ledger's settled lines, so that an audit keeps and reads only what came since; pure.

A line is settled when the position that its stage has committed lies behind it: whoever works on
starts there or later, so that no line will replace it. Settled lines that follow one another and
are well in themselves are taken together; what does not add up is left as it was written, and
nothing behind it is settled for a later audit, which therefore finds it again.

Every line of a book (stage, topic, partition) lies in one partition of the ledger. So a checkpoint
is about one partition, holds alone, and is written as one record: whoever is killed between two of
them leaves the older ones in force.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from klingel.contracts import codec
from klingel.contracts.envelope import Output, ce_headers, trace_id
from klingel.contracts.topics import Topic
from klingel.model import LedgerCheckpoint, LedgerLine
from klingel.model.ledger_checkpoint import LedgerSum
from klingel.stage.audit import CHAIN, Problem, within
from klingel.stage.timers import timers_of

Book = tuple[str, str, int]
"""Stage, topic and partition."""

TAIL = 8
"""So many of a book's newest lines stay single while more are read: a worker that died before it
committed leaves a line that a later one replaces."""

OUTSIDE_DAYS = 30
"""The line of who has no input offsets (connectors, gateway) is kept so long after it was written."""

_BOOKED = frozenset(
    (stage, topic) for stage, inputs in CHAIN.items() for topic in (*inputs, timers_of(stage))
)

_SHARED = frozenset(LedgerLine.__struct_fields__) & frozenset(LedgerSum.__struct_fields__)


def book_of(line: LedgerLine | LedgerSum) -> Book:
    """Return the book of a line."""
    return line.stage, line.topic, line.partition


class Sum:
    """Lines that were taken together; grows at its end.

    Args:
        offset: of the first line in the ledger.
        line: the first.
        proven: how many messages it received is known to be how many the log held.
        alone: takes in no other line: something is wrong with it, or may be.
    """

    __slots__ = (
        "_caused", "_emitted", "_fates", "_first", "_last", "alone", "offset", "position", "proven",
        "received",
    )  # fmt: skip

    def __init__(
        self, offset: int, line: LedgerLine, *, proven: bool = False, alone: bool = False
    ) -> None:
        self.offset = offset
        self.position = offset + 1
        self.proven = proven
        self.alone = alone
        self._first = self._last = line
        self.received = (line.received, line.redone, line.outside or 0)
        self._fates = Counter(line.fates)
        self._emitted = Counter(line.emitted)
        self._caused = Counter(line.caused or {})

    def add(self, position: int, line: LedgerLine) -> None:
        """Take in the line that follows, and where the ledger goes on behind it."""
        self.position = position
        received, redone, outside = self.received
        self.received = (
            received + line.received, redone + line.redone, outside + (line.outside or 0),
        )  # fmt: skip
        self._last = line
        # in place: two Counters added would forget counts of 0
        self._fates.update(line.fates)
        self._emitted.update(line.emitted)
        self._caused.update(line.caused or {})

    def followed_by(self, line: LedgerLine) -> bool:
        """Whether a line begins where this ends; the times of timers only grow."""
        timers = line.topic == timers_of(line.stage)
        return line.before == self._last.after or (timers and line.before > self._last.after)

    @property
    def after(self) -> int:
        """The position behind the last line."""
        return self._last.after

    @property
    def line(self) -> LedgerLine:
        """Everything as one line, with the last one's worker and time."""
        received, redone, outside = self.received
        return LedgerLine(
            stage=self._first.stage,
            topic=self._first.topic,
            partition=self._first.partition,
            before=self._first.before,
            after=self._last.after,
            received=received,
            redone=redone,
            outside=outside or None,
            fates=dict(self._fates),
            emitted=dict(self._emitted),
            caused=dict(self._caused) or None,
            holder=self._last.holder,
            written_at=self._last.written_at,
        )


@dataclass(slots=True)
class _Pages:
    """A book's lines: taken together, then single.

    Attributes:
        position: in the ledger; the lines before it are in the checkpoint.
    """

    position: int = 0
    sums: list[Sum] = field(default_factory=list)
    tail: deque[tuple[int, LedgerLine]] = field(default_factory=deque)


class Folding:
    """Takes in the lines of one partition of the ledger, in their order.

    Args:
        partition: of the ledger.
        settled: committed position of each book, read before the ledger was.
        base: what an earlier audit settled; the lines that are taken in begin at its position.
        doubtful: whether the log has to be counted before a line may be taken together with others.
        cuts: positions by book at which nothing is taken together, to compare what lies before.
        tail: see `TAIL`; None keeps every line single until the last one is read.
        whole: whether the first line that was ever written is among them, or was in the base.
    """

    def __init__(
        self,
        partition: int,
        settled: Mapping[Book, int],
        *,
        base: LedgerCheckpoint | None = None,
        doubtful: Callable[[LedgerLine], bool] = lambda _line: False,
        cuts: Mapping[Book, int] | None = None,
        tail: int | None = TAIL,
        whole: bool = True,
    ) -> None:
        self.partition = partition
        self.whole = whole if base is None else base.whole
        self._base = base
        self._settled = settled
        self._doubtful = doubtful
        self._cuts = cuts or {}
        self._tail = tail
        self._books: dict[Book, _Pages] = {}
        self._others: dict[Book, tuple[int, LedgerLine]] = {}
        self._rewound = False
        for each in () if base is None else base.books:
            self._restore(each)

    def _restore(self, kept: LedgerSum) -> None:
        line, book = _line(kept), book_of(kept)
        if (kept.stage, kept.topic) in _BOOKED:
            self._books[book] = _Pages(kept.position, [Sum(kept.position - 1, line, proven=True)])
            self._rewound |= self._settled.get(book, kept.after) < kept.after
        else:
            self._others[book] = (kept.position, line)

    @property
    def based(self) -> bool:
        """Whether it began with a checkpoint."""
        return self._base is not None

    @property
    def rewound(self) -> bool:
        """Whether a worker began anew before what was taken together: read it all, line by line."""
        return self._rewound

    def take(self, offset: int, line: LedgerLine) -> None:
        """Take in a line of the ledger.

        Args:
            offset: its own, in the ledger.
            line: as it was written.
        """
        book = book_of(line)
        if (line.stage, line.topic) not in _BOOKED:
            self._others[book] = (offset + 1, line)
            return
        pages = self._books.setdefault(book, _Pages())
        if offset < pages.position:
            return
        tail = pages.tail
        while tail and tail[-1][1].before >= line.before:
            tail.pop()
        if not tail and pages.sums and line.before < pages.sums[-1].after:
            self._rewound = True
        tail.append((offset, line))
        if self._tail is not None:
            while len(tail) > self._tail and self._is_settled(book, tail[0][1]):
                self._add(pages, *tail.popleft())

    def close(self) -> None:
        """Take together whatever is settled, after the last line."""
        for book, pages in self._books.items():
            while pages.tail and self._is_settled(book, pages.tail[0][1]):
                self._add(pages, *pages.tail.popleft())

    def _is_settled(self, book: Book, line: LedgerLine) -> bool:
        """Whether no line will replace it; a timer's is written in one transaction with its work."""
        return line.topic == timers_of(line.stage) or line.after <= self._settled.get(book, -1)

    def _add(self, pages: _Pages, offset: int, line: LedgerLine) -> None:
        alone = self._doubtful(line) or any(within(line))
        last = pages.sums[-1] if pages.sums else None
        apart = last is None or last.alone or not last.followed_by(line)
        if last is None or alone or apart or line.before == self._cuts.get(book_of(line)):
            pages.sums.append(Sum(offset, line, alone=alone))
        else:
            last.add(offset + 1, line)

    def lines(self) -> list[LedgerLine]:
        """Return what the audit is to check: few lines that stand for all."""
        found = [line for _, line in self._others.values()]
        for pages in self._books.values():
            found += [each.line for each in pages.sums]
            found += [line for _, line in pages.tail]
        return found

    def proven(self) -> dict[tuple[str, int, int], int]:
        """Return what need not be counted again: (topic, partition, `before`) to messages."""
        found = {}
        for (_, topic, partition), pages in self._books.items():
            for each in pages.sums:
                if each.proven:
                    found[topic, partition, each.line.before] = each.received[0]
        return found

    def checkpoint(
        self, end: int, counted: Mapping[tuple[str, int, int], int], now: datetime
    ) -> LedgerCheckpoint:
        """Return what a later audit may begin with.

        Args:
            end: position behind the last line that was read.
            counted: what the log holds over doubtful lines.
            now: the time.
        """
        oldest = now - timedelta(days=OUTSIDE_DAYS)
        lines = [each for each in self._others.values() if each[1].written_at >= oldest]
        begin = end
        for pages in self._books.values():
            kept, left = _kept(pages, counted)
            lines += [] if kept is None else [(kept.position, kept.line)]
            begin = min(begin, end if left is None else left)
        return LedgerCheckpoint(
            partition=self.partition,
            position=begin,
            whole=self.whole,
            books=[_sum(position, line) for position, line in lines],
            written_at=now,
        )


def _kept(
    pages: _Pages, counted: Mapping[tuple[str, int, int], int]
) -> tuple[Sum | None, int | None]:
    """Return what of a book adds up, and the ledger's offset of what follows; None: nothing."""
    kept: Sum | None = None
    for each in pages.sums:
        line = each.line
        there = counted.get((line.topic, line.partition, line.before))
        well = not each.alone or (not any(within(line)) and there == line.received)
        if not well or (kept is not None and not kept.followed_by(line)):
            return kept, each.offset
        if kept is None:
            kept = Sum(each.offset, line)
            kept.position = each.position
        else:
            kept.add(each.position, line)
    return kept, pages.tail[0][0] if pages.tail else None


def _sum(position: int, line: LedgerLine) -> LedgerSum:
    shared = {name: getattr(line, name) for name in _SHARED}
    return LedgerSum(position=position, **shared)


def _line(kept: LedgerSum) -> LedgerLine:
    return LedgerLine(**{name: getattr(kept, name) for name in _SHARED})


def differences(base: LedgerCheckpoint, folding: Folding) -> Iterator[Problem]:
    """Compare a checkpoint with the lines that it stands for, read again.

    Args:
        base: the checkpoint.
        folding: of the same partition from its first line on, with the ends of the checkpoint's
            books as `cuts`. What retention has taken of it cannot be compared.
    """
    read: dict[Book, list[LedgerLine]] = {}
    for line in folding.lines():
        read.setdefault(book_of(line), []).append(line)
    for kept in base.books:
        if (kept.stage, kept.topic) not in _BOOKED:
            continue
        lines = [line for line in read.get(book_of(kept), []) if line.before < kept.after]
        if folding.whole or any(line.after > kept.after for line in lines):
            told, found = _counts([_line(kept)]), _counts(lines)
            if told != found:
                yield _differs(kept, told, found)


def ends_of(base: LedgerCheckpoint) -> dict[Book, int]:
    """Return where the books of a checkpoint end: the `cuts` to compare it at."""
    return {book_of(kept): kept.after for kept in base.books}


def _counts(lines: Iterable[LedgerLine]) -> Counter[str]:
    """Return everything that lines count, by name; what is 0 is left out."""
    found: Counter[str] = Counter()
    for line in lines:
        found["received"] += line.received
        found["redone"] += line.redone
        found["outside"] += line.outside or 0
        for name, counts in (
            ("fates", line.fates), ("emitted", line.emitted), ("caused", line.caused or {}),
        ):  # fmt: skip
            for key, count in counts.items():
                found[f"{name}.{key}"] += count
    return +found


def _differs(kept: LedgerSum, told: Counter[str], found: Counter[str]) -> Problem:
    name = min(key for key in {*told, *found} if told[key] != found[key])
    return Problem(
        "checkpoint",
        kept.stage,
        kept.topic,
        kept.partition,
        kept.before,
        f"the checkpoint tells {told[name]:,} of {name} up to {kept.after - 1}, "
        f"the lines tell {found[name]:,}",
        abs(told[name] - found[name]),
    )


def newest(checkpoints: Iterable[LedgerCheckpoint]) -> dict[int, LedgerCheckpoint]:
    """Return the one in force of each partition of the ledger, the last one winning."""
    return {each.partition: each for each in checkpoints}


def checkpoint_output(checkpoint: LedgerCheckpoint) -> Output:
    """Return the record of a checkpoint; the next one of its partition replaces it."""
    key = str(checkpoint.partition)
    return Output(
        topic=Topic.AUDIT_CHECKPOINTS,
        key=key.encode(),
        value=codec.encode(checkpoint),
        headers=ce_headers(
            Topic.AUDIT_CHECKPOINTS,
            event_id=f"{key}|{checkpoint.position}",
            source="klingel/audit",
            subject=key,
            time=checkpoint.written_at,
            trace=trace_id(f"audit|{key}"),
        ),
    )
