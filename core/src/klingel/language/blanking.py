"""Parts of a text that are settled: blanked, so that everything else stays where it was."""

import re
from collections.abc import Iterable
from typing import Final

BLANK: Final = "\x1a"
"""Stands for what is settled: no letter, no digit, no space, in no expression."""


def blank_of(match: re.Match[str]) -> str:
    """Return as many blanks as a match is long."""
    return BLANK * (match.end() - match.start())


def without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Give a text with disjoint places (start, end) blanked."""
    parts: list[str] = []
    at = 0
    for start, end in sorted(spans):
        parts += (text[at:start], BLANK * (end - start))
        at = end
    parts.append(text[at:])
    return "".join(parts)
