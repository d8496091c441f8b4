"""What was told of erased posts and cases goes too: escalations, examples of alerts and incidents."""

import json
from datetime import timedelta
from typing import Any

import pytest

from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Suppressed
from klingel.domain.escalation import told
from klingel.model import Case
from klingel.model.case import Escalated
from klingel_cli.erasing import examples_gone, log_bounds
from klingel_indexer.convert import Write, convert
from klingel_processors.care.outputs import Outputs

from ..ringing import NOON
from .test_in_memory import KEY

GONE, STAYS = "nordlicht/x:s:1@0", "nordlicht/x:s:2@0"


def read(*outputs: Output) -> list[Message]:
    """Return records as they are read."""
    return [
        Message(each.topic, each.partition or 0, at, each.key, each.value, each.headers)
        for at, each in enumerate(outputs)
    ]


def test_escalations_of_an_erased_case_leave_topic_and_index():
    raised = Escalated(
        level="first", state="raised", at=NOON, reason="breached", targets=["desk", "mail"]
    )
    case = Case(
        case_id="nordlicht:x:s:1:x:anna#1",
        brand="nordlicht",
        conversation_id="x:s:1",
        customer_id="x:anna",
        generation=1,
        revision=3,
        state="open",
        facts=[],
        opened_at=NOON,
        config_version="c1",
        escalations=[raised],
    )
    place = conversation_key(case.brand, case.conversation_id)
    raising, ending = (Outputs.of_timer(each, "test", case.case_id, NOON, 0) for each in "ab")
    raising.events(place, [], told(None, case, NOON, "c1"))
    ending.untold(place, case)
    assert [each.key for each in ending.all] == [each.key for each in raising.all]
    written, gone = (
        [convert(each, "kl-", "2026-03-02T12:00:00Z") for each in read(*outputs.all)]
        for outputs in (raising, ending)
    )
    assert len(written) == len(gone) == 2
    for old, new in zip(written, gone, strict=True):
        assert isinstance(old, Write)
        assert isinstance(new, Write)
        assert (new.index, new.id, new.op) == (old.index, old.id, "delete")
        assert (new.version or 0) >= (old.version or 0)


@pytest.fixture
def suppressed() -> Suppressed:
    found = Suppressed(KEY)
    record = KEY.suppression("object", "x:s:1", NOON)
    found.take(record.subject.encode(), record)
    return found


def incident(key: str, revision: int, *samples: str) -> Output:
    """Return the record of an incident."""
    told: dict[str, Any] = {"incident_id": key, "revision": revision, "samples": list(samples)}
    subject = f"nordlicht/{key}".encode()
    value = json.dumps(told).encode()
    return Output(Topic.INCIDENTS, key.encode(), value, (("ce_subject", subject),), partition=3)


def samples(output: Output) -> tuple[int, list[str]]:
    """Return what a record says now."""
    assert output.value is not None
    told = codec.decode(dict, output.value)
    return told["revision"], told["samples"]


def test_erased_examples_are_taken_out_of_what_kafka_keeps(suppressed):
    log = [incident("a", 1, GONE, STAYS), incident("b", 1, STAYS), incident("a", 2, GONE, STAYS)]
    (mended,) = examples_gone(read(*log), suppressed)
    assert (mended.key, mended.partition, mended.headers) == (b"a", 3, log[0].headers)
    assert samples(mended) == (2, [STAYS])
    assert examples_gone(read(*log, mended), suppressed) == []


def test_what_watch_writes_meanwhile_is_not_put_back(suppressed):
    """Of a key Kafka keeps the last: an older revision that was mended must not be that."""
    log = [incident("a", 1, GONE), incident("a", 2, STAYS), incident("a", 1)]
    (mended,) = examples_gone(read(*log), suppressed)
    assert samples(mended) == (2, [STAYS])
    assert examples_gone(read(*log, mended), suppressed) == []


def test_an_incident_that_is_gone_is_not_brought_back(suppressed):
    gone = Output(Topic.INCIDENTS, b"a", None, partition=3)
    unreadable = Output(Topic.INCIDENTS, b"c", b"no json", partition=3)
    assert examples_gone(read(incident("a", 1, GONE), gone, unreadable), suppressed) == []


def test_the_date_of_a_topic_is_when_its_last_segment_of_then_is_dropped():
    day = 86_400_000
    held = {
        "raw-events": {"retention.ms": str(7 * day), "segment.ms": str(2 * day)},
        "for-ever": {"retention.ms": "-1", "segment.ms": str(day)},
        "beyond-calendars": {"retention.ms": str(2**63 - 1), "segment.ms": str(day)},
        "unknown": {},
    }
    assert log_bounds(held, NOON) == {"raw-events": NOON + timedelta(days=9)}
