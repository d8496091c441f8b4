"""The social event that one brand hears."""

from datetime import UTC, datetime

import msgspec
import pytest

from klingel.domain.customer_of import Customer, customer_of, owner_of, references
from klingel.domain.draft import SocialDraft
from klingel.domain.encounter import Encounter, Place, Said, entry_after
from klingel.domain.hearing import rule_document, who_hears
from klingel.domain.identity_links import Customers
from klingel.domain.social_events import Words, social_event, with_reply_policy
from klingel.model import RawEvent, SocialEvent
from klingel.model.social_event import Author, Match, Origin
from klingel.testing.conversations import compiled_brand

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BRAND = compiled_brand(channels=[{"network": "whatsapp", "id": "4930"}])
OTHER = compiled_brand(brand="other", channels=[{"network": "whatsapp", "id": "4940"}])
ANNA, OLDER = "whatsapp:bsuid:DE.1", "whatsapp:phone:1"


def event(**parts) -> Said:
    channel = parts.pop("channel", "4930")
    raw = RawEvent(
        event_id="whatsapp:4930:m1@0",
        object_id="whatsapp:4930:m1",
        revision=0,
        network="whatsapp",
        connector="wa",
        kind="chat",
        change="created",
        mode="live",
        received_at=NOON,
        channel=channel,
        native=msgspec.Raw(b"{}"),
    )
    draft = {
        "mapping": "whatsapp/1",
        "kind": "chat",
        "change": "created",
        "text": "my line is dead",
        "author": Author(id="bsuid:DE.1"),
        "visibility": "private",
        **parts,
    }
    return Said.of(raw, SocialDraft(**draft))


def told(said: Said, customer: Customer | None = None, brand=BRAND) -> SocialEvent:
    document = rule_document(said.draft, "whatsapp", None)
    why = (Match(how="channel"),)
    place = Place("whatsapp:4930:chat/x", "network", ())
    after = entry_after(Encounter(said, None, 0, ()), said, place, {"b": why}, mark=True)
    return social_event(
        said,
        Words.of(document, None),
        after,
        brand,
        why,
        origin=Origin(topic="raw-events", partition=0, offset=0, mode="live"),
        sense=None,
        customer=customer,
    )


def test_an_event_is_his_who_wrote_it_by_the_name_that_his_brand_knows() -> None:
    """What one brand knows of its customers is nobody else's."""
    said = event()
    assert told(said).customer_id == ANNA
    known = Customer("nordlicht", ANNA, OLDER, OLDER, {}, ())
    assert told(said, known).customer_id == OLDER
    assert told(said, known, OTHER).customer_id == ANNA
    assert told(event(author=Author(id="4930")), known).customer_id == "whatsapp:4930"
    assert told(event(author=None), known).customer_id is None


def test_what_says_the_same_words_has_one_fingerprint() -> None:
    prints = {told(event(text=text)).fingerprint for text in ("My line, dead!", "my LINE dead")}
    assert len(prints) == 1
    assert told(event(text="")).fingerprint is None


def test_only_what_a_customer_says_has_a_policy_of_reply() -> None:
    said = event()

    def rule(_draft, own):
        return "asked" if own == BRAND.accounts.get("whatsapp", frozenset()) else None

    inbound = told(said)
    assert with_reply_policy(inbound, said.draft, rule, BRAND).reply.policy == "asked"
    assert with_reply_policy(inbound, said.draft, None, BRAND) == inbound
    outbound = msgspec.structs.replace(inbound, direction="outbound")
    assert with_reply_policy(outbound, said.draft, rule, BRAND) == outbound


@pytest.mark.parametrize(
    ("brands", "owner"),
    [([BRAND], "nordlicht"), ([OTHER], None), ([BRAND, OTHER], "nordlicht"), ([], None)],
)
def test_an_event_is_of_the_one_brand_whose_account_it_came_through(brands, owner) -> None:
    said = event()
    found = owner_of({each.brand: each for each in brands}, said.raw, said.draft)
    assert found == owner


def test_two_brands_of_one_account_own_nobody() -> None:
    twin = compiled_brand(brand="twin", channels=[{"network": "whatsapp", "id": "4930"}])
    said = event(customer_ids=(ANNA, OLDER))
    brands = {"nordlicht": BRAND, "twin": twin}
    assert owner_of(brands, said.raw, said.draft) is None
    assert customer_of(brands, Customers(), said.raw, said.draft, None) == (None, said.draft)


def test_a_customer_is_named_by_the_id_that_is_known_longest() -> None:
    said = event(customer_ids=(ANNA, OLDER), conversation_id="whatsapp:4930:chat/bsuid:DE.1")
    customer, draft = customer_of({"nordlicht": BRAND}, Customers(), said.raw, said.draft, None)
    assert customer is not None
    assert customer.news
    assert draft.conversation_id == f"whatsapp:4930:chat/{customer.oldest.partition(':')[2]}"


def test_who_heard_an_object_hears_whatever_happens_to_it() -> None:
    said = event(channel="elsewhere")
    document = rule_document(said.draft, "whatsapp", None)
    brands = {"nordlicht": BRAND, "other": OTHER}

    def hears(**how):
        options = {"before": (), "only": None, **how}
        return dict(who_hears(brands, said.draft, said.raw, document, (), **options))

    assert hears() == {}
    assert {name: why[0].how for name, why in hears(before={"other"}).items()} == {
        "other": "directory"
    }
    assert hears(before={"other"}, only=["nordlicht"]) == {}


def test_only_a_customers_own_words_refer() -> None:
    said = event(refers_to="whatsapp:4930:chat/y", refers_to_customer="whatsapp:y")
    inbound = told(said)
    outbound = msgspec.structs.replace(inbound, direction="outbound")
    (command,) = references(said.raw, said.draft, [inbound, outbound])
    assert (command.kind, command.customer_id) == ("similar_to", ANNA)
    assert references(said.raw, event().draft, [inbound]) == []
