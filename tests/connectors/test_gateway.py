"""The gateway over real HTTP: 2xx only for what Kafka acknowledged, 4xx stores nothing."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import io
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDict

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import RawEvent
from klingel.testing.clock import FixedClock
from klingel_connectors.gateway import Doors, Gateway
from klingel_connectors.raw import Origin
from klingel_connectors.settings import GatewaySettings
from klingel_connectors.testing import RecordingProducer
from klingel_networks.contract import NativeObject, Network
from klingel_networks.registry import installed_network

KEY = bytes(range(32))
ORIGIN = "https://www.example"
LIMIT = 100_000


def signed(body, clock, key=KEY, message_id="msg_1"):
    at = int(clock.now().timestamp())
    content = f"{message_id}.{at}.".encode() + body
    digest = hmac.new(key, content, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


class Bench:
    """A gateway behind a real port, its producer, and what was stored."""

    def __init__(self, client, producer, publisher, gateway, clock):
        self.client = client
        self.producer = producer
        self.publisher = publisher
        self.gateway = gateway
        self.clock = clock

    async def post(self, body, headers=None, source="shop"):
        """Post a signed delivery; status, answer, headers."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = signed(content, self.clock) if headers is None else headers
        async with self.client.post(f"/webhook/{source}", data=content, headers=given) as answer:
            return answer.status, await answer.json(), answer.headers

    async def form(self, fields, *, form="contact", **headers):
        """Submit a form as JSON; status, answer, headers."""
        given = {"Origin": ORIGIN} | {name.replace("_", "-"): v for name, v in headers.items()}
        async with self.client.post(f"/form/{form}", json=fields, headers=given) as answer:
            return answer.status, await answer.json(), answer.headers

    def stored(self):
        """Raw events that the producer took."""
        return [
            codec.decode(RawEvent, record["value"]) for record in self.producer.of(Topic.RAW_EVENTS)
        ]


@pytest.fixture
async def make_bench(make_publisher, make_intake, metrics):
    clients = []

    async def make(producer=None, network=None, **more):
        producer = producer or RecordingProducer()
        clock = FixedClock()
        publisher = make_publisher(producer)
        await publisher.start()
        settings = GatewaySettings(
            **{
                "webhooks": {"shop": (KEY,)},
                "forms": ("contact",),
                "origins": (ORIGIN,),
                "form_key": b"0123456789abcdef",
                "limit_bytes": LIMIT,
                "form_limit_bytes": 10_000,
                "wait_seconds": 5.0,
            }
            | more
        )
        webhook = network or installed_network("webhook")
        doors = Doors(
            webhooks={
                "shop": make_intake(
                    network=webhook, origin=Origin("webhook", "gw-webhook-shop", "webhook")
                )
            },
            forms={
                "contact": make_intake(
                    network=webhook, origin=Origin("form", "gw-form-contact", "webhook")
                )
            },
        )
        gateway = Gateway(settings, doors, publisher, metrics, clock)
        app = web.Application()
        app.add_routes(gateway.routes())
        client = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)
        return Bench(client, producer, publisher, gateway, clock)

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def bench(make_bench):
    return await make_bench()


async def test_a_signed_event_is_stored_and_answered_with_its_id(bench, generic):
    status, answer, _ = await bench.post(generic(1))
    assert (status, answer) == (202, {"ids": ["webhook:shop:1"]})
    (raw,) = bench.stored()
    assert (raw.object_id, raw.context) == ("webhook:shop:1", {"source": "shop"})


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ([f"00-{TRACE}-00f067aa0ba902b7-01"], True),
        ([], False),
        (["00-" + "0" * 32 + "-00f067aa0ba902b7-01"], False),
        (["x" * 5_000], False),
        ([f"00-{TRACE}-00f067aa0ba902b7-01"] * 2, False),
    ],
)
async def test_a_sender_s_trace_is_kept_and_a_hostile_one_ignored(bench, generic, told, kept):
    body = json.dumps([generic(1), generic(2)]).encode()
    given = [*signed(body, bench.clock).items(), *(("traceparent", each) for each in told)]
    status, _, _ = await bench.post(body, headers=CIMultiDict(given))
    assert status == 202
    found = [dict(each["headers"])["traceparent"] for each in bench.producer.of(Topic.RAW_EVENTS)]
    assert len(found) == 2
    traces = {each.split(b"-")[1].decode() for each in found}
    assert (traces == {TRACE}) if kept else (len(traces) == 2 and TRACE not in traces)


async def test_deliveries_are_counted_by_whose_matter_their_answer_is(make_bench, generic, metrics):
    bench = await make_bench()
    await bench.post(generic(1))
    await bench.post(generic(1), headers={})
    away = await make_bench(RecordingProducer(automatic=False), wait_seconds=0.05)
    assert (await away.post(generic(1)))[0] == 503
    away.producer.acknowledge()
    counted = {
        labels["outcome"]: value
        for name, labels, value in metrics.samples()
        if name == "klingel_requests_total"
    }
    assert counted == {"taken": 1, "refused": 1, "failed": 1}


async def test_a_repeat_is_answered_with_the_same_id_and_another_body_is_202(bench, generic):
    first = await bench.post(generic(1))
    again = await bench.post(generic(1))
    other = await bench.post(generic(1, text="Anders"))
    assert first[:2] == again[:2] == other[:2] == (202, {"ids": ["webhook:shop:1"]})
    assert len(bench.stored()) == 3


async def test_the_answer_waits_for_every_acknowledgement(make_bench, generic, eventually):
    """I1: no 2xx before every object of the batch is acknowledged."""
    bench = await make_bench(RecordingProducer(automatic=False))
    posting = asyncio.create_task(bench.post([generic(1), generic(2)]))
    await eventually(lambda: len(bench.producer.sent) == 2)
    bench.producer.acknowledge(1)
    for _ in range(50):
        await asyncio.sleep(0)
    assert not posting.done()
    bench.producer.acknowledge()
    status, answer, _ = await posting
    assert (status, answer["ids"]) == (202, ["webhook:shop:1", "webhook:shop:2"])


async def test_wrong_signatures_are_stored_nowhere(bench, generic):
    """I12."""
    body = json.dumps(generic(1)).encode()
    wrong = [
        {},
        signed(body, bench.clock, key=bytes(32)),
        signed(body + b" ", bench.clock),
        signed(body, bench.clock) | {"webhook-id": "other"},
    ]
    for headers in wrong:
        status, answer, _ = await bench.post(body, headers)
        assert status == 401
        assert set(answer) == {"error"}
    old = signed(body, bench.clock)
    bench.clock.advance(301)
    assert (await bench.post(body, old))[0] == 401
    assert bench.producer.sent == []


async def test_an_unknown_source_is_404(bench, generic):
    assert (await bench.post(generic(1), source="other"))[0] == 404


@pytest.mark.parametrize(
    ("body", "status", "path"),
    [
        (b"{broken", 400, None),
        (b"", 400, None),
        (b"[" * 90_000, 400, None),
        (b'{"id":"1","id":"2"}', 400, None),
        (b'{"id":"\\u0000"}', 400, "id"),
        (b'{"id":"\\ud800"}', 400, "id"),
        (b"{}", 422, "id"),
        (b"[]", 422, None),
        (b"7", 422, None),
        (b'{"id":7}', 422, "id"),
    ],
)
async def test_malformed_content_gets_one_clear_sentence(bench, body, status, path):
    found, answer, _ = await bench.post(body)
    assert found == status, answer
    assert answer["error"]
    assert "\n" not in answer["error"]
    assert answer.get("path") == path
    assert bench.producer.sent == []


async def test_a_batch_with_one_invalid_object_stores_nothing_and_names_it(bench, generic):
    bad = generic(3) | {"published_at": "yesterday"}
    status, answer, _ = await bench.post([generic(1), generic(2), bad])
    assert status == 422
    assert answer["path"] == "[2].published_at"
    assert bench.producer.sent == []


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_a_10_mb_body_is_cut_off_with_413(bench, metrics, chunked):
    async def chunks():
        for _ in range(160):
            yield b"x" * 65_536

    content = chunks() if chunked else io.BytesIO(b"x" * 10_000_000)
    # the server may close while we are still writing: cut off, as it should be
    with contextlib.suppress(OSError):
        async with bench.client.post("/webhook/shop", data=content) as answer:
            assert answer.status == 413
    assert bench.producer.sent == []
    counted = [
        value
        for name, labels, value in metrics.samples()
        if name == "klingel_refused_total" and labels["reason"] == "http_413"
    ]
    assert counted == [1.0]


async def test_kafka_away_is_503_after_a_bounded_wait(make_bench, generic):
    bench = await make_bench(RecordingProducer(automatic=False), wait_seconds=0.05)
    status, answer, headers = await bench.post(generic(1))
    assert (status, headers["Retry-After"]) == (503, "5")
    assert "send it again" in answer["error"]
    bench.producer.automatic = True
    bench.producer.acknowledge()
    assert await bench.publisher.flush(5)
    assert (await bench.post(generic(1)))[0] == 202


async def test_kafka_known_to_be_away_is_503_at_once_and_takes_no_memory(make_bench, generic):
    bench = await make_bench(RecordingProducer(automatic=False), wait_seconds=0.02)
    answers = [await bench.post(generic(number)) for number in range(20)]
    assert {status for status, _, _ in answers} == {503}
    assert bench.publisher.in_flight <= 20
    held = bench.publisher.in_flight
    assert (await bench.post(generic(99)))[0] == 503
    assert bench.publisher.in_flight == held


async def test_what_our_own_mapping_raises_is_a_dead_letter_and_202(make_bench, generic):
    def fail(_native, _context):
        raise LookupError

    network = Network(
        "webhook", lambda delivery: [NativeObject(delivery.body, {})], fail, lambda raw: raw
    )
    bench = await make_bench(network=network)
    assert (await bench.post(generic(1)))[:2] == (202, {"ids": []})
    (letter,) = bench.producer.of(Topic.DEAD_LETTERS)
    assert json.loads(letter["value"]) == generic(1)


async def test_a_form_becomes_a_private_event_of_its_key(bench):
    fields = {"name": "Ada", "email": "ada@kunde.example", "message": "Wo bleibt mein Paket?"}
    status, answer, headers = await bench.form(fields, Idempotency_Key="k-1")
    assert (status, answer) == (202, {"ids": ["form:contact:k-1"]})
    assert headers["Access-Control-Allow-Origin"] == ORIGIN
    (raw,) = bench.stored()
    event = json.loads(bytes(raw.native))
    assert event["text"] == "Wo bleibt mein Paket?"
    assert event["visibility"] == "private"
    assert "ada" not in raw.object_id
    assert (await bench.form(fields, Idempotency_Key="k-1"))[1] == answer


async def test_a_form_without_a_key_sent_twice_is_one_object(bench):
    fields = {"email": "ada@kunde.example", "message": "Bitte um Rückruf"}
    first, again = await bench.form(fields), await bench.form(fields)
    other = await bench.form(fields | {"message": "Etwas anderes"})
    assert first[1] == again[1] != other[1]


async def test_an_urlencoded_form_is_taken_too(bench):
    async with bench.client.post(
        "/form/contact",
        data={"email": "ada@kunde.example", "message": "Grüße", "idempotency_key": "k-2"},
        headers={"Origin": ORIGIN},
    ) as answer:
        assert answer.status == 202
        assert (await answer.json())["ids"] == ["form:contact:k-2"]
    assert json.loads(bytes(bench.stored()[0].native))["text"] == "Grüße"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
async def test_another_web_origin_is_403(bench, origin):
    status, _, headers = await bench.form({"email": "a@b.de", "message": "x"}, Origin=origin)
    assert status == 403
    assert "Access-Control-Allow-Origin" not in headers
    assert bench.producer.sent == []


async def test_the_preflight_allows_our_origin_alone(bench):
    async with bench.client.options("/form/contact", headers={"Origin": ORIGIN}) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Methods"] == "POST"
        assert answer.headers["Vary"] == "Origin"
    async with bench.client.options("/form/contact", headers={"Origin": "https://x.y"}) as answer:
        assert answer.status == 403


@pytest.mark.parametrize(
    ("fields", "status", "path"),
    [
        ({"email": "a@b.de"}, 422, "message"),
        ({"message": "x"}, 422, "email"),
        ({"email": "nobody", "message": "x"}, 422, "email"),
        ({"email": "a@b.de", "message": ["x"]}, 422, None),
        ({"email": "a@b.de", "message": "x", "idempotency_key": "k" * 300}, 422, "idempotency_key"),
        ({"email": "a@b.de", "message": "x" * 20_000}, 413, None),
    ],
)
async def test_a_wrong_form_gets_a_sentence_that_the_page_may_read(bench, fields, status, path):
    found, answer, headers = await bench.form(fields)
    assert found == status, answer
    assert answer.get("path") == path
    assert headers["Access-Control-Allow-Origin"] == ORIGIN
    assert bench.producer.sent == []


async def test_too_many_submissions_are_429_until_time_passes(make_bench):
    bench = await make_bench(form_rate=0.1)
    fields = {"email": "a@b.de", "message": "x"}
    assert (await bench.form(fields))[0] == 202
    status, _, headers = await bench.form(fields)
    assert (status, headers["Retry-After"]) == (429, "10")
    bench.clock.advance(10)
    assert (await bench.form(fields))[0] == 202


async def test_other_content_types_are_415(bench):
    async with bench.client.post(
        "/form/contact", data=b"<x/>", headers={"Origin": ORIGIN, "Content-Type": "text/xml"}
    ) as answer:
        assert answer.status == 415
