"""Processes are ours by their marker, not by a remembered number."""

import os
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from klingel_local import processes
from klingel_local.errors import StartError

SLEEPER = "import signal; signal.pause()"
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('armed', flush=True)\n"
    "while True: signal.pause()"
)


@pytest.fixture
def mark():
    mark = processes.marker("test", uuid.uuid4().hex)
    yield mark
    processes.kill(mark)


def start(mark, tmp_path, code=SLEEPER):
    processes.spawn(
        [sys.executable, "-c", code, mark], tmp_path / "log", tmp_path, dict(os.environ)
    )


def wait_for_log(tmp_path, text):
    """Wait until a started process has written something, at most 20 s."""
    poll, log = threading.Event(), tmp_path / "log"
    for _ in range(1000):
        if text in log.read_text():
            return
        poll.wait(0.02)
    raise AssertionError(f"{text!r} was never written")


def test_a_spawned_process_is_found_detached_and_logs_to_its_file(mark, tmp_path):
    start(mark, tmp_path, f"print('hello', flush=True); {SLEEPER}")
    wait_for_log(tmp_path, "hello")
    (process,) = processes.find(mark)
    assert os.getsid(process.pid) != os.getsid(0)
    assert processes.lives(process)
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)


def test_a_process_with_another_marker_is_not_ours(mark, tmp_path):
    start(mark, tmp_path)
    assert processes.find(mark + "0") == []
    assert processes.find(mark[:-1]) == []
    assert len(processes.find(mark)) == 1


def test_the_eldest_comes_first(mark, tmp_path):
    start(mark, tmp_path)
    first = processes.find(mark)[0]
    start(mark, tmp_path)
    family = processes.find(mark)
    assert len(family) == 2
    assert family[0] == first


def test_terminate_ends_a_process_and_a_second_time_finds_nothing(mark, tmp_path):
    start(mark, tmp_path)
    (process,) = processes.find(mark)
    assert processes.terminate(mark, 20)
    assert not processes.lives(process)
    assert processes.terminate(mark, 0)


def test_a_frozen_process_is_woken_to_end(mark, tmp_path):
    start(mark, tmp_path)
    (process,) = processes.find(mark)
    os.kill(process.pid, signal.SIGSTOP)
    assert processes.terminate(mark, 20)


def test_one_that_does_not_listen_is_reported_and_then_killed(mark, tmp_path):
    start(mark, tmp_path, STUBBORN)
    wait_for_log(tmp_path, "armed")
    assert not processes.terminate(mark, 0.1)
    processes.kill(mark)
    assert processes.find(mark) == []


def test_a_number_that_another_process_has_by_now_is_not_alive():
    own = processes.Process(os.getpid(), started=1)
    assert not processes.lives(own)


def test_an_ended_process_that_nobody_waited_for_is_not_alive(mark):
    with subprocess.Popen([sys.executable, "-c", SLEEPER, mark]) as child:
        gone = threading.Event()
        for _ in range(1000):
            if family := processes.find(mark):
                break
            gone.wait(0.02)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{child.pid}").exists() or sys.platform != "linux"
        assert processes.find(mark) == []
        assert not processes.lives(family[0])


def test_a_command_that_cannot_start_is_named(tmp_path):
    with pytest.raises(StartError, match="could not be started"):
        processes.spawn(["x"], tmp_path / "log", tmp_path / "absent", {})


@pytest.mark.parametrize(
    ("elapsed", "seconds"),
    [("00:05", 5), ("02:05", 125), ("01:00:00", 3600), ("2-01:00:01", 176_401)],
)
def test_running_times_of_ps(elapsed, seconds):
    assert processes.elapsed_seconds(elapsed) == seconds
