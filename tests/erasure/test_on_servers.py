"""`klingel erase` against the real Kafka and Elasticsearch, with the services that follow it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from elasticsearch import Elasticsearch

from klingel.contracts.envelope import Output
from klingel.contracts.suppressions import suppression_output
from klingel.contracts.topics import Topic, topic_specs
from klingel.domain.erasure import Key
from klingel.settings import KafkaSettings
from klingel_cli.demo.processes import Fleet, until
from klingel_cli.kafka import publish, reading

from ..ringing import generic, ring
from ..searching import hits

pytestmark = pytest.mark.servers

SECRET = "a key of this test's own"
KINDS = ("events", "cases", "case-events", "escalations", "alerts", "incidents")
LISTED = {Topic.OBJECT_DIRECTORY, Topic.CONVERSATION_LINKS}
"""Compacted topics that keep ids of erased objects, as a conversation's own record among the cases
does that is named after one: docs/security.md."""
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
        self.objects: list[str] = []

    def say(self, name: str, text: str, **more: Any) -> None:
        """Let somebody ring, now."""
        now = datetime.now(UTC)
        event = generic(name, text, published_at=f"{now:%Y-%m-%dT%H:%M:%S.%fZ}", **more)
        publish(self.kafka, [ring(event, received_at=now)])

    def documents(self, kind: str) -> list[dict[str, Any]]:
        """Return what lies in the indices of a kind."""
        return [hit["_source"] for hit in hits(self.client, f"{self.fleet.prefix}{kind}-*")]

    def say_all(self) -> str:
        """Let Anna and Bert ring, and wait until all is indexed; returns who Anna is."""
        self.say("a1", "nordlicht: Geheimes Wort, kein Internet!", author=ANNA)
        self.say("a2", "nordlicht: noch ein Geheimes Wort", author=ANNA)
        self.say("b1", "nordlicht: bei mir geht es auch nicht!", author={"id": "bert"})
        assert until(lambda: len(self.documents("cases")) == 3, 60)
        assert until(lambda: len(self.documents("events")) == 3, 60)
        posts = [each for each in self.documents("events") if each["author"].get("name") == "Anna"]
        self.objects = sorted(each["object_id"] for each in posts)
        (anna,) = {f"{each['network']}:{each['author']['id']}" for each in posts}
        return anna

    def warn(self, alert: str, incident: str) -> None:
        """Write an alert and an incident, as watch does, with Anna's posts among the examples."""
        events = [f"nordlicht/{each}@0" for each in self.objects]
        records = {
            Topic.ALERTS: {"alert_id": alert, "evidence": {"events": events}},
            Topic.INCIDENTS: {"incident_id": incident, "samples": events, "count": 2, "authors": 1},
        }
        at = datetime.now(UTC).isoformat()
        for topic, told in records.items():
            every = {"brand": "nordlicht", "state": "ended", "revision": 3, "opened_at": at}
            kind = {"kind": "negative", "severity": 3} if topic is Topic.ALERTS else {}
            value = json.dumps({**every, "updated_at": at, **kind, **told}).encode()
            publish(self.kafka, [Output(topic, next(iter(told.values())).encode(), value)])
        assert until(lambda: len(self.documents("alerts") + self.documents("incidents")) == 2, 60)

    def fleet_metric(self, name: str) -> float:
        """Return what the indexer says."""
        return next(each.value for each in self.fleet.metrics("indexer-0") if each.name == name)

    def is_clean(self, anna: str) -> None:
        """Look for whom was erased in every index, and in what Kafka keeps for ever.

        What a compacted topic keeps is the last record of each key; what the others hold goes by
        age, as the report of the erasure and docs/security.md say.
        """
        words = ("Geheimes", "Anna", anna, anna.partition(":")[2], *self.objects)
        for hit in hits(self.client, f"{self.fleet.prefix}*"):
            told = json.dumps(hit["_source"], ensure_ascii=False)
            found = {word for word in words if word in told or word in hit["_id"]}
            allowed = set(self.objects) if hit["_source"].get("change") == "deleted" else set()
            assert found <= allowed, hit["_index"]
        for topic, spec in topic_specs().items():
            if not spec.compacted:
                continue
            for key, value in self.kept(topic).items():
                told = f"{key.decode()} {value.decode()}"
                found = {word for word in words if word in told}
                own = topic is Topic.CASES and json.loads(value)["state"] == "held"
                allowed = set(self.objects) if own or topic in LISTED else set()
                assert found <= allowed, topic

    def kept(self, topic: Topic) -> dict[bytes, bytes]:
        """Return what compaction leaves of a topic."""
        newest: dict[bytes, bytes | None] = {}
        with reading(self.kafka) as log:
            for message in log.read_whole(topic):
                newest[message.key or b""] = message.value
        return {key: value for key, value in newest.items() if value is not None}

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
    settings = {"KLINGEL_ERASURE__KEY": SECRET}
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
    anna = house.say_all()
    house.warn("x-before", "o-1")
    looked = json.loads(house.fleet.klingel("erase", "--author", anna, "--dry-run", "--json"))
    assert (looked["objects"], looked["cases"], looked["dry_run"]) == (2, 2, True)
    report = json.loads(house.fleet.klingel("erase", "--author", anna, "--json"))
    assert (report["objects"], report["cases"], report["left"]) == (2, 2, 0)
    assert report["examples"] == 2
    assert anna not in json.dumps(report)
    assert datetime.fromisoformat(report["complete_at"]) > datetime.now(UTC) + timedelta(days=90)
    assert len(house.customers()) == 1
    house.is_clean(anna)
    house.fleet.klingel("reindex")
    house.is_clean(anna)
    house.say("a3", "nordlicht: neues Anliegen!", author=ANNA)
    assert until(lambda: anna in house.customers(), 60)
    told = {each.name: each.value for each in house.fleet.metrics("indexer-0")}
    assert told["klingel_deletion_seconds_count"] >= 2
    again = json.loads(house.fleet.klingel("erase", "--demanded", "--json"))
    assert again["erased"] == []
    assert anna in house.customers()


def test_whom_a_network_names_goes_from_what_is_indexed_already(house):
    """`understand` wrote the suppression: nothing but a hash tells who is meant."""
    anna = house.say_all()
    asked = datetime.now(UTC)
    record = Key(SECRET).suppression("author", anna, asked)
    publish(house.kafka, [suppression_output(record, "klingel/understand")])
    assert until(lambda: house.fleet_metric("klingel_deletion_oldest_seconds") > 0, 60)
    house.say("a3", "nordlicht: neues Anliegen!", author=ANNA)
    assert until(lambda: "a3" in json.dumps(house.documents("events")), 60)
    report = json.loads(house.fleet.klingel("erase", "--demanded", "--json"))
    (erased,) = report["erased"]
    assert (erased["objects"], erased["left"]) == (2, 0)
    assert erased["subject"] == record.subject
    held = json.dumps([house.documents(kind) for kind in KINDS])
    assert "Geheimes" not in held
    assert "neues Anliegen" in held
    assert anna in house.customers()
    assert until(lambda: house.fleet_metric("klingel_deletion_oldest_seconds") == 0, 60)
    assert json.loads(house.fleet.klingel("erase", "--demanded", "--json"))["erased"] == []
