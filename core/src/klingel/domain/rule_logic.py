"""Can a rule hit at all, and does another hit whenever it does? Said only where it is sure.

    lang = FieldValue("lang", "de")
    is_impossible(And((lang, FieldValue("lang", "en"))), World())     # True: an event has one language
    hits_whenever(lang, And((lang, Word("netz"))), World())           # True: whatever hits the longer

A claim and the opposite of another are assumed together, alternatives are tried one after the other,
and a way ends where two of its assumptions exclude each other. Where every way ends there is no event
of that kind. What excludes what is reckoned from the meaning that conditions have in
`klingel.domain.matching`; where the reckoning does not know, or has had its share of steps, an event
is taken to be possible. So a rule that can hit is never called impossible; the converse may happen,
for instance where only words of a language would exclude each other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import ClassVar, Final

from klingel.domain.matching import wildcard_matcher
from klingel.domain.rule_syntax import (
    KINDS,
    MEDIA_KINDS,
    VISIBILITIES,
    And,
    FieldValue,
    Followers,
    Has,
    Node,
    Not,
    Or,
    Phrase,
    Wildcard,
    Word,
)
from klingel.domain.rule_text import fold_value

SINGLE: Final = frozenset(
    {"lang", "network", "kind", "visibility", "tone", "queue", "again"},
)
"""Fields of which an event has one value, or an unknown one; all others may have several."""

NUMBERS: Final = ("anger", "influence", "priority")
"""Numbers of an event that `Least` asks for."""

STEPS: Final = 20_000
"""Comparisons spent on one question; in it fit some thousand conditions on each side."""


@dataclass(frozen=True, slots=True)
class Least:
    """A number of the event is known, and this or more.

    Args:
        field: what the number is.
        bound: the least one.
    """

    field: str
    bound: float


@dataclass(frozen=True, slots=True)
class Every:
    """All of some claims hold; of none: anything does."""

    parts: tuple["Claim", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of some claims holds."""

    parts: tuple["Claim", ...]


@dataclass(frozen=True, slots=True)
class Never:
    """A claim does not hold."""

    part: "Claim"


Leaf = Word | Wildcard | Phrase | FieldValue | Followers | Has | Least
Claim = Node | Least | Every | Some | Never
"""What can be said of an event: a rule's tree, or something made of several."""


@dataclass(frozen=True, slots=True)
class World:
    """What is known of every event.

    Args:
        values: by field of SINGLE of which every event has a known value: all that there are.
        most: highest value of a number, by field.
    """

    values: Mapping[str, frozenset[str]] = field(
        default_factory=lambda: {"kind": KINDS, "visibility": VISIBILITIES}
    )
    most: Mapping[str, float] = field(default_factory=dict)


def any_of(name: str, values: Iterable[str]) -> Claim:
    """Claim that a field has one of some values."""
    return Some(tuple(FieldValue(name, value) for value in values))


def is_impossible(claim: Claim, world: World, steps: int = STEPS) -> bool:
    """Whether surely no event fulfils a claim."""
    return _Search(world, steps).ends([_plain(claim, holds=True)])


def hits_whenever(wide: Claim, narrow: Claim, world: World, steps: int = STEPS) -> bool:
    """Whether surely every event that fulfils `narrow` fulfils `wide`."""
    return takes_all([wide], narrow, world, steps)


def takes_all(wide: Sequence[Claim], narrow: Claim, world: World, steps: int = STEPS) -> bool:
    """Whether surely every event that fulfils `narrow` fulfils one of some others."""
    denied = [_plain(each, holds=False) for each in wide]
    return _Search(world, steps).ends([_plain(narrow, holds=True), *denied])


def least_of(parts: Sequence[Claim], world: World, steps: int = STEPS) -> list[int]:
    """Return places of claims that exclude each other, as few as can be found one by one.

    Args:
        parts: claims of which `is_impossible` says that all together are.
        world: what is known of every event.
        steps: for each attempt.
    """
    kept = [*range(len(parts))]
    for place in [*kept]:
        others = [each for each in kept if each != place]
        if is_impossible(Every(tuple(parts[each] for each in others)), world, steps):
            kept = others
    return kept


def needed_of(wide: Sequence[Claim], narrow: Claim, world: World, steps: int = STEPS) -> list[int]:
    """Return places of claims that together hold whenever `narrow` does, as few as in `least_of`."""
    denials = [Never(each) for each in wide]
    kept = [*range(len(wide))]
    for place in reversed([*kept]):
        others = [each for each in kept if each != place]
        if is_impossible(Every((narrow, *(denials[each] for each in others))), world, steps):
            kept = others
    return kept


@dataclass(frozen=True, slots=True)
class _Literal:
    """A leaf that holds, or does not."""

    leaf: Leaf
    holds: bool


@dataclass(frozen=True, slots=True)
class _All:
    parts: tuple["_Plain", ...]


@dataclass(frozen=True, slots=True)
class _Any:
    parts: tuple["_Plain", ...]


_Plain = _Literal | _All | _Any


def _plain(claim: Claim, *, holds: bool) -> _Plain:
    """Give a claim, or its opposite, with denials at its leaves alone."""
    match claim:
        case Not(part) | Never(part):
            return _plain(part, holds=not holds)
        case And(parts) | Every(parts):
            together = _All if holds else _Any
            return together(tuple(_plain(part, holds=holds) for part in parts))
        case Or(parts) | Some(parts):
            together = _Any if holds else _All
            return together(tuple(_plain(part, holds=holds) for part in parts))
    return _Literal(claim, holds)


def _daring(claim: _Plain) -> int:
    """Return how much a claim may exclude: a denial little, a leaf that holds more, several most."""
    if isinstance(claim, _Literal):
        return int(claim.holds)
    return 2


class _Effort:
    """What may still be spent on a question."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class _Search:
    """Looks for a way through alternatives on which no two assumptions exclude each other.

    Args:
        world: what is known of every event.
        steps: comparisons after which a way is taken to exist.
    """

    def __init__(self, world: World, steps: int) -> None:
        self._world = world
        self._effort = _Effort(steps)

    def ends(self, claims: Sequence[_Plain]) -> bool:
        """Whether there is surely no way on which all claims hold."""
        return self._ends(_Assumed(self._world, self._effort), claims)

    def _ends(self, assumed: "_Assumed", claims: Iterable[_Plain]) -> bool:
        open_ones = self._assume(assumed, claims)
        if open_ones is None:
            return True
        while True:
            found = self._narrowed(assumed, open_ones)
            if found is None:
                return True
            open_ones, certain = found
            if self._effort.left <= 0:
                return False
            if not certain:
                break
            more = self._assume(assumed, certain)
            if more is None:
                return True
            open_ones = [*open_ones, *more]
        if self._is_way(copy(assumed), open_ones):
            return False
        chosen = min(open_ones, key=len)
        others = [_Any(tuple(each)) for each in open_ones if each is not chosen]
        return all(self._ends(copy(assumed), [way, *others]) for way in chosen)

    def _is_way(self, assumed: "_Assumed", alternatives: Iterable[Sequence[_Plain]]) -> bool:
        """Whether the first possible one of each of some alternatives makes a way.

        Most questions are answered by it: what is not asked for is denied, and denials of words do not
        exclude each other.
        """
        left = [*alternatives]
        while left:
            parts = left.pop()
            chosen = next(
                (part for part in sorted(parts, key=_daring) if not self._is_out(assumed, part)),
                None,
            )
            more = None if chosen is None else self._assume(assumed, [chosen])
            if more is None:
                return False
            left.extend(more)
        return True

    def _assume(
        self, assumed: "_Assumed", claims: Iterable[_Plain]
    ) -> list[Sequence[_Plain]] | None:
        """Assume claims; return the alternatives among them, or None where they exclude each other."""
        alternatives: list[Sequence[_Plain]] = []
        left = [*claims]
        while left:
            claim = left.pop()
            match claim:
                case _All(parts):
                    left.extend(parts)
                case _Any(parts):
                    alternatives.append(parts)
                case _:
                    if self._excluded(assumed, claim):
                        return None
                    assumed.add(claim)
        return alternatives

    def _narrowed(
        self, assumed: "_Assumed", alternatives: Iterable[Sequence[_Plain]]
    ) -> tuple[list[Sequence[_Plain]], list[_Plain]] | None:
        """Return alternatives that are still open, and what is certain; None where one has no way."""
        open_ones: list[Sequence[_Plain]] = []
        certain: list[_Plain] = []
        for parts in alternatives:
            possible = [part for part in parts if not self._is_out(assumed, part)]
            if not possible:
                return None
            if len(possible) == 1:
                certain.append(possible[0])
            else:
                open_ones.append(possible)
        return open_ones, certain

    def _is_out(self, assumed: "_Assumed", claim: _Plain) -> bool:
        """Whether a claim is excluded at first sight; alternatives within it are not looked into."""
        match claim:
            case _All(parts):
                return any(self._is_out(assumed, part) for part in parts)
            case _Any(parts):
                return all(self._is_out(assumed, part) for part in parts)
        return self._excluded(assumed, claim)

    def _excluded(self, assumed: "_Assumed", literal: _Literal) -> bool:
        self._effort.left -= 1
        return self._effort.left > 0 and assumed.excludes(literal)


class _Assumed:
    """Leaves that hold and leaves that do not, none of which is known to exclude the others.

    Args:
        world: what is known of every event.
        effort: what comparing takes away.
    """

    __slots__ = ("_by_group", "_denied", "_effort", "_held", "_world")

    def __init__(self, world: World, effort: _Effort) -> None:
        self._world = world
        self._effort = effort
        self._held: set[Leaf] = set()
        self._denied: set[Leaf] = set()
        self._by_group: dict[tuple[str, bool], list[Leaf]] = {}

    def __copy__(self) -> "_Assumed":
        other = _Assumed(self._world, self._effort)
        other._held, other._denied = {*self._held}, {*self._denied}
        other._by_group = {group: [*leaves] for group, leaves in self._by_group.items()}
        return other

    def add(self, literal: _Literal) -> None:
        """Assume that a leaf holds, or does not."""
        known = self._held if literal.holds else self._denied
        for leaf in _with_words(literal):
            if leaf not in known:
                known.add(leaf)
                self._by_group.setdefault((_group(leaf), literal.holds), []).append(leaf)

    def excludes(self, literal: _Literal) -> bool:
        """Whether a leaf surely cannot hold (or not hold) beside all that is assumed."""
        leaf, holds = literal.leaf, literal.holds
        if leaf in (self._denied if holds else self._held):
            return True
        if leaf in (self._held if holds else self._denied):
            return False
        group = _group(leaf)
        if group in SINGLE:
            return self._excludes_value(literal)
        return self._SPECIAL.get(group, _Assumed._excludes_carried)(self, literal)

    def _of(self, group: str, *, hold: bool) -> list[Leaf]:
        found = self._by_group.get((group, hold), [])
        self._effort.left -= len(found)
        return found

    def _excludes_entry(self, literal: _Literal) -> bool:
        leaf, holds = literal.leaf, literal.holds
        if holds:
            if any(word in self._denied for word in _words_of(leaf)):
                return True
            denied = [*self._of("wildcard", hold=False), *self._of("phrase", hold=False)]
            return any(_entails(leaf, each) for each in denied)
        held = [*self._of("wildcard", hold=True), *self._of("phrase", hold=True)]
        if not isinstance(leaf, Word):
            held += self._of("word", hold=True)
        return any(_entails(each, leaf) for each in held)

    def _excludes_value(self, literal: _Literal) -> bool:
        group, value = _group(literal.leaf), _folded(literal.leaf)
        values = self._world.values.get(group)
        held = {_folded(each) for each in self._of(group, hold=True)}
        denied = {_folded(each) for each in self._of(group, hold=False)}
        if literal.holds:
            return (
                bool(held - {value}) or value in denied or not (values is None or value in values)
            )
        return value in held or (values is not None and values <= {*denied, value})

    def _excludes_author(self, literal: _Literal) -> bool:
        """An author is asked for by id, as it is written, or by handle, in any case."""
        if self._excludes_carried(literal):
            return True
        if not literal.holds or not _is_exact(literal.leaf):
            return False
        exact = [literal.leaf, *filter(_is_exact, self._of("author", hold=True))]
        asked = {each.value for each in exact if isinstance(each, FieldValue)}
        return not any(
            len({fold_value(other) for other in asked if other != as_id}) <= 1 for as_id in asked
        )

    def _excludes_carried(self, literal: _Literal) -> bool:
        """Hashtags, mentions, intents, topics and attachments: an event has any number of each."""
        others = self._of(_group(literal.leaf), hold=not literal.holds)
        if literal.holds:
            return any(_entails(literal.leaf, each) for each in others)
        return any(_entails(each, literal.leaf) for each in others)

    def _excludes_followers(self, literal: _Literal) -> bool:
        held = self._of("followers", hold=True)
        denied = self._of("followers", hold=False)
        if literal.holds:
            held = [*held, literal.leaf]
        else:
            denied = [*denied, literal.leaf]
        return bool(held) and not _has_number(held, denied)

    def _excludes_least(self, literal: _Literal) -> bool:
        leaf, holds = literal.leaf, literal.holds
        assert isinstance(leaf, Least)
        if holds and leaf.bound > self._world.most.get(leaf.field, leaf.bound):
            return True
        others = self._of(leaf.field, hold=not holds)
        bounds = [each.bound for each in others if isinstance(each, Least)]
        if holds:
            return any(leaf.bound >= bound for bound in bounds)
        return any(bound >= leaf.bound for bound in bounds)

    _SPECIAL: ClassVar[Mapping[str, Callable[["_Assumed", _Literal], bool]]] = {
        "word": _excludes_entry,
        "phrase": _excludes_entry,
        "wildcard": _excludes_entry,
        "author": _excludes_author,
        "followers": _excludes_followers,
        **dict.fromkeys(NUMBERS, _excludes_least),
    }


def _has_number(held: Iterable[Leaf], denied: Iterable[Leaf]) -> bool:
    """Whether a whole number from zero on lies within all of some bounds, and in none of others."""
    least, most = 0, None
    for each in held:
        if isinstance(each, Followers):
            least = max(least, each.low or 0)
            most = (
                each.high if most is None else min(most, most if each.high is None else each.high)
            )
    gaps = [(each.low or 0, each.high) for each in denied if isinstance(each, Followers)]
    for low, high in sorted(gaps, key=lambda gap: gap[0]):
        if low > least:
            break
        if high is None:
            return False
        least = max(least, high + 1)
    return most is None or least <= most


_GROUPS: Final = {Word: "word", Phrase: "phrase", Wildcard: "wildcard", Followers: "followers"}


def _group(leaf: Leaf) -> str:
    """Return the name under which what can exclude each other stands."""
    if isinstance(leaf, FieldValue | Least):
        return leaf.field
    if isinstance(leaf, Has):
        return leaf.thing if leaf.thing in ("hashtag", "mention") else "media"
    return _GROUPS[type(leaf)]


def _with_words(literal: _Literal) -> Iterator[Leaf]:
    """Yield a leaf, and the words that are in the text where it holds."""
    yield literal.leaf
    if literal.holds and isinstance(literal.leaf, Phrase):
        yield from map(Word, literal.leaf.terms)


def _words_of(leaf: Leaf) -> Iterator[Word]:
    match leaf:
        case Word():
            yield leaf
        case Phrase(terms):
            yield from map(Word, terms)


def _folded(leaf: Leaf) -> str | None:
    return fold_value(leaf.value) if isinstance(leaf, FieldValue) else None


def _is_exact(leaf: Leaf) -> bool:
    return isinstance(leaf, FieldValue) and not leaf.wildcard


def _entails(leaf: Leaf, other: Leaf) -> bool:
    """Whether another leaf surely holds where a leaf holds, by what both look at."""
    match leaf, other:
        case Has(thing), Has("media"):
            return thing == "media" or thing in MEDIA_KINDS
        case FieldValue(), Has(wanted):
            return leaf.field == wanted
        case FieldValue(), FieldValue():
            return leaf.field == other.field and _is_among(leaf, other)
        case ((Word() | Phrase() | Wildcard()), (Phrase() | Wildcard())):
            return _is_said(leaf, other)
    return leaf == other


def _is_said(leaf: Word | Phrase | Wildcard, other: Phrase | Wildcard) -> bool:
    """Whether a text with one entry surely has another."""
    match leaf, other:
        case Wildcard(narrow), Wildcard(wide):
            return _includes(wide, narrow)
        case _, Wildcard(pattern):
            return any(wildcard_matcher(pattern)(word.term) for word in _words_of(leaf))
        case Phrase(), Phrase():
            return _contains(leaf, other)
    return False


def _is_among(leaf: FieldValue, other: FieldValue) -> bool:
    """Whether whoever has one value (or one of a pattern) of a field surely has another."""
    folded = _covers(
        fold_value(other.value), fold_value(leaf.value), wide=other.wildcard, narrow=leaf.wildcard
    )
    if leaf.field != "author":
        return folded
    # It may be the id that fits, which is compared as it is written.
    return folded and _covers(other.value, leaf.value, wide=other.wildcard, narrow=leaf.wildcard)


def _covers(asked: str, value: str, *, wide: bool, narrow: bool) -> bool:
    """Whether a value or pattern (`wide`) takes all that another (`narrow`) stands for."""
    if not wide:
        return not narrow and asked == value
    return _includes(asked, value) if narrow else wildcard_matcher(asked)(value)


def _includes(wide: str, narrow: str) -> bool:
    """Whether a pattern surely matches every word that another matches.

    The narrow one is read letter by letter: a star of the wide one takes any of its letters and
    stars, a question mark takes a letter or a question mark. Quadratic in the lengths.
    """
    reached = {0}
    for sign in narrow:
        reached = _skipping(wide, reached)
        reached = {
            at if wide[at] == "*" else at + 1
            for at in reached
            if at < len(wide) and (wide[at] in ("*", sign) or (wide[at] == "?" and sign != "*"))
        }
    return len(wide) in _skipping(wide, reached)


def _skipping(pattern: str, places: Iterable[int]) -> set[int]:
    """Return places of a pattern, and those behind stars that need take nothing."""
    found: set[int] = set()
    for place in places:
        at = place
        found.add(at)
        while at < len(pattern) and pattern[at] == "*":
            at += 1
            found.add(at)
    return found


def _contains(phrase: Phrase, other: Phrase) -> bool:
    """Whether another phrase surely stands where a phrase does."""
    length = len(other.terms)
    if other.slop >= phrase.slop and any(
        phrase.terms[at : at + length] == other.terms
        for at in range(len(phrase.terms) - length + 1)
    ):
        return True
    if phrase.slop or not other.slop or not {*other.terms} <= {*phrase.terms}:
        return False
    begins = [phrase.terms.index(term) - at for at, term in enumerate(other.terms)]
    return max(begins) - min(begins) <= other.slop
