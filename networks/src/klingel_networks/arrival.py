"""What a `client.py` owes the runner: deliveries with the cursor behind each, and the truth on gaps.

A client talks to one network and decides nothing else: it publishes nothing, saves no cursor and
does not wait between attempts. When the network goes away it raises; the runner backs off by the
manifest's table and calls `arrivals` again with the last cursor it was given.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from klingel_networks.contract import Delivery

Mode = Literal["live", "gap_fill", "backfill", "remap"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One delivery and where to resume so that it is heard again if need be.

    Attributes:
        delivery: the bytes and their context; None moves the cursor alone.
        cursor: opaque position; saved once this and all earlier deliveries are acknowledged.
        received_at: when it was first seen; None stands for now.
        mode: how it reached us.
        gap_seconds: of the first one behind a gap: the network's time that the gap took, 0 elsewhere.
    """

    delivery: Delivery | None
    cursor: str
    received_at: datetime | None = None
    mode: Mode = "live"
    gap_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that we will not hear through this channel any more; told loudly, once.

    Attributes:
        cause: of a closed set, such as `cursor_too_old`.
        sentence: one clear sentence without text, handles or secrets.
    """

    cause: str
    sentence: str


class Client(Protocol):
    """The talking half of a network.

    Attributes:
        source: name of what it reads, for the cursor's key.
    """

    source: str

    def arrivals(self, cursor: str | None) -> AsyncIterator[Arrival | Gap]:
        """Yield what arrives after `cursor` (inclusive), in the network's order.

        Ends when the source has an end.

        Raises:
            SourceUnavailable: away for now; RateLimited: wants fewer calls.
            CredentialsRejected: only a person can help.
            ConfigurationError: it cannot read what it was told to read.
        """
        ...
