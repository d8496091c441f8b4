"""From a delivery to raw events: explode, identify, envelope. Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from klingel.contracts import outputs
from klingel.contracts.envelope import Output
from klingel.domain.identity import REVISION_MAX, event_id
from klingel.errors import ErrorType, InvalidMessage, InvariantViolation
from klingel.model import RawEvent
from klingel.model.raw_event import BlobRef
from klingel.stage.dead_letters import Component, dead_letter_from_outside
from klingel_networks.arrival import Mode
from klingel_networks.contract import Delivery, Identity, NativeObject, Network, Refused

_ID = re.compile(r"[^\x00-\x1f\ud800-\udfff]{1,1024}")
_EVENT_ID_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Origin:
    """Who listens: connector instance, its holder's name, the channel it listens to."""

    connector: str
    instance: str
    network: str
    holder: str = ""
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """A valid object: its raw event, the original inline."""

    raw: RawEvent
    native: bytes


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A piece that can never succeed, its bytes and why.

    `error` is an InvalidMessage, or whatever our own mapping raised on it.
    """

    native: bytes
    error: Exception


Read = Heard | TurnedAway


def read_delivery(
    network: Network, delivery: Delivery, origin: Origin, mode: Mode, received_at: datetime
) -> list[Read]:
    """Cut a delivery into raw events: n objects in, n results out, in order (I2, K4).

    What a mapping raises becomes a TurnedAway with the bytes; only a broken invariant passes.
    """
    try:
        pieces = network.explode(delivery)
    except InvariantViolation:
        raise
    except Exception as error:  # noqa: BLE001  what pure code raises on is a dead letter
        return [TurnedAway(delivery.body, error)]
    return [read_piece(network, piece, origin, mode, received_at) for piece in pieces]


def read_piece(
    network: Network,
    piece: NativeObject | Refused,
    origin: Origin,
    mode: Mode,
    received_at: datetime,
) -> Read:
    """Turn one piece of a delivery into its raw event, or say why it is none."""
    if isinstance(piece, Refused):
        return TurnedAway(piece.native, piece.error)
    try:
        identity = network.identify(piece.native, piece.context)
        check_identity(identity)
    except InvariantViolation:
        raise
    except Exception as error:  # noqa: BLE001  as above
        return TurnedAway(piece.native, error)
    return Heard(raw_event(piece, identity, network.name, origin, mode, received_at), piece.native)


def check_identity(identity: Identity) -> None:
    """Refuse an identity that no topic, header or index could carry; raises InvalidMessage."""
    whole = event_id(identity.object_id, identity.revision)
    if not _ID.fullmatch(whole) or len(whole.encode()) > _EVENT_ID_BYTES:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD,
            "the id is longer than 1024 bytes or holds control characters",
            path="id",
        )
    if not 0 <= identity.revision <= REVISION_MAX:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD, "the revision must be between 0 and 2^42 - 1", path="revision"
        )


def raw_event(
    piece: NativeObject,
    identity: Identity,
    network: str,
    origin: Origin,
    mode: Mode,
    received_at: datetime,
) -> RawEvent:
    """Build the raw event; the native object is carried byte for byte."""
    return RawEvent(
        event_id=event_id(identity.object_id, identity.revision),
        object_id=identity.object_id,
        revision=identity.revision,
        network=network,
        connector=origin.instance,
        kind=identity.kind,
        change=identity.change,
        mode="backfill" if piece.context.get("mode") == "backfill" else mode,
        received_at=received_at,
        channel=piece.context.get("channel") or origin.channel,
        native=msgspec.Raw(piece.native),
        context=dict(piece.context) or None,
    )


def by_reference(raw: RawEvent, reference: BlobRef) -> RawEvent:
    """Return the raw event with its original in the blob store instead of inline."""
    return msgspec.structs.replace(raw, native=None, native_ref=reference)


def raw_output(raw: RawEvent, trace: str | None = None) -> Output:
    """Return the record of a raw event that its own connector writes.

    Args:
        raw: the event.
        trace: the sender's trace id; None where it told none.
    """
    return outputs.raw_output(raw, f"klingel/connector/{raw.connector}", trace=trace)


def dead_letter_output(
    turned: TurnedAway, origin: Origin, version: str, now: datetime, ref: str | None
) -> Output:
    """Return the dead letter of a piece; `ref` is its blob address when it is cut at 64 KiB."""
    component = Component(
        service=f"klingel-connectors {version}",
        stage=f"connector-{origin.connector}",
        holder=origin.holder,
    )
    return dead_letter_from_outside(
        turned.native,
        origin.instance.encode(),
        turned.error,
        component,
        now,
        network=origin.network,
        ref=ref,
    )


Keep = Callable[[RawEvent], bool]
"""Whether a raw event may concern a brand; a superset, never too narrow."""
