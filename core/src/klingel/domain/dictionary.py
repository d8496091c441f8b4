"""Brand dictionaries: lists of the brand file that rules refer to, and the forms of their entries.

    entries = expand_entries(["Nordbox", "Störung*"], umlauts=True)
    parse_rule("dictionary:products AND lang:de", {"products": entries})

A dictionary has no meaning of its own: in a rule it stands for its entries with OR between them, so
a rule that refers to one is plain Lucene once it is expanded, and the index needs to know nothing
of dictionaries.

Forms of an entry, each the way in which people write it:

- *umlauts*: `ä ö ü` as they are, as `ae oe ue`, and decomposed (`a` and U+0308, as some keyboards
  send); `ß` also as `ss`. All umlauts of an entry change together, `ß` on its own, as Swiss
  spelling does. Nothing is guessed backwards (`neue` is not `neü`), and the bare letter is no form:
  `schon` is another word than `schön`.
- *typos*: of a word of six letters or more, one letter left out, doubled, or two neighbours swapped;
  the first letter stays.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from klingel.domain.rule_syntax import CLAUSE_LIMIT, Entry, Phrase, RuleSyntaxError, Wildcard, Word

Dictionaries = Mapping[str, tuple[Entry, ...]]
"""All forms of the entries, by the name of the dictionary."""

TYPO_LETTERS: Final = 6
"""Shortest word of which typing errors are looked for; those of shorter ones are other words."""

_UMLAUTS: Final = "äöü"
_TRANSCRIBED: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_DECOMPOSED: Final = str.maketrans({"ä": "a\u0308", "ö": "o\u0308", "ü": "u\u0308"})


def expand_entries(
    entries: Iterable[Entry],
    misspellings: Iterable[Entry] = (),
    *,
    umlauts: bool = True,
    typos: bool = False,
) -> tuple[Entry, ...]:
    """Give all forms of the entries of a dictionary, each once, in a stable order.

    Args:
        entries: as they are right.
        misspellings: wrong ones that are known; they get no typing errors of their own.
        umlauts: whether umlauts and sharp s are looked for in their other spellings too.
        typos: whether typing errors of the right entries are looked for.

    Raises:
        RuleSyntaxError: they are more than a rule can hold.
    """
    right = list(entries)
    forms: dict[Entry, None] = dict.fromkeys(right)
    written = [*right, *misspellings]
    for entry in written:
        forms.update(dict.fromkeys(_spellings(entry) if umlauts else [entry]))
    if typos:
        for entry in right:
            forms.update(dict.fromkeys(_typing_errors(entry)))
    if len(forms) > CLAUSE_LIMIT:
        raise RuleSyntaxError(
            f"The dictionary has {len(forms):,} forms, and a rule holds {CLAUSE_LIMIT:,} conditions: "
            "split it, or leave out typos.",
            0,
        )
    return tuple(forms)


def _spellings(entry: Entry) -> Iterator[Entry]:
    """Yield an entry in every spelling of its umlauts and of its sharp s, as it is first."""
    composed = _mapped(entry, lambda term: unicodedata.normalize("NFC", term))
    text = _text(composed)
    sharp = [composed]
    if "ß" in text:
        sharp.append(_mapped(composed, lambda term: term.replace("ß", "ss")))
    for form in sharp:
        yield form
        if any(letter in text for letter in _UMLAUTS):
            yield _mapped(form, lambda term: term.translate(_TRANSCRIBED))
            yield _mapped(form, lambda term: term.translate(_DECOMPOSED))


def _typing_errors(entry: Entry) -> Iterator[Entry]:
    if not isinstance(entry, Word) or not entry.term.isalpha() or len(entry.term) < TYPO_LETTERS:
        return
    term = entry.term
    for at in range(1, len(term)):
        yield Word(term[:at] + term[at + 1 :])
        yield Word(term[:at] + term[at] + term[at:])
        if at + 1 < len(term):
            yield Word(term[:at] + term[at + 1] + term[at] + term[at + 2 :])


def _mapped(entry: Entry, change: Callable[[str], str]) -> Entry:
    match entry:
        case Word(term):
            return Word(change(term))
        case Wildcard(pattern):
            return Wildcard(change(pattern))
        case Phrase(terms):
            return replace(entry, terms=tuple(map(change, terms)))


def _text(entry: Entry) -> str:
    match entry:
        case Word(term):
            return term
        case Wildcard(pattern):
            return pattern
        case Phrase(terms):
            return " ".join(terms)
