"""Every panel and saved search, asked of the real Elasticsearch, shows what the documents say."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from klingel_cli.kibana.definitions import (
    Definitions,
    Panel,
    SavedSearch,
    Split,
    definitions_dir,
    load,
)
from klingel_cli.kibana.requests import percent_of, request_of, request_of_search
from klingel_indexer.bulk import elasticsearch_client

from .conftest import PREFIX
from .evidence import Evidence
from .oracle import (
    Document,
    Key,
    bounds,
    buckets,
    figures,
    is_percentile,
    listed,
    measured,
    panel_documents,
    shown,
    values,
)

pytestmark = pytest.mark.servers

SHIPPED = load(definitions_dir())
PANELS = {panel.id: panel for board in SHIPPED.dashboards for panel in board.panels}
SEARCHES = {search.id: search for board in SHIPPED.dashboards for search in board.searches}


def as_of(body: dict[str, Any], evidence: Evidence) -> dict[str, Any]:
    """Return a request as somebody would ask it at the end of the evidence."""
    until = evidence.until.isoformat()
    text = json.dumps(body).replace('"now"', json.dumps(until))
    asked: dict[str, Any] = json.loads(text)
    return asked


async def ask(url: str, pattern: str, body: dict[str, Any]) -> dict[str, Any]:
    index = PREFIX + pattern.removeprefix("klingel-")
    async with elasticsearch_client(url) as client:
        return dict((await client.search(index=index, body=body)).body)


def rows(answer: dict[str, Any], splits: tuple[Split, ...]) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Yield the key of each row of a response and the bucket that holds its measures."""

    def walk(bucket: dict[str, Any], key: Key, number: int) -> Iterator[tuple[Key, dict[str, Any]]]:
        if number == len(splits):
            yield key, bucket
            return
        for inner in bucket[f"s{number}"]["buckets"]:
            yield from walk(inner, (*key, inner["key"]), number + 1)

    top = {"doc_count": answer["hits"]["total"]["value"], **answer.get("aggregations", {})}
    yield from walk(top, (), 0)


def check_row(panel: Panel, bucket: dict[str, Any], documents: list[Document]) -> None:
    for number, measure in enumerate(panel.measures):
        if measure.of == "count":
            assert bucket["doc_count"] == len(documents)
        elif is_percentile(measure):
            value = bucket[f"m{number}"]["values"][f"{percent_of(measure)}.0"]
            between = bounds(documents, measure)
            if between is None:
                assert value is None
            else:
                assert between[0] <= value <= between[1]
        else:
            value = bucket[f"m{number}"]["value"]
            expected = measured(documents, measure)
            assert value == (expected if expected is None else pytest.approx(expected))


def check_order(panel: Panel, found: list[Key], of: dict[Key, list[Document]]) -> None:
    """Check which values of the first split are shown, and in which order."""
    first = panel.splits[0]
    if not first.terms or is_percentile(panel.measures[first.by]):
        return
    tops = list(dict.fromkeys(key[0] for key in found))
    everything = buckets_of(of)
    worth = {value: measured(docs, panel.measures[first.by]) for value, docs in everything.items()}
    assert len(tops) == min(first.size, len(worth))
    order = [worth[value] for value in tops]
    assert None not in order
    assert order == sorted(order, key=float, reverse=first.order == "desc")
    best = sorted(
        (each for each in worth.values() if each is not None), reverse=first.order == "desc"
    )
    assert order == pytest.approx(best[: len(order)])


def buckets_of(of: dict[Key, list[Document]]) -> dict[object, list[Document]]:
    """Return the documents of each value of the first split, each once."""
    found: dict[object, dict[int, Document]] = {}
    for key, documents in of.items():
        found.setdefault(key[0], {}).update({id(each): each for each in documents})
    return {value: [*each.values()] for value, each in found.items()}


@pytest.mark.parametrize("name", PANELS)
async def test_a_panel_shows_what_the_documents_say(
    indexed: str, evidence: Evidence, name: str
) -> None:
    panel = PANELS[name]
    view = SHIPPED.views[panel.view]
    since = evidence.since.isoformat()
    body = as_of(request_of(panel, view, since, evidence.until.isoformat()), evidence)
    answer = await ask(indexed, view.pattern, body)
    documents = panel_documents(evidence, panel, view, PREFIX)
    assert answer["hits"]["total"] == {"value": len(documents), "relation": "eq"}
    assert documents, "nothing is compared"
    found = dict(rows(answer, panel.splits))
    expected = buckets(documents, panel.splits)
    if all(len({key[place] for key in expected}) <= split.size for place, split in sizes(panel)):
        assert set(found) == set(expected)
    assert set(found) <= set(expected)
    assert found or not documents
    for key, bucket in found.items():
        check_row(panel, bucket, expected[key])
    if panel.splits and len(panel.splits) == 1:
        check_order(panel, [*found], expected)


def sizes(panel: Panel) -> Iterator[tuple[int, Split]]:
    """Yield the splits that show so many values at most, with their places."""
    return ((place, split) for place, split in enumerate(panel.splits) if split.terms)


@pytest.mark.parametrize("name", SEARCHES)
async def test_a_saved_search_lists_what_there_is(
    indexed: str, evidence: Evidence, name: str
) -> None:
    search = SEARCHES[name]
    view = SHIPPED.views[search.view]
    body = as_of(
        request_of_search(search, view, evidence.since.isoformat(), evidence.until.isoformat()),
        evidence,
    )
    answer = await ask(indexed, view.pattern, body)
    documents = shown(evidence, view, search.filters, PREFIX)
    assert answer["hits"]["total"] == {"value": len(documents), "relation": "eq"}
    expected = [round(at.timestamp() * 1000) for at in listed(evidence, search, view, PREFIX)]
    found = [hit["sort"][0] for hit in answer["hits"]["hits"]]
    assert expected
    assert found[: len(expected)] == expected[: len(found)]
    for column in search.columns:
        there = {str(one) for each in documents for one in values(each, column)}
        told = {
            str(one)
            for hit in answer["hits"]["hits"]
            for one in hit.get("fields", {}).get(column, ())
        }
        assert bool(there) == bool(told), f"{column} is shown where documents have it"


def test_the_evidence_tells_panels_apart(evidence: Evidence) -> None:
    """A figure that is the same for everything would prove nothing."""
    cases = [
        each.content for each in evidence.documents if each.index.startswith(f"{PREFIX}cases-")
    ]
    for field in ("state", "queue", "network", "channel", "first_response_state", "responded_by"):
        assert len({value for each in cases for value in values(each, field)}) > 1, field
    late = [each for each in cases if each.get("first_response_state") == "met_late"]
    assert late
    business, wall = (
        figures(cases, PANELS["response-by-agent"].measures[number]) for number in (1, 3)
    )
    assert sorted(business) != sorted(wall), "no night lies between"


def test_the_books_of_the_evidence_add_up(evidence: Evidence) -> None:
    """Received = delivered + repeated + discarded + dead-lettered, and what lies there is more."""
    books = [each.content for each in evidence.documents if each.index == f"{PREFIX}audit"]
    sums: Counter[str] = Counter()
    for each in books:
        fates = ("delivered", "repeated", "discarded", "dead_lettered")
        assert each["received"] == sum(each[fate] for fate in fates)
        assert each["written"] == each["received"] + each["waiting"]
        assert (each["difference"], each["problems"]) == (0, 0)
        sums.update({name: each[name] for name in (*fates, "waiting")})
    assert all(sums[name] for name in ("delivered", "discarded", "dead_lettered", "waiting"))


async def test_the_books_page_equals_what_the_audit_found(indexed: str, evidence: Evidence) -> None:
    """The equation holds in the table as Kibana shows it, summed over every row."""
    panel = PANELS["books"]
    view = SHIPPED.views[panel.view]
    answer = await ask(indexed, view.pattern, request_of(panel, view, ""))
    names = [measure.field for measure in panel.measures]
    for _key, bucket in rows(answer, panel.splits):
        row = {name: bucket[f"m{number}"]["value"] for number, name in enumerate(names)}
        fates = row["delivered"] + row["repeated"] + row["discarded"] + row["dead_lettered"]
        assert row["received"] == fates
        assert row["written"] == row["received"] + row["waiting"]


def test_every_page_has_its_panels(definitions: Definitions) -> None:
    """What the pages are for (issue: Kibana) is on them."""
    pages = {board.title: board for board in definitions.dashboards}
    assert set(pages) == {"Care", "Early warning", "Completeness", "Brand", "Dead letters"}
    assert isinstance(SEARCHES["posts-masked"], SavedSearch)
