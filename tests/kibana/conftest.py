"""The definitions as they are shipped, and what some days of a brand leave in Elasticsearch."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from klingel_cli.kibana.definitions import Definitions, definitions_dir, load
from klingel_indexer.bulk import elasticsearch_client
from klingel_indexer.templates import apply_templates

from ..indexer.conftest import TEMPLATES, wipe
from .evidence import Evidence, gather

PREFIX = f"kb{os.getpid()}-"
LINES = 600
"""Of one bulk request: aiohttp warns of a body of more than a megabyte."""


@pytest.fixture(scope="session")
def definitions() -> Definitions:
    """What `deploy/kibana` says."""
    return load(definitions_dir())


@pytest.fixture(scope="session")
def evidence(shared_data: Path) -> Evidence:
    """Real posts through all stages."""
    return gather(shared_data / "nc/text", PREFIX)


@pytest.fixture(scope="session")
def indexed(elasticsearch_url: str, evidence: Evidence) -> Iterator[str]:
    """Address of the real Elasticsearch that holds all of it, through the templates."""

    async def put() -> None:
        async with elasticsearch_client(elasticsearch_url) as client:
            await apply_templates(client, TEMPLATES, PREFIX, {"number_of_replicas": 0})
            lines = evidence.body.split(b"\n")
            assert len(lines) % 2 == 1
            for start in range(0, len(lines) - 1, LINES):
                some = b"\n".join(lines[start : start + LINES]) + b"\n"
                answer = await client.bulk(body=some, filter_path="items.*.status,items.*.error")
                statuses = [item for each in answer["items"] for item in each.values()]
                wrong = [each for each in statuses if each["status"] not in {200, 201, 409}]
                assert wrong == []
            await client.indices.refresh(index=f"{PREFIX}*")

    async def remove() -> None:
        async with elasticsearch_client(elasticsearch_url) as client:
            await wipe(client, PREFIX)

    asyncio.run(put())
    yield elasticsearch_url
    asyncio.run(remove())
