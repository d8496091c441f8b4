"""What a word is: the analyser of `text.rules`."""

import re
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.domain import rule_text
from klingel.domain.rule_text import (
    JAVA_EXPRESSION,
    LINE_END,
    SEPARATORS,
    SINGLES,
    TOKEN_LIMIT,
    fold,
    lines_of,
    places_of,
    terms_of,
    tokens,
    words_of,
)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("Hey @DB_Bahn: #Verspätung!", ["hey", "db_bahn", "verspätung"]),
        ("can\u2019t can't", ["can", "t", "can", "t"]),
        ("nice🔥🔥 👍🏽 👩‍💻 1️⃣", ["nice", "🔥", "🔥", "👍", "👩", "💻", "1"]),
        ("我的手机 ok", ["我", "的", "手", "机", "ok"]),
        ("สวัสดี", list("สวัสดี")),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("שלום, עולם", ["שלום", "עולם"]),
        ("مرحبا، كيف؟", ["مرحبا", "كيف"]),
        ("İstanbul ΟΔΟΣ ẞ", ["istanbul", "οδοσ", "ß"]),
        ("50€ 3,50", ["50", "3", "50"]),
        ("https://nordlicht.de/tarif?x=1", ["https", "nordlicht", "de", "tarif", "x", "1"]),
        ("K Å Ω", ["k", "å", "ω"]),
        ("x" * 600, ["x" * 255, "x" * 255, "x" * 90]),
        ("ä" * 256, ["ä" * 255, "ä"]),
        ("a\ud800b\x00c", ["a", "b", "c"]),
        ("\ua7cbx", ["x"]),
    ],
)
def test_words_of_a_text(text, terms):
    assert [token.term for token in tokens(text)] == terms
    assert terms_of(fold(text)) == terms


def test_places_are_code_points_of_the_original():
    text = "İ 🔥Strom, ẞa"
    assert [text[start:end] for _, start, end in tokens(text)] == ["İ", "🔥", "Strom", "ẞa"]


def test_the_sets_are_in_order_and_disjoint():
    for ranges in (SEPARATORS, SINGLES, tuple(sorted(SEPARATORS + SINGLES))):
        assert all(first <= last for first, last in ranges)
        assert all(last < following for (_, last), (following, _) in pairwise(ranges))


def test_lower_casing_keeps_length_and_class_of_every_code_point():
    """So a text may be lower-cased before it is cut, while Elasticsearch does it after."""
    everything = "".join(map(chr, range(0x110000)))
    folded = fold(everything)
    assert len(folded) == len(everything)
    separators = frozenset(code for a, b in SEPARATORS for code in range(a, b + 1))
    singles = frozenset(code for a, b in SINGLES for code in range(a, b + 1))
    for before, after in zip(range(0x110000), map(ord, folded), strict=True):
        assert (before in separators) is (after in separators), hex(before)
        assert (before in singles) is (after in singles), hex(before)


def test_letters_and_digits_of_every_script_can_be_searched():
    """No letter or digit is a separator, but for those whose case pair is younger than Unicode 14."""
    lost = {
        code
        for first, last in SEPARATORS
        for code in range(first, last + 1)
        if unicodedata.category(chr(code))[0] in "LN"
    }
    late = {code for first, last in rule_text._LATE_CASE for code in range(first, last + 1)}
    assert lost - late == {0x2E2F}  # the vertical tilde, a sign by use


def _code_points(spelled: str) -> set[int]:
    """Code points of the inside of a Java character class without nested classes."""
    found: set[int] = set()
    for first, last in re.findall(r"\\x\{([0-9A-F]+)\}(?:-\\x\{([0-9A-F]+)\})?", spelled):
        found.update(range(int(first, 16), int(last or first, 16) + 1))
    return found


def _all(ranges: tuple[tuple[int, int], ...]) -> set[int]:
    return {code for first, last in ranges for code in range(first, last + 1)}


def test_the_expression_for_java_has_the_words_of_the_one_for_python():
    """Its classes, put together as Java does, hold exactly singles, and neither nor separators."""
    shape = (
        r"\[([^&]*)&&\[([^\]]*)\]\]"  # singles within their bounds
        r"\|\[([^\[]*)\[\^([^\[]*)\[([^&]*)&&\[([^\]]*)\]\]\]\]\{1,(\d+)\}"
    )
    parts = re.fullmatch(shape, JAVA_EXPRESSION)
    assert parts is not None
    bounds, singles, common, ascii_only, beyond, others, limit = parts.groups()
    everything = set(range(0x110000))
    assert _code_points(bounds) & _code_points(singles) == _all(SINGLES)
    excluded = _code_points(ascii_only) | (_code_points(beyond) & _code_points(others))
    runs = _code_points(common) | (everything - excluded)
    assert runs == everything - _all(SEPARATORS) - _all(SINGLES)
    assert int(limit) == TOKEN_LIMIT


@given(st.text(st.characters(max_codepoint=0x17F), max_size=600) | st.sampled_from(["é" * 600]))
def test_the_quick_ways_to_split_give_the_words_of_the_expression(text: str) -> None:
    """ASCII, Latin-1 and everything else are split differently, and alike."""
    folded = fold(text)
    assert terms_of(folded) == re.findall(rule_text._TOKEN, folded)
    assert words_of(text) == terms_of(folded)
    lines = lines_of(folded)
    if lines is not None:
        assert lines.text.split() == terms_of(folded)
        assert lines.text[0] == lines.text[-1] == LINE_END
        starts = [start for start, _ in places_of(folded, terms_of(folded))]
        assert lines.starts() == starts
        before = [at for at, two in enumerate(pairwise(lines.text)) if two[0] == LINE_END != two[1]]
        assert [lines.place(at) for at in before] == starts


@pytest.mark.parametrize(
    "length", [1, TOKEN_LIMIT - 1, TOKEN_LIMIT, TOKEN_LIMIT + 1, 3 * TOKEN_LIMIT]
)
@pytest.mark.parametrize("form", ["{}", "a {}", "{} ä", "-{}-{}-"])
def test_lines_are_told_where_no_word_is_cut(length: int, form: str) -> None:
    text = form.replace("{}", "b" * length)
    assert (lines_of(text) is None) == (length > TOKEN_LIMIT)
    assert (lines_of(f"{text} \u0103") is None) == (length > TOKEN_LIMIT)


def test_each_code_point_is_cut_into_lines_as_by_the_expression() -> None:
    codes = [*range(0xD800), *range(0xE000, 0x41000), *range(0xDF000, 0xE1000), 0x10FFFF]
    for at in range(0, len(codes), 20_000):
        text = "\u0103" + "".join(f"{chr(code)} x{chr(code)}y " for code in codes[at : at + 20_000])
        lines = lines_of(text)
        assert lines is not None
        assert lines.text.split() == terms_of(text) == re.findall(rule_text._TOKEN, text)


def test_each_letter_of_latin_1_is_folded_and_split_as_by_the_expression() -> None:
    for code in range(0x100):
        text = f"x{chr(code)}y {chr(code)} {chr(code) * 300}"
        assert words_of(text) == terms_of(fold(text)) == re.findall(rule_text._TOKEN, fold(text))
