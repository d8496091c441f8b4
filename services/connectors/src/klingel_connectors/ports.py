"""What the runner needs beside the publisher; Kafka stands behind both."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from klingel.model import ConnectorCursor

CursorReader = Callable[[str, str], ConnectorCursor | None]
"""(instance, source) to the stored cursor; blocks; raises while Kafka is away."""


class LeasePort(Protocol):
    """A single-holder lease.

    Attributes:
        held: set while it is ours.
        lost: set while it is not.
        generation: rises with each holder.
    """

    held: asyncio.Event
    lost: asyncio.Event
    generation: int

    def start(self) -> None:
        """Try to get it, from now on."""
        ...

    async def stop(self) -> None:
        """Give it up."""
        ...
