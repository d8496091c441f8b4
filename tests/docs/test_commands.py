"""Every command of a page is one that its program takes, with its options, about what there is."""

import re
import shlex
from functools import cache

import click
import pytest
import yaml

from ..k8s.bundle import parse, pods
from ..k8s.check import K8S
from ..k8s.kubectl import build
from ..words import check_words
from .test_docs import BLOCK, CODE, PAGES, ROOT, prose, read

OURS = ("klingel", "klingel-connector", "klingel-processor", "klingel-indexer", "klingel-notifier")
VERBS = {
    "apply", "create", "delete", "describe", "drain", "exec", "get", "logs", "rollout", "scale", "wait",
}  # fmt: skip
KINDS = {
    "cronjob", "deployment", "job", "pod", "secret", "statefulset", "poddisruptionbudget",
    "kafka", "elasticsearch", "kibana", "scaledobject",
}  # fmt: skip
PLACEHOLDER = re.compile(r"^(?:[A-Z][A-Z_]*|<[^>]+>|…|\.\.\.)$")
MADE_ON_THE_PAGE = {"tavern"}
"""The network that `docs/adding-a-network.md` lets its reader make."""
OWN_NAMES = re.compile(r"(?:job/)?(?:tools|doctor)-[0-9]+")
"""Jobs that a person makes from the CronJobs `tools` and `doctor-…`."""


def lines(page: str) -> list[str]:
    """Return what a page says in code, block by block and inline; a continued line is one."""
    found = []
    for block in BLOCK.findall(read(page)):
        whole_lines = re.sub(r" *\\\n *", " ", block).splitlines()[1:-1]
        # beside a command may stand in a second column what it does
        found += [re.split(r"\s{2,}", line.strip())[0] for line in whole_lines]
    indented = re.findall(r"^    (\S.*)$", prose(page), re.MULTILINE)
    return [line.strip() for line in (*found, *indented, *CODE.findall(prose(page)))]


def words_of(line: str) -> list[str]:
    """Return a command's words without its settings, its comment and what it is piped into."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return []
    while words and re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", words[0]):
        words = words[1:]
    stops = [at for at, word in enumerate(words) if word in {"|", ">", ">>", "&&", ";", "<"}]
    return words[: stops[0]] if stops else words


def commands(page: str, programs: tuple[str, ...]) -> list[list[str]]:
    """Return the command lines of a page that begin with one of these programs."""
    found = [words_of(line) for line in lines(page)]
    return [words for words in found if len(words) > 1 and words[0] in programs]


def whole(words: list[str]) -> bool:
    """Whether it is a command to run, and not a way of speaking of several (`case take|close`, `…`)."""
    return not any(re.search(r"[|…\[\]*]|^\.\.\.$", word) for word in words)


@pytest.mark.parametrize("page", PAGES)
def test_a_command_of_ours_is_taken_with_its_options(page: str, monkeypatch) -> None:
    """Parsed by the program itself; what stands for something is taken for a path or a text."""
    monkeypatch.chdir(ROOT)
    refused = []
    for words in commands(page, OURS):
        if not whole(words) or MADE_ON_THE_PAGE & set(words):
            continue
        try:
            check_words(words[0], words[1:])
        except click.UsageError as error:
            if not _only_named(error, words):
                refused.append((" ".join(words), error.format_message()))
        except AssertionError as error:
            if not str(error).endswith("is not whole"):  # a group by its name: `klingel case`
                refused.append((" ".join(words), str(error).splitlines()[0]))
    assert refused == []


def _only_named(error: click.UsageError, words: list[str]) -> bool:
    """Whether a page merely names a command, in prose, or leaves a value to its reader."""
    if isinstance(error, click.MissingParameter):
        return True
    if isinstance(error, click.BadOptionUsage):
        return "requires an argument" in str(error) and words[-1] == error.option_name
    told = isinstance(error, click.BadParameter) and any(map(PLACEHOLDER.match, words))
    return told or (isinstance(error, click.BadParameter) and "does not exist" in str(error))


@cache
def _objects() -> dict[str, set[str]]:
    """Return kind/name of every object of every overlay, with its containers."""
    found: dict[str, set[str]] = {}
    for overlay in ("local", "staging", "production"):
        objects = parse(build(K8S / "overlays" / overlay))
        for each in objects:
            found.setdefault(f"{each['kind'].lower()}/{each['metadata']['name']}", set())
        for pod in pods(objects):
            name = f"{pod.owner['kind'].lower()}/{pod.owner['metadata']['name']}"
            found[name] |= {container["name"] for container in pod.containers}
    return found


def check_kubectl(words: list[str]) -> None:
    """Fail when a command names an object, a container, a folder or a namespace that is not there."""
    rest = list(words[1:])
    inside = rest[rest.index("--") + 1 :] if "--" in rest else []
    rest = rest[: rest.index("--")] if "--" in rest else rest
    assert rest[0] in VERBS, f"kubectl {rest[0]}"
    for option in ("-n", "--namespace", "-c", "--container", "-f", "-k"):
        while option in rest:
            at = rest.index(option)
            value = rest[at + 1]
            del rest[at : at + 2]
            if option in {"-n", "--namespace"}:
                assert f"namespace/{value}" in _objects(), value
            elif option in {"-c", "--container"}:
                assert any(value in containers for containers in _objects().values()), value
            else:
                assert (ROOT / value).exists(), value
    for word in rest[1:]:
        kind, _, name = word.removeprefix("--from=").partition("/")
        if name and not word.startswith("--from-") and kind in KINDS:
            assert f"{kind}/{name}" in _objects() or OWN_NAMES.fullmatch(word), word
    if rest[:2] == ["delete", "job"]:
        named = {word for word in rest[2:] if not word.startswith("-")}
        assert named <= {each.partition("/")[2] for each in _objects() if each.startswith("job/")}
    if inside and inside[0] in OURS:
        check_words(inside[0], inside[1:])


@pytest.mark.parametrize("page", [page for page in PAGES if "kubectl " in read(page)])
def test_kubectl_names_what_the_bundle_has(page: str) -> None:
    found = [words for words in commands(page, ("kubectl",)) if whole(words)]
    for words in found:
        if len(words) > 2:  # `kubectl logs` alone speaks of it
            try:
                check_kubectl(words)
            except click.MissingParameter:
                continue  # what to give it is the reader's


@pytest.mark.parametrize(
    "command",
    [
        "kubectl logs -n klingel deployment/indexer-2",
        "kubectl logs -n clingel deployment/indexer",
        "kubectl logs -n klingel deployment/indexer -c main",
        "kubectl rollout status -n klingel deployment/care",
        "kubectl apply -k deploy/k8s/overlays/big",
        "kubectl delete job -n klingel set-up",
        "kubectl exec -n klingel -it job/tools-1 -- klingel statsu",
        "kubectl create job tools-1 -n klingel --from=cronjob/tool",
    ],
)
def test_a_wrong_kubectl_is_seen(command: str) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        check_kubectl(words_of(command))


def test_every_runbook_says_where_its_commands_run() -> None:
    """On call, on Kubernetes: the first command is one that can be pasted."""
    pages = sorted((ROOT / "docs/runbooks").glob("[a-z]*.md"))
    assert pages
    for page in pages:
        first = page.read_text(encoding="utf-8").partition("## First three commands")[2]
        first = first.partition("\n## ")[0]
        (command,) = re.findall(r"^(klingel .+)$", first, re.MULTILINE)[:1]
        assert f"`kubectl exec -n klingel -it job/tools-1 -- {command}`" in first, page.name
        assert "(README.md#where-commands-run)" in first


def test_compose_names_services_that_there_are() -> None:
    """`docker compose run --rm NAME …` of the pages, with words that the service's program takes."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    for page in PAGES:
        for words in commands(page, ("docker",)):
            if words[1:4] == ["compose", "run", "--rm"]:
                assert words[4] in services, page
                check_words("klingel", words[5:])


def test_the_pages_have_commands() -> None:
    """A pattern that finds nothing would prove nothing."""
    found = [words for page in PAGES for words in commands(page, OURS) if whole(words)]
    assert len(found) > 150
    assert sum(len(words) > 2 for words in found) > 100
