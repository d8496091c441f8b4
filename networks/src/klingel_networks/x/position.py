"""Where reading goes on, and the windows that are searched for what was missed; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from klingel.errors import ConfigurationError
from klingel_networks.x.ids import at_milliseconds, milliseconds_of
from klingel_networks.x.replays import MOST_TRIES, Hole

HISTORY = timedelta(days=7)
"""How far recent search reaches."""
BEHIND = timedelta(seconds=2)
"""What is said so long after the stream was opened surely comes through it."""
MOST_HOLES = 20
"""A cursor holds so many; each ends within a day, filled or not."""
CURSOR_LENGTH = 4_096
"""Characters; a longer cursor cannot be read."""
_EDGE = timedelta(minutes=1)
"""The oldest minute may be gone by the time it is asked for."""

_LONG_ID = "9" * 19
"""Ids of X have 19 digits, and will for centuries."""


class _Cursor(msgspec.Struct, omit_defaults=True):
    at: int
    gap: str = ""
    checked: int = 0
    owned: dict[str, str] = msgspec.field(default_factory=dict)
    taken: int = 0
    valid: int = 0
    holes: list[Hole] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading goes on.

    Attributes:
        at: everything before was heard; our clock.
        gap: key of the gap that is being filled; empty for none.
        checked: start of the last compliance job that was read to its end; None for none.
        owned: by `<account>/mentions` and `<account>/posts`, the greatest id heard.
        taken: until when it is known whether deliveries of the webhook were taken, in milliseconds;
            0 before anybody took any.
        valid: when the webhook was last seen valid, in milliseconds; 0 for never.
        holes: when nobody took deliveries, and what is done about it.
    """

    at: datetime
    gap: str = ""
    checked: datetime | None = None
    owned: Mapping[str, str] = field(default_factory=dict)
    taken: int = 0
    valid: int = 0
    holes: tuple[Hole, ...] = ()

    def encode(self) -> str:
        """Return the cursor."""
        checked = 0 if self.checked is None else milliseconds_of(self.checked)
        cursor = _Cursor(
            milliseconds_of(self.at),
            self.gap,
            checked,
            dict(self.owned),
            self.taken,
            self.valid,
            list(self.holes[-MOST_HOLES:]),
        )
        return msgspec.json.encode(cursor).decode()

    @classmethod
    def decode(cls, cursor: str) -> "Position":
        """Read a cursor; raises ConfigurationError, since only we wrote it."""
        try:
            read = msgspec.json.decode(cursor, type=_Cursor)
            checked = at_milliseconds(read.checked) if read.checked else None
            return cls(
                at_milliseconds(read.at),
                read.gap,
                checked,
                read.owned,
                read.taken,
                read.valid,
                tuple(read.holes),
            )
        except (msgspec.DecodeError, OverflowError):
            raise ConfigurationError("the stored cursor is not one of X") from None

    def longest(self, owned: Iterable[str]) -> int:
        """Return how long the cursor can become with these owned accounts and holes, in characters."""
        ids = {f"{account}/{what}": _LONG_ID for account in owned for what in ("mentions", "posts")}
        holes = [
            msgspec.structs.replace(each, ended=each.ended or each.began) for each in self.holes
        ]
        if holes:  # one replay at a time
            holes[0] = msgspec.structs.replace(
                holes[0], job=_LONG_ID, asked=holes[0].began, tries=MOST_TRIES
            )
        whole = replace(
            self,
            gap=f"x/{milliseconds_of(self.at)}",
            checked=self.at,
            owned={**self.owned, **ids},
            taken=milliseconds_of(self.at),
            valid=milliseconds_of(self.at),
            holes=tuple(holes),
        )
        tries = len(',"tries":3') * len(holes)
        return len(whole.encode()) + tries

    def moved(self, at: datetime) -> "Position":
        """Return the position at a later time."""
        return replace(self, at=max(self.at, at))

    def read(self, what: str, post_id: str) -> "Position":
        """Return the position with the greatest id heard of an owned account."""
        return replace(self, owned={**self.owned, what: post_id})


@dataclass(frozen=True, slots=True)
class Window:
    """What is searched.

    Attributes:
        start: inclusive.
        end: exclusive.
        outcome: what can come of it at best.
    """

    start: datetime
    end: datetime
    outcome: Literal["filled", "partial"]

    def halves(self) -> tuple["Window", "Window"]:
        """Return the earlier and the later half."""
        middle = self.start + (self.end - self.start) / 2
        middle = middle.replace(microsecond=0)
        return replace(self, end=middle), replace(self, start=middle)


def missed(
    position: Position, connected_at: datetime, *, overlap: timedelta, reposts: bool
) -> Window:
    """Return what to search after a reconnect.

    Search knows no reposts, so with them nothing is ever quite filled; what is older than its
    history is gone.

    Args:
        position: until when everything was heard.
        connected_at: from when on the stream brings it again.
        overlap: how far before the position to look, for what was still under way.
        reposts: whether reposts were to be heard.
    """
    start, end = position.at - overlap, connected_at + BEHIND
    floor = connected_at - HISTORY + _EDGE
    if start < floor:
        return Window(floor, end, "partial" if position.at < floor or reposts else "filled")
    return Window(start, end, "partial" if reposts else "filled")
