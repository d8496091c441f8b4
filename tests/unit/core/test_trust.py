"""What is said of a certificate that is not believed: a number of OpenSSL's, and no word of others."""

import ssl

import pytest

from klingel.contracts.trust import refuse_unreadable, why_not_trusted
from klingel.errors import ConfigurationError

BEFORE = "KLINGEL_ELASTICSEARCH__"


def refused(code: int) -> ssl.SSLCertVerificationError:
    """Return an error as `ssl` raises it, with words that nobody repeats."""
    error = ssl.SSLCertVerificationError(1, "canary in what the certificate says")
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (62, "its certificate is for another name than KLINGEL_ELASTICSEARCH__URL has"),
        (64, "its certificate is for another name than KLINGEL_ELASTICSEARCH__URL has"),
        (10, "its certificate is over"),
        (
            20,
            "nobody whom we trust vouches for its certificate; see KLINGEL_ELASTICSEARCH__CA_CERTS",
        ),
    ],
)
def test_a_refusal_is_told_by_its_number_however_deep_it_is_wrapped(code, sentence):
    outer = OSError("canary")
    outer.__cause__ = RuntimeError("canary")
    outer.__cause__.__context__ = refused(code)
    assert why_not_trusted(refused(code), BEFORE) == sentence
    assert why_not_trusted(outer, BEFORE) == sentence


def test_what_is_no_trouble_of_certificates_is_none():
    assert why_not_trusted(ConnectionRefusedError(), BEFORE) is None
    assert why_not_trusted(ssl.SSLError(1, "canary"), BEFORE) == (
        "it does not speak TLS as we do; see KLINGEL_ELASTICSEARCH__URL"
    )
    endless = OSError("canary")
    endless.__cause__ = RuntimeError("canary")
    endless.__cause__.__cause__ = endless
    assert why_not_trusted(endless, BEFORE) is None


def test_a_file_of_authorities_is_read_before_anything_is_asked(tmp_path):
    empty = tmp_path / "empty.pem"
    empty.touch()
    refuse_unreadable(None, BEFORE)
    for file in (empty, tmp_path / "missing.pem"):
        with pytest.raises(ConfigurationError, match="KLINGEL_ELASTICSEARCH__CA_CERTS: the file"):
            refuse_unreadable(file, BEFORE)
