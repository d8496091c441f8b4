"""What tests need and the project does not bring: data, programs, packages of others."""

import os
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """Skip a test for want of something; in CI it has to be there, and its absence fails.

    Args:
        reason: a sentence that names what is not there.
    """
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
