"""One customer, many ids: who hangs together, who names whom, in whatever order it is told."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.domain.identity_links import (
    Customers,
    join,
    link,
    link_key,
    links_of,
    may_join,
    naming,
    unlink,
)
from klingel.model import IdentityLink

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PHONE, BSUID, NAME = "whatsapp:phone:1f", "whatsapp:bsuid:DE.1", "whatsapp:username:ab"
CHAT = "whatsapp:4930:chat/"
IDS = [
    *(f"whatsapp:bsuid:{n}" for n in range(4)),
    *(f"whatsapp:phone:{n}" for n in range(3)),
    *(f"whatsapp:username:{n}" for n in range(2)),
    "x:1",
    "x:2",
]


def at(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


def known(*links: IdentityLink) -> Customers:
    customers = Customers()
    for each in links:
        customers.take(link_key(each), each)
    return customers


links = st.builds(
    link,
    st.sampled_from(["nordlicht", "kuestenstrom"]),
    st.sampled_from(IDS),
    st.sampled_from([*IDS, None]),
    st.integers(0, 9).map(at),
    consent=st.sampled_from([None, "asked"]),
)


def told(customers: Customers) -> list[object]:
    return [
        (customers.ids_of(brand, each), customers.name_of(brand, each))
        for brand in ("nordlicht", "kuestenstrom")
        for each in IDS
    ]


@given(
    st.lists(links, max_size=12).flatmap(
        lambda all_: st.tuples(st.just(all_), st.permutations(all_))
    )
)
def test_order_and_repetition_change_nothing(both: tuple[list[IdentityLink], list[IdentityLink]]):
    one, other = both
    assert told(known(*one)) == told(known(*other, *other[:3]))


@given(st.lists(links, max_size=12))
def test_all_ids_of_a_customer_name_the_same_one(all_: list[IdentityLink]):
    customers = known(*all_)
    for each in IDS:
        if ":username:" in each:
            continue
        ids = customers.ids_of("nordlicht", each)
        name = customers.name_of("nordlicht", each)
        assert name in ids
        assert name.partition(":")[0] == each.partition(":")[0]
        for other in ids:
            if ":username:" not in other:
                assert customers.ids_of("nordlicht", other) == ids
                same = other.partition(":")[0] == each.partition(":")[0]
                assert not same or customers.name_of("nordlicht", other) == name


@given(st.lists(links, max_size=12))
def test_what_is_taken_back_leaves_no_trace(all_: list[IdentityLink]):
    customers = known(*all_)
    kept = known(*(each for each in all_ if each.other is None))
    for each in all_:
        if each.other is not None:
            customers.take(link_key(each), None)
    assert told(customers) == told(kept)


def test_the_oldest_id_names_the_customer_and_his_conversation():
    customers = known(
        *links_of("nordlicht", [PHONE], at(0)), *links_of("nordlicht", [BSUID, PHONE, NAME], at(9))
    )
    found = naming(customers, "nordlicht", [BSUID], f"{CHAT}bsuid:DE.1")
    assert found is not None
    assert (found.customer, found.conversation) == (PHONE, f"{CHAT}phone:1f")
    assert found.others == {f"{CHAT}bsuid:DE.1": BSUID}
    assert customers.ids_of("nordlicht", BSUID)[0] == PHONE
    assert customers.name_of("kuestenstrom", BSUID) == BSUID


def test_a_group_keeps_its_name():
    customers = known(link("nordlicht", PHONE, None, at(0)), link("nordlicht", BSUID, PHONE, at(1)))
    found = naming(customers, "nordlicht", [BSUID], "whatsapp:4930:group/aa")
    assert found == (PHONE, "whatsapp:4930:group/aa", {})


def test_who_takes_over_a_username_is_somebody_else():
    taker = "whatsapp:bsuid:DE.2"
    customers = known(link("nordlicht", BSUID, NAME, at(0)), link("nordlicht", taker, NAME, at(1)))
    assert customers.name_of("nordlicht", taker) == taker
    assert set(customers.ids_of("nordlicht", taker)) == {taker, NAME}


def test_two_networks_are_linked_by_consent_only():
    assert not may_join(PHONE, "x:1")
    silent, asked = (
        link("nordlicht", PHONE, "x:1", NOON),
        link("nordlicht", PHONE, "x:1", NOON, consent="asked", by="jule"),
    )
    assert known(silent).ids_of("nordlicht", PHONE) == [PHONE]
    assert known(asked).ids_of("nordlicht", PHONE) == [PHONE, "x:1"]
    assert known(asked).name_of("nordlicht", "x:1") == "x:1"


def test_a_key_shows_no_id_and_does_not_ask_who_is_named_first():
    one, other = link("nordlicht", PHONE, BSUID, NOON), link("nordlicht", BSUID, PHONE, NOON)
    assert one == other
    assert b"phone" not in link_key(one)
    assert link_key(one) != link_key(link("nordlicht", BSUID, None, NOON))


def test_only_what_is_not_known_is_news():
    first = links_of("nordlicht", [BSUID, PHONE], at(5))
    customers = known(*first)
    assert customers.news(links_of("nordlicht", [BSUID, PHONE], at(6))) == []
    assert customers.news(links_of("nordlicht", [BSUID], at(6))) == []
    assert customers.news(links_of("nordlicht", [BSUID, PHONE], at(4))) != []


def test_more_ids_than_anybody_has_are_bounded():
    many = [f"whatsapp:bsuid:{n:04}" for n in range(2000)]
    customers = known(*(link("nordlicht", one, two, NOON) for one, two in pairwise(many)))
    assert len(customers.ids_of("nordlicht", many[0])) <= 256


@pytest.mark.parametrize("other", [PHONE, "whatsapp:bsuid:DE.7"])
def test_the_same_two_places_are_joined_by_one_command(other: str):
    def command(cause: str):
        return join("nordlicht", "a", BSUID, "b", other, cause=cause, at=NOON)

    assert command("1").command_id == command("2").command_id
    assert command("1").into_customer_id == other


# --- links that a person took back ---------------------------------------------------------------


def taken_back(one: IdentityLink, minute: int = 99) -> IdentityLink:
    assert one.other is not None
    return unlink(one.brand, one.one, one.other, at(minute), because="given away", by="jule")


@given(
    st.lists(
        links.filter(lambda each: may_join(each.one, each.other or each.one, each.consent)),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 63),
    st.randoms(use_true_random=False),
)
def test_what_a_person_took_back_stays_so_whoever_tells_it_again(all_, chosen, chance):
    """In whatever order the records are read, and however often the link is told again."""
    back = [each for at_, each in enumerate(all_) if each.other and chosen >> at_ & 1]
    records = [(link_key(each), each) for each in all_ + all_[:2]]
    records += [(link_key(each), each) for each in (taken_back(each) for each in back)]
    one, other = Customers(), Customers()
    for key, each in records:
        one.take(key, each)
    chance.shuffle(records)
    for key, each in records:
        other.take(key, each)
    assert told(one) == told(other)
    for each in back:
        assert not other.linked(each.brand, each.one, each.other)
        assert other.unlinked(each.brand, each.other, each.one)
        assert other.news([each]) == []
    for each in back:
        other.take(link_key(taken_back(each)), None)
    assert told(other) == told(known(*all_))


def test_only_the_two_are_parted_and_their_ages_stay():
    """What hangs on each of them stays with it."""
    first, second = link("nordlicht", PHONE, BSUID, at(0)), link("nordlicht", BSUID, NAME, at(5))
    customers = known(first, second)
    customers.take(link_key(taken_back(first)), taken_back(first))
    assert customers.ids_of("nordlicht", PHONE) == [PHONE]
    assert customers.ids_of("nordlicht", BSUID) == [BSUID, NAME]
    assert customers.name_of("nordlicht", BSUID) == BSUID
    assert customers.since("nordlicht", PHONE) == customers.since("nordlicht", BSUID) == at(0)
    (shown,) = customers.unlinked_at("nordlicht", BSUID)
    assert (shown.unlinked_because, shown.by, shown.first_seen) == ("given away", "jule", at(99))
    assert customers.unlinked_at("nordlicht", "x:9") == []
    assert customers.news([link("nordlicht", PHONE, BSUID, at(7))]) == []
    assert not customers.about("nordlicht", [second]).linked("nordlicht", PHONE, BSUID)


def test_the_record_that_takes_back_has_a_key_of_its_own():
    """Compaction keeps both; no id stands in either."""
    edge = link("nordlicht", PHONE, BSUID, at(0))
    assert link_key(taken_back(edge)) != link_key(edge)
    assert PHONE.encode() not in link_key(taken_back(edge))
