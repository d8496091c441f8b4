"""Alert: generated from schemas/events/alert.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from klingel.model.base import Record
from msgspec import Meta

Target: TypeAlias = Annotated[str, Meta(max_length=120)]


Event: TypeAlias = Annotated[str, Meta(max_length=1100)]


Incident: TypeAlias = Annotated[str, Meta(max_length=128)]


class TermCount(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    A term and how often.
    """

    term: Annotated[str, Meta(description='Term.', max_length=80)]
    count: Annotated[int, Meta(description='How often.', ge=0)]


class Evidence(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What it rests on.
    """

    terms: (
        Annotated[
            list[TermCount],
            Meta(
                description='Terms that stand out, most frequent first.', max_length=20
            ),
        ]
        | None
    ) = None
    events: (
        Annotated[
            list[Event], Meta(description='Examples, weightiest first.', max_length=20)
        ]
        | None
    ) = None
    wave_size: (
        Annotated[int, Meta(description='Events since its beginning.', ge=0)]
        | None
    ) = None
    copies: (
        Annotated[
            int, Meta(description='How often its most repeated text was said.', ge=0)
        ]
        | None
    ) = None
    authors: (
        Annotated[int, Meta(description='Different authors.', ge=0)] | None
    ) = None
    reach: (
        Annotated[int, Meta(description='Followers of all authors together.', ge=0)]
        | None
    ) = None
    negative_share: (
        Annotated[float, Meta(description='Share of negative ones.', ge=0.0, le=1.0)]
        | None
    ) = None
    networks: (
        Annotated[dict[str, int], Meta(description='Events by network.')] | None
    ) = None
    incidents: (
        Annotated[
            list[Incident], Meta(description='Incidents within it.', max_length=8)
        ]
        | None
    ) = None


class Alert(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Something is brewing: one matter of one brand, from its beginning to its end.
    """

    alert_id: Annotated[
        str,
        Meta(
            description='Hash of brand, matter and beginning.', extra_json_schema={'pattern': '^[0-9a-f]{32}$'}
        ),
    ]
    brand: Annotated[
        str, Meta(description='Brand.', max_length=60, extra_json_schema={'pattern': '^[a-z0-9][a-z0-9-]*$'})
    ]
    kind: Annotated[
        Literal['negative', 'volume', 'positive', 'dormant_channel', 'silent_connector', 'nobody_answered', 'oldest_unanswered', 'pile_on'],
        Meta(description='What it is.'),
    ]
    state: Annotated[Literal['open', 'ended'], Meta(description='State.')]
    severity: Annotated[int, Meta(description='1 to 10.', ge=1, le=10)]
    revision: Annotated[int, Meta(description='Counts changes of this alert.', ge=0)]
    opened_at: Annotated[datetime, Meta(tz=True, description='Beginning, in event time.')]
    updated_at: Annotated[datetime, Meta(tz=True, description='Newest row that it rests on.')]
    topic: (
        Annotated[
            str,
            Meta(description='Topic; absent for all topics together.', max_length=60),
        ]
        | None
    ) = None
    tone: (
        Annotated[
            Literal['negative', 'neutral', 'positive'],
            Meta(description='Tone that is counted; absent for all.'),
        ]
        | None
    ) = None
    queue: (
        Annotated[str, Meta(description='Queue that it is about.', max_length=120)]
        | None
    ) = None
    channel: (
        Annotated[
            str,
            Meta(description='Channel or connector that it is about.', max_length=256),
        ]
        | None
    ) = None
    network: (
        Annotated[str, Meta(description='Network of that channel.', max_length=40)]
        | None
    ) = None
    conversation_id: (
        Annotated[
            str,
            Meta(
                description='pile_on: thread in which customers rouse each other.',
                max_length=1024,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    ended_at: Annotated[datetime, Meta(tz=True, description='End.')] | None = None
    longevity_seconds: (
        Annotated[float, Meta(description='How long it has lasted.', ge=0.0)]
        | None
    ) = None
    baseline: (
        Annotated[float, Meta(description='Events expected an interval.', ge=0.0)]
        | None
    ) = None
    observed: (
        Annotated[
            float,
            Meta(description='Events counted in the interval of its height.', ge=0.0),
        ]
        | None
    ) = None
    interval_seconds: (
        Annotated[int, Meta(description='Length of an interval.', ge=0)] | None
    ) = None
    score: (
        Annotated[float, Meta(description='How surprising, 0 to 1.', ge=0.0, le=1.0)]
        | None
    ) = None
    reason: (
        Annotated[
            str,
            Meta(
                description='One sentence without text, handles or secrets; silent_connector: what its status says.',
                max_length=300,
            ),
        ]
        | None
    ) = None
    evidence: Evidence | None = None
    targets: (
        Annotated[list[Target], Meta(description='Who is told.', max_length=16)]
        | None
    ) = None
    config_version: (
        Annotated[str, Meta(description='Configuration.', max_length=64)] | None
    ) = None
