"""Which media an object showed: notes beside the media, by which its deletion finds them.

A deletion tells of nothing but its object, and the emptied document knows no media any more. A note is
named after the hash of the object's id, so that nobody is named by it, and holds the media's hashes.
"""

import asyncio
import hashlib
import re
from collections.abc import Iterable
from typing import Final, Protocol

from klingel.contracts.blobs import BlobStore

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Notes(Protocol):
    """Small contents by name, beside media; everything raises SourceUnavailable while it is away."""

    async def note(self, name: str, content: bytes) -> None:
        """Write, in place of what was there; on return it is durable."""
        ...

    async def noted(self, name: str) -> bytes | None:
        """Return what was written; None when nothing was."""
        ...

    async def unnote(self, name: str) -> None:
        """Remove; what is not there is no error."""
        ...


class Folder:
    """Media and notes in the folder of blobs."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def note(self, name: str, content: bytes) -> None:
        """Write; see the port."""
        await asyncio.to_thread(self._blobs.note, name, content)

    async def noted(self, name: str) -> bytes | None:
        """Return; see the port."""
        return await asyncio.to_thread(self._blobs.noted, name)

    async def unnote(self, name: str) -> None:
        """Remove; see the port."""
        await asyncio.to_thread(self._blobs.unnote, name)

    async def forget(self, sha256: str) -> bool:
        """Remove what has this hash; returns whether it was there; raises SourceUnavailable."""
        return await asyncio.to_thread(self._blobs.forget, sha256)


async def note_shown(notes: Notes, object_id: str, media: Iterable[str]) -> None:
    """Note that an object shows media, by their hashes; a second time renews the note's age alone.

    Media that are stored again are young again: a note that is not would go before them.
    """
    both = await shown(notes, object_id) | set(media)
    await notes.note(_name(object_id), "\n".join(sorted(both)).encode())


async def shown(notes: Notes, object_id: str) -> set[str]:
    """Return the hashes of the media that an object was noted to show."""
    lines = (await notes.noted(_name(object_id)) or b"").decode("utf-8", "replace").splitlines()
    return {line for line in lines if _SHA256.fullmatch(line)}


async def end_shown(notes: Notes, object_id: str) -> None:
    """Remove what was noted of an object."""
    await notes.unnote(_name(object_id))


def _name(object_id: str) -> str:
    digest = hashlib.sha256(object_id.encode()).hexdigest()
    return f"shown/{digest[:2]}/{digest}"
