"""The command line: files, bad options, a served stream that stops cleanly."""

import asyncio
import gzip
import json
import signal
import sys

import aiohttp
import pytest

from klingel_simulator.__main__ import main


def ndjson(tmp_path, name, *more):
    out, truth = tmp_path / name, tmp_path / f"{name}.truth"
    arguments = ["ndjson", "--out", str(out), "--events", "500", "--truth", str(truth)]
    assert main([*arguments, "--start", "2026-01-01T00:00:00Z", *more]) == 0
    return out, truth


def test_ndjson_is_byte_for_byte_the_same_for_one_seed(tmp_path):
    first, first_truth = ndjson(tmp_path, "a.ndjson", "--seed", "5")
    second, second_truth = ndjson(tmp_path, "b.ndjson", "--seed", "5")
    other, _ = ndjson(tmp_path, "c.ndjson", "--seed", "6")
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()
    assert first_truth.read_bytes() == second_truth.read_bytes()


def test_ndjson_truth_names_every_event_of_the_file_by_its_source(tmp_path):
    out, truth = ndjson(tmp_path, "a.ndjson.gz", "--source", "archive")
    events = [json.loads(line) for line in gzip.decompress(out.read_bytes()).splitlines()]
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert len(events) == 500
    assert list(lines[0]) == [
        *("network", "object_id", "event", "revision", "heard", "sent_at"),
    ]
    assert [f"replay:archive:{e['id']}" for e in events] == [line["object_id"] for line in lines]
    assert [(e["change"], e["revision"]) for e in events] == [
        (line["event"], line["revision"]) for line in lines
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["ndjson", "--out", "x", "--noise", "2"], "noise must lie between 0 and 1"),
        (["ndjson", "--out", "x", "--overdue", "-1"], "overdue must lie between 0 and 1"),
        (["ndjson", "--out", "x", "--period", "0"], "period must be at least 1"),
        (["ndjson", "--out", "x", "--events", "-1"], "must not be negative"),
        (["ndjson", "--out", "x", "--events", "0"], "needs --events"),
        (["ndjson", "--out", "x", "--brand", "absent.json"], "absent.json"),
        (
            [
                "webhook",
                "--url",
                "http://127.0.0.1:1/",
                "--secret-env",
                "KLINGEL_ABSENT",
                "--source",
                "s",
            ],
            "whsec_ followed by base64",
        ),
    ],
)
def test_impossible_options_end_with_one_sentence_and_status_2(arguments, reason, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert len(error.splitlines()) == 1


async def test_the_jetstream_command_tells_its_port_serves_finishes_and_stops(tmp_path):
    truth = tmp_path / "truth.ndjson"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "klingel_simulator", "jetstream", "--port", "0"),
        *("--events", "200", "--rate", "0", "--wait-for-subscriber", "--truth", str(truth)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            port = json.loads(await process.stderr.readline())["port"]
            url = f"http://127.0.0.1:{port}/subscribe"
            async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
                finished = json.loads(await process.stdout.readline())
                ids = set()
                while len(ids) < 200 - 20:
                    event = json.loads((await ws.receive()).data)
                    if event["kind"] == "commit":
                        ids.add((event["commit"]["rev"], event["did"]))
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert finished == {"event": "source_finished", "sent": 200}
    assert len(truth.read_text().splitlines()) == 200
