"""The real Kafka and Elasticsearch with security on, and users in them."""

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient, ScramMechanism, UserScramCredentialUpsertion

from klingel.contracts.access import LAG_READER, principals
from klingel.contracts.connection import connection
from klingel.contracts.topics import topic_specs
from klingel.settings import KafkaSettings
from klingel_local import LocalStack
from klingel_local.certificates import Authority
from klingel_local.errors import MissingError
from klingel_local.kafka import ADMIN

from ..absent import absent
from ..conftest import ROOT


@dataclass(frozen=True, slots=True)
class Secured:
    """Where both are, and who may do everything there.

    Attributes:
        bootstrap: Kafka, for names with a password.
        ssl_bootstrap: Kafka, for certificates.
        authority: who vouches for Kafka, its clients and Elasticsearch.
        elasticsearch: address of Elasticsearch, which encrypts.
        elastic: its user and password.
    """

    bootstrap: str
    ssl_bootstrap: str
    authority: Authority
    elasticsearch: str
    elastic: tuple[str, str]

    def with_certificate(self, name: str, **more: str) -> KafkaSettings:
        """Return Kafka's settings of somebody who shows a certificate."""
        certificate, key = self.authority.issue(name)
        return KafkaSettings.model_validate(
            {
                "bootstrap": self.ssl_bootstrap,
                "security_protocol": "SSL",
                "ssl_cafile": self.authority.file,
                "ssl_certfile": certificate,
                "ssl_keyfile": key,
                **more,
            }
        )

    def with_password(self, name: str, password: str, **more: str) -> KafkaSettings:
        """Return Kafka's settings of somebody with a password."""
        return KafkaSettings.model_validate(
            {
                "bootstrap": self.bootstrap,
                "security_protocol": "SASL_SSL",
                "ssl_cafile": self.authority.file,
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_username": name,
                "sasl_password": password,
                **more,
            }
        )


@pytest.fixture(scope="session")
def secured() -> Iterator[Secured]:
    """The stack with security on, started once a run; TEST_SECURED names the folder of one that runs."""
    running = os.environ.get("TEST_SECURED")
    stack = LocalStack(running or ROOT / ".klingel" / "secured", security=True, kafka_security=True)
    if not running:
        stack.wipe()
        try:
            stack.up()
        except MissingError as error:
            absent(str(error))
    described = json.loads((stack.folder / "stack.json").read_text(encoding="utf-8"))
    kafka, elasticsearch = described["kafka"], described["elasticsearch"]
    try:
        yield Secured(
            kafka["bootstrap"],
            kafka["ssl_bootstrap"],
            Authority(Path(kafka["tls"])),
            elasticsearch["url"],
            (elasticsearch["user"], elasticsearch["password"]),
        )
    finally:
        if not running:
            stack.down()


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment in the secured stack: its prefixes, and the passwords of its users.

    Attributes:
        secured: where.
        prefix: of its topics, groups and indices.
        passwords: of users, by principal.
    """

    secured: Secured
    prefix: str
    passwords: dict[str, str]

    @property
    def names(self) -> dict[str, str]:
        """Prefixes, as settings."""
        return {"topic_prefix": self.prefix, "group_prefix": f"{self.prefix}g-"}

    def user(self, principal: str) -> str:
        """Return the name of a principal's user."""
        return self.prefix + principal

    def kafka(self, principal: str) -> KafkaSettings:
        """Return Kafka's settings of a principal."""
        return self.secured.with_password(
            self.user(principal), self.passwords[principal], **self.names
        )

    def administrator(self) -> KafkaSettings:
        """Return Kafka's settings of whoever may do everything."""
        return self.secured.with_certificate(ADMIN, **self.names)


def environment(settings: KafkaSettings) -> dict[str, str]:
    """Return settings as variables, secrets in clear: for a process of this test."""
    told = settings.model_dump(exclude_defaults=True)
    clear = {
        name: value.get_secret_value() if name in {"sasl_password", "ssl_key_password"} else value
        for name, value in told.items()
    }
    return {f"KLINGEL_KAFKA__{name.upper()}": str(value) for name, value in clear.items()}


@pytest.fixture(scope="module")
def deployment(secured: Secured) -> Deployment:
    """A deployment of this file's own, with users and without topics or rights."""
    prefix = f"s{uuid.uuid4().hex[:8]}-"
    passwords = {each: uuid.uuid4().hex for each in (*principals(topic_specs()), LAG_READER)}
    made = Deployment(secured, prefix, passwords)
    client = KafkaAdminClient(**connection(made.administrator()))
    try:
        done = client.alter_user_scram_credentials(
            [
                UserScramCredentialUpsertion(
                    made.user(each), ScramMechanism.SCRAM_SHA_512, password, iterations=4096
                )
                for each, password in passwords.items()
            ]
        )
        assert not any(done.values()), done
    finally:
        client.close()
    return made
