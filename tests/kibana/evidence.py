"""What some days of a brand leave in Elasticsearch: real posts through every stage, in memory.

The posts are real (support conversations and airline complaints, with their own times); understand
with the shipped model, care and watch work on them as they would in production. Only what those
sets do not hold is made up: followers, an outage that many ask about, connectors' states and gaps.
"""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output
from klingel.contracts.outputs import status_output
from klingel.contracts.topics import Topic
from klingel.model import ConnectorStatus, LedgerLine
from klingel.model.connector_status import GapRecord, Spent
from klingel.stage.audit import CHAIN, audit
from klingel.testing.broker import InMemoryBroker
from klingel_cli.auditing import rows_of
from klingel_connectors.raw import (
    Heard,
    Origin,
    TurnedAway,
    dead_letter_output,
    raw_output,
    read_delivery,
)
from klingel_indexer.bulk import Item
from klingel_indexer.convert import INPUTS, Write, convert
from klingel_networks.contract import Delivery
from klingel_networks.registry import installed_network
from klingel_processors.care.logic import CareLogic
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.hearing import World
from klingel_processors.understand.logic import UnderstandLogic
from klingel_processors.understand.models import Models
from klingel_processors.watch.logic import WatchLogic

from ..e2e.real_posts import airline_events, support_events
from ..ringing import SOURCE, brand, ring
from ..watch.conftest import OUTAGE

SEED = 7
POSTS = 400
CHANNELS = ("timeline", "inbox", "forum")
NETWORKS = ("webhook", "replay")
PARTITIONS = 2
_FROM = "2017-10-31T16"
"""A Tuesday evening: what business hours count differs from the wall clock."""
_CHUNK = 40
_INDEXED_AT = "2026-11-23T12:00:00.000Z"


class Kept(NamedTuple):
    """One document as Elasticsearch holds it."""

    index: str
    id: str
    version: int
    content: dict[str, Any]


class Evidence(NamedTuple):
    """Everything that the pages show.

    Attributes:
        documents: the newest version of each.
        body: the bulk request that writes every version, in order.
        since: before everything.
        until: the time at which somebody looks; timers have fired up to then.
    """

    documents: list[Kept]
    body: bytes
    since: datetime
    until: datetime


class _House:
    """All stages over one log."""

    def __init__(self, told: CompiledBrand, now: datetime) -> None:
        self.broker = InMemoryBroker(partitions=PARTITIONS)
        self.now = now
        self.brands = {told.brand: told}
        reader = Models(None).reader("care")
        self.stages = [
            self._stage(
                lambda number: UnderstandLogic(
                    number,
                    networks=installed_network,
                    detect=_detect,
                    readers=lambda _model: reader,
                    originals=lambda _reference: b"",
                    world=lambda: World(self.brands, {}),
                )
            ),
            self._stage(lambda number: CareLogic(number, brands=lambda: self.brands)),
            self._stage(lambda number: WatchLogic(number, brands=lambda: self.brands)),
        ]

    def _stage(self, logic: Any) -> StageInMemory:
        return StageInMemory(self.broker, logic, lambda: self.now)

    def work(self, until: datetime) -> None:
        """Take what lies there, and let the timers fire up to then."""
        self.now = until
        for stage in self.stages:
            stage.drain()
        for stage in self.stages[1:]:
            while stage.tick(until):
                pass
            stage.drain()


def _detect(text: str) -> tuple[str, float]:
    """Stand in for the detector: its accuracy has a suite of its own."""
    return ("de", 0.8) if len(text) % 5 == 0 else ("en", 0.9)


def gather(texts: Path, prefix: str) -> Evidence:
    """Let real posts ring and return what the indexer makes of everything.

    Args:
        texts: folder of the real texts.
        prefix: of the indices.
    """
    chance = random.Random(SEED)
    posts = _posts(texts)
    accounts = sorted({each["author"]["id"] for each in posts if each["direction"] == "outbound"})
    since = _at(posts[0]) - timedelta(days=1)
    house = _House(_carrier(accounts), since)
    for start in range(0, len(posts), _CHUNK):
        some = posts[start : start + _CHUNK]
        for post in some:
            rung = _rung(post, chance)
            for _ in range(2 if hash_of(post["id"]) % 10 == 0 else 1):  # some twice: a duplicate
                house.broker.append(rung, _milliseconds(_at(post)))
        house.work(_at(some[-1]) + timedelta(seconds=30))
    until = _outage(house, _at(posts[-1]))
    _garble(house, posts)
    house.work(until)
    _tell_states(house, until, chance)
    return _kept(house, prefix, since, until)


def _posts(texts: Path) -> list[dict[str, Any]]:
    """Return a stretch of conversations and complaints, oldest first, moved into one fortnight."""
    support = sorted(support_events(texts), key=lambda each: str(each["published_at"]))
    support = [each for each in support if each["published_at"] >= _FROM][:POSTS]
    first = datetime.fromisoformat(support[0]["published_at"])
    complaints = list(airline_events(texts))[: POSTS // 4]
    for number, each in enumerate(complaints):
        each["published_at"] = (first + timedelta(minutes=11 * number)).isoformat()
        each["direction"] = "inbound"
    return sorted((*support, *complaints), key=_at)


def _at(post: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(post["published_at"]).astimezone(UTC)


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _carrier(accounts: Sequence[str]) -> CompiledBrand:
    """One brand that hears all of it and promises answers."""
    return brand(
        "carrier",
        accounts=[
            {"network": network, "id": f"{SOURCE}:{account}"}
            for network in NETWORKS
            for account in accounts
        ],
        channels=[{"network": each, "id": name} for each in NETWORKS for name in CHANNELS],
        listening=[{"id": "thanks", "query": "thank* OR please"}, {"id": "help", "query": "help"}],
        queues=[{"id": "support"}, {"id": "luggage"}, {"id": "money"}],
        routing=[
            {"id": "luggage", "when": "bag* OR luggage OR package", "queue": "luggage"},
            {"id": "money", "when": "refund OR bill OR charge* OR money", "queue": "money"},
        ],
        topics=[
            {"id": "delays", "query": "delay* OR late OR wait*"},
            {"id": "app", "query": "app OR website OR login"},
        ],
        calendars=[
            {"id": "office", "zone": "Europe/Berlin", "hours": {"mon-fri": ["08:00-20:00"]}}
        ],
        sla=[{"id": "all", "first_response": "20m", "next_response": "60m", "resolution": "12h"}],
        targets=[{"id": "chat", "kind": "slack", "url_setting": "chat"}],
        escalation=[{"id": "head", "on": ["breached"], "notify": ["chat"]}],
        alerts={"notify": ["chat"], "incident_notify": ["chat"], "min_authors": 4},
        cases={"close_when": "answered", "max_open_age_days": 30},
    )


def _rung(post: dict[str, Any], chance: random.Random) -> Output:
    channel = CHANNELS[hash_of(post.get("conversation_id", post["id"])) % len(CHANNELS)]
    author = {**post["author"], "followers": chance.randrange(20_000)}
    event = {key: value for key, value in post.items() if key not in {"direction", "target"}}
    event["network"] = "twitter" if hash_of(post["id"]) % 3 else "app"
    received_at = _at(post) + timedelta(seconds=chance.uniform(1, 20))
    return _arrived({**event, "author": author}, channel, received_at)


def _arrived(event: dict[str, Any], channel: str, received_at: datetime) -> Output:
    """Return the raw event; what comes to the inbox comes through another network."""
    if channel != CHANNELS[1]:
        return ring(event, channel=channel, received_at=received_at)
    delivery = Delivery(json.dumps(event).encode(), {"source": SOURCE})
    origin = Origin("replay", "replay-1", "replay", channel=channel)
    network = installed_network("replay")
    (heard,) = read_delivery(network, delivery, origin, "live", received_at)
    assert isinstance(heard, Heard), heard
    return raw_output(heard.raw)


def hash_of(name: str) -> int:
    """Return a number of a name that is the same in every run."""
    return sum(ord(letter) * place for place, letter in enumerate(name, 1))


def _outage(house: _House, last: datetime) -> datetime:
    """Let many people ask the same within an hour, two days after the rest."""
    start = last + timedelta(days=2)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for number in range(40):
        at = start + timedelta(seconds=50 * number)
        event = {
            "id": f"outage-{number}",
            "network": "app",
            "author": {"id": f"asks-{number}", "followers": 10 * number},
            "text": f"{OUTAGE[number % 5]} {letters[number % 26] * 3}",
            "published_at": at.isoformat(),
        }
        house.broker.append(ring(event, channel="timeline", received_at=at), _milliseconds(at))
    house.work(start + timedelta(minutes=36))
    return start + timedelta(hours=1)


def _garble(house: _House, posts: Sequence[dict[str, Any]]) -> None:
    """Let some messages arrive as no connector would write them."""
    for number, post in enumerate(posts[:24]):
        whole = ring({**post, "id": f"broken-{number}"}, received_at=house.now)
        value = whole.value or b""
        refused = json.dumps(json.loads(value) | {"native": {}}).encode()  # by the mapping
        broken = (value[: len(value) // 2], b"[]", b"\xff", refused)
        house.broker.append(
            Output(whole.topic, whole.key, broken[number % 4], whole.headers),
            _milliseconds(house.now),
        )
    for number in range(6):
        network = NETWORKS[number % 2]
        origin = Origin(network, f"{network}-1", network, channel=None)
        delivery = Delivery(b'{"id": []}', {"source": SOURCE})
        (turned,) = read_delivery(installed_network(network), delivery, origin, "live", house.now)
        assert isinstance(turned, TurnedAway)
        letter = dead_letter_output(turned, origin, "0.1.0", house.now, None)
        house.broker.append(letter, _milliseconds(house.now))


def _tell_states(house: _House, now: datetime, chance: random.Random) -> None:
    states = ("running", "running", "running", "waiting", "failed")
    credentials = ("ok", "ok", "expiring", "revoked", "none")
    for number in range(25):
        name = ("bluesky", "x", "mastodon", "facebook", "email")[number % 5]
        told = ConnectorStatus(
            instance=f"{name}-{number}",
            connector=name,
            network=name,
            state=states[number % len(states)],  # type: ignore[arg-type] # one of the schema's words
            credential=credentials[chance.randrange(5)],  # type: ignore[arg-type] # as above
            credential_days=chance.uniform(0, 60) if number % 2 else None,
            at=now - timedelta(seconds=number),
            last_event_at=now - timedelta(minutes=number),
            published=chance.randrange(10_000),
            refused=chance.randrange(10),
            in_flight=chance.randrange(5),
            gaps_open=number % 2,
            spent=Spent(month="2017-12", units=chance.randrange(900), unit="posts", budget=1000.0)
            if name == "x"
            else None,
        )
        house.broker.append(status_output(told, "klingel/connectors"))
    for number in range(9):
        gap = GapRecord(
            channel="",
            cause=("disconnected", "cursor_too_old", "restart")[number % 3],
            outcome=("open", "filled", "partial", "unrecoverable")[number % 4],  # type: ignore[arg-type] # as above
            opened_at=now - timedelta(hours=number),
            recovered=number * 10,
        )
        told = ConnectorStatus(
            instance=f"x-1/gap/{number}",
            connector="x",
            network="x",
            state="running",
            at=now,
            gap=gap,
        )
        house.broker.append(status_output(told, "klingel/connectors"))


def _kept(house: _House, prefix: str, since: datetime, until: datetime) -> Evidence:
    messages = [each for topic in INPUTS for each in house.broker.messages(topic)]
    writes = [*_writes(messages, prefix), *_books(house, prefix, until)]
    newest: dict[tuple[str, str], Kept] = {}
    for write in writes:
        place = write.index, write.id
        kept = Kept(write.index, write.id, write.version or 0, json.loads(write.body))
        if place not in newest or newest[place].version <= kept.version:
            newest[place] = kept
    body = b"".join(Item(write, None).lines() for write in writes)
    return Evidence([*newest.values()], body, since, until)


def _writes(messages: Iterable[Message], prefix: str) -> Iterator[Write]:
    for message in messages:
        write = convert(message, prefix, _INDEXED_AT)
        if isinstance(write, Write):
            yield write


def _books(house: _House, prefix: str, at: datetime) -> Iterator[Write]:
    """Audit the ledgers that the stages wrote."""
    lines = [
        codec.decode(LedgerLine, message.value)
        for message in house.broker.messages(Topic.STAGE_LEDGER)
    ]
    slots = [
        (topic, number)
        for inputs in CHAIN.values()
        for topic in inputs
        for number in range(PARTITIONS)
    ]
    ends = {(str(topic), number): house.broker.end(Topic(topic), number) for topic, number in slots}
    for row in rows_of(audit(lines, ends), at):
        yield Write(
            index=f"{prefix}audit",
            id=row.id,
            op="index",
            body=json.dumps(row.document).encode(),
            version=1,
        )
