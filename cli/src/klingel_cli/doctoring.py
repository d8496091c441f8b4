"""What `klingel doctor` concludes from what connectors said of themselves: pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from klingel.model import ConnectorStatus
from klingel_networks.arrival import Finding

SILENT_SECONDS = 45.0
"""A status comes every ten seconds; after four that are missing nobody is there."""

QUIET = timedelta(days=1)
RECENT = timedelta(days=1)
LOW_BUDGET = 0.1

_REMEDIES = {
    "expiring": "renew the credential before it ends, then restart the connector",
    "refresh_failed": "sign in anew: the credential still holds, but can no longer be renewed",
    "revoked": "make a new credential in the network's console and give it to the connector",
}


def judge(
    connector: str, start: str, told: Sequence[ConnectorStatus], now: datetime
) -> list[Finding]:
    """Return what the newest statuses of a connector's instances and gaps say.

    Args:
        connector: its name.
        start: command that starts it, for the remedy.
        told: newest status of each key; gaps are among them.
        now: aware.
    """
    own = [each for each in told if each.gap is None and "/gap/" not in each.instance]
    if not own:
        return [
            Finding("running", "failed", f"no instance of {connector} has told its state", start)
        ]
    found = []
    for status in own:
        found += _instance(status, start, now)
    return found + _gaps([each for each in told if each.gap is not None], now)


def _instance(status: ConnectorStatus, start: str, now: datetime) -> list[Finding]:
    name = status.instance
    found = [_running(status, start, now), _credential(status)]
    found.append(_last_event(status, now))
    if status.channels_waiting:
        found.append(
            Finding(
                "channels",
                "warning",
                f"{name}: {status.channels_waiting} of {status.channels} channels wait",
                "the reason in `klingel status` names the first; check address and credential",
            )
        )
    spent = status.spent
    if spent is not None and spent.budget:
        left = 1 - (spent.shared or spent.units) / spent.budget
        if left < LOW_BUDGET:
            found.append(
                Finding(
                    "cost",
                    "warning" if left > 0 else "failed",
                    f"{name}: {max(0.0, left):.0%} of the month's budget of {spent.budget:,.0f}"
                    f" {spent.unit or 'units'} is left",
                    "raise the budget, or narrow the rules that spend most (items in"
                    " connector-status)",
                )
            )
    return found


def _running(status: ConnectorStatus, start: str, now: datetime) -> Finding:
    name, age = status.instance, (now - status.at).total_seconds()
    if status.state in {"stopped", "finished"}:
        return Finding("running", "warning", f"{name} {status.state}", start)
    if age > SILENT_SECONDS:
        return Finding("running", "failed", f"{name} said its last word {_ago(age)} ago", start)
    if status.state in {"failed", "waiting", "starting"}:
        return Finding(
            "running",
            "failed" if status.state == "failed" else "warning",
            f"{name} is {status.state}: {status.reason or 'it does not say why'}",
            "mend what the sentence names; its log says more",
        )
    return Finding("running", "ok", f"{name} is running")


def _credential(status: ConnectorStatus) -> Finding:
    state = status.credential or "none"
    if state == "none":
        return Finding("credentials", "ok", f"{status.instance} needs no credential")
    if state == "ok":
        return Finding("credentials", "ok", f"{status.instance}: the credential is accepted")
    days = "" if status.credential_days is None else f", {status.credential_days:.1f} days left"
    return Finding(
        "credentials",
        "failed" if state == "revoked" else "warning",
        f"{status.instance}: the credential is {state.replace('_', ' ')}{days}",
        _REMEDIES[state],
    )


def _last_event(status: ConnectorStatus, now: datetime) -> Finding:
    at = status.last_event_at
    if at is None:
        return Finding(
            "last event",
            "unknown",
            f"{status.instance} has heard nothing since it started",
            "say something to the account yourself and run this again",
        )
    age = now - at
    if age > QUIET:
        return Finding(
            "last event",
            "warning",
            f"{status.instance} heard its last event {_ago(age.total_seconds())} ago",
            "check in the network's console that the subscription is still on, and that the"
            " account is the right one",
        )
    return Finding(
        "last event", "ok", f"{status.instance} heard one {_ago(age.total_seconds())} ago"
    )


def _gaps(told: Iterable[ConnectorStatus], now: datetime) -> list[Finding]:
    gaps = [each.gap for each in told if each.gap is not None]
    open_now = sum(1 for gap in gaps if gap.outcome == "open")
    lost = sum(
        1
        for gap in gaps
        if gap.outcome in {"partial", "unrecoverable"} and now - gap.opened_at < RECENT
    )
    if not open_now and not lost:
        return [Finding("gaps", "ok", "no gap is open, and none of the last day was lost")]
    return [
        Finding(
            "gaps",
            "warning",
            f"{open_now} gaps are open; {lost} of the last day could not be filled whole",
            "`klingel connectors gaps` shows from when to when; what is lost must be looked at on"
            " the network itself",
        )
    ]


def _ago(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} seconds"
