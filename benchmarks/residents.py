"""Largest resident set of every process of a demo: `klingel demo --check` runs, and is watched.

Unlike `pipeline.py`, which floods four services, this has every service at once under mixed, modest
traffic: what a process of each kind needs at least.

    python benchmarks/residents.py [--events 2000] [--folder FOLDER]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

_EVERY_SECONDS = 0.5
_OURS = "klingel_"


def name_of(words: list[str]) -> str | None:
    """Return `module word` of a process of ours, None for another."""
    for at, word in enumerate(words):
        if word.startswith(_OURS) and words[at - 1] == "-m":
            return " ".join([word.removeprefix(_OURS), *words[at + 1 : at + 3]])
    return None


def readings(root: psutil.Process) -> Iterator[tuple[str, int]]:
    """Yield name and resident bytes of every process below one."""
    for process in root.children(recursive=True):
        try:
            name = name_of(process.cmdline())
            if name is not None:
                yield name, process.memory_info().rss
        except psutil.Error:  # it has ended in the meantime
            continue


def main() -> int:
    """Run the demo and print what was largest; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", default="2000")
    parser.add_argument("--folder", default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.folder or made
        demo = psutil.Popen(
            [Path(sys.executable).with_name("klingel"), "demo", "--check", "--no-calm-day",
             "--events", arguments.events, "--folder", folder],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        largest: dict[str, int] = {}
        while demo.poll() is None:
            for name, resident in readings(demo):
                largest[name] = max(largest.get(name, 0), resident)
            time.sleep(_EVERY_SECONDS)
    for name, resident in sorted(largest.items()):
        print(f"{name}: {resident / 1e6:.0f} MB")
    return int(demo.returncode)


if __name__ == "__main__":
    sys.exit(main())
