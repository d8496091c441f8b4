"""`klingel backtest --brand --input`: the whole way in one process, the same every time."""

import json
from pathlib import Path

import pytest

BRAND = """brand: nordlicht
name: Nordlicht
accounts: [{network: webhook, id: "desk:nordlicht"}]
channels: [{network: webhook, id: desk}]
queues: [{id: service}, {id: late}]
calendars: [{id: day, zone: Europe/Berlin, hours: {mon-fri: ["08:00-20:00"]}}]
sla: [{id: public, calendar: day, first_response: 60m, next_response: 60m}]
targets: [{id: chat, kind: slack, url_setting: chat}]
escalation:
  - {id: lead, on: [warned], notify: [chat]}
  - {id: head, on: [breached], queue: late, notify: [chat]}
enrichment: {model: none}
"""


def said(number: str, at: str, author: str = "anna", **more: object) -> str:
    event = {
        "id": number,
        "network": "forum",
        "author": {"id": author},
        "text": "my line is dead",
        "published_at": f"2026-03-02T{at}:00Z",
        **more,
    }
    return json.dumps(event)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A brand and a morning: one answer in time, one late, one never; a reply by its parent alone."""
    brand, events = tmp_path / "brand.yaml", tmp_path / "events.jsonl"
    brand.write_text(BRAND, encoding="utf-8")
    lines = [
        said("1", "08:00"),
        said("2", "08:10", "bert"),
        said("3", "08:20", "cem"),
        said("4", "08:30", "nordlicht", in_reply_to="1", text="we look ^mk"),
        said("5", "10:00", "nordlicht", in_reply_to="2", text="sorry, we look"),
        said("6", "12:00", "dora", text="hello?"),
    ]
    events.write_text("\n".join(reversed(lines)) + "\n", encoding="utf-8")
    return brand, events


def test_it_says_what_klingel_would_have_done(run, files: tuple[Path, Path]) -> None:
    brand, events = files
    arguments = ("backtest", "--brand", brand, "--input", events, "--source", "desk", "--json")
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["events"]["read"] == report["events"]["heard"] == 6
    assert report["cases"]["opened"] == 4
    first = report["clocks"]["first_response"]
    assert (first["started"], first["in_time"], first["late"], first["breached"]) == (4, 1, 1, 2)
    told = {(each["level"], each["state"]): each["count"] for each in report["escalations"]}
    assert told == {
        ("head", "ended"): 1,
        ("head", "raised"): 1,
        ("lead", "ended"): 1,
        ("lead", "raised"): 1,
    }
    assert run(*arguments).stdout == result.stdout


def test_the_routed_events_can_be_had(run, files: tuple[Path, Path], tmp_path: Path) -> None:
    brand, events = files
    out = tmp_path / "out.jsonl"
    result = run(
        "backtest", "--brand", brand, "--input", events, "--source", "desk", "--events", out
    )
    assert result.exit_code == 0, result.stderr
    decisions = [json.loads(line)["decision"]["triage"] for line in out.read_bytes().splitlines()]
    assert sorted(decisions) == ["answered", "answered", "opened", "opened", "opened", "opened"]


def test_two_brand_files_stand_side_by_side(run, files: tuple[Path, Path], tmp_path: Path) -> None:
    brand, events = files
    other = tmp_path / "patient.yaml"
    other.write_text(BRAND.replace("first_response: 60m", "first_response: 9h"), encoding="utf-8")
    result = run(
        "backtest", "--brand", brand, "--compare", other, "--input", events, "--source", "desk"
    )
    assert result.exit_code == 0, result.stderr
    assert "clocks.first_response.breached" in result.stdout


def test_what_cannot_be_read_is_counted(run, files: tuple[Path, Path]) -> None:
    brand, events = files
    with events.open("a", encoding="utf-8") as file:
        file.write("no event\n")
    result = run("backtest", "--brand", brand, "--input", events, "--source", "desk")
    assert result.exit_code == 0
    table = result.stdout.split("cannot be read", 1)[1].splitlines()
    assert table[1].split() == ["malformed_json", "1"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name --brand and --input, or --counts alone"),
        (["--brand", "BRAND"], "name --brand and --input, or --counts alone"),
        (["--brand", "BRAND", "--input", "nothing"], "nothing: No such file or directory"),
        (["--brand", "nothing", "--input", "EVENTS"], "nothing: No such file or directory"),
        (["--brand", "BRAND", "--input", "EVENTS", "--network", "no-such"], "no network is called"),
        (["--counts", "x", "--brand", "BRAND"], "--counts stands alone"),
        (["--counts", "x", "--compare", "BRAND"], "--counts stands alone"),
        (["--counts", "x", "--events", "y"], "--counts stands alone"),
        (
            ["--brand", "BRAND", "--input", "GARBAGE"],
            "garbage: none of it can be read as deliveries",
        ),
        (
            ["--brand", "BRAND", "--input", "EMPTY"],
            "empty: empty; name a file of recorded deliveries",
        ),
    ],
)
def test_wrong_input_gets_one_sentence_and_exit_2(
    run, files: tuple[Path, Path], arguments: list[str], sentence: str
) -> None:
    garbage, empty = files[0].with_name("garbage"), files[0].with_name("empty")
    garbage.write_bytes(b"\x00\xff no event")
    empty.touch()
    names = {
        "BRAND": str(files[0]),
        "EVENTS": str(files[1]),
        "GARBAGE": str(garbage),
        "EMPTY": str(empty),
    }
    result = run("backtest", *[names.get(each, each) for each in arguments])
    assert result.exit_code == 2
    assert sentence in result.stderr
