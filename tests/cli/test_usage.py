"""What a person gets who asks for help, or asks wrongly."""

import gc
import socketserver
import threading
import warnings
from importlib.util import find_spec

import pytest

from klingel_cli.main import main

NOBODY = {
    "KLINGEL_KAFKA__BOOTSTRAP": "127.0.0.1:9",
    "KLINGEL_ELASTICSEARCH__URL": "http://127.0.0.1:9",
}
COMMANDS = (
    "topics",
    "index",
    "config",
    "map",
    "search",
    "case",
    "incident",
    "explain",
    "audit",
    "rules",
    "models",
    "remap",
    "dead-letters",
    "status",
)


def test_help_names_every_command_and_the_exit_codes(run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert f"  {command} " in result.stdout
    assert "Exit codes: 0 all is well, 1 checked and found wrong, 2 wrong usage" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {command}")


@pytest.mark.parametrize("words", [("search",), ("topics",), ("topics", "check"), ("case", "ack")])
def test_the_help_of_every_command_ends_with_the_exit_codes(run, words: tuple[str, ...]) -> None:
    told = " ".join(run(*words, "--help").stdout.split())
    assert told.endswith(
        "Exit codes: 0 all is well, 1 checked and found wrong, 2 wrong usage or configuration, "
        "3 Kafka or Elasticsearch is away."
    )


def test_the_demo_is_offered_only_where_it_is_installed(run) -> None:
    try:
        there = find_spec("klingel_cli.demo.command") is not None
    except ModuleNotFoundError:
        there = False
    assert ("demo" in main.list_commands(None)) is there
    assert ("\n  demo " in run("--help").stdout) is there


@pytest.mark.parametrize(
    "arguments",
    [
        ("ring",),
        ("topics", "destroy"),
        ("config", "check"),
        ("map", "bluesky"),
        ("search",),
        ("explain",),
        ("dead-letters", "redrive"),
        ("dead-letters", "redrive", "--all"),
        ("dead-letters", "redrive", "0/1", "--all", "--kind", "too_deep"),
        ("search", "--size", "0", "word"),
        ("doctor", "webhook", "--wait", "-1"),
        ("doctor", "webhook", "--wait", "nan"),
        ("topics", "check", "--wait", "nan"),
    ],
)
def test_wrong_usage_is_exit_2_with_a_sentence(run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert "Traceback" not in result.output


def test_an_unknown_setting_is_exit_2_and_suggests_the_nearest(run) -> None:
    result = run("topics", "check", env={"KLINGEL_KAFKA__PARTIONS": "4"})
    assert result.exit_code == 2
    assert "did you mean KLINGEL_KAFKA__PARTITIONS?" in result.stderr


def test_the_settings_of_connectors_are_left_alone(run) -> None:
    settings = {"KLINGEL_WEBHOOK_SOURCES": "shop", "KLINGEL_FORM_RATE": "5"}
    result = run("explain", "no-id", env=settings)
    assert result.exit_code == 2
    assert "an event id is <network>" in result.stderr


@pytest.mark.parametrize("event_id", ["x", "a:b:c", "a:b:c@", "@1", "nordlicht/abc@1", "a:b@-1"])
def test_what_is_no_event_id_is_exit_2_and_says_what_one_is(run, event_id: str) -> None:
    result = run("explain", event_id, env=NOBODY)
    assert result.exit_code == 2
    assert "<object_id>" in result.stderr or "<native id>@<revision>" in result.stderr


@pytest.mark.parametrize("letter_id", ["x", "1", "1/", "1/x", "/1", "²/1", "1/2/3"])
def test_what_is_no_dead_letter_s_id_is_exit_2_and_says_what_one_is(run, letter_id: str) -> None:
    result = run("dead-letters", "show", letter_id, env=NOBODY)
    assert result.exit_code == 2
    assert "<partition>/<offset>" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "server"),
    [
        (("topics", "check"), "Kafka at 127.0.0.1:9"),
        (("audit",), "Kafka at 127.0.0.1:9"),
        (("index", "check"), "Elasticsearch at http://127.0.0.1:9"),
        (("search", "bill"), "Elasticsearch at http://127.0.0.1:9"),
    ],
)
def test_a_server_that_is_away_is_exit_3_and_named(
    run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], server: str
) -> None:
    monkeypatch.setattr("klingel_cli.kafka.BOOTSTRAP_MS", 300)
    with warnings.catch_warnings():
        # kafka-python leaves a socket to the collector when nobody answers.
        warnings.simplefilter("ignore", ResourceWarning)
        result = run(*arguments, env=NOBODY)
        gc.collect()
    assert result.exit_code == 3
    assert f"klingel: {server} does not answer" in result.stderr
    assert "Traceback" not in result.output


class _Refusing(socketserver.BaseRequestHandler):
    """Hears what somebody says, and hangs up."""

    def handle(self) -> None:
        self.request.recv(100)


def test_a_kafka_that_listens_and_does_not_let_us_in_is_not_called_away(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client repeats a refusal until it gives up: the same error as of one that is away."""
    monkeypatch.setattr("klingel_cli.kafka.BOOTSTRAP_MS", 200)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Refusing) as door:
        threading.Thread(target=door.serve_forever, args=(0.01,), daemon=True).start()
        names = {
            "KLINGEL_KAFKA__BOOTSTRAP": f"127.0.0.1:{door.server_address[1]}",
            "KLINGEL_KAFKA__SECURITY_PROTOCOL": "SSL",
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # as above
            result = run("topics", "check", env=names)
            gc.collect()
        door.shutdown()
    assert result.exit_code == 2
    assert "listens and does not let us in; see KLINGEL_KAFKA__SECURITY_PROTOCOL" in result.stderr
