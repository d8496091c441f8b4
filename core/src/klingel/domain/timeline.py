"""From the facts of a conversation to its cases: one pass over them in the order of their times.

What arrived when plays no part: the same facts give the same cases. The conversation's root comes
first whatever its clock says, an answer never before what it answers, and at one instant what
customers say comes before answers.
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal

from msgspec import structs

from klingel.config.compiled import CompiledBrand
from klingel.domain.clocks import Promises, further_clocks, resolution_counted, turns_of
from klingel.domain.conversation import name_author, name_customer
from klingel.domain.facts import can_open, is_deleted, received_at
from klingel.domain.identity import hash64
from klingel.domain.summaries import MAX_FOLDED, is_folded, with_hash
from klingel.domain.waiting import Waiting
from klingel.model.case import AppliedCommand, Case, Fact, Opening, Summary, Turns

MAX_FACTS = 96
"""Facts that a record holds: a case its newest, the conversation's own record the weightiest.

With the folded hashes it stays below 64 KB; facts with long ids are fewer.
"""
FACT_BYTES = 52_000
_FACT_BYTES = 420
"""Of a fact without what sources name."""
_ALWAYS_HELD = 8
"""So many facts have room in any record, whatever sources name."""
_FOLDED = "folded"

Closing = Literal["answered", "customer_deleted", "generation_full", "command"]
_Entry = tuple[int, datetime, int, str, Fact | AppliedCommand]
_WORD, _ANSWER, _DELETION, _COMMAND = 0, 1, 2, 3
ON_THE_TIMELINE = frozenset({"close", "reopen", "snooze", "incident_closed"})
"""Kinds of commands that have a place among the facts; the others change what the case says."""
Lookup = Callable[[str], str | None]


def _nothing(_: str) -> None:
    return None


class Generation:
    """One case while it is folded: one customer's matter from its opening on."""

    __slots__ = (
        "after",
        "answered_by",
        "answering",
        "closed_at",
        "closed_because",
        "customer",
        "facts",
        "first_response_at",
        "identity",
        "number",
        "opened_at",
        "opener",
        "opener_place",
        "openers",
        "opening",
        "orders",
        "pending",
        "reopened",
        "reopened_at",
        "responded_by",
        "snooze",
        "summary",
        "turns_before",
        "waiting",
        "within",
    )

    def __init__(self, customer: str, number: int, opened_at: datetime, opening: Opening) -> None:
        self.customer = customer
        self.number = number
        self.opened_at = opened_at
        self.opening = opening
        self.identity = ""
        self.opener: str | None = None
        self.opener_place = 0
        self.within = timedelta()
        self.answering: datetime | None = None
        self.openers: set[str] = set()
        self.facts: list[Fact] = []
        self.pending: dict[str, datetime] = {}
        self.first_response_at: datetime | None = None
        self.closed_at: datetime | None = None
        self.closed_because: Closing | None = None
        self.reopened: str | None = None
        self.after: set[str] = set()
        self.summary: Summary | None = None
        self.turns_before: Turns | None = None
        self.responded_by: str | None = None
        self.answered_by: str | None = None
        self.reopened_at: datetime | None = None
        self.snooze: AppliedCommand | None = None
        self.orders: list[tuple[int, AppliedCommand]] = []
        self.waiting = Waiting(opened_at)

    @classmethod
    def resumed(cls, case: Case, summary: Summary) -> "Generation":
        """Return the generation as it was after the facts that are folded into its summary."""
        self = cls(case.customer_id, case.generation, summary.opened_at, summary.opening)
        self.summary = summary
        self.turns_before = summary.turns
        self.openers.add(_FOLDED)
        if summary.waiting_since is not None:
            self.pending[_FOLDED] = summary.waiting_since
        self.first_response_at = summary.first_response_at
        self.responded_by = case.responded_by if summary.first_response_at is not None else None
        self.closed_at = summary.closed_at
        self.closed_because = summary.closed_because
        self.waiting = Waiting.resumed(summary)
        return self

    @property
    def state(self) -> Literal["open", "waiting", "closed", "snoozed"]:
        """State of the case now."""
        if self.closed_at is not None:
            return "closed"
        if self.snooze is not None:
            return "snoozed"
        return "open" if self.pending else "waiting"

    @property
    def waiting_since(self) -> datetime | None:
        """When the customer's oldest unanswered word was said."""
        return min(self.pending.values(), default=None)

    @property
    def room(self) -> int:
        """How many facts its record holds."""
        named = len(self.customer.encode()) + len((self.opening.channel or "").encode())
        return min(MAX_FACTS, max(1, FACT_BYTES // (_FACT_BYTES + named)))

    def close(self, at: datetime, because: Closing) -> None:
        """Close the case; nobody waits any more."""
        self._wake(at)
        self.closed_at = at
        self.closed_because = because
        self.pending.clear()
        self.waiting.close(at)

    def say(self, fact: Fact, *, opens: bool) -> None:
        """Add a customer's word; one that needs an answer reopens a closed case."""
        self.facts.append(fact)
        self.answering = None
        if self.closed_at is not None:
            if not opens:
                self.after.add(fact.object)
                return
            # What opened it before was dealt with by the closing.
            self._reopen(fact.at)
            self.reopened = fact.object
        if opens:
            self.openers.add(fact.object)
        if opens or not (fact.silent or is_deleted(fact)):
            if self.snooze is not None:
                self._wake(fact.at)
            self.pending[fact.object] = fact.at
            terms = fact.opening.terms if fact.opening is not None else None
            answered = self.first_response_at is not None
            self.waiting.begin(fact.object, fact.at, terms or self.opening.terms, answered=answered)

    def order(self, command: AppliedCommand, at: datetime) -> None:
        """Do what a person said: close, reopen or snooze; what is so already stays so."""
        self.orders.append((len(self.facts), command))
        if command.kind == "close":
            if self.closed_at is None:
                self.close(at, "command")
        elif command.kind == "incident_closed":
            if self.closed_at is None:
                # One public answer was given to all.
                self._answered(at, command.by)
                self.close(at, "command")
        elif command.kind == "reopen":
            if self.closed_at is not None:
                self._reopen(at)
                self.openers.add(command.id)
                self.pending[command.id] = at
                self.waiting.begin(
                    command.id,
                    at,
                    self.opening.terms,
                    answered=self.first_response_at is not None,
                )
        elif self.closed_at is None and command.until is not None and command.until > at:
            self._wake(at)
            self.snooze = command
            self.waiting.snooze(at)

    def wake_up(self, woken: Container[str]) -> None:
        """End a snooze whose time is over: a timer said so, or something happened here after it.

        What happens to others tells nothing: they need not be folded with this case.
        """
        snooze = self.snooze
        until = snooze.until if snooze is not None else None
        if snooze is None or until is None:
            return
        if snooze.id in woken or any(at >= until for at in self._times()):
            self._wake(until)

    def _times(self) -> Iterator[datetime]:
        for fact in self.facts:
            yield fact.at
            if fact.removed_at is not None:
                yield fact.removed_at
        for _, command in self.orders:
            yield command.at

    def _wake(self, at: datetime) -> None:
        if self.snooze is not None:
            until = self.snooze.until
            self.waiting.wake(at if until is None else min(at, until))
            self.snooze = None

    def _reopen(self, at: datetime) -> None:
        self.closed_at = self.closed_because = None
        self.openers.clear()
        self.reopened_at = at
        self.waiting.reopen(at)

    def answer(self, fact: Fact, at: datetime, *, closes: bool) -> None:
        """Add a word of the brand to this customer.

        Args:
            fact: the answer; one that was taken back before anybody can have read it is none.
            at: when it counts as said.
            closes: whether an answer closes the case.
        """
        self.facts.append(fact)
        if is_deleted(fact) and (fact.removed_at is None or fact.removed_at <= received_at(fact)):
            return
        self._answered(at, fact.agent)
        self._credit(at, fact.agent)
        if self.closed_at is None:
            self.answered_by = fact.object
            if closes:
                self.close(at, "answered")

    def _answered(self, at: datetime, agent: str | None) -> None:
        if self.first_response_at is None:
            self.first_response_at = at
            self.responded_by = agent
        if self.closed_at is None:
            self.pending.clear()
            self.waiting.answer(at, agent)

    def _credit(self, at: datetime, agent: str | None) -> None:
        """Credit the first answer to who signs it, which may be in a further post of it."""
        first = self.first_response_at
        answering = self.answering if self.answering is not None else first
        if answering is None or first is None or at - answering > self.within:
            self.answering = None
        elif at == first or self.answering is not None:
            self.answering = at
            self.responded_by = self.responded_by or agent

    def utterances(self) -> list[datetime]:
        """Return when each utterance of the customer began.

        What one author says within `within` of what went before, and without an answer between, is
        one.
        """
        begun: list[datetime] = []
        last: Fact | None = None
        for fact in self.facts:
            direction = fact.direction
            if direction == "outbound":
                last = None
            elif direction == "inbound":
                if last is None or not self._goes_on(last, fact):
                    begun.append(fact.at)
                last = fact
        return begun

    def _goes_on(self, earlier: Fact, fact: Fact) -> bool:
        return earlier.author == fact.author and fact.at - earlier.at <= self.within

    def begin(self, fact: Fact, held: list[Fact]) -> None:
        """Take what the opener's author said just before it, in one utterance with it.

        Args:
            fact: the opener.
            held: what belongs to no case, by time; what is taken leaves it.
        """
        self.opener = fact.object
        newest, taken = fact, []
        own = {each.object for each in held if each.customer == self.customer}
        for each in reversed(held):
            if each.direction == "outbound":
                # What the brand says to others parts nothing here: it may yet find its own case.
                if each.in_reply_to in own:
                    break
                continue
            if each.customer != self.customer or is_deleted(each):
                continue
            if not self._goes_on(each, newest):
                break
            taken.append(each)
            newest = each
        for each in taken:
            held.remove(each)
        self.facts += reversed(taken)
        self.opener_place = len(taken)

    def take_back(self, fact: Fact, at: datetime) -> None:
        """Take the newest answer back: it was given, but the customer waits again."""
        if self.answered_by != fact.object or self.pending:
            return
        if self.closed_because == "answered":
            self._reopen(at)
        if self.closed_at is None:
            self.pending[fact.object] = at
            self.waiting.begin(fact.object, at, self.opening.terms, answered=True)

    def remove(self, fact: Fact, at: datetime) -> None:
        """Take a word out of the case; the last opener's deletion closes it."""
        was_pending = self.pending.pop(fact.object, None) is not None
        self.openers.discard(fact.object)
        if self.closed_at is not None:
            return
        if not self.openers:
            self.close(at, "customer_deleted")
        elif was_pending:
            self.waiting.withdraw(fact.object, at, self.pending)

    def is_before_folded(self, at: datetime, object_hash: str) -> bool:
        """Whether a fact of this time lies among those that are folded already."""
        summary = self.summary
        if summary is None or at > summary.last_at:
            return False
        return (at, object_hash) < (summary.last_at, summary.last_object)

    def absorb(self, fact: Fact) -> None:
        """Count a fact that comes later than facts that are folded: it changes what commutes."""
        summary = self.summary
        if summary is None:
            return
        changes: dict[str, object] = {
            "hashes": with_hash(summary.hashes, fact.object),
            "count": summary.count + 1,
            "first_at": min(summary.first_at or fact.at, fact.at),
        }
        if fact.direction == "outbound":
            changes["outbound"] = (summary.outbound or 0) + 1
            if not is_deleted(fact):
                first = self.first_response_at or fact.at
                changes["first_response_at"] = self.first_response_at = min(first, fact.at)
        self.summary = structs.replace(summary, **changes)

    def fold_oldest(self, promises: Promises, *, closes: bool) -> None:
        """Fold the oldest facts into the summary until no more are left than there is room for.

        Args:
            promises: of the conversation.
            closes: whether an answer closes the case.
        """
        excess = len(self.facts) - self.room
        if excess <= 0:
            return
        excess = max(excess, self.opener_place + 1)
        oldest, self.facts = self.facts[:excess], self.facts[excess:]
        summary = self.summary
        opener = oldest[0]
        past = Generation(self.customer, self.number, self.opened_at, self.opening)
        if summary is not None:
            past.closed_at, past.closed_because = summary.closed_at, summary.closed_because
            past.first_response_at = summary.first_response_at
            if summary.waiting_since is not None:
                past.pending[_FOLDED] = summary.waiting_since
        hashes = summary.hashes if summary is not None else ""
        outbound = (summary.outbound or 0) if summary is not None else 0
        if summary is not None:
            past.waiting = Waiting.resumed(summary)
        orders = [(place, command) for place, command in self.orders if place < excess]
        for place, fact in enumerate(oldest):
            while orders and orders[0][0] <= place:
                command = orders.pop(0)[1]
                past.order(command, command.at)
            hashes = with_hash(hashes, fact.object)
            if fact.direction == "outbound":
                outbound += 1
                past.answer(fact, fact.at, closes=closes)
            elif not is_deleted(fact) and place >= self.opener_place:
                past.say(fact, opens=can_open(fact))
        last = oldest[-1]
        self.summary = Summary(
            hashes=hashes,
            count=(summary.count if summary is not None else 0) + excess,
            outbound=outbound or None,
            first_at=summary.first_at if summary is not None else opener.at,
            last_at=last.at,
            last_object=last.object,
            opened_at=self.opened_at,
            opening=self.opening,
            first_response_at=past.first_response_at,
            waiting_since=past.waiting_since,
            closed_at=past.closed_at,
            closed_because=past.closed_because,
            turns=turns_of(
                further_clocks(past.waiting, promises),
                summary.turns if summary is not None else None,
            ),
            counted=resolution_counted(self.waiting, self.opening.terms, promises, last.at),
        )


class Timeline:
    """One pass over the facts of a conversation.

    Args:
        conversation_id: whose root comes first.
        brand: whose policy decides.
        resumed: cases with a summary: the pass goes on from them.
        firsts: by customer, the number of the first case that is still remembered; 1 for others.
        elsewhere: tells the customer of facts that lie in cases which are not folded here.
        names: tells the customer by the hash of an id, of customers who are not folded here.
        arrived: object hashes of facts that have just arrived; None: all may have.
        promises: what the cases of the conversation were promised.
        commands: of all its cases, in any order.
        woken: ids of snoozes whose time is over, as timers said.
    """

    def __init__(
        self,
        conversation_id: str,
        brand: CompiledBrand,
        *,
        resumed: Iterable[Case] = (),
        firsts: Mapping[str, int] | None = None,
        elsewhere: Lookup = _nothing,
        names: Lookup = _nothing,
        arrived: Container[str] | None = (),
        promises: Promises | None = None,
        commands: Collection[AppliedCommand] = (),
        woken: Container[str] = (),
    ) -> None:
        self._promises = promises if promises is not None else Promises({})
        self._commands = commands
        self._woken = woken
        self._firsts = firsts or {}
        self._splits: Container[str | None] = ()
        if commands:
            self._splits = {each.object for each in commands if each.kind == "split"}
        self.generations: list[Generation] = []
        self.held: list[Fact] = []
        self._root = hash64(conversation_id)
        self._brand = brand
        self._arrived = arrived
        self._facts: dict[str, Fact] = {}
        self._current: dict[str, Generation] = {}
        self._placed: dict[str, Generation] = {}
        self._told: dict[str, tuple[bool, str | None]] = {}
        self._elsewhere = elsewhere
        self._other_names = names
        self._names: dict[str, str] | None = None
        for case in resumed:
            if case.summary is not None:
                self._start(Generation.resumed(case, case.summary))

    def run(self, facts: dict[str, Fact]) -> None:
        """Fold the facts, by object hash, into `generations` and `held`."""
        self._facts = facts
        entries: list[_Entry] = []
        for fact in facts.values():
            self._enter(fact, entries)
        for command in self._commands:
            self._enter_command(command, entries)
        if len(entries) > 1:
            entries.sort()
        for _, at, step, _, item in entries:
            if step == _WORD:  # of up to a hundred entries nearly all: its own test is cheaper
                self._say(item)  # type: ignore[arg-type]  # no command is a word
            else:
                self._take(item, at, step)
        for generation in self.generations:
            generation.wake_up(self._woken)
            if len(generation.facts) > _ALWAYS_HELD:
                generation.fold_oldest(self._promises, closes=self._closes(generation))
        if len(self.held) > _ALWAYS_HELD:
            self.held = _weightiest(self.held)
        if len(self.held) > 1:
            self.held.sort(key=lambda fact: (fact.at, fact.object))

    def _take(self, item: Fact | AppliedCommand, at: datetime, step: int) -> None:
        if isinstance(item, AppliedCommand):
            self._order(item, at)
        elif step == _ANSWER:
            self._answer(item, at)
        else:
            self._remove(item, at)

    def place_of(self, object_hash: str) -> Generation | None:
        """Return the case that an object came to lie in, also where it is folded by now."""
        return self._placed.get(object_hash)

    def case_of(self, command: AppliedCommand) -> Generation | None:
        """Return the case that a command is about now, None where there is none."""
        placed = self._placed.get(command.anchor or "")
        if placed is not None:
            return placed
        for generation in self.generations:
            summary = generation.summary
            if (
                summary is not None
                and generation.customer == command.customer
                and is_folded(summary, command.anchor or "")
            ):
                return generation
        return None

    def _enter_command(self, command: AppliedCommand, entries: list[_Entry]) -> None:
        if command.kind in ON_THE_TIMELINE:
            anchor = self._facts.get(command.anchor or "")
            at = command.at if anchor is None else max(command.at, anchor.at)
            entries.append((1, at, _COMMAND, command.id, command))

    def _enter(self, fact: Fact, entries: list[_Entry]) -> None:
        if fact.change == "deleted":
            self.held.append(fact)
            return
        rank = 0 if fact.object == self._root else 1
        if fact.direction == "outbound":
            parent = self._facts.get(fact.in_reply_to) if fact.in_reply_to else None
            at = (
                fact.at if parent is None or parent.change == "deleted" else max(fact.at, parent.at)
            )
            entries.append((rank, at, _ANSWER, fact.object, fact))
            if is_deleted(fact) and fact.removed_at is not None:
                entries.append((1, max(at, fact.removed_at), _DELETION, fact.object, fact))
        elif fact.customer is None:
            self.held.append(fact)
        else:
            entries.append((rank, fact.at, _WORD, fact.object, fact))
            if is_deleted(fact) and fact.removed_at is not None:
                entries.append((1, max(fact.at, fact.removed_at), _DELETION, fact.object, fact))

    def _start(self, generation: Generation) -> None:
        generation.within = self._utterance_within(generation)
        self.generations.append(generation)
        self._current[generation.customer] = generation

    def _say(self, fact: Fact) -> None:
        customer = fact.customer or ""
        opens = can_open(fact)
        generation = self._current.get(customer)
        if generation is None:
            if not opens:
                self.held.append(fact)
                return
        elif generation.is_before_folded(fact.at, fact.object):
            self._absorb(generation, fact)
            return
        split = generation is not None and fact.object in self._splits
        if generation is None or split or (opens and self._is_over(generation, fact.at)):
            number = self._firsts.get(customer, 1) if generation is None else generation.number + 1
            opening = fact.opening
            if opening is None and generation is not None:
                opening = generation.opening  # split off at a word that opens nothing by itself
            generation = Generation(customer, number, fact.at, opening)  # type: ignore[arg-type]  # can_open
            self._start(generation)
            generation.begin(fact, self.held)
            self._placed.update((each.object, generation) for each in generation.facts)
        generation.say(fact, opens=opens or split)
        self._placed[fact.object] = generation

    def _order(self, command: AppliedCommand, at: datetime) -> None:
        """Give a command to the case in which its anchor lies."""
        generation = self.case_of(command)
        if generation is None:
            return
        folded = generation.summary
        if folded is None or command.at >= folded.last_at:
            generation.order(command, at)

    def _remove(self, fact: Fact, at: datetime) -> None:
        generation = self._placed.get(fact.object)
        if generation is None:
            return
        if fact.direction == "outbound":
            if self._current.get(generation.customer) is generation:
                generation.take_back(fact, at)
        else:
            generation.remove(fact, at)

    def _closes(self, generation: Generation) -> bool:
        """Whether an answer closes this case, as was the policy when it was opened."""
        terms = self._promises.terms.get(generation.opening.terms or "")
        wanted = terms.close_when if terms is not None else None
        return (wanted or self._brand.close_when) == "answered"

    def _reopen_within(self, generation: Generation) -> timedelta:
        terms = self._promises.terms.get(generation.opening.terms or "")
        seconds = terms.reopen_within_seconds if terms is not None else None
        return self._brand.reopen_within if seconds is None else timedelta(seconds=seconds)

    def _utterance_within(self, generation: Generation) -> timedelta:
        terms = self._promises.terms.get(generation.opening.terms or "")
        seconds = self._brand.triage.utterance_seconds if terms is None else terms.utterance_seconds
        return timedelta(seconds=seconds or 0)

    def _is_over(self, generation: Generation, at: datetime) -> bool:
        """Whether a word that needs an answer opens the next generation."""
        if generation.closed_at is None:
            # No more than so many can be remembered of it exactly.
            folded = generation.summary.count if generation.summary is not None else 0
            if folded + len(generation.facts) < MAX_FACTS + MAX_FOLDED:
                return False
            generation.close(at, "generation_full")
            return True
        full = generation.closed_because == "generation_full"
        return full or at - generation.closed_at > self._reopen_within(generation)

    def _answer(self, fact: Fact, at: datetime) -> None:
        told, customer = self._told_customer(fact)
        if told == bool(fact.guessed):
            fact = structs.replace(fact, guessed=not told or None)
        if not told:
            unclosed = [each for each in self._current.values() if each.closed_at is None]
            customer = unclosed[0].customer if len(unclosed) == 1 else None
        generation = self._answered_generation(fact, customer)
        if generation is None:
            self.held.append(fact)
        elif generation.is_before_folded(at, fact.object):
            self._absorb(generation, fact)
        else:
            generation.answer(fact, at, closes=self._closes(generation))
            self._placed[fact.object] = generation

    def _answered_generation(self, fact: Fact, customer: str | None) -> Generation | None:
        """Return the case that is answered: that of the word replied to, else the newest."""
        if customer is None:
            return None
        replied = self._placed.get(fact.in_reply_to) if fact.in_reply_to is not None else None
        if replied is not None and replied.customer == customer and replied.closed_at is None:
            return replied
        return self._current.get(customer)

    def _absorb(self, generation: Generation, fact: Fact) -> None:
        if self._arrived is None or fact.object in self._arrived:
            generation.absorb(fact)
            self._placed[fact.object] = generation
        else:
            self.held.append(fact)

    def _told_customer(self, fact: Fact) -> tuple[bool, str | None]:
        """Return whether reply chain or mention tells whom an outbound post answers, and whom.

        Neither time nor cases play a part in it: a chain of replies has one customer.
        """
        chain: list[Fact] = []
        post: Fact | None = fact
        while post is not None and post.object not in self._told:
            # Replies in a circle, which only broken sources make, tell nothing.
            self._told[post.object] = (True, None)
            chain.append(post)
            parent = self._facts.get(post.in_reply_to) if post.in_reply_to is not None else None
            if parent is not None and (
                parent.direction != "outbound" or parent.change == "deleted"
            ):
                parent = None
            post = parent
        for each in reversed(chain):
            told, customer = False, None
            if each.in_reply_to is not None:
                told, customer = self._customer_of_object(each.in_reply_to)
                # A root that is not remembered needs no answer: what replies to it answers
                # nobody else by guess.
                told = told or each.in_reply_to == self._root
            if customer is None:
                customer = self._mentioned(each)
            self._told[each.object] = (told or customer is not None, customer)
        return self._told[fact.object]

    def _customer_of_object(self, object_hash: str) -> tuple[bool, str | None]:
        """Return whether an object is known, and the customer who said it or was answered by it."""
        fact = self._facts.get(object_hash)
        if fact is None or fact.change == "deleted":
            customer = self._elsewhere(object_hash) or self._folded_customer(object_hash)
            return customer is not None, customer
        if fact.direction != "outbound":
            return True, fact.customer
        told, customer = self._told[object_hash]
        if told:
            return True, customer
        placed = self._placed.get(object_hash)
        return True, placed.customer if placed is not None else None

    def _folded_customer(self, object_hash: str) -> str | None:
        for generation in self.generations:
            if generation.summary is not None and is_folded(generation.summary, object_hash):
                return generation.customer
        return None

    def _mentioned(self, fact: Fact) -> str | None:
        if not fact.addressees:
            return None
        if self._names is None:
            own: dict[str, str] = {}
            authors: dict[str, str] = {}
            for each in self._facts.values():
                if each.customer is not None:
                    name_customer(own, each.customer)
                    if each.author is not None:
                        name_author(authors, each.author, each.customer)
            for customer in self._current:
                name_customer(own, customer)
            self._names = authors | own
        found = (self._other_names(one) or self._names.get(one) for one in fact.addressees)
        return next(filter(None, found), None)


def _weightiest(held: list[Fact]) -> list[Fact]:
    """Return the held facts whose loss would change most, the newest of each weight.

    As many as there is room for.

    Others' words change nothing but whom the brand answered, customers' words that need no answer
    may yet join a case. A post of the brand, the word it replies to, a deletion and an edit decide
    on cases that arrive after them: they are forgotten last.
    """
    answered = {fact.in_reply_to for fact in held if fact.direction == "outbound"}

    def weight(fact: Fact) -> tuple[int, datetime, str]:
        if (
            fact.direction == "outbound"
            or fact.removed is not None
            or fact.revision > 0
            or fact.needs_answer
            or fact.object in answered
        ):
            return 2, fact.at, fact.object
        return 0 if fact.customer is None else 1, fact.at, fact.object

    room = FACT_BYTES - sum(_size(fact) for fact in held)
    if len(held) <= MAX_FACTS and room >= 0:
        return held
    ordered = sorted(held, key=weight)[-MAX_FACTS:]
    room = FACT_BYTES - sum(_size(fact) for fact in ordered)
    while room < 0:
        room += _size(ordered.pop(0))
    return ordered


def _size(fact: Fact) -> int:
    """Return about how many bytes a fact takes in a record."""
    channel = fact.opening.channel if fact.opening is not None else None
    named = (text for text in (fact.customer, channel) if text is not None)
    return _FACT_BYTES + sum(len(text.encode()) for text in named)
