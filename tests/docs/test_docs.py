"""What the documentation names exists: code, tests, files, verbs, commands, settings, metrics."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import click
import pytest

from klingel.contracts.topics import Topic
from klingel.domain.summaries import MAX_FOLDED
from klingel.domain.timeline import MAX_FACTS
from klingel.errors import ErrorType
from klingel.metrics import Metric
from klingel.settings import names
from klingel_cli.main import main as klingel

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "schemas/**/*.md",
        "services/**/*.md",
        "*/*.md",
        "deploy/*/*.md",
    )
    for path in ROOT.glob(pattern)
    if not {".venv", ".klingel", "node_modules"} & set(path.relative_to(ROOT).parts)
)
PAGES = sorted(set(PAGES))
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
DOTTED = re.compile(r"klingel(?:_[a-z]+)?(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)(?:::(\w+))?")
NUMBERS = {f"I{number}" for number in range(1, 15)}


def read(page):
    """Return a page's text."""
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page):
    """Return a page's text without its code blocks."""
    return BLOCK.sub("", read(page))


@cache
def defined(path):
    """Return the names of functions and classes of a file, methods as Class::method."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}::{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return found


def resolved(dotted):
    """Import the longest module of a dotted name and follow the rest; None when it leads nowhere."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            fields = getattr(found, "model_fields", {})
            if part in fields:
                return fields[part]
            found = getattr(found, part, None)
            if found is None:
                return None
        return found
    return None


def anchors(page):
    """Return the anchors of a page's headings, as they are made of Markdown."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES)
def test_every_dotted_name_resolves(page):
    """What is named in back-ticks as klingel.x.y is there."""
    dotted = [name for name in CODE.findall(prose(page)) if DOTTED.fullmatch(name)]
    assert [name for name in dotted if resolved(name) is None] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_exists(page):
    """`path::name` is a test, a suite or a method of one."""
    for path, name, method in TEST.findall(read(page)):
        assert (ROOT / path).is_file(), path
        wanted = f"{name}::{method}" if method else name
        assert wanted in defined(path), f"{path}::{wanted}"


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page):
    """Files, folders and headings."""
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.resolve().relative_to(ROOT).as_posix()), link


@pytest.mark.parametrize("page", PAGES)
def test_every_verb_is_one_of_the_makefile(page):
    """`make verb` names a verb."""
    verbs = set(re.findall(r"^([a-z][a-z0-9-]*):", read("Makefile"), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", read(page), re.MULTILINE)
    assert [verb for verb in named if verb not in verbs] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one_of_klingel(page):
    """`klingel verb` and its subcommands are there."""
    blocks = "\n".join(BLOCK.findall(read(page)))
    lines = [*CODE.findall(prose(page)), *(line.strip() for line in blocks.splitlines())]
    context = click.Context(klingel)
    for line in lines:
        words = line.split()
        if words[:1] != ["klingel"] or len(words) < 2 or not re.fullmatch(r"[a-z-]+", words[1]):
            continue
        command = klingel.get_command(context, words[1])
        assert command is not None, line
        if isinstance(command, click.Group):
            for name in words[2].split("|"):
                assert command.get_command(context, name) is not None, line


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_and_metric_exists(page):
    """Names of settings and metrics are those of the closed sets."""
    text = read(page)
    nested = re.findall(r"\bKLINGEL_[A-Z]+__[A-Z_]+[A-Z]\b", text)
    assert [name for name in nested if name.removesuffix("_FILE") not in names()] == []
    metrics = re.findall(
        r"\bklingel_[a-z_]+_(?:total|seconds|messages|bytes|owned|paused|left)\b", text
    )
    known = {str(metric) for metric in Metric}
    assert [name for name in metrics if name not in known and "klingel_*" not in name] == []


@pytest.mark.parametrize("page", PAGES)
def test_no_page_holds_a_path_of_a_machine(page):
    """No home folder, no folder of one machine."""
    assert (
        re.findall(r"(?<![\w.])/(?:home|root|work|Users|var/tmp/klingel-)[/\w-]*", read(page)) == []
    )


def test_every_invariant_is_told_with_a_test_or_what_is_missing():
    """Each of I1..I14 has a section; it names tests, or says that they are not there yet."""
    sections = re.split(r"^## ", read("docs/invariants.md"), flags=re.MULTILINE)[1:]
    assert {section.split()[0] for section in sections} == NUMBERS
    for section in sections:
        assert TEST.search(section) or "Not yet" in section, section.splitlines()[0]


def test_the_readme_links_every_invariant():
    """The table of the README leads to each section."""
    assert set(re.findall(r"^\| \[(I\d+)\]", read("README.md"), re.MULTILINE)) == NUMBERS


def test_every_decision_is_listed_and_has_its_parts():
    """One page each, numbered without gaps, with context, decision, figures and consequences."""
    pages = sorted(path.name for path in (ROOT / "docs/adr").glob("0*.md"))
    assert [int(name[:4]) for name in pages] == list(range(1, len(pages) + 1))
    for name in pages:
        text = read(f"docs/adr/{name}")
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert [each for each in headings if each != "The alternative"] == [
            "Context", "Decision", "Figures", "Consequences",
        ]  # fmt: skip
        assert f"({name})" in read("docs/adr/README.md")


def test_the_bounds_of_a_case_are_those_in_force():
    """The decision on cases tells the bounds that the code has."""
    text = read("docs/adr/0004-a-case-is-a-fold-over-facts.md")
    assert f"the newest {MAX_FACTS} facts" in text
    assert f"({MAX_FOLDED:,}; then the generation ends)" in text


def test_every_runbook_is_listed():
    """The list of runbooks names each."""
    listed = read("docs/runbooks/README.md")
    for path in (ROOT / "docs/runbooks").glob("[a-z]*.md"):
        assert f"({path.name})" in listed


def test_every_word_of_the_glossary_stands_once():
    """No term has two lines."""
    terms = re.findall(r"^\| \*\*(.+?)\*\*", read("docs/glossary.md"), re.MULTILINE)
    assert len(terms) == len({term.lower() for term in terms})
    assert len(terms) > 40


def test_the_reference_names_the_whole_of_each_closed_set():
    """Topics, dead-letter kinds, metrics and settings: none is missing on its page."""
    for page, wanted in (
        ("topics", list(Topic)),
        ("errors", list(ErrorType)),
        ("metrics", list(Metric)),
        ("settings", list(names())),
    ):
        text = read(f"docs/reference/{page}.md")
        assert [name for name in wanted if f"| `{name}` |" not in text] == []


def test_every_dependency_is_told():
    """Each distribution that a package asks for has its line."""
    told = read("docs/dependencies.md").lower()
    asked = set()
    for path in (
        *ROOT.glob("*/pyproject.toml"),
        *ROOT.glob("services/*/pyproject.toml"),
        *ROOT.glob("deploy/*/pyproject.toml"),
    ):
        found = re.search(
            r"^dependencies = \[(.*?)^\]",
            path.read_text(encoding="utf-8"),
            re.MULTILINE | re.DOTALL,
        )
        asked |= (
            set(re.findall(r'^\s*"([A-Za-z0-9-]+)', found[1], re.MULTILINE)) if found else set()
        )
    asked |= set(
        re.findall(
            r"^([A-Za-z][A-Za-z0-9-]+)$",
            (ROOT / "requirements-dev.txt").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )
    ours = {name for name in asked if name.startswith("klingel")}
    typings = {name for name in asked if name.startswith("types-")}
    assert [name for name in sorted(asked - ours - typings) if name.lower() not in told] == []
