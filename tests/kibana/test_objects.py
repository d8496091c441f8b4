"""The saved objects: whole, the same each time, and asking what the requests of the tests ask."""

import json
from typing import Any

import pytest

from klingel_cli.kibana.definitions import Definitions
from klingel_cli.kibana.objects import ndjson, saved_objects
from klingel_cli.kibana.requests import request_of

Json = dict[str, Any]

PREFIX = "acme-"
SINCE = "2026-01-01T00:00:00Z"
_METRICS = {
    "sum": "sum",
    "average": "avg",
    "min": "min",
    "max": "max",
    "unique_count": "cardinality",
}


@pytest.fixture(scope="module")
def objects(definitions: Definitions) -> list[Json]:
    return saved_objects(definitions, PREFIX)


def by_id(objects: list[Json]) -> dict[tuple[str, str], Json]:
    return {(each["type"], each["id"]): each for each in objects}


def test_ids_are_the_same_each_time_and_others_in_another_space(definitions: Definitions) -> None:
    once, again = (ndjson(saved_objects(definitions, PREFIX)) for _ in range(2))
    assert once == again
    elsewhere = saved_objects(definitions, PREFIX, "brands")
    ids = {each["id"] for each in saved_objects(definitions, PREFIX)}
    assert len(ids) == len(elsewhere)
    assert not ids & {each["id"] for each in elsewhere}


def test_what_is_referred_to_stands_before_it(objects: list[Json]) -> None:
    """Kibana's import reports a missing reference as an error."""
    there: set[tuple[str, str]] = set()
    for each in objects:
        for reference in each["references"]:
            assert (reference["type"], reference["id"]) in there
        there.add((each["type"], each["id"]))
    names = [(each["type"], each["id"]) for each in objects]
    assert len(set(names)) == len(names)


def test_every_name_of_a_reference_is_used_and_every_used_name_is_a_reference(
    objects: list[Json],
) -> None:
    for each in objects:
        names = {reference["name"] for reference in each["references"]}
        attributes = each["attributes"]
        used: set[str] = set()
        if each["type"] == "dashboard":
            used = {
                f"{panel['panelIndex']}:{panel['panelRefName']}"
                for panel in json.loads(attributes["panelsJSON"])
            }
            controls = attributes.get("controlGroupInput")
            if controls is not None:
                used |= {
                    f"controlGroup_{name}:optionsListDataView"
                    for name in json.loads(controls["panelsJSON"])
                }
        elif each["type"] == "lens":
            state = attributes["state"]
            layers = state["datasourceStates"]["formBased"]["layers"]
            used = {f"indexpattern-datasource-layer-{name}" for name in layers}
            used |= {one["meta"]["index"] for one in state["filters"]}
        elif each["type"] == "search":
            source = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
            used = {source["indexRefName"]}
            used |= {one["meta"]["indexRefName"] for one in source["filter"]}
        assert used == names, each["attributes"]["title"]


def test_every_column_that_is_shown_is_computed(objects: list[Json]) -> None:
    lenses = [each for each in objects if each["type"] == "lens"]
    assert lenses
    for each in lenses:
        state = each["attributes"]["state"]
        (layer,) = state["datasourceStates"]["formBased"]["layers"].values()
        assert list(layer["columns"]) == layer["columnOrder"]
        columns = set(layer["columns"])
        picture = state["visualization"]
        inner = picture.get("layers", [picture])[0]
        named = {
            *(one["columnId"] for one in inner.get("columns", ())),
            *inner.get("accessors", ()),
            *inner.get("primaryGroups", ()),
            *inner.get("metrics", ()),
            *(
                inner[key]
                for key in ("xAccessor", "splitAccessor", "metricAccessor")
                if key in inner
            ),
        }
        assert named == columns, each["attributes"]["title"]


def test_time_runs_along_the_axis(objects: list[Json]) -> None:
    charts = [each for each in objects if each["attributes"].get("visualizationType") == "lnsXY"]
    assert charts
    for each in charts:
        state = each["attributes"]["state"]
        (layer,) = state["datasourceStates"]["formBased"]["layers"].values()
        (axes,) = state["visualization"]["layers"]
        times = {
            name
            for name, column in layer["columns"].items()
            if column["operationType"] == "date_histogram"
        }
        assert not times or axes["xAccessor"] in times


def asked_by(lens: Json, views: dict[str, Json]) -> Json:
    """Return what Lens asks of Elasticsearch for a saved object: read from its state alone."""
    state = lens["attributes"]["state"]
    (layer,) = state["datasourceStates"]["formBased"]["layers"].values()
    (view,) = {reference["id"] for reference in lens["references"] if "layer" in reference["name"]}
    wanted = [each["query"] for each in state["filters"] if not each["meta"]["negate"]]
    time = views[view]["attributes"].get("timeFieldName")
    if time:
        period = {"gte": SINCE, "lte": "now", "format": "strict_date_optional_time"}
        wanted.append({"range": {time: period}})
    unwanted = [each["query"] for each in state["filters"] if each["meta"]["negate"]]
    columns = layer["columns"]
    metrics = {name: _metric(each) for name, each in columns.items() if not each["isBucketed"]}
    metrics = {name: body for name, body in metrics.items() if body}
    buckets = [name for name in layer["columnOrder"] if columns[name]["isBucketed"]]
    aggregations = metrics
    for name in reversed(buckets):
        body = _bucket(columns[name], columns)
        if aggregations:
            body["aggs"] = aggregations
        aggregations = {name: body}
        before = buckets[: buckets.index(name)]
        if before and columns[before[-1]]["operationType"] == "terms":
            by = columns[before[-1]]["params"]["orderBy"]["columnId"]
            if by in metrics:
                aggregations[by] = metrics[by]
    asked: Json = {
        "size": 0,
        "track_total_hits": True,
        "query": {"bool": {"filter": wanted, "must_not": unwanted}},
    }
    return asked | ({"aggs": aggregations} if aggregations else {})


def _percent(column: Json) -> int | None:
    percents = {"median": 50, "percentile": column["params"].get("percentile")}
    return percents.get(column["operationType"])


def _metric(column: Json) -> Json | None:
    if column["operationType"] == "count":
        assert column["sourceField"] == "___records___"
        return None
    field = column["sourceField"]
    percent = _percent(column)
    if percent is not None:
        return {"percentiles": {"field": field, "percents": [percent]}}
    return {_METRICS[column["operationType"]]: {"field": field}}


def _bucket(column: Json, columns: Json) -> Json:
    params = column["params"]
    if column["operationType"] == "date_histogram":
        return {
            "date_histogram": {
                "field": column["sourceField"],
                "calendar_interval": params["interval"],
                "time_zone": "UTC",
                "min_doc_count": 0 if params["includeEmptyRows"] else 1,
            }
        }
    by = params["orderBy"]["columnId"]
    percent = _percent(columns[by])
    order = "_count" if columns[by]["operationType"] == "count" else by
    if percent is not None:
        order = f"{by}.{percent}"
    assert not params["otherBucket"], "Kibana would ask a second time"
    return {
        "terms": {
            "field": column["sourceField"],
            "size": params["size"],
            "order": {order: params["orderDirection"]},
        }
    }


def test_lens_asks_what_the_tests_ask(definitions: Definitions, objects: list[Json]) -> None:
    """The request that is compared with the documents is the one of the saved object."""
    found = by_id(objects)
    views = {each["id"]: each for each in objects if each["type"] == "index-pattern"}
    lenses = {each["attributes"]["title"]: each for each in objects if each["type"] == "lens"}
    panels = [panel for board in definitions.dashboards for panel in board.panels]
    assert len(lenses) == len(panels), "titles tell panels apart"
    for panel in panels:
        expected = request_of(panel, definitions.views[panel.view], SINCE)
        assert asked_by(lenses[panel.title], views) == expected, panel.id
    assert len(found) == len(objects)


def test_the_prefix_of_the_indices_is_in_every_view(objects: list[Json]) -> None:
    titles = [each["attributes"]["title"] for each in objects if each["type"] == "index-pattern"]
    assert titles
    assert all(title.startswith(PREFIX) and "klingel" not in title for title in titles)


def test_every_line_is_one_object(objects: list[Json]) -> None:
    lines = ndjson(objects).splitlines()
    assert [json.loads(line) for line in lines] == objects
