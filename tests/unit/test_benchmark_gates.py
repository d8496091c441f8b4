"""A benchmark that misses a gate says so and fails, and `make bench` measures the rest all the same."""

import os
import subprocess
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a benchmark as a module, its neighbours importable as when it runs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = spec_from_file_location(f"gates_of_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("a_core", "p99", "lost", "missed"),
    [
        (3_000.0, 0.0499, 0, 0),
        (2_999.0, 0.0499, 0, 1),
        (3_000.0, 0.05, 0, 1),
        (3_000.0, float("inf"), 1, 2),
    ],
)
def test_the_gateways_gates(
    a_core: float, p99: float, lost: int, missed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rate, lateness and loss are each judged, in every run."""
    gateway = benchmark("gateway", monkeypatch)
    assert len(gateway.missed(gateway.Speed(a_core, p99, lost))) == missed


def test_what_watch_misses_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Above what may be at most, below what must be at least; at the bound itself all is well."""
    gates = benchmark("watch", monkeypatch).Gates()
    gates.at_most("cost", 20.0, 20)
    gates.at_least("recall", 0.6, 0.6)
    assert gates.missed == []
    gates.at_most("cost", 20.1, 20)
    gates.at_least("recall", 0.59, 0.6)
    assert gates.missed == ["cost", "recall"]
    assert capsys.readouterr().out.count("MISS") == 2


def test_watch_fails_where_a_gate_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code follows from what was told."""
    watch = benchmark("watch", monkeypatch)
    monkeypatch.setattr(watch, "DATA", BENCHMARKS)
    monkeypatch.setattr(watch, "others", lambda _: ([], []))
    monkeypatch.setattr(watch, "settle", lambda: None)
    for cost, wanted in ((19.0, 0), (21.0, 1)):
        monkeypatch.setattr(
            watch, "speed", lambda gates, *_, cost=cost: gates.at_most("cost", cost, 20)
        )
        assert watch.main(["speed"]) == wanted


def test_make_bench_measures_all_and_fails_at_the_end(tmp_path: Path) -> None:
    """What fails is named, and hides nothing of what comes after it."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$1" >> {tmp_path}/ran\ncase "$1" in */care.py) exit 1;; esac\n'
    )
    python.chmod(0o755)
    command = ["make", "--old-file=setup", "bench", f"BIN={tmp_path}"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    ran = [Path(line).name for line in (tmp_path / "ran").read_text().splitlines()]
    assert ran[-1] == "pipeline.py"
    assert {"care.py", "gateway.py", "stages.py", "watch.py"} <= set(ran)
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if line.startswith("missed")]
    assert told == ["missed, or not to be measured: benchmarks/care.py"]
