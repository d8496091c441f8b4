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
the first `VALIDATIONS` doubtful telephone numbers are looked up, later ones count by their shape;
and behind the first `SPOTS` numbers and at signs every number (`number`) and everything that looks
like an e-mail address is masked without a closer look.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

import phonenumbers
from phonenumbers import NumberParseException, ValidationResult
from schwifty import IBAN
from schwifty.exceptions import SchwiftyException

from klingel.language.numbers import NumberPattern, find_numbers, is_luhn

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

DEFAULT_REGIONS: Final = ("DE", "AT", "CH", "GB", "US")
"""Regions in which a telephone number without country code is looked up."""

SPOTS: Final = 64
"""Numbers and at signs of a text that are looked at closely; what is behind them is masked."""

VALIDATIONS: Final = 12
"""Most numbers of a text about which phonenumbers is asked; later ones count by their shape."""


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
    asked = _Regions(tuple(dict.fromkeys((*_REGIONS_OF.get(lang or "", ()), *regions))))
    windows, end = _windows(text)
    found = [
        Finding(kind, start + window, stop + window)
        for window, window_end in windows
        for kind, start, stop in _find_in(text[window:window_end], numbers, asked)
    ]
    if end < len(text):
        found += _coarse(_without(text, found), max(0, end - _REACH))
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
# Six signs of a number; or a digit behind what ends like a street or a box, before the name of a
# street or of a town, in a British postcode or an American ZIP code.
_STREET_OR_TOWN: Final = (
    r"(?<![\d@#_]\d)(?:\d{0,4}[A-Za-z]?,? (?:[A-Z][\w'\u2019.-]{1,20} ){1,4}(?:St|Ro|Rd|Av|La|Ln|Dr"
    r"|Cl|Co|Ct|Cr|Te|Wa|Bo|Bl|Sq|Ga|Gr|Hi|Me|Pl|Pa|Pk)"
    r"|(?:(?<=-\d)|(?<=[03-9])|(?<=1)(?![5-9]\d\d )|(?<=2)(?!0\d\d ))\d{3,4} [A-ZÄÖÜ])"
    r"|(?<=(?:r\. |[tNn]r\.|tr |ße |[sß]e |SE |TR |eg |tz |ee |mm |kt |de |ox |ch )\d)"
    r"|(?<=[A-Z0-9] \d)[A-Z]{2}\b"
    r"|(?<=, [A-Z][A-Z] \d)\d{4}"
)
_ADDRESS_GATE: Final = re.compile(rf"[0-9](?:{_STREET_OR_TOWN})")
_DIGIT_GATE: Final = re.compile(
    r"[0-9\u0660-\u0669\uff10-\uff19]"
    r"(?:(?<![\d@#_]\d)[\d\s()./+\u2010-\u2013\u200b-\u200d\u2060\ufeff-]{4,}\d"
    r"|(?<=[A-Za-z][A-Za-z]\d)\d[ \u00a0.-]?[A-Za-z0-9]{4}"
    rf"|{_STREET_OR_TOWN})"
)
_AT_GATE: Final = re.compile(
    r"@(?:\s|(?<=[\w.+%-]@))(?:[^\W_]|-)++(?:\.|\s{0,2}[\[({]|\s(?:dot|punkt)\s)", re.IGNORECASE
)
_BRACKET_GATE: Final = re.compile(r"[(\[{<]\s?(?:at|ät|@|a|dot|punkt|\.)\s?[)\]}>]", re.IGNORECASE)
_WORD_GATE: Final = re.compile(
    r" (?-i:at|AT|ät) (?:[^\W_]|-)++(?:\.|\s{0,2}[\[({]|\s(?:dot|punkt)\s)", re.IGNORECASE
)


def may_hold(text: str) -> bool:
    """Whether anything could be found: never False where something would be."""
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

_BLANK: Final = "\x1a"
"""Stands for what is settled: no letter, no digit, no space, in no expression."""

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


def _find_once(text: str, numbers: Sequence[NumberPattern], regions: "_Regions") -> list[Finding]:
    """Look for each kind in what those before it have left."""
    rest = _WEB.sub(_blank_of, text)
    if _PATH.search(rest):
        rest = _BARE_WEB.sub(_blank_of, rest)
    found: list[Finding] = []

    def take(kind: Kind, places: Iterable[tuple[int, int]]) -> None:
        nonlocal rest
        fresh = [Finding(kind, start, end) for start, end in places]
        if fresh:
            found.extend(fresh)
            rest = _without(rest, fresh)

    take("email", _emails(rest))
    if "@" in rest:
        rest = _MENTION.sub(_blank_of, rest)
    take("iban", _ibans(rest))
    for pattern in numbers:
        take(pattern.kind, ((start, end) for _, start, end in find_numbers(rest, [pattern])))
    take("card", _cards(rest))
    if _ADDRESS_GATE.search(text):
        take("address", _addresses(rest))
    if "#" in rest or "\uff03" in rest:
        rest = _HASHTAG.sub(_blank_of, rest)
    take("phone", _phones(rest, regions))
    return found


def _find_in(text: str, numbers: Sequence[NumberPattern], regions: "_Regions") -> list[Finding]:
    """Look until nothing is new: what was found no longer separates or explains its neighbours."""
    found = _find_once(text, numbers, regions)
    for _ in range(_PASSES if found else 0):
        fresh = _find_once(_without(text, found), numbers, regions)
        if not fresh:
            break
        found += fresh
    return found


def _blank_of(match: re.Match[str]) -> str:
    return _BLANK * (match.end() - match.start())


def _without(text: str, findings: Iterable[Finding]) -> str:
    """Give the text with the findings blanked: every place stays where it was."""
    parts: list[str] = []
    at = 0
    for finding in sorted(findings, key=_start):
        parts += (text[at : finding.start], _BLANK * (finding.end - finding.start))
        at = finding.end
    parts.append(text[at:])
    return "".join(parts)


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


# --- addresses --------------------------------------------------------------------------------

_UNIT: Final = (
    r"(?:[€$£%‰°]|(?:euro?|eur|usd|chf|franken|cent|ct|prozent|percent|uhr|h|std|stunden?|min|minuten?"
    r"|minutes?|mins?|sek|sekunden?|hours?|hrs?|days?|weeks?|months?|years?|tage?n?|wochen?|monate?n?"
    r"|jahre?n?|km|m|metern?|miles?|mbit|gbit|kbit|mb|gb|tb|kb|kwh?|mwh|watt|mio|mrd|milli(?:on|ard)\w*"
    r"|mal|grad|leute|personen|menschen|verletzte|tote|autos|fahrzeuge|züge|spuren|follower\w*|views?"
    r"|likes?|retweets?|am|pm|ghz|mhz|kg|g|l|liter|stück|punkte|points|people|users|kunden|customers"
    r"|mitarbeiter\w*|x)\b)"
)
_UNIT_BEHIND: Final = re.compile(rf"[ \t\u00a0\u202f]?{_UNIT}|:\d|[.,]\d", re.IGNORECASE)
_FRACTION_BEHIND: Final = re.compile(r"\s?[€$£%‰°]|:\d|[.,]\d")
_LEAST_UNCOUNTED: Final = 10
_TOWN: Final = (
    r"(?:Bad |St\. |Sankt )?[A-ZÄÖÜ][a-zäöüß]+(?:[ -](?:am|an|an der|im|in|ob|bei|vor)"
    r"[ -](?:der )?[A-ZÄÖÜ][a-zäöüß]+|-[A-ZÄÖÜ][a-zäöüß]+)?"
)
_PLACE: Final = rf"(?:,\s?|\s){{1,2}}(?:(?:D|DE|A|AT|CH)[ -]{{1,3}})?\d{{4,5}}(?!\w)(?:\s{_TOWN})?"

# Each word is read once (possessive); only a word that ends like a street goes on.
_STREET: Final = re.compile(
    r"(?<![\w'\u2019-])(?P<word>[^\W\d_][\w'\u2019-]*+)"
    r"(?:(?<=tra[sß]e)|(?<=tra[sS]se)|(?<=TRASSE)|(?<=TRAßE)|(?<=[sS]tr)|(?<=STR)|(?<=weg)|(?<=Weg)"
    r"|(?<=platz)|(?<=Platz)|(?<=llee)|(?<=asse)|(?<=amm)|(?<=chaussee)|(?<=romenade)|(?<=Markt))"
    r"(?:\. ?| )(?:[Nn]r\. ?)?"
    r"(?!(?:19|20)\d\d\b)(?P<house>\d{1,4}(?: ?[a-hA-H](?!\w))?(?: ?[-/+] ?\d{1,4}[a-hA-H]?(?!\w))?)"
    rf"(?![\w%])(?P<place>{_PLACE})?"
)
_LONGEST_STREET: Final = 60
_ALONE: Final = re.compile(
    r"straße|strasse|str|weg|platz|allee|gasse|damm|chaussee|promenade|markt",
    re.IGNORECASE,
)
_NO_NAME: Final = re.compile(
    r"der|die|das|den|dem|des|ein|eine|einer|einem|diese|dieser|jede|jeder|auf|zum|zur|vom|im"
    r"|in|an|am|von|für|und|oder|mit|wegen|nach|bis|über|unter|ab|bei|beim|alle|ganze|ganzen"
    r"|rechte|linke",
    re.IGNORECASE,
)
_NAME_WORD: Final = re.compile(r"[A-ZÄÖÜ][\w'\u2019.-]*")
_NO_STREETS: Final = re.compile(
    r"(?:bundes|landes|land|kreis|staats|schnell|europa|milch|wasser|wasch|fertigungs|produktions"
    r"|fern|umgehungs)(?:straße|strasse|str)"
    r"|(?:arbeits|listen|park|sitz|stell|steh|spiel|tabellen|start|ausbildungs|studien|kita|fenster|gang"
    r"|stamm|bau|sport|ball|flug|golf|tennis|camping|rast|liege|speicher|schlaf|podest|rang|abstiegs"
    r"|aufstiegs|logen|treff|krippen|betreuungs|pflege|therapie|impf|lade|garagen|mobil|zelt|schul"
    r"|praktikums|medaillen|spitzen|letzter|lager|steck|einsatz|schau|park-|qualifikations|tisch)platz"
    r"|(?:heim|rück|hin|um|arbeits|rad|geh|fuß|anfahrts|liefer|fahrt|aus|durch|vorne|neben|dienst"
    r"|post|übertragungs|rettungs|reise|see|luft|rechts|klage|flucht|lauf|vertriebs|bildungs|lebens"
    r"|zahlungs|bestell|kontakt|brems|transport|verkehrs|kommunikations|halb|dreh|melde|versand)weg"
    r"|.*(?:klasse|kasse|rasse|tasse|masse|terrasse|trasse(?<!strasse)|fasse|lasse|hasse|passe"
    r"|prog?ramm|stamm|lamm|schlamm|kamm|schwamm|stramm|gramm|flamm)",
    re.IGNORECASE,
)
_ENGLISH: Final = re.compile(
    r"(?<![\w.,:$£€#/-])(?P<no>\d{1,5}[A-Za-z]?),? "
    r"(?P<names>(?:[A-Z][\w'\u2019.-]{1,20} ){1,4}?)"
    r"(?:(?P<sure>Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Boulevard|Blvd|Crescent|Terrace|Parkway|Pkwy)"
    r"|Drive|Dr|Way|Place|Pl|Court|Ct|Close|Square|Sq|Gardens|Grove|Hill|Mews)(?!\w)\.?"
    r"(?! (?:[A-Z][a-z]+ )?(?:Food|Journal|Fighter|View|Art|Style|Car|Cars|Test)\b)"
    r"(?:,? (?:Apt|Suite|Flat|Unit)\.? \d{1,5})?"
    r"(?P<place>,? [A-Z][a-z]+(?: [A-Z][a-z]+)?,? [A-Z]{2},? \d{5}(?:-\d{4})?(?!\w))?"
)
_NO_ENGLISH_NAME: Final = re.compile(
    r"\b(?:Best|Top|Great|Big|Free|Days?|Hours?|Hr|Min|Mins|Minutes?|Years?|Millions?|Times?|Stars?"
    r"|Hard|Google|Flash|USB|Test|Only|Right|Good|More|Most|Last|First|Euros?|Prozent|Uhr|Disk|Pro|The"
    r"|January|February|March|April|May|June|July|August|September|October|November|December|Jan|Feb"
    r"|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec|Mal|Minuten|Tage|Stunden|Jahre|One|Two|DVD|CD|SSD)\b",
)
_BRITISH: Final = re.compile(
    r"(?<![\w-])(?:AB|AL|B|BA|BB|BD|BH|BL|BN|BR|BS|BT|CA|CB|CF|CH|CM|CO|CR|CT|CV|CW|DA|DD|DE|DG|DH|DL"
    r"|DN|DT|DY|E|EC|EH|EN|EX|FK|FY|G|GL|GU|GY|HA|HD|HG|HP|HR|HS|HU|HX|IG|IM|IP|IV|JE|KA|KT|KW|KY|L|LA"
    r"|LD|LE|LL|LN|LS|LU|M|ME|MK|ML|N|NE|NG|NN|NP|NR|NW|OL|OX|PA|PE|PH|PL|PO|PR|RG|RH|RM|S|SA|SE|SG|SK"
    r"|SL|SM|SN|SO|SP|SR|SS|ST|SW|SY|TA|TD|TF|TN|TQ|TR|TS|TW|UB|W|WA|WC|WD|WF|WN|WR|WS|WV|YO|ZE)"
    r"\d[A-Z\d]? (?!\d(?:GB|TB|XL|ST|ND|RD|TH|HP|HZ|DB|ER)\b)\d[ABD-HJLNP-UW-Z]{2}(?!\w)"
)
_AMERICAN: Final = re.compile(
    r"(?<!\w)[A-Z][a-z]+(?: [A-Z][a-z]+){0,2}, (?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]"
    r"|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]),? \d{5}(?:-\d{4})?(?!\w)"
)
_BOX: Final = re.compile(
    r"(?<!\w)(?:P\.? ?O\.? ?Box|Postfach)(?: Nr\.?)? \d{1,3}(?: ?\d{2}){0,2}(?!\w)"
    rf"(?P<place>{_PLACE})?",
    re.IGNORECASE,
)
_PLACES: Final = re.compile(
    r"(?<![\w.,:/$£€#+-])(?P<country>(?:D|DE|A|AT|CH)[ -]{1,3})?(?P<code>\d{4,5})"
    rf" (?P<town>{_TOWN})(?!\w)"
)
_HOUSE_BEFORE: Final = re.compile(
    r"(?:[A-ZÄÖÜ][\w'\u2019.-]{1,30} ){1,3}\d{1,4} ?[a-hA-H]?(?:, ?|\s{1,2})$"
)
_YEAR: Final = re.compile("1[5-9]..|20..")
_ADDRESS_WORD: Final = re.compile(
    r"(?:plz|postleitzahl|wohn\w{1,6}|adresse|anschrift|wohnort|address)[\s:.,-]{0,3}(?:\w{1,8}[\s:,]"
    r"{1,2}){0,3}$",
    re.IGNORECASE,
)
_OTHER_CODE: Final = re.compile(
    r"(?:[A-Z]{1,4}\d{0,3}|[A-Z]{0,3}[Zz]ug|Bus|Linie|Flug|Nr\.?|Tram|kostet|[A-Z]?bahn) ?$"
)
_ALPINE_TOWNS: Final = re.compile(
    r"wien|graz|linz|salzburg|innsbruck|klagenfurt|villach|wels|bregenz|dornbirn|basel|bern|biel"
    r"|genf|lausanne|lugano|luzern|thun|winterthur|zürich|St\.",
    re.IGNORECASE,
)
# Without Essen, which also means food.
_TOWNS: Final = re.compile(
    r"aachen|augsburg|bamberg|basel|bayreuth|bergisch|berlin|bern|biel|bielefeld|bochum|bonn"
    r"|bottrop|braunschweig|bregenz|bremen|bremerhaven|chemnitz|cottbus|darmstadt|dessau"
    r"|dornbirn|dortmund|dresden|duisburg|düren|düsseldorf|erfurt|erlangen|esslingen"
    r"|flensburg|frankfurt|freiburg|fürth|gelsenkirchen|genf|gera|gießen|göttingen|graz"
    r"|gütersloh|hagen|halle|hamburg|hamm|hanau|hannover|heidelberg|heilbronn|herne|hildesheim"
    r"|ingolstadt|innsbruck|iserlohn|jena|kaiserslautern|karlsruhe|kassel|kempten|kiel"
    r"|klagenfurt|koblenz|köln|konstanz|krefeld|landshut|lausanne|leipzig|leverkusen|linz"
    r"|lübeck|ludwigsburg|ludwigshafen|lugano|lünen|luzern|magdeburg|mainz|mannheim|marburg"
    r"|marl|minden|moers|mönchengladbach|mülheim|münchen|münster|neuss|norderstedt|nürnberg"
    r"|oberhausen|offenbach|oldenburg|osnabrück|paderborn|passau|pforzheim|potsdam|ratingen"
    r"|recklinghausen|regensburg|remscheid|reutlingen|rosenheim|rostock|saarbrücken|salzburg"
    r"|salzgitter|schwerin|siegen|solingen|stuttgart|thun|trier|tübingen|ulm|velbert|villach"
    r"|villingen|wels|wien|wiesbaden|winterthur|witten|wolfsburg|worms|wuppertal|würzburg"
    r"|zürich|zwickau",
    re.IGNORECASE,
)
_LIKE_A_TOWN: Final = re.compile(
    r"(?:Bad|St\.|Sankt) .*|\w{2,}(?:burg|heim|hausen|furt|kirchen|stedt|münde|brücken|haven|dorf|bach"
    r"|weiler|hofen|stetten)(?:[ -].*)?|\w{3,}ingen(?:[ -].*)?"
)


def _addresses(text: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for match in _STREET.finditer(text):
        start = _street_start(match, text)
        if start is not None and (
            match["place"] or not _UNIT_BEHIND.match(text, match.end("house"))
        ):
            found.append((start, match.end()))
    for match in _PLACES.finditer(text):
        start = _place_start(match, text)
        if start is not None:
            found.append((start, match.end()))
    for match in _ENGLISH.finditer(text):
        doubtful = not match["sure"] and len(match["no"]) == 4 and match["no"][:2] in {"19", "20"}
        if not doubtful and not _NO_ENGLISH_NAME.search(match["names"]):
            found.append(match.span())
    found += [match.span() for each in (_BRITISH, _AMERICAN) for match in each.finditer(text)]
    if "ox" in text or "OX" in text or "ostfach" in text or "OSTFACH" in text:
        found += [match.span() for match in _BOX.finditer(text)]
    return _merged(found)


def _street_start(match: re.Match[str], text: str) -> int | None:
    """Give where the name of a street begins, None where it is no street."""
    word = match["word"]
    lower = word.lower()
    if len(word) > _LONGEST_STREET:
        return None
    if _ALONE.fullmatch(lower):
        return _name_start(match.start(), text, alone=lower)
    if _NO_STREETS.fullmatch(word) or word[-5:] == "Markt":
        return None
    is_sure = lower.endswith(("straße", "strasse", "str", "gasse", "allee", "chaussee"))
    return match.start() if is_sure or word[0].isupper() else None


def _name_start(at: int, text: str, *, alone: str) -> int | None:
    """Give where the words before `Straße` or `Platz` begin that make it a name."""
    start = at
    for _ in range(3):
        before = text[max(0, start - 40) : start]
        word = before[:-1].rsplit(None, 1)[-1] if before[:-1].strip() else ""
        joined = before[-1:] in {" ", "-"} and before[-2:-1].isalpha()
        if not joined or not _NAME_WORD.fullmatch(word):
            break
        if _NO_NAME.fullmatch(word):
            if start == at and alone in {"markt", "damm"} and word == "Am":
                return start - len(word) - 1
            break
        if start == at and alone in {"platz", "weg"} and not word.endswith(("er", "Er", "ER")):
            break
        start -= len(word) + 1
    return start if start < at else None


def _place_start(match: re.Match[str], text: str) -> int | None:
    """Give where a postcode with its town begins, or the street before it; None for a count."""
    code = match["code"]
    town = match["town"]
    begin = max(0, match.start() - 80)
    is_year = len(code) == 4 and _YEAR.fullmatch(code) is not None
    house = None if is_year else _HOUSE_BEFORE.search(text, begin, match.start())
    if house and not match["country"]:
        return house.start()
    said = not is_year and _ADDRESS_WORD.search(text, begin, match.start()) is not None
    if match["country"] or said:
        return match.start()
    if is_year or _OTHER_CODE.search(text, begin, match.start()):
        return None
    name = re.split("[ -]", town, maxsplit=1)[0]
    if len(code) == 4:
        return match.start() if _ALPINE_TOWNS.fullmatch(name) else None
    is_town = _TOWNS.fullmatch(name) is not None or _LIKE_A_TOWN.fullmatch(town) is not None
    return match.start() if is_town and code[:2] >= "01" and code[-3:] != "000" else None


def _merged(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Give disjoint places that cover the same."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


# --- telephone --------------------------------------------------------------------------------

_REGIONS_OF: Final = {
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
_LEAST_DIGITS: Final = 7
_LEAST_BESIDE_A_WORD: Final = 6
_MOST_DIGITS: Final = 15
_MOST_GROUPS: Final = 9


_WITHOUT_TRUNK_ZERO: Final = frozenset(("US", "CA"))


class _Regions:
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


def _phones(text: str, regions: _Regions) -> Iterator[tuple[int, int]]:
    text = _NO_PHONE.sub(_blank_of, text)
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
    text: str, start: int, end: int, regions: _Regions, *, has_plus: bool
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
    regions: _Regions,
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
    if not _UNIT_BEHIND.match(text, end):
        return True
    # Nobody counts in so many digits, or from a 0 on behind Tel.: what looks like a unit is a word.
    uncounted = len(digits) >= _LEAST_UNCOUNTED or (
        digits[0] == "0" and before is not None and before.speaks_of_a_phone()
    )
    return uncounted and not _FRACTION_BEHIND.match(text, end)


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


def _is_certain(candidate: _Candidate, regions: _Regions) -> bool:
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


def _is_possible(candidate: _Candidate, regions: _Regions) -> bool:
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
