"""Server processes that outlive the command that started them, found again by a marker.

Every process of an instance carries an argument that names the instance and the server. That
argument, not a remembered number, says which processes are ours: a number can be stale, belong to
somebody else by now, or be missing for a child that outlived its parent.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from klingel_local.errors import StartError
from klingel_local.machine import Account, identity_of

_POLL_SECONDS = 0.02
_KILL_SECONDS = 10.0
# Places in /proc/<pid>/stat behind the command's name, and the states of a process that has ended.
_STATE, _THREADS, _STARTED = 0, 17, 19
_DEAD = frozenset({"Z", "X"})
# Starts the command in the background, prints its number and ends at once, so that the command
# belongs to nobody here: it never becomes a zombie of a long-lived caller.
_DETACH = '"$@" >&2 & echo $!'


@dataclass(frozen=True, slots=True)
class Process:
    """A running process.

    Attributes:
        pid: Its number.
        started: Start time in the system's own unit, to order processes by age.
    """

    pid: int
    started: int


def marker(server: str, instance: str) -> str:
    """Return the Java argument that marks a server of an instance."""
    return f"-Dklingel.instance={server}-{instance}"


def spawn(
    command: Sequence[str],
    log: Path,
    cwd: Path,
    env: Mapping[str, str],
    account: Account | None = None,
) -> None:
    """Start a command in a session of its own, its output appended to a log.

    Raises:
        StartError: the command could not be started.
    """
    with log.open("ab") as sink:
        try:
            subprocess.run(  # noqa: S603 - a command that the callers put together themselves
                ["/bin/sh", "-c", _DETACH, "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
                start_new_session=True,
                check=True,
                cwd=cwd,
                env=env,
                **identity_of(account),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise StartError(f"{command[0]} could not be started ({error}).") from error


def find(mark: str) -> list[Process]:
    """Return the living processes that carry a marker, the oldest first."""
    proc = Path("/proc")
    found = _from_proc(proc, mark) if (proc / "self" / "stat").exists() else _from_ps(mark)
    return sorted(found, key=lambda process: (process.started, process.pid))


def terminate(mark: str, seconds: float) -> bool:
    """Ask the processes of a marker to end, and wait.

    The eldest is asked: a launcher passes it on, and a server that lost its launcher is eldest
    itself. A frozen process is woken, for it could not hear.

    Returns:
        Whether all ended in time.
    """
    family = find(mark)
    if family:
        _signal(family[0], signal.SIGTERM)
    for process in family:
        _signal(process, signal.SIGCONT)
    return _wait_until_gone(mark, family, seconds)


def kill(mark: str) -> None:
    """End the processes of a marker at once, and wait until they are gone.

    Raises:
        StartError: one of them cannot be ended.
    """
    deadline = time.monotonic() + _KILL_SECONDS
    while family := find(mark):
        for process in family:
            _signal(process, signal.SIGKILL)
        if not _wait_until_gone(mark, family, 1.0) and time.monotonic() > deadline:
            raise StartError(f"Process {family[0].pid} does not end, even when killed.")


def lives(process: Process) -> bool:
    """Tell whether a process still holds anything, such as its ports.

    An ending process loses its arguments, and with them its marker, before its files are closed.
    Only its number and start time follow it to the end.
    """
    folder = Path("/proc") / str(process.pid)
    if not Path("/proc/self/stat").exists():
        return any(pid == process.pid for pid, _, _ in _list_by_ps())
    try:
        fields = _stat_fields(folder)
    except OSError:
        return False
    # A dead main thread waits for the others: the files are open until the last one has gone.
    dead = fields[_STATE] in _DEAD and int(fields[_THREADS]) <= 1
    return int(fields[_STARTED]) == process.started and not dead


def _signal(process: Process, number: int) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return


def _wait_until_gone(mark: str, family: Sequence[Process], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while find(mark) or any(lives(process) for process in family):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _stat_fields(folder: Path) -> list[str]:
    # The command's name stands in brackets and may hold blanks: read behind it.
    return (folder / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()


def _from_proc(proc: Path, mark: str) -> Iterator[Process]:
    needle = mark.encode()
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if needle not in (folder / "cmdline").read_bytes().split(b"\0"):
                continue
            fields = _stat_fields(folder)
        except OSError:
            continue
        if fields[_STATE] not in _DEAD:
            yield Process(int(folder.name), int(fields[_STARTED]))


def _from_ps(mark: str) -> Iterator[Process]:
    for pid, elapsed, command in _list_by_ps():
        if mark in command.split():
            yield Process(pid, -elapsed_seconds(elapsed))


def _list_by_ps() -> Iterator[tuple[int, str, str]]:
    """Yield number, running time and command of every living process, where there is no /proc."""
    listing = subprocess.run(
        ["/bin/ps", "-axww", "-o", "pid=,stat=,etime=,command="],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    for line in listing.splitlines():
        pid, state, elapsed, command = [*line.split(None, 3), ""][:4]
        if not state.startswith("Z"):
            yield int(pid), elapsed, command


def elapsed_seconds(elapsed: str) -> int:
    """Read a running time as `ps` writes it, `[[days-]hours:]minutes:seconds`."""
    days, _, clock = elapsed.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part)
    return int(days or 0) * 86_400 + seconds
