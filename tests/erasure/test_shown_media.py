"""Media of a post that its network deleted leave folder and bucket, unless another post shows them."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from klingel.clock import SystemClock
from klingel.contracts.blobs import BlobStore
from klingel.contracts.shown import Folder, note_shown, shown
from klingel_cli import erasing
from klingel_networks.object_store import S3Settings, S3Store

from .test_media import Bucket

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALONE, SHARED, OLD = (hashlib.sha256(each).hexdigest() for each in (b"alone", b"shared", b"old"))
GONE, KEPT = "x:network:1", "x:network:2"


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket(ALONE, SHARED, OLD) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """Since when deletions were asked for; one post is deleted, and another shows what it shared."""
    told: list[datetime] = []

    async def deleted_since(_client: object, _prefix: str, since: datetime) -> AsyncIterator[str]:
        told.append(since)
        for each in (GONE, "x:network:without media"):
            yield each

    async def others_hold(_client: object, _prefix: str, media: str, objects: list[str]) -> bool:
        assert objects == [GONE]
        return media == SHARED

    monkeypatch.setattr(erasing, "deleted_since", deleted_since)
    monkeypatch.setattr(erasing, "others_hold", others_hold)
    return told


async def forget(store: Any, now: datetime = NOW) -> int:
    return await erasing.forget_of_deleted(None, "kl-", store, now)  # type: ignore[arg-type] # nobody asks it


async def is_spent(store: Any, asked: list[datetime]) -> None:
    """What the deleted post alone showed goes, once; the next look begins where this one did."""
    await note_shown(store, GONE, [ALONE])
    await note_shown(store, GONE, [SHARED, ALONE])
    await note_shown(store, KEPT, [OLD])
    assert await shown(store, GONE) == {ALONE, SHARED}
    assert await forget(store) == 1
    assert await shown(store, GONE) == set()
    assert await shown(store, KEPT) == {OLD}
    later = NOW + timedelta(hours=1)
    assert await forget(store, later) == 0
    first, second = asked
    assert first < NOW - timedelta(days=1)
    assert timedelta(0) < NOW - second < timedelta(hours=2)


async def test_a_note_is_as_young_as_the_medium_that_is_stored_again(tmp_path):
    """Else it goes first, and a deletion finds the medium no more."""
    blobs = BlobStore(tmp_path)
    for _ in range(2):
        for each in filter(Path.is_file, tmp_path.rglob("*")):
            os.utime(each, (0, 0))
        await note_shown(Folder(blobs), GONE, [blobs.put(b"alone").sha256])
    assert blobs.age(NOW - timedelta(days=401)) == (0, 0)
    assert await shown(Folder(blobs), GONE) == {ALONE}


async def test_a_deletion_reaches_the_folder(tmp_path, asked):
    blobs = BlobStore(tmp_path)
    for content in (b"alone", b"shared", b"old"):
        blobs.put(content)
    await is_spent(Folder(blobs), asked)
    assert {each.name for each in tmp_path.glob("[0-9a-f][0-9a-f]/*")} == {SHARED, OLD}


async def test_a_deletion_reaches_the_bucket(bucket, asked):
    endpoint = f"http://127.0.0.1:{bucket.server_port}"
    store = S3Store(S3Settings(endpoint, "bucket", "eu", "reader", "secret"), SystemClock())
    try:
        await is_spent(store, asked)
    finally:
        await store.close()
    held = {each.rpartition("/")[2] for each in bucket.held}
    assert {SHARED, OLD} <= held
    assert ALONE not in held


async def test_nobody_is_named_where_it_is_noted(tmp_path):
    """An object's id may hold its author's: its hash is the name, and nothing else is said."""
    await note_shown(Folder(BlobStore(tmp_path)), "x:network:anna", [ALONE])
    (note,) = await asyncio.to_thread(
        lambda: [each for each in tmp_path.rglob("*") if each.is_file()]
    )
    assert "anna" not in f"{note}{note.read_text()}"


async def test_a_strange_note_is_none(tmp_path):
    """Somebody wrote there: no path is made of it."""
    blobs = BlobStore(tmp_path)
    store = Folder(blobs)
    await note_shown(store, GONE, [ALONE])
    (note,) = await asyncio.to_thread(
        lambda: [each for each in tmp_path.rglob("*") if each.is_file()]
    )
    note.write_text(f"../../etc/passwd\n{ALONE}\n\xff")
    assert await shown(store, GONE) == {ALONE}
