"""The rules: promtool takes them, each alert fires and does not fire, and each has its runbook."""

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from klingel.metrics import DEFINITIONS, Metric
from klingel_cli.main import main as klingel
from klingel_simulator.debian import NotToBeHad

from ..absent import absent
from ..debian import find_promtool

ROOT = Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yaml"))
TESTS = sorted((ROOT / "deploy/prometheus/tests").glob("*.yaml"))
RUNBOOKS = ROOT / "docs/runbooks"
HEADINGS = [
    "Symptom",
    "What it means for customers",
    "First three commands",
    "Fix",
    "How to prove it is over",
]
OWN = {"up"}
"""What Prometheus itself measures."""
SUFFIXES = ("_bucket", "_count", "_sum")
PROMISES = {
    "received → searchable p99": "klingel:received_to_indexed_seconds:p99_5m",
    "audit difference": "klingel:audit_difference_messages:sum",
    "oldest unprocessed age": "klingel:oldest_unprocessed_seconds:max",
    "webhook success": "klingel:webhooks:success_ratio_5m",
    "credential days left": "klingel:credential_days:min",
    "gap seconds": "klingel:gap_seconds:increase1d",
    "dead-letter share": "klingel:dead_letters:bad_ratio_1h",
    "bulk retries": "klingel:bulk_retries:ratio_10m",
    "SLA breaches": "klingel:sla_breaches:increase1h",
    "deletion latency": "klingel:deletion_seconds:p99_1d",
    "certificate days left": "klingel:certificate_days:min",
}


def rules() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every rule with its file."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                yield path, rule


ALERTS = {rule["alert"]: rule for _, rule in rules() if "alert" in rule}
RECORDS = {rule["record"]: rule for _, rule in rules() if "record" in rule}
PAGES = sorted(path.stem for path in RUNBOOKS.glob("[a-z]*.md"))


@pytest.fixture(scope="module")
def promtool() -> Path:
    """The program; in CI it has to be there."""
    try:
        return find_promtool(ROOT / ".klingel" / "debian")
    except NotToBeHad as error:
        absent(str(error))


def run(program: Path, *arguments: str | Path) -> None:
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_rules(promtool: Path) -> None:
    run(promtool, "check", "rules", *RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_shall(promtool: Path, path: Path) -> None:
    run(promtool, "test", "rules", path)


def test_a_test_of_promtool_can_fail(promtool: Path, tmp_path: Path) -> None:
    """What is expected of the first test, turned round, is a failure."""
    text = (ROOT / "deploy/prometheus/tests/duties.yaml").read_text(encoding="utf-8")
    turned = text.replace("../rules", str(ROOT / "deploy/prometheus/rules")).replace(
        "72060x20", "71999x20"
    )
    (tmp_path / "turned.yaml").write_text(turned, encoding="utf-8")
    with pytest.raises(AssertionError, match="FAILED"):
        run(promtool, "test", "rules", tmp_path / "turned.yaml")


def test_every_alert_is_tested_to_fire_and_to_be_quiet() -> None:
    found: dict[str, set[bool]] = defaultdict(set)
    for path in TESTS:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for asked in test["promql_expr_test"]:
                (name,) = re.findall(r'alertname="(\w+)"', asked["expr"])
                found[name].add(bool(asked["exp_samples"]))
    assert found == {name: {True, False} for name in ALERTS}


def test_every_promise_is_recorded_and_watched() -> None:
    """Each figure of a service level has its rule."""
    assert set(PROMISES.values()) <= set(RECORDS)


@pytest.mark.parametrize("what", ["searchable", "webhooks", "dead_letters"])
def test_a_budget_burns_over_several_windows(what: str) -> None:
    """A long window says that it matters, a short one that it goes on."""
    alerts = [rule for name, rule in ALERTS.items() if f"klingel:{what}:bad_ratio_" in rule["expr"]]
    assert {rule["labels"]["severity"] for rule in alerts} == {"page", "ticket"}
    for rule in alerts:
        windows = re.findall(r"bad_ratio_(\w+) > ([\d.]+) \*", rule["expr"])
        assert len({window for window, _ in windows}) == 4
        assert len({factor for _, factor in windows}) == 2


def names_of(expression: str) -> set[str]:
    """Return the metrics that an expression names."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\b(?:klingel[\w:]*|up)\b", bare))


def test_every_metric_is_of_the_closed_set() -> None:
    known = {str(metric) for metric in Metric} | set(RECORDS) | OWN
    histograms = {
        f"{metric}{suffix}"
        for metric in Metric
        for suffix in SUFFIXES
        if DEFINITIONS[metric].buckets and metric.endswith("_seconds")
    }
    for path, rule in rules():
        found = names_of(rule["expr"])
        assert found, "a rule of nothing"
        assert found <= known | histograms, (path.name, rule)


def test_every_label_is_one_that_the_metric_has() -> None:
    """A selector on a label that does not exist never matches."""
    for _, rule in rules():
        for name, selector in re.findall(r"\b(klingel_\w+)\{([^}]*)\}", rule["expr"]):
            base = next(
                metric
                for metric in sorted(Metric, key=len, reverse=True)
                if name.startswith(metric)
            )
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert labels <= {*DEFINITIONS[base].labels, "le"}, rule


def test_every_bound_of_a_histogram_exists() -> None:
    for _, rule in rules():
        for name, bound in re.findall(r'\b(klingel_\w+)_bucket\{le="([\d.]+)"\}', rule["expr"]):
            assert float(bound) in map(float, DEFINITIONS[Metric(name)].buckets)


def test_every_alert_says_what_a_person_needs() -> None:
    for name, rule in ALERTS.items():
        assert re.fullmatch(r"Klingel[A-Z]\w+", name)
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert not re.search(r"\bbrand=|handle|text=", rule["expr"])


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    pages = {}
    for name, rule in ALERTS.items():
        base, _, page = rule["annotations"]["runbook_url"].rpartition("/docs/runbooks/")
        assert base == "https://klingel.example"
        pages[name] = page.removesuffix(".md")
        text = (RUNBOOKS / page).read_text(encoding="utf-8")
        symptom = text.partition("## Symptom")[2].partition("## ")[0]
        assert f"`{name}`" in symptom, page
    assert set(pages.values()) == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_runbook_has_its_parts_and_its_commands_exist(page: str) -> None:
    text = (RUNBOOKS / f"{page}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    first = text.partition("## First three commands")[2].partition("## ")[0]
    (block,) = re.findall(r"```\n(.*?)```", first, re.DOTALL)
    lines = block.splitlines()
    assert len(set(lines)) == 3
    for line in lines:
        check_command(line.split())


def check_command(words: list[str]) -> None:
    """Follow the words of a command line through the groups to its command and options."""
    assert words[0] == "klingel"
    context = click.Context(klingel)
    command: click.Command = klingel
    rest = words[1:]
    while isinstance(command, click.Group):
        found = command.get_command(context, rest[0])
        assert found is not None, words
        command, rest = found, rest[1:]
    given = [word for word in rest if word.startswith("--")]
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(given) <= known, words
    takes = [each for each in command.params if isinstance(each, click.Argument)]
    plain = [word for word in rest if not word.startswith("--") and not word.isdigit()]
    assert bool(plain) <= bool(takes), words
    assert not any(each.required for each in takes) or plain, words


def test_a_command_that_does_not_exist_is_seen() -> None:
    for line in ("klingel gone", "klingel audit --never", "klingel explain", "klingel status X"):
        with pytest.raises(AssertionError):
            check_command(line.split())
