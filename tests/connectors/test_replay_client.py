"""The replay client: every line in order, resumable, paced, times kept or moved by one constant."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from klingel.errors import ConfigurationError
from klingel.testing.clock import FixedClock
from klingel_networks.replay.client import (
    ReplayClient,
    ReplayOptions,
    published_at,
    recorded_at,
    shifted,
)


@pytest.fixture
def clock():
    return FixedClock()


@pytest.fixture
def make_client(clock):
    async def sleep(seconds):
        clock.advance(seconds)

    def make(*files, **options):
        return ReplayClient(ReplayOptions(files=tuple(files), **options), clock, sleep)

    return make


async def read(client, cursor=None):
    return [arrival async for arrival in client.arrivals(cursor)]


def bodies(arrivals):
    return [arrival.delivery.body for arrival in arrivals]


def write(path: Path, *lines: bytes) -> Path:
    content = b"\n".join(lines) + b"\n"
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["events.ndjson", "events.ndjson.gz"])
async def test_every_line_comes_as_it_stands(make_client, tmp_path, name):
    path = write(tmp_path / name, b'{"id": "1"}', b"", b"{broken", b"  ", b"\xff\r", b"last")
    found = await read(make_client(path, context={"source": "s"}))
    assert bodies(found) == [b'{"id": "1"}', b"{broken", b"\xff", b"last"]
    assert {tuple(arrival.delivery.context.items()) for arrival in found} == {(("source", "s"),)}


@pytest.mark.parametrize("suffix", ["", ".gz"])
async def test_it_resumes_behind_any_cursor(make_client, tmp_path, suffix):
    one = write(tmp_path / f"one{suffix}", b"1", b"", b"2")
    two = write(tmp_path / f"two{suffix}", b"3", b"4")
    client = make_client(one, two)
    found = await read(client)
    assert bodies(found) == [b"1", b"2", b"3", b"4"]
    for at, arrival in enumerate(found):
        assert bodies(await read(client, arrival.cursor)) == bodies(found)[at + 1 :]


async def test_a_cursor_of_another_file_is_refused_with_advice(make_client, tmp_path):
    client = make_client(write(tmp_path / "one", b"1"))
    with pytest.raises(ConfigurationError, match=r"stands in other\.ndjson.*--instance"):
        await read(client, json.dumps({"file": "other.ndjson", "line": 3}))
    with pytest.raises(ConfigurationError, match="not one of replay"):
        await read(client, "gibberish")


async def test_a_rate_spreads_the_lines_over_time(make_client, tmp_path, clock):
    client = make_client(write(tmp_path / "one", *[b"x"] * 100), rate=20)
    await read(client)
    assert clock.monotonic() == pytest.approx(5.0, abs=0.1)


async def test_recorded_times_keep_intervals_and_are_the_time_of_receipt(
    make_client, tmp_path, clock, generic
):
    times = ["2015-02-20T10:00:00Z", "2015-02-20T10:00:30Z", "2015-02-20T11:00:00+01:00"]
    lines = [json.dumps(generic(at, published_at=time)).encode() for at, time in enumerate(times)]
    found = await read(make_client(write(tmp_path / "f", *lines), recorded_times=True))
    base = datetime(2015, 2, 20, 10, tzinfo=UTC)
    assert [arrival.received_at for arrival in found] == [base, base + timedelta(seconds=30), base]
    assert clock.monotonic() == 30


def test_the_recorded_time_of_both_wires_of_jetstream():
    first = b'{"did":"d","time_us":1783175888085434,"kind":"commit"}'
    second = b'{"$type":"message","payload":{"seq":1,"time":"2026-07-04T14:38:08.085434Z"}}'
    at = datetime(2026, 7, 4, 14, 38, 8, 85434, tzinfo=UTC)
    assert recorded_at(first) == recorded_at(second) == at
    assert recorded_at(b"{broken") is None
    assert recorded_at(b'{"time_us": -5}') is None
    assert recorded_at(b'{"time_us": 99999999999999999999}') is None


async def test_shift_to_now_moves_all_times_by_one_constant(make_client, tmp_path, clock, generic):
    """The newest is now, intervals stay, and not one other byte changes."""
    times = ["2015-02-20T10:00:00Z", "2015-02-21T10:00:00Z", "2015-02-20T12:00:00+02:00"]
    lines = [
        json.dumps(generic(at, published_at=time, text='"published_at": "x" ä'), indent=None)
        .replace('"id"', ' "id" ')
        .encode()
        for at, time in enumerate(times)
    ]
    path = write(tmp_path / "f", *lines, b"{broken")
    found = bodies(await read(make_client(path, shift_to_now=True)))
    moved = [published_at(body) for body in found[:3]]
    assert moved[1] == clock.now()
    assert moved[1] - moved[0] == moved[1] - moved[2] == timedelta(days=1)
    for body, line, time in zip(found, lines, times, strict=False):
        at = body.index(b"2026-")
        assert body[:at] + time.encode() + body[at + 24 :] == line
    assert found[3] == b"{broken"


@pytest.mark.parametrize(
    "line",
    [
        b"{broken",
        b"{}",
        b'{"published_at": "soon"}',
        b'{"published_at": "2015-02-20T10:00:00Z", "published_at": "2015-02-20T10:00:00Z"}',
        b'{"published_at": "2015-02-20T10:00:00"}',
    ],
)
def test_a_time_that_cannot_be_read_is_left_for_the_mapping_to_refuse(line):
    assert shifted(line, timedelta(days=1)) == line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shift_to_now": True, "recorded_times": True}, "exclude each other"),
        ({"rate": 5.0, "recorded_times": True}, "exclude each other"),
        ({"shift_to_now": True, "network": "bluesky"}, "native deliveries stay as recorded"),
        ({"rate": -1.0}, "--rate must be above 0"),
    ],
)
def test_options_that_exclude_each_other_are_told(make_client, tmp_path, options, says):
    with pytest.raises(ConfigurationError, match=says):
        make_client(write(tmp_path / "f", b"1"), **options)


def test_files_that_are_missing_or_share_a_name_are_told(make_client, tmp_path):
    with pytest.raises(ConfigurationError, match="no such file"):
        make_client(tmp_path / "nowhere")
    (tmp_path / "a").mkdir()
    with pytest.raises(ConfigurationError, match="same name"):
        make_client(write(tmp_path / "f", b"1"), write(tmp_path / "a" / "f", b"1"))


async def test_a_damaged_archive_is_told_by_file_and_line(make_client, tmp_path):
    path = tmp_path / "f.gz"
    path.write_bytes(gzip.compress(b"1\n2\n" * 1000)[:-20])
    with pytest.raises(ConfigurationError, match=r"f\.gz: cannot be read beyond line"):
        await read(make_client(path))
