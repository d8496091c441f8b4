"""An instance remembers its ports, its cluster id and its password, readable by its owner only."""

import json
import socket
import threading
from pathlib import Path

import pytest

from klingel_local import instance
from klingel_local.errors import LocalStackError


@pytest.fixture
def known(tmp_path):
    return instance.new_instance(tmp_path, "9", tmp_path / "elasticsearch-9", es_security=True)


def test_a_new_instance_has_five_ports_a_cluster_id_and_a_password(known):
    ports = {
        known.kafka_port,
        known.controller_port,
        known.elasticsearch_port,
        known.transport_port,
        known.ssl_port,
    }
    assert len(ports) == 5
    assert len(known.cluster_id) == 22
    assert not known.cluster_id.startswith("-")
    assert len(known.password) >= 24
    assert known.password not in repr(known)


def test_what_is_remembered_is_read_back_and_private(known, tmp_path):
    instance.remember(tmp_path, known)
    assert instance.read_instance(tmp_path) == known
    assert (tmp_path / "instance.json").stat().st_mode & 0o777 == 0o600
    instance.forget(tmp_path)
    assert instance.read_instance(tmp_path) is None


def test_the_memory_of_an_older_version_is_read_and_given_a_port(known, tmp_path):
    instance.remember(tmp_path, known)
    file = tmp_path / "instance.json"
    older = json.loads(file.read_text())
    del older["ssl_port"], older["kafka_security"]
    file.write_text(json.dumps(older))
    read = instance.read_instance(tmp_path)
    assert read is not None
    assert not read.kafka_security
    moved = instance.move_taken_ports(tmp_path, read, kafka_down=True, elasticsearch_down=False)
    assert moved.ssl_port
    assert moved.ssl_port not in {read.kafka_port, read.controller_port, read.elasticsearch_port}


@pytest.mark.parametrize("content", ["", "[]", '{"kafka_port": 1}', '{"unknown": 1}'])
def test_a_damaged_memory_is_named_with_the_way_out(tmp_path, content):
    (tmp_path / "instance.json").write_text(content)
    with pytest.raises(LocalStackError, match="is damaged: run `wipe`, then `up` again"):
        instance.read_instance(tmp_path)


def test_writing_from_many_threads_leaves_one_whole_file(tmp_path):
    path = tmp_path / "stack.json"
    threads = [
        threading.Thread(target=instance.write_private, args=(path, {"writer": number}))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert json.loads(path.read_text())["writer"] in range(16)
    assert list(tmp_path.iterdir()) == [path]


def test_a_taken_port_is_replaced_and_the_others_are_kept(known, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", known.elasticsearch_port))
        taken.listen()
        moved = instance.move_taken_ports(tmp_path, known, kafka_down=True, elasticsearch_down=True)
        running = instance.move_taken_ports(
            tmp_path, known, kafka_down=True, elasticsearch_down=False
        )
    assert running == known
    assert moved.elasticsearch_port != known.elasticsearch_port
    assert moved.kafka_port == known.kafka_port
    assert moved.transport_port == known.transport_port
    ports = {
        moved.kafka_port,
        moved.controller_port,
        moved.elasticsearch_port,
        moved.transport_port,
    }
    assert len(ports) == 4


def test_names_differ_by_folder_and_hold_no_path():
    one, two = instance.instance_name(Path("/a b/c")), instance.instance_name(Path("/a b/d"))
    assert one != two
    assert one.isalnum()
