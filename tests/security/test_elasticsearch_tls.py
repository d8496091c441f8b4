"""Elasticsearch over TLS with an authority of its own: who is believed, and what is said of others."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from klingel.errors import SourceUnavailable
from klingel.settings import load_settings
from klingel_cli.main import main
from klingel_indexer.worker import Worker

from ..certificates import authority_in
from .conftest import Secured

pytestmark = pytest.mark.servers

BEFORE = "KLINGEL_ELASTICSEARCH__"


def environ(secured: Secured, **other: str) -> dict[str, str]:
    """Return the settings of who may do everything; `other` replaces some, an empty one goes."""
    user, password = secured.elastic
    told = {
        "URL": secured.elasticsearch,
        "USERNAME": user,
        "PASSWORD": password,
        "CA_CERTS": str(secured.authority.file),
    } | other
    return {BEFORE + name: value for name, value in told.items() if value}


@pytest.fixture(scope="module")
def wrong(secured: Secured, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What is wrong, as settings."""
    folder = tmp_path_factory.mktemp("tls")
    empty = folder / "empty.pem"
    empty.write_text("no certificate\n", encoding="utf-8")
    address = secured.elasticsearch
    return {
        "no authority": {"CA_CERTS": ""},
        "another authority": {"CA_CERTS": str(authority_in(folder / "other").file)},
        "another name": {"URL": address.replace("127.0.0.1", "localhost")},
        "in clear": {"URL": address.replace("https:", "http:"), "CA_CERTS": ""},
        "no file": {"CA_CERTS": str(folder / "missing.pem")},
        "no certificates": {"CA_CERTS": str(empty)},
    }


SAID = {
    "no authority": f"nobody whom we trust vouches for its certificate; see {BEFORE}CA_CERTS",
    "another authority": f"nobody whom we trust vouches for its certificate; see {BEFORE}CA_CERTS",
    "another name": "its certificate is for another name",
    "in clear": "(https:// where it encrypts)",
    "no file": f"{BEFORE}CA_CERTS: the file cannot be read as certificates",
    "no certificates": f"{BEFORE}CA_CERTS: the file cannot be read as certificates",
}


def test_the_right_authority_is_believed(secured: Secured) -> None:
    done = CliRunner(env=environ(secured)).invoke(main, ["index", "roles"])
    assert done.exit_code == 0, done.output
    prefixed = environ(secured, INDEX_PREFIX="tls-")
    checked = CliRunner(env=prefixed).invoke(main, ["index", "check"])
    assert checked.exit_code == 1, checked.output
    assert "component template tls-" in checked.output


@pytest.mark.parametrize("what", SAID)
def test_whoever_is_not_believed_is_one_sentence_of_the_command(secured, wrong, what) -> None:
    done = CliRunner(env=environ(secured, **wrong[what])).invoke(main, ["index", "check"])
    assert done.exit_code == (3 if what == "in clear" else 2), done.output
    assert SAID[what] in done.stderr
    assert len(done.output.splitlines()) == 1
    assert secured.elastic[1] not in done.output


@pytest.mark.parametrize("what", ["no authority", "another authority", "another name", "in clear"])
async def test_the_indexer_waits_and_says_why(secured, wrong, what) -> None:
    """A certificate is mended while it waits: that is no reason to end."""
    settings = load_settings(environ(secured, **wrong[what]))
    worker = Worker(settings)
    try:
        with pytest.raises(SourceUnavailable) as caught:
            await worker._check_templates()
    finally:
        await worker.close()
    said = "ConnectionError" if what == "in clear" else SAID[what]
    assert said in str(caught.value)


def test_the_indexer_does_not_begin_with_a_file_that_is_none(secured, wrong) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "klingel_indexer", "run"],
        env=dict(os.environ) | environ(secured, **wrong["no certificates"]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert SAID["no certificates"] in done.stderr
