"""SIGKILL at random moments, and a frozen worker that wakes: nothing lost, nothing doubled."""

import random
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from klingel_cli.demo.processes import Fleet
from klingel_local import LocalStack

from .brewing import ARRIVED, ORDERED, POSTS, present_of, settled
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
    present = present_of(datetime.now(UTC))
    traffic = Traffic(seed % 10_000, recorded, webhooks, present)

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
    assert_same_brewed(calm, storm)


def _ring(ring: Ring, chance: random.Random | None = None, kills: int = 0) -> Rung:
    with closing(ring):
        ring.start()
        if chance is not None:
            roll(ring.fleet)
            ring.disturb(chance, kills)
        else:
            ring.ring_wave()
        return ring.finish()


def roll(fleet: Fleet) -> None:
    """Restart every service in the order of an upgrade, under load; each ends by itself."""
    for name in WORKERS:
        if name != "replay-0":
            assert fleet.stop(name) is None
            fleet.restart(name)
            fleet.wait_ready(name, 120.0)


def assert_same_brewed(calm: Rung, storm: Rung) -> None:
    """The wave was told amid the faults, as one alert and one incident, and nothing else was.

    Which customers are members stands in their cases, which are compared.
    """
    assert storm.disturbed is not None
    begun, ended = storm.disturbed
    (alert,), (incident,) = storm.said.alerts.values(), storm.said.incidents.values()
    for each in (alert["alert_id"], incident["incident_id"]):
        assert begun <= storm.said.raised[each] <= ended, (storm.disturbed, storm.said.raised)
    for ours, theirs, without in (
        (storm.said.alerts, calm.said.alerts, ORDERED),
        (storm.said.incidents, calm.said.incidents, ARRIVED),
    ):
        here, there = settled(ours, without), settled(theirs, without)
        assert here.keys() == there.keys()
        differing = {each: differences(there[each], here[each]) for each in here}
        assert not any(differing.values()), differing
    assert (alert["kind"], alert["topic"], alert["state"]) == ("negative", "outage", "ended")
    assert alert["evidence"]["authors"] == incident["authors"] == POSTS
    assert {"Internet", "Kiel"} <= {each["term"] for each in alert["evidence"]["terms"]}
    members = {name for name, case in storm.cases.items() if case.get("incident")}
    assert len(members) == POSTS
    assert {storm.cases[name]["incident"] for name in members} == {incident["incident_id"]}
    raised = {each for each in storm.said.escalations if each.endswith("|many")}
    assert raised == {each for each in calm.said.escalations if each.endswith("|many")}
    assert len({each.partition("|")[0] for each in raised}) == POSTS, "some case told nobody"


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
    assert not rung.said.twice, rung.said.twice[:5]
    changed = [key for key, contents in rung.told.items() if len(contents) > 1]
    assert not changed, changed[:5]
