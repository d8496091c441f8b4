"""The saved objects of Kibana that follow from the definitions; pure.

Shapes are those of Kibana 8.11, which newer ones read and bring up to date on import
(`coreMigrationVersion` and `typeMigrationVersion` say from where). Ids are derived from space, type
and name: applying again overwrites, never adds.
"""

import json
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from klingel_cli.kibana.definitions import (
    Dashboard,
    Definitions,
    Filter,
    Measure,
    Panel,
    SavedSearch,
    Shown,
    Split,
    View,
)
from klingel_cli.kibana.requests import filter_query

Json = dict[str, Any]

_VERSION = "8.11.0"
_CORE = "8.8.0"
_TYPES = {"index-pattern": "7.11.0", "lens": "8.9.0", "search": "7.9.3", "dashboard": "8.9.0"}
_EVERYTHING = {"query": "", "language": "kuery"}
_CHARTS = {
    "table": "lnsDatatable",
    "bar": "lnsXY",
    "line": "lnsXY",
    "pie": "lnsPie",
    "metric": "lnsMetric",
}
_RECORDS = "___records___"
_FORMATS: dict[str, Json | None] = {
    "number": None,
    "days": {"id": "number", "params": {"decimals": 1, "suffix": " d"}},
    "duration": {
        "id": "duration",
        "params": {"decimals": 1, "fromUnit": "seconds", "toUnit": "humanizePrecise"},
    },
    "date": None,
}


def identity(space: str, kind: str, name: str) -> str:
    """Return the id of an object: the same each time, another one in each space."""
    return str(uuid5(NAMESPACE_URL, f"urn:klingel:kibana:{space}:{kind}:{name}"))


def saved_objects(definitions: Definitions, prefix: str, space: str = "default") -> list[Json]:
    """Return every saved object, what is referred to before what refers to it.

    Args:
        definitions: what is wanted.
        prefix: of every index name, such as `klingel-`.
        space: of Kibana.
    """
    made = _Maker(prefix, space)
    found = [made.view(view) for view in definitions.views.values()]
    for board in definitions.dashboards:
        found += [made.panel(panel) for panel in board.panels]
        found += [made.search(search) for search in board.searches]
        found.append(made.dashboard(board))
    return found


def ndjson(objects: list[Json]) -> bytes:
    """Return objects in the form that the import takes: one a line."""
    return b"".join(
        json.dumps(each, ensure_ascii=False, sort_keys=True).encode() + b"\n" for each in objects
    )


class _Maker:
    """Makes objects for one space and one prefix."""

    def __init__(self, prefix: str, space: str) -> None:
        self._prefix = prefix
        self._space = space

    def view(self, view: View) -> Json:
        attributes = {
            "title": self._prefix + view.pattern.removeprefix("klingel-"),
            "name": view.title,
            "fields": "[]",
            "fieldAttrs": "{}",
            "fieldFormatMap": "{}",
            "runtimeFieldMap": "{}",
            "typeMeta": "{}",
            "sourceFilters": _text([{"value": field} for field in view.hidden]),
        }
        if view.time:
            attributes["timeFieldName"] = view.time
        return self._object("index-pattern", view.id, attributes, [])

    def panel(self, panel: Panel) -> Json:
        layer = "layer"
        references = [
            self._reference("index-pattern", panel.view, f"indexpattern-datasource-layer-{layer}")
        ]
        filters = []
        for number, each in enumerate(panel.filters):
            name = f"filter-index-pattern-{number}"
            filters.append(_filter(each, {"index": name}))
            references.append(self._reference("index-pattern", panel.view, name))
        columns = _columns(panel)
        state = {
            "datasourceStates": {
                "formBased": {
                    "layers": {
                        layer: {
                            "columns": columns,
                            "columnOrder": list(columns),
                            "incompleteColumns": {},
                            "sampling": 1,
                        }
                    }
                },
                "textBased": {"layers": {}},
            },
            "visualization": _visualization(panel, layer),
            "query": _EVERYTHING,
            "filters": filters,
            "internalReferences": [],
            "adHocDataViews": {},
        }
        attributes = {
            "title": panel.title,
            "description": panel.about,
            "visualizationType": _CHARTS[panel.chart],
            "state": state,
        }
        return self._object("lens", panel.id, attributes, references)

    def search(self, search: SavedSearch) -> Json:
        place = "kibanaSavedObjectMeta.searchSourceJSON"
        references = [self._reference("index-pattern", search.view, f"{place}.index")]
        filters = []
        for number, each in enumerate(search.filters):
            name = f"{place}.filter[{number}].meta.index"
            filters.append(_filter(each, {"indexRefName": name}))
            references.append(self._reference("index-pattern", search.view, name))
        source = {
            "highlightAll": True,
            "version": True,
            "query": _EVERYTHING,
            "filter": filters,
            "indexRefName": f"{place}.index",
        }
        attributes = {
            "title": search.title,
            "description": search.about,
            "columns": list(search.columns),
            "sort": [[search.sort, search.order]],
            "hits": 0,
            "version": 1,
            "grid": {},
            "hideChart": True,
            "kibanaSavedObjectMeta": {"searchSourceJSON": _text(source)},
        }
        return self._object("search", search.id, attributes, references)

    def dashboard(self, board: Dashboard) -> Json:
        shown: list[tuple[str, Shown]] = [("lens", each) for each in board.panels]
        shown += [("search", each) for each in board.searches]
        panels, references = [], []
        for kind, each in shown:
            x, y, width, height = each.at
            panels.append(
                {
                    "version": _VERSION,
                    "type": kind,
                    "gridData": {"x": x, "y": y, "w": width, "h": height, "i": each.id},
                    "panelIndex": each.id,
                    "embeddableConfig": {"enhancements": {}},
                    "panelRefName": f"panel_{each.id}",
                }
            )
            references.append(self._reference(kind, each.id, f"{each.id}:panel_{each.id}"))
        options = {
            "useMargins": True,
            "syncColors": False,
            "syncCursor": True,
            "syncTooltips": False,
            "hidePanelTitles": False,
        }
        attributes: Json = {
            "title": f"klingel: {board.title}",
            "description": board.about,
            "panelsJSON": _text(panels),
            "optionsJSON": _text(options),
            "timeRestore": True,
            "timeFrom": board.since,
            "timeTo": "now",
            "refreshInterval": {"pause": False, "value": 60000},
            "version": 1,
            "kibanaSavedObjectMeta": {
                "searchSourceJSON": _text({"query": _EVERYTHING, "filter": []})
            },
        }
        if board.controls:
            attributes["controlGroupInput"] = _controls(board)
            references += [
                self._reference(
                    "index-pattern", each.view, f"controlGroup_{number}:optionsListDataView"
                )
                for number, each in enumerate(board.controls)
            ]
        return self._object("dashboard", board.id, attributes, references)

    def _reference(self, kind: str, name: str, role: str) -> Json:
        return {"type": kind, "id": identity(self._space, kind, name), "name": role}

    def _object(self, kind: str, name: str, attributes: Json, references: list[Json]) -> Json:
        return {
            "type": kind,
            "id": identity(self._space, kind, name),
            "attributes": attributes,
            "references": references,
            "coreMigrationVersion": _CORE,
            "typeMigrationVersion": _TYPES[kind],
            "managed": False,
        }


def _text(content: object) -> str:
    """Return JSON within JSON, as Kibana keeps it."""
    return json.dumps(content, ensure_ascii=False)


def _filter(each: Filter, index: Json) -> Json:
    kind, params = _kind(each)
    meta = {
        "alias": None,
        "disabled": False,
        "negate": each.negated,
        "type": kind,
        "key": each.field,
        "field": each.field,
        **index,
    }
    if params is not None:
        meta["params"] = params
    return {"$state": {"store": "appState"}, "meta": meta, "query": filter_query(each)}


def _kind(each: Filter) -> tuple[str, object]:
    """Return what sort of filter the looker sees, and its parameters."""
    if each.exists:
        return "exists", None
    if each.before:
        return "range", {"lt": each.before}
    if len(each.values) == 1:
        return "phrase", {"query": each.values[0]}
    return "phrases", list(each.values)


def _controls(board: Dashboard) -> Json:
    panels = {
        str(number): {
            "order": number,
            "width": "small",
            "grow": True,
            "type": "optionsListControl",
            "explicitInput": {
                "id": str(number),
                "fieldName": each.field,
                "title": each.title,
                "enhancements": {},
            },
        }
        for number, each in enumerate(board.controls)
    }
    heed = ("ignoreFilters", "ignoreQuery", "ignoreTimerange", "ignoreValidations")
    return {
        "controlStyle": "oneLine",
        "chainingSystem": "HIERARCHICAL",
        "panelsJSON": _text(panels),
        "ignoreParentSettingsJSON": _text(dict.fromkeys(heed, False)),
    }


def _columns(panel: Panel) -> Json:
    """Return the columns of a panel: splits first, as s0, s1…, then measures as m0, m1…."""
    found: Json = {f"s{number}": _bucketed(split) for number, split in enumerate(panel.splits)}
    return found | {
        f"m{number}": _measured(measure) for number, measure in enumerate(panel.measures)
    }


def _bucketed(split: Split) -> Json:
    if split.time:
        return {
            "label": split.label,
            "customLabel": True,
            "dataType": "date",
            "operationType": "date_histogram",
            "sourceField": split.time,
            "isBucketed": True,
            "scale": "interval",
            "params": {
                "interval": split.interval,
                "includeEmptyRows": False,
                "dropPartials": False,
            },
        }
    return {
        "label": split.label,
        "customLabel": True,
        "dataType": "string",
        "operationType": "terms",
        "sourceField": split.terms,
        "isBucketed": True,
        "scale": "ordinal",
        "params": {
            "size": split.size,
            "orderBy": {"type": "column", "columnId": f"m{split.by}"},
            "orderDirection": split.order,
            "otherBucket": False,
            "missingBucket": False,
            "parentFormat": {"id": "terms"},
        },
    }


def _measured(measure: Measure) -> Json:
    params: Json = {} if measure.of in {"min", "max"} else {"emptyAsNull": False}
    if measure.of == "percentile":
        params = {"percentile": measure.percent}
    elif measure.of == "median":
        params = {}
    shown = _FORMATS[measure.format]
    if shown is not None:
        params["format"] = shown
    return {
        "label": measure.label,
        "customLabel": True,
        "dataType": "date" if measure.format == "date" else "number",
        "operationType": measure.of,
        "sourceField": measure.field or _RECORDS,
        "isBucketed": False,
        "scale": "ratio",
        "params": params,
    }


def _visualization(panel: Panel, layer: str) -> Json:
    splits = [f"s{number}" for number in range(len(panel.splits))]
    times = [f"s{number}" for number, split in enumerate(panel.splits) if split.time]
    measures = [f"m{number}" for number in range(len(panel.measures))]
    here: Json = {"layerId": layer, "layerType": "data"}
    if panel.chart == "table":
        return here | {"columns": [{"columnId": each} for each in (*splits, *measures)]}
    if panel.chart == "metric":
        return here | {"metricAccessor": measures[0]}
    if panel.chart == "pie":
        ring = here | {
            "primaryGroups": splits,
            "metrics": measures,
            "numberDisplay": "percent",
            "categoryDisplay": "default",
            "legendDisplay": "default",
            "nestedLegend": False,
        }
        return {"shape": "donut", "layers": [ring]}
    series = "line" if panel.chart == "line" else "bar_stacked"
    along = times[0] if times else splits[0]
    axes = here | {"seriesType": series, "accessors": measures, "xAccessor": along}
    for beside in splits:
        if beside != along:
            axes["splitAccessor"] = beside
    return {
        "preferredSeriesType": series,
        "legend": {"isVisible": True, "position": "right"},
        "valueLabels": "hide",
        "layers": [axes],
    }
