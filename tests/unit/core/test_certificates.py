"""Until when certificates are valid, and that the metrics tell it."""

import random
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts.certificates import days_left, ends_of, tell_certificates
from klingel.errors import ConfigurationError
from klingel.metrics import Metrics
from klingel.settings import Settings
from klingel.testing.clock import FixedClock
from klingel_local.certificates import Authority

from ...certificates import authority_in


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return authority_in(tmp_path_factory.mktemp("authority"))


def told_by_openssl(path) -> datetime:
    """Return what another reader says."""
    said = subprocess.run(
        ["openssl", "x509", "-in", path, "-noout", "-enddate"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    return datetime.strptime(said.strip(), "notAfter=%b %d %H:%M:%S %Y %Z").replace(tzinfo=UTC)


@pytest.mark.parametrize("days", [1, 400, 30_000])
def test_the_end_is_what_openssl_says(authority, days) -> None:
    """30,000 days end behind 2050: another notation of time."""
    certificate, _ = authority.issue(f"of-{days}-days", days=days)
    assert ends_of(certificate.read_text()) == [told_by_openssl(certificate)]


def test_a_chain_has_an_end_for_each(authority) -> None:
    certificate, _ = authority.issue("chained", days=7)
    chain = certificate.read_text() + "words between\n" + authority.file.read_text()
    assert ends_of(chain) == [told_by_openssl(certificate), told_by_openssl(authority.file)]


@given(st.text(max_size=400))
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ends_of(text)


def test_a_broken_one_is_refused_or_read_and_never_worse(authority) -> None:
    lines = authority.file.read_text().splitlines()
    chance = random.Random(7)
    for _ in range(300):
        at = chance.randrange(1, len(lines) - 1)
        line = list(lines[at])
        line[chance.randrange(len(line))] = chance.choice("Az09+/=")
        broken = "\n".join([*lines[:at], "".join(line), *lines[at + 1 :]])
        try:
            assert len(ends_of(broken)) == 1
        except ValueError:
            continue


def settings(authority: Authority, certificate, key) -> Settings:
    return Settings.model_validate(
        {
            "kafka": {
                "security_protocol": "SSL",
                "ssl_cafile": authority.file,
                "ssl_certfile": certificate,
                "ssl_keyfile": key,
            }
        }
    )


def test_the_first_to_end_counts(authority) -> None:
    certificate, key = authority.issue("first", days=5)
    now = told_by_openssl(certificate) - timedelta(days=3, hours=12)
    assert days_left(settings(authority, certificate, key), now) == 3.5
    assert days_left(Settings(), now) is None


def test_the_metric_follows_a_renewal_and_says_0_of_what_cannot_be_read(authority) -> None:
    certificate, key = authority.issue("renewed", days=5)
    clock = FixedClock(told_by_openssl(certificate) - timedelta(days=2))
    metrics = tell_certificates(Metrics("tests"), settings(authority, certificate, key), clock)

    def told() -> float:
        metrics.render()
        found = {name: value for name, _, value in metrics.samples()}
        return found["klingel_certificate_days"]

    assert told() == 2
    renewed, _ = authority.issue("renewal", days=20)
    certificate.write_text(renewed.read_text())
    assert 16 < told() < 18
    certificate.unlink()
    assert told() == 0
    with pytest.raises(ConfigurationError, match=r"^KLINGEL_KAFKA__SSL_CERTFILE: the file cannot"):
        days_left(settings(authority, certificate, key), clock.now())


def test_without_certificates_nothing_is_told() -> None:
    metrics = tell_certificates(Metrics("tests"), Settings(), FixedClock(datetime.now(UTC)))
    assert b"klingel_certificate_days{" not in metrics.render()
