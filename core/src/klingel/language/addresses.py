"""Postal addresses in a text: hints by form, no register of streets.

Street and house number, with or without postcode and town; postcode and town; British postcodes;
American addresses; P.O. boxes. All expressions are linear in the text.
"""

import re
from typing import Final

from klingel.language.amounts import UNIT_BEHIND

STREET_OR_TOWN: Final = (
    r"(?<![\d@#_]\d)(?:\d{0,4}[A-Za-z]?,? (?:[A-Z][\w'\u2019.-]{1,20} ){1,4}(?:St|Ro|Rd|Av|La|Ln|Dr"
    r"|Cl|Co|Ct|Cr|Te|Wa|Bo|Bl|Sq|Ga|Gr|Hi|Me|Pl|Pa|Pk)"
    r"|(?:(?<=-\d)|(?<=[03-9])|(?<=1)(?![5-9]\d\d )|(?<=2)(?!0\d\d ))\d{3,4} [A-ZÄÖÜ])"
    r"|(?<=(?:r\. |[tNn]r\.|tr |ße |[sß]e |SE |TR |eg |tz |ee |mm |kt |de |ox |ch )\d)"
    r"|(?<=[A-Z0-9] \d)[A-Z]{2}\b"
    r"|(?<=, [A-Z][A-Z] \d)\d{4}"
)
"""Behind a digit: the digit ends a street or a box, or stands before the name of a street or of a
town, in a British postcode or an American ZIP code."""
ADDRESS_GATE: Final = re.compile(rf"[0-9](?:{STREET_OR_TOWN})")
"""Matches wherever an address could be found, and in few other texts."""

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


def find_addresses(text: str) -> list[tuple[int, int]]:
    """Give the places (start, end) of addresses, rising and disjoint.

    Args:
        text: with ordinary spaces; only one in which `ADDRESS_GATE` is found can have any.
    """
    found: list[tuple[int, int]] = []
    for match in _STREET.finditer(text):
        start = _street_start(match, text)
        if start is not None and (
            match["place"] or not UNIT_BEHIND.match(text, match.end("house"))
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
