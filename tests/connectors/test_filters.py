"""A firehose filter is a superset: what may concern a brand passes, the rest is not published."""

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import pytest

from klingel.config.brand import Brand
from klingel.config.loader import to_config
from klingel.contracts import codec
from klingel.domain.draft import SocialDraft
from klingel.metrics import Metric, Metrics
from klingel.model import BrandConfig, RawEvent
from klingel.model.social_event import Author
from klingel.settings import KafkaSettings
from klingel_connectors.filters import BrandFilter, Wanted, concerns, wanted_of
from klingel_networks.registry import installed_network

OWN = "did:plc:nordlicht"
URI = "bluesky:network:at://did:plc:anna/app.bsky.feed.post/1"


def brand(**more):
    return Brand.model_validate(
        {
            "brand": "nordlicht",
            "name": "Nordlicht",
            "accounts": [{"network": "bluesky", "id": OWN}],
            "listening": [{"id": "name", "query": 'nordlicht OR "nord licht"'}],
            "queues": [{"id": "care"}],
        }
        | more
    )


def draft(**more):
    return SocialDraft(
        **{"mapping": "m/1", "kind": "post", "change": "created", "text": "Guten Morgen"} | more
    )


@pytest.fixture
def wanted():
    return wanted_of([brand()], "bluesky", None)


def test_talk_that_concerns_nobody_does_not_pass(wanted):
    assert not concerns(draft(), wanted, {})
    assert not concerns(draft(text=None), wanted, {})
    assert not concerns(draft(conversation_id=URI), wanted, {"other": 1})


@pytest.mark.parametrize(
    "said",
    [
        {"text": "Was macht Nordlicht heute?"},
        {"text": "#NordLicht"},
        {"change": "deleted"},
        {"change": "updated"},
        {"kind": "unknown"},
        {"author": Author(id=OWN)},
        {"mentions": (OWN,)},
        {"in_reply_to_author": OWN},
        {"in_reply_to": f"bluesky:network:at://{OWN}/app.bsky.feed.post/9"},
        {"quotes": f"bluesky:network:at://{OWN}/app.bsky.feed.post/9"},
        {"conversation_id": URI},
        {"in_reply_to": URI},
    ],
    ids="-".join,
)
def test_what_may_concern_a_brand_passes(wanted, said):
    assert concerns(draft(**said), wanted, {URI: 1})


def test_a_dictionary_is_written_out():
    rule = {"id": "products", "query": "dictionary:products"}
    words = brand(
        listening=[rule], dictionaries=[{"id": "products", "words": ["Nordbox"]}], channels=[]
    )
    wanted = wanted_of([words], "bluesky", None)
    assert concerns(draft(text="die nordbox blinkt"), wanted, {})
    assert not concerns(draft(text="was anderes"), wanted, {})


def test_without_brands_or_with_a_whole_channel_everything_passes():
    assert wanted_of([], "bluesky", None).everything
    heard_whole = brand(channels=[{"network": "bluesky", "id": "firehose"}])
    assert wanted_of([heard_whole], "bluesky", None).everything
    assert not wanted_of([heard_whole], "mastodon", None).everything


def test_a_brand_without_rules_still_hears_its_accounts():
    wanted = wanted_of([brand(listening=[])], "bluesky", None)
    assert wanted.rules is None
    assert not concerns(draft(text="nordlicht"), wanted, {})
    assert concerns(draft(mentions=(OWN,)), wanted, {})


def test_what_cannot_be_read_passes(wanted):
    """Understand reads it again and says what is wrong."""
    filtering = BrandFilter(
        KafkaSettings(),
        installed_network("bluesky"),
        name="bluesky",
        channel=None,
        client_id="test",
    )
    raw = RawEvent(
        event_id="x@0",
        object_id="x",
        revision=0,
        network="bluesky",
        connector="c",
        kind="post",
        change="created",
        mode="live",
        received_at=datetime(2026, 11, 20, tzinfo=UTC),
        native=msgspec.Raw(b'{"nonsense": true}'),
    )
    assert filtering.passes(raw)
    filtering._wanted = Wanted(everything=False)
    assert filtering.passes(raw)


def followed(*records):
    """Return a filter that has read these (key, configuration or None) of `brand-config`."""
    filtering = BrandFilter(
        KafkaSettings(),
        installed_network("bluesky"),
        name="bluesky",
        channel=None,
        client_id="test",
        metrics=Metrics("connector-bluesky"),
    )
    changed = [filtering._brand(Record(*each)) for each in records]
    if any(changed):
        filtering._renew()
    return filtering


def refused(filtering):
    """Return how many brands a filter says that it cannot read."""
    return {name: value for name, _, value in filtering._metrics.samples()}[Metric.BRANDS_REFUSED]


@dataclass
class Record:
    """One record of `brand-config`, as kafka-python gives it."""

    name: str
    config: dict | None

    @property
    def key(self):
        """As written."""
        return self.name.encode()

    @property
    def value(self):
        """As written; None removes the brand."""
        if self.config is None:
            return None
        now = datetime(2026, 11, 20, tzinfo=UTC)
        record = BrandConfig(
            brand=self.name, version="0123456789abcdef", applied_at=now, config=self.config
        )
        return codec.encode(record)


def test_a_brand_that_cannot_be_read_wants_everything():
    """An older connector meets a newer brand file: nothing may be lost before Kafka."""
    right = to_config(brand())
    assert not followed(("nordlicht", right))._wanted.everything
    wrong = {**right, "queues": "none"}
    assert followed(("nordlicht", right), ("nordlicht", wrong))._wanted.everything
    assert followed(("nordlicht", right), ("kuestenstrom", wrong))._wanted.everything
    assert refused(followed(("nordlicht", right), ("kuestenstrom", wrong))) == 1
    mended = followed(("nordlicht", right), ("nordlicht", wrong), ("nordlicht", right))
    assert not mended._wanted.everything
    assert refused(mended) == 0
    removed = followed(("nordlicht", right), ("kuestenstrom", wrong), ("kuestenstrom", None))
    assert not removed._wanted.everything


def test_keys_that_only_another_version_knows_are_no_reason_to_hear_nothing():
    newer = {**to_config(brand()), "moods": ["blue"]}
    wanted = followed(
        ("kuestenstrom", to_config(brand(listening=[]))), ("nordlicht", newer)
    )._wanted
    assert concerns(draft(text="Was macht Nordlicht heute?"), wanted, {})
