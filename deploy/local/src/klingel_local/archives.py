"""Zip and tar archives: which bytes of a remote zip are needed, unpacking, and tree checksums."""

import hashlib
import os
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from klingel_local.download import Meter, Probe, RemoteFile, Span
from klingel_local.errors import FetchError

Wanted = Callable[[str], bool]

# End-of-central-directory record: signature, disks, entries, directory size and offset, comment.
_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_TAIL = 1 << 16
# Bytes between two wanted members that are cheaper to read than a second request.
_GAP = 1 << 20


def tree_digest(root: Path) -> str:
    """Return the sha256 in hex over names and contents of all files below `root`.

    Folders are walked in sorted order; each file adds its relative path, a NUL and the sha256 of
    its content. Permissions and times do not count.
    """
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def directory_span(tail: bytes, size: int) -> Span:
    """Find a zip's central directory from the last bytes of the file.

    Args:
        tail: The end of the file.
        size: Size of the whole file.

    Raises:
        FetchError: there is no such directory in the file.
    """
    at = tail.rfind(_END_SIGNATURE)
    if at < 0 or len(tail) - at < _END.size:
        raise FetchError("The downloaded archive is not a zip file: try again.")
    _, _, _, _, _, length, offset, _ = _END.unpack_from(tail, at)
    if offset + length > size:
        raise FetchError("The downloaded archive has a broken directory: try again.")
    return Span(offset, size)


def member_spans(archive: zipfile.ZipFile, wanted: Wanted) -> list[Span]:
    """Return the spans of a zip that hold the wanted members, neighbours joined.

    A member ends where the next one in the file begins.
    """
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    ends = [member.header_offset for member in members[1:]] + [archive.start_dir]
    spans: list[Span] = []
    for member, end in zip(members, ends, strict=True):
        if not wanted(member.filename):
            continue
        if spans and member.header_offset - spans[-1].end <= _GAP:
            spans[-1] = Span(spans[-1].start, end)
        else:
            spans.append(Span(member.header_offset, end))
    return spans


def fetch_members(
    remote: RemoteFile, probe: Probe, target: BinaryIO, wanted: Wanted, meter: Meter
) -> zipfile.ZipFile:
    """Bring the wanted members of a remote zip into `target`, at their own offsets.

    Where the server serves ranges, `target` becomes a sparse file that holds the directory and
    the wanted members alone; else it receives the whole file.

    Raises:
        FetchError: the network failed, or the file is not a zip.
    """
    if not probe.ranges or probe.size is None:
        if probe.size is not None:
            meter.expect(probe.size)
        remote.fetch(target, meter)
        return _open_zip(target)
    size = probe.size
    target.truncate(size)
    tail = Span(max(size - _TAIL, 0), size)
    remote.fill(target, tail, meter)
    target.seek(tail.start)
    directory = directory_span(target.read(), size)
    if directory.start < tail.start:
        remote.fill(target, Span(directory.start, tail.start), meter)
    archive = _open_zip(target)
    spans = member_spans(archive, wanted)
    meter.expect(sum(span.end - span.start for span in spans) + size - directory.start)
    for span in spans:
        remote.fill(target, span, meter)
    return archive


def unpack_folder(archive: zipfile.ZipFile, prefix: str, target: Path) -> None:
    """Unpack the members below `prefix` into `target`; zipfile checks each CRC-32.

    Raises:
        FetchError: a member is damaged or would leave `target`.
    """
    for member, path in _members_below(archive, prefix):
        output = target / path
        if member.is_dir():
            output.mkdir(parents=True, exist_ok=True)
            continue
        output.parent.mkdir(parents=True, exist_ok=True)
        unpack_member(archive, member.filename, output)


def unpack_member(archive: zipfile.ZipFile, name: str, output: Path) -> None:
    """Unpack one member to a file.

    Raises:
        FetchError: the member is absent or damaged.
    """
    try:
        with archive.open(name) as source, output.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except (KeyError, zipfile.BadZipFile, EOFError) as error:
        raise FetchError("The downloaded archive is damaged: try again.") from error


def unpack_tar(path: Path, target: Path) -> None:
    """Unpack a tar archive whose checksum has been verified before."""
    with tarfile.open(path) as archive:
        # Pythons before 3.11.4 know no filters; the archive is pinned either way.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(target)  # noqa: S202 - the archive's sha256 is pinned


def _members_below(
    archive: zipfile.ZipFile, prefix: str
) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    for member in archive.infolist():
        if not member.filename.startswith(prefix) or member.filename == prefix:
            continue
        path = PurePosixPath(member.filename.removeprefix(prefix))
        if path.is_absolute() or ".." in path.parts:
            raise FetchError("The downloaded archive holds a path that leaves its folder.")
        yield member, path


def _open_zip(target: BinaryIO) -> zipfile.ZipFile:
    target.flush()
    try:
        return zipfile.ZipFile(target)
    except zipfile.BadZipFile as error:
        raise FetchError("The downloaded archive is not a zip file: try again.") from error
