"""Local state tables on RocksDB (port `StateTable`): mirrors of one partition of a topic.

They are written without a log of their own: the topic is one. What a killed worker had not brought
to disk, some megabytes or minutes of it, is read again from there, since the position lies beside
the entries and gets to disk with them.
"""

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

POSITION_KEY = b"\x00position"
CLUSTER_KEY = b"\x00cluster"
_OURS = frozenset((POSITION_KEY, CLUSTER_KEY))
MEMTABLE_BYTES = 32 << 20
MEMTABLES_BYTES = 128 << 20
"""Of all tables of a process together."""
CACHE_BYTES = 16 << 20
FILES_UNSORTED = 8
"""Files as they were written, from which on they are merged; looking into some more costs less."""
WRITTEN_BYTES = 32
"""For each record of a table that is filled: one entry in ten is looked for that is not there."""
WRITTEN_LIMIT = 64 << 20
"""A compacted topic has fewer records than offsets."""
FILES_STALLING = 256
"""From which on writing waits for the merging. After a rebuilding there are many for a while."""
FLUSH_SECONDS = 600
"""What is older is on disk."""
STALE_SECONDS = 12 * 3600
"""Older than this a checkpoint may have missed tombstones that compaction took away."""


@cache
def _memtables() -> WriteBufferManager:
    """Return what bounds the memory of entries that are not on disk, over all tables."""
    return WriteBufferManager(MEMTABLES_BYTES, allow_stall=False)


class RocksTable:
    """One table on disk.

    Args:
        folder: where it lies; made when missing.
        ttl_seconds: entries older than this disappear, None keeps them.
        layout: number of the way in which entries are laid out; from 1.
    """

    def __init__(self, folder: Path, *, ttl_seconds: int | None = None, layout: int = 1) -> None:
        self._folder = folder
        self._ttl = ttl_seconds
        self._layout = layout
        self._cluster: bytes | None = None
        self._written: bytearray | None = None
        """While an empty table is filled: where a key's hash leads, 0 if nothing was written."""
        self._flushed_at = 0.0
        self._open()
        if self.position() and time.time() - self._written_at() > STALE_SECONDS:
            self.wipe()

    def _open(self) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.set_write_buffer_size(MEMTABLE_BYTES)
        options.set_max_write_buffer_number(2)
        options.set_write_buffer_manager(_memtables())
        options.set_level_zero_file_num_compaction_trigger(FILES_UNSORTED)
        options.set_level_zero_slowdown_writes_trigger(FILES_STALLING)
        options.set_level_zero_stop_writes_trigger(2 * FILES_STALLING)
        options.set_keep_log_file_num(1)
        block = BlockBasedOptions()
        block.set_block_cache(Cache(CACHE_BYTES))
        block.set_bloom_filter(10, block_based=False)
        options.set_block_based_table_factory(block)
        access = AccessType.with_ttl(self._ttl) if self._ttl else AccessType.read_write()
        self._db = Rdict(str(self._folder), options, access_type=access)
        unlogged = WriteOptions()
        unlogged.disable_wal = True  # type: ignore[assignment,method-assign]  # a property
        self._db.set_write_options(unlogged)
        self._flushed_at = time.time()

    def get(self, key: bytes) -> bytes | None:
        """Return the value."""
        written = self._written
        if written is not None and not written[hash(key) % len(written)]:
            return None
        value: bytes | None = self._db.get(key)
        return value

    def scan(self, start: bytes, stop: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """Return the first `limit` entries of [start, stop), in key order."""
        found: list[tuple[bytes, bytes]] = []
        if start >= stop or limit <= 0:
            return found
        bounds = ReadOptions()
        bounds.set_iterate_upper_bound(stop)
        entries = self._db.iter(bounds)
        entries.seek(start)
        while entries.valid() and len(found) < limit:
            key: bytes = entries.key()
            if key not in _OURS:
                found.append((key, entries.value()))
            entries.next()
        return found

    def position(self) -> int:
        """Return the offset up to which the table is complete."""
        value = self._db.get(POSITION_KEY)
        return 0 if value is None else int.from_bytes(value[:8], "big")

    def _written_at(self) -> float:
        """Return when the position was written, seconds since the epoch; 0 of an empty table."""
        value = self._db.get(POSITION_KEY)
        return 0.0 if value is None else int.from_bytes(value[8:], "big") / 1000

    def apply(self, puts: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        """Apply changes and the new position as one."""
        batch = WriteBatch(raw_mode=True)
        written = self._written
        for key, value in puts:
            if written is not None:
                written[hash(key) % len(written)] = 1
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        # The time lies beside the position: a folder's own is renewed by every opening.
        now = time.time()
        written_at = int(now * 1000).to_bytes(8, "big")
        batch.put(POSITION_KEY, position.to_bytes(8, "big") + written_at)
        if self._cluster is not None:  # written anew, or a table that forgets forgets it too
            batch.put(CLUSTER_KEY, self._cluster)
        self._db.write(batch)
        if not 0 <= now - self._flushed_at < FLUSH_SECONDS:
            self._flushed_at = now
            self._db.flush(wait=False)

    @contextmanager
    def filling(self, records: int) -> Iterator[None]:
        """Merge no files while very much is applied in a row: afterwards they are merged once.

        Of a table that was empty it is known meanwhile what was never written: looking for that in
        file after file would cost the more, the more there is.
        """
        self._db.set_options({"disable_auto_compactions": "true"})
        if not self.position():
            self._written = bytearray(max(1, min(WRITTEN_BYTES * records, WRITTEN_LIMIT)))
        try:
            yield
        finally:
            self._written = None
            self._db.set_options({"disable_auto_compactions": "false"})

    def belong(self, cluster: str) -> None:
        """Note whose log this mirrors, and how.

        What was copied from another cluster is forgotten, and what was laid out in another way.
        """
        # Tables of the first layout tell no number.
        self._cluster = (cluster if self._layout == 1 else f"{cluster} {self._layout}").encode()
        if self._db.get(CLUSTER_KEY) == self._cluster:
            return
        if self.position():
            self.wipe()
        self._db[CLUSTER_KEY] = self._cluster

    def wipe(self) -> None:
        """Forget everything."""
        self._db.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._open()

    def close(self) -> None:
        """Let go of the files."""
        self._db.close()
