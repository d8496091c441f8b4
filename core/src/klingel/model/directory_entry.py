"""DirectoryEntry: generated from schemas/events/directory-entry.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from klingel.model.base import Record
from msgspec import Meta

SinceAdditionalProperty: TypeAlias = Annotated[int, Meta(ge=0)]


class Contribution(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    One raw event that said something of this object.
    """

    revision: Annotated[int, Meta(description='Revision.', ge=0, le=4398046511103)]
    offset: Annotated[
        int, Meta(description='Offset in this partition of raw-events.', ge=0)
    ]
    content: Annotated[str, Meta(description='Content hash.', extra_json_schema={'pattern': '^[0-9a-f]{16}$'})]


class DirectoryEntry(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What later edits and deletions of a heard object need.
    """

    object_id: Annotated[
        str,
        Meta(
            description='Object.',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    revision: Annotated[
        int, Meta(description='Latest revision seen.', ge=0, le=4398046511103)
    ]
    index: Annotated[
        str,
        Meta(
            description='Month of the index.', extra_json_schema={'pattern': '^([0-9]{4}\\.[0-9]{2}|undated)$'}
        ),
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
    brands: Annotated[
        dict[str, str], Meta(description='Brand to how it heard it first.')
    ]
    contributions: Annotated[
        list[Contribution],
        Meta(
            description='Newest 8: revision, offset, content hash in hex.', max_length=8
        ),
    ]
    threading: (
        Annotated[
            Literal['network', 'root', 'parent_only', 'directory'],
            Meta(description='Where the conversation comes from.'),
        ]
        | None
    ) = None
    since: (
        Annotated[
            dict[str, SinceAdditionalProperty],
            Meta(
                description='Brand to the offset in this partition of raw-events by which it heard first; of brands that came to hear after the first sight.'
            ),
        ]
        | None
    ) = None
    content_hash: (
        Annotated[
            str, Meta(description='Of the latest revision.', extra_json_schema={'pattern': '^[0-9a-f]{16}$'})
        ]
        | None
    ) = None
    deleted: Annotated[bool, Meta(description='Deleted.')] | None = None
    kind: (
        Annotated[
            Literal['post', 'reply', 'repost', 'quote', 'comment', 'direct_message', 'email', 'review', 'reaction', 'story', 'chat', 'unknown'],
            Meta(description='What the thing is; meanings follow ActivityStreams 2.'),
        ]
        | None
    ) = None
    author_id: (
        Annotated[
            str,
            Meta(
                description='Author.',
                max_length=1024,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    in_reply_to: (
        Annotated[str, Meta(description='Parent.', max_length=1024)] | None
    ) = None
    published_at: Annotated[datetime, Meta(tz=True, description='Publication.')] | None = None
