"""The records of one conversation of one brand, and where in them to look.

A post that goes round has thousands of customers below it, each with a case. So that one more word
does not cost a look at all of them, a large conversation keeps an index, and `reach_of` says whose
cases an event can change.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from heapq import heappop, heappush
from typing import NamedTuple

from msgspec import Struct, field, structs

from klingel.domain.facts import names_of
from klingel.model.case import Case, Fact

SMALL = 8
"""Up to so many cases all are folded anew: that is cheaper than an index."""

NOBODY = "-"
"""Customer id of the conversation's own record."""


def name_customer(names: dict[str, str], customer: str) -> None:
    """Note a customer's own names; of two customers with one name the smaller id has it.

    So it does not matter in which order they are noted.
    """
    for name in names_of(customer):
        names[name] = min(customer, names.get(name, customer))


def name_author(authors: dict[str, str], author: str, customer: str) -> None:
    """Note under which name a customer spoke; it may be another's own where cases were merged."""
    authors[author] = min(customer, authors.get(author, customer))


class Tracked(NamedTuple):
    """The cases of a conversation that are not closed, here or where they go on.

    Attributes:
        number: how many there are.
        since: when the oldest of them was opened; None where there is none.
    """

    number: int
    since: datetime | None


_UNTRACKED = Tracked(0, None)


def is_unclosed(case: Case) -> bool:
    """Whether somebody may still have to answer: here, or where what is said here goes on."""
    return case.state in _UNCLOSED or (case.state == "merged" and not is_quiet(case))


def is_quiet(case: Case) -> bool:
    """Whether a timer said of a merged case that nobody says any more in it, and nobody did since."""
    marks = [each.due for each in case.fired or () if each.kind == "quiet"]
    return bool(marks) and all(fact.at < marks[-1] for fact in case.facts)


_UNCLOSED = frozenset({"open", "waiting", "snoozed"})


class Index:
    """What a large conversation knows by hash; derived from its records, never written."""

    __slots__ = (
        "_openings",
        "addressed",
        "authors",
        "by_customer",
        "guessed",
        "names",
        "objects",
        "parents",
        "summed_up",
        "token",
        "unclosed",
    )

    def __init__(self, records: Iterable[Case], token: object) -> None:
        """Note the facts of all `records`; withdrawn cases have none and do not belong here."""
        self.objects: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.authors: dict[str, str] = {}
        self.parents: set[str] = set()
        self.addressed: set[str] = set()
        self.guessed: set[str] = set()
        self.by_customer: dict[str, dict[int, str]] = {}
        self.summed_up: set[str] = set()
        self.unclosed: dict[str, datetime] = {}
        self._openings: list[tuple[datetime, str]] = []
        self.token = token
        for record in records:
            self.add(record)

    def add(self, record: Case) -> None:
        """Note the facts of a record."""
        if record.customer_id != NOBODY:
            name_customer(self.names, record.customer_id)
            self._add_case(record)
        for fact in record.facts:
            self.objects[fact.object] = record.case_id
            if fact.direction == "outbound":
                self._add_outbound(fact)
            elif fact.customer is not None:
                name_customer(self.names, fact.customer)
                if fact.author is not None:
                    name_author(self.authors, fact.author, fact.customer)

    def customer_named(self, name: str) -> str | None:
        """Return the customer who has a name: it is theirs, or they spoke under it."""
        return self.names.get(name) or self.authors.get(name)

    def _add_case(self, case: Case) -> None:
        self.by_customer.setdefault(case.customer_id, {})[case.generation] = case.case_id
        if case.summary is not None:
            self.summed_up.add(case.case_id)
        if case.opened_at is None or not is_unclosed(case):
            self.unclosed.pop(case.case_id, None)
        elif self.unclosed.get(case.case_id) != case.opened_at:
            self.unclosed[case.case_id] = case.opened_at
            heappush(self._openings, (case.opened_at, case.case_id))

    def tracked(self) -> Tracked:
        """Return how many cases are not closed, and since when the oldest of them is open."""
        openings = self._openings
        while openings and self.unclosed.get(openings[0][1]) != openings[0][0]:
            heappop(openings)
        return Tracked(len(self.unclosed), openings[0][0] if openings else None)

    def _add_outbound(self, fact: Fact) -> None:
        if fact.in_reply_to is not None:
            self.parents.add(fact.in_reply_to)
        self.addressed.update(fact.addressees or ())
        if fact.guessed:
            self.guessed.add(fact.object)
        else:
            self.guessed.discard(fact.object)


class ConversationState(Struct, frozen=True, eq=False):
    """All records of one conversation of one brand.

    A Struct, as what else is made for every event: a frozen dataclass takes five times as long.

    Attributes:
        cases: by case id.
        held: the conversation's own record: facts that belong to no case.
        withdrawn: by case id, what is left of cases that later facts say should never have been
            opened: closed, without facts. They count for nothing, but a case of the same id goes
            on from their revision, so that readers who keep the highest revision take it.
    """

    cases: dict[str, Case] = field(default_factory=dict)
    held: Case | None = None
    withdrawn: dict[str, Case] = field(default_factory=dict)
    _index: Index | None = None
    _token: object = field(default_factory=object)
    _tracked: Tracked | None = None

    def __eq__(self, other: object) -> bool:
        """Whether the records are the same; what is derived from them does not count."""
        if not isinstance(other, ConversationState):
            return NotImplemented
        return (self.cases, self.held, self.withdrawn) == (other.cases, other.held, other.withdrawn)

    __hash__ = None  # type: ignore[assignment]  # as of everything that holds a dict

    @classmethod
    def of(cls, records: Iterable[Case]) -> "ConversationState":
        """Build the state from records of one conversation, in any order."""
        cases: dict[str, Case] = {}
        withdrawn: dict[str, Case] = {}
        held = None
        for record in records:
            if record.state == "held":
                held = record
            elif record.closed_because == "withdrawn":
                withdrawn[record.case_id] = record
            else:
                cases[record.case_id] = record
        return cls(cases, held, withdrawn)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered."""
        return not self.cases and not self.withdrawn and self.held is None

    @property
    def is_large(self) -> bool:
        """Whether looking at all cases for one event is too much."""
        return len(self.cases) > SMALL

    @property
    def size(self) -> int:
        """How many records there are."""
        return len(self.cases) + len(self.withdrawn) + (self.held is not None)

    def records(self) -> Iterator[Case]:
        """Give all records, as they are written: cases, withdrawn ones, the conversation's own."""
        yield from self.cases.values()
        yield from self.withdrawn.values()
        if self.held is not None:
            yield self.held

    def _with_facts(self) -> Iterator[Case]:
        """Give the records that can have facts, the conversation's own last."""
        yield from self.cases.values()
        if self.held is not None:
            yield self.held

    def cases_of(self, customers: Iterable[str]) -> Iterator[Case]:
        """Give the cases of some customers, generation by generation."""
        by_customer = self.index().by_customer
        for customer in customers:
            for _, identity in sorted(by_customer.get(customer, {}).items()):
                yield self.cases[identity]

    def knows(self, customer: str) -> bool:
        """Whether a customer has or had a case here."""
        if self.is_large:
            return customer in self.index().by_customer
        return any(case.customer_id == customer for case in self.cases.values())

    def summed_up(self) -> Iterator[Case]:
        """Give the cases some of whose facts are folded into a summary."""
        if self.is_large:
            yield from (self.cases[identity] for identity in self.index().summed_up)
        else:
            yield from (case for case in self.cases.values() if case.summary is not None)

    def tracked(self) -> Tracked:
        """Return how many cases are not closed, and since when."""
        if self._tracked is not None:
            return self._tracked
        if not self.cases:
            return _UNTRACKED
        opened = [case.opened_at for case in self.cases.values() if is_unclosed(case)]
        known = [at for at in opened if at is not None]
        tracked = Tracked(len(opened), min(known, default=None))
        # Derived from the cases alone; each state is asked when it comes and when it goes.
        structs.force_setattr(self, "_tracked", tracked)
        return tracked

    def index(self) -> Index:
        """Return the index, built where the one at hand has gone on with another state."""
        index = self._index
        if index is None or index.token is not self._token:
            index = Index(self._with_facts(), self._token)
            # Derived from the records alone: which of two states has it changes nothing.
            structs.force_setattr(self, "_index", index)
        return index

    def find(self, object_hash: str) -> tuple[Case | None, Fact | None]:
        """Return the record and the fact of an object, if it is remembered."""
        if not self.cases and self.held is None:
            return None, None
        records: Iterable[Case] = self._with_facts()
        if self.is_large:
            identity = self.index().objects.get(object_hash)
            home = self.cases.get(identity, self.held) if identity is not None else None
            records = () if home is None else (home,)
        for record in records:
            for fact in record.facts:
                if fact.object == object_hash:
                    return record, fact
        return None, None

    def replaced(self, case: Case) -> "ConversationState":
        """Return the state with another record in the place of a case; its facts are the same."""
        old = self.cases.get(case.case_id)
        if old is None or (old.opened_at, is_unclosed(old)) != (case.opened_at, is_unclosed(case)):
            return ConversationState({**self.cases, case.case_id: case}, self.held, self.withdrawn)
        return ConversationState(
            {**self.cases, case.case_id: case},
            self.held,
            self.withdrawn,
            self._index,
            self._token,
            self._tracked,
        )

    def left_with(self, case_id: str, case: Case | None) -> "ConversationState":
        """Return the state with another record in the place of a case, or without it."""
        if case is not None:
            return self.replaced(case)
        cases = {name: each for name, each in self.cases.items() if name != case_id}
        return ConversationState(cases, self.held, self.withdrawn)

    def holding(self, held: Case) -> "ConversationState":
        """Return the state with another record of the conversation's own."""
        return ConversationState(
            self.cases, held, self.withdrawn, self._index, self._token, self._tracked
        )

    def then(
        self,
        changed: Iterable[Case],
        withdrawn: dict[str, Case],
        held: Case | None,
        index: Index,
    ) -> "ConversationState":
        """Return the state after some records have changed; the index goes on with it.

        Args:
            changed: cases that are new or not as they were.
            withdrawn: all withdrawn cases there are now.
            held: the conversation's own record now.
            index: of this state.
        """
        cases = dict(self.cases)
        # Nobody owns the index while it is between two states.
        index.token = None
        gone = [identity for identity in withdrawn if cases.pop(identity, None) is not None]
        if gone:  # what an index noted is never taken out of it
            cases.update((case.case_id, case) for case in changed)
            return ConversationState(cases, held, withdrawn)
        for case in changed:
            cases[case.case_id] = case
            index.add(case)
        if held is not None and held is not self.held:
            index.add(held)
        after = ConversationState(cases, held, withdrawn, index, _tracked=index.tracked())
        index.token = after._token
        return after


def customers_by_object(state: ConversationState, index: Index) -> Callable[[str], str | None]:
    """Return a function that tells in whose case an object lies, by its hash."""

    def customer(object_hash: str) -> str | None:
        case = state.cases.get(index.objects.get(object_hash, ""))
        return case.customer_id if case is not None else None

    return customer


def reach_of(
    state: ConversationState, index: Index, fact: Fact, known: Fact | None, root: str
) -> tuple[str, ...] | None:
    """Return the customers whose cases a fact can change; None where it may be anybody's.

    Args:
        state: before the fact.
        index: of the state.
        fact: what is known of the object now.
        known: what was known of it before.
        root: hash of the conversation's root.
    """
    if index.guessed:
        return None
    was_said = known is not None and known.change != "deleted"
    if was_said and known is not None:
        moved = known.customer != fact.customer or known.direction != fact.direction
        if moved or fact.direction == "outbound":
            return None
    elif _is_awaited(index, fact):
        return None
    if fact.change == "deleted" or fact.direction == "third_party":
        return ()
    if fact.direction == "inbound":
        return () if fact.customer is None else (fact.customer,)
    return _answered(state, index, fact, root)


def _is_awaited(index: Index, fact: Fact) -> bool:
    """Whether posts of the brand may answer somebody else now that this is said."""
    if fact.object in index.parents:
        return True
    if fact.customer is None:
        return False
    names = names_of(fact.customer)
    if any(index.customer_named(name) is not None for name in names):
        return False
    return fact.author in index.addressed or any(name in index.addressed for name in names)


def _answered(
    state: ConversationState, index: Index, fact: Fact, root: str
) -> tuple[str, ...] | None:
    told = False
    if fact.in_reply_to is not None:
        home, parent = state.find(fact.in_reply_to)
        told = fact.in_reply_to == root
        if parent is not None and home is not None:
            if home.state == "held" and (
                parent.direction == "outbound" or parent.change == "deleted"
            ):
                return None
            told = True
            customer = parent.customer if home.state == "held" else home.customer_id
            if customer is not None:
                return (customer,)
    for one in fact.addressees or ():
        named = index.customer_named(one)
        if named is not None:
            return (named,)
    return () if told else None
