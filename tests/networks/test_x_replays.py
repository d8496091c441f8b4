"""What X's webhook missed is told as a gap, replayed where X allows it, and closed truthfully.

Gateway and X are real servers; the topic between gateway and connector lies in memory.
"""

import asyncio
import contextlib
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from klingel.clock import SystemClock
from klingel.config.brand import ListeningRule
from klingel.config.loader import load_brand
from klingel.contracts import codec
from klingel.contracts.blobs import BlobStore
from klingel.contracts.topics import Topic
from klingel.metrics import Metrics
from klingel.model import RawEvent
from klingel.settings import KafkaSettings
from klingel.testing.clock import FixedClock
from klingel_connectors import gaps
from klingel_connectors.books import Books
from klingel_connectors.gaps import Ledger
from klingel_connectors.gateway import Doors, Gateway
from klingel_connectors.hooks import Hook
from klingel_connectors.intake import TOPICS, Intake
from klingel_connectors.presence import EVERY, Presence
from klingel_connectors.publisher import Bounds, Publisher
from klingel_connectors.raw import Origin
from klingel_connectors.settings import GatewaySettings, HookSettings
from klingel_connectors.shared import Shared, replay_output
from klingel_connectors.testing import NobodyErased, RecordingProducer
from klingel_networks.arrival import Arrival, Attendance, Gap, GapClosed, Life, Tools, Unbounded
from klingel_networks.contract import Delivery
from klingel_networks.x import FAMILY, NETWORK
from klingel_networks.x.api import Api
from klingel_networks.x.client import XClient, XOptions
from klingel_networks.x.ids import at_milliseconds, milliseconds_of
from klingel_networks.x.position import CURSOR_LENGTH, MOST_HOLES, Position
from klingel_networks.x.replays import (
    SILENT_MS,
    Absences,
    Hole,
    Span,
    absences,
    asked,
    entered,
    replayed,
)
from klingel_networks.x.webhooks import Webhooks
from klingel_simulator.x_activity import Webhook, event, job_status
from klingel_simulator.x_server import TOKEN, XServer, snowflake

SECRET = b"a client secret of X"
BRAND, CUSTOMER = "1111111111111111111", "2222222222222222222"
BRAND_FILE = Path(__file__).resolve().parents[2] / "brands" / "nordlicht.yaml"
NOBODY = "http://127.0.0.1:1/hook/x"


class Town:
    """X, a gateway that comes and goes, and the part of the connector that looks after the webhook."""

    def __init__(self, tmp_path) -> None:
        self.clock = FixedClock()
        self.x = XServer(self.clock.now)
        self.webhook = Webhook(NOBODY, SECRET)
        self.shared = Shared({"x"})
        self.shared.renew()
        self.producer = RecordingProducer()
        self.ledger = Ledger()
        self.entries = []
        self.position = Position(self.clock.now())
        self.presence: Presence | None = None
        self.said = 0
        self._read = 0
        self._lives = 0
        self._blobs = BlobStore(tmp_path)
        self._served: TestServer | None = None
        self._closing = contextlib.AsyncExitStack()

    async def open(self) -> None:
        """Start X and register the webhook, which is valid."""
        server = await self._closing.enter_async_context(TestServer(self.x.app()))
        self.session = await self._closing.enter_async_context(aiohttp.ClientSession())
        tools = Tools(clock=self.clock, attended=lambda: self.shared.attendance("x"))
        self.api = Api(self.session, str(server.make_url("")).rstrip("/"), TOKEN, tools)
        self.tools = tools
        self.connector()
        self.publisher = Publisher(
            KafkaSettings(),
            client_id="test",
            topics=(*TOPICS, Topic.CONNECTOR_CURSORS),
            clock=SystemClock(),
            bounds=Bounds(),
            connect=lambda: self.producer,
            sleep=lambda _seconds: asyncio.sleep(0),
        )
        await self.publisher.start()
        self.webhook_id = self.x.register("https://hooks.example/hook/x", self.webhook)
        await self.comes()
        await self.look()

    async def close(self) -> None:
        """End everything."""
        if self._served is not None:
            await self._served.close()
        await self.publisher.close(0.0)
        await self._closing.aclose()

    def connector(self) -> None:
        """Begin as a new process, with nothing but its position."""
        self.position = Position.decode(self.position.encode())
        self.webhooks = Webhooks("x", self.tools, 300.0)

    # --- the gateway ---------------------------------------------------------------------------

    async def comes(self) -> None:
        """Start a gateway."""
        metrics = Metrics("test")
        intake = Intake(
            NETWORK,
            Origin("x", "x-hook", "x"),
            version="1",
            blobs=self._blobs,
            suppressions=NobodyErased(),
            books=Books("connector-x", "test", SystemClock().now(), metrics),
            metrics=metrics,
            clock=SystemClock(),
        )
        self._lives += 1
        self.presence = Presence("x", f"gateway/h{self._lives}")
        gateway = Gateway(
            GatewaySettings(
                webhooks={},
                hooks={"x": HookSettings("x", "", (SECRET,))},
                hook_base="https://h.example",
                wait_seconds=0.2,
            ),
            Doors({}, {}, {"x": Hook(FAMILY, (SECRET,), b"", {"x": intake}, name="x")}),
            self.publisher,
            metrics,
            self.clock,
            presences={"x": self.presence},
            holder=f"h{self._lives}",
        )
        app = web.Application()
        app.add_routes(gateway.routes())
        before, self._served = self._served, TestServer(app)
        await self._served.start_server()
        if before is not None:
            await before.close()
        self.webhook._url = str(self._served.make_url("/hook/x"))
        await self.webhook.challenge(self.session, "a token of X")
        self.tick()

    async def goes(self) -> None:
        """End the gateway; X goes on delivering."""
        await self._served.close()
        self._served = self.presence = None
        self.webhook._url = NOBODY

    def tick(self) -> None:
        """Let the connector read what the gateway has written."""
        if self.presence is not None:
            self._take(self.presence.output(self.clock.now()))
        written = self.producer.of(Topic.CONNECTOR_CURSORS)
        for each in written[self._read :]:
            self._take(SimpleNamespace(**each))
        self._read = len(written)

    def _take(self, record) -> None:
        if record is not None:
            self.shared.take(Topic.CONNECTOR_CURSORS, record)

    # --- what happens --------------------------------------------------------------------------

    async def rings(self) -> str:
        """Let somebody say something; return the post's id."""
        self.said += 1
        post_id = str(2_080_765_813_578_191_303 + self.said)
        body = event(
            "post.mention.create",
            {"id": post_id, "text": "hallo", "author_id": CUSTOMER},
            user_id=BRAND,
            uuid=self.said,
        )
        await self.webhook.deliver(self.session, body, self.clock.now())
        return post_id

    async def look(self) -> list:
        """Let the connector look once; its gaps go into the ledger, as the runner does."""
        self.tick()
        self.position, reports = await self.webhooks.look(self.api, self.position)
        for each in reports:
            enter = gaps.opened if isinstance(each, Gap) else gaps.closed
            self.ledger, news = enter(self.ledger, each, "", self.clock.now())
            self.entries += [entry for entry in news if entry.outcome != "open"]
        return reports

    async def pass_by(self, seconds: float) -> None:
        """Let time pass, the gateway writing and the connector looking every ten seconds."""
        until = self.clock.now() + timedelta(seconds=seconds)
        while self.clock.now() < until:
            self.clock.advance(min(10.0, (until - self.clock.now()).total_seconds()))
            await self.look()
            await self.replayed()

    async def replayed(self) -> None:
        """Wait until X has redelivered what it was asked for."""
        if self.x._flowing.is_set():
            await asyncio.gather(*self.x._replaying)

    def stored(self) -> list[RawEvent]:
        """Return the raw events of posts."""
        raws = [codec.decode(RawEvent, each["value"]) for each in self.producer.of("raw-events")]
        return [raw for raw in raws if raw.kind == "post"]

    def heard(self) -> list[str]:
        """Return the ids of the posts, each once."""
        return sorted({raw.object_id.removeprefix("x:network:") for raw in self.stored()})

    def outcomes(self) -> list[str]:
        """Return what came of the gaps that are closed."""
        return [each.outcome for each in self.entries]


@pytest.fixture
async def town(tmp_path):
    found = Town(tmp_path)
    await found.open()
    yield found
    await found.close()


async def test_while_somebody_takes_what_rings_there_is_no_gap(town):
    """An hour with two gateways that are replaced one after the other."""
    said = [await town.rings()]
    await town.pass_by(1800)
    old, town.presence = town.presence, None
    await town.comes()  # the new one is there before the old one goes
    town._take(old.output(town.clock.now()))
    await town.pass_by(1800)
    said.append(await town.rings())
    assert town.heard() == said
    assert (town.entries, town.ledger.open, town.x.replays) == ([], {}, [])


async def test_what_was_missed_while_no_gateway_was_there_is_replayed(town):
    """Opened when the silence is known, filled by X's replay, the same events by identity."""
    said = [await town.rings()]
    await town.pass_by(300)
    await town.goes()
    began = town.clock.now()
    said += [await town.rings() for _ in range(3)]
    await town.pass_by(120)
    ((_, key),) = town.ledger.open
    assert key == f"webhook/{milliseconds_of(began)}"
    assert town.x.replays == []
    said.append(await town.rings())
    await town.comes()
    said.append(await town.rings())
    assert len(town.heard()) == 2
    await town.pass_by(180)
    assert town.heard() == said
    assert town.outcomes() == ["filled"]
    (asked,) = town.x.replays
    assert asked["webhook_id"] == town.webhook_id
    assert asked["from_date"] == f"{began - timedelta(minutes=1):%Y%m%d%H%M}"
    (entry,) = town.entries
    assert entry.gap.began_at == began
    assert (entry.ended_at - began).total_seconds() == 120
    # The last one came live and replayed: one identity, which dedupe drops the second time.
    events = [raw.event_id for raw in town.stored() if said[-1] in raw.object_id]
    assert len(events) == 2
    assert len(set(events)) == 1


async def test_the_connector_was_away_as_well(town):
    """Everything stood still: its position and who is there now tell the whole absence."""
    await town.pass_by(60)
    await town.goes()
    missed = await town.rings()
    town.clock.advance(3 * 3600)
    await town.comes()
    town.connector()
    await town.pass_by(180)
    assert town.heard() == [missed]
    assert town.outcomes() == ["filled"]


async def test_access_without_replays_is_told_as_unfilled_with_its_reason(town):
    """403: unrecoverable, and a person reads why."""
    town.x.refuse("/2/webhooks/replay", web.json_response({"title": "Forbidden"}, status=403))
    await town.pass_by(60)
    await town.goes()
    await town.rings()
    await town.pass_by(60)
    await town.comes()
    await town.pass_by(180)
    (entry,) = town.entries
    assert entry.outcome == "unrecoverable"
    assert "X does not replay: X forbids this to the app" in entry.gap.sentence
    assert (town.x.replays, town.ledger.open) == ([], {})


@pytest.mark.parametrize("status", [409, 429, 503])
async def test_what_x_puts_off_is_asked_for_again(town, status):
    town.x.refuse("/2/webhooks/replay", web.json_response({}, status=status))
    await town.goes()
    missed = await town.rings()
    await town.pass_by(60)
    await town.comes()
    await town.pass_by(600)
    assert town.heard() == [missed]
    assert town.outcomes() == ["filled"]


async def test_a_replay_that_fails_is_asked_for_thrice_and_then_told(town):
    """Incomplete is not filled; what it brought is kept."""
    town.x.replay_ends.extend(["Incomplete", "Incomplete", "Failed"])
    await town.goes()
    await town.rings()
    await town.pass_by(60)
    await town.comes()
    await town.pass_by(300)
    assert len(town.x.replays) == 3
    (entry,) = town.entries
    assert (entry.outcome, "could not replay everything" in entry.gap.sentence) == ("partial", True)


async def test_a_replay_whose_end_is_not_told_is_not_waited_for(town):
    """A webhook that is lost at X: after six hours it is only said what is known."""
    town.x.replay_ends.append("")
    await town.goes()
    await town.rings()
    await town.pass_by(60)
    await town.comes()
    await town.pass_by(3600)
    assert town.entries == []
    town.clock.advance(5 * 3600)
    town.presence._since = None  # it was there all the time: this test alone did not let it say so
    await town.pass_by(600)
    (entry,) = [each for each in town.entries if "no end" in each.gap.sentence]
    assert entry.outcome == "partial"


async def test_an_absence_during_the_replay_is_asked_for_with_it(town):
    """The second one has its own gap, and the first is replayed once more: both are whole."""
    town.x.fault("stall")
    await town.goes()
    said = [await town.rings()]
    await town.pass_by(60)
    await town.comes()
    await town.pass_by(120)
    assert len(town.x.replays) == 1
    await town.goes()
    town.x.fault("resume")
    await town.replayed()  # X replays to nobody
    said.append(await town.rings())
    await town.pass_by(120)
    town.connector()  # and the connector is started anew meanwhile
    await town.comes()
    town._take(SimpleNamespace(**_record(town, town.x.replays[0]["job_id"])))
    await town.pass_by(600)
    assert town.heard() == said
    assert town.outcomes() == ["filled", "filled"]
    assert len(town.x.replays) == 3


async def test_a_replay_that_was_refused_is_asked_for_once_more(town):
    """503 in the replay's own burst: known only later, and until then the gap is not closed."""
    town.x.fault("stall")
    await town.goes()
    said = [await town.rings()]
    await town.pass_by(60)
    await town.comes()
    await town.pass_by(120)
    assert len(town.x.replays) == 1
    town.presence.refused(town.clock.now())
    town.x.fault("resume")
    await town.replayed()
    await town.pass_by(60)
    assert town.outcomes() == []
    await town.pass_by(900)
    assert town.heard() == said
    assert town.outcomes() == ["filled", "filled"]
    assert len(town.x.replays) == 3


async def test_a_replay_to_a_gateway_that_restarts_is_asked_for_once_more(town):
    """Half a minute without anybody, and X has told the end before."""
    town.x.fault("stall")
    await town.goes()
    await town.rings()
    await town.pass_by(60)
    await town.comes()
    await town.pass_by(120)
    town.x.fault("resume")
    await town.replayed()
    await town.goes()
    await town.pass_by(35)
    await town.comes()
    await town.pass_by(10)
    assert town.outcomes() == []
    await town.pass_by(900)
    assert town.outcomes() == ["filled", "filled"]
    assert len(town.x.replays) == 3


def _record(town, job_id):
    """Return the record of a replay's end, which X told late."""
    output = replay_output("x", job_id, "Complete", "h", town.clock.now())
    return {"key": output.key, "value": output.value}


async def test_a_day_is_all_that_x_replays(town):
    """What is longer ago is gone; of an absence that reaches into the day a part is."""
    await town.goes()
    await town.rings()
    town.clock.advance(30 * 3600)
    await town.comes()
    await town.pass_by(180)
    assert town.outcomes() == ["partial"]
    assert "longer ago" in town.entries[0].gap.sentence
    await town.goes()
    town.clock.advance(3600)
    await town.comes()
    town.clock.advance(26 * 3600)
    town.presence._since = town.clock.now() - timedelta(hours=26)
    town.presence._at = town.clock.now()
    town.connector()
    await town.pass_by(60)
    assert town.outcomes() == ["partial", "unrecoverable"]


async def test_while_the_webhook_is_invalid_x_delivers_nothing_and_that_is_told(town):
    """It is challenged again; once it is valid the gap ends, and is never called filled."""
    await town.pass_by(600)
    town.webhook._secret = b"another secret"  # the app's was changed
    town.webhook.valid = False
    await town.pass_by(600)
    assert town.outcomes() == []
    ((_, key),) = town.ledger.open
    assert key.startswith("webhook/")
    assert town.x.asked[f"/2/webhooks/{town.webhook_id}"] >= 1
    town.webhook._secret = SECRET
    await town.pass_by(600)
    assert town.webhook.valid
    (entry,) = town.entries
    assert entry.outcome == "partial"
    assert "tries no delivery" in entry.gap.sentence


async def test_a_webhook_that_is_mended_at_once_was_invalid_all_the_same(town):
    """Found invalid, challenged and valid again within one look: what X did not try is told."""
    await town.pass_by(600)
    valid = town.position.valid
    town.webhook.valid = False
    await town.pass_by(600)
    assert town.webhook.valid
    (entry,) = town.entries
    assert (entry.gap.key, entry.outcome) == (f"webhook/{valid}", "partial")
    assert "tries no delivery" in entry.gap.sentence


async def test_a_webhook_that_was_found_invalid_is_remembered_while_x_is_away(town):
    """X challenges it by itself before we can ask again."""
    await town.pass_by(600)
    town.webhook.valid = False
    town.x.refuse(f"PUT /2/webhooks/{town.webhook_id}", web.Response(status=503))
    while not town.x.asked[f"/2/webhooks/{town.webhook_id}"]:
        await town.pass_by(10)
    town.webhook.valid = True
    await town.pass_by(600)
    assert town.outcomes() == ["partial"]


async def test_a_webhook_that_is_invalid_at_the_first_look_is_told_too(town):
    """The very first position knows nothing yet, and the gap is opened all the same."""
    town.webhook._secret, town.webhook.valid = b"another secret", False
    town.position = Position(town.clock.now())
    town.connector()
    await town.look()
    assert len(town.ledger.open) == 1


async def test_holes_of_a_webhook_that_is_registered_no_longer_are_closed(town):
    """Nobody can be asked for them any more: that is said, and nothing stays open."""
    await town.goes()
    await town.rings()
    await town.pass_by(120)
    assert len(town.ledger.open) == 1
    town.x.webhooks.clear()
    await town.pass_by(600)
    (entry,) = town.entries
    assert entry.outcome == "unrecoverable"
    assert "no webhook of the app rings at /hook/x" in entry.gap.sentence
    assert (town.ledger.open, town.position.holes) == ({}, ())


async def test_a_record_that_came_late_ends_the_hole_that_was_none(town):
    """Kafka was away from the gateway for a minute; its life went on, and so the silence is over."""
    await town.pass_by(60)
    presence, town.presence = town.presence, None
    at = town.clock.now()
    for _ in range(6):
        town.clock.advance(10)
        presence.output(town.clock.now())
    await town.look()
    (hole,) = town.position.holes
    assert (hole.began, hole.ended) == (milliseconds_of(at), 0)
    town.presence = presence
    await town.pass_by(900)
    assert (town.position.holes, town.outcomes()) == ((), ["filled"])


async def test_a_gateway_whose_clock_is_slow_is_there_all_the_same(town):
    """Five minutes behind: silence is measured by its own words."""
    slow = timedelta(minutes=5)
    output = town.presence.output
    town.presence.output = lambda now: output(now - slow)
    town.presence._since = None
    town.shared = Shared({"x"})
    town.shared.renew()
    town._read = len(town.producer.of(Topic.CONNECTOR_CURSORS))
    town.position = Position(town.clock.now())
    town.connector()
    await town.pass_by(600)
    assert (town.entries, town.ledger.open) == ([], {})
    began = town.clock.now() - slow
    town.presence = None
    await town.pass_by(60)
    assert [each.began for each in town.position.holes] == [milliseconds_of(began)]


async def test_a_hook_where_nobody_is_registered_misses_nothing(town):
    """The gateway listens, but the app has no webhook there: no gap, no request for one."""
    town.x.webhooks.clear()
    town.connector()
    await town.goes()
    await town.pass_by(300)
    await town.comes()
    await town.pass_by(300)
    assert (town.entries, town.ledger.open, town.x.replays) == ([], {}, [])


async def test_a_delivery_that_we_refused_is_missing_although_the_gateway_is_there(town):
    """503 while Kafka is away: X does not repeat it."""
    await town.pass_by(60)
    town.producer.automatic = False
    missed = await town.rings()
    town.producer.sent.clear()
    town.producer.automatic = True
    town.producer.acknowledge()
    await town.pass_by(600)
    assert town.heard() == [missed]
    assert town.outcomes() == ["filled"]


async def test_a_delivery_that_was_not_read_is_missing_and_a_stranger_s_is_not(town):
    """413 is noted as 503 is; a wrong signature is nobody's delivery."""
    address, limit = town.webhook._url, FAMILY.endpoint.limit_bytes
    async with town.session.post(address, data=b"{}") as answer:
        assert answer.status == 401
    assert told(town.presence.output(town.clock.now() + EVERY)).refused == ()
    with contextlib.suppress(OSError):  # cut off while we are still writing
        async with town.session.post(address, data=io.BytesIO(b"x" * (limit + 1))) as answer:
            assert answer.status == 413
    now = town.clock.now()
    assert told(town.presence.output(now + EVERY)).refused == ((now, now),)


async def test_a_cursor_stays_readable_and_the_oldest_holes_are_given_up(town):
    """Many owned accounts leave less room: what goes is closed, never dropped in silence."""
    accounts = [str(2_080_765_813_578_191_303 + each) for each in range(25)]
    owned = {f"{each}/{what}": "9" * 19 for each in accounts for what in ("mentions", "posts")}
    now = milliseconds_of(town.clock.now())
    holes = tuple(Hole(now - 100 + each, tries=2, untried=True) for each in range(MOST_HOLES))
    town.position = replace(town.position, holes=holes)
    town.connector()
    town.webhooks = Webhooks("x", town.tools, 300.0, accounts)
    reports = await town.look()
    gone = [each for each in reports if isinstance(each, GapClosed)]
    left = town.position.holes
    assert [each.key for each in gone] == [each.key for each in holes[: len(gone)]]
    assert {each.outcome for each in gone} == {"unrecoverable"}
    assert [each.key for each in left] == [each.key for each in holes[len(gone) :]]
    assert 0 < len(left) < MOST_HOLES
    full = replace(
        town.position,
        owned=owned,
        gap=f"x/{now}",
        checked=town.clock.now(),
        holes=(replace_hole(left[0], now), *left[1:]),
    )
    assert len(full.encode()) <= CURSOR_LENGTH
    assert Position.decode(full.encode()) == full


def replace_hole(hole: Hole, now: int) -> Hole:
    """Return a hole as it is while its replay runs."""
    return asked(hole, "9" * 19, now)


async def test_x_away_is_no_answer(town):
    """Whether the webhook is valid cannot be asked: nothing is decided, nothing is lost."""
    await town.goes()
    missed = await town.rings()
    town.connector()
    town.x.refuse("/2/webhooks", *(web.Response(status=503) for _ in range(30)))
    await town.pass_by(120)
    assert town.ledger.open == {}
    await town.comes()
    await town.pass_by(600)
    assert town.heard() == [missed]
    assert town.outcomes() == ["filled"]


async def test_the_client_looks_beside_its_stream(town):
    """Wired: what the client yields is the gap, its end, and a cursor that remembers both."""
    await town.goes()
    missed = await town.rings()
    town.clock.advance(120)
    await town.comes()
    for _ in range(24):
        town.clock.advance(10)
        town.tick()

    class Moving(SystemClock):
        def now(self) -> datetime:
            town.clock.advance(1)
            town.tick()
            return town.clock.now()

    tools = Tools(clock=Moving(), brands=list, attended=town.tools.attended)
    options = XOptions(SecretStr(TOKEN), town.api._endpoint, hook_seconds=0.01, settle_seconds=0.0)
    heard = []
    async with (
        asyncio.timeout(10),
        contextlib.aclosing(XClient(options, tools).arrivals(town.position.encode())) as arrivals,
    ):
        async for each in arrivals:
            heard.append(each)
            if isinstance(each, GapClosed) and each.key.startswith("webhook/"):
                break
    assert town.heard() == [missed]
    assert heard[-1].outcome == "filled"
    assert [each.key for each in heard if isinstance(each, Gap)][-1] == heard[-1].key


async def test_the_stream_does_not_wait_for_what_is_asked_of_the_webhook(town):
    """X answers /2/webhooks never: the lines and the rules go on."""

    class Silent(Unbounded):
        async def ask(self, bucket: str) -> None:
            if bucket == "webhooks":
                asked.set()
                await asyncio.Event().wait()

    asked = asyncio.Event()
    rules = (ListeningRule(id="name", query="nordlicht"),)
    brand = load_brand(BRAND_FILE).brand.model_copy(update={"accounts": (), "listening": rules})
    tools = Tools(permits=Silent(), brands=lambda: [brand], attended=town.tools.attended)
    options = XOptions(SecretStr(TOKEN), town.api._endpoint, settle_seconds=0.0)
    async with (
        asyncio.timeout(10),
        contextlib.aclosing(XClient(options, tools).arrivals(None)) as arrivals,
    ):
        saying = asyncio.create_task(_said_when(asked, town.x))
        async for each in arrivals:
            if isinstance(each, Arrival) and each.delivery is not None:
                break
        await saying


async def _said_when(asked: asyncio.Event, x: XServer) -> None:
    """Let a customer say something once the webhook was asked for."""
    await asked.wait()
    post_id = snowflake(datetime.now(UTC), 1)
    x.say({"id": post_id, "text": "nordlicht", "author_id": CUSTOMER})


# --- the gateway's word --------------------------------------------------------------------------


def told(output) -> Life:
    """Return the life that a record tells."""
    shared = Shared({"x"})
    shared.renew()
    assert shared.take(Topic.CONNECTOR_CURSORS, SimpleNamespace(key=output.key, value=output.value))
    (life,) = shared.attendance("x").lives
    return life


def test_a_process_that_stood_still_begins_anew():
    """Frozen, or without Kafka: who told nothing for half a minute was not there."""
    presence, clock = Presence("x", "gateway/h"), FixedClock()
    began = clock.now()
    assert told(presence.output(began)) == Life(began, began)
    clock.advance(9)
    assert presence.output(clock.now()) is None
    clock.advance(21)
    assert told(presence.output(clock.now())) == Life(began, clock.now())
    clock.advance(31)
    assert told(presence.output(clock.now())) == Life(clock.now(), clock.now())


def test_refusals_are_told_at_once_as_incidents_within_bounds():
    """A minute apart is another one; never fewer minutes than were refused, at most fifty windows."""
    presence, clock = Presence("x", "gateway/h"), FixedClock()
    presence.output(clock.now())
    began = clock.now()
    for _ in range(3):
        clock.advance(1)
        presence.refused(clock.now())
    life = told(presence.output(clock.now()))
    assert life.refused == ((began + timedelta(seconds=1), clock.now()),)
    for _ in range(80):
        clock.advance(61)
        presence.refused(clock.now())
    output = presence.output(clock.now())
    life = told(output)
    assert len(life.refused) == 50
    assert life.refused[0][0] == began + timedelta(seconds=1)
    assert life.refused[-1][1] == clock.now()
    clock.advance(26 * 3600)
    assert told(presence.output(clock.now())).refused == ()


# --- decisions -----------------------------------------------------------------------------------

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
WORD = 10


@given(st.data())
def test_every_absence_is_found_whatever_is_looked_at_when(data):
    """Against a reckoning by the second: nothing missed is left out, and looking moves on."""
    length = 1200
    there = [False] * length
    lives = []
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, length - 1))
        end = min(length - 1, begin + data.draw(st.integers(0, 500)))
        lives.append((begin, end))
        there[begin : end + 1] = [True] * (end + 1 - begin)
    refused = data.draw(st.lists(st.integers(0, length - 1), max_size=3))
    first = min(begin for begin, _ in lives)
    base = milliseconds_of(START)
    taken, spans, now = base + first * 1000, {}, first
    while now < length + 200:
        now += data.draw(st.integers(1, 120))
        told = tuple(
            Life(
                START + timedelta(seconds=begin),
                START + timedelta(seconds=min(end, begin + (now - begin) // WORD * WORD)),
                tuple(
                    (START + timedelta(seconds=r),) * 2
                    for r in refused
                    if begin <= r <= end and r <= now
                ),
            )
            for begin, end in lives
            if begin <= now
        )
        found = absences(Attendance(told), taken, base + now * 1000)
        assert found.taken >= taken
        taken = found.taken
        for span in found.spans:
            if span.end or span.begin not in spans:
                spans[span.begin] = span.end
    missing = {
        second
        for second in range(first, max(end for _, end in lives))
        if not there[second] or (second in refused and there[second])
    }
    told_missing = {
        second
        for second in range(length)
        for begin, end in spans.items()
        if begin <= base + second * 1000 <= (end or base + 10**9)
    }
    assert missing <= told_missing


def test_a_short_silence_is_none_until_somebody_is_back():
    """Below 45 s nobody knows; then it is a hole that lasts, and ends with the next life."""
    life = Life(START, START + timedelta(seconds=100))
    at = milliseconds_of(life.at)
    taken = milliseconds_of(START)
    assert absences(Attendance((life,)), taken, at + SILENT_MS).spans == ()
    (span,) = absences(Attendance((life,)), taken, at + SILENT_MS + 1).spans
    assert span == (at, 0)
    back = Life(life.at + timedelta(seconds=60), life.at + timedelta(seconds=300))
    (span,) = absences(Attendance((back, life)), taken, milliseconds_of(back.at)).spans
    assert span == (at, at + 60_000)


def test_what_one_of_two_gateways_tells_late_is_a_hole_all_the_same():
    """It refused while Kafka was away from it, the other one was there; told once, found once."""
    here, refusing = FixedClock(), Presence("x", "gateway/b")
    began, last = here.now(), told(refusing.output(here.now()))
    here.advance(20)
    refused = here.now()
    refusing.refused(refused)
    taken, spans = milliseconds_of(began), []
    for second in range(20, 400, 10):
        if second == 120:
            last = told(refusing.output(here.now()))  # Kafka is there again
        elif second > 120:
            last = told(refusing.output(here.now()) or refusing.output(here.now() + EVERY))
        attended = Attendance((Life(began, here.now()), last))
        found = absences(attended, taken, milliseconds_of(here.now()))
        assert found.taken >= taken
        taken = found.taken
        spans += found.spans
        here.advance(10)
    assert spans == [(milliseconds_of(refused), milliseconds_of(refused) + 1)]


def test_a_refusal_of_which_more_is_told_is_asked_for_anew():
    """What was asked for did not reach so far."""
    hole = Hole(10, 20, "7", 30, 1)
    (longer,) = entered((hole,), Absences(90, (Span(10, 80),)))
    assert longer == Hole(10, 80, tries=1)
    assert entered((hole,), Absences(90, (Span(10, 20),))) == (hole,)


def test_a_position_remembers_its_holes_and_an_older_one_has_none():
    holes = tuple(Hole(at, at + 1, "7", 3, 1, untried=True) for at in range(1, MOST_HOLES + 1))
    position = Position(START, taken=5, valid=6, holes=holes)
    assert Position.decode(position.encode()) == position
    assert len(position.encode()) < 4096
    old = Position.decode('{"at":1}')
    assert (old.taken, old.valid, old.holes, old.at) == (0, 0, (), at_milliseconds(1))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (job_status("1", "7", "Complete"), ("7", "Complete")),
        (b'{"replay_job_status":{"job_id":7}}', ("7", "")),
        (b'{"replay_job_status":{"job_id":"7","job_state":"In|com\\nplete"}}', ("7", "Incomplete")),
        (b'{"replay_job_status":{"job_id":"a/b","job_state":"Complete"}}', None),
        (b'{"replay_job_status":[]}', None),
        (b'{"replay_job_status":', None),
        (b'{"data":{"text":"replay_job_status"}}', None),
        (b"", None),
    ],
)
def test_the_end_of_a_replay_is_read_and_nothing_else(body, told):
    assert replayed(Delivery(body)) == told
