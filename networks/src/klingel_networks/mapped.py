"""One delivery through a network's pure half: what the command `klingel map` shows."""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec

from klingel.domain.identity import event_id
from klingel.errors import InvalidMessage
from klingel.model import RawEvent
from klingel.model.raw_event import BlobRef
from klingel_networks.contract import Delivery, Identity, NativeObject, Network, Refused

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)  # a mapping may not look at the receipt


def raw_event(
    network: str,
    found: NativeObject,
    identity: Identity,
    *,
    connector: str = "map",
    received_at: datetime = _NEVER,
) -> RawEvent:
    """Return the raw event of one object, as a connector publishes it, of mode `live`."""
    return RawEvent(
        event_id=event_id(identity.object_id, identity.revision),
        object_id=identity.object_id,
        revision=identity.revision,
        network=network,
        connector=connector,
        kind=identity.kind,
        change=identity.change,
        mode="live",
        received_at=received_at,
        channel=found.context.get("channel") or found.context.get("source"),
        native=msgspec.Raw(found.native),
        context=dict(found.context),
    )


def as_published(network: Network, raw: RawEvent) -> RawEvent:
    """Return the raw event as it travels: an original that is no JSON lies in the blob store."""
    if network.native == "json" or raw.native is None:
        return raw
    content = bytes(raw.native)
    digest = sha256(content).hexdigest()
    reference = BlobRef(sha256=digest, size=len(content), ref=f"{digest[:2]}/{digest}")
    return msgspec.structs.replace(raw, native=None, native_ref=reference)


def map_delivery(network: Network, body: bytes, context: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one plain dict an object of a delivery; one in all when it cannot be read at all.

    Each holds `fate`; a delivered one `event` (the draft's present fields with `event_id`,
    `object_id`, `revision`, `network`), a dead-lettered one `reason`, `sentence` and `path`. An
    object of an unknown kind is delivered with kind `unknown`; whether a brand hears it is not
    decided here.
    """
    try:
        pieces = network.explode(Delivery(body, context))
    except InvalidMessage as error:
        return [_dead_lettered(error)]
    return [_mapped(network, piece) for piece in pieces]


def _mapped(network: Network, piece: NativeObject | Refused) -> dict[str, Any]:
    if isinstance(piece, Refused):
        return _dead_lettered(piece.error)
    try:
        identity = network.identify(piece.native, piece.context)
        raw = raw_event(network.name, piece, identity)
        draft = network.to_social_event(raw)
    except InvalidMessage as error:
        return _dead_lettered(error)
    said = {
        name: value
        for name, value in msgspec.json.decode(msgspec.json.encode(draft)).items()
        if value not in (None, [])
    }
    named = {
        "event_id": raw.event_id,
        "object_id": raw.object_id,
        "revision": raw.revision,
        "network": raw.network,
    }
    return {"fate": "delivered", "event": named | said}


def _dead_lettered(error: InvalidMessage) -> dict[str, Any]:
    told = {
        "fate": "dead_lettered",
        "reason": str(error.error_type),
        "sentence": str(error),
    }
    return told | {"path": error.path} if error.path else told
