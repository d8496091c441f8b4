"""One customer of WhatsApp under his number, his BSUID and his usernames: one conversation."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.topics import Topic
from klingel.domain.identity_links import Customers
from klingel.model import CaseCommand, IdentityLink, SocialEvent
from klingel.stage.fates import Fate, Outcome
from klingel_connectors.raw import Heard, Origin, raw_output, read_delivery
from klingel_networks.contract import Delivery
from klingel_networks.registry import installed_network
from klingel_processors.follow import Surroundings
from klingel_processors.in_memory import StageInMemory
from klingel_processors.understand.logic import UnderstandLogic, World

from ..ringing import NOON, brand
from .conftest import Desk

OWN, PHONE, BSUID = "106540352242922", "4917012345678", "DE.13491208655302741918"
CHAT = f"whatsapp:{OWN}:chat/"


class Line(Desk):
    """Understand behind a number of WhatsApp; it follows its own links only when told so."""

    def __init__(self) -> None:
        super().__init__()
        channels = [{"network": "whatsapp", "id": OWN}]
        self.brands = {
            "nordlicht": brand("nordlicht", channels=channels),
            "kuestenstrom": brand("kuestenstrom"),
        }
        self.around = Surroundings()
        self.followed = 0
        self.now = NOON

    def logic(self, partition: int) -> UnderstandLogic:
        """Build the logic of one partition."""
        return UnderstandLogic(
            partition,
            networks=installed_network,
            detect=lambda _: ("de", 0.9),
            readers=self.readers.get,
            originals=self.original,
            world=lambda: World(
                self.brands,
                self.tracking,
                self.around.customers,
                suppressed=self.around.suppressed,
            ),
        )

    def message(
        self,
        own_id: str,
        *,
        phone: str | None = None,
        bsuid: str | None = None,
        name: str = "",
        at: datetime = NOON,
    ) -> Outcome:
        """Ring as the customer of these ids."""
        contact = {"profile": {"name": "Erika", "username": name}, "user_id": bsuid, "wa_id": phone}
        said = {
            "id": own_id,
            "timestamp": str(int(at.timestamp())),
            "type": "text",
            "text": {"body": "hallo nordlicht"},
            "from": phone,
            "from_user_id": bsuid,
        }
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "49301234", "phone_number_id": OWN},
            "contacts": [_present(contact)],
            "messages": [_present(said)],
        }
        return self.whole(value)

    def whole(self, value: Mapping[str, Any]) -> Outcome:
        """Ring with a change as Meta sends it."""
        entry = {"id": "10229", "changes": [{"field": "messages", "value": value}]}
        delivery = Delivery(
            json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode(),
            {"hash_key": "k" * 32},
        )
        self.now += timedelta(minutes=1)
        (heard,) = read_delivery(
            installed_network("whatsapp"),
            delivery,
            Origin("whatsapp", "whatsapp-1", "whatsapp", channel=None),
            "live",
            self.now,
        )
        assert isinstance(heard, Heard), heard
        self.put(raw_output(heard.raw))
        (outcome,) = self.stage.advance()
        return outcome

    def follow(self) -> Customers:
        """Follow what was linked so far."""
        for message in self.links():
            self.around.take(message)
        return self.around.customers

    def links(self) -> list[Message]:
        """Return what was linked."""
        return self.broker.messages(Topic.IDENTITY_LINKS)

    def commands(self) -> list[CaseCommand]:
        """Return what care was told."""
        return [
            codec.decode(CaseCommand, message.value)
            for message in self.broker.messages(Topic.CASE_COMMANDS)
        ]

    def last(self) -> SocialEvent:
        """Return what was said last."""
        return self.social()[-1]


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


@pytest.fixture
def line() -> Line:
    """A number at which nobody rang yet."""
    return Line()


def test_phone_and_bsuid_then_bsuid_alone_then_another_username_are_one(line: Line) -> None:
    line.message("w1", phone=PHONE, bsuid=BSUID, name="erika")
    line.follow()
    line.message("w2", bsuid=BSUID, name="erika")
    line.message("w3", bsuid=BSUID, name="erika.m")
    customers = line.follow()
    assert {each.conversation_id for each in line.social()} == {f"{CHAT}bsuid:{BSUID}"}
    assert {each.customer_id for each in line.social()} == {f"whatsapp:bsuid:{BSUID}"}
    kinds = [
        each.split(":")[1] for each in customers.ids_of("nordlicht", f"whatsapp:bsuid:{BSUID}")
    ]
    assert sorted(kinds) == ["bsuid", "phone", "username", "username"]
    assert {each.brand for each in line.social()} == {"nordlicht"}


def test_who_was_known_by_number_keeps_his_conversation_when_the_bsuid_comes(line: Line) -> None:
    line.message("w1", phone=PHONE)
    first = line.last()
    assert ":phone:" in (first.customer_id or "")
    line.follow()
    line.message("w2", phone=PHONE, bsuid=BSUID)
    line.follow()
    line.message("w3", bsuid=BSUID)
    assert {each.conversation_id for each in line.social()} == {first.conversation_id}
    assert {each.customer_id for each in line.social()} == {first.customer_id}
    assert line.last().author is not None
    assert line.last().author.id == f"bsuid:{BSUID}"


def test_a_link_between_two_known_customers_merges_into_the_older(line: Line) -> None:
    line.message("w1", phone=PHONE)
    line.message("w2", bsuid=BSUID)
    old, new = line.social()
    assert old.conversation_id != new.conversation_id
    line.follow()
    line.message("w3", phone=PHONE, bsuid=BSUID)
    (command,) = line.commands()
    assert (command.kind, command.conversation_id, command.customer_id) == (
        "merge",
        new.conversation_id,
        new.customer_id,
    )
    assert (command.into_conversation_id, command.into_customer_id) == (
        old.conversation_id,
        old.customer_id,
    )
    assert line.last().conversation_id == old.conversation_id


def test_an_open_case_that_was_missed_is_joined_at_the_next_word(line: Line) -> None:
    """The link was read late: both ids were used meanwhile."""
    line.message("w1", phone=PHONE)
    line.message("w2", bsuid=BSUID)
    line.message("w3", phone=PHONE, bsuid=BSUID)
    assert line.commands() == []
    line.follow()
    line.tracking = {f"{CHAT}bsuid:{BSUID}": frozenset({"nordlicht"})}
    line.message("w4", phone=PHONE)
    (command,) = line.commands()
    assert command.conversation_id == f"{CHAT}bsuid:{BSUID}"


def test_our_answer_to_the_new_id_reaches_the_old_conversation(line: Line) -> None:
    line.message("w1", phone=PHONE)
    line.follow()
    line.message("w2", phone=PHONE, bsuid=BSUID)
    line.follow()
    status = {
        "id": "w9",
        "status": "sent",
        "timestamp": "1772452900",
        "recipient_id": PHONE,
        "recipient_user_id": BSUID,
    }
    line.whole(
        {
            "messaging_product": "whatsapp",
            "metadata": {"phone_number_id": OWN},
            "statuses": [status],
        }
    )
    first, answer = line.social()[0], line.last()
    assert answer.direction == "outbound"
    assert answer.conversation_id == first.conversation_id
    assert f"whatsapp:{answer.target}" == first.customer_id
    assert answer.customer_id != first.customer_id


def test_what_is_known_is_said_once_and_a_repeat_changes_nothing(line: Line) -> None:
    line.message("w1", phone=PHONE, bsuid=BSUID)
    line.follow()
    before = len(line.links())
    line.message("w2", phone=PHONE, bsuid=BSUID)
    assert len(line.links()) == before == 1
    outcome = line.message("w2", phone=PHONE, bsuid=BSUID)
    assert outcome.fate is not Fate.DELIVERED
    assert len(line.links()) == before


def test_an_account_of_two_brands_links_nobody(line: Line) -> None:
    channels = [{"network": "whatsapp", "id": OWN}]
    line.brands["kuestenstrom"] = brand("kuestenstrom", channels=channels)
    line.message("w1", phone=PHONE, bsuid=BSUID)
    assert line.links() == []
    assert len(line.social()) == 2


def test_no_number_and_no_name_stand_in_a_link(line: Line) -> None:
    line.message("w1", phone=PHONE, bsuid=BSUID, name="erika")
    for each in line.links():
        assert PHONE.encode() not in (each.key or b"") + (each.value or b"")
        assert b"erika" not in (each.value or b"")
        assert codec.decode(IdentityLink, each.value).consent is None


def test_understand_is_restarted_and_reads_the_links_again(line: Line) -> None:
    line.message("w1", phone=PHONE)
    line.message("w2", phone=PHONE, bsuid=BSUID)
    line.around = Surroundings()
    line.stage = StageInMemory(line.broker, line.logic, lambda: line.now)
    line.follow()
    line.message("w3", bsuid=BSUID)
    assert line.last().conversation_id == line.social()[0].conversation_id
