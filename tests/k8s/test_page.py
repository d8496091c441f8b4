"""The page's kubectl commands parse and name what there is; no cluster hears them."""

import json
import re
import shlex
import shutil
import subprocess

import pytest

from ..words import check_words
from .bundle import labels, parse
from .check import K8S, ROOT
from .kubectl import build, program
from .references import BY_HAND, made_by_operators

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
    text = PAGE.read_text(encoding="utf-8").partition("\nThese are yours to make")[2]
    text = text.partition("\n## ")[0]
    told = {
        name.replace("<instance>", "any").replace("<principal>", "any")
        for row in re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    }
    servers = {"klingel-any", "klingel-kafka-ca", "klingel-elasticsearch-ca"}
    assert len(told - servers) == 9
    assert [name for name in told - servers if not BY_HAND.fullmatch(name)] == []


def test_secrets_of_operators_are_those_of_the_checks() -> None:
    """The page names each that an operator makes in the bundle, and nothing else."""
    text = PAGE.read_text(encoding="utf-8").partition("\n## Secrets")[2]
    text = text.partition("\nThese are yours to make")[0]
    told = {
        name.replace("<principal>", "care"): set(re.findall(r"`([^`]+)`", keys or ""))
        for name, keys in re.findall(r"^\| `([^`]+)`(?: \(([^)]+)\))? \|", text, re.MULTILINE)
    }
    objects = parse(build(K8S / "overlays" / "production"))
    users = {each["metadata"]["name"] for each in objects if each["kind"] == "KafkaUser"}
    external = {
        each["spec"]["target"]["name"] for each in objects if each["kind"] == "ExternalSecret"
    }
    made = {
        name: keys
        for (_, _, name), keys in made_by_operators(objects).items()
        if name not in external and name not in users - {"klingel-care"}
    }
    assert told.keys() == made.keys()
    assert [name for name in told if not told[name] <= made[name]] == []


def test_patches_of_the_page_are_taken(tmp_path, found) -> None:
    """Each stands in an overlay that has every component that the page speaks of there."""
    patches = re.findall(
        r"^```\npatches:\n(.+?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(patches) == 2
    shutil.copytree(K8S, tmp_path / "deploy" / "k8s")
    shutil.copytree(ROOT / "brands", tmp_path / "brands")
    overlay = tmp_path / "deploy" / "k8s" / "tests" / "strimzi-eck"
    told = overlay / "kustomization.yaml"
    own = ("monitoring", "prometheus-release")
    more = "".join(f"  - ../../components/{name}\n" for name in own)
    text = told.read_text(encoding="utf-8")
    text = text.replace("configMapGenerator:", f"{more}configMapGenerator:", 1)
    told.write_text(f"{text}patches:\n{''.join(patches)}")
    objects = parse(build(overlay))
    assert found(objects) == []
    labelled = [each for each in objects if each["kind"] in {"ServiceMonitor", "PrometheusRule"}]
    assert {labels(each)["release"] for each in labelled} == {"prometheus"}
    (server,) = [each for each in objects if each["kind"] == "Elasticsearch"]
    (nodes,) = server["spec"]["nodeSets"]
    assert nodes["config"]["s3.client.default.endpoint"] == "s3.example.org"
    assert server["spec"]["secureSettings"] == [{"secretName": "klingel-es-snapshots"}]


def test_snapshots_of_the_page_are_of_one_repository() -> None:
    """What the calls send is JSON; the Elasticsearch of the tests has neither buckets nor policies."""
    text = PAGE.read_text(encoding="utf-8").partition("\n## Snapshots with ECK")[2]
    calls = re.findall(r"^curl -X PUT \"\$ES/(\S+)\".*\n +-d '(.+)'$", text, re.MULTILINE)
    (repository, bucket), (_, policy) = [(path, json.loads(body)) for path, body in calls]
    assert bucket["type"] == "s3"
    assert repository == f"_snapshot/{policy['repository']}"
    assert policy["config"]["indices"] == "klingel-*"
    assert policy["retention"] == {"expire_after": "30d"}


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
