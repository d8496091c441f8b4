"""The port to a target, what its answer means, and the senders that speak HTTP.

A sender makes one attempt and says what came of it; when the next one is made is decided by
`klingel.domain.notifications`. No sender repeats an address, a secret or an answer's words.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from klingel.clock import Clock
from klingel_notifier.letters import Letter, alertmanager_body, slack_body, webhook_body
from klingel_notifier.signing import signed_headers

_RETRYABLE = frozenset({408, 425, 429})
_ALERTS_PATH = "/api/v2/alerts"
_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Accepted:
    """The target has it.

    Attributes:
        left_out: recipients that the target refused while it took others.
    """

    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """The target will never take it: a dead letter.

    Attributes:
        answer: what it answered, such as `HTTP 404`; no words of its own.
    """

    answer: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Not now: it is sent again, under the same key.

    Attributes:
        reason: of a closed set: unreachable, no_answer, server_error, rate_limited, busy,
            credentials.
        unsure: the target may have it.
        retry_after: seconds that it wants to be left alone.
    """

    reason: str
    unsure: bool = False
    retry_after: float | None = None


Receipt = Accepted | Refused | Failed


class Sender(Protocol):
    """One target; holds its address and its secret."""

    async def send(self, letter: Letter) -> Receipt:
        """Make one attempt; never raises, and takes a bounded time."""
        ...


def checked_url(text: str) -> str:
    """Return an address over HTTP as it is.

    Raises:
        ValueError: it is none; the sentence does not repeat it.
    """
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"\s", text):
        raise ValueError("write an address such as https://host/path")
    return text


class HttpSender:
    """POSTs a body; 2xx accepts, 408, 425, 429 and 5xx ask for more patience, the rest refuses.

    Args:
        session: shared by all senders.
        url: where to.
        body: makes the bytes of a letter.
        headers: made for each attempt, of key and bytes; a signature tells its time.
        clock: for dates of Retry-After.
        timeout_seconds: for the whole attempt.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        body: Callable[[Letter], bytes],
        *,
        clock: Clock,
        timeout_seconds: float,
        headers: Callable[[str, bytes], Mapping[str, str]] = lambda _key, _body: {},
    ) -> None:
        self._session = session
        self._url = url
        self._body = body
        self._headers = headers
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)

    async def send(self, letter: Letter) -> Receipt:
        """Make one attempt."""
        body = self._body(letter)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "klingel-notifier",
            "Idempotency-Key": letter.key,
            **self._headers(letter.key, body),
        }
        try:
            async with self._session.post(
                self._url,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                # The status is the answer; a body that breaks off takes nothing back.
                return self._receipt(response.status, response.headers.get("Retry-After"))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return Failed("unreachable")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Failed("no_answer", unsure=True)

    def _receipt(self, status: int, retry_after: str | None) -> Receipt:
        if 200 <= status < 300:
            return Accepted()
        if status in _RETRYABLE or status >= 500:
            wish = seconds_until(retry_after, self._clock.now())
            if status == 429:
                return Failed("rate_limited", retry_after=wish)
            if status in {503, *_RETRYABLE}:
                return Failed("busy", retry_after=wish)
            return Failed("server_error", unsure=True, retry_after=wish)
        return Refused(f"HTTP {status}")


def seconds_until(retry_after: str | None, now: datetime) -> float | None:
    """Return what a Retry-After header asks for, in seconds; None where it asks for nothing.

    Source: RFC 9110, 10.2.3: seconds, or a date.
    """
    if retry_after is None:
        return None
    text = retry_after.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if at.tzinfo is None:
        return None
    return max(0.0, (at - now).total_seconds())


def slack_sender(
    session: aiohttp.ClientSession, url: str, *, clock: Clock, timeout_seconds: float
) -> HttpSender:
    """Return the sender for a Slack-compatible incoming webhook."""
    return HttpSender(session, url, slack_body, clock=clock, timeout_seconds=timeout_seconds)


def webhook_sender(
    session: aiohttp.ClientSession,
    url: str,
    key: bytes,
    *,
    clock: Clock,
    timeout_seconds: float,
) -> HttpSender:
    """Return the sender for a webhook signed after Standard Webhooks."""

    def headers(message_id: str, body: bytes) -> Mapping[str, str]:
        return signed_headers(key, message_id, int(clock.now().timestamp()), body)

    return HttpSender(
        session, url, webhook_body, clock=clock, timeout_seconds=timeout_seconds, headers=headers
    )


def alertmanager_sender(
    session: aiohttp.ClientSession, url: str, *, clock: Clock, timeout_seconds: float
) -> HttpSender:
    """Return the sender for Alertmanager's API v2.

    Args:
        session: shared by all senders.
        url: its address, with or without `/api/v2/alerts`.
        clock: for dates of Retry-After.
        timeout_seconds: for the whole attempt.
    """
    base = url.rstrip("/")
    full = base if base.endswith(_ALERTS_PATH) else base + _ALERTS_PATH
    return HttpSender(
        session, full, alertmanager_body, clock=clock, timeout_seconds=timeout_seconds
    )
