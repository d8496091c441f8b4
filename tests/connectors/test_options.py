"""A connector's settings come from its manifest; its command, too."""

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from klingel.errors import ConfigurationError
from klingel_connectors.__main__ import main, plan_of
from klingel_networks.manifest import Manifest, read_manifest
from klingel_networks.options import budget_of, read_options
from klingel_networks.registry import installed

MANIFEST = """
name: ring
network: ring
description: "Rings."
mode: poll
stability: development
scope: account
emits: raw-events
delivery: at_least_once
kinds: {post: [created]}
revision: {unit: none, rule: "Never edited.", tie_break: "None."}
cursor: {field: id, inclusive: false, description: "Rises."}
limits: {}
poll_seconds: 30
back_off: {rate_limited: [60, 120]}
cost: {unit: posts, price: "One each.", budget: budget}
config:
  token: {type: string, secret: true, required: true, description: "Its token."}
  account: {type: string, default: me, description: "Whose posts."}
  budget: {type: integer, description: "Most posts a month."}
  deep: {type: boolean, default: false, description: "Reads more."}
"""


@pytest.fixture
def manifest() -> Manifest:
    """A manifest with every kind of setting."""
    return read_manifest(MANIFEST, "connector.yaml")


def test_options_come_from_command_line_environment_files_and_defaults(manifest, tmp_path):
    file = tmp_path / "token"
    file.write_text("hunter2\n")
    environ = {
        "KLINGEL_RING_TOKEN_FILE": str(file),
        "KLINGEL_RING_ACCOUNT": "you",
        "KLINGEL_RING_BUDGET": "100",
        "KLINGEL_KAFKA__BOOTSTRAP": "k:9092",
    }
    options = read_options(manifest, environ, {"account": "they", "deep": None})
    assert isinstance(options["token"], SecretStr)
    assert options["token"].get_secret_value() == "hunter2"
    assert (options["account"], options["budget"], options["deep"]) == ("they", 100, False)
    assert budget_of(manifest, options) == 100.0
    assert budget_of(manifest, {**options, "budget": None}) is None


@pytest.mark.parametrize(
    ("environ", "given", "says"),
    [
        ({}, {}, "KLINGEL_RING_TOKEN: ring.token is missing"),
        ({"KLINGEL_RING_TOKEN_FILE": "/nowhere"}, {}, "KLINGEL_RING_TOKEN_FILE: the file"),
        (
            {"KLINGEL_RING_TOKEN": "hunter2", "KLINGEL_RING_TOKEN_FILE": "/nowhere"},
            {},
            "KLINGEL_RING_TOKEN_FILE: given twice",
        ),
        ({"KLINGEL_RING_TOKN": "hunter2"}, {}, "KLINGEL_RING_TOKN: unknown setting"),
        ({}, {"token": "hunter2"}, "set KLINGEL_RING_TOKEN or KLINGEL_RING_TOKEN_FILE instead"),
        (
            {"KLINGEL_RING_TOKEN": "hunter2", "KLINGEL_RING_BUDGET": "many"},
            {},
            "KLINGEL_RING_BUDGET: ring.budget must be an integer",
        ),
    ],
)
def test_a_wrong_option_is_one_sentence_without_its_value(manifest, environ, given, says):
    with pytest.raises(ConfigurationError) as refused:
        read_options(manifest, environ, given)
    assert says in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_the_plan_follows_the_manifest(manifest):
    plan = plan_of(manifest)
    assert (plan.poll_seconds, plan.credential) == (30, "ok")
    assert plan.tables == {"rate_limited": (60, 120)}
    assert all(1.0 <= plan.jitter() <= 1.25 for _ in range(50))
    assert plan_of(installed().manifest("replay")).credential == "none"


def test_every_connector_that_reads_has_a_command_with_the_manifests_help():
    result = CliRunner().invoke(main, ["run", "--help"])
    reading = [
        name
        for name in installed().names
        if {"poll", "stream"} & {installed().manifest(name).mode, *installed().manifest(name).also}
    ]
    assert reading
    assert all(name in result.output for name in reading)
    for name in set(reading) - {"bluesky", "replay"}:
        page = CliRunner().invoke(main, ["run", name, "--help"])
        assert page.exit_code == 0
        for setting, declared in installed().manifest(name).config.items():
            assert (f"--{setting.replace('_', '-')}" in page.output) != declared.secret


def test_an_unknown_connector_is_refused():
    assert CliRunner().invoke(main, ["run", "orkut"]).exit_code == 2
    assert CliRunner().invoke(main, ["run", "webhook"]).exit_code == 2
