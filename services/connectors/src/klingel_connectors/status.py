"""What a connector says of itself, to `connector-status`: at each change and every 10 s."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from klingel.contracts import codec
from klingel.contracts.envelope import Output, ce_headers, trace_id
from klingel.contracts.topics import Topic
from klingel.model import ConnectorStatus
from klingel_connectors.raw import Origin
from klingel_networks.arrival import Gap

State = Literal["starting", "running", "waiting", "finished", "stopped", "failed"]
Credential = Literal["none", "ok", "expiring", "refresh_failed", "revoked"]
STATES: tuple[State, ...] = ("starting", "running", "waiting", "finished", "stopped", "failed")
EVERY_SECONDS = 10.0


@dataclass(slots=True)
class Health:
    """The state of one connector or gateway, as it stands now."""

    state: State = "starting"
    reason: str = ""
    credential: Credential = "none"
    last_event_at: datetime | None = None
    published: int = 0
    refused: int = 0
    in_flight: int = 0
    cursor: str | None = None
    lag_seconds: float | None = None

    def turn(self, state: State, reason: str = "") -> bool:
        """Change the state; False when it was so already."""
        if (self.state, self.reason) == (state, reason):
            return False
        self.state, self.reason = state, reason
        return True


def status_output(origin: Origin, health: Health, now: datetime) -> Output:
    """Return the record of a status."""
    return _output(
        origin,
        ConnectorStatus(
            instance=origin.instance,
            connector=origin.connector,
            network=origin.network,
            state=health.state,
            at=now,
            credential=health.credential,
            reason=health.reason[:300] or None,
            last_event_at=health.last_event_at,
            published=health.published,
            refused=health.refused,
            in_flight=health.in_flight,
            cursor=None if health.cursor is None else health.cursor[:512],
            lag_seconds=health.lag_seconds,
        ),
    )


def gap_output(origin: Origin, gap: Gap, now: datetime) -> Output:
    """Return the record of a gap: a status of its own key, which no later status replaces."""
    return _output(
        origin,
        ConnectorStatus(
            instance=f"{origin.instance}/gap/{int(now.timestamp() * 1000)}",
            connector=origin.connector,
            network=origin.network,
            state="failed",
            at=now,
            reason=f"gap {gap.cause}: {gap.sentence}"[:300],
        ),
    )


def _output(origin: Origin, status: ConnectorStatus) -> Output:
    at = int(status.at.timestamp() * 1000)
    return Output(
        topic=Topic.CONNECTOR_STATUS,
        key=status.instance.encode(),
        value=codec.encode(status),
        headers=ce_headers(
            Topic.CONNECTOR_STATUS,
            event_id=f"{status.instance}@{at}",
            source=f"klingel/connector/{origin.instance}",
            subject=status.instance,
            time=status.at,
            trace=trace_id(status.instance),
        ),
    )
