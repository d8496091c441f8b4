"""What connectors and gateway share: a delivery becomes records, each with its fate in the books."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from klingel.clock import Clock
from klingel.contracts.blobs import INLINE_BYTES, BlobStore
from klingel.contracts.envelope import Output
from klingel.contracts.topics import Topic
from klingel.errors import InvalidMessage
from klingel.metrics import Metric, Metrics
from klingel.stage.dead_letters import VALUE_BYTES, kind_of
from klingel.stage.fates import Fate
from klingel.stage.guard import Brake
from klingel_connectors.books import Books
from klingel_connectors.raw import (
    Heard,
    Keep,
    Origin,
    Read,
    TurnedAway,
    by_reference,
    dead_letter_output,
    raw_output,
    read_delivery,
    read_piece,
)
from klingel_connectors.suppression import Suppressions
from klingel_networks.arrival import Mode
from klingel_networks.contract import Delivery, NativeObject, Network, Refused


@dataclass(frozen=True, slots=True)
class Record:
    """A record to publish, and what to note once it is acknowledged."""

    output: Output
    fate: Fate
    reason: str
    object_id: str


class Intake:
    """Turns deliveries of one network into records; counts what it drops on purpose.

    Args:
        network: the pure half of the network.
        origin: who listens.
        version: of this package, for dead letters.
        blobs: where large originals go.
        suppressions: asked before anything is written; nothing is before they are known.
        books: counts.
        metrics: counts, for Prometheus.
        clock: for dead letters.
        keep: superset filter; None keeps everything.
    """

    def __init__(
        self,
        network: Network,
        origin: Origin,
        *,
        version: str,
        blobs: BlobStore,
        suppressions: Suppressions,
        books: Books,
        metrics: Metrics,
        clock: Clock,
        keep: Keep | None = None,
    ) -> None:
        self._network = network
        self._origin = origin
        self._version = version
        self._blobs = blobs
        self._suppressions = suppressions
        self._books = books
        self._metrics = metrics
        self._clock = clock
        self._keep = keep
        self._brake = Brake()

    def read(self, delivery: Delivery, mode: Mode, received_at: datetime) -> list[Read]:
        """Explode and identify; raises BrakePulled when our own code raised too often (I8)."""
        results = read_delivery(self._network, delivery, self._origin, mode, received_at)
        for result in results:
            self._note(result)
        return results

    def read_piece(self, piece: NativeObject | Refused, mode: Mode, received_at: datetime) -> Read:
        """Identify one piece that a family cut out; raises BrakePulled as `read`."""
        result = read_piece(self._network, piece, self._origin, mode, received_at)
        self._note(result)
        return result

    def turned_away(self, turned: TurnedAway) -> TurnedAway:
        """Take what could not be cut into pieces at all; raises BrakePulled as `read`."""
        self._note(turned)
        return turned

    def _note(self, result: Read) -> None:
        ours = isinstance(result, TurnedAway) and not isinstance(result.error, InvalidMessage)
        self._brake.note(self._origin.instance, raised=ours)

    async def records(self, results: Sequence[Read], trace: str | None = None) -> list[Record]:
        """Return what to publish; large originals are in the blob store on return.

        Args:
            results: what was read.
            trace: the sender's trace id; None where it told none.

        Raises:
            SourceUnavailable: the blob store is away; nothing was counted for that object.
        """
        await self._suppressions.known()
        records = []
        for result in results:
            if isinstance(result, TurnedAway):
                records.append(await self._dead_letter(result))
                continue
            reason = self._dropped(result)
            if reason:
                self._books.note(Fate.DISCARDED, self._network.name, reason=reason)
                continue
            records.append(await self._raw(result, trace))
        return records

    def settled(self, record: Record, error: InvalidMessage | None) -> None:
        """Note an acknowledged record; one that can never be stored is counted as refused."""
        if error is not None:
            self._metrics.count(Metric.REFUSED, reason=str(error.error_type))
            self._books.note(
                Fate.DISCARDED, self._network.name, reason=f"refused_{error.error_type}"
            )
            return
        self._books.note(
            record.fate, self._network.name, reason=record.reason, topic=record.output.topic
        )

    def _dropped(self, heard: Heard) -> str:
        if self._keep is not None and not self._keep(heard.raw):
            return "filtered"
        if self._suppressions.holds(heard.raw, self._network):
            return "suppressed"
        return ""

    async def _raw(self, heard: Heard, trace: str | None) -> Record:
        raw = heard.raw
        if len(heard.native) > INLINE_BYTES or self._network.native == "bytes":
            raw = by_reference(raw, await asyncio.to_thread(self._blobs.put, heard.native))
        return Record(raw_output(raw, trace), Fate.DELIVERED, "", raw.object_id)

    async def _dead_letter(self, turned: TurnedAway) -> Record:
        ref = None
        if len(turned.native) > VALUE_BYTES:
            ref = (await asyncio.to_thread(self._blobs.put, turned.native)).ref
        output = dead_letter_output(turned, self._origin, self._version, self._clock.now(), ref)
        return Record(output, Fate.DEAD_LETTERED, kind_of(turned.error), "")


TOPICS = (
    Topic.RAW_EVENTS,
    Topic.DEAD_LETTERS,
    Topic.STAGE_LEDGER,
    Topic.CONNECTOR_STATUS,
)
"""What connectors and gateway both write."""
