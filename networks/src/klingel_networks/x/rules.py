"""Stream rules from the brands' listening rules, within the tier's limits; pure.

    plan = derive(brands, TIERS["pay_per_use"])
    plan.rules      what to ask X for, the most valuable first
    plan.left_out   what of the listening rules X cannot be asked for, each with one clear sentence
    plan.wider      what X is asked for more broadly than the listening rule says

What X sends is tried against the listening rules again, so a derived rule may be wider than its
listening rule, which costs posts, but is never knowingly narrower: a condition that X does not know
(a negation, a follower count, a visibility) is left away beside other conditions, and what rests on
nothing else is left out and told. A wildcard has no equal at X.

Value: own accounts first, then listening rules in the order of the brand file, brands in turn.

Source: `x-api/posts/filtered-stream/integrate/{build-a-rule,operators}`; limits of `…/introduction`.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from klingel.config.brand import Brand
from klingel.config.compiled import listening_rules
from klingel.domain.matching import parse_rule
from klingel.domain.rule_syntax import (
    And,
    FieldValue,
    Has,
    Node,
    Not,
    Or,
    Phrase,
    RuleSyntaxError,
    Wildcard,
    Word,
)
from klingel.domain.rule_text import is_run

NETWORK: Final = "x"
TAG_PREFIX: Final = "klingel/"
"""Begins the tag of every rule of ours; rules without it belong to somebody else and stay."""
TAG_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Tier:
    """What an access level allows.

    Attributes:
        rules: at most so many.
        length: characters of one rule.
    """

    rules: int
    length: int


TIERS: Mapping[str, Tier] = {
    "pay_per_use": Tier(rules=1_000, length=1_024),
    "enterprise": Tier(rules=25_000, length=2_048),
}


class StreamRule(NamedTuple):
    """A rule to ask X for.

    Attributes:
        tag: its name at X and in the cost: `klingel/<brand>/<rule>`, behind it `#2` where one
            listening rule takes several.
        value: in X's syntax.
    """

    tag: str
    value: str


class LeftOut(NamedTuple):
    """A part of a listening rule that X cannot be asked for.

    Attributes:
        brand: its brand.
        rule: its listening rule, `accounts` for the own accounts.
        sentence: what and why; never a text of anybody but the brand file.
    """

    brand: str
    rule: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What X is asked for.

    Attributes:
        rules: the most valuable first.
        left_out: what does not fit.
        wider: where X is asked for more than the listening rule says.
    """

    rules: tuple[StreamRule, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    wider: tuple[LeftOut, ...] = ()


class HeldRule(NamedTuple):
    """A rule that X has."""

    id: str
    value: str
    tag: str


class Change(NamedTuple):
    """What brings X's rules to the wanted ones."""

    add: tuple[StreamRule, ...]
    delete: tuple[str, ...]


def derive(
    brands: Sequence[Brand],
    tier: Tier,
    *,
    owned: Collection[str] = (),
    reposts: bool = True,
    foreign: int = 0,
) -> Plan:
    """Return the rules for all brands.

    Args:
        brands: in force.
        tier: its limits.
        owned: ids of accounts that are asked for their mentions instead.
        reposts: whether reposts are wanted.
        foreign: rules of somebody else that count towards the limit.
    """
    queues = [_of_brand(brand, tier, owned, reposts=reposts) for brand in brands]
    left_out = [each for queue in queues for each in queue.left_out]
    wider = tuple(each for queue in queues for each in queue.wider)
    ranked = [
        ranks[at] for at in range(_longest(queues)) for ranks in _ranks(queues) if at < len(ranks)
    ]
    kept: list[StreamRule] = []
    known: set[str] = set()
    room = max(0, tier.rules - foreign)
    for group in ranked:
        for rule in group:
            if rule.value in known:
                continue
            if len(kept) >= room:
                left_out.append(_too_many(rule, tier))
                continue
            known.add(rule.value)
            kept.append(rule)
    return Plan(tuple(kept), tuple(left_out), wider)


def change(held: Sequence[HeldRule], wanted: Sequence[StreamRule]) -> Change:
    """Return what to add and delete; rules of somebody else stay as they are."""
    ours = {(rule.tag, rule.value): rule.id for rule in held if rule.tag.startswith(TAG_PREFIX)}
    stay = {tuple(rule) for rule in wanted}
    return Change(
        tuple(rule for rule in wanted if tuple(rule) not in ours),
        tuple(rule_id for key, rule_id in ours.items() if key not in stay) + tuple(_twice(held)),
    )


def _twice(held: Sequence[HeldRule]) -> Iterator[str]:
    seen: dict[tuple[str, str], str] = {}
    for rule in held:
        key = (rule.tag, rule.value)
        if rule.tag.startswith(TAG_PREFIX) and key in seen:
            yield seen[key]
        seen[key] = rule.id


# --- of one brand --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Queue:
    """The rules of one brand by rank, and what was left out."""

    brand: str
    ranks: list[list[StreamRule]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    wider: list[LeftOut] = field(default_factory=list)


def _ranks(queues: Sequence[_Queue]) -> list[list[list[StreamRule]]]:
    return [queue.ranks for queue in queues]


def _longest(queues: Sequence[_Queue]) -> int:
    return max((len(queue.ranks) for queue in queues), default=0)


def _of_brand(brand: Brand, tier: Tier, owned: Collection[str], *, reposts: bool) -> _Queue:
    queue = _Queue(brand.brand)
    writer = _Writer(tier.length, "" if reposts else " -is:retweet")
    handles = {
        account.id: account.handle for account in brand.accounts if account.network == NETWORK
    }
    accounts = [
        alternative
        for account_id, handle in handles.items()
        if account_id not in owned
        for alternative in _account(account_id, handle)
    ]
    queue.ranks.append(_written(queue, writer, "accounts", accounts))
    try:
        rules = listening_rules(brand)
    except RuleSyntaxError as error:
        queue.left_out.append(LeftOut(brand.brand, "listening", f"a rule is wrong: {error}"))
        return queue
    for rule in rules:
        reader = _Reader(handles)
        alternatives = reader.alternatives(parse_rule(rule.query).root)
        queue.left_out += [LeftOut(brand.brand, rule.id, each) for each in reader.left_out]
        queue.wider += [LeftOut(brand.brand, rule.id, each) for each in reader.wider]
        queue.ranks.append(_written(queue, writer, rule.id, alternatives))
    return queue


def _written(
    queue: _Queue, writer: "_Writer", name: str, alternatives: Sequence["_Expression"]
) -> list[StreamRule]:
    values, too_long = writer.write(alternatives)
    queue.left_out += [
        LeftOut(queue.brand, name, f"longer than {writer.length} characters: {each[:60]}…")
        for each in too_long
    ]
    return [
        StreamRule(
            f"{TAG_PREFIX}{queue.brand}/{name}"[:TAG_MAX] + (f"#{number}" if number > 1 else ""),
            value,
        )
        for number, value in enumerate(values, 1)
    ]


def _too_many(rule: StreamRule, tier: Tier) -> LeftOut:
    _, brand, name = rule.tag.split("/", 2)
    return LeftOut(brand, name, f"more than {tier.rules:,} rules; this one is of less value")


# --- X's syntax ----------------------------------------------------------------------------------


class _Expression(NamedTuple):
    """A part of a rule in X's syntax.

    Attributes:
        text: of an atom, or a conjunction of atoms and groups in parentheses.
        alone: whether X accepts it without another operator.
        groups: of a conjunction, the alternatives of each part.
    """

    text: str
    alone: bool
    groups: tuple[tuple[str, ...], ...]


class _Anything:
    """A condition that X cannot check: it may hold for every post."""


class _Nothing:
    """A condition that no post of X fulfils."""


_ANYTHING, _NOTHING = _Anything(), _Nothing()
_Read = _Expression | _Anything | _Nothing

_PLAIN = re.compile(r"[^\W_]+", re.UNICODE)
_HANDLE = re.compile(r"[A-Za-z0-9_]{1,15}")
_NUMBER = re.compile(r"[0-9]{1,19}")
_RESERVED = frozenset({"or", "and", "not"})
_LANGUAGES = frozenset(
    [
        "am",
        "ar",
        "hy",
        "eu",
        "bn",
        "bg",
        "ca",
        "hr",
        "cs",
        "da",
        "nl",
        "en",
        "et",
        "fi",
        "fr",
        "de",
        "ka",
        "el",
        "gu",
        "iw",
        "hi",
        "hu",
        "in",
        "it",
        "ja",
        "kn",
        "ko",
        "lv",
        "lt",
        "ml",
        "mr",
        "ne",
        "no",
        "fa",
        "pl",
        "pt",
        "ro",
        "ru",
        "sr",
        "sk",
        "sl",
        "es",
        "sv",
        "ta",
        "te",
        "th",
        "tr",
        "uk",
        "ur",
        "vi",
    ]
)
_OTHER_CODES = {"he": "iw", "id": "in"}
_KINDS = {"reply": "is:reply", "repost": "is:retweet", "quote": "is:quote"}
_THINGS = {
    "link": "has:links",
    "media": "has:media",
    "hashtag": "has:hashtags",
    "mention": "has:mentions",
    "image": "has:media",
    "video": "has:media",
}


def _atom(text: str, *, alone: bool = True) -> _Expression:
    return _Expression(text, alone, ((text,),))


def _account(account_id: str, handle: str | None) -> Iterator[_Expression]:
    """Yield what names, answers or is said by an account."""
    if handle is not None and _HANDLE.fullmatch(handle.removeprefix("@")):
        yield _atom("@" + handle.removeprefix("@").lower())
    if _NUMBER.fullmatch(account_id):
        yield _atom(f"to:{account_id}")
        yield _atom(f"from:{account_id}")


class _Reader:
    """Reads the tree of one listening rule."""

    def __init__(self, handles: Mapping[str, str | None]) -> None:
        self._handles = handles
        self.left_out: list[str] = []
        self.wider: list[str] = []

    def alternatives(self, root: Node) -> list[_Expression]:
        """Return what X can be asked for, one expression an alternative of the rule."""
        found: list[_Expression] = []
        for part in root.parts if isinstance(root, Or) else (root,):
            noted = len(self.wider)
            read = self._read(part)
            if isinstance(read, _Nothing):
                continue
            if isinstance(read, _Expression) and read.alone:
                found.append(read)
                continue
            del self.wider[noted:]
            self.left_out.append(_why(part))
        return found

    def _read(self, node: Node) -> _Read:
        if isinstance(node, And):
            return self._all(node)
        if isinstance(node, Or):
            return self._any(node)
        return self._part(node)

    def _part(self, node: Node) -> _Read:
        if isinstance(node, Not):
            return self._not(node)
        if isinstance(node, Word):
            return _atom(_word(node.term))
        if isinstance(node, Phrase):
            return self._phrase(node)
        if isinstance(node, FieldValue):
            return self._field(node)
        if isinstance(node, Has) and node.thing in _THINGS:
            return _atom(_THINGS[node.thing], alone=False)
        return self._drop({Wildcard: "wildcard", Has: "has"}.get(type(node), "followers"))

    def _drop(self, what: str) -> _Anything:
        sentence = f"X is not asked about {_NAMES[what]}"
        if sentence not in self.wider:
            self.wider.append(sentence)
        return _ANYTHING

    def _all(self, node: And) -> _Read:
        parts = [self._read(part) for part in node.parts]
        if any(isinstance(part, _Nothing) for part in parts):
            return _NOTHING
        known = [part for part in parts if isinstance(part, _Expression)]
        if not known:
            return _ANYTHING
        groups = tuple(dict.fromkeys(group for part in known for group in part.groups))
        return _Expression(_joined(groups), any(part.alone for part in known), groups)

    def _any(self, node: Or) -> _Read:
        parts = [self._read(part) for part in node.parts]
        if any(isinstance(part, _Anything) for part in parts):
            return _ANYTHING
        known = [part for part in parts if isinstance(part, _Expression)]
        if not known:
            return _NOTHING
        texts = tuple(dict.fromkeys(text for part in known for text in _alternatives(part)))
        return _Expression(_joined((texts,)), all(part.alone for part in known), (texts,))

    def _not(self, node: Not) -> _Read:
        part = node.part
        if isinstance(part, FieldValue) and part.field == "network" and part.value == NETWORK:
            return _NOTHING
        # X also looks into what a post quotes: a negation there would lose the post that quotes it.
        return self._drop("not")

    def _phrase(self, node: Phrase) -> _Read:
        if not node.slop:
            return _atom(_quoted(node.terms))
        groups = tuple((_word(term),) for term in dict.fromkeys(node.terms))
        self._drop("slop")
        return _Expression(_joined(groups), alone=True, groups=groups)

    def _field(self, node: FieldValue) -> _Read:
        if node.field == "network":
            return _ANYTHING if node.value == NETWORK or node.wildcard else _NOTHING
        if node.wildcard:
            return self._drop("wildcard")
        reader: Callable[[str], _Read] = getattr(self, f"_{node.field}", self._other)
        return reader(node.value)

    def _other(self, value: str) -> _Read:  # noqa: ARG002 - one signature for all fields
        return self._drop("field")

    def _lang(self, value: str) -> _Read:
        code = _OTHER_CODES.get(value, value)
        if code not in _LANGUAGES:
            return self._drop("lang")
        # X does not know the language of every text that our detector knows.
        texts = (f"lang:{code}", "lang:und")
        return _Expression(_joined((texts,)), alone=False, groups=(texts,))

    def _kind(self, value: str) -> _Read:
        if value == "post":
            return _ANYTHING
        operator = _KINDS.get(value)
        return _NOTHING if operator is None else _atom(operator, alone=False)

    def _visibility(self, value: str) -> _Read:
        return _ANYTHING if value == "public" else _NOTHING

    def _author(self, value: str) -> _Read:
        if _NUMBER.fullmatch(value) or _HANDLE.fullmatch(value):
            return _atom(f"from:{value}")
        return _NOTHING

    def _mention(self, value: str) -> _Read:
        handle = self._handles.get(value, value)
        if handle is not None and _HANDLE.fullmatch(handle) and not _NUMBER.fullmatch(handle):
            return _atom(f"@{handle}")
        return self._drop("mention")

    def _hashtag(self, value: str) -> _Read:
        if re.fullmatch(r"\w+", value):
            return _atom(f"#{value}")
        return self._drop("hashtag")


_NAMES = {
    "wildcard": "wildcards",
    "followers": "the number of followers",
    "has": "this kind of attachment",
    "not": "what must not stand there",
    "slop": "how near the words are",
    "field": "this field",
    "lang": "this language",
    "mention": "an account by its number",
    "hashtag": "this hashtag",
}


def _why(node: Node) -> str:
    """Return why a part of a rule cannot be asked for, in the words of its kind."""
    if isinstance(node, Wildcard):
        return f"X knows no wildcards: {node.pattern}"
    if isinstance(node, Not):
        return "X cannot be asked for what does not stand there alone"
    return "no word, phrase, account or hashtag is left that X can be asked for"


def _alternatives(part: _Expression) -> tuple[str, ...]:
    """Return an expression as alternatives inside an OR: a conjunction needs no parentheses there."""
    return part.groups[0] if len(part.groups) == 1 else (part.text,)


def _joined(groups: Sequence[Sequence[str]]) -> str:
    """Return a conjunction: parentheses around what is joined by OR, unless it is all there is."""
    if len(groups) == 1:
        return " OR ".join(groups[0])
    return " ".join(group[0] if len(group) == 1 else f"({' OR '.join(group)})" for group in groups)


def _word(term: str) -> str:
    return term if _PLAIN.fullmatch(term) and term not in _RESERVED else _quoted((term,))


def _quoted(terms: Sequence[str]) -> str:
    """Return a phrase; scripts without spaces are written without them."""
    text = ""
    for term in terms:
        needs_space = bool(text) and (is_run(text[-1]) or is_run(term[:1]))
        text += f" {term}" if needs_space else term
    return '"' + text.replace('"', " ").strip() + '"'


class _Writer:
    """Packs alternatives into rules of a bounded length.

    Args:
        length: characters of one rule.
        suffix: behind every rule, with a space before it.
    """

    def __init__(self, length: int, suffix: str) -> None:
        self.length = length
        self._suffix = suffix

    def write(self, alternatives: Sequence[_Expression]) -> tuple[list[str], list[str]]:
        """Return rules and the alternatives that are too long for one."""
        pieces: list[str] = []
        too_long: list[str] = []
        for alternative in alternatives:
            for text in self._pieces(alternative.groups):
                (pieces if self._fits(1, len(text)) else too_long).append(text)
        rules: list[list[str]] = []
        used = 0
        for text in dict.fromkeys(pieces):
            if rules and self._fits(len(rules[-1]) + 1, used + 4 + len(text)):
                rules[-1].append(text)
                used += 4 + len(text)
            else:
                rules.append([text])
                used = len(text)
        return [self._rule(texts) for texts in rules], too_long

    def _fits(self, count: int, length: int) -> bool:
        brackets = 2 if self._suffix and count > 1 else 0
        return length + brackets + len(self._suffix) <= self.length

    def _rule(self, texts: Sequence[str]) -> str:
        joined = " OR ".join(texts)
        if self._suffix and len(texts) > 1:
            joined = f"({joined})"
        return joined + self._suffix

    def _pieces(self, groups: Sequence[Sequence[str]]) -> Iterator[str]:
        """Yield a conjunction, halved by the alternatives of its longest part while it is too long."""
        if len(groups) == 1:
            yield from groups[0]
            return
        text = _joined(groups)
        longest = max(range(len(groups)), key=lambda at: len(groups[at]))
        if self._fits(1, len(text)) or len(groups[longest]) == 1:
            yield text
            return
        half = len(groups[longest]) // 2
        for part in (groups[longest][:half], groups[longest][half:]):
            yield from self._pieces([*groups[:longest], part, *groups[longest + 1 :]])
