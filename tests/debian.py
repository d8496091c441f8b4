"""Programs of Debian's packages: the installed ones, else fetched by apt without being root.

apt keeps lists, cache and downloads in a folder of its own then, and `dpkg-deb` unpacks there;
nothing of the machine changes. Fetched once, it is found again.
"""

import shutil
import subprocess
from pathlib import Path

_SECONDS = 300


class NotToBeHad(Exception):
    """The program is not here; the sentence tells why."""


def find_alertmanager(folder: Path) -> Path:
    """Return Alertmanager; see `find_program`."""
    return find_program("prometheus-alertmanager", "prometheus-alertmanager", folder)


def find_promtool(folder: Path) -> Path:
    """Return Prometheus's checker of rules; see `find_program`."""
    return find_program("promtool", "prometheus", folder)


def find_program(program: str, package: str, folder: Path) -> Path:
    """Return a program.

    Args:
        program: its name.
        package: whose package it is in.
        folder: where it is unpacked when the machine has none.

    Raises:
        NotToBeHad: neither installed nor to be fetched.
    """
    installed = shutil.which(program)
    if installed:
        return Path(installed)
    unpacked = folder / "root" / "usr" / "bin" / program
    if not unpacked.exists():
        _fetch(package, folder)
    if not unpacked.exists():
        raise NotToBeHad(f"the package {package} holds no program {program}")
    return unpacked


def _fetch(package: str, folder: Path) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise NotToBeHad(f"{package} is not installed, and without {tool} not to be fetched")
    for part in ("lists/partial", "cache/archives/partial", "download"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    own = [
        "-o", f"Dir::State::lists={folder / 'lists'}",
        "-o", f"Dir::Cache={folder / 'cache'}",
        "-o", "APT::Sandbox::User=",
        "-q",
    ]  # fmt: skip
    _run(["apt-get", *own, "update"], package, folder)
    _run(["apt-get", *own, "download", package], package, folder / "download")
    for file in (folder / "download").glob(f"{package}_*.deb"):
        _run(["dpkg-deb", "-x", str(file), str(folder / "root")], package, folder)


def _run(command: list[str], package: str, folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotToBeHad(
            f"{package} is not installed, and {command[0]} failed: {type(error).__name__}"
        ) from None
