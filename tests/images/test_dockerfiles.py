"""What the Dockerfiles say, as far as it can be read: what goes in, and who it runs as."""

import re
import shlex

import pytest

from .packages import ROOT, Image, closure, images, projects

IMAGES = images()
BY_FOLDER = pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.folder)


def _last_stage(image: Image) -> str:
    return image.text[image.text.rindex("\nFROM ") :]


def test_every_service_has_an_image() -> None:
    folders = {path.parent for path in (ROOT / "services").glob("*/pyproject.toml")}
    assert {ROOT / image.folder for image in IMAGES} >= {*folders, ROOT / "cli", ROOT / "simulator"}


@BY_FOLDER
def test_what_goes_in_is_what_the_package_needs(image: Image) -> None:
    """One package more would come along; one less would be looked for in the public index."""
    needed = {projects()[name][0] for name in closure(image.package)}
    copied = set(re.findall(r"^COPY (?!--from)(\S+) \S+$", image.text, re.MULTILINE))
    built = re.search(r"--no-build-isolation -w /wheels (.+)$", image.text, re.MULTILINE)
    assert {path.removeprefix("./") for path in shlex.split(built[1])} == needed
    assert copied - {"constraints.txt", "schemas/generated"} == needed
    assert ("schemas/generated" in copied) == ("core" in needed)


@BY_FOLDER
def test_all_that_is_installed_is_pinned_and_a_wheel(image: Image) -> None:
    installs = [
        line for line in image.text.splitlines() if re.search(r"\binstall --no-cache", line)
    ]
    assert len(installs) == 2
    assert all("--only-binary :all: -c constraints.txt" in line for line in installs)


@BY_FOLDER
def test_stages_start_from_one_pinned_slim_base(image: Image) -> None:
    pinned = r"^ARG PYTHON=3\.[0-9]+\.[0-9]+-slim-[a-z]+(@sha256:[0-9a-f]{64})?$"
    assert re.search(pinned, image.text, re.MULTILINE)
    froms = re.findall(r"^FROM (.+)$", image.text, re.MULTILINE)
    assert froms == ["python:${PYTHON} AS build", "python:${PYTHON}"]


def test_the_page_pins_the_base_by_its_content() -> None:
    """Its build argument is the base of the Dockerfiles with a digest: what FROM takes as it is."""
    page = (ROOT / "docs/deploy/kubernetes.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"--build-arg PYTHON=(\S+)@sha256:<digest>", page)
    assert {re.search(r"^ARG PYTHON=(\S+)$", image.text, re.MULTILINE)[1] for image in IMAGES} == {
        told
    }


@BY_FOLDER
def test_what_runs_needs_neither_root_nor_shell(image: Image) -> None:
    """The last stage runs nothing at build, and nothing by a shell later."""
    stage = _last_stage(image)
    assert "\nUSER 10001:10001\n" in stage
    assert "\nRUN " not in stage
    assert f'\nENTRYPOINT ["{image.program}"]\n' in stage
    assert "\nHEALTHCHECK NONE\n" in stage


@BY_FOLDER
def test_labels_say_what_it_is(image: Image) -> None:
    found = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', image.text))
    version = projects()[image.package][1]["version"]
    assert found["title"] == image.package
    assert found["version"] == version
    assert found["licenses"] == "Apache-2.0"
    assert {"description", "revision"} <= set(found)


def test_the_last_stages_differ_in_name_and_program_alone() -> None:
    told = set()
    for image in IMAGES:
        stage = re.sub(r'(description=)"[^"]*"', r"\1", _last_stage(image))
        stage = re.sub(r"# the frame.*\nENV APP_DATADIR=/tmp/faust\n", "", stage)
        stage = re.sub(r'((?:title=|ENTRYPOINT \[))"[^"]*"', r"\1", stage)
        told.add(stage)
    assert len(told) == 1
