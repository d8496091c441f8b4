"""The blob store keeps bytes under their hash, whole or not at all."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from klingel.contracts.blobs import BlobStore
from klingel.errors import ConfigurationError, ErrorType, InvalidMessage, SourceUnavailable


def test_what_was_put_comes_back_and_twice_is_once(tmp_path):
    store = BlobStore(tmp_path / "blobs")
    content = b"\x00original" * 1000
    reference = store.put(content)
    assert store.put(content) == reference
    assert reference.sha256 == hashlib.sha256(content).hexdigest()
    assert reference.size == len(content)
    assert store.get(reference) == content
    assert (tmp_path / "blobs" / reference.ref).read_bytes() == content
    assert [path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == [
        reference.sha256
    ]


def test_an_altered_or_missing_original_is_told(tmp_path):
    store = BlobStore(tmp_path)
    reference = store.put(b"original")
    (tmp_path / reference.ref).write_bytes(b"altered")
    with pytest.raises(InvalidMessage) as altered:
        store.get(reference)
    (tmp_path / reference.ref).unlink()
    with pytest.raises(InvalidMessage) as gone:
        store.get(reference)
    assert altered.value.error_type is gone.value.error_type is ErrorType.ORIGINAL_GONE


def test_a_folder_that_cannot_be_written_is_something_to_wait_for(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceUnavailable, match="blob store cannot be written"):
        BlobStore(tmp_path / "file").put(b"original")


def test_a_folder_that_can_never_be_written_is_a_wrong_setting(tmp_path):
    """At the start, when nothing has been taken in hand yet; what is tried leaves nothing behind."""
    BlobStore(tmp_path / "new" / "blobs").require()
    assert list((tmp_path / "new" / "blobs").iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="KLINGEL_BLOBS__DIR: "):
        BlobStore(tmp_path / "file" / "blobs").require()


NOW = datetime(2026, 11, 24, tzinfo=UTC)


def stored(folder, path, days):
    """Say that a file was stored so many days ago."""
    at = (NOW - timedelta(days=days)).timestamp()
    os.utime(folder / path, (at, at))


def test_what_nobody_stored_for_long_goes_and_all_else_stays(tmp_path):
    """Blobs, notes of who shows them, and what a killed writer left; no file of another name."""
    store = BlobStore(tmp_path)
    old, young = store.put(b"old" * 10), store.put(b"young")
    store.note("shown/ab/" + "ab" * 32, b"old")
    store.note("shown/looked", b"2026")
    (tmp_path / "ours.txt").write_bytes(b"ours")
    (tmp_path / old.ref[:2] / ".writing-1").write_bytes(b"torn")
    notes = ("shown/ab/" + "ab" * 32, "shown/looked", "ours.txt", f"{old.ref[:2]}/.writing-1")
    for each in (old.ref, *notes):
        stored(tmp_path, each, 402)
    stored(tmp_path, young.ref, 400)
    before = NOW - timedelta(days=401)
    assert store.age(before, dry_run=True) == (3, 37)
    assert store.age(before) == (3, 37)
    assert store.age(before) == (0, 0)
    left = {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file()}
    assert left == {young.ref, "shown/looked", "ours.txt"}


def test_what_is_stored_again_is_young_again(tmp_path):
    store = BlobStore(tmp_path)
    reference = store.put(b"original")
    stored(tmp_path, reference.ref, 402)
    assert store.put(b"original") == reference
    assert store.age(NOW - timedelta(days=401)) == (0, 0)
    assert store.get(reference) == b"original"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_is_stored_again_while_it_goes_is_not_lost(tmp_path, monkeypatch, moment):
    store = BlobStore(tmp_path)
    reference = store.put(b"original")
    stored(tmp_path, reference.ref, 402)
    rename = Path.rename

    def renamed(path, target):
        if moment == "before":
            store.put(b"original")
        rename(path, target)
        if moment == "after":
            store.put(b"original")

    monkeypatch.setattr(Path, "rename", renamed)
    store.age(NOW - timedelta(days=401))
    assert store.get(reference) == b"original"
    assert [each.name for each in (tmp_path / reference.ref).parent.iterdir()] == [reference.sha256]


def test_what_was_stored_again_is_put_back_by_the_next_run_where_this_one_was_killed(
    tmp_path, monkeypatch
):
    store = BlobStore(tmp_path)
    reference = store.put(b"original")
    stored(tmp_path, reference.ref, 402)
    rename = Path.rename

    def killed(path, target):
        store.put(b"original")
        rename(path, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            store.age(NOW - timedelta(days=401))
    assert store.age(NOW - timedelta(days=401)) == (0, 0)
    assert store.get(reference) == b"original"
    assert [each.name for each in (tmp_path / reference.ref).parent.iterdir()] == [reference.sha256]


def test_a_folder_that_is_not_there_holds_nothing_old(tmp_path):
    assert BlobStore(tmp_path / "none").age(NOW) == (0, 0)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceUnavailable, match="cannot be aged"):
        BlobStore(tmp_path / "file").age(NOW)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"not ours")
    stored(outside, "file", 402)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "ab").symlink_to(outside)
    assert BlobStore(tmp_path / "blobs").age(NOW) == (0, 0)
    assert (outside / "file").exists()
