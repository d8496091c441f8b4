"""The file of a connector's instance: every setting the connector reads, no secret's value."""

import pytest
import yaml

from klingel.errors import ConfigurationError
from klingel_cli.instances import overlay_file
from klingel_connectors.settings import gateway_settings
from klingel_networks.options import read_options
from klingel_networks.registry import installed

READERS = [
    name
    for name in installed().names
    if {"poll", "stream"} & {installed().manifest(name).mode, *installed().manifest(name).also}
]


def literals(text: str, *, comments: bool) -> dict[str, str]:
    """Return the settings of a file; with comments those too that may be left away."""
    if comments:
        text = text.replace("      # - ", "      - ")
    (generated,) = yaml.safe_load(text)["configMapGenerator"]
    pairs = (each.partition("=") for each in generated["literals"])
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("comments", [False, True])
def test_what_the_file_says_is_what_the_connector_reads(name, comments, tmp_path) -> None:
    manifest = installed().manifest(name)
    told = literals(overlay_file(manifest, "one"), comments=comments)
    assert told.pop("CONNECTOR") == name
    assert told.pop("KLINGEL_CONNECTOR__INSTANCE") == "one"
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    environ = {
        variable: str(secret) if variable.endswith("_FILE") else value or "1"
        for variable, value in told.items()
    }
    options = read_options(manifest, environ, {})
    assert options is not None
    if comments:
        assert len(told) == len(manifest.config)


def test_what_the_gateway_needs_beside_it_is_told(tmp_path) -> None:
    text = overlay_file(
        installed().manifest("whatsapp"), "wa", hash_key="KLINGEL_WHATSAPP_HASH_KEY"
    )
    lines = [line.partition("- ")[2] for line in text.splitlines() if line.startswith("#      - ")]
    environ = dict(line.split("=", 1) for line in lines)
    secret = tmp_path / "secret"
    secret.write_text("a-secret-of-16-bytes")
    files = {k: str(secret) if k.endswith("_FILE") else v for k, v in environ.items()}
    settings = gateway_settings(files)
    assert set(settings.hooks) == {"meta"}
    assert settings.hash_key


@pytest.mark.parametrize("instance", ["", "Mastodon", "a_b", "-a", "a-", "a" * 41, "a.b", "ä"])
def test_a_name_that_kubernetes_does_not_take_is_refused(instance: str) -> None:
    with pytest.raises(ConfigurationError, match="--instance"):
        overlay_file(installed().manifest("bluesky"), instance)


def test_the_file_is_printed(run) -> None:
    result = run("connectors", "kubernetes", "mastodon", "--instance", "mastodon-2")
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["nameSuffix"] == "-mastodon-2"
    refused = run("connectors", "kubernetes", "webhook")
    assert refused.exit_code == 2
    assert "no entry of its own" in refused.stderr
