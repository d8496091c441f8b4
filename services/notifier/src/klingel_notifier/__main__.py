"""`klingel-notifier run`: one worker until SIGTERM."""

from klingel_notifier.worker import run
from klingel_streams import process


def main() -> None:
    """Read the command line and run."""
    process.main(
        "klingel-notifier", "Tell targets of escalations, alerts and incidents.", "notify", run
    )


if __name__ == "__main__":
    main()
