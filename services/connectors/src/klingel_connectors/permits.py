"""Leave to call, waited for: the one loop around the decisions of `limits.py` and `costs.py`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from klingel.clock import Clock
from klingel.metrics import Metric, Metrics
from klingel.model.connector_status import LimitState
from klingel_connectors import limits
from klingel_connectors.limits import Bucket, Turns
from klingel_connectors.purse import Purse
from klingel_networks.arrival import Quota

_MOST_BUCKETS = 200
_BUCKETS_TOLD = 32
_OTHER = "other"


class RuntimePermits:
    """What clients ask before each request; implements `klingel_networks.arrival.Permits`.

    Args:
        clock: time.
        metrics: where waits and spending are counted.
        budget: most units a month; None for none.
        unit: what the network counts.
        app: whose money is spent.
        sleep: waits.

    Attributes:
        purse: what is spent.
    """

    def __init__(
        self,
        clock: Clock,
        metrics: Metrics,
        *,
        budget: float | None = None,
        unit: str = "",
        app: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._sleep = sleep
        self._buckets: dict[str, Bucket] = {}
        self._turns: dict[str, Turns[asyncio.Future[None]]] = {}
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self.purse = Purse(clock, metrics, budget=budget, unit=unit, app=app)

    async def ask(self, bucket: str, channel: str = "") -> None:
        """Return when the call may be made; see the port."""
        bucket = self._known(bucket)
        if not self._turns.get(bucket) and self._granted(bucket) == 0.0:
            return
        began = self._clock.monotonic()
        turns = self._turns.setdefault(bucket, Turns())
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        turns.enter(channel, granted)
        if bucket not in self._pumps:
            self._pumps[bucket] = asyncio.create_task(self._pump(bucket))
        try:
            await granted
        finally:
            turns.leave(channel, granted)
            waited = max(0.0, self._clock.monotonic() - began)
            self._metrics.count(Metric.LIMIT_WAIT_SECONDS, waited)

    def heard(self, quota: Quota) -> None:
        """Take the network's word; see the port."""
        name = self._known(quota.bucket)
        self._buckets[name] = limits.heard(
            self._buckets.get(name, Bucket()), quota, self._clock.monotonic()
        )

    def refused(self, bucket: str, retry_after: float | None) -> float:
        """Take a 429; see the port."""
        name = self._known(bucket)
        self._buckets[name], wait = limits.refused(
            self._buckets.get(name, Bucket()), retry_after, self._clock.monotonic()
        )
        return wait

    def spend(self, item: str, units: float) -> None:
        """Count what the network charges for; see the port."""
        self.purse.spend(item, units)

    def left(self, item: str = "") -> float | None:  # noqa: ARG002  the port's; one budget for all
        """Return what the budget still allows; see the port."""
        return self.purse.left()

    def told(self) -> list[LimitState]:
        """Return what the network said of its limits, for the status."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        return [
            LimitState(
                bucket=name[:60],
                remaining=bucket.left,
                limit=bucket.limit,
                resets_at=(
                    None
                    if (end := _end(bucket)) is None or end <= monotonic
                    else now + timedelta(seconds=end - monotonic)
                ),
            )
            for name, bucket in sorted(self._buckets.items())
            if bucket != Bucket()
        ][:_BUCKETS_TOLD]

    @property
    def waits(self) -> bool:
        """Whether somebody waits for leave."""
        return bool(self._pumps)

    def stop(self) -> None:
        """Wait for nothing any more."""
        for pump in self._pumps.values():
            pump.cancel()

    def _known(self, name: str) -> str:
        if name in self._buckets or len(self._buckets) < _MOST_BUCKETS:
            self._buckets.setdefault(name, Bucket())
            return name
        return _OTHER

    def _granted(self, name: str) -> float:
        bucket, wait = limits.ask(self._buckets.get(name, Bucket()), self._clock.monotonic())
        self._buckets[name] = bucket
        return wait

    async def _pump(self, name: str) -> None:
        """Give leave to those who wait, in their turns; ends when nobody waits."""
        turns = self._turns[name]
        try:
            while turns:
                wait = self._granted(name)
                if wait:
                    await self._sleep(wait)
                    continue
                granted = turns.next()
                if granted is not None and not granted.done():
                    granted.set_result(None)
        finally:
            del self._pumps[name]


def _end(bucket: Bucket) -> float | None:
    return bucket.blocked_until or bucket.resets_at
