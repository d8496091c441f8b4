"""What was erased is asked for before anything is written (K14, I11); the port."""

from typing import Protocol

from klingel.model import RawEvent


class Suppressions(Protocol):
    """Knows which objects and people were erased."""

    def holds(self, raw: RawEvent) -> bool:
        """Whether this raw event must not be written."""
        ...


class NoneSuppressed:
    """Nobody has asked to be erased."""

    def holds(self, raw: RawEvent) -> bool:  # noqa: ARG002  the port's signature
        """Return False."""
        return False
