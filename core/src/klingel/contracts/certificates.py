"""How long certificates last, read from their PEM text.

Python's `ssl` tells the end of authorities alone, and a library for one date would be one more that
reads what others wrote. Of a certificate (RFC 5280, 4.1) only the way to its validity is followed.
"""

import re
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from klingel.clock import Clock
from klingel.errors import ConfigurationError
from klingel.metrics import Metric, Metrics
from klingel.settings import Settings

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_VERSION, _SEQUENCE, _UTC_TIME, _TIME = 0xA0, 0x30, 0x17, 0x18
_CENTURY: Final = 50
"""Years of two digits below it belong to 2000 (RFC 5280, 4.1.2.5.1)."""
_DAY_SECONDS: Final = 86_400


class _Reader:
    """Reads DER (tag, length, value) from the front; raises ValueError where it ends too soon."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def next(self) -> tuple[int, bytes]:
        """Return tag and value of what comes next."""
        data, at = self._data, self._at
        if at + 2 > len(data):
            raise ValueError("cut short")
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if at + length > len(data):
            raise ValueError("cut short")
        self._at = at + length
        return tag, data[at : at + length]

    def into(self) -> "_Reader":
        """Return a reader of the sequence that comes next."""
        tag, value = self.next()
        if tag != _SEQUENCE:
            raise ValueError("not a sequence")
        return _Reader(value)


def ends_of(pem: str) -> list[datetime]:
    """Return until when each certificate of a PEM text is valid, in their order.

    Raises:
        ValueError: there is none, or one of them is no certificate.
    """
    ends = [_end(ssl.PEM_cert_to_DER_cert(text)) for text in _PEM.findall(pem)]
    if not ends:
        raise ValueError("no certificate")
    return ends


def _end(der: bytes) -> datetime:
    body = _Reader(der).into().into()
    tag, _ = body.next()
    if tag == _VERSION:
        body.next()  # the serial number; without a version that was it
    body.next()  # algorithm
    body.next()  # issuer
    validity = body.into()
    validity.next()
    tag, value = validity.next()
    text = value.decode("ascii")
    if tag == _UTC_TIME:
        text = ("20" if int(text[:2]) < _CENTURY else "19") + text
    elif tag != _TIME:
        raise ValueError("not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def certificate_files(settings: Settings) -> dict[str, Path]:
    """Return the files of certificates that the connections to Kafka and Elasticsearch use."""
    files = {
        "KLINGEL_KAFKA__SSL_CAFILE": settings.kafka.ssl_cafile,
        "KLINGEL_KAFKA__SSL_CERTFILE": settings.kafka.ssl_certfile,
        "KLINGEL_ELASTICSEARCH__CA_CERTS": settings.elasticsearch.ca_certs,
    }
    return {name: path for name, path in files.items() if path is not None}


def days_left(settings: Settings, now: datetime) -> float | None:
    """Return the days until the first certificate in use ends; below 0 once it has.

    The files are read anew: who renews a certificate renews its file.

    Args:
        settings: of the process.
        now: the time.

    Returns:
        None where no certificate is in use.

    Raises:
        ConfigurationError: a file cannot be read, or is none.
    """
    ends = [end for name, path in certificate_files(settings).items() for end in _read(name, path)]
    return min(_days(ends, now), default=None)


def tell_certificates(metrics: Metrics, settings: Settings, clock: Clock) -> Metrics:
    """Have a service's metrics tell how long its certificates last; returns the metrics."""

    def renew() -> None:
        try:
            left = days_left(settings, clock.now())
        except ConfigurationError:
            left = 0.0
        if left is not None:
            metrics.set(Metric.CERTIFICATE_DAYS, left)

    metrics.renew(renew)
    return metrics


def _days(ends: Iterable[datetime], now: datetime) -> list[float]:
    return [(end - now).total_seconds() / _DAY_SECONDS for end in ends]


def _read(name: str, path: Path) -> list[datetime]:
    try:
        return ends_of(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigurationError(f"{name}: the file cannot be read as certificates") from None
