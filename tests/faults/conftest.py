"""A stack of its own: these tests kill Kafka and Elasticsearch."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from klingel_local import LocalStack

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def own_stack() -> Iterator[LocalStack]:
    """Kafka and Elasticsearch that may be killed."""
    stack = LocalStack(ROOT / ".klingel" / "faults")
    stack.wipe()
    stack.up()
    try:
        yield stack
    finally:
        stack.wipe()
