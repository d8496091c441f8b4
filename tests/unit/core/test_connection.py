"""Settings of Kafka as client libraries name them."""

import ssl

import pytest
from pydantic import SecretStr

from klingel.contracts.connection import connection, tls_context, tls_file
from klingel.settings import KafkaSettings


def test_without_a_credential_addresses_and_transport_are_all() -> None:
    kafka = KafkaSettings(bootstrap="a:1,b:2")
    assert connection(kafka) == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "PLAINTEXT",
    }
    assert tls_file(kafka) == tls_context(kafka) == {}


def test_a_credential_is_given_whole_and_never_shown() -> None:
    kafka = KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="klingel",
        sasl_password=SecretStr("canary"),
    )
    options = connection(kafka)
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("klingel", "canary")
    assert "canary" not in repr(kafka)
    assert isinstance(tls_context(kafka)["ssl_context"], ssl.SSLContext)


def test_the_authority_is_the_one_that_is_named(tmp_path) -> None:
    file = tmp_path / "ca.pem"
    kafka = KafkaSettings(security_protocol="SSL", ssl_cafile=file)
    assert tls_file(kafka) == {"ssl_cafile": str(file)}
    with pytest.raises(OSError, match="No such file"):
        tls_context(kafka)
