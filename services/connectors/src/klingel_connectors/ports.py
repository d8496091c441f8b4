"""What the runner needs beside the publisher; Kafka stands behind both."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from klingel.model import ConnectorCursor
from klingel_connectors.status import Before

CursorReader = Callable[[str, str], ConnectorCursor | None]
"""(instance, source) to the stored cursor; blocks; raises while Kafka is away."""


CursorsReader = Callable[[str], Mapping[str, ConnectorCursor]]
"""instance to the stored cursors of all its channels, by source; blocks; raises as the other."""

BeforeReader = Callable[[str], Before]
"""instance to what an earlier process told of gaps and spending; blocks; raises as the others."""


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
