"""A clock that stands still until it is told otherwise."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


class FixedClock:
    """Stands at `at` until `advance`."""

    def __init__(self, at: datetime = START) -> None:
        self._at = at
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Return the wall-clock time."""
        return self._at

    def monotonic(self) -> float:
        """Return seconds since the clock was made."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Go on by some seconds."""
        self._at += timedelta(seconds=seconds)
        self._monotonic += seconds
