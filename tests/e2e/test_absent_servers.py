"""Started before their servers, services wait, say for what, and go on by themselves."""

import json
from pathlib import Path

import pytest

from klingel_cli.demo.processes import Fleet, until
from klingel_cli.demo.rehearsal import brand_file
from klingel_local import LocalStack

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("understand", "care", "indexer", "gateway")
PATIENCE_SECONDS = 120.0


def _waits_for(fleet: Fleet, name: str) -> str:
    """Return what a service last said that it waits for and why, empty when it said nothing."""
    told = [
        f"{line['waiting_for']} {line.get('reason', '')}"
        for line in fleet.lines(name)
        if line.get("waiting_for")
    ]
    return told[-1].lower() if told else ""


@pytest.mark.servers
def test_services_wait_for_their_servers_and_go_on(tmp_path: Path) -> None:
    """Nothing runs at first; then Kafka and Elasticsearch come up, and everything is ready."""
    stack = LocalStack(ROOT / ".klingel" / "absent")
    stack.wipe()
    stack.prepare()
    try:
        with Fleet(stack, tmp_path) as fleet:
            for name in SERVICES:
                fleet.start(name)
            for name in SERVICES:
                assert until(
                    lambda name=name: (
                        "kafka" in _waits_for(fleet, f"{name}-0")
                        or "elasticsearch" in _waits_for(fleet, f"{name}-0")
                    ),
                    PATIENCE_SECONDS,
                ), f"{name} does not say what it waits for"
                assert fleet[f"{name}-0"].running
            stack.up()
            fleet.klingel("topics", "apply")
            fleet.klingel("index", "apply")
            fleet.klingel("config", "apply", str(brand_file()))
            for name in SERVICES:
                fleet.wait_ready(f"{name}-0", PATIENCE_SECONDS)
            status, body = fleet.get("care-0", "/readyz")
            assert status == 200
            assert json.loads(body)["partitions"] == [0, 1, 2, 3]
    finally:
        stack.wipe()
