"""Notification: generated from schemas/events/notification.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from klingel.model.base import OptionalRaw, Record
from msgspec import Meta, Raw


class Member(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    One of what is told together.
    """

    matter: Annotated[
        str,
        Meta(
            description='What it is about: kind and id, such as escalation/3f1d…; batch for what is in the air.',
            max_length=200,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    revision: Annotated[int, Meta(description='Revision of the record.', ge=0)]
    since: Annotated[datetime, Meta(tz=True, description='Since when it waited.')]
    offset: Annotated[int, Meta(description='Offset of its wanted entry.', ge=0)]
    record: Annotated[Raw, Meta(description='The escalation, alert or incident.')]


class Notification(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What is to be told to a target (wanted), what has found its end (settled), what is in the air (sending).
    """

    entry: Annotated[
        Literal['wanted', 'settled', 'sending'], Meta(description='Kind of entry.')
    ]
    brand: Annotated[
        str, Meta(description='Brand.', max_length=60, extra_json_schema={'pattern': '^[a-z0-9][a-z0-9-]*$'})
    ]
    target: Annotated[
        str,
        Meta(
            description='Target.',
            max_length=120,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    matter: Annotated[
        str,
        Meta(
            description='What it is about: kind and id, such as escalation/3f1d…; batch for what is in the air.',
            max_length=200,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    at: Annotated[datetime, Meta(tz=True, description='When the notifier wrote it; wanted: when it first was.'),
    ]
    revision: (
        Annotated[int, Meta(description='Revision of the record.', ge=0)] | None
    ) = None
    record: Annotated[OptionalRaw, Meta(description='wanted: the escalation, alert or incident.')] = None
    outcome: (
        Annotated[
            Literal['told', 'over', 'nothing_new', 'refused', 'unreachable'],
            Meta(description='settled: how it ended.'),
        ]
        | None
    ) = None
    gist: (
        Annotated[
            str,
            Meta(
                description='settled: what the target was told last; absent while it was told nothing.',
                max_length=200,
            ),
        ]
        | None
    ) = None
    key: (
        Annotated[str, Meta(description='sending: idempotency key.', max_length=80)]
        | None
    ) = None
    members: (
        Annotated[
            list[Member],
            Meta(
                description='sending: what it tells; absent once nothing is in the air.',
                max_length=100,
            ),
        ]
        | None
    ) = None
