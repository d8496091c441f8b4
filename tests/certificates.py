"""An authority of a test's own."""

from pathlib import Path

from klingel_local.certificates import Authority
from klingel_local.errors import MissingError

from .absent import absent


def authority_in(folder: Path) -> Authority:
    """Return an authority; skips where there is nothing that makes certificates."""
    try:
        return Authority(folder, "tests")
    except MissingError as error:
        absent(str(error))
