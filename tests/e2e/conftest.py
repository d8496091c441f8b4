"""Fleets on the shared servers, or on none where a test needs none."""

from types import SimpleNamespace

import pytest

from klingel_cli.demo.index import Index
from klingel_cli.demo.processes import Fleet


@pytest.fixture
def lone_fleet(tmp_path):
    """A fleet whose servers are nowhere: for simulators, and for services that wait."""
    nowhere = SimpleNamespace(
        bootstrap="127.0.0.1:9", elasticsearch_url="http://127.0.0.1:9", elasticsearch_auth=None
    )
    with Fleet(nowhere, tmp_path / "fleet") as fleet:
        fleet.folder.mkdir()
        yield fleet


@pytest.fixture
def servers(kafka_bootstrap, elasticsearch_url):
    """The shared Kafka and Elasticsearch."""
    return SimpleNamespace(
        bootstrap=kafka_bootstrap, elasticsearch_url=elasticsearch_url, elasticsearch_auth=None
    )


@pytest.fixture
def fleet(servers, topic_prefix, tmp_path):
    """A fleet of this test's own topics and indices."""
    with Fleet(servers, tmp_path / "fleet", topic_prefix) as started:
        started.folder.mkdir()
        yield started


@pytest.fixture
def index(servers, fleet):
    """The fleet's indices, deleted at the end."""
    found = Index(servers, fleet.prefix)
    yield found
    found.forget()
    found.close()
