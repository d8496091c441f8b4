"""A real crisis the whole way: mapping, understand, care and watch, on posts to airlines.

Storms grounded flights on 21 and 22 February 2015. Tones are those that our model finds, not those
that people gave; nothing tells the time but the posts. American is the one whose first hours hold
*Cancelled Flight*; of the others `tests/unit/domain/test_alerting.py` tells with given tones.
"""

import gzip
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

BRAND = """brand: {name}
name: {name}
accounts: [{{network: webhook, id: "{name}:{name}"}}]
channels: [{{network: webhook, id: {name}}}]
queues: [{{id: service}}]
"""


def pacific(told: str) -> datetime:
    """Return a time of February 2015 at the Pacific coast, such as `22 13:00`."""
    return datetime.fromisoformat(f"2015-02-{told[:2]}T{told[3:]}:00-08:00")


def posts(folder: Path, airline: str | None = None) -> list[dict[str, Any]]:
    """Read the posts to an airline, or to all, as generic events."""
    path = folder / "nc" / "text" / "airline_us_sentiment.jsonl.gz"
    found = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            post = json.loads(line)
            meta = post["meta"]
            if airline not in (None, meta["brand"]) or meta["created_at"] is None:
                continue
            at = datetime.strptime(meta["created_at"], "%Y-%m-%d %H:%M:%S %z")
            event = {
                "id": str(number),
                "network": "x",
                "author": {"id": meta["author"]},
                "text": post["text"],
                "published_at": at.astimezone(UTC).isoformat(),
                "lang": "en",
            }
            found.append(event)
    return found


def said(event: dict[str, Any]) -> datetime:
    """Return when a post was said."""
    return datetime.fromisoformat(event["published_at"])


@pytest.fixture
def backtest(run, tmp_path: Path):
    """Run posts the whole way; return the report."""

    def report(name: str, events: Iterable[dict[str, Any]]) -> dict[str, Any]:
        brand, recording = tmp_path / f"{name}.yaml", tmp_path / f"{name}.ndjson"
        brand.write_text(BRAND.format(name=name), encoding="utf-8")
        recording.write_text("".join(json.dumps(each) + "\n" for each in events), encoding="utf-8")
        result = run(
            *("backtest", "--brand", brand, "--input", recording, "--source", name, "--json")
        )
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return report


def test_the_wave_of_22_february_is_alerted_in_its_first_hour(backtest, shared_data) -> None:
    """The data of American begin in its midst, and end here while it goes on: one alert, no more."""
    heard = [each for each in posts(shared_data, "American") if said(each) < pacific("22 13:00")]
    report = backtest("american", heard)
    assert report["events"]["heard"] == len(heard) > 50
    (alert,) = report["alerts"]
    assert (alert["kind"], alert["tone"], alert["ended_at"]) == ("negative", "negative", None)
    assert pacific("22 11:50") <= datetime.fromisoformat(alert["opened_at"]) < pacific("22 12:30")
    assert "cancelled flight" in {term.casefold() for term in alert["terms"]}
    assert alert["severity"] >= 6
    assert alert["authors"] >= 15


@pytest.mark.exhaustive
def test_the_morning_of_us_airways_is_alerted_too(backtest, shared_data) -> None:
    """A usual day before it, and nothing is told of that."""
    heard = [
        each
        for each in posts(shared_data, "US Airways")
        if pacific("20 22:00") <= said(each) < pacific("22 09:30")
    ]
    report = backtest("us-airways", heard)
    (alert,) = report["alerts"]
    assert alert["kind"] == "negative"
    assert pacific("22 06:00") <= datetime.fromisoformat(alert["opened_at"]) < pacific("22 09:00")


@pytest.mark.exhaustive
def test_neither_a_gap_nor_the_end_of_the_data_is_alerted(backtest, shared_data) -> None:
    """Southwest in usual days, with a hole of twelve hours; the data end in the midst of a morning."""
    heard = [
        each
        for each in posts(shared_data, "Southwest")
        if pacific("17 00:00") <= said(each) < pacific("19 10:00")
        and not pacific("18 09:00") <= said(each) < pacific("18 21:00")
    ]
    report = backtest("southwest", heard)
    assert report["events"]["heard"] == len(heard) > 150
    assert report["alerts"] == []


@pytest.mark.exhaustive
def test_the_whole_time_of_american_is_one_alert(backtest, shared_data) -> None:
    """From its first post to its last, which lies in the midst of a busy day."""
    heard = posts(shared_data, "American")
    report = backtest("american", heard)
    assert report["events"]["heard"] == len(heard) > 1_300
    (alert,) = report["alerts"]
    assert pacific("22 11:50") <= datetime.fromisoformat(alert["opened_at"]) < pacific("22 12:30")
    assert pacific("22 18:00") < datetime.fromisoformat(alert["ended_at"]) < pacific("23 00:00")
    assert "cancelled flight" in {term.casefold() for term in alert["terms"]}
    assert (alert["kind"], alert["severity"]) == ("negative", 10)


@pytest.mark.exhaustive
def test_all_airlines_as_one_brand_are_told_of_the_wave_and_of_nothing_before(
    backtest, shared_data
) -> None:
    """Six airlines drown the storm of one; eight days with their nights, and no end is a matter."""
    heard = posts(shared_data)
    report = backtest("airlines", heard)
    assert report["events"]["heard"] == len(heard) > 7_300
    opened = [datetime.fromisoformat(alert["opened_at"]) for alert in report["alerts"]]
    wave = report["alerts"][opened.index(min(opened))]
    assert (wave["kind"], wave["tone"], wave["topic"]) == ("negative", "negative", None)
    assert pacific("22 12:00") <= min(opened) < pacific("22 14:00")
    assert any("cancelled flight" in term.casefold() for term in wave["terms"])
    assert wave["authors"] > 400
    assert all(alert["ended_at"] for alert in report["alerts"])
    assert max(opened) < max(map(said, heard)) - timedelta(hours=12)
