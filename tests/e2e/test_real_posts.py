"""12,330 real posts through every service: each id is searchable exactly once, and the books balance."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan

from klingel_cli.demo.processes import Fleet, until

from .real_posts import airline_events, brand_file, support_events

PATIENCE_SECONDS = 180.0


@dataclass
class Servers:
    """Where the run's servers answer."""

    bootstrap: str
    elasticsearch_url: str
    elasticsearch_auth: tuple[str, str] | None = None


@pytest.fixture
def fleet(stack: dict[str, str], index_prefix: str, tmp_path: Path) -> Iterator[Fleet]:
    """Every service, under a prefix of this test's own."""
    servers = Servers(stack["kafka"], stack["elasticsearch"])
    with Fleet(servers, tmp_path, index_prefix) as services:
        services.klingel("topics", "apply")
        services.klingel("index", "apply")
        yield services


STAGES = ("understand", "care", "indexer")


@pytest.mark.servers
def test_every_real_post_is_searchable_exactly_once(fleet: Fleet, shared_data: Path) -> None:
    """Airline and support posts, duplicates and mangled ids included."""
    texts = shared_data / "nc" / "text"
    events = [*airline_events(texts), *support_events(texts)]
    assert len(events) == 7431 + 4899
    recording = fleet.folder / "posts.ndjson"
    recording.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    brand = fleet.folder / "carrier.yaml"
    brand.write_text(brand_file(), encoding="utf-8")
    fleet.klingel("config", "apply", str(brand))
    for name in STAGES:
        fleet.start(name)
    for name in STAGES:
        fleet.wait_ready(f"{name}-0")
    fleet.start("replay", str(recording), "--source", "posts", "--rate", "4000", "--exit")
    assert fleet.wait("replay-0", PATIENCE_SECONDS) == 0
    wanted = Counter(f"replay:posts:{event['id']}" for event in events)
    index = f"{fleet.prefix}events-carrier-*"
    client = Elasticsearch(fleet.servers.elasticsearch_url)
    try:

        def all_there() -> bool:
            client.indices.refresh(index=index, ignore_unavailable=True)
            # 503: an index was made this moment and its shards have not started.
            found = client.options(ignore_status=503).count(index=index)
            return found.body.get("count", 0) >= len(wanted)

        assert until(all_there, PATIENCE_SECONDS), client.count(index=index)
        found = Counter(
            hit["_source"]["object_id"]
            for hit in scan(client, index=index, query={"_source": ["object_id"]})
        )
        assert found == Counter(dict.fromkeys(wanted, 1))
        assert until(lambda: _audited(fleet), PATIENCE_SECONDS)
        texts_of = {f"replay:posts:{event['id']}": set() for event in events}
        for event in events:
            texts_of[f"replay:posts:{event['id']}"].add(event["text"])
        for hit in scan(client, index=index, query={"_source": ["object_id", "text"]}):
            assert hit["_source"]["text"] in texts_of[hit["_source"]["object_id"]]
    finally:
        client.close()


def _audited(fleet: Fleet) -> bool:
    """Whether the audit is clean and nothing waits for a stage that runs here."""
    report = json.loads(fleet.klingel("audit", "--json"))
    waits = [total for total in report["totals"] if total["stage"] in STAGES and total["waiting"]]
    return bool(report["clean"]) and not waits
