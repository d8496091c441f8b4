"""What the network charges for, counted by month, item and budget (K9). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from klingel.model.connector_status import Spent

_ITEMS_TOLD = 20
_OTHERS = "(others)"
_ITEMS_KEPT = 5_000
_NAME_LENGTH = 80
_REMEMBERED = 200_000


@dataclass(frozen=True, slots=True)
class Meter:
    """The spending of one month, in UTC.

    Attributes:
        month: such as `2026-11`.
        units: counted in it.
        items: units by item, such as a rule.
        budget: most a month; None for none.
        unit: what is counted.
    """

    month: str
    units: float = 0.0
    items: Mapping[str, float] = field(default_factory=dict)
    budget: float | None = None
    unit: str = ""


class Today:
    """What was charged already this UTC day, within bounds: the oldest are forgotten."""

    def __init__(self) -> None:
        self._day = ""
        self._known: dict[str, None] = {}

    def is_new(self, once: str, now: datetime) -> bool:
        """Whether it is charged now, for the first time today; noted."""
        day = now.astimezone(UTC).date().isoformat()
        if day != self._day:
            self._day, self._known = day, {}
        if once in self._known:
            return False
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[once] = None
        return True


def month_of(now: datetime) -> str:
    """Return the month in UTC."""
    return now.astimezone(UTC).strftime("%Y-%m")


def at(meter: Meter, now: datetime) -> Meter:
    """Return the meter as of now: a new month begins at nothing."""
    month = month_of(now)
    return meter if month == meter.month else replace(meter, month=month, units=0.0, items={})


def spend(meter: Meter, item: str, units: float, now: datetime) -> Meter:
    """Count units of an item; what is no positive number is ignored."""
    meter = at(meter, now)
    if not 0.0 < units < 1e15:
        return meter
    name = item[:_NAME_LENGTH]
    if name not in meter.items and len(meter.items) >= _ITEMS_KEPT:
        name = _OTHERS
    items = {**meter.items, name: meter.items.get(name, 0.0) + units}
    return replace(meter, units=meter.units + units, items=items)


def left(meter: Meter, now: datetime, others: float = 0.0) -> float | None:
    """Return what the budget still allows, never below 0; None without a budget.

    Args:
        meter: of this process.
        now: aware.
        others: units that other processes have spent from the same budget this month.
    """
    if meter.budget is None:
        return None
    return max(0.0, meter.budget - at(meter, now).units - others)


def told(meter: Meter, now: datetime, shared: float | None = None) -> Spent | None:
    """Return the spending for `connector-status`: the largest items by name, the rest together.

    Args:
        meter: of the service.
        now: aware.
        shared: of all services that spend from one budget; None where this one is alone.
    """
    meter = at(meter, now)
    if not meter.units and meter.budget is None:
        return None
    ranked = sorted(meter.items.items(), key=lambda each: (-each[1], each[0]))
    items = dict(ranked[:_ITEMS_TOLD])
    rest = sum(units for _, units in ranked[_ITEMS_TOLD:])
    if rest:
        items[_OTHERS] = items.get(_OTHERS, 0.0) + rest
    return Spent(
        month=meter.month,
        units=meter.units,
        unit=meter.unit[:60] or None,
        budget=meter.budget,
        items=items or None,
        shared=shared,
    )


def added(meter: Meter, units: float, items: Mapping[str, float]) -> Meter:
    """Return the meter with what another process has spent in its month."""
    both = dict(meter.items)
    for item, more in items.items():
        both[item] = both.get(item, 0.0) + more
    return replace(meter, units=meter.units + units, items=both)
