"""WatchState: generated from schemas/events/watch-state.v1.schema.json; never edited."""

from __future__ import annotations

from builtins import bytes
from typing import Annotated, Literal

from klingel.model.base import Record
from msgspec import Meta


class WatchState(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    A piece of what watch remembers of a brand.
    """

    key: Annotated[
        str,
        Meta(
            description='Kind, brand and, of rows and posts, number; of a batch: `r` and its number.',
            max_length=100,
            min_length=3,
            extra_json_schema={'pattern': '^[srp]\\|[a-z0-9][a-z0-9-]*(\\|[0-9]{10})?$'},
        ),
    ]
    brand: Annotated[
        str,
        Meta(
            description='Brand; of a batch, which is of many: `watch`.',
            max_length=60,
            extra_json_schema={'pattern': '^[a-z0-9][a-z0-9-]*$'},
        ),
    ]
    kind: Annotated[
        Literal['snapshot', 'rows', 'posts', 'batch'], Meta(description='What it is.')
    ]
    number: Annotated[
        int,
        Meta(
            description='Counts the pieces of a partition; of a snapshot: the first one that it does not contain.',
            ge=0,
        ),
    ]
    data: Annotated[
        bytes,
        Meta(
            description='MessagePack, compressed by zlib where it is long; read by the version that wrote it, or rebuilt.'
        ),
    ]
