"""BrandSignals: generated from schemas/events/brand-signals.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from klingel.model.base import Record
from msgspec import Meta

Intent: TypeAlias = Annotated[str, Meta(max_length=40)]


Topic: TypeAlias = Annotated[str, Meta(max_length=60)]


class Signal(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What watch needs of one event.
    """

    event_id: Annotated[
        str,
        Meta(
            description='Event.',
            max_length=1100,
            min_length=1,
            extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
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
    at: Annotated[datetime, Meta(tz=True, description='When it was said, as far as believed.')]
    received_at: Annotated[datetime, Meta(tz=True, description='When klingel received it.')]
    mode: Annotated[
        Literal['live', 'gap_fill', 'backfill', 'remap'],
        Meta(description='How it came.'),
    ]
    network: Annotated[str, Meta(description='Network.', max_length=40)]
    direction: Annotated[
        Literal['inbound', 'outbound', 'third_party'],
        Meta(description='Seen from the brand.'),
    ]
    channel: (
        Annotated[str, Meta(description='Channel.', max_length=256)] | None
    ) = None
    change: (
        Annotated[
            Literal['created', 'updated', 'deleted', 'completed'],
            Meta(description='What happened to it.'),
        ]
        | None
    ) = None
    kind: (
        Annotated[str, Meta(description='Kind of the object.', max_length=40)]
        | None
    ) = None
    customer_id: (
        Annotated[
            str,
            Meta(
                description='Who says it, where a case can be theirs.',
                max_length=1024,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    author: (
        Annotated[
            str,
            Meta(
                description='64 bits of the author id, in hex.',
                extra_json_schema={'pattern': '^[0-9a-f]{16}$'},
            ),
        ]
        | None
    ) = None
    reach: (
        Annotated[int, Meta(description='Followers of the author.', ge=0)] | None
    ) = None
    addressed: (
        Annotated[bool, Meta(description='It is addressed to the brand.')] | None
    ) = None
    tone: (
        Annotated[Literal['negative', 'neutral', 'positive'], Meta(description='Tone.')]
        | None
    ) = None
    intents: (
        Annotated[list[Intent], Meta(description='Intents.', max_length=9)] | None
    ) = None
    topics: (
        Annotated[list[Topic], Meta(description='Topics.', max_length=50)] | None
    ) = None
    anger: (
        Annotated[
            float,
            Meta(description='Probability that the author is angry.', ge=0.0, le=1.0),
        ]
        | None
    ) = None
    lang: Annotated[str, Meta(description='Language.', max_length=12)] | None = None
    fingerprint: (
        Annotated[
            str, Meta(description='Fingerprint of the normalised text.', max_length=64)
        ]
        | None
    ) = None
    text: (
        Annotated[
            str,
            Meta(description='Masked text, at most 280 characters.', max_length=280),
        ]
        | None
    ) = None
    reposts: (
        Annotated[
            str,
            Meta(
                description='Object that it passes on.',
                max_length=1024,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None


class BrandSignals(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    What a batch of understand heard for one brand, packed for watch.
    """

    brand: Annotated[
        str, Meta(description='Brand.', max_length=60, extra_json_schema={'pattern': '^[a-z0-9][a-z0-9-]*$'})
    ]
    rows: Annotated[
        list[Signal],
        Meta(description='One for each event that says something.', max_length=2000),
    ]
