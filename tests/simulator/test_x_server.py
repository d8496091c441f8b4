"""The stand-in for X keeps X's rules: one stream, heartbeats, limits, bills, search, jobs."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from klingel_simulator.x_server import FAULTS, TOKEN, XLimits, XServer, made_at_ms, snowflake

NOW = datetime(2026, 7, 4, 12, tzinfo=UTC)
AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}
STREAM, RULES = "/2/tweets/search/stream", "/2/tweets/search/stream/rules"


@pytest.fixture
async def served():
    server = XServer(
        lambda: NOW, XLimits(heartbeat_seconds=0.05, max_rules=2, rule_length=30, page=2)
    )
    async with (
        TestServer(server.app(), shutdown_timeout=0.1) as running,
        aiohttp.ClientSession(running.make_url(""), headers=AUTHORISED) as session,
    ):
        yield server, session


def post(number: int, text: str = "netz", **more):
    """Return a post, `number` minutes before now."""
    return {"id": snowflake(NOW - timedelta(minutes=number), number), "text": text} | more


async def asked(session, method, path, **more):
    """Return status and answer of a request."""
    async with session.request(method, path, **more) as response:
        return response.status, await response.json()


async def ruled(session, *values, dry=""):
    """Add rules."""
    add = {"add": [{"value": value, "tag": f"t{at}"} for at, value in enumerate(values)]}
    return await asked(session, "POST", RULES, json=add, params={"dry_run": dry} if dry else None)


def test_a_snowflake_holds_its_time():
    """There and back, to the millisecond."""
    assert made_at_ms(snowflake(NOW, 7)) == NOW.timestamp() * 1000


async def test_without_the_token_nothing_is_said(served):
    """401 on every path."""
    _, session = served
    for path in (STREAM, RULES, "/2/tweets/search/recent"):
        async with session.get(path, headers={"Authorization": "Bearer x"}) as response:
            assert response.status == 401


async def test_rules_have_their_limits(served):
    """Too long, invalid, double and too many are refused by name; a dry run changes nothing."""
    server, session = served
    assert (await asked(session, "GET", STREAM))[0] == 409
    status, told = await ruled(session, "netz", dry="true")
    assert (status, len(told["data"]), server.rules) == (201, 1, {})
    status, told = await ruled(session, "a" * 31, "has:links", "netz", "netz", "weg", "zu viel")
    assert [each["title"] for each in told["errors"]] == [
        "InvalidRule",
        "InvalidRule",
        "DuplicateRule",
        "RulesCapExceeded",
    ]
    assert [rule.value for rule in server.rules.values()] == ["netz", "weg"]
    assert (await ruled(session, "has:links"))[0] == 400
    gone = {"delete": {"ids": [rule.id for rule in server.rules.values()]}}
    await asked(session, "POST", RULES, json=gone)
    assert server.rules == {}


async def test_one_stream_at_a_time_with_heartbeats_and_a_bill(served):
    """The second connection gets TooManyConnections until the first is closed; a post is billed once."""
    server, session = served
    await ruled(session, "netz", "weg")
    async with session.get(STREAM) as stream:
        assert await stream.content.readline() == b"\r\n"
        status, told = await asked(session, "GET", STREAM)
        assert (status, told["connection_issue"]) == (429, "TooManyConnections")
        server.say(post(0, "netz weg"))
        server.say(post(0, "nichts"))
        line = b"\r\n"
        while not line.strip():
            line = await stream.content.readline()
        assert [each["tag"] for each in json.loads(line)["matching_rules"]] == ["t0", "t1"]
        assert len(server.billed) == 1
        await asked(session, "DELETE", "/2/connections/filtered_stream")
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(stream.content.read(), 2)
    async with session.get(STREAM) as stream:
        assert stream.status == 200


async def test_search_pages_backwards_without_reposts_and_not_beyond_seven_days(served):
    """Newest first, two a page, a token for the next; 400 for what is too old."""
    server, session = served
    for number in range(1, 6):
        server.say(post(number))
    server.say(post(9, referenced_tweets=[{"type": "retweeted", "id": "1"}]))
    found, token = [], None
    while True:
        query = {"query": "netz", "max_results": "100"} | ({"next_token": token} if token else {})
        _, told = await asked(session, "GET", "/2/tweets/search/recent", params=query)
        found += [each["id"] for each in told["data"]]
        token = told["meta"].get("next_token")
        if token is None:
            break
    assert found == sorted(found, key=int, reverse=True)
    assert len(found) == 5
    old = {"query": "netz", "start_time": "2026-06-01T00:00:00Z"}
    assert (await asked(session, "GET", "/2/tweets/search/recent", params=old))[0] == 400


async def test_a_lookup_tells_what_is_gone(served):
    """Posts that are there as data, the others among the errors."""
    server, session = served
    there, gone = post(1), post(2)
    server.say(there)
    server.say(gone)
    server.delete(gone["id"])
    ids = {"ids": f"{there['id']},{gone['id']}"}
    _, told = await asked(session, "GET", "/2/tweets", params=ids)
    assert [each["id"] for each in told["data"]] == [there["id"]]
    assert [each["resource_id"] for each in told["errors"]] == [gone["id"]]


async def test_one_compliance_job_at_a_time(served):
    """Created, given ids, complete, read; a second meanwhile is a conflict."""
    server, session = served
    gone = post(1)
    server.delete(gone["id"])
    path = "/2/compliance/jobs"
    _, made = await asked(session, "POST", path, json={"type": "tweets"})
    assert (await asked(session, "POST", path, json={"type": "tweets"}))[0] == 409
    job = made["data"]
    async with session.put(job["upload_url"], data=f"{gone['id']}\n77") as response:
        assert response.status == 200
    assert (await asked(session, "GET", f"{path}/{job['id']}"))[1]["data"]["status"] == "complete"
    async with session.get(job["download_url"]) as response:
        lines = (await response.text()).splitlines()
    assert [json.loads(line)["id"] for line in lines] == [gone["id"]]


async def test_it_misbehaves_on_command_over_the_wire(served):
    """Every fault is known; another is refused with a sentence."""
    _, session = served
    for fault in FAULTS:
        status, _ = await asked(session, "POST", "/control/faults", json={"fault": fault})
        assert status == 200
    status, told = await asked(session, "POST", "/control/faults", json={"fault": "explode"})
    assert status == 400
    assert "known" in told["error"]
