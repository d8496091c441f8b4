"""Of a remote zip only the wanted members travel; a tree's checksum is over names and contents."""

import hashlib
import io
import zipfile

import pytest

from klingel_local import archives
from klingel_local.download import RemoteFile, Span
from klingel_local.errors import FetchError
from klingel_local.progress import Progress

NOISE = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(100_000))


def zip_bytes(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.fixture
def distribution():
    return zip_bytes(
        {
            "dist/web/big.bin": NOISE,
            "dist/es/": b"",
            "dist/es/config/a.yml": b"a: 1\n",
            "dist/es/lib/b.jar": NOISE[:1000],
            "dist/lib/other.bin": NOISE[::-1],
            "dist/es/z.txt": b"last",
        }
    )


def fetch(repository, target, prefix):
    remote = RemoteFile(f"{repository.address}/d.zip", "d.zip", lambda _: None)
    return archives.fetch_members(
        remote,
        remote.probe(),
        target,
        lambda name: name.startswith(prefix),
        Progress("d", 1, io.StringIO()),
    )


def test_only_the_wanted_members_travel(repository, distribution, tmp_path):
    repository.files["d.zip"] = distribution
    with (
        (tmp_path / "d.zip").open("w+b") as target,
        fetch(repository, target, "dist/es/") as archive,
    ):
        archives.unpack_folder(archive, "dist/es/", tmp_path / "es")
    assert (tmp_path / "es/config/a.yml").read_bytes() == b"a: 1\n"
    assert (tmp_path / "es/lib/b.jar").read_bytes() == NOISE[:1000]
    assert (tmp_path / "es/z.txt").read_bytes() == b"last"
    assert repository.sent < 100_000 < len(distribution)


def test_without_ranges_the_whole_file_travels_and_gives_the_same(
    repository, distribution, tmp_path
):
    repository.files["d.zip"] = distribution
    repository.ranges = False
    with (
        (tmp_path / "d.zip").open("w+b") as target,
        fetch(repository, target, "dist/es/") as archive,
    ):
        archives.unpack_folder(archive, "dist/es/", tmp_path / "es")
    assert (tmp_path / "es/z.txt").read_bytes() == b"last"
    assert (tmp_path / "d.zip").read_bytes() == distribution


def test_a_directory_longer_than_the_tail_is_fetched_whole(repository, tmp_path):
    names = [f"dist/es/{n:05d}-{'x' * 60}.txt" for n in range(1500)]
    repository.files["d.zip"] = zip_bytes(
        {"dist/big": NOISE} | {name: name.encode() for name in names}
    )
    with (
        (tmp_path / "d.zip").open("w+b") as target,
        fetch(repository, target, names[700]) as archive,
    ):
        assert archive.read(names[700]) == names[700].encode()


def test_neighbours_travel_in_one_request(distribution):
    with zipfile.ZipFile(io.BytesIO(distribution)) as archive:
        spans = archives.member_spans(archive, lambda name: name.startswith("dist/es/"))
        first = archive.getinfo("dist/es/").header_offset
        after = archive.getinfo("dist/lib/other.bin").header_offset
        last = archive.getinfo("dist/es/z.txt").header_offset
        assert spans == [Span(first, after), Span(last, archive.start_dir)]


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"not a zip" * 10_000])
def test_something_else_than_a_zip_is_named(repository, content, tmp_path):
    repository.files["d.zip"] = content or b"\0"
    with (tmp_path / "d.zip").open("w+b") as target, pytest.raises(FetchError, match="not a zip"):
        fetch(repository, target, "dist/")


def test_a_member_that_leaves_its_folder_is_refused(tmp_path):
    with (
        zipfile.ZipFile(io.BytesIO(zip_bytes({"es/../../x": b""}))) as archive,
        pytest.raises(FetchError, match="leaves its folder"),
    ):
        archives.unpack_folder(archive, "es/", tmp_path)


def test_a_damaged_member_is_named(tmp_path):
    content = bytearray(zip_bytes({"es/a": NOISE[:5000]}))
    content[1000] ^= 0xFF
    with (
        zipfile.ZipFile(io.BytesIO(bytes(content))) as archive,
        pytest.raises(FetchError, match="damaged"),
    ):
        archives.unpack_folder(archive, "es/", tmp_path)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "b").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"one")
    (root / "b" / "c.txt").write_bytes(b"two")
    return root


def test_the_tree_checksum_is_over_paths_and_contents(tree):
    expected = hashlib.sha256(
        b"a.txt\0"
        + hashlib.sha256(b"one").digest()
        + b"b/c.txt\0"
        + hashlib.sha256(b"two").digest()
    ).hexdigest()
    assert archives.tree_digest(tree) == expected
    (tree / "a.txt").chmod(0o755)
    assert archives.tree_digest(tree) == expected


@pytest.mark.parametrize("change", ["content", "name", "added", "removed"])
def test_any_change_shows_in_the_tree_checksum(tree, change):
    before = archives.tree_digest(tree)
    match change:
        case "content":
            (tree / "b" / "c.txt").write_bytes(b"twO")
        case "name":
            (tree / "a.txt").rename(tree / "A.txt")
        case "added":
            (tree / "b" / "d.txt").touch()
        case _:
            (tree / "a.txt").unlink()
    assert archives.tree_digest(tree) != before
