"""What a model makes of texts: tone, intents, anger, offence; pure given the loaded model.

A batch of texts costs half of what the same texts cost one by one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from klingel.language.heads import Heads, Weights, narrowed
from klingel.language.intent import intents_of
from klingel.language.reading import own_words, text_of
from klingel.model.social_event import Intent, Tone

Span = tuple[int, int]

_TONES = ("negative", "neutral", "positive")
_OFFENCE = "offence_"
_LANG = "lang:"
_DIGITS = 3


class Text(NamedTuple):
    """A text to be read.

    Attributes:
        text: as said.
        kind: of the event: mails are read otherwise than posts.
        lang: primary subtag or `und`; None where there is none.
    """

    text: str
    kind: str
    lang: str | None


class Sense(NamedTuple):
    """What a model makes of one text; None where the model has no head for it.

    Attributes:
        model: name and version of the model.
        tone: label and probabilities.
        intents: likeliest first.
        anger: probability.
        offence: probability, by the head of the text's language.
        own_words: places of the author's own words, None where the whole text is.
    """

    model: str
    tone: Tone | None
    intents: tuple[Intent, ...]
    anger: float | None
    offence: float | None
    own_words: tuple[Span, ...] | None


class Reader:
    """A model, ready to read. Not for several threads at once.

    Args:
        name: of the model.
        version: of its file.
        weights: the model.
    """

    def __init__(self, name: str, version: str, weights: Weights) -> None:
        self.model = f"{name}/{version}"
        # The language is found out before; rows without these columns are two cache lines long.
        self._heads = heads = Heads(narrowed(weights, lambda output: not output.startswith(_LANG)))
        self._column = heads.column
        self._tone = [heads.column.get(f"tone:{tone}") for tone in _TONES]

    def read(self, texts: Sequence[Text]) -> list[Sense]:
        """Read texts; what a text comes to does not depend on the others."""
        if not texts:
            return []
        own = [_own(each) for each in texts]
        heads = self._heads
        chances = heads.probabilities(heads.score([words for words, _ in own]))
        told = np.round(np.clip(chances.astype(np.float64), 0, 1), _DIGITS).tolist()
        return [
            self._sense(each, words, spans, row, rounded)
            for each, (words, spans), row, rounded in zip(
                texts, own, chances.tolist(), told, strict=True
            )
        ]

    def _sense(
        self,
        text: Text,
        words: str,
        spans: tuple[Span, ...] | None,
        chances: list[float],
        told: list[float],
    ) -> Sense:
        """Put one text's sense together of its probabilities, and of the same as they are told."""
        column = self._heads.column.get
        tone = self._tone_of(chances, told)
        likely = dict(zip(self._heads.names, chances, strict=True))
        intents = intents_of(words, tone.label if tone is not None else None, likely)
        anger, offence = column("anger"), column(f"{_OFFENCE}{text.lang}")
        return Sense(
            self.model,
            tone,
            tuple([Intent(name=name, score=round(score, _DIGITS)) for name, score in intents]),
            None if anger is None else told[anger],
            None if offence is None else told[offence],
            spans,
        )

    def _tone_of(self, chances: list[float], told: list[float]) -> Tone | None:
        negative, neutral, positive = self._tone
        if negative is None or neutral is None or positive is None:
            return None
        found = (chances[negative], chances[neutral], chances[positive])
        return Tone(
            label=_TONES[found.index(max(found))],  # type: ignore[arg-type] # one of the schema's words
            negative=told[negative],
            neutral=told[neutral],
            positive=told[positive],
        )


def _own(text: Text) -> tuple[str, tuple[Span, ...] | None]:
    """Return the author's own words, and their places where they are not the whole text."""
    own = own_words(text.text, text.kind).own
    if own == ((0, len(text.text)),):
        return text.text, None
    words = text_of(text.text, own)
    if not own or words.strip() == text.text.strip():  # nothing but quotations is read all the same
        return text.text, None
    return words, own
