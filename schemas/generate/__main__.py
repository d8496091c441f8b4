"""Write everything that derives from `schemas/`: `python schemas/generate` (`make generate`).

With `--check` nothing is written; the exit code is 1 and the files are named when something lags.
"""

import argparse
import sys
from pathlib import Path

import asyncapi
import index_templates
import models
import topics

ROOT = Path(__file__).resolve().parents[2]
GENERATORS = (
    models.generate,
    topics.generate,
    index_templates.generate,
    asyncapi.generate,
)


def main() -> int:
    """Generate or check; returns the exit code."""
    parser = argparse.ArgumentParser(prog="generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what lags")
    check = parser.parse_args().check
    lagging = []
    for generated in GENERATORS:
        for path, content in generated(ROOT).items():
            target = ROOT / path
            if target.exists() and target.read_text(encoding="utf-8") == content:
                continue
            lagging.append(path)
            if not check:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(content, encoding="utf-8")
    for path in lagging:
        print(f"{'lags' if check else 'wrote'}: {path}")
    if check and lagging:
        print("run `make generate` and commit the result")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
