"""Before what media and originals go: nothing that is kept may refer to them any more."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.settings import KafkaSettings
from klingel_cli.commands import index
from klingel_cli.commands.index import BlobsBound, blobs_bound
from klingel_indexer.ageing import Cutoffs

NOW = datetime(2026, 11, 24, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = st.integers(1, 4_000)


def keeping(days):
    """Return what a brand keeps that keeps posts so many days."""
    at = NOW - days * DAY
    return Cutoffs(at, at, at)


def topic(retention, segment):
    """Return a topic's configuration, in days; None keeps for ever."""

    def told(days):
        return "-1" if days is None else str(days * 86_400_000)

    return {"retention.ms": told(retention), "segment.ms": told(segment)}


@given(st.dictionaries(st.text(min_size=1), DAYS, min_size=1), DAYS, DAYS, DAYS)
def test_nothing_goes_to_which_something_kept_may_refer(days, letters, retention, segment):
    brands = {name: keeping(each) for name, each in days.items()}
    held = {"raw-events": topic(retention, segment)}
    bound = blobs_bound(brands, held, NOW - letters * DAY, NOW, unknown=False)
    longest = max([*days.values(), letters, retention + segment])
    assert bound == BlobsBound(NOW - (longest + 1) * DAY)


@pytest.mark.parametrize(
    ("brands", "held", "unknown", "why"),
    [
        ({"a": keeping(400)}, {}, True, "is not known"),
        ({}, {}, False, "no brand is in force"),
        ({"a": keeping(400)}, {"t-raw-events": topic(None, 1)}, False, "keeps t-raw-events for"),
        ({"a": keeping(400)}, {"t-raw-events": {}}, False, "or does not say how long"),
        ({"a": keeping(400)}, {"t-raw-events": topic(10**9, 1)}, False, "keeps t-raw-events for"),
    ],
)
def test_where_it_is_not_known_how_long_all_stays(brands, held, unknown, why):
    before, left_because = blobs_bound(brands, held, NOW, NOW, unknown=unknown)
    assert before is None
    assert why in left_because


def test_a_topic_of_which_kafka_does_not_tell_may_hold_anything(monkeypatch):
    """Kafka lists to nobody what they may not describe."""
    monkeypatch.setattr(index, "admin", lambda _kafka: nullcontext())
    monkeypatch.setattr(index.topics, "describe", lambda _client, _wanted: {})
    held = index.referring(KafkaSettings(topic_prefix="t-"))
    assert held == {"t-raw-events": {}, "t-unthreaded-events": {}, "t-dead-letters": {}}
    brands = {"a": keeping(1)}
    assert blobs_bound(brands, held, NOW - DAY, NOW, unknown=False).before is None
