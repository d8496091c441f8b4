"""What a connector says of itself, to `connector-status`: at each change and every 10 s."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from klingel.contracts import codec, outputs
from klingel.contracts.envelope import Output
from klingel.errors import InvalidMessage
from klingel.model import ConnectorStatus
from klingel.model.connector_status import LimitState, Spent
from klingel_connectors.gaps import Entry, Ledger, remembered
from klingel_connectors.raw import Origin
from klingel_networks.arrival import CredentialState

State = Literal["starting", "running", "waiting", "finished", "stopped", "failed"]
CREDENTIALS: tuple[CredentialState, ...] = (
    "none",
    "ok",
    "expiring",
    "refresh_failed",
    "revoked",
)
GAP = "/gap/"
"""Between an instance and the name of one of its gaps, in the key of its record."""

_NAMED = 100
STATES: tuple[State, ...] = ("starting", "running", "waiting", "finished", "stopped", "failed")
EVERY_SECONDS = 10.0


@dataclass(slots=True)
class Health:
    """The state of one connector or gateway, as it stands now."""

    state: State = "starting"
    reason: str = ""
    credential: CredentialState = "none"
    last_event_at: datetime | None = None
    published: int = 0
    refused: int = 0
    in_flight: int = 0
    cursor: str | None = None
    lag_seconds: float | None = None
    credential_days: float | None = None
    gaps_open: int = 0
    channels: int | None = None
    channels_waiting: int | None = None
    spent: Spent | None = None
    limits: list[LimitState] = field(default_factory=list)

    def turn(self, state: State, reason: str = "") -> bool:
        """Change the state; False when it was so already."""
        if (self.state, self.reason) == (state, reason):
            return False
        self.state, self.reason = state, reason
        return True


class Before(NamedTuple):
    """What an earlier process of the instance left on `connector-status`."""

    ledger: Ledger = Ledger()
    spent: Spent | None = None


def before_of(instance: str, told: Mapping[str, ConnectorStatus]) -> Before:
    """Return what concerns an instance, from the newest status of each key."""
    prefix = f"{instance[:_NAMED]}{GAP}"
    records = [
        (name.removeprefix(prefix), status.gap)
        for name, status in told.items()
        if name.startswith(prefix) and status.gap is not None
    ]
    own = told.get(instance)
    return Before(remembered(records), None if own is None else own.spent)


def newest_statuses(values: Iterable[tuple[bytes, bytes | None]]) -> dict[str, ConnectorStatus]:
    """Return the newest status of each key, from records in their order."""
    found: dict[str, ConnectorStatus] = {}
    for key, value in values:
        name = key.decode("utf-8", "replace")
        if value is None:
            found.pop(name, None)
            continue
        try:
            found[name] = codec.decode(ConnectorStatus, value)
        except InvalidMessage:
            continue
    return found


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
            credential_days=health.credential_days,
            gaps_open=health.gaps_open or None,
            channels=health.channels,
            channels_waiting=health.channels_waiting or None,
            spent=health.spent,
            limits=health.limits or None,
        ),
    )


def gap_output(origin: Origin, entry: Entry, now: datetime) -> Output:
    """Return the record of a gap: a status of its own key, which no status of another replaces."""
    told = entry.gap.sentence or "told by an earlier process"
    return _output(
        origin,
        ConnectorStatus(
            instance=f"{origin.instance[:_NAMED]}{GAP}{entry.name}",
            connector=origin.connector,
            network=origin.network,
            state="finished" if entry.outcome == "filled" else "failed",
            at=now,
            reason=f"gap {entry.gap.cause}: {told}"[:300],
            gap=entry.record(),
        ),
    )


def _output(origin: Origin, status: ConnectorStatus) -> Output:
    return outputs.status_output(status, f"klingel/connector/{origin.instance}")
