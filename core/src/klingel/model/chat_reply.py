"""ChatReply: generated from schemas/events/chat-reply.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from klingel.model.base import Record
from msgspec import Meta


class ChatReply(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What the brand says in a session of the web chat.
    """

    channel: Annotated[
        str,
        Meta(
            description='Chat of the brand.',
            max_length=120,
            min_length=1,
            extra_json_schema={'pattern': '^[A-Za-z0-9][A-Za-z0-9._-]*$'},
        ),
    ]
    session: Annotated[
        str,
        Meta(
            description='Session that it is for: second of its beginning and 128 random bits, in hex.',
            extra_json_schema={'pattern': '^[0-9a-f]{8}-[0-9a-f]{32}$'},
        ),
    ]
    reply_id: Annotated[
        str,
        Meta(
            description='Id within the session; the same reply sent again has the same.',
            max_length=64,
            min_length=1,
            extra_json_schema={'pattern': '^[A-Za-z0-9._-]+$'},
        ),
    ]
    text: Annotated[
        str,
        Meta(
            description='What is said, as the customer reads it.',
            max_length=10000,
            min_length=1,
        ),
    ]
    written_at: Annotated[datetime, Meta(tz=True, description='When it was sent.')]
    name: (
        Annotated[
            str,
            Meta(description='Who speaks, as the customer reads it.', max_length=80),
        ]
        | None
    ) = None
