"""`klingel import`: what it would send, and in which mode; nothing here needs a server."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from klingel.contracts import codec
from klingel.model import RawEvent
from klingel_cli.backtesting import Heard, read_events
from klingel_cli.commands.imports import _outputs
from klingel_networks.registry import installed

NOW = datetime(2026, 3, 10, tzinfo=UTC)


def event(number: int, day: int, **more: object) -> bytes:
    said = {
        "id": str(number),
        "network": "forum",
        "author": {"id": "anna"},
        "text": "my line is dead",
        "published_at": f"2026-03-{day:02}T12:00:00Z",
        **more,
    }
    return json.dumps(said).encode()


def imported(bodies: list[bytes], since: datetime | None) -> list[RawEvent]:
    from collections import Counter  # noqa: PLC0415 - of this builder alone

    events = read_events(bodies, installed().network("webhook"), "old", Heard())
    counts: Counter[str] = Counter()
    return [codec.decode(RawEvent, each.value) for each in _outputs(events, since, NOW, counts)]


def test_history_opens_nothing_unless_it_is_asked_for() -> None:
    bodies = [event(1, 1), event(2, 5)]
    assert {raw.mode for raw in imported(bodies, None)} == {"backfill"}
    found = imported(bodies, datetime(2026, 3, 4, tzinfo=UTC))
    assert [(raw.object_id, raw.mode) for raw in found] == [
        ("webhook:old:1", "backfill"),
        ("webhook:old:2", "gap_fill"),
    ]
    assert {raw.received_at for raw in found} == {NOW}


def test_the_order_is_that_in_which_it_happened() -> None:
    bodies = [event(2, 5), event(1, 1)]
    assert [raw.object_id for raw in imported(bodies, None)] == ["webhook:old:1", "webhook:old:2"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["missing.jsonl", "--source", "old"],
            "missing.jsonl: No such file or directory; name a readable file",
        ),
        (["FILE", "--network", "nowhere"], "no network is called"),
        (["FILE", "--open-since", "2999-01-01T00:00:00Z"], "--open-since lies in the future"),
        (["FILE", "--open-since", "monday"], "a time looks like"),
        (["FILE"], "--source is missing: an id of webhook is its source's own; name the one that"),
        (["FILE", "--network", "feed"], "--source is missing: an id of feed is its source's own"),
    ],
)
def test_wrong_input_gets_one_sentence_and_exit_2(
    run, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(event(1, 1))
    result = run("import", *[str(path) if each == "FILE" else each for each in arguments])
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_what_cannot_be_read_is_counted_and_told(run, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(event(1, 1) + b"\n{\n")
    result = run("import", str(path), "--source", "old", "--dry-run", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["refused"] == 1
    assert json.loads(result.stdout)["reasons"] == {"malformed_json": 1}
    assert json.loads(result.stdout)["backfill"] == 1
    told = run("import", str(path), "--source", "old", "--dry-run").stdout
    assert "1 cannot be read (malformed_json 1), 0 are larger than 524,288 bytes" in told
