"""Every metric that klingel exports: a closed set, base units, labels from closed sets.

Dashboards and alerts may use only these names. No label ever holds a person, a handle, an address
or a text. Naming: `klingel_<noun>_<unit>[_total]` (Vector's instrumentation specification).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from klingel.errors import ErrorType

Label = Literal[
    "component", "network", "reason", "error_type", "topic", "partition", "outcome", "state"
]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
HOURS = (1, 10, 60, 300, 900, 3600, 7200, 14400, 28800, 43200, 57600, 72000, 86400)
"""Bounds for what has a day's time, in seconds; 20 h and 24 h are among them."""


class Metric(StrEnum):
    """Names; each value's definition stands in `DEFINITIONS`."""

    RECEIVED = "klingel_received_total"
    DELIVERED = "klingel_delivered_total"
    REPEATED = "klingel_repeated_total"
    DISCARDED = "klingel_discarded_total"
    DEAD_LETTERED = "klingel_dead_lettered_total"
    REFUSED = "klingel_refused_total"
    RETRIES = "klingel_retries_total"
    BATCH_SECONDS = "klingel_batch_seconds"
    LAG = "klingel_lag_messages"
    OLDEST_SECONDS = "klingel_oldest_unprocessed_seconds"
    IN_FLIGHT_MESSAGES = "klingel_in_flight_messages"
    IN_FLIGHT_BYTES = "klingel_in_flight_bytes"
    PARTITIONS = "klingel_partitions_owned"
    PARTITIONS_PAUSED = "klingel_partitions_paused"
    BRANDS_REFUSED = "klingel_brands_refused"
    OWNERSHIP_LOST = "klingel_ownership_lost_total"
    REBUILT = "klingel_state_rebuilt_records_total"
    REBUILD_SECONDS = "klingel_state_rebuild_seconds"
    PUBLISHED_TO_INDEXED = "klingel_published_to_indexed_seconds"
    RECEIVED_TO_INDEXED = "klingel_received_to_indexed_seconds"
    BULK_SECONDS = "klingel_bulk_seconds"
    BULK_ITEMS = "klingel_bulk_items_total"
    BULK_RETRIES = "klingel_bulk_retries_total"
    RECONNECTS = "klingel_reconnects_total"
    GAP_SECONDS = "klingel_gap_seconds_total"
    GAPS_OPEN = "klingel_gaps_open"
    GAPS_CLOSED = "klingel_gaps_closed_total"
    CURSOR_AGE_SECONDS = "klingel_cursor_age_seconds"
    CREDENTIAL = "klingel_credential"
    CREDENTIAL_DAYS = "klingel_credential_days"
    CHANNELS = "klingel_channels"
    LIMIT_WAIT_SECONDS = "klingel_limit_wait_seconds_total"
    COST_UNITS = "klingel_cost_units_total"
    BUDGET_LEFT = "klingel_budget_left_ratio"
    MEDIA = "klingel_media_total"
    MEDIA_SECONDS = "klingel_media_fetch_seconds"
    CHAT_SESSIONS = "klingel_chat_sessions"
    CHAT_CONNECTIONS = "klingel_chat_connections_total"
    CHAT_REPLIES = "klingel_chat_replies"
    CHAT_SHOWN = "klingel_chat_replies_shown_total"
    NOTIFICATIONS_WAITING = "klingel_notifications_waiting"
    TARGETS = "klingel_targets"
    RESENT = "klingel_resent_total"
    RECORDED_TO_TOLD = "klingel_recorded_to_told_seconds"
    STATE = "klingel_state"
    REQUESTS = "klingel_requests_total"
    STALLED_SECONDS = "klingel_stalled_seconds"
    SLA_BREACHES = "klingel_sla_breaches_total"
    AUDIT_DIFFERENCE = "klingel_audit_difference_messages"
    AUDIT_AGE_SECONDS = "klingel_audit_age_seconds"
    DELETION_SECONDS = "klingel_deletion_seconds"
    DELETION_OLDEST_SECONDS = "klingel_deletion_oldest_seconds"
    CERTIFICATE_DAYS = "klingel_certificate_days"


@dataclass(frozen=True, slots=True)
class Definition:
    """Type, meaning and labels of a metric.

    Attributes:
        buckets: upper bounds in seconds, if it is a histogram.
        values: all values of the label beside `component`, where they are few and known.
    """

    kind: type[Counter] | type[Gauge] | type[Histogram]
    meaning: str
    labels: tuple[Label, ...] = ("component",)
    buckets: tuple[float, ...] = SECONDS
    values: tuple[str, ...] = ()


DEFINITIONS: dict[Metric, Definition] = {
    Metric.RECEIVED: Definition(Counter, "Messages read.", ("component", "network")),
    Metric.DELIVERED: Definition(Counter, "Messages whose outputs are acknowledged."),
    Metric.REPEATED: Definition(Counter, "Messages that were known and changed nothing."),
    Metric.DISCARDED: Definition(Counter, "Dropped on purpose.", ("component", "reason")),
    Metric.DEAD_LETTERED: Definition(Counter, "Can never succeed.", ("component", "error_type")),
    Metric.REFUSED: Definition(Counter, "Turned away at the door.", ("component", "reason")),
    Metric.RETRIES: Definition(Counter, "Attempts repeated; no loss.", ("component", "reason")),
    Metric.BATCH_SECONDS: Definition(Histogram, "From fetch to commit of a batch."),
    Metric.LAG: Definition(Gauge, "Messages ahead.", ("component", "partition")),
    Metric.OLDEST_SECONDS: Definition(Gauge, "Age of the oldest unprocessed message."),
    Metric.IN_FLIGHT_MESSAGES: Definition(Gauge, "Sent and not acknowledged."),
    Metric.IN_FLIGHT_BYTES: Definition(Gauge, "Bytes sent and not acknowledged."),
    Metric.PARTITIONS: Definition(Gauge, "Partitions owned."),
    Metric.PARTITIONS_PAUSED: Definition(Gauge, "Partitions stopped by the brake."),
    Metric.BRANDS_REFUSED: Definition(Gauge, "Brands whose configuration cannot be read."),
    Metric.OWNERSHIP_LOST: Definition(Counter, "Partitions taken over by another worker."),
    Metric.REBUILT: Definition(Counter, "Records read to rebuild local state."),
    Metric.REBUILD_SECONDS: Definition(Histogram, "Time to rebuild one partition's state."),
    Metric.PUBLISHED_TO_INDEXED: Definition(Histogram, "Author's publication to index."),
    Metric.RECEIVED_TO_INDEXED: Definition(Histogram, "First sight to index."),
    Metric.BULK_SECONDS: Definition(Histogram, "One bulk request."),
    Metric.BULK_ITEMS: Definition(Counter, "Bulk items.", ("component", "outcome")),
    Metric.BULK_RETRIES: Definition(Counter, "Bulk items sent again.", ("component", "reason")),
    Metric.RECONNECTS: Definition(Counter, "Connections opened anew.", ("component", "reason")),
    Metric.GAP_SECONDS: Definition(Counter, "Time of a source that was lost to a gap."),
    Metric.GAPS_OPEN: Definition(Gauge, "Gaps that are open now."),
    Metric.GAPS_CLOSED: Definition(
        Counter, "Gaps whose outcome is certain.", ("component", "outcome")
    ),
    Metric.CURSOR_AGE_SECONDS: Definition(Gauge, "Time since the cursor was saved."),
    Metric.CREDENTIAL: Definition(
        Gauge, "1 for the state the credential is in.", ("component", "state")
    ),
    Metric.CREDENTIAL_DAYS: Definition(Gauge, "Days until the credential ends."),
    Metric.CHANNELS: Definition(Gauge, "Channels polled, by state.", ("component", "state")),
    Metric.LIMIT_WAIT_SECONDS: Definition(Counter, "Time that calls waited for a limit."),
    Metric.COST_UNITS: Definition(Counter, "What the network charges for."),
    Metric.BUDGET_LEFT: Definition(Gauge, "Share of the month's budget that is left."),
    Metric.MEDIA: Definition(Counter, "Media by what became of them.", ("component", "outcome")),
    Metric.MEDIA_SECONDS: Definition(Histogram, "From a medium's job to its stored bytes."),
    Metric.CHAT_SESSIONS: Definition(Gauge, "Sessions of the web chat that are connected here."),
    Metric.CHAT_CONNECTIONS: Definition(
        Counter,
        "Connections of the web chat by how they began: `new`, `resumed`, `replaced` (another "
        "window of the session was open).",
        ("component", "outcome"),
    ),
    Metric.CHAT_REPLIES: Definition(
        Gauge,
        "Replies that no page has shown: `told` to a page that is connected here, or `kept` for a "
        "session that is not; every gateway keeps all.",
        ("component", "state"),
    ),
    Metric.CHAT_SHOWN: Definition(Counter, "Replies that a page connected here has shown."),
    Metric.NOTIFICATIONS_WAITING: Definition(Gauge, "To be told.", ("component", "state")),
    Metric.TARGETS: Definition(Gauge, "Targets by their circuit.", ("component", "state")),
    Metric.RESENT: Definition(
        Counter,
        "Notifications sent again under the same key; the receiver may have them.",
        ("component", "reason"),
    ),
    Metric.RECORDED_TO_TOLD: Definition(Histogram, "Escalation, alert or incident to its target."),
    Metric.STATE: Definition(Gauge, "1 for the state a component is in.", ("component", "state")),
    Metric.REQUESTS: Definition(
        Counter,
        "Deliveries at the gateway: `taken`, `refused` (the sender's matter), `failed` (ours).",
        ("component", "outcome"),
        values=("taken", "refused", "failed"),
    ),
    Metric.STALLED_SECONDS: Definition(
        Gauge, "Time for which nothing was committed although messages wait and Kafka answers."
    ),
    Metric.SLA_BREACHES: Definition(
        Counter,
        "Promised times that were missed, by clock; counted as they are indexed.",
        ("component", "reason"),
        values=("first_response", "next_response", "resolution"),
    ),
    Metric.AUDIT_DIFFERENCE: Definition(
        Gauge,
        "Messages that the books of two stages disagree on, by kind.",
        ("component", "reason"),
    ),
    Metric.AUDIT_AGE_SECONDS: Definition(Gauge, "Time since the books were last checked."),
    Metric.DELETION_SECONDS: Definition(
        Histogram,
        "From a demand for deletion, by its own time, until the index is without it.",
        buckets=HOURS,
    ),
    Metric.DELETION_OLDEST_SECONDS: Definition(
        Gauge, "Age of the oldest deletion on its way into the index, or erasure not told done."
    ),
    Metric.CERTIFICATE_DAYS: Definition(
        Gauge, "Days until the first of the certificates in use ends; 0 when one cannot be read."
    ),
}


def _closed(error_type: str) -> str:
    """Return a member of ErrorType; which class our own code raised stands in the letter alone."""
    return error_type if error_type in set(ErrorType) else str(ErrorType.UNHANDLED)


def _made(
    name: str, definition: Definition, registry: CollectorRegistry
) -> Counter | Gauge | Histogram:
    if definition.kind is Histogram:
        return Histogram(
            name,
            definition.meaning,
            definition.labels,
            registry=registry,
            buckets=definition.buckets,
        )
    return definition.kind(name, definition.meaning, definition.labels, registry=registry)


class Metrics:
    """One process's metrics, in a registry of their own; nothing is registered at import.

    Args:
        component: value of the label of that name in every sample.
    """

    def __init__(self, component: str) -> None:
        self.component = component
        self.registry = CollectorRegistry()
        self._metrics: dict[Metric, Counter | Gauge | Histogram] = {}
        for name, definition in DEFINITIONS.items():
            self._metrics[name] = _made(str(name), definition, self.registry)
            if definition.kind is not Gauge:
                self._begin(name, definition)
        self._before: list[Callable[[], None]] = []

    def renew(self, renew: Callable[[], None]) -> None:
        """Have something set anew before the metrics are shown; it must be quick and not raise."""
        self._before.append(renew)

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        found = self._labelled(metric, labels)
        assert isinstance(found, Counter)
        found.inc(amount)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""
        found = self._labelled(metric, labels)
        assert isinstance(found, Gauge)
        found.set(value)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Add to a histogram."""
        found = self._labelled(metric, labels)
        assert isinstance(found, Histogram)
        found.observe(value)

    def render(self) -> bytes:
        """Return the Prometheus text format."""
        for renew in self._before:
            renew()
        return generate_latest(self.registry)

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield (name, labels, value) of every sample, for boards and tests."""
        for family in self.registry.collect():
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value

    def _begin(self, name: Metric, definition: Definition) -> None:
        """Show a count of nothing: Prometheus sees no increase from absent to 1."""
        if definition.labels == ("component",):
            self._labelled(name, {})
        for value in definition.values:
            self._labelled(name, {definition.labels[1]: value})

    def _labelled(self, metric: Metric, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        if "error_type" in labels:
            labels["error_type"] = _closed(labels["error_type"])
        return self._metrics[metric].labels(component=self.component, **labels)
