"""The board shows what was observed, and nothing that a post could do to a terminal."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from klingel_cli.demo.board import Surroundings, draw, in_one_line, shortened
from klingel_cli.demo.index import AlertRow, Care, DueRow, IncidentRow, PostRow, QueueRow
from klingel_cli.demo.observe import Rates, Snapshot, StageRow, Told, ToldRow, counted, in_order
from klingel_cli.demo.processes import KINDS, Sample

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
AROUND = Surroundings(
    "simulated networks ring for nordlicht",
    NOW - timedelta(minutes=2),
    (("Elasticsearch", "http://127.0.0.1:9200"), ("Kibana", "with Docker: docker compose up")),
    "/somewhere/logs",
)


def stage(name, **more):
    values = {
        "state": "ready",
        "fallen": False,
        "per_second": 12.0,
        "total": 3456,
        "waiting": 7,
        "oldest_seconds": 0.4,
        "resident_bytes": 101_000_000,
        "address": "http://127.0.0.1:20001/metrics",
    }
    return StageRow(name, **{**values, **more})


def snapshot(**more):
    values = {
        "at": NOW,
        "stages": (stage("understand-0"),),
        "p50_seconds": 1.24,
        "p99_seconds": 2.0,
        "searchable": 1234,
        "queues": (QueueRow("billing", 10, 4, NOW - timedelta(seconds=75)),),
        "posts": (
            PostRow(
                NOW,
                "bluesky",
                "billing",
                30,
                "Zu viel abgebucht",
                "negative",
                ("complaint", "problem"),
            ),
        ),
        "dead_letters": {},
        "fallen": (),
        "trouble": None,
        "care": Care(),
        "told": Told(),
    }
    return Snapshot(**{**values, **more})


def drawn(width=140, height=None, **more):
    out = StringIO()
    board = draw(snapshot(**more), AROUND, width, height)
    Console(file=out, width=width, force_terminal=False).print(board)
    return out.getvalue()


CARE = Care(
    late=12,
    due=(
        DueRow("outages", "webhook", "first_response", NOW - timedelta(minutes=5), "mk", 90),
        DueRow("billing", "bluesky", "next_response", NOW + timedelta(seconds=90), "", 25),
    ),
    alerts=(AlertRow("negative", "outage", 8, NOW, 23, ("störung kiel", "kein netz")),),
    incidents=(IncidentRow("same_question", "de", NOW, 31, 29, ("seit stunden",)),),
)
TOLD = Told(41, (ToldRow("shift-chat", "Breached: outages, first response"),))


def test_the_board_shows_stages_latency_queues_posts_and_addresses():
    shown = drawn()
    for part in (
        "understand-0",
        "3,456",
        "101 MB",
        "http://127.0.0.1:20001/metrics",
        "p50 1.2 s, p99 2.0 s",
        "1:15",
        "Zu viel abgebucht",
        "dead letters: none",
        "http://127.0.0.1:9200",
        "docker compose up",
        "since 2:00",
    ):
        assert part in shown, part


def test_a_fallen_process_is_named_with_its_log():
    sentence = "care-0 was ended by SIGKILL; its log is /somewhere/logs/care-0.log"
    assert f"! {sentence}" in drawn(fallen=(sentence,))
    assert sentence in in_one_line(snapshot(fallen=(sentence,)))


def test_what_a_network_is_waited_for_with_is_shown():
    waiting = stage("bluesky-0", state="Jetstream does not answer (ClientConnectorDNSError)")
    assert "Jetstream does not answer" in drawn(stages=(waiting,))


def test_an_elasticsearch_that_is_away_is_told_and_an_empty_board_stands():
    shown = drawn(
        trouble="Elasticsearch does not answer (ConnectionError)",
        queues=(),
        posts=(),
        p50_seconds=None,
        p99_seconds=None,
    )
    assert "! Elasticsearch does not answer" in shown
    assert "nothing searchable yet" in shown
    assert "no case yet" in shown


def test_dead_letters_are_counted_by_kind_the_most_first():
    shown = drawn(dead_letters={"schema": 2, "malformed_json": 1_200})
    assert "dead letters: 1,200 malformed_json, 2 schema" in shown


def test_a_post_cannot_steer_the_terminal_or_use_markup():
    hostile = "[bold]x[/bold]\x1b[2J\r\n\u202eabc\u0000"
    shown = drawn(posts=(PostRow(NOW, "bluesky", "billing", 0, hostile),))
    assert "[bold]x[/bold] [2J ·abc" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_long_text_is_cut_with_a_mark():
    assert shortened("a" * 50, 10) == "a" * 9 + "…"
    assert shortened("a" * 10, 10) == "a" * 10


def test_a_rate_is_the_difference_of_totals_and_never_negative():
    rates = Rates()
    assert rates.take("care-0", 100, 10.0) is None
    assert rates.take("care-0", 160, 12.0) == 30
    assert rates.take("care-0", 5, 13.0) == 0
    assert rates.take("care-0", 15, 14.0) == 10


def test_dead_letters_of_all_processes_are_added_up():
    letter = Sample("klingel_dead_lettered_total", {"error_type": "schema"}, 2)
    other = Sample("klingel_received_total", {}, 9)
    assert counted({"a": [letter, other], "b": [letter]}) == {"schema": 4}


@pytest.mark.parametrize("width", [80, 140])
def test_promises_alerts_incidents_and_what_was_told_are_shown(width):
    shown = drawn(width, care=CARE, told=TOLD)
    for part in (
        "due next (12 late)",
        "late by 5:00",
        "in 1:30",
        "first response",
        "negative: outage",
        "same question (de), 31 posts",
        "told last (41 so far)",
        "Breached: outages, first response",
    ):
        assert part in shown, part
    assert all(len(line.rstrip()) <= width for line in shown.splitlines())


def test_an_alert_tells_its_terms_and_authors_where_there_is_room():
    shown = drawn(140, care=CARE)
    line = next(line for line in shown.splitlines() if "negative: outage" in line)
    assert line.split()[3:] == ["8", "23", "12:00:00", "störung", "kiel,", "kein", "netz"]


def test_queues_and_promises_stand_side_by_side_where_there_is_room():
    wide, narrow = drawn(140, care=CARE).splitlines(), drawn(80, care=CARE).splitlines()
    assert any("queue " in line and "due next" in line for line in wide)
    assert not any("open cases" in line and "due next" in line for line in narrow)


def test_a_low_terminal_loses_posts_and_nothing_else():
    posts = tuple(PostRow(NOW, "bluesky", "billing", 0, f"text {n}") for n in range(8))
    whole = drawn(140, None, care=CARE, posts=posts)
    lines = len(whole.splitlines())
    low = drawn(140, lines - 3, care=CARE, posts=posts)
    assert len(low.splitlines()) == lines - 3
    assert "text 4" in low
    assert "text 5" not in low
    assert AROUND.logs in low


def test_what_brews_cannot_steer_the_terminal_either():
    alert = AlertRow("negative", "[bold]x[/bold]\x1b[2J", 8, NOW, 5, ("a\x1b[2J\u202e",))
    told = Told(1, (ToldRow("chat\x1b[2J", "[red]y[/red]\u202e"),))
    shown = drawn(140, care=Care(alerts=(alert,)), told=told)
    assert "[bold]x[/bold]" in shown
    assert "[red]y[/red]" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_every_kind_of_process_has_its_place():
    children = [SimpleNamespace(kind=kind, name=f"{kind}-0") for kind in KINDS if kind != "ndjson"]
    assert {child.kind for child in in_order(children)} == {child.kind for child in children}
