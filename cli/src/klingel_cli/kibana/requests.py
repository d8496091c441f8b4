"""What Elasticsearch is asked when somebody looks at a panel; pure.

The same as Kibana's Lens and Discover ask of the saved objects that `objects` makes: a bucket
aggregation for each split, within the one before, and the measures within the last.
"""

from typing import Any

from klingel_cli.kibana.definitions import Filter, Measure, Panel, SavedSearch, Split, View

Json = dict[str, Any]

_METRICS = {
    "sum": "sum",
    "average": "avg",
    "min": "min",
    "max": "max",
    "unique_count": "cardinality",
}
MEDIAN = 50
_ROWS = 500  # what Discover fetches


def filter_query(each: Filter) -> Json:
    """Return a filter as the query of it that Kibana stores and sends; negation stands outside."""
    if each.exists:
        return {"exists": {"field": each.field}}
    if each.before:
        return {"range": {each.field: {"lt": each.before}}}
    if len(each.values) == 1:
        return {"match_phrase": {each.field: each.values[0]}}
    phrases = [{"match_phrase": {each.field: value}} for value in each.values]
    return {"bool": {"should": phrases, "minimum_should_match": 1}}


def request_of(panel: Panel, view: View, since: str, until: str = "now", zone: str = "UTC") -> Json:
    """Return the body of a panel's search.

    Args:
        panel: the panel.
        view: its data view, whose time field the period is of.
        since: beginning of the period, as Elasticsearch reads it.
        until: its end.
        zone: time zone of the looker, in which days begin.
    """
    aggregations: Json = {
        f"m{number}": _metric(measure)
        for number, measure in enumerate(panel.measures)
        if measure.of != "count"
    }
    for number, split in reversed(list(enumerate(panel.splits))):
        bucket = _bucket(split, panel.measures, zone)
        if aggregations:
            bucket["aggs"] = aggregations
        # A measure that orders the buckets of an outer split has to stand in that split too.
        aggregations = {f"s{number}": bucket}
        outer = panel.splits[number - 1] if number else None
        if outer is not None and outer.terms and panel.measures[outer.by].of != "count":
            aggregations[f"m{outer.by}"] = _metric(panel.measures[outer.by])
    body: Json = {
        "size": 0,
        "track_total_hits": True,
        "query": _query(panel.filters, view, since, until),
    }
    if aggregations:
        body["aggs"] = aggregations
    return body


def request_of_search(search: SavedSearch, view: View, since: str, until: str = "now") -> Json:
    """Return the body of a saved search: its newest or oldest documents."""
    order = {"order": search.order, "unmapped_type": "boolean"}
    return {
        "size": _ROWS,
        "track_total_hits": True,
        "query": _query(search.filters, view, since, until),
        "sort": [{search.sort: order}],
        "fields": [{"field": column} for column in search.columns],
        "_source": False,
    }


def _query(filters: tuple[Filter, ...], view: View, since: str, until: str) -> Json:
    wanted = [filter_query(each) for each in filters if not each.negated]
    if view.time:
        period = {"gte": since, "lte": until, "format": "strict_date_optional_time"}
        wanted.append({"range": {view.time: period}})
    unwanted = [filter_query(each) for each in filters if each.negated]
    return {"bool": {"filter": wanted, "must_not": unwanted}}


def _metric(measure: Measure) -> Json:
    if measure.of in {"median", "percentile"}:
        return {"percentiles": {"field": measure.field, "percents": [percent_of(measure)]}}
    return {_METRICS[measure.of]: {"field": measure.field}}


def percent_of(measure: Measure) -> int:
    """Return which percentile a measure is."""
    return MEDIAN if measure.of == "median" else measure.percent


def _bucket(split: Split, measures: tuple[Measure, ...], zone: str) -> Json:
    if split.time:
        return {
            "date_histogram": {
                "field": split.time,
                "calendar_interval": split.interval,
                "time_zone": zone,
                "min_doc_count": 1,
            }
        }
    order = _order(split.by, measures[split.by])
    terms: Json = {"field": split.terms, "size": split.size, "order": {order: split.order}}
    return {"terms": terms}


def _order(number: int, measure: Measure) -> str:
    if measure.of == "count":
        return "_count"
    if measure.of in {"median", "percentile"}:
        return f"m{number}.{percent_of(measure)}"
    return f"m{number}"
