"""Suppression: generated from schemas/events/suppression.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from klingel.model.base import Record
from msgspec import Meta


class Suppression(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Somebody or something was erased: what was said before is not heard again.
    """

    subject: Annotated[
        str,
        Meta(
            description="Keyed hash (HMAC-SHA-256) of whom or what; also the record's key.",
            extra_json_schema={'pattern': '^[0-9a-f]{64}$'},
        ),
    ]
    kind: Annotated[
        Literal['author', 'object', 'case'],
        Meta(
            description="What the hash is of: a person's id on a network, one object, or one case."
        ),
    ]
    key_id: Annotated[
        str,
        Meta(
            description='Which key the hash was made with: a hash of that key.',
            extra_json_schema={'pattern': '^[0-9a-f]{16}$'},
        ),
    ]
    erased_at: Annotated[datetime, Meta(tz=True, 
            description='What was published before it is not heard again; what comes later is.'
        ),
    ]
    done_at: (
        Annotated[datetime, Meta(tz=True, 
                description='When nothing of it was found any more; that record has a key of its own, `<subject>|done`.'
            ),
        ]
        | None
    ) = None
