"""Some days of a brand's care: the cases that care makes of random conversations."""

import random
from collections.abc import Iterator
from datetime import timedelta

from msgspec import structs

from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.model import Case, CaseCommand, SocialEvent
from klingel.model.social_event import Signature
from klingel.testing.conversations import NOON, answered, compiled_brand, said
from klingel_indexer.bulk import Item
from klingel_indexer.convert import Write, convert

from .care.conftest import Desk, commanded, social

MAX_REVISION = 2**42 - 1
AGENTS = ("maike", "jo", "sam")
BRAND = compiled_brand(
    queues=[{"id": "first"}, {"id": "second"}],
    calendars=[{"id": "office", "zone": "Europe/Berlin", "hours": {"mon-fri": ["08:00-20:00"]}}],
    sla=[
        {
            "id": "public",
            "first_response": "60m",
            "next_response": "30m",
            "resolution": "8h",
            "pause_when": ["waiting", "snoozed"],
        }
    ],
    targets=[{"id": "chat", "kind": "slack", "url_setting": "chat"}],
    escalation=[
        {"id": "lead", "on": ["warned"], "priority": 20, "notify": ["chat"]},
        {"id": "head", "on": ["breached"], "queue": "second", "notify": ["chat"]},
    ],
    cases={"close_when": "never"},
)


class Caseload:
    """A desk that has worked for some days.

    Attributes:
        desk: care in memory; more can be said and ordered.
        now: the end of the days.
    """

    TOPICS = (Topic.ROUTED_EVENTS, Topic.CASES, Topic.CASE_EVENTS, Topic.ESCALATIONS)
    """What care writes and the indexer reads."""

    def __init__(self, conversations: int, seed: int, days: float = 4) -> None:
        self._chance = random.Random(seed)
        self.desk = Desk(BRAND)
        self.now = NOON + timedelta(days=days)
        happens = sorted(
            (each for number in range(conversations) for each in self._matter(number, days)),
            key=lambda each: (each[0], each[2]),
        )
        for minute, what, _ in happens:
            self.desk.now = NOON + timedelta(minutes=minute)
            self.desk.stage.tick(self.desk.now)
            self.desk.broker.append(
                social(what) if isinstance(what, SocialEvent) else commanded(what),
                int(self.desk.now.timestamp() * 1000),
            )
            self.desk.stage.drain()
        self.desk.now = self.now
        while self.desk.stage.tick(self.now):
            pass

    def _matter(
        self, number: int, days: float
    ) -> Iterator[tuple[float, SocialEvent | CaseCommand, int]]:
        """Yield what happens in one conversation: minute, what, a place among the equal."""
        chance, root = self._chance, f"bluesky:network:root-{number}"
        customer = f"customer-{number}"
        minute = round(chance.uniform(0, days * 1440 * 0.9), 2)
        if chance.random() < 0.1:
            name, at = f"{number}-gone", minute + 3
            yield minute, said(name, customer, minute, conversation=root), number
            gone = said(name, None, at, conversation=root, change="deleted", revision=MAX_REVISION)
            yield at, gone, number
            return
        for turn in range(chance.choice((1, 1, 2, 3))):
            word = f"{number}-{turn}"
            yield minute, said(word, customer, minute, conversation=root), number
            wait = round(chance.expovariate(1 / 70), 2) + 0.5
            if chance.random() < 0.2 or minute + wait > days * 1440:
                return
            reply = answered(f"{word}-answer", minute + wait, in_reply_to=word, conversation=root)
            agent = chance.choice(AGENTS)
            reply = structs.replace(reply, signature=Signature(code=agent[:2], agent=agent))
            yield minute + wait, reply, number
            minute += wait + round(chance.expovariate(1 / 200), 2) + 0.5
            if minute > days * 1440:
                return
        kind = chance.choice(("close", "close", "close", "assign", "snooze"))
        at = NOON + timedelta(minutes=minute)
        yield (
            minute,
            CaseCommand(
                command_id=f"command-{number}",
                brand="nordlicht",
                conversation_id=root,
                customer_id=customer,
                kind=kind,  # type: ignore[arg-type]  # one of them
                at=at,
                by="maike",
                assignee=chance.choice(AGENTS) if kind == "assign" else None,
                until=at + timedelta(days=30) if kind == "snooze" else None,
            ),
            number,
        )
        again = minute + round(chance.uniform(5, 900), 2)
        if kind == "close" and chance.random() < 0.3 and again < days * 1440:
            yield again, said(f"{number}-again", customer, again, conversation=root), number

    def cases(self) -> list[Case]:
        """Return the cases as they were written last, without the conversations' own records."""
        found = self.desk.broker.compacted(Topic.CASES).values()
        cases = [codec.decode(Case, value) for value in found if value is not None]
        return [case for case in cases if case.state != "held"]

    def records(self, *topics: Topic) -> list[Message]:
        """Return everything that was written to these topics."""
        return [each for topic in topics for each in self.desk.broker.messages(topic)]


def bulk_body(messages: list[Message], prefix: str, indexed_at: str) -> bytes:
    """Return what the indexer sends of these messages, the oldest first."""
    writes = [convert(message, prefix, indexed_at) for message in messages]
    return b"".join(Item(write, None).lines() for write in writes if isinstance(write, Write))
