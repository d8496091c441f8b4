"""One customer, many ids: which ids are the same customer of a brand, and which of them names him.

A link is an edge between two ids, `<network>:<author id>`; a customer is what hangs together. Links
are a set: they may come in any order and any number of times. A person may take a link back: that
stands beside the link, under a key of its own, so that whoever tells the link again changes nothing,
until a person links the two again. Of each id the oldest link tells since
when it is known; the id that is known longest names the customer and his conversation.

| not joined | why |
|---|---|
| ids of two networks | only by a link that a person gave, with the consent that allows it |
| two ids by a common username | usernames are given up and taken by others; they are shown only |
| ids of two brands | one brand never learns what another one knows |
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from klingel.domain.identity import deterministic_id, hash64
from klingel.domain.threading import BY
from klingel.model import CaseCommand, IdentityLink

_USERNAME = "username:"
_UNLINKED = b"|unlinked"
_MOST_IDS = 256
"""Ids of one customer that are looked at; who has more is no single person."""


def network_of(customer: str) -> str:
    """Return the network of an id."""
    return customer.partition(":")[0]


def native_of(customer: str) -> str:
    """Return an id without its network: the author id."""
    return customer.partition(":")[2]


def link(
    brand: str,
    one: str,
    other: str | None,
    first_seen: datetime,
    *,
    consent: str | None = None,
    by: str | None = None,
) -> IdentityLink:
    """Return the link of two ids, whichever is named first; of one where there is no other."""
    if other is None or other == one:
        ends: tuple[str, str | None] = (one, None)
    else:
        ends = (min(one, other), max(one, other))
    return IdentityLink(
        brand=brand, one=ends[0], other=ends[1], first_seen=first_seen, consent=consent, by=by
    )


def unlink(
    brand: str, one: str, other: str, at: datetime, *, because: str, by: str
) -> IdentityLink:
    """Return the record that takes the link of two ids back, whichever is named first."""
    return IdentityLink(
        brand=brand,
        one=min(one, other),
        other=max(one, other),
        first_seen=at,
        by=by,
        unlinked_because=because,
    )


def link_key(known: IdentityLink) -> bytes:
    """Return the key of a record: brand and the hashes of its ids; no id stands in it."""
    key = _key(known.brand, known.one, known.other)
    return key if known.unlinked_because is None else key + _UNLINKED


def _key(brand: str, one: str, other: str | None) -> bytes:
    return f"{brand}|{hash64(one)}|{hash64(other) if other is not None else ''}".encode()


def links_of(brand: str, ids: Sequence[str], at: datetime) -> tuple[IdentityLink, ...]:
    """Return what an object tells that names its customer by several ids: n - 1 links.

    Args:
        brand: whose customer it is.
        ids: of one network, the present one first; one alone is remembered as such.
        at: when the object was received.
    """
    if not ids:
        return ()
    first, *others = dict.fromkeys(ids)
    found = [link(brand, first, each, at) for each in others if may_join(first, each)]
    return tuple(found) or (link(brand, first, None, at),)


def may_join(one: str, other: str, consent: str | None = None) -> bool:
    """Whether two ids may be linked: two networks only by consent."""
    return network_of(one) == network_of(other) or bool(consent)


def is_passing(customer: str) -> bool:
    """Whether an id may be somebody else's tomorrow, so that it joins nobody: a username."""
    return native_of(customer).startswith(_USERNAME)


class Customers:
    """The links of all brands, as they are followed; the order in which they come is of no matter."""

    __slots__ = ("_links", "_near", "_since", "_unlinked")

    def __init__(self) -> None:
        self._links: dict[bytes, IdentityLink] = {}
        self._near: dict[tuple[str, str], dict[str, bytes]] = {}
        self._since: dict[tuple[str, str], datetime] = {}
        self._unlinked: dict[bytes, IdentityLink] = {}

    def take(self, key: bytes, known: IdentityLink | None) -> None:
        """Take a followed record; None takes back what its key says."""
        if key.endswith(_UNLINKED):
            self._take_unlinked(key.removesuffix(_UNLINKED), known)
            return
        if known is None:
            self._forget(key)
            return
        if known.other is not None and not may_join(known.one, known.other, known.consent):
            return
        before = self._links.get(key)
        if before is not None:
            known = _both(before, known)
        self._links[key] = known
        for here, there in _ends(known):
            place = (known.brand, here)
            near = self._near.setdefault(place, {})
            if there is not None and key not in self._unlinked:
                near[there] = key
            since = self._since.get(place)
            if since is None or known.first_seen < since:
                self._since[place] = known.first_seen

    def _take_unlinked(self, key: bytes, taken_back: IdentityLink | None) -> None:
        if taken_back is None:
            self._unlinked.pop(key, None)
        else:
            self._unlinked[key] = taken_back
        known = self._links.get(key)
        if known is None or known.other is None:
            return
        for here, there in ((known.one, known.other), (known.other, known.one)):
            near = self._near[(known.brand, here)]
            if taken_back is None:
                near[there] = key
            else:
                near.pop(there, None)

    def _forget(self, key: bytes) -> None:
        gone = self._links.pop(key, None)
        if gone is None:
            return
        for here, there in _ends(gone):
            place = (gone.brand, here)
            if there is not None:
                self._near[place].pop(there, None)
            times = [self._links[each].first_seen for each in self._near[place].values()]
            times += [
                known.first_seen
                for each in self._unlinked
                if (known := self._links.get(each)) is not None
                and known.brand == gone.brand
                and here in (known.one, known.other)
            ]
            alone = self._links.get(_key(gone.brand, here, None))
            times += [] if alone is None else [alone.first_seen]
            if times:
                self._since[place] = min(times)
            else:
                del self._near[place], self._since[place]

    def about(self, brand: str, told: Sequence[IdentityLink]) -> "Customers":
        """Return what is known of the customers of some links, these links included."""
        found = Customers()
        found._unlinked = self._unlinked
        ids = {each for known in told for each in (known.one, known.other) if each is not None}
        for each in ids:
            for known in self.links_at(brand, each):
                found.take(link_key(known), known)
        for known in told:
            found.take(link_key(known), known)
        return found

    def news(self, told: Iterable[IdentityLink]) -> list[IdentityLink]:
        """Return the links that are not known yet, or were known later only.

        That an id was seen alone is no news where anything older is known of it.
        """
        return [each for each in told if self._is_news(each)]

    def _is_news(self, told: IdentityLink) -> bool:
        if told.other is None:
            since = self._since.get((told.brand, told.one))
            return since is None or told.first_seen < since
        key = self._near.get((told.brand, told.one), {}).get(told.other)
        if key is None and self._unlinked:
            key = _key(told.brand, told.one, told.other)
            key = key if key in self._links else None
        return key is None or told.first_seen < self._links[key].first_seen

    def knows(self, brand: str, customer: str) -> bool:
        """Whether anything is known of an id."""
        return (brand, customer) in self._since

    def ids_of(self, brand: str, customer: str) -> list[str]:
        """Return all ids of a customer, the oldest first; at least the one that is asked for."""
        found = {customer: None}
        ahead = [customer]
        while ahead and len(found) < _MOST_IDS:
            here = ahead.pop()
            if is_passing(here):
                continue
            for there in sorted(self._near.get((brand, here), ())):
                if there not in found:
                    found[there] = None
                    ahead.append(there)
        return sorted(found, key=lambda each: self._age(brand, each))

    def name_of(self, brand: str, customer: str) -> str:
        """Return the id that names a customer in the network of `customer`: the oldest.

        Another network's never does: its links are for people to see, and no case changes hands.
        """
        if not self._near.get((brand, customer)) or is_passing(customer):
            return customer
        network = network_of(customer)
        ids = self.ids_of(brand, customer)
        return next(
            (each for each in ids if network_of(each) == network and not is_passing(each)), customer
        )

    def links_at(self, brand: str, customer: str) -> list[IdentityLink]:
        """Return the links among the ids of a customer, the oldest first."""
        ids = self.ids_of(brand, customer)
        keys = {key for each in ids for key in self._near.get((brand, each), {}).values()}
        keys |= {key for each in ids if (key := _key(brand, each, None)) in self._links}
        found = [self._links[key] for key in keys]
        return sorted(found, key=lambda each: (each.first_seen, each.one, each.other or ""))

    def linked(self, brand: str, one: str, other: str) -> bool:
        """Whether a link of just these two holds."""
        return other in self._near.get((brand, one), {})

    def unlinked(self, brand: str, one: str, other: str) -> bool:
        """Whether a person took the link of these two back."""
        return _key(brand, min(one, other), max(one, other)) in self._unlinked

    def unlinked_at(self, brand: str, customer: str) -> list[IdentityLink]:
        """Return which links of a customer's ids were taken back, the oldest first."""
        ids = set(self.ids_of(brand, customer))
        found = [
            each
            for each in self._unlinked.values()
            if each.brand == brand and not ids.isdisjoint((each.one, each.other))
        ]
        return sorted(found, key=lambda each: (each.first_seen, each.one, each.other or ""))

    def since(self, brand: str, customer: str) -> datetime | None:
        """Return since when an id is known."""
        return self._since.get((brand, customer))

    def _age(self, brand: str, customer: str) -> tuple[bool, datetime | None, str]:
        since = self._since.get((brand, customer))
        return since is None, since, customer


def _ends(known: IdentityLink) -> Iterator[tuple[str, str | None]]:
    yield known.one, known.other
    if known.other is not None:
        yield known.other, known.one


def _both(one: IdentityLink, other: IdentityLink) -> IdentityLink:
    """Return what two records of one key say: since the earlier, by consent where one has it."""
    first = min(one, other, key=lambda each: each.first_seen)
    said = max(one, other, key=lambda each: (each.consent or "", each.by or ""))
    return msgspec.structs.replace(first, consent=said.consent, by=said.by)


class Named(NamedTuple):
    """How an object's customer is named.

    Attributes:
        customer: the id that names him.
        conversation: of the object, named by it where it was named by the present id.
        others: conversations of the same account that were named by his other ids, with these.
    """

    customer: str
    conversation: str | None
    others: Mapping[str, str]


def naming(
    customers: Customers, brand: str, ids: Sequence[str], conversation: str | None
) -> Named | None:
    """Return how the customer of an object is named; None where it names none.

    Args:
        customers: all that is linked, what this object tells included.
        brand: whose customer it is.
        ids: that the object names, the present one first.
        conversation: as the network's mapping names it.
    """
    if not ids:
        return None
    present = ids[0]
    oldest = customers.name_of(brand, present)
    tail = f"/{native_of(present)}"
    if conversation is None or not conversation.endswith(tail):
        return Named(oldest, conversation, {})
    begin = conversation[: -len(tail)]
    network = network_of(present)
    others = {
        f"{begin}/{native_of(each)}": each
        for each in customers.ids_of(brand, present)
        if each != oldest and network_of(each) == network and not is_passing(each)
    }
    return Named(oldest, f"{begin}/{native_of(oldest)}", others)


def named_by(ids: Iterable[str], conversation: str) -> str | None:
    """Return the id by which a conversation is named, None where none of these names it."""
    return next((each for each in ids if conversation.endswith(f"/{native_of(each)}")), None)


def join(
    brand: str,
    conversation: str,
    customer: str,
    into_conversation: str,
    into_customer: str,
    *,
    cause: str,
    at: datetime,
) -> CaseCommand:
    """Return the command by which a customer's case goes on under the id that names him.

    The same two places have the same id, whatever noticed that they belong together.

    Args:
        brand: brand.
        conversation: of the case that gives up.
        customer: whose it is there.
        into_conversation: where it goes on.
        into_customer: whose it is there.
        cause: event that tells that both are one.
        at: when that event was received.
    """
    return CaseCommand(
        command_id=deterministic_id(
            "identity", brand, conversation, customer, into_conversation, into_customer
        ),
        brand=brand,
        conversation_id=conversation,
        customer_id=customer,
        kind="merge",
        at=at,
        by=BY,
        into_conversation_id=into_conversation,
        into_customer_id=into_customer,
        cause=cause,
    )
