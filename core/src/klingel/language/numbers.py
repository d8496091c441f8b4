"""Customer, contract and order numbers as a brand declares them, with their check digits.

    customer = compile_number("customer_number", "KD-########", "iso7064")
    find_numbers("mein Konto kd 1234 5675", [customer])

A pattern is written sign by sign, not as a regular expression:

    #            a digit
    @            a letter, A to Z
    *            a letter or a digit
    #{8} #{7,9}  as often as that (for `#`, `@` and `*`)
    - . / _      and space are separators: optional, and any of them will do, also `:` and `#`
    letters and digits stand for themselves, letters in any case

Customers group long numbers as they like, so one space, hyphen, dot or slash is also heard between
two digits (only a space in a number without letters: a date is not a grouped number). A number is found only as a whole: next to another letter or digit it is another number.

A check is computed over what the signs `#`, `@` and `*` and the literal digits stand for, in order:

    luhn     ISO/IEC 7812-1 annex B: cards and many customer numbers
    mod11    weights 2 to 7 from the right, as in German number schemes; remainder 10 is no number
    mod97    ISO/IEC 7064 MOD 97-10; letters count A = 10 to Z = 35
    iso7064  ISO/IEC 7064 MOD 11,10: German tax and many contract numbers
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

NumberKind = Literal["customer_number", "contract_number", "order_number"]
"""What a brand can declare."""

PATTERN_LIMIT: Final = 80
"""Most characters of a pattern."""
REPEAT_LIMIT: Final = 32
"""Most repetitions of one sign."""
LEAST_SIGNS: Final = 4
"""Fewest letters and digits a number can have; shorter ones are found in every second post."""
LEAST_BARE_DIGITS: Final = 7
"""Fewest digits of a number that has neither letters nor a check digit of its own."""

RANGES: Final = 2
"""Most parts of varying length: each multiplies the ways in which a text can be read."""
LONGEST: Final = 64
"""Most letters and digits of a number."""

_SEPARATORS: Final = "-./_ "
_SEPARATOR: Final = r"[ \u00a0]?[./_:#\u2010-\u2013-]?[ \u00a0]?"
_GROUPING: Final = r"[ \u00a0./_\u2010-\u2013-]?"
# Without letters a date, an amount or a version would be read as a grouped number.
_GROUPING_OF_BARE_DIGITS: Final = r"[ \u00a0]?"
_ITEM: Final = re.compile(r"([#@*])(?:\{(\d{1,3})(?:,(\d{1,3}))?\})?|([-./_ ])|([A-Za-z0-9])")
_CLASSES: Final = {"#": "[0-9]", "@": "[A-Za-z]", "*": "[A-Za-z0-9]"}
_ALNUM: Final = re.compile(r"[A-Za-z0-9]")


class NumberPatternError(ValueError):
    """A number pattern cannot be read.

    Args:
        message: one sentence: what is wrong and what would be right.
        position: character of the pattern at which it is wrong, from 0; None for the whole.
    """

    def __init__(self, message: str, position: int | None = None) -> None:
        where = "" if position is None else f" (at character {position + 1})"
        super().__init__(message + where)
        self.message = message
        self.position = position


@dataclass(frozen=True, slots=True)
class NumberPattern:
    """A compiled pattern; to be built by `compile_number`.

    Args:
        kind: what the number is.
        pattern: as it was declared.
        check: name of its check, or None.
        expression: finds candidates in linear time; every one contains a digit.
        is_valid: whether a candidate of the expression has the right check digits.
    """

    kind: NumberKind
    pattern: str
    check: str | None
    expression: re.Pattern[str]
    is_valid: Callable[[re.Match[str]], bool]


@dataclass(frozen=True, slots=True)
class _Sign:
    """One or more equal signs: a class of characters, or one literal."""

    sign: str
    least: int
    most: int


def compile_number(kind: str, pattern: str, check: str | None = None) -> NumberPattern:
    """Compile what a brand declares.

    Args:
        kind: `customer_number`, `contract_number` or `order_number`.
        pattern: in the syntax of this module.
        check: `luhn`, `mod11`, `mod97`, `iso7064`, or None for no check.

    Raises:
        NumberPatternError: with one sentence that says what is wrong.
    """
    kinds: tuple[NumberKind, ...] = get_args(NumberKind)
    known = next((each for each in kinds if each == kind), None)
    if known is None:
        raise NumberPatternError(
            f"A number is one of {', '.join(kinds)}; there is no kind {kind!r}."
        )
    if check is not None and check not in CHECKS:
        raise NumberPatternError(f"A check is one of {', '.join(CHECKS)}; there is no {check!r}.")
    signs = _parse(pattern)
    _refuse_what_hears_too_much(signs, check)
    _refuse_what_has_no_check(signs, check)
    _refuse_what_takes_time(signs)
    return NumberPattern(known, pattern, check, _expression(signs), _validator(check))


def find_numbers(
    text: str, patterns: Sequence[NumberPattern]
) -> Iterator[tuple[NumberKind, int, int]]:
    """Give kind and place (start, end in code points) of each valid number, pattern by pattern."""
    for pattern in patterns:
        for match in pattern.expression.finditer(text):
            if pattern.is_valid(match):
                yield pattern.kind, match.start(), match.end()


def _parse(pattern: str) -> list[_Sign]:
    if not pattern.strip(_SEPARATORS):
        raise NumberPatternError("A number pattern is empty; write for example KD-########.")
    if len(pattern) > PATTERN_LIMIT:
        raise NumberPatternError(
            f"A number pattern has at most {PATTERN_LIMIT} characters; write #{{12}} for 12 digits."
        )
    signs: list[_Sign] = []
    at = 0
    while at < len(pattern):
        item = _ITEM.match(pattern, at)
        if item is None:
            raise NumberPatternError(_what_is_wrong(pattern[at]), at)
        sign, least, most, separator, literal = item.groups()
        if sign:
            low = int(least) if least else 1
            high = int(most) if most else low
            if not 1 <= low <= high <= REPEAT_LIMIT:
                raise NumberPatternError(
                    f"A repetition is {{n}} or {{n,m}} with 1 <= n <= m <= {REPEAT_LIMIT}.", at
                )
            signs.append(_Sign(sign, low, high))
        elif separator:
            if not signs or at == len(pattern) - 1:
                raise NumberPatternError(
                    "A number begins and ends with a letter, a digit, #, @ or *.", at
                )
            if signs[-1].sign != "-":
                signs.append(_Sign("-", 0, 1))
        else:
            signs.append(_Sign(literal, 1, 1))
        at = item.end()
    return signs


def _what_is_wrong(character: str) -> str:
    if character in "{}":
        return "A repetition stands behind #, @ or *, as in #{8} or #{7,9}."
    if character in "[]()\\|?+^$":
        return (
            "A number pattern is no regular expression: # is a digit, @ a letter, * either, "
            "- . / and _ are separators."
        )
    return (
        "A number pattern has only #, @, *, the letters A to Z, digits and the separators "
        "- . / _ and space."
    )


def _refuse_what_hears_too_much(signs: list[_Sign], check: str | None) -> None:
    least = sum(each.least for each in signs)
    if least < LEAST_SIGNS:
        raise NumberPatternError(
            f"A number has at least {LEAST_SIGNS} letters and digits; this one would be found "
            "in prices and times."
        )
    if not any(each.sign == "#" or each.sign.isdigit() for each in signs):
        raise NumberPatternError(
            "A number has at least one # or one literal digit; this one would be found in words."
        )
    bare = all(each.sign in "#-*" or each.sign.isdigit() for each in signs)
    if bare and check is None and least < LEAST_BARE_DIGITS:
        raise NumberPatternError(
            f"A number of digits alone needs {LEAST_BARE_DIGITS} of them, a check, or letters in "
            "front, as in KD-######."
        )


def _refuse_what_has_no_check(signs: list[_Sign], check: str | None) -> None:
    if check in {None, "mod97"}:
        return
    for each in signs:
        if each.sign in "@*":
            raise NumberPatternError(
                f"The check {check} is computed over digits; use # instead of {each.sign}, or "
                "mod97."
            )


def _refuse_what_takes_time(signs: list[_Sign]) -> None:
    if sum(each.most > each.least for each in signs if each.sign in _CLASSES) > RANGES:
        raise NumberPatternError(
            f"A number has at most {RANGES} parts of varying length; write several patterns."
        )
    if sum(each.most for each in signs) > LONGEST:
        raise NumberPatternError(f"A number has at most {LONGEST} characters.")


def _expression(signs: list[_Sign]) -> re.Pattern[str]:
    """Write the expression: every repetition is bounded, so its time is linear in the text.

    What a check is computed over stands in groups.
    """
    has_letters = any(each.sign.isalpha() or each.sign in "@*" for each in signs)
    grouping = _GROUPING if has_letters else _GROUPING_OF_BARE_DIGITS
    parts: list[str] = []
    for each, following in zip(signs, [*signs[1:], None], strict=True):
        if each.sign == "-":
            parts.append(_SEPARATOR)
            continue
        one = _CLASSES.get(each.sign) or f"[{each.sign.lower()}{each.sign.upper()}]"
        between = grouping if _may_be_a_digit(each) else ""
        # Behind the first sign, so that a search leaps from one possible first sign to the next.
        body = one if parts else one + "(?<![A-Za-z0-9].)"
        if each.most > 1:
            body += f"(?:{between}{one}){{{each.least - 1},{each.most - 1}}}"
        parts.append(body if each.sign.isalpha() else f"({body})")
        if following is not None and _may_be_a_digit(each) and _may_be_a_digit(following):
            parts.append(grouping)
    return re.compile(f"{''.join(parts)}(?![A-Za-z0-9])")


def _may_be_a_digit(sign: _Sign) -> bool:
    return sign.sign in "#*" or sign.sign.isdigit()


def _validator(check: str | None) -> Callable[[re.Match[str]], bool]:
    if check is None:
        return lambda _candidate: True
    holds = CHECKS[check]
    return lambda candidate: holds("".join(_ALNUM.findall("".join(candidate.groups()))))


def is_luhn(digits: str) -> bool:
    """Whether the last digit is right after ISO/IEC 7812-1 (Luhn)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) << (place & 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_mod11(digits: str) -> bool:
    """Whether the last digit is right: weights 2 to 7 from the right, 11 less the remainder."""
    total = sum(int(digit) * (2 + place % 6) for place, digit in enumerate(reversed(digits[:-1])))
    return (11 - total % 11) % 11 == int(digits[-1])


def is_mod97(written: str) -> bool:
    """Whether the last two digits are right after ISO/IEC 7064 MOD 97-10; letters in any case."""
    return int("".join(str(int(each, 36)) for each in written)) % 97 == 1


def is_iso7064(digits: str) -> bool:
    """Whether the last digit is right after ISO/IEC 7064 MOD 11,10."""
    product = 10
    for digit in digits[:-1]:
        product = (int(digit) + product) % 10 or 10
        product = product * 2 % 11
    return (product + int(digits[-1])) % 10 == 1


CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {
    "luhn": is_luhn,
    "mod11": is_mod11,
    "mod97": is_mod97,
    "iso7064": is_iso7064,
}
"""The checks by name."""
