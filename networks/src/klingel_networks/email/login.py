"""How to log in: a password, or access tokens that are renewed before they end (RFC 6749, section 6)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from klingel.clock import Clock
from klingel.errors import CredentialsRejected, SourceUnavailable

_EARLY = timedelta(minutes=5)
_HOUR = 3600
_ANSWER_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class OAuth:
    """An OAuth 2 client and its refresh token.

    Attributes:
        url: token endpoint.
        client_id: of the client.
        client_secret: empty for a public client.
        refresh_token: of the mailbox.
        scope: to ask for; empty for none.
    """

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    refresh_token: str = field(repr=False)
    scope: str = ""


class Tokens:
    """Access tokens of a mailbox.

    Args:
        oauth: where they come from.
        clock: time.
        deadline: seconds that a renewal may take.
    """

    def __init__(self, oauth: OAuth, clock: Clock, deadline: float) -> None:
        self._oauth = oauth
        self._clock = clock
        self._deadline = deadline
        self._refresh_token = oauth.refresh_token
        self._token = ""
        self.expires_at: datetime | None = None
        self.renewal_failed = False

    async def token(self) -> str:
        """Return a token that holds for some minutes.

        Raises:
            CredentialsRejected: the refresh token is refused.
            SourceUnavailable: there is no token, and none to be had now.
        """
        now = self._clock.now()
        if self._token and (self.expires_at is None or now < self.expires_at - _EARLY):
            return self._token
        try:
            await self._renew(now)
        except SourceUnavailable:
            self.renewal_failed = True
            if self._token and self.expires_at is not None and now < self.expires_at:
                return self._token
            raise
        self.renewal_failed = False
        return self._token

    def forget(self) -> None:
        """Drop the token: the server refuses it."""
        self._token = ""

    async def _renew(self, now: datetime) -> None:
        oauth = self._oauth
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self._refresh_token,
            "client_id": oauth.client_id,
        }
        if oauth.client_secret:
            form["client_secret"] = oauth.client_secret
        if oauth.scope:
            form["scope"] = oauth.scope
        answer = await self._asked(form)
        token, seconds = answer.get("access_token"), answer.get("expires_in", _HOUR)
        if not isinstance(token, str) or not token:
            raise SourceUnavailable("the token endpoint answers without a token")
        lasts = int(seconds) if isinstance(seconds, int | float) and seconds > 0 else _HOUR
        self._token, self.expires_at = token, now + timedelta(seconds=min(lasts, 30 * 86_400))
        again = answer.get("refresh_token")
        if isinstance(again, str) and again:  # some providers give a new one each time
            self._refresh_token = again

    async def _asked(self, form: Mapping[str, str]) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=self._deadline)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self._oauth.url, data=form, allow_redirects=False) as response,
            ):
                body = await response.content.read(_ANSWER_BYTES)
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SourceUnavailable(
                f"the token endpoint is away ({type(error).__name__})"
            ) from None
        if status in {400, 401, 403}:
            raise CredentialsRejected(
                "the token endpoint refuses the refresh token; let the mailbox's owner consent again"
            )
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if status != 200 or not isinstance(answer, dict):
            raise SourceUnavailable(f"the token endpoint answers {status}")
        return answer
