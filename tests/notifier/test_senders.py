"""What a receiver's answers mean; the receiver is a real one."""

import asyncio
import base64
import json
from datetime import UTC, datetime

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.clock import SystemClock
from klingel.testing.clock import FixedClock
from klingel_notifier.letters import Letter
from klingel_notifier.senders import (
    Accepted,
    Failed,
    Refused,
    alertmanager_sender,
    checked_url,
    seconds_until,
    slack_sender,
    webhook_sender,
)
from klingel_notifier.signing import secret_of

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def attempt(session, receiver, build):
    """Make one attempt at a chat that answers as told."""

    async def make(answer, url=None):
        receiver.plan = [answer]
        sender = slack_sender(
            session, url or receiver.url, clock=FixedClock(NOW), timeout_seconds=0.3
        )
        return await sender.send(Letter.of([build.escalation()]))

    return make


@pytest.mark.parametrize(
    ("answer", "receipt"),
    [
        (200, Accepted()),
        (201, Accepted()),
        (204, Accepted()),
        ("half", Accepted()),
        (301, Refused("HTTP 301")),
        (400, Refused("HTTP 400")),
        (404, Refused("HTTP 404")),
        (410, Refused("HTTP 410")),
        (408, Failed("busy")),
        (425, Failed("busy")),
        (429, Failed("rate_limited")),
        ((429, {"Retry-After": "30"}), Failed("rate_limited", retry_after=30.0)),
        (
            (429, {"Retry-After": "Mon, 23 Nov 2026 12:02:00 GMT"}),
            Failed("rate_limited", retry_after=120.0),
        ),
        (500, Failed("server_error", unsure=True)),
        ((503, {"Retry-After": "7"}), Failed("busy", retry_after=7.0)),
        (504, Failed("server_error", unsure=True)),
        ("cut", Failed("no_answer", unsure=True)),
        ("slow", Failed("no_answer", unsure=True)),
    ],
    ids=str,
)
async def test_answers(attempt, answer, receipt):
    assert await attempt(answer) == receipt


async def test_who_is_not_there(attempt):
    assert await attempt(200, "http://127.0.0.1:9/") == Failed("unreachable")


async def test_who_speaks_no_http(session, build, unused_tcp_port_factory):
    async def gibber(reader, writer):
        await reader.read(1)
        writer.write(b"\x15\x03\x01nonsense\r\n\r\n")
        writer.close()

    port = unused_tcp_port_factory()
    server = await asyncio.start_server(gibber, "127.0.0.1", port)
    sender = slack_sender(
        session, f"http://127.0.0.1:{port}/", clock=FixedClock(NOW), timeout_seconds=0.5
    )
    assert await sender.send(Letter.of([build.escalation()])) == Failed("no_answer", unsure=True)
    server.close()
    await server.wait_closed()


async def test_a_redirection_is_not_followed(attempt, receiver):
    """Who may redirect may send what we tell to anybody."""
    assert await attempt((307, {"Location": receiver.url + "/elsewhere"})) == Refused("HTTP 307")
    assert [path for path, _, _ in receiver.requests] == ["/hook"]


async def test_a_signed_webhook_verifies(session, receiver, build):
    from .test_signing import verified  # noqa: PLC0415 - written there, apart from what signs

    key = secret_of(build.secret)
    sender = webhook_sender(session, receiver.url, key, clock=SystemClock(), timeout_seconds=1)
    letter = Letter.of([build.escalation()])
    for _ in range(2):
        assert await sender.send(letter) == Accepted()
    (_, headers, body), (_, _, again) = receiver.requests
    assert headers["webhook-id"] == headers["idempotency-key"] == letter.key
    assert verified(build.secret, headers, body)
    assert body == again
    assert abs(int(headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60
    assert base64.b64decode(headers["webhook-signature"].removeprefix("v1,"))


@pytest.mark.parametrize("tail", ["", "/", "/api/v2/alerts", "/prefix/"])
async def test_the_path_of_alertmanager(session, receiver, build, tail):
    base = receiver.url.removesuffix("/hook") + tail
    sender = alertmanager_sender(session, base, clock=SystemClock(), timeout_seconds=1)
    assert await sender.send(Letter.of([build.alert()])) == Accepted()
    path = receiver.requests[0][0]
    assert path == ("/prefix" if "prefix" in tail else "") + "/api/v2/alerts"
    assert len(json.loads(receiver.requests[0][2])) == 1


@given(st.text(max_size=60))
def test_whatever_retry_after_says_it_never_raises(text):
    found = seconds_until(text, NOW)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None), ("", None), ("12", 12.0), (" 12 ", 12.0), ("-1", None), ("1.5", None),
        ("Mon, 23 Nov 2026 11:59:00 GMT", 0.0), ("9" * 30, None), ("soon", None),
        ("Mon, 23 Nov 2026 12:00:30 -0000", None),
    ],
)  # fmt: skip
def test_retry_after(text, seconds):
    assert seconds_until(text, NOW) == seconds


@pytest.mark.parametrize("text", ["https://hooks.example.org/services/T/B/x", "http://[::1]:9/"])
def test_addresses(text):
    assert checked_url(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "hooks.example.org", "ftp://x/", "https://", "http://a b/", "http://[", "http://x:p/"],
)
def test_what_is_no_address_is_refused_and_not_repeated(text):
    with pytest.raises(ValueError, match=r"^write an address such as https://host/path$"):
        checked_url(text)


async def test_a_secret_shows_nowhere(session, build):
    key = secret_of(build.secret)
    url = "https://hooks.example.org/services/canary"
    sender = webhook_sender(session, url, key, clock=SystemClock(), timeout_seconds=1)
    assert "canary" not in repr(sender)
    assert isinstance(session, aiohttp.ClientSession)
