"""What connectors say of themselves, as watch follows it on `connector-status`; pure."""

from collections.abc import Sequence
from typing import Final

from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.domain.silences import Connector
from klingel.errors import InvalidMessage
from klingel.model import ConnectorStatus

MOST: Final = 10_000
"""Instances whose status is known; that of a further one is left aside."""


class Connectors:
    """The newest status of each connector instance, from the records in their order."""

    def __init__(self) -> None:
        self._told: dict[bytes, Connector] = {}
        self._all: tuple[Connector, ...] = ()

    def take(self, message: Message) -> None:
        """Take one record; those of other topics, of gaps and unreadable ones change nothing."""
        if message.topic is not Topic.CONNECTOR_STATUS or message.key is None:
            return
        told = dict(self._told)
        told.pop(message.key, None)
        connector = _connector(message)
        if connector is not None and len(told) < MOST:
            told[message.key] = connector
        self._told = told
        self._all = tuple(told.values())

    def known(self) -> Sequence[Connector]:
        """Return all that are known."""
        return self._all


def _connector(message: Message) -> Connector | None:
    """Return what a status says; None of one that was forgotten, of a gap, or cannot be read."""
    if message.value is None:
        return None
    try:
        status = codec.decode(ConnectorStatus, message.value)
    except InvalidMessage:
        return None
    if status.gap is not None:
        return None
    return Connector(
        status.instance,
        status.network,
        status.state,
        status.at.timestamp(),
        status.reason or "",
        status.credential or "",
    )
