"""Real input for the networks' tests; absent data skip a test with a reason."""

import gzip
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def payloads(shared_data: Path) -> Callable[[str], dict[str, bytes]]:
    """Return the files of an archive of payloads, by path."""

    def read(name: str) -> dict[str, bytes]:
        with tarfile.open(shared_data / "permissive" / "payloads" / f"{name}.tar.gz") as archive:
            return {
                member.name: archive.extractfile(member).read()
                for member in archive.getmembers()
                if member.isfile()
            }

    return read


@pytest.fixture(scope="session")
def texts(shared_data: Path) -> Callable[[], Iterator[tuple[str, str]]]:
    """Return every text of every set, with the set's name."""

    def read() -> Iterator[tuple[str, str]]:
        for file in sorted(shared_data.glob("*/text/*.jsonl.gz")) + sorted(
            shared_data.glob("own/*.jsonl.gz")
        ):
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                for line in lines:
                    record = json.loads(line)
                    for key in ("text", "text2"):
                        if isinstance(record.get(key), str):
                            yield file.name, record[key]

    return read
