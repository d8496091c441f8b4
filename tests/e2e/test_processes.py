"""A fleet starts, watches, kills, freezes, restarts and stops processes."""

import signal
import subprocess
import sys

import pytest

from klingel_cli.demo.processes import FleetError, ending, until
from klingel_local import processes as marked

OPTIONS = ("--events", "50", "--rate", "0")


def test_a_process_is_ready_once_it_answers_and_tells_what_it_did(lone_fleet):
    lone_fleet.start("jetstream", *OPTIONS)
    lone_fleet.wait_ready("jetstream-0", 30)
    assert until(lambda: lone_fleet.said("jetstream-0", "source_finished") is not None, 30)
    assert lone_fleet.said("jetstream-0", "source_finished") == {
        "event": "source_finished",
        "sent": 50,
    }
    assert lone_fleet.get("jetstream-0", "/control/status")[0] == 200
    assert lone_fleet.stop("jetstream-0") is None
    assert lone_fleet.fallen() == []


def test_a_killed_process_starts_again_under_its_name_and_port(lone_fleet):
    first = lone_fleet.start("jetstream", *OPTIONS, "--seed", "3")
    lone_fleet.wait_ready("jetstream-0", 30)
    pid, port = first.process.pid, first.port
    lone_fleet.kill("jetstream-0")
    assert first.process.returncode == -signal.SIGKILL
    assert lone_fleet.fallen() == []  # we asked for it
    again = lone_fleet.restart("jetstream-0")
    lone_fleet.wait_ready("jetstream-0", 30)
    assert again.process.pid != pid
    assert again.port == port
    assert "3" in again.command


@pytest.mark.exhaustive
def test_a_frozen_process_does_not_answer_until_it_is_thawed(lone_fleet):
    lone_fleet.start("jetstream", *OPTIONS)
    lone_fleet.wait_ready("jetstream-0", 30)
    lone_fleet.freeze("jetstream-0")
    assert lone_fleet.readiness("jetstream-0").says == "frozen"
    with pytest.raises(TimeoutError):
        lone_fleet.get("jetstream-0", "/control/status")
    lone_fleet.thaw("jetstream-0")
    lone_fleet.wait_ready("jetstream-0", 30)


def test_a_frozen_process_is_stopped_in_order_too(lone_fleet):
    lone_fleet.start("jetstream", *OPTIONS)
    lone_fleet.wait_ready("jetstream-0", 30)
    lone_fleet.freeze("jetstream-0")
    assert lone_fleet.stop_all() == []
    assert lone_fleet["jetstream-0"].process.returncode == 0


def test_a_process_that_falls_by_itself_is_named_with_its_log(lone_fleet):
    child = lone_fleet.start("jetstream", "--events", "-1")
    assert lone_fleet.wait("jetstream-0", 30) == 2
    assert lone_fleet.fallen() == [child]
    with pytest.raises(FleetError, match=r"jetstream-0 ended with exit code 2 while starting"):
        lone_fleet.wait_ready("jetstream-0", 5)
    assert lone_fleet.stop_all() == [f"jetstream-0 ended with exit code 2: {child.log}"]
    assert "must not be negative" in child.log.read_text(encoding="utf-8")


def test_everything_is_stopped_the_last_one_started_first(lone_fleet):
    for number in range(3):
        lone_fleet.start("jetstream", *OPTIONS, instance=number)
    for number in range(3):
        lone_fleet.wait_ready(f"jetstream-{number}", 30)
    order = []
    assert lone_fleet.stop_all(order.append) == []
    assert order == ["jetstream-2", "jetstream-1", "jetstream-0"]


def test_each_process_has_a_port_and_names_of_its_own(lone_fleet):
    ports = {lone_fleet.start("jetstream", *OPTIONS, instance=n).port for n in range(3)}
    assert len(ports) == 3
    with pytest.raises(FleetError, match="jetstream-1 runs already"):
        lone_fleet.start("jetstream", instance=1)
    with pytest.raises(FleetError, match="there is no process care-0; known are jetstream-0"):
        lone_fleet["care-0"]


def test_a_service_whose_servers_are_away_waits_and_is_not_ready(lone_fleet):
    lone_fleet.start("indexer")
    assert until(lambda: lone_fleet.readiness("indexer-0").says != "starting", 30)
    answer = lone_fleet.readiness("indexer-0")
    assert (answer.ready, answer.says) == (False, "waiting for templates")
    with pytest.raises(FleetError, match=r"is not ready after 0 s \(waiting for templates\)"):
        lone_fleet.wait_ready("indexer-0", 0)
    assert lone_fleet.stop("indexer-0") is None


def test_settings_of_our_own_environment_do_not_reach_the_services(lone_fleet, monkeypatch):
    monkeypatch.setenv("KLINGEL_KAFKA__TOPIC_PREFIX", "somebody-elses-")
    child = lone_fleet.start("indexer")
    assert child.environ["KLINGEL_KAFKA__TOPIC_PREFIX"] == ""
    assert child.environ["KLINGEL_INDEXER__INSTANCE"] == "indexer-0"
    assert "KLINGEL_WEBHOOK_SOURCES" not in child.environ


def test_what_an_earlier_fleet_left_behind_is_found_and_ended(lone_fleet):
    left = subprocess.Popen([sys.executable, lone_fleet.mark, "-c", "input()"], stdin=-1)
    try:
        assert until(lambda: bool(marked.find(lone_fleet.mark)), 10)
        assert lone_fleet.end_survivors() == 1
        assert left.wait(10) == -signal.SIGKILL
    finally:
        left.kill()
        left.communicate()


def test_a_command_that_fails_says_why(lone_fleet, tmp_path):
    with pytest.raises(FleetError, match=r"`klingel config check .*` failed: .*no-such\.yaml"):
        lone_fleet.klingel("config", "check", str(tmp_path / "no-such.yaml"))


@pytest.mark.parametrize(
    ("code", "told"),
    [(None, "runs"), (2, "ended with exit code 2"), (-9, "was ended by SIGKILL")],
)
def test_an_ending_is_told_in_words(code, told):
    assert ending(code) == told
