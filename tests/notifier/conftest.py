"""A receiver over HTTP, a mail server, an Alertmanager, and the loop over the broker in memory."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from klingel.config.escalations import Target
from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output
from klingel.contracts.partition import conversation_key
from klingel.contracts.topics import Topic
from klingel.domain.notifications import Backoff
from klingel.metrics import Metrics
from klingel.model import Alert, BrandConfig, Escalation, Incident
from klingel.settings import NotifierSettings
from klingel.testing.broker import InMemoryBroker
from klingel.testing.clock import FixedClock
from klingel_notifier.addresses import Addresses, variable
from klingel_notifier.factory import Senders
from klingel_notifier.service import INPUTS, Notifier, NotifierOptions, Start
from klingel_notifier.targets import Targets
from klingel_notifier.telling import STAGE

BRAND = "nordlicht"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


# ---------------------------------------------------------------------- records


def escalation(number: int = 1, **fields: Any) -> Escalation:
    """Return an escalation; the number makes its id."""
    made: dict[str, Any] = {
        "escalation_id": f"{number:032x}",
        "case_id": f"{BRAND}:webhook:source:c{number}:customer{number}#1",
        "brand": BRAND,
        "conversation_id": f"webhook:source:c{number}",
        "level": "lead",
        "target": "shift-chat",
        "state": "raised",
        "reason": "warned",
        "revision": 1,
        "at": NOON,
        "recorded_at": NOON + timedelta(seconds=1),
        "clock": "first_response",
        "deadline": NOON + timedelta(minutes=15),
        "queue": "outages",
        "priority": 66,
        "network": "bluesky",
    }
    return Escalation(**(made | fields))


def alert(number: int = 1, **fields: Any) -> Alert:
    """Return an alert."""
    made: dict[str, Any] = {
        "alert_id": f"{number:032x}",
        "brand": BRAND,
        "kind": "negative",
        "topic": "outage",
        "state": "open",
        "severity": 7,
        "revision": 1,
        "opened_at": NOON,
        "updated_at": NOON,
        "targets": ["shift-chat"],
    }
    return Alert(**(made | fields))


def incident(number: int = 1, **fields: Any) -> Incident:
    """Return an incident."""
    made: dict[str, Any] = {
        "incident_id": f"{number:032x}",
        "brand": BRAND,
        "kind": "same_question",
        "state": "open",
        "revision": 1,
        "opened_at": NOON,
        "updated_at": NOON,
        "count": 26,
        "authors": 25,
        "targets": ["shift-chat"],
    }
    return Incident(**(made | fields))


def as_output(record: Escalation | Alert | Incident) -> Output:
    """Return the record as care or watch write it."""
    if isinstance(record, Escalation):
        key = f"{record.case_id}|{record.target}|{record.level}".encode()
        place = conversation_key(record.brand, record.conversation_id)
        return Output(Topic.ESCALATIONS, key, codec.encode(record), partition_key=place)
    topic = Topic.ALERTS if isinstance(record, Alert) else Topic.INCIDENTS
    identity = record.alert_id if isinstance(record, Alert) else record.incident_id
    place = record.brand.encode()
    return Output(topic, identity.encode(), codec.encode(record), partition_key=place)


def brand_config(*targets: Target, calendars: Sequence[Mapping[str, Any]] = ()) -> Message:
    """Return the record of `brand-config` with these targets."""
    config = {
        "brand": BRAND,
        "name": "Nordlicht",
        "queues": [{"id": "outages"}],
        "calendars": list(calendars),
        "targets": [json.loads(target.model_dump_json()) for target in targets],
    }
    record = BrandConfig(brand=BRAND, version="5f0c9d1be27a4463", config=config, applied_at=NOON)
    return Message(Topic.BRAND_CONFIG, 0, 0, BRAND.encode(), codec.encode(record))


# ---------------------------------------------------------------------- receiver


class Receiver:
    """An HTTP server that answers as told and keeps what it got.

    `plan` holds the next answers: a status, (status, headers), `cut` (closes the connection after
    reading), `half` (closes it in the middle of an answer of 200) or `slow` (answers never).
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[Any] = []
        self.chance: Callable[[], Any] | None = None
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        self.plan: list[Any] = []
        self.default: Any = 200
        self.got = asyncio.Event()
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/{tail:.*}", self._post)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/hook"

    async def stop(self) -> None:
        """Close."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _post(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.path, headers, body))
        self.got.set()
        answer = self.plan.pop(0) if self.plan else self.default
        if self.chance is not None:
            answer = self.chance()
        self.answers.append(200 if answer == "half" else answer)
        if self.before_answer is not None:
            await self.before_answer()
        if answer == "slow":
            await asyncio.sleep(3600)
        if answer == "cut":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if answer == "half":
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"o")
            assert request.transport is not None
            request.transport.abort()
            return response
        status, more = answer if isinstance(answer, tuple) else (answer, {})
        return web.Response(status=status, headers=more, text="ok")

    @property
    def keys(self) -> list[str]:
        """Idempotency key of each request, in order."""
        return [headers["idempotency-key"] for _, headers, _ in self.requests]

    def contents(self) -> dict[str, set[bytes]]:
        """Return the different bodies by key."""
        found: dict[str, set[bytes]] = defaultdict(set)
        for _, headers, body in self.requests:
            found[headers["idempotency-key"]].add(body)
        return found


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as made:
        yield made


# ---------------------------------------------------------------------- the loop


class BrokerSource:
    """The notifier's port over the broker in memory; a new one is a new member, alone."""

    group = "notifier"

    def __init__(self, broker: InMemoryBroker) -> None:
        self.broker = broker
        self.positions: dict[tuple[Topic, int], int] = {}
        self.paused: set[tuple[Topic, int]] = set()
        self._told = False

    async def look_up(self) -> Mapping[tuple[Topic, int], Start]:
        """Give every partition once."""
        if self._told:
            return {}
        self._told = True
        starts = {}
        for topic in INPUTS:
            for number in range(self.broker.partitions):
                held = self.broker.committed(self.group, topic, number)
                offset = 0 if held is None or topic is Topic.NOTIFICATIONS else held.offset
                starts[topic, number] = Start(offset, self.broker.end(topic, number))
        self.positions = {slot: start.offset for slot, start in starts.items()}
        return starts

    def assignment(self) -> set[tuple[Topic, int]] | None:
        """Return everything."""
        return set(self.positions) if self._told else None

    async def fetch(self, max_records: int, wait_seconds: float) -> Sequence[Message]:
        """Return what lies ahead; waits for nothing."""
        del wait_seconds
        found: list[Message] = []
        for slot, position in self.positions.items():
            if slot in self.paused:
                continue
            end = min(self.broker.end(*slot), position + max_records - len(found))
            found += self.broker.read(*slot, position, end)
            self.positions[slot] = end
        await asyncio.sleep(0)
        return found

    async def consumed(self, slot: tuple[Topic, int]) -> int | None:
        """Return the position."""
        return self.positions.get(slot)

    def lag(self, slot: tuple[Topic, int]) -> int | None:
        """Return how many offsets lie ahead."""
        return self.broker.end(*slot) - self.positions[slot]

    def pause(self, slots: Sequence[tuple[Topic, int]]) -> None:
        """Fetch nothing of these."""
        self.paused |= set(slots)

    def resume(self, slots: Sequence[tuple[Topic, int]]) -> None:
        """Fetch these again."""
        self.paused -= set(slots)

    async def commit(self, positions: Mapping[tuple[Topic, int], int]) -> None:
        """Commit."""
        from klingel.stage.ports import Committed  # noqa: PLC0415 - only here

        for (topic, number), offset in positions.items():
            self.broker._committed[self.group, topic, number] = Committed(offset)


class Killed(Exception):
    """Planted: the process is gone before Kafka has what it wanted to write."""


class BrokerSink:
    """Writes into the broker in memory; `lives` publishes go through, then the process is killed.

    A kill in the middle of a publish leaves its first records written, as the real thing may.
    """

    def __init__(self, broker: InMemoryBroker, clock: FixedClock) -> None:
        self.broker = broker
        self.clock = clock
        self.lives: int | None = None

    async def publish(self, outputs: Sequence[Output]) -> None:
        """Append each, as long as it lives."""
        await asyncio.sleep(0)
        for output in outputs:
            if self.lives is not None:
                if self.lives <= 0:
                    raise Killed
                self.lives -= 1
            self.broker.append(output, int(self.clock.now().timestamp() * 1000))


class Running:
    """A notifier over the broker in memory, with time that goes on only when told."""

    def __init__(
        self,
        broker: InMemoryBroker,
        clock: FixedClock,
        addresses: Addresses,
        session: aiohttp.ClientSession,
        settings: NotifierSettings,
        config: Message | None,
        options: NotifierOptions,
    ) -> None:
        self.broker = broker
        self.clock = clock
        self.metrics = Metrics(STAGE)
        senders = Senders(addresses, settings, session, clock)
        self.targets = Targets(senders.build, timedelta(hours=settings.give_up_hours))
        if config is not None:
            self.targets.take(config)
        self.source = BrokerSource(broker)
        self.sink = BrokerSink(broker, clock)
        self.notifier = Notifier(
            self.source,
            self.sink,
            self.targets,
            options=options,
            clock=clock,
            metrics=self.metrics,
            chance=random.Random(7),
        )

    async def settle(self, rounds: int = 400) -> None:
        """Run until nothing is left that is due now."""
        quiet = 0
        for _ in range(rounds):
            before = self._standing()
            await self.notifier.tick()
            if self.notifier._turns:
                await asyncio.wait(set(self.notifier._turns), timeout=5)
                quiet = 0
            elif self._standing() == before:
                quiet += 1
            else:
                quiet = 0
            if quiet >= 3:
                return
        pytest.fail("the notifier does not come to rest")

    async def go_on(self, seconds: float) -> None:
        """Let time pass, then do what is due."""
        self.clock.advance(seconds)
        await self.settle()

    def _standing(self) -> object:
        return dict(self.source.positions), [
            (addressee.wake, addressee.stirred, len(addressee.waiting), addressee.batch is None)
            for addressee in self.notifier._addressees()
        ]

    async def end(self) -> None:
        """Stop in an orderly way."""
        await self.notifier._drain()
        await self.notifier.commit()

    def letters(self) -> list[Message]:
        """Return the dead letters."""
        return self.broker.messages(Topic.DEAD_LETTERS)

    def counted(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels."""
        return sum(
            value
            for sample, found, value in self.metrics.samples()
            if sample == name and labels.items() <= found.items()
        )


@pytest.fixture
def broker() -> InMemoryBroker:
    return InMemoryBroker(partitions=3)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
def running(
    broker: InMemoryBroker, clock: FixedClock, session: aiohttp.ClientSession
) -> Callable[..., Running]:
    """Make a notifier; `urls` are settings by name, `targets` those of the brand file."""

    def make(
        *targets: Target,
        urls: Mapping[str, str] | None = None,
        calendars: Sequence[Mapping[str, Any]] = (),
        options: NotifierOptions | None = None,
        **settings: Any,
    ) -> Running:
        environ = {variable(name): value for name, value in (urls or {}).items()}
        return Running(
            broker,
            clock,
            Addresses(environ),
            session,
            NotifierSettings(**({"timeout_seconds": 0.5} | settings)),
            brand_config(*targets, calendars=calendars),
            options
            or NotifierOptions(
                commit_seconds=0, retry_seconds=0.01, backoff=Backoff(first=1, longest=60)
            ),
        )

    return make


def chat(**fields: Any) -> Target:
    """Return a chat target."""
    return Target(**({"id": "shift-chat", "kind": "slack", "url_setting": "chat"} | fields))


def hook(**fields: Any) -> Target:
    """Return a webhook target."""
    made = {"id": "hook", "kind": "webhook", "url_setting": "hook", "secret_setting": "secret"}
    return Target(**(made | fields))


class Build:
    """Builders, as one fixture."""

    escalation = staticmethod(escalation)
    alert = staticmethod(alert)
    incident = staticmethod(incident)
    output = staticmethod(as_output)
    config = staticmethod(brand_config)
    chat = staticmethod(chat)
    hook = staticmethod(hook)
    secret = SECRET
    brand = BRAND
    noon = NOON


@pytest.fixture
def build() -> Build:
    return Build()
