"""Fitting of linear heads: the features of `klingel.language.heads`, linear support vectors.

The same rows in the same order give the same bytes. Needs scikit-learn (`klingel[training]`); what
only reads models does without.
"""

import hashlib
import importlib
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from klingel.errors import ConfigurationError
from klingel.language.evaluation import threshold_for
from klingel.language.heads import (
    IDF_STEPS,
    SHOUT,
    Group,
    Output,
    Weights,
    features,
    parts,
    tokens,
)

_LARGEST_IDF = 255
_STEPS = 127
FOLDS = 5
"""Rows are held back in so many parts when probabilities are calibrated."""
FEW = 8
"""Held rows of either answer below which a head keeps the plain logistic curve."""
MANY_ROWS = 80_000
"""Rows of an output from which on one of the parts is held back instead of each in turn."""
MANY_OUTPUTS = 40
"""Outputs from which on the same is done."""
INSIDE = "inside"
"""Output that tells whether any of a group applies, learned from rows of which none does."""


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text.

    Args:
        text: as said.
        source: where it comes from; the rows of a source share a fixed weight.
        labels: output to whether it applies; outputs that are not named are not learned from it.
    """

    text: str
    source: str
    labels: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Meanings:
    """Vectors of words, in which words that are used alike lie near each other.

    Args:
        words: normal forms, each once.
        vectors: (words, size) float; a row is of length 1 or so in the mean.
    """

    words: tuple[str, ...]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is fitted.

    Args:
        totals: source to the weight that all its rows have together; 1,000 where not named.
        groups: outputs of which one is the answer.
        cost: of an error against the size of weights.
        word_rows: rows in which a word must occur.
        pair_rows: rows in which a pair must occur.
        part_rows: rows in which a part must occur.
        thresholds: output to the lowest probability at which its label is given; the probability
            at score 0 where not named.
        folds: parts that are held back in turn; none leaves probabilities uncalibrated.
        meanings: what words mean, for `train`: what is learned of a word then holds in part for
            words near it. They become part of the words' weights; the model does without them.
        taught: sources whose answers are a teacher's guesses: fitted on, but probabilities and
            thresholds are taken from the others alone.
        offsets: output to what is added to its scores. Both answers of an output weigh the same
            when it is fitted, so rare answers of a group are chosen too often or too seldom.
        about: stored with the model.
    """

    totals: Mapping[str, float] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    cost: float = 0.3
    word_rows: int = 2
    pair_rows: int = 4
    part_rows: int = 3
    thresholds: Mapping[str, float] = field(default_factory=dict)
    folds: int = FOLDS
    meanings: Meanings | None = None
    taught: frozenset[str] = frozenset()
    offsets: Mapping[str, float] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


class Scikit(NamedTuple):
    """What is used of scikit-learn and scipy."""

    linear_svc: Callable[..., Any]
    logistic: Callable[..., Any]
    csr: Callable[..., Any]
    hstack: Callable[..., Any]


def scikit() -> Scikit:
    """Import scikit-learn; raises ConfigurationError where it is not installed."""
    try:
        svm = importlib.import_module("sklearn.svm")
        linear = importlib.import_module("sklearn.linear_model")
        sparse = importlib.import_module("scipy.sparse")
    except ImportError:
        raise ConfigurationError(
            "training needs scikit-learn; install it with `pip install 'klingel[training]'`"
        ) from None
    return Scikit(svm.LinearSVC, linear.LogisticRegression, sparse.csr_matrix, sparse.hstack)


class Said(NamedTuple):
    """What a text is made of: normal words in order, and how many of them were shouted."""

    words: list[str]
    shouts: int


def read_texts(texts: Iterable[str]) -> list[Said]:
    """Return the normal words of texts, by the definition of the runtime."""
    known: dict[str, tuple[str, bool]] = {}
    said = []
    for text in texts:
        words, shouts = [], 0
        for token in tokens(text):
            found = known.get(token)
            if found is None:
                found = known[token] = features(token)
            words.append(found[0])
            shouts += found[1]
        said.append(Said(words, shouts))
    return said


class Space:
    """The dictionary of a model, and texts as rows over it.

    Args:
        words: normal forms.
        pairs: numbers of the two words of each pair, sorted.
        pieces: 4-letter parts.
        word_idf: of words and pairs, in quarters.
        part_idf: of parts, in quarters.
    """

    def __init__(
        self,
        words: Sequence[str],
        pairs: Sequence[tuple[int, int]],
        pieces: Sequence[str],
        word_idf: NDArray[np.uint8],
        part_idf: NDArray[np.uint8],
    ) -> None:
        self.words = tuple(words)
        self.pairs = tuple(pairs)
        self.parts = tuple(pieces)
        self.word_idf = word_idf
        self.part_idf = part_idf
        self._word = {word: number for number, word in enumerate(self.words)}
        self._pair = {pair: number for number, pair in enumerate(self.pairs, len(self.words))}
        self._part = {part: number for number, part in enumerate(self.parts)}
        self._parts_of: dict[str, list[int]] = {}

    @property
    def wide(self) -> int:
        """Number of features: words, pairs, parts."""
        return len(self.words) + len(self.pairs) + len(self.parts)

    def matrix(self, said: Sequence[Said], using: Scikit) -> Any:
        """Return texts as rows, (texts, words + pairs + parts), scaled as the runtime does."""
        of_words = self._counted(map(self._word_numbers, said), len(self.word_idf), using)
        of_parts = self._counted(map(self._part_numbers, said), len(self.part_idf), using)
        scaled = [
            _scaled(of_words, self.word_idf, using),
            _scaled(of_parts, self.part_idf, using),
        ]
        return using.hstack(scaled, format="csr")

    def _word_numbers(self, said: Said) -> list[int]:
        numbers = [self._word.get(word, -1) for word in said.words]
        found = [number for number in numbers if number >= 0]
        pairs = map(self._pair.get, itertools.pairwise(numbers))
        found += [number for number in pairs if number is not None]
        if said.shouts and SHOUT in self._word:
            found += [self._word[SHOUT]] * said.shouts
        return found

    def _part_numbers(self, said: Said) -> list[int]:
        found: list[int] = []
        for word in said.words:
            numbers = self._parts_of.get(word)
            if numbers is None:
                got = map(self._part.get, parts(word))
                numbers = self._parts_of[word] = [n for n in got if n is not None]
            found += numbers
        return found

    @staticmethod
    def _counted(rows: Iterable[list[int]], wide: int, using: Scikit) -> Any:
        flat: list[int] = []
        ends = [0]
        for row in rows:
            flat += row
            ends.append(len(flat))
        matrix = using.csr(
            (np.ones(len(flat), np.float64), np.array(flat, np.int32), np.array(ends)),
            shape=(len(ends) - 1, wide),
        )
        matrix.sum_duplicates()
        return matrix


def _scaled(counts: Any, idf: NDArray[np.uint8], using: Scikit) -> Any:
    weights = idf.astype(np.float64)
    norm = np.sqrt(np.maximum(counts @ np.square(weights), 1.0))
    rows = counts.copy()
    rows.data *= weights[rows.indices]
    rows.data /= np.repeat(norm, np.diff(rows.indptr))
    return using.csr(rows)


def space_of(said: Sequence[Said], plan: Plan, base: Space | None = None) -> Space:
    """Return the dictionary of texts; with a base, that one and what the texts add to it."""
    words: Counter[str] = Counter()
    pieces: Counter[str] = Counter()
    parts_of: dict[str, list[str]] = {}
    for text in said:
        distinct = set(text.words)
        words.update(distinct)
        if text.shouts:
            words[SHOUT] += 1
        found: set[str] = set()
        for word in distinct:
            got = parts_of.get(word)
            if got is None:
                got = parts_of[word] = parts(word)
            found.update(got)
        pieces.update(found)
    kept = _kept(words, plan.word_rows, base.words if base else ())
    kept_parts = _kept(pieces, plan.part_rows, base.parts if base else ())
    number = {word: at for at, word in enumerate(kept)}
    pairs: Counter[tuple[int, int]] = Counter()
    for text in said:
        row = [number.get(word, -1) for word in text.words]
        pairs.update({pair for pair in itertools.pairwise(row) if min(pair) >= 0})
    own = dict.fromkeys(base.pairs if base else ())
    kept_pairs = sorted({*own, *(pair for pair, rows in pairs.items() if rows >= plan.pair_rows)})
    rows_of = [*(words[word] for word in kept), *(pairs[pair] for pair in kept_pairs)]
    word_idf = _idf(rows_of, len(said))
    part_idf = _idf([pieces[part] for part in kept_parts], len(said))
    if base:
        word_idf[: len(base.words)] = base.word_idf[: len(base.words)]
        place = {pair: at for at, pair in enumerate(kept_pairs, len(kept))}
        for pair, idf in zip(base.pairs, base.word_idf[len(base.words) :], strict=True):
            word_idf[place[pair]] = idf
        part_idf[: len(base.parts)] = base.part_idf
    return Space(kept, kept_pairs, kept_parts, word_idf, part_idf)


def _kept(rows: Counter[str], least: int, own: Sequence[str]) -> list[str]:
    had = set(own)
    return [*own, *sorted(key for key, n in rows.items() if n >= least and key not in had)]


def _idf(rows: Sequence[int], total: int) -> NDArray[np.uint8]:
    of = [math.log((1 + total) / (1 + n)) + 1 for n in rows]
    steps = np.rint(np.array(of, np.float64) * IDF_STEPS)
    return np.clip(steps, 1, _LARGEST_IDF).astype(np.uint8)


def fold_of(text: str) -> int:
    """Return the part in which a text is held back; depends on the text alone."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()[0] % FOLDS


def row_weights(
    rows: Sequence[Row], answers: NDArray[np.bool_], totals: Mapping[str, float]
) -> NDArray[np.float64]:
    """Return the weight of each row: its source's total shared, then both answers made equal.

    The mean is 1.
    """
    counted = Counter(row.source for row in rows)
    weights = np.array([totals.get(row.source, 1000.0) / counted[row.source] for row in rows])
    for answer in (True, False):
        of = answers == answer
        if of.any():
            weights[of] /= weights[of].sum()
    scaled: NDArray[np.float64] = weights * (len(rows) / weights.sum())
    return scaled


class Fitted(NamedTuple):
    """One head as it was fitted: weights over the space, and the bias."""

    weights: NDArray[np.float64]
    bias: float


def fit_head(
    matrix: Any, answers: NDArray[np.bool_], weights: NDArray[np.float64], cost: float
) -> Fitted:
    """Fit one head; one that has a single answer is constant."""
    if answers.all() or not answers.any():
        return Fitted(np.zeros(matrix.shape[1]), 1.0 if answers.all() else -1.0)
    model = scikit().linear_svc(C=cost, random_state=0, tol=0.01, max_iter=400)
    with warnings.catch_warnings():
        # That it stops after so many rounds is meant: more change the last decimals only.
        warnings.filterwarnings("ignore", message="Liblinear failed to converge")
        model.fit(matrix, answers.astype(np.int8), sample_weight=weights)
    return Fitted(model.coef_[0], float(model.intercept_[0]))


def calibrate(
    scores: NDArray[np.float64], answers: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return slope and shift of the logistic curve that turns scores into probabilities."""
    if min(answers.sum(), (~answers).sum()) < FEW:
        return 2.0, -1.0
    model = scikit().logistic(C=100.0, tol=1e-6, max_iter=200)
    model.fit(scores[:, None], answers.astype(np.int8), sample_weight=weights)
    slope, shift = float(model.coef_[0, 0]), float(model.intercept_[0])
    return (slope, shift) if slope > 0 else (2.0, -1.0)


def temperature(
    scores: NDArray[np.float64], answers: NDArray[np.int64], weights: NDArray[np.float64]
) -> float:
    """Return the factor under which the softmax of scores is likeliest to give the answers."""

    def loss(slope: float) -> float:
        powers = scores * slope
        powers = powers - powers.max(axis=1, keepdims=True)
        chosen = powers[np.arange(len(answers)), answers] - np.log(np.exp(powers).sum(axis=1))
        return float(-(chosen * weights).sum())

    grid = [0.25 * 1.15**step for step in range(30)]
    return min(grid, key=loss) if len(answers) >= FEW else 2.0


class Trained(NamedTuple):
    """A model, and what its heads said of rows that they were not fitted on.

    Args:
        weights: the model, fitted on all rows.
        trial: output to its score of each row by heads fitted without that row; NaN where the row
            was not held back or does not answer the output.
    """

    weights: Weights
    trial: Mapping[str, NDArray[np.float64]]


def train(
    rows: Sequence[Row], plan: Plan, progress: Callable[[str], None] | None = None
) -> Trained:
    """Fit a model: every output that any row labels, in the order of their names' first sight.

    Args:
        rows: labelled texts; their order counts.
        plan: how.
        progress: told which output is fitted next.

    Raises:
        ConfigurationError: scikit-learn is missing, or there are no rows.
    """
    using = scikit()
    if not rows:
        raise ConfigurationError("there are no rows to train on")
    said = read_texts(row.text for row in rows)
    # A text that a teacher labels too stands there twice, and is one text.
    space = space_of(read_texts(dict.fromkeys(row.text for row in rows)), plan)
    matrix = using.csr(space.matrix(said, using))
    lifted = _meanings_in(space, plan.meanings)
    if lifted.size:
        matrix = using.csr(using.hstack([matrix, using.csr(matrix @ lifted)]))
    fits = fit_outputs(rows, matrix, plan, progress)
    heads = [
        Fitted(head.weights[: space.wide] + lifted @ head.weights[space.wide :], head.bias)
        for head in fits.heads
    ]
    return Trained(quantised(space, heads, fits.outputs, plan), fits.trial)


def _meanings_in(space: Space, meanings: Meanings | None) -> NDArray[np.float64]:
    """Return the vector of each feature, (features, size); zeros where nothing is known.

    A text's own vector is then its row times these: the same sum over the same root as its words'
    weights have, so that a weight on the vector is one on each word.
    """
    if meanings is None:
        return np.zeros((space.wide, 0))
    place = {word: at for at, word in enumerate(meanings.words)}
    known = [(at, place[word]) for at, word in enumerate(space.words) if word in place]
    if not known:
        return np.zeros((space.wide, 0))
    lifted = np.zeros((space.wide, meanings.vectors.shape[1]))
    lifted[[at for at, _ in known]] = meanings.vectors[[of for _, of in known]]
    return lifted


def extend(
    base: Weights,
    rows: Sequence[Row],
    plan: Plan,
    progress: Callable[[str], None] | None = None,
) -> Trained:
    """Fit a brand's own rows on top of a model, of which the rows themselves are not needed.

    What the base says of a text is a feature of the new heads, beside the words; so few rows
    shift it and many overrule it. Outputs that the rows do not label stay as they are, but words
    that the base does not know now count in the length by which sums are divided.

    Args:
        base: the model to start from.
        rows: the brand's labelled texts.
        plan: how; its groups replace the base's groups of the same name. The threshold of a group
            that has one is chosen on rows that were held back.
        progress: told which output is fitted next.

    Raises:
        ConfigurationError: scikit-learn is missing, or there are no rows.
    """
    using = scikit()
    if not rows:
        raise ConfigurationError("there are no rows to train on")
    said = read_texts(row.text for row in rows)
    old = _space_of_weights(base)
    space = space_of(said, plan, old)
    matrix = using.csr(space.matrix(said, using))
    before = _lifted(base, old, space)
    bias = np.array([output.bias for output in base.outputs])
    column = {output.name: at for at, output in enumerate(base.outputs)}
    names = names_of(rows)
    shared = [column[name] for name in names if name in column]
    if shared:
        opinions = (matrix @ before[:, shared] + bias[shared]) * _GAIN
        matrix = using.csr(using.hstack([matrix, using.csr(opinions)]))
    fits = fit_outputs(rows, matrix, plan, progress)
    heads = [
        Fitted(
            head.weights[: space.wide] + before[:, shared] @ (head.weights[space.wide :] * _GAIN),
            head.bias + float(bias[shared] @ (head.weights[space.wide :] * _GAIN)),
        )
        for head in fits.heads
    ]
    groups = _with_thresholds(rows, plan.groups, fits.trial)
    taken = {group.name for group in groups}
    kept_groups = tuple(group for group in base.groups if group.name not in taken)
    fitted = quantised(space, heads, fits.outputs, replace(plan, groups=(*kept_groups, *groups)))
    return Trained(_merged(base, old, space, fitted), fits.trial)


_GAIN = 2.0
"""How cheap it is to follow the base: its scores count so much against the words."""


def _space_of_weights(weights: Weights) -> Space:
    pairs = [(one, two) for one, two in weights.pairs.tolist()]
    return Space(weights.words, pairs, weights.parts, weights.word_idf, weights.part_idf)


def _rows_in(old: Space, new: Space) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the words and pairs, and the parts, of a base stand in what it grew to."""
    place = {pair: at for at, pair in enumerate(new.pairs, len(new.words))}
    of_words = [*range(len(old.words)), *(place[pair] for pair in old.pairs)]
    return np.array(of_words, np.int64), np.arange(len(old.parts))


def _lifted(base: Weights, old: Space, new: Space) -> NDArray[np.float64]:
    """Return the base's weights over the larger space, (features, outputs)."""
    of_words, of_parts = _rows_in(old, new)
    wide = len(new.words) + len(new.pairs)
    weights = np.zeros((new.wide, len(base.outputs)))
    word_scale = np.array([output.word_scale for output in base.outputs])
    part_scale = np.array([output.part_scale for output in base.outputs])
    weights[of_words] = base.word_weights * word_scale / base.word_idf[:, None]
    weights[wide + of_parts] = base.part_weights * part_scale / base.part_idf[:, None]
    return weights


def _merged(base: Weights, old: Space, new: Space, fitted: Weights) -> Weights:
    """Return the fitted heads with those of the base's that were not fitted, bytes unchanged."""
    names = {output.name for output in fitted.outputs}
    kept = [at for at, output in enumerate(base.outputs) if output.name not in names]
    of_words, of_parts = _rows_in(old, new)
    words = np.zeros((len(fitted.word_weights), len(kept)), np.int8)
    words[of_words] = base.word_weights[:, kept]
    grams = np.zeros((len(fitted.part_weights), len(kept)), np.int8)
    grams[of_parts] = base.part_weights[:, kept]
    return replace(
        fitted,
        word_weights=np.hstack([words, fitted.word_weights]),
        part_weights=np.hstack([grams, fitted.part_weights]),
        outputs=(*(base.outputs[at] for at in kept), *fitted.outputs),
    )


def _with_thresholds(
    rows: Sequence[Row], groups: Sequence[Group], trial: Mapping[str, NDArray[np.float64]]
) -> tuple[Group, ...]:
    """Return groups, those that may answer none with the threshold their trial asks for."""
    done = []
    for group in groups:
        if group.threshold is None:
            done.append(group)
            continue
        scores = np.stack([trial[name] for name in group.outputs], axis=1)
        held = ~np.isnan(scores).any(axis=1)
        sure = scores.max(axis=1)
        if group.inside is not None:
            sure = sure + 0.5 * trial[group.inside]
        truth = np.array(
            [
                next((at for at, name in enumerate(group.outputs) if row.labels.get(name)), -1)
                for row in rows
            ]
        )
        inside = held & (truth >= 0)
        limit = threshold_for(sure[inside], scores[inside].argmax(axis=1) == truth[inside])
        done.append(replace(group, threshold=max(_single(limit), -1e9)))
    return tuple(done)


def names_of(rows: Iterable[Row]) -> list[str]:
    """Return the outputs that rows label, in the order of their first sight."""
    return list(dict.fromkeys(name for row in rows for name in row.labels))


class Fits(NamedTuple):
    """Heads, their outputs, and their trial (see `Trained`)."""

    heads: list[Fitted]
    outputs: list[Output]
    trial: dict[str, NDArray[np.float64]]


def fit_outputs(
    rows: Sequence[Row],
    matrix: Any,
    plan: Plan,
    progress: Callable[[str], None] | None = None,
) -> Fits:
    """Fit and calibrate every output over a matrix of the same rows."""
    fold = np.array([fold_of(row.text) for row in rows])
    fits = Fits([], [], {})
    names = names_of(rows)
    for name in names:
        if progress:
            progress(name)
        index = np.array([at for at, row in enumerate(rows) if name in row.labels])
        some = [rows[at] for at in index]
        answers = np.array([row.labels[name] for row in some], np.bool_)
        weights = row_weights(some, answers, plan.totals)
        part = matrix[index]
        offset = plan.offsets.get(name, 0.0)
        head = fit_head(part, answers, weights, plan.cost)
        head = head._replace(bias=head.bias + offset)
        scores = np.full(len(index), np.nan)
        many = len(index) > MANY_ROWS or len(names) > MANY_OUTPUTS
        for number in range(min(plan.folds, 1) if many else plan.folds):
            held = fold[index] == number
            if held.any() and not held.all():
                other = fit_head(part[~held], answers[~held], weights[~held], plan.cost)
                scores[held] = part[held] @ other.weights + other.bias + offset
        tried = ~np.isnan(scores)
        natural = _natural(some, plan)[tried]
        slope, shift = calibrate(scores[tried], answers[tried], natural)
        threshold = plan.thresholds.get(name, _single(1 / (1 + math.exp(-shift))))
        fits.heads.append(head)
        fits.outputs.append(Output(name, head.bias, 1.0, 1.0, slope, shift, threshold))
        fits.trial[name] = np.full(len(rows), np.nan)
        fits.trial[name][index] = scores
    by_name = {output.name: at for at, output in enumerate(fits.outputs)}
    for group in plan.groups:
        if group.threshold is not None or not by_name.keys() >= set(group.outputs):
            continue
        slope = _of_group(rows, group, fits.trial, plan)
        for name in group.outputs:
            fits.outputs[by_name[name]] = replace(
                fits.outputs[by_name[name]], slope=slope, shift=0.0
            )
    return fits


def _natural(rows: Sequence[Row], plan: Plan) -> NDArray[np.float64]:
    """Return weights by source alone: how often an answer applies is part of a probability."""
    counted = Counter(row.source for row in rows)
    shares = {
        source: 0.0 if source in plan.taught else plan.totals.get(source, 1000.0) / many
        for source, many in counted.items()
    }
    return np.array([shares[row.source] for row in rows])


def _of_group(
    rows: Sequence[Row],
    group: Group,
    trial: Mapping[str, NDArray[np.float64]],
    plan: Plan,
) -> float:
    """Return the temperature of a group, over the held rows that answer it."""
    scores = np.stack([trial[name] for name in group.outputs], axis=1)
    whole: list[int] = np.flatnonzero(~np.isnan(scores).any(axis=1)).tolist()
    answered = [
        (at, [rows[at].labels[name] for name in group.outputs].index(True))
        for at in whole
        if any(rows[at].labels[name] for name in group.outputs)
    ]
    if not answered:
        return 2.0
    index = [at for at, _ in answered]
    weights = _natural([rows[at] for at in index], plan)
    return temperature(scores[index], np.array([a for _, a in answered]), weights)


def quantised(
    space: Space, heads: Sequence[Fitted], outputs: Sequence[Output], plan: Plan
) -> Weights:
    """Return heads as the runtime wants them: whole numbers of one byte."""
    of_words = len(space.words) + len(space.pairs)
    word_weights = np.zeros((of_words, len(heads)), np.int8)
    part_weights = np.zeros((len(space.parts), len(heads)), np.int8)
    done = []
    for column, (head, output) in enumerate(zip(heads, outputs, strict=True)):
        word_weights[:, column], word_scale = _steps(head.weights[:of_words] * space.word_idf)
        part_weights[:, column], part_scale = _steps(head.weights[of_words:] * space.part_idf)
        # Rounded to what a float32 holds, so that a header reads back as it was written.
        done.append(
            replace(
                output,
                bias=_single(head.bias),
                word_scale=_single(word_scale),
                part_scale=_single(part_scale),
                slope=_single(output.slope),
                shift=_single(output.shift),
            )
        )
    return Weights(
        words=space.words,
        pairs=np.array(space.pairs, np.int32).reshape(-1, 2),
        parts=space.parts,
        word_weights=word_weights,
        part_weights=part_weights,
        word_idf=space.word_idf,
        part_idf=space.part_idf,
        outputs=tuple(done),
        groups=plan.groups,
        about=plan.about,
    )


def _single(value: float) -> float:
    return float(np.float32(value))


def _steps(weights: NDArray[np.float64]) -> tuple[NDArray[np.int8], float]:
    """Return weights in steps of one byte, and the step."""
    heaviest = float(np.abs(weights).max(initial=0.0))
    if not heaviest:
        return np.zeros(len(weights), np.int8), 1.0
    scale = heaviest / _STEPS
    return np.rint(weights / scale).astype(np.int8), scale
