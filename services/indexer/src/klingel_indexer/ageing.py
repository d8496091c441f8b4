"""Posts go when they are older than their brand keeps them: whole months at once, else one by one.

An index of a month holds what was published in it (design section 8), so a month that is old enough
goes as an index, which costs nothing. In the month in which the bound lies, and among the undated,
posts are deleted by their own times.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from elasticsearch import AsyncElasticsearch

_MONTH = re.compile(r"(?P<year>[0-9]{4})\.(?P<month>0[1-9]|1[0-2])")
_LAST_YEAR = 9998  # the beginning of the year after it is still a date
_SUFFIX = len("YYYY.MM")
UNDATED = "undated"
assert len(UNDATED) == _SUFFIX

Which = Literal["all", "old", "none"]


class Month(NamedTuple):
    """An index of posts: its name, whose it is, and which of its posts are too old."""

    name: str
    brand: str
    old: Which


class Aged(NamedTuple):
    """What went, or would go: an index with all its documents, or some of them."""

    name: str
    documents: int
    whole: bool


def months(names: Iterable[str], prefix: str, cutoffs: Mapping[str, datetime]) -> Iterator[Month]:
    """Tell of each index of posts how much of it is too old, in the order of their names.

    Args:
        names: of existing indices; what is no index of posts is left out.
        prefix: of every index name.
        cutoffs: by brand, aware: what is older goes. An index of another brand keeps all.
    """
    begin = f"{prefix}events-"
    for name in sorted(names):
        brand, suffix = name[len(begin) : -_SUFFIX - 1], name[-_SUFFIX:]
        span = _span(suffix)
        if not name.startswith(begin) or name[-_SUFFIX - 1] != "-" or span is None:
            continue
        cutoff = cutoffs.get(brand)
        if cutoff is None or cutoff <= span[0]:
            yield Month(name, brand, "none")
        else:
            yield Month(name, brand, "all" if span[1] <= cutoff else "old")


def _span(suffix: str) -> tuple[datetime, datetime] | None:
    """Return the first instant of a month and of the next; of the undated, all of time."""
    if suffix == UNDATED:
        return datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    found = _MONTH.fullmatch(suffix)
    if found is None:
        return None
    year, month = int(found["year"]), int(found["month"])
    if not 1 <= year <= _LAST_YEAR:
        return None
    first = datetime(year, month, 1, tzinfo=UTC)
    return first, (first + timedelta(days=31)).replace(day=1)


def older_than(cutoff: datetime, *, undated: bool) -> dict[str, Any]:
    """Return the query of what is too old: by its publication, the undated by its receipt.

    What remains of a deleted post has neither, and goes by the time of its deletion.
    """
    names = ("received_at" if undated else "published_at", "deleted_at")
    return {
        "bool": {
            "should": [{"range": {name: {"lt": cutoff.isoformat()}}} for name in names],
            "minimum_should_match": 1,
        }
    }


async def age_posts(
    client: AsyncElasticsearch, prefix: str, cutoffs: Mapping[str, datetime], *, dry_run: bool
) -> tuple[list[Aged], list[str]]:
    """Delete what is too old; with `dry_run` only count it.

    Returns:
        What went, and the indices of brands that have no cutoff.
    """
    found = await client.indices.get(
        index=f"{prefix}events-*", expand_wildcards="open", features="aliases"
    )
    aged, left = [], []
    for month in months(found.body, prefix, cutoffs):
        if month.brand not in cutoffs:
            left.append(month.name)
        elif month.old == "all":
            counted = await client.count(index=month.name)
            if not dry_run:
                await client.indices.delete(index=month.name)
            aged.append(Aged(month.name, counted["count"], whole=True))
        elif month.old == "old":
            old = older_than(cutoffs[month.brand], undated=month.name.endswith(UNDATED))
            documents = await _delete(client, month.name, old, dry_run=dry_run)
            if documents:
                aged.append(Aged(month.name, documents, whole=False))
    return aged, left


async def _delete(
    client: AsyncElasticsearch, index: str, old: dict[str, Any], *, dry_run: bool
) -> int:
    if dry_run:
        return int((await client.count(index=index, query=old))["count"])
    # What is rewritten meanwhile is met by the next run.
    done = await client.options(request_timeout=600).delete_by_query(
        index=index, query=old, conflicts="proceed", refresh=True
    )
    return int(done["deleted"])
