"""A mailbox that is counted anew (UIDVALIDITY): all its mails come again, and no case does.

The whole way: a mail server, the mailbox's reader under the connectors' runner, understand, care.
"""

from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from klingel.contracts import codec
from klingel.contracts.envelope import Output
from klingel.contracts.outputs import command_output
from klingel.contracts.topics import Topic
from klingel.model import Case, CaseCommand
from klingel_processors.care.logic import CareLogic
from klingel_processors.in_memory import StageInMemory

from ..networks.test_email_runner import OWN, Process, server, until
from ..ringing import brand
from .conftest import Desk

__all__ = ["server"]
ANNA, BERT = "anna@kunde.example", "bert@kunde.example"


def mail(author: str, mid: str, *, refers: str = "") -> bytes:
    """Return a mail of now."""
    references = f"References: <{refers}>\r\nIn-Reply-To: <{refers}>\r\n" if refers else ""
    return (
        f"From: {author}\r\nTo: {OWN}\r\n"
        f"Subject: {'Re: ' if refers else ''}Netz {author}\r\nMessage-ID: <{mid}>\r\n{references}"
        f"Date: {format_datetime(datetime.now(UTC))}\r\n\r\nnordlicht, wo bleibt das Netz? {mid}"
    ).encode()


class Way(Desk):
    """Understand and care behind a mailbox."""

    def __init__(self, blobs: Path) -> None:
        super().__init__()
        own = {"network": "email", "id": OWN}
        channel = {"network": "email", "id": "service"}
        self.brands = {"nordlicht": brand("nordlicht", accounts=[own], channels=[channel])}
        self.care = StageInMemory(
            self.broker,
            lambda number: CareLogic(number, brands=lambda: self.brands),
            lambda: datetime.now(UTC),
        )
        self._folder = blobs

    def take(self, process: Process) -> None:
        """Let everything that a reader wrote go its way."""
        for record in process.producer.of(Topic.RAW_EVENTS):
            self.put(Output(Topic.RAW_EVENTS, record["key"], record["value"], record["headers"]))
        for raw in process.raw():
            assert raw.native_ref is not None
            self.blobs[raw.native_ref.sha256] = process.blobs.get(raw.native_ref)
        self.stage.drain()
        self.care.drain()

    def cases(self) -> dict[str, Case]:
        """Return the cases by their ids."""
        found = (codec.decode(Case, each) for each in self.broker.compacted(Topic.CASES).values())
        return {each.case_id: each for each in found if each.state != "held"}


def close(case: Case) -> Output:
    """Return the command that closes a case."""
    return command_output(
        CaseCommand(
            command_id=f"close {case.customer_id}",
            brand=case.brand,
            conversation_id=case.conversation_id,
            customer_id=case.customer_id,
            kind="close",
            at=datetime.now(UTC),
            by="maike",
        ),
        "klingel/cli",
    )


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
async def test_mails_that_come_again_make_no_second_case(server, tmp_path, closed) -> None:
    """Neither where the case is open still, nor where it was closed meanwhile."""
    way = Way(tmp_path)
    box = server.folder("INBOX")
    first = Process(server, tmp_path, [])
    await until(first.cursors)  # what lies there before is history, which opens nothing
    for each in (mail(ANNA, "1@k"), mail(BERT, "2@k"), mail(ANNA, "3@k", refers="1@k")):
        box.add(each)
    await until(lambda: len(first.raw()) == 3)
    await until(lambda: first.cursors()[-1].cursor.split("|")[1] == "3")
    await first.finish()
    way.take(first)
    before = way.cases()
    assert len(before) == 2
    assert {each.mode for each in first.raw()} == {"live"}
    if closed:
        for case in before.values():
            way.broker.append(close(case))
        way.care.drain()
        before = way.cases()
        assert {each.state for each in before.values()} == {"closed"}
    box.count_anew(9)
    second = Process(server, tmp_path, first.cursors())
    await until(lambda: len(second.raw()) == 3)
    await second.finish()
    assert [each.object_id for each in second.raw()] == [each.object_id for each in first.raw()]
    way.take(second)
    assert way.cases() == before
    assert len(way.broker.messages(Topic.SOCIAL_EVENTS)) == 3
