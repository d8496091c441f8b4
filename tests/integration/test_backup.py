"""Against the real Elasticsearch: what the backup page tells to do brings every document back."""

from pathlib import Path
from typing import Any

import pytest

from klingel.settings import ElasticsearchSettings
from klingel_cli.search_client import ask
from klingel_indexer.rebuilding import contents, indices_of
from klingel_indexer.templates import apply_templates

from ..caseload import Caseload, bulk_body

pytestmark = pytest.mark.servers

TEMPLATES = Path(__file__).resolve().parents[2] / "schemas" / "generated" / "elasticsearch"


def test_a_snapshot_brings_back_what_was_deleted(elasticsearch_url: str, index_prefix: str) -> None:
    records = Caseload(20, seed=11).records(*Caseload.TOPICS)
    repository = f"{index_prefix}backup"

    async def work(client: Any) -> None:
        await apply_templates(client, TEMPLATES, index_prefix, {})
        body = bulk_body(records, index_prefix, "2026-11-23T12:00:00Z")
        written = await client.bulk(body=body, refresh=True)
        assert len(written["items"]) == len(records)
        names = await indices_of(client, TEMPLATES, index_prefix)
        before = {name: await contents(client, name) for name in names}
        assert sum(each.documents for each in before.values()) > 50
        await client.snapshot.create_repository(
            name=repository, repository={"type": "fs", "settings": {"location": repository}}
        )
        made = await client.snapshot.create(
            repository=repository,
            snapshot="first",
            indices=",".join(names),
            include_global_state=False,
            wait_for_completion=True,
        )
        assert made["snapshot"]["state"] == "SUCCESS"
        for name in names:
            await client.indices.delete(index=name)
        assert await indices_of(client, TEMPLATES, index_prefix) == []
        restored = await client.snapshot.restore(
            repository=repository,
            snapshot="first",
            indices=",".join(names),
            include_global_state=False,
            wait_for_completion=True,
        )
        assert restored["snapshot"]["shards"]["failed"] == 0
        assert {name: await contents(client, name) for name in names} == before
        await client.snapshot.delete(repository=repository, snapshot="first")
        await client.snapshot.delete_repository(name=repository)
        for name in names:
            await client.indices.delete(index=name)
        await client.indices.delete_index_template(name=f"{index_prefix}*")
        await client.cluster.delete_component_template(name=f"{index_prefix}*")

    ask(ElasticsearchSettings(url=elasticsearch_url), work)
