"""Debian's `prometheus-alertmanager`: the installed one, else fetched by apt without being root.

apt keeps lists, cache and downloads in a folder of its own then, and `dpkg-deb` unpacks there;
nothing of the machine changes. Fetched once, it is found again.
"""

import shutil
import subprocess
from pathlib import Path

PROGRAM = "prometheus-alertmanager"
_SECONDS = 300


class NotToBeHad(Exception):
    """There is no Alertmanager here; the sentence tells why."""


def find_alertmanager(folder: Path) -> Path:
    """Return the program.

    Args:
        folder: where it is unpacked when the machine has none.

    Raises:
        NotToBeHad: neither installed nor to be fetched.
    """
    installed = shutil.which(PROGRAM)
    if installed:
        return Path(installed)
    unpacked = folder / "root" / "usr" / "bin" / PROGRAM
    if not unpacked.exists():
        _fetch(folder)
    if not unpacked.exists():
        raise NotToBeHad(f"the package {PROGRAM} holds no program of its name")
    return unpacked


def _fetch(folder: Path) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise NotToBeHad(f"{PROGRAM} is not installed, and without {tool} not to be fetched")
    for part in ("lists/partial", "cache/archives/partial", "download"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    own = [
        "-o", f"Dir::State::lists={folder / 'lists'}",
        "-o", f"Dir::Cache={folder / 'cache'}",
        "-o", "APT::Sandbox::User=",
        "-q",
    ]  # fmt: skip
    _run(["apt-get", *own, "update"], folder)
    _run(["apt-get", *own, "download", PROGRAM], folder / "download")
    for package in (folder / "download").glob(f"{PROGRAM}_*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(folder / "root")], folder)


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotToBeHad(
            f"{PROGRAM} is not installed, and {command[0]} failed: {type(error).__name__}"
        ) from None
