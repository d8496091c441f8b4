"""The board shows what was observed, and nothing that a post could do to a terminal."""

from datetime import UTC, datetime, timedelta
from io import StringIO

from rich.console import Console

from klingel_cli.demo.board import Surroundings, draw, in_one_line, shortened
from klingel_cli.demo.index import PostRow, QueueRow
from klingel_cli.demo.observe import Rates, Snapshot, StageRow, counted
from klingel_cli.demo.processes import Sample

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
    }
    return Snapshot(**{**values, **more})


def drawn(**more):
    out = StringIO()
    Console(file=out, width=140, force_terminal=False).print(draw(snapshot(**more), AROUND, 140))
    return out.getvalue()


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
