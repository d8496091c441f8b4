"""What the tests of `schemas/` look at: its files, one case a file."""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from klingel.contracts.topics import Topic, topic_specs

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "schemas"


@dataclass(frozen=True)
class Sample:
    """One file of `examples/` or `invalid/`; `value` is the message as it would travel."""

    topic: Topic
    path: Path

    @property
    def content(self) -> dict[str, Any]:
        """Give the file's JSON."""
        return json.loads(self.path.read_text(encoding="utf-8"))

    @property
    def value(self) -> bytes:
        """Give the message's bytes."""
        return json.dumps(self.content, ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def schema(self) -> dict[str, Any]:
        """Give the shape that the topic promises."""
        return event_schema(topic_specs()[self.topic].event)


def event_schema(event: str) -> dict[str, Any]:
    return json.loads((SCHEMAS / "events" / f"{event}.schema.json").read_text(encoding="utf-8"))


def samples(folder: str) -> list[Sample]:
    return [
        Sample(topic, path)
        for topic in Topic
        for path in sorted((SCHEMAS / folder / topic).glob("*.json"))
    ]


def field_sets() -> dict[str, dict[str, Any]]:
    return {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((SCHEMAS / "index").glob("*.yaml"))
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each example, invalid example, topic or field set that a test asks for."""
    for name, folder in (("example", "examples"), ("invalid", "invalid")):
        if name in metafunc.fixturenames:
            found = samples(folder)
            ids = [f"{sample.topic}/{sample.path.stem}" for sample in found]
            metafunc.parametrize(name, found, ids=ids)
    if "topic" in metafunc.fixturenames:
        metafunc.parametrize("topic", list(Topic))
    if "field_set" in metafunc.fixturenames:
        metafunc.parametrize("field_set", list(field_sets()))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def schemas() -> Path:
    """The folder `schemas`."""
    return SCHEMAS


@pytest.fixture(scope="session")
def examples() -> Callable[[Topic], list[Sample]]:
    """Examples of a topic, by name."""
    return lambda topic: [sample for sample in samples("examples") if sample.topic == topic]


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a module of `schemas/generate`, which is no package and never installed."""
    monkeypatch.syspath_prepend(SCHEMAS / "generate")
    return importlib.import_module
