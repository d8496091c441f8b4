"""Putting the parts together: a connector process, a gateway process."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol

import structlog
from aiohttp import web
from kafka import KafkaConsumer, OffsetAndMetadata

from klingel.clock import Clock
from klingel.config.brand import Brand
from klingel.contracts.blobs import BlobStore
from klingel.contracts.certificates import tell_certificates
from klingel.contracts.connection import opened
from klingel.contracts.envelope import Output
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key
from klingel.errors import ConfigurationError, RetryableError
from klingel.metrics import Metric, Metrics
from klingel.model import RawEvent
from klingel.settings import Settings
from klingel_connectors import broker
from klingel_connectors.asking import answers
from klingel_connectors.books import Books
from klingel_connectors.chat import Chat
from klingel_connectors.chat_outbox import Outbox
from klingel_connectors.chat_settings import ChatSettings
from klingel_connectors.cursor import read_cursor, read_cursors, read_whole
from klingel_connectors.fetch import FetchBounds, Fetcher
from klingel_connectors.filters import BrandFilter
from klingel_connectors.gateway import Doors, Gateway
from klingel_connectors.hooks import Hook
from klingel_connectors.intake import TOPICS, Intake
from klingel_connectors.job_books import Standing
from klingel_connectors.kept import kept_ids
from klingel_connectors.lease import Lease
from klingel_connectors.media import MediaPlan, MediaWorker
from klingel_connectors.permits import RuntimePermits
from klingel_connectors.presence import Presence
from klingel_connectors.publisher import Bounds, Publisher
from klingel_connectors.purse import Purse
from klingel_connectors.raw import Keep, Origin
from klingel_connectors.runner import Plan, Runner
from klingel_connectors.settings import HASH_KEY, GatewaySettings, HookSettings, MediaSettings
from klingel_connectors.shared import Shared
from klingel_connectors.standstill import Pulse, Sign, Standstill
from klingel_connectors.status import (
    EVERY_SECONDS,
    STATES,
    Before,
    Health,
    State,
    before_of,
    newest_statuses,
    status_output,
)
from klingel_connectors.status_server import HttpServer, Probe, status_routes
from klingel_connectors.stores import FolderStore, MediaStore
from klingel_connectors.suppression import Erased, Suppressions
from klingel_networks.arrival import Client, MediaAddresses, PollClient, Tools
from klingel_networks.contract import Network
from klingel_networks.object_store import S3Store
from klingel_networks.registry import installed

PACKAGE = "klingel-connectors"
_TICK_SECONDS = 1.0
_LINGER_MS = 10
"""Of the gateway: a sender waits for the answer, and batches of ten milliseconds are large enough."""


class Writes(Protocol):
    """Says what else a service tells at a turn."""

    def __call__(self, now: datetime, *, running: bool, last: bool) -> list[Output]:
        """Return the records; `running` while it does what it is there for, `last` at its stop."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """What a connector process is to do.

    Attributes:
        connector: its noun, such as `bluesky`.
        network: pure half of what it reads.
        connect: makes the talking half, with clock, limits and brands at hand.
        instance: name of this instance.
        holder: name of this process; lasting and unique when `static_holder`.
        channel: what it listens to, where the network has such.
        filtered: whether only what may concern a brand is published.
        plan: how it runs.
        budget: most units a month that the network may charge for; None for none.
        cost_unit: what it charges for.
        app: whose money it spends and whose deliveries the gateway takes; empty for none.
    """

    connector: str
    network: Network
    connect: Callable[[Tools], Client | PollClient]
    instance: str
    holder: str
    plan: Plan
    static_holder: bool = False
    channel: str | None = None
    filtered: bool = False
    budget: float | None = None
    cost_unit: str = ""
    app: str = ""


async def run_connector(
    settings: Settings,
    job: Job,
    clock: Clock,
    stop: asyncio.Event,
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Run a connector until `stop` or its end; raises ConfigurationError."""
    metrics = tell_certificates(Metrics(f"connector-{job.connector}"), settings, clock)
    origin = Origin(job.connector, job.instance, job.network.name, job.holder, job.channel)
    books = Books(f"connector-{job.connector}", job.holder, clock.now(), metrics)
    publisher = _publisher(
        settings, job.instance, clock, (Topic.CONNECTOR_CURSORS, Topic.CONNECTOR_LEASES)
    )
    erased = _erased(settings)
    brands = _Brands(lambda: _filter(settings, job, metrics))
    keep = brands.passes if job.filtered else None
    permits = RuntimePermits(clock, metrics, budget=job.budget, unit=job.cost_unit, app=job.app)
    shared = Shared({job.app} - {""})
    permits.purse.join(job.instance, job.holder, partial(shared.spending, job.app))
    tools = Tools(
        clock=clock,
        permits=permits,
        brands=brands.in_force,
        kept=partial(kept_ids, settings.kafka, job.instance),
        attended=partial(shared.attendance, job.app),
    )
    runner = Runner(
        client=job.connect(tools),
        origin=origin,
        intake=_intake(settings, job.network, origin, books, metrics, clock, erased, keep),
        publisher=publisher,
        lease=Lease(settings.kafka, job.instance, job.holder, static=job.static_holder),
        read_cursor=partial(read_cursor, settings.kafka),
        read_cursors=partial(read_cursors, settings.kafka),
        read_before=partial(_before, settings, shared, stop.is_set),
        permits=permits,
        books=books,
        metrics=metrics,
        clock=clock,
        plan=job.plan,
        stop=stop,
    )
    standstill = Standstill(runner.signs(), partial(answers, settings.kafka), metrics)
    seen = _Seen(metrics, runner.health, publisher, standstill, erased.waiting_for)
    server = await _served(web.Application(), settings, seen, "status_listened", on_listening)
    # Not before: what refuses its settings leaves no thread behind.
    erased.start(settings, job.instance)
    shared.start(settings.kafka, job.instance)
    if job.filtered:
        brands.start()
    try:
        await runner.run()
    finally:
        permits.stop()
        await _unfollowed(erased, shared, brands)
        await server.stop()


async def run_gateway(
    settings: Settings,
    own: GatewaySettings,
    network: Network,
    holder: str,
    clock: Clock,
    stop: asyncio.Event,
    *,
    chat: ChatSettings | None = None,
    grace_seconds: float = 20.0,
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Run the gateway until `stop`; it listens at once and answers 503 while Kafka is away."""
    metrics = tell_certificates(Metrics("gateway"), settings, clock)
    instance = settings.connector.instance or "gateway"
    origin = Origin("webhook", instance, network.name, holder)
    books = Books("connector-webhook", holder, clock.now(), metrics)
    outbox = (Topic.CHAT_OUTBOX,) if chat is not None else ()
    shares = (Topic.CONNECTOR_CURSORS,) if _shares(own) else ()
    publisher = _publisher(settings, instance, clock, outbox + shares, linger_ms=_LINGER_MS)
    erased = _erased(settings)
    builder = _Doors(settings, own, origin, books, metrics, clock, erased)
    doors = builder.build(network)
    apps = _Apps.of(doors, instance, holder, clock, metrics)
    gateway = Gateway(
        own,
        doors,
        publisher,
        metrics,
        clock,
        purses=apps.purses,
        presences=apps.presences,
        holder=holder,
    )
    health = Health(credential="ok" if own.webhooks or own.hooks else "none")
    app = web.Application(client_max_size=own.limit_bytes)
    app.add_routes(gateway.routes())
    talk = None
    if chat is not None:
        talk = Chat(chat, builder.chats(chat), publisher, metrics, clock)
        app.add_routes(talk.routes())
        app.on_shutdown.append(talk.close)
    broken, heard = partial(_broken, gateway, talk), lambda: gateway.last_event_at
    house = _House(publisher, origin, books, health, metrics, clock, broken, heard)
    standstill = Standstill(house.signs(), partial(answers, settings.kafka), metrics)
    seen = _Seen(metrics, health, publisher, standstill, erased.waiting_for)
    server = await _served(app, settings, seen, "gateway_listened", on_listening)
    apps.told_by(house, health, talk)
    erased.start(settings, instance)
    apps.shared.start(settings.kafka, instance)
    starting, keeping = house.begin()
    answering = None
    if chat is not None and talk is not None:
        replies = Outbox(settings.kafka, instance, talk, chat.hours, clock)
        answering = asyncio.create_task(_once(starting, replies.run))
    await stop.wait()
    await _cancelled(answering)
    health.turn("stopped")
    await server.stop()
    await _unfollowed(erased, apps.shared)
    await _cancelled(keeping)
    await _farewell(house, starting, grace_seconds)


async def _farewell(house: "_House", starting: "asyncio.Task[None]", seconds: float) -> None:
    """Write what is left, where the publisher has begun at all."""
    if starting.done():
        await house.last_words(seconds)
    else:
        starting.cancel()


async def _begun(starting: "asyncio.Task[None]", stop: asyncio.Event) -> bool:
    """Wait for what starts; False when the service is to stop first."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    if stop.is_set():
        return False
    await starting
    return True


def _first_awaited(*followers: "_Followed") -> str:
    """Say what the first that waits is waiting for; empty where none does."""
    return next(filter(None, (each.waiting_for() for each in followers)), "")


async def _unfollowed(*followers: "_Follower") -> None:
    """Stop those that follow a topic; each blocks a moment."""
    for each in followers:
        await asyncio.to_thread(each.stop)


async def _cancelled(*tasks: "asyncio.Task[None] | None") -> None:
    """Cancel tasks and wait for their ends."""
    for task in tasks:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _once(starting: "asyncio.Task[None]", run: Callable[[], Awaitable[None]]) -> None:
    """Run what needs a publisher, once there is one."""
    await asyncio.shield(starting)
    await run()


def _broken(gateway: Gateway, talk: Chat | None) -> str:
    """Return why a door is broken; empty while none is."""
    return gateway.broken or ("" if talk is None else talk.broken)


def _shares(own: GatewaySettings) -> bool:
    """Whether something rings that costs, or that is replayed: all else shares nothing."""
    families = [installed().family(each.family) for each in own.hooks.values()]
    return any(each.charges is not None or each.replayed is not None for each in families)


class _Follower(Protocol):
    """Follows a topic in a thread of its own."""

    def stop(self) -> None:
        """Stop following; blocks a moment."""


class _Followed(Protocol):
    """Knows what was told on a topic, once that was read."""

    def waiting_for(self) -> str:
        """Say what keeps it waiting; empty once it knows."""
        ...


class _Apps(NamedTuple):
    """What a service keeps for each app: its purse, and at the gateway whether it took deliveries."""

    shared: Shared
    purses: Mapping[str, Purse]
    presences: Mapping[str, Presence]

    @classmethod
    def of(
        cls, doors: Doors, instance: str, holder: str, clock: Clock, metrics: Metrics
    ) -> "_Apps":
        """Return a purse for each app that costs, and a presence where deliveries are replayed."""
        hooks = {hook.app: hook for hook in doors.hooks.values()}
        costing = {app for app, hook in hooks.items() if hook.family.charges is not None}
        shared = Shared(costing)
        purses = {}
        for app in sorted(costing):
            purses[app] = Purse(clock, metrics, unit=hooks[app].family.unit, app=app)
            purses[app].join(instance, holder, partial(shared.spending, app))
        presences = {
            app: Presence(app, f"{instance}/{holder}")
            for app, hook in hooks.items()
            if hook.family.replayed is not None
        }
        return cls(shared, purses, presences)

    @classmethod
    def spending(cls, purses: Iterable[Purse], instance: str, holder: str) -> "_Apps":
        """Return the purses of those that cost, joined."""
        costing = {purse.app: purse for purse in purses if purse.counts and purse.app}
        shared = Shared(costing)
        for app, purse in costing.items():
            purse.join(instance, holder, partial(shared.spending, app))
        return cls(shared, costing, {})

    def told_by(self, house: "_House", health: Health, talk: Chat | None) -> None:
        """Let the status and the publisher of a service tell of all of it."""
        house.measures_also(partial(_measured, self.purses.values(), health, talk))
        house.writes_also(self.outputs)

    def outputs(self, now: datetime, *, running: bool, last: bool) -> list[Output]:
        """Return what is to be told now; that we are there only while we take deliveries."""
        found = [purse.output(last=last) for purse in self.purses.values()]
        if running:
            found += [each.output(now) for each in self.presences.values()]
        return [each for each in found if each is not None] + self.shared.past(now)


def _measured(purses: Iterable[Purse], health: Health, talk: Chat | None) -> None:
    told = []
    for purse in purses:
        purse.measure()
        told.append(purse.spent())
    # Of several apps the status has room for one: the one that has cost most.
    health.spent = max(filter(None, told), key=lambda each: each.units, default=None)
    if talk is not None:
        talk.measure()


class _Doors(NamedTuple):
    """Builds the intake of each of the gateway's sources."""

    settings: Settings
    own: GatewaySettings
    origin: Origin
    books: Books
    metrics: Metrics
    clock: Clock
    suppressions: Suppressions

    def build(self, network: Network) -> Doors:
        """Return the doors; raises ConfigurationError."""
        return Doors(
            webhooks={each: self._door(network, "webhook", each) for each in self.own.webhooks},
            forms={each: self._door(network, "form", each) for each in self.own.forms},
            hooks={name: self._hook(name, given) for name, given in self.own.hooks.items()},
        )

    def chats(self, chat: ChatSettings) -> dict[str, Intake]:
        """Return the intake of each chat."""
        network = installed().network("chat")
        return {
            name: self._intake(
                network,
                Origin(
                    "chat",
                    _named(self.origin.instance, "chat", name),
                    "chat",
                    self.origin.holder,
                    name,
                ),
            )
            for name in chat.channels
        }

    def _door(self, network: Network, kind: str, source: str) -> Intake:
        return self._intake(network, _door(self.origin, kind, source))

    def _hook(self, name: str, given: HookSettings) -> Hook:
        families = installed()
        family = families.family(given.family)
        if family.hashes and not self.own.hash_key:
            raise ConfigurationError(
                f"{HASH_KEY}: hook {name} needs a key of 16 to 64 bytes, and {HASH_KEY}_FILE may "
                "name its file; ids are hashes under it, so it must never change"
            )
        instance = _named(self.origin.instance, "hook", name)
        intakes = {
            member: self._intake(
                families.network(member),
                Origin(member, instance, member, self.origin.holder, given.channel or None),
            )
            for member in family.networks
        }
        return Hook(family, given.keys, given.verify_token, intakes, self.own.hash_key, name)

    def _intake(self, network: Network, origin: Origin) -> Intake:
        return _intake(
            self.settings,
            network,
            origin,
            self.books,
            self.metrics,
            self.clock,
            self.suppressions,
            None,
        )


async def run_media(
    settings: Settings,
    own: MediaSettings,
    addresses: Mapping[str, MediaAddresses],
    holder: str,
    clock: Clock,
    stop: asyncio.Event,
    *,
    bounds: FetchBounds | None = None,
    permits: Sequence[RuntimePermits] = (),
    metrics: Metrics | None = None,
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Run the media worker until `stop`.

    Args:
        settings: platform's.
        own: of the worker.
        addresses: by network, who knows the present address of its media.
        holder: name of this process.
        clock: time.
        stop: set by SIGTERM.
        bounds: of a fetch; None for those of `own`.
        permits: that `addresses` ask; what they spend is told to the other services.
        metrics: that `permits` count in.
        on_listening: told the port of the status pages.
    """
    metrics = tell_certificates(metrics or Metrics("media"), settings, clock)
    instance = settings.connector.instance or "media"
    books = Books("connector-media", holder, clock.now(), metrics)
    shares = (Topic.CONNECTOR_CURSORS,) if any(each.purse.counts for each in permits) else ()
    publisher = _publisher(settings, instance, clock, (Topic.MEDIA_JOBS, *shares))
    health, origin = Health(), Origin("media", instance, "media", holder)
    house = _House(publisher, origin, books, health, metrics, clock, str, lambda: None)
    standstill = Standstill(house.signs(), partial(answers, settings.kafka), metrics)
    erased = _erased(settings)
    apps = _Apps.spending([each.purse for each in permits], instance, holder)
    waits = partial(_first_awaited, erased, apps.shared)
    seen = _Seen(metrics, health, publisher, standstill, waits)
    server = await _served(web.Application(), settings, seen, "status_listened", on_listening)
    house.waits_also_for(waits)
    apps.told_by(house, health, None)
    erased.start(settings, instance)
    apps.shared.start(settings.kafka, instance)
    starting, keeping = house.begin()
    try:
        if await _begun(starting, stop) and await _until_known(apps.shared, stop):
            limits = bounds or FetchBounds(most_bytes=own.most_bytes, seconds=own.seconds)
            jobs = await asyncio.to_thread(_jobs, settings, instance)
            worker = MediaWorker(
                instance=instance,
                jobs=jobs,
                fetcher=Fetcher(limits),
                store=_store(settings, own, clock),
                addresses=addresses,
                publisher=publisher,
                books=books,
                metrics=metrics,
                clock=clock,
                plan=MediaPlan(at_once=own.at_once),
                stop=stop,
                offset=lambda offset, metadata: OffsetAndMetadata(offset, metadata, -1),
                standing=lambda place: _standing(jobs, place),
                holder=holder,
                suppressions=erased,
            )
            house.waits_also_for(lambda: worker.waiting_for or waits())
            standstill.watch(worker.signs(limits.seconds))
            await worker.run()
    finally:
        health.turn("stopped")
        await server.stop()
        for each in permits:
            each.stop()
        await _unfollowed(erased, apps.shared)
        await _cancelled(keeping)
        await _farewell(house, starting, 20.0)


async def _until_known(shared: Shared, stop: asyncio.Event) -> bool:
    """Wait for what others have spent; False when the service is to stop first."""
    while not stop.is_set():
        try:
            await asyncio.to_thread(shared.known, stop.is_set)
        except RetryableError as error:
            if not stop.is_set():
                structlog.get_logger().warning("spending_awaited", error_class=type(error).__name__)
        else:
            return True
    return False


def _store(settings: Settings, own: MediaSettings, clock: Clock) -> MediaStore:
    if own.s3 is not None:
        return S3Store(own.s3, clock)
    return FolderStore(BlobStore(settings.blobs.dir))


def _jobs(settings: Settings, instance: str) -> KafkaConsumer:
    """Subscribe to the jobs; blocks."""
    kafka = settings.kafka
    consumer = opened(
        KafkaConsumer,
        **broker.connection(kafka, f"{instance}-jobs"),
        group_id=f"{kafka.group_prefix}media",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_poll_records=100,
    )
    consumer.subscribe([broker.physical(kafka, Topic.MEDIA_JOBS)])
    return consumer


def _standing(jobs: KafkaConsumer, place: Any) -> Standing:
    """Return where the group stands in a partition; blocks."""
    found = jobs.committed(place, metadata=True)
    if found is None:
        return Standing(place.partition, jobs.beginning_offsets([place])[place], "")
    return Standing(place.partition, found.offset, found.metadata or "")


class _Seen(NamedTuple):
    """What the status pages of a process show."""

    metrics: Metrics
    health: Health
    publisher: Publisher
    standstill: Standstill
    also: Callable[[], str] = str


async def _served(
    app: web.Application,
    settings: Settings,
    seen: _Seen,
    event: str,
    on_listening: Callable[[int], None] | None,
) -> HttpServer:
    """Add the status pages and listen; say where in the log and to whoever asked."""
    app.add_routes(status_routes(seen.metrics, lambda: _healthy(seen), lambda: _ready(seen)))
    server = HttpServer(app, settings.http)
    await server.start()
    structlog.get_logger().info(event, host=settings.http.host, port=server.port)
    if on_listening is not None:
        on_listening(server.port)
    return server


class _House:
    """A service's housekeeping: books every second, status at changes and every 10 s."""

    def __init__(
        self,
        publisher: Publisher,
        origin: Origin,
        books: Books,
        health: Health,
        metrics: Metrics,
        clock: Clock,
        broken: Callable[[], str],
        last_event_at: Callable[[], datetime | None],
    ) -> None:
        self._publisher = publisher
        self._broken = broken
        self._last_event_at = last_event_at
        self._also: Callable[[], str] = str
        self._measures: Callable[[], None] | None = None
        self._writes: Writes | None = None
        self._origin = origin
        self._books = books
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._next_status = 0.0
        self._pulse = Pulse(clock)
        self._log = structlog.get_logger()

    def signs(self) -> list[Sign]:
        """Return by what a standstill of any service is seen."""
        return [
            Sign("its housekeeping does not come round", self._pulse.still),
            Sign("Kafka answers and acknowledges nothing", self._publisher.oldest_seconds),
        ]

    def waits_also_for(self, waiting_for: Callable[[], str]) -> None:
        """Tell of something else that keeps the service waiting."""
        self._also = waiting_for

    def measures_also(self, measure: Callable[[], None]) -> None:
        """Let something else set its gauges at every turn."""
        self._measures = measure

    def writes_also(self, outputs: "Writes") -> None:
        """Write what else is to be told, at every turn."""
        self._writes = outputs

    def begin(self) -> tuple["asyncio.Task[None]", "asyncio.Task[None]"]:
        """Start the publisher and this; returns both tasks."""
        starting = asyncio.create_task(self._publisher.start())
        return starting, asyncio.create_task(self.keep(starting))

    async def keep(self, starting: "asyncio.Task[None]") -> None:
        """Run until cancelled; an error of the start ends the process."""
        self._turn("waiting", f"waiting for {self._publisher.waiting_for()}")
        await starting
        while True:
            waiting_for = self._publisher.waiting_for() or self._also()
            broken = self._broken()
            if broken:
                self._turn("failed", broken)
            elif waiting_for:
                self._turn("waiting", f"waiting for {waiting_for}")
            else:
                self._turn("running")
            self._measure()
            await self._write()
            self._pulse.beat()
            await asyncio.sleep(_TICK_SECONDS)

    async def last_words(self, grace_seconds: float) -> None:
        """Flush, close the books, disconnect."""
        await self._publisher.flush(grace_seconds / 2)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds / 4):
                self._next_status = 0.0
                await self._write(last=True)
        await self._publisher.close(grace_seconds / 4)
        self._log.info("service_stopped", instance=self._origin.instance)

    def _turn(self, state: State, reason: str = "") -> None:
        if self._health.turn(state, reason):
            self._next_status = 0.0
            self._log.info("state_changed", state=state, reason=reason)
            for known in STATES:
                self._metrics.set(Metric.STATE, 1.0 if known == state else 0.0, state=known)

    def _measure(self) -> None:
        self._health.last_event_at = self._last_event_at()
        self._health.in_flight = self._publisher.in_flight
        self._health.published = self._publisher.acknowledged
        self._metrics.set(Metric.IN_FLIGHT_MESSAGES, self._publisher.in_flight)
        self._metrics.set(Metric.IN_FLIGHT_BYTES, self._publisher.in_flight_bytes)
        self._metrics.set(Metric.OLDEST_SECONDS, self._publisher.oldest_seconds())
        if self._measures is not None:
            self._measures()

    async def _write(self, *, last: bool = False) -> None:
        now = self._clock.now()
        line = self._books.close(now)
        if line is not None:
            await self._publisher.publish(line, _ignore)
        if self._writes is not None:
            running = self._health.state == "running"
            for output in self._writes(now, running=running, last=last):
                await self._publisher.publish(output, _ignore)
        if self._clock.monotonic() >= self._next_status:
            self._next_status = self._clock.monotonic() + EVERY_SECONDS
            await self._publisher.publish(status_output(self._origin, self._health, now), _ignore)


def _door(origin: Origin, kind: str, source: str) -> Origin:
    instance = _named(origin.instance, kind, source)
    return Origin(kind, instance, origin.network, origin.holder, source)


def _named(instance: str, kind: str, source: str) -> str:
    return f"{instance}-{kind}-{source.replace('/', '-')}"[:120]


def _publisher(
    settings: Settings,
    instance: str,
    clock: Clock,
    more: tuple[Topic, ...],
    *,
    linger_ms: int = 20,
) -> Publisher:
    bounds = Bounds(settings.connector.in_flight_messages, settings.connector.in_flight_bytes)
    return Publisher(
        settings.kafka,
        client_id=instance,
        topics=TOPICS + more,
        clock=clock,
        bounds=bounds,
        linger_ms=linger_ms,
    )


def _intake(
    settings: Settings,
    network: Network,
    origin: Origin,
    books: Books,
    metrics: Metrics,
    clock: Clock,
    suppressions: Suppressions,
    keep: Keep | None,
) -> Intake:
    return Intake(
        network,
        origin,
        version=version(PACKAGE),
        blobs=BlobStore(settings.blobs.dir),
        suppressions=suppressions,
        books=books,
        metrics=metrics,
        clock=clock,
        keep=keep,
    )


def _erased(settings: Settings) -> Erased:
    """Return who was erased, as far as it is followed."""
    secret = settings.erasure.key
    return Erased(None if secret is None else Key(secret.get_secret_value()))


def _filter(settings: Settings, job: Job, metrics: Metrics) -> BrandFilter:
    return BrandFilter(
        settings.kafka,
        job.network,
        name=job.network.name,
        channel=job.channel,
        client_id=job.instance,
        metrics=metrics,
    )


class _Brands:
    """The brands' follower, begun when it is first needed: most connectors never ask."""

    def __init__(self, build: Callable[[], BrandFilter]) -> None:
        self._build = build
        self._filter: BrandFilter | None = None

    def start(self) -> BrandFilter:
        """Begin to follow."""
        if self._filter is None:
            self._filter = self._build()
            self._filter.start()
        return self._filter

    def stop(self) -> None:
        """Stop following; blocks a moment."""
        if self._filter is not None:
            self._filter.stop()

    def passes(self, raw: RawEvent) -> bool:
        """Whether a raw event may concern a brand."""
        return self.start().passes(raw)

    def in_force(self) -> Sequence[Brand] | None:
        """Return the brands; None until they were read, and while one cannot be read."""
        return self.start().brands()


def _before(
    settings: Settings, shared: Shared, stopping: Callable[[], bool], instance: str
) -> Before:
    """Return what an earlier process of the instance told; blocks, also until others are known."""
    shared.known(stopping)
    records = read_whole(settings.kafka, Topic.CONNECTOR_STATUS, f"{instance}-status")
    return before_of(instance, newest_statuses(records))


async def _healthy(seen: _Seen) -> Probe:
    health, stands = seen.health, await seen.standstill.told()
    return Probe(health.state != "failed" and not stands, stands or health.reason or health.state)


def _ready(seen: _Seen) -> Probe:
    health, waiting_for = seen.health, seen.publisher.waiting_for() or seen.also()
    if waiting_for:
        return Probe(fine=False, says=f"waiting for {waiting_for}")
    fine = health.state in {"running", "finished", "waiting"}
    return Probe(fine, health.reason or health.state)


def _ignore(_error: object) -> None:
    """Our own small records always fit."""
