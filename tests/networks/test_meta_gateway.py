"""The Meta family behind the real gateway: signed batches, every variant, forgeries, deletions."""

import asyncio
import base64
import hmac
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from klingel.clock import SystemClock
from klingel.contracts import codec
from klingel.contracts.blobs import BlobStore
from klingel.contracts.topics import Topic
from klingel.metrics import Metrics
from klingel.model import RawEvent
from klingel.settings import KafkaSettings
from klingel_connectors.books import Books
from klingel_connectors.gateway import Doors, Gateway
from klingel_connectors.hooks import Hook
from klingel_connectors.intake import TOPICS, Intake
from klingel_connectors.publisher import Bounds, Publisher
from klingel_connectors.raw import Origin
from klingel_connectors.settings import GatewaySettings, HookSettings
from klingel_connectors.testing import NobodyErased, RecordingProducer
from klingel_networks.meta import FAMILY
from klingel_networks.registry import installed
from klingel_simulator.meta_sender import FORGERIES, MetaSender, Posting
from klingel_simulator.meta_traffic import BATCH_MOST, message_item, to_body, variants
from klingel_simulator.truth import TruthFile
from klingel_simulator.whatsapp_traffic import Customer
from klingel_simulator.whatsapp_traffic import variants as whatsapp_variants

SECRET, TOKEN = b"the app secret of the tests", b"our token"
HASH_KEY = "a key of the tests"
MS = 1_783_175_888_130
CANARY = "canary-Zq7RtX"


@pytest.fixture
async def gateway(tmp_path):
    """Serve the family behind a real port; return a client and the producer."""
    producer, metrics, clock = RecordingProducer(), Metrics("test"), SystemClock()
    publisher = Publisher(
        KafkaSettings(),
        client_id="test",
        topics=(*TOPICS, Topic.CONNECTOR_CURSORS, Topic.CONNECTOR_LEASES),
        clock=clock,
        bounds=Bounds(),
        connect=lambda: producer,
        sleep=lambda _seconds: asyncio.sleep(0),
    )
    await publisher.start()
    intakes = {
        name: Intake(
            installed().network(name),
            Origin(name, "gw-hook-meta", name),
            version="1.2.3",
            blobs=BlobStore(tmp_path / "blobs"),
            suppressions=NobodyErased(),
            books=Books("gateway", "holder", datetime.now(UTC)),
            metrics=metrics,
            clock=clock,
        )
        for name in FAMILY.networks
    }
    settings = GatewaySettings(
        webhooks={},
        hooks={"meta": HookSettings("meta", "", (SECRET,), TOKEN)},
        hook_base="https://hooks.example",
        wait_seconds=5.0,
    )
    hooks = {"meta": Hook(FAMILY, (SECRET,), TOKEN, intakes, HASH_KEY)}
    app = web.Application()
    app.add_routes(Gateway(settings, Doors({}, {}, hooks), publisher, metrics, clock).routes())
    client = TestClient(TestServer(app))
    await client.start_server()
    yield client, producer
    await client.close()
    await publisher.close(0.0)


def sender_to(client: TestClient, **more: Any) -> MetaSender:
    posting = Posting(str(client.make_url("/hook/meta")), SECRET, redeliver=0, **more)
    return MetaSender(posting, TruthFile(None), now_us=lambda: MS * 1000)


def stored(producer: RecordingProducer) -> list[RawEvent]:
    return [
        codec.decode(RawEvent, each["value"])
        for each in producer.sent
        if each["topic"] == Topic.RAW_EVENTS
    ]


async def test_every_variant_is_stored_once_under_its_channel(gateway):
    client, producer = gateway
    customer = Customer("491711234567", "DE.13491208655302741918", "@erika")
    updates = [
        *variants("12345654332", "17841452691600098", "987654321432", MS),
        *whatsapp_variants("102290129340398", "106540352242922", customer, MS, HASH_KEY.encode()),
    ]
    await sender_to(client, batch=9).run(updates)
    raws = stored(producer)
    assert len(raws) == len(updates)
    wanted = Counter(each.object_id for each in updates if each.object_id)
    assert not wanted - Counter(each.object_id for each in raws)
    assert Counter(each.network for each in raws) == Counter(each.network for each in updates)
    assert {each.channel for each in raws if each.network == "messenger"} == {"12345654332"}
    assert "106540352242922" in {each.channel for each in raws if each.network == "whatsapp"}
    for raw in raws:
        draft = installed().network(raw.network).to_social_event(raw)
        assert (draft.kind, draft.change) == (raw.kind, raw.change)


async def test_a_thousand_updates_in_one_delivery_are_a_thousand_records(gateway):
    client, producer = gateway
    entries = [
        {
            "id": "1",
            "time": MS,
            "messaging": [message_item("1", "2", MS, message={"mid": f"m_{at}"})],
        }
        for at in range(BATCH_MOST)
    ]
    body = json.dumps({"object": "page", "entry": entries}).encode()
    async with aiohttp.ClientSession() as session:
        assert await sender_to(client).attempt(session, body) == 200
    assert len({raw.object_id for raw in stored(producer)}) == BATCH_MOST


async def test_forgeries_store_nothing_and_what_cannot_be_read_is_a_dead_letter(gateway):
    client, producer = gateway
    good = to_body(variants("1", "3", "2", MS)[:1])
    async with aiohttp.ClientSession() as session:
        sender = sender_to(client)
        for forgery in FORGERIES:
            assert await sender.attempt(session, good, forgery) == 401
        assert producer.sent == []
        assert await sender.handshake(session, TOKEN.decode(), "1158201444") == "1158201444"
        bad = [
            f'{{"object":"page","{CANARY}":1}}',
            "{half",
            f'{{"object":"page","entry":["{CANARY}"]}}',
        ]
        for body in bad:
            assert await sender.attempt(session, body.encode()) == 200
        assert await sender.attempt(session, good) == 200
    topics = Counter(each["topic"] for each in producer.sent)
    assert topics == {Topic.DEAD_LETTERS: 3, Topic.RAW_EVENTS: 1}
    for each in producer.sent:
        assert all(CANARY.encode() not in value for _, value in each["headers"])


async def test_a_deletion_is_durable_before_it_is_answered(gateway):
    client, producer = gateway
    request = "signed_request=fbXwS2apfRMjX_Gc24JpTdWvhQ8bQ2QzsYxkqcSHZVc.eyJ1c2VyX2lkIjoiMSJ9"  # of nobody
    headers = {"content-type": "application/x-www-form-urlencoded"}
    path = "/hook/meta/-/deletion"
    async with client.post(path, data=request, headers=headers) as answer:
        assert answer.status == 400
    assert producer.sent == []
    async with client.post(path, data=_signed(), headers=headers) as answer:
        told = await answer.json()
    assert told["url"] == f"https://hooks.example{path}/{told['confirmation_code']}"
    (raw,) = stored(producer)
    assert (raw.network, raw.kind) == ("facebook", "unknown")
    async with client.get(f"{path}/{told['confirmation_code']}") as page:
        assert (page.status, page.content_type) == (200, "text/html")
        assert "to be deleted by" in await page.text()


def _signed() -> str:
    """Return a signed request as the network writes it."""
    payload = base64.urlsafe_b64encode(b'{"user_id":"218471"}').decode().rstrip("=")
    signature = hmac.digest(SECRET, payload.encode(), "sha256")
    encoded = base64.urlsafe_b64encode(signature).decode().rstrip("=")
    return f"signed_request={encoded}.{payload}"
