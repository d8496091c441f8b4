"""Two known customers turn out to be one: the case goes on under the id that names him."""

from datetime import timedelta

import pytest
from msgspec import structs

from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.domain.identity_links import join
from klingel.model import Case, SocialEvent
from klingel.stage.fates import Fate
from klingel.testing.conversations import NOON, answered, compiled_brand, said

from .conftest import Desk, commanded

BRAND = compiled_brand(cases={"close_when": "never"}, sla=[{"id": "all", "first_response": "90d"}])
NEW, OLD = "whatsapp:49:chat/bsuid:DE.1", "whatsapp:49:chat/phone:1f"
BSUID, PHONE = "whatsapp:bsuid:DE.1", "whatsapp:phone:1f"


@pytest.fixture
def desk() -> Desk:
    """A desk where nothing was said yet."""
    return Desk(BRAND)


def of(customer: str, event: SocialEvent) -> SocialEvent:
    """Return what is said as a customer whom understand named."""
    return structs.replace(event, customer_id=customer)


def joined(desk: Desk, conversation: str, customer: str, into: str, into_customer: str) -> Fate:
    """Tell as understand does that both are one; let everybody hear of it."""
    command = join("nordlicht", conversation, customer, into, into_customer, cause="e", at=desk.now)
    desk.broker.append(commanded(command), int(command.at.timestamp() * 1000))
    outcome, *_ = desk.stage.advance()
    desk.stage.drain()
    return outcome.fate


def case_in(desk: Desk, conversation: str, customer: str) -> Case:
    """Return a case as it was written last."""
    identity = f"nordlicht:{conversation}:{customer}#1"
    return codec.decode(Case, desk.broker.compacted(Topic.CASES)[identity.encode()])


def unclosed(desk: Desk) -> list[str]:
    """Return the customers of the cases in which somebody still has to answer."""
    cases = [codec.decode(Case, each) for each in desk.broker.compacted(Topic.CASES).values()]
    return [each.customer_id for each in cases if each.state == "open"]


@pytest.mark.parametrize("old", [OLD, NEW])
def test_the_case_of_the_newer_id_goes_on_under_the_older(desk: Desk, old: str) -> None:
    """Whichever of the two conversations has the smaller id."""
    (into, oldest), (gone, newer) = (
        ((OLD, PHONE), (NEW, BSUID)) if old == OLD else ((NEW, BSUID), (OLD, PHONE))
    )
    desk.hear(of(oldest, said("1", minute=1, conversation=into)))
    desk.hear(of(newer, said("2", minute=3, conversation=gone)))
    assert unclosed(desk) == [oldest, newer]
    joined(desk, gone, newer, into, oldest)
    case = case_in(desk, into, oldest)
    assert unclosed(desk) == [oldest]
    assert [fact.at.minute for fact in case.facts] == [1, 3]
    assert case.opened_at == NOON + timedelta(minutes=1)
    assert (case_in(desk, gone, newer).state, case_in(desk, gone, newer).merged_into) == (
        "merged",
        into,
    )


def test_what_comes_late_under_the_newer_id_arrives_in_the_case(desk: Desk) -> None:
    desk.hear(of(PHONE, said("1", minute=1, conversation=OLD)))
    desk.hear(of(BSUID, said("2", minute=3, conversation=NEW)))
    joined(desk, NEW, BSUID, OLD, PHONE)
    desk.hear(of(BSUID, said("3", minute=4, conversation=NEW)))
    desk.hear(answered("4", 9, in_reply_to="3", conversation=NEW))
    desk.stage.drain()
    case = case_in(desk, OLD, PHONE)
    assert [fact.at.minute for fact in case.facts] == [1, 3, 4, 9]
    assert case.first_response_at == NOON + timedelta(minutes=9)
    assert unclosed(desk) == []


def test_the_older_id_needs_no_case_of_its_own(desk: Desk) -> None:
    desk.hear(of(BSUID, said("2", minute=3, conversation=NEW)))
    joined(desk, NEW, BSUID, OLD, PHONE)
    desk.hear(of(PHONE, said("5", minute=6, conversation=OLD)))
    assert [fact.at.minute for fact in case_in(desk, OLD, PHONE).facts] == [3, 6]
    assert unclosed(desk) == [PHONE]


def test_the_order_of_link_and_words_is_of_no_matter(desk: Desk) -> None:
    other = Desk(BRAND)
    words = [
        of(PHONE, said("1", minute=1, conversation=OLD)),
        of(BSUID, said("2", minute=3, conversation=NEW)),
        of(BSUID, said("3", minute=5, conversation=NEW)),
        of(PHONE, said("4", minute=7, conversation=OLD)),
    ]
    for word in words:
        desk.hear(word)
    joined(desk, NEW, BSUID, OLD, PHONE)
    other.hear(words[1])
    joined(other, NEW, BSUID, OLD, PHONE)
    for word in (words[3], words[2], words[0]):
        other.hear(word)
        other.stage.drain()
    one, two = case_in(desk, OLD, PHONE), case_in(other, OLD, PHONE)
    assert [fact.object for fact in one.facts] == [fact.object for fact in two.facts]
    assert (one.state, one.opened_at) == (two.state, two.opened_at)


def test_the_same_link_twice_is_one(desk: Desk) -> None:
    desk.hear(of(BSUID, said("2", minute=3, conversation=NEW)))
    assert joined(desk, NEW, BSUID, OLD, PHONE) is Fate.DELIVERED
    assert joined(desk, NEW, BSUID, OLD, PHONE) is Fate.REPEATED


def test_both_ways_end_in_one_case(desk: Desk) -> None:
    """Two workers took another id for the older one."""
    desk.hear(of(PHONE, said("1", minute=1, conversation=OLD)))
    desk.hear(of(BSUID, said("2", minute=3, conversation=NEW)))
    joined(desk, NEW, BSUID, OLD, PHONE)
    joined(desk, OLD, PHONE, NEW, BSUID)
    assert len(unclosed(desk)) == 1
    assert len(desk.broker.messages(Topic.CASE_COMMANDS)) < 12


def test_who_has_no_case_there_is_refused_and_nothing_changes(desk: Desk) -> None:
    desk.hear(of(PHONE, said("1", minute=1, conversation=OLD)))
    joined(desk, NEW, BSUID, OLD, PHONE)
    assert unclosed(desk) == [PHONE]
