"""CaseCommand: generated from schemas/events/case-command.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from klingel.model.base import Record
from msgspec import Meta

Intent: TypeAlias = Annotated[str, Meta(max_length=40)]


class CaseCommand(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What somebody wants done with a case; applied once, whatever happens.
    """

    command_id: Annotated[
        str,
        Meta(
            description='Id; the same twice is applied once.',
            max_length=128,
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
            description='Conversation; it decides the partition.',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    kind: Annotated[
        Literal['acknowledge', 'assign', 'snooze', 'close', 'reopen', 'override', 'merge', 'split', 'similar_to', 'incident_joined', 'incident_closed'],
        Meta(description='What is wanted.'),
    ]
    at: Annotated[datetime, Meta(tz=True, description='When it was given.')]
    by: Annotated[str, Meta(description='Who gave it.', max_length=120, min_length=1)]
    case_id: (
        Annotated[
            str,
            Meta(
                description='Case that is meant.',
                max_length=2048,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    customer_id: (
        Annotated[
            str,
            Meta(
                description='Whose case is meant, where its generation is not known.',
                max_length=1024,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    object_id: (
        Annotated[
            str,
            Meta(
                description='Post that is meant: of an override of tone or intents, of a split, or one that lies in the case.',
                max_length=1024,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    assignee: (
        Annotated[
            str,
            Meta(
                description='assign: agent; absent: nobody.',
                max_length=120,
                min_length=1,
            ),
        ]
        | None
    ) = None
    until: Annotated[datetime, Meta(tz=True, description='snooze: until when.')] | None = None
    queue: (
        Annotated[str, Meta(description='override: queue.', max_length=120)] | None
    ) = None
    priority: (
        Annotated[int, Meta(description='override: score.', ge=0, le=1000)] | None
    ) = None
    tone: (
        Annotated[
            Literal['negative', 'neutral', 'positive'],
            Meta(description='override: tone of `object_id`.'),
        ]
        | None
    ) = None
    intents: (
        Annotated[
            list[Intent],
            Meta(description='override: intents of `object_id`.', max_length=9),
        ]
        | None
    ) = None
    target: (
        Annotated[
            str,
            Meta(
                description='similar_to: the other case; incident_joined: the incident; merge: the other case, where a case is meant.',
                max_length=2048,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    facts: (
        Annotated[
            dict[str, Any],
            Meta(
                description='merge: what the other side sends, as {facts, terms, commands} of case.v1; absent: it is asked to.'
            ),
        ]
        | None
    ) = None
    cause: (
        Annotated[
            str,
            Meta(
                description='What caused it: a link, an incident, another command.',
                max_length=1024,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    into_conversation_id: (
        Annotated[
            str,
            Meta(
                description='merge: conversation that the facts go to.',
                max_length=1024,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    into_customer_id: (
        Annotated[
            str,
            Meta(
                description="merge: customer whose case goes on with them; absent: each customer's own.",
                max_length=1024,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
