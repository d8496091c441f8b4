"""What connectors say of themselves, as watch follows it on `connector-status`; pure."""

from collections.abc import Sequence
from typing import Final

from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.domain.silences import Connector, Gap
from klingel.errors import InvalidMessage
from klingel.model import ConnectorStatus
from klingel.model.connector_status import GapRecord

MOST: Final = 10_000
"""Instances whose status is known; that of a further one is left aside."""

MOST_GAPS: Final = 200
"""Entries of the gap ledger that are known, the newest."""

_GAP = "/gap/"


class Connectors:
    """The newest status of each connector instance, and its gaps, from the records in their order."""

    def __init__(self) -> None:
        self._told: dict[bytes, Connector] = {}
        self._all: tuple[Connector, ...] = ()
        self._gaps: dict[bytes, Gap] = {}
        self._all_gaps: tuple[Gap, ...] = ()

    def take(self, message: Message) -> None:
        """Take one record; those of other topics and unreadable ones say nothing."""
        if message.topic is not Topic.CONNECTOR_STATUS or message.key is None:
            return
        told, gaps = dict(self._told), dict(self._gaps)
        told.pop(message.key, None)
        gaps.pop(message.key, None)
        status = _read(message)
        if status is not None and status.gap is not None:
            gap = _gap(status, status.gap)
            if gap is not None:
                gaps[message.key] = gap
                if len(gaps) > MOST_GAPS:
                    del gaps[next(iter(gaps))]
        elif status is not None and len(told) < MOST:
            told[message.key] = _connector(status)
        self._told, self._gaps = told, gaps
        self._all, self._all_gaps = tuple(told.values()), tuple(gaps.values())

    def known(self) -> Sequence[Connector]:
        """Return all that are known."""
        return self._all

    def gaps(self) -> Sequence[Gap]:
        """Return the gaps of whole connectors, the newest told last."""
        return self._all_gaps


def _read(message: Message) -> ConnectorStatus | None:
    """Return a status; None of one that was forgotten, or cannot be read."""
    if message.value is None:
        return None
    try:
        return codec.decode(ConnectorStatus, message.value)
    except InvalidMessage:
        return None


def _gap(status: ConnectorStatus, gap: GapRecord) -> Gap | None:
    """Return the gap of a whole connector; None of one of its channels, beside which others go on."""
    if gap.channel:
        return None
    return Gap(
        status.instance.partition(_GAP)[0],
        status.network,
        (gap.began_at or gap.opened_at).timestamp(),
        None if gap.ended_at is None else gap.ended_at.timestamp(),
        gap.outcome == "open",
    )


def _connector(status: ConnectorStatus) -> Connector:
    return Connector(
        status.instance,
        status.network,
        status.state,
        status.at.timestamp(),
        status.reason or "",
        status.credential or "",
    )
