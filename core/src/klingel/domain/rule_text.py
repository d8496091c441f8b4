r"""The analyser of `text.rules`: what a word is to a listening rule, in the stream and in the index.

One expression over code points, then one lower-case letter for each letter:

    token = [SINGLE] | [^SEPARATOR SINGLE]{1,255}

- `SEPARATORS` is an explicit, finite list of code points: white space, punctuation, currency signs,
  invisible characters (joiners, directions, variation selectors, skin tones), private use. They
  part words and are never searched. `#` and `@` are among them: `nordlicht` hits `nordlicht`,
  `#nordlicht` and `@nordlicht` alike; who wants only one of them writes `hashtag:` or `mention:`.
- `SINGLES` are a word each: emoji and other symbols (`nice🔥🔥` is `nice`, `🔥`, `🔥`), and the letters
  of scripts that are written without spaces (Chinese, Japanese, Thai, Khmer …), where a phrase is a
  search for a substring.
- All other code points, letters, digits and marks of every script and the low line, form runs. A run
  longer than 255 is cut, so that no token exceeds what Lucene stores.

Python's `re` and Java's `java.util.regex` share no class of letters (their Unicode versions differ),
which is why the sets are spelled out. Lower-casing is Unicode's *simple* mapping, letter by letter, as
Lucene's `lowercase` filter does it: `İ` becomes `i`, and a final `Σ` becomes `σ`. Letters that got their
lower case after Unicode 14 are separators, as otherwise the answer would depend on the versions of
Java and Python; in the values of fields (handles, hashtags, mentions) the index is told their lower
case. The text is taken as it was said: nothing is composed or decomposed.
"""

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

TOKEN_LIMIT: Final = 255
"""Longest token in code points; a longer run is cut there, on both sides."""

_LATE_CASE: Final = (
    (0x1C89, 0x1C8A),
    (0xA7CB, 0xA7CF),
    (0xA7D2, 0xA7D5),
    (0xA7DA, 0xA7DC),
    (0x10D50, 0x10D85),
    (0x16EA0, 0x16EDF),
)
"""Letters whose case pair is younger than Unicode 14."""

_LATE_LOWER: Final = {
    0x1C89: 0x1C8A,
    0xA7CB: 0x0264,
    0xA7CC: 0xA7CD,
    0xA7CE: 0xA7CF,
    0xA7D2: 0xA7D3,
    0xA7D4: 0xA7D5,
    0xA7DA: 0xA7DB,
    0xA7DC: 0x019B,
    **{code: code + 0x20 for code in range(0x10D50, 0x10D66)},
    **{code: code + 0x1B for code in range(0x16EA0, 0x16EB9)},
}
"""Lower case of these, in the values of fields: the index is told, as no Java need know it."""

SEPARATORS: Final[tuple[tuple[int, int], ...]] = (
    (0x0000, 0x002F),  # control characters, space, ! " # $ % & ' ( ) * + , - . /
    (0x003A, 0x0040),  # : ; < = > ? @
    (0x005B, 0x005E),  # [ \ ] ^
    (0x0060, 0x0060),  # `
    (0x007B, 0x00A9),  # { | } ~, C1 controls, no-break space, ¡ to ©
    (0x00AB, 0x00B1),  # « ¬ soft hyphen ® ¯ ° ±
    (0x00B4, 0x00B4),  # acute accent, often typed for an apostrophe
    (0x00B6, 0x00B8),  # ¶ · ¸
    (0x00BB, 0x00BB),  # »
    (0x00BF, 0x00BF),  # ¿
    (0x00D7, 0x00D7),  # multiplication sign
    (0x00F7, 0x00F7),  # ÷
    (0x02C2, 0x02C5),  # modifier arrow heads
    (0x02D2, 0x02DF),  # spacing modifier symbols
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x037E, 0x037E),  # Greek question mark
    (0x0387, 0x0387),  # Greek ano teleia
    (0x055A, 0x055F),  # Armenian punctuation
    (0x0589, 0x058F),
    (0x05BE, 0x05BE),  # Hebrew maqaf, paseq, sof pasuq, nun hafukha, geresh
    (0x05C0, 0x05C0),
    (0x05C3, 0x05C3),
    (0x05C6, 0x05C6),
    (0x05F3, 0x05F4),
    (0x0600, 0x060F),  # Arabic signs and punctuation
    (0x061B, 0x061F),
    (0x066A, 0x066D),
    (0x06D4, 0x06D4),
    (0x0700, 0x070F),  # Syriac
    (0x07F6, 0x07F9),  # N'Ko
    (0x0830, 0x083E),  # Samaritan
    (0x0964, 0x0965),  # danda
    (0x0970, 0x0970),
    (0x0DF4, 0x0DF4),  # Sinhala
    (0x0E3F, 0x0E3F),  # baht, Thai punctuation
    (0x0E4F, 0x0E4F),
    (0x0E5A, 0x0E5B),
    (0x0F01, 0x0F14),  # Tibetan, the mark between syllables among them
    (0x0F3A, 0x0F3D),
    (0x104A, 0x104B),  # Myanmar
    (0x10FB, 0x10FB),  # Georgian
    (0x1360, 0x1368),  # Ethiopic
    (0x1400, 0x1400),  # Canadian syllabics
    (0x166D, 0x166E),
    (0x1680, 0x1680),  # Ogham space
    (0x169B, 0x169C),
    (0x16EB, 0x16ED),  # runic
    (0x17D4, 0x17D6),  # Khmer
    (0x17D8, 0x17DB),
    (0x1800, 0x180F),  # Mongolian punctuation and selectors
    (0x1944, 0x1945),  # Limbu
    _LATE_CASE[0],
    (0x2000, 0x206F),  # spaces, dashes, quotes, bullets, joiners, directions
    (0x20A0, 0x20FF),  # currency signs, enclosing marks such as the keycap
    (0x2500, 0x259F),  # box drawing and blocks: decoration
    (0x2E00, 0x2E7F),  # supplemental punctuation
    (0x3000, 0x3004),  # CJK punctuation
    (0x3008, 0x3020),
    (0x3030, 0x3030),
    (0x303D, 0x303F),
    (0x30A0, 0x30A0),
    (0x30FB, 0x30FB),  # katakana middle dot
    (0xA4FE, 0xA4FF),  # Lisu
    (0xA60D, 0xA60F),  # Vai
    _LATE_CASE[1],
    _LATE_CASE[2],
    _LATE_CASE[3],
    (0xA874, 0xA877),  # Phags-pa
    (0xA8CE, 0xA8CF),  # Saurashtra
    (0xD800, 0xF8FF),  # surrogates without a partner, private use
    (0xFD3E, 0xFD3F),  # ornate parentheses
    (0xFE00, 0xFE1F),  # variation selectors, vertical forms
    (0xFE30, 0xFE6F),  # compatibility and small forms
    (0xFEFF, 0xFF0F),  # byte order mark, full-width punctuation
    (0xFF1A, 0xFF20),
    (0xFF3B, 0xFF40),
    (0xFF5B, 0xFF65),
    (0xFFE0, 0xFFFF),  # full-width signs, specials, the replacement character
    _LATE_CASE[4],
    _LATE_CASE[5],
    (0x1F3FB, 0x1F3FF),  # skin tones: a thumb is a thumb
    (0xE0000, 0x10FFFF),  # tags, selectors, private planes
)
"""Code points that part words, as inclusive ranges in rising order."""

SINGLES: Final[tuple[tuple[int, int], ...]] = (
    (0x0E00, 0x0E3E),  # Thai
    (0x0E40, 0x0E4E),
    (0x0E50, 0x0E59),
    (0x0E5C, 0x0EFF),  # Lao
    (0x1000, 0x1049),  # Myanmar
    (0x104C, 0x109F),
    (0x1780, 0x17D3),  # Khmer
    (0x17D7, 0x17D7),
    (0x17DC, 0x17FF),
    (0x1980, 0x19FF),  # New Tai Lue, Khmer symbols
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x2100, 0x2125),  # letter-like symbols but for ohm, kelvin and angstrom, which are letters
    (0x2127, 0x2129),
    (0x212C, 0x214F),
    (0x2190, 0x24FF),  # arrows, mathematics, technical, enclosed
    (0x25A0, 0x2BFF),  # shapes, symbols, dingbats, braille
    (0x2E80, 0x2FFF),  # CJK radicals
    (0x3005, 0x3007),
    (0x3021, 0x302F),
    (0x3031, 0x303C),
    (0x3040, 0x309F),  # hiragana
    (0x30A1, 0x30FA),  # katakana
    (0x30FC, 0x312F),  # bopomofo
    (0x3190, 0x9FFF),  # CJK
    (0xA9E0, 0xA9FF),  # Myanmar extended
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),  # CJK compatibility
    (0xFF66, 0xFF9F),  # half-width katakana
    (0x1B000, 0x1B16F),  # kana supplement
    (0x1D000, 0x1D3FF),  # musical and other notations
    (0x1F000, 0x1F3FA),  # pictographs, regional indicators, emoji
    (0x1F400, 0x1FBFF),
    (0x20000, 0x3FFFF),  # CJK extensions
)
"""Code points that are a word each, as inclusive ranges in rising order."""


class Token(NamedTuple):
    """One word of a text.

    Args:
        term: lower-cased.
        start: first code point in the original text.
        end: code point after the last.
    """

    term: str
    start: int
    end: int


def _spell(ranges: tuple[tuple[int, int], ...], spelling: str) -> str:
    """Write ranges as the inside of a character class; `spelling` formats one code point."""
    return "".join(
        spelling.format(first) + (f"-{spelling.format(last)}" if last > first else "")
        for first, last in ranges
    )


def _expression(spelling: str) -> str:
    singles = _spell(SINGLES, spelling)
    others = _spell(SEPARATORS, spelling) + singles
    return f"[{singles}]|[^{others}]{{1,{TOKEN_LIMIT}}}"


_JAVA_SPELLING: Final = r"\x{{{:X}}}"
_COMMON_END = 0x17F
_ASCII_END = 0x7F


def _java_expression() -> str:
    """The same expression, spelled so that Java decides a Latin letter by its first ranges.

    Java tries the ranges of a class one after the other. Common letters are named first, singles
    are looked for only where there can be any, and separators beyond ASCII only beyond ASCII.
    Spelled plainly, this analyser was the largest cost of a document in Elasticsearch.
    """
    taken = {code for first, last in SEPARATORS for code in range(first, last + 1)}
    common = [code for code in range(_COMMON_END + 1) if code not in taken]
    ascii_only = tuple(
        (first, min(last, _ASCII_END)) for first, last in SEPARATORS if first <= _ASCII_END
    )
    beyond = tuple(
        (max(first, _ASCII_END + 1), last) for first, last in SEPARATORS if last > _ASCII_END
    )
    singles = _spell(SINGLES, _JAVA_SPELLING)
    bounds = _spell(((SINGLES[0][0], SINGLES[-1][1]),), _JAVA_SPELLING)
    others = _spell(beyond, _JAVA_SPELLING) + singles
    return (
        f"[{bounds}&&[{singles}]]"
        f"|[{_spell(_runs(common), _JAVA_SPELLING)}"
        f"[^{_spell(ascii_only, _JAVA_SPELLING)}[\\x{{80}}-\\x{{10FFFF}}&&[{others}]]]]"
        f"{{1,{TOKEN_LIMIT}}}"
    )


def _runs(codes: list[int]) -> tuple[tuple[int, int], ...]:
    """Return rising code points as inclusive ranges."""
    runs: list[tuple[int, int]] = []
    for code in codes:
        if runs and code == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], code)
        else:
            runs.append((code, code))
    return tuple(runs)


JAVA_EXPRESSION: Final = _java_expression()
"""The expression as Elasticsearch's `pattern` tokenizer reads it."""

_PYTHON_SPELLING: Final = r"\U{:08X}"

_TOKEN = re.compile(_expression(_PYTHON_SPELLING))

ANALYSER: Final = "klingel_rules"

RULES_ANALYSIS: Final[dict[str, Any]] = {
    "tokenizer": {ANALYSER: {"type": "pattern", "pattern": JAVA_EXPRESSION, "group": 0}},
    "analyzer": {ANALYSER: {"type": "custom", "tokenizer": ANALYSER, "filter": ["lowercase"]}},
    "char_filter": {
        ANALYSER: {
            "type": "mapping",
            "mappings": [f"{chr(upper)} => {chr(lower)}" for upper, lower in _LATE_LOWER.items()],
        }
    },
    "normalizer": {
        ANALYSER: {"type": "custom", "char_filter": [ANALYSER], "filter": ["lowercase"]}
    },
}
"""`settings.analysis` of an index that holds `text.rules` and the fields that rules name."""

_KEYWORD: Final = {"type": "keyword"}
_FOLDED: Final = {"type": "keyword", "normalizer": ANALYSER}

RULES_PROPERTIES: Final[dict[str, Any]] = {
    "text": {"type": "text", "fields": {"rules": {"type": "text", "analyzer": ANALYSER}}},
    "lang": {"properties": {"code": _KEYWORD}},
    "network": _KEYWORD,
    "kind": _KEYWORD,
    "visibility": _KEYWORD,
    "author": {
        "properties": {"id": _KEYWORD, "handle": _FOLDED, "followers": {"type": "long"}},
    },
    "hashtags": _FOLDED,
    "mentions": _FOLDED,
    "links": {"type": "keyword", "ignore_above": 1024},
}
"""`mappings.properties` that the queries of rules need, as far as they need it."""

_LATIN_SEPARATORS: Final = bytes(
    0x20 if any(first <= code <= last for first, last in SEPARATORS) else code
    for code in range(0x100)
)

_LATIN_LOWER: Final = bytes(chr(code).lower().encode("latin-1")[0] for code in range(0x100))
_LATIN_FOLDED: Final = _LATIN_SEPARATORS.translate(_LATIN_LOWER)

_WORTH_LINES: Final = 2_000
"""Code points from which a text is cut faster as lines."""

LINE_END: Final = "\n"
"""Parts words, hence stands in none."""

_LATIN_LINES: Final = bytes(
    0x0A if separator == 0x20 else code for code, separator in enumerate(_LATIN_SEPARATORS)
)

_LATE = re.compile(f"[{_spell(_LATE_CASE, _PYTHON_SPELLING)}]")
_SEPARATOR = "\uffff"


def _like_java(text: str) -> str:
    """Lower-case the two letters whose simple lower case Python's `lower` does not give."""
    return text.replace("\u0130", "i").replace("\u03a3", "\u03c3")


def _late_lower(found: re.Match[str]) -> str:
    letter = found.group()
    return chr(_LATE_LOWER.get(ord(letter), ord(letter)))


def fold(text: str) -> str:
    """Lower-case letter by letter; the result has the length of the text."""
    if not text.isascii():
        try:  # half the time of what is needed for other letters
            return text.encode("latin-1").translate(_LATIN_LOWER).decode("latin-1")
        except UnicodeEncodeError:
            text = _LATE.sub(_SEPARATOR, _like_java(text))
    return text.lower()


def fold_value(value: str) -> str:
    """Lower-case the value of a field (a handle, a hashtag) as the index's normaliser does."""
    if not value.isascii():
        value = _LATE.sub(_late_lower, _like_java(value))
    return value.lower()


def terms_of(folded: str) -> list[str]:
    """Give the words of a text that `fold` has lower-cased, in their order."""
    runs = _latin_runs(folded, _LATIN_SEPARATORS)
    return _any_runs(folded) if runs is None else runs


def words_of(text: str) -> list[str]:
    """Give the words of a text as it was said: `terms_of(fold(text))`, at once where that can be."""
    runs = _latin_runs(text, _LATIN_FOLDED)
    return _any_runs(fold(text)) if runs is None else runs


def _any_runs(folded: str) -> list[str]:
    """Give the words of a text of any letters."""
    lines = lines_of(folded) if len(folded) > _WORTH_LINES else None
    return _TOKEN.findall(folded) if lines is None else lines.text.split()


def _latin_runs(text: str, table: bytes) -> list[str] | None:
    """Give the words of a text in Latin-1, None where there can be others.

    No singles in it, and its white space separates: several times as fast by splitting.
    """
    try:
        latin = text.encode("latin-1")
    except UnicodeEncodeError:
        return None
    runs = latin.translate(table).decode("latin-1").split()
    if len(text) <= TOKEN_LIMIT or max(map(len, runs), default=0) <= TOKEN_LIMIT:
        return runs
    return None


class Lines(NamedTuple):
    """A text with a line end around each of its words.

    A word of the text stands in it between two line ends.

    Attributes:
        text: the lines; it begins and ends with a line end.
        origin: where each of its code points stands in the text; None where that is one place before.
    """

    text: str
    origin: NDArray[np.int64] | None = None

    def place(self, at: int) -> int:
        """Return where the word behind the line end at `at` starts in the text."""
        return at if self.origin is None else int(self.origin[at + 1])

    def starts(self) -> list[int]:
        """Return where each word starts in the text, in their order."""
        letters = np.frombuffer(self.text.encode("utf-32-le"), "<u4")
        ends = letters == ord(LINE_END)
        before = np.flatnonzero(ends[:-1] & ~ends[1:])
        starts: list[int] = (before if self.origin is None else self.origin[before + 1]).tolist()
        return starts


def lines_of(folded: str) -> Lines | None:
    """Give a text that `fold` has lower-cased with a line end around each of its words.

    None where that cannot be had so simply: for runs that are longer than a token.
    """
    try:
        latin = folded.encode("latin-1")
    except UnicodeEncodeError:
        return _lines_beyond_latin(folded)
    lined = f"{LINE_END}{latin.translate(_LATIN_LINES).decode('latin-1')}{LINE_END}"
    at, last = 0, len(lined) - 1
    while at < last:
        at = lined.rfind(LINE_END, at + 1, at + TOKEN_LIMIT + 2)
        if at < 0:
            return None
    return Lines(lined)


def _lines_beyond_latin(folded: str) -> Lines | None:
    codes = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), "<u4")
    kinds = _kinds()[np.minimum(codes, _OTHERS + (codes >= _TAGS))]
    letters = np.concatenate(([False], kinds == _LETTER, [False]))
    begins = np.flatnonzero(letters[1:-1] & ~letters[:-2])
    ends = np.flatnonzero(letters[1:-1] & ~letters[2:])
    if begins.size and int((ends - begins).max()) >= TOKEN_LIMIT:
        return None
    is_start = kinds == _SINGLE
    is_start[begins] = True
    pairs = np.full((codes.size, 2), _NOTHING, "<u4")
    pairs[is_start, 0] = ord(LINE_END)
    spoken = kinds != _BETWEEN
    pairs[spoken, 1] = codes[spoken]
    flat = pairs.ravel()
    kept = np.flatnonzero(flat != _NOTHING)
    text = flat[kept].tobytes().decode("utf-32-le")
    return Lines(f"{text}{LINE_END}", kept >> 1)


_BETWEEN, _LETTER, _SINGLE = range(3)
_OTHERS: Final = 0x40000
"""From here to the tags all code points are letters, from there on none."""
_TAGS: Final = 0xE0000
_NOTHING: Final = 0xFFFFFFFF


@lru_cache(maxsize=1)
def _kinds() -> NDArray[np.uint8]:
    """Return what each code point is, those from `_OTHERS` on in two further places."""
    kinds = np.full(_OTHERS + 2, _LETTER, np.uint8)
    for ranges, kind in ((SEPARATORS, _BETWEEN), (SINGLES, _SINGLE)):
        for first, last in ranges:
            kinds[first : min(last, _OTHERS - 1) + 1] = kind
    kinds[_OTHERS + 1] = _BETWEEN
    return kinds


def places_of(folded: str, terms: list[str]) -> list[tuple[int, int]]:
    """Give where each of the `terms_of` a text starts and ends, in code points.

    Between two terms there are separators only, so the next occurrence is the term itself.
    """
    places: list[tuple[int, int]] = []
    end = 0
    for term in terms:
        start = folded.index(term, end)
        end = start + len(term)
        places.append((start, end))
    return places


def tokens(text: str) -> list[Token]:
    """Give the words of a text with their places in code points of the original."""
    folded = fold(text)
    terms = terms_of(folded)
    places = places_of(folded, terms)
    return [Token(term, start, end) for term, (start, end) in zip(terms, places, strict=True)]


def is_run(text: str) -> bool:
    """Whether the whole text is one token that other letters may lengthen (no single)."""
    return len(text) > 0 and all(_TOKEN.fullmatch(text[:1] + letter) for letter in text)
