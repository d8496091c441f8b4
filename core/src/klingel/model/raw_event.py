"""RawEvent: generated from schemas/events/raw-event.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from klingel.model.base import OptionalRaw, Record
from msgspec import Meta


class BlobRef(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Where an original above 512 KiB lies.
    """

    sha256: Annotated[str, Meta(description='Hex digest.', extra_json_schema={'pattern': '^[0-9a-f]{64}$'})]
    size: Annotated[int, Meta(description='Bytes.', ge=0)]
    ref: Annotated[str, Meta(description='Address in the blob store.', min_length=1)]


class RawEvent(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    One native object exactly as received, plus the context it needs; no brand yet.
    """

    event_id: Annotated[
        str,
        Meta(
            description='<object_id>@<revision>',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    object_id: Annotated[
        str,
        Meta(
            description='<network>:<scope>:<native id>',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    revision: Annotated[
        int,
        Meta(
            description='Edit time in ms or edit counter; 0 when never edited; 2^42-1 for a deletion without one.',
            ge=0,
            le=4398046511103,
        ),
    ]
    network: Annotated[
        str,
        Meta(
            description='Network whose mapping reads this.',
            max_length=40,
            extra_json_schema={'pattern': '^[a-z][a-z0-9_]*$'},
        ),
    ]
    connector: Annotated[
        str,
        Meta(
            description='Connector instance that published it.',
            max_length=120,
            min_length=1,
        ),
    ]
    kind: Annotated[
        Literal['post', 'reply', 'repost', 'quote', 'comment', 'direct_message', 'email', 'review', 'reaction', 'story', 'chat', 'unknown'],
        Meta(description='What the thing is; meanings follow ActivityStreams 2.'),
    ]
    change: Annotated[
        Literal['created', 'updated', 'deleted', 'completed'],
        Meta(description='What happened to it.'),
    ]
    mode: Annotated[
        Literal['live', 'gap_fill', 'backfill', 'remap'],
        Meta(description='How it reached us.'),
    ]
    received_at: Annotated[datetime, Meta(tz=True, description='When klingel first saw it.')]
    channel: (
        Annotated[
            str,
            Meta(
                description='Own account, page, inbox or source it came through.',
                max_length=256,
            ),
        ]
        | None
    ) = None
    native: Annotated[OptionalRaw, Meta(description='The native object, byte for byte.')] = None
    native_ref: BlobRef | None = None
    context: (
        Annotated[
            dict[str, str],
            Meta(
                description="What the mapping needs beside the object, such as the source or the stream's sequence."
            ),
        ]
        | None
    ) = None
