"""The blob store as a folder: content-addressed, written whole or not at all.

A blob's address is `<first two hex digits>/<sha256>`, relative to the folder, so that the folder
may move. The same bytes have the same address: storing twice changes nothing but when they were
stored last, by which they go in the end (`age`).
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from klingel.errors import ConfigurationError, ErrorType, InvalidMessage, SourceUnavailable
from klingel.model.raw_event import BlobRef

INLINE_BYTES = 512 * 1024
"""Originals above this take the way of the blob store."""
_AGEING = ".ageing-"


class AgedBlobs(NamedTuple):
    """What went, or would go: files, and their bytes."""

    files: int
    bytes: int


class BlobStore:
    """Blobs under one folder; methods block and belong into a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def require(self) -> None:
        """Make the folder, and try whether it can be written, before anything is taken in hand.

        Raises:
            ConfigurationError: it cannot.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".trying-"):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"KLINGEL_BLOBS__DIR: nothing can be written there ({error.strerror})"
            ) from None

    def put(self, content: bytes) -> BlobRef:
        """Store and return the reference; on return the bytes survive a power cut.

        What is there already is as young again as what is new.

        Raises:
            SourceUnavailable: the folder cannot be written now (full, away, not ours).
        """
        digest = hashlib.sha256(content).hexdigest()
        reference = BlobRef(sha256=digest, size=len(content), ref=f"{digest[:2]}/{digest}")
        target = self._folder / reference.ref
        try:
            try:
                os.utime(target)
            except (FileNotFoundError, PermissionError):
                self._write(target, content)
        except OSError as error:
            raise SourceUnavailable(f"the blob store cannot be written: {error.strerror}") from None
        return reference

    def get(self, reference: BlobRef) -> bytes:
        """Return the bytes.

        Raises:
            InvalidMessage: gone, or not the bytes that were stored.
            SourceUnavailable: the folder cannot be read now.
        """
        try:
            content = (self._folder / reference.sha256[:2] / reference.sha256).read_bytes()
        except FileNotFoundError:
            if not self._folder.is_dir():
                raise SourceUnavailable("the blob store's folder is not there now") from None
            raise InvalidMessage(
                ErrorType.ORIGINAL_GONE, "the original is no longer kept"
            ) from None
        except OSError as error:
            raise SourceUnavailable(f"the blob store cannot be read: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != reference.sha256:
            raise InvalidMessage(ErrorType.ORIGINAL_GONE, "the original was altered in the store")
        return content

    def forget(self, sha256: str) -> bool:
        """Remove what has this hash; returns whether it was there.

        Raises:
            SourceUnavailable: it cannot be removed now.
        """
        try:
            (self._folder / sha256[:2] / sha256).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SourceUnavailable(f"the blob store cannot be written: {error.strerror}") from None
        return True

    def note(self, name: str, content: bytes) -> None:
        """Write something small under a name of ours, in place of what was there.

        Args:
            name: a relative path that no blob has: `shown/…`.
            content: all of it.

        Raises:
            SourceUnavailable: the folder cannot be written now.
        """
        try:
            self._write(self._folder / name, content)
        except OSError as error:
            raise SourceUnavailable(f"the blob store cannot be written: {error.strerror}") from None

    def noted(self, name: str) -> bytes | None:
        """Return what was written under a name, None for nothing; raises SourceUnavailable."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceUnavailable(f"the blob store cannot be read: {error.strerror}") from None

    def unnote(self, name: str) -> None:
        """Remove what was written under a name, if anything was; raises SourceUnavailable."""
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise SourceUnavailable(f"the blob store cannot be written: {error.strerror}") from None

    def age(self, before: datetime, *, dry_run: bool = False) -> AgedBlobs:
        """Remove blobs and notes that nobody stored since; returns what went.

        Args:
            before: aware; what was stored last before it goes.
            dry_run: only count.

        Raises:
            SourceUnavailable: the folder cannot be read or written now.
        """
        files = total = 0
        bound = before.timestamp()
        try:
            for path in self._stored():
                found = _look(path)
                if found is None:
                    continue
                if found.st_mtime >= bound:
                    if path.name.startswith(_AGEING) and not dry_run:
                        _put_back(path)
                elif dry_run or _end(path, bound):
                    files, total = files + 1, total + found.st_size
        except OSError as error:
            raise SourceUnavailable(f"the blob store cannot be aged: {error.strerror}") from None
        return AgedBlobs(files, total)

    def _stored(self) -> Iterator[Path]:
        """Yield every file of blobs, and of notes of who shows them; nothing else of the folder."""
        for folder in (self._folder, self._folder / "shown"):
            with suppress(FileNotFoundError), os.scandir(folder) as parts:
                for part in parts:
                    if len(part.name) != 2 or not part.is_dir(follow_symlinks=False):
                        continue
                    with os.scandir(part.path) as entries:
                        yield from (
                            Path(entry.path)
                            for entry in entries
                            if entry.is_file(follow_symlinks=False)
                        )

    @staticmethod
    def _write(target: Path, content: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _look(path: Path) -> os.stat_result | None:
    """Return what the file system knows of a file; None where it went meanwhile."""
    try:
        return path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _end(path: Path, bound: float) -> bool:
    """Remove a file, unless somebody stored it again since it was looked at; whether it went.

    Who stores it while it has the other name finds nothing there, and writes it anew.
    """
    aside = path.with_name(f"{_AGEING}{path.name.removeprefix(_AGEING)}")
    try:
        path.rename(aside)
        if aside.stat().st_mtime >= bound:
            _put_back(aside)
            return False
        aside.unlink()
    except FileNotFoundError:
        return False  # another run took it
    return True


def _put_back(aside: Path) -> None:
    """Give a file its name again, unless that was written anew; also what a killed run left aside."""
    with suppress(FileNotFoundError):  # another run did
        with suppress(FileExistsError):
            os.link(aside, aside.with_name(aside.name.removeprefix(_AGEING)))
        aside.unlink()
