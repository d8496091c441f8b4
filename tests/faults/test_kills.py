"""SIGKILL at random moments, and a frozen worker that wakes: nothing lost, nothing doubled."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from klingel_cli.demo.processes import Fleet
from klingel_local import LocalStack

from .ringing import SERVERS, WORKERS, Ring, Rung, Traffic

SHORT = (4_000, 1_000, len(WORKERS) + len(SERVERS), 60.0)
LONG = (24_000, 6_000, 60, 90.0)
"""Recorded events, webhooks, kills, recorded events a second."""


@pytest.mark.faults
def test_killed_and_frozen_nothing_is_lost_or_doubled(
    own_stack: LocalStack, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Cases after a disturbed run equal those of an undisturbed one; the books balance.

    The disturbed one is upgraded first: every service is told to end and started again.
    """
    long = bool(pytestconfig.getoption("--long-faults"))
    recorded, webhooks, kills, rate = LONG if long else SHORT
    seed = pytestconfig.getoption("--fault-seed") or random.randrange(2**32)
    print(f"\nfault seed {seed}")  # noqa: T201 - a failing run must be repeatable
    chance = random.Random(seed)
    # Recent, and the same for both runs: words older than a week open no case.
    start = (datetime.now(UTC) - timedelta(hours=24)).replace(microsecond=0).isoformat()
    traffic = Traffic(seed=seed % 10_000, recorded=recorded, webhooks=webhooks, start=start)

    calm = _ring(Ring(own_stack, tmp_path / "calm", "calm-", traffic, 1_500.0))
    assert_clean(calm)
    ring = Ring(own_stack, tmp_path / "storm", "storm-", traffic, rate)
    storm = _ring(ring, chance, kills)
    print(f"{storm.kills} kills, {storm.verdict.sent} sent, {len(storm.cases)} cases")  # noqa: T201 - what the run was
    assert storm.kills == kills
    assert storm.taken_over, "the other care worker did not take over"
    assert_clean(storm)
    assert calm.cases, "the traffic opened no case"
    assert storm.cases.keys() == calm.cases.keys()
    differing = {
        each: differences(calm.cases[each], storm.cases[each])
        for each in calm.cases
        if storm.cases[each] != calm.cases[each]
    }
    assert not differing, (len(differing), dict([*differing.items()][:3]))


def _ring(ring: Ring, chance: random.Random | None = None, kills: int = 0) -> Rung:
    with ring.fleet:
        ring.start()
        if chance is not None:
            roll(ring.fleet)
            ring.disturb(chance, kills)
        return ring.finish()


def roll(fleet: Fleet) -> None:
    """Restart every service in the order of an upgrade, under load; each ends by itself."""
    for name in WORKERS:
        if name != "replay-0":
            assert fleet.stop(name) is None
            fleet.restart(name)
            fleet.wait_ready(name, 120.0)


def differences(calm: dict[str, Any], storm: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what is not the same in two cases, by field."""
    names = sorted({*calm, *storm})
    return {
        name: (calm.get(name), storm.get(name))
        for name in names
        if calm.get(name) != storm.get(name)
    }


def assert_clean(rung: Rung) -> None:
    """Nothing lost or doubled, the audit adds up, timers fired once, one content under one key."""
    assert not rung.verdict.lost, rung.verdict.lost[:5]
    assert not rung.verdict.doubled, rung.verdict.doubled[:5]
    assert rung.audit["clean"], rung.audit["problems"][:5]
    assert rung.fired, "no deadline passed"
    twice = [each for each, count in rung.fired.items() if count > 1]
    assert not twice, twice[:5]
    assert rung.told, "nobody was told"
    changed = [key for key, contents in rung.told.items() if len(contents) > 1]
    assert not changed, changed[:5]
