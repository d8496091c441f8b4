"""`klingel-connector`: a wrong setting or option is exit 2 and one sentence."""

import threading

import pytest
from click.testing import CliRunner

from klingel_connectors.__main__ import main


@pytest.fixture
def run(monkeypatch):
    def call(*arguments, **environ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(main, arguments)

    return call


@pytest.mark.parametrize(
    ("arguments", "environ", "says"),
    [
        (["gateway"], {}, "KLINGEL_WEBHOOK_SOURCES: the gateway has nobody to listen to"),
        (
            ["gateway"],
            {"KLINGEL_WEBHOOK_SOURCES": "shop"},
            "KLINGEL_WEBHOOK_SECRET_SHOP: source shop has no secret",
        ),
        (["gateway"], {"KLINGEL_KAFKA__BOOTSTRAB": "x"}, "did you mean KLINGEL_KAFKA__BOOTSTRAP?"),
        (
            ["media"],
            {"KLINGEL_BLOBS__DIR": f"{__file__}/blobs"},
            "KLINGEL_BLOBS__DIR: nothing can be written there (Not a directory)",
        ),
        (["run", "replay", "nowhere.ndjson"], {}, "nowhere.ndjson: no such file"),
        (
            ["run", "replay", __file__, "--network", "orkut"],
            {},
            "no network 'orkut' is installed; known: ",
        ),
        (
            ["run", "replay", __file__, "--shift-to-now", "--network", "bluesky"],
            {},
            "native deliveries stay as recorded",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(run, arguments, environ, says):
    result = run(*arguments, **environ)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("klingel-connector: ")
    # Followers of Kafka begin when all else stands: nobody is left who would go on following.
    assert not [each.name for each in threading.enumerate() if "suppressions" in each.name]


def test_an_unknown_connector_is_a_usage_error(run):
    assert run("run", "orkut").exit_code == 2


def test_help_explains_every_option(run):
    for command in (["run", "bluesky"], ["run", "replay"], ["gateway"]):
        result = run(*command, "--help")
        assert result.exit_code == 0
