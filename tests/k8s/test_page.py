"""The page's kubectl commands parse and name what there is; no cluster hears them."""

import re
import shlex
import subprocess

import pytest

from ..words import check_words
from .bundle import labels, parse
from .check import K8S, ROOT
from .kubectl import build, program
from .references import BY_HAND

pytestmark = pytest.mark.exhaustive  # whole bundles, or the generator whole

PAGE = ROOT / "docs" / "deploy" / "kubernetes.md"
COMMANDS = re.findall(r"^kubectl (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
NAMESPACE = "apply -f deploy/k8s/base/namespace.yaml"
CREATES = [each for each in COMMANDS if each.startswith("create secret ")]


def test_there_are_some() -> None:
    assert len(CREATES) >= 2
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", CREATES)
def test_a_secret_is_made_as_the_page_says(command: str, tmp_path) -> None:
    """The object is made by kubectl itself, with files that have the names of the page."""
    words = shlex.split(command)
    for word in words:
        if word.startswith("--from-file="):
            (tmp_path / word.partition("=")[2]).write_text("hunter2")
    done = subprocess.run(
        [program(), *words, "--dry-run=client", "-o", "name"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"secret/{words[3]}\n"


def test_secrets_made_by_hand_are_those_of_the_list() -> None:
    """The page names every one, and the checks let no other be absent."""
    text = PAGE.read_text(encoding="utf-8").partition("\n## Secrets")[2].partition("\n## ")[0]
    told = {
        name.replace("<instance>", "any").replace("<principal>", "any")
        for row in re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    }
    servers = {"klingel-any", "klingel-kafka-ca", "klingel-elasticsearch-ca"}
    assert len(told - servers) == 8
    assert [name for name in told - servers if not BY_HAND.fullmatch(name)] == []


def test_what_is_applied_and_awaited_is_there() -> None:
    objects = parse(build(K8S / "overlays" / "local"))
    names = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in objects}
    begun: set[str] = set()
    for command in COMMANDS:
        words = shlex.split(command)
        if words[:2] == ["apply", "-k"]:
            assert (ROOT / words[2] / "kustomization.yaml").exists()
        elif words[0] in {"wait", "rollout"}:
            assert words[-1] in names
        elif words[:2] == ["delete", "job"]:
            jobs = {name.partition("/")[2] for name in names if name.startswith("job/")}
            assert {each for each in words[4:] if not each.startswith("-")} == jobs
        elif words[:2] == ["create", "job"]:
            begun.add(f"job/{words[2]}")
            assert words[-1].removeprefix("--from=") in names
        elif words[0] == "logs":
            assert words[3] in begun
        elif words[0] == "exec":
            assert words[4] in begun
            check_words(words[words.index("--") + 1], words[words.index("--") + 2 :])
        else:
            assert command in {*CREATES, NAMESPACE}


def test_the_namespace_is_made_before_what_lies_in_it() -> None:
    assert COMMANDS.index(NAMESPACE) < min(COMMANDS.index(each) for each in CREATES)
    (made,) = parse((ROOT / shlex.split(NAMESPACE)[2]).read_text(encoding="utf-8"))
    assert (made["kind"], made["metadata"]["name"]) == ("Namespace", "klingel")


def test_the_table_of_workloads_is_whole() -> None:
    objects = parse(build(K8S / "overlays" / "production"))
    text = PAGE.read_text(encoding="utf-8").partition("## What runs")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z]+)(?:-<instance>)?`", text))
    for each in objects:
        if each["kind"] in {"Deployment", "StatefulSet", "Job", "CronJob"}:
            assert labels(each)["app.kubernetes.io/component"] in told
