"""`make k8s-check`: build every combination and check it; exit 1 when something is wrong."""

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import rules
from .bundle import parse
from .check import K8S, ROOT, Tools, combinations, problems
from .kubectl import NotBuilt, build

BOUND_SECONDS = 60
"""How long it may take: what takes longer is not run before each change."""
RULE_TESTS = ROOT / "deploy" / "prometheus" / "tests"


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{line}\n")


def _built(folder: Path) -> str | NotBuilt:
    try:
        return build(folder)
    except NotBuilt as error:
        return error


def main(folders: list[Path], rule_tests: Path, clock: Callable[[], float] = time.monotonic) -> int:
    """Check everything; returns the exit code.

    Args:
        folders: what is built.
        rule_tests: folder of promtool's unit tests.
        clock: seconds since any time.
    """
    started, tools, wrong = clock(), Tools(), False
    with ThreadPoolExecutor(2) as pool:
        texts = dict(zip(folders, pool.map(_built, folders), strict=True))
    for folder, text in texts.items():
        name = folder.relative_to(K8S).as_posix()
        if isinstance(text, NotBuilt):
            found, count = [str(text)], 0
        else:
            objects = parse(text)
            count = len(objects)
            found = [f"{each.where}: {each.what}" for each in problems(objects, tools)]
        say(f"{'wrong' if found else 'right'}  {name}: {count} objects")
        for each in found:
            say(f"       {each}")
        wrong |= bool(found)
    if tools.promtool is not None:
        for each in rules.tested(rule_tests, tools.promtool):
            say(f"wrong  {each.where}: {each.what}")
            wrong = True
    for each in tools.absent:
        say(f"not checked: {each}")
    seconds = clock() - started
    say(f"{len(folders)} combinations in {seconds:.1f} s")
    if seconds >= BOUND_SECONDS:
        say(f"wrong  it may take {BOUND_SECONDS} s")
        wrong = True
    # What is absent on a developer's machine is a failure where everything is to be checked.
    return int(wrong or bool(tools.absent and os.environ.get("CI")))


if __name__ == "__main__":
    sys.exit(main(combinations(), RULE_TESTS))
