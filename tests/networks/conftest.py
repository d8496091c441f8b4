"""Real input for the networks' tests; absent data skip a test with a reason."""

import gzip
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from klingel_cli.main import main


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


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return what `klingel map NETWORK FILE` prints of a body: a dict an object, in order."""

    def run(
        network: str, body: Any, *options: str, name: str = "body.json"
    ) -> list[dict[str, Any]]:
        file = tmp_path / name
        file.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        result = CliRunner().invoke(main, ["map", network, *options, str(file)])
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    return run
