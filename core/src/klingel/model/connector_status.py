"""ConnectorStatus: generated from schemas/events/connector-status.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from klingel.model.base import Record
from msgspec import Meta


class GapRecord(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    An entry of the gap ledger: something that was not heard.
    """

    channel: Annotated[
        str,
        Meta(
            description='What was listened to; empty where there is but one.',
            max_length=120,
        ),
    ]
    cause: Annotated[
        str, Meta(description='Why.', max_length=40, extra_json_schema={'pattern': '^[a-z][a-z_]*$'})
    ]
    outcome: Annotated[
        Literal['open', 'filled', 'partial', 'unrecoverable'],
        Meta(description='What came of it.'),
    ]
    opened_at: Annotated[datetime, Meta(tz=True, description='When it was noticed.')]
    key: (
        Annotated[
            str, Meta(description="The client's name of the gap.", max_length=200)
        ]
        | None
    ) = None
    closed_at: (
        Annotated[datetime, Meta(tz=True, description='When its outcome was certain.')]
        | None
    ) = None
    start: (
        Annotated[str, Meta(description='Last position before it.', max_length=512)]
        | None
    ) = None
    end: (
        Annotated[str, Meta(description='First position behind it.', max_length=512)]
        | None
    ) = None
    began_at: (
        Annotated[datetime, Meta(tz=True, description="The network's time at its start.")]
        | None
    ) = None
    ended_at: (
        Annotated[datetime, Meta(tz=True, description="The network's time at its end.")]
        | None
    ) = None
    recovered: (
        Annotated[int, Meta(description='Events that filled it.', ge=0)] | None
    ) = None


class Spent(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What the network charges for, this month.
    """

    month: Annotated[str, Meta(description='In UTC.', extra_json_schema={'pattern': '^[0-9]{4}-[0-9]{2}$'})]
    units: Annotated[float, Meta(description='Counted.', ge=0.0)]
    unit: (
        Annotated[str, Meta(description='What is counted.', max_length=60)] | None
    ) = None
    budget: (
        Annotated[float, Meta(description='Most that may be spent in a month.', ge=0.0)]
        | None
    ) = None
    items: (
        Annotated[dict[str, float], Meta(description='By item, the largest ones.')]
        | None
    ) = None
    shared: (
        Annotated[
            float,
            Meta(
                description='Counted by all services that spend from the budget, this one included; absent where it is alone.',
                ge=0.0,
            ),
        ]
        | None
    ) = None


class LimitState(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    One limit of the network.
    """

    bucket: Annotated[str, Meta(description='Which.', max_length=60)]
    remaining: Annotated[int, Meta(description='Calls left.', ge=0)] | None = None
    limit: Annotated[int, Meta(description='Calls a window.', ge=0)] | None = None
    resets_at: (
        Annotated[datetime, Meta(tz=True, description='When the window begins anew.')]
        | None
    ) = None


class ConnectorStatus(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    State of one connector instance.
    """

    instance: Annotated[
        str,
        Meta(
            description="Connector instance; a gap's own record has its id behind it.",
            max_length=120,
            min_length=1,
        ),
    ]
    connector: Annotated[
        str, Meta(description='Connector.', max_length=60, min_length=1)
    ]
    network: Annotated[
        str, Meta(description='Network.', max_length=40, extra_json_schema={'pattern': '^[a-z][a-z0-9_]*$'})
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
    credential_days: (
        Annotated[float, Meta(description='Until the credential ends.', ge=0.0)]
        | None
    ) = None
    gaps_open: (
        Annotated[int, Meta(description='Gaps that are open now.', ge=0)] | None
    ) = None
    channels: (
        Annotated[int, Meta(description='Channels that it polls.', ge=0)] | None
    ) = None
    channels_waiting: (
        Annotated[int, Meta(description='Channels that are away or refused now.', ge=0)]
        | None
    ) = None
    gap: GapRecord | None = None
    spent: Spent | None = None
    limits: (
        Annotated[
            list[LimitState],
            Meta(description='What the network said of its limits.', max_length=32),
        ]
        | None
    ) = None
