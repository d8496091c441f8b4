"""An attachment in real processes: event, job, bytes under their hash, the post in the index."""

import asyncio
import contextlib
import hashlib
import json
from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner
from elasticsearch import Elasticsearch

from klingel.clock import SystemClock
from klingel_cli.demo.rehearsal import brand_file, furnish, open_services
from klingel_cli.kafka import publish
from klingel_cli.main import main
from klingel_connectors.fetch import FetchBounds
from klingel_connectors.service import run_media
from klingel_connectors.settings import MediaSettings

from ..ringing import generic, gone, ring
from ..waiting import until

pytestmark = pytest.mark.servers
BRAND = "nordlicht"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(2000)
SHA = hashlib.sha256(PNG).hexdigest()


@contextlib.asynccontextmanager
async def picture():
    """Give the address of a picture on a real port, and leave to fetch from there."""

    async def answer(_request):
        return web.Response(body=PNG)

    app = web.Application()
    app.router.add_get("/a", answer)
    host = TestServer(app)
    await host.start_server()
    try:
        bounds = FetchBounds(ports=frozenset({host.port}), allowed=lambda _address: True)
        yield f"http://127.0.0.1:{host.port}/a", bounds
    finally:
        await host.close()


def audited(fleet):
    """Return what `klingel audit` finds: the problems, and the totals by stage and topic."""
    result = CliRunner().invoke(main, ["audit", "--json"], env=fleet.environ())
    told = json.loads(result.stdout)
    return told["problems"], {(each["stage"], each["topic"]): each for each in told["totals"]}


def document(servers, fleet, object_id):
    """Return a post as it is indexed, None before."""
    with Elasticsearch(servers.elasticsearch_url) as client:
        # An index that was made a moment ago has no shard yet.
        found = client.options(ignore_status=503, max_retries=0).search(
            index=f"{fleet.prefix}events-{BRAND}-*", query={"term": {"object_id": object_id}}
        )
    hits = found.body.get("hits", {}).get("hits", [])
    return hits[0]["_source"] if hits else None


async def until_found(question):
    """Return what a question to a server comes to, once it is anything."""
    return await until(lambda: asyncio.to_thread(question), seconds=90, pace=0.3)


async def a_deletion_reaches_the_bytes(fleet, servers, settings, blob):
    """Its network deletes the post: with the next run for demands nothing of the picture is left."""
    event = ring(gone("1"), received_at=datetime.now(UTC))
    await asyncio.to_thread(publish, settings.kafka, [event])

    def emptied():
        found = document(servers, fleet, "webhook:forum:1")
        return found is not None and found["change"] == "deleted"

    await until_found(emptied)
    report = json.loads(await asyncio.to_thread(fleet.klingel, "erase", "--demanded", "--json"))
    assert report["media_of_deleted"] == 1
    assert not await asyncio.to_thread(blob.exists)


async def test_an_attachment_is_stored_and_the_post_says_where(fleet, index, servers):
    """The text is there before; the books count the worker once it is there, and not before."""
    del index  # deleted at the end
    say = lambda _sentence: None  # noqa: E731  nobody reads it
    await asyncio.to_thread(furnish, fleet, brand_file(), say)
    services = ("understand", "care", "indexer")
    await asyncio.to_thread(open_services, fleet, say, brand_file(), services)
    settings = fleet.read_settings()
    async with picture() as (url, bounds):
        said = generic(
            "1", "Nordlicht, mein Router ist kaputt", media=[{"kind": "image", "url": url}]
        )
        event = ring(said, received_at=datetime.now(UTC))
        await asyncio.to_thread(publish, settings.kafka, [event])

        before = await until_found(lambda: document(servers, fleet, "webhook:forum:1"))
        assert [each["status"] for each in before["media"]] == ["remote"]
        problems, totals = await asyncio.to_thread(audited, fleet)
        assert problems == []
        assert ("media", "media-jobs") not in totals

        stop = asyncio.Event()
        running = asyncio.create_task(
            run_media(settings, MediaSettings(), {}, "h", SystemClock(), stop, bounds=bounds)
        )
        try:
            after = await until_found(
                lambda: (
                    found
                    if (found := document(servers, fleet, "webhook:forum:1"))
                    and found["media"][0]["status"] == "stored"
                    else None
                )
            )
            counted = await until_found(
                lambda: found if (found := audited(fleet)[1].get(("media", "media-jobs"))) else None
            )
        finally:
            stop.set()
            await running
    assert after["media"][0]["sha256"] == SHA
    assert {name: after[name] for name in ("text", "connector", "received_at", "triage")} == {
        name: before[name] for name in ("text", "connector", "received_at", "triage")
    }
    blob = fleet.folder / "blobs" / SHA[:2] / SHA
    assert await asyncio.to_thread(blob.read_bytes) == PNG
    assert (counted["received"], counted["fates"]["delivered"]) == (1, 1)
    problems, totals = await asyncio.to_thread(audited, fleet)
    assert problems == []
    assert totals["media", "media-jobs"]["waiting"] == 0
    await a_deletion_reaches_the_bytes(fleet, servers, settings, blob)
    assert await asyncio.to_thread(fleet.stop_all) == []
