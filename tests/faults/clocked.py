"""A processor whose clock is elsewhere: `klingel-processor`, its time moved by what a file says.

Early warning ends a matter after an hour of calm, and nobody waits an hour here. The file is read at
the start, as a machine's clock is set: who changes it restarts the process.
"""

import os
from datetime import datetime, timedelta
from pathlib import Path

from klingel.clock import SystemClock
from klingel_processors.__main__ import main

VARIABLE = "FAULTS_CLOCK"
"""Names the file: seconds that are added to the time."""


class MovedClock(SystemClock):
    """The machine's clock, moved; durations are the machine's.

    Args:
        seconds: that are added.
    """

    def __init__(self, seconds: float) -> None:
        self._by = timedelta(seconds=seconds)

    def now(self) -> datetime:
        """Return the time."""
        return super().now() + self._by


if __name__ == "__main__":
    main(MovedClock(float(Path(os.environ[VARIABLE]).read_text(encoding="ascii"))))
