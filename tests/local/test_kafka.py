"""Kafka's configuration, and the question whether a broker serves."""

import socket
import struct
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from klingel_local.kafka import KafkaConfig, count_brokers, server_properties

CONFIG = KafkaConfig(Path("/data/my kafka"), 20_001, 20_002, "a" * 22, "384m")


def properties(config=CONFIG):
    lines = server_properties(config).splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_one_node_listens_on_this_machine_only():
    found = properties()
    assert found["listeners"] == "PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002"
    assert found["advertised.listeners"] == "PLAINTEXT://127.0.0.1:20001"
    assert found["controller.quorum.voters"] == "1@127.0.0.1:20002"
    assert found["log.dirs"] == "/data/my kafka/data"


def test_one_that_asks_who_is_there_has_no_door_without_a_question():
    found = properties(replace(CONFIG, ssl_port=20_003))
    doors = dict(each.split("://") for each in found["listeners"].split(","))
    assert doors == {
        "SASL_SSL": "127.0.0.1:20001",
        "SSL": "127.0.0.1:20003",
        "CONTROLLER": "127.0.0.1:20002",
    }
    assert found["listener.security.protocol.map"] == "CONTROLLER:SSL,SSL:SSL,SASL_SSL:SASL_SSL"
    assert found["listener.name.ssl.ssl.client.auth"] == "required"
    assert found["listener.name.controller.ssl.client.auth"] == "required"
    assert found["allow.everyone.if.no.acl.found"] == "false"
    assert found["authorizer.class.name"].endswith("StandardAuthorizer")
    assert "ANONYMOUS" not in found["super.users"]


def test_topics_are_never_made_by_accident_and_internal_ones_have_one_replica():
    found = properties()
    assert found["auto.create.topics.enable"] == "false"
    assert found["num.partitions"] == "4"
    assert found["offsets.topic.replication.factor"] == "1"
    assert found["transaction.state.log.replication.factor"] == "1"
    assert found["group.initial.rebalance.delay.ms"] == "0"
    assert found["group.min.session.timeout.ms"] == "1000"
    assert found["transaction.abort.timed.out.transaction.cleanup.interval.ms"] == "1000"
    assert found["offsets.load.buffer.size"] == "65536"  # see docs/gotchas.md, a killed broker
    assert "message.max.bytes" not in found


@pytest.fixture
def answering():
    """Give a function that answers one connection with bytes, and returns its port."""
    servers, threads = [], []

    def serve(answer):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def talk():
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        threads.append(threading.Thread(target=talk))
        threads[-1].start()
        return server.getsockname()[1]

    yield serve
    for thread in threads:
        thread.join(10)
    for server in servers:
        server.close()


@pytest.mark.parametrize("brokers", [0, 1])
def test_brokers_are_counted(answering, brokers):
    body = struct.pack(">ii", 1, brokers) + b"rest"
    assert count_brokers("127.0.0.1", answering(struct.pack(">i", len(body)) + body)) == brokers


@pytest.mark.parametrize("answer", [b"", b"\0\0", struct.pack(">i", 50) + b"short"])
def test_an_answer_cut_short_is_a_broken_connection(answering, answer):
    with pytest.raises(ConnectionError):
        count_brokers("127.0.0.1", answering(answer))
