"""Scenarios are YAML files; each says what is heard and what care makes of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parent


def scenarios() -> list[Any]:
    """Return every scenario, one test each."""
    return [
        pytest.param(yaml.safe_load(path.read_text(encoding="utf-8")), id=path.stem)
        for path in sorted(FOLDER.glob("*.yaml"))
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for `scenario` each of them."""
    if "scenario" in metafunc.fixturenames:
        metafunc.parametrize("scenario", scenarios())
