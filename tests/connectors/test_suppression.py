"""K14, I11: what was erased is not written again, by whatever way and however late it comes."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, author_name
from klingel.model import RawEvent
from klingel_connectors.suppression import Erased
from klingel_networks.contract import Delivery, Identity, NativeObject, Network
from klingel_networks.registry import installed_network

KEY = Key("a key that stands for ever")
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ANNA = author_name("replay", "src:anna")


class Record(NamedTuple):
    """What a consumer gives."""

    key: bytes
    value: bytes | None


def suppression(kind="author", name=ANNA, at=NOW, key=KEY):
    told = key.suppression(kind, name, at)
    return Record(told.subject.encode(), codec.encode(told))


@pytest.fixture
async def erased():
    """Who was erased, read to the end."""
    found = Erased(KEY)
    found._known.set()
    return found


def said(generic, number, at, author="anna", **more):
    post = generic(number) | {"published_at": at.isoformat(), "author": {"id": author}}
    return Delivery(json.dumps(post | more).encode(), {"source": "src"})


async def written(intake, *deliveries, mode="backfill"):
    """Return the ids of what would be written."""
    found = []
    for delivery in deliveries:
        found += await intake.records(intake.read(delivery, mode, NOW + timedelta(days=3)))
    return [codec.decode(RawEvent, record.output.value).object_id for record in found]


@pytest.mark.parametrize("mode", ["live", "gap_fill", "backfill"])
async def test_an_erased_authors_old_words_are_not_written_again(
    make_intake, erased, generic, books, mode
):
    erased.take(Topic.SUPPRESSIONS, suppression())
    intake = make_intake(suppressions=erased)
    before, after = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    ids = await written(
        intake,
        said(generic, 1, before),
        said(generic, 2, NOW),
        said(generic, 3, after),
        said(generic, 4, before, author="ben"),
        mode=mode,
    )
    assert ids == ["replay:src:3", "replay:src:4"]
    assert books.reasons == {"discarded:suppressed": 2}


async def test_an_erased_object_is_not_written_again_whoever_said_it(make_intake, erased, generic):
    erased.take(Topic.SUPPRESSIONS, suppression("object", "replay:src:1"))
    intake = make_intake(suppressions=erased)
    old = NOW - timedelta(days=400)
    assert await written(intake, said(generic, 1, old), said(generic, 2, old)) == ["replay:src:2"]


async def test_who_is_taken_back_is_heard_again(make_intake, erased, generic):
    record = suppression()
    erased.take(Topic.SUPPRESSIONS, record)
    erased.take(Topic.SUPPRESSIONS, Record(record.key, None))
    assert await written(make_intake(suppressions=erased), said(generic, 1, NOW))


async def test_deletions_and_what_a_mapping_cannot_read_pass(make_intake, erased, generic):
    """What takes words away must reach the index; what raises is understand's dead letter."""
    erased.take(Topic.SUPPRESSIONS, suppression())
    intake = make_intake(suppressions=erased)
    assert await written(intake, said(generic, 1, NOW, change="deleted"))

    def raises(_raw):
        raise ValueError

    strange = Network(
        name="strange",
        explode=lambda delivery: [NativeObject(delivery.body, {})],
        identify=lambda _native, _context: Identity("strange:x:1", 0, "post", "created"),
        to_social_event=raises,
    )
    assert await written(make_intake(suppressions=erased, network=strange), Delivery(b"{}"))


async def test_a_demand_to_erase_passes_though_its_person_is_erased(make_intake, erased):
    """It is what begins the erasure, and is read again in every replay."""
    at = int((NOW - timedelta(days=1)).timestamp() * 1000)
    told = {"user_id": "7", "requested_at": at, "code": "c1", "reason": "deletion"}
    facebook = installed_network("facebook")
    demand = Network(
        name="facebook",
        explode=lambda delivery: [NativeObject(delivery.body, {"via": "deletion"})],
        identify=facebook.identify,
        to_social_event=facebook.to_social_event,
    )
    erased.take(Topic.SUPPRESSIONS, suppression(name=author_name("facebook", "7")))
    intake = make_intake(suppressions=erased, network=demand)
    assert await written(intake, Delivery(json.dumps(told).encode()))


@pytest.mark.parametrize("key", [None, Key("another key, of who knows")])
async def test_without_its_key_nobody_can_be_looked_up_and_it_is_said(make_intake, generic, key):
    with capture_logs() as logs:
        found = Erased(key)
        found._known.set()
        found.take(Topic.SUPPRESSIONS, suppression())
    assert await written(make_intake(suppressions=found), said(generic, 1, NOW))
    assert [each["event"] for each in logs] == ["suppression_of_another_key"]


async def test_a_record_that_cannot_be_read_changes_nothing(make_intake, erased, generic):
    erased.take(Topic.SUPPRESSIONS, Record(b"k", b"{broken"))
    assert await written(make_intake(suppressions=erased), said(generic, 1, NOW))


async def test_nothing_is_written_before_the_topic_was_read_to_its_end(make_intake, generic):
    found = Erased(KEY)
    found._loop = asyncio.get_running_loop()
    intake = make_intake(suppressions=found)
    writing = asyncio.create_task(written(intake, said(generic, 1, NOW)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not writing.done()
    assert found.waiting_for() == "topic suppressions"
    await asyncio.to_thread(found.take, Topic.SUPPRESSIONS, suppression())
    await asyncio.to_thread(found.read)
    assert await writing == []
    assert found.waiting_for() == ""
