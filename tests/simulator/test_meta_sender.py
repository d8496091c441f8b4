"""The stand-in that sends Meta's webhooks: every variant, in batches, signed rightly and wrongly.

The receiver is klingel's own: the gateway's check of the signature and handshake, the family's
explode, the networks' identities. What the sender writes as truth is what they find.
"""

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from klingel_connectors.signatures import proved, shake
from klingel_networks.contract import Delivery, NativeObject
from klingel_networks.mapped import raw_event
from klingel_networks.meta import FAMILY
from klingel_networks.registry import installed
from klingel_simulator.meta_command import main
from klingel_simulator.meta_sender import FORGERIES, MetaSender, Posting, forged, sign
from klingel_simulator.meta_traffic import BATCH_MOST, to_bodies, to_body, to_comment, variants
from klingel_simulator.traffic import GENERIC, Mix, Traffic
from klingel_simulator.truth import TruthFile
from klingel_simulator.whatsapp_traffic import Customer, to_message
from klingel_simulator.whatsapp_traffic import variants as whatsapp_variants

SECRET, KEY = b"the app secret of the tests", b"0123456789abcdef0123456789abcdef"
MS = 1_783_175_888_130
NOW_US = MS * 1000


def everything():
    customer = Customer("491711234567", "DE.13491208655302741918", "@erika")
    return [
        *variants("12345654332", "17841452691600098", "987654321432", MS),
        *whatsapp_variants("102290129340398", "106540352242922", customer, MS, KEY),
    ]


def understood(body: bytes) -> list[tuple[str, str, int]]:
    """Return network, object id and revision of each object, as klingel maps it."""
    found = []
    for name, piece in FAMILY.explode(Delivery(body, {"hash_key": KEY.decode()})):
        assert isinstance(piece, NativeObject)
        network = installed().network(name)
        identity = network.identify(piece.native, piece.context)
        draft = network.to_social_event(raw_event(name, piece, identity))
        assert (draft.kind, draft.change) == (identity.kind, identity.change)
        found.append((name, identity.object_id, identity.revision))
    return found


@asynccontextmanager
async def receiver(heard: list[bytes], statuses: list[int]):
    """Serve klingel's door; `statuses` are answered first, each once."""

    async def post(request: web.Request) -> web.Response:
        body = await request.read()
        if statuses:
            return web.Response(status=statuses.pop(0))
        if not proved("meta", request.headers, body, [SECRET]):
            return web.Response(status=401)
        heard.append(body)
        return web.Response(status=200)

    async def get(request: web.Request) -> web.Response:
        status, body, _ = shake("meta", request.query, [SECRET], b"our token", "")
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_post("/hook/meta", post)
    app.router.add_get("/hook/meta", get)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/hook/meta"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("size", [1, 7, BATCH_MOST])
async def test_every_variant_arrives_as_what_the_truth_says(tmp_path, size):
    updates, heard, truth = everything(), [], tmp_path / "truth.ndjson"
    async with receiver(heard, [503, 500]) as url:
        with TruthFile(truth) as file:
            posting = Posting(url, SECRET, batch=size, connections=3, redeliver=0)
            sender = MetaSender(posting, file, now_us=lambda: NOW_US)
            await sender.run(updates)
    assert sender.tally.sent == len(updates)
    assert sender.tally.attempts == sender.tally.deliveries + 2
    found = [each for body in heard for each in understood(body)]
    assert len(found) == len(updates)
    wanted = Counter(
        (each.network, each.object_id, each.revision) for each in updates if each.object_id
    )
    assert not wanted - Counter(found)
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert (
        Counter((each["network"], each["object_id"], each["revision"]) for each in lines) == wanted
    )


async def test_no_forgery_is_taken_and_the_handshake_wants_the_token():
    heard: list[bytes] = []
    body = to_body(everything()[:1])
    async with receiver(heard, []) as url, aiohttp.ClientSession() as session:
        sender = MetaSender(Posting(url, SECRET), TruthFile(None), now_us=lambda: NOW_US)
        for forgery in FORGERIES:
            assert await sender.attempt(session, body, forgery) == 401
        assert heard == []
        assert await sender.attempt(session, body) == 200
        assert await sender.handshake(session, "our token", "1158201444") == "1158201444"
        with pytest.raises(aiohttp.ClientResponseError):
            await sender.handshake(session, "another", "1158201444")
    assert heard == [body]


def test_the_signature_is_that_of_the_published_scheme():
    # HMAC-SHA256 of RFC 4231, test case 2, as the header writes it.
    assert sign(b"Jefe", b"what do ya want for nothing?") == (
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
    assert json.loads(forged(SECRET, b'{"a":1}', "reserialised")[0]) == {"a": 1}


def test_a_batch_holds_one_object_and_no_more_than_a_thousand():
    bodies = list(to_bodies(everything() * 40, BATCH_MOST))
    assert max(len(updates) for _, updates in bodies) <= BATCH_MOST
    assert sum(len(updates) for _, updates in bodies) == len(everything()) * 40
    with pytest.raises(ValueError, match="1 to 1000"):
        list(to_bodies([], BATCH_MOST + 1))


def test_simulated_talk_is_understood_as_it_was_meant():
    traffic = Traffic(7, count=300, dialect=GENERIC, mix=Mix(hostile=0.2))
    comments, messages = [], []
    for said in traffic:
        if said.kind in {"post", "reply"}:
            comments.append(to_comment(said, "12345654332", MS))
            told = to_message(said, "10229", "106540352242922", MS, KEY)
            messages += [] if told is None else [told]
    for updates in (comments, messages):
        assert len(updates) > 50
        found = understood(to_body(updates))
        assert found == [(each.network, each.object_id, each.revision) for each in updates]


async def test_the_command_rings_and_tells_what_it_sent(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("META_SECRET", SECRET.decode())
    monkeypatch.setenv("META_KEY", KEY.decode())
    heard, truth = [], tmp_path / "truth.ndjson"
    async with receiver(heard, []) as url:
        arguments = ["--url", url, "--secret-env", "META_SECRET", "--key-env", "META_KEY"]
        arguments += ["--variants", "--events", "60", "--rate", "0", "--batch", "5"]
        code = await asyncio.to_thread(
            main, [*arguments, "--redeliver", "0", "--truth", str(truth)]
        )
    assert code == 0
    tally = json.loads(capsys.readouterr().out)
    found = [each for body in heard for each in understood(body)]
    assert tally["sent"] == len(found) > len(everything())
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    sent = Counter((each["network"], each["object_id"], each["revision"]) for each in lines)
    assert not sent - Counter(found)
    assert {each[0] for each in found} == set(FAMILY.networks)


@pytest.mark.parametrize("wrong", [["--batch", "0"], ["--networks", "x"], ["--secret-env", "NONE"]])
def test_bad_options_get_one_sentence(wrong, monkeypatch, capsys):
    monkeypatch.setenv("META_SECRET", "s")
    assert main(["--url", "http://127.0.0.1:1", "--secret-env", "META_SECRET", *wrong]) == 2
    assert capsys.readouterr().err.count("\n") == 1
