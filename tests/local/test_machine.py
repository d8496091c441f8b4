"""Disk, memory, ports and accounts: what is missing is said in one sentence."""

import socket
import tempfile
from pathlib import Path

import pytest

from klingel_local import machine
from klingel_local.errors import MissingError
from klingel_local.machine import Account


def test_too_little_disk_is_named_with_both_figures(tmp_path):
    with pytest.raises(MissingError) as caught:
        machine.require_disk(tmp_path, 10**18, "Fetching Kafka")
    sentence = str(caught.value)
    assert sentence.startswith(f"Fetching Kafka needs 1,000,000,000,000 MB free in {tmp_path}")
    machine.require_disk(tmp_path, 1, "Fetching Kafka")


def test_available_memory_counts_free_swap():
    text = "MemTotal: 9000 kB\nMemAvailable:   2000 kB\nSwapFree:  100 kB\nHugePages_Total: 0\n"
    assert machine.available_memory(text) == 2100 << 10
    assert machine.available_memory("MemTotal: 1 kB\n") is None
    assert machine.available_memory("") is None


def test_ports_are_free_distinct_and_outside_of_the_outgoing_range():
    ports = machine.free_ports("one", 4)
    assert len(set(ports)) == 4
    assert all(20_000 <= port < 32_000 for port in ports)
    assert all(machine.is_free(port) for port in ports)


def test_instances_begin_at_different_places():
    assert machine.free_ports("one", 4) != machine.free_ports("two", 4)


def test_a_taken_port_is_passed_over():
    first = machine.free_ports("three", 1)[0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert not machine.is_free(first)
        assert first not in machine.free_ports("three", 4)


def test_no_ports_left_is_named(monkeypatch):
    monkeypatch.setattr(machine, "is_free", lambda port: port == 20_001)
    with pytest.raises(MissingError, match="no 2 free ports"):
        machine.free_ports("x", 2)


@pytest.fixture
def open_folder():
    """Give a folder that others may enter; pytest's own is closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_closed_folder_on_the_way_keeps_an_account_out(open_folder):
    inner = open_folder / "a" / "b"
    machine.make_enterable(inner, open_folder)
    stranger = Account("stranger", 2**31 - 7, 2**31 - 7)
    assert machine.can_enter(stranger, inner)
    assert machine.can_enter(stranger, inner / "not" / "there")
    inner.parent.chmod(0o700)
    assert not machine.can_enter(stranger, inner)
    owner = Account("owner", inner.stat().st_uid, 0)
    assert machine.can_enter(owner, inner)


def test_ordinary_users_start_servers_as_themselves(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert machine.unprivileged_account() is None
    assert machine.identity_of(None) == {}


def test_root_starts_elasticsearch_as_nobody(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    account = machine.unprivileged_account()
    assert account is not None
    assert account.uid != 0
    identity = machine.identity_of(account)
    assert identity == {"user": account.uid, "group": account.gid, "extra_groups": []}


def test_root_without_nobody_is_told_so(monkeypatch):
    def none(name):
        raise KeyError(name)

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("pwd.getpwnam", none)
    with pytest.raises(MissingError, match="run this as an ordinary user"):
        machine.unprivileged_account()
