"""Certificates of a test's own: an authority, and whom it vouches for; by the command `openssl`."""

import shutil
import subprocess
from pathlib import Path

import pytest


class Authority:
    """Issues certificates into a folder.

    Args:
        folder: for keys and certificates.

    Attributes:
        file: its own certificate.
    """

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("without openssl there are no certificates")
        self.folder = folder
        self.file = folder / "ca.pem"
        self._key = folder / "ca.key"
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "30", "-subj", "/CN=tests"),
            *("-keyout", self._key, "-out", self.file),
        )

    def issue(
        self, name: str, *, days: int = 2, password: str | None = None, extra: str = ""
    ) -> tuple[Path, Path]:
        """Return certificate and key (PKCS #8) of a name.

        Args:
            name: its common name.
            days: how long it is valid.
            password: of the key.
            extra: X.509 extensions, such as `subjectAltName=IP:127.0.0.1`.
        """
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, plain = self.folder / f"{name}.csr", self.folder / f"{name}.plain"
        self._openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", plain, "-out", request),
        )
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(extra)
        self._openssl(
            *("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key),
            *("-CAcreateserial", "-days", str(days), "-extfile", extensions, "-out", certificate),
        )
        locked = ("-passout", f"pass:{password}") if password else ("-nocrypt",)
        self._openssl("pkcs8", "-topk8", "-in", plain, *locked, "-out", key)
        return certificate, key

    @staticmethod
    def _openssl(*arguments: object) -> None:
        subprocess.run(
            ["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60
        )
