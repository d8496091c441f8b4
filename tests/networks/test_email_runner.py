"""The mailbox's reader under the connectors' runner: killed, without Kafka, with another UIDVALIDITY."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer

from klingel.clock import SystemClock
from klingel.contracts import codec
from klingel.contracts.blobs import BlobStore
from klingel.contracts.topics import Topic
from klingel.metrics import Metrics
from klingel.model import ConnectorCursor, ConnectorStatus, RawEvent
from klingel.settings import KafkaSettings
from klingel_connectors.books import Books
from klingel_connectors.intake import TOPICS, Intake
from klingel_connectors.publisher import Bounds, Publisher
from klingel_connectors.raw import Origin
from klingel_connectors.runner import Plan, Runner
from klingel_connectors.testing import HeldLease, NobodyErased, RecordingProducer
from klingel_networks.arrival import Tools
from klingel_networks.email import NETWORK
from klingel_networks.email.client import EmailClient, Mailbox
from klingel_simulator.mail_imap import MailServer

from .. import waiting
from ..killing import kill_connectors

FAST = Plan(back_off=(0.0,), grace_seconds=4.0, tick_seconds=0.005, poll_seconds=0.001)
OWN = "service@nordlicht.example"
ORIGIN = Origin("email", "email-1", "email", "holder", "service")
SECONDS = 20
until = partial(waiting.until, seconds=SECONDS)


def mail(number: int) -> bytes:
    """Return a mail of one conversation."""
    refers = "" if number == 1 else f"References: <1@k.example> <{number - 1}@k.example>\r\n"
    return (
        f"From: anna@k.example\r\nTo: {OWN}\r\nSubject: Frage\r\n{refers}"
        f"Date: Mon, 23 Nov 2026 09:00:00 +0100\r\nMessage-ID: <{number}@k.example>\r\n\r\n{number}"
    ).encode()


class Process:
    """A runner that reads the mailbox, and what it wrote; killed, it writes nothing more."""

    def __init__(self, server: MailServer, folder: Path, cursors: list[ConnectorCursor]) -> None:
        metrics, books = Metrics("test"), Books("connector-email", "holder", SystemClock().now())
        self.producer = RecordingProducer()
        self.publisher = Publisher(
            KafkaSettings(),
            client_id="test",
            topics=(*TOPICS, Topic.CONNECTOR_CURSORS, Topic.CONNECTOR_LEASES),
            clock=SystemClock(),
            bounds=Bounds(),
            connect=lambda: self.producer,
            sleep=lambda _seconds: asyncio.sleep(0),
        )
        self.blobs = BlobStore(folder / "blobs")
        mailbox = Mailbox(
            name="service",
            host="127.0.0.1",
            port=server.port,
            security="none",
            username=server.username,
            password=server.password,
            folders=("INBOX",),
            own=(OWN,),
            key=b"0123456789abcdef",
            history_days=10,
            deadline=2.0,
            idle=5.0,
        )
        self.client = EmailClient(mailbox, Tools())
        self.stop = asyncio.Event()
        stored = {each.source: each for each in cursors}
        intake = Intake(
            NETWORK,
            ORIGIN,
            version="1.2.3",
            blobs=self.blobs,
            suppressions=NobodyErased(),
            books=books,
            metrics=metrics,
            clock=SystemClock(),
        )
        self.runner = Runner(
            client=self.client,
            origin=ORIGIN,
            intake=intake,
            publisher=self.publisher,
            lease=HeldLease(generation=len(cursors) + 1),
            read_cursor=lambda _instance, _source: None,
            read_cursors=lambda _instance: stored,
            books=books,
            metrics=metrics,
            clock=SystemClock(),
            plan=FAST,
            stop=self.stop,
        )
        self.running = asyncio.create_task(self.runner.run())

    def records(self, topic: Topic, shape: type[Any]) -> list[Any]:
        """Return the acknowledged records of a topic."""
        return [codec.decode(shape, record["value"]) for record in self.producer.of(topic)]

    def raw(self) -> list[RawEvent]:
        """Return the raw events."""
        return self.records(Topic.RAW_EVENTS, RawEvent)

    def cursors(self) -> list[ConnectorCursor]:
        """Return the saved cursors."""
        return self.records(Topic.CONNECTOR_CURSORS, ConnectorCursor)

    async def kill(self) -> None:
        """End it in the midst of whatever it does; nothing is flushed."""
        await kill_connectors()
        await self.client.close()
        await self.publisher.close(0.0)

    async def finish(self) -> None:
        """Stop it as a SIGTERM does."""
        self.stop.set()
        async with asyncio.timeout(SECONDS):
            await self.running
        await self.client.close()


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    """A mail server."""
    standing = MailServer()
    await standing.start()
    yield standing
    await standing.stop()


async def test_a_killed_process_is_followed_without_loss_and_in_order(server, tmp_path) -> None:
    """Of what was acknowledged late or never, the next process reads again; ids make it once."""
    for number in range(1, 8):
        server.folder("INBOX").add(mail(number))
    first = Process(server, tmp_path, [])
    await until(lambda: len(first.raw()) == 7 and first.cursors())
    cursors = first.cursors()
    await first.kill()
    second = Process(server, tmp_path, cursors)
    for number in range(8, 11):
        server.folder("INBOX").add(mail(number))
    await until(lambda: len({each.object_id for each in first.raw() + second.raw()}) == 10)
    await second.finish()
    seen = dict.fromkeys(each.object_id for each in first.raw() + second.raw())
    wanted = [
        NETWORK.identify(mail(number), {"source": "service"}).object_id for number in range(1, 11)
    ]
    assert list(seen) == wanted
    assert not server.offences


async def test_no_cursor_passes_what_kafka_has_not_taken(server, tmp_path) -> None:
    """While Kafka is away nothing is saved; then all of it is, in order."""
    for number in (1, 2, 3):
        server.folder("INBOX").add(mail(number))
    process = Process(server, tmp_path, [])
    process.producer.automatic = False
    await until(lambda: len(process.raw()) == 3)
    assert not [each for each in process.cursors() if int(each.cursor.split("|")[1]) > 0]
    process.producer.automatic = True
    process.producer.acknowledge()
    await until(lambda: any(each.cursor.split("|")[1] == "3" for each in process.cursors()))
    await process.finish()


async def test_originals_lie_in_the_blob_store_byte_for_byte(server, tmp_path) -> None:
    """A mail is no JSON: the raw event names where it lies, with channel and context."""
    server.folder("INBOX").add(mail(1), SystemClock().now() - timedelta(days=1))
    process = Process(server, tmp_path, [])
    await until(process.raw)
    await process.finish()
    (raw,) = process.raw()
    assert raw.native is None
    assert process.blobs.get(raw.native_ref) == mail(1)
    assert raw.channel == "service"
    assert raw.mode == "backfill"
    assert "@" not in (raw.context or {})["ids"]


async def test_the_ledger_tells_a_change_of_uidvalidity_and_its_end(server, tmp_path) -> None:
    """Opened and closed as filled, over a restart; the mails that come again have the same ids."""
    for number in (1, 2):
        server.folder("INBOX").add(mail(number))
    first = Process(server, tmp_path, [])
    await until(lambda: any(each.cursor.split("|")[1] == "2" for each in first.cursors()))
    await first.finish()
    server.folder("INBOX").count_anew(9)
    server.folder("INBOX").add(mail(3))
    second = Process(server, tmp_path, first.cursors())
    await until(lambda: len(second.raw()) == 3)

    def gaps() -> list[Any]:
        told = second.records(Topic.CONNECTOR_STATUS, ConnectorStatus)
        return [each.gap for each in told if each.gap is not None]

    await until(lambda: len(gaps()) == 2)
    await second.finish()
    opened, closed = gaps()
    assert opened.cause == "cursor_invalid"
    assert closed.outcome == "filled"
    ids = [each.object_id for each in second.raw()]
    assert ids[:2] == [each.object_id for each in first.raw()]
    assert len(set(ids)) == 3


@asynccontextmanager
async def running(
    command: list[str], environ: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process; it is over when this is."""
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=quiet, stderr=quiet
    )
    try:
        yield process
        async with asyncio.timeout(SECONDS):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.servers
@pytest.mark.faults
async def test_the_connector_is_killed_and_every_mail_is_in_kafka(
    server, kafka_bootstrap, topic_prefix, tmp_path
) -> None:
    """The real process on the real Kafka, killed between mails: each is there, in their order."""
    environ = os.environ | {
        "KLINGEL_KAFKA__BOOTSTRAP": kafka_bootstrap,
        "KLINGEL_KAFKA__TOPIC_PREFIX": topic_prefix,
        "KLINGEL_KAFKA__GROUP_PREFIX": topic_prefix,
        "KLINGEL_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
        "KLINGEL_BLOBS__DIR": str(tmp_path / "blobs"),
        "KLINGEL_EMAIL_PASSWORD": server.password,
        "KLINGEL_EMAIL_ADDRESS_KEY": "0123456789abcdef",
    }
    command = [sys.executable, "-m", "klingel_connectors", "run", "email", "--holder", "one"]
    command += ["--mailbox", "service", "--host", "127.0.0.1", "--port", str(server.port)]
    command += ["--security", "none", "--username", server.username, "--own-addresses", OWN]
    command += ["--history-days", "10"]
    consumer = KafkaConsumer(
        f"{topic_prefix}raw-events",
        bootstrap_servers=kafka_bootstrap,
        auto_offset_reset="earliest",
        group_id=None,
    )
    heard: list[RawEvent] = []

    async def hear(uids: int) -> None:
        async with asyncio.timeout(40):
            while len({each.object_id for each in heard}) < uids:
                found = await asyncio.to_thread(consumer.poll, 200)
                for records in found.values():
                    heard.extend(codec.decode(RawEvent, each.value) for each in records)

    for number in range(1, 6):
        server.folder("INBOX").add(mail(number))
    try:
        async with running(command, environ) as process:
            await hear(3)
            process.kill()
        for number in range(6, 11):
            server.folder("INBOX").add(mail(number))
        async with running(command, environ) as process:
            await hear(10)
            process.terminate()
    finally:
        consumer.close()
    wanted = {
        NETWORK.identify(mail(number), {"source": "service"}).object_id for number in range(1, 11)
    }
    assert {each.object_id for each in heard} == wanted
    assert not server.offences
