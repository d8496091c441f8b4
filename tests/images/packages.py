"""Which packages of ours each image holds, after the packages' own declarations."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRAS = re.compile(r"\[([^\]]*)\]")


class Image(NamedTuple):
    """A Dockerfile and the package beside it, which is what it deploys."""

    folder: str
    package: str
    program: str

    @property
    def text(self) -> str:
        """The Dockerfile."""
        return (ROOT / self.folder / "Dockerfile").read_text(encoding="utf-8")


@cache
def projects() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return folder and `[project]` of every package of this checkout, by its name."""
    found = {}
    for pattern in ("*/pyproject.toml", "services/*/pyproject.toml", "deploy/*/pyproject.toml"):
        for path in ROOT.glob(pattern):
            project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
            found[project["name"]] = (path.parent.relative_to(ROOT).as_posix(), project)
    return found


def images() -> list[Image]:
    """Return every folder with a Dockerfile."""
    return sorted(
        Image(folder, name, next(iter(project["scripts"])))
        for name, (folder, project) in projects().items()
        if (ROOT / folder / "Dockerfile").exists()
    )


def closure(package: str) -> set[str]:
    """Return the packages of ours that a package needs, itself included."""
    found: set[str] = set()
    waiting = [(package, frozenset[str]())]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if name not in projects() or (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(name)
        project = projects()[name][1]
        optional = project.get("optional-dependencies", {})
        wanted = [*project["dependencies"], *(each for extra in extras for each in optional[extra])]
        waiting += [(_name(each), _extras(each)) for each in wanted]
    return found


def _name(requirement: str) -> str:
    found = _NAME.match(requirement)
    return "" if found is None else found[0]


def _extras(requirement: str) -> frozenset[str]:
    found = _EXTRAS.search(requirement)
    return frozenset(part.strip() for part in found[1].split(",")) if found else frozenset()
