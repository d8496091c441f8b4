"""What a search finds while the first index of its pattern is made."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from elasticsearch import ApiError, Elasticsearch

from ..searching import hits

pytestmark = pytest.mark.servers

NOWHERE = {"index.routing.allocation.require._name": "nobody"}
ANYWHERE = {"index.routing.allocation.require._name": None}


def test_an_index_without_a_started_shard_is_asked_again(elasticsearch_url, topic_prefix):
    index, pattern = f"{topic_prefix}found-0", f"{topic_prefix}found-*"
    with Elasticsearch(elasticsearch_url) as client, ThreadPoolExecutor(1) as beside:
        assert hits(client, pattern) == []
        client.indices.create(index=index, settings=NOWHERE, wait_for_active_shards=0)
        with pytest.raises(ApiError) as refused:
            client.search(index=pattern)
        assert refused.value.meta.status == 503
        found = beside.submit(hits, client, pattern)
        client.indices.put_settings(index=index, settings=ANYWHERE)
        assert found.result() == []
        client.index(index=index, id="a", document={"n": 1})
        assert [hit["_id"] for hit in hits(client, pattern)] == ["a"]
        client.indices.delete(index=index)
