"""Debian's Alertmanager takes what we tell it, groups it, and resolves what has ended."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from klingel.clock import SystemClock
from klingel_notifier.letters import Letter
from klingel_notifier.senders import Accepted, Refused, alertmanager_sender
from klingel_simulator.debian import NotToBeHad

from ..absent import absent
from ..debian import find_alertmanager
from ..waiting import until

pytestmark = pytest.mark.servers

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
route:
  receiver: told
  group_by: [klingel_id]
  group_wait: 50ms
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: told
    webhook_configs:
      - url: {url}
        send_resolved: true
"""


@pytest.fixture(scope="session")
def program() -> Path:
    """The program; in CI it has to be there."""
    try:
        return find_alertmanager(ROOT / ".klingel" / "debian")
    except NotToBeHad as error:
        absent(str(error))


@pytest.fixture
async def alertmanager(
    program, tmp_path, receiver, session, unused_tcp_port_factory
) -> AsyncIterator[str]:
    """Address of a running Alertmanager that tells the receiver."""
    port = unused_tcp_port_factory()
    config = tmp_path / "alertmanager.yml"
    config.write_text(CONFIG.format(url=receiver.url), encoding="utf-8")
    running = await asyncio.create_subprocess_exec(
        str(program),
        f"--config.file={config}",
        f"--storage.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        await until(lambda: _answers(session, url), seconds=20, pace=0.05)
        yield url
    finally:
        running.terminate()
        await running.wait()


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url + "/-/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def held(session, url):
    """Return what Alertmanager holds, by our id."""
    async with session.get(url + "/api/v2/alerts") as response:
        return {each["labels"]["klingel_id"]: each for each in await response.json()}


async def told(receiver, number):
    """Return the alerts of the first `number` of its notifications."""
    async with asyncio.timeout(20):
        while len(receiver.requests) < number:
            receiver.got.clear()
            await receiver.got.wait()
    notifications = [json.loads(body) for _, _, body in receiver.requests]
    return [each for notification in notifications for each in notification["alerts"]]


@pytest.fixture
def sender(session, alertmanager):
    return alertmanager_sender(session, alertmanager, clock=SystemClock(), timeout_seconds=5)


async def test_what_begins_and_ends_fires_and_is_resolved(
    build, session, alertmanager, sender, receiver
):
    now = datetime.now(UTC)
    begun = build.alert(opened_at=now - timedelta(minutes=5), updated_at=now)
    for _ in range(2):  # a repeat changes nothing
        assert await sender.send(Letter.of([begun])) == Accepted()
    (firing,) = await told(receiver, 1)
    assert firing["status"] == "firing"
    assert firing["labels"] == {
        "alertname": "KlingelEarlyWarning",
        "brand": "nordlicht",
        "kind": "negative",
        "topic": "outage",
        "klingel_id": f"{1:032x}",
    }
    assert firing["annotations"]["summary"] == "Negative posts about outage are rising (severity 7)"
    found = (await held(session, alertmanager))[f"{1:032x}"]
    assert found["status"]["state"] == "active"
    assert datetime.fromisoformat(found["endsAt"]) > now + timedelta(days=6)
    ended = build.alert(
        opened_at=now - timedelta(minutes=5),
        updated_at=now,
        ended_at=now,
        state="ended",
        revision=2,
        severity=9,
    )
    assert await sender.send(Letter.of([ended])) == Accepted()
    resolved = (await told(receiver, 2))[-1]
    assert resolved["status"] == "resolved"
    assert resolved["labels"] == firing["labels"]
    assert await held(session, alertmanager) == {}


async def test_a_digest_is_as_many_alerts(build, session, alertmanager, sender):
    now = datetime.now(UTC)
    records = [
        build.escalation(number, at=now, recorded_at=now, case_id="ö" * 2048, queue="<&>")
        for number in range(1, 41)
    ]
    assert await sender.send(Letter.of(records)) == Accepted()
    found = await held(session, alertmanager)
    assert len(found) == 40
    assert found[f"{40:032x}"]["annotations"]["queue"] == "<&>"


async def test_every_form_is_taken(build, sender):
    """Escalations, alerts and incidents, begun and over, with and without what is optional."""
    now = datetime.now(UTC)
    records = [
        build.escalation(1, queue=None, clock=None, deadline=None),
        build.escalation(2, state="withdrawn"),
        build.alert(3, topic=None),
        build.alert(4, state="ended", ended_at=now, opened_at=now + timedelta(hours=1)),
        build.incident(5),
        build.incident(6, state="ended"),
    ]
    for record in records:
        assert await sender.send(Letter.of([record])) == Accepted()


async def test_a_wrong_path_is_refused(build, session, alertmanager):
    wrong = alertmanager_sender(
        session, alertmanager + "/wrong", clock=SystemClock(), timeout_seconds=5
    )
    assert await wrong.send(Letter.of([build.alert()])) == Refused("HTTP 404")
