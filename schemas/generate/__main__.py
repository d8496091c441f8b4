"""Write everything that derives from `schemas/`: `python schemas/generate` (`make generate`).

With `--check` nothing is written; the exit code is 1 and the files are named when something lags or
a released promise is broken. With `--release` the current shapes become promises.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncapi
import compatibility
import config
import index_templates
import kubernetes
import models
import reference
import topics

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "schemas/generated"
"""Nothing lies here that no generator writes."""
GENERATORS: tuple[Callable[[Path], dict[str, str]], ...] = (
    models.generate,
    topics.generate,
    index_templates.generate,
    asyncapi.generate,
    config.generate,
    reference.generate,
    kubernetes.generate,
)


def main() -> int:
    """Generate, check or release; returns the exit code."""
    parser = argparse.ArgumentParser(prog="generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what lags or breaks")
    parser.add_argument("--release", action="store_true", help="promise the current shapes")
    arguments = parser.parse_args()
    broken = compatibility.broken_promises(ROOT)
    for sentence in broken:
        print(f"breaks a promise: {sentence}")
    if broken:
        print("give the shape a new version, or keep what schemas/released promises")
        return 1
    content: dict[str, str] = {}
    for generate in GENERATORS:
        content |= generate(ROOT)
    if arguments.release:
        content |= compatibility.release(ROOT)
    lagging = list(_lagging(content))
    for path in lagging:
        if not arguments.check:
            _bring_up(ROOT / path, content.get(path))
        print(f"{'lags' if arguments.check else 'wrote'}: {path}")
    if arguments.check and lagging:
        print("run `make generate` and commit the result")
        return 1
    return 0


def _lagging(content: dict[str, str]) -> Iterator[str]:
    for path, text in content.items():
        target = ROOT / path
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            yield path
    for target in sorted((ROOT / FOLDER).rglob("*")):
        path = target.relative_to(ROOT).as_posix()
        if target.is_file() and path not in content:
            yield path


def _bring_up(target: Path, text: str | None) -> None:
    if text is None:
        target.unlink()
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
