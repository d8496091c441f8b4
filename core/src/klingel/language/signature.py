"""Which agent signed a post of the brand: `^AB`, `-Anna`, `/PB`, `Viele Grüße, Anna`.

    agents = Agents.compile([Agent("ab", codes=("AB",), names=("Anna Berger", "Anna"))])
    find_signature("Wir schauen nach! ^AB", agents)   # Signature("AB", "ab", 18, 21)

A signature stands at the end of a post; behind it may stand only what networks and agents append:
a link, a counter such as `2/2`, emoji, hashtags. What is looked for:

- codes and names that the brand declares, behind a sign (`^ * - / ~ =` and dashes), behind a
  farewell (`Viele Grüße`, `Thanks`), or, for names, as the last word behind a full stop;
- shapes, unless switched off: a code of two to four capitals or a name behind such a sign, and
  common first names behind a farewell or a full stop. Shapes have no agent, only a code.

Meant for outbound posts: a customer may sign too, and a shape cannot tell who.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

LAST_CHARACTERS: Final = 240
"""How much of the end of a text is looked at: bounded time for a text of any length."""


def signed(written: str) -> str:
    """Return what two equal signatures have in common: neither case nor space counts."""
    return " ".join(written.split()).casefold()


@dataclass(frozen=True, slots=True)
class Agent:
    """Somebody who answers for a brand.

    Args:
        id: under which the brand knows the agent.
        codes: short signatures, in any case.
        names: as the agent signs, in any case.
    """

    id: str
    codes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Signature(NamedTuple):
    """A signature in a text.

    Args:
        code: as it was written, without its sign.
        agent: id of the brand's agent, None when only the shape says that it is a signature.
        start: first code point of its sign, or of the name.
        end: behind its last code point.
    """

    code: str
    agent: str | None
    start: int
    end: int


@dataclass(frozen=True)
class Agents:
    """Who may have signed; to be built by `compile`.

    Args:
        shapes: whether what only looks like a signature is one.
    """

    shapes: bool
    _codes: dict[str, str] = field(repr=False)
    _names: dict[str, str] = field(repr=False)

    @classmethod
    def compile(cls, agents: Iterable[Agent] = (), *, shapes: bool = True) -> Self:
        """Compile the brand's agents; raises ValueError for a code or a name of two agents."""
        codes: dict[str, str] = {}
        names: dict[str, str] = {}
        for agent in agents:
            for held, written in ((codes, agent.codes), (names, agent.names)):
                for each in written:
                    key = signed(each)
                    if not key or len(key) > _LONGEST:
                        raise ValueError(
                            f"A signature of agent {agent.id!r} has 1 to {_LONGEST} characters."
                        )
                    if held.setdefault(key, agent.id) != agent.id:
                        raise ValueError(
                            f"Agents {held[key]!r} and {agent.id!r} sign alike: change one."
                        )
        return cls(shapes, codes, names)

    def who(self, written: str) -> str | None:
        """Give the agent of a code or a name, None for a stranger."""
        key = signed(written)
        return self._codes.get(key) or self._names.get(key)

    def who_by_name(self, written: str) -> str | None:
        """Give the agent of a name, None for a stranger."""
        return self._names.get(signed(written))


_LONGEST: Final = 40

# What may stand behind a signature.
_TAIL: Final = re.compile(
    r"(?:\s|https?://\S+|[(\[]?\d{1,2}\s?(?:/|of|von)\s?\d{1,2}[)\]]?|#\w+"
    r"|[\u2600-\u27bf\ufe0f\u200d\u2b50\u2b06\U0001f000-\U0001faff]|[.!:;)]|&lt;3|<3)+\Z"
)
_WORD: Final = r"[^\W\d_](?:[^\W_]|['\u2019.-](?=[^\W\d_])){0,24}"
_SIGNED: Final = re.compile(
    rf"(?P<sign>[\^*~=/]|[-\u2010-\u2015]{{1,2}})(?P<space>\s{{0,2}})(?P<code>{_WORD}(?: {_WORD})?)\.?\Z"
)
_FAREWELL: Final = re.compile(
    r"(?:(?<=\W)|^)(?:(?:(?:viele|liebe|beste|freundliche|schöne|sonnige|herzliche|mit\s(?:freundlichen"
    r"|besten|lieben))\s)?gr(?:ü|ue)(?:ß|ss)e[n]?(?:\saus\s\w+)?|lg|vg|mfg|bg|gru(?:ß|ss)|besten\sdank"
    r"|dein(?:e)?|ihr(?:e)?|euer|eure|thanks|thank\syou|thx|ty|cheers|(?:kind\s|best\s|warm\s)?regards?"
    r"|rgds|best\swishes|sincerely|yours)\s?[,.!:;\u2013-]{0,2}\s{0,3}"
    rf"(?P<code>{_WORD}(?: {_WORD})?)\.?\Z",
    re.IGNORECASE,
)
_LAST_WORDS: Final = re.compile(
    rf"(?:(?<=[.!?)\u2026\]\n])|^)\s{{0,2}}(?P<code>{_WORD}(?: {_WORD})?)\.?\Z"
)
_CODE: Final = re.compile(r"[A-ZÄÖÜ]{1,4}")
_NAME: Final = re.compile(
    r"[A-ZÄÖÜ][a-zäöüßéèáíóúñçå]{1,14}(?:[A-Z][a-z]{0,14})?(?:-[A-ZÄÖÜ][a-zäöüß]{1,14})?"
)
_FULL_NAME: Final = re.compile(rf"{_NAME.pattern}(?: [A-ZÄÖÜ](?:[a-zäöüß]{{1,14}}|\.)?)?")
"""A name, also as `JoanO`, `Anna-Lena`, `Anna B.`"""
_FIRST_NAMES: Final = re.compile(
    "aaron|adam|alex|alexander|alexandra|ali|alice|amanda|amy|ana|andrea|andreas|andrew|andy|angela"
    "|anja|anke|anna|anne|annika|anthony|antonia|anwar|astrid|barbara|bastian|beate|becky|ben|benjamin"
    "|bernd|beth|bianca|birgit|björn|brian|britta|callum|carina|carl|carla|carlos|caroline|ceri"
    "|charlotte|chloe|chris|christian|christina|christine|christoph|claire|claudia|clemens|conny"
    "|cornelia|dan|daniel|daniela|dave|david|denise|dennis|diana|dirk|dominik|doris|ed|eileen|eilish"
    "|elena|elisabeth|elizabeth|ella|emily|emma|eric|erik|eva|fabian|fatma|felix|finn|florian|frank"
    "|franziska|frauke|gabi|gareth|george|georg|gerd|gina|grace|greg|guido|gustav|hanna|hannah|hannes"
    "|hans|harald|harry|hassan|heather|heike|heiko|helen|helena|helga|henry|holger|ian|ina|ines|inga"
    "|ingo|ingrid|isabel|isabella|jack|jacob|jake|jakob|james|jan|jana|jane|janina|jasmin|jason|jen"
    "|jennifer|jenny|jens|jess|jessica|jo|joe|johanna|johannes|john|jonas|jonathan|jörg|josef|joseph"
    "|josh|judith|julia|julian|jürgen|jutta|kai|karin|karl|kate|katharina|kathrin|katie|katja|katrin"
    "|kelly|kerstin|kevin|kim|kimball|kirsten|kirsty|klara|klaus|kristin|lara|lars|laura|laurence|lea"
    "|lena|leon|leonie|liam|lina|lisa|lucas|lucy|lukas|luisa|maja|malte|manuel|manuela|marc|marcel"
    "|marco|marcus|maria|marie|mario|marion|marius|mark|marko|markus|marlene|mart|martin|martina|mary"
    "|matt|matthew|matthias|max|maximilian|megan|mehmet|mia|michael|michaela|michelle|mike|miriam"
    "|mohamed|mona|monika|moritz|nadine|nadja|natalie|nele|nick|nico|nicolas|nicole|niklas|nina|noah"
    "|nora|olaf|oliver|olivia|pascal|patricia|patrick|paul|paula|pedro|peggy|peter|petra|phil|philip"
    "|philipp|pia|rach|rachel|rainer|ralf|rebecca|reid|renate|rhys|rob|robert|robin|roland|ron|ronny"
    "|rosa|ruth|ryan|sabi|sabine|sabrina|sally|sam|samantha|samuel|sandra|sara|sarah|sascha|sean"
    "|sebastian|selina|silke|silvia|simon|simone|sofia|sonja|sophia|sophie|stefan|stefanie|steffen"
    "|steffi|stephan|stephanie|steve|steven|sue|susan|susanne|svenja|sven|sylvia|tamara|tanja|tara"
    "|theo|theresa|thomas|thorsten|till|tim|timo|tina|tobias|tom|toni|torsten|tony|ulrich|ulrike|ursula"
    "|ute|uwe|valentina|vanessa|vera|verena|veronika|victoria|viktor|viktoria|volker|walter|wayne"
    "|wiebke|will|william|wolfgang|xavier|yannick|yasmin|yvonne|zoe",
    re.IGNORECASE,
)
_ENDS: Final = re.compile(
    r"(?<![:;=8xX-])[.!?\u2026)\]:\"\u201d]\Z|[\u2600-\u27bf\ufe0f\U0001f000-\U0001faff]\Z|\d/\d\Z"
)
"""What ends a sentence, an emoji or a counter: not a comma, not the middle of a list."""
_SMILEY: Final = re.compile(r"[:;=8xX]\Z|-\.\Z")
_NO_CODES: Final = frozenset(
    {
        "AM",
        "BTW",
        "DE",
        "DM",
        "EU",
        "FYI",
        "LOL",
        "OMG",
        "PM",
        "PS",
        "ROFL",
        "RT",
        "SMH",
        "TV",
        "UK",
        "US",
    }
)
"""Capitals that stand behind a dash or a star for something else; behind `^` they are a code."""


def find_signature(text: str, agents: Agents) -> Signature | None:
    """Find the signature at the end of a post.

    Args:
        text: as it was said.
        agents: of the brand.

    Returns:
        The signature, or None when nobody signed.
    """
    offset = max(0, len(text) - LAST_CHARACTERS)
    end = text[offset:]
    # The end as it stands, then without what may stand behind a signature.
    for candidate in dict.fromkeys((end.rstrip(), _without_tail(end))):
        found = _signature(candidate, agents)
        if found is not None:
            code, agent, start, stop = found
            return Signature(code, agent, start + offset, stop + offset)
    return None


def _without_tail(end: str) -> str:
    tail = _TAIL.search(end)
    return end[: tail.start()] if tail else end


def _signature(end: str, agents: Agents) -> Signature | None:
    """Find it at the very end of a piece of text."""
    if match := _SIGNED.search(end):
        signed = _behind_a_sign(match, end, agents)
        if signed is not None:
            return signed
    for expression in (_FAREWELL, _LAST_WORDS):
        match = expression.search(end)
        if match is None:
            continue
        named = _named(match, agents)
        if named is not None:
            return named
    if agents.shapes and _KANA.search(end) and (match := _JAPANESE.search(end)):
        return Signature(match["code"], agents.who(match["code"]), *match.span("code"))
    return None


_KANA: Final = re.compile(r"[\u3040-\u30ff]")
# In Japanese posts two capitals behind the last sentence or link are the agent.
_JAPANESE: Final = re.compile(r"(?:[^A-Za-z]|https?://\S+\s{1,2})(?P<code>[A-Z]{2})\Z")


def _behind_a_sign(match: re.Match[str], end: str, agents: Agents) -> Signature | None:
    words = match["code"].split(" ")
    for code in dict.fromkeys((match["code"], words[0]) if len(words) == 1 else (match["code"],)):
        before = end[: match.start()]
        stop = match.start("code") + len(code)
        agent = agents.who(code)
        if agent is not None and not before[-1:].isalnum():
            return Signature(code, agent, match.start(), stop)
        if agents.shapes and _looks_signed(
            match["sign"], code, before, spaced=bool(match["space"])
        ):
            return Signature(code, agent, match.start(), stop)
    return None


def _looks_signed(sign: str, code: str, before: str, *, spaced: bool) -> bool:
    """Whether a code behind a sign looks like a signature."""
    is_code = _CODE.fullmatch(code) is not None and code not in _NO_CODES
    is_name = _FULL_NAME.fullmatch(code) is not None or _MIXED.fullmatch(code) is not None
    stripped = before.rstrip()
    if (
        not stripped
        or _SMILEY.search(before)
        or (before[-1:].isalnum() and sign != "^" and not _THANKED.search(before))
    ):
        return False
    either = is_code or is_name
    if sign == "^":
        is_short = code.islower() and len(code) < 4 and not spaced
        return is_name or is_short or _CODE.fullmatch(code) is not None
    if sign == "*":
        return either and not spaced and "*" not in stripped[-30:]
    if sign == "/":
        return is_code and len(code) in {2, 3} and before[-1:].isspace()
    ends = _ENDS.search(stripped) is not None
    if sign in "~=":
        return either and len(code) > 1 and (ends or not spaced)
    return _looks_signed_by_a_dash(code, stripped, ends=ends, spaced=spaced, is_code=is_code)


def _looks_signed_by_a_dash(
    code: str, before: str, *, ends: bool, spaced: bool, is_code: bool
) -> bool:
    """Whether a code behind a dash looks like a signature: dashes stand in titles and lists too."""
    is_first_name = _FIRST_NAMES.fullmatch(re.split("[ -]", code, maxsplit=1)[0]) is not None
    is_name = _FULL_NAME.fullmatch(code) is not None or _MIXED.fullmatch(code) is not None
    if _THANKED.search(before):
        return is_name or is_code
    if spaced:
        return is_first_name or (ends and is_code and len(code) in {2, 3})
    if is_code:
        return ends or len(code) in {2, 3}
    return is_name and (ends or is_first_name)


_THANKED: Final = re.compile(
    r"(?:(?<=\W)|^)(?:thanks|thank you|thx|ty|cheers|regards?|rgds|apologies|danke|gr(?:ü|ue)(?:ß|ss)e"
    r"|gru(?:ß|ss)|lg|vg)\Z",
    re.IGNORECASE,
)
_MIXED: Final = re.compile(r"[A-Z]{1,3}[a-z]{1,14}|[A-Z][a-z]+[A-Z]{1,3}")


def _named(match: re.Match[str], agents: Agents) -> Signature | None:
    """Give the name at the end, if it is an agent's or, by shape, a common first name."""
    words = match["code"].split(" ")
    for code in dict.fromkeys((match["code"], words[-1])):
        start = match.end("code") - len(code)
        agent = agents.who_by_name(code)
        if agent is not None:
            return Signature(code, agent, start, match.end("code"))
    code = match["code"]
    if (
        agents.shapes
        and _FULL_NAME.fullmatch(code)
        and _FIRST_NAMES.fullmatch(words[0].split("-")[0])
    ):
        return Signature(code, None, match.start("code"), match.end("code"))
    return None
