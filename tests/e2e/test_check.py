"""The check on real servers: a whole run is clean, and each planted fault makes it fail."""

import json

import pytest
from elasticsearch import Elasticsearch

from klingel.stage.audit import AuditReport
from klingel_cli.demo.check import Result, check, judge_index
from klingel_cli.demo.judging import Sent, judge
from klingel_cli.demo.rehearsal import (
    AT_A_CALM_DAY,
    Traffic,
    brand_file,
    calm_brand,
    furnish,
    open_services,
)

pytestmark = pytest.mark.servers
BRAND = "nordlicht"
RECEIVED = "klingel_received_total"
SENT = [Sent("webhook:nordlicht:1", "created", 0), Sent("webhook:nordlicht:2", "created", 0)]


def quiet(_sentence):
    """Take progress that nobody reads."""


def test_everything_that_rings_is_found_once(fleet, index):
    """The whole way: sources, connectors, understand, care, indexer, judged and audited."""
    furnish(fleet, brand_file(), quiet)
    fleet.klingel("config", "apply", str(calm_brand(fleet, brand_file())))
    open_services(fleet, quiet, brand_file(), AT_A_CALM_DAY)
    traffic = Traffic(11, 500, 250, rate=250, overdue=0.6, brief_day=True)
    result = check(fleet, index, traffic, brand_file(), 180, quiet)
    assert [*result.sentences()] == []
    assert result.passed
    told = result.told()
    assert told["sent"] == told["indexed"] > 300
    assert (told["lost"], told["doubled"], told["audit"]) == (0, 0, "clean")
    assert told["rung"] >= 750
    assert 0 < told["p50_ms"] <= told["p99_ms"]
    assert told["events_per_second"] > 0
    # What was said an hour before it came is late at once, an outage at every time of day.
    assert told["breached"] > 0
    assert told["escalated"] > 0
    assert told["notified"] > 0
    # A calm day lies behind it: what brews is told too.
    assert told["seen"] == dict.fromkeys(told["seen"], True)
    assert len(told["seen"]) == 6
    assert told["alerts"] > 0
    assert told["incidents"] > 0
    received = {
        s.labels["network"]: s.value for s in fleet.metrics("understand-0") if s.name == RECEIVED
    }
    assert received["bluesky"] > 300
    assert received["webhook"] >= 250
    assert fleet.stop_all() == []
    json.dumps(told)


@pytest.fixture
def planted(fleet, index, servers):
    """Two posts, their case and its event, as the indexer writes them; and a way to plant more."""
    fleet.klingel("index", "apply")
    client = Elasticsearch(servers.elasticsearch_url)
    months = f"{fleet.prefix}events-{BRAND}-"

    def post(number, month="2026.11", **more):
        object_id = f"webhook:nordlicht:{number}"
        document = {
            "object_id": object_id,
            "event_id": f"{BRAND}/{object_id}@0",
            "brand": BRAND,
            "network": "webhook",
            "kind": "post",
            "change": "created",
            "revision": 0,
            **more,
        }
        client.index(index=months + month, id=object_id, document=document)

    def case(number, objects):
        facts = [{"object": each, "revision": 0} for each in objects]
        document = {"brand": BRAND, "case_id": f"case-{number}", "facts": facts}
        client.index(index=f"{fleet.prefix}cases-{BRAND}", id=f"case-{number}", document=document)

    def case_event(place):
        document = {"case_id": "case-1", "cause": "c@0", "kind": "opened", "brand": BRAND}
        client.index(
            index=f"{fleet.prefix}case-events-{BRAND}",
            id=place,
            document=document,
            op_type="create",
        )

    post(1)
    post(2)
    case(1, ["0000000000000001", "0000000000000002"])
    case_event("id-1")
    yield type("Planted", (), {"post": post, "case": case, "case_event": case_event, "es": client})
    client.close()


def judged(index):
    verdict = judge_index(SENT, index, BRAND)
    result = Result(verdict, AuditReport((), {}, ()), 2, 0, (), None)
    assert result.passed == verdict.clean
    return verdict


@pytest.mark.usefixtures("planted")
def test_what_was_written_once_passes(index):
    assert judged(index).clean


def test_one_lost_document_fails(planted, index, fleet):
    planted.es.delete(index=f"{fleet.prefix}events-{BRAND}-2026.11", id="webhook:nordlicht:2")
    verdict = judged(index)
    assert verdict.lost == ("webhook:nordlicht:2: is not in the index",)
    assert verdict.doubled == ()


def test_one_document_in_two_months_fails(planted, index):
    planted.post(1, month="2026.10")
    verdict = judged(index)
    assert len(verdict.doubled) == 1
    assert verdict.doubled[0].startswith("webhook:nordlicht:1: another document")
    assert verdict.lost == ()


def test_one_fact_counted_by_two_cases_fails(planted, index):
    planted.case(2, ["0000000000000003", "0000000000000002"])
    assert [each.split(":")[0] for each in judged(index).doubled] == ["fact 0000000000000002"]


def test_one_fact_counted_twice_by_one_case_fails(planted, index):
    planted.case(2, ["0000000000000003", "0000000000000003"])
    assert len(judged(index).doubled) == 1


def test_one_cause_under_two_ids_fails(planted, index):
    planted.case_event("id-2")
    assert judged(index).doubled == ("case-1: opened by c@0 stands once more as id-2",)


def test_nothing_sent_is_no_proof():
    """A check in which nobody rang must not pass."""
    verdict = judge([], [], [], [], brand=BRAND)
    assert not Result(verdict, AuditReport((), {}, ()), 0, 0, (), None).passed
