"""The networks' own endpoints: signatures, handshakes, 2xx only once durable, letters instead of 4xx."""

import asyncio
import base64
import hashlib
import hmac
import json
from typing import NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from kafka import errors as kafka_errors

from klingel.contracts import codec
from klingel.errors import ConfigurationError
from klingel.model import RawEvent
from klingel.testing.clock import FixedClock
from klingel_connectors.gateway import Doors, Gateway
from klingel_connectors.hooks import Hook
from klingel_connectors.publisher import Publisher
from klingel_connectors.raw import Origin
from klingel_connectors.settings import GatewaySettings, HookSettings, gateway_settings
from klingel_connectors.signatures import proved, shake, websub_topic
from klingel_connectors.testing import RecordingProducer
from klingel_networks.contract import Answer, Delivery, Endpoint, Family, NativeObject
from klingel_networks.registry import installed_network
from klingel_networks.websub import subscription_id, subscription_secret

KEY = b"an app secret of Meta"
OLD = b"the one before it"
TOKEN = b"verify me please"
TOPIC = "https://blog.example/feed.xml"
LIMIT = 20_000


def meta(body, key=KEY):
    """Return Meta's signature."""
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()}


def x_signature(body, key=KEY):
    """Return X' signature."""
    digest = base64.b64encode(hmac.new(key, body, hashlib.sha256).digest()).decode()
    return {"x-twitter-webhooks-signature": f"sha256={digest}"}


def x_oauth2(body, key=KEY):
    """Return X' signature under the OAuth 2.0 client secret."""
    return {"x-twitter-webhooks-signature-oauth2": x_signature(body, key).popitem()[1]}


def telegram(_body, key=KEY):
    """Return Telegram's token."""
    return {"X-Telegram-Bot-Api-Secret-Token": key.decode()}


def websub(body, key=KEY, method="sha256"):
    """Return a hub's signature for the subscription to TOPIC."""
    secret = subscription_secret(key, subscription_id(key, TOPIC)).encode()
    return {"X-Hub-Signature": f"{method}={hmac.new(secret, body, method).hexdigest()}"}


SIGN = {"meta": meta, "x": x_signature, "telegram": telegram, "websub": websub}


@pytest.mark.parametrize("scheme", sorted(SIGN))
def test_a_signature_counts_with_every_key_and_nothing_else_does(scheme):
    """Right, older key, other key, other scheme, none, cut, in capitals, with blanks around it."""
    body = b'{"entry": []}'
    last = subscription_id(KEY, TOPIC)
    right = SIGN[scheme](body)
    assert proved(scheme, right, body, (KEY,), last)
    assert proved(scheme, right, body, (OLD, KEY), last)
    assert not proved(scheme, right, body, (OLD,), last)
    assert not proved(scheme, right, body, (), last)
    assert not proved(scheme, {}, body, (KEY,), last)
    (name, value) = next(iter(right.items()))
    for damaged in (value[:-1], f" {value}", value + "=", "", "sha256=", "é", "\udcff", "sha256"):
        assert not proved(scheme, {name: damaged}, body, (KEY,), last)
    for other in set(SIGN) - {scheme}:
        assert not proved(scheme, SIGN[other](body), body, (KEY,), last)
    if scheme != "telegram":
        assert not proved(scheme, right, body + b" ", (KEY,), last)
        assert not proved(scheme, {name: value.replace("sha256", "md5")}, body, (KEY,), last)


def test_either_signature_of_x_is_enough_and_neither_is_believed_unchecked():
    """Which of its secrets we were given decides which header we can check."""
    body, other = b'{"data": {}}', b"a secret that we do not have"
    for sign in (x_signature, x_oauth2):
        (name, value) = next(iter(sign(body).items()))
        assert proved("x", {name: value}, body, (OLD, KEY), "")
        assert not proved("x", {name: value}, body + b" ", (KEY,), "")
        assert not proved("x", sign(body, other), body, (KEY,), "")
        for damaged in (value[:-1], f" {value}", "", "sha256=", "\udcff", value.upper()):
            assert not proved("x", {name: damaged}, body, (KEY,), "")
    assert proved("x", x_oauth2(body, other) | x_signature(body), body, (KEY,), "")
    assert proved("x", x_oauth2(body) | x_signature(body, other), body, (KEY,), "")
    assert not proved("x", x_oauth2(body, other) | x_signature(body, other), body, (KEY,), "")


@given(body=st.binary(max_size=64), header=st.text(max_size=80))
def test_no_header_raises(body, header):
    """Whatever stands in the header: a yes or a no."""
    for scheme, sign in SIGN.items():
        name = next(iter(sign(body)))
        assert proved(scheme, {name: header}, body, (KEY,), "x") is False


@pytest.mark.parametrize("method", ["sha1", "sha256", "sha384", "sha512"])
def test_a_hub_may_choose_its_hash(method):
    """WebSub, 8: sha1, sha256, sha384 or sha512; a subscription's secret is its own."""
    last = subscription_id(KEY, TOPIC)
    assert proved("websub", websub(b"x", method=method), b"x", (KEY,), last)
    other = subscription_id(KEY, TOPIC + "2")
    assert not proved("websub", websub(b"x", method=method), b"x", (KEY,), other)


def test_metas_handshake_needs_our_token():
    """The challenge comes back only for the right mode and token."""
    query = {"hub.mode": "subscribe", "hub.challenge": "1158201444"}
    right = query | {"hub.verify_token": TOKEN.decode()}
    assert shake("meta", right, (KEY,), TOKEN) == (200, b"1158201444", "text/plain")
    for wrong in (
        query,
        query | {"hub.verify_token": "x"},
        right | {"hub.mode": "unsubscribe"},
        right | {"hub.challenge": ""},
        right | {"hub.challenge": "9" * 5000},
        {},
    ):
        assert shake("meta", wrong, (KEY,), TOKEN).status == 403
    assert shake("meta", query | {"hub.verify_token": ""}, (KEY,), b"").status == 403
    assert shake("none", right, (KEY,), TOKEN).status == 403


def test_the_crc_is_answered_with_the_newest_secret():
    """X: `sha256=` and the base64 of HMAC-SHA256 of the token."""
    shaken = shake("x", {"crc_token": "abc"}, (KEY, OLD), b"")
    digest = base64.b64encode(hmac.new(KEY, b"abc", hashlib.sha256).digest()).decode()
    assert shaken.status == 200
    assert json.loads(shaken.body) == {"response_token": f"sha256={digest}"}
    assert shake("x", {}, (KEY,), b"").status == 403


def test_a_hubs_intent_is_confirmed_only_for_the_topic_of_the_address():
    """WebSub, 5.3: also for a key that was rotated away."""
    last = subscription_id(OLD, TOPIC)
    query = {"hub.mode": "subscribe", "hub.topic": TOPIC, "hub.challenge": "c"}
    assert shake("websub", query, (KEY, OLD), b"", last).body == b"c"
    assert shake("websub", query | {"hub.mode": "unsubscribe"}, (OLD,), b"", last).status == 200
    assert shake("websub", query | {"hub.topic": "https://else"}, (OLD,), b"", last).status == 403
    assert shake("websub", query | {"hub.mode": "denied"}, (OLD,), b"", last).status == 403
    assert shake("websub", query, (KEY,), b"", last).status == 403


def test_the_topic_of_a_delivery_is_believed_only_when_the_address_is_of_it():
    """RFC 8288 links; another topic, another relation, garbage: no topic."""
    last = subscription_id(KEY, TOPIC)
    hub = '<https://hub.example/>; rel="hub", '
    assert websub_topic(f'{hub}<{TOPIC}>; rel="self"', last, (KEY,)) == TOPIC
    assert websub_topic(f"<{TOPIC}>; title=x; rel=self", last, (KEY,)) == TOPIC
    assert websub_topic(f'<{TOPIC}>; rel="alternate self"', last, (KEY,)) == TOPIC
    for other in (
        "",
        f'<{TOPIC}2>; rel="self"',
        f'<{TOPIC}>; rel="hub"',
        f"<{TOPIC}>",
        "<" * 20_000,
        '<a>; rel="' * 2_000,
    ):
        assert websub_topic(other, last, (KEY,)) == ""


# --- over HTTP ---------------------------------------------------------------------------------


def forget(call):
    """A callback: a signed request to forget, and its status page."""
    if call.method == "GET":
        return Answer(200, f"{call.rest} {call.base}".encode(), "text/plain")
    if call.body != b"signed":
        return Answer(400, b"{}")
    event = {
        "id": "u1",
        "network": "n",
        "author": {"id": "u1"},
        "text": "",
        "change": "deleted",
        "published_at": "2026-11-20T10:00:00Z",
    }
    stored = Delivery(json.dumps(event).encode(), {"source": "shop"})
    return Answer(200, json.dumps({"url": f"{call.base}/u1"}).encode(), delivery=stored)


def family(scheme, name="ring"):
    """Return a family of generic events under a network's signature."""
    network = installed_network("webhook")

    def explode(delivery):
        inner = Delivery(delivery.body, {"source": "shop", **delivery.context})
        return [("webhook", piece) for piece in network.explode(inner)]

    handshake = "none" if scheme == "telegram" else scheme
    endpoint = Endpoint(scheme, handshake, LIMIT)
    return Family(name, ("webhook",), endpoint, explode, {"forget": forget})


class Bench(NamedTuple):
    """A gateway behind a real port, and what it stored."""

    client: TestClient
    producer: RecordingProducer
    gateway: Gateway
    publisher: Publisher
    metrics: object

    async def post(self, body, headers, path="/hook/ring"):
        """Post a delivery; status and answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = headers(content) if callable(headers) else headers
        async with self.client.post(path, data=content, headers=given) as answer:
            return answer.status, await answer.read()

    def stored(self):
        """Raw events that the producer took."""
        return [codec.decode(RawEvent, each["value"]) for each in self.producer.of("raw-events")]

    def letters(self):
        """Kinds of the dead letters that the producer took."""
        return [
            dict(each["headers"])["x-dlq-kind"].decode()
            for each in self.producer.of("dead-letters")
        ]


@pytest.fixture
async def make_bench(make_publisher, make_intake, metrics):
    clients = []

    async def make(scheme="meta", producer=None, path="ring", explode=None):
        producer = producer or RecordingProducer()
        publisher = make_publisher(producer)
        await publisher.start()
        rings = family(scheme)
        if explode is not None:
            rings = Family("ring", rings.networks, rings.endpoint, explode)
        origin = Origin("webhook", "gw-hook-ring", "webhook")
        intake = make_intake(network=installed_network("webhook"), origin=origin)
        settings = GatewaySettings(
            webhooks={},
            hooks={path: HookSettings("ring", "", (KEY,))},
            hook_base="https://hooks.example",
            wait_seconds=2.0,
        )
        hooks = {path: Hook(rings, (KEY, OLD), TOKEN, {"webhook": intake})}
        gateway = Gateway(settings, Doors({}, {}, hooks), publisher, metrics, FixedClock())
        app = web.Application()
        app.add_routes(gateway.routes())
        client = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)
        return Bench(client, producer, gateway, publisher, metrics)

    yield make
    for client in clients:
        await client.close()


async def test_what_is_signed_is_stored_and_answered_without_a_body(make_bench, generic):
    bench = await make_bench()
    assert await bench.post([generic(1), generic(2)], meta) == (200, b"")
    assert await bench.post(generic(3), lambda body: meta(body, OLD)) == (200, b"")
    assert [raw.object_id for raw in bench.stored()] == [
        "webhook:shop:1",
        "webhook:shop:2",
        "webhook:shop:3",
    ]


async def test_a_bad_signature_is_401_and_stores_nothing(make_bench, generic):
    """Missing, wrong, of another body, re-serialised."""
    bench = await make_bench()
    body = json.dumps(generic(1)).encode()
    for headers in ({}, meta(body, b"not ours"), meta(body + b" "), x_signature(body)):
        status, _ = await bench.post(body, headers)
        assert status == 401
    assert bench.producer.sent == []
    counted = [
        value
        for name, labels, value in bench.metrics.samples()
        if name == "klingel_refused_total" and labels["reason"] == "http_401"
    ]
    assert counted == [4]


async def test_too_large_is_413_and_counted(make_bench):
    bench = await make_bench()
    body = b"[" + b" " * LIMIT + b"]"
    status, _ = await bench.post(body, meta)
    assert status == 413
    assert any(
        labels.get("reason") == "http_413" and value == 1
        for name, labels, value in bench.metrics.samples()
        if name == "klingel_refused_total"
    )
    assert bench.producer.sent == []


async def test_what_is_signed_and_unreadable_is_a_letter_and_200(make_bench, generic):
    """A body that is no JSON, one invalid object among valid ones: each has its fate."""
    bench = await make_bench()
    assert (await bench.post(b"{half", meta))[0] == 200
    assert (await bench.post([generic(1), {"id": 7}, generic(2)], meta))[0] == 200
    assert [raw.object_id for raw in bench.stored()] == ["webhook:shop:1", "webhook:shop:2"]
    assert bench.letters() == ["malformed_json", "wrong_type"]


async def test_our_own_stumbling_is_a_letter_too_and_in_the_end_503(make_bench):
    """I8: the brake stops a gateway whose mapping raises on everything."""

    def explode(_delivery):
        raise LookupError("ours")

    bench = await make_bench(explode=explode)
    statuses = [(await bench.post(b"{}", meta))[0] for _ in range(200)]
    assert statuses[0] == 200
    assert statuses[-1] == 503
    assert len(bench.letters()) == statuses.count(200)
    assert bench.gateway.broken


async def test_an_object_of_no_member_is_a_letter(make_bench):
    """A family that names a network it does not have loses nothing."""

    def explode(delivery):
        return [("stranger", NativeObject(delivery.body, {}))]

    bench = await make_bench(explode=explode)
    assert (await bench.post(b"{}", meta))[0] == 200
    assert bench.letters() == ["unhandled:LookupError"]
    assert bench.gateway.last_event_at is not None


async def test_what_kafka_never_takes_becomes_a_letter(make_bench, generic):
    """Too large for the broker: 200 all the same, since sending it again helps nobody."""
    producer = RecordingProducer()
    producer.failures.append(kafka_errors.MessageSizeTooLargeError())
    bench = await make_bench(producer=producer)
    assert (await bench.post(generic(1), meta))[0] == 200
    assert bench.stored() == []
    assert bench.letters() == ["too_large"]


async def test_no_answer_before_the_acknowledgement_and_503_without(
    make_bench, generic, eventually
):
    """I1: 2xx only once all of it is durable."""
    producer = RecordingProducer(automatic=False)
    bench = await make_bench(producer=producer)
    asked = asyncio.create_task(bench.post([generic(1), generic(2)], meta))
    await eventually(lambda: len(bench.stored()) == 2)
    producer.acknowledge(1)
    await eventually(lambda: bench.publisher.in_flight == 1)
    assert not asked.done()
    producer.acknowledge()
    assert (await asked)[0] == 200
    status, _ = await bench.post(generic(3), meta)
    assert status == 503


async def test_an_account_with_its_own_secret_is_the_channel(make_bench, generic):
    bench = await make_bench("telegram", path="ring/support")
    assert (await bench.post(generic(1), telegram, "/hook/ring/support"))[0] == 200
    (raw,) = bench.stored()
    assert raw.channel == "support"
    assert (await bench.post(generic(1), telegram, "/hook/ring/sales"))[0] == 404
    assert (await bench.post(generic(1), telegram, "/hook/ring"))[0] == 404
    assert (await bench.post(generic(1), telegram, "/hook/other"))[0] == 404


async def test_a_hub_delivers_to_the_subscriptions_address(make_bench, generic):
    bench = await make_bench("websub")
    path = f"/hook/ring/{subscription_id(KEY, TOPIC)}"
    body = json.dumps(generic(1)).encode()
    headers = websub(body) | {"Link": f'<{TOPIC}>; rel="self"', "Content-Type": "application/xml"}
    assert (await bench.post(body, headers, path))[0] == 200
    (raw,) = bench.stored()
    assert raw.context["topic"] == TOPIC
    assert (await bench.post(body, websub(body), "/hook/ring/else"))[0] == 401
    query = {"hub.mode": "subscribe", "hub.topic": TOPIC, "hub.challenge": "echo"}
    async with bench.client.get(path, params=query) as answer:
        assert (answer.status, await answer.text()) == (200, "echo")


async def test_handshakes_over_http(make_bench):
    bench = await make_bench()
    query = {"hub.mode": "subscribe", "hub.verify_token": TOKEN.decode(), "hub.challenge": "77"}
    async with bench.client.get("/hook/ring", params=query) as answer:
        assert (answer.status, await answer.text()) == (200, "77")
    async with bench.client.get("/hook/ring", params=query | {"hub.verify_token": "x"}) as answer:
        assert answer.status == 403


async def test_a_callback_is_stored_before_it_is_answered(make_bench):
    """Meta's deletion request: stored, answered with the address of its page; the page is served."""
    bench = await make_bench()
    path = "/hook/ring/-/forget"
    assert await bench.post(b"forged", {}, path) == (400, b"{}")
    assert bench.producer.sent == []
    status, body = await bench.post(b"signed", {}, path)
    assert status == 200
    assert json.loads(body) == {"url": "https://hooks.example/hook/ring/-/forget/u1"}
    (raw,) = bench.stored()
    assert raw.change == "deleted"
    async with bench.client.get(f"{path}/u1") as answer:
        page = await answer.text()
    assert page == "u1 https://hooks.example/hook/ring/-/forget"
    assert (await bench.post(b"", {}, "/hook/ring/-/other"))[0] == 404


# --- settings ----------------------------------------------------------------------------------


def test_hooks_come_from_the_environment(tmp_path):
    file = tmp_path / "secret"
    file.write_text("a-secret-token\n")
    settings = gateway_settings(
        {
            "KLINGEL_HOOKS": "meta, telegram/support-bot",
            "KLINGEL_HOOK_SECRET_META": "newest-secret older-secret",
            "KLINGEL_HOOK_VERIFY_META": "token",
            "KLINGEL_HOOK_SECRET_TELEGRAM_SUPPORT_BOT_FILE": str(file),
            "KLINGEL_HOOK_BASE": "https://hooks.example/",
            "KLINGEL_WHATSAPP_HASH_KEY": "sixteen bytes at least",
        }
    )
    assert settings.hash_key == "sixteen bytes at least"
    assert settings.hooks == {
        "meta": HookSettings("meta", "", (b"newest-secret", b"older-secret"), b"token"),
        "telegram/support-bot": HookSettings("telegram", "support-bot", (b"a-secret-token",)),
    }
    assert settings.hook_base == "https://hooks.example"


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"KLINGEL_HOOKS": "meta"}, "KLINGEL_HOOK_SECRET_META: hook meta has no secret"),
        ({"KLINGEL_HOOKS": "Meta"}, "a hook is a family such as meta"),
        ({"KLINGEL_HOOKS": "t/a-b,t/a.b"}, "two hooks share the name of their secret"),
        (
            {"KLINGEL_HOOKS": "x", "KLINGEL_HOOK_SECRET_X": "hunter2"},
            "KLINGEL_HOOK_SECRET_X: a secret has 8 to 256 bytes",
        ),
        (
            {
                "KLINGEL_HOOKS": "meta",
                "KLINGEL_HOOK_SECRET_META": "long-enough",
                "KLINGEL_WHATSAPP_HASH_KEY": "hunter2",
            },
            "KLINGEL_WHATSAPP_HASH_KEY: a key has 16 to 64 bytes",
        ),
        (
            {
                "KLINGEL_HOOKS": "x",
                "KLINGEL_HOOK_SECRET_X": "long enough",
                "KLINGEL_HOOK_SECRET_Y": "s",
            },
            "KLINGEL_HOOK_SECRET_Y: unknown setting",
        ),
    ],
)
def test_a_wrong_hook_is_one_sentence_without_its_secret(environ, says):
    with pytest.raises(ConfigurationError) as refused:
        gateway_settings(environ)
    assert says in str(refused.value)
    assert "hunter2" not in str(refused.value)
