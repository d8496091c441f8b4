"""The schemas are unpacked once and whole, by however many at a time."""

import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from .shapes import unpacked

AT_ONCE = 8
FILES = 200


def test_many_unpack_at_once_and_each_finds_all_of_it(tmp_path: Path) -> None:
    """As the processes of a test run do on a fresh checkout."""
    source = tmp_path / "source" / "schemas"
    for number in range(FILES):
        place = source / str(number % 7) / f"{number}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("{}", "utf-8")
    archive = tmp_path / "schemas.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source, "schemas")
    together = Barrier(AT_ONCE)

    def unpack(_number: int) -> int:
        together.wait()
        return len([*unpacked(archive, tmp_path / "cache").rglob("*.json")])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert [*pool.map(unpack, range(AT_ONCE))] == [FILES] * AT_ONCE
    assert len([*(tmp_path / "cache").iterdir()]) == 1
