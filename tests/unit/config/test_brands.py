"""Brands as they come along on `brand-config`: none is lost because this version cannot read it."""

from datetime import UTC, datetime

import pytest

from klingel.config.brands import Brands, applied_brand
from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.errors import InvalidMessage, SourceUnavailable
from klingel.model import BrandConfig

NOW = datetime(2026, 11, 20, tzinfo=UTC)
QUEUES = [{"id": "care"}]


def record(name="nordlicht", **parts):
    config = {"brand": name, "name": "Nordlicht", "queues": QUEUES, **parts}
    return BrandConfig(brand=name, version="0123456789abcdef", applied_at=NOW, config=config)


def applied(name="nordlicht", **parts):
    return Message(
        Topic.BRAND_CONFIG, 0, 0, name.encode(), codec.encode(record(name, **parts)), (), 0
    )


def removed(name="nordlicht"):
    return Message(Topic.BRAND_CONFIG, 0, 1, name.encode(), None, (), 0)


UNREADABLE = [
    {"queues": []},
    {"queues": [{"id": "care", "topic": "perhaps"}]},
    {"listening": [{"id": "name", "query": '"nord'}]},
    {"listening": [{"id": "name", "query": "dictionary:nowhere"}]},
]


def test_a_brand_of_a_newer_version_is_heard_without_the_keys_that_are_not_known_here():
    """In a roll-out the newer `klingel config apply` meets older workers, and the reverse."""
    brands = Brands()
    newer = [{"id": "care", "colour": "blue"}]
    brands.take(applied(queues=newer, moods={"of": "tomorrow"}))
    assert brands.by_name["nordlicht"].default_queue == "care"
    assert not brands.refused
    read = applied_brand(record(queues=newer))
    assert not read.whole
    assert applied_brand(record()).whole


@pytest.mark.parametrize("parts", UNREADABLE, ids=str)
@pytest.mark.parametrize("before", [True, False], ids=["after_another", "first"])
def test_what_is_of_a_brand_that_cannot_be_read_waits(parts, before):
    """Before a restart and after it: no older configuration stands in."""
    brands = Brands()
    if before:
        brands.take(applied())
    brands.take(applied("kuestenstrom"))
    brands.take(applied(**parts))
    assert brands.refused == {"nordlicht"}
    with pytest.raises(SourceUnavailable):
        brands.by_name.get("nordlicht")
    with pytest.raises(SourceUnavailable):
        list(brands.by_name.items())
    kept = brands.by_name.get("kuestenstrom")
    assert kept is not None
    assert kept.brand == "kuestenstrom"
    assert brands.by_name.get("nobody") is None
    assert set(brands.readable) == {"kuestenstrom"}


@pytest.mark.parametrize("mended", [applied(), removed()], ids=["applied", "removed"])
def test_a_mended_or_removed_brand_holds_nothing_up(mended):
    brands = Brands()
    brands.take(applied("kuestenstrom"))
    brands.take(applied(queues=[]))
    brands.take(mended)
    assert not brands.refused
    expected = {"kuestenstrom"} | ({"nordlicht"} if mended.value else set())
    assert set(brands.by_name) == expected
    assert {brand.brand for brand in brands.by_name.values()} == expected


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"brand": 1}', b"\xff\xfe"], ids=repr)
def test_a_record_that_cannot_be_read_holds_its_brand(value):
    brands = Brands()
    brands.take(Message(Topic.BRAND_CONFIG, 0, 0, b"nordlicht", value, (), 0))
    assert brands.refused == {"nordlicht"}


def test_why_a_brand_cannot_be_read_repeats_nothing_of_it():
    with pytest.raises(InvalidMessage) as caught:
        applied_brand(record(name="Geheimes Wort " * 20))
    assert "Geheim" not in str(caught.value)
    assert caught.value.__cause__ is None
