"""The real servers: started, killed, frozen, restarted and stopped, with their data kept."""

import base64
import http.client
import io
import json
import os
import shutil
import signal
import tempfile
import urllib.parse
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from klingel_local import LocalStack

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def folder():
    """Give a folder that the account of Elasticsearch can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="klingel-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def stack(folder):
    """Give a running stack with security on, small heaps, wiped at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KLINGEL_LOCAL_ES_HEAP", "512m")
        patch.setenv("KLINGEL_LOCAL_KAFKA_HEAP", "256m")
        stack = LocalStack(folder, security=True, say=lambda _: None, out=io.StringIO())
    try:
        stack.up()
        yield stack
    finally:
        stack.wipe()


def ask(stack, method, path, body=None, *, auth=True):
    """Send one request to Elasticsearch; returns status and decoded answer."""
    address = urllib.parse.urlsplit(stack.elasticsearch_url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    headers = {"Content-Type": "application/json"}
    if auth:
        token = base64.b64encode(":".join(stack.elasticsearch_auth).encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    try:
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def create_topic(stack, name):
    admin = KafkaAdminClient(bootstrap_servers=stack.bootstrap)
    try:
        admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        admin.close()


def produce(stack, topic, values):
    producer = KafkaProducer(bootstrap_servers=stack.bootstrap, acks="all")
    try:
        for future in [producer.send(topic, value) for value in values]:
            future.get(60)
    finally:
        producer.close()


def consume(stack, topic, count):
    consumer = KafkaConsumer(bootstrap_servers=stack.bootstrap, consumer_timeout_ms=60_000)
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        return [next(consumer).value for _ in range(count)]
    finally:
        consumer.close()


def test_up_describes_the_stack_in_a_private_file_and_is_idempotent(stack, folder):
    path = folder / "stack.json"
    described = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert described["kafka"] == {"bootstrap": stack.bootstrap, "pid": stack.kafka.pid}
    user, password = stack.elasticsearch_auth
    assert described["elasticsearch"] == {
        "url": stack.elasticsearch_url,
        "version": stack.elasticsearch.version,
        "pid": stack.elasticsearch.pid,
        "user": user,
        "password": password,
    }
    said = []
    again = LocalStack(folder, say=said.append, out=io.StringIO())
    again.up()
    assert said[:2] == ["Kafka is already running.", "Elasticsearch is already running."]
    assert json.loads(path.read_text()) == described


def test_elasticsearch_is_of_its_version_runs_unprivileged_and_asks_for_the_password(stack):
    status, answer = ask(stack, "GET", "/")
    assert status == 200
    assert answer["version"]["number"] == stack.elasticsearch.version
    assert ask(stack, "GET", "/", auth=False)[0] == 401
    if Path("/proc/self/status").exists():
        assert Path(f"/proc/{stack.elasticsearch.pid}").stat().st_uid != 0


def test_documents_outlive_a_kill_of_elasticsearch(stack):
    ask(stack, "PUT", "/kept", {"settings": {"number_of_replicas": 0}})
    assert ask(stack, "PUT", "/kept/_doc/1", {"text": "ring"})[0] == 201
    address, pid = stack.elasticsearch_url, stack.elasticsearch.pid
    stack.elasticsearch.kill()
    assert not stack.elasticsearch.status().running
    with pytest.raises(ConnectionError):
        ask(stack, "GET", "/")
    assert stack.elasticsearch.start()
    assert stack.elasticsearch_url == address
    assert stack.elasticsearch.pid != pid
    assert ask(stack, "GET", "/kept/_doc/1")[1]["_source"] == {"text": "ring"}


def test_acknowledged_records_outlive_a_kill_of_kafka(stack):
    create_topic(stack, "kept")
    values = [b"%d" % number for number in range(1000)]
    produce(stack, "kept", values)
    address = stack.bootstrap
    stack.kafka.kill()
    assert not stack.kafka.running
    assert stack.kafka.start()
    assert stack.bootstrap == address
    assert consume(stack, "kept", 1000) == values


def test_a_frozen_kafka_is_running_but_not_ready_and_still_stops(stack):
    os.kill(stack.kafka.pid, signal.SIGSTOP)
    status = stack.kafka.status()
    assert status.running
    assert not status.ready
    assert stack.kafka.stop()
    assert not stack.kafka.running
    assert not stack.kafka.stop()
    assert stack.kafka.start()
    assert not stack.kafka.start()


def test_down_stops_both_and_up_brings_the_same_addresses_back(stack, folder):
    before = stack.status()
    stack.down()
    status = stack.status()
    assert not status["kafka"]["running"]
    assert not status["elasticsearch"]["running"]
    assert not (folder / "stack.json").exists()
    stack.up()
    after = stack.status()
    assert after["kafka"]["bootstrap"] == before["kafka"]["bootstrap"]
    assert after["elasticsearch"]["url"] == before["elasticsearch"]["url"]
    assert after["kafka"]["ready"]
    assert after["elasticsearch"]["ready"]
