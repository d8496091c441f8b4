"""Programs of Debian's packages: the installed ones, else fetched by apt without being root.

apt keeps lists, cache and downloads in a folder of its own then, and `dpkg-deb` unpacks there;
nothing of the machine changes. Fetched once, it is found again.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from klingel_simulator.debian import NotToBeHad, fetch_lists, run

_WITHOUT_A_SCREEN = ("x11-utils", "xdg-utils")
"""Of what a browser's packages want, what one without a screen never calls; Mesa hangs on it."""
_STANZA = """
Package: {}
Status: install ok installed
Maintainer: none <none@invalid>
Architecture: all
Version: 99
Description: taken as installed
"""


_SHARE = b"/usr/share/prometheus/alertmanager"
"""Where Debian's Alertmanager looks for its templates; no setting of it says otherwise."""


def find_alertmanager(folder: Path) -> Path:
    """Return Alertmanager; see `find_program`. A fetched one finds its templates where they lie."""
    program = find_program("prometheus-alertmanager", "prometheus-alertmanager", folder)
    root = folder / "root"
    if not program.is_relative_to(root):
        return program
    name = f"/tmp/klingel-alertmanager-{crc32(bytes(root)):08x}"
    assert len(name) == len(_SHARE)
    share, moved = Path(name), program.with_name("alertmanager-moved")
    share.unlink(missing_ok=True)
    share.symlink_to(root / _SHARE.decode()[1:])
    moved.write_bytes(program.read_bytes().replace(_SHARE, name.encode()))
    moved.chmod(0o755)
    return moved


def find_promtool(folder: Path) -> Path:
    """Return Prometheus's checker of rules; see `find_program`."""
    return find_program("promtool", "prometheus", folder)


class Browser(NamedTuple):
    """A browser without a screen, and what has to stand in its environment.

    Attributes:
        path: the program.
        environ: where its libraries and fonts lie, when it is not the machine's own.
    """

    path: Path
    environ: Mapping[str, str]


def find_browser(folder: Path) -> Browser:
    """Return Chromium's headless shell: 120 MB with the libraries that a small machine lacks.

    Args:
        folder: where it is unpacked when the machine has none.

    Raises:
        NotToBeHad: neither installed nor to be fetched.
    """
    for name in ("chromium-headless-shell", "chromium"):
        installed = shutil.which(name)
        if installed:
            return Browser(Path(installed), {})
    folder /= "chromium"
    root = folder / "root"
    # Beside it lie its resources; the program in usr/bin would call the machine's own.
    unpacked = root / "usr" / "lib" / "chromium" / "chromium-headless-shell"
    if not unpacked.exists():
        _fetch_whole("chromium-headless-shell", folder)
    if not unpacked.exists():
        raise NotToBeHad("the package chromium-headless-shell holds no such program")
    libraries = sorted({str(path.parent) for path in root.rglob("*.so*")})
    fonts = root / "etc" / "fonts"
    return Browser(
        unpacked,
        {"LD_LIBRARY_PATH": ":".join(libraries)}
        | ({"FONTCONFIG_SYSROOT": str(root)} if fonts.is_dir() else {}),
    )


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
    own = fetch_lists(package, folder)
    run(["apt-get", *own, "download", package], package, folder / "download")
    for file in (folder / "download").glob(f"{package}_*.deb"):
        run(["dpkg-deb", "-x", str(file), str(folder / "root")], package, folder)


def _fetch_whole(package: str, folder: Path, status: str | None = None) -> None:
    """Fetch a package with everything that it needs and the machine lacks.

    Args:
        package: its name.
        folder: where it is unpacked.
        status: what the machine has, as dpkg writes it; its own where None.
    """
    own = fetch_lists(package, folder)
    held = Path("/var/lib/dpkg/status").read_text(encoding="utf-8") if status is None else status
    known = set(re.findall(r"^Package: (.+)$", held, re.MULTILINE))
    taken = "".join(_STANZA.format(name) for name in _WITHOUT_A_SCREEN if name not in known)
    (folder / "status").write_text(f"{held}\n{taken}", encoding="utf-8")
    own += ["-o", f"Dir::State::status={folder / 'status'}", "-o", "Debug::NoLocking=1"]
    wanted = ["install", "-y", "--no-install-recommends", "--download-only", package]
    run(["apt-get", *own, *wanted], package, folder)
    # Unpacked beside, then named: a run that was cut off leaves nothing that looks whole.
    unpacked = folder / "root.new"
    shutil.rmtree(unpacked, ignore_errors=True)
    for file in sorted((folder / "cache" / "archives").glob("*.deb")):
        run(["dpkg-deb", "-x", str(file), str(unpacked)], package, folder)
        file.unlink()
    unpacked.rename(folder / "root")
