"""What was erased is asked for before anything is written (K14, I11).

Connectors and gateway follow the topic `suppressions` whole and write nothing before it was read to
its end: a backfill, a gap fill or a delivery sent again must not put an erased customer's words into
`raw-events` once more. What takes words away passes, and so does a demand to erase.

Who is meant by a suppression only its key tells. A process that has none, or another one, cannot look
anybody up: it writes on and says so, and `understand`, which asks the same of every event, waits.
"""

import asyncio
from typing import Any, Protocol

import structlog

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, Suppressed, author_name, erased_before
from klingel.errors import InvalidMessage
from klingel.model import MediaJob, RawEvent, Suppression
from klingel.settings import Settings
from klingel_connectors.followed import Following
from klingel_networks.contract import Network


class Suppressions(Protocol):
    """Knows which objects and people were erased."""

    async def known(self) -> None:
        """Return once all is known that was erased before the start."""
        ...

    def holds(self, raw: RawEvent, network: Network) -> bool:
        """Whether this raw event of a network must not be written."""
        ...


class Erased:
    """What the topic `suppressions` tells, as one process knows it.

    Args:
        key: of this deployment; None where none is set.
    """

    def __init__(self, key: Key | None) -> None:
        self._suppressed = Suppressed(key)
        self._known = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._following: Following | None = None
        self._log = structlog.get_logger()

    def start(self, settings: Settings, client_id: str) -> None:
        """Begin to follow; belongs to the event loop in which `known` is awaited."""
        self._loop = asyncio.get_running_loop()
        self._following = Following(
            settings.kafka,
            (Topic.SUPPRESSIONS,),
            name=f"{client_id}-suppressions",
            take=self.take,
            renew=self.read,
        )
        self._following.start()

    def stop(self) -> None:
        """Stop following; blocks a moment."""
        if self._following is not None:
            self._following.stop()

    def waiting_for(self) -> str:
        """Say what keeps it waiting; empty once it knows."""
        return "" if self._known.is_set() else "topic suppressions"

    async def known(self) -> None:
        """Return once all is known that was erased before the start."""
        if not self._known.is_set():
            await self._known.wait()

    def holds(self, raw: RawEvent, network: Network) -> bool:
        """Whether this raw event must not be written; what we cannot read passes."""
        if not self._suppressed or raw.change == "deleted":
            return False
        try:
            draft = network.to_social_event(raw)
        except Exception:  # noqa: BLE001  understand reads it again and says what is wrong
            return False
        return not draft.erases and erased_before(self._suppressed, raw, draft)

    def stops(self, job: MediaJob) -> bool:
        """Whether what a media job is for was erased since, as an object or by its author."""
        author = None if job.author_id is None else author_name(job.network, job.author_id)
        return self._suppressed.holds(job.object_id, author, None, job.requested_at)

    # --- in the thread -------------------------------------------------------------------------

    def take(self, _topic: Topic, record: Any) -> bool:
        """Take one record; never anything that others must be told of."""
        key = bytes(record.key or b"")
        try:
            value = record.value
            told = None if value is None else codec.decode(Suppression, bytes(value))
        except InvalidMessage:
            self._log.warning("suppression_unreadable")
            return False
        self._suppressed.take(key, told)
        if key in self._suppressed.strange:
            self._log.error("suppression_of_another_key")
        return False

    def read(self) -> None:
        """Say that the topic was read to the end that it had at the start."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._known.set)
