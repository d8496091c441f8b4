"""Fetching what a stranger's address points to, without being led into our own network.

Every hop is checked anew: scheme, port, no credentials in the address, and each network address that
its name resolves to; the connection goes to exactly these, so that a name cannot answer twice
differently. Redirects are followed by hand. Size, time and hops are bounded; nothing is unpacked.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from klingel.errors import RateLimited, RetryableError, SourceUnavailable
from klingel_networks.arrival import MediaAddress

_REDIRECTS = {301, 302, 303, 307, 308}
_GONE = {404, 410}
_REFUSED = {401, 403}
_TOO_MANY = 429
_OK = 200
_SERVER = 500
_CHUNK = 1 << 16
_V6_EMBEDDING = (
    (ipaddress.ip_network("64:ff9b::/96"), 0),
    (ipaddress.ip_network("64:ff9b:1::/48"), 0),
    (ipaddress.ip_network("2002::/16"), 80),
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Whether a network address is one of the public internet: pure.

    Addresses of IPv4 inside of IPv6 (mapped, 6to4, NAT64, Teredo) count as what they lead to.
    """
    try:
        found: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found.teredo is not None:
            return False
        for network, shift in _V6_EMBEDDING:
            if found in network:
                inner = ipaddress.IPv4Address((int(found) >> shift) & 0xFFFFFFFF)
                return is_public(str(inner))
    return found.is_global and not found.is_multicast and not found.is_reserved


@dataclass(frozen=True, slots=True)
class FetchBounds:
    """How far a fetch may go.

    Attributes:
        most_bytes: of one medium.
        seconds: for all hops together.
        hops: redirects followed.
        ports: that an address may name.
        allowed: which network addresses may be talked to.
    """

    most_bytes: int = 25 << 20
    seconds: float = 60.0
    hops: int = 5
    ports: frozenset[int] = frozenset({80, 443})
    allowed: Callable[[str], bool] = field(default=is_public)


class NeverError(Exception):
    """This medium can never be had from this address.

    Args:
        failure: of a closed set of names, such as `too_large`.
        stale: whether a fresh address may help.
    """

    def __init__(self, failure: str, *, stale: bool = False) -> None:
        super().__init__(failure)
        self.failure = failure
        self.stale = stale


class Fetched(NamedTuple):
    """The bytes of a medium."""

    content: bytes


def checked(url: str, bounds: FetchBounds) -> URL:
    """Return an address that may be fetched; raises NeverError. Names are not yet resolved."""
    try:
        found = URL(url)
        port = found.port
    except (ValueError, TypeError):
        raise NeverError("bad_address") from None
    if found.scheme not in {"http", "https"} or not found.host:
        raise NeverError("bad_address")
    if found.user is not None or found.password is not None:
        raise NeverError("bad_address")
    if port not in bounds.ports:
        raise NeverError("bad_address")
    try:
        ipaddress.ip_address(found.host)
    except ValueError:
        return found
    if not bounds.allowed(found.host):
        raise NeverError("private_address")
    return found


def next_hop(
    here: URL,
    location: str,
    headers: Mapping[str, str],
    trusted: frozenset[str],
    bounds: FetchBounds,
) -> tuple[URL, Mapping[str, str]]:
    """Return where a redirect leads and with which headers; raises NeverError.

    What is encrypted stays so; headers (an authorisation) go only to the same host or a trusted one.
    """
    try:
        there = here.join(URL(location))
    except (ValueError, TypeError):
        raise NeverError("bad_redirect") from None
    there = checked(str(there), bounds)
    if here.scheme == "https" and there.scheme != "https":
        raise NeverError("bad_redirect")
    keeps = there.host == here.host or there.host in trusted
    return there, headers if keeps else {}


class _Resolver(AbstractResolver):
    """Resolves names and passes on nothing that may not be talked to."""

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM
        )
        addresses = [(each[0], str(each[4][0])) for each in found]
        # One private address among public ones is a trap, not a mistake.
        if not addresses or not all(self._allowed(address) for _, address in addresses):
            raise _PrivateError
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, address in addresses
        ]

    async def close(self) -> None:
        """Nothing to let go of."""


class _PrivateError(OSError):
    """A name leads to an address that may not be talked to."""


class Fetcher:
    """Fetches media; one for a process.

    Args:
        bounds: how far it may go.
    """

    def __init__(self, bounds: FetchBounds) -> None:
        self._bounds = bounds
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()

    async def fetch(self, address: MediaAddress) -> Fetched:
        """Return the bytes behind an address.

        Raises:
            NeverError: this address will never give them.
            RetryableError: perhaps later.
        """
        try:
            async with asyncio.timeout(self._bounds.seconds):
                return await self._follow(address)
        except TimeoutError:
            raise SourceUnavailable("the medium did not arrive in time") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _PrivateError):
                raise NeverError("private_address") from None
            raise SourceUnavailable("the medium's host is away") from None
        except aiohttp.InvalidURL:
            raise NeverError("bad_address") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise SourceUnavailable("the medium could not be fetched") from None

    async def _follow(self, address: MediaAddress) -> Fetched:
        bounds = self._bounds
        here = checked(address.url, bounds)
        headers: Mapping[str, str] = address.headers
        for _ in range(bounds.hops + 1):
            async with self._opened().get(
                here,
                headers={**headers, "Accept-Encoding": "identity"},
                allow_redirects=False,
            ) as answer:
                if answer.status not in _REDIRECTS:
                    return Fetched(await self._content(answer))
                location = answer.headers.get("Location", "")
            here, headers = next_hop(
                here, location, headers, frozenset(address.trusted_hosts), bounds
            )
        raise NeverError("bad_redirect")

    async def _content(self, answer: aiohttp.ClientResponse) -> bytes:
        _judge(answer.status, answer.headers.get("Retry-After", ""))
        if answer.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
            raise NeverError("packed")
        most = self._bounds.most_bytes
        if (answer.content_length or 0) > most:
            raise NeverError("too_large")
        chunks, size = [], 0
        async for chunk in answer.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > most:
                answer.close()
                raise NeverError("too_large")
            chunks.append(chunk)
        if not size:
            raise NeverError("empty", stale=True)
        return b"".join(chunks)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=_Resolver(self._bounds.allowed), use_dns_cache=False, limit=64
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=20),
                trust_env=False,
            )
        return self._session


def _judge(status: int, retry_after: str) -> None:
    """Raise for every answer that brings no bytes."""
    if status == _OK:
        return
    if status == _TOO_MANY:
        after = float(retry_after) if retry_after.isdigit() else None
        raise RateLimited("the medium's host wants fewer calls", retry_after=after)
    if status in _REFUSED:
        raise NeverError("refused", stale=True)
    if status in _GONE:
        raise NeverError("gone", stale=True)
    if status >= _SERVER:
        raise _away(status)
    raise NeverError("refused", stale=True)


def _away(status: int) -> RetryableError:
    return SourceUnavailable(f"the medium's host answers {status}")
