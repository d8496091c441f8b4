"""LedgerLine: generated from schemas/events/ledger-line.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from klingel.model.base import Record
from msgspec import Meta


class LedgerLine(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What one stage did with one range of offsets.
    """

    stage: Annotated[
        str, Meta(description='Stage.', max_length=60, extra_json_schema={'pattern': '^[a-z][a-z0-9-]*$'})
    ]
    topic: Annotated[
        str,
        Meta(
            description='Input topic; <stage>.timers for what timers caused; empty for connectors.',
            max_length=120,
        ),
    ]
    partition: Annotated[int, Meta(description='Partition.', ge=0)]
    before: Annotated[int, Meta(description='First offset of the range.', ge=0)]
    after: Annotated[int, Meta(description='Position after it.', ge=0)]
    received: Annotated[int, Meta(description='Messages read in the range.', ge=0)]
    redone: Annotated[
        int,
        Meta(
            description='Of these, messages whose source position had been passed before.',
            ge=0,
        ),
    ]
    fates: Annotated[
        dict[str, int],
        Meta(description='delivered, repeated, discarded, dead_lettered, waiting.'),
    ]
    emitted: Annotated[
        dict[str, int], Meta(description='Topic to records caused by these messages.')
    ]
    written_at: Annotated[datetime, Meta(tz=True, description='When.')]
    outside: (
        Annotated[
            int,
            Meta(
                description='Of these, messages that no stage wrote: without a source position.',
                ge=0,
            ),
        ]
        | None
    ) = None
    reasons: (
        Annotated[dict[str, int], Meta(description='<fate>:<reason> to count.')]
        | None
    ) = None
    networks: (
        Annotated[dict[str, int], Meta(description='<fate>:<network> to count.')]
        | None
    ) = None
    caused: (
        Annotated[
            dict[str, int], Meta(description='Topic to records that timers caused.')
        ]
        | None
    ) = None
    passed: (
        Annotated[
            dict[str, str],
            Meta(
                description='Upstream topic/partition to the highest source position passed.'
            ),
        ]
        | None
    ) = None
    holder: Annotated[str, Meta(description='Worker.', max_length=200)] | None = None
