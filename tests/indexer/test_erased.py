"""What was erased becomes no document again, whatever a replay or an older index holds (I11)."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, Suppressed
from klingel.metrics import Metrics
from klingel_indexer.convert import (
    alerts_index,
    case_events_index,
    cases_index,
    escalations_index,
    incidents_index,
)
from klingel_indexer.erased import passed, sweep
from klingel_indexer.rebuilding import rebuild

from .conftest import no_documents

KEY = Key("a key of this test's own")
KIM = "bluesky:did:plc:canary"
ERASED_AT = datetime(2026, 11, 22, 13, tzinfo=UTC)
BEFORE, AFTER = ERASED_AT - timedelta(hours=1), ERASED_AT + timedelta(hours=1)
CASE = f"acme:bluesky:network:1:{KIM}#1"
CHANGED = f"acme:bluesky:network:2:{KIM}#1"
EXAMPLES = ["acme/bluesky:network:1@0", "acme/bluesky:network:9@3"]


def erased(kind="author", name=KIM, at=ERASED_AT):
    suppressed = Suppressed(KEY)
    record = KEY.suppression(kind, name, at)
    suppressed.take(record.subject.encode(), record)
    return suppressed


def of_case(opened_at=BEFORE, at=BEFORE, **fields):
    """Return what all records about a case have."""
    told = {
        "case_id": CASE,
        "brand": "acme",
        "conversation_id": "bluesky:network:1",
        "at": at.isoformat(),
        **fields,
    }
    return told if opened_at is None else {**told, "opened_at": opened_at.isoformat()}


def case_event(**fields):
    told = {"case_event_id": "e1", "customer_id": KIM, "kind": "opened", "cause": "c"}
    return of_case(**told | fields)


def escalation(**fields):
    return of_case(**{"escalation_id": "s1", "revision": 1, "level": "l", "target": "t"} | fields)


def case(**fields):
    return of_case(**{"customer_id": KIM, "revision": 1, "state": "open"} | fields)


ABOUT_CASES = [
    (Topic.CASES, case),
    (Topic.CASE_EVENTS, case_event),
    (Topic.ESCALATIONS, escalation),
]


@pytest.mark.parametrize(("topic", "made"), ABOUT_CASES)
@pytest.mark.parametrize(
    ("kind", "name"), [("author", KIM), ("case", CASE)], ids=["author", "case"]
)
def test_what_is_told_of_an_erased_case_becomes_no_document(build, topic, made, kind, name):
    suppressed = erased(kind, name)
    for told in (made(), made(opened_at=None), made(at=AFTER)):
        assert passed(build.message(told, topic), suppressed) is None
    another = made(case_id="acme:bluesky:network:1:x:bert#1", customer_id="x:bert")
    for told in (made(opened_at=AFTER, at=AFTER), another):
        message = build.message(told, topic)
        assert passed(message, suppressed) is message


def test_a_customer_of_old_escalations_is_known_by_the_id_of_the_case(build):
    """They were written before `customer_id`; another brand's or conversation's id tells nobody."""
    suppressed = erased()
    told = escalation(opened_at=None)
    assert "customer_id" not in told
    assert passed(build.message(told, Topic.ESCALATIONS), suppressed) is None
    elsewhere = build.message(told | {"conversation_id": "other"}, Topic.ESCALATIONS)
    assert passed(elsewhere, suppressed) is elsewhere


def test_posts_of_before_become_no_document_and_deletions_always_pass(build):
    suppressed = erased()
    assert passed(build.routed(), suppressed) is None
    for event in (
        build.social_event(change="deleted"),
        build.social_event(published_at=AFTER.isoformat(), received_at=AFTER.isoformat()),
        build.social_event(author={"id": "bert"}),
    ):
        message = build.routed(event)
        assert passed(message, suppressed) is message
    assert passed(build.routed(), erased("object", "bluesky:network:1")) is None


@pytest.mark.parametrize("topic", [Topic.ALERTS, Topic.INCIDENTS])
def test_examples_that_were_erased_are_left_out(build, topic):
    told = {"samples": EXAMPLES, "evidence": {"events": EXAMPLES, "authors": 3}, "revision": 4}
    suppressed = erased("object", "bluesky:network:9")
    found = passed(build.message(told, topic), suppressed)
    kept = EXAMPLES[:1]
    expected = {"samples": kept, "evidence": {"events": kept, "authors": 3}, "revision": 4}
    assert json.loads(found.value) == expected
    nothing = build.message({"samples": EXAMPLES[:1]}, topic)
    assert passed(nothing, suppressed) is nothing


@pytest.mark.parametrize("topic", [Topic.ROUTED_EVENTS, Topic.CASES, Topic.ALERTS, Topic.INCIDENTS])
@pytest.mark.parametrize("value", [None, b"", b"no json", b"[1]", b'{"samples": 1}', b"\xff"])
def test_what_cannot_be_read_is_left_to_whoever_says_so(build, topic, value):
    message = build.message(value, topic)
    assert passed(message, erased()) is message


async def test_a_rebuild_leaves_out_what_was_erased(fake_cluster, clock, build):
    messages = [
        build.routed(build.social_event("bluesky:network:1"), offset=0),
        build.routed(build.social_event("n:s:2", author={"id": "bert"}), offset=1),
        build.message(case_event(), Topic.CASE_EVENTS),
    ]
    metrics = Metrics("test")
    done = await rebuild(
        messages, fake_cluster.client, "t-", clock=clock, metrics=metrics, suppressed=erased()
    )
    assert (done.read, done.written, done.without) == (3, 1, 2)


@pytest.mark.servers
async def test_older_indices_lose_what_was_erased_before_they_are_copied(real_cluster):
    client, prefix, brand = real_cluster.client, real_cluster.prefix, real_cluster.brand
    await no_documents(client, prefix)  # the sweep reads all brands
    posts = {"network": "bluesky", "brand": brand, "change": "created"}
    received, later = {"received_at": BEFORE.isoformat()}, {"received_at": AFTER.isoformat()}
    kept = {
        "events": 2,
        "cases": 1,
        "case-events": 1,
        "escalations": 1,
        "alerts": 1,
        "incidents": 1,
    }
    documents = [
        (real_cluster.events, posts | received | {"object_id": "a", "author": {"id": KIM[8:]}}),
        (real_cluster.events, posts | later | {"object_id": "b", "author": {"id": KIM[8:]}}),
        (real_cluster.events, posts | received | {"object_id": "c", "author": {"id": "bert"}}),
        (real_cluster.events, posts | received | {"object_id": "bluesky:network:9"}),
        (cases_index(prefix, brand), case()),
        (cases_index(prefix, brand), case(opened_at=AFTER)),
        (case_events_index(prefix, brand), case_event()),
        (case_events_index(prefix, brand), case_event(customer_id="x:bert")),
        (escalations_index(prefix, brand), escalation()),
        (escalations_index(prefix, brand), escalation(opened_at=AFTER)),
        (alerts_index(prefix, brand), {"alert_id": "1", "evidence": {"events": EXAMPLES}}),
        (incidents_index(prefix, brand), {"incident_id": "1", "samples": EXAMPLES}),
    ]
    for number, (index, document) in enumerate(documents):
        document.pop("at", None) if index == cases_index(prefix, brand) else None
        await client.index(
            index=index, id=str(number), document=document, version=7, version_type="external"
        )
    suppressed = erased()
    record = KEY.suppression("object", "bluesky:network:9", ERASED_AT)
    suppressed.take(record.subject.encode(), record)
    await client.indices.refresh(index=f"{prefix}*")
    assert await sweep(client, prefix, suppressed) == 7
    assert await sweep(client, prefix, suppressed) == 0
    for kind, count in kept.items():
        assert await real_cluster.count(f"{prefix}{kind}-{brand}*") == count, kind
    incident = await real_cluster.document(incidents_index(prefix, brand), "11")
    assert (incident["version"], incident["samples"]) == (7, EXAMPLES[:1])
