"""Escalation: generated from schemas/events/escalation.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from klingel.model.base import Record
from msgspec import Meta


class Escalation(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    One case, told to one target at one level.
    """

    escalation_id: Annotated[
        str,
        Meta(description='Hash of case, target and level.', extra_json_schema={'pattern': '^[0-9a-f]{32}$'}),
    ]
    case_id: Annotated[
        str,
        Meta(
            description='Case.',
            max_length=2048,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    brand: Annotated[
        str, Meta(description='Brand.', max_length=60, extra_json_schema={'pattern': '^[a-z0-9][a-z0-9-]*$'})
    ]
    conversation_id: Annotated[
        str,
        Meta(
            description='Conversation.',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    level: Annotated[str, Meta(description='Level.', max_length=120)]
    target: Annotated[str, Meta(description='Target.', max_length=120)]
    state: Annotated[
        Literal['raised', 'acknowledged', 'withdrawn', 'ended'],
        Meta(description='State.'),
    ]
    reason: Annotated[
        Literal['warned', 'breached', 'rule', 'early_warning', 'incident', 'late_unanswered', 'not_acknowledged'],
        Meta(description='Why it was raised.'),
    ]
    revision: Annotated[
        int, Meta(description='Counts changes of this escalation.', ge=0)
    ]
    at: Annotated[datetime, Meta(tz=True, description='When it was raised, in event time.')]
    recorded_at: Annotated[datetime, Meta(tz=True, description='When care wrote it.')]
    cause: (
        Annotated[
            str,
            Meta(
                description='Timer, event or command that caused it.',
                max_length=1024,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    clock: (
        Annotated[
            Literal['first_response', 'next_response', 'resolution'],
            Meta(description='Clock that is warned of or breached.'),
        ]
        | None
    ) = None
    policy: (
        Annotated[str, Meta(description='Policy of that clock.', max_length=120)]
        | None
    ) = None
    waiting_since: (
        Annotated[datetime, Meta(tz=True, description="Customer's oldest unanswered word.")]
        | None
    ) = None
    deadline: (
        Annotated[datetime, Meta(tz=True, description='Deadline of the clock.')] | None
    ) = None
    queue: Annotated[str, Meta(description='Queue.', max_length=120)] | None = None
    priority: (
        Annotated[int, Meta(description='Priority of the case.', ge=0)] | None
    ) = None
    assignee: Annotated[str, Meta(description='Agent.', max_length=120)] | None = None
    network: Annotated[str, Meta(description='Network.', max_length=40)] | None = None
    channel: (
        Annotated[str, Meta(description='Channel.', max_length=256)] | None
    ) = None
    provisional: (
        Annotated[
            bool,
            Meta(description='A timer fired before all was read that lay before it.'),
        ]
        | None
    ) = None
    acknowledged_by: (
        Annotated[str, Meta(description='Who acknowledged.', max_length=120)]
        | None
    ) = None
    config_version: (
        Annotated[str, Meta(description='Configuration.', max_length=64)] | None
    ) = None
    customer_id: (
        Annotated[str, Meta(description='Customer of the case.')] | None
    ) = None
    opened_at: (
        Annotated[datetime, Meta(tz=True, 
                description='Opening of the case; tells which side of an erasure it lies on.'
            ),
        ]
        | None
    ) = None
