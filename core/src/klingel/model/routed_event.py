"""RoutedEvent: generated from schemas/events/routed-event.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from klingel.model.base import Record
from msgspec import Meta, Raw

OverruledIntent: TypeAlias = Annotated[str, Meta(max_length=40)]


class Decision(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Why it opened, joined or did nothing, and where it goes.
    """

    number: Annotated[
        int,
        Meta(
            description="Counts care's changes to this object; the document version is revision * 2^20 + number.",
            ge=0,
            le=1048575,
        ),
    ]
    direction: Annotated[
        Literal['inbound', 'outbound', 'third_party'],
        Meta(description='Seen from the brand.'),
    ]
    triage: Annotated[
        str,
        Meta(
            description='Reason, of the closed set in klingel.domain.triage.',
            extra_json_schema={'pattern': '^[a-z_]+$'},
        ),
    ]
    routed_at: Annotated[datetime, Meta(tz=True, description='When care decided.')]
    config_version: Annotated[
        str, Meta(description="Version of the brand's configuration.", max_length=64)
    ]
    case_id: (
        Annotated[
            str,
            Meta(
                description='Case it belongs to.',
                max_length=2048,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    queue: Annotated[str, Meta(description='Queue.', max_length=120)] | None = None
    priority: (
        Annotated[int, Meta(description='Sum of named parts.', ge=0)] | None
    ) = None
    rule: (
        Annotated[str, Meta(description='Routing rule that matched.', max_length=120)]
        | None
    ) = None
    explain: (
        Annotated[
            list[str], Meta(description='One line a rule tried, first match last.')
        ]
        | None
    ) = None
    overruled_tone: (
        Annotated[
            Literal['negative', 'neutral', 'positive'],
            Meta(description='Tone, as a person decided.'),
        ]
        | None
    ) = None
    overruled_intents: (
        Annotated[
            list[OverruledIntent],
            Meta(description='Intents, as a person decided.', max_length=9),
        ]
        | None
    ) = None
    overruled_by: (
        Annotated[str, Meta(description='Who overruled.', max_length=120)] | None
    ) = None
    outreach: (
        Annotated[
            bool,
            Meta(
                description="It is not addressed to the brand; answering it is a choice, within the network's reply policy."
            ),
        ]
        | None
    ) = None
    out_of_hours: (
        Annotated[
            bool, Meta(description="It came when its queue's calendar was closed.")
        ]
        | None
    ) = None


class RoutedEvent(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    The social event with care's decision.
    """

    event: Annotated[
        Raw,
        Meta(
            description='The social event, byte for byte as published (social-event.v1).'
        ),
    ]
    decision: Decision
