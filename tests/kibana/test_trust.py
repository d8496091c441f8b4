"""`klingel kibana apply` over TLS: the stand-in with a certificate of an authority of its own."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from klingel_cli.main import main
from klingel_local.certificates import Authority

from ..certificates import authority_in
from .test_apply import KEY, Kibana

CA = "KLINGEL_KIBANA__CA_CERTS"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who vouches for the stand-in."""
    return authority_in(tmp_path / "tls")


@pytest.fixture
def kibana(authority: Authority) -> Iterator[Kibana]:
    """The stand-in, listening with a certificate for its address alone."""
    made = Kibana(authority.issue("kibana", hosts=("IP:127.0.0.1",)))
    yield made
    made.close()


@pytest.fixture
def apply(kibana: Kibana) -> Callable[..., Result]:
    """Run the command against it."""

    def run(**settings: str) -> Result:
        names = {"KLINGEL_KIBANA__URL": kibana.url, "KLINGEL_KIBANA__API_KEY": KEY}
        return CliRunner(env=names | settings).invoke(main, ["kibana", "apply"])

    return run


def test_the_right_authority_is_believed(apply, authority, kibana) -> None:
    done = apply(**{CA: str(authority.file)})
    assert done.exit_code == 0, done.output
    assert kibana.objects


def test_whoever_is_not_believed_is_one_sentence(apply, authority, kibana, tmp_path) -> None:
    unknown = f"nobody whom we trust vouches for its certificate; see {CA}"
    other = str(authority_in(tmp_path / "other").file)
    port = kibana.url.rpartition(":")[2]
    assert socket.gethostbyname("localhost") == "127.0.0.1"
    wrong = {
        unknown: [{}, {CA: other}],
        "its certificate is for another name than KLINGEL_KIBANA__URL has": [
            {CA: str(authority.file), "KLINGEL_KIBANA__URL": f"https://localhost:{port}"}
        ],
        f"{CA}: the file cannot be read as certificates": [{CA: str(tmp_path / "missing.pem")}],
    }
    for sentence, cases in wrong.items():
        for settings in cases:
            done = apply(**settings)
            assert done.exit_code == 2, done.output
            assert sentence in done.stderr
            assert len(done.output.splitlines()) == 1
    assert kibana.objects == {}


def test_in_clear_to_the_port_that_encrypts_and_the_other_way(apply, kibana) -> None:
    port = kibana.url.rpartition(":")[2]
    clear = apply(KLINGEL_KIBANA__URL=f"http://127.0.0.1:{port}")
    assert clear.exit_code == 3
    assert "(https:// where it encrypts)" in clear.stderr
    plain = Kibana()
    try:
        encrypted = apply(KLINGEL_KIBANA__URL=plain.url.replace("http:", "https:"))
    finally:
        plain.close()
    assert encrypted.exit_code == 2
    assert "it does not speak TLS as we do; see KLINGEL_KIBANA__URL" in encrypted.stderr
