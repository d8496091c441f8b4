"""The short definitions: every field exists, and what does not fit is one clear sentence."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from klingel.errors import ConfigurationError
from klingel_cli.kibana.definitions import Definitions, Panel, definitions_dir, load

from ..indexer.conftest import TEMPLATES

ISSUE = {
    "care": {
        "open-by-queue": {"queue"},
        "waiting-longest": {"waiting_since"},
        "clocks-first-response": {"first_response_state"},
        "response-by-channel": {"first_response_business_seconds", "first_response_wall_seconds"},
        "response-by-agent": {"first_response_business_seconds", "first_response_wall_seconds"},
        "breaches": {"clock"},
    },
    "early-warning": {
        "mentions-by-tone": {"enrichment.tone.label"},
        "alerts-open": {"evidence.authors", "evidence.reach"},
        "incidents-open": {"count"},
    },
    "completeness": {
        "books": {"received", "delivered", "repeated", "discarded", "dead_lettered", "waiting"},
        "gaps": {"gap.outcome"},
        "connector-states": {"state"},
        "cost": {"spent.units"},
    },
    "brand": {
        "contacts-by-channel": {"channel"},
        "topics": {"enrichment.topics"},
        "intents": {"enrichment.intents.name"},
        "languages": {"lang.code"},
        "reach": {"author.followers"},
    },
    "dead-letters": {"letters-by-stage": {"stage", "kind"}},
}
"""What each page has to show, by panel, and which fields it is made of."""


def mapped(pattern: str) -> dict[str, str]:
    """Return the type of each field of the indices behind a view."""
    for path in TEMPLATES.glob("*.index.json"):
        if json.loads(path.read_text(encoding="utf-8"))["index_patterns"] == [pattern]:
            component = path.with_name(path.name.replace(".index.", ".component."))
            body = json.loads(component.read_text(encoding="utf-8"))
            return dict(_leaves(body["template"]["mappings"]["properties"], ""))
    raise AssertionError(f"no template makes {pattern}")


def _leaves(properties: dict[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for name, entry in properties.items():
        if "properties" in entry:
            yield from _leaves(entry["properties"], f"{before}{name}.")
        else:
            yield before + name, "stored" if entry.get("enabled") is False else entry["type"]


def fields_of(panel: Panel) -> set[str]:
    """Return the fields that a panel divides by and measures."""
    found = {split.field for split in panel.splits} | {each.field for each in panel.measures}
    return found - {""}


def test_every_page_shows_what_it_is_for(definitions: Definitions) -> None:
    boards = {board.id: board for board in definitions.dashboards}
    assert set(boards) == set(ISSUE)
    for name, panels in ISSUE.items():
        there = {panel.id: fields_of(panel) for panel in boards[name].panels}
        for panel, fields in panels.items():
            assert fields <= there[panel], (name, panel)


def test_response_times_have_median_and_p90_of_both_clocks(definitions: Definitions) -> None:
    panels = {panel.id: panel for board in definitions.dashboards for panel in board.panels}
    for name in ("response-by-channel", "response-by-agent"):
        measures = {(each.of, each.field) for each in panels[name].measures}
        for clock in ("business", "wall"):
            field = f"first_response_{clock}_seconds"
            assert {("median", field), ("percentile", field)} <= measures


def test_every_field_can_be_what_it_is_used_for(definitions: Definitions) -> None:
    """Divided by keywords and times, measured numbers and times, filtered by what is searchable."""
    for board in definitions.dashboards:
        for panel in board.panels:
            types = mapped(definitions.views[panel.view].pattern)
            for split in panel.splits:
                assert types[split.field] == ("keyword" if split.terms else "date"), panel.id
            for measure in panel.measures:
                countable = {"long", "double", "date"} | (
                    {"keyword"} if measure.of == "unique_count" else set()
                )
                assert not measure.field or types[measure.field] in countable, panel.id
                assert (measure.format == "date") == (types.get(measure.field) == "date"), panel.id
            for each in panel.filters:
                assert types[each.field] in {"keyword", "date", "long", "double"}, panel.id
        for search in board.searches:
            types = mapped(definitions.views[search.view].pattern)
            assert types[search.sort] == "date"
            assert all(types[column] != "stored" for column in search.columns), search.id
        for control in board.controls:
            assert mapped(definitions.views[control.view].pattern)[control.field] == "keyword"


def test_views_name_times_that_exist_and_hide_what_people_said(definitions: Definitions) -> None:
    for view in definitions.views.values():
        types = mapped(view.pattern)
        assert not view.time or types[view.time] == "date"
        assert all(field in types or field in {"explain", "facts"} for field in view.hidden)
    assert "text" in definitions.views["posts"].hidden
    for board in definitions.dashboards:
        for search in board.searches:
            assert not {"text", "author.name", "author.handle"} & set(search.columns)


GOOD = {
    "views.yaml": "- {id: cases, title: Cases, pattern: klingel-cases-*}",
    "one.yaml": (
        "{id: one, title: One, about: x, since: now-1d, panels: [{id: p, title: P, view: cases, "
        "chart: metric, at: [0, 0, 8, 8], measures: [{label: n}]}]}"
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder that is right."""
    for name, text in GOOD.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("view: cases", "view: gone", "one.yaml: there is no view gone"),
        ("at: [0, 0, 8, 8]", "at: [44, 0, 8, 8]", "p leaves the grid of 48 columns"),
        ("chart: metric", "chart: table", "a table has rows"),
        ("chart: metric", "chart: pie", "a pie divides one figure"),
        ("chart: metric", "chart: bar", "a chart has an axis"),
        ("chart: metric", "chart: cake", "Invalid enum value 'cake'"),
        ("{label: n}", "{label: n, of: sum}", "a count has no field, all else has one"),
        ("{label: n}", "", "it measures nothing"),
        ("title: P", "title: P, colour: red", "unknown field `colour`"),
        (
            "measures:",
            "filters: [{field: state}], measures:",
            "the filter of state has one of `is`, `exists` and `before`",
        ),
        (
            "chart: metric",
            "chart: table, splits: [{label: q, terms: queue, by: 3}]",
            "ordered by measure 3",
        ),
        ("since: now-1d", "since: yesterday", "matching regex"),
        ("{id: one", "{{id: one", "one.yaml is no YAML"),
        ("{id: one", "\x00", "one.yaml"),
        (
            "{label: n}]}",
            (
                "{label: n}]}, {id: p, title: P, view: cases, chart: metric, at: [8, 0, 8, 8], "
                "measures: [{label: n}]}"
            ),
            "two panels have the id p",
        ),
        (
            "{label: n}]}",
            (
                "{label: n}]}, {id: q, title: P, view: cases, chart: metric, at: [7, 7, 8, 8], "
                "measures: [{label: n}]}"
            ),
            "q lies over p",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(folder: Path, old: str, new: str, sentence: str) -> None:
    assert len(load(folder).dashboards) == 1
    path = folder / "one.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigurationError) as error:
        load(folder)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_definitions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"holds no views\.yaml"):
        definitions_dir(tmp_path)
