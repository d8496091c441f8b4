"""ConnectorStatus: generated from schemas/events/connector-status.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from klingel.model.base import Record
from msgspec import Meta


class ConnectorStatus(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    State of one connector instance.
    """

    instance: Annotated[
        str, Meta(description='Connector instance.', max_length=120, min_length=1)
    ]
    connector: Annotated[
        str, Meta(description='Connector.', max_length=60, min_length=1)
    ]
    network: Annotated[
        str, Meta(description='Network.', max_length=40, pattern='^[a-z][a-z0-9_]*$')
    ]
    state: Annotated[
        Literal['starting', 'running', 'waiting', 'finished', 'stopped', 'failed'],
        Meta(description='State.'),
    ]
    at: Annotated[datetime, Meta(tz=True, description='When written.')]
    credential: (
        Annotated[
            Literal['none', 'ok', 'expiring', 'refresh_failed', 'revoked'],
            Meta(description='State of the credential.'),
        ]
        | None
    ) = None
    reason: (
        Annotated[
            str,
            Meta(
                description='One sentence without text, handles or secrets.',
                max_length=300,
            ),
        ]
        | None
    ) = None
    last_event_at: (
        Annotated[datetime, Meta(tz=True, description='Newest event received.')] | None
    ) = None
    published: (
        Annotated[int, Meta(description='Acknowledged since start.', ge=0)] | None
    ) = None
    refused: (
        Annotated[int, Meta(description='Refused since start.', ge=0)] | None
    ) = None
    in_flight: (
        Annotated[int, Meta(description='Not yet acknowledged.', ge=0)] | None
    ) = None
    cursor: (
        Annotated[str, Meta(description='Newest saved cursor.', max_length=512)]
        | None
    ) = None
    lag_seconds: (
        Annotated[float, Meta(description='Behind the source.', ge=0.0)] | None
    ) = None
