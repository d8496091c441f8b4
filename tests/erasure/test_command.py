"""`klingel erase` before it asks anybody: one sentence for what cannot be."""

import gc
import warnings

import pytest
from click.testing import CliRunner

from klingel_cli.main import main

NOBODY = {
    "KLINGEL_KAFKA__BOOTSTRAP": "127.0.0.1:9",
    "KLINGEL_ELASTICSEARCH__URL": "http://127.0.0.1:9",
}
KEY = {"KLINGEL_ERASURE__KEY": "canary-of-this-test"}


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        ((), KEY, "Name one: --author"),
        (("--author", "x:1", "--object", "x:y:1"), KEY, "Name one: --author"),
        (("--demanded", "--author", "x:1"), KEY, "--demanded goes alone"),
        (("--author", "anna"), KEY, "--author is no id of that kind"),
        (("--case", ":x"), KEY, "begins with its brand and a colon"),
        (("--object", "x:y:1"), {}, "KLINGEL_ERASURE__KEY is not set"),
        (("--object", "x:y:1"), {"KLINGEL_ERASURE__KEY": "short"}, "KLINGEL_ERASURE__KEY: "),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments, environ, sentence):
    done = CliRunner(env=NOBODY | environ).invoke(main, ["erase", *arguments])
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert "canary" not in done.output


def test_without_elasticsearch_nothing_is_begun():
    """Half an erasure would be worse than none: what is there is looked for first."""
    done = CliRunner(env=NOBODY | KEY).invoke(main, ["erase", "--author", "x:1"])
    assert done.exit_code == 3
    assert "Elasticsearch at http://127.0.0.1:9 does not answer" in done.stderr


def test_that_there_is_no_key_is_said_before_anybody_is_asked(monkeypatch: pytest.MonkeyPatch):
    """The hourly run goes on, for the media of deleted posts."""
    monkeypatch.setattr("klingel_cli.kafka.BOOTSTRAP_MS", 300)
    with warnings.catch_warnings():
        # kafka-python leaves a socket to the collector when nobody answers.
        warnings.simplefilter("ignore", ResourceWarning)
        done = CliRunner(env=NOBODY).invoke(main, ["erase", "--demanded"])
        gc.collect()
    assert done.exit_code == 3
    first, *others = done.stderr.splitlines()
    assert first.startswith("klingel: KLINGEL_ERASURE__KEY is not set: whom networks demand")
    assert any("Kafka at 127.0.0.1:9 does not answer" in each for each in others)
