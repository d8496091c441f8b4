"""What a model makes of texts: tone, intents, anger, offence, topics; pure given the loaded model.

A batch of texts costs half of what the same texts cost one by one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from klingel.language.heads import Heads, Weights, narrowed
from klingel.language.intent import CHANCES, Chances, weigh_intents
from klingel.language.reading import is_all_own, own_words, text_of
from klingel.model.social_event import Intent, Tone

Span = tuple[int, int]

_TONES = ("negative", "neutral", "positive")
_OFFENCE = "offence_"
_LANG = "lang:"
_DIGITS = 3
_STEPS = 1_000
TOPIC = "topic:"
"""Outputs that were trained on a brand's own taxonomy; the id of the topic follows."""


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


class Likely(NamedTuple):
    """A topic that a model tells of a text.

    Attributes:
        topic: id in the brand's taxonomy.
        probability: as the model's head gives it.
    """

    topic: str
    probability: float


class Topics:
    """The heads of a model that were trained on a brand's own taxonomy, each for itself.

    Args:
        heads: the model; it may have none.
    """

    def __init__(self, heads: Heads) -> None:
        named = [(at, name) for at, name in enumerate(heads.names) if name.startswith(TOPIC)]
        self.names = tuple(name.removeprefix(TOPIC) for _, name in named)
        self._columns = [at for at, _ in named]
        self._limits = np.array([heads.outputs[at].threshold for at, _ in named], np.float32)

    def of(self, chances: NDArray[np.float32]) -> list[tuple[Likely, ...]]:
        """Return the topics of texts that reach their thresholds, likeliest first.

        Args:
            chances: probabilities of all outputs, (texts, outputs).
        """
        if not self.names:
            return [()] * len(chances)
        some = chances[:, self._columns]
        found: list[list[Likely]] = [[] for _ in chances]
        for text, at in np.argwhere(some >= self._limits).tolist():
            found[text].append(Likely(self.names[at], float(some[text, at])))
        return [
            tuple(sorted(each, key=lambda one: (-one.probability, one.topic))) for each in found
        ]


class Sense(NamedTuple):
    """What a model makes of one text; None where the model has no head for it.

    Attributes:
        model: name and version of the model.
        tone: label and probabilities.
        intents: likeliest first.
        anger: probability.
        offence: probability, by the head of the text's language.
        own_words: places of the author's own words, None where the whole text is.
        topics: that the model was trained on and is sure enough of, likeliest first.
    """

    model: str
    tone: Tone | None
    intents: tuple[Intent, ...]
    anger: float | None
    offence: float | None
    own_words: tuple[Span, ...] | None
    topics: tuple[Likely, ...] = ()


class _Told:
    """Probabilities as they are told, of some outputs of a batch of texts.

    Args:
        column: of each output, by its name.
        names: outputs that are told; those that a model lacks are left out.
    """

    def __init__(self, column: Mapping[str, int], names: Iterable[str]) -> None:
        known = [name for name in names if name in column]
        self.columns = [column[name] for name in known]
        self.place = {name: place for place, name in enumerate(known)}

    def rows(self, chances: NDArray[np.float32]) -> list[list[float]]:
        """Return the rounded probabilities of each text, in the order of `place`."""
        some = chances[:, self.columns].astype(np.float64)
        rows: list[list[float]] = np.round(np.clip(some, 0, 1), _DIGITS).tolist()
        return rows


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
        tones = [f"tone:{tone}" for tone in _TONES]
        self._has_tone = all(tone in heads.column for tone in tones)
        offences = [each for each in heads.names if each.startswith(_OFFENCE)]
        self._told = _Told(heads.column, [*(tones if self._has_tone else ()), "anger", *offences])
        self._tone = [heads.column[tone] for tone in tones] if self._has_tone else []
        # What a model lacks is read from a column of zeros behind the last.
        nothing = len(heads.names)
        self._chances = [heads.column.get(each, nothing) for each in CHANCES]
        self._topics = Topics(heads)

    def read(self, texts: Sequence[Text]) -> list[Sense]:
        """Read texts; what a text comes to does not depend on the others."""
        if not texts:
            return []
        own = [_own(each) for each in texts]
        heads = self._heads
        chances = heads.probabilities(heads.score([words for words, _ in own]))
        tones = self._tones(chances)
        zeros = np.zeros((len(texts), 1), chances.dtype)
        asked = np.hstack((chances, zeros))[:, self._chances].tolist()
        return [
            self._sense(each, words, spans, tone, Chances._make(row), told, topics)
            for each, (words, spans), tone, row, told, topics in zip(
                texts,
                own,
                tones,
                asked,
                self._told.rows(chances),
                self._topics.of(chances),
                strict=True,
            )
        ]

    def _tones(self, chances: NDArray[np.float32]) -> list[str | None]:
        """Return the likeliest tone of each text, the first of equal ones."""
        if not self._has_tone:
            return [None] * len(chances)
        return [_TONES[best] for best in chances[:, self._tone].argmax(axis=1).tolist()]

    def _sense(
        self,
        text: Text,
        words: str,
        spans: tuple[Span, ...] | None,
        label: str | None,
        chances: Chances,
        told: list[float],
        topics: tuple[Likely, ...],
    ) -> Sense:
        """Put one text's sense together of its probabilities, and of the same as they are told."""
        place = self._told.place.get
        intents = weigh_intents(words, label, chances)
        anger, offence = place("anger"), place(f"{_OFFENCE}{text.lang}")
        tone = None
        if label is not None:
            tone = Tone(
                label=label,  # type: ignore[arg-type] # one of the schema's words
                negative=told[0],
                neutral=told[1],
                positive=told[2],
            )
        return Sense(
            self.model,
            tone,
            tuple([Intent(name=name, score=_rounded(score)) for name, score in intents]),
            None if anger is None else told[anger],
            None if offence is None else told[offence],
            spans,
            topics,
        )


def _rounded(value: float) -> float:
    """Return a probability as it is told; `round` with digits takes five times as long."""
    return round(value * _STEPS) / _STEPS


def _own(text: Text) -> tuple[str, tuple[Span, ...] | None]:
    """Return the author's own words, and their places where they are not the whole text."""
    if is_all_own(text.text, text.kind):
        return text.text, None
    own = own_words(text.text, text.kind).own
    if own == ((0, len(text.text)),):
        return text.text, None
    words = text_of(text.text, own)
    if not own or words.strip() == text.text.strip():  # nothing but quotations is read all the same
        return text.text, None
    return words, own
