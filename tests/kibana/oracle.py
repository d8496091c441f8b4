"""What a panel must show, computed from the documents alone: no aggregation, no Elasticsearch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from statistics import fmean
from typing import Any

from klingel_cli.kibana.definitions import Filter, Measure, Panel, SavedSearch, Split, View

from .evidence import Evidence

Document = dict[str, Any]
Key = tuple[object, ...]


def values(document: object, path: str) -> list[Any]:
    """Return what a document holds at a path; lists are walked through, nothing is no value."""
    found = [document]
    for part in path.split("."):
        found = [each[part] for each in _flat(found) if isinstance(each, dict) and part in each]
    return [each for each in _flat(found) if each is not None]


def _flat(found: Iterable[object]) -> Iterator[Any]:
    for each in found:
        if isinstance(each, list):
            yield from _flat(each)
        else:
            yield each


def moment(value: str) -> datetime:
    """Read a time of a document; Elasticsearch keeps milliseconds."""
    at = datetime.fromisoformat(value).astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def shown(evidence: Evidence, view: View, filters: Sequence[Filter], prefix: str) -> list[Document]:
    """Return the documents that a view, its period and the filters leave."""
    pattern = prefix + view.pattern.removeprefix("klingel-")
    found = [each.content for each in evidence.documents if fnmatchcase(each.index, pattern)]
    if view.time:
        found = [
            each
            for each in found
            if any(evidence.since <= moment(at) <= evidence.until for at in values(each, view.time))
        ]
    return [each for each in found if all(_passes(each, one, evidence.until) for one in filters)]


def _passes(document: Document, one: Filter, now: datetime) -> bool:
    there = values(document, one.field)
    if one.exists:
        found = bool(there)
    elif one.before:
        assert one.before == "now"
        found = any(moment(at) < now for at in there)
    else:
        found = bool(set(there) & set(one.values))
    return found is not one.negated


def buckets(documents: Sequence[Document], splits: Sequence[Split]) -> dict[Key, list[Document]]:
    """Return the documents under each combination of the splits' values."""
    found: dict[Key, list[Document]] = {(): list(documents)}
    for split in splits:
        found = {
            (*key, value): [each for each in of if value in _keys(each, split)]
            for key, of in found.items()
            for value in {one for each in of for one in _keys(each, split)}
        }
    return found


def _keys(document: Document, split: Split) -> set[object]:
    there = values(document, split.field)
    if split.terms:
        return set(there)
    return {_milliseconds(_floor(moment(at), split.interval)) for at in there}


def _floor(at: datetime, interval: str) -> datetime:
    if interval == "1h":
        return at.replace(minute=0, second=0, microsecond=0)
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return day if interval == "1d" else day - timedelta(days=day.weekday())


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def figures(documents: Sequence[Document], measure: Measure) -> list[float]:
    """Return the numbers that a measure is of; times as milliseconds."""
    found = (one for each in documents for one in values(each, measure.field))
    return [_milliseconds(moment(one)) if isinstance(one, str) else one for one in found]


_SIMPLE: dict[str, Callable[[list[float]], float | None]] = {
    "sum": sum,
    "average": lambda found: fmean(found) if found else None,
    "min": lambda found: min(found, default=None),
    "max": lambda found: max(found, default=None),
}


def measured(documents: Sequence[Document], measure: Measure) -> float | None:
    """Return a measure; None for a percentile, which lies between two values (`bounds`)."""
    if measure.of == "count":
        return len(documents)
    if measure.of == "unique_count":
        return len({one for each in documents for one in values(each, measure.field)})
    return _SIMPLE[measure.of](figures(documents, measure))


def bounds(documents: Sequence[Document], measure: Measure) -> tuple[float, float] | None:
    """Return between which two values a percentile lies."""
    ordered = sorted(figures(documents, measure))
    if not ordered:
        return None
    share = (50 if measure.of == "median" else measure.percent) / 100
    place = share * len(ordered)
    return ordered[max(0, int(place) - 2)], ordered[min(len(ordered) - 1, int(place) + 1)]


def listed(evidence: Evidence, search: SavedSearch, view: View, prefix: str) -> list[Any]:
    """Return the values that a saved search is sorted by, in its order; what has none is last."""
    found = [
        min(map(moment, there)) if search.order == "asc" else max(map(moment, there))
        for each in shown(evidence, view, search.filters, prefix)
        if (there := values(each, search.sort))
    ]
    return sorted(found, reverse=search.order == "desc")


def is_percentile(measure: Measure) -> bool:
    """Whether a measure is only known between two values."""
    return measure.of in {"median", "percentile"}


def panel_documents(evidence: Evidence, panel: Panel, view: View, prefix: str) -> list[Document]:
    """Return the documents that a panel is about."""
    return shown(evidence, view, panel.filters, prefix)
