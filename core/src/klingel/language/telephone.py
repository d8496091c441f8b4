"""Telephone numbers in a text: by country code, by region, or by the words beside them.

`+` or `00` and a possible number; a national number that is valid in a region (phonenumbers); any
grouped number right beside a word such as Tel. or Handy. Dates, times, amounts, counts and numbers
of orders are none. To ask phonenumbers takes time: it is asked `VALIDATIONS` times a text, later
numbers count by their shape.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import phonenumbers
from phonenumbers import NumberParseException, ValidationResult

from klingel.language.amounts import FRACTION_BEHIND, UNIT_BEHIND
from klingel.language.blanking import blank_of

DEFAULT_REGIONS: Final = ("DE", "AT", "CH", "GB", "US")
"""Regions in which a telephone number without country code is looked up."""

VALIDATIONS: Final = 12
"""Most numbers of a text about which phonenumbers is asked; later ones count by their shape."""

REGIONS_OF: Final = {
    "de": ("DE", "AT", "CH"),
    "en": ("GB", "US"),
    "es": ("ES", "MX"),
    "fr": ("FR", "BE", "CH"),
    "it": ("IT", "CH"),
    "ja": ("JP",),
    "nl": ("NL", "BE"),
    "pl": ("PL",),
    "pt": ("PT", "BR"),
    "tr": ("TR",),
}

"""Regions that are looked up first in texts of a language."""

_NO_PHONE: Final = re.compile(
    r"(?=[\d€$£])(?:"
    # no telephone number is so long
    r"(?<!\d)\d{18}\d*+"
    # dates and ranges of dates
    r"|"
    r"(?<![\d./-])(?:\d{1,2}\.?\s?[/\u2013-]\s?)?(?:0?[1-9]|[12]\d|3[01])\.\s?(?:0?[1-9]|1[0-2])\.?"
    r"(?:\s?[/\u2013-]\s?\d{1,2}\.\d{1,2}\.)?(?:\s?(?:19|20)\d\d|\d\d)?(?![./-]?\d)"
    r"|(?<![\d./-])(?:0?[1-9]|[12]\d|3[01])([/-])(?:0?[1-9]|[12]\d|3[01])\1(?:19|20)?\d\d(?![./-]?\d)"
    r"|(?<![\d./-])(?:19|20)\d\d([./-])(?:0?[1-9]|1[0-2])\2(?:0?[1-9]|[12]\d|3[01])(?!\d)"
    r"|(?<!\d)(?:0?[1-9]|[12]\d|3[01])[. ] ?(?:0?[1-9]|1[0-2])[. ] ?(?:19|20)\d\d(?![./-]?\d)"
    # times of day and spans of them
    r"|\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d+)?"
    r"|(?<!\d)[0-2]?\d[.:]?(?:[0-5]\d)?\s?[\u2013-]\s?[0-2]?\d[.:]?(?:[0-5]\d)?\s?(?:Uhr|h\b)"
    r"|(?<!\d)[0-2]?\d[.:]?[0-5]\d\s?(?:Uhr|h\b)"
    # amounts: decimals, thousands, and what has a unit
    r"|(?<!\d)\d++(?:[.,'\u2019 ]\d{3}){0,4},\d{1,2}(?!\d)"
    r"|(?<![\d.])[1-9]\d{0,2}(?:[.,'\u2019]\d{3}){1,5}(?![.,-]?\d)"
    r"|[€$£]\s?\d[\d.,' ]*"
    # what is common, addresses of machines, years
    r"|(?<!\d)0?8/15(?!\d)"
    r"|(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![.-]?\d)"
    r"|(?<![\d./+-])(?:19|20)\d\d\s?[/\u2013-]\s?(?:19|20)?\d\d(?![./-]?\d))",
    re.IGNORECASE,
)
# Digits in groups, no plus inside; possessive, so each character is read once.
_RUN: Final = re.compile(
    r"(?P<plus>\(?\+\(?)?\(?\d"
    r"(?:(?:[ \t\u200b-\u200d\u2060\ufeff]{0,2}[().\u2010-\u2013/-]{0,3} ?)?\d)*+"
)
_GROUPS: Final = re.compile(r"\d+")
_EXTENSION: Final = re.compile(
    r" ?(?:x|ext\.?|extension|app(?:arat)?\.?|dw|durchwahl) ?\d{1,6}(?!\w)", re.IGNORECASE
)
_FILL: Final = (
    r"(?:[\s:;.,=(\u2013-]|(?:me|us|mich|uns|at|on|back|under|unter|der|die|auf|über|nummer|nr|number"
    r"|no|is|ist|ist's|lautet|my|meine[rn]?|privat|bitte|nur|noch|now|or|oder|via|per|geht|can)\b)"
)
_PHONE_WORD: Final = re.compile(
    r"(?<![\[\w-])(?:"
    r"(?:tel|telefon|telefonnummer|telefonnr|telefonisch|fon|fone|phone|telephone|cellphone|handy"
    r"|handynummer|handynr|mobilnummer|mobilnr|mobilfunknummer|mobiltelefon|mobilfunk|fax|faxnummer"
    r"|faxnr|whatsapp|festnetz|festnetznummer|rufnummer|rufnr|rückruf|rückrufnummer|hotline|durchwahl"
    r"|registered|hinterlegte?n?|anrufen|angerufen|erreichbar|erreichen|anruf)"
    r"|(?:call|called|calling|ring|text|dial|dialed|dialled|phoned?|contact|reach|reached|reachable"
    r"|answer|answering|answered|ruft?)(?: (?:me|us|him|her|mich|uns|back))?(?= (?:at|on|under|unter)\b)"
    r"|(?:call|text|phone|ring|contact) (?:me|us)(?: back)?|a call"
    r"|(?:mobile?|cell|desk|office|work|home|büro|privat|dienstlich|sms|signal|t|m|f|p|h)(?=\.?\s?:)"
    rf"){_FILL}{{0,8}}$",
    re.IGNORECASE,
)
_PHONE_WORD_BEHIND: Final = re.compile(
    r"\s?[-\u2013,(]?\s?(?:office|mobile?|fax|home|cell|work|handy|privat|dienstlich|tel|telefon)\)?"
    r"(?=\s*(?:$|[\n,;.)/\\]))",
    re.IGNORECASE,
)
_GLUED: Final = re.compile(r"(?:tel|telefon|fon|phone|fax|mobil|handy|t|m|f)", re.IGNORECASE)
_OTHER_WORD: Final = re.compile(
    r"(?<!\w)(?:(?:bestell|auftrags?|kunden|rechnungs?|vertrags?|ticket|sendungs?|paket|artikel|art"
    r"|buchungs?|vorgangs?|konto|mitglieds?|zähler(?:stand|stände)?|serien|fall|mandats?|tracking|fracht|kenn|id|seriennr"
    r"|policen?|versicherungs?|steuer|material|modell|chargen?|matrikel|referenz|aktenzeichen|zug|flug"
    r"|order|invoice|ref|reference|booking|case|account|acct|acc|confirmation|conf|serial|customer"
    r"|contract|item|part|product|model|parcel|shipment|policy|claim|res|reservation|pnr|dpci|sku|udid|member|membership|isbn|ean|gtin"
    r"|upc|pzn|asin|imei|iccid|meid|eid|vin|iin|pin|puk|tan|code|vorgang|bestellung|rechnung|sendung"
    r"|buchung|vertrag|auftrag|az|id|nr|gate|flight|train|error|fehler|fehlercode|version|build|train)"
    r"[-\s]?(?:nummer|nr|no|num|number|id|code|kennung)?\.?|\#)[\s:.#=-]{0,3}"
    r"(?:(?:ist|is|lautet|no|nr|number|die|the)\b[\s:.#]{0,2}){0,2}$",
    re.IGNORECASE,
)
_NORTH_AMERICAN: Final = re.compile(
    r"(?:1[-. ])?(?:\(\d{3}\) ?\d{3}[-. ]\d{4}|\d{3}([-.])\d{3}\1\d{4})", re.ASCII
)
_YEARS: Final = re.compile(r"(?:19|20)\d\d(?:\D+(?:19|20)?\d\d)*|\d{1,2} \d{1,2} (?:19|20)\d\d")
_THOUSANDS: Final = re.compile(r"[1-9]\d{0,2}(?:[ .]\d{3})*[ .]000|[1-9]\d*0000")
# Hours, or one or two digits each behind an English word: counted, not dialled.
_HOURS: Final = re.compile(r"(?:[01]?\d|2[0-4])[0-5]0(?: (?:[01]?\d|2[0-4])[0-5]0)+")
_BEFORE_COUNTS: Final = (" at ", " me ", " us ", " back ", " call ")
_COUNTED: Final = re.compile(r"\d{1,2}(?: \d{1,2})+")
_LEAST_UNCOUNTED: Final = 10
_LEAST_DIGITS: Final = 7
_LEAST_BESIDE_A_WORD: Final = 6
_MOST_DIGITS: Final = 15
_MOST_GROUPS: Final = 9


_WITHOUT_TRUNK_ZERO: Final = frozenset(("US", "CA"))


class Regions:
    """What phonenumbers says, asked at most `VALIDATIONS` times a text.

    Args:
        codes: of the regions, in the order in which they are asked.
    """

    def __init__(self, codes: tuple[str, ...]) -> None:
        self._codes = codes
        self._asked = 0
        self._answers: dict[tuple[str, str], bool] = {}

    def has_international(self, digits: str, *, is_sure: bool) -> bool:
        """Whether a number with country code can be: of the right length; valid unless sure."""
        asked = "possible" if is_sure else "valid"
        return self._answer(digits, asked, lambda: _is_international(digits, is_sure=is_sure))

    def has_national(self, digits: str) -> bool:
        """Whether a number without country code is valid in one of the regions."""
        return self._answer(digits, "national", lambda: self._is_national(digits))

    def _answer(self, digits: str, asked: str, ask: Callable[[], bool]) -> bool:
        known = self._answers.get((digits, asked))
        if known is not None:
            return known
        if self._asked >= VALIDATIONS:
            return True
        self._asked += 1
        answer = self._answers[digits, asked] = ask()
        return answer

    def _is_national(self, digits: str) -> bool:
        for code in self._codes:
            if (digits[0] == "0") == (code in _WITHOUT_TRUNK_ZERO):
                continue
            try:
                number = phonenumbers.parse(digits, code)
            except NumberParseException:
                continue
            if phonenumbers.is_valid_number_for_region(number, code):
                return True
        return False


def _is_international(digits: str, *, is_sure: bool) -> bool:
    try:
        number = phonenumbers.parse("+" + digits, None)
    except NumberParseException:
        return False
    if is_sure:
        reason = phonenumbers.is_possible_number_with_reason(number)
        return reason == ValidationResult.IS_POSSIBLE
    return phonenumbers.is_valid_number(number)


def find_phones(text: str, regions: Regions) -> Iterator[tuple[int, int]]:
    """Give the places (start, end) of telephone numbers, rising and disjoint.

    Args:
        text: with ordinary spaces, and without what is no telephone number for sure.
        regions: in which numbers without country code are looked up.
    """
    text = _NO_PHONE.sub(blank_of, text)
    for match in _RUN.finditer(text):
        start, end = match.span()
        if end - start < _LEAST_BESIDE_A_WORD or not _may_begin(text, start, match):
            continue
        yield from _phones_of_run(text, start, end, regions, has_plus=bool(match["plus"]))


def _may_begin(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether a number may begin behind what stands there: not inside a code such as `KD123456`."""
    before = text[start - 1 : start]
    of_code = text[start - 2 : start - 1]
    if before == "-" and not match["plus"] and of_code.isascii() and of_code.isalnum():
        return False
    if not before.isalpha():
        return before not in {"_", "=", "&", "#", "@", "%", "€", "$", "£"}
    if match["plus"] or ord(before) >= _FIRST_UNSPACED_SCRIPT:
        return True
    at = start
    while at and start - at < 12 and text[at - 1].isalpha():
        at -= 1
    return _GLUED.fullmatch(text, at, start) is not None


_FIRST_UNSPACED_SCRIPT: Final = 0x2E80
"""From here on letters are of scripts that put no space between word and number (CJK)."""


_OPENERS: Final = frozenset(" (/\t\u200b\u200d\u2060\ufeff")
"""Behind these a second number may begin within a run of digits."""


class _Group(NamedTuple):
    start: int
    end: int
    digits: str


def _phones_of_run(
    text: str, start: int, end: int, regions: Regions, *, has_plus: bool
) -> Iterator[tuple[int, int]]:
    groups = [
        _Group(each.start(), each.end(), _ascii(each[0]))
        for each in _GROUPS.finditer(text, start, end)
    ]
    first = 0
    while first < len(groups):
        is_head = first == 0
        last = _last_group_of_phone(
            text, groups, first, regions, start=start, has_plus=has_plus and is_head
        )
        if last is None:
            first += 1
            continue
        # What hangs on by a hyphen or a dot belongs to it.
        while last + 1 < len(groups) and text[groups[last + 1].start - 1] in "-.\u2010\u2013":
            last += 1
        begin = start if is_head else groups[first].start
        stop = groups[last].end
        inside = text[begin:stop]
        if is_head and inside.startswith("(") and ")" not in inside:
            begin += 1
        elif not is_head and text[begin - 1] == "(" and ")" in inside:
            begin -= 1
        extension = _EXTENSION.match(text, stop)
        yield begin, extension.end() if extension else stop
        first = last + 1


def _ascii(digits: str) -> str:
    """Give digits of any script as ASCII; of too many only that there are too many."""
    if len(digits) > _MOST_DIGITS + 2:
        return "9" * (_MOST_DIGITS + 3)
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)


def _last_group_of_phone(
    text: str,
    groups: list[_Group],
    first: int,
    regions: Regions,
    *,
    start: int,
    has_plus: bool,
) -> int | None:
    """Give the last group of the longest number that begins with a group, None if none does."""
    head = groups[first].digits
    if first and text[groups[first].start - 1] not in _OPENERS:
        return None
    may_begin = not first or (len(head) > 2 and head[0] == "0")
    if not may_begin and not _NORTH_AMERICAN.match(text, groups[first].start):
        return None
    begin = groups[first].start if first else start
    before = None if first else _Before(text, begin)
    digits = ""
    ends: list[tuple[int, str]] = []
    for last in range(first, min(len(groups), first + _MOST_GROUPS)):
        digits += groups[last].digits
        if len(digits) > _MOST_DIGITS + 2:
            break
        if len(digits) >= _LEAST_BESIDE_A_WORD and _may_end(text, groups[last].end, digits, before):
            ends.append((last, digits))
    for judge in (_is_certain, _is_possible):
        for last, digits in reversed(ends):
            candidate = _Candidate(text, begin, groups[last].end, digits, has_plus, before)
            if judge(candidate, regions):
                return last
    return None


def _may_end(text: str, end: int, digits: str, before: "_Before | None") -> bool:
    behind = text[end : end + 1]
    if (behind.isascii() and behind.isalnum()) or behind == "_":
        return _EXTENSION.match(text, end) is not None
    if not UNIT_BEHIND.match(text, end):
        return True
    # Nobody counts in so many digits, or from a 0 on behind Tel.: what looks like a unit is a word.
    uncounted = len(digits) >= _LEAST_UNCOUNTED or (
        digits[0] == "0" and before is not None and before.speaks_of_a_phone()
    )
    return uncounted and not FRACTION_BEHIND.match(text, end)


class _Before:
    """What stands directly in front of a place: read once for all numbers that may begin there.

    Args:
        text: in which it stands.
        at: the place.
    """

    __slots__ = ("_at", "_of_other", "_of_phone", "_text")

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._at = at
        self._of_phone: bool | None = None
        self._of_other: bool | None = None

    def speaks_of_a_phone(self) -> bool:
        """Whether it is a word such as Tel."""
        if self._of_phone is None:
            self._of_phone = self._ends_with(_PHONE_WORD)
        return self._of_phone

    def speaks_of_another_number(self) -> bool:
        """Whether it is a word such as Bestellnummer."""
        if self._of_other is None:
            self._of_other = self._ends_with(_OTHER_WORD)
        return self._of_other

    def _ends_with(self, words: re.Pattern[str]) -> bool:
        return words.search(self._text, max(0, self._at - 48), self._at) is not None


class _Candidate(NamedTuple):
    """What could be a telephone number.

    Args:
        text: in which it stands.
        start: of it.
        end: behind it.
        digits: of it, as ASCII.
        has_plus: whether a plus stands in front.
        before: what stands in front, where it begins its run of digits; else None.
    """

    text: str
    start: int
    end: int
    digits: str
    has_plus: bool
    before: "_Before | None"

    def written(self) -> str:
        """Give it as it stands in the text."""
        return self.text[self.start : self.end]


def _is_certain(candidate: _Candidate, regions: Regions) -> bool:
    """Whether it is valid by country code or region."""
    digits, before = candidate.digits, candidate.before
    if candidate.has_plus:
        return regions.has_international(_without_trunk(candidate), is_sure=False)
    if not _LEAST_DIGITS <= len(digits) <= _MOST_DIGITS + 2:
        return False
    if digits[0] != "0" and not _NORTH_AMERICAN.fullmatch(
        candidate.text, candidate.start, candidate.end
    ):
        return False
    if before is not None and before.speaks_of_another_number():
        return False
    if digits.startswith("00"):
        # Thirteen digits from 001 on in one piece are an air ticket more often than a number.
        return (
            before is not None
            and not (digits.startswith("001") and len(digits) == candidate.end - candidate.start)
            and regions.has_international(_without_trunk(candidate)[2:], is_sure=False)
        )
    return len(digits) <= _MOST_DIGITS and regions.has_national(digits)


def _is_possible(candidate: _Candidate, regions: Regions) -> bool:
    """Whether form and neighbourhood say that it is one, though it may be mistyped."""
    digits, before = candidate.digits, candidate.before
    if _THOUSANDS.fullmatch(candidate.written().lstrip("+")):
        return False
    if candidate.has_plus:
        return regions.has_international(_without_trunk(candidate), is_sure=True)
    if before is None or len(digits) > _MOST_DIGITS + 2 or before.speaks_of_another_number():
        return False
    if (
        re.match("00[1-9]", digits)
        and len(digits) < candidate.end - candidate.start
        and regions.has_international(_without_trunk(candidate)[2:], is_sure=True)
    ):
        return True
    written = candidate.written()
    counted = _COUNTED.fullmatch(written) and candidate.text.endswith(
        _BEFORE_COUNTS, 0, candidate.start
    )
    if counted or _YEARS.fullmatch(written) or _HOURS.fullmatch(written):
        return False
    return len(digits) <= _MOST_DIGITS and (
        before.speaks_of_a_phone()
        or _PHONE_WORD_BEHIND.match(candidate.text, candidate.end) is not None
    )


def _without_trunk(candidate: _Candidate) -> str:
    """Give the digits without the `(0)` that is only dialled at home."""
    if "(0)" not in candidate.written():
        return candidate.digits
    return "".join(
        str(int(each)) for each in candidate.written().replace("(0)", "") if each.isdecimal()
    )
