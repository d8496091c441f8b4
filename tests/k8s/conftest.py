"""The tools of the checks, and one good bundle that has an object of nearly every kind."""

import copy
from collections.abc import Callable
from functools import cache

import pytest

from ..absent import absent
from .bundle import Object, Problem, parse
from .check import K8S, Tools, problems
from .kubectl import build

GOOD = K8S / "overlays" / "production"


@cache
def _tools() -> Tools:
    return Tools()


@cache
def _good() -> list[Object]:
    return parse(build(GOOD))


@pytest.fixture(scope="session")
def tools() -> Tools:
    """Schemas and promtool; a test that needs what is absent is skipped with the reason."""
    found = _tools()
    if found.absent:
        absent("; ".join(found.absent))
    return found


@pytest.fixture
def bundle() -> list[Object]:
    """A copy of the good bundle, for a test to spoil."""
    return copy.deepcopy(_good())


@pytest.fixture
def found(tools: Tools) -> Callable[[list[Object]], list[Problem]]:
    """Return what all checks find in a bundle."""
    return lambda objects: problems(objects, tools)
