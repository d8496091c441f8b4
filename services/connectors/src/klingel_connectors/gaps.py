"""The gap ledger: what was not heard, why, from where to where, and what came of it (K8). Pure.

An entry's name follows from the instance, the channel, the client's key and the position before the
gap: a gap that is told again after a restart is the same entry, not a second one. What the network
kept no way to fill (a gap without a key) is unrecoverable at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Literal

from klingel.model.connector_status import GapRecord
from klingel_networks.arrival import Gap, GapClosed

Outcome = Literal["open", "filled", "partial", "unrecoverable"]

_POSITION_LENGTH = 512
_NAME_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Entry:
    """One gap.

    Attributes:
        name: of the entry, 12 hexadecimal digits.
        channel: what was listened to; empty where there is but one.
        gap: as the client told it.
        opened_at: when it was first told.
        outcome: `open` until it is certain.
        recovered: events of mode `gap_fill` since it was opened, in its channel.
        closed_at: when its outcome was certain.
        end, ended_at: as the client told them.
    """

    name: str
    channel: str
    gap: Gap
    opened_at: datetime
    outcome: Outcome = "open"
    recovered: int = 0
    closed_at: datetime | None = None
    end: str | None = None
    ended_at: datetime | None = None

    def record(self) -> GapRecord:
        """Return the entry as it is told on `connector-status`."""
        return GapRecord(
            channel=self.channel[:120],
            key=self.gap.key[:200] or None,
            cause=self.gap.cause,
            outcome=self.outcome,
            opened_at=self.opened_at,
            closed_at=self.closed_at,
            start=_cut(self.gap.start),
            end=_cut(self.end),
            began_at=self.gap.began_at,
            ended_at=self.ended_at,
            recovered=self.recovered or None,
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """The gaps that are open; those that are closed live on in the records alone.

    Attributes:
        open: by channel and the client's key.
    """

    open: dict[tuple[str, str], Entry] = field(default_factory=dict)


def opened(
    ledger: Ledger, gap: Gap, channel: str, now: datetime
) -> tuple[Ledger, tuple[Entry, ...]]:
    """Enter a gap; returns the ledger after it and the entries that are news, oldest first.

    A gap that is open under the same key and begins at the same position is no news. One that
    begins elsewhere takes the place of the old one, of which only a part can have been filled.
    """
    entry = Entry(gap_name(gap, channel, now), channel, gap, now)
    if not gap.key:
        return ledger, (replace(entry, outcome="unrecoverable", closed_at=now),)
    place = (channel, gap.key)
    before = ledger.open.get(place)
    if before is not None and before.name == entry.name:
        return ledger, ()
    after = Ledger(ledger.open | {place: entry})
    if before is None:
        return after, (entry,)
    left = replace(
        before, outcome="partial" if before.recovered else "unrecoverable", closed_at=now
    )
    return after, (left, entry)


def closed(
    ledger: Ledger, end: GapClosed, channel: str, now: datetime
) -> tuple[Ledger, tuple[Entry, ...]]:
    """Close a gap; returns the ledger after it and the entry. A key that is not open is ignored."""
    place = (channel, end.key)
    before = ledger.open.get(place)
    if before is None:
        return ledger, ()
    gap = replace(before.gap, sentence=end.sentence) if end.sentence else before.gap
    entry = replace(
        before, gap=gap, outcome=end.outcome, closed_at=now, end=end.end, ended_at=end.ended_at
    )
    return Ledger({key: each for key, each in ledger.open.items() if key != place}), (entry,)


def filled(ledger: Ledger, channel: str, count: int) -> Ledger:
    """Count events of mode `gap_fill` that arrived in a channel, for its newest open gap."""
    places = [place for place in ledger.open if place[0] == channel]
    if not places or not count:
        return ledger
    place = max(places, key=lambda each: ledger.open[each].opened_at)
    entry = ledger.open[place]
    return Ledger(ledger.open | {place: replace(entry, recovered=entry.recovered + count)})


def remembered(records: Iterable[tuple[str, GapRecord]]) -> Ledger:
    """Return the ledger that an earlier process left: entry names with their newest records.

    Only open ones count. A cause that this version does not know reads as `disconnected`.
    """
    found: dict[tuple[str, str], Entry] = {}
    for name, record in records:
        if record.outcome != "open" or not record.key:
            continue
        gap = Gap(
            cause=record.cause,  # type: ignore[arg-type]  # told again as it was told before
            sentence="",
            key=record.key,
            start=record.start,
            began_at=record.began_at,
        )
        entry = Entry(name, record.channel, gap, record.opened_at, recovered=record.recovered or 0)
        found[(record.channel, record.key)] = entry
    return Ledger(found)


def gap_name(gap: Gap, channel: str, now: datetime) -> str:
    """Return an entry's name; `now` counts only for a gap that has neither key nor position."""
    start = gap.start or (gap.began_at.isoformat() if gap.began_at else "")
    told = [channel, gap.key, gap.cause if not gap.key else "", start]
    if not gap.key and not start:
        told.append(str(int(now.timestamp() * 1000)))
    return sha256("\x1f".join(told).encode("utf-8", "surrogatepass")).hexdigest()[:_NAME_LENGTH]


def _cut(position: str | None) -> str | None:
    return None if position is None else position[:_POSITION_LENGTH]
