"""What is wrong when a server's certificate is not believed: one sentence, with the setting.

Clients wrap the error of `ssl`, and put what the server or its certificate says beside it: only the
number of the error is told.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from klingel.errors import ConfigurationError

_OTHER_NAME: Final = frozenset({62, 64})
_OVER: Final = 10
"""Verify codes of OpenSSL (`openssl/x509_vfy.h`): names of hosts and addresses, the end of validity."""
_DEEPEST: Final = 10


def why_not_trusted(error: BaseException, before: str) -> str | None:
    """Return why no encrypted connection came about; None where the error is of another kind.

    Args:
        error: of a client, or what it wraps.
        before: beginning of the server's settings, such as `KLINGEL_ELASTICSEARCH__`.
    """
    found = [each for each in _chain(error, _DEEPEST) if isinstance(each, ssl.SSLError)]
    for each in found:
        code = getattr(each, "verify_code", None)  # a client's own kind of the error has none
        if code is None or not isinstance(each, ssl.SSLCertVerificationError):
            continue
        if code in _OTHER_NAME:
            return f"its certificate is for another name than {before}URL has"
        if code == _OVER:
            return "its certificate is over"
        return f"nobody whom we trust vouches for its certificate; see {before}CA_CERTS"
    return f"it does not speak TLS as we do; see {before}URL" if found else None


def refuse_unreadable(authority: Path | None, before: str) -> None:
    """Return when a file of authorities can be read, or none is named.

    Raises:
        ConfigurationError: it is missing, or holds no certificate.
    """
    if authority is None:
        return
    try:
        ssl.create_default_context(cafile=authority)
    except OSError:  # of `ssl`, too
        raise ConfigurationError(
            f"{before}CA_CERTS: the file cannot be read as certificates"
        ) from None


def _chain(error: BaseException, depth: int) -> Iterator[BaseException]:
    """Yield an error and what it wraps: as its cause, its context, or in `errors` and `os_error`."""
    yield error
    if depth == 0:
        return
    inner = [error.__cause__, error.__context__, *getattr(error, "errors", ())]
    inner += [getattr(error, name, None) for name in ("os_error", "certificate_error")]
    for each in inner:
        if isinstance(each, BaseException):
            yield from _chain(each, depth - 1)
