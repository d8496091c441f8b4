"""Where in the timelines of an instance we are; pure.

Ids of statuses and notifications are decimal numbers that grow with time; a status of another
instance gets an id by the time at which it was written, so a late one stands before what was heard
already. Filling a gap therefore begins a little before the position.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from klingel.errors import ConfigurationError

OVERLAP_MS = 300_000
"""So much later than its own time may a status of another instance come, and still be read."""
NOTIFICATIONS = "notifications"
HOME = "home"
_SINCE = "since"
_SNOWFLAKE_BITS = 16
_GREATEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Position:
    """Greatest id heard of each timeline.

    Attributes:
        seen: ids by name of the timeline: `home`, `notifications`, `tag:<hashtag>`.
        since: greatest id that was heard before the gap that is being filled; None without one. It
            names the gap, which filling does not move: a filling may be broken off and go on.
    """

    seen: Mapping[str, int] = field(default_factory=dict)
    since: int | None = None

    def after(self, timeline: str, own_id: int) -> "Position":
        """Return the position behind an object of a timeline."""
        if own_id <= self.seen.get(timeline, -1):
            return self
        return replace(self, seen={**self.seen, timeline: own_id})

    def filling(self) -> "Position":
        """Return the position with the gap behind it: the one whose filling was begun, or a new one."""
        since = max(self.seen.values(), default=0) if self.since is None else self.since
        return replace(self, since=since)

    def filled(self) -> "Position":
        """Return the position without a gap."""
        return replace(self, since=None)

    def fill_from(self, timeline: str) -> int | None:
        """Return the id behind which a timeline is read again; None where nothing was heard yet."""
        seen = self.seen.get(timeline)
        if seen is None or timeline == NOTIFICATIONS:
            return seen
        return max(0, seen - (OVERLAP_MS << _SNOWFLAKE_BITS))

    def encode(self) -> str:
        """Return the cursor."""
        told = dict(sorted(self.seen.items()))
        if self.since is not None:
            told[_SINCE] = self.since
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def decode(cls, cursor: str) -> "Position":
        """Read a cursor; raises ConfigurationError, since only we wrote it."""
        try:
            seen = msgspec.json.decode(cursor, type=dict[str, int])
        except (msgspec.DecodeError, ValueError):
            raise ConfigurationError("the stored cursor is not one of Mastodon") from None
        since = seen.pop(_SINCE, None)
        return cls(seen, since)


def id_of(text: str | None) -> int | None:
    """Return an id as a number; None for one that does not order (other servers have such)."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 19:
        return None
    number = int(text)
    return number if number <= _GREATEST else None
