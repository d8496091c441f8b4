"""TrackedConversation: generated from schemas/events/tracked-conversation.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from klingel.model.base import Record
from msgspec import Meta


class TrackedConversation(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    A conversation that has an open case.
    """

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
    open_cases: Annotated[int, Meta(description='How many.', ge=1)]
    since: Annotated[datetime, Meta(tz=True, description='Opening of the oldest.')]
