"""Batches: what few rows of many brands share, one record of `watch-state` a batch; pure.

A brand's few rows would cost a record of their own each, with headers and key. So the rows of small
brands lie together in one `batch`, under a key of the partition with a running number, until a brand
has rows enough for a piece of its own, or is folded. A batch that holds nothing any more that is not
stored elsewhere is removed; so that it can be, whoever it waits for longest is asked to store.

Numbers run through all batches and pieces of a partition: what a brand's pieces hold has a lower one
than what lies in batches for it since.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

import cramjam
import msgspec

from klingel.contracts import codec
from klingel.errors import InvalidMessage, InvariantViolation
from klingel.model import WatchState
from klingel.stage.ports import StateView
from klingel_processors.watch.memory import Stored, pack, unpack

LEAST_BRANDS: Final = 8
"""Fewer brands write pieces of their own."""

MOST_BYTES: Final = 8_000_000
"""Of all batches as they are stored; who waits longest stores what is his beyond."""

RECORD_BYTES: Final = 250_000
"""Rows of about so many bytes are one record."""

_PAGE = 1_000
_KEY_LENGTH = 12
_FIRST = b"r|0"
_STOP = b"r|:"
_Rows = list[tuple[str, float, bytes]]


class Happened(NamedTuple):
    """What lies in a batch for a brand: the record, or nothing for time that passed."""

    number: int
    at: float
    value: bytes


class Batches:
    """The batches of a partition, and what they hold that is stored nowhere else."""

    def __init__(self) -> None:
        self.number = 0
        """The next one; above all of the pieces of brands that are read back."""
        self._sizes: dict[int, int] = {}
        self._since: dict[str, int] = {}
        """The oldest batch that a brand needs, the oldest first."""
        self._read: dict[str, list[Happened]] | None = None
        self._is_open = False

    def open(self, state: StateView, table: str) -> None:
        """Read what is stored, once."""
        if not self._is_open:
            self._is_open = True
            self._read = self._everything(state, table)
            for brand, happened in self._read.items():
                self._since[brand] = happened[0].number
            self._since = dict(sorted(self._since.items(), key=itemgetter(1)))

    def of(self, brand: str, state: StateView, table: str) -> Sequence[Happened]:
        """Return what the batches hold for a brand, by number."""
        self.open(state, table)
        if brand not in self._since:
            return ()
        if self._read is None:
            self._read = self._everything(state, table)
        return self._read.get(brand, ())

    def forget_read(self) -> None:
        """Forget what was read: all brands are, or it is old."""
        self._read = None

    def stored(self, brand: str, number: int) -> None:
        """Note that a brand's pieces, up to a number, hold everything of it."""
        self._since.pop(brand, None)
        self.number = max(self.number, number)

    def add(self, rows: Iterable[tuple[str, Sequence[tuple[float, bytes]]]]) -> list[Stored]:
        """Return the batches that hold what happened to some brands."""
        batches: list[Stored] = []
        some: _Rows = []
        length = 0
        for brand, happened in rows:
            self._since.setdefault(brand, self.number)
            for at, value in happened:
                some.append((brand, at, value))
                length += len(value)
            if length >= RECORD_BYTES:
                batches.append(self._batch(some))
                some, length = [], 0
        if some:
            batches.append(self._batch(some))
        return batches

    def _batch(self, some: _Rows) -> Stored:
        batch = Stored("batch", self.number, pack(some))
        self._sizes[self.number] = len(batch.data or b"")
        self.number += 1
        return batch

    def waits_for(self) -> str | None:
        """Return the brand to be stored next, while the batches are too much."""
        if sum(self._sizes.values()) <= MOST_BYTES:
            return None
        return next(iter(self._since), None)

    def removed(self) -> list[Stored]:
        """Return the batches that nobody needs any more, to be removed."""
        needed = next(iter(self._since.values()), self.number)
        gone = []
        for number in self._sizes:
            if number >= needed:
                break
            gone.append(number)
        for number in gone:
            del self._sizes[number]
        return [Stored("batch", number, None) for number in gone]

    def _everything(self, state: StateView, table: str) -> dict[str, list[Happened]]:
        found: dict[str, list[Happened]] = {}
        for state_record in _records(state, table):
            self._sizes.setdefault(state_record.number, len(state_record.data))
            self.number = max(self.number, state_record.number + 1)
            try:
                rows = unpack(state_record.data, _Rows)
            except (msgspec.MsgspecError, cramjam.DecompressionError, ValueError) as error:
                raise InvariantViolation("a batch of watch cannot be read") from error
            for brand, at, value in rows:
                found.setdefault(brand, []).append(Happened(state_record.number, at, value))
        return found


def batch_key(number: int) -> str:
    """Return the key of a batch, which is none of a brand's."""
    return f"r|{number:010}"


def _records(state: StateView, table: str) -> Iterator[WatchState]:
    start = _FIRST
    while True:
        page = state.scan(table, start, _STOP, _PAGE)
        for key, value in page:
            if len(key) == _KEY_LENGTH and b"|" not in key[2:]:  # no piece of a brand
                try:
                    yield codec.decode(WatchState, value)
                except InvalidMessage as error:
                    raise InvariantViolation("a batch of watch cannot be read") from error
        if len(page) < _PAGE:
            return
        start = page[-1][0] + b"\0"
