"""Wheels of ours, built anew, and everybody else's, fetched once for a set of versions."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..absent import absent
from .packages import ROOT, images, projects

_SECONDS = 300
_STORE = ROOT / ".klingel" / "wheels"


def run(*words: object, **more) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it said."""
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=_SECONDS, check=False,
        **more,
    )  # fmt: skip


def _pip(*words: object) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", *words)


@pytest.fixture(scope="session")
def own_wheels(tmp_path_factory) -> Path:
    """The wheels of every package that any image holds."""
    folder = tmp_path_factory.mktemp("wheels")
    folders = [ROOT / place for place, _ in projects().values() if place != "deploy/local"]
    done = _pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, *folders)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def others_wheels(own_wheels) -> Path:
    """Everybody else's wheels in the pinned versions; fetched when the versions or needs change."""
    constraints = ROOT / "constraints.txt"
    needs = [str(sorted(project["dependencies"])) for _, project in projects().values()]
    digest = hashlib.sha256("\n".join([constraints.read_text(), *sorted(needs)]).encode())
    folder = _STORE / digest.hexdigest()[:16]
    complete = folder / ".complete"
    if complete.exists():
        return folder
    shutil.rmtree(_STORE, ignore_errors=True)  # those of other versions
    wheels = [_wheel(own_wheels, image.package) for image in images()]
    done = _pip(
        "download", "--quiet", "--only-binary", ":all:", "-c", constraints, "-d", folder,
        "--find-links", own_wheels, *wheels,
    )  # fmt: skip
    if done.returncode:
        reason = f"the wheels of others cannot be fetched: {done.stderr.strip()[-300:]}"
        absent(reason)
    for path in folder.glob("klingel*.whl"):
        path.unlink()  # ours are built anew each time
    complete.touch()
    return folder


def _wheel(folder: Path, package: str) -> Path:
    return next(folder.glob(f"{package.replace('-', '_')}-*.whl"))


@pytest.fixture
def install(own_wheels, others_wheels, tmp_path):
    """Return what installs a package alone in an empty environment; gives the environment."""

    def alone(package: str) -> Path:
        home = tmp_path / "environment"
        assert run(sys.executable, "-m", "venv", "--without-pip", home).returncode == 0
        done = _pip(
            "--python", home / "bin" / "python", "install", "--quiet", "--no-index", "--no-compile",
            "--find-links", own_wheels, "--find-links", others_wheels,
            "-c", ROOT / "constraints.txt", _wheel(own_wheels, package),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return home

    return alone
