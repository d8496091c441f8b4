"""Every gate of what is found in texts, one after the other: `make quality`.

    python benchmarks/quality.py [--only models|language|pii|duplicates|rules]

Runs the measuring scripts one at a time, each in its own process, shows what each prints, and ends with
one line a script. Exit code 1 when one of them misses a gate. It takes some ten minutes, and needs the
data beside the checkout.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = str(HERE.parents[1] / "shared" / "data")
SCRIPTS = {
    "models": [
        str(Path(sys.executable).with_name("klingel")),
        *("models", "evaluate", "--gates", "--data", DATA),
    ],
    "enrichment": [sys.executable, str(HERE / "enrichment.py"), "--data", DATA],
    "language": [sys.executable, str(HERE / "language.py")],
    "pii": [sys.executable, str(HERE / "pii.py")],
    "duplicates": [sys.executable, str(HERE / "duplicates.py")],
    "rules": [sys.executable, str(HERE / "rules.py")],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(SCRIPTS))
    asked = parser.parse_args()
    told = []
    for name, command in SCRIPTS.items():
        if asked.only not in {None, name}:
            continue
        print(f"\n== {name}\n", flush=True)
        started = time.monotonic()
        code = subprocess.run(command, check=False).returncode
        told.append((name, code, time.monotonic() - started))
    print()
    for name, code, seconds in told:
        print(
            f"{name:12} {'every gate is met' if code == 0 else 'a gate is missed'}, {seconds:.0f} s"
        )
    sys.exit(1 if any(code for _, code, _ in told) else 0)


if __name__ == "__main__":
    main()
