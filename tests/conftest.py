"""What every suite shares: the real stack, started once a run, and what a run prints."""

import json
import os
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from kafka.admin import KafkaAdminClient, NewTopic

from klingel.contracts.topics import topic_specs
from klingel_local import LocalStack

from .absent import absent

ROOT = Path(__file__).resolve().parents[1]

# A busy machine is no failure: examples have no time limit of their own.
settings.register_profile(
    "klingel", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("klingel")
PARTITIONS = 4


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        absent("the real data (../shared/data) are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def stack() -> Iterator[dict[str, str]]:
    """Addresses of the real Kafka and Elasticsearch.

    One stack a run, in a folder of its own; TEST_STACK names the `stack.json` of one
    that runs already, for those who write tests.
    """
    running = os.environ.get("TEST_STACK")
    if running:
        data = json.loads(Path(running).read_text(encoding="utf-8"))
        yield {"kafka": data["kafka"]["bootstrap"], "elasticsearch": data["elasticsearch"]["url"]}
        return
    started = LocalStack(ROOT / ".klingel" / "test")
    started.wipe()
    started.up()
    try:
        yield {"kafka": started.bootstrap, "elasticsearch": started.elasticsearch_url}
    finally:
        started.down()


@pytest.fixture(scope="session")
def kafka_bootstrap(stack: dict[str, str]) -> str:
    """`host:port` of the real Kafka."""
    return stack["kafka"]


@pytest.fixture(scope="session")
def elasticsearch_url(stack: dict[str, str]) -> str:
    """Address of the real Elasticsearch."""
    return stack["elasticsearch"]


@pytest.fixture
def topic_prefix(kafka_bootstrap: str) -> Iterator[str]:
    """A prefix of this test's own, under which every topic of klingel exists."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    names = []
    topics = []
    for spec in topic_specs().values():
        names.append(prefix + spec.name)
        topics.append(
            NewTopic(
                name=names[-1],
                num_partitions=spec.partitions or PARTITIONS,
                replication_factor=1,
                topic_configs=spec.config(),
            )
        )
    try:
        admin.create_topics(topics)
        _await_leaders(admin, names)
        yield prefix
        admin.delete_topics(names)
    finally:
        admin.close()


def _await_leaders(admin: KafkaAdminClient, names: list[str]) -> None:
    """A topic is created before it has leaders; a client that comes in between waits for long."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = admin.describe_topics(names)
        if all(
            topic["partitions"] and all(part["leader_id"] >= 0 for part in topic["partitions"])
            for topic in found
        ):
            return
    pytest.fail("the topics have no leaders after 30 s")


@pytest.fixture
def index_prefix() -> str:
    """A prefix of this test's own for indices."""
    return f"t{uuid.uuid4().hex[:8]}-"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the fault tests."""
    parser.addoption("--long-faults", action="store_true", help="60 kills, 30,000 events")
    parser.addoption("--fault-seed", type=int, default=0, help="repeat a run of the fault tests")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how long each suite took."""
    shares: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                shares["/".join(report.nodeid.split("/")[:2])] += report.duration
    if shares:
        terminalreporter.section("seconds by suite")
        for suite, seconds in sorted(shares.items(), key=lambda share: -share[1]):
            terminalreporter.write_line(f"{seconds:8.1f}  {suite}")
