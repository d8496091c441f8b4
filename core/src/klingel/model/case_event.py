"""CaseEvent: generated from schemas/events/case-event.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from klingel.model.base import Record
from msgspec import Meta, field


class CaseEvent(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What happened to a case.
    """

    case_event_id: Annotated[
        str, Meta(description='Hash of case, cause and kind.', extra_json_schema={'pattern': '^[0-9a-f]{32}$'})
    ]
    case_id: Annotated[str, Meta(description='Case.', max_length=2048, min_length=1)]
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
    customer_id: Annotated[
        str,
        Meta(
            description='Customer.',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    kind: Annotated[
        Literal['opened', 'joined', 'responded', 'waiting', 'reopened', 'routed', 'closed', 'corrected', 'late_unanswered', 'acknowledged', 'assigned', 'snoozed', 'unsnoozed', 'warned', 'breached', 'met', 'escalated', 'overridden', 'merged', 'split', 'linked', 'incident_joined', 'refused'],
        Meta(description='What happened.'),
    ]
    at: Annotated[datetime, Meta(tz=True, description='Event time.')]
    recorded_at: Annotated[datetime, Meta(tz=True, description='When care wrote it.')]
    cause: Annotated[
        str,
        Meta(
            description='Event or command that caused it.',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    queue: Annotated[str, Meta(description='Queue.', max_length=120)] | None = None
    priority: Annotated[int, Meta(description='Priority.', ge=0)] | None = None
    seconds: (
        Annotated[
            float,
            Meta(description='Wall-clock duration that the kind measures.', ge=0.0),
        ]
        | None
    ) = None
    detail: (
        Annotated[str, Meta(description='Closed-set reason.', extra_json_schema={'pattern': '^[a-z_]+$'})]
        | None
    ) = None
    config_version: (
        Annotated[str, Meta(description='Configuration.', max_length=64)] | None
    ) = None
    opened_at: (
        Annotated[datetime, Meta(tz=True, 
                description='Opening of the case; tells which side of an erasure it lies on.'
            ),
        ]
        | None
    ) = None
    clock: (
        Annotated[
            Literal['first_response', 'next_response', 'resolution'],
            Meta(description='Clock that the kind is about.'),
        ]
        | None
    ) = None
    policy: (
        Annotated[str, Meta(description='Policy of that clock.', max_length=120)]
        | None
    ) = None
    deadline: (
        Annotated[datetime, Meta(tz=True, description='Deadline of that clock.')] | None
    ) = None
    business_seconds: (
        Annotated[
            float, Meta(description='Business time that the kind measures.', ge=0.0)
        ]
        | None
    ) = None
    agent: (
        Annotated[str, Meta(description='Agent who answered.', max_length=120)]
        | None
    ) = None
    by: (
        Annotated[str, Meta(description='Who gave the command.', max_length=120)]
        | None
    ) = None
    level: (
        Annotated[str, Meta(description='Escalation level.', max_length=120)]
        | None
    ) = None
    provisional: (
        Annotated[
            bool,
            Meta(description='A timer fired before all was read that lay before it.'),
        ]
        | None
    ) = None
    corrects: (
        Annotated[
            str,
            Meta(
                description='The case event that is no longer so.',
                extra_json_schema={'pattern': '^[0-9a-f]{32}$'},
            ),
        ]
        | None
    ) = None
    was: Annotated[datetime, Meta(tz=True, description='What was said before.')] | None = None
    is_: Annotated[datetime, Meta(tz=True, description='What is so.')] | None = field(
        name='is', default=None
    )
