"""What a webhook tells without its words is asked for by its id: Instagram's mentions."""

import asyncio
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.model import MediaJob, RawEvent
from klingel.stage.fates import Fate
from klingel_connectors.media import WAITS
from klingel_connectors.raw import raw_output
from klingel_networks.arrival import Objects, Tools
from klingel_networks.instagram.client import addresses
from klingel_networks.registry import installed_network

from ..understand.test_lone_ids import PAGE, Counter
from .test_media import Queue, host, make_fetcher, make_worker

__all__ = ["host", "make_fetcher", "make_worker"]

COMMENT = {
    "id": "178",
    "text": "@nordlicht hilft nicht",
    "timestamp": "2026-03-02T12:00:00+0000",
    "username": "erika",
    "media": {"id": "179"},
}
MEDIUM = {
    "id": "180",
    "caption": "Grüße an nordlicht",
    "timestamp": "2026-03-02T12:00:00+0000",
    "username": "erika",
    "media_type": "IMAGE",
    "media_url": "https://scontent.example/a.jpg?sig=1",
}


class GraphStandIn:
    """The fields of an account that is mentioned; misbehaves on command."""

    def __init__(self):
        self.asked = []
        self.answers = {}
        self.status = 200

    async def answer(self, request):
        """Answer by the field that is asked for."""
        fields = request.query["fields"]
        self.asked.append((request.path, fields, request.headers.get("Authorization")))
        if self.status != 200:
            error = {"error": {"code": 100 if self.status == 400 else 2, "message": "no"}}
            return web.json_response(error, status=self.status)
        name = fields.partition(".")[0]
        return web.json_response({name: self.answers[name], "id": PAGE})


@pytest.fixture
async def graph():
    """Graph on a real port, and the client that asks it."""
    made = GraphStandIn()
    app = web.Application()
    app.router.add_get("/v25.0/{account}", made.answer)
    server = TestServer(app)
    await server.start_server()
    options = {
        "token": SecretStr("t0ken"),
        "accounts": PAGE,
        "graph_url": str(server.make_url("")).rstrip("/"),
        "graph_version": "v25.0",
    }
    made.client = addresses(options, Tools())
    yield made
    await server.close()


def mention(**value):
    """Return a webhook's body that tells of a mention."""
    change = {"field": "mentions", "value": value}
    entry = {"id": PAGE, "time": 1_772_452_800, "changes": [change]}
    return json.dumps({"object": "instagram", "entry": [entry]}).encode()


def jobs_of(counter):
    """Return the jobs so far."""
    return [
        codec.decode(MediaJob, each.value) for each in counter.broker.messages(Topic.MEDIA_JOBS)
    ]


async def done(make_worker, graph, job, eventually):
    """Let the worker do a job; return the raw events and the further jobs that came of it."""
    queue = Queue(codec.encode(job))
    worker, producer, stop = await make_worker(queue, {"instagram": graph.client})
    running = asyncio.create_task(worker.run())
    await eventually(lambda: queue.commits == [1])
    stop.set()
    await running
    return (
        [codec.decode(RawEvent, each["value"]) for each in producer.of(Topic.RAW_EVENTS)],
        [codec.decode(MediaJob, each["value"]) for each in producer.of(Topic.MEDIA_JOBS)],
    )


async def test_a_comment_that_mentions_us_gets_its_words(make_worker, graph, eventually):
    """Heard at once without them, then with them: the same event, the same conversation."""
    counter = Counter()
    before = counter.rings("instagram", mention(comment_id="178", media_id="179"))
    assert before.text is None
    (job,) = jobs_of(counter)
    assert (job.object_id, job.kind, job.channel, job.whole) == (
        "instagram:network:178",
        "comment",
        PAGE,
        True,
    )
    assert [(each.kind, each.id, each.url) for each in job.media] == [
        ("link", "instagram:network:178", None)
    ]
    graph.answers["mentioned_comment"] = COMMENT
    (raw,), again = await done(make_worker, graph, job, eventually)
    assert again == []
    ((path, fields, authorization),) = graph.asked
    assert path == f"/v25.0/{PAGE}"
    assert fields.startswith("mentioned_comment.comment_id(178){id,text,")
    assert authorization == "Bearer t0ken"
    assert installed_network("instagram").identify(bytes(raw.native), raw.context).object_id == (
        before.object_id
    )
    counter.put(raw_output(raw))
    (outcome,) = counter.stage.advance()
    assert outcome.fate is Fate.DELIVERED
    after = counter.social()[-1]
    assert (after.text, after.object_id, after.event_id) == (
        COMMENT["text"],
        before.object_id,
        before.event_id,
    )
    assert after.conversation_id == before.conversation_id == "instagram:network:179"
    assert (after.mentions, after.kind, after.channel) == ([PAGE], "comment", PAGE)
    assert len(jobs_of(counter)) == 1


async def test_a_medium_that_mentions_us_gets_words_and_picture(make_worker, graph, eventually):
    """The picture is a job of its own."""
    counter = Counter()
    counter.rings("instagram", mention(media_id="180"))
    (job,) = jobs_of(counter)
    graph.answers["mentioned_media"] = MEDIUM
    (raw,), _ = await done(make_worker, graph, job, eventually)
    counter.put(raw_output(raw))
    counter.stage.advance()
    assert (counter.social()[-1].text, counter.social()[-1].kind) == (MEDIUM["caption"], "post")
    _, picture = jobs_of(counter)
    assert (picture.whole, [each.url for each in picture.media]) == (None, [MEDIUM["media_url"]])


@pytest.mark.parametrize("answer", [{"id": "1"}, None, [], "x", {"text": "without an id"}])
async def test_an_answer_that_is_another_object_is_none(make_worker, graph, answer, eventually):
    """The event stays as it was heard."""
    counter = Counter()
    counter.rings("instagram", mention(comment_id="178", media_id="179"))
    graph.answers["mentioned_comment"] = answer
    assert await done(make_worker, graph, jobs_of(counter)[0], eventually) == ([], [])


async def test_a_refusal_is_final_and_an_outage_is_tried_again(make_worker, graph, eventually):
    """To the last attempt; nothing of it delays the event."""
    counter = Counter()
    counter.rings("instagram", mention(comment_id="178", media_id="179"))
    (job,) = jobs_of(counter)
    graph.status = 400
    assert await done(make_worker, graph, job, eventually) == ([], [])
    graph.status = 500
    raws, (again,) = await done(make_worker, graph, job, eventually)
    assert raws == []
    assert (again.attempt, again.whole) == (1, True)
    assert again.not_before is not None
    last = codec.decode(
        MediaJob, codec.encode(job).replace(b'"media"', b'"attempt":%d,"media"' % len(WAITS))
    )
    assert last.attempt == len(WAITS)
    assert await done(make_worker, graph, last, eventually) == ([], [])


def test_what_is_told_with_its_words_is_asked_for_by_nobody():
    """A comment below our own media; a mention that nobody heard."""
    counter = Counter()
    value = {"id": "5", "text": "hallo nordlicht", "from": {"id": "7"}, "media": {"id": "6"}}
    change = {"field": "comments", "value": value}
    entry = {"id": PAGE, "time": 1_772_452_800, "changes": [change]}
    counter.rings("instagram", json.dumps({"object": "instagram", "entry": [entry]}).encode())
    assert jobs_of(counter) == []


def test_only_who_can_be_asked_is_asked(graph):
    """The port is what `addresses` may offer."""
    assert isinstance(graph.client, Objects)
