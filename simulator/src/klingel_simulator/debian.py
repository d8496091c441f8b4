"""apt without being root: lists, cache and downloads in a folder of its own.

Nothing of the machine changes; `dpkg-deb` unpacks beside them.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SECONDS = 300


class NotToBeHad(Exception):
    """A program is not here; the sentence tells why."""


def fetch_lists(
    package: str, folder: Path, *, tools: Sequence[str] = ("apt-get", "dpkg-deb")
) -> list[str]:
    """Fetch apt's lists into a folder; return the options that keep apt within it.

    Args:
        package: that is wanted, for the sentence.
        folder: of our own.
        tools: programs without which nothing can be fetched or run.

    Raises:
        NotToBeHad: a tool is missing, or the lists cannot be fetched.
    """
    for tool in tools:
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
    run(["apt-get", *own, "update"], package, folder)
    return own


def run(command: Sequence[str], package: str, folder: Path) -> None:
    """Run a command in a folder; raises NotToBeHad where it fails or takes longer than SECONDS."""
    try:
        subprocess.run(  # noqa: S603 - commands are those of this module's callers, word by word
            command, cwd=folder, check=True, capture_output=True, timeout=SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotToBeHad(
            f"{package} is not installed, and {command[0]} failed: {type(error).__name__}"
        ) from None
