"""Who may do what in Elasticsearch: roles of the least rights that the calls need.

A role is named after who has it; an API key carries the same rights (`role_descriptors`), so that a
service needs neither a user nor a password. Rights on documents or fields, which a licence has to
allow, are not used: what one brand may see of another is kept apart by indices (I14).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from elasticsearch import AsyncElasticsearch

from klingel_indexer.convert import (
    alerts_index,
    case_events_index,
    cases_index,
    escalations_index,
    events_index,
    incidents_index,
)

Json = dict[str, Any]

_LOOKS_AT_TEMPLATES: Final = (
    "indices:admin/index_template/get",
    "cluster:admin/component_template/get",
)
"""Asking for templates is a right of its own name: the named privilege would let them be changed."""

_FEATURES: Final = ("discover", "dashboard", "visualize", "indexPatterns")
"""What of Kibana is seen or changed; data views have a feature of their own."""

_KIBANA: Final = "kibana-.kibana"
"""Application of Kibana's own rights, in its default space."""


def roles(prefix: str, brand: str | None = None) -> dict[str, Json]:
    """Return every role, by its name.

    Args:
        prefix: of index names.
        brand: readers see this brand's indices alone; None lets them see every brand's.

    Returns:
        Bodies as the security API takes them, for roles and for API keys alike:
        `indexer` writes documents and makes the indices of its own templates by writing;
        `cli` puts templates, searches, deletes by age and rebuilds;
        `reader` sees dashboards, `editor` changes them too: both read and never write documents.
    """
    every = f"{prefix}*"
    seen = _of_brand(prefix, brand) if brand else [every]
    return {
        "indexer": _role(
            (*_LOOKS_AT_TEMPLATES,), {every: ("auto_configure", "index", "create_doc", "delete")}
        ),
        "cli": _role(
            ("manage_index_templates", "cluster:monitor/main", "cluster:monitor/task/get"),
            {every: ("manage", "read", "write", "delete_index", "view_index_metadata")},
        ),
        "reader": _role((), dict.fromkeys(seen, _READS), kibana="read"),
        "editor": _role((), dict.fromkeys(seen, _READS), kibana="all"),
    }


BRAND: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
"""Names of brands."""
_READS: Final = ("read", "view_index_metadata")
_MONTHS: Final = ("????.??", "undated")
"""Of the indices of posts; a question mark is any one character, and no brand holds a full stop."""
_ONE_EACH: Final = (
    cases_index,
    case_events_index,
    escalations_index,
    alerts_index,
    incidents_index,
)
"""Names of the indices of which each brand has one."""


async def put_roles(client: AsyncElasticsearch, named: Mapping[str, Json]) -> None:
    """Make roles, or make them anew.

    Raises:
        ApiError: Elasticsearch refuses one.
        TransportError: it is away.
    """
    for name, body in named.items():
        await client.security.put_role(name=name, **body)


async def make_key(client: AsyncElasticsearch, name: str, role: Json, days: int) -> Json:
    """Return a new API key that may do what the role says, and no more than its maker.

    Returns:
        `id`, `name`, `expiration` (ms since 1970) and `encoded`, which is the secret.

    Raises:
        ApiError: Elasticsearch refuses.
        TransportError: it is away.
    """
    made = await client.security.create_api_key(
        name=name, expiration=f"{days}d", role_descriptors={name: role}
    )
    return {each: made[each] for each in ("id", "name", "expiration", "encoded")}


def _of_brand(prefix: str, brand: str) -> list[str]:
    """Return a brand's indices, and never those of one whose name begins with this one's."""
    posts = events_index(prefix, brand, _MONTHS[-1])
    return [
        *(posts.removesuffix(_MONTHS[-1]) + each for each in _MONTHS),
        *(named(prefix, brand) for named in _ONE_EACH),
    ]


def _role(
    cluster: tuple[str, ...], indices: Mapping[str, tuple[str, ...]], *, kibana: str | None = None
) -> Json:
    role: Json = {
        "cluster": list(cluster),
        "indices": [
            {"names": [names], "privileges": list(privileges)}
            for names, privileges in indices.items()
        ],
    }
    if kibana is not None:
        features = [f"feature_{each}.{kibana}" for each in _FEATURES]
        role["applications"] = [
            {"application": _KIBANA, "privileges": features, "resources": ["*"]}
        ]
    return role
