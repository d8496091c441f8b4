"""`klingel-notifier run`: one worker until SIGTERM."""

import argparse
import os
import sys

import structlog

from klingel.errors import ConfigurationError, KlingelError
from klingel_notifier.worker import run


def main() -> None:
    """Read the command line and run; exit 2 for a wrong setting, 1 for anything else of ours."""
    parser = argparse.ArgumentParser(
        prog="klingel-notifier",
        description="Tell targets of escalations, alerts and incidents.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("run", help="notify until SIGTERM; settings are KLINGEL_* variables")
    parser.parse_args()
    try:
        code = run(os.environ)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except KlingelError as error:
        structlog.get_logger().error("stopped", reason=str(error), error_class=type(error).__name__)
        sys.exit(1)
    sys.exit(code)


if __name__ == "__main__":
    main()
