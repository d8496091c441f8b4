"""Documents go when they are older than their brand keeps them.

Posts: an index of a month holds what was published in it (design section 8), so a month that is old
enough goes as an index, which costs nothing. In the month in which the bound lies, and among the
undated, posts are deleted by their own times.

All else lies in one index a brand, or in one for all: an open case is as old as it is and stays, so
that no index of it could go whole. Each class is deleted by the time that ends it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from elasticsearch import AsyncElasticsearch

from klingel.contracts.topics import Topic

_MONTH = re.compile(r"(?P<year>[0-9]{4})\.(?P<month>0[1-9]|1[0-2])")
_LAST_YEAR = 9998  # the beginning of the year after it is still a date
_SUFFIX = len("YYYY.MM")
UNDATED = "undated"
assert len(UNDATED) == _SUFFIX

Json = dict[str, Any]
Which = Literal["all", "old", "none"]


class Month(NamedTuple):
    """An index of posts: its name, whose it is, and which of its posts are too old."""

    name: str
    brand: str
    old: Which


class Cutoffs(NamedTuple):
    """What a brand keeps, by class: what is older goes.

    Attributes:
        posts: by publication.
        cases: by their end; what happened to them and who was told of them, by its own time.
        warnings: alerts and incidents, by their last change.
    """

    posts: datetime
    cases: datetime
    warnings: datetime


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


def older_than(cutoff: datetime, *, undated: bool) -> Json:
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


def _before(field: str, cutoff: datetime) -> Json:
    return {"range": {field: {"lt": cutoff.isoformat()}}}


def _ended(cutoff: datetime) -> Json:
    """Return the question for cases that are over and changed no more since."""
    over = {"terms": {"state": ["closed", "merged"]}}
    return {"bool": {"filter": [over, _before("updated_at", cutoff)]}}


class _Class(NamedTuple):
    """A kind of index of which each brand has one: what is too old in it."""

    kind: str
    cutoff: Callable[[Cutoffs], datetime]
    old: Callable[[datetime], Json]


_CLASSES: Final = (
    _Class(Topic.CASES, lambda of: of.cases, _ended),
    _Class(Topic.CASE_EVENTS, lambda of: of.cases, partial(_before, "recorded_at")),
    _Class(Topic.ESCALATIONS, lambda of: of.cases, partial(_before, "recorded_at")),
    _Class(Topic.ALERTS, lambda of: of.warnings, partial(_before, "updated_at")),
    _Class(Topic.INCIDENTS, lambda of: of.warnings, partial(_before, "updated_at")),
)


async def age_documents(
    client: AsyncElasticsearch,
    prefix: str,
    brands: Mapping[str, Cutoffs],
    others: Mapping[str, tuple[str, datetime]],
    *,
    dry_run: bool,
) -> tuple[list[Aged], list[str]]:
    """Delete what is too old; with `dry_run` only count it.

    Args:
        client: of Elasticsearch.
        prefix: of every index name.
        brands: what each keeps.
        others: of indices that all brands share, by their names: field of the time, and what is older
            goes.
        dry_run: only count.

    Returns:
        What went, and the indices of brands whose retention is not known.
    """
    cutoffs = {name: of.posts for name, of in brands.items()}
    aged, left = await _age_posts(client, prefix, cutoffs, dry_run=dry_run)
    for each in _CLASSES:
        begin = f"{prefix}{each.kind}-"
        for index in await _indices(client, f"{begin}*"):
            brand = index.removeprefix(begin)
            if brand not in brands:
                left.append(index)
                continue
            old = each.old(each.cutoff(brands[brand]))
            aged += await _aged(client, index, old, dry_run=dry_run)
    for index, (field, cutoff) in others.items():
        for name in await _indices(client, index):
            aged += await _aged(client, name, _before(field, cutoff), dry_run=dry_run)
    return aged, left


async def _indices(client: AsyncElasticsearch, pattern: str) -> list[str]:
    found = await client.indices.get(
        index=pattern,
        expand_wildcards="open",
        features="aliases",
        allow_no_indices=True,
        ignore_unavailable=True,
    )
    return sorted(found.body)


async def _aged(client: AsyncElasticsearch, index: str, old: Json, *, dry_run: bool) -> list[Aged]:
    documents = await _delete(client, index, old, dry_run=dry_run)
    return [Aged(index, documents, whole=False)] if documents else []


async def _age_posts(
    client: AsyncElasticsearch, prefix: str, cutoffs: Mapping[str, datetime], *, dry_run: bool
) -> tuple[list[Aged], list[str]]:
    found = await _indices(client, f"{prefix}events-*")
    aged, left = list[Aged](), list[str]()
    for month in months(found, prefix, cutoffs):
        if month.brand not in cutoffs:
            left.append(month.name)
        elif month.old == "all":
            counted = await client.count(index=month.name)
            if not dry_run:
                await client.indices.delete(index=month.name)
            aged.append(Aged(month.name, counted["count"], whole=True))
        elif month.old == "old":
            old = older_than(cutoffs[month.brand], undated=month.name.endswith(UNDATED))
            aged += await _aged(client, month.name, old, dry_run=dry_run)
    return aged, left


async def _delete(client: AsyncElasticsearch, index: str, old: Json, *, dry_run: bool) -> int:
    if dry_run:
        return int((await client.count(index=index, query=old))["count"])
    # What is rewritten meanwhile is met by the next run.
    done = await client.options(request_timeout=600).delete_by_query(
        index=index, query=old, conflicts="proceed", refresh=True
    )
    return int(done["deleted"])
