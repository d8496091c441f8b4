"""Signed deliveries: the specification's vectors, retries, truth, the generic event."""

import asyncio
import base64
import itertools
import json
from collections import Counter

import pytest
from aiohttp import web

from klingel_simulator.generic import GenericRenderer
from klingel_simulator.traffic import GENERIC, Traffic
from klingel_simulator.truth import TruthFile
from klingel_simulator.webhook import Posting, WebhookSender, batched, sign, to_key

NOW = 1_790_000_000_000_000
SECRET = "whsec_" + base64.b64encode(b"a secret of the tests only").decode()


@pytest.mark.parametrize(
    ("secret", "message_id", "timestamp", "body", "signature"),
    [
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            b'{"test": 2432232314}',
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "whsec_plJ3nmyCDGBKInavdOK15jsl",
            "msg_loFOjxBNrRLzqYUf",
            1731705121,
            b'{"event_type":"ping","data":{"success":true}}',
            "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        ),
    ],
)
def test_signatures_equal_the_published_vectors(secret, message_id, timestamp, body, signature):
    assert sign(to_key(secret), message_id, timestamp, body) == signature


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_***", "bm8gcHJlZml4"])
def test_a_wrong_secret_is_refused_without_being_repeated(secret):
    with pytest.raises(ValueError, match="whsec_ followed by base64") as refusal:
        to_key(secret)
    assert secret in {"", "whsec_"} or secret not in str(refusal.value)


def test_batches_hold_at_most_their_size():
    assert [list(batch) for batch in batched([1, 2, 3], 2)] == [[1, 2], [3]]


class Receiver:
    """A webhook endpoint that checks signatures and fails as told."""

    def __init__(self, failures):
        self.failures = failures
        self.bodies: dict[str, list[bytes]] = {}
        self.events: list[dict] = []
        self.answers: Counter[int] = Counter()

    async def post(self, request):
        """Answer one delivery."""
        body = await request.read()
        message_id = request.headers["webhook-id"]
        expected = sign(to_key(SECRET), message_id, int(request.headers["webhook-timestamp"]), body)
        assert request.headers["webhook-signature"] == expected
        self.bodies.setdefault(message_id, []).append(body)
        status = next(self.failures, 200)
        self.answers[status] += 1
        if status == 200:
            self.events += json.loads(body)
        return web.Response(status=status)


async def send(tmp_path, failures, *, events=400, redeliver=0.0):
    receiver = Receiver(iter(failures))
    app = web.Application()
    app.router.add_post("/in", receiver.post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    ticks = itertools.count()
    posting = Posting(
        url=f"http://127.0.0.1:{runner.addresses[0][1]}/in",
        key=to_key(SECRET),
        source="shop",
        redeliver=redeliver,
    )
    path = tmp_path / "truth.ndjson"
    try:
        with TruthFile(path) as truth:
            sender = WebhookSender(
                Traffic(4, count=events, dialect=GENERIC, account="nordlicht"),
                GenericRenderer(4, "community"),
                truth,
                posting,
                now_us=lambda: NOW + next(ticks) * 1_000,
            )
            async with asyncio.timeout(30):
                await sender.run(0)
    finally:
        await runner.cleanup()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return receiver, sender.tally, lines


def rows(events):
    return Counter((f"webhook:shop:{e['id']}", e["change"], e["revision"]) for e in events)


async def test_truth_is_what_the_receiver_accepted_and_retries_keep_id_and_body(tmp_path):
    receiver, tally, truth = await send(tmp_path, [503, 500, 429])
    assert rows(receiver.events) == Counter(
        (line["object_id"], line["event"], line["revision"]) for line in truth
    )
    assert tally.sent == 400
    assert tally.attempts == tally.deliveries + 3
    assert sum(len(bodies) - 1 for bodies in receiver.bodies.values()) == 3
    assert all(len(set(bodies)) == 1 for bodies in receiver.bodies.values())


async def test_what_is_refused_is_not_in_the_truth(tmp_path):
    receiver, tally, truth = await send(tmp_path, [422])
    assert tally.refused == 20
    assert tally.sent == 380 == len(truth)
    assert len(receiver.bodies) == 20


async def test_accepted_deliveries_are_sent_again_when_asked(tmp_path):
    receiver, tally, truth = await send(tmp_path, [], redeliver=1.0)
    assert tally.redelivered == tally.deliveries == 20
    assert all(len(bodies) == 2 for bodies in receiver.bodies.values())
    assert len(truth) == 400


def test_generic_events_have_the_public_form():
    renderer = GenericRenderer(4, "community")
    traffic = Traffic(4, count=3_000, dialect=GENERIC, account="nordlicht")
    events = [(said, json.loads(renderer.to_event(said, NOW))) for said in traffic]
    required = {"id", "network", "author", "text", "published_at"}
    optional = {"kind", "change", "revision", "conversation_id", "in_reply_to", "lang"}
    optional |= {"visibility", "direction", "url", "media", "metrics", "target"}
    optional |= {"changed_at"}
    published: dict[str, str] = {}
    for said, event in events:
        assert required <= set(event) <= required | optional
        assert event["text"] == said.text
        assert event["author"]["id"]
        assert ("changed_at" in event) == (said.operation == "update")
        assert published.setdefault(event["id"], event["published_at"]) == event["published_at"]
    replies = [e for _, e in events if e["kind"] == "reply"]
    assert all(e["conversation_id"] != e["id"] and e["in_reply_to"] for e in replies)
    assert {e["direction"] for _, e in events if "direction" in e} == {"inbound", "outbound"}
