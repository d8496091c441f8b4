"""Clients of kafka-python that reach nobody."""

import subprocess
import sys

TRIES = """
import threading
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError
from klingel.contracts.connection import opened

for build in (KafkaConsumer, KafkaProducer, KafkaAdminClient):
    try:
        opened(build, bootstrap_servers="127.0.0.1:9", client_id="alone", bootstrap_timeout_ms=200)
    except KafkaError:
        print(build.__name__, [each.name for each in threading.enumerate()])
"""


def test_a_client_that_reaches_nobody_leaves_no_thread() -> None:
    """Kafka away for an hour would be a hundred threads that never end.

    In a process of its own: the library leaves sockets of refused connections to the collector.
    """
    ran = subprocess.run([sys.executable, "-c", TRIES], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        f"{build} ['MainThread']"
        for build in ("KafkaConsumer", "KafkaProducer", "KafkaAdminClient")
    ]
