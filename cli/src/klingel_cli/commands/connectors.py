"""`klingel connectors`: what is installed, what was not heard, and how to begin a new one."""

import keyword
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Any

import click

from klingel.errors import ConfigurationError
from klingel_cli.commands.doctor import statuses
from klingel_cli.composing import as_yaml, block, entries
from klingel_cli.instances import overlay_file
from klingel_cli.kafka import reading
from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_networks.manifest import Manifest
from klingel_networks.registry import installed

_HASH_KEY = "KLINGEL_WHATSAPP_HASH_KEY"
_NAME = re.compile(r"[a-z][a-z0-9_]{1,38}[a-z0-9]")
_PLACES = {
    "pyproject.toml.txt": "pyproject.toml",
    "__init__.py.txt": "src/{package}/__init__.py",
    "mapping.py.txt": "src/{package}/mapping.py",
    "client.py.txt": "src/{package}/client.py",
    "connector.yaml.txt": "src/{package}/connector.yaml",
    "quality.yaml.txt": "src/{package}/quality.yaml",
    "tests/test_conformance.py.txt": "tests/test_conformance.py",
}


@click.group("connectors")
def connectors_group() -> None:
    """See connectors and their gaps, and begin a new one."""


@connectors_group.command("list")
@as_json
@pass_shell
def list_command(shell: Shell, *, as_json: bool) -> None:
    """Show every connector that is installed, by its manifest."""
    manifests = [installed().manifest(name) for name in installed().names]
    if as_json:
        shell.tell(
            [
                each.model_dump(mode="json", include={"name", "mode", "stability"})
                for each in manifests
            ]
        )
        return
    shell.table(
        ("connector", "mode", "stability", "what it hears"),
        [(each.name, each.mode, each.stability, each.description) for each in manifests],
    )


@connectors_group.command("gaps")
@click.option("--open", "open_only", is_flag=True, help="Only those that are open.")
@as_json
@pass_shell
def gaps_command(shell: Shell, *, open_only: bool, as_json: bool) -> None:
    """Show the gap ledger: what was not heard, why, from when to when, and what came of it."""
    with reading(shell.settings.kafka) as log:
        told = [each for each in statuses(log).values() if each.gap is not None]
    rows = []
    for status in sorted(told, key=lambda each: each.at):
        gap = status.gap
        if gap is None or (open_only and gap.outcome != "open"):
            continue
        rows.append(
            {
                "instance": status.instance.partition("/gap/")[0],
                "channel": gap.channel or None,
                "cause": gap.cause,
                "outcome": gap.outcome,
                "opened_at": gap.opened_at,
                "closed_at": gap.closed_at,
                "began_at": gap.began_at,
                "ended_at": gap.ended_at,
                "recovered": gap.recovered or 0,
            }
        )
    if as_json:
        shell.tell(rows)
    elif rows:
        shell.table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        shell.say("no gap is known" if not open_only else "no gap is open")


@connectors_group.command("compose")
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="Print the block of docker-compose.yml instead.")
@pass_shell
def compose_command(shell: Shell, name: str | None, *, every: bool) -> None:
    """Print the entry of connector NAME for Docker Compose, with the names of its Secrets.

    Write it to a file beside docker-compose.yml, put each secret into ./secrets, and start with
    `docker compose -f docker-compose.yml -f FILE up`. A value that begins with # is to be filled in;
    what is null may be left away and is taken from the environment or .env, optional secrets too.
    """
    if every is (name is not None):
        raise ConfigurationError("name a connector, or say --all")
    if name is None:
        shell.say(compose_block().rstrip())
        return
    found = compose_entries(name)
    if not found["services"]:
        raise ConfigurationError(
            f"{name} has no entry of its own: name its sources in the gateway's settings"
        )
    shell.say(as_yaml(found).rstrip())


def compose_block() -> str:
    """Return the services of docker-compose.yml for all connectors that are klingel's own."""
    known = installed()
    manifests = [known.manifest(name) for name in known.names]
    families = {each.family for each in manifests if each.family is not None}
    hash_keys = {each: _HASH_KEY for each in families if known.family(each).hashes}
    return block(manifests, hash_keys)


def compose_entries(name: str) -> dict[str, Any]:
    """Return the entries of an installed connector; raises ConfigurationError."""
    manifest = installed().manifest(name)
    return entries(manifest, hash_key=_hash_key(manifest))


def _hash_key(manifest: Manifest) -> str:
    hashes = manifest.family is not None and installed().family(manifest.family).hashes
    return _HASH_KEY if hashes else ""


@connectors_group.command("kubernetes")
@click.argument("name")
@click.option("--instance", help="Name of the instance; NAME otherwise.")
@pass_shell
def kubernetes_command(shell: Shell, name: str, instance: str | None) -> None:
    """Print the file that adds an instance of connector NAME to an overlay of deploy/k8s.

    Write it to connectors/INSTANCE/kustomization.yaml beside the overlay's kustomization.yaml, and
    name that folder under its `resources`. Secrets are the files of the Secret
    connector-secrets-INSTANCE; what is a comment may be left away.
    """
    manifest = installed().manifest(name)
    named = instance or name.replace("_", "-")
    shell.say(overlay_file(manifest, named, hash_key=_hash_key(manifest)).rstrip())


@connectors_group.command("new")
@click.argument("name")
@click.option("--title", help="As people call the network; NAME otherwise.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to make; klingel-network-NAME here otherwise.",
)
@pass_shell
def new(shell: Shell, name: str, title: str | None, folder: Path | None) -> None:
    """Begin the connector NAME: a package that passes the conformance suite from the start.

    It is a worked example, a forum that is polled; docs/adding-a-network.md goes through it.
    """
    written = write_scaffold(name, title or name, folder)
    for path in written:
        shell.say(f"wrote {path}")
    home = written[0].parent
    shell.say("")
    shell.say(f"next: pip install -e '{home}[test]' && pytest {home}")


def write_scaffold(name: str, title: str, folder: Path | None) -> list[Path]:
    """Write the package of a new connector; returns its files.

    Raises:
        ConfigurationError: a name that no connector can have or that is taken, a folder that exists.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ConfigurationError(
            "NAME: 3 to 40 lower-case letters, digits and underscores, beginning with a letter"
        )
    if name in installed().names:
        raise ConfigurationError(f"NAME: {name} is installed already")
    if not title.isprintable() or set(title) & set("\"'\\$") or len(title) > 80:
        raise ConfigurationError("--title: at most 80 printable characters, without quotes")
    package = f"klingel_network_{name}"
    home = folder or Path(f"klingel-network-{name.replace('_', '-')}")
    if home.exists() and any(home.iterdir()):
        raise ConfigurationError(f"{home} exists and is not empty")
    words = {
        "name": name,
        "title": title,
        "package": package,
        "dashed": name.replace("_", "-"),
        "camel": "".join(part.capitalize() for part in name.split("_")),
    }
    templates = files("klingel_cli") / "scaffold"
    written = []
    for template, place in _PLACES.items():
        path = home / place.format(package=package)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(templates, template, words), encoding="utf-8")
        written.append(path)
    return written


def _filled(templates: Traversable, template: str, words: dict[str, str]) -> str:
    return Template((templates / template).read_text(encoding="utf-8")).substitute(words)
