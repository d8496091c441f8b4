"""ConversationLink: generated from schemas/events/conversation-link.v1.schema.json; never edited."""

from __future__ import annotations

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
        int, Meta(description='Offset in this partition of unthreaded-events.', ge=0)
    ]
    content: Annotated[str, Meta(description='Content hash.', extra_json_schema={'pattern': '^[0-9a-f]{16}$'})]
    origin: (
        Annotated[
            int,
            Meta(
                description='Offset in raw-events: the same one again is a replay.',
                ge=0,
            ),
        ]
        | None
    ) = None
    heard: (
        Annotated[bool, Meta(description='Whether any brand heard it.')] | None
    ) = None


class ConversationLink(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Where an object of a source that names only parents belongs, and what was seen of it.
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
    conversation_id: Annotated[
        str,
        Meta(
            description='Conversation under which its events are published, for ever. Where that one goes on elsewhere, the link of the object of that name tells.',
            max_length=1024,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
        ),
    ]
    brands: Annotated[
        dict[str, str],
        Meta(
            description='Brand to how it heard the object first; of an awaited one: the brands that hear what is said under its id.'
        ),
    ]
    awaited: (
        Annotated[
            bool,
            Meta(
                description='The object itself has not been seen: others answer it, and talk under its id.'
            ),
        ]
        | None
    ) = None
    revision: (
        Annotated[
            int, Meta(description='Latest revision seen.', ge=0, le=4398046511103)
        ]
        | None
    ) = None
    index: (
        Annotated[
            str,
            Meta(
                description='Month of the index.',
                extra_json_schema={'pattern': '^([0-9]{4}\\.[0-9]{2}|undated)$'},
            ),
        ]
        | None
    ) = None
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
                description='Brand to the offset in this partition of unthreaded-events by which it heard first; of brands that came to hear after the first sight.'
            ),
        ]
        | None
    ) = None
    contributions: (
        Annotated[
            list[Contribution],
            Meta(description='What was seen, the newest 32.', max_length=32),
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
