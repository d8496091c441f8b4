"""Local tables: position and values as one, and checkpoints that are too old to be believed."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klingel.stage.in_memory import InMemoryTable
from klingel_processors import rocks
from klingel_processors.rocks import CLUSTER_KEY, RocksTable


def test_values_and_position_survive_a_restart(tmp_path: Path) -> None:
    """What was applied is there, up to the position that was applied with it."""
    table = RocksTable(tmp_path / "t")
    table.apply([(b"a", b"1"), (b"b", b"2"), (b"a", None)], 7)
    table.close()
    again = RocksTable(tmp_path / "t")
    assert (again.get(b"a"), again.get(b"b"), again.position()) == (None, b"2", 7)
    again.close()


@pytest.mark.parametrize("flushed", [False, True])
def test_what_a_killed_worker_left_is_whole(tmp_path: Path, *, flushed: bool) -> None:
    """What had not come to disk is gone with its position: it is read again from the log."""
    worker = f"""
import os
from pathlib import Path
from klingel_processors.rocks import RocksTable
table = RocksTable(Path({str(tmp_path / "t")!r}))
table.belong("here")
for offset in range(20):
    table.apply([(b"%d" % offset, b"x" * 100)], offset + 1)
    if {flushed} and offset == 9:
        table._db.flush()
os._exit(9)
"""
    killed = subprocess.run([sys.executable, "-c", worker], check=False)
    assert killed.returncode == 9
    table = RocksTable(tmp_path / "t")
    table.belong("here")
    there = [int(key) for key, _ in table.scan(b"0", b":", 100)]
    assert table.position() == (10 if flushed else 0)
    assert sorted(there) == list(range(table.position()))
    table.close()


def test_a_checkpoint_that_may_have_missed_tombstones_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its age is that of its position: opening and closing in between makes it no younger."""
    table = RocksTable(tmp_path / "t")
    table.apply([(b"a", b"1")], 7)
    written = rocks.time.time()
    table.close()
    monkeypatch.setattr(rocks.time, "time", lambda: written + rocks.STALE_SECONDS - 60)
    RocksTable(tmp_path / "t").close()
    monkeypatch.setattr(rocks.time, "time", lambda: written + rocks.STALE_SECONDS + 60)
    stale = RocksTable(tmp_path / "t")
    assert (stale.get(b"a"), stale.position()) == (None, 0)
    stale.close()


def test_what_was_copied_from_another_cluster_is_forgotten(tmp_path: Path) -> None:
    """The cluster's id lies in the table itself: a folder can be moved and mounted anywhere."""
    table = RocksTable(tmp_path / "state")
    table.belong("one")
    table.apply([(b"k", b"v")], 7)
    table.close()
    again = RocksTable(tmp_path / "state")
    again.belong("one")
    assert (again.get(b"k"), again.position()) == (b"v", 7)
    again.belong("other")
    assert (again.get(b"k"), again.position()) == (None, 0)
    again.apply([(b"k", b"w")], 3)
    again.belong("other")
    assert again.position() == 3
    again.close()


def test_what_was_laid_out_in_another_way_is_forgotten(tmp_path: Path) -> None:
    """Earlier code may have left out what is read here: the log tells it anew."""
    table = RocksTable(tmp_path / "state")
    table.belong("one")
    table.apply([(b"k", b"v")], 7)
    table.close()
    newer = RocksTable(tmp_path / "state", layout=2)
    newer.belong("one")
    assert (newer.get(b"k"), newer.position()) == (None, 0)
    newer.apply([(b"k", b"w")], 9)
    newer.close()
    again = RocksTable(tmp_path / "state", layout=2)
    again.belong("one")
    assert (again.get(b"k"), again.position()) == (b"w", 9)
    again.close()
    older = RocksTable(tmp_path / "state")
    older.belong("one")
    assert older.position() == 0
    older.close()


def test_a_table_that_forgets_remembers_whose_log_it_mirrors(tmp_path: Path) -> None:
    """Entries of a table with a time to live fall to compaction; the cluster's id must not."""
    table = RocksTable(tmp_path / "t", ttl_seconds=3600)
    table.belong("here")
    table._db.delete(CLUSTER_KEY)  # as compaction does with what was written long ago
    table.apply([(b"k", b"v")], 1)
    table.close()
    again = RocksTable(tmp_path / "t", ttl_seconds=3600)
    again.belong("here")
    assert again.get(b"k") == b"v"
    again.close()


KEYS = st.binary(max_size=2) | st.sampled_from([b"a", b"b", b"ab", b"b\xff"])


@settings(max_examples=30)  # each opens a database
@given(
    st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=2)), max_size=30),
    st.lists(st.tuples(KEYS, KEYS, st.integers(0, 8)), min_size=1, max_size=5),
)
def test_a_scan_is_that_of_the_table_in_memory(
    puts: list[tuple[bytes, bytes | None]], ranges: list[tuple[bytes, bytes, int]]
) -> None:
    """In the order of bytes, up to a limit, without the keys that are the table's own."""
    with tempfile.TemporaryDirectory() as folder:
        table, oracle = RocksTable(Path(folder) / "t"), InMemoryTable()
        table.belong("here")
        for each in (table, oracle):
            each.apply(puts, 3)
        for start, stop, limit in [*ranges, (b"", b"\xff" * 4, 100)]:
            assert table.scan(start, stop, limit) == oracle.scan(start, stop, limit)
        table.close()


@settings(max_examples=30)  # each opens a database
@given(
    st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=2)), max_size=10),
    st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=2)), max_size=30),
    st.integers(0, 40),
)
def test_a_table_that_is_filled_is_that_in_memory(
    earlier: list[tuple[bytes, bytes | None]],
    puts: list[tuple[bytes, bytes | None]],
    records: int,
) -> None:
    """Every key is found as it is, while it is filled and afterwards, whatever was there before."""
    with tempfile.TemporaryDirectory() as folder:
        table, oracle = RocksTable(Path(folder) / "t"), InMemoryTable()
        for each in (table, oracle):
            each.apply(earlier, 1 if earlier else 0)
        keys = {key for key, _ in [*earlier, *puts]} | {b"never"}
        with table.filling(records), oracle.filling(records):
            for offset, put in enumerate(puts, 2):
                for each in (table, oracle):
                    each.apply([put], offset)
                assert all(table.get(key) == oracle.get(key) for key in keys)
        assert all(table.get(key) == oracle.get(key) for key in keys)
        assert table.scan(b"", b"\xff" * 4, 100) == oracle.scan(b"", b"\xff" * 4, 100)
        assert table.position() == oracle.position()
        table.close()


def test_files_are_merged_once_a_table_is_filled(tmp_path: Path) -> None:
    """Meanwhile there are as many as were written."""
    table = RocksTable(tmp_path / "t")
    files = rocks.FILES_UNSORTED + 4
    with table.filling(files):
        for number in range(files):
            table.apply([(b"%d" % (number % 3), b"x")], number + 1)
            table._db.flush()
        assert int(table._db.property_value("rocksdb.num-files-at-level0") or 0) == files
    table._db.flush()
    deadline = time.monotonic() + 30
    while int(table._db.property_value("rocksdb.num-files-at-level0") or 0) >= files:
        assert time.monotonic() < deadline, "nothing was merged"
    assert table.get(b"1") == b"x"
    table.close()


def test_a_table_that_forgets_is_scanned_too(tmp_path: Path) -> None:
    """Its entries carry the time at which they were written; a scan gives the values alone."""
    table = RocksTable(tmp_path / "t", ttl_seconds=3600)
    table.apply([(b"b", b"2"), (b"a", b"1")], 1)
    assert table.scan(b"", b"z", 10) == [(b"a", b"1"), (b"b", b"2")]
    table.close()
