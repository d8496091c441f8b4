"""Numbers of a brand: the syntax, its errors, check digits, and what is found in texts."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.language.numbers import (
    CHECKS,
    NumberPatternError,
    compile_number,
    find_numbers,
    is_iso7064,
    is_luhn,
    is_mod11,
    is_mod97,
)

KIND = "customer_number"


def found(text: str, pattern: str, check: str | None = None) -> list[str]:
    """Give what one pattern finds in a text."""
    compiled = compile_number(KIND, pattern, check)
    return [text[start:end] for _, start, end in find_numbers(text, [compiled])]


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (is_luhn, "79927398713"),  # the example of ISO/IEC 7812
        (is_luhn, "4111111111111111"),
        (is_mod11, "12345678 5".replace(" ", "")),
        (is_mod97, "79444"),  # the example of ISO/IEC 7064: 794 has the check digits 44
        (is_mod97, "3214282912345698765432161182"),  # an IBAN's, as numbers
        (is_iso7064, "86095742719"),  # example of the German tax office
        (is_iso7064, "07945"),  # the example of ISO/IEC 7064: 0794 has the check digit 5
    ],
)
def test_known_check_digits(check, right: str) -> None:
    """Right as they stand, wrong with any one digit changed (mod 11 and 97: always)."""
    assert check(right)
    for place, digit in enumerate(right):
        other = right[:place] + str((int(digit) + 1) % 10) + right[place + 1 :]
        assert not check(other)


@given(st.integers(10**6, 10**12))
def test_exactly_one_last_digit_is_right(body: int) -> None:
    """Every check tells numbers apart; of ten last digits one is right (mod 11: at most one)."""
    for name in ("luhn", "iso7064"):
        assert sum(CHECKS[name](f"{body}{digit}") for digit in range(10)) == 1
    assert sum(is_mod11(f"{body}{digit}") for digit in range(10)) <= 1
    assert sum(is_mod97(f"{body}{digits:02}") for digits in range(2, 99)) == 1


@pytest.mark.parametrize(
    ("pattern", "check", "text", "expected"),
    [
        ("KD-########", None, "meine KD-12345678!", ["KD-12345678"]),
        ("KD-########", None, "KD-123456789 KD-1234567 XKD-12345678 KD-12345678a", []),
        ("KD-########", "luhn", "KD-12345674 und KD-12345678", ["KD-12345674"]),
        ("#{10}", None, "Nr 1234567890, 12345678901", ["1234567890"]),
        ("#{8}", None, "am 12.10.2017 und 2017-10-12, 1234 5678", ["1234 5678"]),
        ("@@####-#", None, "AB1234-5 ab12345 1B1234-5", ["AB1234-5", "ab12345"]),
        ("**#****", None, "XY7ZZ9K", ["XY7ZZ9K"]),
        ("V#{7,9}", None, "V1234567 V123456789 V1234567890", ["V1234567", "V123456789"]),
        ("@@#{2}*{4}", "mod97", "AB12CD34", []),
        ("Vertrag ######", None, "Mein Vertrag: 123456", ["Vertrag: 123456"]),
    ],
)
def test_what_is_found(pattern, check, text, expected) -> None:
    """Whole numbers in the forms in which customers type them."""
    assert found(text, pattern, check) == expected


def test_forms_of_a_grouped_number() -> None:
    """Separators are optional, exchangeable, and stand between groups too."""
    text = "kd12345678, Kd 1234 5678, KD: 12.34.56.78, KD - 1234-5678"
    assert found(text, "KD-########") == [each.strip() for each in text.split(",")]


def test_a_check_covers_digits_and_leaves_letters_out() -> None:
    """Literal digits belong to the number, literal letters do not."""
    assert found("K-79927398713", "K-###########", "luhn") == ["K-79927398713"]
    assert found("79927398713", "799########", "luhn") == ["79927398713"]


@pytest.mark.parametrize(
    ("kind", "pattern", "check", "sentence"),
    [
        ("phone", "KD-####", None, "there is no kind 'phone'"),
        (KIND, "KD-####", "crc", "there is no 'crc'"),
        (KIND, "", None, "is empty"),
        (KIND, " - ", None, "is empty"),
        (KIND, "###", None, "at least 4"),
        (KIND, "######", None, "needs 7"),
        (KIND, "@@@@@@", None, "at least one #"),
        (KIND, "****", None, "at least one #"),
        (KIND, r"KD\d+", None, "no regular expression: # is a digit"),
        (KIND, "KD(##)", None, "at character 3"),
        (KIND, "KD{4}####", None, "A repetition stands behind"),
        (KIND, "KD#{0}####", None, "1 <= n <= m <= 32"),
        (KIND, "KD#{9,3}", None, "1 <= n <= m <= 32"),
        (KIND, "KD#{33}", None, "1 <= n <= m <= 32"),
        (KIND, "-KD####", None, "begins and ends"),
        (KIND, "KD####-", None, "begins and ends"),
        (KIND, "KÜ-####", None, "only #, @, *"),
        (KIND, "KD-####\n", None, "only #, @, *"),
        (KIND, "@@######", "luhn", "computed over digits"),
        (KIND, "#{1,3}@#{1,3}@#{1,3}", None, "at most 2 parts"),
        (KIND, "#{32}@#{32}", None, "at most 64"),
        (KIND, "K" * 81, None, "at most 80"),
    ],
)
def test_what_is_wrong_is_said(kind, pattern, check, sentence) -> None:
    """One sentence, with the place where there is one."""
    with pytest.raises(NumberPatternError, match=sentence.replace("*", r"\*")):
        compile_number(kind, pattern, check)


@given(st.text(max_size=40), st.sampled_from([None, *CHECKS]))
def test_any_pattern_compiles_or_says_why(pattern: str, check: str | None) -> None:
    """Nothing but its own error, which is a sentence."""
    try:
        compiled = compile_number(KIND, pattern, check)
    except NumberPatternError as error:
        sentence = error.message
    else:
        assert list(find_numbers("", [compiled])) == []
        sentence = "It compiles."
    assert sentence.endswith(".")


@given(
    st.text(alphabet="KDkd0123456789 -./_x#", max_size=80),
    st.sampled_from(["KD-####", "#{7}", "@@#{2,5}", "***#***", "K#{1,9}*{4,9}"]),
)
def test_what_is_found_lies_in_the_text(text: str, pattern: str) -> None:
    """Rising, disjoint, with a digit, and never inside a longer word."""
    at = 0
    for _, start, end in find_numbers(text, [compile_number(KIND, pattern)]):
        assert at <= start < end <= len(text)
        assert any(each.isdigit() for each in text[start:end])
        assert not (text[start - 1 : start].isalnum() and start)
        assert not text[end : end + 1].isalnum()
        at = end


@pytest.mark.parametrize("piece", ["1", "1 ", "K", "KD1", "KD-1 ", "A1A1 ", "1-"])
@pytest.mark.parametrize("pattern", ["KD-########", "#{9}", "#{2,32}@#{1,31}", "*{8,32}#*{1,31}"])
def test_time_is_bounded(piece: str, pattern: str) -> None:
    """30,000 characters of what nearly is a number."""
    compiled = compile_number(KIND, pattern)
    text = (piece * 30_000)[:30_000]
    begin = time.process_time()
    assert list(find_numbers(text, [compiled])) is not None
    assert time.process_time() - begin < 1
