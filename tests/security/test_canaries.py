"""All services at work with security on: each with its own user's rights, no secret in sight (I10)."""

import base64
import json
import secrets
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from elasticsearch import Elasticsearch
from kafka import KafkaConsumer, TopicPartition

from klingel.contracts.connection import connection
from klingel.contracts.topics import Topic
from klingel_cli.demo.processes import KINDS, SOURCE, Fleet, until
from klingel_cli.demo.rehearsal import brand_file
from klingel_cli.main import main
from klingel_simulator.webhook import sign, to_key

from ..searching import hits
from .conftest import Deployment, environment

pytestmark = pytest.mark.servers

PRINCIPALS = {
    "understand": "understand",
    "thread": "understand",
    "care": "care",
    "watch": "watch",
    "indexer": "indexer",
    "notifier": "notifier",
    "gateway": "connectors",
}
"""Process to its user."""
TROUBLED = ("x", "media")
"""Processes of the same user as the gateway, whose network and bucket are away: they tell of errors."""
NOWHERE = "http://127.0.0.1:9"
SECONDS = 60


class House:
    """The processes, and all that must stay secret.

    Args:
        deployment: topics and users.
        folder: of logs and state.
    """

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self.deployment = deployment
        self.client = Elasticsearch(
            deployment.secured.elasticsearch,
            basic_auth=deployment.secured.elastic,
            ca_certs=str(deployment.secured.authority.file),
        )
        self.fleet = Fleet(_Servers(deployment), folder, deployment.prefix)
        self.secrets = {
            f"Kafka's password of {name}": password
            for name, password in deployment.passwords.items()
        }
        self.secrets["the root password of Elasticsearch"] = deployment.secured.elastic[1]
        self.secrets["the secret of the webhook"] = self.fleet._secret
        self.secrets["the key of the form"] = self.fleet._key
        for each in ("SMTP password", "address of a target"):
            self.secrets[each] = f"canary-{secrets.token_hex(8)}"
        signing = base64.b64encode(secrets.token_bytes(24)).decode()
        self.secrets["secret of a target"] = f"whsec_{signing}"
        for each in ("bearer token", "secret key of the bucket"):
            self.secrets[each] = f"canary-{secrets.token_hex(8)}"

    def command(self, *arguments: str) -> str:
        """Run the command as the administrator; return what it said."""
        names = {
            **self.fleet.environ(),
            **environment(self.deployment.administrator()),
            "KLINGEL_KAFKA__PARTITIONS": "1",
            "KLINGEL_ELASTICSEARCH__CA_CERTS": str(self.deployment.secured.authority.file),
            "KLINGEL_ELASTICSEARCH__USERNAME": self.deployment.secured.elastic[0],
            "KLINGEL_ELASTICSEARCH__PASSWORD": self.deployment.secured.elastic[1],
        }
        done = CliRunner(env=names).invoke(main, arguments)
        assert done.exit_code == 0, done.output
        return str(done.output)

    def settings(self, kind: str) -> dict[str, str]:
        """Return what a process gets: its own user, and secrets where it takes some."""
        own = environment(self.deployment.kafka(PRINCIPALS.get(kind, "connectors")))
        if kind == "x":
            own["KLINGEL_X_BEARER_TOKEN"] = self.secrets["bearer token"]
            own["KLINGEL_X_ENDPOINT"] = NOWHERE
        if kind == "media":
            bucket = "KLINGEL_MEDIA_S3_"
            own |= {f"{bucket}ENDPOINT": NOWHERE, f"{bucket}BUCKET": "media"}
            own[f"{bucket}ACCESS_KEY"] = "klingel"
            own[f"{bucket}SECRET_KEY"] = self.secrets["secret key of the bucket"]
        if kind == "indexer":
            key = self.command("index", "key", "indexer", "--days", "1").strip()
            self.secrets["the API key of the indexer"] = key
            own["KLINGEL_ELASTICSEARCH__API_KEY"] = key
            own["KLINGEL_ELASTICSEARCH__CA_CERTS"] = str(self.deployment.secured.authority.file)
        if kind == "notifier":
            own["KLINGEL_NOTIFIER__SMTP_USERNAME"] = "klingel"
            own["KLINGEL_NOTIFIER__SMTP_PASSWORD"] = self.secrets["SMTP password"]
            own["KLINGEL_NOTIFIER__TARGETS__TICKETING_SECRET"] = self.secrets["secret of a target"]
            address = f"http://127.0.0.1:9/{self.secrets['address of a target']}"
            own["KLINGEL_NOTIFIER__TARGETS__TICKETING"] = address
            own["KLINGEL_NOTIFIER__TARGETS__SHIFT_CHAT"] = address
        return own

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Send something to the gateway; return its answer's status."""
        talk = HTTPConnection("127.0.0.1", self.fleet.port_of("gateway-0"), timeout=SECONDS)
        try:
            talk.request("POST", path, body, {"content-type": "application/json", **headers})
            return talk.getresponse().status
        finally:
            talk.close()

    def ring(self, name: str, text: str) -> int:
        """Send one signed event."""
        said = {
            "id": name,
            "network": "forum",
            "author": {"id": "anna"},
            "text": text,
            "published_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "mentions": [{"id": "nordlicht-team"}],
        }
        body, now = json.dumps(said).encode(), int(time.time())
        signature = sign(to_key(self.fleet._secret), name, now, body)
        return self.post(
            f"/webhook/{SOURCE}",
            body,
            {
                "webhook-id": name,
                "webhook-timestamp": str(now),
                "webhook-signature": signature,
            },
        )

    def documents(self, kind: str) -> list[dict[str, Any]]:
        """Return what lies in the indices of a kind."""
        return [hit["_source"] for hit in hits(self.client, f"{self.deployment.prefix}{kind}*")]

    def answers(self, kind: str) -> bool:
        """Whether a process answers at all; not yet while it starts."""
        try:
            return bool(self.fleet.get(f"{kind}-0", "/metrics")[1])
        except OSError:
            return False

    def until_indexed(self, kind: str, wanted: int) -> list[dict[str, Any]]:
        """Return the documents of a kind once there are so many."""
        assert until(lambda: len(self.documents(kind)) >= wanted, SECONDS), kind
        return self.documents(kind)

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Yield everything that lies in every topic."""
        kafka = self.deployment.administrator()
        consumer = KafkaConsumer(**connection(kafka), enable_auto_commit=False)
        try:
            places = [TopicPartition(kafka.topic_prefix + each, 0) for each in Topic]
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places)
            while any(consumer.position(place) < ends[place] for place in places):
                for place, records in consumer.poll(timeout_ms=200).items():
                    for record in records:
                        headers = b" ".join(value for _, value in record.headers)
                        yield (
                            place.topic,
                            b" ".join((record.key or b"", record.value or b"", headers)),
                        )
        finally:
            consumer.close(autocommit=False)


class _Servers:
    """What a fleet wants to know of Kafka and Elasticsearch."""

    elasticsearch_auth = None

    def __init__(self, deployment: Deployment) -> None:
        self.bootstrap = deployment.secured.bootstrap
        self.elasticsearch_url = deployment.secured.elasticsearch


@pytest.fixture(scope="module")
def house(deployment: Deployment, tmp_path_factory) -> Iterator[House]:
    """Every service at work; a complaint came in, and what is wrong, too."""
    made = House(deployment, tmp_path_factory.mktemp("house"))
    for arguments in (
        ("topics", "apply"),
        ("topics", "rights", "--apply", "--users", deployment.prefix),
        ("index", "apply", "--refresh-interval", "1s"),
        ("config", "apply", str(brand_file())),
    ):
        made.command(*arguments)
    with made.fleet:
        for kind in PRINCIPALS:
            made.fleet.start(kind, environ=made.settings(kind))
        for kind in PRINCIPALS:
            made.fleet.wait_ready(f"{kind}-0")
        for kind in TROUBLED:
            made.fleet.start(kind, environ=made.settings(kind))
        assert made.ring("m1", "Nordlicht, seit drei Tagen kein Internet! Was soll das?") == 202
        assert made.post(f"/webhook/{SOURCE}", b"{}", {"webhook-signature": "v1,AAAA"}) == 401
        assert made.ring("m2", "nordlicht: danke fuer nichts, das Internet ist kaputt") == 202
        yield made
    made.client.close()


def test_each_service_does_its_work_with_the_rights_of_its_own_user(house) -> None:
    """From the gateway to the index; nobody was refused anything."""
    house.until_indexed("events-", 2)
    assert house.until_indexed("cases-", 1)
    assert house.until_indexed("case-events-", 1)
    for kind in PRINCIPALS:
        assert house.fleet.readiness(f"{kind}-0").ready
        log = (house.fleet.folder / "logs" / f"{kind}-0.log").read_text(encoding="utf-8")
        assert "AuthorizationFailed" not in log
        assert "not authorized" not in log


def test_certificates_tell_their_days_on_every_service(house) -> None:
    for kind in PRINCIPALS:
        told = {each.name: each.value for each in house.fleet.metrics(f"{kind}-0")}
        assert 300 < told["klingel_certificate_days"] <= 365, kind


def test_no_secret_is_anywhere_but_in_the_environment(house) -> None:
    """Logs, metrics, probes, the process list, every topic, every index."""
    house.until_indexed("events-", 2)
    for kind in TROUBLED:
        assert until(lambda kind=kind: house.answers(kind), SECONDS), kind
    assert until(
        lambda: any(each["connector"] == "x" for each in house.documents("status")), SECONDS
    )
    seen: dict[str, bytes] = {}
    for kind in (*PRINCIPALS, *TROUBLED):
        name = f"{kind}-0"
        seen[f"log of {kind}"] = (house.fleet.folder / "logs" / f"{name}.log").read_bytes()
        for path in ("/metrics", "/healthz", KINDS[kind].probe or "/readyz"):
            seen[f"{path} of {kind}"] = house.fleet.get(name, path)[1]
        process = house.fleet[name].process
        seen[f"arguments of {kind}"] = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        environ = Path(f"/proc/{process.pid}/environ").read_bytes()
        user = PRINCIPALS.get(kind, "connectors")
        assert house.deployment.passwords[user].encode() in environ
    for at, (topic, record) in enumerate(house.records()):
        seen[f"{topic} {at}"] = record
    for kind in ("events-", "cases-", "case-events-", "status", "dead-letters"):
        seen[f"index {kind}"] = json.dumps(house.documents(kind)).encode()
    assert {f"arguments of {kind}" for kind in (*PRINCIPALS, *TROUBLED)} <= set(seen)
    assert any(Topic.STAGE_LEDGER in name for name in seen)
    found = [
        f"{what} in {where}"
        for where, content in seen.items()
        for what, secret in house.secrets.items()
        if secret.encode() in content
    ]
    assert found == []
