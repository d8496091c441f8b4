"""Where in the timelines of an instance we are; pure.

Ids of statuses and notifications are decimal numbers that grow with time; a status of another
instance gets an id by the time at which it was written, so a late one stands before what was heard
already. Filling a gap therefore begins a little before the position.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from klingel.errors import ConfigurationError

OVERLAP_MS = 300_000
"""So much later than its own time may a status of another instance come, and still be read."""
NOTIFICATIONS = "notifications"
HOME = "home"
_SNOWFLAKE_BITS = 16
_GREATEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Position:
    """Greatest id heard of each timeline.

    Attributes:
        seen: ids by name of the timeline: `home`, `notifications`, `tag:<hashtag>`.
    """

    seen: Mapping[str, int] = field(default_factory=dict)

    def after(self, timeline: str, own_id: int) -> "Position":
        """Return the position behind an object of a timeline."""
        if own_id <= self.seen.get(timeline, -1):
            return self
        return Position({**self.seen, timeline: own_id})

    def fill_from(self, timeline: str) -> int | None:
        """Return the id behind which a timeline is read again; None where nothing was heard yet."""
        seen = self.seen.get(timeline)
        if seen is None or timeline == NOTIFICATIONS:
            return seen
        return max(0, seen - (OVERLAP_MS << _SNOWFLAKE_BITS))

    def encode(self) -> str:
        """Return the cursor."""
        return json.dumps(dict(sorted(self.seen.items())), separators=(",", ":"))

    @classmethod
    def decode(cls, cursor: str) -> "Position":
        """Read a cursor; raises ConfigurationError, since only we wrote it."""
        try:
            return cls(msgspec.json.decode(cursor, type=dict[str, int]))
        except (msgspec.DecodeError, ValueError):
            raise ConfigurationError("the stored cursor is not one of Mastodon") from None


def id_of(text: str | None) -> int | None:
    """Return an id as a number; None for one that does not order (other servers have such)."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 19:
        return None
    number = int(text)
    return number if number <= _GREATEST else None
