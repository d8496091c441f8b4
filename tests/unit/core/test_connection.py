"""Settings of Kafka as client libraries name them."""

import ssl
from pathlib import Path

import pytest
from pydantic import SecretStr

from klingel.contracts.connection import connection
from klingel.errors import ConfigurationError
from klingel.settings import KafkaSettings
from klingel_local.certificates import Authority

from ...certificates import authority_in


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return authority_in(tmp_path_factory.mktemp("authority"))


def test_without_a_credential_addresses_and_transport_are_all() -> None:
    assert connection(KafkaSettings(bootstrap="a:1,b:2")) == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "PLAINTEXT",
    }


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


def test_the_brokers_name_is_proved_whoever_connects(authority) -> None:
    context = connection(KafkaSettings(security_protocol="SSL", ssl_cafile=authority.file))[
        "ssl_context"
    ]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert [each["subject"] for each in context.get_ca_certs()] == [
        ((("commonName", "tests"),),)
    ]  # nobody else is trusted, not even the system's own


@pytest.mark.parametrize("password", [None, "canary"])
def test_our_own_certificate_is_loaded_with_its_key(authority, password) -> None:
    certificate, key = authority.issue(f"locked-by-{password}", password=password)
    kafka = KafkaSettings(
        security_protocol="SSL",
        ssl_cafile=authority.file,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_key_password=None if password is None else SecretStr(password),
    )
    assert isinstance(connection(kafka)["ssl_context"], ssl.SSLContext)


@pytest.mark.parametrize("password", [None, "", "wrong-canary"])
def test_a_key_that_does_not_open_is_one_sentence_without_its_password(authority, password) -> None:
    """And never a question at the terminal."""
    certificate, key = authority.issue("care", password="right-canary")
    kafka = KafkaSettings(
        security_protocol="SSL",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_key_password=None if password is None else SecretStr(password),
    )
    with pytest.raises(ConfigurationError, match="KLINGEL_KAFKA__SSL_CERTFILE") as told:
        connection(kafka)
    assert "canary" not in str(told.value)


def test_a_file_that_is_exchanged_later_on_is_no_trouble(authority) -> None:
    """Whoever renews it restarts the process; until then it connects as it did."""
    certificate, key = authority.issue("exchanged")
    kafka = KafkaSettings(security_protocol="SSL", ssl_certfile=certificate, ssl_keyfile=key)
    before = connection(kafka)["ssl_context"]
    certificate.write_text("half of it")
    assert connection(kafka)["ssl_context"] is before


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_cannot_be_read_is_one_sentence(tmp_path: Path, content) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    kafka = KafkaSettings(security_protocol="SSL", ssl_cafile=file)
    with pytest.raises(ConfigurationError, match=r"^KLINGEL_KAFKA__SSL_CAFILE: the file cannot"):
        connection(kafka)
