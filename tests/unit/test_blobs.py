"""The blob store keeps bytes under their hash, whole or not at all."""

import hashlib

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
