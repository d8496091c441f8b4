"""A bucket of an S3-compatible store: who may use it, and how a request is signed.

Source of the signature: AWS, "Signature Calculations for the Authorization Header" (Signature
Version 4, single chunk), which MinIO, Ceph, Garage and the clouds' stores take.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import aiohttp
from yarl import URL

from klingel.clock import Clock
from klingel.errors import ConfigurationError, CredentialsRejected, SourceUnavailable

ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]{0,200})?")
"""An address of a server, without a query."""
_ALGORITHM = "AWS4-HMAC-SHA256"
_FOUND, _MISSING = {200, 201, 204}, 404
_DENIED = {401, 403}


def secret_setting(environ: Mapping[str, str], name: str) -> str:
    """Return a secret of the environment, or of the file that `<name>_FILE` names; "" for neither.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    path = environ.get(f"{name}_FILE")
    if path is None:
        return environ.get(name, "")
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"{name}_FILE: the file cannot be read") from None


@dataclass(frozen=True, slots=True)
class S3Settings:
    """A bucket and who may write to it.

    Attributes:
        endpoint: such as `https://s3.eu-central-1.amazonaws.com`; the bucket stands in the path.
        bucket: name.
        region: as the store calls it; most that are not Amazon's take any.
        access_key: public half.
        secret_key: never shown.
        prefix: before every key.
    """

    endpoint: str
    bucket: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    prefix: str = "media/"


def s3_settings(environ: Mapping[str, str]) -> S3Settings | None:
    """Read where media lie; None where no bucket is set.

    Raises:
        ConfigurationError: a store without bucket or credential, or no address.
    """
    endpoint = environ.get("KLINGEL_MEDIA_S3_ENDPOINT", "").rstrip("/")
    if not endpoint:
        return None
    if not ADDRESS.fullmatch(endpoint):
        raise ConfigurationError(
            "KLINGEL_MEDIA_S3_ENDPOINT: an address such as https://s3.example, without a query"
        )
    found = {
        name: secret_setting(environ, f"KLINGEL_MEDIA_S3_{name}").strip()
        for name in ("BUCKET", "ACCESS_KEY", "SECRET_KEY")
    }
    for name, value in found.items():
        if not value:
            raise ConfigurationError(f"KLINGEL_MEDIA_S3_{name}: missing for the media store")
    return S3Settings(
        endpoint=endpoint,
        bucket=found["BUCKET"],
        region=environ.get("KLINGEL_MEDIA_S3_REGION", "us-east-1"),
        access_key=found["ACCESS_KEY"],
        secret_key=found["SECRET_KEY"],
    )


def signed_headers(
    settings: S3Settings,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    payload_hash: str,
    now: datetime,
) -> dict[str, str]:
    """Return all headers of a request, signed: pure.

    Args:
        settings: who signs.
        method: of HTTP.
        url: with its query, whose names and values are signed sorted.
        headers: besides host, date and payload hash.
        payload_hash: sha256 of the body.
        now: aware UTC.
    """
    at = now.strftime("%Y%m%dT%H%M%SZ")
    host = url.host or ""
    if url.explicit_port is not None:
        host = f"{host}:{url.explicit_port}"
    sent = {name.lower(): " ".join(value.split()) for name, value in headers.items()} | {
        "host": host,
        "x-amz-content-sha256": payload_hash,
        "x-amz-date": at,
    }
    names = ";".join(sorted(sent))
    query = "&".join(
        sorted(
            f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}"
            for key, value in url.query.items()
        )
    )
    canonical = "\n".join(
        [
            method,
            quote(url.path, safe="/-_.~"),
            query,
            *(f"{name}:{sent[name]}" for name in sorted(sent)),
            "",
            names,
            payload_hash,
        ]
    )
    scope = f"{at[:8]}/{settings.region}/s3/aws4_request"
    told = "\n".join([_ALGORITHM, at, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{settings.secret_key}".encode()
    for part in (at[:8], settings.region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, told.encode(), "sha256").hex()
    sent["authorization"] = (
        f"{_ALGORITHM} Credential={settings.access_key}/{scope},"
        f"SignedHeaders={names},Signature={signature}"
    )
    return sent


class S3Store:
    """Media in a bucket: `<prefix><first two digits>/<sha256>`.

    Args:
        settings: which bucket.
        clock: for signatures.
        seconds: a request may take.
    """

    def __init__(self, settings: S3Settings, clock: Clock, seconds: float = 60.0) -> None:
        self._settings = settings
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._session: aiohttp.ClientSession | None = None

    async def put(self, content: bytes, content_type: str) -> str:
        """Store, unless it is there; return the sha256 of what is now durable.

        Raises:
            SourceUnavailable: the store is away.
            CredentialsRejected: it refuses us.
        """
        digest = hashlib.sha256(content).hexdigest()
        if await self._answered("HEAD", _key(digest)) is None:
            await self._answered("PUT", _key(digest), content, {"content-type": content_type})
        return digest

    async def forget(self, sha256: str) -> bool:
        """Remove what has this hash; returns whether it was there.

        Raises:
            SourceUnavailable: the store is away.
            CredentialsRejected: it refuses us.
        """
        # A store answers 204 to the removal of what is not there, too.
        if await self._answered("HEAD", _key(sha256)) is None:
            return False
        return await self._answered("DELETE", _key(sha256)) is not None

    async def note(self, name: str, content: bytes) -> None:
        """Write something small under a name; raises as `put`."""
        await self._answered("PUT", name, content, {"content-type": "text/plain"})

    async def noted(self, name: str) -> bytes | None:
        """Return what was written under a name, None for nothing; raises as `put`."""
        return await self._answered("GET", name)

    async def unnote(self, name: str) -> None:
        """Remove what was written under a name, if anything was; raises as `put`."""
        await self._answered("DELETE", name)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()

    async def _answered(
        self, method: str, key: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes | None:
        """Ask for what has a key; returns what is answered, None when it is not there."""
        own = self._settings
        url = URL(own.endpoint) / own.bucket / f"{own.prefix}{key}"
        status, answer = await self._send(method, url, body, headers or {})
        if status in _DENIED:
            raise CredentialsRejected(
                "the media store refuses the credential: check KLINGEL_MEDIA_S3_*"
            )
        if status == _MISSING and method != "PUT":
            return None
        if status not in _FOUND:
            raise SourceUnavailable(f"the media store answers {status}")
        return answer

    async def _send(
        self, method: str, url: URL, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, auto_decompress=False)
        payload = hashlib.sha256(body).hexdigest()
        signed = signed_headers(self._settings, method, url, headers, payload, self._clock.now())
        try:
            async with self._session.request(
                method, url, data=body or None, headers=signed
            ) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            raise SourceUnavailable("the media store is away") from None


def _key(digest: str) -> str:
    return f"{digest[:2]}/{digest}"
