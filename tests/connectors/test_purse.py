"""One budget for all that spend an app's money: nobody's word is lost, nobody counts twice."""

import asyncio
import threading
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from klingel.contracts.topics import Topic
from klingel.errors import SourceUnavailable
from klingel.metrics import Metrics
from klingel.model import ConnectorStatus
from klingel.model.connector_status import Spent
from klingel.settings import KafkaSettings
from klingel.testing.clock import FixedClock
from klingel_connectors import service
from klingel_connectors.books import Books
from klingel_connectors.intake import TOPICS
from klingel_connectors.publisher import Bounds, Publisher
from klingel_connectors.purse import Purse
from klingel_connectors.raw import Origin
from klingel_connectors.settings import GatewaySettings, HookSettings
from klingel_connectors.shared import KEPT, Shared, Spending, spending_output
from klingel_connectors.status import Health, before_of
from klingel_connectors.status_server import Probe
from klingel_connectors.testing import RecordingProducer
from klingel_networks.options import app_of
from klingel_networks.registry import installed


class Town:
    """A clock, the topic in memory, and services that each follow it."""

    def __init__(self):
        self.clock = FixedClock()
        self.log = []
        self.readers = []

    def service(self, instance, holder, budget=100.0, app="x"):
        """Return the purse of a service that begins now, having read what was told."""
        shared = Shared({app})
        for record in self.log:
            shared.take(Topic.CONNECTOR_CURSORS, record)
        shared.renew()
        self.readers.append(shared)
        purse = Purse(self.clock, Metrics("test"), budget=budget, unit="US dollars", app=app)
        self.clock.advance(1)
        purse.join(instance, holder, lambda: shared.spending(app))
        return purse

    def write(self, *outputs):
        """Write records; all readers read them."""
        for output in outputs:
            if output is None:
                continue
            record = SimpleNamespace(key=output.key, value=output.value)
            self.log.append(record)
            for reader in self.readers:
                reader.take(Topic.CONNECTOR_CURSORS, record)

    def compact(self):
        """Keep the newest record of each key."""
        self.log = list({record.key: record for record in self.log}.values())


@pytest.fixture
def town():
    return Town()


def test_connector_gateway_and_media_worker_spend_from_one_budget(town):
    """What one spends is missing from what the others may."""
    connector, media = town.service("x", "a"), town.service("media", "b")
    gateways = [town.service("gateway", holder, budget=None) for holder in ("c", "d")]
    connector.spend("rule", 40.0)
    media.spend("media/lookup", 10.0)
    for gateway in gateways:
        gateway.spend("webhook/post", 20.0)
    services = [connector, media, *gateways]
    assert (connector.left(), media.left()) == (60.0, 90.0)
    town.write(*(each.output() for each in services))
    assert [connector.left(), media.left()] == [10.0, 10.0]
    assert gateways[0].left() is None
    told = gateways[0].spent()
    assert (told.units, told.items, told.shared) == (40.0, {"webhook/post": 40.0}, 90.0)
    told = connector.spent()
    assert (told.units, told.budget, told.shared) == (40.0, 100.0, 90.0)
    media.spend("media/lookup", 50.0)
    town.clock.advance(10)
    town.write(media.output())
    assert connector.left() == 0.0
    assert [each.output() for each in services] == [None] * 4


@pytest.mark.parametrize("budget", [None, 100.0])
def test_who_spends_does_not_sum_what_the_others_did(town, budget):
    """The gateway spends at each delivery: the sum is made where it is asked for."""
    asked = []
    purse = town.service("gateway", "a", budget=budget)
    purse.join("gateway", "a", lambda: asked.append(1) or {})
    for _ in range(50):
        purse.spend("webhook/post", 0.005)
    assert asked == []
    assert purse.left() == (None if budget is None else pytest.approx(99.75))
    assert len(asked) == (0 if budget is None else 1)


def test_spending_is_written_at_most_every_ten_seconds_and_at_the_stop(town):
    """The topic is read whole at each start: what is newer a second later is no record of its own."""
    purse = town.service("x", "a")
    assert purse.output() is None
    purse.spend("rule", 1.0)
    written = [purse.output()]
    for _ in range(30):
        town.clock.advance(1)
        purse.spend("rule", 1.0)
        written.append(purse.output())
    assert [at for at, output in enumerate(written) if output is not None] == [0, 10, 20, 30]
    assert purse.output(last=True) is None
    purse.spend("rule", 1.0)
    assert purse.output() is None
    last = purse.output(last=True)
    town.write(*written, last)
    assert [each.units for each in town.readers[0].spending("x").values()] == [32.0]


def told(units, month="2026-11"):
    return Spent(month=month, units=units, items={"rule": units}, shared=units + 7.0)


def test_what_only_a_status_tells_is_taken_over_once(town):
    """A version that wrote no records told its month in the status alone: an upgrade forgets none."""
    town.write(town.service("media", "b").output())
    purse = town.service("x", "a")
    purse.inherit(told(40.0))
    assert (purse.left(), purse.spent().items) == (60.0, {"rule": 40.0})
    purse.inherit(told(40.0))  # the lease was lost and taken again
    assert purse.left() == 60.0
    purse.spend("rule", 1.0)
    town.write(purse.output())
    again = town.service("x", "a")
    again.inherit(told(41.0))
    assert (again.left(), again.output(last=True)) == (59.0, None)


@pytest.mark.parametrize("spent", [None, told(40.0, "2026-10"), told(0.0)])
def test_nothing_is_taken_over_of_another_month(town, spent):
    purse = town.service("x", "a")
    purse.inherit(spent)
    assert (purse.left(), purse.output()) == (100.0, None)


def test_the_status_of_the_instance_tells_what_it_spent():
    """Of others, and of the records of its gaps, nothing is taken."""
    statuses = {
        name: ConnectorStatus(
            instance=name,
            connector="x",
            network="x",
            state="running",
            at=FixedClock().now(),
            credential="ok",
            spent=spent,
        )
        for name, spent in (("x-main", told(4.0)), ("x-2", told(5.0)), ("x-main/gap/a", told(6.0)))
    }
    assert before_of("x-main", statuses).spent == told(4.0)
    assert before_of("x-3", statuses).spent is None


async def test_the_last_words_of_a_service_tell_what_was_spent_last(town):
    """At each turn the pace is kept; at the stop nothing is left untold."""
    producer = RecordingProducer()
    publisher = Publisher(
        KafkaSettings(),
        client_id="media",
        topics=(*TOPICS, Topic.CONNECTOR_CURSORS),
        clock=town.clock,
        bounds=Bounds(),
        connect=lambda: producer,
        sleep=lambda _seconds: asyncio.sleep(0),
    )
    await publisher.start()
    purse = town.service("media", "a")
    health, origin, metrics = Health(), Origin("media", "media", "media", "a"), Metrics("media")
    books = Books("connector-media", "a", town.clock.now(), metrics)
    house = service._House(publisher, origin, books, health, metrics, town.clock, str, lambda: None)
    apps = service._Apps(Shared({"x"}), {"x": purse}, {})
    apps.told_by(house, health, None)
    units = []
    for spent in (1.0, 2.0):
        purse.spend("media/lookup", spent)
        await house._write()
        units.append(len(producer.of(Topic.CONNECTOR_CURSORS)))
    assert units == [1, 1]
    await house.last_words(4.0)
    (_, last) = producer.of(Topic.CONNECTOR_CURSORS)
    assert b'\\"units\\":3.0' in last["value"]


def test_another_apps_money_is_another_budget(town):
    one, other = town.service("x", "a"), town.service("x-2", "b", app="x/nord")
    one.spend("rule", 40.0)
    town.write(one.output())
    assert (one.left(), other.left()) == (60.0, 100.0)


def test_the_month_ends_for_all_at_once(town):
    one, other = town.service("x", "a"), town.service("media", "b")
    one.spend("rule", 40.0)
    town.write(one.output())
    town.clock.advance(9 * 86_400)
    assert (one.left(), other.left()) == (100.0, 100.0)
    assert other.spent().units == 0.0


def test_what_says_nothing_any_more_goes(town):
    """A month's spending is taken away once the next has begun for good; the newer stays."""
    one, other = town.service("x", "a"), town.service("media", "b")
    one.spend("rule", 40.0)
    town.write(one.output())
    reader = town.readers[0]
    town.clock.advance(9 * 86_400)
    other.spend("rule", 2.0)
    town.write(other.output())
    assert reader.past(town.clock.now()) == []
    town.clock.advance(KEPT.total_seconds())
    gone = reader.past(town.clock.now())
    assert [each.value for each in gone] == [None]
    town.write(*gone)
    assert [each.units for each in reader.spending("x").values()] == [2.0]
    assert reader.past(town.clock.now()) == []


@given(st.data())
def test_nothing_is_lost_or_counted_twice_however_processes_come_and_go(data):
    """The sum of all spends, whatever restarts, writes, compactions lie between them."""
    town = Town()
    names = [("x", "a"), ("gateway", "b"), ("gateway", "c"), ("media", "d")]
    running = {name: town.service(*name, budget=1e6) for name in names}
    total = 0.0
    for _ in range(data.draw(st.integers(0, 25))):
        name = data.draw(st.sampled_from(names))
        what = data.draw(st.sampled_from(["spend", "restart", "compact"]))
        if what == "spend":
            units = float(data.draw(st.integers(1, 50)))
            running[name].spend(data.draw(st.sampled_from("pqr")), units)
            total += units
            if data.draw(st.booleans()):
                town.write(running[name].output())
        elif what == "restart":
            town.write(running[name].output(last=True))
            running[name] = town.service(*name, budget=1e6)
        else:
            town.compact()
    town.clock.advance(10)
    for purse in running.values():
        town.write(purse.output())
    for (instance, _), purse in running.items():
        assert purse.left() == pytest.approx(1e6 - total)
        told = purse.spent()
        own = sum(
            each.units
            for writer, each in town.readers[0].spending("x").items()
            if writer.startswith(f"{instance}/")
        )
        assert told.units == pytest.approx(own)
        assert sum((told.items or {}).values()) == pytest.approx(own)


def test_a_record_of_many_items_fits_and_one_that_cannot_be_read_is_none(town):
    """4,096 characters; strangers' keys and broken values change nothing."""
    items = {f"rule-{at}-" + '"' * 80: float(at) for at in range(200)}
    big = spending_output("x", "w", Spending("2026-11", 9.0, items), "h", town.clock.now())
    reader = Shared({"x"})
    assert reader.take(Topic.CONNECTOR_CURSORS, SimpleNamespace(key=big.key, value=big.value))
    (found,) = reader.spending("x").values()
    assert (found.units, found.items) == (9.0, {})
    for value in (b"", b"{}", big.value[:40]):
        reader.take(Topic.CONNECTOR_CURSORS, SimpleNamespace(key=big.key, value=value))
        assert reader.spending("x") == {}
    for key in (b"", b"x|stream", b"spent/y|w", b"\xff", None):
        assert not reader.take(Topic.CONNECTOR_CURSORS, SimpleNamespace(key=key, value=big.value))


def test_the_app_is_the_gateways_hook():
    """By the setting, else the family; networks that charge nothing have none."""
    x = installed().manifest("x")
    assert app_of(x, {}) == "x"
    assert app_of(x, {"hook": "x/nord"}) == "x/nord"
    assert app_of(installed().manifest("telegram"), {}) == ""


def test_only_what_costs_or_is_replayed_shares_anything():
    """A gateway of other networks waits for no topic that it does not write."""
    meta = HookSettings("meta", "", (bytes(16),), b"t")
    x = HookSettings("x", "nord", (bytes(16),))
    assert not service._shares(GatewaySettings(webhooks={}, hooks={"meta": meta}))
    assert service._shares(GatewaySettings(webhooks={}, hooks={"meta": meta, "x/nord": x}))


# --- waiting for what others told -----------------------------------------------------------------

SOON = 10.0
"""Seconds, far below the half minute that is waited for a topic."""


def test_who_waits_to_know_is_woken_by_its_end():
    """A thread that waits ends with the follower, and what it waited for is not taken for known."""
    shared, ends = Shared({"x"}), []

    def ask():
        try:
            shared.known()
        except SourceUnavailable:
            ends.append("unknown")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    shared.stop()
    thread.join(SOON)
    assert ends == ["unknown"]


def test_who_is_to_stop_does_not_wait_to_know():
    """The stop comes before the follower is stopped, in connector and media worker alike."""
    answers = iter([False, True])
    shared = Shared({"x"})
    with pytest.raises(SourceUnavailable):
        shared.known(lambda: next(answers))
    shared.renew()
    shared.known(lambda: True)


async def test_a_worker_that_is_to_stop_ends_its_wait():
    """Without a word in the log: nothing went wrong."""
    stop, shared = asyncio.Event(), Shared({"x"})
    waiting = asyncio.create_task(service._until_known(shared, stop))
    await asyncio.sleep(0)
    assert not waiting.done()
    stop.set()
    with capture_logs() as logs:
        async with asyncio.timeout(SOON):
            assert not await waiting
    assert logs == []
    shared.renew()
    assert await service._until_known(shared, asyncio.Event())


async def test_a_worker_is_not_ready_until_it_knows_what_others_spent():
    """It takes no job before; what is asked first is said first."""
    shared = Shared({"x"})
    erased = SimpleNamespace(waiting_for=lambda: "")
    publisher = SimpleNamespace(waiting_for=lambda: "")
    waits = partial(service._first_awaited, erased, shared)
    seen = service._Seen(Metrics("media"), Health(state="running"), publisher, None, waits)
    assert service._ready(seen) == Probe(fine=False, says="waiting for topic connector-cursors")
    erased.waiting_for = lambda: "topic suppressions"
    assert waits() == "topic suppressions"
    erased.waiting_for = lambda: ""
    shared.renew()
    assert service._ready(seen) == Probe(fine=True, says="running")
