"""What klingel keeps of a network, from the directory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import KafkaTimeoutError

from klingel.contracts import codec
from klingel.contracts.envelope import Output, ce_headers, trace_id
from klingel.contracts.topics import Topic
from klingel.errors import SourceUnavailable
from klingel.model import DirectoryEntry
from klingel.settings import KafkaSettings
from klingel_cli.kafka import publish
from klingel_connectors.kept import kept, kept_ids
from klingel_networks.arrival import Tools
from klingel_networks.x.client import kept_of

from .conftest import NOW


def entry(object_id, *, brands=("nordlicht",), deleted=None):
    """Return an entry of the directory."""
    return DirectoryEntry(
        object_id=object_id,
        revision=0,
        index="2026.11",
        conversation_id=object_id,
        threading="root",
        brands=dict.fromkeys(brands, "rule"),
        contributions=[],
        deleted=deleted,
    )


def record(object_id, value):
    """Return the record of an entry, or a tombstone."""
    return object_id.encode(), None if value is None else codec.encode(value)


def test_kept_is_what_a_brand_heard_and_nobody_deleted():
    """The last word on an object counts; other networks and what is no entry do not."""
    records = [
        record("x:network:1", entry("x:network:1")),
        record("x:network:2", entry("x:network:2", brands=())),
        record("x:network:3", entry("x:network:3")),
        record("x:network:4", entry("x:network:4")),
        record("mastodon:network:5", entry("mastodon:network:5")),
        (b"x:network:6", b"{broken"),
        record("x:network:3", entry("x:network:3", deleted=True)),
        record("x:network:4", None),
    ]
    assert kept(records, "x:network:") == {"1"}


@given(st.lists(st.tuples(st.binary(max_size=20), st.none() | st.binary(max_size=30)), max_size=9))
def test_no_record_raises(records):
    assert kept(records, "x:") <= {key[2:].decode("utf-8", "replace") for key, _ in records}


def test_the_file_that_is_set_comes_first(tmp_path):
    """Else klingel's own directory; else nobody knows."""
    asked = []

    def told(prefix):
        asked.append(prefix)
        return ["7"]

    file = tmp_path / "kept"
    file.write_text("8\n9\n")
    tools = Tools(kept=told)
    assert list(kept_of({"kept_posts": str(file)}, tools)()) == ["8", "9"]
    assert list(kept_of({}, tools)()) == ["7"]
    assert asked == ["x:network:"]
    assert kept_of({}, Tools()) is None


def test_a_kafka_that_is_away_is_asked_again_later():
    """As the port promises, whatever Kafka's client raises, also half-way."""

    def read(_kafka, _instance):
        yield record("x:network:1", entry("x:network:1"))
        raise KafkaTimeoutError

    with pytest.raises(SourceUnavailable):
        list(kept_ids(KafkaSettings(), "x-1", "x:network:", read=read))


@pytest.mark.servers
def test_the_directory_is_read_to_its_end(kafka):
    """On the real Kafka, over all partitions."""
    publish(
        kafka,
        [
            Output(
                topic=Topic.OBJECT_DIRECTORY,
                key=f"x:network:{number}".encode(),
                value=codec.encode(entry(f"x:network:{number}", deleted=number == 3 or None)),
                headers=ce_headers(
                    Topic.OBJECT_DIRECTORY,
                    event_id=f"x:network:{number}@0#0",
                    source="klingel/understand",
                    subject=f"x:network:{number}",
                    time=NOW,
                    trace=trace_id(str(number)),
                ),
                partition=number % 2,
            )
            for number in range(6)
        ],
    )
    assert sorted(kept_ids(kafka, "x-1", "x:network:")) == ["0", "1", "2", "4", "5"]
