"""What is generated equals what is committed, whoever generates it and wherever."""

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.exhaustive  # whole bundles, or the generator whole

DERIVED = (
    "core/src/klingel/model",
    "core/src/klingel/contracts/topics.json",
    "core/pyproject.toml",
    "deploy/k8s",
    "deploy/prometheus/rules",
)


def generate(root, *arguments, seed="0"):
    return subprocess.run(
        [sys.executable, "schemas/generate", *arguments],
        cwd=root,
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copied(root, tmp_path):
    """A checkout's schemas and what derives from them, to be altered."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "schemas", tmp_path / "schemas", ignore=ignored)
    for path in DERIVED:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (root / path).is_dir():
            shutil.copytree(root / path, target, ignore=ignored)
        else:
            shutil.copy(root / path, target)
    return tmp_path


@pytest.mark.parametrize("seed", ["1", "2"])
def test_committed_files_are_what_is_generated(root, seed):
    """`--check` finds nothing to write, under any order of hashing."""
    checked = generate(root, "--check", seed=seed)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_check_names_what_lags_and_writes_nothing(copied):
    """A changed topic and a stray file make the check fail; a run mends both."""
    topic = copied / "schemas/topics/cases.yaml"
    topic.write_text(topic.read_text().replace("p50_bytes: 3000", "p50_bytes: 2900"))
    stray = copied / "schemas/generated/elasticsearch/klingel-gone.index.json"
    stray.write_text("{}")
    checked = generate(copied, "--check")
    assert checked.returncode == 1
    assert "lags: core/src/klingel/contracts/topics.json" in checked.stdout
    assert "lags: schemas/generated/elasticsearch/klingel-gone.index.json" in checked.stdout
    assert stray.exists()
    assert generate(copied).returncode == 0
    assert not stray.exists()
    assert generate(copied, "--check").returncode == 0


def test_broken_promise_stops_the_generator(copied):
    """A shape that breaks what is released is named, and nothing is written."""
    shape = copied / "schemas/events/case.v1.schema.json"
    shape.write_text(shape.read_text().replace('"waiting",', "", 1))
    model = (copied / "core/src/klingel/model/case.py").read_text()
    run = generate(copied)
    assert run.returncode == 1
    assert "breaks a promise: case.v1.state: no longer allows waiting" in run.stdout
    assert (copied / "core/src/klingel/model/case.py").read_text() == model
