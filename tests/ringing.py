"""What several suites ring with: generic events through the real mapping, and two brands."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from klingel.config.brand import Brand
from klingel.config.compiled import CompiledBrand
from klingel.contracts.envelope import Message, Output
from klingel_connectors.raw import Heard, Origin, raw_output, read_delivery
from klingel_networks.contract import Delivery
from klingel_networks.registry import installed_network

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SOURCE = "forum"
CHANNEL = "nordlicht-forum"
ORIGIN = Origin(connector="webhook", instance="webhook-1", network="webhook", channel=None)


def brand(name: str = "nordlicht", **parts: Any) -> CompiledBrand:
    """Compile a brand that listens for its own name; `parts` are parts of its file."""
    content: dict[str, Any] = {
        "brand": name,
        "name": name.capitalize(),
        "accounts": [{"network": "webhook", "id": f"{SOURCE}:{name}-team"}],
        "listening": [{"id": "name", "query": f'"{name}"'}],
        "queues": [{"id": "first"}],
        **parts,
    }
    return CompiledBrand.compile(Brand.model_validate(content), "0123456789abcdef")


def generic(native_id: str, text: str | None = "hallo nordlicht", **fields: Any) -> dict[str, Any]:
    """Build a generic event; a field of None is left out."""
    event: dict[str, Any] = {
        "id": native_id,
        "network": "forum",
        "author": {"id": "anna"},
        "text": text,
        "published_at": "2026-03-02T12:00:00Z",
        **fields,
    }
    return {name: value for name, value in event.items() if value is not None}


def gone(native_id: str, **fields: Any) -> dict[str, Any]:
    """Build the deletion of a generic event."""
    return {"id": native_id, "network": "forum", "change": "deleted", **fields}


def ring(
    event: dict[str, Any],
    *,
    channel: str | None = None,
    mode: Any = "live",
    source: str = SOURCE,
    received_at: datetime = NOON + timedelta(seconds=5),
) -> Output:
    """Return the record of `raw-events` that the webhook connector makes of a generic event."""
    origin = Origin("webhook", "webhook-1", "webhook", channel=channel)
    delivery = Delivery(msgspec.json.encode(event), {"source": source})
    (heard,) = read_delivery(installed_network("webhook"), delivery, origin, mode, received_at)
    assert isinstance(heard, Heard), heard
    return raw_output(heard.raw)


def as_message(output: Output, offset: int, partition: int = 0) -> Message:
    """Return a record as it is read."""
    return Message(
        output.topic, partition, offset, output.key, output.value, output.headers, 1_772_452_805_000
    )
