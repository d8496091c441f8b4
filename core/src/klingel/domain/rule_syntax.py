r"""The syntax of listening rules: Lucene's, as far as it means the same in the stream and in the index.

    nordlicht                      a word (also in #nordlicht and @nordlicht; upper case is no matter)
    "rechnung zu hoch"             a phrase
    "internet weg"~3               proximity: the words at most three moves away from the phrase
    verspät*   me?er               wildcards within a word, never first
    a AND b   a b   +a             both (a space is AND)
    a OR b                         either; AND and OR are mixed only with parentheses
    NOT a   -a                     not; beside OR only in parentheses
    lang:de   lang:(de OR en)   network:mastodon   kind:reply   visibility:public
    author:nordlicht   author:"did:plc:abc"   mention:nordlicht   hashtag:strom*
    followers:[1000 TO *]   followers:>=1000   followers:{0 TO 10}   has:link   has:(image OR video)
    dictionary:products            any entry of this list of the brand file
    nordlicht^2                    a boost is ignored, with a warning

The grammar is luqum's. What classic Lucene reads otherwise than a person would (`a OR b c`, `a OR NOT
b`), or otherwise than luqum does (`a/b`, `!a`, `a && b`), is refused with what to write instead, so
that one and the same string gives the same hits in the stream and as a `query_string` in the index.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NoReturn

from luqum import tree
from luqum.exceptions import ParseError
from luqum.thread import parse

from klingel.domain.rule_text import TOKEN_LIMIT, fold, is_run, terms_of

QUERY_LIMIT: Final = 16_384
"""Longest rule in characters."""

DEPTH_LIMIT: Final = 12
"""Deepest nesting of parentheses; Elasticsearch allows 30 nested queries."""

CLAUSE_LIMIT: Final = 1_000
"""Most conditions in a rule; Elasticsearch promises 1,024 clauses."""

SLOP_LIMIT: Final = 1_000
"""Widest proximity in moves."""

COUNT_LIMIT: Final = 10**15
"""Largest number of followers that can be asked for."""

WILDCARD_LIMIT: Final = 8
"""Most wildcards in a word: Lucene gives up an automaton that takes more than 10,000 steps to build,
which thirteen of them can (measured on 8.16 and 9.4)."""

KINDS: Final = frozenset(
    [
        "post",
        "reply",
        "repost",
        "quote",
        "comment",
        "direct_message",
        "email",
        "review",
        "reaction",
        "story",
        "chat",
        "unknown",
    ]
)
VISIBILITIES: Final = frozenset({"public", "unlisted", "followers", "private"})
MEDIA_KINDS: Final = ("image", "video", "audio", "file", "sticker", "location")
THINGS: Final = ("link", "media", "hashtag", "mention", *MEDIA_KINDS)
"""What `has:` can ask for; `media` is an attachment of any kind."""
FIELDS: Final = (
    "lang",
    "network",
    "kind",
    "author",
    "followers",
    "has",
    "hashtag",
    "mention",
    "visibility",
)
DICTIONARY: Final = "dictionary"
"""Written like a field; stands for the entries of a list of the brand file."""


class RuleSyntaxError(ValueError):
    """A listening rule cannot be read.

    Args:
        message: one sentence: what is wrong and what would be right.
        position: code point of the rule at which it is wrong, from 0.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (at character {position + 1})")
        self.message = message
        self.position = position


@dataclass(frozen=True, slots=True)
class Word:
    """A token of the text, lower-cased."""

    term: str


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A token of the text by pattern: `*` is any letters, `?` is one; lower-cased."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Phrase:
    """Two or more tokens; with a slop of 0 in a row, else at most that many moves away from it."""

    terms: tuple[str, ...]
    slop: int = 0


@dataclass(frozen=True, slots=True)
class FieldValue:
    """A field holds the value; with `wildcard` the value is a pattern."""

    field: str
    value: str
    wildcard: bool = False


@dataclass(frozen=True, slots=True)
class Followers:
    """The author's known followers lie within the inclusive bounds; None is no bound."""

    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class Has:
    """The event carries at least one of THINGS."""

    thing: str


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Node"


Entry = Word | Wildcard | Phrase
"""What is looked for in the text; also what a dictionary consists of."""

Node = Entry | FieldValue | Followers | Has | And | Or | Not


@dataclass(frozen=True, slots=True)
class RuleQuery:
    """A listening rule that was understood.

    Args:
        source: as the user wrote it.
        root: its meaning.
        warnings: sentences about what is ignored or unlikely to be meant.
        dictionaries: names of those that it refers to, each once, in their order.
    """

    source: str
    root: Node
    warnings: tuple[str, ...] = ()
    dictionaries: tuple[str, ...] = ()


def parse_rule(query: str, dictionaries: Mapping[str, Sequence[Entry]] | None = None) -> RuleQuery:
    """Read a listening rule; raises RuleSyntaxError with position and remedy, nothing else.

    Args:
        query: as the user wrote it.
        dictionaries: entries by the name under which `dictionary:` refers to them.
    """
    lists: dict[str, tuple[Entry, ...]] = {}
    # What is wrong is looked for in the whole, where it has its place.
    with suppress(RuleSyntaxError):
        shorter = _without_lists(query, lists)
        if lists:
            return replace(_parse(shorter, {**(dictionaries or {}), **lists}), source=query)
    return _parse(query, dictionaries or {})


_LISTED: Final = r"(?:(?!(?:AND|OR|NOT|TO)\b)\w[\w\u0300-\u036f*?]*+|\"[^\"\\*]*\")(?= OR |\)|\Z)"
_LONG_LIST: Final = 20
_LIST = re.compile(
    r"\"(?:[^\"\\]|\\.)*+\"|\\."
    rf"|(?P<list>(?:\A|(?<=[^:\\]\()|(?<=\A\()){_LISTED}(?: OR {_LISTED}){{{_LONG_LIST - 1},}}+)"
)
"""What is quoted or escaped, or the beginning of alternatives that are many entries in a row."""
_LIST_SIGN: Final = "\ue000"
"""Begins the name of such a list, as no dictionary's name does."""


def _without_lists(query: str, lists: dict[str, tuple[Entry, ...]]) -> str:
    """Give a rule with long lists of alternatives as dictionaries, which are put into `lists`.

    The grammar takes some 30 microseconds for each alternative, and a dictionary with its typing
    errors has a thousand of them, in every rule that refers to it.
    """
    if len(query) > QUERY_LIMIT or query.count(" OR ") < _LONG_LIST - 1 or _LIST_SIGN in query:
        return query

    def name_of(found: re.Match[str]) -> str:
        written = found["list"]
        entries = _entries_of(written) if written else None
        if entries is None:
            return found[0]
        name = f"{_LIST_SIGN}{len(lists)}"
        lists[name] = entries
        return f"{DICTIONARY}:{name}"

    return _LIST.sub(name_of, query)


@lru_cache(maxsize=16)
def _entries_of(written: str) -> tuple[Entry, ...] | None:
    """Read a list of alternatives as the grammar does; None where it has something to say."""
    items = written.split(" OR ")
    plain = [item for item in items if '"' not in item and "*" not in item and "?" not in item]
    if terms_of(" ".join(plain)) != plain or fold(written) != written.replace(" OR ", " or "):
        return None
    reader = _Reader({})
    entries: list[Entry] = []
    for item in items:
        if '"' in item[1:-1] or (item[0] == '"') != (item[-1] == '"'):
            return None  # a phrase that holds the word OR
        if item[0] == '"':
            entry = reader.read(tree.Phrase(item), None)
        elif "*" in item or "?" in item:
            entry = reader.read(tree.Word(item), None)
        else:
            entry = _word(item)
        if not isinstance(entry, Entry):
            return None
        entries.append(entry)
    return None if reader.warnings else tuple(entries)


_word = lru_cache(maxsize=8192)(Word)


def _parse(query: str, dictionaries: Mapping[str, Sequence[Entry]]) -> RuleQuery:
    _Scan(query).check()
    try:
        item = parse(query)
    except ParseError as error:
        _refuse_grammar(query, error)
    except (ValueError, ArithmeticError):
        found = re.search(r"[~^][0-9.]+", query)
        raise RuleSyntaxError(
            'The number after ~ or ^ cannot be read: write a whole number, as in "a b"~3.',
            found.start() if found else 0,
        ) from None
    reader = _Reader(dictionaries)
    root = reader.read(item, None)
    if not _requires(root):
        reader.warnings.append(
            "The rule requires neither a word nor a field: it hears almost everything."
        )
    return RuleQuery(
        query, root, tuple(dict.fromkeys(reader.warnings)), tuple(dict.fromkeys(reader.named))
    )


def read_entry(words: str) -> Entry:
    """Read an entry of a dictionary: a word, a word with wildcards, or several words in a row.

    It has no operators: `and` is the word, signs part words as everywhere.

    Raises:
        RuleSyntaxError: it holds no word, or a wildcard where none can be.
    """
    literal = words.strip()
    if len(literal.split()) == 1 and re.search(r"[*?]", literal):
        if literal[0] in "*?":
            raise RuleSyntaxError(
                "A wildcard cannot come first: begin with at least one letter, as in a*.", 0
            )
        return _Reader({}).wildcard([(letter, letter in "*?") for letter in literal], 0)
    if "*" in literal:
        raise RuleSyntaxError(
            "A wildcard works within a single word: name the forms one by one.", literal.index("*")
        )
    terms = tuple(terms_of(fold(literal)))
    if not terms:
        raise RuleSyntaxError("The entry holds no letter, digit or symbol.", 0)
    return Word(terms[0]) if len(terms) == 1 else Phrase(terms)


def leaves(node: Node) -> Iterable[Node]:
    """Give the conditions of a rule in their order, those below a NOT too."""
    if isinstance(node, And | Or):
        for part in node.parts:
            yield from leaves(part)
    elif isinstance(node, Not):
        yield from leaves(node.part)
    else:
        yield node


def _refuse_grammar(query: str, error: ParseError) -> NoReturn:
    """Turn luqum's error into one sentence with a place."""
    found = re.search(r"at position (\d+)!?$", str(error))
    position = int(found.group(1)) if found else len(query)
    if position >= len(query):
        raise RuleSyntaxError(
            "The rule ends too early: a word, a phrase or a group is missing.", position
        ) from None
    word = re.match(r"\w+", query[position:])
    unexpected = word.group() if word else query[position]
    raise RuleSyntaxError(
        f"{unexpected[:40]!r} is not expected here: put what is meant literally in quotes.",
        position,
    ) from None


def _requires(node: Node) -> bool:
    """Whether an event must have something, rather than only lack something, to be hit."""
    if isinstance(node, Not):
        return False
    if isinstance(node, And):
        return any(map(_requires, node.parts))
    if isinstance(node, Or):
        return all(type(part) is Word or _requires(part) for part in node.parts)
    return True


class _Scan:
    """Refuses, before the grammar, what Lucene and luqum would read differently."""

    _BLANK = " \t\n\r\u3000"
    _CURLY = "“”„‟«»"

    def __init__(self, query: str) -> None:
        self.query = query
        self.opened: list[int] = []
        self.in_word = False

    def check(self) -> None:
        """Raise RuleSyntaxError for the first thing that is wrong."""
        if len(self.query) > QUERY_LIMIT:
            raise RuleSyntaxError(
                f"The rule is longer than {QUERY_LIMIT} characters: split it into several rules.",
                QUERY_LIMIT,
            )
        if not self.query.strip(self._BLANK):
            raise RuleSyntaxError("The rule is empty: write at least one word.", 0)
        at = 0
        while at < len(self.query):
            at = self._step(at)
        if self.opened:
            raise RuleSyntaxError(
                "This parenthesis is never closed: add ) or put it in quotes.", self.opened[-1]
            )

    def _step(self, at: int) -> int:
        """Check the character at a place outside quotes; return the place of the next one."""
        letter = self.query[at]
        if letter == "\\":
            self.in_word = True
            return self._escaped(at)
        if letter == '"':
            return self._phrase(at)
        if letter.isspace() or letter in "()":
            self._blank_or_parenthesis(at, letter)
        elif letter in ":^~[]{}":
            self.in_word = False
        else:
            self._word(at, letter)
            self.in_word = self.in_word or letter not in "+-"
        return at + 1

    def _escaped(self, at: int) -> int:
        following = self.query[at + 1 : at + 2]
        if not following:
            raise RuleSyntaxError("The rule ends with a backslash: write it twice or not.", at)
        if following in "uU":
            raise RuleSyntaxError("An escape by number is not read: write the character.", at)
        return at + 2

    def _phrase(self, at: int) -> int:
        if self.in_word:
            raise RuleSyntaxError(
                "A quote within a word: put a space before the phrase, or a backslash before "
                "a quote that is meant literally.",
                at,
            )
        end = at + 1
        while end < len(self.query) and self.query[end] != '"':
            end = self._escaped(end) if self.query[end] == "\\" else end + 1
        if end >= len(self.query):
            raise RuleSyntaxError('This quote is never closed: add " after the phrase.', at)
        return end + 1

    def _blank_or_parenthesis(self, at: int, letter: str) -> None:
        self.in_word = False
        if letter == "(":
            self.opened.append(at)
            if len(self.opened) > DEPTH_LIMIT:
                raise RuleSyntaxError(
                    f"Parentheses are nested more than {DEPTH_LIMIT} deep: split the rule.", at
                )
        elif letter == ")":
            if not self.opened:
                raise RuleSyntaxError(
                    "This parenthesis was never opened: remove it or put it in quotes.", at
                )
            self.opened.pop()
        elif letter not in self._BLANK:
            raise RuleSyntaxError("This kind of space parts no words: write an ordinary one.", at)

    def _word(self, at: int, letter: str) -> None:
        two = self.query[at : at + 2]
        if letter in self._CURLY:
            raise RuleSyntaxError('Curly quotes make no phrase: write straight ones, ".', at)
        if two in ("&&", "||"):
            raise RuleSyntaxError(f"{two} is written {'AND' if two == '&&' else 'OR'} here.", at)
        if letter == "!":
            raise RuleSyntaxError("! is written NOT here; leave it out if it is punctuation.", at)
        if letter == "/":
            raise RuleSyntaxError(
                "Regular expressions are not possible: use wildcards; put a slash that is meant "
                "literally in quotes.",
                at,
            )
        if letter in "+-" and not self.in_word and (not two[1:] or two[1].isspace()):
            raise RuleSyntaxError(f"{letter} stands alone: write it next to its word.", at)


_Literal = list[tuple[str, bool]]
"""The letters of a word, each with whether it is a wildcard."""


def _letters(value: str) -> _Literal:
    """Resolve the escapes of a word."""
    letters: _Literal = []
    escaped = False
    for letter in value:
        if escaped or letter != "\\":
            letters.append((letter, not escaped and letter in "*?"))
            escaped = False
        else:
            escaped = True
    return letters


def _unescape(value: str) -> str:
    return "".join(letter for letter, _ in _letters(value))


class _Reader:
    """Turns luqum's tree into ours; `field` is the field a group of values belongs to, or None."""

    def __init__(self, dictionaries: Mapping[str, Sequence[Entry]]) -> None:
        self.dictionaries = dictionaries
        self.named: list[str] = []
        self.warnings: list[str] = []
        self.clauses = 0
        self.readers: dict[type, Callable[..., Node]] = {
            tree.Word: self._word,
            tree.Phrase: self._phrase,
            tree.Proximity: self._proximity,
            tree.Fuzzy: self._fuzzy,
            tree.Regex: self._fuzzy,
            tree.Boost: self._boost,
            tree.Group: self._group,
            tree.FieldGroup: self._group,
            tree.AndOperation: self._all,
            tree.UnknownOperation: self._all,
            tree.OrOperation: self._any,
            tree.Not: self._not,
            tree.Prohibit: self._not,
            tree.Plus: self._plus,
            tree.SearchField: self._field,
            tree.Range: self._range,
            tree.From: self._open_range,
            tree.To: self._open_range,
        }

    def read(self, item: tree.Item, field: str | None) -> Node:
        return self.readers[type(item)](item, field)

    def _leaf(self, item: tree.Item, conditions: int = 1) -> int:
        """Count a condition, or so many that it stands for; return its place."""
        self.clauses += conditions
        position = int(item.pos or 0)
        if self.clauses > CLAUSE_LIMIT:
            raise RuleSyntaxError(
                f"The rule has more than {CLAUSE_LIMIT} conditions: split it into several rules.",
                position,
            )
        return position

    def _boost(self, item: tree.Boost, field: str | None) -> Node:
        self.warnings.append("A boost (^) changes no hits and is ignored.")
        return self.read(item.expr, field)

    def _group(self, item: tree.BaseGroup, field: str | None) -> Node:
        return self.read(item.expr, field)

    def _fuzzy(self, item: tree.Item, _field: str | None) -> NoReturn:
        raise RuleSyntaxError(
            "Fuzzy words and regular expressions are not possible: name the misspellings, as in "
            "(rechnung OR rechung), or use wildcards.",
            self._leaf(item),
        )

    def _plus(self, item: tree.Plus, field: str | None) -> Node:
        if isinstance(item.a, tree.Not | tree.Prohibit | tree.Plus):
            raise RuleSyntaxError("Two signs in a row: write one.", int(item.pos or 0))
        return self.read(item.a, field)

    def _not(self, item: tree.Not | tree.Prohibit, field: str | None) -> Node:
        if isinstance(item.a, tree.Not | tree.Prohibit | tree.Plus):
            raise RuleSyntaxError("Two signs in a row: write one NOT.", int(item.pos or 0))
        return Not(self.read(item.a, field))

    def _all(self, item: tree.BaseOperation, field: str | None) -> Node:
        parts: list[Node] = []
        for part in item.operands:
            if isinstance(part, tree.OrOperation):
                self._refuse_mix(part)
            node = self.read(part, field)
            parts.extend(node.parts if isinstance(part, _CONJUNCTIONS) else (node,))  # type: ignore[union-attr]  # reading a conjunction gives an And
        return And(tuple(parts))

    def _any(self, item: tree.OrOperation, field: str | None) -> Node:
        for part in item.operands:
            if isinstance(part, _CONJUNCTIONS):
                self._refuse_mix(part)
            if isinstance(part, tree.Not | tree.Prohibit | tree.Plus):
                raise RuleSyntaxError(
                    "NOT, - or + directly beside OR means something else in Lucene: put it in "
                    "parentheses, as in a OR (NOT b).",
                    int(part.pos or 0),
                )
        parts: list[Node] = []
        for part in item.operands:
            node = self.read(part, field)
            parts.extend(node.parts if isinstance(node, Or) else (node,))
        return Or(tuple(parts))

    def _refuse_mix(self, item: tree.Item) -> NoReturn:
        raise RuleSyntaxError(
            "AND (or a space) and OR are mixed: put parentheses round what belongs together, as "
            "in a AND (b OR c).",
            int(item.pos or 0),
        )

    def _word(self, item: tree.Word, field: str | None) -> Node:
        position = self._leaf(item)
        if re.search(r"(?<!\\)(?:\\\\)*:", item.value):
            raise RuleSyntaxError(
                "A colon parts a field from its value: put the whole in quotes if it is text.",
                position,
            )
        letters = _letters(item.value)
        wildcard = any(is_wildcard for _, is_wildcard in letters)
        if wildcard and letters[0][1]:
            raise RuleSyntaxError(
                "A wildcard cannot come first: begin with at least one letter, as in a*.", position
            )
        if field is not None:
            if wildcard and any(letter in "*?" and not wild for letter, wild in letters):
                raise RuleSyntaxError(
                    "A literal * or ? cannot stand beside a wildcard: leave one out.", position
                )
            self._check_wildcards(letters, position)
            if field == DICTIONARY:
                return self._dictionary(item, item.value)
            return _field_value(field, "".join(letter for letter, _ in letters), wildcard, position)
        if wildcard:
            return self.wildcard(letters, position)
        return self._plain("".join(letter for letter, _ in letters), position)

    def _plain(self, literal: str, position: int) -> Node:
        terms = terms_of(fold(literal))
        if not terms:
            raise RuleSyntaxError(
                f"{literal!r} holds no letter, digit or symbol: it can never be found; leave it "
                "out.",
                position,
            )
        if len(terms) > 1:
            phrase = " ".join(terms) if '"' in literal or "\\" in literal else literal
            raise RuleSyntaxError(
                f'{literal!r} is more than one word: write it as a phrase, "{phrase}".',
                position,
            )
        self._warn_of_signs(literal)
        return Word(terms[0])

    @staticmethod
    def _check_wildcards(letters: _Literal, position: int) -> None:
        if sum(is_wildcard for _, is_wildcard in letters) > WILDCARD_LIMIT:
            raise RuleSyntaxError(
                f"A word has at most {WILDCARD_LIMIT} wildcards: write out more of it, or name the "
                "forms with OR.",
                position,
            )

    def _dictionary(self, item: tree.Item, name: str) -> Node:
        """Put the entries of a dictionary in the place of its name."""
        entries = self.dictionaries.get(name)
        position = int(item.pos or 0)
        if entries is None:
            known = ", ".join(sorted(self.dictionaries)[:20])
            right = f"there are {known}" if known else "the brand file has no dictionaries"
            raise RuleSyntaxError(f"There is no dictionary {name[:40]!r}: {right}.", position)
        if not entries:
            raise RuleSyntaxError(f"The dictionary {name!r} is empty: add an entry.", position)
        self._leaf(item, len(entries) - 1)
        if name[0] != _LIST_SIGN:
            self.named.append(name)
        return entries[0] if len(entries) == 1 else Or(tuple(entries))

    def wildcard(self, letters: _Literal, position: int) -> Wildcard:
        """Read a word with wildcards."""
        self._check_wildcards(letters, position)
        literal = "".join(letter for letter, is_wildcard in letters if not is_wildcard)
        if not is_run(fold(literal)) or len(letters) > TOKEN_LIMIT:
            raise RuleSyntaxError(
                "A wildcard works within one word of letters and digits: leave out signs "
                "(nord* instead of #nord*), and write several words as a phrase.",
                position,
            )
        return Wildcard(fold("".join(letter for letter, _ in letters)))

    def _warn_of_signs(self, literal: str) -> None:
        if "#" in literal:
            self.warnings.append("# is no part of a word: hashtag: hits hashtags only.")
        if "@" in literal:
            self.warnings.append("@ is no part of a word: mention: hits mentions only.")

    def _phrase(self, item: tree.Phrase, field: str | None) -> Node:
        position = self._leaf(item)
        literal = _unescape(item.value[1:-1])
        if field == DICTIONARY:
            return self._dictionary(item, literal)
        if field is not None:
            return _field_value(field, literal, False, position)  # noqa: FBT003  # a quoted value has no wildcards
        return self._terms(literal, 0, position)

    def _proximity(self, item: tree.Proximity, field: str | None) -> Node:
        position = self._leaf(item)
        if field is not None:
            raise RuleSyntaxError(f"Proximity is for text, not for {field}: leave out ~.", position)
        if item._implicit_degree or item.degree > SLOP_LIMIT:  # noqa: SLF001  # luqum keeps "no number" only there
            raise RuleSyntaxError(
                f'Proximity needs a number up to {SLOP_LIMIT}, as in "a b"~3.', position
            )
        node = self._terms(_unescape(item.term.value[1:-1]), item.degree, position)
        if isinstance(node, Phrase) and node.slop and len(set(node.terms)) < len(node.terms):
            raise RuleSyntaxError(
                "Proximity takes each word once: leave out the repetition.", position
            )
        return node

    def _terms(self, literal: str, slop: int, position: int) -> Node:
        terms = tuple(terms_of(fold(literal)))
        if not terms:
            raise RuleSyntaxError(
                "The phrase holds no letter, digit or symbol: it can never be found.", position
            )
        self._warn_of_signs(literal)
        if "*" in literal:
            self.warnings.append("* means nothing within a phrase and is ignored.")
        return Word(terms[0]) if len(terms) == 1 else Phrase(terms, slop)

    def _field(self, item: tree.SearchField, field: str | None) -> Node:
        position = int(item.pos or 0)
        if field is not None:
            raise RuleSyntaxError(f"A field within the field {field}: name only one.", position)
        if item.name not in FIELDS and item.name != DICTIONARY:
            known = ", ".join([*FIELDS, DICTIONARY])
            raise RuleSyntaxError(
                f"There is no field {item.name[:40]!r}: there are {known}; put a "
                "colon that is meant literally in quotes.",
                position,
            )
        inner = item.expr
        while isinstance(inner, tree.Boost):
            inner = inner.expr
        if isinstance(inner, tree.Not | tree.Prohibit | tree.Plus | tree.SearchField):
            raise RuleSyntaxError(
                f"A value of {item.name} is missing: write NOT {item.name}:… or {item.name}:(…).",
                position,
            )
        return self.read(item.expr, item.name)

    def _range(self, item: tree.Range, field: str | None) -> Node:
        position = self._range_position(item, field)
        low = self._bound(item.low, position)
        high = self._bound(item.high, position)
        if low is not None and not item.include_low:
            low += 1
        if high is not None and not item.include_high:
            high -= 1
        return Followers(low, high)

    def _open_range(self, item: tree.OpenRange, field: str | None) -> Node:
        position = self._range_position(item, field)
        bound = self._bound(item.a, position)
        if bound is None:
            raise RuleSyntaxError("A number is missing, as in followers:>=1000.", position)
        if isinstance(item, tree.From):
            return Followers(bound if item.include else bound + 1, None)
        return Followers(None, bound if item.include else bound - 1)

    def _range_position(self, item: tree.Item, field: str | None) -> int:
        position = self._leaf(item)
        if field != "followers":
            raise RuleSyntaxError(
                "A range is possible only on followers, as in followers:[1000 TO *].", position
            )
        return position

    def _bound(self, item: tree.Item, position: int) -> int | None:
        value = item.value if isinstance(item, tree.Word) else ""
        return None if value == "*" else _count(value, position)


_CONJUNCTIONS = (tree.AndOperation, tree.UnknownOperation)


def _count(value: str, position: int) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", value) or int(value) > COUNT_LIMIT:
        raise RuleSyntaxError(
            "Followers are counted in whole numbers, as in followers:[1000 TO *].", position
        )
    return int(value)


def _field_value(field: str, value: str, wildcard: bool, position: int) -> Node:  # noqa: FBT001  # both kinds of value are checked in one place
    """Check the value of a field and bring it to the form in which the field is compared."""
    if field in ("author", "hashtag", "mention"):
        bare = value.removeprefix("#" if field == "hashtag" else "@")
        if not bare or bare[0] in "*?" * wildcard:
            raise RuleSyntaxError(f"A value of {field} is missing, as in {field}:nord*.", position)
        return FieldValue(field, bare, wildcard)
    if wildcard:
        raise RuleSyntaxError(
            f"Wildcards are not possible on {field}: name the values, as in {field}:(a OR b).",
            position,
        )
    if field == "followers":
        count = _count(value, position)
        return Followers(count, count)
    value = value.lower()
    if field == "has":
        if value not in THINGS:
            known = ", ".join(f"has:{thing}" for thing in THINGS)
            raise RuleSyntaxError(f"There is no has:{value[:40]}: there are {known}.", position)
        return Has(value)
    _check_closed(field, value, position)
    return FieldValue(field, value)


def _check_closed(field: str, value: str, position: int) -> None:
    """Refuse a value that the field can never hold."""
    if field in ("kind", "visibility"):
        known = KINDS if field == "kind" else VISIBILITIES
        if value not in known:
            raise RuleSyntaxError(
                f"There is no {field} {value[:40]!r}: there are {', '.join(sorted(known))}.",
                position,
            )
    elif field == "lang" and not re.fullmatch(r"[a-z]{2,3}", value):
        raise RuleSyntaxError(
            "A language is a code of two or three letters, as in lang:de.", position
        )
    elif field == "network" and not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", value):
        raise RuleSyntaxError("A network is one lower-case word, as in network:mastodon.", position)
