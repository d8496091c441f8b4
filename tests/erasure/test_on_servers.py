"""`klingel erase` against the real Kafka and Elasticsearch, with the services that follow it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from elasticsearch import Elasticsearch

from klingel.settings import KafkaSettings
from klingel_cli.demo.processes import Fleet, until
from klingel_cli.kafka import publish

from ..ringing import generic, ring

pytestmark = pytest.mark.servers

SERVICES = ("understand", "care", "indexer")
ANNA = {"id": "anna", "name": "Anna"}
BRAND = {
    "brand": "nordlicht",
    "name": "Nordlicht",
    "accounts": [{"network": "webhook", "id": "forum:nordlicht-team"}],
    "listening": [{"id": "name", "query": '"nordlicht"'}],
    "queues": [{"id": "first"}],
    "triage": {"open_indirect": True},
}


class House:
    """The services, and what is said to them."""

    def __init__(self, fleet: Fleet, client: Elasticsearch, bootstrap: str) -> None:
        self.fleet = fleet
        self.client = client
        self.kafka = KafkaSettings(bootstrap=bootstrap, topic_prefix=fleet.prefix)

    def say(self, name: str, text: str, **more: Any) -> None:
        """Let somebody ring, now."""
        now = datetime.now(UTC)
        event = generic(name, text, published_at=f"{now:%Y-%m-%dT%H:%M:%S.%fZ}", **more)
        publish(self.kafka, [ring(event, received_at=now)])

    def documents(self, kind: str) -> list[dict[str, Any]]:
        """Return what lies in the indices of a kind."""
        index = f"{self.fleet.prefix}{kind}-*"
        self.client.indices.refresh(index=index)
        hits = self.client.search(index=index, size=100)["hits"]["hits"]
        return [hit["_source"] for hit in hits]

    def customers(self) -> list[str]:
        """Return whose cases there are."""
        return sorted(each["customer_id"] for each in self.documents("cases"))


@pytest.fixture
def house(kafka_bootstrap, elasticsearch_url, topic_prefix, tmp_path) -> Iterator[House]:
    class Servers:
        bootstrap = kafka_bootstrap
        elasticsearch_auth = None

    servers = Servers()
    servers.elasticsearch_url = elasticsearch_url
    settings = {"KLINGEL_ERASURE__KEY": "a key of this test's own"}
    folder = tmp_path / "fleet"
    folder.mkdir()
    file = tmp_path / "nordlicht.yaml"
    file.write_text(yaml.safe_dump(BRAND), encoding="utf-8")
    with (
        Elasticsearch(elasticsearch_url) as client,
        Fleet(servers, folder, topic_prefix, settings) as fleet,
    ):
        fleet.klingel("index", "apply", "--refresh-interval", "1s")
        fleet.klingel("config", "apply", str(file))
        for kind in SERVICES:
            fleet.start(kind)
        for kind in SERVICES:
            fleet.wait_ready(f"{kind}-0")
        yield House(fleet, client, kafka_bootstrap)
        for name in client.indices.get(index=f"{topic_prefix}*"):
            client.indices.delete(index=name)


def test_a_person_goes_everywhere_and_is_heard_afterwards(house):
    house.say("a1", "nordlicht: Geheimes Wort, kein Internet!", author=ANNA)
    house.say("a2", "nordlicht: noch ein Geheimes Wort", author=ANNA)
    house.say("b1", "nordlicht: bei mir geht es auch nicht!", author={"id": "bert"})
    assert until(lambda: len(house.documents("cases")) == 3, 60)
    assert until(lambda: len(house.documents("events")) == 3, 60)
    anna = next(
        f"{each['network']}:{each['author']['id']}"
        for each in house.documents("events")
        if each["author"].get("name") == "Anna"
    )
    looked = json.loads(house.fleet.klingel("erase", "--author", anna, "--dry-run", "--json"))
    assert (looked["objects"], looked["cases"], looked["dry_run"]) == (2, 2, True)
    report = json.loads(house.fleet.klingel("erase", "--author", anna, "--json"))
    assert (report["objects"], report["cases"], report["left"]) == (2, 2, 0)
    assert anna not in json.dumps(report)
    held = json.dumps([house.documents(kind) for kind in ("events", "cases", "case-events")])
    assert not {"Geheimes", "Anna", anna} & {
        word for word in ("Geheimes", "Anna", anna) if word in held
    }
    assert len(house.customers()) == 1
    house.say("a3", "nordlicht: neues Anliegen!", author=ANNA)
    assert until(lambda: anna in house.customers(), 60)
    told = {each.name: each.value for each in house.fleet.metrics("indexer-0")}
    assert told["klingel_deletion_seconds_count"] >= 2
