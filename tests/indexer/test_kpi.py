"""Every KPI is what its page says: its query, run by Elasticsearch, against the cases themselves."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest

from klingel.contracts.topics import Topic
from klingel.model import Case
from klingel_indexer.convert import cases_index

from ..caseload import Caseload, bulk_body

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "kpi.md"
PERIOD = timedelta(days=2)
AT = "2026-03-06T12:00:00Z"
UNCLOSED = {"open", "waiting", "snoozed"}


def queries() -> dict[str, str]:
    """Return the query of each KPI, as it stands on the page."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        blocks = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert len(blocks) == 1, f"{name}: one definition each"
        found[name] = blocks[0]
    return found


@cache
def load() -> Caseload:
    """Four days of care: about 80 cases, of which the period holds some."""
    made = Caseload(90, seed=3)
    assert any(case.opened_at < made.now - PERIOD for case in made.cases())
    return made


def opened(cases: Iterable[Case]) -> list[Case]:
    """Return what counts at all of those opened in the period."""
    return [case for case in counted(cases) if case.opened_at >= load().now - PERIOD]


def counted(cases: Iterable[Case]) -> list[Case]:
    """Return the cases without those that were taken back or go on elsewhere."""
    return [case for case in cases if case.closed_because != "withdrawn" and case.state != "merged"]


def newest(case: Case, name: str):
    """Return the newest clock of a name, None where there is none."""
    return next((clock for clock in reversed(case.clocks or ()) if clock.name == name), None)


def ended(cases: Iterable[Case], name: str) -> list:
    """Return the newest clocks of a name that were met, in time or late."""
    clocks = [clock for case in cases if (clock := newest(case, name)) is not None]
    return [clock for clock in clocks if clock.state in {"met", "met_late"}]


def states(clocks: Iterable) -> tuple[int, int]:
    """Return how many were met in time and late."""
    found = Counter(clock.state for clock in clocks)
    return found["met"], found["met_late"]


def check_percentiles(values: dict[str, float], durations: list[float]) -> None:
    """A percentile lies at its place among the values, between two neighbours."""
    ordered = sorted(durations)
    for key, value in values.items():
        place = float(key) / 100 * len(ordered)
        low, high = ordered[max(0, int(place) - 2)], ordered[min(len(ordered) - 1, int(place) + 1)]
        assert low <= value <= high


def first_response_time(aggs, cases):
    clocks = ended(opened(cases), "first_response")
    assert len(clocks) > 10
    business = [clock.business_seconds for clock in clocks]
    wall = [clock.wall_seconds for clock in clocks]
    assert business != wall, "no night lies between"
    assert aggs["business_mean"]["value"] == pytest.approx(mean(business))
    assert aggs["wall_mean"]["value"] == pytest.approx(mean(wall))
    check_percentiles(aggs["business"]["values"], business)
    check_percentiles(aggs["wall"]["values"], wall)


def answered_in_time(aggs, cases):
    clocks = [clock for case in opened(cases) if (clock := newest(case, "first_response"))]
    met, late = states(clocks)
    overdue = sum(clock.state == "running" and clock.deadline < load().now for clock in clocks)
    assert min(met, late, overdue) > 0
    assert aggs["in_time"]["doc_count"] == met
    assert aggs["late"]["doc_count"] == late + overdue


def next_response_time(aggs, cases):
    turns = [case.turns for case in opened(cases) if case.turns is not None]
    assert aggs["answers"]["value"] == sum(each.count for each in turns) > 5
    assert aggs["late"]["value"] == sum(each.late for each in turns) > 0
    business, wall = (
        sum(getattr(each, name) for each in turns) for name in ("business_seconds", "wall_seconds")
    )
    assert aggs["business"]["value"] == pytest.approx(business)
    assert aggs["wall"]["value"] == pytest.approx(wall)
    assert aggs["longest"]["value"] == max(each.longest_seconds for each in turns)


def resolution_time(aggs, cases):
    closed = [
        case
        for case in counted(cases)
        if case.closed_at is not None and case.closed_at >= load().now - PERIOD
    ]
    clocks = ended(closed, "resolution")
    business = [clock.business_seconds for clock in clocks]
    assert aggs["business_mean"]["value"] == pytest.approx(mean(business))
    assert aggs["wall_mean"]["value"] == pytest.approx(mean(clock.wall_seconds for clock in clocks))
    check_percentiles(aggs["business"]["values"], business)
    assert (aggs["in_time"]["doc_count"], aggs["late"]["doc_count"]) == states(clocks)
    assert states(clocks)[0] > 0


def unanswered_rate(aggs, cases):
    found = [case for case in opened(cases) if case.closed_because != "customer_deleted"]
    unanswered = [case for case in found if case.first_response_at is None]
    assert 0 < len(unanswered) < len(found) < len(opened(cases)), "each of them occurs"
    assert aggs["opened"]["value"] == len(found)
    assert aggs["unanswered"]["doc_count"] == len(unanswered)


def waiting(cases):
    """Return since when customers wait, of all cases that are not over."""
    return [case.waiting_since for case in cases if case.state in UNCLOSED and case.waiting_since]


def oldest_unanswered(aggs, cases):
    shown = datetime.fromisoformat(aggs["oldest"]["value_as_string"])
    assert abs(shown - min(waiting(cases))) < timedelta(milliseconds=1)


def backlog_and_its_age(aggs, cases):
    now, since = load().now, waiting(cases)
    bounds = [timedelta(0), *(timedelta(hours=hours) for hours in (1, 8, 24, 72)), timedelta.max]
    ages = [sum(low < now - at <= high for at in since) for low, high in pairwise(bounds)]
    names = ("up to an hour", "up to 8 hours", "up to a day", "up to 3 days", "older")
    found = {bucket["key"]: bucket["doc_count"] for bucket in aggs["age"]["buckets"]}
    assert found == dict(zip(names, ages, strict=True))
    assert sum(count > 0 for count in ages) >= 3
    queues = Counter(
        case.queue for case in cases if case.state in UNCLOSED and case.waiting_since is not None
    )
    assert {each["key"]: each["doc_count"] for each in aggs["by_queue"]["buckets"]} == queues


def reopen_rate(aggs, cases):
    closed = [case for case in opened(cases) if case.state == "closed" or case.reopened_at]
    assert aggs["closed"]["value"] == len(closed)
    reopened = sum(case.reopened_at is not None for case in closed)
    assert 0 < aggs["reopened"]["doc_count"] == reopened < len(closed)


def per_agent(aggs, cases):
    agents: dict[str, list[Case]] = {}
    for case in opened(cases):
        if case.responded_by is not None:
            agents.setdefault(case.responded_by, []).append(case)
    buckets = {each["key"]: each for each in aggs["agents"]["buckets"]}
    assert set(buckets) == set(agents)
    assert len(agents) > 1
    for agent, theirs in agents.items():
        clocks = ended(theirs, "first_response")
        bucket = buckets[agent]
        assert bucket["doc_count"] == len(theirs)
        assert bucket["business_mean"]["value"] == pytest.approx(
            mean(clock.business_seconds for clock in clocks)
        )
        assert bucket["wall_mean"]["value"] == pytest.approx(
            mean(clock.wall_seconds for clock in clocks)
        )
        found = (bucket["in_time"]["doc_count"], bucket["late"]["doc_count"])
        assert found == states(clocks)


CHECKS: dict[str, Callable] = {
    "First response time": first_response_time,
    "Answered in time": answered_in_time,
    "Next response time": next_response_time,
    "Resolution time": resolution_time,
    "Unanswered rate": unanswered_rate,
    "Oldest unanswered": oldest_unanswered,
    "Backlog and its age": backlog_and_its_age,
    "Reopen rate": reopen_rate,
    "Per agent": per_agent,
}


def test_every_kpi_has_one_query_and_is_checked() -> None:
    """A figure that nobody compares with the cases is none."""
    assert set(queries()) == set(CHECKS)
    for query in queries().values():
        assert json.loads(query)


def asked(query: str) -> dict:
    """Return a query of the page as of the end of the caseload, for the period of this test."""
    end = f"{load().now:%Y-%m-%dT%H:%M:%SZ}"
    as_of = query.replace("now-30d", f"now-{PERIOD.days}d")
    return json.loads(re.sub(r'"now([^"]*)"', rf'"{end}||\1"', as_of))


@pytest.fixture
async def indexed(real_cluster):
    """The cases of the caseload, in the index of the brand and searchable."""
    newest_of = {message.key: message for message in load().records(Topic.CASES)}
    body = bulk_body(list(newest_of.values()), real_cluster.prefix, AT)
    answer = await real_cluster.client.bulk(body=body, refresh=True)
    taken = {status for item in answer["items"] for status in [item["index"]["status"]]}
    assert taken <= {200, 201, 409}
    return real_cluster


@pytest.mark.servers
@pytest.mark.parametrize("name", CHECKS)
async def test_a_kpi_is_what_the_cases_say(indexed, name) -> None:
    index = cases_index(indexed.prefix, "nordlicht")
    answer = await indexed.client.search(index=index, body=asked(queries()[name]))
    CHECKS[name](answer["aggregations"], load().cases())
