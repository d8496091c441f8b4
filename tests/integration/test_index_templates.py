"""The real Elasticsearch takes the generated templates, and every example as a document."""

import json
from pathlib import Path

import pytest
from elasticsearch import AsyncElasticsearch, BadRequestError

from klingel.contracts.envelope import Message
from klingel.contracts.resources import schemas_dir
from klingel.contracts.topics import Topic
from klingel_indexer.convert import INPUTS, Write, convert
from klingel_indexer.templates import FOLDER, apply_templates, check_templates

pytestmark = pytest.mark.servers

EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"
INDEXED_AT = "2026-03-18T14:00:00.000Z"
SETTINGS = {"number_of_replicas": 0}


def messages(topic):
    """Give the examples of a topic as a consumer reads them."""
    found = []
    for offset, path in enumerate(sorted((EXAMPLES / topic).glob("*.json"))):
        content = json.loads(path.read_text(encoding="utf-8"))
        value, headers = json.dumps(content).encode(), ()
        if topic == Topic.DEAD_LETTERS:
            value = b"{not json"
            headers = tuple((name, text.encode()) for name, text in content.items())
        found.append(Message(topic, 0, offset, b"key", value, headers))
    return found


def documents(topic, prefix):
    """Give what the indexer makes of a topic's examples, oldest version first; some it leaves out."""
    converted = [convert(message, prefix, INDEXED_AT) for message in messages(topic)]
    written = [write for write in converted if isinstance(write, Write)]
    return sorted(written, key=lambda write: write.version or 0)


async def write_all(client, topic, prefix):
    """Write the examples of a topic as the indexer would; gives the ids by index."""
    ids = {}
    for write in documents(topic, prefix):
        version = {} if write.version is None else {"version": write.version}
        kind = {"version_type": "external_gte"} if version else {"op_type": write.op}
        body = json.loads(write.body)
        await client.index(index=write.index, id=write.id, document=body, **version, **kind)
        ids.setdefault(write.index, set()).add(write.id)
    return ids


@pytest.fixture
async def cluster(elasticsearch_url, index_prefix):
    """A client of the real Elasticsearch that holds the templates under `index_prefix`."""
    async with AsyncElasticsearch(elasticsearch_url, request_timeout=60) as client:
        await apply_templates(client, schemas_dir() / FOLDER, index_prefix, SETTINGS)
        try:
            yield client
        finally:
            every = f"{index_prefix}*"
            held = await client.indices.get(index=every)
            for name in held:
                await client.indices.delete(index=name)
            await client.indices.delete_index_template(name=every)
            await client.cluster.delete_component_template(name=every)


async def test_templates_are_accepted_and_held_unaltered(cluster, index_prefix):
    """What Elasticsearch holds after the command is what was generated."""
    folder = schemas_dir() / FOLDER
    assert await check_templates(cluster, folder, index_prefix, SETTINGS) == []


@pytest.mark.parametrize("topic", INPUTS)
async def test_every_example_becomes_a_document_under_strict_mapping(cluster, index_prefix, topic):
    """No example holds a field, a value or a length that its index refuses; each is found."""
    written = await write_all(cluster, topic, index_prefix)
    assert written
    for index, ids in written.items():
        await cluster.indices.refresh(index=index)
        found = await cluster.search(index=index, size=100, query={"match_all": {}})
        assert {hit["_id"] for hit in found["hits"]["hits"]} == ids
        assert all("_ignored" not in hit for hit in found["hits"]["hits"])


async def test_unknown_field_is_refused(cluster, index_prefix):
    """An index never grows a field by itself, neither at the top nor inside."""
    for strange in ({"mood": "sour"}, {"author": {"id": "1", "mood": "sour"}}):
        with pytest.raises(BadRequestError, match="strict_dynamic_mapping_exception"):
            await cluster.index(index=f"{index_prefix}events-nordlicht-2026.03", document=strange)


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ("text.de:Kundennummern", {"3mhx3b5dpt22k"}),
        ("text.en:deliveries", {"rev-20260318-0042"}),
        ("rechnungen", {"0f6c1f0e-6f3a-4f43-9d57-5a1f6f1b7c55"}),
        ('text.rules:"rote lampe"', {"3mhx2k7aqzc2f"}),
        ("author.handle:JULE.kueste.example", {"3mhx2k7aqzc2f"}),
        ("queue:outages AND origin.mode:live", {"3mhx2k7aqzc2f"}),
        ("metrics.stars:3", {"rev-20260318-0042"}),
        ("published_at:[2026-03-18T08:00:00Z TO 2026-03-18T09:00:00Z] AND visibility:private",
         {"0f6c1f0e-6f3a-4f43-9d57-5a1f6f1b7c55"}),
    ],
)  # fmt: skip
async def test_posts_are_found_by_what_people_ask(cluster, index_prefix, query, hits):
    """German and English forms, rules, handles in any case, queues, counts, times."""
    await write_all(cluster, Topic.ROUTED_EVENTS, index_prefix)
    posts = f"{index_prefix}events-*"
    await cluster.indices.refresh(index=posts)
    found = await cluster.search(index=posts, query={"query_string": {"query": query}})
    ends = {
        hit["_source"]["object_id"].replace("/", ":").rpartition(":")[2]
        for hit in found["hits"]["hits"]
    }
    assert ends == hits
