"""MediaJob: generated from schemas/events/media-job.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from klingel.model.base import Record
from msgspec import Meta


class MediumToFetch(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    One medium; it has an id or an address.
    """

    kind: Annotated[
        Literal['image', 'video', 'audio', 'file', 'sticker', 'location', 'link'],
        Meta(description='Kind of medium.'),
    ]
    id: (
        Annotated[str, Meta(description='Id on the network.', max_length=512)]
        | None
    ) = None
    url: (
        Annotated[str, Meta(description='Address, perhaps ended.', max_length=4096)]
        | None
    ) = None
    alt: Annotated[str, Meta(description='Alternative text.')] | None = None
    sha256: (
        Annotated[
            str,
            Meta(
                description='Of the bytes, where an earlier attempt stored them.',
                extra_json_schema={'pattern': '^[0-9a-f]{64}$'},
            ),
        ]
        | None
    ) = None
    failure: (
        Annotated[
            str,
            Meta(
                description='Why it can never be had.',
                max_length=40,
                extra_json_schema={'pattern': '^[a-z][a-z_]*$'},
            ),
        ]
        | None
    ) = None


class MediaJob(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Media of one event that are to be fetched before their addresses end.
    """

    object_id: Annotated[
        str,
        Meta(
            description='Event that they belong to.',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    revision: Annotated[int, Meta(description='Its revision.', ge=0, le=4398046511103)]
    network: Annotated[
        str, Meta(description='Network.', max_length=40, extra_json_schema={'pattern': '^[a-z][a-z0-9_]*$'})
    ]
    kind: Annotated[
        Literal['post', 'reply', 'repost', 'quote', 'comment', 'direct_message', 'email', 'review', 'reaction', 'story', 'chat', 'unknown'],
        Meta(description='Kind of the event.'),
    ]
    mode: Annotated[
        Literal['live', 'gap_fill', 'backfill', 'remap'],
        Meta(description='How the event reached us; its completion has the same.'),
    ]
    requested_at: Annotated[datetime, Meta(tz=True, description='When the event was understood.')
    ]
    media: Annotated[
        list[MediumToFetch],
        Meta(
            description='What to fetch; where only the event itself is, a link with its id.',
            max_length=64,
            min_length=1,
        ),
    ]
    channel: (
        Annotated[
            str,
            Meta(
                description='Own account that it came through; whose credential fetches them.',
                max_length=256,
            ),
        ]
        | None
    ) = None
    author_id: (
        Annotated[
            str,
            Meta(
                description='Who said it, as the network names them: once they are erased nothing is fetched. Absent where it is not known.',
                max_length=1024,
                min_length=1,
            ),
        ]
        | None
    ) = None
    attempt: (
        Annotated[int, Meta(description='How often it was tried.', ge=0)] | None
    ) = None
    not_before: (
        Annotated[datetime, Meta(tz=True, description='When to try again.')] | None
    ) = None
    whole: (
        Annotated[
            bool,
            Meta(
                description='Whether the event itself is to be fetched by its id: what told of it had no words.'
            ),
        ]
        | None
    ) = None
