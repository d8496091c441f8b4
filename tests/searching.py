"""What lies in Elasticsearch while the services still make its indices."""

from typing import Any

from elasticsearch import Elasticsearch

from klingel_cli.demo.processes import until


def hits(client: Elasticsearch, index: str, *, seconds: float = 30.0) -> list[dict[str, Any]]:
    """Return every hit of a pattern of indices, what was written until now among them.

    An index that is just being made has no shard yet that could answer: while it is the only one of
    its pattern, a search is refused (503). Asking for its health first does not help, as it may be
    made between the two questions. So it is asked again.

    Args:
        client: of the real Elasticsearch.
        index: pattern; more than 1,000 documents are not expected.
        seconds: after which shards should have started.
    """
    found: list[Any] = []

    def answered() -> bool:
        client.indices.refresh(index=index)
        answer = client.options(ignore_status=503, max_retries=0).search(index=index, size=1000)
        found[:] = [answer]
        return answer.meta.status == 200

    assert until(answered, seconds), found
    (answer,) = found
    return list(answer["hits"]["hits"])
