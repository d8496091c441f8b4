"""`python -m klingel_local up|down|status|wipe|fetch [--dir D] [--json]`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from klingel_local.errors import LocalStackError, SettingError
from klingel_local.stack import LocalStack, default_folder

_OK = 0
_FAILED = 1
_WRONG_USE = 2
_DOWN = 3
_COMMANDS = {
    "up": "start Kafka and Elasticsearch, wait until both answer",
    "down": "stop both; data is kept",
    "status": "say what runs; exit code 3 unless both answer",
    "wipe": "stop both and delete their data",
    "fetch": "fetch and verify what `up` needs, start nothing",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; what went wrong is one sentence on standard error."""
    options = _parser().parse_args(arguments)
    try:
        stack = LocalStack(options.dir)
        return _run(stack, options.command, as_json=options.json)
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        return _WRONG_USE
    except LocalStackError as error:
        sys.stderr.write(f"{error}\n")
        return _FAILED
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return _FAILED


def _run(stack: LocalStack, command: str, *, as_json: bool) -> int:
    match command:
        case "up":
            stack.up()
        case "down":
            stack.down()
        case "wipe":
            stack.wipe()
        case "fetch":
            stack.fetch()
        case _:
            pass
    status = stack.status()
    if as_json:
        sys.stdout.write(json.dumps(status) + "\n")
    elif command == "status":
        sys.stdout.write(_table(status))
    ready = status["kafka"]["ready"] and status["elasticsearch"]["ready"]
    return _DOWN if command == "status" and not ready else _OK


def _table(status: dict[str, Any]) -> str:
    lines = [f"folder         {status['folder']}"]
    for name, address in (("kafka", "bootstrap"), ("elasticsearch", "url")):
        server = status[name]
        if server["ready"]:
            state = f"ready at {server[address]}, process {server['pid']}"
        elif server["running"]:
            state = f"running but not answering, process {server['pid']}"
        else:
            state = "down"
        lines.append(f"{name:<14} {state}")
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m klingel_local",
        description="Real Kafka and real Elasticsearch on this machine, as plain processes.",
        epilog="commands: " + "; ".join(f"{name}: {text}" for name, text in _COMMANDS.items()),
    )
    parser.add_argument("command", choices=list(_COMMANDS), metavar="|".join(_COMMANDS))
    parser.add_argument(
        "--dir", type=Path, default=default_folder(), help="folder of the instance (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="write the status as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
