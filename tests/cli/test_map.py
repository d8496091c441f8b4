"""Native deliveries from files and standard input: one line of JSON an object, each with its fate."""

import gzip
import json
import tarfile
from pathlib import Path

import pytest

GOOD = {
    "id": "m1",
    "network": "forum",
    "author": {"id": "anna"},
    "text": "my bill is wrong",
    "published_at": "2026-03-02T12:00:00Z",
}


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_delivery_from_standard_input_is_mapped(run) -> None:
    result = run("map", "webhook", "--source", "shop", "-", stdin=json.dumps(GOOD).encode())
    assert result.exit_code == 0, result.output
    (told,) = lines(result.stdout)
    assert told["fate"] == "delivered"
    assert told["event"]["event_id"] == "webhook:shop:m1@0"
    assert told["event"]["text"] == "my bill is wrong"


def test_a_jsonl_file_holds_a_delivery_a_line_and_a_broken_one_stops_nothing(
    run, tmp_path: Path
) -> None:
    content = "\n".join([json.dumps(GOOD), "{broken", "", json.dumps({"id": "m2"})]) + "\n"
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b.ndjson.gz"
    plain.write_text(content, encoding="utf-8")
    packed.write_bytes(gzip.compress(content.encode()))
    result = run("map", "replay", "--source", "shop", plain, packed)
    told = lines(result.stdout)
    assert [each["fate"] for each in told] == ["delivered", "dead_lettered", "dead_lettered"] * 2
    assert told[1]["reason"] == "malformed_json"
    assert "broken" not in json.dumps(told[1])
    assert told[2]["reason"] == "missing_field"


def test_another_file_is_one_delivery_unless_lines_are_asked_for(run, tmp_path: Path) -> None:
    pretty = tmp_path / "delivery.json"
    pretty.write_text(json.dumps(GOOD, indent=2), encoding="utf-8")
    assert [each["fate"] for each in lines(run("map", "webhook", pretty).stdout)] == ["delivered"]
    as_lines = lines(run("map", "webhook", "--lines", pretty).stdout)
    assert {each["fate"] for each in as_lines} == {"dead_lettered"}


def test_hostile_text_is_printed_as_json_that_no_terminal_obeys(run) -> None:
    hostile = "a\x1b[31m\u202e\x85\ud83d b"
    body = json.dumps(GOOD | {"text": "a\x1b[31m\u202e\x85 b", "url": "https://x.example/\u202e"})
    result = run("map", "webhook", "-", stdin=body.encode())
    assert result.stdout.rstrip("\n").isprintable()
    (told,) = lines(result.stdout)
    if told["fate"] == "delivered":
        assert told["event"]["text"] == hostile.replace("\ud83d", "")
    surrogate = json.dumps(GOOD | {"text": hostile}).encode()
    result = run("map", "webhook", "-", stdin=surrogate)
    assert result.exit_code == 0, result.output
    assert len(lines(result.stdout)) == 1


def test_what_our_own_mapping_raises_is_a_fate_and_quotes_nothing(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: object) -> None:
        raise ZeroDivisionError("my bill is wrong")

    monkeypatch.setattr("klingel_cli.commands.map.map_delivery", raises)
    result = run("map", "webhook", "-", stdin=json.dumps(GOOD).encode())
    assert lines(result.stdout) == [
        {
            "fate": "dead_lettered",
            "reason": "unhandled:ZeroDivisionError",
            "sentence": "our own code raised ZeroDivisionError",
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("bluesk", "x"), "no network is called 'bluesk'; did you mean bluesky?"),
        (("webhook", "none.json"), "none.json: No such file or directory; name a readable file"),
        (("webhook", "cut.json.gz"), "cut.json.gz: it is no whole gzip file"),
        (("webhook", "bent.json.gz"), "bent.json.gz: it is no whole gzip file"),
        (("webhook", "."), ".: Is a directory; name a readable file"),
    ],
)
def test_what_cannot_be_read_is_exit_2_with_its_name(
    run, tmp_path: Path, arguments: tuple[str, str], sentence: str
) -> None:
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b"{}" * 1000)[:20])
    packed = gzip.compress(bytes(range(256)) * 9)
    (tmp_path / "bent.json.gz").write_bytes(packed[:12] + bytes(20) + packed[32:])
    result = run("map", *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_the_recorded_jetstream_sample_is_mapped_line_by_line(
    run, shared_data: Path, tmp_path: Path
) -> None:
    archive = shared_data / "permissive" / "payloads" / "bluesky_jetstream_sample.tar.gz"
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    (sample,) = tmp_path.rglob("*.jsonl")
    result = run("map", "bluesky", sample)
    assert result.exit_code == 0, result.output
    told = lines(result.stdout)
    with sample.open(encoding="utf-8") as file:
        assert len(told) == sum(1 for _ in file)
    assert {each["fate"] for each in told} == {"delivered"}
