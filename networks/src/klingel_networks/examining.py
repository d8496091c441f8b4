"""Findings that several connectors have in common, for `examine` in their clients: pure."""

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from klingel_networks.arrival import Finding

SKEW_SECONDS = 30.0
"""Signatures with times are refused from a minute or five on; this is the warning before that."""


def clock_finding(date_header: str, now: datetime) -> Finding:
    """Compare our clock with the `Date` of an answer that has just come.

    Args:
        date_header: as the other side sent it.
        now: aware, when it came.
    """
    try:
        theirs = parsedate_to_datetime(date_header)
    except (ValueError, TypeError):
        return Finding(
            "clock", "unknown", "the other side told no time", "compare the clock by hand"
        )
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    skew = (now - theirs).total_seconds()
    if abs(skew) <= SKEW_SECONDS:
        return Finding("clock", "ok", f"our clock is within {SKEW_SECONDS:.0f} s of theirs")
    where = "ahead of" if skew > 0 else "behind"
    return Finding(
        "clock",
        "failed",
        f"our clock is {abs(skew):,.0f} s {where} theirs",
        "set this machine's clock by NTP; signatures and tokens are refused with a wrong one",
    )


def permissions_finding(granted: Iterable[str], needed: Iterable[str]) -> Finding:
    """Compare what was granted with what the manifest needs."""
    missing = sorted(set(needed) - set(granted))
    if not missing:
        return Finding("permissions", "ok", "everything that is needed was granted")
    return Finding(
        "permissions",
        "failed",
        f"not granted: {', '.join(missing)}",
        "grant them in the network's console and sign in anew; what each is for, and who has to"
        " approve it, stands in docs/reference/connectors.md",
    )
