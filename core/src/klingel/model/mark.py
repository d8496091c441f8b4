"""MarkBatch: generated from schemas/events/mark.v1.schema.json; never edited."""

from __future__ import annotations

from builtins import bytes
from typing import Annotated

from klingel.model.base import Record
from msgspec import Meta


class MarkBatch(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What one batch of understand saw: packed rows.
    """

    partition: Annotated[int, Meta(description='Partition of raw-events.', ge=0)]
    rows: Annotated[
        bytes,
        Meta(
            description='32 bytes a row: object hash, revision, offset, content hash whose lowest bit says heard.'
        ),
    ]
