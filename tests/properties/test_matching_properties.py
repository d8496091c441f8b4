"""Laws of listening rules, against an evaluator that is too simple to be wrong."""

from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from klingel.domain.matching import (
    Rule,
    RuleDocument,
    RuleSet,
    RuleSyntaxError,
    parse_rule,
    required_terms,
    to_elasticsearch,
    to_query_string,
    tokens,
)
from klingel.domain.rule_text import SEPARATORS, SINGLES, TOKEN_LIMIT, fold, terms_of

# A rule is generated as a tree of tuples, evaluated as that tree by `holds`, and written as a string
# for the code under test: so the parser is tested with the evaluation.

WORDS = ["a", "b", "ab", "abc", "abb", "ß", "é", "🔥", "手"]
PATTERNS = ["a*", "ab*", "a?", "a?c", "a*c", "a*b*", "a**b", "ß?*"]
PHRASABLE = ["a", "b", "ab", "abc", "手"]

words = st.sampled_from(WORDS).map(lambda word: ("word", word))
patterns = st.sampled_from(PATTERNS).map(lambda pattern: ("pattern", pattern))
phrases = st.lists(st.sampled_from(PHRASABLE), min_size=2, max_size=4).map(
    lambda terms: ("phrase", tuple(terms), 0)
)
near = st.tuples(
    st.lists(st.sampled_from(PHRASABLE), min_size=2, max_size=4, unique=True), st.integers(1, 6)
).map(lambda parts: ("phrase", tuple(parts[0]), parts[1]))
fields = st.sampled_from(
    [
        ("field", "lang:de"),
        ("field", "hashtag:AB"),
        ("field", "hashtag:a*"),
        ("field", "has:link"),
        ("field", "followers:[10 TO *]"),
    ]
)
rules = st.recursive(
    st.one_of(words, patterns, phrases, near, fields),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map(lambda parts: ("and", tuple(parts))),
        st.lists(inner, min_size=2, max_size=4).map(lambda parts: ("or", tuple(parts))),
        inner.map(lambda part: ("not", part)),
    ),
    max_leaves=8,
)
texts = st.one_of(
    st.lists(
        st.tuples(st.sampled_from([*WORDS, "AB", "ABC", "xab", "É"]), st.sampled_from(" #@,.\n-")),
        max_size=12,
    ).map(lambda parts: "".join(word + gap for word, gap in parts)),
    st.text(max_size=60),
)
documents = st.builds(
    RuleDocument,
    text=texts,
    lang=st.sampled_from([None, "de", "en"]),
    followers=st.sampled_from([None, 0, 9, 10, 11]),
    has_link=st.booleans(),
    hashtags=st.lists(st.sampled_from(["a", "AB", "aB", "b"]), max_size=2),
)


def written(rule) -> str:
    """Write a tree as a rule, with every part of an operation in parentheses."""
    kind, content = rule[0], rule[1]
    if kind == "phrase":
        return f'"{" ".join(content)}"' + (f"~{rule[2]}" if rule[2] else "")
    if kind == "not":
        return f"NOT ({written(content)})"
    if kind in ("and", "or"):
        return f" {kind.upper()} ".join(f"({written(part)})" for part in content)
    return content


def words_of(text: str) -> list[str]:
    """Cut a text letter by letter, by the definition of the analyser."""
    found, run = [], ""
    for letter in text:
        if any(first <= ord(letter) <= last for first, last in SEPARATORS):
            kind = "separator"
        elif any(first <= ord(letter) <= last for first, last in SINGLES):
            kind = "single"
        else:
            kind = "run"
        if run and (kind != "run" or len(run) == TOKEN_LIMIT):
            found.append(run)
            run = ""
        lower = {"İ": "i"}.get(letter, letter.lower())
        if kind == "single":
            found.append(lower)
        elif kind == "run":
            run += lower
    return [*found, run] if run else found


def fits(pattern: str, word: str) -> bool:
    """Whether a word has the form of a wildcard."""
    if not pattern:
        return not word
    if pattern[0] == "*":
        return fits(pattern[1:], word) or (bool(word) and fits(pattern, word[1:]))
    return bool(word) and pattern[0] in ("?", word[0]) and fits(pattern[1:], word[1:])


def near_enough(terms, slop, heard) -> bool:
    """Try every choice of places: moves are the width of where the phrase would begin."""
    places = [[at for at, word in enumerate(heard) if word == term] for term in terms]
    for choice in product(*places):
        beginnings = [place - offset for offset, place in enumerate(choice)]
        if max(beginnings) - min(beginnings) <= slop:
            return True
    return False


def holds(rule, document, heard) -> bool:
    kind, content = rule[0], rule[1]
    if kind == "and":
        return all(holds(part, document, heard) for part in content)
    if kind == "or":
        return any(holds(part, document, heard) for part in content)
    if kind == "not":
        return not holds(content, document, heard)
    if kind == "field":
        return field_holds(content, document)
    if kind == "phrase":
        return near_enough(content, rule[2], heard)
    return any(fits(content, word) for word in heard)


def field_holds(condition, document) -> bool:
    tags = [tag.lower() for tag in document.hashtags]
    return {
        "lang:de": document.lang == "de",
        "hashtag:AB": "ab" in tags,
        "hashtag:a*": any(tag.startswith("a") for tag in tags),
        "has:link": document.has_link,
        "followers:[10 TO *]": document.followers is not None and document.followers >= 10,
    }[condition]


@pytest.mark.exhaustive
@given(st.lists(rules, min_size=1, max_size=5), documents)
@settings(max_examples=250, deadline=None)
def test_hits_are_those_of_the_simple_evaluator(trees, document):
    compiled = RuleSet.compile(
        [Rule(str(number), written(tree)) for number, tree in enumerate(trees)]
    )
    heard = words_of(document.text)
    expected = [str(number) for number, tree in enumerate(trees) if holds(tree, document, heard)]
    hits = compiled.match(document)
    assert [hit.rule_id for hit in hits] == expected
    if expected:
        assert compiled.may_match(document.text)
    for hit in hits:
        assert list(hit.spans) == sorted(set(hit.spans))
        assert all(0 <= start < end <= len(document.text) for start, end in hit.spans)


@given(rules, documents)
@settings(max_examples=100, deadline=None)
def test_a_text_that_is_hit_contains_a_required_term(tree, document):
    query = parse_rule(written(tree))
    required = required_terms(query)
    assert required is None or all(required)
    if holds(tree, document, words_of(document.text)) and required is not None:
        assert any(term in fold(document.text) for term in required)


@given(st.text(max_size=300))
@example("İ" * 300)
@example("a" * 700)
@example("A.b" * 300)
def test_words_are_those_of_the_definition(text):
    """Also the terms are words of their own, so that a query of them is read as they stand."""
    heard = words_of(fold(text))
    assert [token.term for token in tokens(text)] == heard
    assert terms_of(fold(text)) == heard
    assert [fold(text[start:end]) for _, start, end in tokens(text)] == heard
    for term in heard:
        assert terms_of(fold(term)) == [term]


OPERATORS = ["AND", "OR", "NOT", "TO", "(", ")", '"', "~", "~2", "^", "^2", ":", "[", "]", "{", "}"]
OPERATORS += ["+", "-", "!", "/", "\\", "*", "?", "<", ">", "=", "&&", "||", "lang:", "followers:"]
fragments = st.one_of(
    st.sampled_from(OPERATORS), st.sampled_from([" ", "a", "b", "de", "1", "…", "“", "\u00a0"])
)


@pytest.mark.exhaustive
@given(st.one_of(st.text(max_size=80), st.lists(fragments, max_size=25).map("".join)))
@settings(max_examples=600, deadline=None)
@example("(" * 20_000)
@example("a " * 8_000)
@example("-" * 10_000 + "a")
@example("a^" * 5_000)
@example("a:" * 5_000 + "a")
@example("NOT " * 4_000 + "a")
def test_any_string_is_read_or_refused_with_a_place(query):
    """What is read can also be matched and written as both kinds of Elasticsearch query."""
    refused = None
    try:
        parsed = parse_rule(query)
    except RuleSyntaxError as error:
        refused = error
    if refused is not None:
        assert 0 <= refused.position <= len(query)
        assert refused.message.endswith(".")
        return
    assert to_elasticsearch(parsed)
    assert to_query_string(parsed)
    RuleSet.compile([Rule("r", query)]).match(RuleDocument(text=query))
