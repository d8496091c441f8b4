"""Networks that give an author one id for ever: X and e-mail, and Instagram's scoped ids."""

import hashlib
import json
from datetime import timedelta
from typing import Any

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.domain.identity_links import Customers, link, link_key
from klingel.model import IdentityLink
from klingel.model.raw_event import BlobRef
from klingel_connectors.raw import Heard, Origin, by_reference, raw_output, read_delivery
from klingel_networks.contract import Delivery
from klingel_networks.email.mapping import context_of
from klingel_networks.registry import installed_network
from klingel_processors.understand.logic import UnderstandLogic, World

from ..ringing import NOON, brand
from .conftest import Desk

OWN_MAIL = ("service@nordlicht.example",)
PAGE = "17841400000000001"


class Counter(Desk):
    """Understand behind an X account, a mailbox and an Instagram account."""

    def __init__(self) -> None:
        super().__init__()
        self.brands = {
            "nordlicht": brand(
                "nordlicht",
                accounts=[{"network": "x", "id": "99"}, {"network": "email", "id": OWN_MAIL[0]}],
                channels=[{"network": "instagram", "id": PAGE}, {"network": "email", "id": "box"}],
            )
        }
        self.customers = Customers()
        self.now = NOON

    def logic(self, partition: int) -> UnderstandLogic:
        """Build the logic of one partition."""
        return UnderstandLogic(
            partition,
            networks=installed_network,
            detect=lambda _: ("de", 0.9),
            readers=self.readers.get,
            originals=self.original,
            world=lambda: World(self.brands, self.tracking, self.customers),
        )

    def rings(self, network: str, body: bytes, context: dict[str, str] | None = None) -> Any:
        """Ring once; return what was said last."""
        self.now += timedelta(minutes=1)
        origin = Origin(network, f"{network}-1", network, channel=None)
        delivery = Delivery(body, context or {})
        (heard,) = read_delivery(installed_network(network), delivery, origin, "live", self.now)
        assert isinstance(heard, Heard), heard
        raw = heard.raw
        if network == "email":  # bytes always lie in the blob store
            digest = hashlib.sha256(body).hexdigest()
            self.blobs[digest] = body
            raw = by_reference(raw, BlobRef(sha256=digest, size=len(body), ref=digest))
        self.put(raw_output(raw))
        self.stage.advance()
        return self.social()[-1]

    def post(self, own_id: int, author: str) -> Any:
        """Ring as somebody on X who names the brand."""
        post = {"id": str(own_id), "text": "@nordlicht hallo", "author_id": author}
        post["entities"] = {"mentions": [{"start": 0, "end": 10, "username": "n", "id": "99"}]}
        return self.rings("x", json.dumps({"data": post}).encode())

    def mail(self, author: str, mid: str, *, to: str = OWN_MAIL[0]) -> Any:
        """Ring as somebody who writes a mail."""
        body = (
            f"From: <{author}>\r\nTo: <{to}>\r\nSubject: Netz\r\nMessage-ID: <{mid}>\r\n"
            "Date: Mon, 02 Mar 2026 12:00:00 +0000\r\n\r\nhallo nordlicht"
        ).encode()
        context = {"source": "box", "channel": "box"} | context_of(body, OWN_MAIL, b"k" * 32)
        return self.rings("email", body, context)

    def says_a_person(self, one: str, other: str) -> None:
        """Link two ids as `klingel customer link` does."""
        given = link("nordlicht", one, other, self.now, consent="asked", by="maike")
        self.customers.take(link_key(given), given)

    def links(self) -> list[IdentityLink]:
        """Return what understand linked."""
        return [
            codec.decode(IdentityLink, each.value)
            for each in self.broker.messages(Topic.IDENTITY_LINKS)
        ]


def test_nothing_is_remembered_of_who_is_linked_with_nobody() -> None:
    counter = Counter()
    assert counter.post(1_900_000_000_000_000_001, "7").customer_id == "x:7"
    mail = counter.mail("anna@kunde.example", "1@kunde.example")
    assert mail.customer_id == f"email:{mail.author.id}"
    assert counter.links() == []


def test_two_addresses_that_a_person_linked_are_one_customer() -> None:
    """Named by the oldest, which of one link is the smaller; the brand's answer goes to the same."""
    counter = Counter()
    one = counter.mail("anna@kunde.example", "1@kunde.example").customer_id
    other = counter.mail("anna@firma.example", "2@firma.example").customer_id
    assert one != other
    counter.says_a_person(one, other)
    name = min(one, other)
    assert counter.mail("anna@kunde.example", "3@kunde.example").customer_id == name
    assert counter.mail("anna@firma.example", "4@firma.example").customer_id == name
    answer = counter.mail(OWN_MAIL[0], "5@nordlicht.example", to="anna@firma.example")
    assert answer.direction == "outbound"
    assert f"email:{answer.target}" == name
    assert counter.links() == []


def test_a_link_to_another_network_shows_and_names_nobody() -> None:
    counter = Counter()
    counter.says_a_person("x:7", "whatsapp:bsuid:DE.1")
    assert counter.post(1_900_000_000_000_000_001, "7").customer_id == "x:7"
    assert counter.links() == []


def test_instagram_names_a_customer_by_the_scoped_id_and_shows_the_username() -> None:
    """Who takes the username over is somebody else."""
    counter = Counter()

    def comment(own_id: str, author: str, name: str) -> Any:
        value = {
            "id": own_id,
            "text": "hallo nordlicht",
            "from": {"id": author, "username": name},
            "media": {"id": "5"},
        }
        entry = {"id": PAGE, "time": 1_772_452_800}
        entry["changes"] = [{"field": "comments", "value": value}]
        body = json.dumps({"object": "instagram", "entry": [entry]}).encode()
        event = counter.rings("instagram", body)
        for each in counter.links():
            counter.customers.take(link_key(each), each)
        return event

    assert comment("101", "71", "Erika.M").customer_id == "instagram:71"
    assert comment("102", "72", "erika.m").customer_id == "instagram:72"
    known = counter.customers
    assert known.ids_of("nordlicht", "instagram:71") == [
        "instagram:71",
        "instagram:username:erika.m",
    ]
    assert known.name_of("nordlicht", "instagram:72") == "instagram:72"


def test_a_message_of_instagram_names_its_customer_also_in_our_answer() -> None:
    network = installed_network("instagram")
    for sender, recipient, echo in (("71", PAGE, False), (PAGE, "71", True)):
        message = {"mid": f"m{sender}", "text": "hallo"} | ({"is_echo": True} if echo else {})
        item = {
            "sender": {"id": sender},
            "recipient": {"id": recipient},
            "timestamp": 1_772_452_800_000,
            "message": message,
        }
        body = json.dumps(
            {"object": "instagram", "entry": [{"id": PAGE, "time": 1, "messaging": [item]}]}
        ).encode()
        (heard,) = read_delivery(
            network, Delivery(body, {}), Origin("instagram", "i", "instagram", None), "live", NOON
        )
        assert isinstance(heard, Heard)
        assert network.to_social_event(heard.raw).customer_ids == ("instagram:71",)


def test_a_forged_mail_is_nobodys() -> None:
    body = (
        b"Authentication-Results: mx; dmarc=fail\r\nFrom: <anna@kunde.example>\r\n"
        b"To: <service@nordlicht.example>\r\nMessage-ID: <9@x>\r\n\r\nhallo nordlicht"
    )
    context = {"source": "box"} | context_of(body, OWN_MAIL, b"k" * 32)
    (heard,) = read_delivery(
        installed_network("email"),
        Delivery(body, context),
        Origin("email", "e", "email", None),
        "live",
        NOON,
    )
    assert isinstance(heard, Heard)
    draft = installed_network("email").to_social_event(heard.raw)
    assert draft.author is not None
    assert draft.customer_ids == ()
