"""The books of a connector or the gateway: ledger lines without input offsets.

A source outside has no offsets, so a line's range is time: epoch milliseconds from the line before
to this one. Ranges of one holder neither overlap nor go back, not even over a restart. A line says
how many objects were received and what became of them; each is counted once its fate is certain:
`delivered` and `dead_lettered` when Kafka has acknowledged the record, `discarded` (suppressed,
filtered) at once.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from klingel.contracts.envelope import Output
from klingel.contracts.topics import Topic
from klingel.metrics import Metric, Metrics
from klingel.model import LedgerLine
from klingel.stage.fates import Fate
from klingel.stage.ledger import ledger_output


def milliseconds(at: datetime) -> int:
    """Return epoch milliseconds."""
    return int(at.timestamp() * 1000)


@dataclass(slots=True)
class Books:
    """Counts since the last line.

    Args:
        stage: `connector-<name>` or `gateway`.
        holder: who writes them.
        since: when they were opened.
        metrics: counted too, a line at a time: counting each object there would cost more than
            reading it.
    """

    stage: str
    holder: str
    since: datetime
    metrics: Metrics | None = None
    received: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    networks: Counter[str] = field(default_factory=Counter)
    emitted: Counter[str] = field(default_factory=Counter)

    def note(
        self, fate: Fate, network: str, *, reason: str = "", topic: Topic | None = None
    ) -> None:
        """Count one object whose fate is certain."""
        self.received += 1
        self.fates[str(fate)] += 1
        self.networks[f"{fate}:{network}"] += 1
        if reason:
            self.reasons[f"{fate}:{reason}"] += 1
        if topic is not None:
            self.emitted[str(topic)] += 1

    def close(self, now: datetime) -> Output | None:
        """Return the line since the last one and start the next; None when nothing happened."""
        before, after = milliseconds(self.since), milliseconds(now)
        if not self.received or after <= before:
            return None
        self._measure()
        line = LedgerLine(
            stage=self.stage,
            topic="",
            partition=0,
            before=before,
            after=after,
            received=self.received,
            redone=0,
            fates=dict(self.fates),
            reasons=dict(self.reasons) or None,
            networks=dict(self.networks),
            emitted=dict(self.emitted),
            holder=self.holder,
            written_at=now,
        )
        self.since, self.received = now, 0
        for counts in (self.fates, self.reasons, self.networks, self.emitted):
            counts.clear()
        return ledger_output(line)

    def _measure(self) -> None:
        if self.metrics is None:
            return
        for name, count in self.networks.items():
            self.metrics.count(Metric.RECEIVED, count, network=name.partition(":")[2])
        self.metrics.count(Metric.DELIVERED, self.fates[Fate.DELIVERED])
        for name, count in self.reasons.items():
            fate, _, reason = name.partition(":")
            if fate == Fate.DISCARDED:
                self.metrics.count(Metric.DISCARDED, count, reason=reason)
            elif fate == Fate.DEAD_LETTERED:
                self.metrics.count(Metric.DEAD_LETTERED, count, error_type=reason)
