"""The syntax of listening rules: what is read, and what is refused with which remedy."""

import time
from random import Random

import pytest

from klingel.domain import rule_syntax
from klingel.domain.dictionary import expand_entries
from klingel.domain.matching import Rule, RuleSet, expand_rule
from klingel.domain.rule_syntax import (
    CLAUSE_LIMIT,
    DEPTH_LIMIT,
    QUERY_LIMIT,
    And,
    Entry,
    FieldValue,
    Followers,
    Has,
    Not,
    Or,
    Phrase,
    RuleQuery,
    RuleSyntaxError,
    Wildcard,
    Word,
    parse_rule,
)


@pytest.mark.parametrize(
    ("query", "root"),
    [
        ("Strom", Word("strom")),
        ("TO", Word("to")),
        (r"\AND", Word("and")),
        ("(strom)", Word("strom")),
        ("+strom", Word("strom")),
        ("strom,", Word("strom")),
        ("a b AND c", And((Word("a"), Word("b"), Word("c")))),
        ("a OR b OR c", Or((Word("a"), Word("b"), Word("c")))),
        ("a (b OR c)", And((Word("a"), Or((Word("b"), Word("c")))))),
        ("NOT a", Not(Word("a"))),
        ("NOT (NOT a)", Not(Not(Word("a")))),
        ("a -b", And((Word("a"), Not(Word("b"))))),
        ('"Zu HOCH!"', Phrase(("zu", "hoch"))),
        ('"zu hoch"~2', Phrase(("zu", "hoch"), 2)),
        ('"strom"~2', Word("strom")),
        ("Str*m?", Wildcard("str*m?")),
        ("lang:DE", FieldValue("lang", "de")),
        ("lang: de", FieldValue("lang", "de")),
        ("author:Ab*", FieldValue("author", "Ab*", wildcard=True)),
        ('author:"a*"', FieldValue("author", "a*")),
        ("lang:(de OR en)", Or((FieldValue("lang", "de"), FieldValue("lang", "en")))),
        ("followers:[1 TO 5}", Followers(1, 4)),
        ("followers:7", Followers(7, 7)),
        ("has:LINK", Has("link")),
        ("has:(image OR video)", Or((Has("image"), Has("video")))),
        ("(a OR b) OR c", Or((Word("a"), Word("b"), Word("c")))),
    ],
)
def test_what_is_read(query, root):
    assert parse_rule(query).root == root


@pytest.mark.parametrize(
    ("query", "position", "sentence"),
    [
        ("", 0, "empty"),
        (" \u3000", 0, "empty"),
        ("a b OR c", 2, "put parentheses"),
        ("a OR b c", 0, "put parentheses"),
        ("a AND b OR c", 0, "put parentheses"),
        ("a OR NOT b", 5, "put it in parentheses"),
        ("a OR -b", 5, "put it in parentheses"),
        ("a OR +b", 5, "put it in parentheses"),
        ("NOT NOT a", 0, "Two signs"),
        ("+-a", 0, "Two signs"),
        ("a AND", 5, "ends too early"),
        ("AND a", 0, "not expected"),
        ("a - b", 2, "stands alone"),
        ("a (b", 2, "never closed"),
        ("a) b", 1, "never opened"),
        ('a "b', 2, "never closed"),
        ('a"b c"', 1, "put a space before"),
        ("“a b”", 0, "straight ones"),
        ("a\u00a0b", 1, "ordinary one"),
        ("a && b", 2, "written AND"),
        ("a || b", 2, "written OR"),
        ("!a", 0, "written NOT"),
        ("/a.*/", 0, "Regular expressions"),
        ("a/b", 1, "Regular expressions"),
        ("a~", 0, "Fuzzy"),
        ("a~2", 0, "Fuzzy"),
        ('"a b"~', 0, "needs a number"),
        ('"a b"~2000', 0, "needs a number"),
        ('"a b"~1.5', 5, "whole number"),
        ('"a b a"~2', 0, "each word once"),
        ("*a", 0, "cannot come first"),
        ("?a", 0, "cannot come first"),
        ("a *", 2, "cannot come first"),
        ("#a*", 0, "within one word"),
        ("手*", 0, "within one word"),
        ("e-mail*", 0, "within one word"),
        (r"a*\*", 0, "within one word"),
        ("e-mail", 0, 'write it as a phrase, "e-mail"'),
        ("手机", 0, "write it as a phrase"),
        ("a ...", 2, "leave it out"),
        ('"..."', 0, "never be found"),
        ("x\\", 1, "backslash"),
        (r"\u0041", 0, "write the character"),
        ("[a TO b]", 0, "only on followers"),
        (">5", 0, "only on followers"),
        ("hashtag:[a TO b]", 8, "only on followers"),
        ("followers:[a TO 5]", 10, "whole numbers"),
        ("followers:[-1 TO 5]", 10, "whole numbers"),
        ("followers:-1", 0, "missing"),
        ("followers:>*", 10, "number is missing"),
        ("followers:many", 10, "whole numbers"),
        ("colour:red", 0, "There is no field 'colour'"),
        ("a:b:c", 0, "There is no field 'a'"),
        ("lang:lang:de", 0, "is missing"),
        ("lang:(network:x)", 6, "within the field lang"),
        ("lang:-de", 0, "write NOT lang:"),
        ("lang:de*", 5, "Wildcards are not possible"),
        ("lang:german", 5, "two or three letters"),
        ("network:X!", 9, "written NOT"),
        ("network:x.com", 8, "one lower-case word"),
        ("kind:tweet", 5, "There is no kind 'tweet'"),
        ("visibility:secret", 11, "There is no visibility 'secret'"),
        ("has:money", 4, "There is no has:money"),
        ("a*b*c*d*e*f*g*h*i*", 0, "at most 8 wildcards"),
        ("hashtag:a?????????", 8, "at most 8 wildcards"),
        ("dictionary:products", 11, "no dictionaries"),
        ("dictionary:prod*", 11, "There is no dictionary 'prod*'"),
        ('dictionary:"a b"~2', 11, "leave out ~"),
        ("hashtag:#", 8, "is missing"),
        ('lang:"a b"~2', 5, "leave out ~"),
        ("T12:30", 0, "A colon parts"),
        (r"author:a\**", 7, "leave one out"),
    ],
)
def test_what_is_refused_says_where_and_what_would_be_right(query, position, sentence):
    with pytest.raises(RuleSyntaxError) as caught:
        parse_rule(query)
    assert sentence in caught.value.message
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("a^2 b", "boost"),
        ("(a OR b)^2.5", "boost"),
        ("lang:de^2", "boost"),
        ("#strom", "hashtag:"),
        ('"danke @strom"', "mention:"),
        ('"a* b"', "phrase"),
        ("NOT a", "almost everything"),
        ("a OR (NOT b)", "almost everything"),
    ],
)
def test_what_is_ignored_or_unlikely_is_warned_of(query, sentence):
    [warning] = parse_rule(query).warnings
    assert sentence in warning


def test_a_rule_without_peculiarities_has_no_warnings():
    assert parse_rule('strom AND NOT "zu hoch"~2 lang:de author:a*').warnings == ()


def test_limits():
    """Length, depth and number of conditions are bounded, with the limit itself allowed."""
    assert parse_rule("(" * DEPTH_LIMIT + "a" + ")" * DEPTH_LIMIT).root == Word("a")
    with pytest.raises(RuleSyntaxError, match="nested"):
        parse_rule("(" * (DEPTH_LIMIT + 1) + "a" + ")" * (DEPTH_LIMIT + 1))
    parse_rule(" ".join(["a"] * CLAUSE_LIMIT))
    with pytest.raises(RuleSyntaxError, match="conditions"):
        parse_rule(" ".join(["a"] * (CLAUSE_LIMIT + 1)))
    with pytest.raises(RuleSyntaxError, match="longer"):
        parse_rule("a" * (QUERY_LIMIT + 1))
    with pytest.raises(RuleSyntaxError, match="within one word"):
        parse_rule("a" * 255 + "*")


def test_a_refused_rule_leaves_the_parser_as_it_was():
    """The grammar's lexer keeps state; places must not shift after an error."""
    for _ in range(2):
        with pytest.raises(RuleSyntaxError):
            parse_rule("a AND (b OR ~)")
        with pytest.raises(RuleSyntaxError) as caught:
            parse_rule("  a b kind:x")
        assert caught.value.position == 11


LISTED = (
    "a",
    "über",
    "ueber",
    "u\u0308ber",
    "abc*",
    "a?c",
    "zeh2n",
    "wlan_neu",
    '"b c"',
    '"b. c d"',
)
ODD = (
    *(
        "OR",
        "AND",
        "or",
        "NOT",
        "TO",
        "Groß",
        "x-y",
        "a b",
        "lang:de",
        "(d OR e)",
        '"x OR y"',
        "a^2",
    ),
    *(
        '"a b"~2',
        "a~",
        "#a",
        "\\*",
        "\ue0000",
        "dictionary:\ue0000",
        "ß",
        "a*b*c*d*e*f*g*h*i*j",
        "İ",
        "*a",
        '"',
    ),
)
AROUND = (
    *(
        "{}",
        "({})",
        "x AND ({})",
        "({}) AND NOT ({})",
        "({}) OR ({}) OR q",
        "lang:({})",
        "lang: ({})",
    ),
    *(
        '"{}"',
        "NOT {}",
        "{} x",
        "x {}",
        "x OR {} OR y",
        "({})^2",
        "\\({}\\)",
        "-({})",
        "a({})",
        "(({}))",
    ),
    *(
        "({}",
        "{})",
        "{} AND x",
        "({} )",
        "dictionary:p AND ({})",
        "dictionary:{}",
        "(lang:de OR {})",
    ),
)


@pytest.mark.exhaustive
def test_long_lists_are_read_as_the_grammar_reads_them() -> None:
    """Alternatives in masses are read without it: the same meaning, or the same complaint."""
    random = Random(6)
    dictionaries = {"p": (Word("nordbox"),)}
    read = 0
    for _ in range(1_500):
        size = random.choice((19, 20, 21, 30))
        items = random.choices(LISTED, k=size)
        if random.random() < 0.5:
            items[random.choice((0, random.randrange(size), -1))] = random.choice(ODD)
        query = random.choice(AROUND).replace("{}", " OR ".join(items))
        outcomes = []
        for parse in (parse_rule, rule_syntax._parse):
            try:
                outcomes.append(parse(query, dictionaries))
            except RuleSyntaxError as error:
                outcomes.append((error.message, error.position))
        assert outcomes[0] == outcomes[1], query
        read += isinstance(outcomes[0], RuleQuery)
    assert read > 500


def test_a_list_that_is_too_long_is_refused_all_the_same() -> None:
    with pytest.raises(RuleSyntaxError, match="more than 1000 conditions"):
        parse_rule(
            f"({' OR '.join(f'a{n}' for n in range(990))}) AND ({' OR '.join('abcdefghijkl')})"
        )


def test_many_rules_with_large_dictionaries_are_compiled_quickly() -> None:
    """1,000 rules, 300 topics, 3 dictionaries of 200 words with typing errors: 1.5 s of a core."""
    random = Random(7)

    def word(least: int, most: int) -> Entry:
        return Word("".join(random.choices("abcdefghiklmnoprstu", k=random.randint(least, most))))

    names = ("products", "persons", "places")
    dictionaries = {
        name: expand_entries(
            [*(word(3, 5) for _ in range(155)), *(word(6, 8) for _ in range(45))], typos=True
        )
        for name in names
    }
    queries = [
        f"{word(5, 7).term} OR {word(5, 7).term}* OR {word(6, 9).term}" for _ in range(1_000)
    ]
    queries += [f"dictionary:{names[n % 3]} AND {word(5, 7).term}" for n in range(150)]
    queries += [f"dictionary:{names[n % 3]} OR {word(5, 7).term}" for n in range(150)]

    def seconds() -> float:
        start = time.thread_time()
        written = [expand_rule(parse_rule(query, dictionaries)) for query in queries]
        RuleSet.compile(Rule(str(number), query) for number, query in enumerate(written))
        return time.thread_time() - start

    assert min(map(len, dictionaries.values())) > 800
    assert any(seconds() < 1.5 for _ in range(3))
