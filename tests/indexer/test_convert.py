"""Message to document: which index, which id, which version, which bytes."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic, topic_specs
from klingel.domain.identity import deterministic_id
from klingel.errors import ErrorType, InvalidMessage
from klingel.stage.audit import CHAIN
from klingel.stage.fates import Fate, Outcome
from klingel_indexer.convert import (
    ID_BYTES,
    INPUTS,
    REMOVED_VERSION,
    Write,
    convert,
    document_id,
)

AT = "2026-11-22T12:00:00.000Z"


def converted(message) -> Write:
    write = convert(message, "klingel-", AT)
    assert isinstance(write, Write)
    return write


def refused(message) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        convert(message, "klingel-", AT)
    return caught.value


# ---------------------------------------------------------------- posts


def test_post_goes_to_the_month_that_was_fixed_at_first_sight(build):
    event = build.social_event(index="2024.02", published_at="2026-11-01T00:00:00Z")
    write = converted(build.routed(event))
    assert (write.index, write.id, write.op) == (
        "klingel-events-acme-2024.02",
        "bluesky:network:1",
        "index",
    )


def test_version_is_revision_then_decision(build):
    first = converted(
        build.routed(build.social_event(revision=5), decided=build.decision(number=3))
    )
    assert first.version == 5 * 2**20 + 3
    newest = build.routed(
        build.social_event(revision=2**42 - 1), decided=build.decision(number=2**20 - 1)
    )
    assert converted(newest).version == 2**62 - 1


def test_document_is_the_event_and_the_decision_side_by_side(build):
    event = build.social_event()
    document = json.loads(converted(build.routed(event)).body)
    added = build.decision()
    assert document == event | {
        "decision": 0,
        "document_version": 0,
        "indexed_at": AT,
        **{name: added[name] for name in ("triage", "routed_at", "case_id", "queue")},
        **{name: added[name] for name in ("priority", "rule", "explain")},
    }


def test_event_bytes_are_taken_over_as_they_are(build):
    event = json.dumps(build.social_event(text="\ud83d\ude00 ü"), ensure_ascii=True).encode()
    value = b'{"event":' + event + b',"decision":' + json.dumps(build.decision()).encode() + b"}"
    assert converted(build.message(value)).body.startswith(event[:-1])


def test_absent_decision_fields_stay_absent(build):
    least = {
        name: value
        for name, value in build.decision().items()
        if name in {"number", "direction", "triage", "routed_at", "config_version"}
    }
    document = json.loads(converted(build.routed(decided=least)).body)
    assert not {"case_id", "queue", "priority", "rule", "explain"} & document.keys()


@pytest.mark.parametrize("differing", [{"direction": "outbound"}, {"config_version": "c2"}])
def test_where_event_and_decision_differ_the_decision_stands_once(build, differing):
    body = converted(build.routed(decided=build.decision(**differing))).body
    pairs: list[str] = []

    def keep(items):
        pairs[:] = [name for name, _ in items]
        return dict(items)

    document = json.loads(body, object_pairs_hook=keep)
    assert len(pairs) == len(set(pairs))
    assert differing.items() <= document.items()


def test_what_a_person_decided_stands_in_place_of_what_a_model_found(build):
    found = {
        "tone": {"label": "positive", "negative": 0.1, "neutral": 0.1, "positive": 0.8},
        "intents": [{"name": "praise", "score": 0.9}],
        "anger": 0.1,
    }
    decided = build.decision(
        overruled_tone="negative", overruled_intents=["complaint", "lead"], overruled_by="maike"
    )
    routed = build.routed(build.social_event(enrichment=found), decided=decided)
    document = json.loads(converted(routed).body)
    assert document["enrichment"] == {
        "tone": found["tone"] | {"label": "negative"},
        "intents": [{"name": "complaint"}, {"name": "lead"}],
        "anger": 0.1,
    }
    assert document["overruled_tone"] == "negative"
    assert document["overruled_intents"] == ["complaint", "lead"]
    assert document["overruled_by"] == "maike"


def test_an_overruled_tone_alone_leaves_the_intents_and_needs_no_model(build):
    found = {"intents": [{"name": "praise", "score": 0.9}]}
    decided = build.decision(overruled_tone="neutral", overruled_by="maike")
    routed = build.routed(build.social_event(enrichment=found), decided=decided)
    assert json.loads(converted(routed).body)["enrichment"] == found | {
        "tone": {"label": "neutral"}
    }
    bare = build.routed(decided=build.decision(overruled_intents=["lead"], overruled_by="maike"))
    assert json.loads(converted(bare).body)["enrichment"] == {"intents": [{"name": "lead"}]}


def test_outreach_and_hours_of_the_decision_are_kept(build):
    decided = build.decision(outreach=True, out_of_hours=True)
    document = json.loads(converted(build.routed(decided=decided)).body)
    assert (document["outreach"], document["out_of_hours"]) == (True, True)


def test_deletion_leaves_neither_text_nor_author(build):
    event = build.social_event(
        change="deleted", revision=2**42 - 1, changed_at="2026-11-22T11:58:00.000Z"
    )
    write = converted(build.routed(event))
    document = json.loads(write.body)
    assert document == {
        "object_id": "bluesky:network:1",
        "event_id": event["event_id"],
        "brand": "acme",
        "network": "bluesky",
        "kind": "post",
        "change": "deleted",
        "revision": 2**42 - 1,
        "conversation_id": "bluesky:network:1",
        "index": "2026.11",
        "deleted_at": "2026-11-22T11:58:00.000Z",
        "document_version": write.version,
        "indexed_at": AT,
    }
    assert b"canary" not in write.body


def test_deletion_without_its_own_time_takes_that_of_its_receipt(build):
    document = json.loads(converted(build.routed(build.social_event(change="deleted"))).body)
    assert document["deleted_at"] == "2026-11-22T11:59:30.000Z"


def test_document_is_one_line_even_of_a_printed_event(build):
    value = json.dumps(
        {"event": build.social_event(text="a\nb"), "decision": build.decision()}, indent=2
    ).encode()
    body = converted(build.message(value)).body
    assert b"\n" not in body
    assert json.loads(body)["text"] == "a\nb"


@given(st.text(max_size=200))
def test_any_text_survives_unaltered(text):
    """The document's text is the event's, code point for code point."""
    event = {
        "brand": "acme", "index": "undated", "object_id": "n:s:1", "revision": 0,
        "change": "created", "network": "n", "received_at": AT, "direction": "inbound",
        "config_version": "c", "text": text,
    }  # fmt: skip
    decided = {
        "number": 0, "direction": "inbound", "config_version": "c", "triage": "praise",
        "routed_at": AT,
    }  # fmt: skip
    try:
        value = msgspec.json.encode({"event": event, "decision": decided})
    except UnicodeEncodeError:
        return  # a lone surrogate never left our encoder
    write = convert(Message(Topic.ROUTED_EVENTS, 0, 0, b"", value), "p-", AT)
    assert isinstance(write, Write)
    assert json.loads(write.body)["text"] == text


@pytest.mark.parametrize(
    ("fields", "path"),
    [({"brand": "Acme/../x"}, "brand"), ({"brand": ""}, "brand"), ({"index": "2026-11"}, "index")],
)
def test_no_index_is_made_of_a_foreign_name(build, fields, path):
    error = refused(build.routed(build.social_event(**fields)))
    assert (error.error_type, error.path) == (ErrorType.INVALID_FIELD, path)


@pytest.mark.parametrize(
    ("value", "error_type"),
    [
        (b"{", ErrorType.MALFORMED_JSON),
        (b'{"event":{},"decision":{}}', ErrorType.SCHEMA),
        (b'{"event":[],"decision":[]}', ErrorType.SCHEMA),
        (b"\xff", ErrorType.MALFORMED_JSON),
        (b'{"event":' + b"[" * 100_000, ErrorType.MALFORMED_JSON),
        (None, ErrorType.MISSING_FIELD),
    ],
)
def test_what_is_no_routed_event_is_refused_in_one_sentence(build, value, error_type):
    error = refused(build.message(value))
    assert error.error_type in {error_type, ErrorType.TOO_DEEP}
    assert "\n" not in str(error)


def test_a_refusal_never_repeats_what_was_said(build):
    event = build.social_event(text="CANARY", change="CANARY")
    assert "CANARY" not in str(refused(build.routed(event)))


# ---------------------------------------------------------------- ids


def test_long_id_is_hashed_and_the_whole_stands_in_the_document(build):
    long = "mastodon:https://example.org:" + "ü" * 300
    write = converted(build.routed(build.social_event(long)))
    assert write.id == document_id(long)
    assert write.id.startswith("blake2b:")
    assert json.loads(write.body)["object_id"] == long


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=700))
def test_every_id_fits_and_short_ones_stay(identity):
    made = document_id(identity)
    assert len(made.encode()) <= ID_BYTES
    assert (made == identity) is (len(identity.encode()) <= ID_BYTES)


# ---------------------------------------------------------------- the other topics


def case(**fields):
    return {
        "case_id": "acme:c:u#1",
        "brand": "acme",
        "revision": 4,
        "state": "open",
        "network": "bluesky",
        **fields,
    }


def test_case_by_id_with_its_revision(build):
    write = converted(build.message(case(), Topic.CASES))
    assert (write.index, write.id, write.version) == ("klingel-cases-acme", "acme:c:u#1", 4)
    assert json.loads(write.body) == case(document_version=4, indexed_at=AT)


def clock(name, state, **fields):
    return {"name": name, "state": state, "deadline": f"2026-03-02T1{len(fields)}:00:00Z", **fields}


def test_a_case_tells_what_its_newest_clocks_measured(build):
    """Lists of objects cannot be asked which duration is whose; further responses are sums."""
    clocks = [
        clock("first_response", "met", business_seconds=60.5, wall_seconds=61),
        clock("first_response", "running"),
        clock("next_response", "met_late", business_seconds=9.0, wall_seconds=9.0),
        clock("resolution", "met_late", business_seconds=99.0, wall_seconds=100.0),
    ]
    document = json.loads(converted(build.message(case(clocks=clocks), Topic.CASES)).body)
    added = {
        "first_response_state": "running",
        "first_response_deadline": "2026-03-02T10:00:00Z",
        "resolution_state": "met_late",
        "resolution_deadline": "2026-03-02T12:00:00Z",
        "resolution_business_seconds": 99.0,
        "resolution_wall_seconds": 100.0,
    }
    assert document == case(clocks=clocks, document_version=4, indexed_at=AT, **added)


def test_conversations_own_record_is_not_indexed(build):
    result = convert(build.message(case(state="held"), Topic.CASES), "klingel-", AT)
    assert result == Outcome(Fate.DISCARDED, reason="held", network="bluesky")


@pytest.mark.parametrize("topic", [Topic.CASES, Topic.CONNECTOR_STATUS])
def test_tombstone_of_a_compacted_topic_removes_nothing(build, topic):
    """A held record is empty, an instance was forgotten: the index is aged by a command."""
    result = convert(build.message(None, topic), "klingel-", AT)
    assert result == Outcome(Fate.DISCARDED, reason="tombstone")


TOLD = {
    Topic.ESCALATIONS: ("escalations", "escalation_id"),
    Topic.ALERTS: ("alerts", "alert_id"),
    Topic.INCIDENTS: ("incidents", "incident_id"),
}


@pytest.mark.parametrize("topic", TOLD)
def test_what_is_told_is_one_document_by_its_id_and_revision(build, topic):
    name, identity = TOLD[topic]
    record = {identity: "a" * 32, "brand": "acme", "revision": 3, "state": "ended"}
    write = converted(build.message(record, topic))
    assert (write.index, write.id) == (f"klingel-{name}-acme", "a" * 32)
    assert (write.op, write.version) == ("index", 3)
    assert json.loads(write.body) == record | {"document_version": 3, "indexed_at": AT}


def gone(topic, key, subject=""):
    headers = (("ce_subject", subject.encode()),) if subject else ()
    return Message(topic, 0, 0, key.encode(), None, headers)


def test_the_tombstone_of_an_escalation_removes_it(build):
    """Case ids may hold the character that parts the key; target and level cannot."""
    case_id = "acme:bluesky:network:1|2:anna#1"
    write = converted(gone(Topic.ESCALATIONS, f"{case_id}|chat|lead"))
    assert (write.index, write.op, write.version, write.body) == (
        "klingel-escalations-acme",
        "delete",
        REMOVED_VERSION,
        b"",
    )
    assert write.id == deterministic_id(case_id, "chat", "lead")


@pytest.mark.parametrize("topic", [Topic.ALERTS, Topic.INCIDENTS])
def test_the_tombstone_of_an_alert_or_incident_removes_it_where_it_tells_its_brand(topic):
    write = converted(gone(topic, "a" * 32, f"acme/{'a' * 32}"))
    assert (write.index, write.id) == (f"klingel-{TOLD[topic][0]}-acme", "a" * 32)
    assert (write.op, write.version) == ("delete", REMOVED_VERSION)


@pytest.mark.parametrize(
    "message",
    [
        gone(Topic.ESCALATIONS, "key"),
        gone(Topic.ESCALATIONS, "No brand:c:u#1|chat|lead"),
        gone(Topic.ALERTS, "a" * 32),
        gone(Topic.ALERTS, "a" * 32, "a" * 32),
        gone(Topic.INCIDENTS, "a" * 32, f"*/{'a' * 32}"),
        gone(Topic.INCIDENTS, ""),
    ],
)
def test_a_tombstone_that_tells_no_brand_is_discarded(message):
    assert convert(message, "klingel-", AT) == Outcome(Fate.DISCARDED, reason="tombstone")


def test_null_value_of_a_fact_is_a_dead_letter(build):
    assert refused(build.message(None, Topic.CASE_EVENTS)).error_type is ErrorType.MISSING_FIELD


def test_case_event_is_only_ever_added(build):
    event = {"case_event_id": "f" * 32, "brand": "acme", "kind": "opened"}
    write = converted(build.message(event, Topic.CASE_EVENTS))
    assert (write.index, write.id, write.op, write.version) == (
        "klingel-case-events-acme",
        "f" * 32,
        "create",
        None,
    )
    assert json.loads(write.body) == event | {"indexed_at": AT}


def test_status_by_instance_newest_wins(build):
    status = {"instance": "bluesky-1", "network": "bluesky", "at": "2026-11-22T12:00:00.250Z"}
    write = converted(build.message(status, Topic.CONNECTOR_STATUS))
    assert (write.index, write.id) == ("klingel-status", "bluesky-1")
    assert write.version == 1_795_348_800_250


def test_status_before_the_epoch_has_a_version_too(build):
    status = {"instance": "i", "network": "n", "at": "0001-01-01T00:00:00Z"}
    assert converted(build.message(status, Topic.CONNECTOR_STATUS)).version == 0


LETTER = [
    ("__connect.errors.topic", b"social-events"),
    ("__connect.errors.partition", b"3"),
    ("__connect.errors.offset", b"17"),
    ("__connect.errors.exception.message", b"text: too long"),
    ("x-dlq-kind", b"too_large"),
    ("x-dlq-attempt", b"1"),
    ("x-dlq-size", b"99999"),
    ("x-dlq-network", b"bluesky"),
    ("klingel-source", b"raw-events/0/1/0"),
]


def test_dead_letter_is_its_headers_never_its_bytes(build):
    value = b'{"text":"CANARY said this"}'
    write = converted(
        build.message(value, Topic.DEAD_LETTERS, partition=2, offset=5, headers=LETTER)
    )
    assert (write.index, write.op) == ("klingel-dead-letters", "create")
    assert write.id == "dead-letters/2/5/1795348800000"
    assert b"CANARY" not in write.body
    assert json.loads(write.body) == {
        "topic": "social-events",
        "partition": 3,
        "offset": 17,
        "message": "text: too long",
        "kind": "too_large",
        "attempt": 1,
        "size": 99999,
        "network": "bluesky",
        "dead_letter_partition": 2,
        "dead_letter_offset": 5,
        "indexed_at": AT,
    }


def test_dead_letter_with_broken_headers_is_indexed_without_them(build):
    headers = [("__connect.errors.offset", b"many"), ("x-dlq-kind", b"\xff\xfe")]
    write = converted(build.message(None, Topic.DEAD_LETTERS, headers=headers))
    document = json.loads(write.body)
    assert "offset" not in document
    assert "size" not in document


@pytest.mark.parametrize("topic", [topic for topic in INPUTS if topic is not Topic.DEAD_LETTERS])
def test_empty_object_is_refused_on_every_topic(build, topic):
    assert refused(build.message(b"{}", topic)).error_type is ErrorType.SCHEMA


def test_inputs_are_the_topics_that_name_the_indexer_as_consumer():
    """`suppressions` too names it: it is followed, and becomes no document."""
    named = {topic for topic, spec in topic_specs().items() if "indexer" in spec.consumers}
    assert named - {Topic.SUPPRESSIONS, Topic.BRAND_CONFIG} == set(INPUTS)


def test_the_books_hold_every_input():
    """What the indexer receives is audited against what the stages before it wrote (I3)."""
    assert set(CHAIN["indexer"]) == set(INPUTS)


# ---------------------------------------------------------------- documents fit their templates


@pytest.mark.parametrize(
    "name",
    [
        "events",
        "cases",
        "case-events",
        "status",
        "dead-letters",
        "escalations",
        "alerts",
        "incidents",
    ],
)
def test_every_field_that_is_added_has_a_mapping(build, templates, name):
    """A strict mapping refuses what it does not know: the indexer's own fields are all in it."""
    held = json.loads((templates / f"klingel-{name}.component.json").read_text())
    known = held["template"]["mappings"]["properties"].keys()
    made = {
        "events": [build.routed(), build.routed(build.social_event(change="deleted"))],
        "cases": [
            build.message(
                case(
                    clocks=[
                        clock(name, "met", business_seconds=1, wall_seconds=1)
                        for name in ("first_response", "next_response", "resolution")
                    ]
                ),
                Topic.CASES,
            )
        ],
        "escalations": [
            build.message({"escalation_id": "a", "brand": "acme", "revision": 1}, Topic.ESCALATIONS)
        ],
        "alerts": [build.message({"alert_id": "a", "brand": "acme", "revision": 1}, Topic.ALERTS)],
        "incidents": [
            build.message({"incident_id": "a", "brand": "acme", "revision": 1}, Topic.INCIDENTS)
        ],
        "case-events": [build.message({"case_event_id": "a", "brand": "acme"}, Topic.CASE_EVENTS)],
        "status": [
            build.message({"instance": "i", "network": "n", "at": AT}, Topic.CONNECTOR_STATUS)
        ],
        "dead-letters": [build.message(b"", Topic.DEAD_LETTERS, headers=LETTER)],
    }
    for one in made[name]:
        assert json.loads(converted(one).body).keys() <= known
