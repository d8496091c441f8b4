"""Signed deliveries after Standard Webhooks: the signature (pure) and the sender (shell)."""

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Final

import aiohttp

from klingel_simulator.generic import GenericRenderer
from klingel_simulator.pacing import Pace
from klingel_simulator.traffic import SimulatedObject, Traffic
from klingel_simulator.truth import Sent, TruthFile

_PREFIX: Final = "whsec_"
_FIRST_WAIT: Final = 0.2
_LONGEST_WAIT: Final = 5.0


def to_key(secret: str) -> bytes:
    """Decode a secret ``whsec_<base64>``; raises ``ValueError`` without repeating it."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the webhook secret must be whsec_ followed by base64") from None
    if not secret.startswith(_PREFIX) or not key:
        raise ValueError("the webhook secret must be whsec_ followed by base64")
    return key


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Compute the ``webhook-signature`` of one delivery."""
    content = b"%b.%d.%b" % (message_id.encode("utf-8"), timestamp, body)
    digest = hmac.new(key, content, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode("ascii")


def batched(objects: Sequence[SimulatedObject], size: int) -> Iterator[Sequence[SimulatedObject]]:
    """Cut a sequence into batches of at most ``size``."""
    return (objects[start : start + size] for start in range(0, len(objects), size))


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch on its way: the same id and body at every attempt."""

    message_id: str
    body: bytes
    sent: tuple[Sent, ...]


@dataclass(slots=True)
class Tally:
    """What became of the events and deliveries.

    ``unanswered``: events handed to a connection whose fate is not known (yet).
    """

    sent: int = 0
    refused: int = 0
    unanswered: int = 0
    deliveries: int = 0
    attempts: int = 0
    redelivered: int = 0


@dataclass(frozen=True, slots=True)
class Posting:
    """How deliveries are made. ``redeliver`` is the share sent again although accepted."""

    url: str
    key: bytes
    source: str
    batch: int = 20
    connections: int = 8
    timeout_seconds: float = 15.0
    redeliver: float = 0.01


class WebhookSender:
    """Posts a traffic's objects as signed batches, with retries on 5xx, 429 and broken connections.

    Truth lines are written for what the receiver answered 2xx, and only then. 4xx is final: those
    events are counted as refused.
    """

    def __init__(
        self,
        traffic: Traffic,
        renderer: GenericRenderer,
        truth: TruthFile,
        posting: Posting,
        *,
        now_us: Callable[[], int],
    ) -> None:
        self.tally = Tally()
        self._traffic = traffic
        self._renderer = renderer
        self._truth = truth
        self._posting = posting
        self._now_us = now_us
        self._rng = Random(f"webhook/{traffic.seed}")  # noqa: S311 seeded faults, not cryptography

    async def run(self, rate: float) -> None:
        """Send everything; ``rate`` events a second, 0 for as fast as the receiver answers."""
        timeout = aiohttp.ClientTimeout(total=self._posting.timeout_seconds)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            queue: asyncio.Queue[Delivery | None] = asyncio.Queue(self._posting.connections)
            async with asyncio.TaskGroup() as group:
                for _ in range(self._posting.connections):
                    group.create_task(self._deliver_all(session, queue))
                await self._fill(queue, rate)
                for _ in range(self._posting.connections):
                    await queue.put(None)

    async def _fill(self, queue: asyncio.Queue[Delivery | None], rate: float) -> None:
        clock = asyncio.get_running_loop().time
        pace, objects = Pace(rate, clock()), iter(self._traffic)
        while True:
            due = pace.due(clock())
            chunk = list(islice(objects, due))
            for batch in batched(chunk, self._posting.batch):
                await queue.put(self._to_delivery(batch))
            if len(chunk) < due:
                return
            await asyncio.sleep(pace.pause_seconds(due))

    async def _deliver_all(
        self, session: aiohttp.ClientSession, queue: asyncio.Queue[Delivery | None]
    ) -> None:
        while (delivery := await queue.get()) is not None:
            self.tally.unanswered += len(delivery.sent)
            accepted = await self._deliver(session, delivery)
            self.tally.unanswered -= len(delivery.sent)
            if accepted and self._rng.random() < self._posting.redeliver:
                self.tally.redelivered += 1
                await self._attempt(session, delivery)

    async def _deliver(self, session: aiohttp.ClientSession, delivery: Delivery) -> bool:
        """Try until the receiver decides; True when it accepted."""
        wait = _FIRST_WAIT
        while True:
            status = await self._attempt(session, delivery)
            if 200 <= status < 300:
                for sent in delivery.sent:
                    self._truth.record(sent)
                self._truth.flush()
                self.tally.sent += len(delivery.sent)
                return True
            if status and status < 500 and status != 429:
                self.tally.refused += len(delivery.sent)
                return False
            await asyncio.sleep(wait * self._rng.uniform(0.8, 1.2))
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _attempt(self, session: aiohttp.ClientSession, delivery: Delivery) -> int:
        """Post once; the status, or 0 when there was none."""
        self.tally.attempts += 1
        timestamp = self._now_us() // 1_000_000
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(
                self._posting.key, delivery.message_id, timestamp, delivery.body
            ),
        }
        try:
            async with session.post(
                self._posting.url, data=delivery.body, headers=headers
            ) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    def _to_delivery(self, objects: Sequence[SimulatedObject]) -> Delivery:
        now_us = self._now_us()
        events = [self._renderer.to_event(said, now_us) for said in objects]
        self.tally.deliveries += 1
        return Delivery(
            message_id=f"msg_{self._posting.source}_{self._traffic.seed}_{self.tally.deliveries}",
            body=b"[" + b",".join(events) + b"]",
            sent=tuple(self._to_sent(said, now_us) for said in objects),
        )

    def _to_sent(self, said: SimulatedObject, now_us: int) -> Sent:
        return Sent(
            network="webhook",
            object_id=f"webhook:{self._posting.source}:{self._renderer.native_id(said.key)}",
            operation=said.operation,
            revision=said.revision,
            heard=said.heard,
            sent_us=now_us,
        )
