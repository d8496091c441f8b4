"""Where media lie, by the hash of their bytes: a folder, or a bucket (`klingel_networks.object_store`)."""

import asyncio
from typing import Protocol

from klingel.contracts.blobs import BlobStore
from klingel.contracts.shown import Folder, Notes


class MediaStore(Notes, Protocol):
    """Keeps bytes by their hash, and notes of who shows them; the same twice changes nothing."""

    async def put(self, content: bytes, content_type: str) -> str:
        """Return the sha256 of what is now durable.

        Raises:
            SourceUnavailable: the store is away; CredentialsRejected: it refuses us.
        """
        ...

    async def close(self) -> None:
        """Let go."""
        ...


class FolderStore(Folder):
    """Media beside the other originals, in the blob store's folder."""

    def __init__(self, blobs: BlobStore) -> None:
        super().__init__(blobs)

    async def put(self, content: bytes, content_type: str) -> str:  # noqa: ARG002  the port's signature
        """Store; see the port."""
        return (await asyncio.to_thread(self._blobs.put, content)).sha256

    async def close(self) -> None:
        """Nothing to let go of."""
