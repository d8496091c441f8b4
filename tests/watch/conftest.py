"""Watch in memory: one partition, and the builders of rows."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from klingel.contracts import codec
from klingel.contracts.envelope import Message, Output, ce_headers, trace_id
from klingel.contracts.topics import Topic
from klingel.domain.erasure import Key, Suppressed
from klingel.model import Alert, BrandSignals, CaseCommand, ConnectorStatus, Incident
from klingel.model.brand_signals import Signal
from klingel.model.connector_status import GapRecord
from klingel.stage.fates import Outcome
from klingel.testing.broker import InMemoryBroker
from klingel.testing.conversations import compiled_brand
from klingel_processors.in_memory import StageInMemory
from klingel_processors.watch.connectors import Connectors
from klingel_processors.watch.logic import WatchLogic

START = datetime(2026, 3, 20, tzinfo=UTC)
ALERTS = {
    "notify": ["chat"],
    "incident_notify": ["chat"],
    "min_authors": 4,
    "dormant_after": {"x": "6h"},
    "nobody_answered_after": "2h",
    "oldest_unanswered": "4h",
}
BRAND = compiled_brand(
    alerts=ALERTS, targets=[{"id": "chat", "kind": "slack", "url_setting": "chat_url"}]
)
TALK = (
    "when does the shop in the old town open again on saturdays",
    "my parcel arrived with a dent, thanks anyway for the quick help",
    "is there a discount for students on the yearly plan",
    "the new app looks nice but the font is too small for me",
    "please change the address on my bill, i have moved to kiel",
    "how long is the contract and can i pause it over the summer",
)
OUTAGE = (
    "no internet since this morning in the north of town",
    "internet is down again, router lamp blinks red",
    "is there an outage? no internet here since an hour",
    "my router blinks red and there is no connection at all",
    "internet outage in our street, router only blinks red",
)


def row(name: str, minute: float, text: str = "hello", **fields: Any) -> Signal:
    """Return a customer's post, addressed to the brand."""
    at = START + timedelta(minutes=minute)
    return Signal(
        **{
            "event_id": f"nordlicht/x:network:{name}@0",
            "conversation_id": f"x:network:{name}",
            "at": at,
            "received_at": at,
            "mode": "live",
            "network": "x",
            "channel": "main",
            "direction": "inbound",
            "change": "created",
            "kind": "post",
            "customer_id": f"x:{name}",
            "author": f"{abs(hash64_of(name)):016x}",
            "addressed": True,
            "lang": "en",
            "tone": "negative",
            "text": text,
        }
        | fields
    )


def hash64_of(name: str) -> int:
    """Return a number of a name that is the same in every run."""
    return int.from_bytes(name.encode()[-7:], "big")


def usual(hours: float, an_hour: int = 6) -> list[Signal]:
    """Return talk about everything."""
    number = int(hours * an_hour)
    return [row(f"u{at}", at * 60 / an_hour, f"{TALK[at % 6]} {at}") for at in range(number)]


def ringing(minute: float, number: int = 30) -> list[Signal]:
    """Return many customers with one question."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [
        row(f"r{n}", minute + n / 3, f"{OUTAGE[n % 5]} {letters[n % 26] * 3}")
        for n in range(number)
    ]


def in_order(rows: Iterable[Signal]) -> list[Signal]:
    """Return rows by time."""
    return sorted(rows, key=lambda each: each.at)


def told(rows: list[Signal], brand: str = "nordlicht") -> Output:
    """Return the record of `brand-signals` that understand writes."""
    return Output(
        topic=Topic.BRAND_SIGNALS,
        key=brand.encode(),
        value=codec.encode(BrandSignals(brand=brand, rows=rows)),
        headers=ce_headers(
            Topic.BRAND_SIGNALS,
            event_id=f"signals/{rows[0].event_id}",
            source="klingel/understand",
            subject=brand,
            time=rows[0].received_at,
            trace=trace_id(brand),
        ),
    )


class Post:
    """One worker of watch, at its post."""

    def __init__(self) -> None:
        self.broker = InMemoryBroker(partitions=1)
        self.brands = {"nordlicht": BRAND}
        self.connectors = Connectors()
        self.suppressed = Suppressed(Key("a key of this test's own"))
        self.now = START
        self.stage = StageInMemory(self.broker, self.logic, lambda: self.now)

    def logic(self, partition: int) -> WatchLogic:
        """Build the logic of one partition."""
        return WatchLogic(
            partition,
            brands=lambda: self.brands,
            connectors=self.connectors.known,
            gaps=self.connectors.gaps,
            suppressed=self.suppressed,
        )

    def tell(self, state: str, **fields: Any) -> None:
        """Let the connector of network x say how it is, now."""
        status = ConnectorStatus(
            instance="x-1",
            connector="x",
            network="x",
            state=state,  # type: ignore[arg-type] # one of the schema's words
            at=self.now,
            **fields,
        )
        value = codec.encode(status)
        self.connectors.take(Message(Topic.CONNECTOR_STATUS, 0, 0, b"x-1", value))

    def tell_gap(self, begin: float, outcome: str, end: float | None = None, **fields: Any) -> None:
        """Let the connector of network x enter a gap into its ledger; minutes."""
        gap = GapRecord(
            cause="disconnected",
            outcome=outcome,  # type: ignore[arg-type] # one of the schema's words
            opened_at=START + timedelta(minutes=begin),
            began_at=START + timedelta(minutes=begin),
            ended_at=None if end is None else START + timedelta(minutes=end),
            **{"channel": ""} | fields,
        )
        status = ConnectorStatus(
            instance="x-1/gap/0123",
            connector="x",
            network="x",
            state="running",
            at=self.now,
            gap=gap,
        )
        value = codec.encode(status)
        self.connectors.take(Message(Topic.CONNECTOR_STATUS, 0, 0, b"x-1/gap/0123", value))

    def put(self, rows: list[Signal], a_record: int = 7) -> None:
        """Write rows, some a record."""
        for at in range(0, len(rows), a_record):
            some = rows[at : at + a_record]
            self.broker.append(told(some), int(some[-1].received_at.timestamp() * 1000))

    def hear(self, rows: list[Signal], a_record: int = 7) -> list[Outcome]:
        """Write rows and decide them all, at the time of the newest."""
        self.put(rows, a_record)
        self.now = max(self.now, *[each.received_at for each in rows])
        return self.stage.drain(20)

    def pass_time(self, minute: float) -> list[Outcome]:
        """Let time pass; everything up to then is read."""
        self.now = max(self.now, START + timedelta(minutes=minute))
        return self.stage.tick(self.now)

    def written(self, topic: Topic) -> list[Message]:
        """Return the records of a topic."""
        return self.broker.messages(topic)

    def incidents(self) -> list[Incident]:
        """Return all records of incidents."""
        return [codec.decode(Incident, each.value) for each in self.written(Topic.INCIDENTS)]

    def alerts(self) -> list[Alert]:
        """Return all records of alerts."""
        return [codec.decode(Alert, each.value) for each in self.written(Topic.ALERTS)]

    def commands(self) -> list[CaseCommand]:
        """Return all commands."""
        return [codec.decode(CaseCommand, each.value) for each in self.written(Topic.CASE_COMMANDS)]

    def said(self) -> list[tuple[str, bytes | None, bytes | None]]:
        """Return everything that others read: topic, key and value."""
        return [
            (topic.value, each.key, each.value)
            for topic in (Topic.ALERTS, Topic.INCIDENTS, Topic.CASE_COMMANDS)
            for each in self.written(topic)
        ]


@pytest.fixture
def post() -> Post:
    """A worker that has heard nothing yet."""
    return Post()
