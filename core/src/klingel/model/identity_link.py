"""IdentityLink: generated from schemas/events/identity-link.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from klingel.model.base import Record
from msgspec import Meta


class IdentityLink(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Two ids of one customer of a brand, or an id that was seen alone.
    """

    brand: Annotated[
        str,
        Meta(
            description="Brand; another one's links say nothing to it.",
            max_length=60,
            extra_json_schema={'pattern': '^[a-z0-9][a-z0-9-]*$'},
        ),
    ]
    one: Annotated[
        str,
        Meta(
            description='Id of the customer, network:author id; of two the smaller.',
            max_length=1024,
            min_length=3,
            extra_json_schema={'pattern': '^[a-z0-9-]+:[^\\u0000-\\u001f]+$'},
        ),
    ]
    first_seen: Annotated[datetime, Meta(tz=True, 
            description='When what tells of it was received first, or a person gave it.'
        ),
    ]
    other: (
        Annotated[
            str,
            Meta(
                description='Another id of the same customer; absent where `one` was seen alone.',
                max_length=1024,
                min_length=3,
                extra_json_schema={'pattern': '^[a-z0-9-]+:[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    consent: (
        Annotated[
            str,
            Meta(
                description="What allows a person's link, such as where the customer agreed; without it two networks are not linked.",
                max_length=500,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    unlinked_because: (
        Annotated[
            str,
            Meta(
                description='Why a person took the link of these two back, `first_seen` being when; its record has a key of its own and stands until a person links them again.',
                max_length=500,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
    by: (
        Annotated[
            str,
            Meta(
                description='Who gave it; absent where an object told it.',
                max_length=200,
                min_length=1,
                extra_json_schema={'pattern': '^[^\\u0000-\\u001f]+$'},
            ),
        ]
        | None
    ) = None
