"""What the example brand must come to: whatever of it is absent, the check says so and fails."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from elastic_transport import ConnectionError as AwayError

from klingel.config.loader import load_brand
from klingel.stage.audit import AuditReport
from klingel_cli.demo.check import Result, await_seen, what_is_seen
from klingel_cli.demo.index import AlertRow, Care, DueRow, IncidentRow
from klingel_cli.demo.judging import Verdict
from klingel_cli.demo.rehearsal import brand_file

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
BRAND = load_brand(brand_file()).brand
CARE = Care(
    due=(DueRow("service", "x", "first_response", NOW + timedelta(hours=1)),),
    alerts=(AlertRow("negative", "outage", 7, NOW, 12, ("Netz",)),),
    incidents=(IncidentRow("same_question", "de", NOW, 14, 12),),
)
TALLY = {"warned": 2, "breached": 3, "escalated": 4, "alerts": 1, "incidents": 1}
RECEIVED = {"shift-chat": 3, "ticketing": 1}
WHOLE = Verdict(sent=1, indexed=1, never_seen=0, lost=(), doubled=())


def seen(care=CARE, tally=TALLY, received=RECEIVED):
    index = SimpleNamespace(
        refresh=lambda: None, tally=lambda: tally, care=lambda _late, _due, _matters: care
    )
    answers = {"/control/status": {"received": received}, "/control/received": []}
    fleet = SimpleNamespace(get=lambda _name, path: (200, json.dumps(answers[path]).encode()))
    return what_is_seen(fleet, index, BRAND)


def result(found):
    return Result(WHOLE, AuditReport((), {}, ()), 1, 0, (), None, seen=found)


def test_where_all_is_seen_the_check_passes():
    assert [*result(seen()).sentences()] == []
    assert result(seen()).passed


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("a case whose clock runs", {"care": replace(CARE, due=())}),
        ("a warning", {"tally": TALLY | {"warned": 0}}),
        ("a breach", {"tally": TALLY | {"breached": 0}}),
        ("an escalation that the receiver got", {"tally": TALLY | {"escalated": 0}}),
        # Who is told of alerts too may have got nothing else.
        ("an escalation that the receiver got", {"received": {"shift-chat": 3}}),
        ("an escalation that the receiver got", {"received": {}}),
        ("an alert with evidence", {"care": replace(CARE, alerts=())}),
        (
            "an alert with evidence",
            {"care": replace(CARE, alerts=(AlertRow("negative", "", 7, NOW, 12),))},
        ),
        (
            "an alert with evidence",
            {"care": replace(CARE, alerts=(AlertRow("negative", "", 7, NOW, 1, ("Netz",)),))},
        ),
        ("an incident", {"care": replace(CARE, incidents=())}),
    ],
)
def test_what_is_absent_fails_the_check_by_its_name(what, found):
    judged = result(seen(**found))
    assert not judged.passed
    assert [*judged.sentences()] == [f"not seen: {what}"]
    assert judged.told()["seen"][what] is False
    assert sum(judged.told()["seen"].values()) == 5


def test_where_nothing_of_the_kind_is_asked_for_nothing_is_missed():
    """With recorded events, or a brand file of one's own."""
    assert result({}).passed


def test_an_index_that_does_not_answer_yet_is_asked_again():
    """One that was just made has shards that have not started."""
    answers = iter([AwayError("its shards have not started"), None])

    def refresh():
        if (failure := next(answers, None)) is not None:
            raise failure

    index = SimpleNamespace(
        refresh=refresh, tally=lambda: TALLY, care=lambda _late, _due, _matters: CARE
    )
    told = {"/control/status": {"received": RECEIVED}, "/control/received": []}
    fleet = SimpleNamespace(get=lambda _name, path: (200, json.dumps(told[path]).encode()))
    assert all(await_seen(fleet, index, BRAND).values())
