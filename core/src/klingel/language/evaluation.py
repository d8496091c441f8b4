"""How good answers are: macro-F1, precision and recall by class, confusion, calibration, rejection.

Pure arithmetic over answers that somebody else gave; numpy only.
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ClassFigures(NamedTuple):
    """How well one class is told from the others.

    Args:
        label: the class.
        precision: share of its answers that are right; 0 when it was never answered.
        recall: share of its rows that were found; 0 when it has no rows.
        f1: harmonic mean of the two.
        support: rows of the class.
        answered: how often it was answered.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    answered: int


class Report(NamedTuple):
    """How good single answers are.

    Args:
        rows: how many were compared.
        accuracy: share of right answers.
        macro_f1: mean of the classes' F1, over classes that have rows.
        classes: by label, in the order given.
        confusion: (true label, answered label) to rows; pairs that never occur are left out.
        ece: expected calibration error of the answers' probabilities; None without probabilities.
    """

    rows: int
    accuracy: float
    macro_f1: float
    classes: tuple[ClassFigures, ...]
    confusion: dict[tuple[str, str], int]
    ece: float | None

    def of(self, label: str) -> ClassFigures:
        """Return the figures of one class; raises KeyError."""
        for figures in self.classes:
            if figures.label == label:
                return figures
        raise KeyError(label)


def _figures(label: str, both: int, support: int, answered: int) -> ClassFigures:
    precision = both / answered if answered else 0.0
    recall = both / support if support else 0.0
    f1 = 2 * both / (support + answered) if both else 0.0
    return ClassFigures(label, precision, recall, f1, support, answered)


def report(
    truth: Sequence[str],
    answers: Sequence[str],
    probabilities: Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
) -> Report:
    """Compare answers with the truth, one label a row.

    Args:
        truth: what is right.
        answers: what was answered; a label of its own (such as `other`) for a rejected row.
        probabilities: of the answers, for the calibration error.
        labels: order of the classes; the sorted labels of the truth and the answers by default.

    Raises:
        ValueError: nothing to compare, or lists of different length.
    """
    if not truth:
        raise ValueError("there is nothing to compare")
    confusion = Counter(zip(truth, answers, strict=True))
    support, answered = Counter(truth), Counter(answers)
    ordered = labels if labels is not None else sorted({*support, *answered})
    classes = tuple(
        _figures(label, confusion[label, label], support[label], answered[label])
        for label in ordered
    )
    scored = [figures.f1 for figures in classes if figures.support]
    right = [a == b for a, b in zip(truth, answers, strict=True)]
    return Report(
        rows=len(truth),
        accuracy=sum(right) / len(right),
        macro_f1=statistics.fmean(scored) if scored else 0.0,
        classes=classes,
        confusion=dict(confusion),
        ece=None if probabilities is None else calibration_error(probabilities, right),
    )


def reports_of_sets(
    truth: Sequence[frozenset[str]], answers: Sequence[frozenset[str]], labels: Iterable[str]
) -> tuple[ClassFigures, ...]:
    """Compare sets of labels (several intents at once), each label for itself."""
    return tuple(
        _figures(
            label,
            sum(label in a and label in b for a, b in zip(truth, answers, strict=True)),
            sum(label in a for a in truth),
            sum(label in b for b in answers),
        )
        for label in labels
    )


BINS = 10


def calibration_error(probabilities: Sequence[float], right: Sequence[bool]) -> float:
    """Return the expected calibration error over ten equally wide bins.

    It is the mean distance, weighed by rows, between what the probabilities of a bin promise and
    the share of its answers that are right. Source: Naeini et al., AAAI 2015.
    """
    said = np.asarray(probabilities, np.float64)
    kept = np.asarray(right, np.float64)
    if not len(said):
        return 0.0
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    gaps = [abs(said[bins == b].sum() - kept[bins == b].sum()) for b in range(BINS)]
    return float(sum(gaps) / len(said))


class Rejection(NamedTuple):
    """What a threshold lets through.

    Args:
        threshold: lowest sureness of an answer.
        inside: share of in-scope rows that are answered, and rightly.
        outside: share of out-of-scope rows that are rejected.
    """

    threshold: float
    inside: float
    outside: float


def rejection(
    sureness: NDArray[np.float64],
    right: NDArray[np.bool_],
    in_scope: NDArray[np.bool_],
    threshold: float,
) -> Rejection:
    """Return what a threshold does.

    Args:
        sureness: of each row's best answer.
        right: whether that answer is right (of in-scope rows).
        in_scope: whether the row has an answer at all.
        threshold: rows below it are rejected.
    """
    passed = sureness >= threshold
    inside = (right & passed)[in_scope]
    outside = ~passed[~in_scope]
    return Rejection(
        threshold,
        float(inside.mean()) if len(inside) else 0.0,
        float(outside.mean()) if len(outside) else 0.0,
    )


def threshold_for(
    sureness: NDArray[np.float64], right: NDArray[np.bool_], *, loss: float = 0.025
) -> float:
    """Return the highest threshold at which in-scope accuracy falls by at most `loss`.

    Args:
        sureness: of each in-scope row's best answer, cross-validated.
        right: whether that answer is right.
        loss: share of all rows, so .025 is two and a half points.
    """
    ranked = np.sort(np.asarray(sureness, np.float64)[np.asarray(right, np.bool_)])
    if not len(ranked):
        return float("-inf")
    allowed = int(loss * len(sureness))
    # The row at this place and all surer ones still pass.
    return float(ranked[min(allowed, len(ranked) - 1)])


def agreement(first: Sequence[str], second: Sequence[str]) -> tuple[float, float]:
    """Return the share of equal labels of two passes, and Cohen's kappa."""
    if not first:
        raise ValueError("there is nothing to compare")
    equal = statistics.fmean(a == b for a, b in zip(first, second, strict=True))
    one, two = Counter(first), Counter(second)
    chance = sum(one[label] * two[label] for label in one) / len(first) ** 2
    return equal, 1.0 if chance == 1 else (equal - chance) / (1 - chance)
