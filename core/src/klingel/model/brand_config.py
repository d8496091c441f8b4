"""BrandConfig: generated from schemas/events/brand-config.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from klingel.model.base import Record
from msgspec import Meta


class BrandConfig(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    Validated configuration of a brand, versioned by content hash.
    """

    brand: Annotated[
        str, Meta(description='Brand.', max_length=60, extra_json_schema={'pattern': '^[a-z0-9][a-z0-9-]*$'})
    ]
    version: Annotated[
        str,
        Meta(
            description="16 hex digits of the content's hash.", extra_json_schema={'pattern': '^[0-9a-f]{16}$'}
        ),
    ]
    applied_at: Annotated[datetime, Meta(tz=True, description='When.')]
    config: Annotated[
        dict[str, Any],
        Meta(
            description='The brand file, validated (schemas/config/brand.schema.json).'
        ),
    ]
    applied_by: Annotated[str, Meta(description='Who.', max_length=120)] | None = None
