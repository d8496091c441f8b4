"""Personal data in a text: where it stands, and the text without it.

    found = find("Ruft mich an: 0171 1234567, Gruß Anna", "de")
    mask("Ruft mich an: 0171 1234567, Gruß Anna", found)   # "Ruft mich an: [phone], Gruß Anna"

What is found, and on what evidence:

    email            `name@mail.de`, also as `name (at) mail.de`, `name[at]mail[dot]de`,
                     `name at mail dot de`; not a mention, not a fediverse handle
    iban             by shape, length of its country and check digits (schwifty); with the word IBAN
                     in front the check digits may be wrong, for customers mistype
    card             by shape, issuer and Luhn; rarer issuers only beside a word such as Karte
    customer_number, contract_number, order_number
                     by the brand's patterns (`klingel.language.numbers`)
    address          street and house number, with or without postcode and town; postcode and town;
                     British postcodes; P.O. boxes: hints by form, no register of streets
    phone            `+` or `00` and a possible number; a national number that is valid in a region
                     of the brand's languages (phonenumbers); any grouped number right beside a word
                     such as Tel. or Handy

Web addresses are not personal data here, whatever their query says, nor are mentions and hashtags.
Names of persons are not found.

Most posts hold nothing of this: `may_hold` is the cheap gate, a few microseconds, and everything
else runs only behind it. All expressions are linear in the text, but a close look at a number is
not cheap. So a text of thousands of numbers has two bounds, both of which mask more, never less:
only some doubtful telephone numbers are looked up (`klingel.language.telephone`);
and behind the first `SPOTS` numbers and at signs every number (`number`) and everything that looks
like an e-mail address is masked without a closer look.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from schwifty import IBAN
from schwifty.exceptions import SchwiftyException

from klingel.language.addresses import ADDRESS_GATE, STREET_OR_TOWN, find_addresses
from klingel.language.blanking import blank_of, without
from klingel.language.numbers import NumberPattern, find_numbers, is_luhn
from klingel.language.telephone import DEFAULT_REGIONS, REGIONS_OF, Regions, find_phones

Kind = Literal[
    "phone",
    "iban",
    "email",
    "card",
    "customer_number",
    "contract_number",
    "order_number",
    "address",
    "number",
]
"""What is found; `number` is any number behind the first `SPOTS` of a text."""

SPOTS: Final = 64
"""Numbers and at signs of a text that are looked at closely; what is behind them is masked."""


class Finding(NamedTuple):
    """Something personal in a text.

    Args:
        kind: what it is.
        start: first code point.
        end: behind the last code point.
    """

    kind: Kind
    start: int
    end: int


def find(
    text: str,
    lang: str | None,
    numbers: Sequence[NumberPattern] = (),
    *,
    regions: Sequence[str] = DEFAULT_REGIONS,
) -> tuple[Finding, ...]:
    """Find personal data.

    Args:
        text: as it was said.
        lang: BCP 47 primary subtag, or None; its regions are looked up before the others.
        numbers: the brand's own number patterns.
        regions: ISO 3166 codes in which numbers without country code are looked up.

    Returns:
        What was found, rising and disjoint.
    """
    if not text.isascii():
        text = _ODD_SPACE.sub(" ", text)
    if not may_hold(text) and not _may_hold_numbers(text, numbers):
        return ()
    asked = Regions(tuple(dict.fromkeys((*REGIONS_OF.get(lang or "", ()), *regions))))
    windows, end = _windows(text)
    found = [
        Finding(kind, start + window, stop + window)
        for window, window_end in windows
        for kind, start, stop in _find_in(text[window:window_end], numbers, asked)
    ]
    if end < len(text):
        found += _coarse(without(text, map(_span, found)), max(0, end - _REACH))
    return tuple(_disjoint(found))


def _may_hold_numbers(text: str, numbers: Sequence[NumberPattern]) -> bool:
    if numbers and _ANY_DIGIT.search(text):
        for pattern in numbers:
            if pattern.expression.search(text):
                return True
    return False


def mask(text: str, findings: Iterable[Finding]) -> str:
    """Give the text with each finding replaced by its kind in square brackets, such as `[phone]`.

    Kind and place are kept; nothing outside the findings is changed.
    """
    parts: list[str] = []
    at = 0
    for finding in sorted(findings, key=_start):
        parts += (text[at : finding.start], f"[{finding.kind}]")
        at = finding.end
    parts.append(text[at:])
    return "".join(parts)


def _start(finding: Finding) -> int:
    return finding.start


def _span(finding: Finding) -> tuple[int, int]:
    return finding.start, finding.end


def _disjoint(found: Iterable[Finding]) -> Iterator[Finding]:
    """Give findings in their order, the later of two that overlap cut to what the first leaves."""
    at = 0
    for kind, start, end in sorted(found, key=_start):
        if end > at:
            yield Finding(kind, max(start, at), end)
            at = end


# --- the gate ---------------------------------------------------------------------------------

_ODD_SPACE: Final = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
"""Spaces that keep a line together or are of another width: everywhere here they are spaces."""
_ANY_DIGIT: Final = re.compile("[0-9]")
_SIX_SIGNS: Final = r"(?<![\d@#_]\d)[\d\s()./+\u2010-\u2013\u200b-\u200d\u2060\ufeff-]{4,}\d"
"""Behind a digit: it is the first of six signs of a number."""
_PHONE_GATE: Final = re.compile(rf"\d{_SIX_SIGNS}")
# What begins a number, an IBAN or an address.
_DIGIT_GATE: Final = re.compile(
    rf"[0-9\u0660-\u0669\uff10-\uff19](?:{_SIX_SIGNS}"
    r"|(?<=[A-Za-z][A-Za-z]\d)\d[ \u00a0.-]?[A-Za-z0-9]{4}"
    rf"|{STREET_OR_TOWN})"
)
_AT_GATE: Final = re.compile(
    r"@(?:\s|(?<=[\w.+%-]@))(?:[^\W_]|-)++(?:\.|\s{0,2}[\[({]|\s(?:dot|punkt)\s)", re.IGNORECASE
)
_BRACKET_GATE: Final = re.compile(r"[(\[{<]\s?(?:at|ät|@|a|dot|punkt|\.)\s?[)\]}>]", re.IGNORECASE)
_WORD_GATE: Final = re.compile(
    r" (?-i:at|AT|ät) (?:[^\W_]|-)++(?:\.|\s{0,2}[\[({]|\s(?:dot|punkt)\s)", re.IGNORECASE
)


def may_hold(text: str) -> bool:
    """Whether anything could be found: never False where something would be.

    Args:
        text: with ordinary spaces, as `find` makes them.
    """
    return (
        _DIGIT_GATE.search(text) is not None
        or ("@" in text and _AT_GATE.search(text) is not None)
        or (
            ("(" in text or "[" in text or "{" in text or "<" in text)
            and _BRACKET_GATE.search(text) is not None
        )
        or (
            (" at " in text or " ät " in text or " AT " in text)
            and _WORD_GATE.search(text) is not None
        )
    )


# --- one pass ---------------------------------------------------------------------------------

_PASSES: Final = 4

_WEB: Final = re.compile(
    r"[hH][tT][tT][pP][sS]?://[^\s\x1a<>\"\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]+"
    r"|[wW][wW][wW]\.(?<![\w@.-]....)[^\s@\x1a]++(?!@)"
)
_PATH: Final = re.compile(r"\.[A-Za-z]{2,6}/")
_BARE_WEB: Final = re.compile(
    r"(?<![\w@.-])(?:[^\W_]++[.-])+?[a-z]{2,6}/[^\s@\x1a]*+(?!@)", re.IGNORECASE
)
_MENTION: Final = re.compile(r"(?<![\w.])@[\w.-]+(?:@[\w.-]+)?")
_HASHTAG: Final = re.compile(r"(?<!\w)[#\uff03]\w+")


def _find_once(text: str, numbers: Sequence[NumberPattern], regions: Regions) -> list[Finding]:
    """Look for each kind in what those before it have left."""
    rest = _WEB.sub(blank_of, text)
    if _PATH.search(rest):
        rest = _BARE_WEB.sub(blank_of, rest)
    found: list[Finding] = []

    def take(kind: Kind, places: Iterable[tuple[int, int]]) -> None:
        nonlocal rest
        fresh = [Finding(kind, start, end) for start, end in places]
        if fresh:
            found.extend(fresh)
            rest = without(rest, map(_span, fresh))

    take("email", _emails(rest))
    if "@" in rest:
        rest = _MENTION.sub(blank_of, rest)
    take("iban", _ibans(rest))
    for pattern in numbers:
        take(pattern.kind, ((start, end) for _, start, end in find_numbers(rest, [pattern])))
    take("card", _cards(rest))
    if ADDRESS_GATE.search(text):
        take("address", find_addresses(rest))
    if _PHONE_GATE.search(rest):
        if "#" in rest or "\uff03" in rest:
            rest = _HASHTAG.sub(blank_of, rest)
        take("phone", find_phones(rest, regions))
    return found


def _find_in(text: str, numbers: Sequence[NumberPattern], regions: Regions) -> list[Finding]:
    """Look until nothing is new: what was found no longer separates or explains its neighbours."""
    found = _find_once(text, numbers, regions)
    for _ in range(_PASSES if found else 0):
        fresh = _find_once(without(text, map(_span, found)), numbers, regions)
        if not fresh:
            break
        found += fresh
    return found


_SPOT: Final = re.compile(
    r"(?P<other>&\#\d+;|\d{1,2}:\d\d(?::\d\d)?(?![\d:]))|\d+|@| (?:at|ät) |[\[({<]\s?(?:at|ät|a|@)\s?[\])}>]",
    re.IGNORECASE,
)
"""Every finding contains one."""
_SHORT: Final = 600
_REACH: Final = 160
"""How far around a spot a finding, and what speaks for it, can lie."""
_LONG_WORD: Final = 300
_LONGEST_NUMBER: Final = 40
"""More digits than that in a row are none of what is looked for."""
_LOCAL: Final = r"[\w.+%-]++(?:['\u2019][\w.+%-]++)*+"
"""What stands before the at sign; possessive, and begun only where it begins: read once."""
_COARSE_EMAIL: Final = (
    rf"(?<![\w.+%-])(?<![\w.+%-]['\u2019])(?:{_LOCAL}"
    r"(?:@|\s{0,2}[\[({<]\s?(?:at|ät|a|@)\s?[\])}>]\s{0,2}|\s?@\s)[\w.()\[\]-]++"
    rf"|{_LOCAL}"
    r" (?-i:at|AT|ät) (?:[^\W_]|-)++(?:\.|\s{0,2}[\[({]|\s(?:dot|punkt)\s)\S++)"
)
# Addresses and numbers that stand close together are one finding: thousands would take time too.
_COARSE: Final = re.compile(
    r"https?://[^\s\x1a]++|(?<![\w.])@[\w.-]++|&\#\d+;|\d{1,2}:\d\d(?::\d\d)?(?![\d:])"
    rf"|(?P<email>{_COARSE_EMAIL}(?:[\s,;]{{1,2}}{_COARSE_EMAIL})*+)"
    r"|(?P<number>\+?\d(?:(?:[^@\n\x1a]{0,12}?|\s{1,4})\d)*+)",
    re.IGNORECASE,
)


def _windows(text: str) -> tuple[list[tuple[int, int]], int]:
    """Give the parts of a text that are looked at closely, and where the close look ends."""
    if len(text) <= _SHORT:
        return [(0, len(text))], len(text)
    windows: list[tuple[int, int]] = []
    count = 0
    for spot in _SPOT.finditer(text):
        if spot["other"] or spot.end() - spot.start() > _LONGEST_NUMBER:
            continue
        if count == SPOTS:
            return windows, windows[-1][1]
        count += 1
        start = _word_start(text, max(0, spot.start() - _REACH))
        end = _word_end(text, min(len(text), spot.end() + _REACH))
        if windows and start <= windows[-1][1]:
            start = windows.pop()[0]
        windows.append((start, end))
    return windows, len(text)


def _word_start(text: str, at: int) -> int:
    begin = max(0, at - _LONG_WORD)
    return max(text.rfind(" ", begin, at), text.rfind("\n", begin, at), begin)


def _word_end(text: str, at: int) -> int:
    space = text.find(" ", at, at + _LONG_WORD)
    return min(len(text), at + _LONG_WORD) if space < 0 else space


def _coarse(text: str, start: int) -> list[Finding]:
    """Give every number and everything like an e-mail address from a place on."""
    return [
        Finding("email" if match.lastgroup == "email" else "number", *match.span())
        for match in _COARSE.finditer(text, start)
        if match.lastgroup
    ]


# --- e-mail -----------------------------------------------------------------------------------

# Possessive runs that begin only where a run begins: each character is read once.
_EMAIL: Final = re.compile(
    rf"(?<![\w.+%@-])(?<![\w.+%-]['\u2019])(?P<local>{_LOCAL})"
    r"(?:(?P<plain>@)"
    r"|(?P<bracket>\s{0,2}[\[({<]\s?(?:at|ät|a|@)\s?[\])}>]\s{0,2})"
    r"|(?P<word>\s?@\s| (?-i:at|AT|ät) ))"
    r"(?P<domain>(?:[^\W_]|-)++"
    r"(?:(?:\.|\s{0,2}[\[({]\s?(?:dot|punkt|\.)\s?[\])}]\s{0,2}|\s(?:dot|punkt)\s)"
    r"(?:[^\W_]|-)++)*+)",
    re.IGNORECASE,
)
_LABELS: Final = re.compile(
    r"\s*[\[({]\s?(?:dot|punkt|\.)\s?[\])}]\s*|\s(?:dot|punkt)\s|\.", re.IGNORECASE
)
_PROVIDERS: Final = re.compile(
    r"gmail|googlemail|gmx|web|t-online|freenet|outlook|hotmail|live|yahoo|ymail|aol|icloud|me"
    r"|mac|posteo|mailbox|protonmail|proton|arcor|bluewin|sunrise|hispeed|a1|aon|btinternet"
    r"|sky|ntlworld|msn|1und1|online|vodafone|kabelmail|unitybox",
    re.IGNORECASE,
)
_SOME_TLDS: Final = frozenset(("com", "net", "org", "info", "online", "email", "berlin", "wien"))
_TELLING: Final = re.compile(r"[^\W\d_][._+-][^\W_]|\d")
_MAIL_WORD: Final = re.compile(
    r"(?<!\[)(?<!\[e)(?:mail|schreib|write|adresse)\w{0,8}\W{0,3}(?:\w{1,9}\W{1,2}){0,3}$",
    re.IGNORECASE,
)
_NO_NAMES: Final = re.compile(
    r"a|an|and|at|here|him|her|it|look|me|mail|mir|mich|or|the|them|uns|us|you|und|oder|was",
    re.IGNORECASE,
)


def _emails(text: str) -> Iterator[tuple[int, int]]:
    if "@" not in text and not _BRACKET_GATE.search(text) and not _WORD_GATE.search(text):
        return
    for match in _EMAIL.finditer(text):
        local = match["local"]
        name = local.lstrip(".-+%")
        labels = _LABELS.split(match["domain"])
        if name and _is_email(match, name, labels, text):
            end = match.end()
            while text[end - 1] == "-":
                end -= 1
            yield match.start() + len(local) - len(name), end


def _is_email(match: re.Match[str], name: str, labels: list[str], text: str) -> bool:
    dotted = len(labels) > 1 and all(labels) and _is_top_level(labels[-1])
    if match["plain"]:
        # `git@host:path` is the address of a repository.
        return dotted and not (name == "git" and text[match.end() : match.end() + 1] == ":")
    known = _PROVIDERS.fullmatch(labels[0]) is not None
    if match["bracket"]:
        return dotted or known
    if not dotted or _NO_NAMES.fullmatch(name) or not re.search(r"[^\W\d_]", name):
        return False
    telling = _TELLING.search(name) is not None
    asked_for = _MAIL_WORD.search(text, max(0, match.start() - 40), match.start()) is not None
    if "@" in match["word"] or "." not in match["domain"]:
        return telling or known or asked_for
    # "look at gmail.com": a name, or the word mail and a provider.
    return telling or (known and asked_for)


def _is_top_level(label: str) -> bool:
    """Whether a domain may end so; a capital after a dot is a sentence that lacks its space."""
    if len(label) < 2 or not label.isalpha():
        return False
    return len(label) == 2 or label.islower() or label.isupper() or label.lower() in _SOME_TLDS


# --- IBAN and cards ---------------------------------------------------------------------------

_IBAN: Final = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}[ \u00a0-]?\d{2}(?:[ \u00a0.-]?[A-Za-z0-9]){11,30}", re.ASCII
)
_IBAN_WORD: Final = re.compile(r"iban[\w\s.:=-]{0,12}$", re.IGNORECASE)
_CODE: Final = re.compile(r"[A-Za-z0-9]")


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    while match := _IBAN.search(text, at):
        end = _iban_end(text, match)
        if end is None:
            at = match.start() + 2
        else:
            yield match.start(), end
            at = end


def _iban_end(text: str, match: re.Match[str]) -> int | None:
    signs = [sign.start() for sign in _CODE.finditer(text, match.start(), match.end())]
    country = match[0][:2].upper()
    try:
        length = IBAN(country, allow_invalid=True).spec.iban_length
    except SchwiftyException:
        return None
    if len(signs) < length:
        return None
    end = signs[length - 1] + 1
    if _CODE.match(text, end):
        return None
    try:
        IBAN("".join(text[sign] for sign in signs[:length]).upper())
    except SchwiftyException:
        digits = sum(text[sign].isdigit() for sign in signs[2:length])
        said = _IBAN_WORD.search(text, max(0, match.start() - 24), match.start())
        return end if said and digits >= 10 else None
    return end


_CARD: Final = re.compile(
    r"(?<![A-Za-z0-9_#])(?:(?<!\d[ .-])\d{12,19}(?![ .-]\d)"
    r"|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3}(?!\d))?|\d{4}([ -])\d{6}\2\d{4,5})"
    r"(?![A-Za-z0-9_])",
    re.ASCII,
)
_ISSUERS: Final = re.compile(
    r"4\d{12}|4\d{15}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|6(?:011|4[4-9]\d|5\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}"
    r"|62\d{14}"
)
_CARD_WORD: Final = re.compile(
    r"(?<!\[)(?:card|karte|visa|master|maestro|amex|american express)", re.IGNORECASE
)


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        digits = match[0].replace(" ", "").replace("-", "")
        if is_luhn(digits) and (
            _ISSUERS.fullmatch(digits)
            or (
                digits[0] in "123456"
                and _CARD_WORD.search(text, max(0, match.start() - 40), match.start())
            )
        ):
            yield match.span()
