"""Sends Meta's webhooks: the handshake, signatures right and wrong, retries, truth.

From developers.facebook.com, "Webhooks: Getting started": GET with hub.mode, hub.verify_token and
hub.challenge; POST with ``X-Hub-Signature-256: sha256=<hex>``, HMAC-SHA256 of the body under the app
secret; what is not answered 2xx is sent again.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Final, Literal

import aiohttp

from klingel_simulator.meta_traffic import Update, to_bodies
from klingel_simulator.pacing import Pace
from klingel_simulator.truth import Sent, TruthFile

HEADER: Final = "X-Hub-Signature-256"
Forgery = Literal["none", "missing", "wrong", "truncated", "sha1", "reserialised"]
FORGERIES: Final[tuple[Forgery, ...]] = ("missing", "wrong", "truncated", "sha1", "reserialised")
_Delivery = tuple[bytes, tuple[Update, ...]]
_FIRST_WAIT: Final = 0.2
_LONGEST_WAIT: Final = 5.0


def sign(secret: bytes, body: bytes) -> str:
    """Compute the signature's header."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def forged(secret: bytes, body: bytes, forgery: Forgery) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a delivery, signed rightly or not.

    ``reserialised``: the signature is right for the same JSON written differently.
    """
    headers = {"content-type": "application/json", "user-agent": "facebookexternalua"}
    right = sign(secret, body)
    if forgery == "missing":
        return body, headers
    if forgery == "wrong":
        right = sign(secret + b"x", body)
    elif forgery == "truncated":
        right = right[:-2]
    elif forgery == "sha1":
        right = "sha1=" + hmac.new(secret, body, hashlib.sha1).hexdigest()
    elif forgery == "reserialised":
        body = json.dumps(json.loads(body), indent=1).encode()
    return body, {**headers, HEADER: right}


@dataclass(frozen=True, slots=True)
class Posting:
    """How deliveries are made. ``redeliver`` is the share sent again although accepted."""

    url: str
    secret: bytes
    batch: int = 1
    connections: int = 8
    timeout_seconds: float = 20.0
    redeliver: float = 0.01


@dataclass(slots=True)
class Tally:
    """What became of the updates and deliveries."""

    sent: int = 0
    deliveries: int = 0
    attempts: int = 0
    redelivered: int = 0
    refused: int = 0


class MetaSender:
    """Posts updates in batches until each is answered 2xx; truth lines are written then, and only then.

    A 401 or 413 is final and counted as refused: the network would try it again for hours.
    """

    def __init__(
        self, posting: Posting, truth: TruthFile, *, now_us: Callable[[], int], seed: int = 1
    ) -> None:
        self.tally = Tally()
        self._posting = posting
        self._truth = truth
        self._now_us = now_us
        self._rng = Random(f"meta/{seed}")  # noqa: S311 seeded faults, not cryptography

    async def handshake(self, session: aiohttp.ClientSession, token: str, challenge: str) -> str:
        """Subscribe as the dashboard does; return the answer's text, raise when it is no 200."""
        query = {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": challenge}
        async with session.get(self._posting.url, params=query) as response:
            response.raise_for_status()
            return await response.text()

    async def attempt(
        self, session: aiohttp.ClientSession, body: bytes, forgery: Forgery = "none"
    ) -> int:
        """Post once; the status, or 0 when there was none."""
        self.tally.attempts += 1
        sent, headers = forged(self._posting.secret, body, forgery)
        try:
            async with session.post(self._posting.url, data=sent, headers=headers) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    async def run(self, updates: Iterable[Update], rate: float = 0.0) -> None:
        """Send everything; ``rate`` updates a second, 0 for as fast as the receiver answers."""
        timeout = aiohttp.ClientTimeout(total=self._posting.timeout_seconds)
        queue: asyncio.Queue[_Delivery | None] = asyncio.Queue(self._posting.connections)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for _ in range(self._posting.connections):
                group.create_task(self._work(session, queue))
            await self._fill(queue, iter(updates), rate)
            for _ in range(self._posting.connections):
                await queue.put(None)

    async def _fill(
        self, queue: "asyncio.Queue[_Delivery | None]", updates: Iterator[Update], rate: float
    ) -> None:
        clock = asyncio.get_running_loop().time
        pace = Pace(rate, clock())
        while True:
            due = pace.due(clock())
            chunk = list(islice(updates, due))
            for delivery in to_bodies(chunk, self._posting.batch):
                await queue.put(delivery)
            if len(chunk) < due:
                return
            await asyncio.sleep(pace.pause_seconds(due))

    async def _work(
        self, session: aiohttp.ClientSession, queue: "asyncio.Queue[_Delivery | None]"
    ) -> None:
        while (delivery := await queue.get()) is not None:
            body, updates = delivery
            await self._deliver(session, body, updates)
            if self._rng.random() < self._posting.redeliver:
                self.tally.redelivered += 1
                await self.attempt(session, body)

    async def _deliver(
        self, session: aiohttp.ClientSession, body: bytes, updates: tuple[Update, ...]
    ) -> None:
        wait = _FIRST_WAIT
        self.tally.deliveries += 1
        while True:
            status = await self.attempt(session, body)
            if 200 <= status < 300:
                break
            if status in {401, 413}:
                self.tally.refused += len(updates)
                return
            await asyncio.sleep(wait * self._rng.uniform(0.8, 1.2))
            wait = min(wait * 2, _LONGEST_WAIT)
        self.tally.sent += len(updates)
        for each in updates:
            if each.object_id:
                self._truth.record(to_sent(each, self._now_us()))
        self._truth.flush()


def to_sent(update: Update, now_us: int) -> Sent:
    """Return the truth line of an update."""
    gone = update.revision == 2**42 - 1
    operation = "delete" if gone else "update" if update.revision else "create"
    return Sent(
        network=update.network,
        object_id=update.object_id,
        operation=operation,
        revision=update.revision,
        heard=True,
        sent_us=now_us,
    )
