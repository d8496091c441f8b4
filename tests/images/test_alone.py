"""Each image's packages installed alone: the program starts, and nothing of another service is there.

This is what an image holds, proved without an engine: the same wheels, the same constraints, an
environment with nothing else in it.
"""

import json

import pytest

from .conftest import run
from .packages import Image, closure, images

pytestmark = pytest.mark.images
STARTS = {
    "klingel-connectors": ("gateway",),
    "klingel-processors": ("understand",),
    "klingel-indexer": ("run",),
    "klingel-notifier": ("run",),
    "klingel-cli": ("topics", "check"),
    "klingel-simulator": (),
}
"""Words with which a program does its work; the simulator has no settings."""
KAFKA_CLIENTS = {"kafka-python", "aiokafka", "confluent-kafka"}
NEVER = {
    "klingel-connectors": {"faust-streaming", "elasticsearch", "aiokafka", "rocksdict", "schwifty"},
    "klingel-processors": {"elasticsearch", "kafka-python", "tweepy"},
    "klingel-indexer": {"faust-streaming", "rocksdict", "kafka-python", "tweepy", "schwifty"},
    "klingel-notifier": {"faust-streaming", "elasticsearch", "rocksdict", "tweepy", "schwifty"},
    "klingel-cli": {"faust-streaming", "rocksdict", "tweepy"},
    "klingel-simulator": {
        "faust-streaming",
        "elasticsearch",
        "rocksdict",
        "tweepy",
        *KAFKA_CLIENTS,
    },
}
"""What belongs to other services, and would tell that one came along."""
TOOLS = {"pip", "setuptools", "hatchling", "pytest", "hypothesis", "ruff", "mypy"}
LIST = (
    "import importlib.metadata as m, json;"
    "print(json.dumps([d.metadata['Name'].lower() for d in m.distributions()]))"
)


def test_every_image_is_tried() -> None:
    assert {image.package for image in images()} == set(STARTS) == set(NEVER)


@pytest.mark.parametrize("image", images(), ids=lambda image: image.package)
def test_alone_it_starts_and_brings_nothing_of_others(image: Image, install, tmp_path) -> None:
    home = install(image.package)
    # Started once: to compile what is imported costs more than to do it again.
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}

    held = set(json.loads(run(home / "bin/python", "-c", LIST, env=clean).stdout))
    assert {name for name in held if name.startswith("klingel")} == closure(image.package)
    assert not held & (NEVER[image.package] | TOOLS)

    program = home / "bin" / image.program
    if STARTS[image.package]:
        wrong = {**clean, "KLINGEL_KAFKA__BOOTSTRAB": "nowhere:9092"}
        refused = run(program, *STARTS[image.package], env=wrong, cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert len(refused.stderr.splitlines()) == 1, refused.stderr
        assert "did you mean KLINGEL_KAFKA__BOOTSTRAP?" in refused.stderr
    else:
        helped = run(program, "--help", env=clean, cwd=tmp_path)
        assert (helped.returncode, helped.stderr) == (0, "")
    # nothing is written where it starts: the root is read-only there
    assert {path.name for path in tmp_path.iterdir()} == {"environment"}
