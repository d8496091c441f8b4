"""Certificates of an instance's own: an authority, and those for whom it vouches.

Made by the command `openssl`; the library of Python reads certificates and makes none.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from klingel_local.errors import MissingError, StartError

_CURVE: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_AUTHORITY_DAYS: Final = 365


class Authority:
    """Issues certificates into a folder; one that lies there already goes on.

    Args:
        folder: for keys and certificates; only its owner may look into it.
        name: common name of the authority.

    Attributes:
        file: its own certificate (PEM).

    Raises:
        MissingError: there is no `openssl`.
        StartError: `openssl` fails.
    """

    def __init__(self, folder: Path, name: str = "klingel local") -> None:
        self.folder = folder
        self.file = folder / "ca.pem"
        self._key = folder / "ca.key"
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if not self.file.exists():
            whole = (*_CURVE, "-subj", f"/CN={name}", "-keyout", self._key)
            _openssl("req", "-x509", *whole, "-days", _AUTHORITY_DAYS, "-out", self.file)

    def issue(
        self,
        name: str,
        *,
        days: int = 365,
        password: str | None = None,
        hosts: tuple[str, ...] = (),
    ) -> tuple[Path, Path]:
        """Return the files of a certificate and its key (PEM, PKCS #8), made where they are missing.

        Args:
            name: its common name, and that of the files.
            days: how long it is valid.
            password: of the key.
            hosts: what a server is called, such as `DNS:localhost` or `IP:127.0.0.1`.

        Raises:
            MissingError: there is no `openssl`.
            StartError: `openssl` fails.
        """
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if certificate.exists() and key.exists():
            return certificate, key
        request, plain = self.folder / f"{name}.csr", self.folder / f"{name}.plain"
        extensions = self.folder / f"{name}.extensions"
        extensions.write_text(f"subjectAltName={','.join(hosts)}\n" if hosts else "")
        _openssl("req", *_CURVE, "-subj", f"/CN={name}", "-keyout", plain, "-out", request)
        locked = ("-passout", "stdin") if password else ("-nocrypt",)
        _openssl("pkcs8", "-topk8", "-in", plain, *locked, "-out", key, told=password or "")
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key),
            *("-CAcreateserial", "-days", days, "-extfile", extensions, "-out", certificate),
        )
        for scratch in (request, plain, extensions):
            scratch.unlink()
        return certificate, key


def _openssl(*arguments: object, told: str = "") -> None:
    program = shutil.which("openssl")
    if program is None:
        raise MissingError("Certificates are made by the command `openssl`: install it.")
    done = subprocess.run(  # noqa: S603 - the program found above, arguments of our own
        [program, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        input=f"{told}\n",
        timeout=60,
    )
    if done.returncode != 0:
        raise StartError(f"openssl could not make a certificate: {done.stderr[-500:].strip()}")
