"""The media worker: every job has its outcome, nothing of ours is fetched, nothing is fetched for ever."""

import asyncio
import contextlib
import gzip
import hashlib
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from kafka import errors as kafka_errors
from yarl import URL

from klingel.clock import SystemClock
from klingel.contracts import codec
from klingel.contracts.blobs import BlobStore
from klingel.contracts.envelope import SOURCE_HEADER, SourcePosition
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key
from klingel.errors import (
    ConfigurationError,
    CredentialsRejected,
    InvalidMessage,
    SourceUnavailable,
)
from klingel.model import MediaJob, RawEvent
from klingel.model.media_job import MediumToFetch
from klingel.stage.audit import standing
from klingel.stage.fates import Fate, Outcome
from klingel.stage.ledger import Tally
from klingel.testing.clock import FixedClock
from klingel_connectors.books import Books
from klingel_connectors.fetch import (
    FetchBounds,
    Fetcher,
    NeverError,
    checked,
    is_public,
    next_hop,
)
from klingel_connectors.job_books import JobBooks, Standing
from klingel_connectors.media import WAITS, Found, MediaPlan, MediaWorker, decide, job_output
from klingel_connectors.settings import media_settings
from klingel_connectors.sniff import content_type, fits
from klingel_connectors.stores import FolderStore
from klingel_connectors.suppression import Erased
from klingel_connectors.testing import RecordingProducer
from klingel_networks.arrival import MediaAddress
from klingel_networks.object_store import S3Settings, S3Store, signed_headers
from klingel_networks.registry import installed_network

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(2000)
SHA = hashlib.sha256(PNG).hexdigest()


# --- where may we go ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:53aa:64c:0:0:80ff:fffe",
        "ff02::1",
        "127.1",
        "localhost",
        "",
        "é",
    ],
)
def test_private_addresses_are_refused_in_every_disguise(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "157.240.0.35", "2606:4700::1111", "64:ff9b::808:808"]
)
def test_public_addresses_are_not(address):
    assert is_public(address)


@given(st.ip_addresses())
def test_no_address_raises(address):
    assert is_public(str(address)) in {True, False}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a",
        "http://[::1]/a",
        "https://10.0.0.1/",
        "ftp://cdn.example/a",
        "file:///etc/passwd",
        "https://user:pw@cdn.example/a",
        "https://cdn.example:6379/",
        "//cdn.example/a",
        "https:///a",
        "https://cdn.example:99999/",
        "http://[::1",
        "",
        "\x00",
    ],
)
def test_addresses_that_are_none_of_the_web_are_refused(url):
    with pytest.raises(NeverError):
        checked(url, FetchBounds())


@given(st.text(max_size=60))
def test_no_text_raises_anything_else(text):
    with contextlib.suppress(NeverError):
        checked(text, FetchBounds())


def test_a_redirect_keeps_encryption_and_gives_the_authorisation_to_nobody_else():
    here, bounds, secret = URL("https://graph.example/1"), FetchBounds(), {"Authorization": "x"}
    trusted = frozenset({"cdn.example"})
    assert next_hop(here, "/2", secret, trusted, bounds)[1] == secret
    assert next_hop(here, "https://cdn.example/2", secret, trusted, bounds)[1] == secret
    assert next_hop(here, "https://evil.example/2", secret, trusted, bounds)[1] == {}
    for location in ("http://graph.example/1", "https://10.0.0.1/", "gopher://x", "https://[", ""):
        if location:
            with pytest.raises(NeverError):
                next_hop(here, location, secret, trusted, bounds)


# --- what is it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\x00\x00\x00\x18ftypmp42", "video/mp4"),
        (b"\x00\x00\x00\x18ftypheic", "image/heic"),
        (b"\x00\x00\x00\x18ftypM4A ", "audio/mp4"),
        (b"OggS", "audio/ogg"),
        (b"#!AMR\n", "audio/amr"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xf1\x50", "audio/aac"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"%PDF-1.7", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"\xef\xbb\xbf  <!DOCTYPE HTML>", "text/html"),
        (b"<svg xmlns=", "text/html"),
        (b"MZ\x90", "application/x-executable"),
        ("Grüße".encode() * 200, "text/plain"),
        (b"\x00\x01\x02", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_the_content_says_what_it_is(head, found):
    assert content_type(head) == found


@given(st.binary(max_size=600))
def test_every_content_has_a_type(head):
    assert "/" in content_type(head)


def test_a_page_is_no_image():
    assert not fits("image", "text/html")
    assert not fits("video", "application/x-executable")
    assert fits("file", "text/html")
    assert fits("sticker", "image/webp")
    assert fits("image", "video/mp4"), "animated images come as films"


# --- fetching over real sockets ----------------------------------------------------------------


WHERE = {
    "loop": "/loop",
    "inside": "http://169.254.169.254/latest",
    "named": "http://localhost/x",
    "moved": "/png",
}


class Host:
    """A host of media that misbehaves on command."""

    def __init__(self):
        self.asked = []
        self.status = {}

    async def answer(self, request):
        """Answer by the path's word."""
        word = request.match_info["word"]
        self.asked.append((word, dict(request.headers)))
        status = self.status.get(word, 200)
        if status != 200:
            return web.Response(status=status, headers={"Retry-After": "7"})
        if word in {"endless", "stall"}:
            return await self._drip(request, word)
        if word in WHERE:
            return web.Response(status=302, headers={"Location": WHERE[word]})
        if word == "packed":
            return web.Response(
                body=gzip.compress(bytes(10**6)), headers={"Content-Encoding": "gzip"}
            )
        body = {"page": b"<html>sign in", "empty": b""}.get(word, PNG)
        return web.Response(body=body, content_type="text/html")

    async def _drip(self, request, word):
        """Send without an end, or begin and fall silent."""
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"\x89PNG")
        while word == "endless":
            await response.write(bytes(65536))
        await asyncio.sleep(30)


@pytest.fixture
async def host():
    """A host on a real port; `host.at(word)` is an address of it."""
    made = Host()
    app = web.Application()
    app.router.add_get("/{word}", made.answer)
    server = TestServer(app)
    await server.start_server()
    made.port = server.port
    made.at = lambda word: f"http://127.0.0.1:{server.port}/{word}"
    yield made
    await server.close()


@pytest.fixture
async def make_fetcher(host):
    made = []

    def make(**more):
        bounds = {
            "most_bytes": 100_000,
            "seconds": 2.0,
            "ports": frozenset({80, 443, host.port}),
            "allowed": lambda address: address == "127.0.0.1" or is_public(address),
        }
        fetcher = Fetcher(FetchBounds(**bounds | more))
        made.append(fetcher)
        return fetcher

    yield make
    for fetcher in made:
        await fetcher.close()


async def failure(fetcher, url):
    """Return the name of a failure, or `later`, or `stored`."""
    try:
        await fetcher.fetch(MediaAddress(url))
    except NeverError as error:
        return error.failure
    except SourceUnavailable:
        return "later"
    return "stored"


async def test_what_a_host_may_do_to_us_is_bounded(make_fetcher, host):
    """Endless, packed, looping, led inside: refused; and the name of the failure says which."""
    fetcher = make_fetcher()
    assert await failure(fetcher, host.at("png")) == "stored"
    assert await failure(fetcher, host.at("moved")) == "stored"
    assert await failure(fetcher, host.at("endless")) == "too_large"
    assert await failure(fetcher, host.at("packed")) == "packed"
    assert await failure(fetcher, host.at("loop")) == "bad_redirect"
    assert await failure(fetcher, host.at("inside")) == "private_address"
    assert await failure(fetcher, host.at("empty")) == "empty"
    host.status |= {"gone": 404, "forbidden": 403, "away": 503, "many": 429}
    assert await failure(fetcher, host.at("gone")) == "gone"
    assert await failure(fetcher, host.at("forbidden")) == "refused"
    assert await failure(fetcher, host.at("away")) == "later"
    with pytest.raises(Exception, match="fewer calls") as limited:
        await fetcher.fetch(MediaAddress(host.at("many")))
    assert limited.value.retry_after == 7
    assert await failure(make_fetcher(seconds=0.2), host.at("stall")) == "later"


async def test_a_name_that_leads_inside_is_refused_also_behind_a_redirect(make_fetcher, host):
    """DNS: whatever it answers, what is connected to was checked."""
    refusing = make_fetcher(allowed=is_public)
    assert await failure(refusing, f"http://localhost:{host.port}/png") == "private_address"
    disguised = {"bad_address", "private_address"}
    assert await failure(refusing, "http://127.1/") in disguised
    assert await failure(refusing, "http://2130706433/") in disguised
    allowing = make_fetcher(allowed=lambda address: address == "127.0.0.1" and not refused)
    refused = False
    assert await failure(allowing, host.at("png")) == "stored"
    refused = True
    assert await failure(allowing, host.at("named")) == "private_address"
    assert all(word != "x" for word, _ in host.asked)


async def test_headers_of_a_network_reach_its_host_only(make_fetcher, host):
    fetcher = make_fetcher()
    await fetcher.fetch(MediaAddress(host.at("png"), {"Authorization": "Bearer t"}))
    assert host.asked[-1][1]["Authorization"] == "Bearer t"
    assert host.asked[-1][1]["Accept-Encoding"] == "identity"


# --- decisions ---------------------------------------------------------------------------------


def job(*media, **more):
    """Return a job."""
    given = {
        "object_id": "whatsapp:1:m1",
        "revision": 0,
        "network": "whatsapp",
        "kind": "direct_message",
        "mode": "live",
        "channel": "1",
        "requested_at": NOW,
        "media": list(media),
    }
    return MediaJob(**given | more)


def medium(name="a", **more):
    """Return a medium to fetch."""
    return MediumToFetch(kind="image", id=name, **more)


FATES = st.sampled_from(["stored", "failed", "later"])


@given(st.lists(st.lists(FATES, min_size=3, max_size=3), min_size=12, max_size=12))
def test_every_job_ends_within_its_attempts_and_tells_each_fate(rounds):
    """A few completions at most, the last one with every medium's fate, never a second fetch."""
    current = job(medium("a"), medium("b"), medium("c"))
    told, now = [], NOW
    for fates in rounds:
        found = []
        for each, fate in zip(current.media, fates, strict=True):
            if each.sha256 or each.failure:
                found.append(Found(each, "stored"))
            elif fate == "stored":
                found.append(Found(msgspec.structs.replace(each, sha256="0" * 64), fate))
            elif fate == "failed":
                found.append(Found(msgspec.structs.replace(each, failure="gone"), fate))
            else:
                found.append(Found(each, fate))
        completion, again = decide(current, found, "media", now)
        if completion is not None:
            told.append(completion)
            assert codec.decode(RawEvent, codec.encode(completion)) == completion
        if again is None:
            break
        assert again.not_before == now + timedelta(seconds=WAITS[current.attempt or 0])
        codec.decode(MediaJob, job_output(again, "media", now).value)
        current, now = again, again.not_before
    else:
        pytest.fail("a job that never ends")
    assert 1 <= len(told) <= 2
    assert len({each.event_id for each in told}) == 1
    last = json.loads(bytes(told[-1].native))["media"]
    assert {each["status"] for each in last} <= {"stored", "failed"}


def test_a_completion_is_read_by_every_network():
    """The registry's mappings read it; it says nothing but the media."""
    stored = msgspec.structs.replace(medium("7", alt="Ein Router"), sha256=SHA)
    (completion, _) = decide(job(stored), [Found(stored, "stored")], "media", NOW)
    for name in ("bluesky", "webhook"):
        draft = installed_network(name).to_social_event(completion)
        assert (draft.kind, draft.change, draft.text) == ("direct_message", "completed", None)
        (told,) = draft.media
        assert (told.id, told.sha256, told.status, told.alt) == ("7", SHA, "stored", "Ein Router")
    broken = msgspec.structs.replace(completion, native=msgspec.Raw(b'{"media": [{"kind": 7}]}'))
    with pytest.raises(InvalidMessage):
        installed_network("bluesky").to_social_event(broken)


# --- the worker --------------------------------------------------------------------------------


class Queue:
    """Jobs as a KafkaConsumer gives them."""

    def __init__(self, *values):
        self.records = [
            SimpleNamespace(offset=at, value=value, headers=[]) for at, value in enumerate(values)
        ]
        self.commits = []
        self.metadata = ""
        self.closed = False

    def poll(self, timeout_ms=0):
        """Return what is new."""
        found, self.records = self.records, []
        return {"p0": found} if found else {}

    def assignment(self):
        """Return the one partition."""
        return {"p0"}

    def pause(self, *places):
        """Nothing to pause."""

    def resume(self, *places):
        """Nothing to resume."""

    def commit(self, offsets):
        """Note it."""
        offset, self.metadata = offsets["p0"]
        self.commits.append(offset)

    def close(self):
        """Note it."""
        self.closed = True


class Fresh:
    """A network that knows the present address of its media."""

    def __init__(self, host, *words):
        self.host = host
        self.words = list(words)
        self.asked = []

    async def address(self, object_id, medium, url):
        """Return the next address."""
        self.asked.append((object_id, medium, url))
        word = self.words.pop(0)
        if isinstance(word, Exception):
            raise word
        return MediaAddress(self.host.at(word))


KEY = Key("a key that stands for ever")


def nobody_erased():
    """Return what is known where nobody was erased, read to the end."""
    found = Erased(KEY)
    found._known.set()
    return found


def erase(known, kind, name, at):
    """Let somebody be erased."""
    told = KEY.suppression(kind, name, at)
    known.take(
        Topic.SUPPRESSIONS, SimpleNamespace(key=told.subject.encode(), value=codec.encode(told))
    )


@pytest.fixture
def make_worker(make_publisher, make_fetcher, metrics, tmp_path):
    async def make(queue, addresses=None, store=None, sleep=None, clock=None, erased=None):
        producer = RecordingProducer()
        publisher = make_publisher(producer)
        await publisher.start()
        stop = asyncio.Event()
        worker = MediaWorker(
            instance="media-1",
            jobs=queue,
            fetcher=make_fetcher(),
            store=store or FolderStore(BlobStore(tmp_path / "blobs")),
            addresses=addresses or {},
            publisher=publisher,
            books=Books("connector-media", "h", NOW),
            metrics=metrics,
            clock=clock or SystemClock(),
            plan=MediaPlan(poll_ms=0, commit_seconds=0.0),
            stop=stop,
            offset=lambda offset, metadata: (offset, metadata),
            standing=lambda _place: Standing(0, (queue.commits or [0])[-1], queue.metadata),
            holder="h",
            suppressions=erased or nobody_erased(),
            sleep=sleep or asyncio.sleep,
        )
        return worker, producer, stop

    return make


def completions(producer):
    """Return the media of every completion, by object."""
    found = {}
    for record in producer.of(Topic.RAW_EVENTS):
        raw = codec.decode(RawEvent, record["value"])
        found[raw.object_id] = json.loads(bytes(raw.native))["media"]
    return found


async def test_jobs_are_done_and_committed_in_order(make_worker, host, eventually, tmp_path):
    queue = Queue(
        codec.encode(job(medium("a", url=host.at("png")))),
        b"{broken",
        codec.encode(job(medium("b", url=host.at("page")), object_id="whatsapp:1:m2")),
        codec.encode(job(medium("c"), object_id="whatsapp:1:m3")),
    )
    worker, producer, stop = await make_worker(queue)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: queue.commits[-1:] == [4])
    stop.set()
    await running
    told = completions(producer)
    assert (told["whatsapp:1:m1"][0]["status"], told["whatsapp:1:m1"][0]["sha256"]) == (
        "stored",
        SHA,
    )
    assert told["whatsapp:1:m2"][0]["status"] == "failed"
    assert told["whatsapp:1:m3"][0]["status"] == "failed"
    assert (tmp_path / "blobs" / SHA[:2] / SHA).read_bytes() == PNG
    assert queue.closed


async def test_an_address_that_ended_is_refreshed(make_worker, host, eventually):
    host.status["ended"] = 403
    fresh = Fresh(host, "png")
    queue = Queue(codec.encode(job(medium("a", url=host.at("ended")))))
    worker, producer, stop = await make_worker(queue, {"whatsapp": fresh})
    running = asyncio.create_task(worker.run())
    await eventually(lambda: queue.commits == [1])
    stop.set()
    await running
    assert fresh.asked == [("whatsapp:1:m1", "a", host.at("ended"))]
    assert completions(producer)["whatsapp:1:m1"][0]["status"] == "stored"


async def test_what_cannot_be_had_now_is_tried_again_and_holds_up_nobody(
    make_worker, host, eventually
):
    host.status["away"] = 503
    queue = Queue(
        codec.encode(job(medium("a", url=host.at("away")), medium("b", url=host.at("png")))),
        codec.encode(job(medium("c", url=host.at("png")), object_id="whatsapp:1:m2")),
    )
    worker, producer, stop = await make_worker(queue)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: queue.commits[-1:] == [2])
    stop.set()
    await running
    (again,) = [codec.decode(MediaJob, each["value"]) for each in producer.of(Topic.MEDIA_JOBS)]
    assert (again.attempt, again.media[0].sha256, again.media[1].sha256) == (1, None, SHA)
    assert [each["status"] for each in completions(producer)["whatsapp:1:m1"]] == [
        "remote",
        "stored",
    ]
    assert completions(producer)["whatsapp:1:m2"][0]["status"] == "stored"


async def test_a_job_waits_for_its_time_and_asks_for_a_fresh_address(make_worker, host, eventually):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    later = SystemClock().now() + timedelta(seconds=90)
    fresh = Fresh(host, "png")
    again = job(medium("a", url=host.at("old")), attempt=2, not_before=later)
    queue = Queue(codec.encode(again))
    worker, producer, stop = await make_worker(queue, {"whatsapp": fresh}, sleep=sleep)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: queue.commits == [1])
    stop.set()
    await running
    assert 80 < slept[0] <= 90
    assert [word for word, _ in host.asked] == ["png"]
    assert completions(producer)["whatsapp:1:m1"][0]["status"] == "stored"


@pytest.mark.parametrize(
    ("kind", "name"), [("author", "whatsapp:bsuid:DE.1"), ("object", "whatsapp:1:m1")]
)
@pytest.mark.parametrize("whole", [None, True])
async def test_a_job_that_waits_is_not_done_once_its_author_or_object_is_erased(
    make_worker, host, eventually, kind, name, whole
):
    """K14, I11: the erasure comes while the job waits; what the author says afterwards is fetched."""
    known = nobody_erased()

    async def sleep(_seconds):
        erase(known, kind, name, NOW)

    waiting = job(
        medium("a", url=host.at("png")),
        author_id="bsuid:DE.1",
        attempt=1,
        not_before=SystemClock().now() + timedelta(seconds=90),
        whole=whole,
    )
    later = job(
        medium("b", url=host.at("png")),
        object_id="whatsapp:1:m2",
        author_id="bsuid:DE.1",
        requested_at=NOW + timedelta(seconds=1),
    )
    fresh = Fresh(host, "png")
    queue = Queue(codec.encode(waiting), codec.encode(later))
    worker, producer, stop = await make_worker(
        queue, {"whatsapp": fresh}, sleep=sleep, erased=known
    )
    running = asyncio.create_task(worker.run())
    await eventually(lambda: queue.commits[-1:] == [2])
    stop.set()
    await running
    assert list(completions(producer)) == ["whatsapp:1:m2"]
    assert (fresh.asked, producer.of(Topic.MEDIA_JOBS)) == ([], [])


async def test_no_job_is_done_before_it_is_known_who_was_erased(make_worker, host, eventually):
    known = Erased(KEY)
    queue = Queue(codec.encode(job(medium("a", url=host.at("png")))))
    worker, producer, stop = await make_worker(queue, erased=known)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: not queue.records)
    assert host.asked == []
    known._known.set()
    await eventually(lambda: queue.commits[-1:] == [1])
    stop.set()
    await running
    assert list(completions(producer)) == ["whatsapp:1:m1"]


async def test_a_network_may_say_that_a_medium_is_gone(make_worker, host, eventually):
    gone = InvalidMessage("missing_field", "no such medium")
    queue = Queue(codec.encode(job(medium("a"))))
    worker, producer, stop = await make_worker(queue, {"whatsapp": Fresh(host, gone)})
    running = asyncio.create_task(worker.run())
    await eventually(lambda: queue.commits == [1])
    stop.set()
    await running
    assert completions(producer)["whatsapp:1:m1"][0]["status"] == "failed"


async def test_a_store_that_is_away_is_waited_for_and_nothing_is_lost(
    make_worker, host, eventually, tmp_path
):
    class Away(FolderStore):
        refusals = 3

        async def put(self, content, content_type):
            if self.refusals:
                self.refusals -= 1
                raise SourceUnavailable("the store is away")
            return await super().put(content, content_type)

    async def sleep(_seconds):
        await asyncio.sleep(0)

    queue = Queue(codec.encode(job(medium("a", url=host.at("png")))))
    store = Away(BlobStore(tmp_path / "blobs"))
    worker, producer, stop = await make_worker(queue, store=store, sleep=sleep)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: queue.commits == [1])
    stop.set()
    await running
    assert completions(producer)["whatsapp:1:m1"][0]["status"] == "stored"


async def test_a_stop_leaves_undone_jobs_to_whoever_comes_next(make_worker, host, eventually):
    queue = Queue(codec.encode(job(medium("a", url=host.at("stall")))))
    worker, producer, stop = await make_worker(queue)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: host.asked)
    stop.set()
    await running
    assert queue.commits == []
    assert completions(producer) == {}


def standing_still(worker):
    """Return what stands still, as the probe asks it."""
    return {each.says for each in worker.signs(1.0) if each.seconds() > each.most}


async def test_a_job_that_never_ends_is_a_standstill_and_one_that_waits_is_none(
    make_worker, host, eventually
):
    clock = FixedClock()
    later = clock.now() + timedelta(hours=1)
    queue = Queue(codec.encode(job(medium("a", url=host.at("png")), not_before=later)))
    waiting = asyncio.Event()
    worker, _, stop = await make_worker(queue, clock=clock, sleep=lambda _seconds: waiting.wait())
    running = asyncio.create_task(worker.run())
    await eventually(lambda: worker._tasks)
    clock.advance(3000)
    await eventually(lambda: worker._pulse.still() == 0.0)
    assert standing_still(worker) == set()
    queue.records = [
        SimpleNamespace(
            offset=1, value=codec.encode(job(medium("b", url=host.at("stall")))), headers=[]
        )
    ]
    await eventually(lambda: host.asked)
    clock.advance(70)
    await eventually(lambda: worker._pulse.still() == 0.0)
    assert standing_still(worker) == {"none of its jobs ends"}
    stop.set()
    await running


async def test_offsets_that_cannot_be_committed_are_a_standstill(make_worker, host, eventually):
    clock = FixedClock()

    class Stuck(Queue):
        fails = True

        def commit(self, offsets):
            if self.fails:
                raise kafka_errors.CommitFailedError
            super().commit(offsets)

    queue = Stuck(codec.encode(job(medium("a", url=host.at("png")))))
    worker, _, stop = await make_worker(queue, clock=clock)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: worker._commits_fail_since is not None)
    clock.advance(61)
    await eventually(lambda: worker._pulse.still() == 0.0)
    assert standing_still(worker) == {"its offsets cannot be committed"}
    queue.fails = False
    await eventually(lambda: queue.commits == [1])
    assert standing_still(worker) == set()
    stop.set()
    await running


# --- the bucket --------------------------------------------------------------------------------


def test_the_signature_is_that_of_amazons_example():
    """AWS, "Authenticating Requests: Using the Authorization Header", Example: GET Object."""
    example = S3Settings(
        "https://examplebucket.s3.amazonaws.com",
        "",
        "us-east-1",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    )
    signed = signed_headers(
        example,
        "GET",
        URL("https://examplebucket.s3.amazonaws.com/test.txt"),
        {"Range": "bytes=0-9"},
        hashlib.sha256(b"").hexdigest(),
        datetime(2013, 5, 24, tzinfo=UTC),
    )
    assert signed["authorization"].endswith(
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    assert "EXAMPLEKEY" not in repr(example)


async def test_a_bucket_keeps_each_content_once():
    kept, asked = {}, []

    async def answer(request):
        asked.append(request.method)
        path = request.path
        names = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
        given = {name: request.headers[name] for name in names.split(";")}
        url, payload = request.url, given.pop("x-amz-content-sha256")
        for name in ("host", "x-amz-date"):
            given.pop(name)
        right = signed_headers(own, request.method, url, given, payload, FixedClock().now())
        if request.headers["authorization"] != right["authorization"]:
            return web.Response(status=403)
        if request.method == "DELETE":
            kept.pop(path, None)
            return web.Response(status=204)
        if request.method == "HEAD":
            return web.Response(status=200 if path in kept else 404)
        body = await request.read()
        if hashlib.sha256(body).hexdigest() != request.headers["x-amz-content-sha256"]:
            return web.Response(status=400)
        kept[path] = body
        return web.Response(status=200)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    endpoint = f"http://127.0.0.1:{server.port}"
    own = S3Settings(endpoint, "bucket", "eu", "key", "secret")
    store = S3Store(own, FixedClock())
    try:
        assert await store.put(PNG, "image/png") == SHA
        assert await store.put(PNG, "image/png") == SHA
        assert kept == {f"/bucket/media/{SHA[:2]}/{SHA}": PNG}
        assert asked == ["HEAD", "PUT", "HEAD"]
        assert [await store.forget(SHA), await store.forget(SHA)] == [True, False]
        assert kept == {}
        stranger = S3Store(S3Settings(endpoint, "bucket", "eu", "key", "wrong"), FixedClock())
        with pytest.raises(CredentialsRejected):
            await stranger.forget(SHA)
        await stranger.close()
    finally:
        await store.close()
        await server.close()
    away = S3Store(S3Settings(endpoint, "b", "eu", "k", "s"), FixedClock())
    with pytest.raises(SourceUnavailable):
        await away.put(PNG, "image/png")
    await away.close()


def test_media_settings_are_checked(tmp_path):
    assert media_settings({}).s3 is None
    environ = {
        "KLINGEL_MEDIA_S3_ENDPOINT": "https://s3.example/",
        "KLINGEL_MEDIA_S3_BUCKET": "b",
        "KLINGEL_MEDIA_S3_ACCESS_KEY": "k",
        "KLINGEL_MEDIA_S3_SECRET_KEY": "hunter2",
        "KLINGEL_MEDIA_MOST_BYTES": "2048",
    }
    settings = media_settings(environ)
    assert (settings.s3.endpoint, settings.most_bytes) == ("https://s3.example", 2048)
    for name, value in (
        ("KLINGEL_MEDIA_S3_SECRET_KEY", ""),
        ("KLINGEL_MEDIA_S3_ENDPOINT", "s3.example"),
        ("KLINGEL_MEDIA_SECONDS", "soon"),
        ("KLINGEL_MEDIA_COLOUR", "red"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            media_settings(environ | {name: value})
        assert name in str(refused.value)
        assert "hunter2" not in str(refused.value)


# --- the books ---------------------------------------------------------------------------------


def caused(offset, ordinal=1):
    """Return the headers of a job that understand wrote."""
    return ((SOURCE_HEADER, SourcePosition("raw-events", 0, offset, ordinal).encode()),)


DONE = Outcome(Fate.DELIVERED, network="whatsapp")


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)), st.randoms(use_true_random=False))
def test_the_books_count_each_job_once_whenever_the_worker_dies(order, deaths, chance):
    """In whatever order jobs end: lines and metadata cover what is done, and nothing twice."""
    headers = [caused(at) if at % 3 else () for at in range(8)]
    offset, metadata, lines = 0, "", []
    books = JobBooks(Standing(0, offset, metadata), "h")
    entries = {at: books.read(at, headers[at]) for at in range(8)}
    for number, at in enumerate(order):
        if at in entries:
            entries[at].outcome = DONE
        progress = books.progress(NOW, line_due=chance.random() < 0.3)
        if progress is not None:
            assert all(entries[each].outcome is DONE for each in range(offset, progress.offset))
            lines += [] if progress.line is None else [progress.line]
            if chance.random() < 0.7:
                books.committed()
                offset, metadata = progress.offset, progress.metadata
        if number in deaths:
            books = JobBooks(Standing(0, offset, metadata), "h")
            entries = {each: books.read(each, headers[each]) for each in range(offset, 8)}
    for entry in entries.values():
        entry.outcome = DONE
    last = books.progress(NOW, line_due=True)
    if last is None:
        tally = Tally.resume("media", Topic.MEDIA_JOBS, 0, offset, metadata)
        lines += [] if tally.empty else [tally.line(offset, "h", NOW)]
    elif last.line is not None:
        lines.append(last.line)
    counted = standing(lines)
    assert [each.before for each in counted] == [0, *(each.after for each in counted[:-1])]
    assert sum(each.received for each in counted) == 8
    assert sum(each.outside or 0 for each in counted) == 3
    assert sum(each.fates["delivered"] for each in counted) == 8
    assert counted[-1].after == 8


async def test_a_worker_counts_on_where_it_stood(make_worker, host, eventually):
    """The metadata of its offsets are the books that `klingel audit` reads."""
    queue = Queue(
        codec.encode(job(medium("a", url=host.at("png")))),
        b"{broken",
        codec.encode(job(medium("c", sha256=SHA), object_id="whatsapp:1:m3")),
    )
    worker, _, stop = await make_worker(queue)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: queue.commits[-1:] == [3])
    queue.records = [SimpleNamespace(offset=4, value=b"{broken too", headers=[])]
    await eventually(lambda: queue.commits[-1:] == [5])
    stop.set()
    await running
    tally = Tally.resume("media", Topic.MEDIA_JOBS, 0, 5, queue.metadata)
    assert tally.before in {0, 3}
    assert dict(tally.reasons)["discarded:unreadable_job"] in {1, 2}
