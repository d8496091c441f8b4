"""Texts that a sender has decoded wrongly: `schÃ¶n` was `schön`.

    mended("Das ist schÃ¶n â€“ oder?")  # "Das ist schön – oder?"
    mended("Das ist schön")             # None

Only the commonest accident is told: UTF-8 that was read as Windows-1252 or Latin-1, once or several
times. What is mended serves matching and enrichment; the original stays what was said. Doubt leaves a
text alone: `AMANHÃ…` is Portuguese, `4288×…` a size.
"""

import re
from typing import Final

MOST_LETTERS: Final = 2_000
"""So many letters of a text that is broken in parts are mended in one pass."""

_PASSES = 3


def _bytes_of_signs() -> dict[str, int]:
    """Return the byte that each sign was, had it been read as Windows-1252 or Latin-1."""
    signs = {chr(byte): byte for byte in range(0x80, 0x100)}
    for byte in range(0x80, 0xA0):
        sign = bytes([byte]).decode("cp1252", "replace")
        if sign != "\ufffd":
            signs[sign] = byte
    return signs


_BYTES: Final = _bytes_of_signs()
_AS_LATIN: Final = {ord(sign): chr(byte) for sign, byte in _BYTES.items()}
_FOLLOWING: Final = "".join(re.escape(sign) for sign, byte in _BYTES.items() if 0x80 <= byte < 0xC0)
_LETTER: Final = re.compile(
    f"[\xc2-\xc5\xce-\xd1\xd7-\xd9][{_FOLLOWING}]|[\xe0\xe2\xe3][{_FOLLOWING}]{{2}}"
    f"|\xf0[{_FOLLOWING}]{{3}}"
)
_TELLING: Final = re.compile(
    f"\xc3[{_FOLLOWING.replace(chr(0xA0), '')}]|\xe2[\u20ac\x80][{_FOLLOWING}]"
    f"|\xf0[\u0178\x9f][{_FOLLOWING}]{{2}}"
)
# Signs that stand behind a word, and so behind a word that ends in Ã.
_PUNCTUATION: Final = frozenset(
    "\u2026\u201c\u201d\u2018\u2019\u2013\u2014\u201e\u201a\xab\xbb\u2122\xae\xa9\u20ac\u2022\u2039"
    "\u203a\xb4\xa8\xb0\xb7\xbf\xa1\xa3\xa7"
)


def mended(text: str) -> str | None:
    """Return what a wrongly decoded text probably was, None if it is none that can be told."""
    if text.isascii():
        return None
    mending = text
    for _ in range(_PASSES):
        if not _is_broken(mending):
            break
        mending = _decoded(mending)
    return mending if mending != text else None


def _is_broken(text: str) -> bool:
    if "\xc3" not in text and "\xe2" not in text and "\xf0" not in text:
        return False
    found = 0
    for sequence in _TELLING.finditer(text):
        if _is_end_of_word(text, sequence):
            continue
        found += 1
        if found > 1:
            return True
    # One broken letter between others that are whole may be meant.
    return found == 1 and _LETTER.sub("", text).isascii()


def _is_end_of_word(text: str, sequence: re.Match[str]) -> bool:
    """Whether it is a capital Ã, as in `AMANHÃ…`, with punctuation behind it."""
    first, end = sequence.span()
    if text[first] != "\xc3" or text[first + 1] not in _PUNCTUATION:
        return False
    before, after = text[max(0, first - 1) : first], text[end : end + 1]
    return (before.isupper() or not before) and not after.isalpha()


def _decoded(text: str) -> str:
    return _wholly_decoded(text) or _LETTER.sub(_decoded_letter, text, count=MOST_LETTERS)


def _wholly_decoded(text: str) -> str | None:
    """Return the text if every sign of it was a byte of UTF-8."""
    try:
        decoded = text.translate(_AS_LATIN).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return None
    return decoded if decoded != text else None


def _decoded_letter(sequence: re.Match[str]) -> str:
    signs = sequence.group()
    try:
        return bytes(map(_BYTES.__getitem__, signs)).decode("utf-8")
    except UnicodeDecodeError:
        return signs
