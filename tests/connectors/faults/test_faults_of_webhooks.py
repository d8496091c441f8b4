"""Every network that rings under every fault of ringing: what got 2xx is durable, once, in order.

The gateway, its publisher and the sockets are those of production; a network rings again what got no
2xx, as all of them do. The same table stands in docs/reference/network-faults.md.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from klingel.contracts import codec
from klingel.contracts.blobs import BlobStore
from klingel.contracts.topics import Topic
from klingel.metrics import Metric, Metrics
from klingel.model import RawEvent
from klingel.settings import KafkaSettings
from klingel_connectors.books import Books
from klingel_connectors.gateway import Doors, Gateway
from klingel_connectors.intake import TOPICS, Intake
from klingel_connectors.publisher import Bounds, Publisher
from klingel_connectors.raw import Origin
from klingel_connectors.settings import GatewaySettings, HookSettings
from klingel_connectors.testing import NobodyErased
from klingel_networks.registry import installed

from .listening import SAID, Broker, Listening
from .ringers import HASH_KEY, RINGERS, SECRET, TOKEN, Ringer, Said
from .standins import STAND_INS, StandIn, XStandIn
from .warp import LoopClock, run

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "network-faults.md"
AGAIN_SECONDS = 5.0
"""Between two deliveries of what got no 2xx; the networks' own tables are longer."""
MANY = 200


class House:
    """One gateway process, and what it made durable."""

    def __init__(self, ringer: Ringer, clock: LoopClock, blobs: BlobStore) -> None:
        self.metrics = Metrics("gateway")
        self.producer = Broker()
        self.publisher = Publisher(
            KafkaSettings(),
            client_id="test",
            topics=TOPICS,
            clock=clock,
            bounds=Bounds(),
            connect=lambda: self.producer,
            sleep=asyncio.sleep,
        )

        def intake(name: str) -> Intake:
            return Intake(
                installed().network(name),
                Origin(name, "gateway-hook", name, "holder"),
                version="1.2.3",
                blobs=blobs,
                suppressions=NobodyErased(),
                books=Books("connector-webhook", "holder", clock.now(), self.metrics),
                metrics=self.metrics,
                clock=clock,
            )

        settings = GatewaySettings(
            webhooks={},
            hooks={ringer.address: HookSettings(ringer.family, ringer.account, (SECRET,), TOKEN)},
            hash_key=HASH_KEY,
            wait_seconds=10.0,
        )
        hooks = {ringer.address: ringer.hook(intake)}
        gateway = Gateway(settings, Doors({}, {}, hooks), self.publisher, self.metrics, clock)
        app = web.Application()
        app.add_routes(gateway.routes())
        self.server = TestServer(app, shutdown_timeout=0.1)

    async def open(self) -> None:
        """Listen, with Kafka there."""
        await self.publisher.start()
        await self.server.start_server()

    async def close(self) -> None:
        """End, flushing nothing."""
        await self.server.close()
        await self.publisher.close(0.0)

    def durable(self, topic: Topic = Topic.RAW_EVENTS) -> list[bytes]:
        """Return the records that Kafka has acknowledged."""
        return [
            record["value"]
            for record, future in self.producer.taken
            if future.is_done and record["topic"] == topic
        ]

    def refused(self, status: int) -> float:
        """Return how many deliveries were answered so."""
        wanted = ("reason", f"http_{status}")
        return sum(
            value
            for name, labels, value in self.metrics.samples()
            if name == Metric.REFUSED.value and wanted in tuple(dict(labels).items())
        )


class Street:
    """A network that rings at the gateways that stand one after the other."""

    def __init__(self, ringer: Ringer, clock: LoopClock, blobs: BlobStore) -> None:
        self.ringer = ringer
        self.clock = clock
        self.blobs = blobs
        self.session = aiohttp.ClientSession()
        self.houses: list[House] = []
        self.said: list[Said] = []

    @property
    def now(self) -> House:
        """The gateway that runs."""
        return self.houses[-1]

    async def move(self) -> House:
        """Start a gateway; the one before it is gone."""
        self.houses.append(House(self.ringer, self.clock, self.blobs))
        await self.now.open()
        return self.now

    async def close(self) -> None:
        """End everything."""
        await self.session.close()
        await self.now.close()

    def speak(self, count: int = 1) -> list[Said]:
        """Let customers of two conversations say something."""
        began, found = len(self.said), []
        for number in range(began + 1, began + count + 1):
            at = self.clock.now() + timedelta(seconds=number - began)
            found.append(Said(1 + number % 2, number, at))
        self.said += found
        return found

    async def post(self, body: bytes, headers: dict[str, str]) -> int:
        """Deliver once; return the answer's status."""
        where = self.now.server.make_url(f"/hook/{self.ringer.address}")
        async with self.session.post(where, data=body, headers=headers) as answer:
            return answer.status

    async def ring(self, said: Said) -> int:
        """Deliver one thing once, rightly signed."""
        body = self.ringer.body(said)
        return await self.post(body, self.ringer.headers(body))

    async def until_taken(self, said: Said) -> int:
        """Deliver one thing until it gets 2xx; return how often it got another answer."""
        refusals = 0
        while await self.ring(said) != 200:
            refusals += 1
            await asyncio.sleep(AGAIN_SECONDS)
        return refusals

    def events(self) -> list[RawEvent]:
        """Return what is durable, in order, with repeats."""
        return [codec.decode(RawEvent, value) for each in self.houses for value in each.durable()]

    def once(self) -> list[int]:
        """Return the numbers heard after dedupe: each event id at its first place."""
        first = {each.event_id: each for each in reversed(self.events())}
        ids = dict.fromkeys(each.event_id for each in self.events())
        return [number_of(first[each]) for each in ids]

    def all_is_there(self) -> None:
        """Everything said is heard once after dedupe, each in the conversation's order."""
        assert sorted(self.once()) == [each.number for each in self.said]

    def in_order(self) -> None:
        """Nothing overtook within a conversation."""
        for conversation in (1, 2):
            said = [each.number for each in self.said if each.conversation == conversation]
            assert [number for number in self.once() if number in said] == said


def number_of(raw: RawEvent) -> int:
    """Return the number that an event says."""
    found = SAID.search(bytes(raw.native or b""))
    assert found is not None
    return int(found[2])


# --- the faults -----------------------------------------------------------------------------------


async def kafka_away(street: Street) -> None:
    """Kafka acknowledges nothing for two minutes: 503, and what is sent again is heard once."""
    house = street.now
    house.producer.automatic = False
    ringing = [asyncio.create_task(street.until_taken(each)) for each in street.speak(4)]
    await asyncio.sleep(120.0)
    assert not any(task.done() for task in ringing)
    assert house.refused(503) >= len(ringing)
    assert house.publisher.waiting_for() == "Kafka"
    house.producer.automatic = True
    house.producer.acknowledge()
    refusals = await asyncio.gather(*ringing)
    assert all(refusals)
    assert not house.publisher.waiting_for()


async def killed(street: Street) -> None:
    """The gateway dies with deliveries that Kafka has not acknowledged: their senders ring again."""
    house = street.now
    house.producer.automatic = False
    said = street.speak(2)
    ringing = [asyncio.create_task(street.ring(each)) for each in said]
    async with asyncio.timeout(60.0):
        while len(house.producer.of(Topic.RAW_EVENTS)) < len(street.said):  # noqa: ASYNC110  any condition
            await asyncio.sleep(0.01)
    for task in ringing:
        task.cancel()
    await asyncio.gather(*ringing, return_exceptions=True)
    await house.close()
    await street.move()
    for each in said:
        assert await street.until_taken(each) == 0


async def forged(street: Street) -> None:
    """A signature that is wrong, missing or another body's: 401, and nothing is stored."""
    house, before = street.now, len(street.now.producer.sent)
    (said,) = street.speak(1)
    body = street.ringer.body(said)
    wrong = street.ringer.headers(body, b"another secret of nobody")
    assert await street.post(body, wrong) == 401
    assert await street.post(body, {}) == 401
    refused = 2
    if street.ringer.family != "telegram":  # its token does not depend on the body
        assert await street.post(body + b" ", street.ringer.headers(body)) == 401
        refused = 3
    assert house.refused(401) == refused
    assert len(house.producer.sent) == before
    assert await street.until_taken(said) == 0


async def doubled(street: Street) -> None:
    """The same delivery comes three times, twice of them at once: one event after dedupe."""
    (said,) = street.speak(1)
    assert await street.ring(said) == 200
    assert await asyncio.gather(street.ring(said), street.ring(said)) == [200, 200]
    ids = {each.event_id for each in street.events() if number_of(each) == said.number}
    assert len(ids) == 1


async def reordered(street: Street) -> None:
    """Deliveries overtake each other: each object keeps its id and the time that the network told."""
    said = street.speak(4)
    for each in reversed(said):
        assert await street.ring(each) == 200
    network = installed().network(street.ringer.network)
    drafts = {number_of(raw): network.to_social_event(raw) for raw in street.events()}
    times = [drafts[each.number].published_at for each in said]
    assert times == sorted(times)
    assert all(
        found is not None and abs(found - each.at) <= timedelta(seconds=1)
        for found, each in zip(times, said, strict=True)
    )


async def truncated(street: Street) -> None:
    """A body ends in its middle: cut on the way it is stored nowhere, signed so it is a dead letter."""
    house, before = street.now, len(street.now.producer.sent)
    (said,) = street.speak(1)
    body = street.ringer.body(said)
    half = body[: len(body) // 2]
    await _cut_off(house, street.ringer, body, half)
    assert len(house.producer.sent) == before
    assert await street.post(half, street.ringer.headers(half)) == 200
    assert house.durable(Topic.DEAD_LETTERS) == [half]
    assert await street.until_taken(said) == 0


async def _cut_off(house: House, ringer: Ringer, body: bytes, half: bytes) -> None:
    """Send the head of a delivery and half of its body, then close."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    headers = ringer.headers(body) | {"Host": "hooks.example", "Content-Length": str(len(body))}
    lines = [f"POST /hook/{ringer.address} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode() + half)
    await writer.drain()
    writer.write_eof()
    answer = await reader.read()
    assert not answer.startswith(b"HTTP/1.1 2")
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def burst(street: Street) -> None:
    """Two hundred deliveries at once: every one is heard once."""
    await asyncio.gather(*(street.until_taken(each) for each in street.speak(MANY)))


FAULTS: dict[str, Callable[[Street], Awaitable[None]]] = {
    "Kafka away 2 minutes": kafka_away,
    "killed": killed,
    "forged": forged,
    "doubled": doubled,
    "reordered": reordered,
    "truncated": truncated,
    "burst": burst,
}
OVERTAKING = frozenset({"Kafka away 2 minutes", "reordered", "burst"})
"""Deliveries that are under way at once may overtake: what orders them is the network's time."""


@pytest.mark.faults
@pytest.mark.parametrize("ringer", RINGERS, ids=lambda each: each.network)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_rung_is_heard_once(ringer: Ringer, fault: str, tmp_path: Path) -> None:
    """Everything before, during and after the fault is durable, once after dedupe."""

    async def scenario() -> None:
        street = Street(ringer, LoopClock(), BlobStore(tmp_path / "blobs"))
        await street.move()
        try:
            for each in street.speak(2):
                assert await street.ring(each) == 200
            await FAULTS[fault](street)
            for each in street.speak(2):
                assert await street.until_taken(each) == 0
            street.all_is_there()
            if fault not in OVERTAKING:
                street.in_order()
        finally:
            await street.close()

    run(scenario())


# --- a subscription that is lost ------------------------------------------------------------------


BY_NETWORK = {each.network: each for each in RINGERS}
READERS = {
    each.network: each
    for each in STAND_INS
    if each.network in BY_NETWORK and not BY_NETWORK[each.network].missed
}


@pytest.mark.faults
@pytest.mark.parametrize("name", READERS)
def test_what_a_network_no_longer_rings_is_read(name: str, tmp_path: Path) -> None:
    """The subscription is lost and nobody rings: the connector that reads hears all of it.

    What was rung before it was lost is the same object there: nothing is heard twice.
    """
    ringer = BY_NETWORK[name]

    async def scenario() -> None:
        clock, blobs = LoopClock(), BlobStore(tmp_path / "blobs")
        standin = READERS[name](clock)
        await standin.open()
        street = Street(ringer, clock, blobs)
        await street.move()
        reading = Listening(standin, clock, blobs)
        try:
            await reading.until(lambda: reading.health.state == "running")
            await asyncio.sleep(60.0)
            for each in street.speak(2):
                await told(standin, each)
                assert await street.ring(each) == 200
            for each in street.speak(4):  # rung no more
                await told(standin, each)
            wanted = {each.number for each in street.said}
            await reading.until(lambda: wanted <= {each.number for each in reading.heard()})
            read = [
                codec.decode(RawEvent, each["value"]) for each in reading.durable(Topic.RAW_EVENTS)
            ]
            rung = street.events()
            assert {each.event_id for each in rung} <= {each.event_id for each in read}
            await reading.finish()
        finally:
            await street.close()
            await standin.close()

    run(scenario())


async def told(standin: StandIn, said: Said) -> None:
    """Let the network say what it rings; of X' ids a moment is part."""
    if isinstance(standin, XStandIn):
        standin.server.say(json.loads(BY_NETWORK["x"].body(said))["data"]["payload"])
        return
    await standin.say(said.text, said.conversation)


LOST = "subscription lost"


def as_table() -> str:
    """Return the table as the page shows it: what is proved, and why something is not."""
    notes: list[str] = []
    lines = [f"| network | {' | '.join([*FAULTS, LOST])} |", "|---" * (len(FAULTS) + 2) + "|"]
    for ringer in RINGERS:
        if ringer.missed and ringer.missed not in notes:
            notes.append(ringer.missed)
        lost = f"none ({notes.index(ringer.missed) + 1})" if ringer.missed else "yes"
        lines.append(f"| {ringer.shown} | {' | '.join(['yes'] * len(FAULTS))} | {lost} |")
    said = [f"{number}. {note[0].upper()}{note[1:]}." for number, note in enumerate(notes, 1)]
    return "\n".join([*lines, "", *said])


def test_the_page_shows_what_is_rung() -> None:
    """What the page promises is what is run here, and the other way round."""
    page = PAGE.read_text(encoding="utf-8")
    assert set(READERS) == {each.network for each in RINGERS if not each.missed}
    assert as_table() in page, f"put this table into {PAGE.name}:\n{as_table()}"
    for name, fault in FAULTS.items():
        row = f"| {name} | {' '.join((fault.__doc__ or '').split())} |"
        assert row in page, f"put this row into {PAGE.name}: {row}"
