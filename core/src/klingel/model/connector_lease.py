"""ConnectorLease: generated from schemas/events/connector-lease.v1.schema.json; never edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from klingel.model.base import Record
from msgspec import Meta


class ConnectorLease(Record, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """
    A lease taken: membership of the group is the lease, this record tells of it.
    """

    instance: Annotated[
        str, Meta(description='Connector instance.', max_length=120, min_length=1)
    ]
    holder: Annotated[str, Meta(description='Holder.', max_length=200, min_length=1)]
    epoch: Annotated[int, Meta(description='Generation of the group.', ge=0)]
    acquired_at: Annotated[datetime, Meta(tz=True, description='When.')]
