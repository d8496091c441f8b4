"""`klingel connectors new`: what it writes passes conformance at once, and talks to a real server."""

import asyncio
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from klingel.errors import ConfigurationError, CredentialsRejected, RateLimited, SourceUnavailable
from klingel_cli.commands.connectors import compose_entries, write_scaffold
from klingel_cli.composing import as_yaml, secret_name
from klingel_connectors.settings import gateway_settings
from klingel_networks.arrival import Tools, Unbounded
from klingel_networks.manifest import read_manifest, read_quality
from klingel_networks.options import read_options, setting_name
from klingel_networks.registry import installed


@pytest.fixture
def tavern(tmp_path, monkeypatch):
    """The scaffold, installed as far as entry points go."""
    home = tmp_path / "tavern"
    write_scaffold("tavern", "The Tavern", home)
    info = home / "src" / "klingel_network_tavern-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: klingel-network-tavern\nVersion: 0\n"
    )
    (info / "entry_points.txt").write_text(
        "[klingel.networks]\ntavern = klingel_network_tavern:NETWORK\n"
    )
    monkeypatch.syspath_prepend(str(home / "src"))
    yield home
    for name in [name for name in sys.modules if name.startswith("klingel_network_tavern")]:
        del sys.modules[name]


def test_a_new_connector_passes_conformance_at_once(tavern):
    """In a process of its own, as its author runs it."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests"],
        cwd=tavern,
        env={**os.environ, "PYTHONPATH": str(tavern / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout


def test_its_files_are_what_the_documentation_says(tavern):
    package = tavern / "src" / "klingel_network_tavern"
    manifest = read_manifest((package / "connector.yaml").read_text(), "connector.yaml")
    assert (manifest.name, manifest.mode) == ("tavern", "poll")
    read_quality((package / "quality.yaml").read_text(), "quality.yaml")
    told = (Path(__file__).parents[2] / "docs" / "adding-a-network.md").read_text()
    for path in ("mapping.py", "client.py", "connector.yaml", "quality.yaml"):
        assert (package / path).is_file()
        assert f"`{path}`" in told


async def test_its_client_reads_to_the_end_and_says_what_is_wrong(tavern):
    """Against a server that speaks its protocol: pages, limits, refusals, nonsense."""
    module = import_module("klingel_network_tavern.client")
    answers, asked = [], []

    async def answer(request):
        asked.append(request.query.get("after"))
        status, body = answers.pop(0)
        headers = {
            "x-ratelimit-remaining": "1",
            "x-ratelimit-limit": "2",
            "x-ratelimit-reset-after": "30",
            "Retry-After": "9",
        }
        return web.Response(status=status, body=body, headers=headers)

    app = web.Application()
    app.router.add_get("/posts", answer)
    server = TestServer(app)
    await server.start_server()
    text = (tavern / "src" / "klingel_network_tavern" / "connector.yaml").read_text()
    manifest = read_manifest(text, "connector.yaml")
    environ = {
        "KLINGEL_TAVERN_ENDPOINT": f"http://127.0.0.1:{server.port}",
        "KLINGEL_TAVERN_TOKEN": "secret",
    }
    tools = Tools(permits=Unbounded())
    options = read_options(manifest, environ, {})
    client = module.connect(options, tools)

    async def polled(cursor, *given):
        answers[:] = given
        return [each.cursor async for each in client.poll("main", cursor)]

    try:
        pages = [(200, b'{"posts": [{"id": 3}, {"id": 5}]}'), (200, b'{"posts": []}')]
        assert await polled(None, *pages) == ["5"]
        assert asked == ["0", "5"]
        assert await polled("5", (200, b'{"posts": []}')) == []
        with pytest.raises(CredentialsRejected):
            await polled(None, (401, b""))
        with pytest.raises(RateLimited) as limited:
            await polled(None, (429, b""))
        assert limited.value.retry_after == 9
        for nonsense in ((500, b""), (200, b"<html>"), (200, b"[" * 10_000)):
            with pytest.raises(SourceUnavailable):
                await polled(None, nonsense)
        answers[:] = [(200, b"{}")]
        (finding,) = await module.examine(options, tools)
        assert (finding.check, finding.state) == ("clock", "ok")
    finally:
        await server.close()
    with pytest.raises(SourceUnavailable):
        await polled(None, (200, b""))
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("name", "title", "says"),
    [
        ("Tavern", "T", "lower-case letters"),
        ("a", "T", "3 to 40"),
        ("class", "T", "lower-case letters"),
        ("../x", "T", "lower-case letters"),
        ("bluesky", "T", "installed already"),
        ("tavern", 'T"', "without quotes"),
        ("tavern", "$HOME", "without quotes"),
        ("tavern", "a\nb", "printable"),
    ],
)
def test_a_name_that_no_connector_can_have_is_refused(tmp_path, name, title, says):
    with pytest.raises(ConfigurationError, match=says):
        write_scaffold(name, title, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_command_says_what_it_wrote_and_overwrites_nothing(run, tmp_path):
    result = run("connectors", "new", "tavern", "--title", "The Tavern")
    assert result.exit_code == 0
    assert "klingel-network-tavern/src/klingel_network_tavern/mapping.py" in result.output
    assert "next: pip install" in result.output
    again = run("connectors", "new", "tavern")
    assert again.exit_code == 2
    assert "exists and is not empty" in again.output


def test_installed_connectors_are_listed(run):
    assert "bluesky" in run("connectors", "list").output
    assert '"name": "bluesky"' in run("connectors", "list", "--json").output


def test_every_connector_has_an_entry_that_gives_it_what_it_needs(tmp_path):
    """Every required setting and every secret, by a name that the connector reads; no value at all."""
    for name in installed().names:
        manifest = installed().manifest(name)
        found = yaml.safe_load(as_yaml(compose_entries(name)))
        for service in found["services"].values():
            assert set(service.get("secrets", [])) <= set(found["secrets"])
        own = found["services"].get(name)
        if own is None:
            assert not {"poll", "stream"} & {manifest.mode, *manifest.also}
            continue
        secret = tmp_path / "secret"
        secret.write_text("hunter2")
        environ = {
            variable: str(secret) if variable.endswith("_FILE") else "1"
            for variable, value in own["environment"].items()
            if value is not None
        }
        assert read_options(manifest, environ, {}) is not None
        assert own["command"][:2] == ["run", name]


def test_an_entry_asks_for_no_file_of_a_secret_that_may_be_left_away():
    """Only required secrets are files; all that is optional is taken from where compose runs."""
    for name in installed().names:
        manifest = installed().manifest(name)
        found = yaml.safe_load(as_yaml(compose_entries(name)))
        own = found["services"].get(name)
        if own is None:
            continue
        told = own["environment"]
        needed = set()
        for each, how in manifest.config.items():
            variable = setting_name(name, each)
            if how.secret and how.required:
                needed.add(secret_name(variable))
                assert told[f"{variable}_FILE"] == f"/run/secrets/{secret_name(variable)}"
            elif not how.required:
                assert told[variable] is None
        assert set(own.get("secrets", ())) == needed
        mounted = {value for value in told.values() if str(value).startswith("/run/secrets/")}
        assert mounted == {f"/run/secrets/{each}" for each in needed}
    assert compose_entries("bluesky")["secrets"] == {}


def test_the_gateway_gets_every_secret_of_a_family(tmp_path):
    """What the entry names is enough for the gateway to start."""
    secret = tmp_path / "secret"
    secret.write_text("a-secret-of-16-bytes")
    for name in installed().names:
        gateway = compose_entries(name)["services"].get("gateway")
        if gateway is None:
            continue
        environ = {
            variable: str(secret) if variable.endswith("_FILE") else value
            for variable, value in gateway["environment"].items()
        }
        settings = gateway_settings(environ)
        family = installed().family(installed().manifest(name).family)
        assert set(settings.hooks) == {family.name}
        assert bool(settings.hash_key) == family.hashes


def test_the_entry_is_printed(run):
    result = run("connectors", "compose", "bluesky")
    assert yaml.safe_load(result.output)["services"]["bluesky"]["extends"]["service"] == "bluesky"
    refused = run("connectors", "compose", "webhook")
    assert refused.exit_code == 2
    assert "no entry of its own" in refused.output
