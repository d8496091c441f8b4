"""Calls for one account of Bluesky: session, limits, proxied services, what a refusal means.

Source: atproto.com, "XRPC" (errors, authentication, service proxying); the lexicons
`com.atproto.server.createSession` and `refreshSession`; docs.bsky.app, "Rate limits" and "API Hosts
and Auth". An app password does not end by itself; the tokens made from it do, and are renewed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import aiohttp
import msgspec
from pydantic import SecretStr
from yarl import URL

from klingel.errors import ConfigurationError, CredentialsRejected, RateLimited, SourceUnavailable
from klingel_networks.arrival import Quota, Tools
from klingel_networks.bluesky.syntax import is_did

BUCKET: Final = "api"
CHAT_SERVICE: Final = "did:web:api.bsky.chat#bsky_chat"
"""Where calls for direct messages are passed on to."""
BODY_BYTES: Final = 8 << 20
_OK: Final = 200
_TOO_MANY: Final = 429
_STALE: Final = frozenset({"ExpiredToken", "InvalidToken"})
_HOSTING: Final = "#atproto_pds"
_REFUSED: Final = (
    "Bluesky refuses handle or app password: make a new one under Settings, App passwords"
)

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class AccountOptions:
    """Whose notifications and messages to hear.

    Attributes:
        service: address of the account's host, or of an entryway that knows it.
        identifier: handle, DID or address of the account.
        password: an app password.
        direct_messages: whether these are read; the app password must allow it.
        reasons: kinds of notifications.
        deadline_seconds: that one answer may take.
    """

    service: str
    identifier: str
    password: SecretStr
    direct_messages: bool = True
    reasons: tuple[str, ...] = ("mention", "reply", "quote")
    deadline_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what cannot be asked."""
        url = URL(self.service)
        if url.scheme not in {"http", "https"} or not url.host:
            raise ConfigurationError("bluesky.service is no address, such as https://bsky.social")
        if not self.identifier or not self.password.get_secret_value():
            raise ConfigurationError(
                "bluesky.identifier and bluesky.app_password are needed to read an account"
            )


class _Service(msgspec.Struct):
    id: str = ""
    address: str = msgspec.field(default="", name="serviceEndpoint")


class _Document(msgspec.Struct):
    service: list[_Service] = []


class _Made(msgspec.Struct):
    did: str
    access: str = msgspec.field(name="accessJwt")
    renewal: str = msgspec.field(name="refreshJwt")
    document: _Document | None = msgspec.field(default=None, name="didDoc")
    active: bool = True


class _Error(msgspec.Struct):
    error: str = ""


_MADE = msgspec.json.Decoder(_Made)
_ERROR = msgspec.json.Decoder(_Error)


@dataclass(frozen=True, slots=True)
class _Session:
    did: str
    access: str
    renewal: str
    host: str


class Refusal(SourceUnavailable):
    """An answer that says no, by the name that the protocol gives it.

    Args:
        status: of HTTP.
        name: of the error, of a closed set, `unknown` for all others.
    """

    def __init__(self, status: int, name: str) -> None:
        super().__init__(f"Bluesky answers {status}")
        self.status = status
        self.name = name


class Account:
    """One account; logs in when it is first needed, and again when it must."""

    def __init__(self, options: AccountOptions, tools: Tools) -> None:
        self._options = options
        self._tools = tools
        self._session: _Session | None = None
        self._making = asyncio.Lock()
        self.logins = 0

    async def did(self) -> str:
        """Return the account's DID; raises as `ask`."""
        return (await self._logged_in()).did

    async def ask(
        self, method: str, query: Query = (), *, proxy: str = "", channel: str = ""
    ) -> bytes:
        """Return the body of a query's answer.

        Raises:
            CredentialsRejected: handle or app password is refused, or the account is closed.
            RateLimited: the host says when to come back.
            Refusal: it says no to this call. SourceUnavailable: it is away.
        """
        for last in (False, True):
            session = await self._logged_in()
            headers = {"Authorization": f"Bearer {session.access}"}
            if proxy:
                headers["atproto-proxy"] = proxy
            try:
                return await self._call("GET", session.host, method, headers, query, channel)
            except Refusal as refusal:
                if refusal.name not in _STALE or last:
                    raise
                if refusal.name == "InvalidToken" and proxy:
                    raise  # it is good for the host: this service wants another grant
                await self._renew(session)
        raise AssertionError("the second turn returns or raises")

    async def _logged_in(self) -> _Session:
        async with self._making:
            if self._session is None:
                self._session = await self._create()
            return self._session

    async def _renew(self, stale: _Session) -> None:
        """Make a new session by the old one's renewal; where that is refused, from the password."""
        async with self._making:
            if self._session is not stale:
                return  # another channel was quicker
            self._session = None
            headers = {"Authorization": f"Bearer {stale.renewal}"}
            try:
                body = await self._call(
                    "POST", stale.host, "com.atproto.server.refreshSession", headers
                )
                made = self._read(body)
            except Refusal:
                self._session = await self._create()
            else:
                self._session = replace(made, host=stale.host)

    async def _create(self) -> _Session:
        options = self._options
        given = {"identifier": options.identifier, "password": options.password.get_secret_value()}
        try:
            body = await self._call(
                "POST",
                options.service.rstrip("/"),
                "com.atproto.server.createSession",
                {},
                json=given,
            )
        except Refusal as refusal:
            if refusal.status in {400, 401, 403}:
                raise CredentialsRejected(_REFUSED) from None
            raise
        self.logins += 1
        return self._read(body)

    def _read(self, body: bytes) -> _Session:
        try:
            made = _MADE.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise SourceUnavailable("Bluesky's answer is no session") from None
        if not made.active:
            raise CredentialsRejected("the account is deactivated, suspended or taken down")
        if not is_did(made.did):
            raise SourceUnavailable("Bluesky's answer is no session")
        return _Session(made.did, made.access, made.renewal, self._host(made.document))

    def _host(self, document: _Document | None) -> str:
        """Return the account's own host, as its document names it; never a less safe address."""
        given = self._options.service.rstrip("/")
        for service in () if document is None else document.service:
            try:
                url = URL(service.address)
            except ValueError:
                continue
            if service.id.endswith(_HOSTING) and url.host and url.scheme == URL(given).scheme:
                return str(url.origin())
        return given

    async def _call(
        self,
        verb: str,
        host: str,
        method: str,
        headers: Mapping[str, str],
        query: Query = (),
        channel: str = "",
        *,
        json: Mapping[str, str] | None = None,
    ) -> bytes:
        await self._tools.permits.ask(BUCKET, channel)
        timeout = aiohttp.ClientTimeout(total=self._options.deadline_seconds)
        url = URL(host).with_path(f"/xrpc/{method}").with_query(list(query))
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(
                    verb, url, headers=headers, json=json, allow_redirects=False
                ) as answer,
            ):
                self._hear_limits(answer)
                body = b""
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > BODY_BYTES:
                        raise SourceUnavailable("Bluesky's answer is larger than 8 MB")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SourceUnavailable(f"Bluesky is away ({type(error).__name__})") from None
        if answer.status != _OK:
            raise self._refusal(answer, body)
        return body

    def _refusal(self, answer: aiohttp.ClientResponse, body: bytes) -> Exception:
        if answer.status == _TOO_MANY:
            wish = answer.headers.get("Retry-After", "")
            after = float(wish) if wish.isdecimal() else self._resets_in(answer)
            seconds = self._tools.permits.refused(BUCKET, after)
            return RateLimited("Bluesky wants fewer calls", retry_after=seconds)
        try:
            name = _ERROR.decode(body).error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            name = ""
        return Refusal(answer.status, name if name in _NAMES else "unknown")

    def _hear_limits(self, answer: aiohttp.ClientResponse) -> None:
        left = answer.headers.get("RateLimit-Remaining", "")
        limit = answer.headers.get("RateLimit-Limit", "")
        if left.isdecimal():
            most = int(limit) if limit.isdecimal() else None
            self._tools.permits.heard(Quota(BUCKET, int(left), most, self._resets_in(answer)))

    def _resets_in(self, answer: aiohttp.ClientResponse) -> float | None:
        reset = answer.headers.get("RateLimit-Reset", "")
        if not reset.isdecimal():
            return None
        return max(0.0, int(reset) - self._tools.clock.now().timestamp())


_NAMES: Final = frozenset(
    {"ExpiredToken", "InvalidToken", "InvalidRequest", "AuthMissing", "AuthenticationRequired"}
)
