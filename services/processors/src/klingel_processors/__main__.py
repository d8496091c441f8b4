"""`klingel-processor understand|thread|care|watch`: one stage in one process."""

import argparse
import gc
import os
import sys
from collections.abc import Callable

import faust
import structlog

from klingel import tracing
from klingel.clock import Clock, SystemClock
from klingel.contracts.certificates import tell_certificates
from klingel.errors import ConfigurationError
from klingel.logs import configure_logs
from klingel.metrics import Metrics
from klingel.settings import Settings, load_settings
from klingel_processors.app import BatchService, Frame
from klingel_processors.care import app as care
from klingel_processors.understand import app as understand
from klingel_processors.watch import app as watch

STAGES: dict[str, Callable[[Settings, Metrics, Clock], tuple[Frame, BatchService]]] = {
    "understand": understand.build,
    "thread": understand.build_thread,
    "care": care.build,
    "watch": watch.build,
}


class Worker(faust.Worker):
    """Faust's worker, with klingel's logs: its own set-up would print libraries' words as text."""

    def _setup_logging(self) -> None:
        """Leave logs as `configure_logs` set them up."""


def main(clock: Clock | None = None) -> None:
    """Run a stage until it is told to stop; exit code 2 for a wrong setting.

    Args:
        clock: time; the machine's where none is given.
    """
    clock = clock or SystemClock()
    parser = argparse.ArgumentParser(prog="klingel-processor", description=__doc__)
    parser.add_argument("stage", choices=sorted(STAGES))
    stage = parser.parse_args().stage
    try:
        settings = load_settings(os.environ)
        configure_logs(stage, settings.logs.level)
        tracing.begin(stage)
        metrics = tell_certificates(Metrics(stage), settings, clock)
        frame, _service = STAGES[stage](settings, metrics, clock)
    except ConfigurationError as error:
        sys.stderr.write(f"klingel-processor: {error}\n")
        sys.exit(2)
    structlog.get_logger().info("service_started", pid=os.getpid())
    # What is loaded stays; batches make many short-lived objects and no cycles.
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    worker = Worker(frame, loglevel="WARNING", quiet=True)
    worker.spinner = None  # it writes to a log, not to a terminal
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
