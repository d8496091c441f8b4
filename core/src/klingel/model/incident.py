"""Incident: generated from schemas/events/incident.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from klingel.model.base import Record
from msgspec import Meta

Sample: TypeAlias = Annotated[str, Meta(max_length=1100)]


Intent: TypeAlias = Annotated[str, Meta(max_length=40)]


Topic: TypeAlias = Annotated[str, Meta(max_length=60)]


Target: TypeAlias = Annotated[str, Meta(max_length=120)]


class TermCount(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    A term and how often.
    """

    term: Annotated[str, Meta(description='Term.', max_length=80)]
    count: Annotated[int, Meta(description='How often.', ge=0)]


class Incident(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Many customers with the same question: found by their words, answered once.
    """

    incident_id: Annotated[
        str, Meta(description='Hash of brand and first post.', extra_json_schema={'pattern': '^[0-9a-f]{32}$'})
    ]
    brand: Annotated[
        str, Meta(description='Brand.', max_length=60, extra_json_schema={'pattern': '^[a-z0-9][a-z0-9-]*$'})
    ]
    state: Annotated[Literal['open', 'ended'], Meta(description='State.')]
    revision: Annotated[int, Meta(description='Counts changes of this incident.', ge=0)]
    opened_at: Annotated[datetime, Meta(tz=True, description='First post, in event time.')]
    updated_at: Annotated[datetime, Meta(tz=True, description='Newest post.')]
    count: Annotated[int, Meta(description='Posts.', ge=0)]
    authors: Annotated[int, Meta(description='Different authors.', ge=0)]
    kind: (
        Annotated[
            Literal['same_question', 'copies'],
            Meta(description='How its members are alike.'),
        ]
        | None
    ) = None
    lang: Annotated[str, Meta(description='Language.', max_length=12)] | None = None
    ended_at: Annotated[datetime, Meta(tz=True, description='End.')] | None = None
    growth_per_hour: (
        Annotated[float, Meta(description='Posts in the newest hour.', ge=0.0)]
        | None
    ) = None
    samples: (
        Annotated[
            list[Sample],
            Meta(description='Posts, the first and the newest.', max_length=20),
        ]
        | None
    ) = None
    terms: (
        Annotated[
            list[TermCount], Meta(description='Terms that they share.', max_length=20)
        ]
        | None
    ) = None
    intents: (
        Annotated[
            list[Intent], Meta(description='Intents that they share.', max_length=9)
        ]
        | None
    ) = None
    topics: (
        Annotated[
            list[Topic], Meta(description='Topics that they share.', max_length=9)
        ]
        | None
    ) = None
    networks: (
        Annotated[dict[str, int], Meta(description='Posts by network.')] | None
    ) = None
    targets: (
        Annotated[list[Target], Meta(description='Who is told.', max_length=16)]
        | None
    ) = None
    config_version: (
        Annotated[str, Meta(description='Configuration.', max_length=64)] | None
    ) = None
