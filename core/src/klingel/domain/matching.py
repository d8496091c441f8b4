"""Listening rules: which rules hear an event, where in its text, and why at a few microseconds each.

    rules = RuleSet.compile([Rule("outage", '"internet weg"~3 AND lang:de')])
    hits = rules.match(RuleDocument(text="Internet schon wieder weg!", lang="de"))

What a word is stands in `klingel.domain.rule_text`, the syntax in `klingel.domain.rule_syntax`, the
same rule as an Elasticsearch query in `klingel.domain.rule_search`.

A rule that needs one of certain words to be hit is not looked at unless one of them occurs: an
Aho-Corasick automaton over these words of all rules runs once over the lower-cased text. The other
rules (on fields alone, or by NOT) are evaluated on every event.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress, count, islice
from typing import Any, Final, Generic, Self, TypeVar, overload

import msgspec
from ahocorasick_rs import AhoCorasick

from klingel.domain.rule_search import (
    HANDLE_UNITS,
    KEYWORD_UNITS,
    QUERY_STRING,
    TEXT_FIELD,
    expand_rule,
    plain,
    to_elasticsearch,
    to_query_string,
)
from klingel.domain.rule_syntax import (
    FIELDS,
    And,
    Entry,
    FieldValue,
    Followers,
    Has,
    Node,
    Not,
    Or,
    Phrase,
    RuleQuery,
    RuleSyntaxError,
    Wildcard,
    Word,
    parse_rule,
)
from klingel.domain.rule_text import (
    ANALYSER,
    LINE_END,
    RULES_ANALYSIS,
    RULES_PROPERTIES,
    Lines,
    Token,
    fold,
    fold_value,
    lines_of,
    terms_of,
    tokens,
)

__all__ = [
    "ANALYSER",
    "FIELDS",
    "QUERY_STRING",
    "RULES_ANALYSIS",
    "RULES_PROPERTIES",
    "SPAN_LIMIT",
    "TEXT_FIELD",
    "Finding",
    "Rule",
    "RuleDocument",
    "RuleHit",
    "RuleQuery",
    "RuleSet",
    "RuleSyntaxError",
    "Token",
    "expand_rule",
    "explain_rule",
    "parse_rule",
    "required_terms",
    "to_elasticsearch",
    "to_query_string",
    "tokens",
    "wildcard_matcher",
]

Span = tuple[int, int]
V = TypeVar("V")


class once(Generic[V]):  # noqa: N801 - reads as `property` does
    """A property that is computed once and then is an attribute.

    `functools.cached_property` takes a lock for it before Python 3.12, a microsecond each time; a
    document belongs to one task.
    """

    def __init__(self, compute: Callable[[Any], V]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> V: ...
    def __get__(self, instance: object | None, owner: type) -> Self | V:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._compute(instance)
        return value


SPAN_LIMIT: Final = 32
"""Most places reported for a hit: the first ones, so that a hostile text makes no large event."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One listening rule.

    Args:
        id: name under which its hits are reported; unique in a set.
        query: in the syntax of `klingel.domain.rule_syntax`.
        version: of the rule, reported with each hit.
    """

    id: str
    query: str
    version: str = ""


class RuleDocument(msgspec.Struct, frozen=True, dict=True):
    """What of an event rules can ask for; None and empty are unknown and match no condition.

    Args:
        text: as it was said.
        lang: code of the language, or None.
        network: name of the network.
        kind: of the event, such as `post`.
        author_id: exactly as the network writes it.
        author_handle: without the sign, in any case.
        followers: of the author, if known.
        has_link: whether the event carries a link.
        hashtags: without the sign, in any case.
        mentions: ids or handles (without the sign) of the accounts mentioned, in any case.
        visibility: who can see it.
        media: kinds of the attachments, each as often as it may be.
    """

    text: str
    lang: str | None = None
    network: str | None = None
    kind: str | None = None
    author_id: str | None = None
    author_handle: str | None = None
    followers: int | None = None
    has_link: bool = False
    hashtags: Sequence[str] = ()
    mentions: Sequence[str] = ()
    visibility: str | None = None
    media: Sequence[str] = ()

    @once
    def folded(self) -> str:
        """The text in lower case, letter by letter."""
        return fold(self.text)

    @once
    def terms(self) -> list[str]:
        """The words of the text in their order; made once for all brands."""
        lines = self.lines if len(self.folded) > _LONG_TEXT else None
        return terms_of(self.folded) if lines is None else lines.text.split()

    @once
    def words(self) -> frozenset[str]:
        """The different words of the text."""
        return frozenset(self.terms)

    @once
    def lines(self) -> Lines | None:
        """The text with a line end around each word (see `rule_text.lines_of`); None if in vain."""
        return lines_of(self.folded)


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule hears an event.

    Args:
        rule_id: of the rule.
        spans: places (start, end) of the words and phrases that were found, in code points of the
            original text, rising and without repetition, at most SPAN_LIMIT; none when only fields
            were asked for.
        version: of the rule.
    """

    rule_id: str
    spans: tuple[Span, ...]
    version: str = ""


_LONG: Final = 100
"""From so many words on, an index of their places is cheaper than looking for each."""

_LONG_TEXT: Final = 1_000
"""In longer texts words may be repeated in masses: each is looked at once."""

_SCANS: Final = 4
"""So many words of a long text are looked for before an index of all is cheaper."""

_SEARCHES: Final = 16
"""So many words are searched for in a long text as it stands before it is cut into its words."""

_STRETCH: Final = 16_384
"""Characters of a long text in which required words are found at a time."""

_MOST_FOUND: Final = 4_000
"""Required words found in a long text beyond which they are repeated in masses."""


def _lined(words: Iterable[str]) -> str:
    """Give words in one text, each on a line of its own and between two line ends."""
    return f"{LINE_END}{LINE_END.join(words)}{LINE_END}"


class _Sought(AbstractSet[str]):
    """The different words of a long text: it is cut into them only when many are asked for.

    To cut a text and to keep its different words costs ten times as much as to find a word in it.

    Args:
        document: with the text as lines.
        lined: these.
        looked: words that were looked for in the whole text.
        present: those of them that are in it.
    """

    def __init__(
        self, document: RuleDocument, lined: str, looked: AbstractSet[str], present: Iterable[str]
    ) -> None:
        self._document = document
        self._lined = lined
        self._looked = looked
        self._known = dict.fromkeys(present, True)
        self._left = _SEARCHES

    def __contains__(self, word: object) -> bool:
        known = self._known.get(word)  # type: ignore[call-overload]  # whatever it is, it is none
        if known is None:
            if word in self._looked:
                return False
            if not self._left:
                return word in self._document.words
            self._left -= 1
            known = self._known[str(word)] = f"{LINE_END}{word}{LINE_END}" in self._lined
        return bool(known)

    def __iter__(self) -> Iterator[str]:
        return iter(self._document.words)

    def __len__(self) -> int:
        return len(self._document.words)

    def __ge__(self, words: AbstractSet[Any]) -> bool:
        return self.issuperset(words)

    def issuperset(self, words: Iterable[str]) -> bool:
        """Whether all of some words are among these; those that were looked for tell it first."""
        known, looked = self._known, self._looked
        open_ones = [word for word in words if word not in known]
        if any(word in looked for word in open_ones):
            return False
        return all(word in self for word in words)

    @classmethod
    def _from_iterable(cls, words: Iterable[Any]) -> frozenset[Any]:
        return frozenset(words)


class _Heard:
    """A document in the form in which conditions look at it; built once for all rules.

    Args:
        document: what it is made of.
        sought: its words, where the text is long and only few may be asked for.
    """

    def __init__(self, document: RuleDocument, sought: _Sought | None = None) -> None:
        self.document = document
        self.folded = document.folded
        self.words = document.words if sought is None else sought
        self.whole = None if sought is None else document.lines
        self.starts: list[int] = []
        self.end = 0
        self.scanned: dict[str, list[int]] = {}
        self.scans = 0
        self.searches = 0

    @once
    def terms(self) -> list[str]:
        """The words in their order."""
        return self.document.terms

    @once
    def is_long(self) -> bool:
        """Whether an index of the words' places is worth its while."""
        return self.whole is not None or len(self.terms) > _LONG

    def positions(self, term: str) -> list[int]:
        """Give the places of a word among the words, rising."""
        if term not in self.words:
            return []
        if not self.is_long:
            return [at for at, other in enumerate(self.terms) if other == term]
        known = self.scanned.get(term)
        if known is None:
            if len(self.scanned) >= _SCANS:
                return self.index[term]
            known = [at for at, other in enumerate(self.terms) if other == term]
            self.scanned[term] = known
        return known

    def first_of(self, words: Collection[str]) -> list[int]:
        """Give the first places of any of some words of the text, rising, at most SPAN_LIMIT."""
        self.scans += self.is_long
        if self.scans <= _SCANS:
            places = compress(count(), map(words.__contains__, self.terms))
            return list(islice(places, SPAN_LIMIT))
        found = sorted(at for word in words for at in self.index[word][:SPAN_LIMIT])
        return found[:SPAN_LIMIT]

    def spans_of(self, words: Collection[str]) -> list[Span]:
        """Give the first places of any of some words of the text, rising, at most SPAN_LIMIT."""
        self.searches += len(words)
        if self.whole is None or self.searches > _SEARCHES:
            return [self.span(at, at) for at in self.first_of(words)]
        found = sorted(span for word in words for span in _places_in_lines(self.whole, word))
        return found[:SPAN_LIMIT]

    @property
    def lined(self) -> str:
        """The words, each on a line: the whole text at first, each word once if asked for often."""
        self.searches += 1
        if self.whole is None or self.searches > _SEARCHES:
            return self.distinct
        return self.whole.text

    @once
    def distinct(self) -> str:
        """The different words, each on a line."""
        return _lined(self.words)

    @once
    def index(self) -> dict[str, list[int]]:
        index: dict[str, list[int]] = {}
        for at, term in enumerate(self.terms):
            index.setdefault(term, []).append(at)
        return index

    @once
    def author_id(self) -> str | None:
        author_id = self.document.author_id
        return None if author_id is None or _is_longer(author_id, KEYWORD_UNITS) else author_id

    @once
    def handle(self) -> str | None:
        handle = self.document.author_handle
        return None if handle is None or _is_longer(handle, HANDLE_UNITS) else fold_value(handle)

    @once
    def hashtags(self) -> frozenset[str]:
        return _folded_values(self.document.hashtags)

    @once
    def mentions(self) -> frozenset[str]:
        return _folded_values(self.document.mentions)

    def span(self, first: int, last: int) -> Span:
        """Give the place of the tokens from the first to the last one.

        Those before it are looked for once, those behind it never; of many all at once.
        """
        starts, terms, end = self.starts, self.terms, self.end
        lines = self.document.lines if last >= len(starts) + _LONG else None
        if lines is not None:
            starts = self.starts = lines.starts()
        elif last >= len(starts):
            find = self.folded.index
            for term in terms[len(starts) : last + 1]:
                start = find(term, end)
                end = start + len(term)
                starts.append(start)
            self.end = end
        return starts[first], starts[last] + len(terms[last])


def _places_in_lines(lines: Lines, word: str) -> Iterator[Span]:
    """Yield the first places of a word in a text of which `lines_of` made lines."""
    wanted, length = f"{LINE_END}{word}{LINE_END}", len(word)
    at = lines.text.find(wanted)
    for _ in range(SPAN_LIMIT):
        if at < 0:
            return
        start = lines.place(at)
        yield start, start + length
        at = lines.text.find(wanted, at + length + 1)


def _is_longer(value: str, units: int) -> bool:
    """Whether a value has more UTF-16 units: the index keeps such a value and never finds it."""
    length = len(value)
    return 2 * length > units and length + sum(letter > "\uffff" for letter in value) > units


def _folded_values(values: Sequence[str]) -> frozenset[str]:
    return frozenset(fold_value(value) for value in values if not _is_longer(value, KEYWORD_UNITS))


_Holds = Callable[[_Heard], bool]
_Finds = Callable[[_Heard], frozenset[Span] | None]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A rule with what is asked of it.

    Args:
        needs: words without which it cannot hit; seen before anything is called.
    """

    rule: Rule
    root: Node
    needs: frozenset[str]
    holds: _Holds
    finds: _Finds


@dataclass(frozen=True)
class RuleSet:
    """Compiled listening rules; immutable, to be built by `compile`.

    Args:
        rules: all, in the given order.
        warnings: (rule id, sentence) of all rules.
    """

    rules: tuple[_Compiled, ...]
    warnings: tuple[tuple[str, str], ...]
    _always: tuple[int, ...] = field(repr=False)
    _anchors: dict[str, int] = field(repr=False)
    _longest: int = field(repr=False)
    _anchored: tuple[tuple[int, ...], ...] = field(repr=False)
    _automaton: AhoCorasick = field(repr=False)

    @classmethod
    def compile(cls, rules: Iterable[Rule]) -> Self:
        """Compile rules; raises RuleSyntaxError that names the rule, ValueError for a repeated id."""
        compiled: list[_Compiled] = []
        warnings: list[tuple[str, str]] = []
        always: list[int] = []
        anchors: dict[str, list[int]] = {}
        seen: set[str] = set()
        for number, rule in enumerate(rules):
            if rule.id in seen:
                raise ValueError(f"Two listening rules are called {rule.id!r}: rename one.")
            seen.add(rule.id)
            try:
                query = parse_rule(rule.query)
            except RuleSyntaxError as error:
                raise RuleSyntaxError(
                    f"Listening rule {rule.id!r}: {error.message}", error.position
                ) from None
            root = query.root
            compiled.append(_Compiled(rule, root, _needs(root), _condition(root), _evidence(root)))
            warnings.extend((rule.id, warning) for warning in query.warnings)
            required = required_terms(query)
            if required is None:
                always.append(number)
            else:
                for term in required:
                    anchors.setdefault(term, []).append(number)
        return cls(
            tuple(compiled),
            tuple(warnings),
            tuple(always),
            {anchor: number for number, anchor in enumerate(anchors)},
            max(map(len, anchors), default=0),
            tuple(tuple(numbers) for numbers in anchors.values()),
            AhoCorasick(list(anchors)),
        )

    def match(self, document: RuleDocument) -> list[RuleHit]:
        """Give the hits of an event in the order of the rules."""
        folded = document.folded
        long = self._found_in_long(document) if len(folded) > _LONG_TEXT else None
        if long is None:
            if len(folded) > _LONG_TEXT:
                folded = _lined(document.words)
            matches = self._automaton.find_matches_as_indexes(folded, overlapping=True)
            found, sought = {anchor for anchor, _, _ in matches}, None
        else:
            found, sought = long
        if not found and not self._always:
            return []
        candidates = set(self._always)
        for anchor in found:
            candidates.update(self._anchored[anchor])
        words = document.words if sought is None else sought
        heard: _Heard | None = None
        hits: list[RuleHit] = []
        for number in sorted(candidates):
            compiled = self.rules[number]
            if not compiled.needs <= words:
                continue
            heard = heard or _Heard(document, sought)
            if compiled.holds(heard):
                spans = compiled.finds(heard) or ()
                rule = compiled.rule
                hits.append(RuleHit(rule.id, tuple(sorted(spans)[:SPAN_LIMIT]), rule.version))
        return hits

    def _found_in_long(self, document: RuleDocument) -> tuple[set[int], _Sought | None] | None:
        """Give the required words that occur in a long text, in words too, and its words.

        None where they occur in masses; no words where they are to be had only by cutting it.
        """
        lines = document.lines
        lined = None if lines is None else lines.text
        text = lined or document.folded
        occur: set[int] = set()
        whole: set[int] = set()
        left = _MOST_FOUND
        for start in range(0, len(text), _STRETCH):
            stretch = text[start : start + _STRETCH + self._longest]
            matches = self._automaton.find_matches_as_indexes(stretch, overlapping=True)
            left -= len(matches)
            if left < 0:
                return None
            for anchor, first, last in matches:
                occur.add(anchor)
                if lined and lined[start + first - 1] == LINE_END == lined[start + last]:
                    whole.add(anchor)
        if lined is None:
            return occur, None
        words = tuple(self._anchors)
        present = [words[anchor] for anchor in whole]
        return occur, _Sought(document, lined, self._anchors.keys(), present)

    def may_match(self, text: str) -> bool:
        """Whether a rule could hear an event with this text: never False where `match` would hit.

        True for every text as soon as one rule requires no word.
        """
        return bool(self._always) or bool(self._automaton.find_matches_as_indexes(fold(text)))


@dataclass(frozen=True, slots=True)
class Finding:
    """What one part of a rule finds in an event.

    Args:
        depth: how many operations stand around it.
        part: `AND`, `OR` or `NOT` for an operation, else the condition in the rule's syntax.
        holds: whether it does.
        spans: places in the text of what was found, at most SPAN_LIMIT; of conditions alone.
    """

    depth: int
    part: str
    holds: bool
    spans: tuple[Span, ...] = ()


def explain_rule(query: RuleQuery, document: RuleDocument) -> tuple[Finding, ...]:
    """Say of each part of a rule whether it holds for an event; the whole rule stands first."""
    return tuple(_findings(query.root, _Heard(document), 0))


def _findings(node: Node, heard: _Heard, depth: int) -> Iterator[Finding]:
    found = _evidence(node)(heard)
    parts: tuple[Node, ...]
    match node:
        case And(parts):
            name = "AND"
        case Or(parts):
            name = "OR"
        case Not(part):
            name, parts = "NOT", (part,)
        case _:
            spans = tuple(sorted(found or ())[:SPAN_LIMIT])
            yield Finding(depth, plain(node), found is not None, spans)
            return
    yield Finding(depth, name, found is not None)
    for part in parts:
        yield from _findings(part, heard, depth + 1)


def required_terms(query: RuleQuery) -> frozenset[str] | None:
    """Give lower-cased strings of which every text that the rule hits contains at least one.

    None when there are none, as in a rule on fields alone: every event has to be looked at.
    """
    return _required(query.root)


def _required(node: Node) -> frozenset[str] | None:
    match node:
        case Word(term):
            return frozenset((term,))
        case Wildcard(pattern):
            return frozenset((_longest_piece(pattern),))
        case Phrase(terms):
            return frozenset((max(terms, key=len),))
        case And(parts):
            known = [required for part in parts if (required := _required(part)) is not None]
            return max(known, key=_selectivity, default=None)
        case Or(parts):
            words, others = _words_apart(parts)
            every = [_required(part) for part in others]
            known = [required for required in every if required is not None]
            return words.union(*known) if len(known) == len(every) else None
    return None


def _words_apart(parts: Iterable[Node]) -> tuple[frozenset[str], list[Node]]:
    """Give the words among alternatives, of which there may be a thousand, and the other ones."""
    terms: list[str] = []
    others: list[Node] = []
    for part in parts:
        if type(part) is Word:
            terms.append(part.term)
        else:
            others.append(part)
    return frozenset(terms), others


def _needs(node: Node) -> frozenset[str]:
    """Give words that every text which the node hits has, all of them."""
    match node:
        case Word(term):
            return frozenset((term,))
        case Phrase(terms):
            return frozenset(terms)
        case And(parts):
            return frozenset().union(*map(_needs, parts))
    return frozenset()


def _longest_piece(pattern: str) -> str:
    return max(re.split(r"[*?]", pattern), key=len)


def _selectivity(terms: frozenset[str]) -> tuple[int, int]:
    """Long words are rare, and few are rarer than many."""
    return min(map(len, terms)), -len(terms)


def _condition(node: Node) -> _Holds:
    """Compile a rule's tree to one function."""
    match node:
        case And(parts):
            return _all_of([_condition(part) for part in sorted(parts, key=_cost)])
        case Or(parts):
            terms, others = _words_apart(parts)
            conditions = [_condition(part) for part in sorted(others, key=_cost)]
            if terms:
                conditions.insert(0, lambda heard: not heard.words.isdisjoint(terms))
            return _any_of(conditions)
        case Not(part):
            condition = _condition(part)
            return lambda heard: not condition(heard)
        case Word() | Wildcard() | Phrase():
            return _text_condition(node)
    return _field_condition(node)


def _text_condition(node: Entry) -> _Holds:
    match node:
        case Word(term):
            return lambda heard: term in heard.words
        case Wildcard(pattern):
            matches, occurs = wildcard_matcher(pattern), _wildcard_lines(pattern).search
            piece = _longest_piece(pattern)
            return lambda heard: (
                piece in heard.folded
                and (
                    occurs(heard.lined) is not None
                    if heard.is_long
                    else any(map(matches, heard.words))
                )
            )
        case Phrase(terms, slop):
            return lambda heard: bool(_places(terms, slop, heard, 1))


_COSTS: Final = {Word: 0, FieldValue: 1, Followers: 1, Has: 1, Phrase: 2, Not: 3, Or: 3, And: 3}


def _cost(node: Node) -> int:
    return _COSTS.get(type(node), 4)


def _all_of(conditions: list[_Holds]) -> _Holds:
    if len(conditions) == 2:
        first, second = conditions
        return lambda heard: first(heard) and second(heard)

    def holds(heard: _Heard) -> bool:
        for condition in conditions:  # noqa: SIM110  # a generator costs more than the conditions
            if not condition(heard):
                return False
        return True

    return holds


def _any_of(conditions: list[_Holds]) -> _Holds:
    if len(conditions) == 1:
        return conditions[0]

    def holds(heard: _Heard) -> bool:
        for condition in conditions:  # noqa: SIM110  # a generator costs more than the conditions
            if condition(heard):
                return True
        return False

    return holds


@lru_cache(maxsize=4096)
def wildcard_matcher(pattern: str) -> Callable[[str], bool]:
    """Compile a wildcard to what says whether a word fits; `*` is any letters, `?` exactly one."""
    if pattern.endswith("*") and not re.search(r"[*?]", pattern[:-1]):
        prefix = pattern[:-1]
        return lambda term: term.startswith(prefix)
    full = re.compile(_wildcard_expression(pattern, "."), re.DOTALL).fullmatch
    return lambda term: full(term) is not None


@lru_cache(maxsize=4096)
def _wildcard_lines(pattern: str) -> re.Pattern[str]:
    """Compile what finds the words that a wildcard matches, in `_lined` words."""
    return re.compile(
        f"{LINE_END}({_wildcard_expression(pattern, f'[^{LINE_END}]')})(?={LINE_END})"
    )


def _wildcard_expression(pattern: str, letter: str) -> str:
    """Give a wildcard as a regular expression; `letter` stands for any letter of a word."""
    first, *others = (re.escape(piece).replace(r"\?", letter) for piece in pattern.split("*"))
    if not others:
        return first
    # The leftmost place of a piece is never worse than a later one: without going back, the
    # time is bounded whatever the text (as in the standard library's fnmatch).
    inner = "".join(f"(?>{letter}*?{piece})" for piece in others[:-1] if piece)
    return f"{first}{inner}{letter}*{others[-1]}"


def _field_condition(node: FieldValue | Followers | Has) -> _Holds:
    match node:
        case FieldValue(name, value, wildcard):
            return _value_condition(name, value, wildcard=wildcard)
        case Followers(low, high):
            least = low or 0
            most = float("inf") if high is None else high

            def within(heard: _Heard) -> bool:
                followers = heard.document.followers
                return followers is not None and least <= followers <= most

            return within
    return _thing_condition(node.thing)


def _thing_condition(thing: str) -> _Holds:
    match thing:
        case "link":
            return lambda heard: heard.document.has_link
        case "media":
            return lambda heard: bool(heard.document.media)
        case "hashtag":
            return lambda heard: bool(heard.document.hashtags)
        case "mention":
            return lambda heard: bool(heard.document.mentions)
    return lambda heard: thing in heard.document.media


def _value_condition(name: str, value: str, *, wildcard: bool) -> _Holds:
    folded = fold_value(value)
    if wildcard:
        return _pattern_condition(name, wildcard_matcher(value), wildcard_matcher(folded))
    if name == "author":
        return lambda heard: heard.author_id == value or heard.handle == folded
    if name == "hashtag":
        return lambda heard: folded in heard.hashtags
    if name == "mention":
        return lambda heard: folded in heard.mentions
    return lambda heard: getattr(heard.document, name) == folded


def _pattern_condition(
    name: str, exact: Callable[[str], bool], matches: Callable[[str], bool]
) -> _Holds:
    if name == "author":
        return lambda heard: exact(heard.author_id or "") or matches(heard.handle or "")
    if name == "hashtag":
        return lambda heard: any(map(matches, heard.hashtags))
    return lambda heard: any(map(matches, heard.mentions))


def _places(terms: tuple[str, ...], slop: int, heard: _Heard, most: int) -> list[Span]:
    """Give the positions (first, last) of the first places of a phrase, at most so many."""
    if not heard.words.issuperset(terms):
        return []
    if slop:
        positions = [heard.positions(term) for term in terms]
        return _sloppy_places(positions, slop, most)
    length = len(terms)
    wanted = list(terms)
    ahead, starts = 0, heard.positions(terms[0])
    if len(starts) > _LONG:  # of a long text: begin with the rarest word
        ahead = min(range(length), key=lambda at: len(heard.positions(terms[at])))
        starts = heard.positions(terms[ahead])
    places: list[Span] = []
    for found in starts:
        start = found - ahead
        if start >= 0 and heard.terms[start : start + length] == wanted:
            places.append((start, start + length - 1))
            if len(places) == most:
                break
    return places


def _sloppy_places(positions: list[list[int]], slop: int, most: int) -> list[Span]:
    """Give the places where different words lie within `slop` moves of a phrase, as Lucene counts.

    Each word's position less its place in the phrase says where the phrase would begin; the moves
    are the width of these beginnings. The smallest is advanced until one word runs out.
    """
    cursors = [0] * len(positions)
    places: list[Span] = []
    while True:
        beginnings = [
            held[cursor] - offset
            for offset, (held, cursor) in enumerate(zip(positions, cursors, strict=True))
        ]
        least = min(beginnings)
        if max(beginnings) - least <= slop:
            here = [begin + offset for offset, begin in enumerate(beginnings)]
            places.append((min(here), max(here)))
            if len(places) == most:
                return places
        lowest = beginnings.index(least)
        # No earlier place of the lowest word comes near the furthest one.
        furthest = max(beginnings) - slop + lowest
        cursors[lowest] = bisect_left(positions[lowest], furthest, cursors[lowest] + 1)
        if cursors[lowest] == len(positions[lowest]):
            return places


def _evidence(node: Node) -> _Finds:
    """Compile what gives the places of what a condition has found, None where it does not hold."""
    match node:
        case Not(part):
            found = _evidence(part)
            return lambda heard: _NOWHERE if found(heard) is None else None
        case And(parts):
            return _evidence_of_parts([_evidence(part) for part in parts], len(parts))
        case Or(parts):
            terms, others = _words_apart(parts)
            found_by = [_evidence(part) for part in others]
            if terms:
                found_by.insert(0, lambda heard: _evidence_of_words(terms, heard))
            return _evidence_of_parts(found_by, 1)
        case Word() | Wildcard() | Phrase():
            return lambda heard: frozenset(_text_places(node, heard)) or None
    holds = _field_condition(node)
    return lambda heard: _NOWHERE if holds(heard) else None


def _evidence_of_parts(parts: list[_Finds], enough: int) -> _Finds:
    def find(heard: _Heard) -> frozenset[Span] | None:
        held = [found for part in parts if (found := part(heard)) is not None]
        return _NOWHERE.union(*held) if len(held) >= enough else None

    return find


def _evidence_of_words(terms: frozenset[str], heard: _Heard) -> frozenset[Span] | None:
    found = terms & heard.words
    return frozenset(heard.spans_of(found)) if found else None


_NOWHERE: Final[frozenset[Span]] = frozenset()


def _text_places(node: Entry, heard: _Heard) -> list[Span]:
    """Give the first places of a word, a wildcard or a phrase."""
    match node:
        case Word(term):
            found = {term} & heard.words
            return heard.spans_of(found) if found else []
        case Wildcard(pattern):
            if heard.is_long:
                words = frozenset(_wildcard_lines(pattern).findall(heard.lined))
            else:
                words = frozenset(filter(wildcard_matcher(pattern), heard.words))
            return heard.spans_of(words) if words else []
        case Phrase(terms, slop):
            places = _places(terms, slop, heard, SPAN_LIMIT)
            return [heard.span(first, last) for first, last in places]
