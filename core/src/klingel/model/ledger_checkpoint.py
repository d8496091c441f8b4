"""LedgerCheckpoint: generated from schemas/events/ledger-checkpoint.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from klingel.model.base import Record
from msgspec import Meta


class LedgerSum(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    The lines of a stage over one input partition, taken together.
    """

    position: Annotated[
        int, Meta(description='Offset in the ledger behind the last line.', ge=0)
    ]
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
    before: Annotated[int, Meta(description='First offset of the first line.', ge=0)]
    after: Annotated[int, Meta(description='Position after the last line.', ge=0)]
    received: Annotated[int, Meta(description='Messages read.', ge=0)]
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
    written_at: Annotated[datetime, Meta(tz=True, description='When the last line was written.')]
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
    caused: (
        Annotated[
            dict[str, int], Meta(description='Topic to records that timers caused.')
        ]
        | None
    ) = None
    holder: (
        Annotated[str, Meta(description='Worker of the last line.', max_length=200)]
        | None
    ) = None


class LedgerCheckpoint(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Sums of the settled lines of one partition of the ledger.
    """

    partition: Annotated[int, Meta(description='Partition of the ledger.', ge=0)]
    position: Annotated[
        int, Meta(description='Offset in it: what lies before is in the sums.', ge=0)
    ]
    whole: Annotated[
        bool,
        Meta(description='The sums begin with the first line that was ever written.'),
    ]
    books: Annotated[
        list[LedgerSum],
        Meta(description='One for each stage, topic and partition with lines there.'),
    ]
    written_at: Annotated[datetime, Meta(tz=True, description='When.')]
