"""Rules of a brand file that can never decide anything: what they ask excludes itself, or is taken.

    routing.3: it can never hit: 'german' (line 41) takes all that it would; move it before that one,
    or remove it
    listening.0.query: it can never hit: nothing fulfils `lang:de` and `lang:en` at once; write OR
    where either will do, or leave one out

What is said here is sure (`klingel.domain.rule_logic`); what is not sure is left alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from klingel.config.brand import Brand, RoutingRule
from klingel.config.calendars import DEFAULT_SLA, SlaPolicy
from klingel.config.escalations import EscalationLevel
from klingel.domain.matching import required_terms
from klingel.domain.priority import MOST_OF_EVENT
from klingel.domain.rule_logic import (
    Claim,
    Every,
    Least,
    World,
    any_of,
    hits_whenever,
    is_impossible,
    least_of,
    needed_of,
    takes_all,
)
from klingel.domain.rule_search import plain
from klingel.domain.rule_syntax import (
    KINDS,
    VISIBILITIES,
    And,
    FieldValue,
    Node,
    Phrase,
    RuleQuery,
    Wildcard,
    Word,
    leaves,
)
from klingel.domain.triage import KINDS_WITHOUT_ANSWER

Place = tuple[str | int, ...]
Found = Iterator[tuple[Place, str]]
LineOf = Callable[[Place], int]

QUESTIONS: Final = 20_000
"""Pairs of rules that are compared in a list; later ones are left alone. Some 200 rules that all ask
for fields alone have so many; those that ask for different words are not compared."""

_TOGETHER: Final = 40
"""Most earlier rules of which it is asked whether they take everything together."""

_NAMED: Final = 5
"""Rules and conditions that a sentence names."""

_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a rule of an ordered list asks for.

    Args:
        place: of the rule in the file.
        id: its name.
        parts: its conditions as they are written, with what each claims; none takes everything.
        needs: words of which a text that it hits has one; None where it may be any text.
        said: the words that it speaks of, each on a line.
    """

    place: Place
    id: str
    parts: tuple[tuple[str, Claim], ...]
    needs: frozenset[str] | None
    said: str

    @property
    def claim(self) -> Claim:
        """All of it."""
        return Every(tuple(claim for _, claim in self.parts))


def unreachable(brand: Brand, queries: Mapping[Place, Node], line_of: LineOf) -> Found:
    """Yield place and sentence of each rule, policy and level that can never decide anything.

    Args:
        brand: the brand.
        queries: what its queries mean, by their places; where one is missing it is wrong, and
            nothing is said of its rule.
        line_of: line of a place in the file, 0 where none is known.
    """
    yield from _deaf(brand, queries)
    yield from _routing(brand, queries, line_of)
    yield from _policies(brand, queries, line_of)
    yield from _levels(brand)


def _deaf(brand: Brand, queries: Mapping[Place, Node]) -> Found:
    """Yield listening rules and topics that no event fulfils."""
    world = World()
    for key, rules in (("listening", brand.listening), ("topics", brand.topics)):
        for number in range(len(rules)):
            place: Place = (key, number, "query")
            root = queries.get(place)
            if root is not None and is_impossible(root, world):
                yield place, f"it can never hit: {_excluding(_parts_of(root), world)}"


def _routing(brand: Brand, queries: Mapping[Place, Node], line_of: LineOf) -> Found:
    world = World({**_OPENING, "again": frozenset({"yes", "no"})})
    asked = []
    for number, rule in enumerate(brand.routing):
        place: Place = ("routing", number)
        root = queries.get((*place, "when"))
        if rule.when is None or root is not None:
            asked.append(_asked(place, rule.id, root, _routing_conditions(rule)))
    yield from _ordered(asked, world, "it can never hit", line_of)


def _policies(brand: Brand, queries: Mapping[Place, Node], line_of: LineOf) -> Found:
    most = MOST_OF_EVENT + max((rule.priority for rule in brand.routing), default=0)
    queues = frozenset(queue.id for queue in brand.queues)
    world = World({**_OPENING, "queue": queues}, {"priority": float(most)})
    asked = []
    for number, policy in enumerate(brand.sla):
        place: Place = ("sla", number)
        root = queries.get((*place, "when"))
        if policy.when is None or root is not None:
            asked.append(_asked(place, policy.id, root, _policy_conditions(policy, most)))
    # Every file needs a last policy that takes what is left, be it nothing.
    if asked and not asked[-1].parts and all(each.parts for each in asked[:-1]):
        asked.pop()
    yield from _ordered(asked, world, "it can never be chosen", line_of)


_OPENING: Final = {"kind": KINDS - KINDS_WITHOUT_ANSWER, "visibility": VISIBILITIES}
"""Values of what opens a case, which alone is routed and promised something."""


def _routing_conditions(rule: RoutingRule) -> Iterator[tuple[str, Claim]]:
    yield from _lists(
        tones=("tone", rule.tones),
        intents=("intent", rule.intents),
        topics=("topic", rule.topics),
        kinds=("kind", rule.kinds),
    )
    for name, bound in (("anger", rule.anger_from), ("influence", rule.influence_from)):
        if bound is not None:
            yield f"{name}_from: {bound:g}", Least(name, bound)
    if rule.again is not None:
        claim = FieldValue("again", "yes" if rule.again else "no")
        yield f"again: {str(rule.again).lower()}", claim


def _policy_conditions(policy: SlaPolicy, most: int) -> Iterator[tuple[str, Claim]]:
    yield from _lists(queues=("queue", policy.queues), kinds=("kind", policy.kinds))
    least = policy.priority_from
    if least is not None:
        above = f" (at most {most} when it is opened)" if least > most else ""
        yield f"priority_from: {least}{above}", Least("priority", least)


def _lists(**conditions: tuple[str, Sequence[str]]) -> Iterator[tuple[str, Claim]]:
    """Yield conditions that name values of which one is enough, where they name any."""
    for name, (field, values) in conditions.items():
        if values:
            yield f"{name}: [{', '.join(values)}]", any_of(field, values)


def _asked(
    place: Place, name: str, root: Node | None, conditions: Iterator[tuple[str, Claim]]
) -> _Asked:
    parts = (*(_parts_of(root) if root is not None else ()), *conditions)
    needs = required_terms(RuleQuery("", root)) if root is not None else None
    said: list[str] = []
    for leaf in leaves(root) if root is not None else ():
        match leaf:
            case Word(term) | Wildcard(term):
                said.append(term)
            case Phrase(terms):
                said.extend(terms)
    return _Asked(place, name, parts, needs, "\n".join(said))


def _parts_of(root: Node) -> tuple[tuple[str, Claim], ...]:
    parts = root.parts if isinstance(root, And) else (root,)
    return tuple((plain(part), part) for part in parts)


def _ordered(asked: Sequence[_Asked], world: World, never: str, line_of: LineOf) -> Found:
    """Yield the rules of an ordered list that nothing ever reaches."""
    questions = QUESTIONS
    possible: list[_Asked] = []
    for rule in asked:
        if is_impossible(rule.claim, world):
            place = (*rule.place, "when") if _is_query_alone(rule, world) else rule.place
            yield place, f"{never}: {_excluding(rule.parts, world)}"
            continue
        before = [each for each in possible if _may_take(each, rule)]
        questions -= len(before)
        if questions < 0:
            return
        sentence = _taken(rule, before, world, line_of)
        if sentence:
            yield rule.place, f"{never}: {sentence}"
        possible.append(rule)


def _may_take(earlier: _Asked, rule: _Asked) -> bool:
    """Whether an earlier rule needs no word that a rule does not speak of."""
    return earlier.needs is None or any(word in rule.said for word in earlier.needs)


def _taken(rule: _Asked, before: Sequence[_Asked], world: World, line_of: LineOf) -> str | None:
    """Return which earlier rules take all that a rule would, and what would be right."""
    for earlier in before:
        if hits_whenever(earlier.claim, rule.claim, world):
            right = "move it before that one, or remove it"
            if hits_whenever(rule.claim, earlier.claim, world):
                right = "both ask for the same: keep one of them"
            return f"{_named(earlier, line_of)} takes all that it would; {right}"
    together = before[-_TOGETHER:]
    claims = [earlier.claim for earlier in together]
    if len(together) < 2 or not takes_all(claims, rule.claim, world):
        return None
    some = [together[at] for at in needed_of(claims, rule.claim, world)]
    named = _listed([_named(each, line_of) for each in some])
    return f"{named} together take all that it would; move it before them, or remove it"


def _named(rule: _Asked, line_of: LineOf) -> str:
    line = line_of(rule.place)
    return f"{rule.id!r} (line {line})" if line else repr(rule.id)


def _is_query_alone(rule: _Asked, world: World) -> bool:
    """Whether the query excludes itself, whatever else is asked."""
    words = [claim for _, claim in rule.parts if isinstance(claim, Node)]
    return bool(words) and is_impossible(Every(tuple(words)), world)


def _excluding(parts: Sequence[tuple[str, Claim]], world: World) -> str:
    """Say which conditions exclude each other, and what would be right."""
    places = least_of([claim for _, claim in parts], world)
    named = _listed([f"`{_short(parts[place][0])}`" for place in places])
    if len(places) == 1:
        return f"nothing fulfils {named}; mend it, or remove it"
    queries = all(isinstance(parts[place][1], Node) for place in places)
    right = "write OR where either will do, or leave one out" if queries else "leave one out"
    return f"nothing fulfils {named} at once; {right}"


def _listed(names: Sequence[str]) -> str:
    shown = [*names[:_NAMED], *([f"{len(names) - _NAMED} more"] if len(names) > _NAMED else [])]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _levels(brand: Brand) -> Found:
    """Yield escalation levels that nothing can bring a case to."""
    promised = {
        clock
        for policy in brand.sla or DEFAULT_SLA
        for clock in ("first_response", "next_response", "resolution")
        if getattr(policy, clock) is not None
    }
    queue_of = {rule.id: rule.queue for rule in brand.routing}
    for number, level in enumerate(brand.escalation):
        place: Place = ("escalation", number)
        if level.clocks and promised.isdisjoint(level.clocks) and _by_clock_alone(level, brand):
            named = _listed([f"`{clock}`" for clock in level.clocks])
            right = f"promised are {_listed([f'`{each}`' for each in sorted(promised)])}"
            yield (
                (*place, "clocks"),
                f"nothing brings a case here: no policy promises {named}; {right}",
            )
        queues = {queue_of[rule] for rule in level.rules if rule in queue_of}
        if (
            set(level.on) == {"rule"}
            and level.queues
            and queues
            and queues.isdisjoint(level.queues)
        ):
            right = f"they lead to {_listed(sorted(queues))}: name that, or leave `queues` out"
            yield (*place, "queues"), f"nothing brings a case here by its rules; {right}"


def _by_clock_alone(level: EscalationLevel, brand: Brand) -> bool:
    """Whether clocks alone bring a case to a level."""
    raised = any(other.raise_to == level.id for other in brand.escalation)
    return bool(level.on) and set(level.on) <= {"warned", "breached"} and not raised
