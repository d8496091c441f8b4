"""`klingel backtest --counts`: a line for every row, and one sentence for a file that is none."""

import gzip
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

BEGIN = datetime(2026, 3, 2, 0, 2, 53, tzinfo=UTC)
STEP = timedelta(minutes=5)


def written(path: Path, values: list[object], *, without: range = range(0)) -> Path:
    """Write a file of counts; the rows of `without` are missing in it."""
    rows = [f"{BEGIN + at * STEP:%F %T},{v}" for at, v in enumerate(values) if at not in without]
    body = "timestamp,value\r\n" + "".join(f"{row}\r\n" for row in rows)
    path.write_bytes(gzip.compress(body.encode()) if path.suffix == ".gz" else body.encode())
    return path


def usual(count: int = 600) -> list[object]:
    chance = random.Random(11)
    return [chance.randint(2, 9) for _ in range(count)]


def lines(result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("name", ["counts.csv", "counts.csv.gz"])
def test_every_row_has_its_line_and_the_wave_its_alarm(run, tmp_path, name) -> None:
    path = written(tmp_path / name, [*usual(), 120, 250, 8.5])
    rows = lines(run("backtest", "--counts", path, "--json"))
    assert len(rows) == 603
    assert rows[0]["timestamp"] == "2026-03-02 00:02:53"
    assert set(rows[0]) >= {"timestamp", "score", "alarm", "severity", "baseline"}
    assert [at for at, row in enumerate(rows) if row["alarm"]] == [600]
    assert rows[601]["score"] > rows[600]["score"] >= 0.5
    assert 4 <= rows[600]["severity"] <= rows[601]["severity"] <= 10
    assert all(row["severity"] == 1 for row in rows[:288])


def test_people_read_the_alarms_alone(run, tmp_path) -> None:
    result = run("backtest", "--counts", written(tmp_path / "c.csv", [*usual(), 120]))
    assert result.exit_code == 0
    assert "2026-03-04 02:02:53" in result.stdout
    assert "601 intervals, 1 alarms." in result.stdout


def test_rows_without_a_value_and_missing_rows_are_gaps(run, tmp_path) -> None:
    values = [*usual(), *[""] * 12, *[500] * 12]
    told = lines(run("backtest", "--counts", written(tmp_path / "a.csv", values), "--json"))
    assert not any(row["alarm"] for row in told)
    path = written(tmp_path / "b.csv", values, without=range(600, 612))
    missing = lines(run("backtest", "--counts", path, "--json"))
    assert missing == told[:600] + told[612:]
    zeros = [*usual(), *[0] * 12, *[500] * 12]
    known = lines(run("backtest", "--counts", written(tmp_path / "c.csv", zeros), "--json"))
    assert sum(row["alarm"] for row in known) == 1


def test_the_same_file_has_the_same_answer(run, tmp_path) -> None:
    path = written(tmp_path / "counts.csv", [*usual(), 120])
    first = run("backtest", "--counts", path, "--json")
    assert first.stdout == run("backtest", "--counts", path, "--json").stdout


HEAD = b"timestamp,value\n"
ROW = b"2026-03-02 00:00:00,4\n"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "1: the header does not name timestamp and value"),
        (b"time;count\n1;2\n", "1: the header does not name timestamp and value"),
        (HEAD, "it holds no counts"),
        (HEAD + b"2026-03-02 00:00:00\n", "2: timestamp or value is missing"),
        (HEAD + b"yesterday,4\n", "2: the time is none"),
        (HEAD + ROW + b"2026-03-02 00:05:00,many\n", "3: the value is no number from zero on"),
        (HEAD + b"2026-03-02 00:00:00,-1\n", "2: the value is no number"),
        (HEAD + b"2026-03-02 00:00:00,nan\n", "2: the value is no number"),
        (HEAD + b"2026-03-02 00:00:00,1e999\n", "2: the value is no number"),
        (HEAD + ROW + ROW, "3: the time is not after the row before it"),
        (HEAD + b"\xff\xfe,4\n", "it is not in UTF-8"),
        (HEAD + b'"2026,4\n', "this is no row of a CSV file"),
        (HEAD + b"9" * 200_000 + b",1\n", "this is no row of a CSV file"),
    ],
)
def test_a_wrong_file_has_one_sentence(run, tmp_path, body, sentence) -> None:
    path = tmp_path / "counts.csv"
    path.write_bytes(body)
    result = run("backtest", "--counts", path, "--json")
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["nowhere.csv", ".", "broken.csv.gz"])
def test_what_cannot_be_read_has_one_sentence(run, tmp_path, name) -> None:
    (tmp_path / "broken.csv.gz").write_bytes(b"no gzip")
    result = run("backtest", "--counts", tmp_path / name)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "name a file of counts" in result.stderr


def test_without_a_file_one_is_asked_for(run) -> None:
    result = run("backtest", "--json")
    assert result.exit_code == 2
    assert "--counts alone" in result.stderr
