"""What rules imply of one another: known answers, and never more than any document bears out."""

import random

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from klingel.domain.matching import Rule, RuleDocument, RuleSet, parse_rule
from klingel.domain.rule_logic import (
    Every,
    Least,
    Never,
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

WORLD = World()
SEED = 20261123


def meant(query: str) -> Node:
    return parse_rule(query).root


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("lang:de", "lang:de netz"),
        ("lang:(de OR en)", "lang:en"),
        ("a OR b", "a"),
        ("a OR b", "(a c) OR (b d)"),
        ("(a OR b) (c OR d)", "a d"),
        ("NOT (a b)", "NOT a"),
        ("NOT lang:de", "lang:en"),
        ("nord*", "nordlicht"),
        ("nor*", "nord*"),
        ("n*t", "nord?icht"),
        ("n?*d*", "no*?rd?"),
        ("nord*", '"strom nordlicht"'),
        ("strom", '"strom weg"~4'),
        ('"b c"', '"a b c d"'),
        ('"a b"~3', '"a b"'),
        ('"a b"~3', '"a b"~2'),
        ('"a c"~1', '"a b c"'),
        ('"c a"~3', '"a b c"'),
        ("followers:>=100", "followers:[200 TO 300]"),
        ("followers:[* TO *]", "followers:7"),
        ("NOT followers:[5 TO 9]", "followers:>9"),
        ("has:media", "has:image"),
        ("has:hashtag", "hashtag:strom"),
        ("has:mention", "mention:nord*"),
        ("hashtag:Strom*", "hashtag:stromausfall"),
        ("author:nord*", "author:nordlicht"),
        ("author:nord*", "author:nordl*"),
        ("kind:(post OR reply) OR (NOT kind:(post OR reply))", "a"),
        ("visibility:(public OR unlisted OR followers OR private)", "a"),
    ],
)
def test_what_hits_whenever_another_does(wide: str, narrow: str) -> None:
    assert hits_whenever(meant(wide), meant(narrow), WORLD)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("a", "a OR b"),
        ("lang:de netz", "lang:de"),
        ("nord*", "nor*"),
        ("n?rd*", "n*rd"),
        ('"a b"', "a b"),
        ('"a b"', '"a b"~1'),
        ('"a c"', '"a b c"'),
        ('"c a"~2', '"a b c"'),
        ("followers:>=100", "followers:[50 TO 300]"),
        ("NOT followers:[5 TO 9]", "followers:>8"),
        ("has:media", "has:link"),
        ("has:link", "has:media"),
        ("lang:(de OR en)", "a"),
        ("author:nord*", "mention:nordlicht"),
        ("author:Nord*", "author:nordlicht"),
        ("author:nordlicht", "author:Nordlicht"),
        ("NOT author:nordlicht", "author:other"),
    ],
)
def test_what_another_does_not_take(wide: str, narrow: str) -> None:
    assert not hits_whenever(meant(wide), meant(narrow), WORLD)


@pytest.mark.parametrize(
    "query",
    [
        "lang:de lang:en",
        "(lang:de OR lang:en) (lang:fr OR lang:it)",
        "a -a",
        "nordlicht -nord*",
        '"a b" -a',
        '"a b c" NOT "b c"~2',
        "(a OR b) -a -b",
        "followers:<10 followers:>20",
        "followers:[5 TO 3]",
        "followers:[1 TO 9] NOT followers:[0 TO 5] NOT followers:[6 TO 12]",
        "has:image NOT has:media",
        "author:a author:b author:c",
        f"NOT kind:({' OR '.join(sorted(KINDS))})",
    ],
)
def test_what_excludes_itself(query: str) -> None:
    assert is_impossible(meant(query), WORLD)


@pytest.mark.parametrize(
    "query",
    ["a b", "author:a author:b", "NOT lang:de NOT lang:en", "hashtag:a hashtag:b", "a -b"],
)
def test_what_does_not_exclude_itself(query: str) -> None:
    assert not is_impossible(meant(query), WORLD)


def test_numbers_exclude_each_other_by_their_bounds() -> None:
    low, high = Least("anger", 0.2), Least("anger", 0.7)
    assert hits_whenever(low, high, WORLD)
    assert not hits_whenever(high, low, WORLD)
    assert is_impossible(Every((high, Never(low))), WORLD)
    assert is_impossible(Least("priority", 90), World(most={"priority": 85.0}))
    assert not is_impossible(Least("priority", 85), World(most={"priority": 85.0}))


def test_several_take_together_what_none_takes_alone() -> None:
    both = World({"again": frozenset({"yes", "no"})})
    wide = [any_of("again", ["yes"]), meant("a"), any_of("again", ["no"])]
    assert not any(hits_whenever(each, Every(()), both) for each in wide)
    assert takes_all(wide, Every(()), both)
    assert needed_of(wide, Every(()), both) == [0, 2]


def test_the_conditions_that_are_named_are_those_that_exclude_each_other() -> None:
    parts = [meant("a"), meant("lang:de"), meant("b"), meant("NOT lang:de")]
    assert least_of(parts, WORLD) == [1, 3]


def test_a_question_that_costs_too_much_is_left_open() -> None:
    """Pigeons and holes: impossible, and no short way to see it."""
    holes, pigeons = range(8), range(9)
    somewhere = [Or(tuple(Word(f"p{p}h{h}") for h in holes)) for p in pigeons]
    apart = [
        Not(And((Word(f"p{p}h{h}"), Word(f"p{q}h{h}"))))
        for h in holes
        for p in pigeons
        for q in range(p)
    ]
    assert not is_impossible(And((*somewhere, *apart)), WORLD)


def test_lists_of_a_thousand_words_are_compared() -> None:
    words = tuple(Word(f"w{number}") for number in range(1_000))
    assert hits_whenever(Or(words), Or(words[:900]), WORLD)
    assert not hits_whenever(Or(words[:900]), Or(words), WORLD)


WORDS = ("a", "b", "ab", "abc", "b1")
entries = st.one_of(
    st.sampled_from(WORDS).map(Word),
    st.sampled_from(["a*", "ab*", "a?", "a*c", "a?*", "b?"]).map(Wildcard),
    st.lists(st.sampled_from(WORDS), min_size=2, max_size=3).map(lambda w: Phrase(tuple(w))),
    st.builds(
        Phrase,
        st.lists(st.sampled_from(WORDS), min_size=2, max_size=3, unique=True).map(tuple),
        st.integers(0, 4),
    ),
)
NAMES = ("a", "A", "b", "ab")
fields = st.one_of(
    st.builds(FieldValue, st.sampled_from(["lang", "network"]), st.sampled_from(["de", "en"])),
    st.builds(FieldValue, st.just("kind"), st.sampled_from(["post", "reply"])),
    st.builds(
        FieldValue, st.sampled_from(["author", "hashtag", "mention"]), st.sampled_from(NAMES)
    ),
    st.builds(
        FieldValue,
        st.sampled_from(["author", "hashtag", "mention"]),
        st.sampled_from(["a*", "A*", "b?", "a?"]),
        st.just(True),
    ),
    st.builds(Followers, st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)),
    st.sampled_from(["link", "media", "hashtag", "mention", "image", "video"]).map(Has),
)
nodes = st.recursive(
    entries | fields,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=5,
)


def documents(number: int) -> list[RuleDocument]:
    chance = random.Random(SEED)
    print(f"seed {SEED}")  # noqa: T201  # shown where a test fails

    def some(of: tuple[str, ...], most: int) -> list[str]:
        return chance.choices(of, k=chance.randrange(most + 1))

    return [
        RuleDocument(
            text=" ".join(some(WORDS, 7)),
            lang=chance.choice([None, "de", "en", "fr"]),
            network=chance.choice(["de", "en", "x"]),
            kind=chance.choice(["post", "reply", "quote"]),
            author_id=chance.choice([None, *NAMES]),
            author_handle=chance.choice([None, *NAMES]),
            followers=chance.choice([None, *range(11)]),
            has_link=chance.random() < 0.5,
            hashtags=some(NAMES, 3),
            mentions=some(NAMES, 3),
            visibility="public",
            media=some(("image", "video", "file"), 2),
        )
        for _ in range(number)
    ]


DOCUMENTS = documents(200)


def those_hit(node: Node) -> set[int]:
    """Return which of the documents a rule hits."""
    rules = RuleSet.compile([Rule("r", plain(node))])
    return {number for number, document in enumerate(DOCUMENTS) if rules.match(document)}


@given(nodes)
def test_what_is_called_impossible_hits_nothing(node: Node) -> None:
    if is_impossible(node, WORLD):
        note("called impossible")
        assert not those_hit(node)


@given(nodes, nodes, st.booleans())
def test_what_is_said_to_take_another_does(one: Node, other: Node, related: bool) -> None:
    """A rule, and one that is unrelated, or asks for it among other things."""
    narrow = And((one, other)) if related else other
    for wide, inner in ((one, narrow), (narrow, one), (Not(narrow), Not(one)), (Not(one), narrow)):
        if hits_whenever(wide, inner, WORLD):
            assert those_hit(inner) <= those_hit(wide)


@given(nodes, nodes)
def test_more_conditions_never_take_more(one: Node, other: Node) -> None:
    """What a rule asks for among other things is implied, whatever it is."""
    assert hits_whenever(one, And((one, other)), WORLD)
    assert hits_whenever(Or((one, other)), one, WORLD)
