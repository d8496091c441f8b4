"""A stranger who answers another's mail: a case of his own that names the other one, and no join."""

from typing import Any

import pytest

from klingel.contracts import codec
from klingel.contracts.envelope import SOURCE_HEADER, Output
from klingel.contracts.topics import Topic
from klingel.domain.identity import case_id
from klingel.model import Case, CaseCommand
from klingel.testing.broker import InMemoryBroker
from klingel_networks.email.mapping import context_of, described
from klingel_networks.email.threads import RELATED, written
from klingel_processors.care.logic import CareLogic
from klingel_processors.in_memory import StageInMemory

from ..ringing import NOON
from .test_lone_ids import OWN_MAIL, Counter

ANNA, EVE = "anna@kunde.example", "eve@fremd.example"


def mail(author: str, mid: str, *, refers: str = "", to: str = OWN_MAIL[0]) -> bytes:
    """Return a mail."""
    references = f"References: <{refers}>\r\nIn-Reply-To: <{refers}>\r\n" if refers else ""
    subject = "Re: Netz" if refers else "Netz"
    return (
        f"From: <{author}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nMessage-ID: <{mid}>\r\n{references}"
        "Date: Mon, 02 Mar 2026 12:00:00 +0000\r\n\r\nnordlicht, ist das Netz kaputt?"
    ).encode()


class Box(Counter):
    """A mailbox, understand and care behind it; it knows the mails that came before."""

    def __init__(self) -> None:
        super().__init__()
        self.care = StageInMemory(
            self.broker, lambda number: CareLogic(number, brands=lambda: self.brands), lambda: NOON
        )
        self.before: list[bytes] = []

    def comes(self, body: bytes) -> Any:
        """Ring with a mail; return what was said of it."""
        known = [described(each, self.context(each)) for each in self.before]
        self.before.append(body)
        return self.rings("email", body, self.context(body) | {RELATED: written(known)})

    @staticmethod
    def context(body: bytes) -> dict[str, str]:
        """Return what the connector tells beside a mail."""
        return {"source": "box", "channel": "box"} | context_of(body, OWN_MAIL, b"k" * 32)

    def commands(self) -> list[CaseCommand]:
        """Return what care was told."""
        messages = self.broker.messages(Topic.CASE_COMMANDS)
        return [codec.decode(CaseCommand, each.value) for each in messages]

    def cases(self) -> dict[str, Case]:
        """Return the cases by customer."""
        found = (codec.decode(Case, each) for each in self.broker.compacted(Topic.CASES).values())
        return {each.customer_id: each for each in found if each.state != "held"}


def test_a_strangers_case_names_the_one_that_he_refers_to() -> None:
    box = Box()
    anna = box.comes(mail(ANNA, "1@kunde.example"))
    eve = box.comes(mail(EVE, "2@fremd.example", refers="1@kunde.example"))
    assert eve.conversation_id != anna.conversation_id
    assert (eve.refers_to, anna.refers_to) == (anna.conversation_id, None)
    (command,) = box.commands()
    assert (command.kind, command.conversation_id) == ("similar_to", eve.conversation_id)
    (message,) = box.broker.messages(Topic.CASE_COMMANDS)
    assert message.header(SOURCE_HEADER) == b"raw-events/0/1/1"
    box.care.drain()
    cases = box.cases()
    named = case_id("nordlicht", anna.conversation_id, anna.customer_id, 1)
    assert cases[eve.customer_id].similar_to == [named]
    assert cases[anna.customer_id].case_id == named
    assert cases[anna.customer_id].similar_to is None
    assert len(cases[anna.customer_id].facts) == 1


@pytest.mark.parametrize("first", ["command", "event"])
def test_a_reference_that_comes_before_its_case_is_not_lost(first: str) -> None:
    """The two lie in different topics: care may read either first, and says the same."""
    box = Box()
    anna = box.comes(mail(ANNA, "1@kunde.example"))
    eve = box.comes(mail(EVE, "2@fremd.example", refers="1@kunde.example"))
    told = InMemoryBroker()
    care = StageInMemory(
        told, lambda number: CareLogic(number, brands=lambda: box.brands), lambda: NOON
    )
    topics = [Topic.CASE_COMMANDS, Topic.SOCIAL_EVENTS]
    reasons = []
    for topic in topics if first == "command" else reversed(topics):
        for each in box.broker.messages(topic):
            told.append(Output(each.topic, each.key or b"", each.value, each.headers))
        reasons += [outcome.reason for outcome in care.drain()]
    assert "unknown_case" not in reasons
    cases = [codec.decode(Case, each) for each in told.compacted(Topic.CASES).values()]
    named = case_id("nordlicht", anna.conversation_id, anna.customer_id, 1)
    assert {
        (each.customer_id, *(each.similar_to or ())) for each in cases if each.state == "open"
    } == {(anna.customer_id,), (eve.customer_id, named)}


def test_who_takes_part_joins_and_links_nothing() -> None:
    box = Box()
    anna = box.comes(mail(ANNA, "1@kunde.example"))
    again = box.comes(mail(ANNA, "2@kunde.example", refers="1@kunde.example"))
    assert again.conversation_id == anna.conversation_id
    assert again.refers_to is None
    assert box.commands() == []


def test_what_refers_again_and_a_replay_are_the_same_command() -> None:
    """Taken once, however often it is told."""
    box = Box()
    box.comes(mail(ANNA, "1@kunde.example"))
    box.comes(mail(EVE, "2@fremd.example", refers="1@kunde.example"))
    box.comes(mail(EVE, "3@fremd.example", refers="1@kunde.example"))
    box.stage.replay()
    box.stage.drain(1)
    commands = box.commands()
    assert len(commands) == 4
    assert len({each.command_id for each in commands}) == 1
    box.care.drain()
    (eve,) = [each for each in box.cases().values() if each.similar_to]
    assert len(eve.similar_to or []) == 1


def test_our_answer_to_a_stranger_links_nothing() -> None:
    box = Box()
    box.comes(mail(ANNA, "1@kunde.example"))
    answer = box.comes(mail(OWN_MAIL[0], "3@nordlicht.example", refers="1@kunde.example", to=EVE))
    assert (answer.direction, answer.refers_to) == ("outbound", None)
    assert box.commands() == []
