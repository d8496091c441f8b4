"""The benchmark's quick run on the shared servers: every figure is there, and its books agree."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 300


@pytest.mark.servers
def test_a_quick_benchmark_reports_every_figure(
    stack: dict[str, str], index_prefix: str, shared_data: Path, tmp_path: Path
) -> None:
    """It rings 20,000 real texts, waits for the last of them, and writes line and table."""
    assert shared_data.is_dir()
    servers = tmp_path / "stack.json"
    servers.write_text(
        json.dumps(
            {
                "kafka": {"bootstrap": stack["kafka"]},
                "elasticsearch": {"url": stack["elasticsearch"]},
            }
        ),
        encoding="utf-8",
    )
    results = tmp_path / "results.md"
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "benchmarks" / "pipeline.py"), "--quick"),
            *("--stack", str(servers), "--prefix", index_prefix),
            *("--folder", str(tmp_path / "bench"), "--results", str(results)),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["events_per_second"] > 0
    assert 0 < found["p50_seconds"] <= found["p99_seconds"] <= found["longest_seconds"]
    assert 0 < found["indexer_ratio"] < 3
    assert {"connector", "understand", "care", "indexer"} <= found["cpu_us_per_event"].keys()
    topics = found["topics"]
    assert topics["raw-events"]["records"] == 20_000
    assert topics["dead-letters"]["records"] == 0
    assert 0.97 < topics["routed-events"]["records_an_event"] < 0.99, "2 % are duplicates"
    assert 0.15 < topics["cases"]["records_an_event"] < 0.3, "a fifth touches a case"
    assert "records an event" in results.read_text(encoding="utf-8")
