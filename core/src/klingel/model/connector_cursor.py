"""ConnectorCursor: generated from schemas/events/connector-cursor.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from klingel.model.base import Record
from msgspec import Meta


class ConnectorCursor(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Resume position of one source.
    """

    instance: Annotated[
        str, Meta(description='Connector instance.', max_length=120, min_length=1)
    ]
    source: Annotated[str, Meta(description='Source.', max_length=512, min_length=1)]
    cursor: Annotated[str, Meta(description='Position, opaque.', max_length=4096)]
    holder: Annotated[str, Meta(description='Holder of the lease.', max_length=200)]
    epoch: Annotated[int, Meta(description='Epoch of the lease.', ge=0)]
    saved_at: Annotated[datetime, Meta(tz=True, description='When saved.')]
    finished: (
        Annotated[bool, Meta(description='The source has an end and it was reached.')]
        | None
    ) = None
