"""What this machine offers: disk, memory, ports, the account that servers run as."""

import os
import pwd
import shutil
import socket
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from klingel_local.errors import MissingError

# Below the range from which Linux, macOS and Windows take ports of outgoing connections: a client
# that keeps knocking at a stopped server can else be given that very port, and talk to itself.
_FIRST_PORT = 20_000
_LAST_PORT = 32_000
_EXECUTE_BY_OTHERS = 0o001


@dataclass(frozen=True, slots=True)
class Account:
    """A user that a server is started as."""

    name: str
    uid: int
    gid: int


class Identity(TypedDict, total=False):
    """The arguments of `subprocess` that start a command as another user."""

    user: int
    group: int
    extra_groups: list[str | int]


def identity_of(account: Account | None) -> Identity:
    """Return how to start a command as an account; nothing for the user who starts it."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def unprivileged_account() -> Account | None:
    """Return the account that takes root's place for Elasticsearch; `None` for ordinary users.

    Raises:
        MissingError: this is root and there is no user `nobody`.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise MissingError(
            "Elasticsearch refuses to run as root and there is no user `nobody`: "
            "run this as an ordinary user."
        ) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def can_enter(account: Account, folder: Path) -> bool:
    """Tell whether an account reaches a folder, judged by the bits for others on the way."""
    for step in (folder, *folder.parents):
        try:
            status = step.stat()
        except FileNotFoundError:
            continue
        if status.st_uid == account.uid:
            continue
        if not status.st_mode & _EXECUTE_BY_OTHERS:
            return False
    return True


def make_enterable(folder: Path, base: Path) -> None:
    """Make a folder below `base` that every account may enter, whatever the umask says."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in (folder, *folder.parents):
        step.chmod(0o755)
        if step == base:
            return


def give_to(account: Account | None, root: Path) -> None:
    """Make an account the owner of a folder and all that is in it; `None` leaves it as it is."""
    if account is None:
        return
    for folder, _, files in os.walk(root):
        os.chown(folder, account.uid, account.gid)
        for name in files:
            os.chown(Path(folder, name), account.uid, account.gid, follow_symlinks=False)


def require_disk(folder: Path, needed: int, purpose: str) -> None:
    """Check that a folder's disk has room.

    Args:
        folder: An existing folder.
        needed: Bytes.
        purpose: What the room is for, as the message says it.

    Raises:
        MissingError: there is less.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MissingError(
            f"{purpose} needs {_megabytes(needed)} free in {folder}, there are {_megabytes(free)}."
        )


def available_memory(meminfo: str) -> int | None:
    """Return the bytes that programs can still take, from the text of `/proc/meminfo`.

    Free swap counts: a server that idles in swap is slow, not dead.
    """
    fields = {}
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        value = rest.split()
        if value and value[0].isdigit():
            fields[name] = int(value[0]) << 10
    if "MemAvailable" not in fields:
        return None
    return fields["MemAvailable"] + fields.get("SwapFree", 0)


def read_available_memory() -> int | None:
    """Return the bytes that programs can still take; `None` where the system does not say."""
    try:
        return available_memory(Path("/proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        return None


def is_free(port: int) -> bool:
    """Tell whether a port of 127.0.0.1 can be listened on, as a Java server would."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(seed: str, count: int) -> list[int]:
    """Choose ports that are free now.

    Args:
        seed: Names the instance; different instances begin the search at different places, so
            that one that is down keeps its ports.
        count: How many.

    Raises:
        MissingError: fewer are free.
    """
    chosen = []
    for port in _candidates(seed):
        if is_free(port):
            chosen.append(port)
            if len(chosen) == count:
                return chosen
    raise MissingError(f"There are no {count} free ports between {_FIRST_PORT} and {_LAST_PORT}.")


def _candidates(seed: str) -> Iterator[int]:
    span = _LAST_PORT - _FIRST_PORT
    start = zlib.crc32(seed.encode()) % span
    for step in range(span):
        yield _FIRST_PORT + (start + step) % span


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
