"""What crosses our topics is taken by the indices, strict as they are; what is gone, goes."""

import json
from pathlib import Path

import pytest
from elasticsearch import NotFoundError
from msgspec.structs import replace

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.domain.identity import deterministic_id
from klingel.model.social_event import Enrichment, Tone
from klingel.testing.conversations import said
from klingel_indexer.bulk import Item
from klingel_indexer.convert import INPUTS, Write, convert

from ..care.conftest import Desk

EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"
AT = "2026-11-22T12:00:00.000Z"
SHAPED = [topic for topic in INPUTS if topic is not Topic.DEAD_LETTERS]


def read(topic, cluster, **fields):
    """Return the writes of a topic's examples, as of this test's own brand."""
    writes = []
    for path in sorted((EXAMPLES / topic).glob("*.json")):
        value = json.loads(path.read_text(encoding="utf-8"))
        event = value.get("event", value)
        if "brand" in event:
            event["brand"] = cluster.brand
        made = convert(
            Message(topic, 0, len(writes), path.stem.encode(), json.dumps(value | fields).encode()),
            cluster.prefix,
            AT,
        )
        if isinstance(made, Write):
            writes.append(made)
    return writes


async def settle(writing, cluster, *writes):
    """Write one after the other, and return what became of each."""
    verdicts = []
    for each in writes:
        made = writing(cluster.client)
        made.writer.add(Item(each, 0))
        assert await made.writer.drain(30)
        verdicts.append((made.verdicts[0], made.ends[0].error_type))
    return verdicts


@pytest.mark.parametrize("topic", SHAPED)
async def test_every_example_is_taken_by_its_strict_index(cluster, writing, topic):
    writes = read(topic, cluster)
    assert writes
    for verdict, error_type in await settle(writing, cluster, *writes):
        assert verdict in {"written", "stale", "exists"}, error_type


def escalation(cluster, revision, state):
    case_id = f"{cluster.brand}:bluesky:network:1:anna#1"
    identity = deterministic_id(case_id, "chat", "lead")
    value = {
        "escalation_id": identity,
        "case_id": case_id,
        "brand": cluster.brand,
        "conversation_id": "bluesky:network:1",
        "level": "lead",
        "target": "chat",
        "state": state,
        "reason": "breached",
        "revision": revision,
        "at": AT,
        "recorded_at": AT,
    }
    key = f"{case_id}|chat|lead".encode()
    made = convert(
        Message(Topic.ESCALATIONS, 0, 0, key, json.dumps(value).encode()), cluster.prefix, AT
    )
    gone = convert(Message(Topic.ESCALATIONS, 0, 1, key, None), cluster.prefix, AT)
    return made, gone


async def test_a_tombstone_removes_what_was_told_and_doing_it_twice_is_fine(cluster, writing):
    made, gone = escalation(cluster, 2, "acknowledged")
    older, _ = escalation(cluster, 1, "raised")
    assert [verdict for verdict, _ in await settle(writing, cluster, made, older)] == [
        "written",
        "stale",
    ]
    held = await cluster.document(made.index, made.id)
    assert (held["state"], held["version"]) == ("acknowledged", 2)
    verdicts = await settle(writing, cluster, gone, gone)
    assert [verdict for verdict, _ in verdicts] == ["written", "written"]
    with pytest.raises(NotFoundError):
        await cluster.client.get(index=made.index, id=made.id)


async def test_a_removal_beside_documents_of_one_request(cluster, writing):
    """One that is not there is no error, and its line has no document after it."""
    _, gone = escalation(cluster, 1, "raised")
    others = read(Topic.ALERTS, cluster)
    made = writing(cluster.client)
    for tag, each in enumerate([others[0], gone, *others[1:]]):
        made.writer.add(Item(each, tag))
    assert await made.writer.drain(30)
    assert made.verdicts[1] == "written"
    assert set(made.verdicts.values()) <= {"written", "coalesced"}


async def test_a_removal_and_what_it_removes_in_one_batch_is_a_removal(cluster, writing):
    made, gone = escalation(cluster, 2, "acknowledged")
    batch = writing(cluster.client)
    batch.writer.add(Item(gone, 0))
    batch.writer.add(Item(made, 1))
    assert await batch.writer.drain(30)
    assert batch.verdicts == {0: "written", 1: "coalesced"}
    with pytest.raises(NotFoundError):
        await cluster.client.get(index=made.index, id=made.id)


@pytest.mark.servers
async def test_a_removal_stands_against_older_writes_that_come_later(real_cluster, writing):
    """The real server remembers it for a day; the fake does not."""
    made, gone = escalation(real_cluster, 2, "acknowledged")
    verdicts = await settle(writing, real_cluster, made, gone, made)
    assert [verdict for verdict, _ in verdicts] == ["written", "written", "stale"]


def test_what_a_person_decided_stands_whatever_a_model_finds_later():
    """Care says it again with every decision, so no order of writes brings the model's word back."""
    desk = Desk()
    event = said("1")
    desk.hear(event)
    desk.order("override", tone="negative", intents=["lead"], object_id=event.object_id)
    shares = {"negative": 0.1, "neutral": 0.1, "positive": 0.8}
    found = Enrichment(tone=Tone(label="positive", **shares), intents=[], models=["other/2"])
    desk.hear(replace(event, enrichment=found))
    writes = [convert(each, "p-", AT) for each in desk.written(Topic.ROUTED_EVENTS)]
    assert [write.version for write in writes] == [0, 1, 2]
    documents = [json.loads(write.body) for write in writes]
    assert "enrichment" not in documents[0]
    for document in documents[1:]:
        assert document["enrichment"]["tone"]["label"] == "negative"
        assert document["enrichment"]["intents"] == [{"name": "lead"}]
        assert document["overruled_by"] == "maike"
    assert documents[2]["enrichment"]["models"] == ["other/2"]
