"""One budget for all processes that spend an app's money (K9, ADR 0016).

A process counts what it spends itself and writes it under a key of its own; what is left is the
budget less all of that. It is behind by what the others have spent since their last word, ten seconds
and what Kafka takes; while Kafka is away, by what they spend meanwhile.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from klingel.clock import Clock
from klingel.contracts.envelope import Output
from klingel.metrics import Metric, Metrics
from klingel.model.connector_status import Spent
from klingel_connectors import costs
from klingel_connectors.costs import Meter
from klingel_connectors.shared import Spending, spending_output

_PACE_SECONDS = 10.0
"""Between two records of one process: the topic is read whole at each start."""

Told = Callable[[], Mapping[str, Spending]]
"""What each process of the app has spent, by writer."""


class Purse:
    """What one process spends, and what is left of what all may.

    Args:
        clock: time.
        metrics: where spending is counted.
        budget: most units a month, of all processes together; None for none.
        unit: what the network counts.
        app: whose money it is; empty where the network charges nothing.
    """

    def __init__(
        self,
        clock: Clock,
        metrics: Metrics,
        *,
        budget: float | None = None,
        unit: str = "",
        app: str = "",
    ) -> None:
        self.app = app
        self._clock = clock
        self._metrics = metrics
        self._meter = Meter(costs.month_of(clock.now()), budget=budget, unit=unit)
        self._instance = self._holder = self._writer = ""
        self._told: Told = dict
        self._written: Meter | None = None
        self._next_record = 0.0

    def join(self, instance: str, holder: str, told: Told) -> None:
        """Spend with others from now on.

        Args:
            instance: of the service.
            holder: name of this process.
            told: what each process of the app has spent, ours included.
        """
        begun = int(self._clock.now().timestamp() * 1000)
        self._instance, self._holder = f"{instance}/", holder
        # A key of this start alone: nobody has to know first what an earlier one had counted.
        self._writer = f"{instance}/{holder}/{begun}"
        self._told = told

    def inherit(self, told: Spent | None) -> None:
        """Take over what the service's own status tells of this month, where no record does.

        A version before these records told it there alone. Only for who holds the instance's lease:
        of two that did it at once, each would count it.
        """
        now = self._clock.now()
        own = self._own(now)
        if told is not None and told.month == own.month and not own.units:
            self._meter = costs.added(own, told.units, told.items or {})

    @property
    def counts(self) -> bool:
        """Whether there is anything that costs."""
        return bool(self._meter.unit)

    def spend(self, item: str, units: float) -> None:
        """Count what the network charges for; what is no positive number is ignored.

        Others are not looked at: the gateway calls it at each delivery.
        """
        before = self._meter
        self._meter = costs.spend(before, item, units, self._clock.now())
        if self._meter is not before and units > 0:
            self._metrics.count(Metric.COST_UNITS, units)

    def left(self) -> float | None:
        """Return what the budget still allows to all, never below 0; None without a budget."""
        if self._meter.budget is None:
            return None
        now = self._clock.now()
        return costs.left(self._meter, now, sum(each.units for each in self._others(now)))

    def measure(self) -> None:
        """Set the gauge of what is left; called every second."""
        rest = self.left()
        if rest is not None and self._meter.budget:
            self._metrics.set(Metric.BUDGET_LEFT, rest / self._meter.budget)

    def spent(self) -> Spent | None:
        """Return the spending for the status: the service's own, and of all together."""
        now = self._clock.now()
        own = self._own(now)
        total = self._total(now)
        found = costs.told(own, now, shared=total if total > own.units else None)
        if found is None and total > 0:
            found = Spent(month=own.month, units=0.0, unit=own.unit[:60] or None, shared=total)
        return found

    def output(self, *, last: bool = False) -> Output | None:
        """Return the record of what this process has spent, where that is news and is due.

        Args:
            last: whether the process stops: nothing must be left untold.
        """
        if not last and self._clock.monotonic() < self._next_record:
            return None
        now = self._clock.now()
        meter = costs.at(self._meter, now)
        if not self._writer or not self.app or meter == self._written or not meter.units:
            return None
        self._written, self._next_record = meter, self._clock.monotonic() + _PACE_SECONDS
        spending = Spending(meter.month, meter.units, dict(meter.items))
        return spending_output(self.app, self._writer, spending, self._holder, now)

    def _others(self, now: datetime, instance: str = "") -> list[Spending]:
        month = costs.month_of(now)
        return [
            each
            for writer, each in self._told().items()
            if writer != self._writer and each.month == month and writer.startswith(instance)
        ]

    def _total(self, now: datetime) -> float:
        return costs.at(self._meter, now).units + sum(each.units for each in self._others(now))

    def _own(self, now: datetime) -> Meter:
        """Return the meter of this service: of this process and of its others."""
        meter = costs.at(self._meter, now)
        if not self._instance:
            return meter
        for each in self._others(now, self._instance):
            meter = costs.added(meter, each.units, each.items)
        return meter
