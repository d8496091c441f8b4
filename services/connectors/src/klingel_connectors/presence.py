"""When a gateway took the deliveries of an app: what a network that does not repeat must be asked for.

A gateway cannot know that it was away. It writes every ten seconds that it is there, for each app
whose network replays deliveries; whoever reads that sees the silence, of all gateways together.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from klingel.contracts.envelope import Output
from klingel_connectors.shared import life_output
from klingel_networks.arrival import Life

EVERY = timedelta(seconds=10)
BROKEN = timedelta(seconds=30)
"""After a longer silence of its own a process begins anew: it stood still, or Kafka was away."""
REMEMBERED = timedelta(hours=25)
"""Refusals longer ago are forgotten: the network replays one day."""

_ONE_INCIDENT = timedelta(seconds=60)
_MOST = 50


class _Incident(NamedTuple):
    """Refusals close together; `told` is when all of it was first told, None before."""

    begin: datetime
    end: datetime
    told: datetime | None = None


class Presence:
    """The life of this process for one app.

    Args:
        app: as its hook is named.
        writer: of the record: this process.
    """

    def __init__(self, app: str, writer: str) -> None:
        self._app = app
        self._writer = writer
        self._since: datetime | None = None
        self._at: datetime | None = None
        self._refused: list[_Incident] = []
        self._news = False

    def refused(self, now: datetime) -> None:
        """Note that a delivery could not be taken; those close together are one incident."""
        if self._refused and now - self._refused[-1].end <= _ONE_INCIDENT:
            self._refused[-1] = _Incident(self._refused[-1].begin, now)
        else:
            self._refused.append(_Incident(now, now))
        if len(self._refused) > _MOST:
            # A longer window asks for more again than was missed, never for less.
            first, second, *rest = self._refused
            self._refused = [_Incident(first.begin, second.end, second.told), *rest]
        self._news = True

    def output(self, now: datetime) -> Output | None:
        """Return the record that we are there, where it is due. Called while deliveries are taken."""
        if self._since is None or self._at is None or now - self._at > BROKEN:
            self._since = now
        elif now - self._at < EVERY and not self._news:
            return None
        self._at, self._news = now, False
        self._refused = [
            each if each.told is not None else each._replace(told=now)
            for each in self._refused
            if now - each.end <= REMEMBERED
        ]
        refused = tuple((each.begin, each.end) for each in self._refused)
        told = tuple(each.told or now for each in self._refused)
        return life_output(self._app, self._writer, Life(self._since, now, refused, told), now)
